//! A clock that only a test moves on, on top of the real one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use keywright_broker::steady::SteadyTime;
use keywright_ledger::Clock;

/// Real time plus whatever the test added.
#[derive(Debug, Clone)]
pub struct TestClock {
    began: Instant,
    passed: Arc<AtomicI64>,
    off: Arc<AtomicI64>,
}

impl Default for TestClock {
    fn default() -> Self {
        Self { began: Instant::now(), passed: Arc::default(), off: Arc::default() }
    }
}

impl TestClock {
    /// Moves time on.
    pub fn advance(&self, by: SignedDuration) {
        self.passed.fetch_add(by.as_secs(), Ordering::SeqCst);
    }

    /// Sets the clock ahead or back, while no time passes.
    pub fn set(&self, by: SignedDuration) {
        self.off.fetch_add(by.as_secs(), Ordering::SeqCst);
    }

    /// As the ledger takes it.
    #[must_use]
    pub fn as_clock(&self) -> Clock {
        let clock = self.clone();
        Arc::new(move || {
            let by = clock.passed.load(Ordering::SeqCst) + clock.off.load(Ordering::SeqCst);
            Timestamp::now().checked_add(SignedDuration::from_secs(by)).unwrap_or(Timestamp::MAX)
        })
    }

    /// How much time passes, whatever the clock is set to.
    #[must_use]
    pub fn as_steady(&self) -> SteadyTime {
        let clock = self.clone();
        Arc::new(move || {
            let passed = u64::try_from(clock.passed.load(Ordering::SeqCst)).unwrap_or(0);
            clock.began.elapsed() + Duration::from_secs(passed)
        })
    }
}
