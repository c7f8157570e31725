//! Spans of time as people write them: `30d`, `24h`, `15m`, `90s`, `2w`.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

/// A positive span of whole seconds, at most 100 years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

/// A span that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a span of time; write a whole number and a unit, as in `30d`, `24h`, `15m`, `90s` or `2w`"
)]
pub struct SpanError(crate::text::Untrusted);

const UNITS: [(char, u64); 5] = [('w', 604_800), ('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
const LONGEST: u64 = 100 * 366 * 86_400;

impl Span {
    /// Reads a number and one unit.
    ///
    /// # Errors
    /// When it is empty, zero, longer than 100 years or in another form.
    pub fn parse(text: &str) -> Result<Self, SpanError> {
        let bad = || SpanError(crate::text::Untrusted::capped(text, 40));
        let mut digits = text.chars();
        let unit = digits.next_back().ok_or_else(bad)?;
        let (_, size) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
        let digits = digits.as_str();
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let count: u64 = digits.parse().map_err(|_| bad())?;
        match count.checked_mul(*size) {
            Some(seconds) if (1..=LONGEST).contains(&seconds) => Ok(Self(seconds)),
            _ => Err(bad()),
        }
    }

    /// A span of so many seconds (at least one).
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Self {
        match seconds {
            0 => Self(1),
            1..=LONGEST => Self(seconds),
            _ => Self(LONGEST),
        }
    }

    /// Its length in seconds.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0
    }

    /// The moment this long after another one; saturates at the end of time.
    #[must_use]
    pub fn after(self, start: Timestamp) -> Timestamp {
        let seconds = i64::try_from(self.0).unwrap_or(i64::MAX);
        start.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
    }

    /// The moment this long before another one; saturates at the beginning of time.
    #[must_use]
    pub fn before(self, end: Timestamp) -> Timestamp {
        let seconds = i64::try_from(self.0).unwrap_or(i64::MAX);
        end.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = UNITS.iter().skip(1).find(|(_, size)| self.0.is_multiple_of(*size));
        match fits {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None => write!(f, "{}s", self.0),
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Span {
    type Err = SpanError;
    fn from_str(text: &str) -> Result<Self, SpanError> {
        Self::parse(text)
    }
}

impl serde::Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_and_print() {
        for (text, seconds, shown) in [
            ("30d", 2_592_000, "30d"),
            ("24h", 86_400, "1d"),
            ("90s", 90, "90s"),
            ("2w", 1_209_600, "14d"),
            ("90m", 5_400, "90m"),
        ] {
            let span = Span::parse(text).unwrap();
            assert_eq!((span.seconds(), span.to_string().as_str()), (seconds, shown));
        }
        for bad in [
            "",
            "d",
            "0d",
            "-1d",
            "1.5h",
            "30",
            "30 d",
            "99999999999999999999d",
            "1y",
            "५d",
            "+3d",
            "400000d",
        ] {
            assert!(Span::parse(bad).is_err(), "{bad}");
        }
    }
}
