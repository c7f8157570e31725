//! The policies, sorted by the action, principal and resource that their scope names, so that a question meets
//! only those that can match it. What it costs then does not depend on how many others there are.

use std::collections::HashMap;

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
#[derive(Debug, Default)]
pub(super) struct Index {
    general: Slice,
    by_principal: HashMap<EntityUid, Slice>,
    by_resource: HashMap<EntityUid, Slice>,
    /// By resource, then by principal.
    by_both: HashMap<EntityUid, HashMap<EntityUid, Slice>>,
}

/// Policies with the same principal and resource in their scope, or with none.
#[derive(Debug, Default)]
struct Slice {
    any_action: Option<PolicySet>,
    by_action: [Option<PolicySet>; Action::ALL.len()],
}

impl Index {
    /// Sorts the policies.
    ///
    /// # Errors
    /// When two policies have the same id.
    pub(super) fn of(policies: Vec<Policy>) -> Result<Self, Box<PolicySetError>> {
        let mut index = Self::default();
        for policy in policies {
            let slice = match (principal_of(&policy), resource_of(&policy)) {
                (None, None) => &mut index.general,
                (Some(who), None) => index.by_principal.entry(who).or_default(),
                (None, Some(what)) => index.by_resource.entry(what).or_default(),
                (Some(who), Some(what)) => index.by_both.entry(what).or_default().entry(who).or_default(),
            };
            match actions_of(&policy) {
                None => put(&mut slice.any_action, policy)?,
                Some(actions) => {
                    for action in actions {
                        if let Some(place) = slice.by_action.get_mut(action as usize) {
                            put(place, policy.clone())?;
                        }
                    }
                }
            }
        }
        Ok(index)
    }

    /// The sets that can match; each policy stands in at most one of them.
    pub(super) fn matching(
        &self,
        principal: &EntityUid,
        action: Action,
        resource: &EntityUid,
    ) -> impl Iterator<Item = &PolicySet> {
        let slices = [
            Some(&self.general),
            self.by_principal.get(principal),
            self.by_resource.get(resource),
            self.by_both.get(resource).and_then(|slices| slices.get(principal)),
        ];
        slices
            .into_iter()
            .flatten()
            .flat_map(move |slice| {
                [slice.any_action.as_ref(), slice.by_action.get(action as usize).and_then(Option::as_ref)]
            })
            .flatten()
    }
}

fn put(place: &mut Option<PolicySet>, policy: Policy) -> Result<(), Box<PolicySetError>> {
    place.get_or_insert_with(PolicySet::new).add(policy).map_err(Box::new)
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
