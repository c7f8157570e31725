//! AWS: sessions of a role, or access keys of users of their own (STS 2011-06-15, IAM 2010-05-08).
//!
//! A connection mints in one of two ways, by its setting `mode`. It is the connection's and not the template's, because
//! the parent's rights differ: one may take a role, the other may make users.
//!
//! * **`session`** (the default): `AssumeRole` on the connection's `role` with a session policy. The session may do what
//!   the role and the policy both allow, so that a mint can only narrow. It ends by itself, 12 hours from now at the
//!   latest; it can't be listed, read, or ended before ([`Recovery::Expiry`]). The marker is the session's name; agent
//!   and request are its source identity and its tags, all of which CloudTrail shows.
//! * **`user`**: one IAM user for each credential, below the path `/keywright/` and named by the marker, with one inline
//!   policy and one access key ([`Recovery::Container`]). `boundary` confines whatever the policy might say.
//!
//! In both the policy ends by a condition on the time, so that AWS itself keeps the expiry to the second, also for access
//! keys, which have none.
//!
//! The secret is what a `credential_process` prints, the JSON that the AWS CLI and the SDKs read:
//! `{"Version": 1, "AccessKeyId": ..., "SecretAccessKey": ..., "SessionToken": ..., "Expiration": ...}`.

mod parent;
mod policy;
mod renew;
mod resource;
mod session;
mod user;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use keywright_core::grant::{Grant, ObservedGrant, Permission, Resource};
use keywright_core::marker::Marker;
use keywright_core::plan::Plan;
use keywright_core::policy::Authorized;
use keywright_core::provider::{
    Disable, Ended, Evidence, LastUsed, Listed, Listing, Minted, ParentHealth, Provider, ProviderError,
    ProviderFacts, Recovery, RenewsParent,
};
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::{ConnectError, ConnectionConfig, PLAIN, Setting, TIMEOUT, another_key};
use crate::aws::{self, Element, Keys, QueryApi};
use crate::rest::Failure;
use crate::wire::{Wire, jittered};
use resource::Home;

pub(super) use resource::PARAMETERS;

/// The kind, as in `provider add aws`.
pub(super) const KIND: &str = "aws";
pub(super) const SETTINGS: &[Setting] = &[
    ("mode", "what a key is: `session` of a role, or the access key of a `user`; `session` unless set"),
    ("role", "with `session`: the role whose sessions are the keys, by name or ARN"),
    ("boundary", "with `user`: the permissions boundary of every user, a policy's name or ARN"),
    ("region", "of resources that are given by name; `us-east-1` unless set"),
    TIMEOUT,
    ("probe_for", "how long a fresh key may take to work; `30s` unless set"),
];

const REGION: &str = "us-east-1";
/// New keys take about ten seconds until every server knows them.
const PROBE_FOR: Duration = Duration::from_secs(30);
/// The wait after the first refusal; it doubles up to the second.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// A connection to AWS.
pub(super) struct Aws {
    mode: Mode,
    home: Home,
    sts: QueryApi,
    iam: QueryApi,
    parent_id: String,
    parent_is_temporary: bool,
    probe_for: Duration,
}

/// How it mints.
enum Mode {
    /// Sessions of the role with this ARN.
    Session { role: String },
    /// Users, within the boundary of the policy with this ARN.
    User { boundary: Option<String> },
}

/// What a `credential_process` prints. Empty fields are left out.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    version: u8,
    access_key_id: String,
    secret_access_key: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    session_token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expiration: Option<Timestamp>,
}

impl Drop for Document {
    fn drop(&mut self) {
        self.secret_access_key.zeroize();
        self.session_token.zeroize();
    }
}

/// What a connection can and can't do that has no `mode`.
pub(super) static FACTS: ProviderFacts = ProviderFacts {
    kind: KIND,
    recovery: Recovery::Expiry,
    has_expiry: true,
    has_ip_condition: true,
    // A signature holds for 15 minutes.
    longest_late_delivery: Span::from_seconds(900),
    ..PLAIN
};
static FACTS_OF_USERS: ProviderFacts = ProviderFacts {
    kind: KIND,
    recovery: Recovery::Container,
    evidence: Evidence::Exact,
    has_expiry: true,
    has_ip_condition: true,
    longest_late_delivery: Span::from_seconds(900),
    ..PLAIN
};

impl Aws {
    /// Prepares a connection; see [`ConnectionConfig`] for the settings.
    pub(super) fn new(config: &ConnectionConfig, parent: &Secret) -> Result<Self, ConnectError> {
        let bad = |name, value: &str, hint| ConnectError::setting(KIND, name, value, hint);
        let setting = |name: &str| config.extra.get(name).map(String::as_str);
        let hint = "the 12 digits of the account, as `aws sts get-caller-identity` shows them";
        let account =
            config.account.clone().ok_or(ConnectError::Missing { provider: KIND, name: "account", hint })?;
        if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad("account", &account, "12 digits"));
        }
        let region = setting("region").unwrap_or(REGION);
        if !aws::is_region(region) {
            return Err(bad("region", region, "a region such as `eu-central-1`"));
        }
        let home = Home { partition: aws::partition(region), region: region.to_owned(), account };
        let mode = match (setting("mode").unwrap_or("session"), setting("role"), setting("boundary")) {
            ("session", Some(role), None) => Mode::Session {
                role: home.iam_arn("role", role).ok_or_else(|| {
                    bad("role", role, "the name or the ARN of a role in the connection's account")
                })?,
            },
            ("session", None, _) => {
                let hint = "the role whose sessions are the keys, by name or ARN; or set `mode=user`";
                return Err(ConnectError::Missing { provider: KIND, name: "role", hint });
            }
            ("session", _, Some(boundary)) => {
                return Err(bad(
                    "boundary",
                    boundary,
                    "a setting of `mode=user`; a session is within its role",
                ));
            }
            ("user", None, boundary) => Mode::User {
                boundary: match boundary {
                    None => None,
                    Some(text) => Some(home.iam_arn("policy", text).ok_or_else(|| {
                        bad("boundary", text, "the name or the ARN of a policy in the connection's account")
                    })?),
                },
            },
            ("user", Some(role), _) => return Err(bad("role", role, "a setting of `mode=session`")),
            (other, ..) => return Err(bad("mode", other, "`session` or `user`")),
        };
        let keys = Keys::parse(parent)
            .ok_or(ConnectError::CredentialForm { provider: KIND, hint: aws::CREDENTIAL })?;
        let wire = |address: String| {
            let wire = config.wire(KIND, &address)?;
            Wire::new(wire).map_err(|error| ConnectError::wire(KIND, &error))
        };
        // IAM is one for all regions of a partition.
        let (iam, at) = match home.partition {
            "aws-cn" => (aws::address("iam", "cn-north-1"), "cn-north-1"),
            "aws-us-gov" => ("https://iam.us-gov.amazonaws.com".to_owned(), "us-gov-west-1"),
            _ => ("https://iam.amazonaws.com".to_owned(), "us-east-1"),
        };
        Ok(Self {
            mode,
            sts: QueryApi::new(wire(aws::address("sts", region))?, &keys, region, "sts", "2011-06-15"),
            iam: QueryApi::new(wire(iam)?, &keys, at, "iam", "2010-05-08"),
            parent_id: keys.id.clone(),
            parent_is_temporary: keys.are_temporary(),
            probe_for: config.span(KIND, "probe_for", PROBE_FOR)?,
            home,
        })
    }

    fn is_session(&self) -> bool {
        matches!(self.mode, Mode::Session { .. })
    }

    /// Asks who a secret is, until it is somebody or the time is up.
    async fn wait_until_works(&self, secret: &Secret, id: &str) -> Result<(), ProviderError> {
        let document: Document = serde_json::from_str(secret.expose_secret())
            .map_err(|_| unsupported("the secret is not the document that this adapter makes".to_owned()))?;
        let token = Some(document.session_token.as_str()).filter(|token| !token.is_empty());
        let keys = Keys::new(&document.access_key_id, &document.secret_access_key, token)
            .ok_or_else(|| unsupported("the secret is no access key".to_owned()))?;
        let who = self.wait_until_known(&keys).await?;
        self.is_its_own(&who, &keys, id)
    }

    /// Who somebody's keys are of, once AWS knows them.
    async fn wait_until_known(&self, keys: &Keys) -> Result<Element, ProviderError> {
        let (started, mut wait) = (Instant::now(), FIRST_WAIT);
        loop {
            let who = self.sts.call_as(keys, &self.home.region, "sts", "GetCallerIdentity").await;
            let failure = match who {
                Ok(who) => return Ok(who),
                Err(failure) => failure,
            };
            let may_pass = failure.is_denied();
            let error = failure.of_provider(KIND, "session", "a key that works");
            let left = self.probe_for.saturating_sub(started.elapsed());
            let slow_down = matches!(error, ProviderError::Throttled { .. });
            if !(may_pass || error.is_transient() && !slow_down) || left.is_zero() {
                return Err(error);
            }
            tokio::time::sleep(jittered(wait).min(left)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// A user's name ends the ARN; a session is known by its access key.
    fn is_its_own(&self, who: &Element, keys: &Keys, id: &str) -> Result<(), ProviderError> {
        if self.is_session() { self.is_ours(who, keys.id == id) } else { self.is_of_user(who, id) }
    }

    fn is_of_user(&self, who: &Element, name: &str) -> Result<(), ProviderError> {
        self.is_ours(who, who.text("Arn").unwrap_or_default().ends_with(&format!("/{name}")))
    }

    fn is_ours(&self, who: &Element, is_own: bool) -> Result<(), ProviderError> {
        if is_own && who.text("Account") == Some(&self.home.account) {
            Ok(())
        } else {
            Err(another_key(KIND, "the secret belongs to somebody else"))
        }
    }
}

impl Home {
    /// The ARN of a role or a policy, by its ARN, its name, or its path and name.
    fn iam_arn(&self, what: &str, text: &str) -> Option<String> {
        let own = format!("arn:{}:iam::{}:{what}/", self.partition, self.account);
        // AWS's own policies belong to nobody.
        let theirs = format!("arn:{}:iam::aws:{what}/", self.partition);
        let name = text.strip_prefix(&own).or_else(|| text.strip_prefix(&theirs)).unwrap_or(text);
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"/_+=,.@-".contains(&b);
        let fits = !name.is_empty() && name.len() <= 512 && name.bytes().all(is_plain);
        fits.then(|| if text.starts_with(&theirs) { text.to_owned() } else { format!("{own}{name}") })
    }
}

impl Document {
    /// One line of JSON.
    fn into_secret(self) -> Result<Secret, Failure> {
        let text = serde_json::to_string(&self);
        text.map(Secret::new).map_err(|_| Failure::garbled("the key can't be written as JSON".to_owned()))
    }
}

/// What the create answered: `Credentials` of a session, `AccessKey` of a user.
fn document(made: &Element, expiration: Option<Timestamp>) -> Option<Document> {
    let text = |path| made.text(path).map(str::to_owned);
    let document = Document {
        version: 1,
        access_key_id: text("AccessKeyId")?,
        secret_access_key: text("SecretAccessKey")?,
        session_token: text("SessionToken").unwrap_or_default(),
        expiration,
    };
    let token = Zeroizing::new(document.session_token.clone());
    let token = Some(token.as_str()).filter(|token| !token.is_empty());
    Keys::new(&document.access_key_id, &document.secret_access_key, token).is_some().then_some(document)
}

fn unsupported(why: String) -> ProviderError {
    ProviderError::Unsupported { provider: KIND, why }
}

fn unknown(why: String) -> ProviderError {
    ProviderError::OutcomeUnknown { provider: KIND, why }
}

/// What can't be done to a session.
fn ends_by_itself() -> ProviderError {
    unsupported("a session can't be listed, read or ended; it ends when it expires".to_owned())
}

#[async_trait]
impl Provider for Aws {
    fn facts(&self) -> &'static ProviderFacts {
        if self.is_session() { &FACTS } else { &FACTS_OF_USERS }
    }

    async fn check(&self) -> Result<ParentHealth, ProviderError> {
        self.parent_health().await
    }

    async fn resolve(&self, kind: &str, value: &str) -> Result<Resource, ProviderError> {
        policy::resolve(kind, value, &self.home)
    }

    fn confine(
        &self,
        permissions: &[Permission],
        given: Vec<Resource>,
    ) -> Result<Vec<Resource>, ProviderError> {
        policy::confine(permissions, given, &self.home)
    }

    async fn mint(
        &self,
        plan: &Authorized<Plan>,
        grant: &Grant,
        marker: &Marker,
    ) -> Result<Minted, ProviderError> {
        super::check_is_of_plan(KIND, grant, plan.get())?;
        let document = policy::document(grant, &self.home)?;
        match &self.mode {
            Mode::Session { role } => self.assume(role, &document, grant, plan.get(), marker).await,
            Mode::User { boundary } => {
                self.make_user(boundary.as_deref(), &document, grant, plan.get(), marker).await
            }
        }
    }

    async fn read_back(&self, provider_key_id: &str) -> Result<ObservedGrant, ProviderError> {
        match &self.mode {
            Mode::Session { .. } => Err(ends_by_itself()),
            Mode::User { boundary } => self.read_user(provider_key_id, boundary.as_deref()).await,
        }
    }

    async fn probe(&self, secret: &Secret, provider_key_id: &str) -> Result<(), ProviderError> {
        self.wait_until_works(secret, provider_key_id).await
    }

    async fn list(&self, which: Listing) -> Result<Vec<Listed>, ProviderError> {
        if self.is_session() { Err(ends_by_itself()) } else { self.list_users(which).await }
    }

    async fn revoke(&self, provider_key_id: &str) -> Result<Ended, ProviderError> {
        if self.is_session() { Err(ends_by_itself()) } else { self.end_user(provider_key_id).await }
    }

    fn disabling(&self) -> Option<&dyn Disable> {
        (!self.is_session()).then_some(self)
    }

    fn last_used(&self) -> Option<&dyn LastUsed> {
        (!self.is_session()).then_some(self)
    }

    fn renewing(&self) -> Option<&dyn RenewsParent> {
        (!self.parent_is_temporary).then_some(self)
    }
}
