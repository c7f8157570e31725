//! What this module's own tests share.

use jiff::Timestamp;
use keywright_core::id::{KeyId, PlacementId, VersionId};
use keywright_core::marker::Marker;
use keywright_core::store::Origin;

/// An origin that differs by its seed.
pub(super) fn origin(seed: u8) -> Origin {
    let now = Timestamp::from_second(1_790_000_000).unwrap_or(Timestamp::UNIX_EPOCH);
    Origin {
        placement: PlacementId::generate(now, [seed; 10]),
        key: KeyId::generate(now, [1; 10]),
        version: VersionId::generate(now, [seed; 10]),
        marker: Marker::from_ledger(format!("kw-test-aaa-{seed}")),
    }
}
