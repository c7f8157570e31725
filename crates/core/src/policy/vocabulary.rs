//! The schema and the names of its entities, read once.

use std::sync::LazyLock;

use cedar_policy::{EntityId, EntityTypeName, EntityUid, Schema};

use super::Action;
use crate::plan::Principal;

/// The text of the schema that every policy is checked against.
pub const SCHEMA: &str = include_str!("../../policies/schema.cedarschema");

/// The policies that `keywright init` proposes.
pub const DEFAULT_POLICIES: &str = include_str!("../../policies/default.cedar");

/// The truth table of [`DEFAULT_POLICIES`], in the form that [`super::run_cases`] reads.
pub const DEFAULT_CASES: &str = include_str!("../../policies/default.tests.toml");

/// The compiled schema and Cedar's names for our nouns.
pub(super) struct Vocabulary {
    pub(super) schema: Schema,
    pub(super) template: EntityTypeName,
    pub(super) key: EntityTypeName,
    agent: EntityTypeName,
    operator: EntityTypeName,
    workload: EntityTypeName,
    schedule: EntityTypeName,
    actions: [EntityUid; Action::ALL.len()],
}

/// Read on first use; the schema is compiled into the program.
pub(super) static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(Vocabulary::read);

impl Vocabulary {
    #[expect(clippy::expect_used, reason = "constants of this crate, which every test of this room reads")]
    fn read() -> Self {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).expect("the built-in schema is a schema");
        let noun = |name: &str| -> EntityTypeName {
            format!("Keywright::{name}").parse().expect("a built-in name is a name")
        };
        let action = noun("Action");
        let actions = Action::ALL
            .map(|verb| EntityUid::from_type_name_and_id(action.clone(), EntityId::new(verb.as_str())));
        Self {
            schema,
            template: noun("Template"),
            key: noun("Key"),
            agent: noun("Agent"),
            operator: noun("Operator"),
            workload: noun("Workload"),
            schedule: noun("Schedule"),
            actions,
        }
    }

    pub(super) fn principal(&self, principal: &Principal) -> EntityUid {
        let noun = match principal {
            Principal::Agent(_) => &self.agent,
            Principal::Operator(_) => &self.operator,
            Principal::Workload(_) => &self.workload,
            Principal::Schedule => &self.schedule,
        };
        uid(noun, principal.name())
    }

    pub(super) fn action(&self, action: Action) -> Option<&EntityUid> {
        self.actions.get(action as usize)
    }

    /// The action that a name of Cedar's stands for.
    pub(super) fn action_of(&self, uid: &EntityUid) -> Option<Action> {
        Action::ALL.into_iter().find(|action| self.action(*action) == Some(uid))
    }
}

pub(super) fn uid(noun: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(noun.clone(), EntityId::new(id))
}
