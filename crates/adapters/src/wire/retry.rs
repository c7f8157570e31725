//! When a call is repeated, and how long to wait before.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use jiff::Timestamp;

use super::pace::PATIENCE;
use super::{Fault, Reply};

/// The longest `Retry-After` that counts; more is taken for this much: a provider or store that errs once must not put a
/// revocation off for hours.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(900);
/// The obsolete forms of a date (RFC 9110, 5.6.7), which a recipient has to know: RFC 850's, and C's `asctime`.
const OLD_DATES: [&str; 2] = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];

/// Bounds of repeating.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    /// How often a call is sent at most.
    pub(crate) attempts: u32,
    /// The wait after the first attempt; it doubles with each.
    pub(crate) first_wait: Duration,
    /// The longest wait. When the other side asks for more, its answer is handed up instead.
    pub(crate) longest_wait: Duration,
    /// Whether an answer is final although its status is one that may pass by itself.
    pub(crate) is_final: fn(&Reply) -> bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 3,
            first_wait: Duration::from_millis(200),
            longest_wait: PATIENCE,
            is_final: |_| false,
        }
    }
}

impl Retry {
    /// How long to wait before the next attempt; `None` when this outcome is final. A deadline that passed is final:
    /// whoever hung for that long once would hang again, and the caller waits.
    pub(super) fn wait_after(&self, attempt: u32, outcome: &Result<Reply, Fault>) -> Option<Duration> {
        let asked = match outcome {
            Ok(reply) if (self.is_final)(reply) => return None,
            Ok(reply) if reply.status == 429 || reply.status >= 500 => reply.retry_after,
            Err(Fault::NotSent { .. } | Fault::Lost { .. }) => None,
            Ok(_) | Err(_) => return None,
        };
        if attempt >= self.attempts || asked.is_some_and(|wait| wait > self.longest_wait) {
            return None;
        }
        let doubled = self.first_wait.saturating_mul(1 << (attempt.saturating_sub(1)).min(16));
        Some(asked.unwrap_or_else(|| jittered(doubled.min(self.longest_wait))))
    }
}

/// Between half of a wait and all of it, so that callers that failed together don't return together. The standard
/// library's hash seeds are random enough for that.
pub(crate) fn jittered(wait: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 1_000;
    wait / 2 + wait.mul_f64(f64::from(u32::try_from(random).unwrap_or(0)) / 2_000.0)
}

/// Reads `Retry-After` (RFC 9110, 10.2.3): seconds, or a date; a quarter of an hour at most.
pub(super) fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let asked = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // So many digits that they are no number: a very long time.
        text.parse().map_or(LONGEST_RETRY_AFTER, Duration::from_secs)
    } else {
        let seconds = parse_http_date(text)?.as_second().saturating_sub(now.as_second());
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    };
    Some(asked.min(LONGEST_RETRY_AFTER))
}

/// Reads a date in any of the three forms of HTTP (RFC 9110, 5.6.7).
pub(super) fn parse_http_date(text: &str) -> Option<Timestamp> {
    let modern = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
    let old = |form: &&str| {
        let civil = jiff::civil::DateTime::strptime(form, text).ok()?;
        jiff::tz::Offset::UTC.to_timestamp(civil).ok()
    };
    modern.or_else(|| OLD_DATES.iter().find_map(old))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, retry_after: Option<u64>) -> Result<Reply, Fault> {
        let retry_after = retry_after.map(Duration::from_secs);
        Ok(Reply { status, retry_after, body: Vec::new().into(), is_repeated: false })
    }

    #[test]
    fn only_what_may_pass_by_itself_is_tried_again() {
        let retry = Retry::default();
        for (outcome, again) in [
            (reply(200, None), false),
            (reply(400, None), false),
            (reply(404, None), false),
            (reply(429, Some(3)), true),
            (reply(429, Some(5)), true),
            (reply(429, Some(6)), false),
            (reply(500, None), true),
            (reply(503, None), true),
            (Err(Fault::NotSent { why: String::new() }), true),
            (Err(Fault::Closed { left: Duration::from_secs(6) }), false),
            (Err(Fault::Lost { why: String::new() }), true),
            (Err(Fault::TimedOut { after: Duration::ZERO }), false),
            (Err(Fault::TooLarge { limit: 1 }), false),
            (Err(Fault::Redirected { status: 302 }), false),
        ] {
            assert_eq!(retry.wait_after(1, &outcome).is_some(), again, "{:?}", outcome.map(|r| r.status));
        }
        let cautious = Retry { is_final: |reply| reply.status == 500, ..retry };
        assert!(cautious.wait_after(1, &reply(500, None)).is_none());
        assert!(cautious.wait_after(1, &reply(503, None)).is_some());
        assert_eq!(retry.wait_after(1, &reply(429, Some(3))), Some(Duration::from_secs(3)));
        assert_eq!(retry.wait_after(3, &reply(500, None)), None);
    }

    #[test]
    fn waits_double_within_their_bound_and_differ() {
        let retry = Retry { attempts: 99, ..Retry::default() };
        for attempt in 1..90 {
            let wait = retry.wait_after(attempt, &reply(500, None)).unwrap();
            assert!(wait >= Duration::from_millis(100) && wait <= retry.longest_wait, "{attempt}: {wait:?}");
        }
        let waits: std::collections::BTreeSet<_> =
            (0..50).map(|_| jittered(Duration::from_secs(8))).collect();
        assert!(waits.len() > 1);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-11-24T10:00:00Z".parse().unwrap();
        for (text, seconds) in [
            ("0", Some(0)),
            (" 300 ", Some(300)),
            ("Tue, 24 Nov 2026 10:05:00 GMT", Some(300)),
            ("Tuesday, 24-Nov-26 10:05:00 GMT", Some(300)),
            ("Tue Nov 24 10:05:00 2026", Some(300)),
            ("Tue Dec  1 10:05:00 2026", Some(900)),
            ("Tue, 24 Nov 2026 09:00:00 GMT", Some(0)),
            ("3600", Some(900)),
            ("86400", Some(900)),
            ("Tue, 24 Nov 2099 10:05:00 GMT", Some(900)),
            ("99999999999999999999999", Some(900)),
            ("", None),
            ("-5", None),
            ("soon", None),
            ("1.5", None),
            ("Someday, 24-Nov-26 10:05:00 GMT", None),
        ] {
            assert_eq!(parse_retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
