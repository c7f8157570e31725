//! The policies, sorted by the action, principal and resource that their scope names, so that a question meets
//! only those that can match it. What it costs then does not depend on how many others there are.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use cedar_policy::{
    ActionConstraint, EntityUid, Policy, PolicySet, PolicySetError, PrincipalConstraint, ResourceConstraint,
};

use super::Action;
use super::vocabulary::VOCABULARY;

/// Policies by what their scope pins down with `==`.
///
/// INVARIANT: a policy is left out of a question's slices only when its scope names another principal, resource
/// or action with `==` (or a list of actions): then Cedar would find its scope false and never look at its
/// conditions. Anything else (`in`, `is`, no constraint), permit or forbid, is in a slice of every question.
///
/// The slices lie under a hash of their scope, so that a question touches little memory however many there are. Two
/// scopes with one hash share a slice, which then holds more than it has to and nothing less.
#[derive(Debug, Default)]
pub(super) struct Index {
    slices: HashMap<u64, PolicySet>,
    shapes: [bool; 8],
    hasher: RandomState,
}

/// What a scope pins down; `None` is anything.
#[derive(Debug, Clone, Copy, Hash)]
struct Scope<'a> {
    principal: Option<&'a EntityUid>,
    action: Option<Action>,
    resource: Option<&'a EntityUid>,
}

impl Index {
    /// Sorts the policies.
    ///
    /// # Errors
    /// When two policies have the same id.
    pub(super) fn of(policies: Vec<Policy>) -> Result<Self, Box<PolicySetError>> {
        let mut index = Self::default();
        for policy in policies {
            let (principal, resource) = (principal_of(&policy), resource_of(&policy));
            let scope = Scope { principal: principal.as_ref(), action: None, resource: resource.as_ref() };
            match actions_of(&policy) {
                None => index.put(scope, policy)?,
                Some(actions) => {
                    for action in actions {
                        index.put(Scope { action: Some(action), ..scope }, policy.clone())?;
                    }
                }
            }
        }
        Ok(index)
    }

    /// The sets that can match; each policy stands in at most one of them.
    pub(super) fn matching<'a>(
        &'a self,
        principal: &'a EntityUid,
        action: Action,
        resource: &'a EntityUid,
    ) -> impl Iterator<Item = &'a PolicySet> {
        let scopes = [None, Some(principal)].into_iter().flat_map(move |principal| {
            [None, Some(action)].into_iter().flat_map(move |action| {
                [None, Some(resource)].into_iter().map(move |resource| Scope { principal, action, resource })
            })
        });
        scopes
            .filter(|scope| self.shapes.get(scope.shape()).is_some_and(|exists| *exists))
            .filter_map(|scope| self.slices.get(&self.hasher.hash_one(scope)))
    }

    fn put(&mut self, scope: Scope<'_>, policy: Policy) -> Result<(), Box<PolicySetError>> {
        if let Some(shape) = self.shapes.get_mut(scope.shape()) {
            *shape = true;
        }
        self.slices.entry(self.hasher.hash_one(scope)).or_default().add(policy).map_err(Box::new)
    }
}

impl Scope<'_> {
    /// Which of the three are pinned, as bits.
    fn shape(self) -> usize {
        usize::from(self.principal.is_some())
            | usize::from(self.action.is_some()) << 1
            | usize::from(self.resource.is_some()) << 2
    }
}

fn principal_of(policy: &Policy) -> Option<EntityUid> {
    match policy.principal_constraint() {
        PrincipalConstraint::Eq(uid) => Some(uid),
        PrincipalConstraint::Any
        | PrincipalConstraint::In(_)
        | PrincipalConstraint::Is(_)
        | PrincipalConstraint::IsIn(..) => None,
    }
}

fn resource_of(policy: &Policy) -> Option<EntityUid> {
    match policy.resource_constraint() {
        ResourceConstraint::Eq(uid) => Some(uid),
        ResourceConstraint::Any
        | ResourceConstraint::In(_)
        | ResourceConstraint::Is(_)
        | ResourceConstraint::IsIn(..) => None,
    }
}

/// The actions that the scope lists, `None` for all. `in` is the same as `==` here, because our schema has no
/// groups of actions; a name that is not an action of ours would be a group, and then the policy is for all.
fn actions_of(policy: &Policy) -> Option<Vec<Action>> {
    let mut actions: Vec<Action> = match policy.action_constraint() {
        ActionConstraint::Any => None,
        ActionConstraint::Eq(uid) => VOCABULARY.action_of(&uid).map(|action| vec![action]),
        ActionConstraint::In(uids) => uids.iter().map(|uid| VOCABULARY.action_of(uid)).collect(),
    }?;
    actions.sort_unstable();
    actions.dedup();
    Some(actions)
}
