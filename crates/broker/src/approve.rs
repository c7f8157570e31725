//! Approve: an operator signs the digest of the whole plan, as asked or with less. When enough distinct operators
//! have signed the same digest, policy decides again and the mint begins.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keywright_core::approval::{Approval, Signed, quorum};
use keywright_core::audit::{self, Deed, Outcome, SignatureRecord, Stage};
use keywright_core::id::{ApprovalId, PasskeyId, RequestId};
use keywright_core::name::OperatorName;
use keywright_core::plan::{Digest, Principal};
use keywright_core::policy::{Ceiling, Effect, Facts, Policies, Refusal};
use keywright_core::receipt::{Narrowed, Receipt, Status};
use keywright_core::span::Span;
use keywright_core::text::Untrusted;
use keywright_ledger::{AppliedTemplate, LedgerError, Request, Tx};
use serde::{Deserialize, Serialize};

use crate::approvers::behind;
use crate::auth::Proven;
use crate::begin::{NewIds, begin};
use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{BrokerError, Code, Result};
use crate::limits::counts_besides;
use crate::passkey::{ED25519, Signers, copied};
use crate::rails::{AGENT, OPERATOR};
use crate::record::{of_request, who};
use crate::rotate::{authorize, question};

/// What an operator cuts off a request before approving it. It can only take away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Less {
    /// A shorter lifetime, as in `7d`.
    pub ttl: Option<String>,
    /// Permissions to leave out, by name or id.
    pub without: Vec<String>,
}

impl Less {
    /// Whether nothing is cut off.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.ttl.is_none() && self.without.is_empty()
    }
}

impl Broker {
    /// Approves exactly the plan whose digest was shown: the one that was asked for or, with `less`, a narrower one,
    /// which takes its place and voids what others approved. When enough distinct operators have, the key is minted.
    ///
    /// # Errors
    /// When it no longer waits, the plan is not the one that was shown, or would now be another one.
    pub async fn approve(
        self: &Arc<Self>,
        operator: &Proven,
        request: &str,
        shown: &str,
        less: &Less,
        wait: Duration,
    ) -> Result<Receipt> {
        self.refuse_if_forked()?;
        let signing = operator.signing()?;
        let id = Self::find_request(request)?;
        let (asked, waiting) = self.to_approve(operator.name(), id, shown, less).await?;
        let times = (self.now(), waiting.expires_at);
        let approval_id = ApprovalId::generate(self.now(), entropy()?);
        let approval =
            Approval::sign(approval_id, id, operator.name().clone(), waiting.digest, times, signing);
        let Signed::Key(signature) = approval.signature else {
            return Err(BrokerError::new(Code::Internal, "a signing key made no signature"));
        };
        let proof = SignatureRecord {
            by: operator.name().to_string(),
            method: ED25519.to_owned(),
            key: STANDARD.encode(signing.verifying_key().as_bytes()),
            over: STANDARD.encode(approval.message()),
            signature: STANDARD.encode(signature),
            with: std::collections::BTreeMap::new(),
        };
        one(self.give(vec![Given { asked, waiting, approval, proof }], None, wait).await?)
    }

    /// A request that waits, and the same as it would be approved: exactly as it was shown, still what would happen, and by
    /// somebody who may.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) async fn to_approve(
        &self,
        operator: &OperatorName,
        id: RequestId,
        shown: &str,
        less: &Less,
    ) -> Result<(Request, Request)> {
        let asked = self.waiting(id).await?;
        let waiting = self.narrowed(asked.clone(), less).await?;
        if Digest::from_hex(shown) != Some(waiting.digest) {
            return Err(BrokerError::outdated("the plan is not the one that you were shown; look again"));
        }
        self.refuse_outdated(&waiting).await?;
        self.refuse_approver(&waiting, operator).await?;
        Ok((asked, waiting))
    }

    /// That what a request says is still what would happen.
    async fn refuse_outdated(&self, request: &Request) -> Result<()> {
        if self.rederive(&request.plan).await?.digest().ok() == Some(request.digest) {
            return Ok(());
        }
        let message = "what would happen now is not what was asked: the template, the zone or the connection changed since";
        Err(BrokerError::outdated(message).hint("reject it, and have the agent ask again"))
    }

    /// Puts signed approvals on record, and those mints begin of which it was the last that was needed. `used` is the passkey that
    /// signed, and its counter. Of approvals that were signed together all go on record, or none does.
    pub(crate) async fn give(
        self: &Arc<Self>,
        given: Vec<Given>,
        used: Option<(PasskeyId, u32)>,
        wait: Duration,
    ) -> Result<Vec<Receipt>> {
        let ids: Vec<RequestId> = given.iter().map(|one| one.waiting.id).collect();
        let (rails, keyring) = (Arc::clone(&self.rails), Arc::clone(&self.keyring));
        let written = self.ledger.write(move |tx| {
            let signers = Signers::of(tx, &rails, &keyring)?;
            for Given { asked, waiting, approval, proof } in given {
                let who = who(&Principal::Operator(approval.operator.clone()));
                if waiting.digest != asked.digest {
                    narrow(tx, &asked, &waiting, who.clone())?;
                }
                tx.clear_approvals(waiting.id, &approval.operator, |one| signers.vouch_for(one))?;
                tx.add_approval(&approval)?;
                let mut record = of_request(tx.now(), Deed::ApprovalGive, Stage::Note, who, &waiting);
                record.signatures.push(proof);
                tx.audit(record)?;
            }
            match used {
                Some((passkey, counter)) => tx.use_passkey(passkey, counter),
                None => Ok(()),
            }
        });
        written.await.map_err(|error| match error {
            LedgerError::Exists { .. } => {
                let named: Vec<String> = ids.iter().map(ToString::to_string).collect();
                let message =
                    format!("you have approved {} already; it needs another operator", named.join(" or "));
                BrokerError::outdated(message)
            }
            other => copied(other),
        })?;
        self.crash_at.reached("approve.given");
        for id in &ids {
            match self.start_if_approved(*id).await {
                // Of several, one that can't begin is no reason to leave the others; a tick looks at it again.
                Err(error) if ids.len() > 1 => {
                    tracing::warn!(request = %id, message = %error.message, "approved, but not started");
                }
                started => started?,
            }
        }
        let settling = ids.into_iter().map(|id| self.settle(id, wait));
        futures::future::join_all(settling).await.into_iter().collect()
    }

    /// The request as it would be with less; the request itself when nothing is cut off.
    pub(crate) async fn narrowed(&self, mut request: Request, less: &Less) -> Result<Request> {
        if less.is_nothing() {
            return Ok(request);
        }
        // Less than what was asked: not of what the template allows by now.
        self.refuse_outdated(&request).await?;
        let mut wish = request.plan.clone();
        if let Some(text) = &less.ttl {
            let ttl = Span::parse(text).map_err(BrokerError::invalid)?;
            if ttl >= wish.ttl {
                let message = format!("{ttl} is not shorter than the {} that the request asks for", wish.ttl);
                return Err(BrokerError::invalid(message));
            }
            wish.ttl = ttl;
        }
        for text in &less.without {
            let is_it =
                |p: &&keywright_core::grant::Permission| p.id == *text || p.name.eq_ignore_ascii_case(text);
            let Some(found) = wish.permissions.iter().find(is_it) else {
                let shown = Untrusted::capped(text, 120);
                let names = wish.permissions.iter().map(|p| p.name.clone()).collect();
                return Err(BrokerError::invalid(format_args!("the request has no permission `{shown}`"))
                    .alternatives(names));
            };
            wish.withheld.push(found.id.clone());
        }
        wish.withheld.sort();
        wish.withheld.dedup();
        if wish.permissions.iter().all(|p| wish.withheld.contains(&p.id)) {
            return Err(BrokerError::invalid("nothing would be left of it")
                .hint(format!("turn it down instead: `keywright review reject {}`", request.id)));
        }
        request.plan = self.rederive(&wish).await?;
        let digest = request.plan.digest();
        request.digest = digest.map_err(|e| BrokerError::new(Code::Internal, e.to_string()))?;
        let applied = self.applied(&request.plan.template).await?;
        let asked = request.clone();
        let counts = self.ledger.read(move |tx| counts_besides(tx, &asked)).await?;
        let (_, policies) = self.policies().await?;
        let replaces = self.replaced(&request.plan).await?;
        let asked = question(&request.plan, &applied.resolved, replaces.as_ref(), counts);
        let decision = policies.decide(&asked);
        request.approvals_needed = match decision.effect {
            // Policy would not have asked anybody; this operator was asked, and their approval is on record.
            Effect::Allow => 1,
            Effect::NeedsApprovals(needed) => needed,
            Effect::Deny => return Err(BrokerError::new(Code::Denied, decision.reasons.join("; "))),
        };
        (request.reasons, request.policies) = (decision.reasons, decision.policies);
        Ok(request)
    }

    /// Starts what was approved and not begun: a broker died between the last approval and the mint.
    pub(crate) async fn start_approved(&self) -> Result<usize> {
        let ready = self.ledger.read(|tx| tx.requests_approved()).await?;
        let mut trouble = None;
        for id in &ready {
            match self.start_if_approved(*id).await {
                Ok(()) => {}
                Err(error) if matches!(error.code, Code::Conflict | Code::Denied) => {
                    tracing::debug!(request = %id, message = %error.message, "approved, but not started");
                }
                Err(error) => drop(trouble.get_or_insert(error)),
            }
        }
        trouble.map_or(Ok(ready.len()), Err)
    }

    /// What was signed, and who may have.
    pub(crate) async fn approvals(&self, id: RequestId) -> Result<(Vec<Approval>, Signers)> {
        let approvals = self.ledger.read(move |tx| tx.approvals(id)).await?;
        Ok((approvals, self.signers().await?))
    }

    /// That a request has not come to its end, and that whoever asked is still let in, whatever the rows say.
    ///
    /// # Errors
    /// [`Code::Denied`] when it does not hold.
    pub(crate) fn stands(&self, request: &Request) -> Result<()> {
        let why = match &request.plan.principal {
            _ if self.rails.is_spent(request.id) => {
                "the audit log says that it came to its end: a key was made for it, or it was turned down; its approvals were \
                 for one"
                    .to_owned()
            }
            Principal::Agent(name) if self.rails.is_removed(AGENT, name.as_str()) => {
                format!("agent `{name}`, which asked, was removed")
            }
            Principal::Operator(name) if self.rails.is_removed(OPERATOR, name.as_str()) => {
                format!("operator `{name}`, who asked, was removed")
            }
            _ => return Ok(()),
        };
        Err(BrokerError::new(Code::Denied, format!("request {}: {why}", request.id))
            .hint("ask again; if nobody did what it says, `keywright doctor` names what was edited"))
    }

    async fn waiting(&self, id: RequestId) -> Result<Request> {
        let request = self.ledger.read(move |tx| tx.request(id)).await?;
        if request.status == Status::PendingApproval && request.expires_at > self.now() {
            self.stands(&request)?;
            return Ok(request);
        }
        let message = format!("{id} does not wait for approval any more; it is {}", request.status);
        Err(BrokerError::outdated(message))
    }

    /// Decides again with the approvals as facts; if policy allows it now, the mint begins.
    async fn start_if_approved(&self, id: RequestId) -> Result<()> {
        let request = self.waiting(id).await?;
        let asked = request.clone();
        let counts = self.ledger.read(move |tx| counts_besides(tx, &asked)).await?;
        let (approvals, signers) = self.approvals(id).await?;
        let given =
            quorum(&approvals, id, &request.digest, self.now(), |one| self.vouches(&signers, &request, one));
        let applied = self.applied(&request.plan.template).await?;
        let (_, policies) = self.policies().await?;
        let ceiling = Ceiling { template: &applied.resolved, version: applied.version };
        let behind = self.behind(&request.plan).await?;
        let facts = Facts { counts, approvals: &given, behind: &behind };
        let replaces = self.replaced(&request.plan).await?;
        match authorize(&policies, request.plan.clone(), ceiling, replaces.as_ref(), &facts) {
            Ok(_) => {}
            Err(Refusal::NeedsApprovals { .. }) => return Ok(()),
            Err(refusal) => return Err(denied(&refusal)),
        }
        let given: BTreeSet<OperatorName> = given.into_iter().cloned().collect();
        self.start(request, given, applied, policies).await
    }

    async fn start(
        &self,
        mut request: Request,
        given: BTreeSet<OperatorName>,
        applied: AppliedTemplate,
        policies: Arc<Policies>,
    ) -> Result<()> {
        let ids = NewIds::generate(self.now())?;
        let (rails, keyring) = (Arc::clone(&self.rails), Arc::clone(&self.keyring));
        let written = self.ledger.write(move |tx| {
            // Counted where it is added: of requests that are approved together, as many start as the limits allow.
            let ceiling = Ceiling { template: &applied.resolved, version: applied.version };
            let behind = behind(tx, (&*rails, &*keyring), &request.plan)?;
            let approvals = given.iter().collect();
            let facts =
                Facts { counts: counts_besides(tx, &request)?, approvals: &approvals, behind: &behind };
            let replaces = request.plan.rotates.map(|key| tx.key(key)).transpose()?;
            let allowed = authorize(&policies, request.plan.clone(), ceiling, replaces.as_ref(), &facts);
            drop(allowed.map_err(|e| denied(&e))?);
            let mut record = of_request(
                tx.now(),
                Deed::RequestDecide,
                Stage::Note,
                who(&request.plan.principal),
                &request,
            );
            let needed = request.approvals_needed;
            let given = u8::try_from(given.len()).unwrap_or(u8::MAX);
            record.decision =
                Some(crate::record::decided(audit::Effect::Allow, needed, given, &request.policies, &[]));
            record.result = Some(Outcome::done());
            let entry = tx.audit(record)?;
            tx.move_request(request.id, Status::PendingApproval, Status::InProgress, &[], entry)?;
            begin(tx, &mut request, &ids, &keyring)
        });
        written.await?;
        self.crash_at.reached("mint.reserved");
        Ok(())
    }
}

/// An approval as it goes on record.
pub(crate) struct Given {
    /// The request as it waits.
    pub(crate) asked: Request,
    /// The same as it was approved.
    pub(crate) waiting: Request,
    pub(crate) approval: Approval,
    pub(crate) proof: SignatureRecord,
}

/// The one receipt of one approval.
pub(crate) fn one(mut receipts: Vec<Receipt>) -> Result<Receipt> {
    receipts.pop().ok_or_else(|| BrokerError::new(Code::Internal, "an approval came to nothing"))
}

fn denied(refusal: &Refusal) -> BrokerError {
    BrokerError::new(Code::Denied, refusal.to_string())
}

/// The narrower plan takes the place of the one that was asked for.
fn narrow(
    tx: &Tx<'_>,
    asked: &Request,
    narrowed: &Request,
    who: audit::Who,
) -> std::result::Result<(), LedgerError> {
    let mut record = of_request(tx.now(), Deed::RequestNarrow, Stage::Note, who.clone(), narrowed);
    record.facts.insert("asked_digest".to_owned(), serde_json::json!(asked.digest.to_string()));
    record.facts.insert("asked_ttl_seconds".to_owned(), serde_json::json!(asked.plan.ttl.seconds()));
    let withheld = asked.plan.permissions.iter().filter(|p| narrowed.plan.withheld.contains(&p.id));
    let withheld: Vec<&str> = withheld.map(|p| p.name.as_str()).collect();
    record.facts.insert("withheld".to_owned(), serde_json::json!(withheld));
    // Of what was cut down before, the agent is told what it asked for itself.
    let before = tx.narrowed(asked.id)?;
    let told = Narrowed {
        by: who.name,
        asked_ttl: before.as_ref().map_or(asked.plan.ttl, |before| before.asked_ttl),
        given_ttl: narrowed.plan.ttl,
        without: before
            .into_iter()
            .flat_map(|before| before.without)
            .chain(withheld.into_iter().map(str::to_owned))
            .collect(),
    };
    let entry = tx.audit(record)?;
    tx.narrow_request(narrowed, asked.digest, &told, entry)
}
