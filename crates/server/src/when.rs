//! Times: RFC 3339 in UTC, and how far away that is.

use jiff::Timestamp;
use keywright_core::text::Untrusted;

/// `2026-12-24T05:09:39Z (in 29 days)`; the text as it is when it is no time.
#[must_use]
pub fn both(text: &str, now: Timestamp) -> String {
    match text.parse::<Timestamp>() {
        Ok(at) => format!("{} ({})", seconds(at), away(at, now)),
        Err(_) => Untrusted::capped(text, 200).to_string(),
    }
}

/// `in 29 days`, `3 hours ago`; the text as it is when it is no time.
#[must_use]
pub fn short(text: &str, now: Timestamp) -> String {
    match text.parse::<Timestamp>() {
        Ok(at) => away(at, now),
        Err(_) => Untrusted::capped(text, 200).to_string(),
    }
}

/// To the second.
#[must_use]
pub fn seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

/// For people, to the minute: `2026-12-24 05:09 UTC`.
#[must_use]
pub fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// How far away, in the largest unit of which there is one, rounded as people do: what was made for 30 days a second ago ends in 30
/// days.
#[must_use]
pub fn away(at: Timestamp, now: Timestamp) -> String {
    let difference = at.as_second() - now.as_second();
    let size = difference.unsigned_abs();
    let rounded = |length: u64| (size + length / 2) / length;
    // Almost 24 hours are a day, and 13 are none.
    let (number, unit) = match () {
        () if rounded(3_600) >= 24 => (rounded(86_400), "day"),
        () if rounded(60) >= 60 => (rounded(3_600), "hour"),
        () if size >= 60 => (rounded(60), "minute"),
        () => (size, "second"),
    };
    let plural = if number == 1 { "" } else { "s" };
    match (size, difference > 0) {
        (0, _) => "now".to_owned(),
        (_, true) => format!("in {number} {unit}{plural}"),
        (_, false) => format!("{number} {unit}{plural} ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_read_like_words() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let table = [
            (0, "now"),
            (1, "in 1 second"),
            (59, "in 59 seconds"),
            (60, "in 1 minute"),
            (7_300, "in 2 hours"),
            (3_599, "in 1 hour"),
            (13 * 3_600, "in 13 hours"),
            (86_399, "in 1 day"),
            (29 * 86_400, "in 29 days"),
            (30 * 86_400 - 1, "in 30 days"),
            (7 * 86_400 - 1, "in 7 days"),
            (-86_400, "1 day ago"),
            (-5, "5 seconds ago"),
        ];
        for (offset, words) in table {
            let at = Timestamp::from_second(1_800_000_000 + offset).unwrap();
            assert_eq!(away(at, now), words, "{offset}");
        }
        assert_eq!(both("never", now), "never");
    }
}
