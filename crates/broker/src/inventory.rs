//! Inventory: the credentials of a connection that nobody manages, with what is known of them and what is wrong with them.
//!
//! It only reads. A marked credential that nobody owns is no part of it: that is an orphan, and `reconcile` revokes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt as _;
use jiff::Timestamp;
use keywright_catalog::Catalog;
use keywright_core::grant::{Difference, ObservedGrant, Permission, Resource};
use keywright_core::inventory::{Known, Risk, risks};
use keywright_core::marker::Recognised;
use keywright_core::name::ConnectionName;
use keywright_core::provider::{Listed, Listing, Provider, ProviderError, Recovery};
use keywright_core::text::Untrusted;
use keywright_ledger::{Connection, LedgerError, Tx};

use crate::broker::Broker;
use crate::error::{BrokerError, Result};
use crate::guards::count;

/// How many credentials of a connection are looked at one by one; of the rest only what the list says is known.
const LOOKED_AT: usize = 200;
/// How many are looked at in the same moment.
const AT_A_TIME: usize = 4;

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// The credentials that nobody manages, the worst first.
    pub keys: Vec<Unmanaged>,
    /// The connections that were read to the end.
    pub connections: Vec<ConnectionName>,
    /// Those that could not be, or whose provider has no list, with the reason.
    pub unread: BTreeMap<ConnectionName, String>,
}

/// A credential that nobody manages.
#[derive(Debug, Clone)]
pub struct Unmanaged {
    /// The connection that sees it.
    pub connection: ConnectionName,
    /// As the provider lists it.
    pub listed: Listed,
    /// What it may do, where that could be read.
    pub grant: Option<ObservedGrant>,
    /// Its permissions, by the catalog's names where it has them.
    pub permissions: Vec<Permission>,
    /// Why it could not be read.
    pub trouble: Option<String>,
    /// What is wrong with it, the worst first.
    pub risks: Vec<Risk>,
    /// Whether it is a connection's own credential.
    pub is_parent: bool,
    /// Whether it is named as Keywright names its keys: another home's, most likely.
    pub is_marked: bool,
    /// Whether the provider says when it was used; then no time means never.
    pub tells_use: bool,
}

/// A credential's permissions as the catalog names them, and those of them that can make keys.
pub(crate) struct Named {
    pub(crate) permissions: Vec<Permission>,
    pub(crate) escalation: Vec<String>,
    pub(crate) unlocks: u32,
    pub(crate) mutating: u32,
}

impl Broker {
    /// The credentials that nobody manages, of one connection or of all.
    ///
    /// # Errors
    /// When there is no such connection, or the ledger can't be read. A provider that can't be read is part of the answer.
    pub async fn inventory(&self, only: Option<&ConnectionName>) -> Result<Inventory> {
        let connections = match only {
            Some(name) => {
                let name = name.clone();
                vec![self.ledger.read(move |tx| tx.connection(&name)).await?]
            }
            None => self.ledger.read(|tx| tx.sound_connections()).await?,
        };
        let mut found = Inventory::default();
        for connection in connections {
            match self.unmanaged(&connection.name).await {
                Ok(keys) => {
                    found.keys.extend(keys);
                    found.connections.push(connection.name);
                }
                Err(error) => drop(found.unread.insert(connection.name, error.message)),
            }
        }
        // Stable: those that are equally bad stay in the provider's order.
        found.keys.sort_by_key(|key| (key.is_parent || key.is_marked, std::cmp::Reverse(weight(&key.risks))));
        Ok(found)
    }

    async fn unmanaged(&self, connection: &ConnectionName) -> Result<Vec<Unmanaged>> {
        let provider = self.outside.provider(connection).await?;
        if provider.facts().recovery == Recovery::Expiry {
            let kind = provider.facts().kind;
            return Err(BrokerError::invalid(format_args!("{kind} has no list of its credentials")));
        }
        // One that ends while the list is read is not said to be left over, and one that is adopted neither.
        let mut managed = self.managed(connection).await?;
        let listed = provider.list(Listing::All).await?;
        let parents = self.parents(connection).await?;
        managed.extend(self.managed(connection).await?);
        let is_unmanaged = |one: &Listed| {
            !managed.contains(&one.provider_key_id)
                && !matches!(self.keyring.markers().recognise(one.label.raw()), Recognised::Ours { .. })
        };
        let left: Vec<Listed> = listed.into_iter().filter(is_unmanaged).collect();
        let now = self.now();
        let looking = left.into_iter().enumerate().map(|(place, listed)| {
            let (provider, connection) = (Arc::clone(&provider), connection.clone());
            let is_parent = parents.contains(&listed.provider_key_id);
            async move { look(provider.as_ref(), connection, listed, is_parent, place < LOOKED_AT, now).await }
        });
        Ok(futures::stream::iter(looking).buffered(AT_A_TIME).collect().await)
    }

    /// The ids of the credentials that are keys of this home, and are not over.
    async fn managed(&self, connection: &ConnectionName) -> Result<BTreeSet<String>> {
        let peers = self.peers(connection).await?;
        let managed = self.ledger.scan(move |tx| {
            let each = peers.iter().map(|peer| tx.credentials_of(peer));
            each.collect::<std::result::Result<Vec<_>, LedgerError>>()
        });
        Ok(managed.await?.into_iter().flatten().collect())
    }

    /// The connections that see the same provider, this one among them: an id means the same credential at each.
    pub(crate) async fn peers(&self, connection: &ConnectionName) -> Result<Vec<ConnectionName>> {
        let of = connection.clone();
        Ok(self.ledger.read(move |tx| peers_of(tx, &of)).await?)
    }

    /// The ids of the credentials by which connections see this provider. One of another connection that can't be asked now is
    /// left out.
    pub(crate) async fn parents(&self, connection: &ConnectionName) -> Result<BTreeSet<String>> {
        let mut parents = BTreeSet::new();
        for peer in self.peers(connection).await? {
            let own = match self.outside.provider(&peer).await {
                Ok(provider) => provider.own_key_id().await.map_err(BrokerError::from),
                Err(error) => Err(error),
            };
            match own {
                Ok(own) => parents.extend(own),
                Err(error) if peer == *connection => return Err(error),
                Err(error) => {
                    tracing::warn!(connection = %peer, message = %error.message, "its own key's id is not known")
                }
            }
        }
        Ok(parents)
    }
}

/// As [`Broker::peers`].
pub(crate) fn peers_of(
    tx: &Tx<'_>,
    connection: &ConnectionName,
) -> std::result::Result<Vec<ConnectionName>, LedgerError> {
    let all = tx.sound_connections()?;
    let at = |one: &Connection| (one.kind.clone(), one.base_url.clone());
    let own = all.iter().find(|one| one.name == *connection).map(at);
    Ok(all.iter().filter(|one| Some(at(one)) == own).map(|one| one.name.clone()).collect())
}

async fn look(
    provider: &dyn Provider,
    connection: ConnectionName,
    mut listed: Listed,
    is_parent: bool,
    is_looked_at: bool,
    now: Timestamp,
) -> Unmanaged {
    let read = if is_looked_at {
        provider.read_back(&listed.provider_key_id).await
    } else {
        let why = format!("only the first {LOOKED_AT} are looked at one by one");
        Err(ProviderError::Unsupported { provider: provider.facts().kind, why })
    };
    let (grant, trouble) = match read {
        Ok(grant) => (Some(grant), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let mut tells_use = listed.last_used_at.is_some();
    if let (true, false, Some(used)) = (is_looked_at, tells_use, provider.last_used())
        && let Ok(at) = used.last_used(&listed.provider_key_id).await
    {
        (listed.last_used_at, tells_use) = (at, true);
    }
    if let Some(grant) = &grant {
        listed.expires_at = listed.expires_at.or(grant.expires_at);
    }
    let named = grant.as_ref().map(|grant| named(provider.facts().kind, grant));
    let known = Known {
        facts: provider.facts(),
        grant: grant.as_ref(),
        escalates: named.as_ref().is_some_and(|named| !named.escalation.is_empty()),
        created_at: listed.created_at,
        last_used_at: listed.last_used_at,
        tells_use,
    };
    let risks = risks(&known, now);
    let permissions = named.map(|named| named.permissions).unwrap_or_default();
    let is_marked = Listing::Marked.wants(listed.label.raw());
    Unmanaged { connection, listed, grant, permissions, trouble, risks, is_parent, is_marked, tells_use }
}

/// What a credential may do, by the catalog. A permission that it does not know keeps the provider's id as its name.
pub(crate) fn named(provider: &str, grant: &ObservedGrant) -> Named {
    let catalog = Catalog::for_provider(provider).ok();
    let mut named = Named { permissions: Vec::new(), escalation: Vec::new(), unlocks: 0, mutating: 0 };
    let mut known = Vec::new();
    for id in &grant.permissions {
        let found = catalog.and_then(|catalog| catalog.permission_by_id(id).ok());
        known.extend(found.map(|found| found.id));
        if found.is_some_and(|found| found.escalation) {
            named.escalation.push(id.clone());
        }
        named.permissions.push(Permission {
            id: id.clone(),
            name: found.map_or_else(|| Untrusted::capped(id, 120).to_string(), |found| found.name.to_owned()),
            scope: found.map(|found| found.scope.to_owned()).unwrap_or_default(),
        });
    }
    if let Some(Ok(footprint)) = catalog.map(|catalog| catalog.unlocks(known)) {
        (named.unlocks, named.mutating) = (count(footprint.total), count(footprint.mutating));
    }
    named
}

/// The resources of a credential, which nobody resolved a name for.
pub(crate) fn unnamed(grant: &ObservedGrant) -> Vec<Resource> {
    let resource =
        |(kind, id): &(String, String)| Resource { kind: kind.clone(), id: id.clone(), name: id.clone() };
    grant.resources.iter().map(resource).collect()
}

/// A difference between the key and its successor, with the catalog's names.
pub(crate) fn said(provider: &str, difference: &Difference) -> String {
    let name = |id: &str| {
        let catalog = keywright_catalog::Catalog::for_provider(provider).ok();
        let found = catalog.and_then(|catalog| catalog.permission_by_id(id).ok());
        found.map_or_else(|| Untrusted::capped(id, 120).to_string(), |found| found.name.to_owned())
    };
    match difference {
        Difference::ExtraPermission(id) => format!("it may do `{}`, which its successor may not", name(id)),
        Difference::MissingPermission(id) => format!("its successor may do `{}`, which it may not", name(id)),
        Difference::ExtraResource(what) => {
            format!("it reaches `{}`, which its successor does not", Untrusted::capped(what, 120))
        }
        Difference::MissingResource(what) => {
            format!("its successor reaches `{}`, which it does not", Untrusted::capped(what, 120))
        }
        Difference::Budget => "its spending cap is another one than its successor's".to_owned(),
        Difference::IpCondition => "it works from other networks than its successor".to_owned(),
        other => other.to_string(),
    }
}

/// The worse a risk, the earlier it stands in the list of all; several are worse than one.
fn weight(risks: &[Risk]) -> u32 {
    risks.iter().map(|risk| 1_u32 << (Risk::ALL.len() - 1 - *risk as usize)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_makes_keys_is_worse_than_all_else_together() {
        let all_else: Vec<Risk> = Risk::ALL.iter().copied().skip(1).collect();
        assert!(weight(&[Risk::Escalation]) > weight(&all_else));
        assert!(weight(&[Risk::NoExpiry, Risk::Unused]) > weight(&[Risk::NoExpiry]));
        assert_eq!(weight(&[]), 0);
    }

    #[test]
    fn permissions_have_the_catalogs_names_and_unknown_ones_their_ids() {
        let catalog = Catalog::for_provider("cloudflare").unwrap();
        let dns = catalog.permission("DNS Write", Some("zone")).unwrap();
        let maker = catalog.permissions().iter().find(|permission| permission.escalation).unwrap();
        let grant = ObservedGrant {
            permissions: [dns.id.to_owned(), maker.id.to_owned(), "odd\u{1b}[2J".to_owned()].into(),
            ..ObservedGrant::default()
        };
        let named = named("cloudflare", &grant);
        let names: Vec<&str> = named.permissions.iter().map(|p| p.name.as_str()).collect();
        assert!(names.contains(&"DNS Write") && names.contains(&maker.name), "{names:?}");
        assert!(names.iter().all(|name| !name.contains('\u{1b}')), "{names:?}");
        assert_eq!(named.escalation, [maker.id]);
        assert!(named.unlocks > 0 && named.mutating > 0);
    }
}
