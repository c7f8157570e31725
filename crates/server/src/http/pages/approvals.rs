//! Approvals as they stand in the log: who, when, with what, and whether they are of what would be done.

use keywright_broker::BrokerError;
use keywright_broker::log::{About, Sought};
use keywright_broker::review::Review;
use keywright_core::audit::{Deed, Entry};
use keywright_core::name::OperatorName;
use keywright_core::receipt::Status;

use super::super::Door;
use super::parts::{Fact, Part, Shown, Text};

/// More approvals of one request are not shown.
const AT_MOST: u32 = 100;

/// An approval that is on record.
pub(super) struct OnRecord {
    by: String,
    /// It is of what would be done, and not of more than that.
    is_of_this: bool,
    shown: Text,
}

/// The approvals of a request that stand in the log, each with its entry and the passkey.
pub(super) async fn given(door: &Door, review: &Review, digest: &str) -> Vec<OnRecord> {
    let sought = Sought {
        about: About::These(Vec::new(), vec![review.request]),
        deed: Some(Deed::ApprovalGive),
        ..Sought::default()
    };
    let Ok(found) = door.broker.search_log(sought, None, AT_MOST).await else { return Vec::new() };
    let mut all = Vec::new();
    for entry in found.entries.iter().rev() {
        let record = entry.record();
        // What somebody wrote into the log's rows approves nothing, and is not told as if it did.
        if found.edited.contains(&entry.id()) {
            continue;
        }
        let counts = review.approved_by.contains(&record.who.name);
        let is_of_this = record.plan_digest.as_deref() == Some(digest);
        let Ok(shown) = approval(door, entry).await else { continue };
        let shown = match (is_of_this, review.status) {
            (false, _) => shown.and(": of more than this; it counts no more"),
            (true, Status::PendingApproval) if !counts => shown.and(": it counts no more"),
            (true, _) => shown,
        };
        all.push(OnRecord { by: record.who.name.clone(), is_of_this, shown });
    }
    all
}

/// What an operator has to know who approved all of it before somebody approved less.
pub(super) fn voided(review: &Review, operator: &OperatorName, approvals: &[OnRecord]) -> String {
    let mut own = approvals.iter().filter(|one| one.by == operator.as_str()).peekable();
    let Some(less) = review.narrowed.as_ref().filter(|less| less.by != operator.as_str()) else {
        return String::new();
    };
    if own.peek().is_none() || own.any(|one| one.is_of_this) {
        return String::new();
    }
    let then = if review.status == Status::PendingApproval {
        ". Look at what is left, and decide again"
    } else {
        ""
    };
    format!(
        "You approved all of it; operator {} approved less since ({}), so your approval counts no more{then}.",
        less.by,
        less.words()
    )
}

/// The evidence with each approval by itself: it leads to what was signed.
pub(super) fn with_approvals(mut parts: Vec<Part>, approvals: &[OnRecord]) -> Vec<Part> {
    for part in &mut parts {
        let Part::Facts(facts) = part else { continue };
        let Some(at) = facts.iter().position(|fact| fact.label == Shown::of("approvals")) else { continue };
        if let Some(fact) = facts.get_mut(at).filter(|_| !approvals.is_empty()) {
            // Who and when stands below.
            let count = fact.text.text.to_string();
            fact.text.text = Shown::of(count.split(": ").next().unwrap_or_default());
        }
        let own = approvals.iter().map(|one| Fact { label: Shown::default(), text: one.shown.clone() });
        facts.splice(at + 1..at + 1, own);
    }
    parts
}

/// An approval as it stands in the log: who, when, and with what; it leads there.
pub(super) async fn approval(door: &Door, entry: &Entry) -> Result<Text, BrokerError> {
    let record = entry.record();
    let name = door.broker.passkey_names(&record.signatures).await?.into_iter().next().flatten();
    let with = match (record.signatures.first().map(|one| one.method.as_str()), name) {
        (Some("webauthn"), Some(name)) => format!(" with passkey {name}"),
        (Some("webauthn"), None) => " with a passkey that counts no more".to_owned(),
        _ => " with their signing key".to_owned(),
    };
    let (id, time) = (entry.id().to_string(), crate::when::seconds(record.at));
    Ok(Text::of(format!("{} {time}{with}", record.who.name)).to(&["audit", &id]))
}
