//! Time and ids for the verbs.

use jiff::Timestamp;
use keywright_core::id::IdEntropy;
use keywright_ledger::LedgerError;

/// Random bytes for one id.
pub(crate) fn entropy() -> Result<IdEntropy, LedgerError> {
    keywright_ledger::seal::random::<10>().map(|bytes| *bytes)
}

/// A pause between tries: doubles from 1 second up to `most`, with up to a quarter of it added at random, so that
/// brokers that failed together do not come back together.
pub(crate) fn back_off(tries: u64, most_seconds: u64, now: Timestamp) -> Timestamp {
    let exponent = u32::try_from(tries.min(20)).unwrap_or(20);
    let seconds = 2u64.saturating_pow(exponent).min(most_seconds).max(1);
    let spread = keywright_ledger::seal::random::<1>().map_or(0, |byte| u64::from(u8::from_be_bytes(*byte)));
    let millis = seconds * 1_000 + seconds * 1_000 * spread / 1_024;
    let pause = jiff::SignedDuration::from_millis(i64::try_from(millis).unwrap_or(i64::MAX));
    now.checked_add(pause).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (tries, at_least, at_most) in
            [(0, 1, 2), (3, 8, 10), (12, 3_600, 4_500), (u64::MAX, 3_600, 4_500)]
        {
            let pause = back_off(tries, 3_600, now).as_second() - now.as_second();
            assert!((at_least..=at_most).contains(&pause), "{tries}: {pause}");
        }
    }
}
