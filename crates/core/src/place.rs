//! Places: where a version's copy lies, and which places a template allows.

use std::fmt;

use crate::name::{NameError, StoreName};
use crate::text::Untrusted;

/// A place in a store, written `STORE:PLACE`, as in `embedded:web/dev/CF_TOKEN` or `dotenv:./.env#CF_TOKEN`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// The store's name.
    pub store: StoreName,
    /// What the store understands as a location; never empty.
    pub place: String,
}

/// A place or a destination pattern that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// No colon between store and place.
    #[error("`{0}` is not a place; write `STORE:PLACE`, as in `embedded:web/dev/CF_TOKEN`")]
    Shape(Untrusted),
    /// The part before the colon is no store name.
    #[error(transparent)]
    Store(#[from] NameError),
    /// The part after the colon has control characters, `..` segments, or is too long.
    #[error(
        "`{0}` has a place that is empty, longer than 512 characters, or holds `..` or invisible characters"
    )]
    Unsafe(Untrusted),
    /// A pattern that does not compile.
    #[error("`{0}` is not a destination pattern; use `STORE:PLACE` with `*` for any text")]
    Pattern(Untrusted),
}

impl Place {
    /// Reads `STORE:PLACE`.
    ///
    /// # Errors
    /// When the shape is another one or the place tries to climb out of its directory.
    pub fn parse(text: &str) -> Result<Self, PlaceError> {
        let shown = || Untrusted::capped(text, 160);
        let (store, place) = text.split_once(':').ok_or_else(|| PlaceError::Shape(shown()))?;
        let store = StoreName::parse(store)?;
        let climbs = place.split(['/', '\\', '#']).any(|segment| segment == "..");
        let hidden = crate::text::escaped(place) != place;
        if place.is_empty() || place.chars().count() > 512 || climbs || hidden {
            return Err(PlaceError::Unsafe(shown()));
        }
        Ok(Self { store, place: place.to_owned() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.store, self.place)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

/// A destination that an operator allowed: `STORE:PATTERN`. `*` stands for any text, except that a `#field` is
/// matched only by a pattern with a `#` or one that ends in `*`; there is no other special character.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DestinationPattern {
    store: StoreName,
    pattern: String,
}

impl DestinationPattern {
    /// Reads `STORE:PATTERN`.
    ///
    /// # Errors
    /// When the store part is not a plain name (a pattern never spans stores) or the rest is unsafe.
    pub fn parse(text: &str) -> Result<Self, PlaceError> {
        let Place { store, place } = Place::parse(text).map_err(|error| match error {
            PlaceError::Shape(text) => PlaceError::Pattern(text),
            other => other,
        })?;
        Ok(Self { store, pattern: place })
    }

    /// Whether the place lies within the pattern. `dotenv:./.env` also allows every field of that file.
    #[must_use]
    pub fn allows(&self, place: &Place) -> bool {
        if self.store != place.store {
            return false;
        }
        // What starts from a directory holds no place that starts from the root.
        if self.pattern.starts_with("./") && place.place.starts_with('/') {
            return false;
        }
        // `./.env` and `.env` are one file.
        let (pattern, place) = (here(&self.pattern), here(&place.place));
        if wildcard(pattern, place) {
            return true;
        }
        let without_field = place.split_once('#').map(|(path, _)| path);
        !pattern.contains('#') && without_field.is_some_and(|path| wildcard(pattern, path))
    }

    /// Whether every place within another pattern lies within this one, too.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        // Its `*` is matched by nothing but a `*`: whatever stands for it later, that one takes in.
        self.allows(&Place { store: other.store.clone(), place: other.pattern.clone() })
    }

    /// Exactly this place; `None` where its text would be read as a pattern.
    #[must_use]
    pub fn only(place: &Place) -> Option<Self> {
        let is_plain = !place.place.contains('*');
        is_plain.then(|| Self { store: place.store.clone(), pattern: place.place.clone() })
    }

    /// This place, for a key of any name: where the place ends with the key's own name, that may be another one.
    #[must_use]
    pub fn of_any_name(place: &Place, name: &str) -> Option<Self> {
        let Self { store, pattern } = Self::only(place)?;
        let before = pattern.strip_suffix(name).filter(|before| before.ends_with(['/', '#']))?;
        Some(Self { pattern: format!("{before}*"), store })
    }

    /// Whether it names places by their path from the root, or any directory at all.
    #[must_use]
    pub fn is_anywhere(&self) -> bool {
        self.pattern.starts_with(['/', '*'])
    }

    /// The pattern without its store.
    #[must_use]
    pub fn within(&self) -> &str {
        &self.pattern
    }

    /// The store that the pattern names.
    #[must_use]
    pub fn store(&self) -> &StoreName {
        &self.store
    }
}

fn here(path: &str) -> &str {
    path.strip_prefix("./").unwrap_or(path)
}

impl fmt::Display for DestinationPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.store, self.pattern)
    }
}

impl fmt::Debug for DestinationPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

impl serde::Serialize for DestinationPattern {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for DestinationPattern {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Matches `*` greedily against any run of characters; linear in practice, bounded by the 512-character places.
pub(crate) fn wildcard(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(first) = pieces.next() else { return false };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, middle)) = pieces.split_last() else { return rest.is_empty() };
    for piece in middle {
        match rest.find(piece) {
            Some(at) => rest = rest.get(at + piece.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(pattern: &str, place: &str) -> bool {
        DestinationPattern::parse(pattern).unwrap().allows(&Place::parse(place).unwrap())
    }

    #[test]
    fn a_pattern_never_reaches_beyond_its_store_and_prefix() {
        let table = [
            ("embedded:*", "embedded:web/dev/X", true),
            ("embedded:*", "vault:web/dev/X", false),
            ("vault:secret/apps/*", "vault:secret/apps/foo#CF", true),
            ("vault:secret/apps/*", "vault:secret/other/foo#CF", false),
            ("vault:secret/apps/*", "vault:secret/apps", false),
            ("dotenv:./.env", "dotenv:./.env#CF_TOKEN", true),
            ("dotenv:./.env", "dotenv:.env#CF_TOKEN", true),
            ("dotenv:.env", "dotenv:./.env#CF_TOKEN", true),
            ("dotenv:./.env", "dotenv:/.env#CF_TOKEN", false),
            ("dotenv:./.env", "dotenv:./.env.local#CF_TOKEN", false),
            ("dotenv:./.env#CF_TOKEN", "dotenv:./.env#OTHER", false),
            ("embedded:web/*/CF_*", "embedded:web/dev/CF_TOKEN", true),
            ("embedded:web/*/CF_*", "embedded:web/dev/AWS", false),
        ];
        for (pattern, place, expected) in table {
            assert_eq!(allows(pattern, place), expected, "{pattern} {place}");
        }
    }

    #[test]
    fn a_pattern_holds_another_that_reaches_no_further() {
        let table = [
            ("embedded:*", "embedded:*", true),
            ("embedded:*", "embedded:web/lab/*", true),
            ("embedded:web/*", "embedded:*", false),
            ("embedded:web/*/CF_*", "embedded:web/lab/CF_TOKEN", true),
            ("embedded:web/*/CF_*", "embedded:web/*", false),
            ("embedded:*", "vault:*", false),
            ("dotenv:./.env", "dotenv:.env", true),
            ("dotenv:./.env", "dotenv:./.env#CF_*", true),
            ("dotenv:./.env", "dotenv:./.env*", false),
            ("dotenv:./.env#CF_*", "dotenv:./.env", false),
        ];
        for (outer, inner, expected) in table {
            let pattern = |text| DestinationPattern::parse(text).unwrap();
            assert_eq!(pattern(outer).holds(&pattern(inner)), expected, "{outer} {inner}");
        }
        let place = |text| DestinationPattern::only(&Place::parse(text).unwrap());
        assert!(place("embedded:web/lab/X").unwrap().allows(&Place::parse("embedded:web/lab/X").unwrap()));
        assert_eq!(place("embedded:web/*"), None);
        let any = |text| {
            DestinationPattern::of_any_name(&Place::parse(text).unwrap(), "CF").map(|one| one.to_string())
        };
        assert_eq!(any("embedded:web/lab/CF").as_deref(), Some("embedded:web/lab/*"));
        assert_eq!(any("dotenv:./.env#CF").as_deref(), Some("dotenv:./.env#*"));
        assert_eq!((any("vault:secret/app#MY_CF"), any("pass:CF"), any("vault:*/CF")), (None, None, None));
    }

    #[test]
    fn a_place_that_climbs_or_hides_is_refused() {
        for bad in [
            "",
            "embedded",
            ":x",
            "embedded:",
            "dotenv:../x",
            "dotenv:a/../../b",
            "embedded:a\u{202e}b",
            "a b:c",
        ] {
            assert!(Place::parse(bad).is_err(), "{bad:?}");
        }
    }
}
