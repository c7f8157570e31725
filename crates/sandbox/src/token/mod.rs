//! Tokens: what the sandbox knows of one, and how it ages.

pub(crate) mod ask;
pub(crate) mod book;
pub(crate) mod view;

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::grant::cidr::IpCondition;
use crate::grant::policy::Policy;
use view::TokenStatus;

/// How many distinct seconds of use are remembered for a lagging `last_used_on`.
const MOST_USES: usize = 256;

/// Who a token belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// An account, by id: survives the people who made it.
    Account(String),
    /// The user.
    User,
}

/// One token. Not `Debug`: it holds its value.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) id: String,
    pub(crate) owner: Owner,
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) policies: Vec<Policy>,
    pub(crate) condition: Option<IpCondition>,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) expires_on: Option<Timestamp>,
    pub(crate) disabled: bool,
    /// Exact, so that a list can lag by less than a second; shown in whole seconds.
    pub(crate) issued_on: Timestamp,
    pub(crate) modified_on: Timestamp,
    pub(crate) uses: Uses,
    /// How many uses are still refused, as if the token had not spread to every edge yet.
    pub(crate) refusals_left: u32,
}

/// When a token was used.
#[derive(Clone, Default)]
pub(crate) struct Uses {
    pub(crate) count: u64,
    times: VecDeque<Timestamp>,
}

impl Token {
    /// Active, disabled or expired. Expiry wins: a disabled token that ran out shows as expired.
    pub(crate) fn status(&self, now: Timestamp) -> TokenStatus {
        if self.expires_on.is_some_and(|end| end <= now) {
            TokenStatus::Expired
        } else if self.disabled {
            TokenStatus::Disabled
        } else {
            TokenStatus::Active
        }
    }

    /// As the API shows it: never with the value, and without the fields that have none (the schema has no nulls).
    pub(crate) fn to_json(&self, now: Timestamp, lag: SignedDuration) -> Value {
        let mut token = json!({
            "id": self.id,
            "name": self.name,
            "status": self.status(now),
            "issued_on": seconds(self.issued_on),
            "modified_on": seconds(self.modified_on),
            "policies": self.policies.iter().map(Policy::to_json).collect::<Vec<_>>(),
        });
        if let Some(fields) = token.as_object_mut() {
            if let Some(condition) = &self.condition {
                fields.insert("condition".to_owned(), condition.to_json());
            }
            let last_used = self.uses.last_until(now.saturating_sub(lag).unwrap_or(now));
            for (key, time) in [
                ("not_before", self.not_before),
                ("expires_on", self.expires_on),
                ("last_used_on", last_used),
            ] {
                if let Some(time) = time {
                    fields.insert(key.to_owned(), seconds(time).into());
                }
            }
        }
        token
    }
}

impl Uses {
    /// Notes one use.
    pub(crate) fn note(&mut self, now: Timestamp) {
        self.count += 1;
        if self.times.back().is_none_or(|last| last.as_second() != now.as_second()) {
            self.times.push_back(now);
            if self.times.len() > MOST_USES {
                self.times.pop_front();
            }
        }
    }

    /// The last use.
    pub(crate) fn last(&self) -> Option<Timestamp> {
        self.times.back().copied()
    }

    /// The last use that is not after `end`.
    fn last_until(&self, end: Timestamp) -> Option<Timestamp> {
        self.times.iter().rev().find(|time| **time <= end).copied()
    }
}

/// A time as the API writes it: RFC 3339, whole seconds, `Z`.
pub(crate) fn seconds(time: Timestamp) -> String {
    whole(time).to_string()
}

/// A time without its fraction of a second.
pub(crate) fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lagging_last_use_shows_the_latest_one_that_is_old_enough() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut uses = Uses::default();
        assert_eq!(uses.last(), None);
        for second in [100, 100, 200, 300] {
            uses.note(at(second));
        }
        assert_eq!((uses.count, uses.last()), (4, Some(at(300))));
        assert_eq!(uses.last_until(at(299)), Some(at(200)));
        assert_eq!(uses.last_until(at(99)), None);
        for second in 1_000..2_000 {
            uses.note(at(second));
        }
        assert_eq!(uses.times.len(), MOST_USES);
    }
}
