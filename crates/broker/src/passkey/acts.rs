//! Deeds that a page has a passkey sign, other than an approval. What is signed names the deed, what it is done to and the words that
//! go on record with it; an answer is good for that one deed, once.

use std::sync::Arc;
use std::time::Duration;

use keywright_core::approval::Assertion;
use keywright_core::audit::{Deed, Record, SignatureRecord, Stage};
use keywright_core::id::{ApprovalId, GrantId, PasskeyId};
use keywright_core::name::{AgentName, OperatorName};
use keywright_core::plan::{Ending, Principal};
use keywright_core::span::Span;
use keywright_ledger::LedgerError;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::check::on_record;
use super::enrol::Counts;
use super::offers::{OFFER, Offer};
use super::{Challenge, copied, other_offer};
use crate::auth::Proven;
use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{BrokerError, Result};
use crate::record::{Caller, who};
use crate::switch_off::Switch;

/// A deed, as a page asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case", deny_unknown_fields)]
pub enum Act {
    /// To turn a request or a proposal down.
    Reject {
        /// Its id.
        request: String,
        /// Why; the agent reads it.
        reason: String,
    },
    /// The same, and to pause the agent that asked.
    RejectAndPause {
        /// Its id.
        request: String,
        /// Why; the agent reads it.
        reason: String,
    },
    /// To pause an agent.
    Pause {
        /// Its name.
        agent: String,
        /// Why; the agent reads it.
        reason: String,
    },
    /// To let a paused agent ask again.
    Resume {
        /// Its name.
        agent: String,
    },
    /// To revoke every key that an agent asked for, and pause it.
    RevokeAll {
        /// Its name.
        agent: String,
        /// Why; it goes on record.
        reason: String,
    },
    /// To remove a standing grant.
    RemoveGrant {
        /// Its id.
        grant: String,
    },
    /// To put a proposed template in force, exactly as it was shown.
    Apply {
        /// The proposal's id.
        request: String,
        /// The SHA-256 of the text that was shown, in hexadecimal.
        source: String,
        /// Which version it becomes: the one after what it was shown beside.
        version: u64,
    },
    /// To revoke a key.
    Revoke(OnKey),
    /// To switch a key off at its provider.
    Disable(OnKey),
    /// To switch a key, or an old version, on again.
    Enable(OnKey),
    /// To give a key a successor.
    Rotate(OnKey),
    /// To give a key that leaked a successor, and end it without waiting.
    RotateLeaked(OnKey),
    /// To end the version that a rotation replaced.
    EndOld(OnKey),
    /// To have a link made with which another passkey can be enrolled.
    Invite {
        /// What it will be called.
        label: String,
    },
    /// To remove a passkey.
    Forget {
        /// Its id.
        passkey: String,
    },
}

/// A deed on one key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnKey {
    /// Its id.
    pub key: String,
    /// Why; it goes on record.
    pub reason: String,
}

/// What came of a deed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// A request or a proposal was decided.
    Request(String),
    /// Several requests were.
    Requests(Vec<String>),
    /// Something was done to an agent.
    Agent(String),
    /// Everything of an agent was ended.
    Ended(String),
    /// Requests of an agent are approved in advance.
    Granted(String, GrantId),
    /// Something was done to an agent that nobody knows any more.
    Agents,
    /// Something was done to a key.
    Key(String),
    /// A word with which a passkey may be enrolled.
    Word(String),
    /// A passkey is gone.
    Passkey(PasskeyId),
}

impl Act {
    /// What goes on record.
    fn deed(&self) -> Deed {
        match self {
            Self::Reject { .. } | Self::RejectAndPause { .. } => Deed::RequestReject,
            Self::Pause { .. } => Deed::AgentPause,
            Self::Resume { .. } => Deed::AgentResume,
            Self::RevokeAll { .. } => Deed::AgentRevokeAll,
            Self::RemoveGrant { .. } => Deed::GrantRemove,
            Self::Apply { .. } => Deed::TemplateApply,
            Self::Revoke(_) => Deed::KeyRevoke,
            Self::Disable(_) => Deed::KeyDisable,
            Self::Enable(_) => Deed::KeyEnable,
            Self::Rotate(_) | Self::RotateLeaked(_) | Self::EndOld(_) => Deed::KeyRotate,
            Self::Invite { .. } => Deed::PasskeyAdd,
            Self::Forget { .. } => Deed::PasskeyRemove,
        }
    }

    /// To what it is done.
    fn subject(&self) -> &str {
        match self {
            Self::Reject { request, .. }
            | Self::RejectAndPause { request, .. }
            | Self::Apply { request, .. } => request,
            Self::Pause { agent, .. } | Self::Resume { agent } | Self::RevokeAll { agent, .. } => agent,
            Self::RemoveGrant { grant } => grant,
            Self::Revoke(on)
            | Self::Disable(on)
            | Self::Enable(on)
            | Self::Rotate(on)
            | Self::RotateLeaked(on)
            | Self::EndOld(on) => &on.key,
            Self::Invite { label } => label,
            Self::Forget { passkey } => passkey,
        }
    }

    /// The act by its name, and what belongs to it besides.
    fn words(&self) -> serde_json::Value {
        let tag = match self {
            Self::Reject { .. } => "reject",
            Self::RejectAndPause { .. } => "reject_and_pause",
            Self::Pause { .. } => "pause",
            Self::Resume { .. } => "resume",
            Self::RevokeAll { .. } => "revoke_all",
            Self::RemoveGrant { .. } => "remove_grant",
            Self::Apply { .. } => "apply",
            Self::Revoke(_) => "revoke",
            Self::Disable(_) => "disable",
            Self::Enable(_) => "enable",
            Self::Rotate(_) => "rotate",
            Self::RotateLeaked(_) => "rotate_leaked",
            Self::EndOld(_) => "end_old",
            Self::Invite { .. } => "invite",
            Self::Forget { .. } => "forget",
        };
        match self {
            Self::Apply { source, version, .. } => serde_json::json!([tag, source, version]),
            _ => serde_json::json!([tag, self.because()]),
        }
    }

    /// Why, in the operator's words; of a proposal the digest of its text.
    fn because(&self) -> &str {
        match self {
            Self::Reject { reason, .. }
            | Self::RejectAndPause { reason, .. }
            | Self::Pause { reason, .. }
            | Self::RevokeAll { reason, .. } => reason,
            Self::Apply { source, .. } => source,
            Self::Revoke(on)
            | Self::Disable(on)
            | Self::Enable(on)
            | Self::Rotate(on)
            | Self::RotateLeaked(on)
            | Self::EndOld(on) => &on.reason,
            Self::Invite { .. } | Self::Forget { .. } | Self::Resume { .. } | Self::RemoveGrant { .. } => "",
        }
    }

    /// Whether the deed's own entry carries the signature.
    fn signs_its_entry(&self) -> bool {
        matches!(
            self,
            Self::Reject { .. } | Self::RejectAndPause { .. } | Self::Apply { .. } | Self::Resume { .. }
        )
    }

    /// The same with ids in place of names, so that what is signed is about one thing.
    async fn settled(mut self, broker: &Broker) -> Result<Self> {
        match &mut self {
            Self::Reject { request, .. }
            | Self::RejectAndPause { request, .. }
            | Self::Apply { request, .. } => {
                *request = Broker::find_request(request)?.to_string();
            }
            Self::Pause { agent, .. } | Self::Resume { agent } | Self::RevokeAll { agent, .. } => {
                *agent = named(agent)?.to_string();
            }
            Self::RemoveGrant { grant } => {
                *grant = GrantId::parse(grant).map_err(BrokerError::invalid)?.to_string();
            }
            Self::Revoke(on)
            | Self::Disable(on)
            | Self::Enable(on)
            | Self::Rotate(on)
            | Self::RotateLeaked(on)
            | Self::EndOld(on) => on.key = broker.find_key(&on.key).await?.to_string(),
            Self::Invite { label } => *label = label.trim().to_owned(),
            Self::Forget { passkey } => {
                *passkey = PasskeyId::parse(passkey).map_err(BrokerError::invalid)?.to_string();
            }
        }
        Ok(self)
    }
}

/// A deed that waits for its touch.
pub(crate) struct Acting {
    operator: OperatorName,
    act: Act,
    /// What is signed for it.
    message: Vec<u8>,
}

/// Every field on a line, free text as JSON has it: without line ends.
pub(super) fn message(
    id: ApprovalId,
    deed: Deed,
    (subject, words): (&str, &serde_json::Value),
    by: &str,
    now: jiff::Timestamp,
) -> Vec<u8> {
    let until = Span::from_seconds(OFFER.as_secs()).after(now);
    let subject = match deed {
        // A request's id, as ever.
        Deed::RequestReject => subject.to_owned(),
        _ => serde_json::json!(subject).to_string(),
    };
    format!("keywright/deed/1\n{}\n{subject}\n{words}\n{id}\n{by}\n{now}\n{until}\n", deed.as_str())
        .into_bytes()
}

impl Broker {
    /// What a page has signed so that an operator does exactly this.
    ///
    /// # Errors
    /// When there is nothing of the kind, or the operator has no passkey there.
    pub async fn offer_act(&self, operator: &OperatorName, origin: &str, act: Act) -> Result<Challenge> {
        let act = act.settled(self).await?;
        let id = ApprovalId::generate(self.now(), entropy()?);
        let of = (act.subject(), act.words());
        let message = message(id, act.deed(), (of.0, &of.1), operator.as_str(), self.now());
        let challenge = self.challenge(operator, origin, id, &message).await?;
        self.waiting.offer(id, Offer::Act(Box::new(Acting { operator: operator.clone(), act, message })));
        Ok(challenge)
    }

    /// Does what was offered, with what the authenticator answered. The offer is used up, whatever comes of it.
    ///
    /// # Errors
    /// When it was not offered to this operator, the answer does not count, or the deed itself can't be done.
    pub async fn act_with_passkey(
        self: &Arc<Self>,
        operator: &OperatorName,
        id: &str,
        origin: &str,
        assertion: &Assertion,
        wait: Duration,
    ) -> Result<Done> {
        let id = ApprovalId::parse(id).map_err(BrokerError::invalid)?;
        let Offer::Act(acting) = self.waiting.taken(id)? else { return Err(other_offer()) };
        let assertion = &Assertion { together: Vec::new(), ..assertion.clone() };
        if acting.operator != *operator {
            return Err(other_offer());
        }
        let signers = self.signers().await?;
        let (passkey, counter) = signers.with(operator, assertion, &acting.message)?;
        if passkey.origin != origin {
            return Err(other_offer());
        }
        let proof = on_record(operator.as_str(), &passkey.credential, origin, &acting.message, assertion);
        let act = acting.act;
        let touched = (!act.signs_its_entry()).then(|| self.touched(operator, &act, proof.clone()));
        let used = passkey.id;
        let written = self.ledger.write(move |tx| {
            tx.use_passkey(used, counter)?;
            touched.map_or(Ok(()), |record| tx.audit(record).map(drop))
        });
        written.await.map_err(copied)?;
        let proven = Proven::by_assertion(operator.clone(), proof);
        self.perform(&proven, act, wait).await
    }

    /// On record before the deed, which has entries of its own.
    fn touched(&self, operator: &OperatorName, act: &Act, proof: SignatureRecord) -> Record {
        let by = who(&Principal::Operator(operator.clone()));
        let mut record = Record::new(self.now(), Deed::OperatorTouch, Stage::Note, by);
        record.facts.insert("deed".to_owned(), serde_json::json!(act.deed().as_str()));
        record.facts.insert("subject".to_owned(), serde_json::json!(act.subject()));
        record.signatures.push(proof);
        record
    }

    async fn perform(self: &Arc<Self>, operator: &Proven, act: Act, wait: Duration) -> Result<Done> {
        let caller = Caller::plain(Principal::Operator(operator.name().clone()));
        match act {
            Act::Reject { request, reason } => {
                self.reject(operator, &request, &reason).await?;
                Ok(Done::Request(request))
            }
            Act::RejectAndPause { request, reason } => {
                let id = Self::find_request(&request)?;
                let asked = self.ledger.read(move |tx| {
                    let proposal = tx.proposal(id)?.map(|proposal| Principal::Agent(proposal.agent));
                    proposal.map_or_else(|| Ok(tx.request(id)?.plan.principal), Ok::<_, LedgerError>)
                });
                let asked = asked.await?;
                self.reject(operator, &request, &reason).await?;
                if let Principal::Agent(agent) = asked {
                    self.pause_agent(operator, &agent, Some(&reason)).await?;
                }
                Ok(Done::Request(request))
            }
            Act::Pause { agent, reason } => {
                self.pause_agent(operator, &named(&agent)?, Some(&reason)).await?;
                Ok(Done::Agent(agent))
            }
            Act::Resume { agent } => {
                self.resume_agent(operator, &named(&agent)?).await?;
                Ok(Done::Agent(agent))
            }
            Act::RevokeAll { agent, reason } => {
                self.revoke_all_of(&caller, &named(&agent)?, &reason).await?;
                Ok(Done::Ended(agent))
            }
            Act::RemoveGrant { grant } => {
                let known = self.grants().await?.into_iter().find(|one| one.grant.id.to_string() == grant);
                self.remove_grant(operator, &grant).await?;
                Ok(known.map_or(Done::Agents, |one| Done::Agent(one.grant.agent.to_string())))
            }
            Act::Apply { request, source, version } => {
                let id = Self::find_request(&request)?;
                let found = self.ledger.read(move |tx| tx.proposal(id)).await?;
                let shown = found.map(|proposal| proposal.source).unwrap_or_default();
                if hex::encode(Sha256::digest(shown.as_bytes())) != source {
                    let message = "the template is not the one that you were shown; look again";
                    return Err(BrokerError::outdated(message));
                }
                self.apply_proposal(operator, &request, &shown, version).await?;
                Ok(Done::Request(request))
            }
            Act::Revoke(on) => {
                self.revoke(&caller, &on.key, &on.reason).await?;
                Ok(Done::Key(on.key))
            }
            Act::Disable(on) => {
                self.switch_key(operator, &on.key, Switch::Off, &on.reason).await?;
                Ok(Done::Key(on.key))
            }
            Act::Enable(on) => {
                self.enable(operator, &on.key, &on.reason).await?;
                Ok(Done::Key(on.key))
            }
            Act::Rotate(on) => {
                self.rotate(&caller, &on.key, &on.reason, wait).await?;
                Ok(Done::Key(on.key))
            }
            Act::RotateLeaked(on) => {
                let how = (Ending::Leaked, wait);
                self.rotate_as(operator, &caller, &on.key, &on.reason, how).await?;
                Ok(Done::Key(on.key))
            }
            Act::EndOld(on) => {
                self.end_old(operator, &on.key, &on.reason).await?;
                Ok(Done::Key(on.key))
            }
            Act::Invite { label } => {
                Ok(Done::Word(self.invite_passkey(operator, &label, Counts::AtOnce).await?))
            }
            Act::Forget { passkey } => Ok(Done::Passkey(self.remove_passkey(operator, &passkey).await?)),
        }
    }
}

fn named(agent: &str) -> Result<AgentName> {
    agent.parse().map_err(BrokerError::invalid)
}
