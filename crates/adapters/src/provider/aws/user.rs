//! Users: one for each credential, with one inline policy and one access key.
//!
//! `UserName` stands in every call: without it, the calls about access keys act on the caller.

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::Timestamp;
use keywright_core::grant::{Grant, ObservedGrant};
use keywright_core::marker::Marker;
use keywright_core::plan::Plan;
use keywright_core::provider::{Disable, Ended, LastUsed, Listed, Listing, Minted, ProviderError};
use keywright_core::span::Span;
use keywright_core::text::Untrusted;
use url::form_urlencoded;

use super::{Aws, KIND, document, policy, unknown, unsupported};
use crate::aws::Element;
use crate::rest::{Failure, Proof, after_create};

/// Where they lie, so that the parent's own rights can be confined to them.
pub(super) const PATH: &str = "/keywright/";
/// The start of every marker.
const POLICY: &str = "keywright";
/// AWS does not say how far the last use lags behind; this is its figure for the services that a user has used.
const USE_LAG_SECONDS: u64 = 4 * 3_600;
/// More pages than any account has.
const MOST_PAGES: usize = 1_000;
const NEEDS: &str = "the IAM actions that `provider check` names, on users below `/keywright/`";

impl Aws {
    /// The user, its policy, its key: each is sent once. The policy comes before the key, so that no key is ever without.
    pub(super) async fn make_user(
        &self,
        boundary: Option<&str>,
        policy: &str,
        grant: &Grant,
        plan: &Plan,
        marker: &Marker,
    ) -> Result<Minted, ProviderError> {
        let (name, request) = (marker.as_str(), plan.request.to_string());
        let mut fields = vec![
            ("UserName", name),
            ("Path", PATH),
            ("Tags.member.1.Key", "keywright:who"),
            ("Tags.member.1.Value", plan.principal.name()),
            ("Tags.member.2.Key", "keywright:request"),
            ("Tags.member.2.Value", &request),
        ];
        fields.extend(boundary.map(|arn| ("PermissionsBoundary", arn)));
        if let Err(failure) = self.iam.once("CreateUser", &fields).await {
            let is_full = failure.code() == Some("LimitExceeded");
            return Err(match after_create(self, failure, marker, NEEDS).await {
                ProviderError::Refused { message, .. } if is_full => {
                    ProviderError::QuotaExhausted { provider: KIND, message }
                }
                other => other,
            });
        }
        let fields = [("UserName", name), ("PolicyName", POLICY), ("PolicyDocument", policy)];
        if let Err(failure) = self.iam.once("PutUserPolicy", &fields).await {
            return Err(self.without_key(name, failure).await);
        }
        match self.iam.once("CreateAccessKey", &[("UserName", name)]).await {
            Ok(made) => {
                let key = made.child("AccessKey").filter(|key| key.text("UserName") == Some(name));
                let document = key.and_then(|key| document(key, grant.expires_at));
                let secret = document.and_then(|document| document.into_secret().ok());
                let secret = secret.ok_or_else(|| unknown("the answer holds no usable key".to_owned()))?;
                Ok(Minted { provider_key_id: name.to_owned(), secret })
            }
            Err(failure) => Err(self.without_key(name, failure).await),
        }
    }

    /// A user exists without a key, as far as is known: it goes again. Where a key may exist, the broker looks for it.
    async fn without_key(&self, name: &str, failure: Failure) -> ProviderError {
        let proof = failure.proof;
        let error = failure.of_provider(KIND, "such user", NEEDS);
        if proof == Proof::Nothing {
            return unknown(error.to_string());
        }
        match self.end_user(name).await {
            Ok(_) => error,
            Err(left) => {
                unknown(format!("{error}, and the user that was made for it is still there: {left}"))
            }
        }
    }

    pub(super) async fn list_users(&self, which: Listing) -> Result<Vec<Listed>, ProviderError> {
        let path = match which {
            Listing::Marked => PATH,
            Listing::All => "/",
        };
        let users = self.pages("ListUsers", &[("PathPrefix", path)], "Users").await.map_err(none)?;
        let all = users.iter().map(|user| {
            let name = user.text("UserName")?;
            // Whether its key works the list does not say.
            Some(which.wants(name).then(|| Listed {
                created_at: user.text("CreateDate").and_then(|text| text.parse().ok()),
                ..Listed::of(name.to_owned(), name)
            }))
        });
        let all: Option<Vec<Option<Listed>>> = all.collect();
        let nameless = || none(Failure::garbled("a user has no name".to_owned()));
        Ok(all.ok_or_else(nameless)?.into_iter().flatten().collect())
    }

    /// What the user may do: the one policy. Anything else that gives or takes rights is not understood.
    pub(super) async fn read_user(
        &self,
        name: &str,
        boundary: Option<&str>,
    ) -> Result<ObservedGrant, ProviderError> {
        let user = self.iam.call("GetUser", &[("UserName", own(name)?)]).await.map_err(none)?;
        let of_user = [("UserName", name)];
        let fields = [("UserName", name), ("PolicyName", POLICY)];
        let policy = self.iam.call("GetUserPolicy", &fields).await.map_err(none)?;
        // Percent-encoded (RFC 3986).
        let encoded = format!("_={}", policy.text("PolicyDocument").unwrap_or_default());
        let text = form_urlencoded::parse(encoded.as_bytes()).next().map(|(_, text)| text.into_owned());
        let mut observed = policy::observe(&text.unwrap_or_default(), &self.home);
        let mut note = |what: String| observed.not_understood.push(Untrusted::capped(&what, 120));
        let names = self.pages("ListUserPolicies", &of_user, "PolicyNames").await.map_err(none)?;
        for other in names.iter().map(Element::own_text).filter(|name| *name != POLICY) {
            note(format!("another policy, {other}"));
        }
        for (action, list, path) in [
            ("ListAttachedUserPolicies", "AttachedPolicies", "PolicyName"),
            ("ListGroupsForUser", "Groups", "GroupName"),
        ] {
            for one in self.pages(action, &of_user, list).await.map_err(none)? {
                note(format!("{list} {}", one.text(path).unwrap_or_default()));
            }
        }
        let keys = self.keys(name).await?;
        if !matches!(keys.as_slice(), [(_, active)] if *active) {
            note(format!("{} access keys, or one that is switched off", keys.len()));
        }
        let within = user.text("User/PermissionsBoundary/PermissionsBoundaryArn");
        // A boundary that nobody asked for only takes rights away; one that is missing does not.
        if boundary.is_some() && within != boundary {
            note(format!("the boundary is {}", within.unwrap_or("missing")));
        }
        Ok(observed.labelled(user.text("User/UserName").unwrap_or_default()))
    }

    /// The key, the policy, the user. Each may be gone already.
    pub(super) async fn end_user(&self, name: &str) -> Result<Ended, ProviderError> {
        let keys = match self.keys(own(name)?).await {
            Err(ProviderError::NotFound { .. }) => return Ok(Ended::NotFound),
            other => other?,
        };
        for (id, _) in &keys {
            self.gone("DeleteAccessKey", &[("UserName", name), ("AccessKeyId", id)]).await?;
        }
        self.gone("DeleteUserPolicy", &[("UserName", name), ("PolicyName", POLICY)]).await?;
        self.gone("DeleteUser", &[("UserName", name)]).await?;
        Ok(Ended::Taken)
    }

    async fn gone(&self, action: &str, fields: &[(&str, &str)]) -> Result<(), ProviderError> {
        match self.iam.call(action, fields).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.is_not_found() => Ok(()),
            Err(failure) => Err(none(failure)),
        }
    }

    /// The ids of a user's access keys, and whether each is active.
    async fn keys(&self, name: &str) -> Result<Vec<(String, bool)>, ProviderError> {
        let keys =
            self.pages("ListAccessKeys", &[("UserName", name)], "AccessKeyMetadata").await.map_err(none)?;
        let read =
            |key: &Element| Some((key.text("AccessKeyId")?.to_owned(), key.text("Status") == Some("Active")));
        let keys: Option<Vec<_>> = keys.iter().map(read).collect();
        keys.ok_or_else(|| none(Failure::garbled("an access key has no id".to_owned())))
    }

    async fn switch(&self, name: &str, status: &str) -> Result<(), ProviderError> {
        let keys = self.keys(own(name)?).await?;
        if keys.is_empty() {
            return Err(ProviderError::NotFound { provider: KIND, what: "access key of this user" });
        }
        for (id, _) in keys {
            let fields = [("UserName", name), ("AccessKeyId", id.as_str()), ("Status", status)];
            self.iam.call("UpdateAccessKey", &fields).await.map_err(none)?;
        }
        Ok(())
    }

    /// A list to its end, or an error.
    async fn pages(
        &self,
        action: &str,
        fields: &[(&str, &str)],
        list: &str,
    ) -> Result<Vec<Element>, Failure> {
        let mut all = Vec::new();
        let (mut next, mut seen) = (None::<String>, BTreeSet::new());
        for _ in 0..MOST_PAGES {
            let mut fields = fields.to_vec();
            fields.extend(next.as_deref().map(|marker| ("Marker", marker)));
            let page = self.iam.call(action, &fields).await?;
            let truncated = page.text("IsTruncated") == Some("true");
            let marker = page.text("Marker").map(str::to_owned);
            let members = page.into_child(list);
            let members = members.ok_or_else(|| Failure::garbled(format!("it has no `{list}`")))?;
            all.extend(members.into_members());
            match marker.filter(|_| truncated) {
                Some(marker) if seen.insert(marker.clone()) => next = Some(marker),
                None if !truncated => return Ok(all),
                _ => break,
            }
        }
        Err(Failure::garbled("the list does not come to its end".to_owned()))
    }
}

/// Only users of our own are ever touched.
fn own(name: &str) -> Result<&str, ProviderError> {
    if Listing::Marked.wants(name) {
        Ok(name)
    } else {
        Err(unsupported("this is no user of Keywright's".to_owned()))
    }
}

fn none(failure: Failure) -> ProviderError {
    failure.of_provider(KIND, "such user", NEEDS)
}

#[async_trait]
impl Disable for Aws {
    async fn disable(&self, provider_key_id: &str) -> Result<(), ProviderError> {
        self.switch(provider_key_id, "Inactive").await
    }

    async fn enable(&self, provider_key_id: &str) -> Result<(), ProviderError> {
        self.switch(provider_key_id, "Active").await
    }
}

#[async_trait]
impl LastUsed for Aws {
    async fn last_used(&self, provider_key_id: &str) -> Result<Option<Timestamp>, ProviderError> {
        let mut last = None;
        for (id, _) in self.keys(own(provider_key_id)?).await? {
            let used = self.iam.call("GetAccessKeyLastUsed", &[("AccessKeyId", &id)]).await.map_err(none)?;
            let Some(text) = used.text("AccessKeyLastUsed/LastUsedDate") else { continue };
            let at: Timestamp =
                text.parse().map_err(|_| none(Failure::garbled("the last use has no time".to_owned())))?;
            last = last.max(Some(at));
        }
        Ok(last)
    }

    fn lag(&self) -> Span {
        Span::from_seconds(USE_LAG_SECONDS)
    }
}
