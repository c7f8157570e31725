//! The audit log, read: who asked, who approved, what could it do, where is it, what happened to it.

use jiff::Timestamp;
use keywright_core::audit::{Entry, EntryId};
use keywright_core::drain::{Verdict, verdict};
use keywright_core::id::{KeyId, RequestId, VersionId};
use keywright_core::key::{Key, KeyState, Placement, Version, VersionState};
use keywright_core::name::{AgentName, EnvironmentName, ProjectName};
use keywright_core::plan::{Plan, Principal};
use keywright_core::saga::SagaKind;
use keywright_ledger::{
    AuditFilter, Drain, KeysSought, LedgerError, Request, Revocation, Saga, StoredEntry, Telling, Tx,
};

use crate::broker::Broker;
use crate::error::{BrokerError, Result};
use crate::receipt::{in_force, what_is_open};
use crate::rotate::rules;
use crate::saga::class_of;
use crate::spend::{Spent, spent};

/// Everything known about one key.
#[derive(Debug, Clone)]
pub struct Trace {
    /// The key.
    pub key: Key,
    /// What was asked.
    pub request: Request,
    /// The plan that its version in force follows: of its last rotation, or the one that was asked.
    pub plan: Plan,
    /// Its versions, oldest first.
    pub versions: Vec<Version>,
    /// Its placements.
    pub placements: Vec<Placement>,
    /// What is still to be known of its copies, or to be done about them by people, in words.
    pub open: Vec<String>,
    /// Its debts, paid ones included.
    pub revocations: Vec<Revocation>,
    /// The mint or the rotation that is under way, or is being undone.
    pub saga: Option<Saga>,
    /// What was seen of the versions that were replaced, and what follows from it.
    pub drains: Vec<(Drain, Option<Verdict>)>,
    /// How many programs that `run` started live with a version, by its id.
    pub holders: Vec<(VersionId, usize)>,
    /// Who was told of its successors, or has to be.
    pub tellings: Vec<Telling>,
    /// When the version in force is due to be replaced.
    pub rotates_at: Option<Timestamp>,
    /// How often that failed since it last went well.
    pub rotate_tries: u64,
    /// Why it failed the last time.
    pub rotate_trouble: Option<String>,
    /// Since when it is switched off at the provider.
    pub disabled_at: Option<Timestamp>,
    /// The entries about it, in order: those of its beginning and of its end where there are thousands.
    pub entries: Vec<Entry>,
    /// Those of them that are not as this home wrote them.
    pub edited: Vec<EntryId>,
}

/// Which keys to list.
#[derive(Debug, Clone, Default)]
pub struct KeyFilter {
    /// Of this project.
    pub project: Option<ProjectName>,
    /// Of this environment.
    pub environment: Option<EnvironmentName>,
    /// In this state.
    pub state: Option<KeyState>,
}

/// A key as lists show it.
#[derive(Debug, Clone)]
pub struct KeySummary {
    /// The key.
    pub key: Key,
    /// Its newest version.
    pub version: Option<Version>,
    /// Where it lies.
    pub placements: Vec<Placement>,
    /// Whether a revocation is still owed.
    pub debt: bool,
    /// Since when it is switched off at the provider.
    pub disabled_at: Option<Timestamp>,
    /// How it is used and kept fresh; lists of all keys leave it out.
    pub life: Option<Life>,
}

/// How a key is used and kept fresh.
#[derive(Debug, Clone)]
pub struct Life {
    /// When its next rotation is due.
    pub rotates_at: Option<Timestamp>,
    /// How often the last one was tried in vain.
    pub tries: u64,
    /// Whether one is under way.
    pub is_rotating: bool,
    /// When a program was given its secret last.
    pub read_at: Option<Timestamp>,
    /// When the provider saw it used last, as far as that is known: what it said of a version that is being replaced, or when what
    /// it counts moved.
    pub used_at: Option<Timestamp>,
    /// What it used, where somebody counts that.
    pub spent: Option<Spent>,
}

/// As [`summary`], with how it is used.
fn with_life(tx: &Tx<'_>, key: Key) -> std::result::Result<KeySummary, LedgerError> {
    let (rotates_at, tries) = tx.rotation_of(key.id)?;
    let life = Life {
        rotates_at,
        tries,
        is_rotating: tx.saga_under_way(key.id)?.is_some_and(|saga| saga.kind == SagaKind::Rotate),
        read_at: tx.last_read(key.id)?,
        used_at: last_used(tx, key.id)?,
        spent: spent(tx, std::slice::from_ref(&key))?,
    };
    Ok(KeySummary { life: Some(life), ..summary(tx, key)? })
}

/// When a key was seen used last, by its provider.
fn last_used(tx: &Tx<'_>, key: KeyId) -> std::result::Result<Option<Timestamp>, LedgerError> {
    let mut last = tx.drains(key)?.into_iter().filter_map(|drain| drain.observed.last_used_at).max();
    for version in tx.versions(key)? {
        let counted = tx.usage_until(version.id, Timestamp::MAX)?;
        // Nothing was used yet where nothing was counted.
        let moved = counted.filter(|count| {
            count.usage.tokens.unwrap_or(0) > 0 || count.usage.cost_microusd.unwrap_or(0) > 0
        });
        last = last.max(moved.map(|count| count.at));
    }
    Ok(last)
}

fn summary(tx: &Tx<'_>, mut key: Key) -> std::result::Result<KeySummary, LedgerError> {
    if key.template.is_of_adopted() {
        key.template = tx.request_in_force(&key)?.plan.template;
    }
    let version = in_force(tx.versions(key.id)?.into_iter());
    Ok(KeySummary {
        placements: placements_of(tx, key.id, version.as_ref())?,
        version,
        debt: tx.revocations_of(key.id)?.iter().any(|r| r.done_at.is_none()),
        disabled_at: tx.disabled_since(key.id)?,
        life: None,
        key,
    })
}

/// Where a version lies.
fn placements_of(
    tx: &Tx<'_>,
    key: KeyId,
    version: Option<&Version>,
) -> std::result::Result<Vec<Placement>, LedgerError> {
    let mut placements = tx.placements(key)?;
    placements.retain(|p| version.is_none_or(|version| p.version == version.id));
    Ok(placements)
}

/// More living keys of an agent than that are not counted for a list.
const ALIVE: u32 = 20;

/// What a list tells of an agent.
#[derive(Debug, Clone)]
pub struct Glance {
    /// How many of its keys live, or that they are many.
    pub keys: String,
    /// How much of what it asked for waits.
    pub waits: u64,
    /// What its living keys used, where somebody counts it and they are not many.
    pub spent: Option<Spent>,
    /// When it asked last.
    pub asked_at: Option<Timestamp>,
}

/// What an agent did.
#[derive(Debug, Clone)]
pub struct Done {
    /// What it asked for last.
    pub requests: Vec<Request>,
    /// Its keys that live.
    pub keys: Vec<KeySummary>,
    /// What those used, where somebody counts it.
    pub spent: Option<Spent>,
    /// How many of its requests and proposals wait for people.
    pub waits: u64,
}

/// How many requests and proposals of an agent wait for people.
fn waiting_of(tx: &Tx<'_>, agent: &AgentName) -> std::result::Result<u64, LedgerError> {
    let proposals = tx.proposals()?.iter().filter(|one| one.agent == *agent).count();
    Ok(tx.requests_pending("agent", agent.as_str())? + proposals as u64)
}

impl Broker {
    /// Keys, newest first, at most 1,000. An agent sees its own only.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn keys(&self, principal: &Principal, filter: KeyFilter) -> Result<Vec<KeySummary>> {
        let own = match principal {
            Principal::Agent(name) => Some(name.clone()),
            _ => None,
        };
        let keys = self.ledger.scan(move |tx| {
            let keys = tx.keys(filter.project.as_ref(), filter.environment.as_ref(), filter.state, 10_000)?;
            let mut summaries = Vec::new();
            for key in keys.into_iter().filter(|k| own.is_none() || k.agent == own).take(1_000) {
                match summary(tx, key) {
                    Ok(summary) => summaries.push(summary),
                    // One edited row must not hide all other keys; `doctor` names it.
                    Err(error @ LedgerError::Edited { .. }) => tracing::error!(%error, "left out"),
                    Err(error) => return Err(error),
                }
            }
            Ok::<_, LedgerError>(summaries)
        });
        Ok(keys.await?)
    }

    /// A part of the keys that somebody looks for, newest first, as a page has it. What is typed may be a part of a name, a key's
    /// id or a request's.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn keys_part(&self, sought: KeysSought, limit: u32) -> Result<Vec<KeySummary>> {
        let typed = sought.part.trim().to_owned();
        let (id, request) = (KeyId::parse(&typed).ok(), RequestId::parse(&typed).ok());
        let keys = self.ledger.scan(move |tx| {
            let id = match request.map(|request| tx.request(request)) {
                Some(Ok(request)) => request.key,
                Some(Err(LedgerError::Missing { .. })) | None => id,
                Some(Err(error)) => return Err(error),
            };
            let keys = match id.map(|id| tx.key(id)) {
                Some(Ok(key)) => vec![key],
                Some(Err(LedgerError::Missing { .. })) | None => tx.keys_sought(&sought, limit)?,
                Some(Err(error)) => return Err(error),
            };
            keys.into_iter().map(|key| with_life(tx, key)).collect::<std::result::Result<_, LedgerError>>()
        });
        Ok(keys.await?)
    }

    /// The key that a request led to, if there is one.
    ///
    /// # Errors
    /// When there is no such request.
    pub async fn led_to(&self, request: RequestId) -> Result<Option<KeyId>> {
        Ok(self.ledger.read(move |tx| tx.request(request)).await?.key)
    }

    /// What an agent asked for last, its keys that live, and what those used; at most so many of each.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn done_by(&self, agent: &AgentName, limit: u32) -> Result<Done> {
        let agent = agent.clone();
        let done = self.ledger.scan(move |tx| {
            let requests = tx.requests_of(&Principal::Agent(agent.clone()), limit)?;
            let keys = tx.keys_of(&agent, limit)?;
            let spent = spent(tx, &keys)?;
            let keys =
                keys.into_iter().map(|key| with_life(tx, key)).collect::<std::result::Result<_, _>>()?;
            Ok::<_, LedgerError>(Done { requests, keys, spent, waits: waiting_of(tx, &agent)? })
        });
        Ok(done.await?)
    }

    /// What a list tells of each of these agents, in their order.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn at_a_glance(&self, agents: Vec<AgentName>) -> Result<Vec<Glance>> {
        let read = self.ledger.scan(move |tx| {
            let glance = |name: &AgentName| {
                let keys = tx.keys_of(name, ALIVE + 1)?;
                let is_few = u32::try_from(keys.len()).is_ok_and(|count| count <= ALIVE);
                let last = tx.requests_of(&Principal::Agent(name.clone()), 1)?.into_iter().next();
                Ok::<_, LedgerError>(Glance {
                    keys: if is_few { keys.len().to_string() } else { format!("more than {ALIVE}") },
                    waits: waiting_of(tx, name)?,
                    spent: if is_few { spent(tx, &keys)? } else { None },
                    asked_at: last.map(|request| request.created_at),
                })
            };
            agents.iter().map(glance).collect::<std::result::Result<_, _>>()
        });
        Ok(read.await?)
    }

    /// One key, for somebody who may know of it.
    ///
    /// # Errors
    /// When there is none, or it is another agent's.
    pub async fn key(&self, principal: &Principal, text: &str) -> Result<Trace> {
        let key = self.visible_key(principal, text).await?;
        self.trace_key(key.id).await
    }

    /// Everything about the key of an id, a name, or a fingerprint (8 or more hexadecimal digits).
    ///
    /// # Errors
    /// When nothing fits.
    pub async fn trace(&self, text: &str) -> Result<Trace> {
        let digits = text.to_ascii_lowercase();
        let looks_like_one =
            (8..=64).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if looks_like_one {
            let wanted = digits.clone();
            let found = self.ledger.read(move |tx| tx.keys_by_fingerprint(&wanted)).await?;
            if let Some(id) = found.first() {
                return self.trace_key(*id).await;
            }
        }
        if let Ok(request) = RequestId::parse(text) {
            let found = self.ledger.read(move |tx| tx.request(request)).await?;
            return match found.key {
                Some(key) => self.trace_key(key).await,
                None => {
                    Err(BrokerError::missing(format!("{request} never led to a key; it is {}", found.status))
                        .hint(format!("`keywright review show {request}` shows what was asked")))
                }
            };
        }
        self.trace_key(self.find_key(text).await?).await
    }

    /// Entries of the log.
    ///
    /// # Errors
    /// When the ledger can't be read, or an entry is no entry any more.
    pub async fn log(&self, filter: AuditFilter) -> Result<Vec<Entry>> {
        let stored = self.ledger.scan(move |tx| tx.audit_entries(&filter)).await?;
        stored.iter().map(StoredEntry::entry).map(|e| e.map_err(BrokerError::from)).collect()
    }

    async fn trace_key(&self, id: KeyId) -> Result<Trace> {
        let trace = self.ledger.scan(move |tx| {
            let key = tx.key(id)?;
            let request = tx.request(key.request)?;
            // Entries before the key was reserved name the request only. A key that is read often has many: of those,
            // the beginning and the end.
            let of_key =
                AuditFilter { key: Some(id), limit: 1_000, newest_first: true, ..AuditFilter::default() };
            let of_request =
                AuditFilter { request: Some(key.request), limit: 1_000, ..AuditFilter::default() };
            let mut stored = tx.audit_entries(&of_key)?;
            stored.extend(tx.audit_entries(&of_request)?);
            stored.sort_by_key(|e| e.number);
            stored.dedup_by_key(|e| e.number);
            let entries = stored.iter().map(StoredEntry::entry).collect::<std::result::Result<_, _>>()?;
            let edited = edited(tx, &stored);
            let placements = tx.placements(id)?;
            let (_, tries) = tx.rotation_of(id)?;
            Ok::<_, LedgerError>(Trace {
                versions: tx.versions(id)?,
                open: placements.iter().filter_map(|placement| what_is_open(placement, key.state)).collect(),
                placements,
                revocations: tx.revocations_of(id)?,
                saga: tx.saga_under_way(id)?,
                drains: tx.drains(id)?.into_iter().map(|drain| (drain, None)).collect(),
                holders: Vec::new(),
                tellings: tx.tellings(id)?,
                rotates_at: tx.rotation_of(id)?.0,
                rotate_tries: tx.rotation_of(id)?.1,
                rotate_trouble: tx.rotation_trouble(id)?.filter(|_| tries > 0),
                disabled_at: tx.disabled_since(id)?,
                entries,
                edited,
                plan: tx.request_in_force(&key)?.plan,
                request,
                key,
            })
        });
        let mut trace = trace.await?;
        for version in trace.versions.iter().filter(|version| version.state != VersionState::Revoked) {
            let holders = self.holders(version.id).await?;
            if holders > 0 {
                trace.holders.push((version.id, holders));
            }
        }
        // What would follow from it now; the provider is not asked.
        if let Ok(provider) = self.outside.provider(&trace.key.connection).await {
            let (class, lag) = class_of(provider.as_ref());
            let quiet_for = rules(&trace.plan).quiet_for;
            for (drain, judged) in &mut trace.drains {
                *judged = Some(verdict(class, &drain.observed, quiet_for, lag));
            }
        }
        Ok(trace)
    }
}

/// Which of these entries were changed since this home wrote them.
pub(crate) fn edited<'a>(tx: &Tx<'_>, stored: impl IntoIterator<Item = &'a StoredEntry>) -> Vec<EntryId> {
    let changed = stored.into_iter().filter(|one| tx.check_entry(one).is_err());
    changed.map(|one| EntryId(one.number)).collect()
}
