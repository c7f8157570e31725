//! Policies and their evaluation: explicit deny, explicit allow, implicit deny.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::group::Group;
use super::resource::{Resource, Target};

/// Whether a policy gives or takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Effect {
    Allow,
    Deny,
}

/// One policy of a token.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) id: String,
    pub(crate) effect: Effect,
    pub(crate) groups: Vec<&'static Group>,
    pub(crate) resources: Vec<Resource>,
    /// The resources as they were written, for reading back.
    pub(crate) written: Map<String, Value>,
}

impl Policy {
    /// As the API shows it.
    pub(crate) fn to_json(&self) -> Value {
        let groups: Vec<Value> =
            self.groups.iter().map(|group| json!({"id": group.id, "name": group.name})).collect();
        json!({
            "id": self.id,
            "effect": self.effect,
            "permission_groups": groups,
            "resources": self.written,
        })
    }

    /// Whether one of `accepted` is among the groups, and `target` among the resources. That a group counts only on
    /// resources of its own scope follows: accepted groups have the scope of the target (see `rights`), and a resource
    /// covers only targets of its own.
    fn matches(&self, accepted: &[&str], target: &Target) -> bool {
        self.groups.iter().any(|group| accepted.contains(&group.id))
            && self.resources.iter().any(|resource| resource.covers(target))
    }
}

/// Whether `policies` permit an operation that accepts any one of `accepted`, on `target`.
///
/// A deny of any accepted group refuses, even when another accepted group is allowed: groups stand for sets of finer
/// permissions, and those that an operation accepts all contain the one it needs.
pub(crate) fn permits(policies: &[Policy], accepted: &[&str], target: &Target) -> bool {
    let any =
        |effect| policies.iter().any(|policy| policy.effect == effect && policy.matches(accepted, target));
    !any(Effect::Deny) && any(Effect::Allow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::rights::{DNS_READ, DNS_WRITE, KV_READ};

    const READ: &str = "82e64a83756745bbbb1c9c2701bf816b";
    const WRITE: &str = "4755a26eedb94da69e1066d98aa820be";

    /// Name, policies, accepted groups, target, and whether it is permitted.
    type Case = (&'static str, Vec<Policy>, &'static [&'static str], Target, bool);

    fn policy(effect: Effect, group: &str, resources: Value) -> Policy {
        let Value::Object(written) = resources else { panic!("resources are an object") };
        Policy {
            id: "p".to_owned(),
            effect,
            groups: vec![Group::find(group).unwrap()],
            resources: Resource::parse_all(&written).unwrap(),
            written,
        }
    }

    #[test]
    fn the_truth_table_of_deny_allow_and_silence() {
        let one = || json!({"com.cloudflare.api.account.zone.z1": "*"});
        let all = || json!({"com.cloudflare.api.account.a1": {"com.cloudflare.api.account.zone.*": "*"}});
        let account = || json!({"com.cloudflare.api.account.a1": "*"});
        let zone =
            |zone: &str, account: &str| Target::Zone { zone: zone.to_owned(), account: account.to_owned() };
        let (allow, deny) = (Effect::Allow, Effect::Deny);
        let cases: Vec<Case> = vec![
            ("silence refuses", vec![], DNS_READ, zone("z1", "a1"), false),
            ("allow permits", vec![policy(allow, READ, one())], DNS_READ, zone("z1", "a1"), true),
            ("write reads", vec![policy(allow, WRITE, one())], DNS_READ, zone("z1", "a1"), true),
            ("read does not write", vec![policy(allow, READ, one())], DNS_WRITE, zone("z1", "a1"), false),
            ("another zone", vec![policy(allow, READ, one())], DNS_READ, zone("z2", "a1"), false),
            ("all zones", vec![policy(allow, READ, all())], DNS_READ, zone("z9", "a1"), true),
            ("all zones of one account", vec![policy(allow, READ, all())], DNS_READ, zone("z9", "a2"), false),
            (
                "an account is not its zones",
                vec![policy(allow, READ, account())],
                DNS_READ,
                zone("z1", "a1"),
                false,
            ),
            ("another group", vec![policy(allow, READ, one())], KV_READ, zone("z1", "a1"), false),
            (
                "deny beats allow, in either order",
                vec![policy(deny, READ, one()), policy(allow, READ, all())],
                DNS_READ,
                zone("z1", "a1"),
                false,
            ),
            (
                "deny of one zone leaves the others",
                vec![policy(allow, READ, all()), policy(deny, READ, one())],
                DNS_READ,
                zone("z2", "a1"),
                true,
            ),
            (
                "deny of the other accepted group refuses too",
                vec![policy(allow, WRITE, one()), policy(deny, READ, one())],
                DNS_READ,
                zone("z1", "a1"),
                false,
            ),
        ];
        for (name, policies, accepted, target, expected) in cases {
            assert_eq!(permits(&policies, accepted, &target), expected, "{name}");
        }
    }
}
