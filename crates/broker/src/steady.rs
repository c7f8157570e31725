//! A clock that jumps ahead. Times are those of the wall; how much of it passes is held against a clock that nobody sets. Where
//! the two part by more than an hour while the broker runs, the new time is not believed for an hour: nothing is replaced, given
//! up or ended on its account. Somebody may set the clock right within that hour, and then nothing has happened.
//!
//! What came before a start is not known here, and a clock that goes back ends nothing: rows that seem to be due in a far future
//! are due at once (`Tx::too_far`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keywright_core::drain::Observed;
use keywright_ledger::Drain;

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
    /// By the steady clock: until when the wall's is not believed, and by how much it is ahead of what was believed last.
    doubted: Option<(Duration, SignedDuration)>,
    /// By the steady clock: since when the wall's did not go back.
    straight_since: Duration,
}

impl Steady {
    pub(crate) fn new(time: SteadyTime, wall: Timestamp) -> Self {
        let steady = time();
        Self { time, seen: Mutex::new(Seen { wall, steady, doubted: None, straight_since: steady }) }
    }

    /// By how much the wall's clock jumped ahead, while that is not believed.
    fn look(&self, wall: Timestamp) -> Option<SignedDuration> {
        let steady = (self.time)();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let passed =
            SignedDuration::try_from(steady.saturating_sub(seen.steady)).unwrap_or(SignedDuration::MAX);
        let jump = wall.duration_since(seen.wall).saturating_sub(passed);
        (seen.wall, seen.steady) = (wall, steady);
        if jump < -APART {
            tracing::warn!(?jump, "the clock went back");
            seen.straight_since = steady;
        }
        // A doubt that was over left a time that is believed.
        let doubted = seen.doubted.take().filter(|(until, _)| steady < *until);
        let ahead = doubted.map_or(SignedDuration::ZERO, |(_, ahead)| ahead).saturating_add(jump);
        if jump > APART {
            tracing::error!(
                ?jump,
                "the clock jumped ahead; for an hour nothing is ended or replaced on its account"
            );
        }
        let until =
            if jump > APART { Some(steady.saturating_add(DOUBT)) } else { doubted.map(|(until, _)| until) };
        // Set right by a part, it is ahead by the rest.
        seen.doubted = until.filter(|_| ahead > APART).map(|until| (until, ahead));
        seen.doubted.map(|(_, ahead)| ahead)
    }

    /// A time that was written down as past. One that is to come was written by a clock that was ahead and has gone back since:
    /// before this process began, or before the clock went back, so that counts in its place. That way it passes once, and a
    /// clock that is behind for a moment moves nothing for good.
    fn past(&self, at: Timestamp, wall: Timestamp) -> Timestamp {
        if at <= wall.saturating_add(APART).unwrap_or(Timestamp::MAX) {
            return at;
        }
        self.look(wall);
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let straight = seen.steady.saturating_sub(seen.straight_since);
        let straight = SignedDuration::try_from(straight).unwrap_or(SignedDuration::MAX);
        wall.saturating_sub(straight).unwrap_or(Timestamp::MIN)
    }
}

impl Broker {
    /// A time that was written down as past, where the clock may have been ahead then.
    pub(crate) fn past(&self, at: Timestamp) -> Timestamp {
        self.steady.past(at, self.now())
    }

    /// What was seen of a version, likewise.
    pub(crate) fn seen_in_the_past(&self, mut drain: Drain) -> Drain {
        let Observed { since, looked_at, last_used_at, counted_since, usage, grew_at, seen_by_us_at } =
            drain.observed;
        let past = |at: Option<Timestamp>| at.map(|at| self.past(at));
        drain.observed = Observed {
            since: self.past(since),
            looked_at: past(looked_at),
            last_used_at: past(last_used_at),
            counted_since: past(counted_since),
            usage,
            grew_at: past(grew_at),
            seen_by_us_at: past(seen_by_us_at),
        };
        drain.disabled_at = past(drain.disabled_at);
        drain
    }

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
            // Set right by a part, it is still ahead by days.
            (1, 10 * 86_400, true),
            (1, -7_200, true),
            (1, -10 * 86_400 + 7_200, false),
            (1, 10 * 86_400, true),
            (1, 2 * 86_400, true),
            (1, -10 * 86_400, true),
            (3_600, 3_600, false),
            (1, -7_200, false),
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

    #[test]
    fn a_past_that_is_to_come_counts_from_when_the_clock_went_back() {
        let passed = Arc::new(AtomicU64::new(0));
        let time = Arc::clone(&passed);
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        let at = |second: i64| start.checked_add(SignedDuration::from_secs(second)).unwrap();
        let steady = Steady::new(Arc::new(move || Duration::from_secs(time.load(Ordering::SeqCst))), start);
        let year = 365 * 86_400;
        passed.store(100, Ordering::SeqCst);
        // Of before this process.
        assert_eq!(steady.past(at(year), at(100)), at(0));
        // Machines differ by a little, and what is past is past.
        assert_eq!(steady.past(at(160), at(100)), at(160));
        assert_eq!(steady.past(at(-9), at(100)), at(-9));
        // Behind for a moment, and then right.
        assert!(steady.look(at(year + 5)).is_some());
        assert_eq!(steady.past(at(year), at(year + 5)), at(year));
        passed.store(200, Ordering::SeqCst);
        assert_eq!(steady.past(at(year), at(150)), at(150), "it went back just now");
        passed.store(300, Ordering::SeqCst);
        assert_eq!(steady.past(at(year), at(250)), at(150));
    }
}
