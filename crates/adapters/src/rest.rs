//! An API above the wire, for providers and stores alike: sends a call, reads the answer, and says what a bad one means.
//!
//! What a bad answer to a create means depends on what it proves ([`Proof`]). A refusal at the door (401, 403, 404, 429,
//! in the documented form) comes before any work, so nothing was made. Every other refusal is only a claim: a proxy may
//! have lost the true answer, or the service may have failed after it made the thing. A 401 or 403 is one by its status
//! alone, whatever its body. Such a claim is believed when no credential carries the marker ([`after_create`]). Whatever
//! is left open is an unknown outcome, whose text names the status that came.

use std::time::Duration;

use keywright_core::marker::Marker;
use keywright_core::name::StoreName;
use keywright_core::provider::{Listing, Provider, ProviderError};
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_core::store::StoreError;
use keywright_core::text::Untrusted;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::wire::{Call, Fault, Reply, Scrub, Wire, json_fault};

/// An API: where it is, and how it says no.
pub(crate) struct Rest {
    wire: Wire,
    scrub: Scrub,
    said: ReadRefusal,
}

/// Reads the documented body of a refusal; `None` when it is not one.
pub(crate) type ReadRefusal = fn(&[u8]) -> Option<Said>;

/// What a refusal says, not cleaned yet.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) code: Option<String>,
    pub(crate) message: String,
}

/// The body of a refusal: JSON, in which a pointer (RFC 6901) names what is read. What has another type than the documented
/// one is not there.
pub(crate) struct RefusalBody(Value);

impl RefusalBody {
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok().map(Self)
    }

    pub(crate) fn at(&self, pointer: &str) -> Option<&Value> {
        self.0.pointer(pointer)
    }

    pub(crate) fn text(&self, pointer: &str) -> Option<String> {
        self.at(pointer)?.as_str().map(str::to_owned)
    }

    /// A whole number, as text.
    pub(crate) fn number(&self, pointer: &str) -> Option<String> {
        self.at(pointer)?.as_u64().map(|number| number.to_string())
    }
}

/// A call that did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) cause: Cause,
    pub(crate) proof: Proof,
}

/// In what way a call failed. No variant quotes an answer, except for messages that were cleaned.
#[derive(Debug)]
pub(crate) enum Cause {
    /// Too many calls.
    Throttled(Option<Duration>),
    /// It could not be reached, or failed.
    Unavailable(String),
    /// The answer makes no sense.
    Garbled(String),
    /// 401 or 403: the credential does not work, or may not do this.
    Denied { status: u16, code: Option<String>, message: Untrusted },
    /// 404, in the documented form: one of a proxy says nothing about the thing.
    NotFound { code: Option<String>, message: Untrusted },
    /// Any other refusal.
    Refused { status: u16, code: Option<String>, message: Untrusted },
}

/// What a failure proves about the call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Nothing: it may have been done.
    Nothing,
    /// It says that it was refused, with a status that a failure halfway, or a proxy, might give as well.
    Claimed,
    /// That it was not done: nothing was sent, or it was turned away at the door.
    NotDone,
}

impl Rest {
    /// `secrets` are never part of a message; `harmless` tells ids from credentials.
    pub(crate) fn new<'a>(
        wire: Wire,
        secrets: impl IntoIterator<Item = &'a Secret>,
        harmless: fn(&str) -> bool,
        said: ReadRefusal,
    ) -> Self {
        Self { wire, scrub: Scrub::new(secrets, harmless), said }
    }

    /// Sends a call; a status from 200 to 299 is a good answer, whatever it holds.
    pub(crate) async fn send(&self, call: Call<'_>) -> Result<Reply, Failure> {
        let reply = self.wire.send(call).await.map_err(not_answered)?;
        match reply.status {
            200..=299 => Ok(reply),
            status => Err(self.refusal(status, &reply)),
        }
    }

    /// Sends a call and reads its answer as JSON.
    pub(crate) async fn json<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, Failure> {
        parse(&self.send(call).await?)
    }

    /// A message that may be shown and kept.
    pub(crate) fn clean(&self, text: &str) -> Untrusted {
        self.scrub.message(text)
    }

    fn refusal(&self, status: u16, reply: &Reply) -> Failure {
        let said = (self.said)(&reply.body);
        let is_documented = said.is_some();
        let said = said.unwrap_or_else(|| Said { code: None, message: format!("status {status}") });
        let (code, message) =
            (said.code.map(|code| self.clean(&code).to_string()), self.clean(&said.message));
        let at_the_door = if is_documented { Proof::NotDone } else { Proof::Nothing };
        let (cause, proof) = match status {
            429 => (Cause::Throttled(reply.retry_after), at_the_door),
            // A gateway in front of the service says no in words of its own, and it is a no all the same.
            401 | 403 if is_documented => (Cause::Denied { status, code, message }, Proof::NotDone),
            401 | 403 => (Cause::Denied { status, code, message }, Proof::Claimed),
            // What is not there any more may have been ended by the same call, when it was sent before.
            404 if is_documented && reply.is_repeated => (Cause::NotFound { code, message }, Proof::Claimed),
            404 if is_documented => (Cause::NotFound { code, message }, Proof::NotDone),
            400..=499 if is_documented => (Cause::Refused { status, code, message }, Proof::Claimed),
            400..=499 => {
                (Cause::Garbled(format!("status {status} without the documented body")), Proof::Nothing)
            }
            500..=599 => (Cause::Unavailable(format!("status {status}")), Proof::Nothing),
            status => (Cause::Garbled(format!("status {status}")), Proof::Nothing),
        };
        Failure { cause, proof }
    }
}

/// Reads an answer as JSON.
pub(crate) fn parse<T: DeserializeOwned>(reply: &Reply) -> Result<T, Failure> {
    serde_json::from_slice(&reply.body)
        .map_err(|error| Failure::garbled(format!("status {}, and {}", reply.status, json_fault(&error))))
}

/// What a call found: nothing, where the thing is not there.
pub(crate) fn found<T>(outcome: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(failure) if failure.is_not_found() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Writes a body; it is wiped when dropped.
pub(crate) fn body(value: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let why = || Cause::Unavailable("the request can't be written as JSON".to_owned());
    serde_json::to_vec(value).map(Zeroizing::new).map_err(|_| Failure { cause: why(), proof: Proof::NotDone })
}

fn not_answered(fault: Fault) -> Failure {
    match fault {
        Fault::Closed { left } => Failure { cause: Cause::Throttled(Some(left)), proof: Proof::NotDone },
        Fault::NotSent { why } => Failure { cause: Cause::Unavailable(why), proof: Proof::NotDone },
        Fault::TooLarge { .. } | Fault::Redirected { .. } => Failure::garbled(fault.to_string()),
        other => Failure { cause: Cause::Unavailable(other.to_string()), proof: Proof::Nothing },
    }
}

impl Failure {
    /// An answer that makes no sense proves nothing.
    pub(crate) fn garbled(why: String) -> Self {
        Self { cause: Cause::Garbled(why), proof: Proof::Nothing }
    }

    /// What failed without an answer proves nothing either.
    pub(crate) fn unavailable(why: impl Into<String>) -> Self {
        Self { cause: Cause::Unavailable(why.into()), proof: Proof::Nothing }
    }

    /// Whether the credential was refused.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self.cause, Cause::Denied { .. })
    }

    /// Whether the credential was refused with this status, whatever the body: 401 or 403.
    pub(crate) fn is_denied_as(&self, wanted: u16) -> bool {
        matches!(self.cause, Cause::Denied { status, .. } if status == wanted)
    }

    /// Whether the credential was refused, but not in the documented form: what was asked for may be done all the same.
    pub(crate) fn is_bare_denial(&self) -> bool {
        self.is_denied() && self.proof == Proof::Claimed
    }

    /// Whether the credential is known, but may not do this: 403 in the documented form.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.proof == Proof::NotDone && matches!(self.cause, Cause::Denied { status: 403, .. })
    }

    /// Whether the thing is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self.cause, Cause::NotFound { .. })
    }

    /// Whether the message of a 404 begins with this word, whatever its case.
    pub(crate) fn says(&self, word: &str) -> bool {
        match &self.cause {
            Cause::NotFound { message, .. } => {
                message.raw().get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
            }
            _ => false,
        }
    }

    /// Whether the message of a refused credential holds these words.
    pub(crate) fn denies_for(&self, words: &str) -> bool {
        matches!(&self.cause, Cause::Denied { message, .. } if message.raw().contains(words))
    }

    /// The status of the answer, where its text may not name it.
    fn status(&self) -> Option<u16> {
        match self.cause {
            Cause::Throttled(_) => Some(429),
            Cause::NotFound { .. } => Some(404),
            Cause::Denied { status, .. } | Cause::Refused { status, .. } => Some(status),
            Cause::Unavailable(_) | Cause::Garbled(_) => None,
        }
    }

    /// The service's own code for it.
    pub(crate) fn code(&self) -> Option<&str> {
        match &self.cause {
            Cause::Denied { code, .. } | Cause::NotFound { code, .. } | Cause::Refused { code, .. } => {
                code.as_deref()
            }
            Cause::Throttled(_) | Cause::Unavailable(_) | Cause::Garbled(_) => None,
        }
    }

    /// What it means for a provider. `what` is what a 404 says is missing; `needs` names the permission that the call
    /// needs.
    pub(crate) fn of_provider(
        self,
        provider: &'static str,
        what: &'static str,
        needs: &'static str,
    ) -> ProviderError {
        match self.cause {
            Cause::Throttled(wait) => ProviderError::Throttled { provider, retry_after: wait.map(whole) },
            Cause::Unavailable(why) if self.proof == Proof::NotDone => {
                ProviderError::Unreachable { provider, why }
            }
            Cause::Unavailable(why) => ProviderError::Unavailable { provider, why },
            Cause::Garbled(why) => ProviderError::Garbled { provider, why },
            Cause::Denied { message, .. } => {
                let text = format!("{}; this needs {needs}", message.raw());
                ProviderError::Unauthorized { provider, message: Untrusted::capped(&text, 400) }
            }
            Cause::NotFound { .. } => ProviderError::NotFound { provider, what },
            Cause::Refused { code, message, .. } => {
                ProviderError::Refused { provider, code, message, hint: None }
            }
        }
    }

    /// What it means for a store, where nothing was written or a repetition does no harm.
    pub(crate) fn of_store(self, store: &StoreName) -> StoreError {
        let store = store.clone();
        match self.cause {
            Cause::Throttled(_) => StoreError::Unavailable { store, why: "it asks to slow down".to_owned() },
            Cause::Unavailable(why) => StoreError::Unavailable { store, why },
            Cause::Garbled(why) => {
                StoreError::Unavailable { store, why: format!("its answer is not understood: {why}") }
            }
            Cause::Denied { message, .. } => StoreError::Unauthorized { store, message },
            Cause::NotFound { message, .. } => StoreError::Missing { store, message },
            Cause::Refused { message, .. } => StoreError::Refused { store, message },
        }
    }

    /// As [`Failure::of_store`], for a write: what may have landed is an outcome of its own. A refusal of the credential is
    /// believed: whoever wrote has looked what lies there now ([`Failure::is_bare_denial`]).
    pub(crate) fn of_write(self, store: &StoreName) -> StoreError {
        let status = self.status();
        match (self.proof, self.of_store(store)) {
            (Proof::Nothing, StoreError::Unavailable { store, why }) => {
                StoreError::OutcomeUnknown { store, why: with_status(status, why) }
            }
            (_, error) => error,
        }
    }
}

/// What a failed create means, for a provider whose credentials carry the marker as a label. A claim to have been refused
/// is believed when no credential carries it.
pub(crate) async fn after_create(
    provider: &dyn Provider,
    failure: Failure,
    marker: &Marker,
    needs: &'static str,
) -> ProviderError {
    let kind = provider.facts().kind;
    let (proof, denied, status) = (failure.proof, failure.is_denied(), failure.status());
    let unknown = |why| ProviderError::OutcomeUnknown { provider: kind, why: with_status(status, why) };
    let error = failure.of_provider(kind, "such place for a key", needs);
    match proof {
        Proof::NotDone => error,
        Proof::Nothing => unknown(why(error)),
        Proof::Claimed => match provider.list(Listing::Marked).await {
            // As its start, in case that the provider added to the name.
            Ok(listed) if listed.iter().any(|key| key.label.raw().starts_with(marker.as_str())) => {
                unknown(format!("{error}, but a key with this attempt's marker exists"))
            }
            Ok(_) => error,
            // A credential that is good for nothing has made nothing either.
            Err(ProviderError::Unauthorized { .. }) if denied => error,
            Err(unseen) => unknown(format!("{error}, and whether that is so can't be seen: {unseen}")),
        },
    }
}

/// The cause alone: that the provider failed is said already.
fn why(error: ProviderError) -> String {
    match error {
        ProviderError::Unavailable { why, .. }
        | ProviderError::Unreachable { why, .. }
        | ProviderError::Garbled { why, .. } => why,
        other => other.to_string(),
    }
}

/// Says what came: it is all that a person has to go by.
fn with_status(status: Option<u16>, why: String) -> String {
    match status.map(|status| format!("status {status}")) {
        Some(status) if !why.contains(&status) => format!("{why} ({status})"),
        _ => why,
    }
}

/// Rounded up: a second too early is too early.
fn whole(wait: Duration) -> Span {
    Span::from_seconds(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}
