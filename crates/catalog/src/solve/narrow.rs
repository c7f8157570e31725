//! AWS: actions to the statements of a policy, confined to the resources that the job names.
//!
//! An action applies to some kinds of resources, and the ARNs of each kind are written in one way. A named ARN is of the kind whose form
//! fits it most closely; an action is confined to the named ARNs of its kinds. A resource that is named by its kind and name (`bucket`,
//! `assets`) has an ARN too, in any region and account, and so has what lies within it. What stays unconfined is said.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Resource;
use crate::catalog::Catalog;
use crate::format::items;

/// The most characters that the policy of a session may have.
pub const LONGEST_SESSION_POLICY: usize = 2048;

/// The statements of a policy for a set of actions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Narrowed {
    /// Allow these actions on these resources.
    pub statements: Vec<Statement>,
    /// Actions that could be confined, but the job names no resource of their kinds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unconfined: Vec<&'static str>,
    /// Actions that AWS does not confine to resources at all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unconfinable: Vec<&'static str>,
    /// Named resources to which no action of the job applies, or whose name can't stand in an ARN.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unused: Vec<String>,
    /// What AWS may call in turn on behalf of the job, as `(action, for which)`. Not granted: whether a job needs it depends on
    /// how it calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub may_need: Vec<(&'static str, &'static str)>,
    /// How many characters the statements take as a policy.
    pub characters: usize,
    /// Whether they fit into the policy of a session; where not, they have to be a policy of a role's own.
    pub fits_a_session: bool,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// The actions, sorted.
    pub actions: Vec<&'static str>,
    /// The ARNs, sorted; `*` where they can't be or are not confined.
    pub resources: Vec<String>,
}

/// The statements for the actions at these positions; `None` where the provider's permissions are not actions.
pub(super) fn narrowed(catalog: &Catalog, chosen: &[usize], resources: &[Resource]) -> Option<Narrowed> {
    catalog.action(0)?;
    let named: Vec<Named<'_>> = resources.iter().map(|one| Named::of(catalog, one)).collect();
    let mut grouped: BTreeMap<Vec<String>, Vec<&'static str>> = BTreeMap::new();
    let (mut unconfined, mut unconfinable, mut may_need) = (Vec::new(), Vec::new(), Vec::new());
    let mut used = vec![false; named.len()];
    for position in chosen {
        let (Some(permission), Some(action)) =
            (catalog.permissions().get(*position), catalog.action(*position))
        else {
            continue;
        };
        let service = permission.id.split(':').next().unwrap_or_default();
        let mut own: Vec<String> = Vec::new();
        for (one, used) in named.iter().zip(&mut used) {
            let before = own.len();
            for kind in items(action.kinds).map(|kind| kind.trim_end_matches('*')) {
                own.extend(one.arns(catalog, service, kind));
            }
            *used |= own.len() > before;
        }
        if action.kinds == "-" {
            unconfinable.push(permission.id);
        } else if own.is_empty() {
            unconfined.push(permission.id);
        }
        if own.is_empty() {
            own.push("*".to_owned());
        }
        own.sort();
        own.dedup();
        grouped.entry(own).or_default().push(permission.id);
        let is_granted = |action: &str| {
            chosen.iter().filter_map(|one| catalog.permissions().get(*one)).any(|one| one.id == action)
        };
        may_need.extend(
            items(action.dependents)
                .filter(|action| !is_granted(action))
                .map(|action| (action, permission.id)),
        );
    }
    let statements: Vec<Statement> = grouped
        .into_iter()
        .map(|(resources, mut actions)| {
            actions.sort_unstable();
            Statement { actions, resources }
        })
        .collect();
    let characters = policy(&statements).len();
    let unused =
        resources.iter().zip(used).filter(|(_, used)| !used).map(|(one, _)| one.value.clone()).collect();
    Some(Narrowed {
        statements,
        unconfined,
        unconfinable,
        unused,
        may_need,
        characters,
        fits_a_session: characters <= LONGEST_SESSION_POLICY,
    })
}

impl Narrowed {
    /// The policy as JSON, as short as it can be written.
    #[must_use]
    pub fn policy(&self) -> String {
        policy(&self.statements)
    }
}

fn policy(statements: &[Statement]) -> String {
    let statements: Vec<serde_json::Value> = statements
        .iter()
        .map(|one| serde_json::json!({"Effect": "Allow", "Action": one.actions, "Resource": one.resources}))
        .collect();
    serde_json::json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

/// A resource that the job names.
enum Named<'a> {
    /// By its ARN, which is of these kinds.
    Arn { arn: &'a str, kinds: Vec<&'static str> },
    /// By its kind and its name.
    Plain { kind: &'a str, name: &'a str },
    /// By something that can't stand in an ARN.
    Odd,
}

impl<'a> Named<'a> {
    fn of(catalog: &Catalog, resource: &'a Resource) -> Self {
        let (kind, name) = (resource.kind.as_str(), resource.value.as_str());
        if name.starts_with("arn:") {
            return Self::Arn { arn: name, kinds: kinds_of(catalog, name) };
        }
        // No wildcard and no variable: the name may come from anybody's words.
        let fits = |letter: char| letter.is_ascii_alphanumeric() || "._-/+=@".contains(letter);
        if name.trim_matches('/').is_empty() || !name.chars().all(fits) {
            return Self::Odd;
        }
        let kind = match kind {
            "param" => "parameter",
            other => other,
        };
        Self::Plain { kind, name: name.trim_start_matches('/') }
    }

    /// The ARNs of this kind of the service's resources.
    fn arns(&self, catalog: &Catalog, service: &str, kind: &str) -> Vec<String> {
        let form = |kind: &str| {
            let is_it = |known: &str| {
                known.strip_prefix(service).and_then(|rest| rest.strip_prefix('/')) == Some(kind)
            };
            catalog.resource_forms().iter().find(|(known, _)| is_it(known)).map(|(_, form)| *form)
        };
        match self {
            Self::Arn { arn, kinds } => {
                let is_it = |known: &&str| {
                    known.strip_prefix(service).and_then(|rest| rest.strip_prefix('/')) == Some(kind)
                };
                kinds.iter().find(|known| is_it(known)).map(|_| (*arn).to_owned()).into_iter().collect()
            }
            Self::Plain { kind: own, name } => {
                let (Some(outer), Some(inner)) = (form(own), form(kind)) else { return Vec::new() };
                // The resource itself, or what lies within it.
                let within =
                    inner.strip_prefix(outer).filter(|rest| rest.is_empty() || rest.starts_with(['/', ':']));
                match (within, filled(outer, name)) {
                    (Some(rest), Some(arn)) => vec![format!("{arn}{}", any(rest))],
                    _ => Vec::new(),
                }
            }
            Self::Odd => Vec::new(),
        }
    }
}

/// The form with a name for its one variable; any region and account. None where the form has several variables.
fn filled(form: &str, name: &str) -> Option<String> {
    let form = form.replace("${Partition}", "aws").replace("${Region}", "*").replace("${Account}", "*");
    let (before, after) = form.split_once("${")?;
    let (_, after) = after.split_once('}')?;
    (!after.contains("${")).then(|| format!("{before}{name}{after}"))
}

/// The form with anything for its variables.
fn any(form: &str) -> String {
    let mut parts = form.split("${");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push('*');
        out.push_str(part.split_once('}').map_or("", |(_, after)| after));
    }
    out
}

/// The kinds of resources that an ARN names: of the forms that fit, those with most letters of their own. Several services may have
/// the same resource under a kind of theirs.
fn kinds_of(catalog: &Catalog, arn: &str) -> Vec<&'static str> {
    let forms = catalog.resource_forms().iter();
    let fitting: Vec<(usize, &str)> =
        forms.filter_map(|(kind, form)| Some((fit(form, arn)?, *kind))).collect();
    let closest = fitting.iter().map(|(own, _)| *own).max();
    fitting.into_iter().filter(|(own, _)| Some(*own) == closest).map(|(_, kind)| kind).collect()
}

/// How many of its own letters a form like `arn:${Partition}:s3:::${BucketName}/${ObjectName}` finds in an ARN that it fits; each `${...}`
/// stands for any text but a colon, the last one for anything.
fn fit(form: &str, arn: &str) -> Option<usize> {
    let mut own = 0;
    let (mut form, mut arn) = (form, arn);
    loop {
        let Some((before, after)) = form.split_once("${") else {
            // What remains has to be the same to the end.
            return (form == arn).then_some(own + form.len());
        };
        own += before.len();
        arn = arn.strip_prefix(before)?;
        let (_, rest) = after.split_once('}')?;
        let next = rest.split("${").next().unwrap_or_default();
        let end = if next.is_empty() { arn.len() } else { arn.find(next)? };
        let value = arn.get(..end)?;
        // The region and the account of some ARNs are empty.
        if rest.contains("${") && value.contains(':') {
            return None;
        }
        arn = arn.get(end..)?;
        form = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solve::Wanted;

    fn arns(of: &[&str]) -> Vec<Resource> {
        of.iter().map(|arn| Resource { kind: "arn".to_owned(), value: (*arn).to_owned() }).collect()
    }

    fn narrowed(operations: &[&str], named: &[&str]) -> Narrowed {
        let wanted: Vec<Wanted<'_>> = operations.iter().map(|one| Wanted::from(*one)).collect();
        Catalog::for_provider("aws").unwrap().least(&wanted, &arns(named)).unwrap().narrowed.unwrap()
    }

    #[test]
    fn an_arn_is_of_the_kind_whose_form_fits_it_most_closely() {
        let aws = Catalog::for_provider("aws").unwrap();
        for (arn, kind) in [
            ("arn:aws:s3:::assets", "s3/bucket"),
            ("arn:aws:s3:::assets/*", "s3/object"),
            ("arn:aws:s3:::assets/a/b.txt", "s3/object"),
            ("arn:aws:dynamodb:eu-west-1:123456789012:table/orders", "dynamodb/table"),
            ("arn:aws:dynamodb:eu-west-1:123456789012:table/orders/index/by-day", "dynamodb/index"),
            ("arn:aws:sqs:eu-west-1:123456789012:jobs", "sqs/queue"),
            ("arn:aws:lambda:eu-west-1:123456789012:function:resize", "lambda/function"),
            ("arn:aws:iam::123456789012:role/app", "iam/role"),
        ] {
            let kinds = kinds_of(aws, arn);
            let service = kind.split('/').next().unwrap();
            assert!(
                kinds.iter().filter(|one| one.starts_with(&format!("{service}/"))).eq([&kind]),
                "{arn}: {kinds:?}"
            );
        }
        assert!(kinds_of(aws, "arn:aws:nosuch:::x").is_empty() && kinds_of(aws, "assets").is_empty());
    }

    #[test]
    fn each_action_is_confined_to_the_resources_of_its_kinds() {
        let got = narrowed(
            &["s3:GetObject", "s3:ListObjectsV2", "s3:HeadObject", "s3:ListBuckets"],
            &["arn:aws:s3:::assets", "arn:aws:s3:::assets/*", "arn:aws:sqs:eu-west-1:123456789012:jobs"],
        );
        let statement = |actions: &[&'static str], resources: &[&str]| Statement {
            actions: actions.to_vec(),
            resources: resources.iter().map(|one| (*one).to_owned()).collect(),
        };
        assert_eq!(
            got.statements,
            [
                statement(&["s3:ListAllMyBuckets"], &["*"]),
                statement(&["s3:ListBucket"], &["arn:aws:s3:::assets"]),
                statement(&["s3:GetObject"], &["arn:aws:s3:::assets/*"]),
            ]
        );
        assert_eq!(got.unconfinable, ["s3:ListAllMyBuckets"]);
        assert!(got.unconfined.is_empty() && got.fits_a_session);
        assert_eq!(got.unused, ["arn:aws:sqs:eu-west-1:123456789012:jobs"]);
        assert_eq!(got.policy().len(), got.characters);
        let policy: serde_json::Value = serde_json::from_str(&got.policy()).unwrap();
        assert_eq!(policy["Statement"][1]["Action"][0], "s3:ListBucket");
    }

    #[test]
    fn a_resource_that_is_named_by_its_kind_is_an_arn_in_any_account() {
        let of = |operations: &[&str], kind: &str, value: &str| {
            let wanted: Vec<Wanted<'_>> = operations.iter().map(|one| Wanted::from(*one)).collect();
            let named = [Resource { kind: kind.to_owned(), value: value.to_owned() }];
            let narrowed =
                Catalog::for_provider("aws").unwrap().least(&wanted, &named).unwrap().narrowed.unwrap();
            let arns: Vec<String> =
                narrowed.statements.iter().flat_map(|one| one.resources.clone()).collect();
            (arns, narrowed.unused.len())
        };
        let s3 = ["s3:GetObject", "s3:ListObjectsV2"];
        let arns = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        assert_eq!(of(&s3, "bucket", "assets"), (arns(&["arn:aws:s3:::assets", "arn:aws:s3:::assets/*"]), 0));
        assert_eq!(
            of(&["dynamodb:Query"], "table", "orders"),
            (arns(&["arn:aws:dynamodb:*:*:table/orders", "arn:aws:dynamodb:*:*:table/orders/index/*"]), 0)
        );
        assert_eq!(
            of(&["ssm:GetParametersByPath"], "param", "/prod/app"),
            (arns(&["arn:aws:ssm:*:*:parameter/prod/app"]), 0)
        );
        assert_eq!(
            of(&["lambda:Invoke"], "function", "resize"),
            (arns(&["arn:aws:lambda:*:*:function:resize"]), 0)
        );
        // What could widen the policy is no name.
        for odd in ["*", "a*", "${aws:username}", "a,b", "", "/", "a:b"] {
            assert_eq!(of(&s3, "bucket", odd), (arns(&["*"]), 1), "{odd}");
        }
        assert_eq!(of(&s3, "queue", "jobs").1, 1);
    }

    #[test]
    fn what_no_resource_confines_and_what_may_be_called_in_turn_is_said() {
        let got = narrowed(&["ecs:RunTask"], &[]);
        assert_eq!(got.unconfined, ["ecs:RunTask"]);
        assert_eq!(got.may_need, [("iam:PassRole", "ecs:RunTask")]);
        let both = narrowed(&["ecs:RunTask", "iam:PassRole"], &["arn:aws:iam::123456789012:role/app"]);
        assert!(both.may_need.is_empty() && both.unconfined == ["ecs:RunTask"]);
    }

    #[test]
    fn a_policy_that_is_too_long_for_a_session_is_told() {
        let named: Vec<String> =
            (0..60).map(|at| format!("arn:aws:s3:::a-bucket-with-a-long-name-{at}/*")).collect();
        let named: Vec<&str> = named.iter().map(String::as_str).collect();
        assert!(!narrowed(&["s3:GetObject"], &named).fits_a_session);
    }
}
