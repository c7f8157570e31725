//! Draining: is an old version still used? A rule over observations, without a clock of its own.
//!
//! What can be known depends on the provider ([`Evidence`]): a time of last use, a counter that grows with use, or nothing.
//! What the broker itself saw (the value was handed out, a program that holds it runs) counts besides. Answers lag, so the
//! window of quiet counts from the last sign of use to the moment up to which the answer is complete.

use jiff::Timestamp;

use crate::provider::{Evidence, Usage};
use crate::span::Span;

/// What is known about the use of a version since its successor is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Since when its consumers could have known of the successor.
    pub since: Timestamp,
    /// When the provider was asked last and answered.
    pub looked_at: Option<Timestamp>,
    /// The latest last use that it told of.
    pub last_used_at: Option<Timestamp>,
    /// When its counters were read first.
    pub counted_since: Option<Timestamp>,
    /// What they were when they were read last.
    pub usage: Option<Usage>,
    /// When an answer last told of another last use, or of another counter, than the one before.
    pub grew_at: Option<Timestamp>,
    /// When we saw it in use ourselves.
    pub seen_by_us_at: Option<Timestamp>,
}

impl Observed {
    /// Nothing is known yet.
    #[must_use]
    pub fn since(since: Timestamp) -> Self {
        Self {
            since,
            looked_at: None,
            last_used_at: None,
            counted_since: None,
            usage: None,
            grew_at: None,
            seen_by_us_at: None,
        }
    }

    /// With an answer about the last use.
    #[must_use]
    pub fn used(mut self, looked_at: Timestamp, last_used_at: Option<Timestamp>) -> Self {
        // What is used in the future was used now at the latest: one wrong answer must not count for ever.
        let last_used_at = last_used_at.map(|at| at.min(looked_at));
        // Clocks differ: whatever time it tells, what it tells anew was seen now.
        if self.looked_at.is_some() && last_used_at > self.last_used_at {
            self.grew_at = self.grew_at.max(Some(looked_at));
        }
        self.looked_at = self.looked_at.max(Some(looked_at));
        // A provider that forgets, or whose replicas differ, takes nothing back.
        self.last_used_at = self.last_used_at.max(last_used_at);
        self
    }

    /// With an answer of its counters.
    #[must_use]
    pub fn counted(mut self, looked_at: Timestamp, now: Usage) -> Self {
        self.looked_at = self.looked_at.max(Some(looked_at));
        self.counted_since = self.counted_since.or(Some(looked_at));
        // Any other reading is a sign of something: a counter that falls is not one to conclude from.
        if self.usage.is_some_and(|before| before != now) {
            self.grew_at = self.grew_at.max(Some(looked_at));
        }
        self.usage = Some(now);
        self
    }

    /// The last sign of use since the successor is in force.
    #[must_use]
    pub fn last_sign(&self) -> Option<Timestamp> {
        let signs = [self.last_used_at, self.grew_at, self.seen_by_us_at];
        signs.into_iter().flatten().filter(|at| *at > self.since).max()
    }
}

/// Whether a version may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was quiet for the whole window, as far as the provider counts, which is far enough.
    Idle {
        /// Since when no use is known.
        quiet_since: Timestamp,
    },
    /// It was used after its successor was in force, or the window has not passed.
    NotYet {
        /// The last sign of use, if there was one.
        last_sign: Option<Timestamp>,
        /// When it can be idle at the earliest.
        idle_at: Timestamp,
    },
    /// Nobody can know.
    Unknowable {
        /// We saw it in use ourselves.
        last_sign: Option<Timestamp>,
    },
}

/// Judges what was observed. `lag` is how far the provider's answer may lie behind.
#[must_use]
pub fn verdict(evidence: Evidence, observed: &Observed, quiet_for: Span, lag: Span) -> Verdict {
    let last_sign = observed.last_sign();
    let begins = match evidence {
        Evidence::None => return Verdict::Unknowable { last_sign },
        Evidence::Exact => Some(observed.since),
        // The first reading is what later ones are held against: before it, nothing is known.
        Evidence::Counters => observed.counted_since.map(|at| at.max(observed.since)),
    };
    let Some(quiet_since) = begins.map(|begins| last_sign.map_or(begins, |sign| sign.max(begins))) else {
        return Verdict::NotYet { last_sign, idle_at: lag.after(quiet_for.after(observed.since)) };
    };
    let idle_at = lag.after(quiet_for.after(quiet_since));
    match observed.looked_at {
        Some(looked_at) if looked_at >= idle_at => Verdict::Idle { quiet_since },
        _ => Verdict::NotYet { last_sign, idle_at },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn span(seconds: u64) -> Span {
        Span::from_seconds(seconds)
    }

    #[test]
    fn quiet_for_the_window_and_the_lag_is_idle_and_not_a_second_earlier() {
        let seen = |looked: i64| Observed::since(at(0)).used(at(looked), Some(at(-50)));
        let judged = |looked| verdict(Evidence::Exact, &seen(looked), span(100), span(10));
        assert_eq!(judged(109), Verdict::NotYet { last_sign: None, idle_at: at(110) });
        assert_eq!(judged(110), Verdict::Idle { quiet_since: at(0) });
    }

    #[test]
    fn a_use_begins_the_window_anew_whoever_saw_it() {
        let by_provider = Observed::since(at(0)).used(at(150), Some(at(60)));
        let wanted = Verdict::NotYet { last_sign: Some(at(60)), idle_at: at(161) };
        assert_eq!(verdict(Evidence::Exact, &by_provider, span(100), span(1)), wanted);
        let by_us = Observed { seen_by_us_at: Some(at(60)), ..Observed::since(at(0)).used(at(150), None) };
        assert_eq!(verdict(Evidence::Exact, &by_us, span(100), span(1)), wanted);
    }

    #[test]
    fn a_provider_that_was_not_asked_proves_nothing() {
        let wanted = Verdict::NotYet { last_sign: None, idle_at: at(101) };
        assert_eq!(verdict(Evidence::Exact, &Observed::since(at(0)), span(100), span(1)), wanted);
        assert_eq!(verdict(Evidence::Counters, &Observed::since(at(0)), span(100), span(1)), wanted);
    }

    #[test]
    fn a_provider_whose_clock_is_behind_hides_no_use() {
        // It says that each use was before the switch; that there was another one is what counts.
        let seen = Observed::since(at(0)).used(at(50), Some(at(-950))).used(at(150), Some(at(-850)));
        let wanted = Verdict::NotYet { last_sign: Some(at(150)), idle_at: at(251) };
        assert_eq!(verdict(Evidence::Exact, &seen, span(100), span(1)), wanted);
    }

    #[test]
    fn a_use_in_the_future_is_one_of_now() {
        let seen = Observed::since(at(0)).used(at(50), Some(at(2_000_000_000))).used(at(151), None);
        let wanted = Verdict::Idle { quiet_since: at(50) };
        assert_eq!(verdict(Evidence::Exact, &seen, span(100), span(1)), wanted);
    }

    #[test]
    fn an_older_answer_takes_nothing_back() {
        let seen = Observed::since(at(0)).used(at(90), Some(at(80))).used(at(200), None);
        let wanted = Verdict::Idle { quiet_since: at(80) };
        assert_eq!(verdict(Evidence::Exact, &seen, span(100), span(1)), wanted);
    }

    #[test]
    fn counters_are_held_against_their_first_reading() {
        let usage = |tokens| Usage { cost_microusd: None, tokens: Some(tokens) };
        let seen = Observed::since(at(0)).counted(at(30), usage(5));
        let still = seen.clone().counted(at(131), usage(5));
        assert_eq!(
            verdict(Evidence::Counters, &still, span(100), span(1)),
            Verdict::Idle { quiet_since: at(30) }
        );
        let grew = seen.counted(at(130), usage(6));
        assert_eq!(
            verdict(Evidence::Counters, &grew, span(100), span(1)),
            Verdict::NotYet { last_sign: Some(at(130)), idle_at: at(231) }
        );
    }

    #[test]
    fn without_evidence_nobody_can_know() {
        let seen = Observed::since(at(0)).used(at(1_000_000), None);
        assert_eq!(verdict(Evidence::None, &seen, span(1), span(1)), Verdict::Unknowable { last_sign: None });
    }
}
