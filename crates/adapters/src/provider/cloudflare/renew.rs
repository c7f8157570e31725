//! A successor for the parent: a token with the same policies and conditions, named by the marker and what the parent
//! was called.
//!
//! A token that makes tokens can make one like itself. Its end is as far from its beginning as the parent's was.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use jiff::Timestamp;
use keywright_core::marker::Marker;
use keywright_core::provider::{
    Disable as _, Listing, Minted, Parent, Provider as _, ProviderError, RenewsParent, Switched,
};
use keywright_core::secret::Secret;
use serde::Serialize;

use super::Cloudflare;
use super::create::Created;
use super::shapes::Token;
use super::switch::SamePolicy;
use crate::provider::whole_seconds;

/// The longest name, in characters.
const LONGEST_NAME: usize = 120;

/// The body of `POST .../tokens`, for a token like another.
#[derive(Serialize)]
struct LikeBody<'a> {
    name: &'a str,
    policies: Vec<SamePolicy<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<&'a serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_on: Option<String>,
}

#[async_trait]
impl RenewsParent for Cloudflare {
    async fn parent(&self) -> Result<Parent, ProviderError> {
        let own = self.own().await?;
        self.may_make_tokens(&self.token(&own).await?)?;
        Ok(Parent { id: own, beside: BTreeSet::new() })
    }

    async fn own(&self) -> Result<String, ProviderError> {
        Ok(self.verify_parent().await?.id)
    }

    async fn succeed(
        &self,
        parent: &Parent,
        marker: &Marker,
        now: Timestamp,
    ) -> Result<Minted, ProviderError> {
        let token = self.token(&parent.id).await?;
        let name = named(marker, &token.name);
        let lifetime = token.expires_on.zip(token.issued_on).map(|(end, begin)| end.duration_since(begin));
        let end = lifetime.map(|lifetime| now.checked_add(lifetime).unwrap_or(Timestamp::MAX));
        let body = LikeBody {
            name: &name,
            policies: SamePolicy::all_of(&token),
            condition: token.condition.as_ref().filter(|condition| !condition.is_null()),
            expires_on: end.map(whole_seconds),
        };
        self.create_named(Created { name: &name, body: &body }, marker).await
    }

    async fn left_by(
        &self,
        parent: &Parent,
        marker: &Marker,
        _: Timestamp,
    ) -> Result<Vec<String>, ProviderError> {
        let own = self.own().await?;
        let marked = self.list_tokens(Listing::Marked).await?;
        let of_attempt = marked.into_iter().filter(|token| token.label.raw().starts_with(marker.as_str()));
        let ids = of_attempt.map(|token| token.provider_key_id);
        Ok(ids.filter(|id| *id != own && *id != parent.id).collect())
    }

    async fn tried(&self, secret: &Secret, id: &str) -> Result<(), ProviderError> {
        self.wait_until_works(secret, id).await
    }

    async fn differences(&self, one: &str, other: &str) -> Result<Vec<String>, ProviderError> {
        let (one, other) = (self.token(one).await?, self.token(other).await?);
        let mut found = Vec::new();
        if reach(&one) != reach(&other) {
            found.push("its policies".to_owned());
        }
        let condition = |token: &Token| token.condition.clone().filter(|condition| !condition.is_null());
        if condition(&one) != condition(&other) {
            found.push("the addresses that it works from".to_owned());
        }
        if one.expires_on.is_some() != other.expires_on.is_some() {
            found.push("whether it expires".to_owned());
        }
        let odd = |token: &Token| -> Vec<String> { token.rest.keys().cloned().collect() };
        if odd(&one) != odd(&other) {
            found.push("fields that are not known here".to_owned());
        }
        Ok(found)
    }

    async fn switch_off(&self, id: &str) -> Result<Switched, ProviderError> {
        match self.disable(id).await {
            Ok(()) | Err(ProviderError::NotFound { .. }) => Ok(Switched::Off),
            Err(error) => Err(error),
        }
    }

    async fn switch_on(&self, id: &str) -> Result<(), ProviderError> {
        self.enable(id).await
    }

    async fn end(&self, id: &str) -> Result<(), ProviderError> {
        self.revoke(id).await.map(drop)
    }

    async fn is_gone(&self, id: &str) -> Result<bool, ProviderError> {
        match self.token(id).await {
            Ok(_) => Ok(false),
            Err(ProviderError::NotFound { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// The marker, and behind it what a person called the first of them.
fn named(marker: &Marker, before: &str) -> String {
    let theirs = match before.split_once(' ') {
        Some((first, rest)) if first.starts_with("kw-") => rest,
        None if before.starts_with("kw-") => "",
        _ => before,
    };
    let name = format!("{marker} {theirs}");
    name.trim_end().chars().take(LONGEST_NAME).collect()
}

/// What the policies allow and deny on what, in no order.
fn reach(token: &Token) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut reach: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for policy in &token.policies {
        let resources: BTreeMap<_, _> =
            policy.resources.iter().map(|(name, value)| (name, value.to_string())).collect();
        let on = (policy.effect.clone(), format!("{resources:?}"));
        let groups = policy.permission_groups.iter().map(|group| group.id.clone());
        reach.entry(on).or_default().extend(groups);
    }
    reach
}
