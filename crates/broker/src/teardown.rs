//! Teardown: many keys end with one word, all of a project or all that an agent asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use keywright_core::audit::{Deed, Outcome, Record, Stage, Subject};
use keywright_core::id::{KeyId, RequestId};
use keywright_core::key::Key;
use keywright_core::name::{AgentName, ProjectName};
use keywright_core::plan::Principal;
use keywright_core::policy::Action;
use keywright_core::receipt::Status;
use keywright_ledger::{LedgerError, Tx};

use crate::admin::named;
use crate::broker::Broker;
use crate::error::{BrokerError, Code, Result};
use crate::rails::{AGENT, GRANT};
use crate::record::{Caller, failed, of_request};
use crate::revoke::{is_over, is_settled};

/// What became of the keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Teardown {
    /// Confirmed gone.
    pub revoked: Vec<KeyId>,
    /// Owed: the provider has not confirmed yet, and it is tried again until it does.
    pub owed: Vec<KeyId>,
    /// What waited for approval and was turned down.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub turned_down: Vec<RequestId>,
    /// The projects that there are keys of, where none was ever made for this one: its name may be misspelt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_projects: Option<Vec<String>>,
}

impl Broker {
    /// Revokes every key of a project.
    ///
    /// # Errors
    /// When the ledger can't be read, or policy does not let the caller revoke one of them (none is then). Also when one
    /// of them could not be revoked or not be put on record; the others are revoked all the same.
    pub async fn teardown(self: &Arc<Self>, caller: &Caller, project: &ProjectName) -> Result<Teardown> {
        let of = project.clone();
        let keys = self.ledger.scan(move |tx| {
            let keys = tx.keys(Some(&of), None, None, 100_000)?;
            let is_known = !keys.is_empty();
            Ok::<_, LedgerError>((unsettled(tx, keys)?, is_known))
        });
        let (live, is_known) = keys.await?;
        let mut torn = Teardown::default();
        if !is_known {
            let all = self.ledger.scan(|tx| tx.keys(None, None, None, 100_000)).await?;
            let projects: BTreeSet<String> = all.into_iter().map(|key| key.project.to_string()).collect();
            torn.known_projects = Some(projects.into_iter().collect());
        }
        let mut record = Record::new(self.now(), Deed::ProjectTeardown, Stage::Intent, caller.who());
        record.subject = Subject { project: Some(project.to_string()), ..Subject::default() };
        self.end_all(caller, live, &format!("project {project} is torn down"), record, torn).await
    }

    /// Ends everything of an agent: it is paused, what waits from it is turned down, what was approved for it in advance is
    /// removed, and every key that it asked for is revoked. Of one that was removed, what it left.
    ///
    /// # Errors
    /// When there never was such an agent, or policy does not let the caller revoke one of its keys (none is then, and it is
    /// paused all the same). Also when some of it could not be done or not be put on record; the rest is done all the same.
    pub async fn revoke_all_of(
        self: &Arc<Self>,
        caller: &Caller,
        name: &AgentName,
        reason: &str,
    ) -> Result<Teardown> {
        let Principal::Operator(_) = &caller.principal else {
            return Err(BrokerError::new(Code::Forbidden, "only an operator ends everything of an agent"));
        };
        let reason = self.kept(reason, 500).await?.raw().to_owned();
        let agent = name.clone();
        let is_there = self.ledger.read(move |tx| tx.has_agent(&agent)).await?;
        self.ledger.catch_up().await?;
        if !is_there && !self.rails.is_removed(AGENT, name.as_str()) {
            return Err(LedgerError::Missing { what: "agent", name: name.to_string() }.into());
        }
        // First, so that nothing comes while the rest ends.
        let mut trouble = None;
        if is_there && let Err(error) = self.pause(caller.who(), name, Some(&reason)).await {
            tracing::error!(agent = %name, message = %error.message, "it could not be paused; its keys are revoked all the same");
            trouble.get_or_insert(error);
        }
        let mut torn = Teardown::default();
        match self.turn_down_all_of(caller, name, &reason).await {
            Ok(turned_down) => torn.turned_down = turned_down,
            Err(error) => {
                tracing::error!(agent = %name, message = %error.message, "what waits from it could not be turned down");
                trouble.get_or_insert(error);
            }
        }
        let agent = name.clone();
        let live = self.ledger.scan(move |tx| {
            let mut live = tx.keys_of_agent(&agent)?;
            live.extend(unsettled(tx, tx.keys_of_agent_over(&agent)?)?);
            Ok::<_, LedgerError>(live)
        });
        let live = live.await?;
        let mut record = named(self.now(), Deed::AgentRevokeAll, caller.who(), name.as_str());
        record.stage = Stage::Intent;
        record.facts.insert("because".to_owned(), serde_json::json!(reason));
        let why = format!("everything of agent {name} is revoked: {reason}");
        let torn = self.end_all(caller, live, &why, record, torn).await?;
        trouble.map_or(Ok(torn), Err)
    }

    /// Turns down whatever of an agent's waits for a human, and removes its standing grants, each on record.
    async fn turn_down_all_of(
        &self,
        caller: &Caller,
        name: &AgentName,
        reason: &str,
    ) -> Result<Vec<RequestId>> {
        let (who, agent, reason) = (caller.who(), name.clone(), reason.to_owned());
        let keyring = Arc::clone(&self.keyring);
        let written = self.ledger.write(move |tx| {
            let (mut turned_down, grants) = (Vec::new(), tx.grants_of(&agent)?);
            for grant in &grants {
                tx.remove_grant(*grant, &keyring)?;
                tx.audit(named(tx.now(), Deed::GrantRemove, who.clone(), &grant.to_string()))?;
            }
            for request in tx.requests_waiting_of("agent", agent.as_str())? {
                let mut record =
                    of_request(tx.now(), Deed::RequestReject, Stage::Note, who.clone(), &request);
                record.facts.insert("because".to_owned(), serde_json::json!(reason));
                let (id, entry) = (request.id, tx.audit(record)?);
                tx.move_request(
                    id,
                    Status::PendingApproval,
                    Status::Rejected,
                    std::slice::from_ref(&reason),
                    entry,
                )?;
                turned_down.push(id);
            }
            for proposal in tx.proposals()?.into_iter().filter(|one| one.agent == agent) {
                let mut record = Record::new(tx.now(), Deed::RequestReject, Stage::Note, who.clone());
                record.subject =
                    Subject { request: Some(proposal.request.to_string()), ..Subject::default() };
                record.facts.insert("because".to_owned(), serde_json::json!(reason));
                tx.audit(record)?;
                tx.settle_proposal(proposal.request, "rejected", (who.name.as_str(), Some(&reason)))?;
                turned_down.push(proposal.request);
            }
            Ok::<_, LedgerError>((turned_down, grants))
        });
        let (turned_down, grants) = written.await?;
        grants.iter().for_each(|grant| self.rails.went(GRANT, &grant.to_string()));
        turned_down.iter().for_each(|id| self.rails.spent(*id));
        Ok(turned_down)
    }

    /// Revokes keys, and puts the whole of it on record: `record` before, and what came of it after.
    async fn end_all(
        self: &Arc<Self>,
        caller: &Caller,
        live: Vec<Key>,
        why: &str,
        mut record: Record,
        mut torn: Teardown,
    ) -> Result<Teardown> {
        for key in &live {
            self.may(&caller.principal, Action::Revoke, key).await?;
        }
        let ids: Vec<String> = live.iter().map(|k| k.id.to_string()).collect();
        record.facts.insert("keys".to_owned(), serde_json::json!(ids));
        let mut ended = record.clone();
        // Each key has an intent of its own; if that can't be recorded either, the caller is told.
        self.note_teardown(record).await;
        let mut trouble = None;
        for key in live {
            let id = key.id;
            // A key that can't be revoked, or not on record, does not spare the others.
            if let Err(error) = self.revoke_key(caller, &key, why).await {
                trouble.get_or_insert(error);
                continue;
            }
            let is_over = self.ledger.read(move |tx| {
                let owes = tx.revocations_of(id)?.iter().any(|debt| debt.done_at.is_none());
                Ok::<_, LedgerError>(is_over(tx.key(id)?.state) && !owes)
            });
            if is_over.await? { torn.revoked.push(id) } else { torn.owed.push(id) }
        }
        (ended.at, ended.stage) = (self.now(), Stage::Outcome);
        ended.result = Some(trouble.as_ref().map_or_else(Outcome::done, failed));
        ended.facts.insert("revoked".to_owned(), serde_json::json!(torn.revoked));
        ended.facts.insert("owed".to_owned(), serde_json::json!(torn.owed));
        if !torn.turned_down.is_empty() {
            ended.facts.insert("turned_down".to_owned(), serde_json::json!(torn.turned_down));
        }
        self.note_teardown(ended).await;
        trouble.map_or(Ok(torn), Err)
    }

    /// A teardown goes ahead whether it can be put on record or not.
    async fn note_teardown(&self, record: Record) {
        let (deed, of) = (record.deed, record.subject.project.clone().or(record.subject.name.clone()));
        if let Err(error) = self.ledger.write(move |tx| tx.audit(record)).await {
            let error: LedgerError = error;
            tracing::error!(%deed, of = of.unwrap_or_default(), %error, "a teardown could not be put on record");
        }
    }
}

/// Those of the keys that live, or were ended by somebody else and may come back.
fn unsettled(tx: &Tx<'_>, keys: Vec<Key>) -> std::result::Result<Vec<Key>, LedgerError> {
    let mut left = Vec::new();
    for key in keys {
        let is_left = match is_settled(tx, &key) {
            Ok(is_settled) => !is_settled,
            // What can't be known of one is no reason to leave the others.
            Err(LedgerError::Edited { .. } | LedgerError::Missing { .. } | LedgerError::Damaged { .. }) => {
                true
            }
            Err(error) => return Err(error),
        };
        if is_left {
            left.push(key);
        }
    }
    Ok(left)
}
