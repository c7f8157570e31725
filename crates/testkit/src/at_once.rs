//! A provider without a wire, for benches that measure everything else.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use async_trait::async_trait;
use keywright_core::grant::{Grant, ObservedGrant, Permission, Resource};
use keywright_core::marker::Marker;
use keywright_core::plan::Plan;
use keywright_core::policy::Authorized;
use keywright_core::provider::{
    Ended, Evidence, Listed, Listing, Minted, ParentHealth, Provider, ProviderError, ProviderFacts, Recovery,
};
use keywright_core::secret::Secret;
use keywright_core::span::Span;

/// Answers every call at once, from memory.
#[derive(Default)]
pub struct AtOnce {
    made: Mutex<HashMap<String, Grant>>,
}

static FACTS: LazyLock<ProviderFacts> = LazyLock::new(|| ProviderFacts {
    kind: "cloudflare",
    no_mint: None,
    recovery: Recovery::Label,
    evidence: Evidence::None,
    has_expiry: true,
    counts_lifetime: false,
    has_ip_condition: true,
    has_budget: false,
    longest_late_delivery: Span::from_seconds(600),
});

#[async_trait]
impl Provider for AtOnce {
    fn facts(&self) -> &'static ProviderFacts {
        &FACTS
    }

    async fn check(&self) -> Result<ParentHealth, ProviderError> {
        Ok(ParentHealth { what: "nothing".to_owned(), expires_at: None, quota: None, warnings: Vec::new() })
    }

    async fn resolve(&self, kind: &str, value: &str) -> Result<Resource, ProviderError> {
        Ok(Resource { kind: kind.to_owned(), id: "z1".to_owned(), name: value.to_owned() })
    }

    fn confine(&self, _: &[Permission], given: Vec<Resource>) -> Result<Vec<Resource>, ProviderError> {
        Ok(given)
    }

    async fn mint(
        &self,
        _: &Authorized<Plan>,
        grant: &Grant,
        marker: &Marker,
    ) -> Result<Minted, ProviderError> {
        let id = marker.as_str().to_owned();
        self.made.lock().unwrap().insert(id.clone(), grant.clone());
        Ok(Minted { secret: Secret::new(format!("secret-of-{id}")), provider_key_id: id })
    }

    async fn read_back(&self, id: &str) -> Result<ObservedGrant, ProviderError> {
        // What another process made, or was revoked, is gone.
        let grant = self.made.lock().unwrap().get(id).cloned();
        let grant = grant.ok_or(ProviderError::NotFound { provider: "cloudflare", what: "a key" })?;
        Ok(ObservedGrant {
            permissions: grant.permissions.into_iter().map(|p| p.id).collect(),
            resources: grant.resources.into_iter().map(|r| (r.kind, r.id)).collect(),
            expires_at: grant.expires_at,
            ip_allow: grant.ip_allow.into_iter().collect(),
            budget_cents: grant.budget_cents,
            ..ObservedGrant::default()
        }
        .labelled(id))
    }

    async fn probe(&self, _: &Secret, _: &str) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn list(&self, _: Listing) -> Result<Vec<Listed>, ProviderError> {
        Ok(Vec::new())
    }

    async fn revoke(&self, id: &str) -> Result<Ended, ProviderError> {
        let made = self.made.lock().unwrap().remove(id);
        Ok(if made.is_some() { Ended::Taken } else { Ended::NotFound })
    }
}
