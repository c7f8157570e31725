//! Passphrases that fit nobody: somebody who mistypes does so once or twice; more of them are on record.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use keywright_core::audit::{Deed, Record, Stage};

use crate::broker::Broker;
use crate::error::BrokerError;
use crate::record::{failed, system};

/// So many within [`WINDOW`] are more than somebody mistypes.
const MANY: u32 = 5;
/// No more than one entry for so long: whoever guesses could fill the log.
const WINDOW: Duration = Duration::from_secs(3_600);

/// The wrong ones of late. In memory only: what guesses against the ledger's file does so elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Guesses(Mutex<Lately>);

#[derive(Debug, Default)]
struct Lately {
    since: Option<Instant>,
    count: u32,
    /// Those after the last entry.
    untold: u32,
}

impl Guesses {
    /// Counts one; how many there were since the last entry, where one is due.
    fn count(&self, now: Instant) -> Option<u32> {
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lately.since.is_none_or(|since| now.saturating_duration_since(since) >= WINDOW) {
            // A few that were long ago say nothing; what went on after an entry is told with the next one.
            let untold = if lately.count > MANY { lately.untold } else { 0 };
            *lately = Lately { since: Some(now), count: 0, untold };
        }
        lately.count = lately.count.saturating_add(1);
        lately.untold = lately.untold.saturating_add(1);
        (lately.count == MANY).then(|| std::mem::take(&mut lately.untold))
    }
}

impl Broker {
    /// A passphrase fitted nobody, or not whom it was to fit.
    pub(crate) async fn note_wrong_passphrase(&self, error: &BrokerError) {
        let Some(tries) = self.guesses.count(Instant::now()) else { return };
        let mut record = Record::new(self.now(), Deed::SessionRefuse, Stage::Note, system());
        record.facts.insert("tries".to_owned(), tries.into());
        record.result = Some(failed(error));
        tracing::warn!(tries, "wrong passphrases");
        if let Err(error) = self.ledger.write(move |tx| tx.audit(record).map(drop)).await {
            let error: keywright_ledger::LedgerError = error;
            tracing::error!(%error, "that passphrases were wrong could not be put on record");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_say_nothing_and_many_are_told_once_an_hour() {
        let (guesses, begun) = (Guesses::default(), Instant::now());
        let at = |minutes: u64| begun + Duration::from_secs(minutes * 60);
        let told: Vec<_> = (0..20).filter_map(|_| guesses.count(at(0))).collect();
        assert_eq!(told, [5]);
        // What came after the entry is told with the next.
        let told: Vec<_> = (0..10).filter_map(|_| guesses.count(at(61))).collect();
        assert_eq!(told, [20]);
        // Four an hour are mistyped.
        let other = Guesses::default();
        let told: Vec<_> = (0..40).filter_map(|n| other.count(at(n / 4 * 60))).collect();
        assert_eq!(told, Vec::<u32>::new());
    }
}
