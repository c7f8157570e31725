//! Failpoints: places where a test makes the process die, as a power cut would.

/// Every place, named `saga.moment`.
pub const POINTS: &[&str] = &[
    "approve.given",
    "mint.reserved",
    "mint.sent",
    "mint.answered",
    "mint.sealed",
    "mint.compared",
    "mint.probed",
    "mint.writing",
    "mint.placed",
    "mint.verified",
    "mint.active",
    "mint.undo",
    "rotate.switched",
    "rotate.telling",
    "rotate.told",
    "rotate.drained",
    "rotate.disabling",
    "rotate.ending",
    "rotate.rotated",
    "notify.sent",
    "parent.reserved",
    "parent.answered",
    "parent.sealed",
    "parent.proved",
    "parent.switched",
    "parent.disabled",
    "parent.ended",
    "revoke.owed",
    "revoke.confirmed",
];

/// Where to die, if anywhere. Set by the harness through the broker's options; nothing else can.
#[derive(Debug, Clone, Default)]
pub struct CrashAt(Option<String>);

impl CrashAt {
    /// Nowhere.
    #[must_use]
    pub fn nowhere() -> Self {
        Self(None)
    }

    /// At this place, which must be one of [`POINTS`].
    ///
    /// # Errors
    /// When there is no such place.
    pub fn point(name: &str) -> Result<Self, String> {
        if POINTS.contains(&name) {
            Ok(Self(Some(name.to_owned())))
        } else {
            Err(format!("there is no failpoint `{name}`; there are {}", POINTS.join(", ")))
        }
    }

    /// Dies here, without unwinding or flushing anything, if this is the place.
    pub(crate) fn reached(&self, point: &'static str) {
        debug_assert!(POINTS.contains(&point), "an undeclared failpoint: {point}");
        if self.0.as_deref() == Some(point) {
            std::process::abort();
        }
    }
}
