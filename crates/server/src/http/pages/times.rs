//! Moments within a text of ours. Each is in UTC as the page comes, and the page's script writes it in the reader's own zone.

use jiff::Timestamp;

use crate::when;

/// How long the day of a moment is, as RFC 3339 writes it.
const DAY: usize = "2026-12-24".len();
/// The longest moment, with nanoseconds.
const LONGEST: usize = "2026-12-24T05:09:39.123456789Z".len();

/// A part of a text: a moment, or what stands between two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    /// The moment for machines; empty where it is none.
    pub(super) time: String,
}

/// A text with the moments in it that are written as in RFC 3339, in UTC.
pub(super) fn pieces(text: &str) -> Vec<Piece> {
    let plain = |text: &str| Piece { text: text.to_owned(), time: String::new() };
    let mut all = Vec::new();
    let mut rest = text;
    while let Some((before, at, after)) = first(rest) {
        all.push(plain(before));
        all.push(Piece { text: when::utc(at), time: when::seconds(at) });
        rest = after;
    }
    all.push(plain(rest));
    all.retain(|one| !one.text.is_empty());
    all
}

/// The first moment of a text, and what stands before and after it.
fn first(text: &str) -> Option<(&str, Timestamp, &str)> {
    text.match_indices('T').find_map(|(middle, _)| {
        let begins = middle.checked_sub(DAY)?;
        let from = text.get(begins..)?;
        let ends = from.bytes().take(LONGEST).position(|byte| byte == b'Z')? + 1;
        let (moment, after) = from.split_at_checked(ends)?;
        let before = text.get(..begins)?;
        let is_whole = !before.ends_with(|c: char| c.is_alphanumeric() || c == '-');
        moment.parse().ok().filter(|_| is_whole).map(|at| (before, at, after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_moment_of_a_text_stands_by_itself() {
        let parts = |text| -> Vec<(String, bool)> {
            pieces(text).into_iter().map(|one| (one.text, !one.time.is_empty())).collect()
        };
        let all = parts("THE é by ana 2026-12-24T05:09:39Z, then 2026-12-25T06:00:00.5Z (in 2 days)");
        let expected = [
            ("THE é by ana ", false),
            ("2026-12-24 05:09 UTC", true),
            (", then ", false),
            ("2026-12-25 06:00 UTC", true),
            (" (in 2 days)", false),
        ];
        assert_eq!(all, expected.map(|(text, is_time)| (text.to_owned(), is_time)));
        assert_eq!(pieces("2026-12-24T05:09:39.7Z")[0].time, "2026-12-24T05:09:39Z");
        for none in
            ["", "T", "2026-99-24T05:09:39Z", "x2026-12-24T05:09:39Z", "2026-12-24T05:09", "é26-12-24TZ"]
        {
            assert!(parts(none).iter().all(|(_, is_time)| !is_time), "{none}");
        }
    }
}
