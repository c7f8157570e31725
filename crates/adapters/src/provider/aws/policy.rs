//! From a grant to an IAM policy, and back.
//!
//! One statement for each scope: allow these actions on these resources, until then, from there. The end is a condition
//! on `aws:CurrentTime`, which AWS itself keeps whatever becomes of the key; networks are one on `aws:SourceIp`. Names of
//! buckets are the only ones that say no account, so that those statements also name it (`aws:ResourceAccount`).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use keywright_core::grant::{Grant, ObservedGrant, Permission, Resource};
use keywright_core::provider::ProviderError;
use keywright_core::text::{Untrusted, escaped};
use serde_json::{Map, Value, json};

use super::resource::{Home, Kind, named, of_scope, patterns, reached};
use super::unsupported;

/// The longest policy of a session, and the longest inline policy of a user, in characters.
const LONGEST: usize = 2_048;
const BUCKETS: &str = "s3";

/// Adds the account where a permission is confined to nothing smaller, and refuses what would not be confined.
pub(super) fn confine(
    permissions: &[Permission],
    mut given: Vec<Resource>,
    home: &Home,
) -> Result<Vec<Resource>, ProviderError> {
    let mut kinds = BTreeSet::new();
    for permission in permissions {
        let kind = kind_of(permission)?;
        kinds.insert(kind.told.kind);
        if given.iter().any(|resource| resource.kind == kind.told.kind) {
            continue;
        }
        if !kind.told.from_connection {
            return Err(unsupported(format!(
                "`{}` must be confined to {}; give the template a parameter of kind `{}`",
                escaped(&permission.name),
                kind.told.help,
                kind.told.kind
            )));
        }
        given.push(kind.resource(&home.account, home)?);
    }
    for resource in &given {
        if !kinds.contains(resource.kind.as_str()) {
            return Err(unsupported(format!(
                "no permission applies to {} `{}`, so the key would not be confined to it",
                escaped(&resource.kind),
                escaped(&resource.name)
            )));
        }
    }
    given.sort();
    given.dedup_by(|one, two| one.kind == two.kind && one.id == two.id);
    Ok(given)
}

/// The policy that says exactly this.
///
/// # Errors
/// When it can't be said, or not in so few words as AWS takes.
pub(super) fn document(grant: &Grant, home: &Home) -> Result<String, ProviderError> {
    let end =
        grant.expires_at.ok_or_else(|| unsupported("a key without an expiry is never made".to_owned()))?;
    if grant.budget_cents.is_some() {
        return Err(unsupported("it has no budgets".to_owned()));
    }
    let confined = confine(&grant.permissions, grant.resources.clone(), home)?;
    if grant.permissions.is_empty() || confined.len() != grant.resources.len() {
        return Err(unsupported("a key that is not confined is never made".to_owned()));
    }
    let mut scopes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for permission in &grant.permissions {
        scopes.entry(&permission.scope).or_default().push(&permission.id);
    }
    let mut statements = Vec::new();
    for (scope, actions) in scopes {
        let kind = of_scope(scope)
            .ok_or_else(|| unsupported(format!("the scope `{}` is unknown", escaped(scope))))?;
        let of_kind = confined.iter().filter(|resource| resource.kind == kind.told.kind);
        let ids: Vec<&str> = of_kind.map(|resource| resource.id.as_str()).collect();
        if scope != "account" && !ids.iter().all(|arn| kind.owns(arn, home)) {
            return Err(unsupported(format!("a {} is not of the connection's account", kind.told.kind)));
        }
        statements.push(json!({
            "Effect": "Allow",
            "Action": actions,
            "Resource": patterns(scope, ids),
            "Condition": conditions(kind, end, &grant.ip_allow, home),
        }));
    }
    let text = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
    if text.len() > LONGEST {
        return Err(unsupported(format!(
            "its policy has {} characters, and AWS takes {LONGEST}; take permissions or networks out of the template",
            text.len()
        )));
    }
    Ok(text)
}

fn conditions(kind: &Kind, end: Timestamp, networks: &[String], home: &Home) -> Value {
    let mut conditions = Map::new();
    let end = json!({ "aws:CurrentTime": whole_seconds(end).to_string() });
    conditions.insert("DateLessThan".to_owned(), end);
    if !networks.is_empty() {
        conditions.insert("IpAddress".to_owned(), json!({ "aws:SourceIp": networks }));
    }
    if kind.service == BUCKETS {
        conditions.insert("StringEquals".to_owned(), json!({ "aws:ResourceAccount": home.account }));
    }
    Value::Object(conditions)
}

fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// The kind that a permission applies to. An action is `service:Name`, and of the service of its kind.
fn kind_of(permission: &Permission) -> Result<&'static Kind, ProviderError> {
    let (name, scope) = (escaped(&permission.id), escaped(&permission.scope));
    let kind = of_scope(&permission.scope).ok_or_else(|| {
        unsupported(format!("`{name}` has the scope `{scope}`, for which no parameter stands"))
    })?;
    if is_action(&permission.id, kind) {
        Ok(kind)
    } else {
        Err(unsupported(format!("`{name}` is no action on a {scope}")))
    }
}

fn is_action(id: &str, kind: &Kind) -> bool {
    let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric());
    id.split_once(':').is_some_and(|(service, name)| {
        is_plain(name) && if kind.service.is_empty() { is_plain(service) } else { service == kind.service }
    })
}

/// What a policy allows. Whatever this module does not write itself is not understood.
pub(super) fn observe(document: &str, home: &Home) -> ObservedGrant {
    let mut reader = Reader {
        home,
        observed: ObservedGrant::default(),
        reach: BTreeMap::new(),
        ends: BTreeSet::new(),
        nets: BTreeSet::new(),
    };
    match serde_json::from_str::<Value>(document) {
        Ok(Value::Object(policy)) => reader.policy(&policy),
        _ => reader.note("a policy that is no JSON object"),
    }
    reader.finish()
}

struct Reader<'a> {
    home: &'a Home,
    observed: ObservedGrant,
    /// The resources that each statement about a kind reaches.
    reach: BTreeMap<&'static str, BTreeSet<Vec<String>>>,
    ends: BTreeSet<Option<Timestamp>>,
    nets: BTreeSet<BTreeSet<String>>,
}

impl Reader<'_> {
    fn note(&mut self, what: &str) {
        self.observed.not_understood.push(Untrusted::capped(what, 120));
    }

    fn policy(&mut self, policy: &Map<String, Value>) {
        for (name, value) in policy {
            match (name.as_str(), value) {
                ("Version", Value::String(version)) if version == "2012-10-17" => {}
                ("Statement", Value::Array(statements)) => {
                    statements.iter().for_each(|one| self.statement(one))
                }
                _ => self.note(&format!("{name} of the policy")),
            }
        }
    }

    fn statement(&mut self, statement: &Value) {
        let Some(fields) = statement.as_object() else { return self.note("a statement that is no object") };
        let field = |name| fields.get(name).unwrap_or(&Value::Null);
        for name in fields.keys() {
            if !["Effect", "Action", "Resource", "Condition"].contains(&name.as_str()) {
                self.note(&format!("{name} of a statement"));
            }
        }
        if field("Effect") != "Allow" {
            return self.note(&format!("Effect {}", field("Effect")));
        }
        let (Some(actions), Some(resources)) = (texts(field("Action")), texts(field("Resource"))) else {
            return self.note("a statement without a list of actions or resources");
        };
        let Some((kind, mut ids)) = reached(&resources, self.home) else {
            return self.note(&format!("resources {}", resources.join(", ")));
        };
        for action in &actions {
            if !is_action(action, kind) {
                self.note(&format!("action {action} on {}", kind.told.kind));
            }
        }
        self.condition(field("Condition"), kind);
        ids.sort();
        self.observed.permissions.extend(actions);
        self.observed.resources.extend(ids.iter().map(|id| (kind.told.kind.to_owned(), id.clone())));
        self.reach.entry(kind.told.kind).or_default().insert(ids);
    }

    /// Every condition that this module writes, and nothing else.
    fn condition(&mut self, condition: &Value, kind: &Kind) {
        let mut left = condition.as_object().cloned().unwrap_or_default();
        let mut take = |operator: &str, key: &str| -> Option<Value> {
            let mut fields = left.remove(operator)?.as_object()?.clone();
            let value = fields.remove(key)?;
            fields.is_empty().then_some(value)
        };
        let end = take("DateLessThan", "aws:CurrentTime");
        let networks = take("IpAddress", "aws:SourceIp");
        let account = take("StringEquals", "aws:ResourceAccount");
        let end = end.and_then(|end| end.as_str().and_then(|text| text.parse().ok()));
        self.ends.insert(end);
        self.nets.insert(networks.and_then(|nets| texts(&nets)).unwrap_or_default().into_iter().collect());
        let expected = (kind.service == BUCKETS).then(|| json!(self.home.account));
        if account != expected || !left.is_empty() {
            self.note(&format!("condition {condition}"));
        }
    }

    fn finish(mut self) -> ObservedGrant {
        if self.reach.values().any(|reaches| reaches.len() > 1) {
            self.note("permissions on one kind of resource do not all reach the same");
        }
        match (self.ends.len(), self.nets.len()) {
            (1, 1) => {
                self.observed.expires_at = self.ends.pop_first().flatten();
                self.observed.ip_allow = self.nets.pop_first().unwrap_or_default();
            }
            _ => self.note("statements under different conditions, or none at all"),
        }
        self.observed
    }
}

/// A list of texts, or one alone; `None` when something else is in it.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(list) => list.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// The kinds that resources are of; anything else is refused before it gets here.
pub(super) fn resolve(kind: &str, value: &str, home: &Home) -> Result<Resource, ProviderError> {
    let known = named(kind)
        .ok_or_else(|| unsupported(format!("`{}` is no kind of resource it knows", escaped(kind))))?;
    known.resource(value, home)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> Home {
        Home { partition: "aws", region: "eu-central-1".to_owned(), account: "123456789012".to_owned() }
    }

    fn permission(id: &str, scope: &str) -> Permission {
        Permission { id: id.to_owned(), name: id.to_owned(), scope: scope.to_owned() }
    }

    fn grant() -> Grant {
        let buckets = ["assets", "backups"].map(|name| resolve("aws.s3_bucket", name, &home()).unwrap());
        let resources = [&buckets[..], &[resolve("aws.account", "123456789012", &home()).unwrap()]].concat();
        Grant {
            permissions: vec![
                permission("s3:ListBucket", "s3_bucket"),
                permission("s3:GetObject", "s3_object"),
                permission("ecr:GetAuthorizationToken", "account"),
            ],
            resources,
            expires_at: Some("2027-01-02T03:04:05.678Z".parse().unwrap()),
            ip_allow: vec!["192.0.2.0/24".to_owned()],
            budget_cents: None,
        }
        .canonical()
    }

    #[test]
    fn a_grant_is_written_as_the_policy_that_says_it_and_nothing_else() {
        let policy: Value = serde_json::from_str(&document(&grant(), &home()).unwrap()).unwrap();
        let (until, from) =
            (json!({"aws:CurrentTime": "2027-01-02T03:04:05Z"}), json!({"aws:SourceIp": ["192.0.2.0/24"]}));
        let plain = json!({"DateLessThan": until, "IpAddress": from});
        let own = json!({"DateLessThan": until, "IpAddress": from, "StringEquals": {"aws:ResourceAccount": "123456789012"}});
        assert_eq!(
            policy,
            json!({"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": ["ecr:GetAuthorizationToken"], "Resource": ["*"], "Condition": plain},
                {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::assets", "arn:aws:s3:::backups"], "Condition": own},
                {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::assets/*", "arn:aws:s3:::backups/*"], "Condition": own},
            ]})
        );
        assert_eq!(grant().differences(&observe(&policy.to_string(), &home())), []);
    }

    #[test]
    fn nothing_wider_than_asked_is_ever_written() {
        let queue = || resolve("aws.sqs_queue", "jobs", &home()).unwrap();
        let send = || permission("sqs:SendMessage", "sqs_queue");
        let good = || Grant { permissions: vec![send()], resources: vec![queue()], ..grant() };
        assert!(document(&good(), &home()).is_ok());
        let foreign = Resource { id: queue().id.replace("123456789012", "999999999999"), ..queue() };
        let wild = Resource { id: queue().id.replace("jobs", "*"), ..queue() };
        for (what, bad) in [
            ("no permissions", Grant { permissions: vec![], ..good() }),
            ("no resources", Grant { resources: vec![], ..good() }),
            ("no expiry", Grant { expires_at: None, ..good() }),
            ("a budget", Grant { budget_cents: Some(1), ..good() }),
            ("another account", Grant { resources: vec![foreign], ..good() }),
            ("a wildcard", Grant { resources: vec![wild], ..good() }),
            (
                "a wildcard of actions",
                Grant { permissions: vec![permission("sqs:*", "sqs_queue")], ..good() },
            ),
            (
                "another service",
                Grant { permissions: vec![permission("iam:PassRole", "sqs_queue")], ..good() },
            ),
            (
                "an unknown scope",
                Grant { permissions: vec![permission("iam:PassRole", "iam_role")], ..good() },
            ),
            (
                "an account that is not named",
                Grant {
                    permissions: vec![send(), permission("ecr:GetAuthorizationToken", "account")],
                    ..good()
                },
            ),
            (
                "a resource without permission",
                Grant { resources: vec![queue(), resolve("aws.sns_topic", "t", &home()).unwrap()], ..good() },
            ),
            (
                "too many words",
                Grant { ip_allow: (0..200).map(|n| format!("192.0.2.{n}/32")).collect(), ..good() },
            ),
        ] {
            assert!(matches!(document(&bad, &home()), Err(ProviderError::Unsupported { .. })), "{what}");
        }
    }

    #[test]
    fn whatever_else_a_policy_may_hold_is_a_difference() {
        type Mutation = (&'static str, fn(&mut Value));
        let mutations: [Mutation; 17] = [
            ("deny", |p| p["Statement"][0]["Effect"] = json!("Deny")),
            ("another statement", |p| {
                p["Statement"]
                    .as_array_mut()
                    .unwrap()
                    .push(json!({"Effect": "Allow", "Action": "*", "Resource": "*"}))
            }),
            ("not these actions", |p| {
                p["Statement"][0] = json!({"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"})
            }),
            ("not these resources", |p| p["Statement"][0]["NotResource"] = json!("x")),
            ("every action", |p| p["Statement"][1]["Action"] = json!("*")),
            ("every action of a service", |p| p["Statement"][1]["Action"] = json!(["s3:*"])),
            ("an action more", |p| {
                p["Statement"][1]["Action"] = json!(["s3:ListBucket", "s3:PutBucketPolicy"])
            }),
            ("every bucket", |p| p["Statement"][1]["Resource"] = json!("arn:aws:s3:::*")),
            ("one bucket less", |p| p["Statement"][1]["Resource"] = json!("arn:aws:s3:::assets")),
            ("no conditions", |p| drop(p["Statement"][1].as_object_mut().unwrap().remove("Condition"))),
            ("no end", |p| {
                drop(p["Statement"][1]["Condition"].as_object_mut().unwrap().remove("DateLessThan"))
            }),
            ("another end", |p| {
                p["Statement"][0]["Condition"]["DateLessThan"]["aws:CurrentTime"] =
                    json!("2099-01-01T00:00:00Z")
            }),
            ("no network", |p| {
                drop(p["Statement"][1]["Condition"].as_object_mut().unwrap().remove("IpAddress"))
            }),
            ("no account", |p| {
                drop(p["Statement"][1]["Condition"].as_object_mut().unwrap().remove("StringEquals"))
            }),
            ("a condition more", |p| {
                p["Statement"][1]["Condition"]["Bool"] = json!({"aws:SecureTransport": "true"})
            }),
            ("a principal", |p| p["Statement"][1]["Principal"] = json!("*")),
            ("no statements", |p| p["Statement"] = json!([])),
        ];
        let written = document(&grant(), &home()).unwrap();
        for (what, mutate) in mutations {
            let mut policy: Value = serde_json::from_str(&written).unwrap();
            mutate(&mut policy);
            assert_ne!(grant().differences(&observe(&policy.to_string(), &home())), [], "{what}");
        }
        assert_ne!(grant().differences(&observe("", &home())), []);
    }
}
