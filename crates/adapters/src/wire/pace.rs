//! How fast calls may follow each other on one connection.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::Fault;

/// A rate: so many calls at once, then one per interval.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) burst: NonZeroU32,
    pub(crate) interval: Duration,
}

/// Holds calls back to keep the pace (generic cell rate algorithm).
pub(super) struct Limiter {
    clock: DefaultClock,
    limiter: DefaultDirectRateLimiter,
}

impl Limiter {
    pub(super) fn new(pace: &Pace) -> Self {
        let quota = Quota::with_period(pace.interval.max(Duration::from_nanos(1)))
            .unwrap_or_else(|| Quota::per_second(pace.burst))
            .allow_burst(pace.burst);
        Self { clock: DefaultClock::default(), limiter: RateLimiter::direct(quota) }
    }

    /// Waits for a turn, at most for `longest`.
    pub(super) async fn wait(&self, longest: Duration) -> Result<(), Fault> {
        let mut waited = Duration::ZERO;
        while let Err(until) = self.limiter.check() {
            let wait = until.wait_time_from(self.clock.now());
            waited += wait;
            if waited > longest {
                return Err(Fault::NotSent { why: "too many calls wait for their turn".to_owned() });
            }
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }
}
