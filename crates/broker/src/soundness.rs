//! Whether the ledger's file and the log's files are as they were written.

use std::sync::{Arc, PoisonError};

use keywright_core::audit::{Deed, Record, Stage};
use keywright_ledger::LedgerError;

use crate::auth::Proven;
use crate::broker::Broker;
use crate::error::{BrokerError, Code, Result};
use crate::rails::{LetIn, POLICY, of_policy};

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

    /// What was edited in the ledger's file outside of Keywright: rows that count for nothing.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn soundness(&self) -> Result<(u64, Vec<String>)> {
        let keyring = Arc::clone(&self.keyring);
        let found = self.ledger.scan(move |tx| {
            let (found, templates) = (tx.soundness()?, tx.templates()?);
            let policy = if tx.policy_version()? == 0 { None } else { Some(tx.policy()?) };
            let people = (tx.agents(&keyring)?, tx.workloads(&keyring)?, tx.operators(&keyring)?);
            Ok::<_, LedgerError>((found, templates, policy, people))
        });
        let (found, templates, policy, (agents, workloads, operators)) = found.await?;
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
        Ok((rows, edited))
    }

    fn checked(&self, row: std::result::Result<impl LetIn, LedgerError>) -> Result<()> {
        self.rails.check_row(&row?)
    }
}
