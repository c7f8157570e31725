//! When what failed is tried again.

use jiff::Timestamp;
use keywright_core::span::Span;

use crate::clock::back_off;

/// The longest pause between rotations that fail, in seconds.
const LONGEST_PAUSE: u64 = 6 * 3_600;
/// The shortest pause between rotations that fail: 2 to the power of it, in seconds.
const FIRST_PAUSE: u64 = 8;
/// The shortest one where the version is about to expire, in seconds.
const SHORTEST_PAUSE: u64 = 2;

/// When a rotation that failed is tried again.
pub(crate) fn again_after(tries: u64, expires: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let again = back_off(tries.saturating_add(FIRST_PAUSE), LONGEST_PAUSE, now);
    // Half of what is left each time: the last tries come right before programs are refused.
    let left = expires.map(|at| at.as_second() - now.as_second()).filter(|left| *left > 0);
    let half = left.and_then(|left| u64::try_from(left / 2).ok()).map(|half| half.max(SHORTEST_PAUSE));
    half.map_or(again, |half| again.min(Span::from_seconds(half).after(now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_tries_come_before_the_version_expires() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        let wait = |tries, expires: Option<i64>| {
            again_after(tries, expires.map(at), now).as_second() - now.as_second()
        };
        assert!(wait(0, None) >= 128, "a version that lives on can wait");
        assert_eq!(wait(0, None), wait(0, Some(86_400 * 30)));
        assert_eq!(wait(0, Some(80)), 40);
        assert_eq!(wait(20, Some(3_600)), 1_800);
        assert_eq!((wait(5, Some(3)), wait(5, Some(1))), (2, 2));
        assert_eq!(wait(5, Some(-1)), wait(5, None), "there is nothing left to be in time for");
        // However often it fails: from 80 seconds on there are tries until the end.
        let (mut left, mut tries) = (80, 0);
        while left > 2 {
            left -= wait(tries, Some(left));
            tries += 1;
        }
        assert!(tries >= 5, "{tries}");
    }
}
