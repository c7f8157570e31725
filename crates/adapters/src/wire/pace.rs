//! How fast calls may follow each other on one connection, and when none may go out at all.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::Fault;

/// The longest that a call waits for a closed connection to open; when it takes longer, the call ends at once.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// A rate: so many calls at once, then one per interval.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) burst: NonZeroU32,
    pub(crate) interval: Duration,
}

/// Holds calls back to keep the pace (generic cell rate algorithm), and while the other side asked not to be called.
pub(super) struct Limiter {
    clock: DefaultClock,
    /// `None` for any pace.
    rate: Option<DefaultDirectRateLimiter>,
    /// Until when nothing goes out.
    closed_until: Mutex<Option<Instant>>,
}

impl Limiter {
    pub(super) fn new(pace: Option<&Pace>) -> Self {
        let rate = pace.map(|pace| {
            let quota = Quota::with_period(pace.interval.max(Duration::from_nanos(1)))
                .unwrap_or_else(|| Quota::per_second(pace.burst))
                .allow_burst(pace.burst);
            RateLimiter::direct(quota)
        });
        Self { clock: DefaultClock::default(), rate, closed_until: Mutex::default() }
    }

    /// Waits for a turn, at most for `longest`.
    pub(super) async fn wait(&self, longest: Duration) -> Result<(), Fault> {
        self.wait_until_open().await?;
        let mut waited = Duration::ZERO;
        while let Some(Err(until)) = self.rate.as_ref().map(DefaultDirectRateLimiter::check) {
            let wait = until.wait_time_from(self.clock.now());
            waited += wait;
            if waited > longest {
                return Err(Fault::NotSent { why: "too many calls wait for their turn".to_owned() });
            }
            tokio::time::sleep(wait).await;
            // Another call may have been told to wait meanwhile.
            self.wait_until_open().await?;
        }
        Ok(())
    }

    /// Keeps every call back for this long from now. A shorter wish never cuts a longer one short.
    pub(super) fn close_for(&self, wait: Duration) {
        let Some(until) = Instant::now().checked_add(wait) else { return };
        let mut closed = self.closed_until.lock().unwrap_or_else(PoisonError::into_inner);
        *closed = Some(closed.map_or(until, |before| before.max(until)));
    }

    async fn wait_until_open(&self) -> Result<(), Fault> {
        let mut waited = Duration::ZERO;
        while let Some(left) = self.closed_for() {
            waited += left;
            if waited > PATIENCE {
                return Err(Fault::Closed { left });
            }
            tokio::time::sleep(left).await;
        }
        Ok(())
    }

    fn closed_for(&self) -> Option<Duration> {
        let closed = self.closed_until.lock().unwrap_or_else(PoisonError::into_inner);
        closed.and_then(|until| until.checked_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }
}
