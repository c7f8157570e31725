//! What goes on record: builds audit entries from the nouns, with every free text scrubbed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keywright_core::audit::{
    Decided, Deed, Effect, Outcome, Principal as Kind, Record, Stage, Subject, Who, Why,
};
use keywright_core::id::AttemptId;
use keywright_core::key::{Key, Placement, PlacementState};
use keywright_core::plan::{Plan, Principal};
use keywright_core::saga::Phase;
use keywright_core::store::{Change, VerifyMode};
use keywright_core::text::Untrusted;
use keywright_ledger::Request;

use crate::error::BrokerError;

/// Who called, with what was verified and what was only claimed kept apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Established by a passphrase, a session or a token.
    pub principal: Principal,
    /// What the door saw itself, as in the peer's user id.
    pub verified: BTreeMap<String, String>,
    /// What the caller said about itself, as in its client's name.
    pub claimed: BTreeMap<String, String>,
}

impl Caller {
    /// A caller about whom nothing else is known.
    #[must_use]
    pub fn plain(principal: Principal) -> Self {
        Self { principal, verified: BTreeMap::new(), claimed: BTreeMap::new() }
    }

    pub(crate) fn who(&self) -> Who {
        let mut who = who(&self.principal);
        who.verified.clone_from(&self.verified);
        who.claimed =
            self.claimed.iter().take(16).map(|(k, v)| (cap(k), Untrusted::capped(v, 200))).collect();
        who
    }
}

/// The principal as the log names it.
pub(crate) fn who(principal: &Principal) -> Who {
    let kind = match principal {
        Principal::Agent(_) => Kind::Agent,
        Principal::Operator(_) => Kind::Operator,
        Principal::Workload(_) => Kind::Workload,
        Principal::Schedule => Kind::Schedule,
    };
    Who::new(kind, principal.name())
}

/// The broker itself.
pub(crate) fn system() -> Who {
    Who::new(Kind::System, "broker")
}

/// A record about a plan: what, why, and its digest.
pub(crate) fn of_plan(
    at: Timestamp,
    deed: Deed,
    stage: Stage,
    who: Who,
    plan: &Plan,
    digest: &str,
) -> Record {
    let mut record = Record::new(at, deed, stage, who);
    record.subject = Subject {
        request: Some(plan.request.to_string()),
        template: Some(plan.template.to_string()),
        connection: Some(plan.connection.to_string()),
        project: Some(plan.project.to_string()),
        environment: Some(plan.environment.to_string()),
        name: Some(plan.name.to_string()),
        ..Subject::default()
    };
    record.why = Why::new(plan.purpose.raw(), None);
    record.plan_digest = Some(digest.to_owned());
    let names: Vec<&str> = plan.permissions.iter().map(|p| p.name.as_str()).collect();
    record.facts.insert("permissions".to_owned(), serde_json::json!(names));
    let resources: Vec<String> =
        plan.resources.iter().map(|r| format!("{} {} ({})", r.kind, r.name, r.id)).collect();
    record.facts.insert("resources".to_owned(), serde_json::json!(resources));
    let places: Vec<String> = plan.destinations.iter().map(|d| d.place.to_string()).collect();
    record.facts.insert("destinations".to_owned(), serde_json::json!(places));
    if let Some(ending) = plan.ending {
        record.facts.insert("ending".to_owned(), serde_json::json!(ending.as_str()));
    }
    record.facts.insert("ttl_seconds".to_owned(), serde_json::json!(plan.ttl.seconds()));
    record
}

/// A record about a request that was recorded before.
pub(crate) fn of_request(at: Timestamp, deed: Deed, stage: Stage, who: Who, request: &Request) -> Record {
    let mut record = of_plan(at, deed, stage, who, &request.plan, &request.digest.to_string());
    record.subject.key = request.key.map(|key| key.to_string());
    record
}

/// A record about a mint that reached its next phase.
pub(crate) fn of_phase(at: Timestamp, request: &Request, attempt: AttemptId, phase: Phase) -> Record {
    let mut record = of_mint(at, Deed::KeyMint, Stage::Note, request);
    record.subject.attempt = Some(attempt.to_string());
    record.facts.insert(PHASE.to_owned(), serde_json::json!(phase.as_str()));
    record
}

/// A record about a copy on its way into a store, or out of it again: about to be written, taken by the store, looked at
/// afterwards (and how), taken back.
pub(crate) fn of_placement(
    at: Timestamp,
    request: &Request,
    placement: &Placement,
    (state, verified): (PlacementState, Option<VerifyMode>),
) -> Record {
    let stage = match state {
        PlacementState::Planned | PlacementState::Writing => Stage::Intent,
        PlacementState::Waiting
        | PlacementState::Written
        | PlacementState::Adopted
        | PlacementState::Replaced
        | PlacementState::Leaving
        | PlacementState::Unwanted => Stage::Note,
        PlacementState::Verified
        | PlacementState::Rejected
        | PlacementState::Removed
        | PlacementState::Left
        | PlacementState::Kept => Stage::Outcome,
    };
    let mut record = of_mint(at, Deed::KeyPlace, stage, request);
    record.subject.version = Some(placement.version.to_string());
    record.facts.insert("place".to_owned(), serde_json::json!(placement.destination.place.to_string()));
    record.facts.insert(PHASE.to_owned(), serde_json::json!(state.as_str()));
    if let Some(mode) = verified {
        record.facts.insert("verified".to_owned(), serde_json::json!(mode.as_str()));
    }
    record.result = match state {
        PlacementState::Verified => Some(Outcome::done()),
        PlacementState::Removed => Some(Outcome::failed("undone", Untrusted::capped("taken back", 20))),
        PlacementState::Left => Some(Outcome::failed(
            "undone",
            Untrusted::capped("what lies there is not what was written; left", 60),
        )),
        PlacementState::Rejected => {
            Some(Outcome::failed("rejected", Untrusted::capped("somebody rejected it in the store", 60)))
        }
        PlacementState::Kept => Some(Outcome::failed(
            "rejected",
            Untrusted::capped("somebody rejected its removal in the store; left", 60),
        )),
        _ => None,
    };
    record
}

/// The change that a store has, in a record's facts.
pub(crate) fn fact_of(change: &Change) -> Option<(String, serde_json::Value)> {
    change.id().map(|id| ("change".to_owned(), serde_json::json!(id)))
}

/// How far a deed got, in a record's facts.
const PHASE: &str = "phase";

/// A record about a step of a mint: which, without all that its plan says.
fn of_mint(at: Timestamp, deed: Deed, stage: Stage, request: &Request) -> Record {
    let mut record = Record::new(at, deed, stage, system());
    record.subject = Subject {
        request: Some(request.id.to_string()),
        key: request.key.map(|key| key.to_string()),
        project: Some(request.plan.project.to_string()),
        environment: Some(request.plan.environment.to_string()),
        name: Some(request.plan.name.to_string()),
        ..Subject::default()
    };
    record
}

/// A record about a copy of a key that ended: taken back, or found to be something else and left.
pub(crate) fn of_copy(at: Timestamp, key: &Key, placement: &Placement, last: PlacementState) -> Record {
    let mut record = of_key(at, Deed::KeyRevoke, Stage::Note, system(), key);
    record.subject.version = Some(placement.version.to_string());
    record.facts.insert("place".to_owned(), serde_json::json!(placement.destination.place.to_string()));
    record.facts.insert(PHASE.to_owned(), serde_json::json!(last.as_str()));
    record
}

/// A record about a key.
pub(crate) fn of_key(at: Timestamp, deed: Deed, stage: Stage, who: Who, key: &Key) -> Record {
    let mut record = Record::new(at, deed, stage, who);
    record.subject = Subject {
        request: Some(key.request.to_string()),
        key: Some(key.id.to_string()),
        template: Some(key.template.to_string()),
        connection: Some(key.connection.to_string()),
        project: Some(key.project.to_string()),
        environment: Some(key.environment.to_string()),
        name: Some(key.name.to_string()),
        ..Subject::default()
    };
    record
}

/// How a deed went, from its error.
pub(crate) fn failed(error: &BrokerError) -> Outcome {
    Outcome::failed(error.code.as_str(), Untrusted::capped(&error.message, 500))
}

/// The decision as the log keeps it.
pub(crate) fn decided(
    effect: Effect,
    needed: u8,
    given: u8,
    policies: &[String],
    reasons: &[String],
) -> Decided {
    Decided {
        effect,
        approvals_needed: needed.into(),
        approvals_given: given.into(),
        policies: policies.to_vec(),
        reasons: reasons.to_vec(),
    }
}

fn cap(text: &str) -> String {
    Untrusted::capped(text, 60).to_string()
}
