//! Within `switched`: whoever uses the key is told that it has a successor, at least once and until they say so. The old
//! version waits for it.

use jiff::Timestamp;
use keywright_core::audit::{Deed, Outcome, Stage};
use keywright_core::consumer::{Event, News, Numbered, TellingState};
use keywright_core::key::{KeyState, Version};
use keywright_core::span::Span;
use keywright_core::text::Untrusted;
use keywright_ledger::{ConfiguredConsumer, LedgerError, Telling};

use super::Work;
use crate::broker::Broker;
use crate::clock::back_off;
use crate::error::Result;
use crate::rails::{CONSUMER, known_as};
use crate::record::{of_request, system};
use crate::rotate::first_due;

/// The longest pause between tries to tell a consumer, in seconds.
const LONGEST_PAUSE: u64 = 1_800;
/// How long those are told of a rotation that is otherwise over where no next one is due, in seconds.
const UNTOLD_PATIENCE: u64 = 7 * 86_400;

/// Who has to be told yet, and when that is tried next.
pub(super) struct Untold {
    pub(super) until: Timestamp,
    pub(super) why: String,
}

impl Broker {
    /// Tells those who have to be told and whose time has come. Who is left, if somebody is.
    pub(super) async fn tell_consumers(&self, work: &Work, old: &[&Version]) -> Result<Option<Untold>> {
        let (key, saga, attempt) = (work.key.id, work.saga.id, work.attempt.id);
        let read = self.ledger.read(move |tx| {
            let owed = |telling: &Telling| telling.saga == saga && telling.state == TellingState::Owed;
            let owed: Vec<Telling> = tx.tellings(key)?.into_iter().filter(owed).collect();
            let there = tx.sound_consumers()?;
            Ok::<_, LedgerError>((owed, there, tx.version_of(attempt)?))
        });
        let (owed, there, version) = read.await?;
        self.ledger.catch_up().await?;
        // What the log has and the ledger has not may be a consumer of this very key: nobody knows.
        let is_there = |name: &String| there.iter().any(|one| known_as(CONSUMER, one.name.as_str()) == *name);
        if let Some(lost) = self.rails.has(CONSUMER).into_iter().find(|name| !is_there(name)) {
            let until = back_off(work.saga.tries, LONGEST_PAUSE, self.now());
            let why = format!(
                "{lost} is on record, and not in the ledger as it was added: an operator removes it (`keywright consumer \
                 remove NAME`) and adds it again"
            );
            return Ok(Some(Untold { until, why }));
        }
        let number = |version: &Version| Numbered { id: version.id, number: version.number };
        let telling = owed.iter().filter(|telling| telling.due_at <= self.now()).map(|telling| {
            let news = News {
                id: telling.id,
                consumer: telling.consumer.clone(),
                event: Event::Rotated,
                at: telling.at,
                key: Some(work.key.id),
                name: work.key.name.clone(),
                project: work.key.project.clone(),
                environment: work.key.environment.clone(),
                version: version.as_ref().map(number),
                replaced: old.iter().map(|version| number(version)).collect(),
            };
            let consumer = there.iter().find(|one| one.name == telling.consumer);
            self.tell_one(work, telling, consumer, news)
        });
        futures::future::join_all(telling).await.into_iter().collect::<Result<Vec<()>>>()?;
        let left = self.ledger.read(move |tx| tx.tellings(key)).await?;
        let left = left.into_iter().filter(|t| t.saga == saga && t.state == TellingState::Owed);
        Ok(left.min_by_key(|telling| telling.due_at).map(|telling| {
            let why = telling.trouble.as_deref().unwrap_or("it is about to be");
            let why = format!("consumer `{}` was not told yet: {why}", telling.consumer);
            Untold { until: telling.due_at, why }
        }))
    }

    /// Who was not told yet although the old version is gone, as long as nobody said that it may end and the key's next rotation is
    /// not due.
    pub(super) async fn still_untold(&self, work: &Work) -> Result<Option<Untold>> {
        let old = self.old_versions(work).await?;
        let since = old.iter().map(|one| one.drain.observed.since).max().unwrap_or(self.now());
        let next = first_due(work.plan(), work.key.id, work.attempt.id, since);
        let patience = next.unwrap_or_else(|| Span::from_seconds(UNTOLD_PATIENCE).after(since));
        let is_over = work.key.state != KeyState::Active
            || old.iter().any(|one| one.drain.word.is_some())
            || self.now() >= patience;
        if is_over {
            return Ok(None);
        }
        let versions: Vec<&Version> = old.iter().map(|one| &one.version).collect();
        self.tell_consumers(work, &versions).await
    }

    async fn tell_one(
        &self,
        work: &Work,
        telling: &Telling,
        consumer: Option<&ConfiguredConsumer>,
        news: News,
    ) -> Result<()> {
        let told = match consumer {
            Some(consumer) => match self.tell(consumer, &news).await {
                Ok(told) => told,
                Err(error) => Err(error.message),
            },
            None => Err("it is not in the ledger".to_owned()),
        };
        // Told, and not yet on record: it is told again, under the same id.
        self.crash_at.reached("rotate.telling");
        let (request, saga, telling) = (work.request.clone(), work.saga.clone(), telling.clone());
        let due_at = back_off(telling.tries, LONGEST_PAUSE, self.now());
        let written = self.ledger.write(move |tx| {
            tx.still_ours(&saga)?;
            let mut record = of_request(tx.now(), Deed::ConsumerTell, Stage::Outcome, system(), &request);
            record.subject.saga = Some(saga.id.to_string());
            record.subject.version = news.version.map(|version| version.id.to_string());
            record.facts.insert("consumer".to_owned(), serde_json::json!(telling.consumer));
            record.facts.insert("event".to_owned(), serde_json::json!(news.event.as_str()));
            record.facts.insert("id".to_owned(), serde_json::json!(telling.id.to_string()));
            match told {
                Ok(said) => {
                    tx.told(telling.id)?;
                    record.facts.insert("said".to_owned(), serde_json::json!(said));
                    record.result = Some(Outcome::done());
                    tx.audit(record).map(drop)
                }
                Err(why) => {
                    tx.not_told(telling.id, due_at, &why)?;
                    // The same trouble over and over is one entry.
                    if telling.trouble.as_ref() == Some(&why) {
                        return Ok(());
                    }
                    record.result = Some(Outcome::failed("not-told", Untrusted::capped(&why, 500)));
                    tx.audit(record).map(drop)
                }
            }
        });
        written.await?;
        self.crash_at.reached("rotate.told");
        Ok(())
    }
}
