//! What an entry says: who did what to which, why, and how it went.
//!
//! Nothing in here can hold a [`Secret`](crate::secret::Secret): every field is serialised, and a secret can't be.
//! ```compile_fail
//! let secret = keywright_core::secret::Secret::new("x".to_owned());
//! serde_json::to_value(secret).unwrap();
//! ```

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::audit::deed::{Deed, Stage};
use crate::audit::entry::EntryError;
use crate::text::Untrusted;

/// The longest purpose, in characters.
pub const PURPOSE_MAX: usize = 1_000;

/// The longest prompt, in characters. Six bytes each when all are escaped, which still leaves room in a leaf.
pub const PROMPT_MAX: usize = 8_000;

/// Everything an entry says, before it has a place in the log.
///
/// The two maps in [`Who`] keep apart what the broker checked itself from what the caller only said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When, in UTC.
    pub at: Timestamp,
    /// What.
    pub deed: Deed,
    /// Before the deed, after it, or neither.
    pub stage: Stage,
    /// Who.
    pub who: Who,
    /// To which.
    #[serde(default)]
    pub subject: Subject,
    /// What for.
    #[serde(default)]
    pub why: Why,
    /// What the policy said, where it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decided>,
    /// The digest of the plan, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_digest: Option<String>,
    /// How it went, in an outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Outcome>,
    /// The rest: placements and how each was verified, permissions, evidence of idleness, and alike.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", serialize_with = "in_order")]
    pub facts: BTreeMap<String, Value>,
    /// What proves an approval to anyone who holds the operator's public key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<SignatureRecord>,
}

impl Record {
    /// A record with its four fixed parts; the rest is filled in by assignment.
    #[must_use]
    pub fn new(at: Timestamp, deed: Deed, stage: Stage, who: Who) -> Self {
        Self {
            at,
            deed,
            stage,
            who,
            subject: Subject::default(),
            why: Why::default(),
            decision: None,
            plan_digest: None,
            result: None,
            facts: BTreeMap::new(),
            signatures: Vec::new(),
        }
    }
}

/// What kind of principal acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Principal {
    /// A program that asks for keys.
    Agent,
    /// A human who sets policy, approves and administers.
    Operator,
    /// A program that reads a key at run time.
    Workload,
    /// The broker, on a schedule that an operator set.
    Schedule,
    /// The broker, of its own accord: at start, while recovering.
    System,
}

/// Who acted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// What kind of principal.
    pub kind: Principal,
    /// Its name, as it was registered.
    pub name: String,
    /// What the broker checked: the token's id, the peer's user id, the session.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub verified: BTreeMap<String, String>,
    /// What the caller said about itself: the client's name, the model, the user it works for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claimed: BTreeMap<String, Untrusted>,
}

impl Who {
    /// A principal about whom nothing more is known.
    #[must_use]
    pub fn new(kind: Principal, name: impl Into<String>) -> Self {
        Self { kind, name: name.into(), verified: BTreeMap::new(), claimed: BTreeMap::new() }
    }
}

/// What the deed was about. Ids are in their text form.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each field is named by the glossary's word for what it identifies")]
pub struct Subject {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saga: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What it was done for. The caller has taken secrets out and cut the texts to [`PURPOSE_MAX`] and [`PROMPT_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Why {
    /// In the asker's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Untrusted>,
    /// The prompt that triggered the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Untrusted>,
}

impl Why {
    /// Cuts both texts to their caps; an ellipsis marks a cut.
    #[must_use]
    pub fn new(purpose: &str, prompt: Option<&str>) -> Self {
        Self {
            purpose: (!purpose.is_empty()).then(|| Untrusted::capped(purpose, PURPOSE_MAX - 1)),
            prompt: prompt.map(|prompt| Untrusted::capped(prompt, PROMPT_MAX - 1)),
        }
    }

    /// That neither text is over its cap.
    pub(crate) fn check(&self) -> Result<(), EntryError> {
        for (field, text, max) in
            [("purpose", &self.purpose, PURPOSE_MAX), ("prompt", &self.prompt, PROMPT_MAX)]
        {
            if text.as_ref().is_some_and(|text| text.raw().chars().nth(max).is_some()) {
                return Err(EntryError::FieldTooLong { field, max });
            }
        }
        Ok(())
    }
}

/// What the policy said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// The answer.
    pub effect: Effect,
    /// How many distinct operators have to approve.
    pub approvals_needed: u32,
    /// How many had approved.
    pub approvals_given: u32,
    /// The ids of the policies that determined it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// The three answers of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Go ahead.
    Allow,
    /// Go ahead once enough operators approved.
    NeedsApprovals,
    /// Don't.
    Deny,
}

/// How a deed went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether it was done.
    pub ok: bool,
    /// The error's code where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The error's message, which may quote a provider; secrets have been taken out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Untrusted>,
}

impl Outcome {
    /// It was done.
    #[must_use]
    pub fn done() -> Self {
        Self { ok: true, code: None, message: None }
    }

    /// It was not done, or not known to be.
    #[must_use]
    pub fn failed(code: impl Into<String>, message: Untrusted) -> Self {
        Self { ok: false, code: Some(code.into()), message: Some(message) }
    }
}

/// One operator's signature, complete enough to be checked years later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureRecord {
    /// The operator.
    pub by: String,
    /// How it was signed: `ed25519` or `webauthn`.
    pub method: String,
    /// The public key, in base64.
    pub key: String,
    /// What was signed, in base64.
    pub over: String,
    /// The signature, in base64.
    pub signature: String,
    /// What the method needs besides: authenticator data and client data of a passkey, in base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, String>,
}

/// A map of `serde_json` may keep the order of insertion (a feature that other crates turn on), so names are sorted
/// here.
struct InOrder<'a>(&'a Value);

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(map) => {
                let sorted: BTreeMap<&str, InOrder<'_>> =
                    map.iter().map(|(name, value)| (name.as_str(), InOrder(value))).collect();
                serializer.collect_map(sorted)
            }
            Value::Array(values) => serializer.collect_seq(values.iter().map(InOrder)),
            plain => plain.serialize(serializer),
        }
    }
}

fn in_order<S: Serializer>(facts: &BTreeMap<String, Value>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(facts.iter().map(|(name, value)| (name, InOrder(value))))
}
