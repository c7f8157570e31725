//! The life of a key, as people tell it: one line for each thing that happened, made from the entries about it. Entries that
//! only say that something was about to happen are left out once it did, and reads in a row are one line.

use std::collections::HashMap;

use jiff::Timestamp;
use keywright_core::audit::{Deed, Effect, Entry, Principal, Record, Stage, Who};
use keywright_core::key::Version;
use keywright_core::text::Untrusted;
use serde_json::Value;

use crate::blocks::Tone;

/// Something that happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// What, in our words.
    pub what: String,
    /// Why, or how it failed, in somebody else's words.
    pub said: Option<String>,
    /// What it means.
    pub tone: Tone,
    /// Who did it.
    pub who: String,
    /// Whether their signature is on record with it.
    pub is_signed: bool,
    /// The entry that says so.
    pub entry: String,
    /// How often it happened in a row, this time being the last.
    pub times: u32,
}

/// The moments of a key's life, oldest first.
#[must_use]
pub fn timeline(entries: &[Entry], versions: &[Version]) -> Vec<Moment> {
    let told = Told::of(entries, versions);
    let mut moments: Vec<Moment> = Vec::new();
    for entry in entries {
        let record = entry.record();
        if told.is_over(entry) {
            continue;
        }
        let Some((what, tone)) = told.words(record) else { continue };
        let moment = Moment {
            at: record.at,
            what,
            said: said(record),
            tone,
            who: named(&record.who),
            is_signed: !record.signatures.is_empty(),
            entry: entry.id().to_string(),
            times: 1,
        };
        match moments.last_mut() {
            Some(last) if record.deed == Deed::SecretRead && last.is_again(&moment) => {
                *last = Moment { times: last.times + 1, ..moment };
            }
            _ => moments.push(moment),
        }
    }
    moments
}

/// What one entry says, in our words, where nothing is known besides.
#[must_use]
pub fn told(entry: &Entry) -> (String, Tone) {
    let alone = std::slice::from_ref(entry);
    let record = entry.record();
    Told::of(alone, &[]).words(record).unwrap_or_else(|| match (record.deed, record.facts.get("place")) {
        // Of a key's life, what came of it says as much.
        (Deed::KeyPlace, Some(Value::String(place))) => {
            (format!("it is written to {}", Untrusted::capped(place, 300)), Tone::Plain)
        }
        (deed, _) => (deed.to_string(), Tone::Plain),
    })
}

/// Why something was done, or how it failed, in somebody else's words; of an ask its purpose.
#[must_use]
pub fn why(record: &Record) -> Option<String> {
    let purpose = || record.why.purpose.as_ref().map(|text| text.raw().to_owned());
    said(record).or_else(|| purpose().filter(|_| record.deed == Deed::RequestDecide))
}

impl Moment {
    /// Whether another one says the same of the same.
    fn is_again(&self, other: &Self) -> bool {
        (&self.what, &self.who, &self.said) == (&other.what, &other.who, &other.said)
    }
}

/// What entries say of versions, and of each other.
struct Told<'e> {
    /// The number of a version, by its id.
    numbers: HashMap<String, u64>,
    /// The version that an attempt made.
    made: HashMap<&'e str, &'e str>,
    /// The request that the key began with.
    first: Option<&'e str>,
    /// The last entry of each deed that says more than that it is about to be done.
    last: HashMap<Deed, u64>,
}

impl<'e> Told<'e> {
    fn of(entries: &'e [Entry], versions: &[Version]) -> Self {
        let subjects = || entries.iter().map(|entry| &entry.record().subject);
        let attempts =
            subjects().filter_map(|subject| Some((subject.attempt.as_deref()?, subject.version.as_deref()?)));
        let done = entries.iter().filter(|entry| entry.record().stage != Stage::Intent);
        Self {
            numbers: versions.iter().map(|version| (version.id.to_string(), version.number)).collect(),
            made: attempts.collect(),
            first: subjects().find_map(|subject| subject.request.as_deref()),
            last: done.map(|entry| (entry.record().deed, entry.index())).collect(),
        }
    }

    /// Whether an entry says only that something was about to be done, and others say how far it came.
    fn is_over(&self, entry: &Entry) -> bool {
        let record = entry.record();
        let says_who = matches!(record.deed, Deed::KeyRotate | Deed::KeyRevoke);
        record.stage == Stage::Intent
            && !says_who
            && self.last.get(&record.deed).is_some_and(|last| *last > entry.index())
    }

    /// `version 2`, or `it` where it is about the key.
    fn version(&self, record: &Record) -> String {
        let id = record.subject.version.as_deref();
        let id = id.or_else(|| self.made.get(record.subject.attempt.as_deref()?).copied());
        match id.and_then(|id| self.numbers.get(id)) {
            Some(number) => format!("version {number}"),
            None => "it".to_owned(),
        }
    }

    fn words(&self, record: &Record) -> Option<(String, Tone)> {
        let version = self.version(record);
        let fact = |name: &str| record.facts.get(name).and_then(Value::as_str).unwrap_or_default();
        let place = || Untrusted::capped(fact("place"), 300).to_string();
        let (phase, is_done) = (fact("phase"), record.result.as_ref().is_some_and(|outcome| outcome.ok));
        let (deed, stage) = (record.deed, record.stage);
        Some(match (deed, stage, phase) {
            (Deed::RequestDecide, ..) => self.decided(record),
            (Deed::RequestRepeat, ..) => ("asked for once more".to_owned(), Tone::Plain),
            (Deed::RequestNarrow, ..) => ("cut down before it was approved".to_owned(), Tone::Good),
            (Deed::RequestReject, ..) => ("turned down".to_owned(), Tone::Bad),
            (Deed::RequestExpire, ..) if !fact("because").is_empty() => {
                (format!("expired: {}", Untrusted::capped(fact("because"), 300)), Tone::Warn)
            }
            (Deed::RequestExpire, ..) => ("nobody decided in time".to_owned(), Tone::Warn),
            (Deed::ApprovalGive, ..) => (format!("approved, with {}", how(record)), Tone::Good),
            (Deed::GrantUse, ..) => {
                let by = Untrusted::capped(fact("operator"), 64);
                (format!("approved in advance by operator {by}"), Tone::Good)
            }
            (Deed::KeyAdopt, ..) => ("came under management; it was made elsewhere".to_owned(), Tone::Plain),
            (Deed::KeyMint, Stage::Intent, _) => ("a version is to be made".to_owned(), Tone::Plain),
            (Deed::KeyMint, Stage::Note, "sealed") => (format!("{version} is made, and sealed"), Tone::Plain),
            (Deed::KeyMint, Stage::Note, "compared") => {
                (format!("{version} is exactly what was asked"), Tone::Plain)
            }
            (Deed::KeyMint, Stage::Note, "probed") => (format!("{version} works"), Tone::Plain),
            // Of a rotation's successor, the rotation says so.
            (Deed::KeyMint, Stage::Outcome, _)
                if is_done && record.subject.request.as_deref() != self.first =>
            {
                return None;
            }
            (Deed::KeyMint, Stage::Outcome, _) if is_done => (format!("{version} is in force"), Tone::Good),
            (Deed::KeyMint, Stage::Outcome, _) => ("a version could not be made".to_owned(), Tone::Bad),
            (Deed::KeyPlace, Stage::Outcome, "verified") => {
                (format!("{version} lies in {} ({})", place(), fact("verified")), Tone::Plain)
            }
            (Deed::KeyPlace, Stage::Note, "waiting") => {
                (format!("{version} waits for somebody in the store, for {}", place()), Tone::Warn)
            }
            (Deed::KeyPlace, Stage::Outcome, _) => (format!("{version} in {}", place()), Tone::Warn),
            (Deed::KeyPlace, ..) if self.last.contains_key(&Deed::KeyPlace) => return None,
            (Deed::KeyPlace, ..) => (format!("{version} is to be written to {}", place()), Tone::Plain),
            (Deed::KeyRotate, Stage::Intent, _) => ("a successor is to be made".to_owned(), Tone::Plain),
            (Deed::KeyRotate, Stage::Note, "switched") => {
                (format!("{version} is in force; the old one works until it is idle"), Tone::Good)
            }
            (Deed::KeyRotate, Stage::Note, "drained") => (format!("{version} may end"), Tone::Good),
            (Deed::KeyRotate, Stage::Note, "late") => {
                (format!("{version} lives longer than it should"), Tone::Bad)
            }
            (Deed::KeyRotate, Stage::Note, "disabled") => {
                (format!("{version} is switched off, which can be taken back"), Tone::Plain)
            }
            (Deed::KeyRotate, Stage::Note, "enabled") => {
                (format!("{version} is switched on again"), Tone::Warn)
            }
            (Deed::KeyRotate, Stage::Note, "undone") => {
                (format!("the successor is gone; {version} is in force again"), Tone::Warn)
            }
            (Deed::KeyRotate, Stage::Note, "") => ("the old version is to end".to_owned(), Tone::Plain),
            (Deed::KeyRotate, Stage::Outcome, _) if is_done => {
                ("the rotation is done".to_owned(), Tone::Good)
            }
            (Deed::KeyRotate, Stage::Outcome, _) => ("the rotation came to nothing".to_owned(), Tone::Bad),
            (Deed::KeyRevoke, Stage::Intent, _) => (format!("{version} is to be revoked"), Tone::Plain),
            (Deed::KeyRevoke, Stage::Note, _) if !fact("place").is_empty() => {
                (format!("its copy in {}: {phase}", place()), Tone::Plain)
            }
            (Deed::KeyRevoke, Stage::Outcome, _) if is_done => {
                (format!("{version} is revoked, and confirmed gone"), Tone::Good)
            }
            (Deed::KeyRevoke, Stage::Outcome, _) => (format!("{version} could not be revoked"), Tone::Bad),
            (Deed::KeyDisable, Stage::Outcome, _) if is_done => ("switched off".to_owned(), Tone::Warn),
            (Deed::KeyEnable, Stage::Outcome, _) if is_done => ("switched on again".to_owned(), Tone::Good),
            (Deed::SecretRead, Stage::Outcome, _) if is_done => ("read".to_owned(), Tone::Plain),
            (Deed::ConsumerTell, Stage::Outcome, _) => {
                let consumer = Untrusted::capped(fact("consumer"), 64);
                if is_done {
                    (format!("consumer {consumer} was told"), Tone::Plain)
                } else {
                    (format!("consumer {consumer} was not told yet"), Tone::Warn)
                }
            }
            (_, Stage::Note, "") | (_, Stage::Outcome, _) if house(record).is_some() => {
                let (words, tone) = house(record)?;
                let has_failed = record.result.as_ref().is_some_and(|outcome| !outcome.ok);
                if has_failed { (format!("{words}: failed"), Tone::Bad) } else { (words, tone) }
            }
            (Deed::SecretRead, Stage::Intent, _) => ("keys are to be read".to_owned(), Tone::Plain),
            (Deed::KeySweep, Stage::Intent, _) => {
                ("a version that nobody owns was found, and is to be dealt with".to_owned(), Tone::Warn)
            }
            // What has no words here goes by its name in the log.
            (_, Stage::Intent, _) => (format!("{deed} begins"), Tone::Plain),
            (_, Stage::Outcome, _) if is_done => (format!("{deed}: done"), Tone::Plain),
            (_, Stage::Outcome, _) => (format!("{deed}: failed"), Tone::Bad),
            (_, Stage::Note, "") => (deed.to_string(), Tone::Plain),
            (_, Stage::Note, phase) => (format!("{deed}: {phase}"), Tone::Plain),
        })
    }

    /// What policy said to an ask.
    fn decided(&self, record: &Record) -> (String, Tone) {
        let is_first = record.subject.request.as_deref() == self.first;
        let asked = if is_first { "asked for" } else { "a rotation was asked for" };
        let decided = record.decision.as_ref();
        match decided.map(|decided| (decided.effect, decided.approvals_needed)) {
            // Asked before: people have approved it by now.
            Some((Effect::Allow, _)) if decided.is_some_and(|decided| decided.approvals_given > 0) => {
                ("that is enough; policy lets it".to_owned(), Tone::Good)
            }
            Some((Effect::Allow, _)) => (format!("{asked}; policy lets it"), Tone::Plain),
            Some((Effect::NeedsApprovals, 1)) => (format!("{asked}; it needs an approval"), Tone::Warn),
            Some((Effect::NeedsApprovals, needed)) => {
                (format!("{asked}; it needs {needed} approvals"), Tone::Warn)
            }
            Some((Effect::Deny, _)) => (format!("{asked}; policy forbids it"), Tone::Bad),
            None => (asked.to_owned(), Tone::Plain),
        }
    }
}

/// With what an operator signed.
fn how(record: &Record) -> &'static str {
    match record.signatures.first().map(|signature| signature.method.as_str()) {
        Some("webauthn") => "a passkey",
        _ => "their signing key",
    }
}

/// What is done to the house and not to a key.
fn house(record: &Record) -> Option<(String, Tone)> {
    let shown = |text: Option<&str>| Untrusted::capped(text.unwrap_or("?"), 120).to_string();
    let name = || shown(record.subject.name.as_deref());
    let fact = |name: &str| shown(record.facts.get(name).and_then(Value::as_str));
    let template = || shown(record.subject.template.as_deref());
    let connection = || shown(record.subject.connection.as_deref().or(record.subject.name.as_deref()));
    let store =
        || shown(record.facts.get("store").and_then(Value::as_str).or(record.subject.name.as_deref()));
    let (good, plain, warn, bad) = (Tone::Good, Tone::Plain, Tone::Warn, Tone::Bad);
    Some(match record.deed {
        Deed::TemplatePropose => (format!("template {} is proposed", template()), warn),
        Deed::TemplateApply => (format!("template {} is put in force", template()), good),
        Deed::PolicyApply => ("a policy is put in force".to_owned(), good),
        Deed::CatalogImport => ("permission data was imported".to_owned(), plain),
        Deed::AgentAdd => (format!("agent {} was added", name()), plain),
        Deed::AgentRemove => (format!("agent {} was removed", name()), warn),
        Deed::AgentPause => (format!("agent {} is paused", name()), warn),
        Deed::AgentResume => (format!("agent {} may ask again", name()), good),
        Deed::AgentRevokeAll => (format!("everything of agent {} was ended", name()), bad),
        Deed::GrantAdd => ("a class of requests is approved in advance".to_owned(), warn),
        Deed::GrantRemove => ("what was approved in advance is approved no more".to_owned(), plain),
        Deed::OperatorAdd => (format!("operator {} was added", name()), warn),
        Deed::OperatorRemove => (format!("operator {} was removed", name()), warn),
        Deed::OperatorTouch => {
            (format!("a passkey signed what follows: {} of {}", fact("deed"), fact("subject")), plain)
        }
        Deed::PasskeyAdd => {
            (format!("operator {} enrolled the passkey {}", fact("operator"), fact("label")), warn)
        }
        Deed::PasskeyHold => {
            let (whose, label) = (fact("operator"), fact("label"));
            let words = "nobody can approve with it until they say that it is theirs";
            (format!("the passkey {label} was made with the code of operator {whose}: {words}"), warn)
        }
        Deed::PasskeyRefuse => {
            let whose = fact("operator");
            (format!("somebody else used the code of operator {whose} for a passkey, which was refused"), bad)
        }
        Deed::PasskeyRemove => ("a passkey was removed".to_owned(), warn),
        Deed::WorkloadAdd => (format!("workload {} was added", name()), plain),
        Deed::WorkloadRemove => (format!("workload {} was removed", name()), plain),
        Deed::ProviderAdd => (format!("the connection {} was added", connection()), plain),
        Deed::ProviderRemove => (format!("the connection {} was removed", connection()), warn),
        Deed::ProviderRotateParent => {
            (format!("the parent credential of {} is replaced", connection()), plain)
        }
        Deed::StoreAdd => (format!("the store {} was added", store()), plain),
        Deed::StoreRemove => (format!("the store {} was removed", store()), warn),
        Deed::ConsumerAdd => (format!("consumer {} is told of successors", name()), plain),
        Deed::ConsumerRemove => (format!("consumer {} is told of successors no more", name()), plain),
        Deed::ChannelAdd => (format!("channel {} tells people what waits", name()), plain),
        Deed::ChannelRemove => (format!("channel {} tells people no more", name()), warn),
        Deed::ChannelTell => ("people were told of what waits".to_owned(), plain),
        Deed::ProjectTeardown => ("all keys of a project were given up".to_owned(), bad),
        Deed::PassphraseChange => ("a passphrase was changed".to_owned(), warn),
        Deed::SessionOpen => ("came in to look".to_owned(), plain),
        Deed::SessionRefuse => {
            let tries = record.facts.get("tries").and_then(Value::as_u64).unwrap_or_default();
            (format!("{tries} passphrases were given that fit no operator"), bad)
        }
        Deed::AuditAccept => ("the log was taken as it is, after its files were lost".to_owned(), bad),
        Deed::RestoreAccept => ("an older ledger was taken as it is".to_owned(), bad),
        Deed::BrokerStart => ("the broker came up".to_owned(), plain),
        Deed::KeySweep => ("a version that nobody owned was found, and dealt with".to_owned(), warn),
        _ => return None,
    })
}

/// Why, or how it failed: somebody else's words.
pub(crate) fn said(record: &Record) -> Option<String> {
    let failed = record.result.as_ref().filter(|outcome| !outcome.ok);
    let message = failed.and_then(|outcome| Some(outcome.message.as_ref()?.raw().to_owned()));
    let because = || record.facts.get("because").and_then(Value::as_str).map(ToOwned::to_owned);
    message.or_else(because).filter(|text| !text.is_empty())
}

fn named(who: &Who) -> String {
    let name = Untrusted::capped(&who.name, 64);
    match who.kind {
        Principal::Agent => format!("agent {name}"),
        Principal::Operator => format!("operator {name}"),
        Principal::Workload => format!("workload {name}"),
        Principal::Schedule => "the schedule".to_owned(),
        Principal::System => "the broker".to_owned(),
    }
}
