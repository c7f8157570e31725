//! A clock that jumps ahead. Times are those of the wall; how much of it passes is held against a clock that nobody sets. Where
//! the two part by more than an hour while the broker runs, the new time is not believed for an hour: nothing is replaced, given
//! up or ended on its account. Somebody may set the clock right within that hour, and then nothing has happened.
//!
//! What came before a start is not known here, and a clock that goes back ends nothing: rows that seem to be due in a far future
//! are due at once (`Tx::too_far`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::broker::Broker;

/// How far the two may part: leap seconds, slewing, a pause of the whole machine.
const APART: SignedDuration = SignedDuration::from_hours(1);
/// How long a new time is not believed.
const DOUBT: Duration = Duration::from_secs(3_600);

/// Time that passes while the machine is on or asleep, from any beginning.
pub type SteadyTime = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The kernel's.
#[must_use]
pub fn of_kernel() -> SteadyTime {
    Arc::new(|| {
        #[cfg(target_os = "linux")]
        let clock = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let clock = rustix::time::ClockId::Monotonic;
        let now = rustix::time::clock_gettime(clock);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
    })
}

/// The two clocks as they were when somebody looked last.
pub(crate) struct Steady {
    time: SteadyTime,
    seen: Mutex<Seen>,
}

struct Seen {
    wall: Timestamp,
    steady: Duration,
    /// By the steady clock: until when the wall's is not believed, and by how much it jumped.
    doubted: Option<(Duration, SignedDuration)>,
}

impl Steady {
    pub(crate) fn new(time: SteadyTime, wall: Timestamp) -> Self {
        let steady = time();
        Self { time, seen: Mutex::new(Seen { wall, steady, doubted: None }) }
    }

    /// By how much the wall's clock jumped ahead, while that is not believed.
    fn look(&self, wall: Timestamp) -> Option<SignedDuration> {
        let steady = (self.time)();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let passed =
            SignedDuration::try_from(steady.saturating_sub(seen.steady)).unwrap_or(SignedDuration::MAX);
        let jump = wall.duration_since(seen.wall).saturating_sub(passed);
        (seen.wall, seen.steady) = (wall, steady);
        if jump > APART {
            tracing::error!(
                ?jump,
                "the clock jumped ahead; for an hour nothing is ended or replaced on its account"
            );
            seen.doubted = Some((steady.saturating_add(DOUBT), jump));
        } else if jump < -APART {
            tracing::warn!(?jump, "the clock went back");
            seen.doubted = None;
        }
        seen.doubted.filter(|(until, _)| steady < *until).map(|(_, jump)| jump)
    }
}

impl Broker {
    /// Why nothing is ended or replaced on account of the time, for now.
    pub(crate) fn doubts_clock(&self) -> Option<String> {
        let jump = self.steady.look(self.now())?;
        let hours = jump.as_hours();
        let by = if hours >= 48 { format!("{} days", hours / 24) } else { format!("{hours} hours") };
        Some(format!(
            "the clock jumped ahead by {by}: for an hour nothing is ended or replaced on its account"
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn a_jump_ahead_is_doubted_for_an_hour_and_one_back_ends_the_doubt() {
        let passed = Arc::new(AtomicU64::new(0));
        let time = Arc::clone(&passed);
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        let steady = Steady::new(Arc::new(move || Duration::from_secs(time.load(Ordering::SeqCst))), start);
        let hour = 3_600;
        // (what passed, what the wall says passed, whether that is doubted)
        for (step, (really, wall, doubted)) in [
            (60, 60, false),
            (60, hour, false),
            // Summer time is none of UTC's business; a day that was slept through passed.
            (86_400, 86_400 + hour, false),
            (1, 365 * 86_400, true),
            (1_800, 1_800, true),
            (1_800, 1_800, false),
            (1, 2 * 86_400, true),
            (1, -2 * 86_400, false),
            (1, -365 * 86_400, false),
            (1, 1, false),
        ]
        .into_iter()
        .enumerate()
        .scan((0u64, 0i64), |(really, wall), (step, (r, w, doubted))| {
            (*really, *wall) = (*really + r, *wall + w);
            Some((step, (*really, *wall, doubted)))
        }) {
            passed.store(really, Ordering::SeqCst);
            let now = start.checked_add(SignedDuration::from_secs(wall)).unwrap();
            assert_eq!(steady.look(now).is_some(), doubted, "step {step}");
        }
    }
}
