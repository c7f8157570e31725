//! What a principal could ask for, as policy has it now.

use std::collections::{BTreeMap, BTreeSet};

use keywright_core::name::{AgentName, EnvironmentName, ProjectName};
use keywright_core::plan::Principal;
use keywright_core::policy::{Ask, Counts, Effect, Question, TemplateFacts};
use keywright_core::template::ResolvedTemplate;
use keywright_ledger::AppliedTemplate;

use crate::broker::Broker;
use crate::error::Result;

/// The environments for which an agent's page says what policy would do.
const PLAIN: [&str; 2] = ["dev", "production"];

/// A template that an agent could ask for.
#[derive(Debug, Clone)]
pub struct MayUse {
    /// The template.
    pub template: ResolvedTemplate,
    /// What policy would say to a plain ask in `dev`.
    pub dev: Effect,
    /// The same in `production`.
    pub production: Effect,
}

impl Broker {
    /// The templates that a principal could ask for, each with what policy would say to a plain ask in `dev`.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn usable_templates(
        &self,
        principal: &Principal,
    ) -> Result<Vec<(AppliedTemplate, Option<u8>)>> {
        let found = self.asked_plainly(principal, &PLAIN[..1]).await?;
        let usable = found.into_iter().filter_map(|(applied, effects)| match effects.first()? {
            Effect::Allow => Some((applied, Some(0))),
            Effect::NeedsApprovals(n) => Some((applied, Some(*n))),
            Effect::Deny => None,
        });
        Ok(usable.collect())
    }

    /// The templates that an agent could ask for somewhere, with what policy would say to a plain ask. Parameters, a longer
    /// life, or how much it has asked for by then may make policy say something else.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn may_use(&self, agent: &AgentName) -> Result<Vec<MayUse>> {
        let found = self.asked_plainly(&Principal::Agent(agent.clone()), &PLAIN).await?;
        let usable = found.into_iter().filter_map(|(applied, effects)| {
            let [dev, production] = effects[..] else { return None };
            let may = MayUse { template: applied.resolved, dev, production };
            (dev != Effect::Deny || production != Effect::Deny).then_some(may)
        });
        Ok(usable.collect())
    }

    /// The agents that could ask for a template somewhere, with what policy would say to a plain ask; at most so many agents are
    /// looked at.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn used_by(
        &self,
        template: &AppliedTemplate,
        most: usize,
    ) -> Result<Vec<(AgentName, Effect, Effect)>> {
        let (_, policies) = self.policies().await?;
        let mut users = Vec::new();
        for agent in self.agents().await?.into_iter().take(most) {
            let principal = Principal::Agent(agent.name.clone());
            let counts = self.counts(&principal).await?;
            let says = |environment| {
                plain_ask(&principal, template, counts, environment)
                    .map_or(Effect::Deny, |question| policies.decide(&question).effect)
            };
            let [dev, production] = PLAIN.map(says);
            if dev != Effect::Deny || production != Effect::Deny {
                users.push((agent.name, dev, production));
            }
        }
        Ok(users)
    }

    /// What policy says to a plain ask for each template that makes keys now, in each of these environments.
    async fn asked_plainly(
        &self,
        principal: &Principal,
        environments: &[&str],
    ) -> Result<Vec<(AppliedTemplate, Vec<Effect>)>> {
        let counts = self.counts(principal).await?;
        let (_, policies) = self.policies().await?;
        let templates = self.templates().await?;
        let making = templates
            .into_iter()
            .filter(|applied| self.rails.held(applied.resolved.template.id.as_str()).is_none());
        let asked = making.map(|applied| {
            let effects = environments.iter().map(|environment| {
                plain_ask(principal, &applied, counts, environment)
                    .map_or(Effect::Deny, |question| policies.decide(&question).effect)
            });
            let effects = effects.collect();
            (applied, effects)
        });
        Ok(asked.collect())
    }
}

/// An ask without parameters, with what the template has by default.
fn plain_ask(
    principal: &Principal,
    applied: &AppliedTemplate,
    counts: Counts,
    environment: &str,
) -> Option<Question> {
    let template = &applied.resolved.template;
    let ask = Ask {
        project: ProjectName::parse("any").ok()?,
        environment: EnvironmentName::parse(environment).ok()?,
        parameters: BTreeMap::new(),
        resources: BTreeSet::new(),
        ttl: template.default_ttl(),
        destinations: Vec::new(),
        budget_cents: template.limits.budget_usd.map(|usd| usd.0),
    };
    Some(Question::mint(principal.clone(), TemplateFacts::of(&applied.resolved), ask, counts))
}
