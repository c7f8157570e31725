//! From the token that came out to a grant that can be compared with what was asked.
//!
//! Everything that is not exactly what this adapter writes goes to `not_understood`, which fails the comparison: a
//! deny, a new field, another notation, a group on a resource of another scope, groups of one scope that reach
//! different things (the flat form of [`ObservedGrant`] could not tell them apart).

use std::collections::{BTreeMap, BTreeSet};

use keywright_core::grant::ObservedGrant;
use keywright_core::text::Untrusted;
use serde_json::{Map, Value};

use super::groups::Scopes;
use super::resource::{Kind, Scope};
use super::shapes::{Policy, Token};

/// Fields of a policy and of a group that say nothing about what a token may do.
const COSMETIC_IN_POLICY: [&str; 1] = ["id"];
const COSMETIC_IN_GROUP: [&str; 4] = ["meta", "description", "category", "scopes"];
/// The most characters of a part that is not understood.
const LONGEST_PART: usize = 120;

/// What one group of permissions reaches: by scope, by group id.
type Reach = BTreeMap<Scope, BTreeMap<String, BTreeSet<(Kind, String)>>>;

/// Reads a token.
pub(super) fn observe(token: &Token, scopes: &Scopes) -> ObservedGrant {
    let mut reader = Reader { scopes, odd: Vec::new(), reach: Reach::new() };
    let mut observed = ObservedGrant {
        expires_at: token.expires_on,
        ip_allow: reader.condition(token.condition.as_ref()),
        ..ObservedGrant::default()
    };
    if token.status != "active" {
        reader.note(&format!("status: {}", token.status));
    }
    // One that lies before the issue has no effect; we never send any.
    if token.not_before.is_some() && token.not_before > token.issued_on {
        reader.note("not_before");
    }
    reader.unknown_fields("token", &token.rest, &[]);
    for policy in &token.policies {
        reader.policy(policy, &mut observed);
    }
    reader.check_even();
    observed.not_understood = reader.odd;
    observed.labelled(&token.name)
}

struct Reader<'a> {
    scopes: &'a Scopes,
    odd: Vec<Untrusted>,
    reach: Reach,
}

impl Reader<'_> {
    fn note(&mut self, what: &str) {
        self.odd.push(Untrusted::capped(what, LONGEST_PART));
    }

    fn unknown_fields(&mut self, of: &str, fields: &Map<String, Value>, known: &[&str]) {
        for name in crate::provider::unknown_fields(fields, known) {
            self.note(&format!("{of}.{name}"));
        }
    }

    /// `{"request_ip": {"in": [...]}}`, or nothing.
    fn condition(&mut self, condition: Option<&Value>) -> BTreeSet<String> {
        let Some(condition) = condition.filter(|value| !value.is_null()) else { return BTreeSet::new() };
        let Some(fields) = condition.as_object() else {
            self.note("condition");
            return BTreeSet::new();
        };
        self.unknown_fields("condition", fields, &["request_ip"]);
        let request_ip = match fields.get("request_ip") {
            None | Some(Value::Null) => return BTreeSet::new(),
            Some(Value::Object(request_ip)) => request_ip,
            Some(_) => {
                self.note("condition.request_ip");
                return BTreeSet::new();
            }
        };
        let refused_none = request_ip.get("not_in").and_then(Value::as_array).is_some_and(Vec::is_empty);
        let known: &[&str] = if refused_none { &["in", "not_in"] } else { &["in"] };
        self.unknown_fields("condition.request_ip", request_ip, known);
        let mut allowed = BTreeSet::new();
        match request_ip.get("in") {
            None | Some(Value::Null) => {}
            Some(Value::Array(networks)) => {
                for network in networks {
                    match network.as_str() {
                        Some(network) => drop(allowed.insert(network.to_owned())),
                        None => self.note("condition.request_ip.in"),
                    }
                }
            }
            Some(_) => self.note("condition.request_ip.in"),
        }
        allowed
    }

    fn policy(&mut self, policy: &Policy, observed: &mut ObservedGrant) {
        self.unknown_fields("policy", &policy.rest, &COSMETIC_IN_POLICY);
        if policy.effect != "allow" {
            self.note(&format!("policy.effect: {}", policy.effect));
            return;
        }
        let mut resources = Vec::new();
        for (key, value) in &policy.resources {
            match Kind::read(key, value) {
                Some((kind, id)) => resources.push((kind, id)),
                None => {
                    self.note(&format!("resource {key}: {value}"));
                    // Whoever looks at what is at the provider has to see that it is everything.
                    if let Some(kind) = key.strip_suffix(".*") {
                        observed
                            .resources
                            .insert((Untrusted::capped(kind, LONGEST_PART).to_string(), "*".to_owned()));
                    }
                }
            }
        }
        let mut used = BTreeSet::new();
        for group in &policy.permission_groups {
            self.unknown_fields("permission_group", &group.rest, &COSMETIC_IN_GROUP);
            observed.permissions.insert(group.id.clone());
            let scopes = self.scopes.get(&group.id).filter(|scopes| !scopes.is_empty());
            let Some(scopes) = scopes else {
                self.note(&format!(
                    "permission group {} `{}`, whose scope is not known",
                    group.id, group.name
                ));
                continue;
            };
            let fitting: BTreeSet<_> =
                resources.iter().filter(|(kind, _)| scopes.contains(&kind.scope())).collect();
            if fitting.is_empty() {
                self.note(&format!(
                    "permission group {} `{}` on a resource of another scope",
                    group.id, group.name
                ));
            }
            for (kind, id) in fitting {
                used.insert((*kind, id.clone()));
                let groups = self.reach.entry(kind.scope()).or_default();
                groups.entry(group.id.clone()).or_default().insert((*kind, id.clone()));
            }
        }
        for (kind, id) in resources {
            if !used.contains(&(kind, id.clone())) {
                self.note(&format!("resource {} {id} without a permission of its scope", kind.name()));
            }
            observed.resources.insert((kind.name().to_owned(), id));
        }
    }

    /// Within a scope, every group must reach the same resources.
    fn check_even(&mut self) {
        let uneven: Vec<Scope> = self
            .reach
            .iter()
            .filter(|(_, groups)| groups.values().collect::<BTreeSet<_>>().len() > 1)
            .map(|(scope, _)| *scope)
            .collect();
        for scope in uneven {
            self.note(&format!("permissions that apply to {} do not all reach the same", scope.needs()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ACCOUNT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const ZONE: &str = "00000000000000000000000000000001";
    const DNS_READ: &str = "82e64a83756745bbbb1c9c2701bf816b";
    const DNS_WRITE: &str = "4755a26eedb94da69e1066d98aa820be";

    fn good() -> Value {
        json!({
            "id": "ffffffffffffffffffffffffffffffff",
            "name": "kw-x",
            "status": "active",
            "issued_on": "2026-11-24T10:00:00Z",
            "modified_on": "2026-11-24T10:00:00Z",
            "last_used_on": null,
            "not_before": "2026-11-24T10:00:00Z",
            "expires_on": "2026-12-24T10:00:00Z",
            "condition": {"request_ip": {"in": ["192.0.2.0/24"], "not_in": []}},
            "policies": [
                {
                    "id": "11111111111111111111111111111111",
                    "effect": "allow",
                    "resources": {format!("com.cloudflare.api.account.zone.{ZONE}"): "*"},
                    "permission_groups": [{"id": DNS_WRITE, "name": "DNS Write", "meta": {"key": "k", "value": "v"}}],
                },
            ],
        })
    }

    fn observed(token: Value) -> ObservedGrant {
        let scopes = Scopes::from([
            (DNS_READ.to_owned(), BTreeSet::from([Scope::Zone])),
            (DNS_WRITE.to_owned(), BTreeSet::from([Scope::Zone])),
        ]);
        observe(&serde_json::from_value(token).unwrap(), &scopes)
    }

    #[test]
    fn what_this_adapter_writes_is_understood() {
        let observed = observed(good());
        assert_eq!(observed.not_understood, []);
        assert_eq!(observed.permissions, BTreeSet::from([DNS_WRITE.to_owned()]));
        assert_eq!(observed.resources, BTreeSet::from([("cloudflare.zone".to_owned(), ZONE.to_owned())]));
        assert_eq!(observed.ip_allow, BTreeSet::from(["192.0.2.0/24".to_owned()]));
        assert_eq!(observed.expires_at, "2026-12-24T10:00:00Z".parse().ok());
    }

    #[test]
    fn whatever_else_a_token_may_hold_is_not_understood() {
        type Mutation = (&'static str, fn(&mut Value));
        let mutations: [Mutation; 17] = [
            ("disabled", |t| t["status"] = json!("disabled")),
            ("no status", |t| t["status"] = json!("")),
            ("not before", |t| t["not_before"] = json!("2026-11-25T10:00:00Z")),
            ("new field", |t| t["super_powers"] = json!(true)),
            ("deny", |t| t["policies"][0]["effect"] = json!("deny")),
            ("new policy field", |t| t["policies"][0]["unless"] = json!({})),
            ("new group field", |t| t["policies"][0]["permission_groups"][0]["grant"] = json!(1)),
            ("unknown group", |t| t["policies"][0]["permission_groups"][0]["id"] = json!(ACCOUNT)),
            ("all zones of everybody", |t| {
                t["policies"][0]["resources"] = json!({"com.cloudflare.api.account.zone.*": "*"});
            }),
            ("another scope", |t| {
                let account = format!("com.cloudflare.api.account.{ACCOUNT}");
                t["policies"][0]["resources"] = json!({account: "*"});
            }),
            ("a resource that no group fits", |t| {
                t["policies"][0]["resources"][format!("com.cloudflare.api.account.{ACCOUNT}")] = json!("*");
            }),
            ("old condition key", |t| t["condition"] = json!({"request.ip": {"in": ["192.0.2.0/24"]}})),
            ("excluded networks", |t| t["condition"]["request_ip"]["not_in"] = json!(["192.0.2.1/32"])),
            ("condition of another shape", |t| t["condition"] = json!("anywhere")),
            ("network of another shape", |t| t["condition"]["request_ip"]["in"] = json!([1])),
            ("networks of another shape", |t| t["condition"]["request_ip"] = json!(["192.0.2.0/24"])),
            ("uneven reach", |t| {
                let other = format!("com.cloudflare.api.account.zone.{}", ZONE.replace('1', "2"));
                let policy = json!({
                    "effect": "allow",
                    "resources": {other: "*"},
                    "permission_groups": [{"id": DNS_READ}, {"id": DNS_WRITE}],
                });
                t["policies"].as_array_mut().unwrap().push(policy);
            }),
        ];
        for (what, mutate) in mutations {
            let mut token = good();
            mutate(&mut token);
            assert_ne!(observed(token).not_understood, [], "{what}");
        }
    }

    #[test]
    fn hostile_text_in_a_token_is_capped_and_escaped() {
        let mut token = good();
        token[format!("\u{1b}[2J{}", "x".repeat(1_000))] = json!(1);
        let shown = observed(token).not_understood[0].to_string();
        assert!(shown.starts_with("token.\\u{1b}[2J") && shown.len() < 200, "{shown}");
    }
}
