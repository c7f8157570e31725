//! The note beside a secret: a variable that says whose the secret is.
//!
//! GitHub shows nothing of a secret but its name and two times, so that a secret alone can't say who wrote it. Its
//! variables can be read: beside the secret `X` lies the variable `KEYWRIGHT_X`, which names the placement and the
//! secret's `updated_at` after our write. When that time moves, somebody else wrote, and the secret is theirs.
//!
//! Around a write the note names both: what lay there, and what is about to come. A secret whose time moved within
//! [`IN_FLIGHT`] of such a note (both times are of GitHub's clock) is taken for the one that was to come: this is how
//! a write is recognised whose answer was lost. Somebody else's write in that very window can't be told from ours.

use jiff::{SignedDuration, Timestamp};
use keywright_core::marker::Marker;
use keywright_core::store::{Origin, Presence};
use serde::{Deserialize, Serialize};

/// Longer than a write takes with all its repetitions.
const IN_FLIGHT: SignedDuration = SignedDuration::from_secs(120);

/// What the variable holds, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Note {
    /// Tells our notes from other people's variables.
    by: By,
    /// What lies there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<Mark>,
    /// What is being written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<Mark>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum By {
    #[serde(rename = "keywright/1")]
    Keywright,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    placement: String,
    marker: String,
    /// The secret's `updated_at` after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
}

/// The variable as it was found.
#[derive(Debug)]
pub(super) enum Slip {
    Absent,
    Ours {
        note: Note,
        updated_at: Timestamp,
    },
    /// A variable of that name which we did not write.
    Theirs,
}

/// Whose the secret is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Nobody,
    Ours {
        mark: Mark,
        /// Whether the note was completed after the write.
        confirmed: bool,
    },
    Somebody,
}

impl Mark {
    pub(super) fn of(origin: &Origin) -> Self {
        Self { placement: origin.placement.to_string(), marker: origin.marker.to_string(), at: None }
    }

    pub(super) fn at(&self, at: Timestamp) -> Self {
        Self { at: Some(at), ..self.clone() }
    }

    pub(super) fn is_of(&self, origin: &Origin) -> bool {
        self.placement == origin.placement.to_string()
    }

    /// What the broker is told of it.
    pub(super) fn presence(&self, at: Timestamp) -> Presence {
        Presence::Ours {
            marker: Some(Marker::from_ledger(self.marker.clone())),
            store_version: Some(at.to_string()),
        }
    }
}

impl Note {
    pub(super) fn new(current: Option<Mark>, next: Option<Mark>) -> Self {
        Self { by: By::Keywright, current, next }
    }

    /// Whether it has anything to do with the origin.
    pub(super) fn names(&self, origin: &Origin) -> bool {
        self.current.iter().chain(&self.next).any(|mark| mark.is_of(origin))
    }

    /// Whether the origin's write is under way.
    pub(super) fn expects(&self, origin: &Origin) -> bool {
        self.next.as_ref().is_some_and(|mark| mark.is_of(origin))
    }

    /// The note when nothing is under way any more.
    pub(super) fn without_next(&self) -> Option<Self> {
        self.current.clone().map(|mark| Self::new(Some(mark), None))
    }
}

impl Slip {
    /// Reads the variable's value.
    pub(super) fn read(value: &str, updated_at: Timestamp) -> Self {
        serde_json::from_str(value).map_or(Self::Theirs, |note| Self::Ours { note, updated_at })
    }

    /// Whose the secret is that was last changed at this time.
    pub(super) fn owner(&self, changed_at: Option<Timestamp>) -> Owner {
        let Some(changed_at) = changed_at else { return Owner::Nobody };
        let Self::Ours { note, updated_at } = self else { return Owner::Somebody };
        if let Some(mark) = note.current.as_ref().filter(|mark| mark.at == Some(changed_at)) {
            return Owner::Ours { mark: mark.clone(), confirmed: true };
        }
        let since = changed_at.duration_since(*updated_at);
        match &note.next {
            Some(mark) if !since.is_negative() && since <= IN_FLIGHT => {
                Owner::Ours { mark: mark.clone(), confirmed: false }
            }
            _ => Owner::Somebody,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    fn mark(placement: &str, second: Option<i64>) -> Mark {
        Mark { placement: placement.to_owned(), marker: format!("kw-{placement}"), at: second.map(at) }
    }

    #[test]
    fn a_secret_is_ours_only_while_its_time_is_the_one_of_our_write() {
        let complete = Slip::Ours { note: Note::new(Some(mark("a", Some(5))), None), updated_at: at(6) };
        let ours = Owner::Ours { mark: mark("a", Some(5)), confirmed: true };
        assert_eq!(complete.owner(Some(at(5))), ours);
        assert_eq!(complete.owner(Some(at(7))), Owner::Somebody);
        assert_eq!(complete.owner(None), Owner::Nobody);
        assert_eq!(Slip::Absent.owner(Some(at(5))), Owner::Somebody);
        assert_eq!(Slip::Theirs.owner(Some(at(5))), Owner::Somebody);
    }

    #[test]
    fn a_write_under_way_is_recognised_within_its_window() {
        let note = Note::new(Some(mark("a", Some(5))), Some(mark("b", None)));
        let under_way = Slip::Ours { note, updated_at: at(100) };
        let expect = |second: i64| match under_way.owner(Some(at(second))) {
            Owner::Ours { mark, confirmed } => format!("{} {confirmed}", mark.placement),
            other => format!("{other:?}"),
        };
        for (second, owner) in
            [(5, "a true"), (99, "Somebody"), (100, "b false"), (220, "b false"), (221, "Somebody")]
        {
            assert_eq!(expect(second), owner, "{second}");
        }
    }

    #[test]
    fn a_variable_of_somebody_else_is_not_a_note() {
        for value in ["", "yes", "{}", r#"{"by":"me"}"#, r#"{"by":"keywright/1","more":1}"#] {
            assert!(matches!(Slip::read(value, at(0)), Slip::Theirs), "{value}");
        }
        let note = Note::new(Some(mark("a", Some(5))), Some(mark("b", None)));
        let text = serde_json::to_string(&note).unwrap();
        assert!(matches!(Slip::read(&text, at(0)), Slip::Ours { note: read, .. } if read == note));
    }
}
