//! Vendors let permissions that exist open more: a key that was approved then may do more than what was approved. An operator who
//! imports a newer publication learns what became wider, and templates that hold such a permission wait for another look.

use std::collections::{BTreeMap, BTreeSet};

use keywright_catalog::Catalog;
use keywright_core::audit::{Deed, Record, Stage};
use keywright_core::name::{ConnectionName, Kind};
use keywright_core::provider::{PermissionNow, Whose};
use keywright_core::template::ResolvedTemplate;
use keywright_core::text::Untrusted;
use keywright_ledger::LedgerError;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::auth::Proven;
use crate::broker::Broker;
use crate::error::{BrokerError, Code, Result};
use crate::wider::facts;

/// What a newer publication makes wider.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Widening {
    /// The provider's kind.
    pub provider: Kind,
    /// Which publication, in the operator's words.
    pub from: String,
    /// The SHA-256 of the publication, in hexadecimal digits.
    pub sha256: String,
    /// The permissions that open more.
    pub widened: Vec<Wider>,
}

/// A permission that opens more than it did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Wider {
    /// Its id.
    pub permission: String,
    /// Its name.
    pub name: String,
    /// How many operations more.
    pub operations: usize,
    /// How many of them change something.
    pub mutating: usize,
    /// A digest of exactly what it opens more, so that the same is known again.
    #[serde(default)]
    pub mark: String,
}

/// What a provider lists now, against the catalog.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// Whose permissions they are: all that the provider has, or those that the parent can give.
    pub of: Whose,
    /// How many permissions there are now.
    pub permissions: usize,
    /// In the catalog and not listed, where all are: `name (scope)`.
    pub gone: Vec<String>,
    /// Templates in force that grant what the parent can't give, and what; their keys can't be made.
    pub short: BTreeMap<String, Vec<String>>,
    /// Listed and not in the catalog, by name. A key can't have them.
    pub new: Vec<String>,
    /// Under the same id with another name: the former name, and the name now.
    pub renamed: Vec<(String, Untrusted)>,
    /// Under the same id for other kinds of resources: the name, and what it is for now.
    pub rescoped: Vec<(String, Vec<String>)>,
    /// The templates that are held for it, and why.
    pub held: BTreeMap<String, String>,
}

impl Broker {
    /// Reads the permissions that a connection's provider has now, and holds the catalog against them. Templates with a permission
    /// that is for other kinds of resources now are held.
    ///
    /// # Errors
    /// When the provider does not list its permissions, or could not be asked.
    pub async fn refresh(&self, operator: &Proven, connection: &ConnectionName) -> Result<Listed> {
        let provider = self.outside.provider(connection).await?;
        let kind = provider.facts().kind;
        let Some(lists) = provider.permissions_now() else {
            return Err(BrokerError::new(
                Code::Unsupported,
                format!("`{kind}` does not list its permissions"),
            ));
        };
        let catalog = Catalog::for_provider(kind).map_err(BrokerError::invalid)?;
        let now = lists.permissions_now().await?;
        let mut listed = Listed {
            of: lists.of(),
            permissions: now.len(),
            gone: Vec::new(),
            short: BTreeMap::new(),
            new: Vec::new(),
            renamed: Vec::new(),
            rescoped: Vec::new(),
            held: BTreeMap::new(),
        };
        if listed.of == Whose::Parent {
            listed.short = self.short_of(kind, connection, &now).await?;
        }
        let mut widened = Vec::new();
        // An account's connection is not shown what is for users.
        let is_parents = listed.of == Whose::Parent;
        let is_shown =
            |scope: &str| is_parents || now.iter().any(|one| one.scopes.iter().any(|listed| listed == scope));
        for permission in catalog.permissions().iter().filter(|permission| is_shown(permission.scope)) {
            let Some(is) = now.iter().find(|one| one.id == permission.id) else {
                if listed.of == Whose::Provider {
                    listed.gone.push(permission.label());
                }
                continue;
            };
            if is.name.raw() != permission.name {
                listed.renamed.push((permission.name.to_owned(), is.name.clone()));
            }
            if !is.scopes.is_empty() && is.scopes != [permission.scope] {
                let scopes = is.scopes.iter().map(|scope| Untrusted::capped(scope, 60).to_string()).collect();
                let mark = mark(is.scopes.iter().map(String::as_str));
                listed.rescoped.push((permission.name.to_owned(), scopes));
                widened.push(Wider {
                    mark,
                    permission: permission.id.to_owned(),
                    name: permission.name.to_owned(),
                    operations: 0,
                    mutating: 0,
                });
            }
        }
        // A parent's level holds the lower ones, also those that the provider does not have by themselves.
        let of = |id: &str| id.split(':').next().unwrap_or_default().to_owned();
        let known: BTreeSet<String> = catalog.permissions().iter().map(|one| of(one.id)).collect();
        let is_new = |one: &&PermissionNow| match is_parents {
            true => !known.contains(&of(&one.id)),
            false => catalog.permission_by_id(&one.id).is_err(),
        };
        listed.new = now.iter().filter(is_new).map(|one| one.name.to_string()).collect();
        if !widened.is_empty() {
            let provider = Kind::parse(kind).map_err(BrokerError::invalid)?;
            let from = format!("the list of `{connection}`");
            let widening = Widening { provider, from, sha256: String::new(), widened };
            listed.held = self.hold_wider(operator, &widening).await?;
        }
        Ok(listed)
    }

    /// The templates in force of which the parent of a connection can't give everything, and what it can't.
    async fn short_of(
        &self,
        kind: &str,
        connection: &ConnectionName,
        now: &[PermissionNow],
    ) -> Result<BTreeMap<String, Vec<String>>> {
        let mut short = BTreeMap::new();
        for applied in self.templates().await? {
            let template = &applied.resolved.template;
            let is_of_it = template.provider.as_str() == kind
                && template.connection.as_ref().is_none_or(|wanted| wanted == connection);
            let lacks: Vec<String> = applied
                .resolved
                .permissions
                .iter()
                .filter(|wanted| is_of_it && now.iter().all(|held| held.id != wanted.id))
                .map(|wanted| wanted.name.clone())
                .collect();
            if !lacks.is_empty() {
                short.insert(template.id.to_string(), lacks);
            }
        }
        Ok(short)
    }

    /// Puts an import on record, and holds the templates of which a permission became wider: no key is made from them until an
    /// operator applies them again. Says which, and why.
    ///
    /// # Errors
    /// When the ledger can't be read or written.
    pub async fn hold_wider(
        &self,
        operator: &Proven,
        widening: &Widening,
    ) -> Result<BTreeMap<String, String>> {
        self.refuse_if_forked()?;
        let mut holds = BTreeMap::new();
        for applied in self.templates().await? {
            if applied.resolved.template.provider != widening.provider {
                continue;
            }
            let ids: Vec<&str> = applied.resolved.permissions.iter().map(|p| p.id.as_str()).collect();
            let id = &applied.resolved.template.id;
            if let Some(why) = self.rails.wider().holds(id.as_str(), &ids, widening) {
                holds.insert(id.to_string(), why);
            }
        }
        let mut record = Record::new(self.now(), Deed::CatalogImport, Stage::Note, operator.caller().who());
        facts(&mut record, widening, &holds)?;
        let written = record.clone();
        let written = self.ledger.write(move |tx| {
            tx.audit(written)?;
            Ok::<_, LedgerError>(())
        });
        written.await?;
        self.rails.imported(&record);
        Ok(holds)
    }

    /// What became wider of a template since it was applied; `None` where nothing is known to have.
    #[must_use]
    pub fn held(&self, template: &str) -> Option<String> {
        self.rails.held(template)
    }

    /// What is known to be wider of a template's permissions than its numbers say, which are those of the catalog that ships.
    #[must_use]
    pub fn wider_of(&self, template: &ResolvedTemplate) -> Vec<String> {
        let ids: Vec<&str> = template.permissions.iter().map(|p| p.id.as_str()).collect();
        self.rails.wider().of(template.template.provider.as_str(), &ids)
    }
}

/// A digest of what makes something wider.
pub fn mark<'a>(what: impl Iterator<Item = &'a str>) -> String {
    let mut all: Vec<&str> = what.collect();
    all.sort_unstable();
    Sha256::digest(all.join("\n")).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

impl Wider {
    pub(crate) fn said(&self) -> String {
        let name = Untrusted::capped(&self.name, 80);
        if self.operations == 0 {
            return format!("`{name}` is for other kinds of resources now");
        }
        format!(
            "`{name}` opens {} operations more, of which {} change something",
            self.operations, self.mutating
        )
    }
}
