//! Switching a token off and on: `PUT .../tokens/{id}` with another `status`.
//!
//! The PUT replaces the whole token, and the API has no precondition. So: read, write back what was read with the new
//! status, read again. The last reading must show the status that was asked for, the write's own `modified_on`, and
//! everything else as it was; a difference means that somebody else wrote at the same time, and is an error.

use async_trait::async_trait;
use jiff::Timestamp;
use keywright_core::provider::{Disable, ProviderError};
use keywright_core::text::Untrusted;
use serde::Serialize;
use serde_json::{Map, Value};

use super::envelope::About;
use super::shapes::{GroupBody, Policy, Token};
use super::{Cloudflare, KIND};

/// The whole token, as it was read, but for the fields that are the provider's to write.
#[derive(Serialize)]
struct ReplaceBody<'a> {
    name: &'a str,
    status: &'static str,
    policies: Vec<SamePolicy<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_on: Option<Timestamp>,
}

/// A policy as it was read.
#[derive(Serialize)]
pub(super) struct SamePolicy<'a> {
    effect: &'a str,
    resources: &'a Map<String, Value>,
    permission_groups: Vec<GroupBody<'a>>,
}

impl<'a> SamePolicy<'a> {
    /// Those of a token.
    pub(super) fn all_of(token: &'a Token) -> Vec<Self> {
        let groups = |policy: &'a Policy| policy.permission_groups.iter().map(|g| GroupBody { id: &g.id });
        let same = |policy: &'a Policy| Self {
            effect: &policy.effect,
            resources: &policy.resources,
            permission_groups: groups(policy).collect(),
        };
        token.policies.iter().map(same).collect()
    }
}

#[async_trait]
impl Disable for Cloudflare {
    async fn disable(&self, provider_key_id: &str) -> Result<(), ProviderError> {
        self.switch(provider_key_id, "disabled").await
    }

    async fn enable(&self, provider_key_id: &str) -> Result<(), ProviderError> {
        self.switch(provider_key_id, "active").await
    }
}

impl Cloudflare {
    async fn switch(&self, id: &str, status: &'static str) -> Result<(), ProviderError> {
        let before = self.token(id).await?;
        match (before.status.as_str(), status) {
            (now, wanted) if now == wanted => return Ok(()),
            ("expired", "disabled") => return Ok(()),
            ("expired", _) => return Err(refused("the token has expired")),
            _ => {}
        }
        let about = About { what: "token", needs: self.owner.write_permission() };
        let written: Token = self.api.replace(self.owner.token(id)?, &whole(&before, status), about).await?;
        let after = self.token(id).await?;
        let ours = after.modified_on == written.modified_on && after.modified_on >= before.modified_on;
        if after.status == status && ours && same_reach(&before, &after) {
            Ok(())
        } else {
            Err(refused("somebody else changed the token at the same time"))
        }
    }
}

fn whole<'a>(token: &'a Token, status: &'static str) -> ReplaceBody<'a> {
    ReplaceBody {
        name: &token.name,
        status,
        policies: SamePolicy::all_of(token),
        condition: token.condition.as_ref().filter(|condition| !condition.is_null()),
        not_before: token.not_before,
        expires_on: token.expires_on,
    }
}

/// Whether two readings of a token allow the same.
fn same_reach(one: &Token, two: &Token) -> bool {
    let policies = |token: &Token| -> Vec<_> {
        let of = |policy: &Policy| {
            let groups: Vec<_> = policy.permission_groups.iter().map(|group| group.id.clone()).collect();
            (policy.effect.clone(), policy.resources.clone(), groups)
        };
        token.policies.iter().map(of).collect()
    };
    one.name == two.name
        && one.condition == two.condition
        && one.not_before == two.not_before
        && one.expires_on == two.expires_on
        && policies(one) == policies(two)
}

fn refused(message: &str) -> ProviderError {
    let message = Untrusted::capped(message, 120);
    let hint = Some("look at the token and try again".to_owned());
    ProviderError::Refused { provider: KIND, code: None, message, hint }
}
