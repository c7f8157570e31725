//! The live list of permission groups: which scope a group has. A policy does not say it, and a group that stands
//! beside a resource of another scope does nothing, or something that we don't know of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use keywright_core::provider::ProviderError;

use super::Cloudflare;
use super::envelope::About;
use super::resource::Scope;
use super::shapes::{KnownGroup, Token};

/// Scopes by group id.
pub(super) type Scopes = BTreeMap<String, BTreeSet<Scope>>;

/// What was learned so far. Ids are stable, so this is only asked again when an unknown one turns up.
#[derive(Default)]
pub(super) struct GroupScopes(Mutex<Arc<Scopes>>);

impl GroupScopes {
    /// The scopes of at least the groups that a token holds, as far as the provider lists them.
    pub(super) async fn of(
        &self,
        connection: &Cloudflare,
        token: &Token,
    ) -> Result<Arc<Scopes>, ProviderError> {
        let known = Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut groups = token.policies.iter().flat_map(|policy| &policy.permission_groups);
        if groups.all(|group| known.contains_key(&group.id)) {
            return Ok(known);
        }
        let fresh = Arc::new(connection.group_scopes().await?);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
        Ok(fresh)
    }
}

impl Cloudflare {
    /// `GET .../tokens/permission_groups`.
    pub(super) async fn group_scopes(&self) -> Result<Scopes, ProviderError> {
        let about = About { what: "permission groups", needs: self.owner.read_permission() };
        let groups: Vec<KnownGroup> =
            self.api.show(self.owner.tokens_and("permission_groups"), about).await?;
        let scopes =
            |group: &KnownGroup| group.scopes.iter().filter_map(|scope| Scope::parse(scope)).collect();
        Ok(groups.into_iter().map(|group| (group.id.clone(), scopes(&group))).collect())
    }
}
