//! Standing grants by a touch: whoever may approve a request that was approved approves those like it in advance. What is signed is
//! the grant's own message, with all that it says, so that the grant is looked at again wherever one by the passphrase is.

use keywright_core::approval::{Assertion, Signed};
use keywright_core::id::{ApprovalId, RequestId};
use keywright_core::key::{Key, KeyState};
use keywright_core::name::OperatorName;
use keywright_core::place::{DestinationPattern, Place};
use keywright_core::plan::Principal;
use keywright_core::receipt::Status;
use keywright_core::span::Span;
use keywright_core::standing::StandingGrant;
use keywright_ledger::{LedgerError, Request};

use super::check::on_record;
use super::offers::Offer;
use super::{Challenge, other_offer};
use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{BrokerError, Code, Result};
use crate::grants::NewGrant;

const DAY: u64 = 86_400;

/// A grant for requests like one that was approved, as a page asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Likes {
    /// The request's id.
    pub request: String,
    /// The digest of the plan that was shown.
    pub digest: String,
    /// For so many days.
    pub days: u64,
    /// For how many requests; for any number when absent.
    pub uses: Option<u64>,
    /// For keys of any name, as far as the name is a part of where they go.
    pub any_name: bool,
}

/// A grant that can be given for requests like one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Like {
    /// All that it says, but for how long and how often.
    pub grant: StandingGrant,
    /// Whether the key of this request still lies where such keys would go, so that it covers nothing as long as that one lives.
    pub is_taken: bool,
    /// Where keys go if they may have any name, where the template lets them.
    pub any_name: Option<Vec<DestinationPattern>>,
}

impl Broker {
    /// What a grant for requests like this one would say: the same agent, template, place and parameters, the same destinations, and
    /// no longer life. For how long and how often is left to choose.
    ///
    /// # Errors
    /// Why there is none to give: nobody approved it, a grant would count for nothing or covers it already, or this operator may
    /// not.
    pub async fn grant_like(&self, operator: &OperatorName, request: RequestId) -> Result<Like> {
        let (request, was_granted, added_at) = self
            .ledger
            .read(move |tx| {
                let request = tx.request(request)?;
                let added_at = tx.connection(&request.plan.connection)?.added_at;
                let was_granted = tx.grant_use(request.id)?.is_some();
                Ok::<_, LedgerError>((request, was_granted, added_at))
            })
            .await?;
        let id = request.id.to_string();
        let likes =
            |any_name| Likes { request: id.clone(), digest: String::new(), days: 1, uses: None, any_name };
        let grant = self.like(operator, &request, was_granted, &likes(false)).await?;
        let wider = self.like(operator, &request, was_granted, &likes(true)).await.ok();
        let level = self.level_of(&request.plan);
        let covers = |one: &crate::grants::GrantShown| {
            let asked = (level, request.approvals_needed);
            one.void.is_none()
                && one.grant.is_about(&request.plan)
                && one.grant.covers(&request.plan, asked, one.used, (self.now(), added_at)).is_ok()
        };
        match self.grants().await?.into_iter().find(covers) {
            Some(one) => {
                let message =
                    format!("standing grant {} of {} covers such requests", one.grant.id, one.grant.operator);
                Err(BrokerError::new(Code::Conflict, message).hint("`keywright grant list` shows it"))
            }
            None => {
                let plan = request.plan;
                let taken = self.ledger.read(move |tx| {
                    let holds = |key: &Key| {
                        (&key.project, &key.environment) == (&plan.project, &plan.environment)
                            && matches!(key.state, KeyState::Minting | KeyState::Active)
                    };
                    tx.keys_named(&plan.name).map(|keys| keys.iter().any(holds))
                });
                Ok(Like { grant, is_taken: taken.await?, any_name: wider.map(|wider| wider.destinations) })
            }
        }
    }

    /// What a page has signed so that an operator approves requests like one in advance.
    ///
    /// # Errors
    /// As [`Broker::grant_like`]; when the plan is not the one that was shown, or the operator has no passkey there.
    pub async fn offer_grant(
        &self,
        operator: &OperatorName,
        origin: &str,
        likes: &Likes,
    ) -> Result<Challenge> {
        self.refuse_if_forked()?;
        let id = Self::find_request(&likes.request)?;
        let (request, was_granted) = self
            .ledger
            .read(move |tx| Ok::<_, LedgerError>((tx.request(id)?, tx.grant_use(id)?.is_some())))
            .await?;
        if request.digest.to_string() != likes.digest {
            let message = "the plan is not the one that you were shown; look again";
            return Err(BrokerError::outdated(message));
        }
        let grant = self.like(operator, &request, was_granted, likes).await?;
        let id = ApprovalId::generate(self.now(), entropy()?);
        let challenge = self.challenge(operator, origin, id, &grant.message()).await?;
        self.waiting.offer(id, Offer::Grant(Box::new(grant)));
        Ok(challenge)
    }

    /// Gives the grant that was offered, with what the authenticator answered. The offer is used up, whatever comes of it.
    ///
    /// # Errors
    /// When it was not offered to this operator, or the answer does not count.
    pub async fn grant_with_passkey(
        &self,
        operator: &OperatorName,
        id: &str,
        origin: &str,
        assertion: Assertion,
    ) -> Result<StandingGrant> {
        self.refuse_if_forked()?;
        let assertion = Assertion { together: Vec::new(), ..assertion };
        let id = ApprovalId::parse(id).map_err(BrokerError::invalid)?;
        let Offer::Grant(grant) = self.waiting.taken(id)? else { return Err(other_offer()) };
        if grant.operator != *operator {
            return Err(other_offer());
        }
        let signers = self.signers().await?;
        let (passkey, counter) = signers.with(operator, &assertion, &grant.message())?;
        if passkey.origin != origin {
            return Err(other_offer());
        }
        self.is_of_the_template_in_force(&grant).await?;
        let proof = on_record(operator.as_str(), &passkey.credential, origin, &grant.message(), &assertion);
        let used = Some((passkey.id, counter));
        self.keep_grant(&grant, Signed::Passkey(Box::new(assertion)), proof, used).await?;
        Ok(*grant)
    }

    /// The grant as it will be signed: of exactly the template that the request was approved with, and with its parameters.
    async fn like(
        &self,
        operator: &OperatorName,
        request: &Request,
        was_granted: bool,
        likes: &Likes,
    ) -> Result<StandingGrant> {
        let plan = &request.plan;
        let none = |why: &str| {
            let message = format!("no standing grant covers requests like {}: {why}", request.id);
            Err(BrokerError::new(Code::Conflict, message).hint("such requests are approved one by one"))
        };
        let Principal::Agent(agent) = &plan.principal else { return none("no agent asked for it") };
        let why = [
            (
                !matches!(request.status, Status::Active | Status::InProgress),
                "it is not one that was approved",
            ),
            (was_granted, "one did so already"),
            (request.approvals_needed == 0, "policy wants no approval"),
            (!plan.withheld.is_empty(), "it was approved with less than its template gives"),
        ];
        if let Some((_, why)) = why.into_iter().find(|(is_so, _)| *is_so) {
            return none(why);
        }
        if let Some(why) = self.stands_alone(request) {
            return none(why);
        }
        let named = agent.clone();
        if !self.ledger.read(move |tx| tx.has_agent(&named)).await? {
            return none("the agent was removed");
        }
        self.refuse_approver(request, operator).await?;
        let pattern = |place: &Place| {
            let wider = DestinationPattern::of_any_name(place, plan.name.as_str()).filter(|_| likes.any_name);
            wider.or_else(|| DestinationPattern::only(place))
        };
        let places: Option<Vec<_>> = plan.destinations.iter().map(|one| pattern(&one.place)).collect();
        let Some(destinations) = places else { return none("its place would be read as a pattern") };
        let new = NewGrant {
            agent: agent.clone(),
            template: plan.template.clone(),
            project: plan.project.clone(),
            environment: plan.environment.clone(),
            parameters: plan.parameters.clone(),
            any_parameters: false,
            destinations,
            directory: plan.destinations.iter().find_map(|one| one.base.clone()),
            ttl_max: Some(plan.ttl),
            uses: likes.uses,
            lasts: Span::from_seconds(likes.days.max(1).saturating_mul(DAY)),
        };
        let grant = self.drafted(operator, new).await?;
        if grant.template_version != plan.template_version || grant.parameters != plan.parameters {
            return Err(anew());
        }
        Ok(grant)
    }

    async fn is_of_the_template_in_force(&self, grant: &StandingGrant) -> Result<()> {
        let is_it = self.applied(&grant.template).await?.version == grant.template_version;
        if is_it { Ok(()) } else { Err(anew()) }
    }
}

fn anew() -> BrokerError {
    BrokerError::outdated("the template was applied anew since; a grant would be for another one")
        .hint("decide on the next request with it")
}
