//! Vendors let permissions that exist open more: a key that was approved then may do more than what was approved. An operator who
//! imports a newer publication learns what became wider, and templates that hold such a permission wait for another look.

use std::collections::BTreeMap;

use keywright_catalog::Catalog;
use keywright_core::audit::{Deed, Record, Stage};
use keywright_core::name::{ConnectionName, Kind};
use keywright_core::provider::PermissionNow;
use keywright_core::text::Untrusted;
use keywright_ledger::LedgerError;
use serde::{Deserialize, Serialize};

use crate::auth::Proven;
use crate::broker::Broker;
use crate::error::{BrokerError, Code, Result};
use crate::rails::HOLDS;

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
}

/// What a provider lists now, against the catalog.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Listed {
    /// How many permissions there are now.
    pub permissions: usize,
    /// In the catalog and not listed: `name (scope)`.
    pub gone: Vec<String>,
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
        let mut listed = Listed { permissions: now.len(), ..Listed::default() };
        let mut widened = Vec::new();
        // An account's connection is not shown what is for users.
        let is_shown = |scope: &str| now.iter().any(|one| one.scopes.iter().any(|listed| listed == scope));
        for permission in catalog.permissions().iter().filter(|permission| is_shown(permission.scope)) {
            let Some(is) = now.iter().find(|one| one.id == permission.id) else {
                listed.gone.push(permission.label());
                continue;
            };
            if is.name.raw() != permission.name {
                listed.renamed.push((permission.name.to_owned(), is.name.clone()));
            }
            if is.scopes != [permission.scope] {
                let scopes = is.scopes.iter().map(|scope| Untrusted::capped(scope, 60).to_string()).collect();
                listed.rescoped.push((permission.name.to_owned(), scopes));
                widened.push(Wider {
                    permission: permission.id.to_owned(),
                    name: permission.name.to_owned(),
                    operations: 0,
                    mutating: 0,
                });
            }
        }
        let is_new = |one: &&PermissionNow| catalog.permission_by_id(&one.id).is_err();
        listed.new = now.iter().filter(is_new).map(|one| one.name.to_string()).collect();
        if !widened.is_empty() {
            let provider = Kind::parse(kind).map_err(BrokerError::invalid)?;
            let from = format!("the list of `{connection}`");
            let widening = Widening { provider, from, sha256: String::new(), widened };
            listed.held = self.hold_wider(operator, &widening).await?;
        }
        Ok(listed)
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
            let has = |wider: &&Wider| applied.resolved.permissions.iter().any(|p| p.id == wider.permission);
            let why: Vec<String> = widening.widened.iter().filter(has).map(Wider::said).collect();
            if !why.is_empty() {
                holds.insert(applied.resolved.template.id.to_string(), why.join("; "));
            }
        }
        let (who, holding, widening) = (operator.caller().who(), holds.clone(), widening.clone());
        let written = self.ledger.write(move |tx| {
            let mut record = Record::new(tx.now(), Deed::CatalogImport, Stage::Note, who);
            let text = |text: &str| serde_json::json!(Untrusted::capped(text, 200));
            record.facts.insert("provider".to_owned(), serde_json::json!(widening.provider));
            record.facts.insert("from".to_owned(), text(&widening.from));
            record.facts.insert("sha256".to_owned(), text(&widening.sha256));
            record.facts.insert("widened".to_owned(), serde_json::json!(widening.widened.len()));
            record.facts.insert(HOLDS.to_owned(), serde_json::json!(holding));
            tx.audit(record)?;
            Ok::<_, LedgerError>(())
        });
        written.await?;
        self.rails.hold(holds.clone());
        Ok(holds)
    }

    /// What became wider of a template since it was applied; `None` where nothing is known to have.
    #[must_use]
    pub fn held(&self, template: &str) -> Option<String> {
        self.rails.held(template)
    }
}

impl Wider {
    fn said(&self) -> String {
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
