//! Pause: an agent that asks for nothing for a while. What it was given it keeps, and may give up; what waits from it can be
//! decided.
//!
//! Who is paused is known from the audit log alone, and kept in memory as the log has it: there is no row that says so, and
//! none that could be edited.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use jiff::Timestamp;
use keywright_core::audit::{Deed, Record, Subject, Who, Why};
use keywright_core::key::Key;
use keywright_core::name::{AgentName, TemplateId};
use keywright_core::plan::Principal;
use keywright_core::text::Untrusted;
use keywright_ledger::LedgerError;
use serde::Serialize;

use crate::admin::named;
use crate::auth::Proven;
use crate::broker::Broker;
use crate::error::{BrokerError, Code, Result};
use crate::record::Caller;

/// The fact of an entry that says why.
const BECAUSE: &str = "because";

/// Since when an agent asks for nothing, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Paused {
    /// The operator who paused it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why, where they said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Paused {
    fn of(record: &Record) -> Self {
        let reason = record.facts.get(BECAUSE).and_then(serde_json::Value::as_str);
        Self { by: record.who.name.clone(), at: record.at, reason: reason.map(str::to_owned) }
    }

    fn refusal(&self, agent: &str) -> BrokerError {
        let why = self.reason.as_deref().map(|reason| format!(": {}", Untrusted::capped(reason, 500)));
        let why = why.unwrap_or_default();
        let message = format!(
            "agent `{agent}` is paused; operator {} paused it at {}{why}",
            self.by,
            self.at.strftime("%Y-%m-%dT%H:%M:%SZ")
        );
        BrokerError::new(Code::Denied, message).hint(format!(
            "only an operator ends that (`keywright agent resume {agent}`); until then its keys work, and may be revoked"
        ))
    }
}

/// The agents that are paused, as the log has them.
#[derive(Default)]
pub(crate) struct Pauses(RwLock<HashMap<String, Paused>>);

impl Pauses {
    /// Takes in an entry.
    pub(crate) fn take(&self, record: &Record) {
        let Some(name) = record.subject.name.clone() else { return };
        match record.deed {
            Deed::AgentPause => drop(self.all().insert(name, Paused::of(record))),
            Deed::AgentResume => drop(self.all().remove(&name)),
            _ => {}
        }
    }

    /// Since when an agent is paused, if it is.
    pub(crate) fn of(&self, agent: &str) -> Option<Paused> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(agent).cloned()
    }

    /// That whoever asks is not paused.
    ///
    /// # Errors
    /// [`Code::Denied`] when it is.
    pub(crate) fn check(&self, principal: &Principal) -> Result<()> {
        let Principal::Agent(agent) = principal else { return Ok(()) };
        match self.of(agent.as_str()) {
            None => Ok(()),
            Some(paused) => Err(paused.refusal(agent.as_str())),
        }
    }

    /// What the log says now, in place of what it said.
    pub(crate) fn replace(&self, fresh: Self) {
        *self.all() = fresh.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    }

    /// It did not come to be.
    fn forget(&self, agent: &str, paused: &Paused) {
        let mut all = self.all();
        if all.get(agent) == Some(paused) {
            all.remove(agent);
        }
    }

    fn all(&self) -> RwLockWriteGuard<'_, HashMap<String, Paused>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    /// Has an agent ask for nothing until it is resumed. One that is paused already stays so, and nothing is written.
    ///
    /// # Errors
    /// When there is none of this name, or it can't be put on record.
    pub async fn pause_agent(
        &self,
        operator: &Proven,
        name: &AgentName,
        reason: Option<&str>,
    ) -> Result<Paused> {
        self.pause(operator.caller().who(), name, reason).await
    }

    pub(crate) async fn pause(&self, who: Who, name: &AgentName, reason: Option<&str>) -> Result<Paused> {
        let reason = match reason {
            Some(reason) => Some(self.kept(reason, 500).await?.raw().to_owned()),
            None => None,
        };
        let mut record = named(self.now(), Deed::AgentPause, who, name.as_str());
        if let Some(reason) = &reason {
            record.facts.insert(BECAUSE.to_owned(), serde_json::json!(reason));
        }
        let (agent, rails, coming) = (name.clone(), Arc::clone(&self.rails), Paused::of(&record));
        let written = self.ledger.write(move |tx| {
            if !tx.has_agent(&agent)? {
                return Err(LedgerError::Missing { what: "agent", name: agent.to_string() });
            }
            if let Some(paused) = rails.pauses().of(agent.as_str()) {
                return Ok(paused);
            }
            // Before it is on record: of what is asked in this very moment nothing is let through.
            rails.pauses().take(&record);
            let paused = Paused::of(&record);
            tx.audit(record)?;
            Ok(paused)
        });
        match written.await {
            Ok(paused) => Ok(paused),
            Err(error) => {
                self.rails.pauses().forget(name.as_str(), &coming);
                Err(error.into())
            }
        }
    }

    /// Lets a paused agent ask again.
    ///
    /// # Errors
    /// When there is none of this name, it is not paused, or the operator came with a session only.
    pub async fn resume_agent(&self, operator: &Proven, name: &AgentName) -> Result<()> {
        self.refuse_if_forked()?;
        let signed = operator.deciding()?;
        let mut record = named(self.now(), Deed::AgentResume, operator.caller().who(), name.as_str());
        record.signatures.extend(signed);
        let (agent, rails, entry) = (name.clone(), Arc::clone(&self.rails), record.clone());
        let written = self.ledger.write(move |tx| {
            if !tx.has_agent(&agent)? {
                return Err(LedgerError::Missing { what: "agent", name: agent.to_string() }.into());
            }
            if rails.pauses().of(agent.as_str()).is_none() {
                return Err(BrokerError::new(Code::Conflict, format!("agent `{agent}` is not paused")));
            }
            Ok(tx.audit(entry)?)
        });
        written.await?;
        self.rails.pauses().take(&record);
        Ok(())
    }

    /// Since when an agent is paused, if it is.
    #[must_use]
    pub fn paused(&self, name: &AgentName) -> Option<Paused> {
        self.rails.pauses().of(name.as_str())
    }

    /// Why whoever asks gets nothing: it is paused.
    pub(crate) async fn paused_since(&self, principal: &Principal) -> Result<Option<BrokerError>> {
        self.ledger.catch_up().await?;
        Ok(self.rails.pauses().check(principal).err())
    }

    /// That somebody may ask for a successor of a key just now: it is not paused, and does not ask without end.
    pub(crate) async fn may_ask_about(&self, caller: &Caller, key: &Key, reason: &str) -> Result<()> {
        self.brake(&caller.principal).await?;
        let Some(refused) = self.paused_since(&caller.principal).await? else { return Ok(()) };
        let subject = Subject {
            key: Some(key.id.to_string()),
            template: Some(key.template.to_string()),
            project: Some(key.project.to_string()),
            environment: Some(key.environment.to_string()),
            name: Some(key.name.to_string()),
            ..Subject::default()
        };
        let why = Why::new(self.kept(reason, 500).await?.raw(), None);
        self.note_refused(caller, subject, why, &refused).await?;
        Err(refused)
    }

    /// That somebody may propose a template just now: it is not paused.
    pub(crate) async fn may_propose(&self, caller: &Caller, template: &TemplateId, why: &str) -> Result<()> {
        let Some(refused) = self.paused_since(&caller.principal).await? else { return Ok(()) };
        self.brake(&caller.principal).await?;
        let subject = Subject { template: Some(template.to_string()), ..Subject::default() };
        let why = Why::new(self.kept(why, 1_000).await?.raw(), None);
        self.note_refused(caller, subject, why, &refused).await?;
        Err(refused)
    }
}
