//! Questions: one principal, one action, one resource, and the circumstances.

use std::fmt;
use std::sync::Arc;

use cedar_policy::{Context, Entities, EntityUid, Request, RestrictedExpression};

use super::facts::{Actor, Ask, Counts, KeyFacts, TemplateFacts, number, text, texts, together};
use super::{Action, vocabulary::VOCABULARY};
use crate::name::OperatorName;
use crate::plan::{Plan, Principal};
use crate::template::ResolvedTemplate;
use crate::verdict::sounds_like_production;

/// One question to the policies. The constructors allow only what makes sense: nobody mints a key from a key.
#[derive(Debug, Clone)]
pub struct Question {
    pub(super) actor: Actor,
    pub(super) action: Action,
    pub(super) subject: Subject,
    pub(super) ask: Option<Ask>,
    pub(super) counts: Counts,
    /// The fewest approvals that the code itself demands.
    pub(super) floor: u8,
    /// Of an approval: whether it is of the approver's own ask, and how many the plan needs.
    pub(super) approval: Option<(bool, u8)>,
}

/// What the question is about.
#[derive(Debug, Clone)]
pub(super) enum Subject {
    Template(TemplateFacts),
    Key(KeyFacts),
}

/// A question in Cedar's own terms, which can be put to any number of policy sets.
pub struct Prepared {
    principal: EntityUid,
    action: EntityUid,
    known: Arc<(EntityUid, Entities)>,
    context: Vec<(String, RestrictedExpression)>,
}

impl Question {
    /// May this principal make a key from this template? A template with permissions of the escalation class
    /// needs an approval whatever the policies say.
    #[must_use]
    pub fn mint(actor: impl Into<Actor>, template: TemplateFacts, ask: Ask, counts: Counts) -> Self {
        let floor = u8::from(template.escalation());
        let subject = Subject::Template(template);
        Self {
            actor: actor.into(),
            action: Action::Mint,
            subject,
            ask: Some(ask),
            counts,
            floor,
            approval: None,
        }
    }

    /// May this plan happen? As [`Question::mint`], with what the plan says; a plan that leaves the escalation
    /// class of its template out does not need the approval.
    #[must_use]
    pub fn plan(plan: &Plan, template: &ResolvedTemplate, counts: Counts) -> Self {
        let floor = u8::from(!plan.escalation.is_empty());
        let facts = TemplateFacts::of(template);
        Self { floor, ..Self::mint(plan.principal.clone(), facts, Ask::of(plan), counts) }
    }

    /// The same question with other counts.
    #[must_use]
    pub fn counting(self, counts: Counts) -> Self {
        Self { counts, ..self }
    }

    /// May this principal rotate this key? With the successor's plan when there is one already.
    #[must_use]
    pub fn rotate(actor: impl Into<Actor>, key: KeyFacts, successor: Option<&Plan>, counts: Counts) -> Self {
        let floor = u8::from(successor.is_some_and(|plan| !plan.escalation.is_empty()));
        let ask = successor.map(Ask::of);
        Self { ask, floor, ..Self::on_key(actor.into(), Action::Rotate, key, counts) }
    }

    /// May this principal end this key?
    #[must_use]
    pub fn revoke(actor: impl Into<Actor>, key: KeyFacts, counts: Counts) -> Self {
        Self::on_key(actor.into(), Action::Revoke, key, counts)
    }

    /// May this key's secret be handed to a program of this principal?
    #[must_use]
    pub fn deliver(actor: impl Into<Actor>, key: KeyFacts, counts: Counts) -> Self {
        Self::on_key(actor.into(), Action::Deliver, key, counts)
    }

    /// May this principal look at this key?
    #[must_use]
    pub fn inspect_key(actor: impl Into<Actor>, key: KeyFacts, counts: Counts) -> Self {
        Self::on_key(actor.into(), Action::Inspect, key, counts)
    }

    /// May this principal look at this template?
    #[must_use]
    pub fn inspect_template(actor: impl Into<Actor>, template: TemplateFacts, counts: Counts) -> Self {
        Self::on_template(actor.into(), Action::Inspect, template, counts)
    }

    /// May this principal put this template forward?
    #[must_use]
    pub fn propose(actor: impl Into<Actor>, template: TemplateFacts, counts: Counts) -> Self {
        Self::on_template(actor.into(), Action::Propose, template, counts)
    }

    /// May this operator's approval count for what another question asks? `is_own` tells whether that is their own ask, or of an
    /// agent that they added; `needed` is how many approvals it needs.
    #[must_use]
    pub fn approve(of: &Self, operator: &OperatorName, is_own: bool, needed: u8) -> Self {
        Self {
            actor: Principal::Operator(operator.clone()).into(),
            action: Action::Approve,
            floor: 0,
            approval: Some((is_own, needed.max(1))),
            ..of.clone()
        }
    }

    /// What is asked.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// Who asks.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        self.actor.principal()
    }

    /// The question in Cedar's own terms. `None` when a fact can't be expressed there; it is then denied.
    #[must_use]
    pub fn prepare(&self) -> Option<Prepared> {
        let known = match &self.subject {
            Subject::Template(template) => template.known(),
            Subject::Key(key) => key.known(),
        };
        let known = together(known, &self.actor)?;
        Some(Prepared {
            principal: VOCABULARY.principal(self.principal()),
            action: VOCABULARY.action(self.action)?.clone(),
            known,
            context: self.context(),
        })
    }

    pub(super) fn on_key(actor: Actor, action: Action, key: KeyFacts, counts: Counts) -> Self {
        Self { actor, action, subject: Subject::Key(key), ask: None, counts, floor: 0, approval: None }
    }

    pub(super) fn on_template(actor: Actor, action: Action, facts: TemplateFacts, counts: Counts) -> Self {
        Self { actor, action, subject: Subject::Template(facts), ask: None, counts, floor: 0, approval: None }
    }

    /// Everything but `approvals`.
    fn context(&self) -> Vec<(String, RestrictedExpression)> {
        let mut pairs = Vec::with_capacity(12);
        let mut put = |key: &str, value| pairs.push((key.to_owned(), value));
        put("keys_active", number(self.counts.keys_active));
        put("requests_last_hour", number(self.counts.requests_last_hour));
        if let Some((is_own, _)) = self.approval {
            put("own", RestrictedExpression::new_bool(is_own));
        }
        let place = match (&self.ask, &self.subject) {
            (Some(ask), _) => Some((&ask.project, &ask.environment)),
            (None, Subject::Key(key)) if self.action != Action::Inspect => {
                Some((&key.project, &key.environment))
            }
            (None, _) => None,
        };
        if let Some((project, environment)) = place {
            put("project", text(project.as_str()));
            put("environment", text(environment.as_str()));
            put(
                "sounds_like_production",
                RestrictedExpression::new_bool(sounds_like_production(environment)),
            );
        }
        if let Some(ask) = &self.ask {
            // The template compares parameters without regard to case, and so do the providers; a policy that
            // forbids `zone=example.com` must not be passed by writing `zone=EXAMPLE.com`.
            let parameters: Vec<_> =
                ask.parameters.iter().map(|(k, v)| format!("{k}={}", v.to_ascii_lowercase())).collect();
            let resources: Vec<_> = ask.resources.iter().map(|(kind, id)| format!("{kind}:{id}")).collect();
            let places: Vec<_> = ask.destinations.iter().map(ToString::to_string).collect();
            put("parameters", texts(parameters.iter().map(String::as_str)));
            put("resources", texts(resources.iter().map(String::as_str)));
            put("destinations", texts(places.iter().map(String::as_str)));
            put("stores", texts(ask.destinations.iter().map(|place| place.store.as_str())));
            put("ttl_seconds", number(ask.ttl.seconds()));
            if let Some(cents) = ask.budget_cents {
                put("budget_usd", RestrictedExpression::new_decimal(dollars(cents)));
            }
        }
        pairs
    }
}

impl Prepared {
    /// The request with so many approvals. `None` when Cedar does not take the facts.
    #[must_use]
    pub fn request(&self, approvals: u8) -> Option<Request> {
        let approvals = ("approvals".to_owned(), number(u64::from(approvals)));
        let context = Context::from_pairs(self.context.iter().cloned().chain([approvals])).ok()?;
        Request::new(self.principal.clone(), self.action.clone(), self.resource().clone(), context, None).ok()
    }

    /// What is known of the principal and the resource.
    #[must_use]
    pub fn entities(&self) -> &Entities {
        &self.known.1
    }

    pub(super) fn principal(&self) -> &EntityUid {
        &self.principal
    }

    pub(super) fn resource(&self) -> &EntityUid {
        &self.known.0
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} asks to {} ", self.principal(), self.action)?;
        match &self.subject {
            Subject::Template(template) => {
                write!(f, "template `{}` ({} tier)", template.id(), template.tier().as_str())?;
            }
            Subject::Key(key) => write!(f, "key `{}` of {}/{}", key.name, key.project, key.environment)?,
        }
        match &self.ask {
            Some(ask) => write!(f, " for {}/{}", ask.project, ask.environment),
            None => Ok(()),
        }
    }
}

/// Cedar's decimals end at 922337203685477.5807; a cap beyond that is as good as none.
fn dollars(cents: u64) -> String {
    const MOST: u64 = 92_233_720_368_547_758;
    let cents = cents.min(MOST);
    format!("{}.{:02}", cents / 100, cents % 100)
}
