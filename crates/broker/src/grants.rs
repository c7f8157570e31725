//! Standing grants: an operator approves a class of an agent's requests in advance, for at most 90 days. What a grant covers
//! goes ahead as if that operator had approved it; it stands for one approval where one is wanted, and for nothing where more
//! are, where the verdict is HIGH, and in production.
//!
//! A grant counts while its row is as it was added, its operator's signature is over it, that operator is still one, and the
//! template is the one that they saw. Each use is counted where it is used, and known from the audit log as well.

mod give;
mod list;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use keywright_core::approval::Signed;
use keywright_core::audit::{Deed, Record, Stage};
use keywright_core::id::{GrantId, RequestId};
use keywright_core::name::OperatorName;
use keywright_core::plan::{Plan, Principal};
use keywright_core::policy::{Decision, Effect};
use keywright_core::standing::{StandingGrant, Void};
use keywright_core::verdict::{Level, verdict};
use keywright_ledger::seal::Keyring;
use keywright_ledger::{GivenGrant, GrantUse, LedgerError, Request, RowMac, Tx};

pub use give::NewGrant;
pub(crate) use give::is_as_said;
pub use list::GrantShown;

use crate::admin::named;
use crate::auth::Proven;
use crate::broker::Broker;
use crate::error::{BrokerError, Code, Result};
use crate::passkey::Signers;
use crate::rails::{GRANT, LetIn, Rails};
use crate::record::{of_request, who};

/// How many reasons a request is told why none of them covers it.
const TOLD: usize = 3;
/// The fact of a use that names the grant.
const FACT: &str = "grant";

/// How often grants were used, as the log has it.
#[derive(Default)]
pub(crate) struct Uses(RwLock<HashMap<String, HashSet<RequestId>>>);

impl Uses {
    /// Takes in an entry.
    pub(crate) fn take(&self, record: &Record) {
        let grant = record.facts.get(FACT).and_then(serde_json::Value::as_str);
        let request = record.subject.request.as_deref().and_then(|id| RequestId::parse(id).ok());
        if let (Some(grant), Some(request)) = (grant, request) {
            self.used(grant, request);
        }
    }

    /// It was used for a request, and that is on record.
    pub(crate) fn used(&self, grant: &str, request: RequestId) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(grant.to_owned()).or_default().insert(request);
    }

    fn of(&self, grant: GrantId) -> u64 {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&grant.to_string()).map_or(0, |requests| requests.len() as u64)
    }

    /// What the log says now, in place of what it said.
    pub(crate) fn replace(&self, fresh: Self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) =
            fresh.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    }
}

impl LetIn for GivenGrant {
    fn as_logged(&self) -> (&'static str, Cow<'_, str>, RowMac) {
        (GRANT, self.grant.id.to_string().into(), self.mac)
    }
}

impl Broker {
    /// Removes a grant. What was made by it stays; what it approved and was not made yet is not made.
    ///
    /// # Errors
    /// When there is none of this id.
    pub async fn remove_grant(&self, operator: &Proven, id: &str) -> Result<GrantId> {
        let id = GrantId::parse(id).map_err(BrokerError::invalid)?;
        let (who, keyring) = (operator.caller().who(), Arc::clone(&self.keyring));
        let written = self.ledger.write(move |tx| {
            tx.remove_grant(id, &keyring)?;
            tx.audit(named(tx.now(), Deed::GrantRemove, who, &id.to_string()))
        });
        written.await?;
        self.rails.went(GRANT, &id.to_string());
        Ok(id)
    }

    /// How much there is to lose by a plan.
    pub(crate) fn level_of(&self, plan: &Plan) -> Level {
        verdict(plan, &self.red_flags(plan)).level
    }

    /// The operator whose standing grant approved a request, if one did. It counts still: nothing of it changed since.
    ///
    /// # Errors
    /// [`Code::Denied`] when it counts no more.
    pub(crate) async fn granted(&self, request: &Request) -> Result<Option<OperatorName>> {
        let (rails, keyring, level) =
            (Arc::clone(&self.rails), Arc::clone(&self.keyring), self.level_of(&request.plan));
        self.ledger.catch_up().await?;
        let asked = request.clone();
        let found = self.ledger.read(move |tx| {
            let Some(used) = tx.grant_use(asked.id)? else { return Ok(None) };
            let added_at = tx.connection(&asked.plan.connection)?.added_at;
            let void = match tx.grant(used.grant, &keyring)? {
                Some(_) if used.digest != asked.digest => Some("it approved another plan".to_owned()),
                Some(given) => counts(&rails, &Signers::of(tx, &rails, &keyring)?, &given).or_else(|| {
                    let grant = StandingGrant { uses: None, ..given.grant };
                    let wanted = (level, asked.approvals_needed);
                    let times = (used.used_at, added_at);
                    let covers =
                        grant.is_about(&asked.plan).then(|| grant.covers(&asked.plan, wanted, 0, times));
                    match covers {
                        None => Some("it is about something else".to_owned()),
                        Some(covers) => covers.err().map(|void| void.to_string()),
                    }
                }),
                None => Some("it was removed".to_owned()),
            };
            Ok::<_, LedgerError>(Some((used, void)))
        });
        match found.await? {
            None => Ok(None),
            Some((used, None)) => Ok(Some(used.operator)),
            Some((GrantUse { grant, .. }, Some(why))) => {
                let message = format!("standing grant {grant}, which approved it, counts no more: {why}");
                Err(BrokerError::new(Code::Denied, message).hint("ask again"))
            }
        }
    }
}

/// Why a row counts for nothing, whatever it is about: it is not as the log has it, or nobody vouches for it any more.
fn counts(rails: &Rails, signers: &Signers, given: &GivenGrant) -> Option<String> {
    if let Err(error) = rails.check_row(given) {
        return Some(error.message);
    }
    if signers.vouch_for_grant(given) {
        return None;
    }
    let by = &given.grant.operator;
    Some(match given.signature {
        Signed::Passkey(_) if signers.operators.iter().any(|one| one.name == *by) => {
            format!("the passkey of {by} that signed it was removed")
        }
        _ => format!("operator {by}, who gave it, was removed"),
    })
}

/// The standing grant that approves a plan for which policy wants `needed` operators; or why none of those does that are
/// about it. Looked for in the transaction that uses it.
pub(crate) fn standing_for(
    tx: &Tx<'_>,
    (rails, keyring): (&Rails, &Keyring),
    plan: &Plan,
    (level, effect): (Level, Effect),
    may_approve: impl Fn(&OperatorName) -> std::result::Result<(), Decision>,
) -> std::result::Result<(Option<StandingGrant>, Vec<String>), LedgerError> {
    let (Principal::Agent(agent), Effect::NeedsApprovals(needed)) = (&plan.principal, effect) else {
        return Ok((None, Vec::new()));
    };
    let mut found = rails.counting(tx.grants_for(agent, plan, keyring)?);
    found.retain(|given| given.grant.is_about(plan));
    if found.is_empty() {
        return Ok((None, Vec::new()));
    }
    let signers = Signers::of(tx, rails, keyring)?;
    let added_at = tx.connection(&plan.connection)?.added_at;
    // What ends first is used first.
    found.sort_by_key(|given| (given.grant.until, given.grant.id));
    let (mut reasons, mut elsewhere) = (Vec::new(), Vec::new());
    for given in found {
        let used = given.used.max(rails.uses().of(given.grant.id));
        let said = |why: String| format!("standing grant {} does not cover it: {why}", given.grant.id);
        match given.grant.covers(plan, (level, needed), used, (tx.now(), added_at)) {
            Ok(()) => match counts(rails, &signers, &given).or_else(|| refused(&given, &may_approve)) {
                None => return Ok((Some(given.grant), Vec::new())),
                Some(why) => reasons.push(said(why)),
            },
            Err(void @ Void::Parameter(_)) => elsewhere.push(said(void.to_string())),
            Err(void) => reasons.push(said(void.to_string())),
        }
    }
    reasons.append(&mut elsewhere);
    reasons.truncate(TOLD);
    Ok((None, reasons))
}

/// Why an operator's grant is none of theirs to give, as policy has it.
fn refused(
    given: &GivenGrant,
    may_approve: &impl Fn(&OperatorName) -> std::result::Result<(), Decision>,
) -> Option<String> {
    let decision = may_approve(&given.grant.operator).err()?;
    Some(not_theirs(&given.grant.operator, &decision))
}

fn not_theirs(operator: &OperatorName, decision: &Decision) -> String {
    format!("operator {operator} may not approve it: {}", decision.reasons.join("; "))
}

/// Uses a grant for a request, on record.
pub(crate) fn use_for(
    tx: &Tx<'_>,
    grant: &StandingGrant,
    request: &Request,
) -> std::result::Result<(), LedgerError> {
    let used = tx.use_grant(grant, request.id, request.digest)?;
    let mut record = of_request(tx.now(), Deed::GrantUse, Stage::Note, who(&request.plan.principal), request);
    record.facts.insert(FACT.to_owned(), serde_json::json!(grant.id.to_string()));
    record.facts.insert("operator".to_owned(), serde_json::json!(grant.operator.as_str()));
    record.facts.insert("because".to_owned(), serde_json::json!(used.said()));
    tx.audit(record).map(drop)
}
