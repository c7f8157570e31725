//! A stamp that also says for which value it was made: `plc_... kw-... 1f2e3d4c`.
//!
//! The last part is the start of a digest over the value. It tells a value that somebody changed, and left the stamp
//! beside, from ours. It has 32 bits, so that where it can be read and the value can't, it gives nothing away.

use keywright_core::store::{Origin, Presence};
use sha2::{Digest as _, Sha256};

use super::remote::{Stamp, same};
use crate::names::hex;

/// A stamp and the check of the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) stamp: Stamp,
    check: String,
}

impl Tag {
    pub(super) fn new(origin: &Origin, value: &str) -> Self {
        let stamp = Stamp::of(origin);
        Self { check: check(&stamp, value), stamp }
    }

    /// Some 100 characters: letters in lower case, digits, `_`, `-` and spaces.
    pub(super) fn text(&self) -> String {
        format!("{} {}", self.stamp.text(), self.check)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (stamp, check) = text.rsplit_once(' ')?;
        Some(Self { stamp: Stamp::parse(stamp)?, check: check.to_owned() })
    }

    /// Whether it was made for this value.
    pub(super) fn covers(&self, value: &str) -> bool {
        same(&self.check, &check(&self.stamp, value))
    }

    /// Whether this origin's write left it.
    pub(super) fn is_of(&self, origin: &Origin) -> bool {
        self.stamp.is_of(origin)
    }

    /// What it means for whoever looks: the copy is called like its placement.
    pub(super) fn presence(&self) -> Presence {
        self.stamp.clone().presence_by_placement()
    }
}

fn check(stamp: &Stamp, value: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(b"keywright/tag/1\n");
    for part in [stamp.text().as_str(), "\n", value] {
        hash.update(part.as_bytes());
    }
    hex(hash.finalize().iter().take(4))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use keywright_core::id::{KeyId, PlacementId, VersionId};
    use keywright_core::marker::Marker;

    use super::*;

    #[test]
    fn a_tag_reads_what_it_writes_and_covers_one_value() {
        let now = Timestamp::UNIX_EPOCH;
        let origin = Origin {
            placement: PlacementId::generate(now, [7; 10]),
            key: KeyId::generate(now, [1; 10]),
            version: VersionId::generate(now, [2; 10]),
            marker: Marker::from_ledger("kw-abcd-aab-xyz-123".to_owned()),
        };
        let tag = Tag::new(&origin, "value");
        assert_eq!(Tag::parse(&tag.text()), Some(tag.clone()));
        assert!(tag.is_of(&origin) && tag.covers("value") && !tag.covers("other"));
        assert_eq!(Tag::parse(&tag.stamp.text()), None);
        let other = Origin { placement: PlacementId::generate(now, [8; 10]), ..origin };
        assert!(!tag.is_of(&other) && !Tag { check: tag.check, ..Tag::new(&other, "x") }.covers("value"));
    }
}
