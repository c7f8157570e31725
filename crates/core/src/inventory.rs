//! What is at a provider besides the keys that Keywright made: how old, how wide, and what is wrong with it.
//!
//! The rules only rate what the provider shows. What it does not show (a last use, an expiry that it does not have) is no
//! risk that anybody could act on, and counts for nothing.

use jiff::{SignedDuration, Timestamp};

use crate::grant::ObservedGrant;
use crate::key::state;
use crate::provider::{Evidence, ProviderFacts};

/// After so many days without use a credential counts as forgotten.
pub const FORGOTTEN_DAYS: i64 = 90;

state!(/// What is wrong with a credential, the worst first.
Risk {
    /// It can make keys or change who may do what.
    Escalation = "escalation",
    /// It reaches every resource of a kind, also those that come later.
    EveryResource = "every_resource",
    /// It never ends, where the provider could end it.
    NoExpiry = "no_expiry",
    /// Nobody used it for 90 days.
    Unused = "unused",
    /// It holds parts that this version does not understand, so it may do more than is shown.
    NotUnderstood = "not_understood",
    /// Its permissions could not be read.
    Unread = "unread",
});

impl Risk {
    /// For people, in a few words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Escalation => "can make keys or change permissions",
            Self::EveryResource => "reaches everything of a kind",
            Self::NoExpiry => "never ends",
            Self::Unused => "unused for 90 days",
            Self::NotUnderstood => "has parts that are not understood",
            Self::Unread => "its permissions can't be read",
        }
    }
}

/// What is known of a credential that nobody manages.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// What the provider can show at all.
    pub facts: &'a ProviderFacts,
    /// What it may do; `None` where that could not be read.
    pub grant: Option<&'a ObservedGrant>,
    /// Whether one of its permissions can make keys or change permissions.
    pub escalates: bool,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it was last used, where the provider says; `None` also where it never was.
    pub last_used_at: Option<Timestamp>,
    /// Whether the provider said when: then "never" is an answer.
    pub tells_use: bool,
}

/// What is wrong with it, the worst first.
#[must_use]
pub fn risks(known: &Known<'_>, now: Timestamp) -> Vec<Risk> {
    let mut found = Vec::new();
    if known.escalates {
        found.push(Risk::Escalation);
    }
    match known.grant {
        None => found.push(Risk::Unread),
        Some(grant) => {
            if grant.resources.iter().any(|(kind, id)| is_everything(kind, id)) {
                found.push(Risk::EveryResource);
            }
            if known.facts.has_expiry && grant.expires_at.is_none() {
                found.push(Risk::NoExpiry);
            }
            if !grant.not_understood.is_empty() {
                found.push(Risk::NotUnderstood);
            }
        }
    }
    if known.tells_use && known.facts.evidence == Evidence::Exact && is_forgotten(known, now) {
        found.push(Risk::Unused);
    }
    found.sort();
    found
}

/// A wildcard, or a kind of its own, as `cloudflare.all_zones` is.
fn is_everything(kind: &str, id: &str) -> bool {
    id.contains('*') || kind.rsplit('.').next().is_some_and(|last| last.starts_with("all_"))
}

/// Never used counts from when it was made; without either time nothing is known.
fn is_forgotten(known: &Known<'_>, now: Timestamp) -> bool {
    let since = known.last_used_at.or(known.created_at);
    let limit = now.checked_sub(SignedDuration::from_hours(FORGOTTEN_DAYS * 24)).unwrap_or(Timestamp::MIN);
    since.is_some_and(|at| at < limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Recovery;
    use crate::span::Span;
    use crate::text::Untrusted;

    const DAY: i64 = 86_400;

    fn facts(has_expiry: bool, evidence: Evidence) -> ProviderFacts {
        ProviderFacts {
            kind: "it",
            no_mint: None,
            recovery: Recovery::Label,
            evidence,
            has_expiry,
            counts_lifetime: false,
            has_ip_condition: false,
            has_budget: false,
            longest_late_delivery: Span::from_seconds(1),
        }
    }

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(day * DAY).unwrap()
    }

    #[test]
    fn only_what_the_provider_shows_is_a_risk() {
        let good = ObservedGrant {
            resources: [("zone".to_owned(), "z1".to_owned())].into(),
            expires_at: Some(at(400)),
            ..ObservedGrant::default()
        };
        let endless = ObservedGrant { expires_at: None, ..good.clone() };
        let wide = ObservedGrant { resources: [("zone".to_owned(), "*".to_owned())].into(), ..good.clone() };
        let odd = ObservedGrant { not_understood: vec![Untrusted::capped("effect", 9)], ..good.clone() };
        let (exact, silent) = (facts(true, Evidence::Exact), facts(false, Evidence::None));
        let of = |facts, grant| Known {
            facts,
            grant,
            escalates: false,
            created_at: Some(at(100)),
            last_used_at: Some(at(195)),
            tells_use: true,
        };
        let all = ObservedGrant {
            resources: [("cloudflare.all_zones".to_owned(), "a1".to_owned())].into(),
            ..good.clone()
        };
        let cases: [(&str, Known<'_>, &[Risk]); 12] = [
            ("a good one", of(&exact, Some(&good)), &[]),
            ("it never ends", of(&exact, Some(&endless)), &[Risk::NoExpiry]),
            ("no key of the provider ends", of(&silent, Some(&endless)), &[]),
            ("every zone", of(&exact, Some(&wide)), &[Risk::EveryResource]),
            ("all zones of an account", of(&exact, Some(&all)), &[Risk::EveryResource]),
            ("odd", of(&exact, Some(&odd)), &[Risk::NotUnderstood]),
            ("unread", of(&exact, None), &[Risk::Unread]),
            (
                "it makes keys, for ever",
                Known { escalates: true, ..of(&exact, Some(&endless)) },
                &[Risk::Escalation, Risk::NoExpiry],
            ),
            (
                "used long ago",
                Known { last_used_at: Some(at(109)), ..of(&exact, Some(&good)) },
                &[Risk::Unused],
            ),
            ("never used", Known { last_used_at: None, ..of(&exact, Some(&good)) }, &[Risk::Unused]),
            (
                "the provider did not say",
                Known { last_used_at: None, tells_use: false, ..of(&exact, Some(&good)) },
                &[],
            ),
            (
                "new and never used",
                Known { last_used_at: None, created_at: Some(at(199)), ..of(&exact, Some(&good)) },
                &[],
            ),
        ];
        for (what, known, expected) in cases {
            assert_eq!(risks(&known, at(200)), expected, "{what}");
        }
    }

    #[test]
    fn forgotten_is_after_ninety_days_and_not_before() {
        let facts = facts(true, Evidence::Exact);
        let grant = ObservedGrant { expires_at: Some(at(999)), ..ObservedGrant::default() };
        for (now, is_unused) in [(at(190), false), (Timestamp::from_second(190 * DAY + 1).unwrap(), true)] {
            let known = Known {
                facts: &facts,
                grant: Some(&grant),
                escalates: false,
                created_at: None,
                last_used_at: Some(at(100)),
                tells_use: true,
            };
            assert_eq!(risks(&known, now).contains(&Risk::Unused), is_unused, "{now}");
        }
    }
}
