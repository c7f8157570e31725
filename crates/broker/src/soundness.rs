//! Whether the ledger's file and the log's files are as they were written.

use std::sync::{Arc, PoisonError};

use keywright_core::audit::{Deed, Record, Stage};
use keywright_core::receipt::Status;
use keywright_ledger::{LedgerError, RequestFilter};

use crate::auth::Proven;
use crate::broker::Broker;
use crate::error::{BrokerError, Code, Result};
use crate::rails::{
    CHANNEL, CONNECTION, CONSUMER, LetIn, POLICY, STORE, known_as, of_channel, of_connection, of_consumer,
    of_policy, of_store,
};

impl Broker {
    /// Takes the audit log as it is after its files were lost, and puts that on record: from here on it is signed again.
    ///
    /// # Errors
    /// When nothing is lost, or what is left of the files does not fit the log.
    pub async fn accept_audit(&self, operator: &Proven) -> Result<u64> {
        operator.signing()?;
        let lost = self.lost.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(lost) = lost else {
            let why = "no files of the audit log are lost; there is nothing to accept";
            return Err(BrokerError::new(Code::Conflict, why));
        };
        let mut record = Record::new(self.now(), Deed::AuditAccept, Stage::Note, operator.caller().who());
        record.facts.insert("because".to_owned(), serde_json::json!(lost));
        self.ledger.write(move |tx| tx.audit(record)).await?;
        *self.lost.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.begin_anew().await
    }

    /// What was edited in the ledger's file outside of Keywright: rows that count for nothing. A revocation that nobody owes any more
    /// is owed again.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn soundness(&self) -> Result<(u64, Vec<String>)> {
        let keyring = Arc::clone(&self.keyring);
        let found = self.ledger.scan(move |tx| {
            let (found, templates) = (tx.soundness()?, tx.templates()?);
            let policy = if tx.policy_version()? == 0 { None } else { Some(tx.policy()?) };
            let people = (
                tx.agents(&keyring)?,
                tx.workloads(&keyring)?,
                tx.operators(&keyring)?,
                tx.passkeys(&keyring)?,
                tx.grants(&keyring)?,
            );
            let waiting = RequestFilter { status: Some(Status::PendingApproval), limit: 10_000 };
            let ways = (tx.sound_connections()?, tx.sound_stores()?);
            let told = (tx.sound_consumers()?, tx.sound_channels()?);
            Ok::<_, LedgerError>((found, templates, policy, people, ways, told, tx.requests(&waiting)?))
        });
        let (found, templates, policy, people, ways, told, waiting) = found.await?;
        let ((connections, stores), (consumers, channels)) = (ways, told);
        let (agents, workloads, operators, passkeys, grants) = people;
        let mut rows = found.rows;
        let mut edited: Vec<String> = found.edited.iter().map(ToString::to_string).collect();
        let mut note = |result: Result<()>| {
            rows += 1;
            edited.extend(result.err().map(|error| error.message));
        };
        templates.iter().for_each(|template| note(self.rails.check_template(template)));
        if let Some(policy) = policy {
            note(self.rails.check(POLICY, &of_policy(&policy.source, policy.version)));
        }
        agents.into_iter().for_each(|row| note(self.checked(row)));
        workloads.into_iter().for_each(|row| note(self.checked(row)));
        operators.into_iter().for_each(|row| note(self.checked(row)));
        passkeys.into_iter().for_each(|row| note(self.checked(row)));
        grants.into_iter().for_each(|row| note(self.checked(row)));
        for one in &connections {
            note(self.rails.check_way(CONNECTION, one.name.as_str(), &of_connection(one)));
        }
        for one in &stores {
            note(self.rails.check_way(STORE, one.name.as_str(), &of_store(one)));
        }
        for one in &consumers {
            note(self.rails.check_way(CONSUMER, one.name.as_str(), &of_consumer(one)));
        }
        for one in &channels {
            note(self.rails.check_way(CHANNEL, one.name.as_str(), &of_channel(one)));
        }
        let there: Vec<String> = consumers
            .iter()
            .map(|one| known_as(CONSUMER, one.name.as_str()))
            .chain(channels.iter().map(|one| known_as(CHANNEL, one.name.as_str())))
            .collect();
        let known = [CONSUMER, CHANNEL].into_iter().flat_map(|noun| self.rails.has(noun));
        for lost in known.filter(|name| !there.contains(name)) {
            note(Err(BrokerError::new(
                Code::Denied,
                format!(
                    "{lost} is on record, and not in the ledger: it was taken out or changed outside of Keywright"
                ),
            )));
        }
        waiting.iter().for_each(|request| note(self.stands(request)));
        for version in self.forgotten_debts().await? {
            note(Err(BrokerError::new(
                Code::Denied,
                format!(
                    "the revocation of version {} of key {} was owed no more, and it was not confirmed: the ledger was edited \
                     outside of Keywright; `keywright reconcile` owes it again",
                    version.number, version.key
                ),
            )));
        }
        Ok((rows, edited))
    }

    fn checked(&self, row: std::result::Result<impl LetIn, LedgerError>) -> Result<()> {
        self.rails.check_row(&row?)
    }
}
