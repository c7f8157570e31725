//! A clock that only a test moves on, on top of the real one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use keywright_ledger::Clock;

/// Real time plus whatever the test added.
#[derive(Debug, Clone, Default)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    /// Moves time on.
    pub fn advance(&self, by: SignedDuration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }

    /// As the ledger takes it.
    #[must_use]
    pub fn as_clock(&self) -> Clock {
        let offset = Arc::clone(&self.0);
        Arc::new(move || {
            let by = SignedDuration::from_secs(offset.load(Ordering::SeqCst));
            Timestamp::now().checked_add(by).unwrap_or(Timestamp::MAX)
        })
    }
}
