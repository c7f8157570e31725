//! Resources: our kinds, their ARNs, and what of them each scope of permissions reaches.
//!
//! A value is a name, which means the connection's region, or a whole ARN of the connection's account. Whether the
//! resource exists is not asked: the parent would need rights in every service for that.
//!
//! | scope | kind | reaches |
//! |---|---|---|
//! | `account` | `aws.account` | `*`: the few actions that AWS confines to nothing smaller |
//! | `s3_bucket`, `s3_object` | `aws.s3_bucket` | the bucket; `ARN/*` |
//! | `dynamodb_table`, `dynamodb_index` | `aws.dynamodb_table` | the table; the table and `ARN/index/*` |
//! | `log_group` | `aws.log_group` | `ARN:*`, the form that the service wants for groups and streams |
//! | `lambda_function` | `aws.lambda_function` | the function and `ARN:*`, its versions and aliases |
//! | `secret` | `aws.secret` | `ARN-??????`: AWS adds six characters to the name |
//! | any other | the kind of its name | the ARN |

use keywright_core::grant::Resource;
use keywright_core::provider::ProviderError;
use keywright_core::text::Untrusted;

use super::KIND;
use crate::provider::ParameterKind;

/// One kind of resource.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) told: ParameterKind,
    /// The service, as ARNs and actions name it.
    pub(super) service: &'static str,
    regional: bool,
    /// Whether its ARN names the account.
    owned: bool,
    /// What stands before the name in the ARN.
    before: &'static str,
    /// The characters of a name besides letters and digits.
    marks: &'static str,
}

/// What an ARN of the connection has in common with the others.
#[derive(Debug, Clone)]
pub(super) struct Home {
    pub(super) partition: &'static str,
    pub(super) region: String,
    pub(super) account: String,
}

const fn kind(
    name: &'static str,
    scopes: &'static [&'static str],
    (service, before, marks): (&'static str, &'static str, &'static str),
    help: &'static str,
) -> Kind {
    let told = ParameterKind { kind: name, scopes, from_connection: false, help };
    Kind { told, service, regional: true, owned: true, before, marks }
}

/// A kind whose ARN has no region.
const fn global(kind: Kind) -> Kind {
    Kind { regional: false, ..kind }
}

/// A kind whose ARN has no account.
const fn unowned(kind: Kind) -> Kind {
    Kind { owned: false, ..kind }
}

const ACCOUNT: Kind = Kind {
    told: ParameterKind {
        kind: "aws.account",
        scopes: &["account"],
        from_connection: true,
        help: "the connection's account, by its 12 digits",
    },
    service: "",
    regional: false,
    owned: true,
    before: "",
    marks: "",
};

#[rustfmt::skip]
const KINDS: [Kind; 18] = [
    ACCOUNT,
    unowned(global(kind("aws.s3_bucket", &["s3_bucket", "s3_object"], ("s3", "", ".-"), "one bucket, by its name"))),
    kind("aws.dynamodb_table", &["dynamodb_table", "dynamodb_index"], ("dynamodb", "table/", "_.-"), "one table, by its name or its ARN"),
    kind("aws.sqs_queue", &["sqs_queue"], ("sqs", "", "_-."), "one queue, by its name or its ARN"),
    kind("aws.sns_topic", &["sns_topic"], ("sns", "", "_-."), "one topic, by its name or its ARN"),
    kind("aws.log_group", &["log_group"], ("logs", "log-group:", "_-/.#"), "one log group, by its name or its ARN"),
    kind("aws.ecr_repository", &["ecr_repository"], ("ecr", "repository/", "_-/."), "one repository, by its name or its ARN"),
    kind("aws.lambda_function", &["lambda_function"], ("lambda", "function:", "_-"), "one function, by its name or its ARN"),
    kind("aws.secret", &["secret"], ("secretsmanager", "secret:", "/_+=.@-"), "one secret, by its name or its ARN"),
    kind("aws.ssm_parameter", &["ssm_parameter"], ("ssm", "parameter/", "/_.-"), "one parameter, by its name or its ARN"),
    unowned(kind("aws.bedrock_model", &["bedrock_model"], ("bedrock", "foundation-model/", "_.:-"), "one foundation model, by its id or its ARN")),
    kind("aws.ses_identity", &["ses_identity"], ("ses", "identity/", "_.@+-"), "one domain or address, by itself or by its ARN"),
    global(kind("aws.cloudfront_distribution", &["cloudfront_distribution"], ("cloudfront", "distribution/", ""), "one distribution, by its id or its ARN")),
    kind("aws.event_bus", &["event_bus"], ("events", "event-bus/", "/_.-"), "one event bus, by its name or its ARN"),
    kind("aws.kinesis_stream", &["kinesis_stream"], ("kinesis", "stream/", "_.-"), "one stream, by its name or its ARN"),
    kind("aws.kms_key", &["kms_key"], ("kms", "key/", "-"), "one key, by its id (not an alias) or its ARN"),
    kind("aws.state_machine", &["state_machine"], ("states", "stateMachine:", "_-"), "one state machine, by its name or its ARN"),
    unowned(global(kind("aws.hosted_zone", &["hosted_zone"], ("route53", "hostedzone/", ""), "one hosted zone, by its id"))),
];

/// The kinds, as the registry tells them.
pub(in crate::provider) const PARAMETERS: &[ParameterKind] = &told(&KINDS);

#[expect(
    clippy::indexing_slicing,
    reason = "runs at compile time, where an index that is out of bounds is an error"
)]
const fn told<const N: usize>(kinds: &[Kind; N]) -> [ParameterKind; N] {
    let mut told = [ACCOUNT.told; N];
    let mut at = 0;
    while at < N {
        told[at] = kinds[at].told;
        at += 1;
    }
    told
}

/// What stands after the ARN, for each pattern that a scope reaches.
fn forms(scope: &str) -> &'static [&'static str] {
    match scope {
        "s3_object" => &["/*"],
        "dynamodb_index" => &["", "/index/*"],
        "log_group" => &[":*"],
        "lambda_function" => &["", ":*"],
        "secret" => &["-??????"],
        _ => &[""],
    }
}

/// The kind of this name.
pub(super) fn named(name: &str) -> Option<&'static Kind> {
    static ALL: [Kind; 18] = KINDS;
    ALL.iter().find(|kind| kind.told.kind == name)
}

/// The kind that a scope belongs to.
pub(super) fn of_scope(scope: &str) -> Option<&'static Kind> {
    PARAMETERS.iter().find(|told| told.confines(scope)).and_then(|told| named(told.kind))
}

/// The patterns with which a policy reaches these resources in a scope.
pub(super) fn patterns<'a>(scope: &str, arns: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    if scope == "account" {
        return vec!["*".to_owned()];
    }
    let arns = arns.into_iter();
    let mut patterns: Vec<String> =
        arns.flat_map(|arn| forms(scope).iter().map(move |form| format!("{arn}{form}"))).collect();
    patterns.sort();
    patterns
}

/// The resources that patterns reach, and their kind; `None` where no scope is written like that.
pub(super) fn reached(patterns: &[String], home: &Home) -> Option<(&'static Kind, Vec<String>)> {
    if patterns == ["*"] {
        return Some((named(ACCOUNT.told.kind)?, vec![home.account.clone()]));
    }
    let mut sorted = patterns.to_vec();
    sorted.sort();
    for told in PARAMETERS {
        let kind = named(told.kind)?;
        for scope in told.scopes {
            let longest = forms(scope).last()?;
            let arns: Vec<&str> = patterns
                .iter()
                .filter_map(|p| p.strip_suffix(longest))
                .filter(|arn| kind.owns(arn, home))
                .collect();
            if !arns.is_empty() && self::patterns(scope, arns.iter().copied()) == sorted {
                return Some((kind, arns.into_iter().map(str::to_owned).collect()));
            }
        }
    }
    None
}

impl Kind {
    /// The resource that a parameter's value means.
    pub(super) fn resource(&self, value: &str, home: &Home) -> Result<Resource, ProviderError> {
        let kind = self.told.kind;
        if kind == ACCOUNT.told.kind {
            let is_own = value == home.account;
            return if is_own { Ok(self.of(&home.account, value)) } else { Err(self.none(value, "", home)) };
        }
        let Some(parts) = value.strip_prefix("arn:") else {
            // Names of parameters begin with the `/` that their ARNs leave out.
            let name = if self.service == "ssm" { value.trim_start_matches('/') } else { value };
            let arn = self.arn(&home.region, name, home);
            return if self.owns(&arn, home) {
                Ok(self.of(&arn, value))
            } else {
                Err(self.none(value, "", home))
            };
        };
        let region = parts.split(':').nth(2).unwrap_or_default();
        // The six characters that AWS adds to a secret's name, and the `:*` that it adds to a log group's.
        let whole = match self.service {
            "secretsmanager" => {
                value.rsplit_once('-').filter(|(_, end)| end.len() == 6).map_or(value, |(arn, _)| arn)
            }
            "logs" => value.strip_suffix(":*").unwrap_or(value),
            _ => value,
        };
        if !self.owns(whole, home) {
            return Err(self.none(
                value,
                "; an ARN has to be of this kind and of the connection's account",
                home,
            ));
        }
        let name = whole.strip_prefix(&self.arn(region, "", home)).unwrap_or(whole);
        let is_here = !self.regional || region == home.region;
        Ok(self.of(whole, if is_here { name } else { whole }))
    }

    /// Whether this is the ARN of such a resource of the connection's account, in any region.
    pub(super) fn owns(&self, arn: &str, home: &Home) -> bool {
        let region = arn.split(':').nth(3).unwrap_or_default();
        let fits = if self.regional { crate::aws::is_region(region) } else { region.is_empty() };
        let name = arn.strip_prefix(&self.arn(region, "", home)).unwrap_or_default();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || self.marks.contains(c);
        fits && !self.service.is_empty() && (1..=512).contains(&name.len()) && name.chars().all(is_plain)
    }

    fn arn(&self, region: &str, name: &str, home: &Home) -> String {
        let Home { partition, account, .. } = home;
        let region = if self.regional { region } else { "" };
        let account = if self.owned { account } else { "" };
        format!("arn:{partition}:{}:{region}:{account}:{}{name}", self.service, self.before)
    }

    fn of(&self, id: &str, name: &str) -> Resource {
        Resource { kind: self.told.kind.to_owned(), id: id.to_owned(), name: name.to_owned() }
    }

    fn none(&self, value: &str, hint: &str, home: &Home) -> ProviderError {
        let hint = format!("{hint}; it takes {} (account {})", self.told.help, home.account);
        ProviderError::NoSuchResource {
            provider: KIND,
            kind: self.told.kind.to_owned(),
            value: Untrusted::capped(value, 120),
            hint,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> Home {
        Home { partition: "aws", region: "eu-central-1".to_owned(), account: "123456789012".to_owned() }
    }

    fn resolved(kind: &str, value: &str) -> Option<(String, String)> {
        named(kind).unwrap().resource(value, &home()).ok().map(|resource| (resource.id, resource.name))
    }

    #[test]
    fn names_and_arns_become_arns_of_the_account() {
        for (kind, value, arn, name) in [
            ("aws.s3_bucket", "my-assets", "arn:aws:s3:::my-assets", "my-assets"),
            ("aws.s3_bucket", "arn:aws:s3:::my-assets", "arn:aws:s3:::my-assets", "my-assets"),
            ("aws.sqs_queue", "jobs", "arn:aws:sqs:eu-central-1:123456789012:jobs", "jobs"),
            (
                "aws.sqs_queue",
                "arn:aws:sqs:us-east-1:123456789012:jobs",
                "arn:aws:sqs:us-east-1:123456789012:jobs",
                "arn:aws:sqs:us-east-1:123456789012:jobs",
            ),
            (
                "aws.ssm_parameter",
                "/web/KEY",
                "arn:aws:ssm:eu-central-1:123456789012:parameter/web/KEY",
                "/web/KEY",
            ),
            (
                "aws.secret",
                "arn:aws:secretsmanager:eu-central-1:123456789012:secret:web/db-AbCdEf",
                "arn:aws:secretsmanager:eu-central-1:123456789012:secret:web/db",
                "web/db",
            ),
            (
                "aws.bedrock_model",
                "amazon.nova-lite-v1:0",
                "arn:aws:bedrock:eu-central-1::foundation-model/amazon.nova-lite-v1:0",
                "amazon.nova-lite-v1:0",
            ),
            ("aws.account", "123456789012", "123456789012", "123456789012"),
        ] {
            assert_eq!(resolved(kind, value), Some((arn.to_owned(), name.to_owned())), "{kind} {value}");
        }
    }

    #[test]
    fn what_would_reach_more_or_elsewhere_is_no_resource() {
        for (kind, value) in [
            ("aws.s3_bucket", "*"),
            ("aws.s3_bucket", "a/b"),
            ("aws.s3_bucket", ""),
            ("aws.sqs_queue", "job?"),
            ("aws.sqs_queue", "${aws:username}"),
            ("aws.sqs_queue", "arn:aws:sqs:eu-central-1:999999999999:jobs"),
            ("aws.sqs_queue", "arn:aws:sns:eu-central-1:123456789012:jobs"),
            ("aws.sqs_queue", "arn:aws-cn:sqs:eu-central-1:123456789012:jobs"),
            ("aws.sqs_queue", "arn:aws:sqs:*:123456789012:jobs"),
            ("aws.sqs_queue", "arn:aws:sqs:eu-central-1:123456789012:*"),
            ("aws.lambda_function", "resize:live"),
            ("aws.account", "999999999999"),
            ("aws.account", "*"),
        ] {
            assert_eq!(resolved(kind, value), None, "{kind} {value}");
        }
    }

    #[test]
    fn what_a_scope_writes_is_read_back_as_the_same_resources() {
        for told in PARAMETERS.iter().filter(|told| told.kind != "aws.account") {
            let kind = named(told.kind).unwrap();
            let arns = ["one", "two"].map(|name| kind.resource(name, &home()).unwrap().id);
            for scope in told.scopes {
                let written = patterns(scope, arns.iter().map(String::as_str));
                let (read, mut ids) = reached(&written, &home()).unwrap();
                ids.sort();
                assert_eq!((read.told.kind, ids), (told.kind, arns.to_vec()), "{scope}");
                assert_eq!(of_scope(scope).unwrap().told.kind, told.kind);
            }
        }
        assert_eq!(reached(&["*".to_owned()], &home()).unwrap().1, ["123456789012"]);
        for odd in [
            vec!["arn:aws:s3:::*".to_owned()],
            vec!["arn:aws:s3:::a/*".to_owned(), "arn:aws:s3:::b".to_owned()],
            vec!["*".to_owned(), "arn:aws:s3:::a".to_owned()],
            vec!["arn:aws:sqs:eu-central-1:123456789012:jobs*".to_owned()],
            vec![],
        ] {
            assert!(reached(&odd, &home()).is_none(), "{odd:?}");
        }
    }
}
