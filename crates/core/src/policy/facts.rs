//! The facts that a decision rests on: who, what, and how it stands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cedar_policy::{Entities, Entity, EntityUid, RestrictedExpression};

use super::vocabulary::{VOCABULARY, uid};
use crate::id::KeyId;
use crate::key::Key;
use crate::name::{
    AgentName, EnvironmentName, KeyName, Kind, OperatorName, ProjectName, TemplateId, WorkloadName,
};
use crate::place::Place;
use crate::plan::{Plan, Principal};
use crate::span::Span;
use crate::template::{ResolvedTemplate, Tier};

/// Who acts, with what policy may know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    principal: Principal,
    scope: Option<(ProjectName, Option<EnvironmentName>)>,
}

/// What policy may know of a template.
#[derive(Debug, Clone)]
pub struct TemplateFacts {
    id: TemplateId,
    tier: Tier,
    escalation: bool,
    entity: Known,
}

/// What policy may know of a key.
#[derive(Debug, Clone)]
pub struct KeyFacts {
    /// Its id.
    pub id: KeyId,
    /// Its name.
    pub name: KeyName,
    /// Its project.
    pub project: ProjectName,
    /// Its environment.
    pub environment: EnvironmentName,
    /// The provider's kind.
    pub provider: Kind,
    /// The template it was made from.
    pub template: TemplateId,
    /// That template's tier.
    pub tier: Tier,
    /// Whether that template has permissions of the escalation class.
    pub escalation: bool,
    /// The agent that asked for it.
    pub agent: Option<AgentName>,
}

/// What a key is asked with: the part of a plan that policy judges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The parameters as asked, by name.
    pub parameters: BTreeMap<String, String>,
    /// The resources that they stand for, as the provider's `(kind, id)`.
    pub resources: BTreeSet<(String, String)>,
    /// How long it lives.
    pub ttl: Span,
    /// Where it goes.
    pub destinations: Vec<Place>,
    /// The provider's cap in US cents.
    pub budget_cents: Option<u64>,
}

/// How much the principal has asked for already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Keys of this principal that live, are being made, or may still live at the provider.
    pub keys_active: u64,
    /// Its requests in the last hour, this one not counted.
    pub requests_last_hour: u64,
}

/// What the broker knows when a deed is about to happen.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// How much the principal has asked for already.
    pub counts: Counts,
    /// The distinct operators whose approvals count, from [`crate::approval::quorum`]. An agent can't stand in
    /// here: the type holds operators only.
    pub approvals: &'a BTreeSet<&'a OperatorName>,
    /// Who stands behind the ask.
    pub behind: &'a Behind,
}

/// Who stands behind an ask: the operator who asks, or who added the agent that does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behind {
    /// Nobody: the scheduler asks, for nobody's key.
    Nobody,
    /// This operator.
    Operator(OperatorName),
    /// An agent that nobody is on record to have added. For each operator it counts as their own.
    Unknown,
}

impl Behind {
    /// Whether an ask counts as this operator's own.
    #[must_use]
    pub fn is(&self, operator: &OperatorName) -> bool {
        match self {
            Self::Nobody => false,
            Self::Operator(name) => name == operator,
            Self::Unknown => true,
        }
    }
}

/// A resource in Cedar's form, built once. `None` when it can't be built: then nothing is allowed.
pub(super) type Known = Option<Arc<(EntityUid, Entities)>>;

impl Actor {
    /// A workload and what it was registered for; without an environment, all of the project.
    #[must_use]
    pub fn workload(name: WorkloadName, project: ProjectName, environment: Option<EnvironmentName>) -> Self {
        Self { principal: Principal::Workload(name), scope: Some((project, environment)) }
    }

    /// Who it is.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The entity behind it; only a workload has attributes.
    pub(super) fn entity(&self) -> Option<Entity> {
        let (project, environment) = self.scope.as_ref()?;
        let mut attributes = vec![("project", text(project.as_str()))];
        attributes.extend(environment.as_ref().map(|name| ("environment", text(name.as_str()))));
        entity(VOCABULARY.principal(&self.principal), attributes)
    }
}

/// A workload that comes without its project can read nothing.
impl From<Principal> for Actor {
    fn from(principal: Principal) -> Self {
        Self { principal, scope: None }
    }
}

impl TemplateFacts {
    /// What policy may know of this template.
    #[must_use]
    pub fn of(resolved: &ResolvedTemplate) -> Self {
        let template = &resolved.template;
        let escalation = !resolved.escalation.is_empty();
        let ids = resolved.permissions.iter().map(|permission| permission.id.as_str());
        let names = resolved.permissions.iter().map(|permission| permission.name.as_str());
        let name = uid(&VOCABULARY.template, template.id.as_str());
        let entity = entity(
            name.clone(),
            vec![
                ("provider", text(template.provider.as_str())),
                ("tier", text(template.tier.as_str())),
                ("permissions", texts(ids)),
                ("permission_names", texts(names)),
                ("escalation", RestrictedExpression::new_bool(escalation)),
                ("unlocks", number(u64::from(resolved.unlocks))),
                ("mutating", number(u64::from(resolved.mutating))),
            ],
        );
        Self { id: template.id.clone(), tier: template.tier, escalation, entity: alone(name, entity) }
    }

    /// The template's id.
    #[must_use]
    pub fn id(&self) -> &TemplateId {
        &self.id
    }

    /// Its tier.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Whether it has permissions of the escalation class.
    #[must_use]
    pub fn escalation(&self) -> bool {
        self.escalation
    }

    pub(super) fn known(&self) -> Known {
        self.entity.clone()
    }
}

impl KeyFacts {
    /// What policy may know of this key, which was made from this template.
    #[must_use]
    pub fn of(key: &Key, template: &ResolvedTemplate) -> Self {
        Self {
            id: key.id,
            name: key.name.clone(),
            project: key.project.clone(),
            environment: key.environment.clone(),
            provider: key.provider.clone(),
            template: template.template.id.clone(),
            tier: template.template.tier,
            escalation: !template.escalation.is_empty(),
            agent: key.agent.clone(),
        }
    }

    pub(super) fn known(&self) -> Known {
        let name = uid(&VOCABULARY.key, &self.id.to_string());
        let mut attributes = vec![
            ("name", text(self.name.as_str())),
            ("project", text(self.project.as_str())),
            ("environment", text(self.environment.as_str())),
            ("provider", text(self.provider.as_str())),
            ("template", text(self.template.as_str())),
            ("tier", text(self.tier.as_str())),
            ("escalation", RestrictedExpression::new_bool(self.escalation)),
        ];
        attributes.extend(self.agent.as_ref().map(|agent| {
            let agent = VOCABULARY.principal(&Principal::Agent(agent.clone()));
            ("agent", RestrictedExpression::new_entity_uid(agent))
        }));
        alone(name.clone(), entity(name, attributes))
    }
}

impl Ask {
    /// The part of a plan that policy judges.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        Self {
            project: plan.project.clone(),
            environment: plan.environment.clone(),
            parameters: plan.parameters.clone(),
            resources: plan.resources.iter().map(|r| (r.kind.clone(), r.id.clone())).collect(),
            ttl: plan.ttl,
            destinations: plan.destinations.iter().map(|d| d.place.clone()).collect(),
            budget_cents: plan.budget_cents,
        }
    }
}

/// `None` when an attribute does not evaluate, which only values of Cedar's extension types can do.
fn entity(name: EntityUid, attributes: Vec<(&str, RestrictedExpression)>) -> Option<Entity> {
    let attributes = attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Entity::new(name, attributes, std::collections::HashSet::new()).ok()
}

fn alone(name: EntityUid, entity: Option<Entity>) -> Known {
    let entities = Entities::from_entities([entity?], None).ok()?;
    Some(Arc::new((name, entities)))
}

/// The resource with its principal, which has something to tell only when it is a workload.
pub(super) fn together(known: Known, actor: &Actor) -> Known {
    match (known, actor.entity()) {
        (Some(known), Some(principal)) => {
            let (name, entities) = &*known;
            let entities = entities.clone().add_entities([principal], None).ok()?;
            Some(Arc::new((name.clone(), entities)))
        }
        (known, None) => known,
        (None, Some(_)) => None,
    }
}

pub(super) fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

pub(super) fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> RestrictedExpression {
    RestrictedExpression::new_set(values.into_iter().map(text))
}

/// Saturates: a count beyond Cedar's 63 bits is as good as infinite to any bound.
pub(super) fn number(value: u64) -> RestrictedExpression {
    RestrictedExpression::new_long(i64::try_from(value).unwrap_or(i64::MAX))
}
