//! Old versions that an operator wants kept. They stay for as long as that costs nobody a key: a key has one rotation at a time,
//! and its next one must not wait for them.

use jiff::Timestamp;
use keywright_core::plan::Ending;

use super::Work;
use super::drain::Old;
use crate::rotate::first_due;

/// Until when what was replaced is kept for an operator's sake; `None` where it is not.
pub(super) fn kept_until(work: &Work, old: &[Old]) -> Option<Timestamp> {
    if work.plan().ending != Some(Ending::Kept) {
        return None;
    }
    let since = old.iter().map(|one| one.drain.observed.since).max()?;
    // Without a schedule nothing waits behind it.
    let next = first_due(work.plan(), work.key.id, work.attempt.id, since).unwrap_or(Timestamp::MAX);
    let gone = old.iter().filter_map(|one| one.version.expires_at).max().unwrap_or(Timestamp::MAX);
    Some(next.min(gone))
}

/// As people read it.
pub(super) fn until(at: Timestamp) -> String {
    match Timestamp::from_second(at.as_second()) {
        Ok(at) if at < Timestamp::MAX => format!(" until {at}, when its next rotation is due or it expires"),
        _ => String::new(),
    }
}
