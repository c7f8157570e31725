//! Who may approve what: a question to the policies, for each operator and each plan. An approval of somebody who may not counts for
//! nothing, whenever it was given (`Policies::authorize`); here it is refused before anybody signs, and shown to who reviews.

use std::sync::Arc;

use keywright_core::name::OperatorName;
use keywright_core::plan::Principal;
use keywright_core::policy::{Policies, Question};
use keywright_ledger::seal::Keyring;
use keywright_ledger::{LedgerError, Request, Tx};

use crate::broker::Broker;
use crate::error::{BrokerError, Code, Result};
use crate::limits::counts_besides;
use crate::rotate::question;

/// An operator who may approve a request, or why they may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Approver {
    pub(crate) name: OperatorName,
    pub(crate) refused: Option<String>,
}

/// What policy is asked about a request, and who stands behind it.
struct Asked {
    question: Question,
    policies: Arc<Policies>,
    human: Option<OperatorName>,
}

/// Who stands behind an ask: the operator who asks, or who added the agent that does. Nobody behind the schedule.
pub(crate) fn human(
    tx: &Tx<'_>,
    keyring: &Keyring,
    principal: &Principal,
) -> std::result::Result<Option<OperatorName>, LedgerError> {
    match principal {
        Principal::Operator(name) => Ok(Some(name.clone())),
        Principal::Agent(name) => Ok(tx.agent(name, keyring)?.map(|agent| agent.added_by)),
        Principal::Workload(_) | Principal::Schedule => Ok(None),
    }
}

impl Broker {
    /// That an operator's approval of a request would count.
    ///
    /// # Errors
    /// [`Code::Denied`], with the policy's reason.
    pub(crate) async fn refuse_approver(&self, request: &Request, operator: &OperatorName) -> Result<()> {
        let asked = self.asked(request).await?;
        let Err(decision) = asked.policies.may_approve(&asked.question, operator, asked.human.as_ref())
        else {
            return Ok(());
        };
        let message = format!("operator `{operator}` may not approve this: {}", decision.reasons.join("; "));
        Err(BrokerError::new(Code::Denied, message).hint(format!(
            "`keywright review show {}` says who may; `keywright policy show` has the rule",
            request.id
        )))
    }

    /// Every operator, and whether they may approve a request.
    pub(crate) async fn approvers(&self, request: &Request) -> Result<Vec<Approver>> {
        let asked = self.asked(request).await?;
        let operators = self.signers().await?.operators;
        let approver = |name: OperatorName| {
            let may = asked.policies.may_approve(&asked.question, &name, asked.human.as_ref());
            Approver { refused: may.err().map(|decision| decision.reasons.join("; ")), name }
        };
        Ok(operators.into_iter().map(|operator| approver(operator.name)).collect())
    }

    /// Who stands behind a request.
    pub(crate) async fn human_behind(&self, principal: &Principal) -> Result<Option<OperatorName>> {
        let (keyring, principal) = (Arc::clone(&self.keyring), principal.clone());
        Ok(self.ledger.read(move |tx| human(tx, &keyring, &principal)).await?)
    }

    async fn asked(&self, request: &Request) -> Result<Asked> {
        let (counted, keyring) = (request.clone(), Arc::clone(&self.keyring));
        let facts = self.ledger.read(move |tx| {
            let human = human(tx, &keyring, &counted.plan.principal)?;
            Ok::<_, LedgerError>((counts_besides(tx, &counted)?, human))
        });
        let (counts, human) = facts.await?;
        let applied = self.applied(&request.plan.template).await?;
        let (_, policies) = self.policies().await?;
        let replaces = self.replaced(&request.plan).await?;
        let question = question(&request.plan, &applied.resolved, replaces.as_ref(), counts);
        Ok(Asked { question, policies, human })
    }
}
