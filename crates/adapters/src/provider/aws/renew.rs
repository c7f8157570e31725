//! A successor for the parent: the other access key of the same user, which may do the same by being of it.
//!
//! AWS allows two access keys a user, and gives them no labels. So there has to be one free place before anything is sent,
//! and whatever stands beside the parent afterwards, and was made since, is what the attempt left.
//!
//! The parent needs `iam:CreateAccessKey`, `iam:ListAccessKeys`, `iam:UpdateAccessKey` and `iam:DeleteAccessKey` on its own
//! user. `UserName` stands in every call.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use keywright_core::marker::Marker;
use keywright_core::provider::{Minted, Parent, ProviderError, RenewsParent, Switched};
use keywright_core::secret::Secret;

use super::{Aws, KIND, unknown, unsupported};
use crate::aws::{Element, Keys};
use crate::rest::{Failure, Proof};

const NEEDS: &str = "`iam:CreateAccessKey`, `iam:ListAccessKeys`, `iam:UpdateAccessKey` and `iam:DeleteAccessKey` on its own user";
/// How many access keys a user may have.
const MOST: usize = 2;
/// How far AWS's clock and ours may differ: it takes no signature beyond.
const CLOCKS_APART: Duration = Duration::from_secs(900);

/// An access key of the parent's user.
struct AccessKey {
    id: String,
    is_active: bool,
    made_at: Option<Timestamp>,
}

impl Aws {
    /// The user whom the parent belongs to.
    async fn own_user(&self) -> Result<String, ProviderError> {
        let who = self.sts.call("GetCallerIdentity", &[]).await;
        let who = who.map_err(|failure| failure.of_provider(KIND, "such key", "an access key that works"))?;
        let arn = who.text("Arn").unwrap_or_default();
        let users = format!("arn:{}:iam::{}:user/", self.home.partition, self.home.account);
        let name = arn.strip_prefix(&users).and_then(|path| path.rsplit('/').next());
        let name = name.filter(|name| !name.is_empty() && !self.parent_is_temporary);
        name.map(str::to_owned).ok_or_else(|| {
            unsupported(
                "only the access key of a user can have a successor, not that of a role or of root"
                    .to_owned(),
            )
        })
    }

    async fn keys_of(&self, user: &str) -> Result<Vec<AccessKey>, ProviderError> {
        let listed = self.iam.call("ListAccessKeys", &[("UserName", user)]).await.map_err(told)?;
        if listed.text("IsTruncated") == Some("true") {
            return Err(told(Failure::garbled("a user has more access keys than there can be".to_owned())));
        }
        let read = |key: &Element| {
            Some(AccessKey {
                id: key.text("AccessKeyId")?.to_owned(),
                is_active: key.text("Status") == Some("Active"),
                made_at: key.text("CreateDate").and_then(|text| text.parse().ok()),
            })
        };
        let keys: Option<Vec<_>> = listed.members("AccessKeyMetadata").map(read).collect();
        keys.ok_or_else(|| told(Failure::garbled("an access key has no id".to_owned())))
    }

    async fn set_status(&self, id: &str, status: &str) -> Result<(), ProviderError> {
        let user = self.own_user().await?;
        let fields = [("UserName", user.as_str()), ("AccessKeyId", id), ("Status", status)];
        self.iam.call("UpdateAccessKey", &fields).await.map(drop).map_err(told)
    }
}

fn told(failure: Failure) -> ProviderError {
    failure.of_provider(KIND, "such access key", NEEDS)
}

#[async_trait]
impl RenewsParent for Aws {
    async fn parent(&self) -> Result<Parent, ProviderError> {
        let keys = self.keys_of(&self.own_user().await?).await?;
        let beside: BTreeSet<String> =
            keys.into_iter().map(|key| key.id).filter(|id| *id != self.parent_id).collect();
        if beside.len() + 1 >= MOST {
            let other = beside.into_iter().next().unwrap_or_default();
            return Err(unsupported(format!(
                "its user has two access keys already, which is the most: end {other} at AWS first, if nothing uses it"
            )));
        }
        Ok(Parent { id: self.parent_id.clone(), beside })
    }

    async fn own(&self) -> Result<String, ProviderError> {
        Ok(self.parent_id.clone())
    }

    async fn succeed(&self, _: &Parent, _: &Marker, _: Timestamp) -> Result<Minted, ProviderError> {
        let user = self.own_user().await?;
        let made = match self.iam.once("CreateAccessKey", &[("UserName", &user)]).await {
            Ok(made) => made,
            Err(failure) if failure.proof == Proof::Nothing => {
                return Err(unknown(told(failure).to_string()));
            }
            Err(failure) => return Err(told(failure)),
        };
        let key = made.child("AccessKey").filter(|key| key.text("UserName") == Some(&user));
        let text = |path| key.and_then(|key| key.text(path)).unwrap_or_default();
        let (id, secret) = (text("AccessKeyId"), text("SecretAccessKey"));
        if Keys::new(id, secret, None).is_none() {
            return Err(unknown("the answer holds no usable key".to_owned()));
        }
        Ok(Minted { provider_key_id: id.to_owned(), secret: Secret::new(format!("{id}:{secret}")) })
    }

    async fn left_by(
        &self,
        parent: &Parent,
        _: &Marker,
        since: Timestamp,
    ) -> Result<Vec<String>, ProviderError> {
        let since = since.checked_sub(CLOCKS_APART).unwrap_or(Timestamp::MIN);
        let keys = self.keys_of(&self.own_user().await?).await?;
        let is_left = |key: &AccessKey| {
            key.id != parent.id
                && key.id != self.parent_id
                && !parent.beside.contains(&key.id)
                && key.made_at.is_some_and(|at| at >= since)
        };
        Ok(keys.into_iter().filter(is_left).map(|key| key.id).collect())
    }

    async fn tried(&self, secret: &Secret, id: &str) -> Result<(), ProviderError> {
        let keys = Keys::parse(secret).filter(|keys| keys.id == id);
        let keys = keys.ok_or_else(|| unsupported("the secret is no access key".to_owned()))?;
        let who = self.wait_until_known(&keys).await?;
        self.is_of_user(&who, &self.own_user().await?)
    }

    /// Two keys of one user may do the same. Both have to be there, and to work.
    async fn differences(&self, one: &str, other: &str) -> Result<Vec<String>, ProviderError> {
        let keys = self.keys_of(&self.own_user().await?).await?;
        for id in [one, other] {
            match keys.iter().find(|key| key.id == id) {
                None => return Err(ProviderError::NotFound { provider: KIND, what: "such access key" }),
                Some(key) if !key.is_active => return Ok(vec!["one of the two is switched off".to_owned()]),
                Some(_) => {}
            }
        }
        Ok(Vec::new())
    }

    async fn switch_off(&self, id: &str) -> Result<Switched, ProviderError> {
        match self.set_status(id, "Inactive").await {
            Ok(()) | Err(ProviderError::NotFound { .. }) => Ok(Switched::Off),
            Err(error) => Err(error),
        }
    }

    async fn switch_on(&self, id: &str) -> Result<(), ProviderError> {
        self.set_status(id, "Active").await
    }

    async fn end(&self, id: &str) -> Result<(), ProviderError> {
        let user = self.own_user().await?;
        match self.iam.call("DeleteAccessKey", &[("UserName", user.as_str()), ("AccessKeyId", id)]).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.is_not_found() => Ok(()),
            Err(failure) => Err(told(failure)),
        }
    }

    async fn is_gone(&self, id: &str) -> Result<bool, ProviderError> {
        let keys = self.keys_of(&self.own_user().await?).await?;
        Ok(keys.iter().all(|key| key.id != id))
    }
}
