//! When a version that drains is looked at again.

use jiff::Timestamp;
use keywright_core::span::Span;

/// The longest pause between looks at a version that drains, in seconds.
pub(super) const LONGEST_PAUSE: u64 = 3_600;

/// When to look again at what can change at a known moment at the earliest: then, or earlier, in even steps, so that use is
/// noticed; and after it each minute.
pub(super) fn look_again(now: Timestamp, at: Timestamp) -> Timestamp {
    let left = at.as_second().saturating_sub(now.as_second());
    let Ok(left) = u64::try_from(left) else { return Span::from_seconds(60).after(now) };
    if at <= now {
        return Span::from_seconds(60).after(now);
    }
    Span::from_seconds((left / 8).clamp(1, LONGEST_PAUSE)).after(now).min(Span::from_seconds(1).after(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_come_in_even_steps_and_once_right_after_the_moment() {
        let at = |millis: i64| Timestamp::from_millisecond(1_000_000_000 + millis).unwrap();
        for (now, moment, next) in [
            (0, 80_000, 10_000),
            (0, 800_000_000, 3_600_000),
            (0, 3_900, 1_000),
            (3_500, 3_900, 4_500),
            (3_950, 3_900, 63_950),
        ] {
            assert_eq!(look_again(at(now), at(moment)), at(next), "{now} {moment}");
        }
    }
}
