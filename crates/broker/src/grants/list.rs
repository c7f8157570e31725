//! Standing grants as lists show them: how often each was used, and why it counts for nothing where it does not.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use keywright_core::place::Place;
use keywright_core::plan::Principal;
use keywright_core::policy::{Ask, Policies, Question, TemplateFacts};
use keywright_core::standing::{StandingGrant, Void};
use keywright_core::template::{ResolvedTemplate, Template};
use keywright_ledger::{Connection, GivenGrant, LedgerError};
use serde::Serialize;

use super::counts;
use crate::approvers::behind_principal;
use crate::broker::Broker;
use crate::error::Result;
use crate::passkey::Signers;
use crate::rails::{AGENT, OPERATOR};

/// A grant as lists show it.
#[derive(Debug, Clone, Serialize)]
pub struct GrantShown {
    /// What was approved.
    #[serde(flatten)]
    pub grant: StandingGrant,
    /// How often it was used.
    pub used: u64,
    /// When it was used last.
    pub used_at: Option<Timestamp>,
    /// Why it counts for nothing just now, where it does not.
    pub void: Option<String>,
}

/// When the connection was added that makes the keys of a template, where it is known which one does.
fn added_at(template: &Template, connections: &[Connection]) -> Option<Timestamp> {
    let is_it = |one: &&Connection| match &template.connection {
        Some(name) => one.name == *name,
        None => one.kind == template.provider,
    };
    let mut fitting = connections.iter().filter(is_it);
    fitting.next().filter(|_| fitting.next().is_none()).map(|one| one.added_at)
}

impl Broker {
    /// The standing grants that were not removed, oldest first.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn grants(&self) -> Result<Vec<GrantShown>> {
        let keyring = Arc::clone(&self.keyring);
        let read = self
            .ledger
            .scan(move |tx| Ok::<_, LedgerError>((tx.grants(&keyring)?, tx.templates()?, tx.connections()?)));
        let (found, templates, connections) = read.await?;
        let signers = self.signers().await?;
        let policies = self.policies().await.map(|(_, policies)| policies);
        let mut shown = Vec::new();
        for given in self.rails.counting(found) {
            let used = given.used.max(self.rails.uses().of(given.grant.id));
            let grant = &given.grant;
            let in_force = templates.iter().find(|one| one.resolved.template.id == grant.template);
            let added_at = in_force.and_then(|one| added_at(&one.resolved.template, &connections));
            let version = in_force.map(|one| one.version);
            let void = match (self.void(&given, used, &signers, version, added_at), in_force) {
                (None, Some(applied)) => match &policies {
                    Ok(policies) => self.not_theirs(policies, grant, &applied.resolved).await?,
                    Err(error) => Some(error.message.clone()),
                },
                (void, _) => void,
            };
            let GivenGrant { grant, used_at, .. } = given;
            shown.push(GrantShown { grant, used, used_at, void });
        }
        Ok(shown)
    }

    /// Why a grant counts for nothing, as far as that does not depend on policy.
    fn void(
        &self,
        given: &GivenGrant,
        used: u64,
        signers: &Signers,
        in_force: Option<u64>,
        added_at: Option<Timestamp>,
    ) -> Option<String> {
        let grant = &given.grant;
        if self.rails.is_removed(OPERATOR, grant.operator.as_str()) {
            Some(format!("operator {}, who gave it, was removed", grant.operator))
        } else if self.rails.is_removed(AGENT, grant.agent.as_str()) {
            Some("the agent was removed".to_owned())
        } else if let Some(why) = counts(&self.rails, signers, given) {
            Some(why)
        } else if let Some(other) = in_force.filter(|version| *version != grant.template_version) {
            Some(Void::Template(other).to_string())
        } else if let Some(later) = added_at.filter(|at| *at > grant.given_at && *at <= self.now()) {
            Some(Void::Connection(later).to_string())
        } else if self.now() < grant.given_at {
            Some(Void::NotYet(grant.given_at).to_string())
        } else if self.now() >= grant.until {
            Some(Void::Ended(grant.until).to_string())
        } else if let Some(uses) = grant.uses.filter(|uses| used >= *uses) {
            Some(Void::UsedUp(uses).to_string())
        } else {
            self.paused(&grant.agent).map(|_| "the agent is paused".to_owned())
        }
    }

    /// Why an operator's grant is none of theirs to give: asked about a request as it comes as a rule. Policy is asked about each
    /// request again.
    async fn not_theirs(
        &self,
        policies: &Policies,
        grant: &StandingGrant,
        template: &ResolvedTemplate,
    ) -> Result<Option<String>> {
        let agent = Principal::Agent(grant.agent.clone());
        let place = |one: &keywright_core::place::DestinationPattern| Place {
            store: one.store().clone(),
            place: one.within().to_owned(),
        };
        let ask = Ask {
            project: grant.project.clone(),
            environment: grant.environment.clone(),
            parameters: grant.parameters.clone(),
            resources: BTreeSet::new(),
            ttl: template.template.default_ttl().min(grant.ttl_max),
            destinations: grant.destinations.iter().map(place).collect(),
            budget_cents: template.template.limits.budget_usd.map(|usd| usd.0),
        };
        let counts = self.counts(&agent).await?;
        let question = Question::mint(agent.clone(), TemplateFacts::of(template), ask, counts);
        let (rails, keyring) = (Arc::clone(&self.rails), Arc::clone(&self.keyring));
        let behind = self.ledger.read(move |tx| behind_principal(tx, (&*rails, &*keyring), &agent)).await?;
        let may = policies.may_approve(&question, &grant.operator, &behind);
        Ok(may.err().map(|decision| super::not_theirs(&grant.operator, &decision)))
    }
}
