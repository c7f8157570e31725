//! How the parent is doing: does it work, may it mint, and could it do more than it should?

use keywright_core::provider::{Listing, ParentHealth, ProviderError};
use keywright_core::text::{Untrusted, escaped};

use super::envelope::{About, Failure};
use super::owner::Owner;
use super::shapes::{Group, Token, Verified};
use super::{Cloudflare, KIND};

/// Makes tokens: of the account, of the user.
const MAKES_TOKENS: [&str; 2] = ["5bc3f8b21c554832afc660159ab75fa4", "686d18d5ac6c441c867cbf6771e58a0a"];
/// Reads tokens, and the names that requests are resolved against: (Account) API Tokens Read, Zone Read, Account
/// Settings Read.
const HELPS_MINTING: [&str; 4] = [
    "eb56a6953c034b9d97dd838155666f06",
    "0cc3a61731504c89b99ec1be78b77aa0",
    "c8fed203ed3043cba015a93ad1616f1f",
    "c1fde68c7bcc44588cbb6ddbc16d6480",
];
/// How many groups a warning names.
const MOST_NAMED: usize = 5;

impl Cloudflare {
    /// See [`keywright_core::provider::Provider::check`].
    pub(super) async fn parent_health(&self) -> Result<ParentHealth, ProviderError> {
        let verified = self.verify_parent().await?;
        let mut warnings = Vec::new();
        if self.owner == Owner::User {
            warnings.push(
                "it belongs to a person: it ends when they leave, and 50 keys are the most; prefer an account-owned \
                 token"
                    .to_owned(),
            );
        }
        if verified.expires_on.is_none() {
            warnings.push("it has no expiry; give it one".to_owned());
        }
        match self.token(&verified.id).await {
            Ok(token) => warnings.extend(self.judge(&token)?),
            Err(error @ ProviderError::Unauthorized { .. }) => {
                warnings.push(format!("what it may do can't be seen: {error}"));
            }
            Err(error) => return Err(error),
        }
        if let Err(error) = self.group_scopes().await {
            warnings.push(format!("permission groups can't be listed, so no key could be checked: {error}"));
        }
        let quota = match self.list_tokens(Listing::All).await {
            Ok(tokens) => Some((u64::try_from(tokens.len()).unwrap_or(u64::MAX), self.owner.quota())),
            Err(error) => {
                warnings.push(format!("keys can't be listed, so no orphan could be found: {error}"));
                None
            }
        };
        if let Some((count, most)) = quota.filter(|(count, most)| count * 10 >= most * 9) {
            warnings.push(format!("{count} of {most} keys exist"));
        }
        let what = self.owner.describe().to_owned();
        Ok(ParentHealth { what, expires_at: verified.expires_on, quota, warnings })
    }

    pub(super) async fn verify_parent(&self) -> Result<Verified, ProviderError> {
        let about = About { what: "token", needs: "an active token of this owner" };
        match self.api.show::<Verified>(self.owner.tokens_and("verify"), about).await {
            Ok(verified) if verified.status == "active" => Ok(verified),
            Ok(verified) => Err(unauthorized(&format!("the token is {}", verified.status))),
            Err(failure) => Err(self.explain(failure).await),
        }
    }

    /// A token of the other owner is the likeliest mistake; the provider only says "invalid".
    async fn explain(&self, failure: Failure) -> ProviderError {
        let about = About { what: "token", needs: "an active token" };
        let is_denied = matches!(failure.error, ProviderError::Unauthorized { .. });
        if is_denied && matches!(self.owner, Owner::Account(_)) {
            let as_user = self.api.show::<Verified>(vec!["user", "tokens", "verify"], about).await;
            if as_user.is_ok() {
                return unauthorized(
                    "it is a user-owned token; add the connection with `owner=user`, or better: make an \
                     account-owned token",
                );
            }
        }
        failure.into()
    }

    /// Whether a token may make others.
    pub(super) fn may_make_tokens(&self, token: &Token) -> Result<(), ProviderError> {
        if allowed(token).iter().any(|group| MAKES_TOKENS.contains(&group.id.as_str())) {
            return Ok(());
        }
        Err(unauthorized(&format!("it lacks `{}`, so it can't mint", self.owner.write_permission())))
    }

    fn judge(&self, token: &Token) -> Result<Vec<String>, ProviderError> {
        self.may_make_tokens(token)?;
        let mut warnings = Vec::new();
        let groups = allowed(token);
        let harmless = |id: &str| MAKES_TOKENS.contains(&id) || HELPS_MINTING.contains(&id);
        let more: Vec<_> = groups
            .iter()
            .filter(|group| !harmless(&group.id))
            .map(|group| format!("`{}`", escaped(&group.name)))
            .collect();
        if !more.is_empty() {
            let named = more.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
            let rest = more.len().saturating_sub(MOST_NAMED);
            let tail = if rest > 0 { format!(" and {rest} more") } else { String::new() };
            warnings.push(format!("it can do more than mint: {named}{tail}; take that away"));
        }
        if token.condition.as_ref().is_none_or(serde_json::Value::is_null) && !self.api.is_loopback() {
            warnings.push("it works from every address; confine it to the broker's".to_owned());
        }
        Ok(warnings)
    }
}

fn allowed(token: &Token) -> Vec<&Group> {
    let allows = token.policies.iter().filter(|policy| policy.effect == "allow");
    allows.flat_map(|policy| &policy.permission_groups).collect()
}

fn unauthorized(message: &str) -> ProviderError {
    ProviderError::Unauthorized { provider: KIND, message: Untrusted::capped(message, 200) }
}
