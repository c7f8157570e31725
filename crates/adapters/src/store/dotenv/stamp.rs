//! The comment above an assignment that says whose it is.
//!
//! A `.env` file has no room for metadata, so the line directly above a managed assignment is
//! ```text
//! # keywright: managed, do not edit; key=key_... version=ver_... placement=plc_... marker=kw-... check=1f2e3d4c
//! ```
//! All four readers skip it. It must hold an `=`: node glues a line without one to whatever follows, up to the next
//! `=` in the file, and would otherwise swallow the assignment's name together with a stray line before it.
//!
//! `check` is the start of a digest over the value. It tells a value that was changed by hand from ours; it gives
//! nothing away, since whoever reads the comment reads the value below it.

use keywright_core::id::{KeyId, PlacementId, VersionId};
use keywright_core::marker::Marker;
use keywright_core::store::Origin;
use sha2::{Digest, Sha256};

use crate::names::{hex, is_lower};

const START: &str = "# keywright: managed, do not edit; ";

/// What the comment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) key: KeyId,
    pub(super) version: VersionId,
    pub(super) placement: PlacementId,
    pub(super) marker: Marker,
    check: String,
}

impl Stamp {
    pub(super) fn new(origin: &Origin, variable: &str, value: &str) -> Self {
        Self {
            key: origin.key,
            version: origin.version,
            placement: origin.placement,
            marker: origin.marker.clone(),
            check: check(&origin.placement, variable, value),
        }
    }

    /// Reads a whole line, without its line end.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut fields = line.strip_prefix(START)?.split(' ');
        let mut field = |name: &str| fields.next()?.strip_prefix(name)?.strip_prefix('=');
        let stamp = Self {
            key: KeyId::parse(field("key")?).ok()?,
            version: VersionId::parse(field("version")?).ok()?,
            placement: PlacementId::parse(field("placement")?).ok()?,
            // Whether it is genuine is for the holder of the key to say.
            marker: field("marker")
                .filter(|text| is_lower(text, "-", 64))
                .map(str::to_owned)
                .map(Marker::from_ledger)?,
            check: field("check").filter(|text| text.len() == 8).map(str::to_owned)?,
        };
        fields.next().is_none().then_some(stamp)
    }

    /// The line, without a line end.
    pub(super) fn line(&self) -> String {
        let Self { key, version, placement, marker, check } = self;
        format!("{START}key={key} version={version} placement={placement} marker={marker} check={check}")
    }

    /// Whether the value below is still the one that was written with this comment.
    pub(super) fn covers(&self, variable: &str, value: &str) -> bool {
        self.check == check(&self.placement, variable, value)
    }
}

fn check(placement: &PlacementId, variable: &str, value: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(b"keywright/dotenv/1\n");
    for part in [placement.to_string().as_str(), "\n", variable, "\n", value] {
        hash.update(part.as_bytes());
    }
    hex(hash.finalize().iter().take(4))
}

#[cfg(test)]
mod tests {
    use super::super::testing::origin;
    use super::*;

    #[test]
    fn a_stamp_survives_its_line_and_nothing_else_is_a_stamp() {
        let stamp = Stamp::new(&origin(1), "CF_TOKEN", "value");
        let line = stamp.line();
        assert_eq!(Stamp::parse(&line), Some(stamp));
        for bad in [
            line.replace("key_", "ver_"),
            line.replace("# ", "#"),
            format!(" {line}"),
            format!("{line} "),
            format!("{line} more=1"),
            line.replace("marker=kw", "marker=K'"),
            line.get(..line.len() - 1).unwrap().to_owned(),
        ] {
            assert_eq!(Stamp::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_stamp_covers_one_value_of_one_variable() {
        let stamp = Stamp::new(&origin(1), "CF_TOKEN", "value");
        assert!(stamp.covers("CF_TOKEN", "value"));
        assert!(!stamp.covers("CF_TOKEN", "other") && !stamp.covers("OTHER", "value"));
    }
}
