//! Switched -> Drained -> Disabled -> Ending -> Rotated: the old version is watched until it is idle, switched off where that
//! can be taken back, and revoked. Nothing here gives up: it looks again, and says what it waits for.

use jiff::{SignedDuration, Timestamp};
use keywright_core::audit::{Deed, Outcome, Stage};
use keywright_core::drain::{Observed, Verdict, verdict};
use keywright_core::id::RevocationId;
use keywright_core::key::{KeyState, Version, VersionState};
use keywright_core::plan::Ending;
use keywright_core::provider::{Evidence, Provider, ProviderError};
use keywright_core::saga::Phase;
use keywright_core::span::Span;
use keywright_core::template::OnUnknowable;
use keywright_ledger::{Drain, LedgerError, NewRevocation};

use super::keep::{self, kept_until};
use super::look::{LONGEST_PAUSE, look_again};
use super::{Step, Work};
use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{BrokerError, Result};
use crate::missing::{Sought, in_doubt};
use crate::record::{of_request, system};
use crate::rotate::{evidence, first_due, rules};

/// The pause between looks at a version that a program holds, in seconds.
const HELD_PAUSE: u64 = 60;
/// The pause between looks at a version that is switched off and kept, in seconds.
const KEPT_PAUSE: u64 = 86_400;
/// How long a version that leaked waits for consumers that can't be told, in seconds.
const LEAK_PATIENCE: u64 = 600;
/// The longest that a version rests switched off before it is revoked, in seconds.
const LONGEST_REST: u64 = 3_600;

/// A version that was replaced, and what is known of it.
pub(super) struct Old {
    pub(super) version: Version,
    pub(super) drain: Drain,
}

/// What a look at a version came to.
enum Seen {
    /// It may end; why.
    Over(String),
    /// It ends whether or not everybody was told; why.
    OverAnyway(String),
    /// It may not yet; when to look again, and what is waited for.
    Wait(Timestamp, String),
}

/// The pause between looks while the clock is not believed.
const DOUBT_PAUSE: u64 = 60;

impl Broker {
    /// Looks at each version that was replaced.
    pub(super) async fn drain(&self, work: &Work) -> Step {
        if let Some(why) = self.doubts_clock() {
            return Step::Rests(Span::from_seconds(DOUBT_PAUSE).after(self.now()), why);
        }
        let old = match self.old_versions(work).await {
            Ok(old) => old,
            Err(error) => return Step::Lost(error),
        };
        let versions: Vec<&Version> = old.iter().map(|one| &one.version).collect();
        let untold = match self.tell_consumers(work, &versions).await {
            Ok(untold) => untold,
            Err(error) => return Step::Later(error),
        };
        let mut because = Vec::new();
        for one in &old {
            match (self.watch(work, one).await, &untold) {
                (Ok(Seen::OverAnyway(why)), _) | (Ok(Seen::Over(why)), None) => because.push((one, why)),
                (Ok(seen), Some(untold)) => {
                    if let Err(error) =
                        self.alert_when_late(work, one, &rules(work.plan()), &untold.why).await
                    {
                        return Step::Later(error);
                    }
                    let until = match seen {
                        Seen::Wait(until, _) => until.min(untold.until),
                        Seen::Over(_) | Seen::OverAnyway(_) => untold.until,
                    };
                    return Step::Rests(until, untold.why.clone());
                }
                (Ok(Seen::Wait(until, why)), None) => return Step::Rests(until, why),
                (Err(error), _) => return Step::Later(error),
            }
        }
        let (request, saga) = (work.request.clone(), work.saga.id);
        let entries: Vec<_> =
            because.into_iter().map(|(one, why)| (one.version.id, one.drain.observed.clone(), why)).collect();
        let next = self.advance(work, Phase::Drained, move |tx| {
            for (version, seen, why) in entries {
                let mut record = of_request(tx.now(), Deed::KeyRotate, Stage::Note, system(), &request);
                record.subject.saga = Some(saga.to_string());
                record.subject.version = Some(version.to_string());
                record.facts.insert("phase".to_owned(), serde_json::json!(Phase::Drained.as_str()));
                record.facts.insert("because".to_owned(), serde_json::json!(why));
                // What was seen at the last look is what the verdict rests on.
                let seen = tx
                    .drains(request.plan.rotates.ok_or(LedgerError::Damaged { what: "plan" })?)?
                    .into_iter()
                    .find(|drain| drain.version == version)
                    .map_or(seen, |drain| drain.observed);
                record.facts.insert("evidence".to_owned(), evidence(&seen));
                tx.audit(record)?;
            }
            Ok(())
        });
        let next = next.await;
        self.crash_at.reached("rotate.drained");
        next
    }

    /// What is known of a version's use, asked anew.
    async fn watch(&self, work: &Work, old: &Old) -> Result<Seen> {
        let now = self.now();
        let Old { version, drain } = old;
        if version.state == VersionState::Revoked {
            return Ok(Seen::OverAnyway("it is gone at the provider".to_owned()));
        }
        if work.key.state != KeyState::Active {
            return Ok(Seen::OverAnyway(format!("the key itself is {}", work.key.state)));
        }
        if let Some(word) = &drain.word {
            return Ok(Seen::OverAnyway(word.clone()));
        }
        if version.expires_at.is_some_and(|at| at <= now) {
            return Ok(Seen::OverAnyway("it has expired".to_owned()));
        }
        let rules = rules(work.plan());
        let kept = kept_until(work, std::slice::from_ref(old)).filter(|kept| *kept > now);
        if work.plan().ending == Some(Ending::Leaked) {
            let why = "it leaked, and its successor is in force".to_owned();
            // Whoever can't be told has had time; who has the leaked value has it still.
            let has_waited = now >= Span::from_seconds(LEAK_PATIENCE).after(drain.observed.since);
            return Ok(if has_waited { Seen::OverAnyway(why) } else { Seen::Over(why) });
        }
        let holders = self.holders(version.id).await?;
        let looked = drain.observed.looked_at.map(|at| Span::from_seconds(LONGEST_PAUSE).after(at));
        if holders > 0 && looked.is_some_and(|again| again > now) {
            // The provider need not be asked each minute about what is known.
            return self.wait_for_holders(work, old, holders).await;
        }
        let provider = self.outside.provider(&work.key.connection).await?;
        let can_be_off = provider.disabling().is_some();
        let (class, lag) = class_of(provider.as_ref());
        let seen = match look(provider.as_ref(), &version.provider_key_id, &drain.observed, now).await {
            Ok(looked) => looked,
            Err(ProviderError::NotFound { .. }) => match self.seek(provider.as_ref(), version).await? {
                Sought::Gone => return Ok(Seen::OverAnyway("it is gone at the provider".to_owned())),
                Sought::Missing(until) => {
                    self.alert_when_late(work, old, &rules, "its provider does not find it").await?;
                    return Ok(Seen::Wait(until, in_doubt(version.number, until)));
                }
                sought @ Sought::There => {
                    self.alert_when_late(work, old, &rules, "its use could not be read").await?;
                    return Err(sought.words(version));
                }
            },
            Err(error) => {
                // Nothing seen is nothing known.
                self.alert_when_late(work, old, &rules, "its use could not be read").await?;
                return Err(error.into());
            }
        };
        let (id, observed) = (version.id, seen.clone());
        self.ledger.write(move |tx| tx.observe(id, &observed)).await.map_err(BrokerError::from)?;
        let late_at = rules.max_overlap.after(seen.since);
        let settled_at = self.settled_at(work, seen.since).await?;
        if holders > 0 {
            return self.wait_for_holders(work, old, holders).await;
        }
        match verdict(class, &seen, rules.quiet_for, lag) {
            Verdict::Idle { .. } if now < settled_at => {
                let why = format!(
                    "a store may hand out the old version until {}: its readers keep values for a while",
                    to_second(settled_at)
                );
                Ok(Seen::Wait(look_again(now, settled_at), why))
            }
            Verdict::Idle { quiet_since } if kept.is_some() && !can_be_off => {
                let why = format!(
                    "the old version is kept{}: idle since {}; `keywright key rotate KEY --end-old` ends it",
                    kept.map(keep::until).unwrap_or_default(),
                    to_second(quiet_since)
                );
                Ok(Seen::Wait(Span::from_seconds(LONGEST_PAUSE).after(now), why))
            }
            Verdict::Idle { quiet_since } => {
                let (since, at) = (to_second(quiet_since), to_second(now));
                Ok(Seen::Over(format!("idle: no use is known since {since}, and it was looked at {at}")))
            }
            Verdict::NotYet { last_sign, idle_at } => {
                let why = match last_sign {
                    Some(at) => format!("the old version was used {}", to_second(at)),
                    None => {
                        format!(
                            "the old version is quiet so far; idle at {} if it stays so",
                            to_second(idle_at)
                        )
                    }
                };
                if last_sign.is_some() {
                    self.alert_when_late(work, old, &rules, &why).await?;
                }
                Ok(Seen::Wait(look_again(now, idle_at), why))
            }
            Verdict::Unknowable { .. }
                if rules.on_unknowable == OnUnknowable::RevokeAfterOverlap
                    && (can_be_off || kept.is_none()) =>
            {
                if now >= late_at {
                    let why = "nobody can know whether it is used; the template says that it ends after `max_overlap`";
                    return Ok(Seen::Over(why.to_owned()));
                }
                let why = format!(
                    "nobody can know whether the old version is used; the template has it end at {}",
                    to_second(late_at)
                );
                Ok(Seen::Wait(look_again(now, late_at), why))
            }
            Verdict::Unknowable { .. } => {
                let why = "nobody can know whether the old version is still used: an operator ends it, with `keywright key \
                           rotate KEY --end-old`, once its consumers have the new one";
                self.alert_when_late(work, old, &rules, why).await?;
                Ok(Seen::Wait(look_again(now, late_at), why.to_owned()))
            }
        }
    }

    /// Programs live with it: that is use, just now.
    async fn wait_for_holders(&self, work: &Work, old: &Old, holders: usize) -> Result<Seen> {
        let id = old.version.id;
        self.ledger.write(move |tx| tx.see_use(id)).await.map_err(BrokerError::from)?;
        let why = match holders {
            1 => "a program that `keywright run` started holds the old version".to_owned(),
            several => format!("{several} programs that `keywright run` started hold the old version"),
        };
        self.alert_when_late(work, old, &rules(work.plan()), &why).await?;
        Ok(Seen::Wait(Span::from_seconds(HELD_PAUSE).after(self.now()), why))
    }

    /// Switches the old version off, where that can be taken back; or goes on at once.
    pub(super) async fn disable(&self, work: &Work) -> Step {
        let old = match self.living(work).await {
            Ok(old) => old,
            Err(error) => return Step::Lost(error),
        };
        let provider = match self.outside.provider(&work.key.connection).await {
            Ok(provider) => provider,
            Err(error) => return Step::Later(error),
        };
        if let Some(step) = self.instead(work, provider.as_ref(), &old).await {
            return step;
        }
        // What has to go for another reason goes at once.
        let Some(disabling) = provider.disabling().filter(|_| !is_urgent(work, &old)) else {
            return self.owe_old(work, old).await;
        };
        for one in &old {
            match disabling.disable(&one.version.provider_key_id).await {
                Ok(()) | Err(ProviderError::NotFound { .. }) => {}
                Err(error) => return Step::Later(error.into()),
            }
        }
        self.crash_at.reached("rotate.disabling");
        let (request, saga) = (work.request.clone(), work.saga.id);
        let ids: Vec<_> = old.iter().map(|one| one.version.id).collect();
        let next = self.advance(work, Phase::Disabled, move |tx| {
            for id in ids {
                tx.set_drain_disabled(id, true)?;
                let mut record = of_request(tx.now(), Deed::KeyRotate, Stage::Note, system(), &request);
                record.subject.saga = Some(saga.to_string());
                record.subject.version = Some(id.to_string());
                record.facts.insert("phase".to_owned(), serde_json::json!(Phase::Disabled.as_str()));
                tx.audit(record)?;
            }
            Ok(())
        });
        next.await
    }

    /// The old version is off. Whoever misses it has a while to say so.
    pub(super) async fn rest_disabled(&self, work: &Work) -> Step {
        if let Some(why) = self.doubts_clock() {
            return Step::Rests(Span::from_seconds(DOUBT_PAUSE).after(self.now()), why);
        }
        let old = match self.living(work).await {
            Ok(old) => old,
            Err(error) => return Step::Lost(error),
        };
        let rest = Span::from_seconds((rules(work.plan()).quiet_for.seconds() / 4).min(LONGEST_REST));
        let until = old.iter().filter_map(|one| one.drain.disabled_at).map(|at| rest.after(at)).max();
        // Of one that somebody ended at the provider nothing is left to keep.
        let kept = kept_until(work, &old).filter(|kept| *kept > self.now() && !is_urgent(work, &old));
        if let Some(kept) = kept {
            let why = format!(
                "the old version is switched off, and kept{}: `keywright key rotate KEY --end-old` ends it, and `keywright key \
                 enable KEY` switches it on again",
                keep::until(kept)
            );
            return Step::Rests(Span::from_seconds(KEPT_PAUSE).after(self.now()).min(kept), why);
        }
        match until.filter(|at| *at > self.now() && !is_urgent(work, &old)) {
            Some(until) => Step::Rests(
                until,
                format!("the old version is switched off until {}, then it ends", to_second(until)),
            ),
            None => {
                // It was looked for before the rest, which may be an hour ago.
                let provider = match self.outside.provider(&work.key.connection).await {
                    Ok(provider) => provider,
                    Err(error) => return Step::Later(error),
                };
                match self.instead(work, provider.as_ref(), &old).await {
                    Some(step) => step,
                    None => self.owe_old(work, old).await,
                }
            }
        }
    }

    /// One debt for each old version, in one transaction with the phase: from here on it is only a matter of time.
    async fn owe_old(&self, work: &Work, old: Vec<Old>) -> Step {
        let with_id = |one: &Old| entropy().map(|random| (one.version.clone(), random));
        let ids = match old.iter().map(with_id).collect::<std::result::Result<Vec<_>, _>>() {
            Ok(ids) => ids,
            Err(error) => return Step::Lost(error.into()),
        };
        let (request, connection) = (work.request.clone(), work.key.connection.clone());
        let attempt = work.attempt.id;
        let goes_anyway = work.ends_anyway();
        let next = self.advance(work, Phase::Ending, move |tx| {
            if let Some(successor) = tx.version_of(attempt)?.filter(|_| !goes_anyway)
                && (successor.state == VersionState::Revoked || tx.missing_since(successor.id)?.is_some())
            {
                // Somebody ended the successor since this step began, or it was not found: the version before it may be all that
                // works.
                return Err(LedgerError::Conflict { what: "the successor" });
            }
            for (version, random) in ids {
                tx.set_version_state(version.id, VersionState::Revoking)?;
                let mut record = of_request(tx.now(), Deed::KeyRevoke, Stage::Intent, system(), &request);
                record.subject.version = Some(version.id.to_string());
                record.facts.insert("because".to_owned(), serde_json::json!(REPLACED));
                tx.audit(record)?;
                tx.owe(&NewRevocation {
                    id: RevocationId::generate(tx.now(), random),
                    connection: connection.clone(),
                    provider_key_id: version.provider_key_id.clone(),
                    key: Some(version.key),
                    version: Some(version.id),
                    attempt: Some(version.attempt),
                    reason: REPLACED.to_owned(),
                })?;
            }
            Ok(())
        });
        let next = next.await;
        self.crash_at.reached("rotate.ending");
        next
    }

    /// Pays the debt. The rotation is over when the provider has confirmed that the old version is gone.
    pub(super) async fn end(&self, work: &Work) -> Step {
        if let Err(error) = self.pay_debts_of(work.key.id).await {
            return Step::Lost(error);
        }
        match self.living(work).await {
            Ok(old) if old.is_empty() => {}
            Ok(_) => {
                let until = self.now().checked_add(SignedDuration::from_secs(5)).unwrap_or(Timestamp::MAX);
                return Step::Rests(until, "the revocation of the old version is owed".to_owned());
            }
            Err(error) => return Step::Lost(error),
        }
        // Whoever could not be told before it ended needs it all the more.
        match self.still_untold(work).await {
            Ok(None) => {}
            // Of a successor that is gone nobody needs to hear: another one follows.
            Ok(Some(untold)) if !work.has_lost_successor => return Step::Rests(untold.until, untold.why),
            Ok(Some(_)) => {}
            Err(error) => return Step::Later(error),
        }
        let (request, saga, attempt) = (work.request.clone(), work.saga.id, work.attempt.id);
        let next = self.advance(work, Phase::Rotated, move |tx| {
            let key = request.plan.rotates.ok_or(LedgerError::Damaged { what: "plan" })?;
            let switched =
                tx.drains(key)?.into_iter().filter(|d| d.saga == saga).map(|d| d.observed.since).max();
            let since = switched.unwrap_or_else(|| tx.now());
            if tx.key(key)?.state == KeyState::Active {
                // One that leaked ends even where somebody ended its successor at the provider; then another one is due now.
                let is_in_force = |v: &Version| v.attempt == attempt && v.state == VersionState::Active;
                let works = tx.versions(key)?.iter().any(is_in_force);
                let due = if works { first_due(&request.plan, key, attempt, since) } else { Some(tx.now()) };
                tx.set_rotation(key, due, 0)?;
            }
            let mut record = of_request(tx.now(), Deed::KeyRotate, Stage::Outcome, system(), &request);
            record.subject.saga = Some(saga.to_string());
            record.result = Some(Outcome::done());
            tx.audit(record).map(drop)
        });
        let next = next.await;
        self.crash_at.reached("rotate.rotated");
        next
    }

    /// Until when a reader may be handed the old value by a store, or by the means that its vendor reads it with.
    async fn settled_at(&self, work: &Work, since: Timestamp) -> Result<Timestamp> {
        let mut settles = 0;
        for destination in &work.plan().destinations {
            let store = self.outside.store(&destination.place.store).await?;
            settles = settles.max(store.facts().settles);
        }
        let by = SignedDuration::from_secs(i64::try_from(settles).unwrap_or(i64::MAX));
        Ok(since.checked_add(by).unwrap_or(Timestamp::MAX))
    }

    /// The versions that this rotation replaced.
    pub(super) async fn old_versions(&self, work: &Work) -> Result<Vec<Old>> {
        let (key, saga) = (work.key.id, work.saga.id);
        let old = self.ledger.read(move |tx| {
            let versions = tx.versions(key)?;
            let drains = tx.drains(key)?.into_iter().filter(|drain| drain.saga == saga);
            Ok::<_, LedgerError>(
                drains
                    .filter_map(|drain| {
                        let version = versions.iter().find(|v| v.id == drain.version)?.clone();
                        Some(Old { version, drain })
                    })
                    .collect::<Vec<_>>(),
            )
        });
        let seen = |one: Old| Old { drain: self.seen_in_the_past(one.drain), ..one };
        Ok(old.await?.into_iter().map(seen).collect())
    }

    /// Those of them that are not confirmed gone.
    pub(super) async fn living(&self, work: &Work) -> Result<Vec<Old>> {
        let old = self.old_versions(work).await?;
        Ok(old.into_iter().filter(|one| one.version.state != VersionState::Revoked).collect())
    }
}

/// Whether what was replaced ends without rest: its key does, somebody said so, or it leaked.
fn is_urgent(work: &Work, old: &[Old]) -> bool {
    work.key.state != KeyState::Active
        || work.plan().ending == Some(Ending::Leaked)
        || old.iter().any(|one| one.drain.word.is_some())
}

const REPLACED: &str = "a successor is in force";

/// As people read it.
fn to_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// What a provider can know of a credential's use, and how far that may lag.
pub(crate) fn class_of(provider: &dyn Provider) -> (Evidence, Span) {
    match (provider.last_used(), provider.metered()) {
        (Some(used), _) => (Evidence::Exact, used.lag()),
        (None, Some(metered)) => (Evidence::Counters, metered.lag()),
        (None, None) => (Evidence::None, Span::from_seconds(1)),
    }
}

/// Asks the provider what it knows of a credential's use: added to what is known.
async fn look(
    provider: &dyn Provider,
    id: &str,
    before: &Observed,
    now: Timestamp,
) -> std::result::Result<Observed, ProviderError> {
    Ok(match (provider.last_used(), provider.metered()) {
        (Some(used), _) => before.clone().used(now, used.last_used(id).await?),
        (None, Some(metered)) => before.clone().counted(now, metered.usage(id).await?),
        (None, None) => before.clone(),
    })
}
