//! Proofs: what policy, template and approvals allowed, as a type.

use std::collections::BTreeSet;

use super::decision::{Decision, Effect, Policies, people};
use super::facts::{Actor, Facts, KeyFacts, TemplateFacts};
use super::{Action, Question};
use crate::id::KeyId;
use crate::name::TemplateId;
use crate::plan::{CeilingError, Plan, Principal};
use crate::template::{PermissionRef, ResolvedTemplate};
use crate::text::escaped;

/// Proof that policy, template and approvals allowed something. Only [`Policies`] builds one; it can't be copied,
/// stored or read back, so what it allows happens now or is asked again.
///
/// ```
/// fn mint(plan: keywright_core::policy::Authorized<String>) -> String {
///     plan.into_inner()
/// }
/// ```
///
/// Nobody else can build one:
///
/// ```compile_fail,E0423
/// fn forge(plan: String) -> keywright_core::policy::Authorized<String> {
///     keywright_core::policy::Authorized(plan)
/// }
/// ```
///
/// or have two from one:
///
/// ```compile_fail,E0277
/// fn twice<T: Clone>(_: T) {}
/// fn copy(proof: keywright_core::policy::Authorized<String>) {
///     twice(proof);
/// }
/// ```
#[derive(Debug)]
#[must_use = "a proof that nobody takes allows nothing"]
pub struct Authorized<T>(T);

/// An applied template and which of its versions is in force.
#[derive(Debug, Clone, Copy)]
pub struct Ceiling<'a> {
    /// The template as it was applied.
    pub template: &'a ResolvedTemplate,
    /// The version that is in force.
    pub version: u64,
}

/// What one may do to a key, short of minting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAction {
    /// Who.
    pub principal: Principal,
    /// What: rotate, revoke, inspect or deliver.
    pub action: Action,
    /// Which key.
    pub key: KeyId,
}

/// What one may do to a template, short of minting from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateAction {
    /// Who.
    pub principal: Principal,
    /// What: propose or inspect.
    pub action: Action,
    /// Which template.
    pub template: TemplateId,
}

/// Why something may not happen.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The plan goes beyond its template.
    #[error(transparent)]
    Ceiling(#[from] CeilingError),
    /// The plan does not describe the template that is in force: another version, tier, or blast radius.
    #[error("the plan was made for another state of template `{template}` ({what}); plan it again")]
    Stale {
        /// The template.
        template: TemplateId,
        /// What differs.
        what: &'static str,
    },
    /// The template has permissions of the escalation class that no operator marked.
    #[error(
        "template `{template}` can make keys or change permissions (`{permission}`) and no operator marked that; \
         name it under `escalation` in the template and apply it again"
    )]
    Unmarked {
        /// The template.
        template: TemplateId,
        /// The permission.
        permission: String,
    },
    /// The plan is for another key.
    #[error("the plan is not a successor of key `{key}`: its {what} differs")]
    OtherKey {
        /// The key.
        key: KeyId,
        /// What differs.
        what: &'static str,
    },
    /// More distinct operators have to approve it.
    #[error("it needs {}, {given} given: {}", people(*.needed), .decision.reasons.join("; "))]
    NeedsApprovals {
        /// How many.
        needed: u8,
        /// How many there are.
        given: u8,
        /// The decision.
        decision: Decision,
        /// What would need fewer.
        alternative: Option<String>,
    },
    /// It may not happen.
    #[error("denied: {}", .decision.reasons.join("; "))]
    Denied {
        /// The decision.
        decision: Decision,
        /// What would be allowed instead.
        alternative: Option<String>,
    },
}

impl<T> Authorized<T> {
    /// What was allowed.
    #[must_use]
    pub fn get(&self) -> &T {
        &self.0
    }

    /// Gives the proof up and keeps what it was about.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl Policies {
    /// The only way to an `Authorized<Plan>` for a new key, and for the first successor of one that was made elsewhere: the plan is within its template (whatever policy says),
    /// describes that template as it is in force, its escalation class is marked and approved, and the policies
    /// allow it with the approvals that there are.
    ///
    /// # Errors
    /// The first of these that does not hold.
    pub fn authorize(
        &self,
        plan: Plan,
        ceiling: Ceiling<'_>,
        facts: &Facts<'_>,
    ) -> Result<Authorized<Plan>, Refusal> {
        check_ceiling(&plan, ceiling)?;
        if let Some(key) = plan.rotates.filter(|_| plan.adopts.is_none()) {
            return Err(Refusal::OtherKey { key, what: "kind (it is a new key)" });
        }
        self.permit(&Question::plan(&plan, ceiling.template, facts.counts), facts)?;
        Ok(Authorized(plan))
    }

    /// The only way to an `Authorized<Plan>` for a key's successor: as [`Policies::authorize`], and the plan is for
    /// this very key. Decided as `rotate` on the key.
    ///
    /// # Errors
    /// The first condition that does not hold.
    pub fn authorize_rotation(
        &self,
        plan: Plan,
        ceiling: Ceiling<'_>,
        key: &KeyFacts,
        facts: &Facts<'_>,
    ) -> Result<Authorized<Plan>, Refusal> {
        check_ceiling(&plan, ceiling)?;
        let differs = [
            (plan.rotates != Some(key.id), "key"),
            // Its first successor is decided as a new key.
            (plan.adopts.is_some(), "origin (it was made elsewhere)"),
            (plan.project != key.project, "project"),
            (plan.environment != key.environment, "environment"),
            (plan.name != key.name, "name"),
            (plan.template != key.template, "template"),
            (plan.provider != key.provider, "provider"),
        ];
        if let Some((_, what)) = differs.into_iter().find(|(differs, _)| *differs) {
            return Err(Refusal::OtherKey { key: key.id, what });
        }
        let question = Question::rotate(plan.principal.clone(), key.clone(), Some(&plan), facts.counts);
        self.permit(&question, facts)?;
        Ok(Authorized(plan))
    }

    /// The proof for a verb on a key: rotate (the wish; the successor's plan needs its own), revoke, inspect, deliver.
    ///
    /// # Errors
    /// When policy does not allow it with the approvals that there are, or the action is not one on keys.
    pub fn authorize_key_action(
        &self,
        actor: Actor,
        action: Action,
        key: &KeyFacts,
        facts: &Facts<'_>,
    ) -> Result<Authorized<KeyAction>, Refusal> {
        if matches!(action, Action::Mint | Action::Propose) {
            return Err(not_on(action, "key"));
        }
        let proof = KeyAction { principal: actor.principal().clone(), action, key: key.id };
        self.permit(&Question::on_key(actor, action, key.clone(), facts.counts), facts)?;
        Ok(Authorized(proof))
    }

    /// The proof for a verb on a template: propose or inspect.
    ///
    /// # Errors
    /// As [`Policies::authorize_key_action`].
    pub fn authorize_template_action(
        &self,
        actor: Actor,
        action: Action,
        template: &TemplateFacts,
        facts: &Facts<'_>,
    ) -> Result<Authorized<TemplateAction>, Refusal> {
        if !matches!(action, Action::Propose | Action::Inspect) {
            return Err(not_on(action, "template"));
        }
        let proof =
            TemplateAction { principal: actor.principal().clone(), action, template: template.id().clone() };
        self.permit(&Question::on_template(actor, action, template.clone(), facts.counts), facts)?;
        Ok(Authorized(proof))
    }

    /// Decides with exactly the approvals that there are, of those who may give one. Only when that does not allow it is the number looked for
    /// that would.
    fn permit(&self, question: &Question, facts: &Facts<'_>) -> Result<(), Refusal> {
        let may = facts.approvals.iter().filter(|one| self.may_approve(question, one, facts.behind).is_ok());
        let given = u8::try_from(may.count()).unwrap_or(u8::MAX);
        let open = question.action.open_to(question.principal()) && given >= question.floor;
        if open && self.answer(question, given).is_some_and(|answer| answer.allowed) {
            return Ok(());
        }
        let decision = self.decide(question);
        let alternative = self.nearest(question);
        match decision.effect {
            Effect::NeedsApprovals(needed) if needed > given => {
                Err(Refusal::NeedsApprovals { needed, given, decision, alternative })
            }
            // Allowed with another number of approvals than the one that there is: a policy that likes fewer
            // approvals better is not to be reasoned with.
            Effect::Allow | Effect::NeedsApprovals(_) => {
                let reason = format!("not allowed with exactly {given} approvals");
                Err(Refusal::Denied { decision: Decision::deny(reason), alternative })
            }
            Effect::Deny => Err(Refusal::Denied { decision, alternative }),
        }
    }
}

fn not_on(action: Action, noun: &str) -> Refusal {
    let decision = Decision::deny(format!("`{action}` is not something one does to a {noun}"));
    Refusal::Denied { decision, alternative: None }
}

/// Everything that holds whatever policy says.
fn check_ceiling(plan: &Plan, ceiling: Ceiling<'_>) -> Result<(), Refusal> {
    let Ceiling { template: resolved, version } = ceiling;
    let template = &resolved.template;
    let stale = |what| Refusal::Stale { template: template.id.clone(), what };
    if plan.template != template.id {
        return Err(stale("its id"));
    }
    plan.within(resolved)?;
    let escalating = |id: &str| resolved.escalation.iter().any(|e| e == id);
    let expected: BTreeSet<&str> =
        plan.permissions.iter().map(|p| p.id.as_str()).filter(|id| escalating(id)).collect();
    let claimed: BTreeSet<&str> = plan.escalation.iter().map(String::as_str).collect();
    let differences = [
        (plan.template_version != version, "its version"),
        (plan.provider != template.provider, "its provider"),
        (plan.tier != template.tier, "its tier"),
        (!plan.permissions.iter().all(|p| resolved.permissions.contains(p)), "its permissions"),
        (expected != claimed, "its permissions of the escalation class"),
        (plan.unlocks > resolved.unlocks || plan.mutating > resolved.mutating, "what it unlocks"),
    ];
    if let Some((_, what)) = differences.into_iter().find(|(differs, _)| *differs) {
        return Err(stale(what));
    }
    match resolved.escalation.iter().find(|id| !is_marked(resolved, id)) {
        Some(id) => {
            Err(Refusal::Unmarked { template: template.id.clone(), permission: called(resolved, id) })
        }
        None => Ok(()),
    }
}

/// Whether the template names this permission under `escalation`, by id, by name, or by name and scope.
fn is_marked(resolved: &ResolvedTemplate, id: &str) -> bool {
    let permission = resolved.permissions.iter().find(|permission| permission.id == id);
    resolved.template.escalation.iter().any(|mark| match (mark, permission) {
        (PermissionRef::Named(named), _) if named == id => true,
        (PermissionRef::Named(named), Some(p)) => named.eq_ignore_ascii_case(&p.name),
        (PermissionRef::Scoped { name, scope }, Some(p)) => {
            name.eq_ignore_ascii_case(&p.name) && scope.eq_ignore_ascii_case(&p.scope)
        }
        (_, None) => false,
    })
}

fn called(resolved: &ResolvedTemplate, id: &str) -> String {
    let named = resolved.permissions.iter().find(|permission| permission.id == id);
    escaped(named.map_or(id, |permission| permission.name.as_str()))
}
