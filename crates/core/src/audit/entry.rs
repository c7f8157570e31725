//! One line of the log, and its bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::audit::merkle::Hash;
use crate::text::Untrusted;

pub use crate::audit::record::Record;

/// The version of the form that entries are stored in.
pub const SCHEMA: &str = "keywright/entry/1";

/// The longest leaf in bytes: entry bundles state lengths in two bytes (C2SP tlog-tiles).
pub const LEAF_MAX: usize = 65_535;

/// An entry that can't be stored, or bytes that are none.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// More than a leaf can hold.
    #[error("the entry has {len} bytes; the log takes at most {LEAF_MAX}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A text that its author should have shortened.
    #[error("the {field} has more than {max} characters")]
    FieldTooLong {
        /// Which text.
        field: &'static str,
        /// Its cap in characters.
        max: usize,
    },
    /// Written by another version.
    #[error("the entry has the form `{found}`; this version reads `{SCHEMA}`")]
    Schema {
        /// The form that it states, shortened and escaped.
        found: String,
    },
    /// The id is not that of the index.
    #[error("the entry says both that its index is {index} and that its id is `{id}`")]
    Id {
        /// The index that it states.
        index: u64,
        /// The id that it states.
        id: EntryId,
    },
    /// Not an entry's JSON.
    #[error("the entry can't be read or written as JSON")]
    Json(#[source] serde_json::Error),
    /// An id in another form.
    #[error("`{given}` is not an entry's id; it should look like `ent_42`")]
    NotAnId {
        /// The id, shortened and escaped.
        given: String,
    },
}

/// An entry's name: `ent_` and its index in the log, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub u64);

/// A record at its place in the log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    // The first three fields open every leaf, in this order: `Entry::index_of` relies on it.
    schema: &'static str,
    index: u64,
    id: EntryId,
    #[serde(flatten)]
    record: Record,
}

impl Entry {
    /// Puts a record at a place, counted from 0.
    #[must_use]
    pub fn new(index: u64, record: Record) -> Self {
        Self { schema: SCHEMA, index, id: EntryId(index), record }
    }

    /// Its place in the log.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// What it says.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The bytes that are hashed and stored: JSON without white space, fields in a fixed order, names within
    /// maps sorted. The same entry always has the same bytes.
    ///
    /// # Errors
    /// [`EntryError::TooLong`], [`EntryError::FieldTooLong`].
    pub fn to_leaf(&self) -> Result<Vec<u8>, EntryError> {
        self.record.why.check()?;
        let leaf = serde_json::to_vec(self).map_err(EntryError::Json)?;
        if leaf.len() > LEAF_MAX {
            return Err(EntryError::TooLong { len: leaf.len() });
        }
        Ok(leaf)
    }

    /// Reads a leaf back. Fields that a newer version added are passed over.
    ///
    /// # Errors
    /// [`EntryError::TooLong`], [`EntryError::Schema`], [`EntryError::Id`], [`EntryError::Json`].
    pub fn from_leaf(leaf: &[u8]) -> Result<Self, EntryError> {
        if leaf.len() > LEAF_MAX {
            return Err(EntryError::TooLong { len: leaf.len() });
        }
        // The form first: another version's entry need not have this one's fields.
        let form: Form = serde_json::from_slice(leaf).map_err(EntryError::Json)?;
        if form.schema.raw() != SCHEMA {
            let found = Untrusted::capped(form.schema.raw(), 80).to_string();
            return Err(EntryError::Schema { found });
        }
        if form.id != EntryId(form.index) {
            return Err(EntryError::Id { index: form.index, id: form.id });
        }
        let record = serde_json::from_slice(leaf).map_err(EntryError::Json)?;
        Ok(Self::new(form.index, record))
    }

    /// The index that a leaf states, read from its first bytes without parsing the JSON; `None` when the leaf does
    /// not begin and end as [`Entry::to_leaf`] writes it.
    #[must_use]
    pub fn index_of(leaf: &[u8]) -> Option<u64> {
        let rest = leaf.strip_prefix(br#"{"schema":"keywright/entry/1","index":"#)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (index, rest) = rest.split_at_checked(digits)?;
        let rest = rest.strip_prefix(br#","id":"ent_"#)?.strip_prefix(index)?;
        let is_whole = rest.starts_with(b"\",") && rest.ends_with(b"}");
        let is_plain = digits == 1 || !index.starts_with(b"0");
        let push = |sum: u64, digit: &u8| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
        (is_whole && is_plain && digits > 0).then(|| index.iter().try_fold(0, push))?
    }

    /// The leaf's hash, as it stands in the tree.
    ///
    /// # Errors
    /// Those of [`Entry::to_leaf`].
    pub fn leaf_hash(&self) -> Result<Hash, EntryError> {
        self.to_leaf().map(|leaf| Hash::of_leaf(&leaf))
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ent_{}", self.0)
    }
}

impl FromStr for EntryId {
    type Err = EntryError;
    fn from_str(text: &str) -> Result<Self, EntryError> {
        let id = text.strip_prefix("ent_").and_then(|index| index.parse().ok()).map(Self);
        // Only one text is right: no sign, no leading zero.
        id.filter(|id| id.to_string() == text)
            .ok_or_else(|| EntryError::NotAnId { given: Untrusted::capped(text, 80).to_string() })
    }
}

impl Serialize for EntryId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EntryId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What every version's entries begin with.
#[derive(Deserialize)]
struct Form {
    schema: Untrusted,
    index: u64,
    id: EntryId,
}
