//! Waiting for a fresh secret to work: providers are eventually consistent.

use std::time::{Duration, Instant};

use crate::rest::{Cause, Failure};
use crate::wire::jittered;

/// How long a fresh key may take to work, unless the connection says otherwise.
pub(super) const PROBE_FOR: Duration = Duration::from_secs(10);
/// The wait after the first refusal; it doubles up to the second.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Asks until the provider knows the secret or the time is up. A refusal of the secret may pass, and so may a failure; a
/// wish to slow down is not answered with more calls.
pub(super) async fn until_known<T, F>(bound: Duration, ask: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let started = Instant::now();
    let mut wait = FIRST_WAIT;
    loop {
        let failure = match ask().await {
            Ok(known) => return Ok(known),
            Err(failure) => failure,
        };
        let left = bound.saturating_sub(started.elapsed());
        let may_pass =
            matches!(failure.cause, Cause::Denied { .. } | Cause::Unavailable(_) | Cause::Garbled(_));
        if !may_pass || left.is_zero() {
            return Err(failure);
        }
        tokio::time::sleep(jittered(wait).min(left)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
