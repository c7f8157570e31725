//! Which models a project allows: `GET /organization/projects/{project}/model_permissions`.

use std::collections::BTreeSet;

use serde::Deserialize;

/// The models that the keys of a project can call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Models {
    Any,
    Only(BTreeSet<String>),
    /// All but these. No parameter means it: what comes tomorrow is allowed.
    AllBut(BTreeSet<String>),
}

/// The shape on the wire.
#[derive(Deserialize)]
pub(super) struct ModelPermissions {
    mode: Mode,
    model_ids: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    AllowList,
    DenyList,
}

impl Models {
    pub(super) fn of(said: ModelPermissions) -> Self {
        match said.mode {
            Mode::AllowList => Self::Only(said.model_ids),
            Mode::DenyList if said.model_ids.is_empty() => Self::Any,
            Mode::DenyList => Self::AllBut(said.model_ids),
        }
    }

    /// Reads a parameter: `any`, or names separated by commas.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "any" {
            return Some(Self::Any);
        }
        let names: BTreeSet<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        (!names.contains("")).then_some(Self::Only(names))
    }

    /// The id of the resource: the parameter in its one spelling.
    pub(super) fn id(&self) -> String {
        let joined = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(",");
        match self {
            Self::Any => "any".to_owned(),
            Self::Only(names) => joined(names),
            Self::AllBut(names) => format!("any but {}", joined(names)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_means_an_allow_list_whatever_its_order() {
        let said = |mode: &str, ids: &[&str]| {
            Models::of(serde_json::from_value(serde_json::json!({"mode": mode, "model_ids": ids})).unwrap())
        };
        for (text, models) in [
            ("b, a", said("allow_list", &["a", "b"])),
            ("any", said("deny_list", &[])),
            ("a", said("allow_list", &["a"])),
        ] {
            assert_eq!(Models::parse(text), Some(models), "{text}");
        }
        assert_eq!(said("allow_list", &["b", "a"]).id(), "a,b");
        for text in ["", "a,,b", ","] {
            assert_eq!(Models::parse(text), None, "{text}");
        }
        assert_ne!(Models::parse("any but a"), Some(said("deny_list", &["a"])));
    }
}
