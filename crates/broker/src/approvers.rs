//! Who may approve what: a question to the policies, for each operator and each plan. An approval of somebody who may not counts for
//! nothing, whenever it was given (`Policies::authorize`); here it is refused before anybody signs, and shown to who reviews.

use std::sync::Arc;

use keywright_core::name::OperatorName;
use keywright_core::plan::{Plan, Principal};
use keywright_core::policy::{Behind, Effect, Policies, Question};
use keywright_ledger::seal::Keyring;
use keywright_ledger::{LedgerError, Request, Tx};

use crate::broker::Broker;
use crate::error::{BrokerError, Code, Result};
use crate::limits::counts_besides;
use crate::rails::Rails;
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
    behind: Behind,
}

/// Who stands behind a plan: behind a rotation that the schedule begins, whoever does behind the key. Rows can be hidden; an agent
/// without one that is as it was written is nobody's, and so everybody's.
pub(crate) fn behind(
    tx: &Tx<'_>,
    (rails, keyring): (&Rails, &Keyring),
    plan: &Plan,
) -> std::result::Result<Behind, LedgerError> {
    match (&plan.principal, plan.rotates) {
        (Principal::Schedule, Some(key)) => {
            let made_for = tx.request(tx.key(key)?.request)?.plan.principal;
            behind_principal(tx, (rails, keyring), &made_for)
        }
        (principal, _) => behind_principal(tx, (rails, keyring), principal),
    }
}

/// Who stands behind a principal.
pub(crate) fn behind_principal(
    tx: &Tx<'_>,
    (rails, keyring): (&Rails, &Keyring),
    principal: &Principal,
) -> std::result::Result<Behind, LedgerError> {
    Ok(match principal {
        Principal::Operator(name) => Behind::Operator(name.clone()),
        Principal::Agent(name) => match tx.agent(name, keyring)?.map(|agent| rails.counting(vec![Ok(agent)]))
        {
            Some(counting) => {
                counting.into_iter().next().map_or(Behind::Unknown, |one| Behind::Operator(one.added_by))
            }
            None => Behind::Unknown,
        },
        Principal::Workload(_) | Principal::Schedule => Behind::Nobody,
    })
}

impl Broker {
    /// That an operator's approval of a request would count.
    ///
    /// # Errors
    /// [`Code::Denied`], with the policy's reason.
    pub(crate) async fn refuse_approver(&self, request: &Request, operator: &OperatorName) -> Result<()> {
        let asked = self.asked(request).await?;
        let Err(decision) = asked.policies.may_approve(&asked.question, operator, &asked.behind) else {
            return Ok(());
        };
        let message = format!("operator `{operator}` may not approve this: {}", decision.reasons.join("; "));
        Err(BrokerError::new(Code::Denied, message).hint(format!(
            "`keywright review show {}` says who may; `keywright policy show` has the rule",
            request.id
        )))
    }

    /// How many people a request needs by the policy in force now, which may have become stricter since it was asked.
    pub(crate) async fn needed_now(&self, request: &Request) -> Result<u8> {
        let asked = self.asked(request).await?;
        Ok(match asked.policies.decide(&asked.question).effect {
            Effect::NeedsApprovals(needed) => needed.max(request.approvals_needed),
            Effect::Allow | Effect::Deny => request.approvals_needed,
        })
    }

    /// Every operator, and whether they may approve a request.
    pub(crate) async fn approvers(&self, request: &Request) -> Result<Vec<Approver>> {
        let asked = self.asked(request).await?;
        let operators = self.signers().await?.operators;
        let approver = |name: OperatorName| {
            let may = asked.policies.may_approve(&asked.question, &name, &asked.behind);
            Approver { refused: may.err().map(|decision| decision.reasons.join("; ")), name }
        };
        Ok(operators.into_iter().map(|operator| approver(operator.name)).collect())
    }

    /// Who stands behind a plan.
    pub(crate) async fn behind(&self, plan: &Plan) -> Result<Behind> {
        let (rails, keyring, plan) = (Arc::clone(&self.rails), Arc::clone(&self.keyring), plan.clone());
        self.ledger.catch_up().await?;
        Ok(self.ledger.read(move |tx| behind(tx, (&*rails, &*keyring), &plan)).await?)
    }

    async fn asked(&self, request: &Request) -> Result<Asked> {
        let counted = request.clone();
        let counts = self.ledger.read(move |tx| counts_besides(tx, &counted)).await?;
        let behind = self.behind(&request.plan).await?;
        let applied = self.applied(&request.plan.template).await?;
        let (_, policies) = self.policies().await?;
        let replaces = self.replaced(&request.plan).await?;
        let question = question(&request.plan, &applied.resolved, replaces.as_ref(), counts);
        Ok(Asked { question, policies, behind })
    }
}
