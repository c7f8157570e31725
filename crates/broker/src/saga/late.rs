//! A version that was replaced and lives longer than it should.

use keywright_core::audit::{Deed, Stage};
use keywright_core::channel::Matter;
use keywright_core::template::Rotation;
use keywright_ledger::LedgerError;

use super::Work;
use super::drain::Old;
use crate::broker::Broker;
use crate::error::Result;
use crate::notify::owe_notices;
use crate::record::{of_request, system};

impl Broker {
    /// Says once, on record, that a version lives longer than it should.
    pub(super) async fn alert_when_late(
        &self,
        work: &Work,
        old: &Old,
        rules: &Rotation,
        why: &str,
    ) -> Result<()> {
        let late = self.now() >= rules.max_overlap.after(old.drain.observed.since);
        if !late || old.drain.alerted_at.is_some() {
            return Ok(());
        }
        let (request, saga, version, why) =
            (work.request.clone(), work.saga.id, old.version.id, why.to_owned());
        tracing::warn!(key = %work.key.id, version = %version, %why, "two versions live for longer than `max_overlap`");
        let written = self.ledger.write(move |tx| {
            if !tx.alert_drain(version)? {
                return Ok(());
            }
            owe_notices(tx, Matter::Late, &version.to_string())?;
            let mut record = of_request(tx.now(), Deed::KeyRotate, Stage::Note, system(), &request);
            record.subject.saga = Some(saga.to_string());
            record.subject.version = Some(version.to_string());
            record.facts.insert("phase".to_owned(), serde_json::json!("late"));
            record.facts.insert("because".to_owned(), serde_json::json!(why));
            tx.audit(record).map(drop)
        });
        written.await.map_err(|error: LedgerError| error.into())
    }
}
