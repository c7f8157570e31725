//! Resources: our kinds, Cloudflare's scopes, and the notation that policies use.
//!
//! | kind | id | notation in a policy |
//! |---|---|---|
//! | `cloudflare.account` | the account's | `com.cloudflare.api.account.<A>` |
//! | `cloudflare.zone` | the zone's | `com.cloudflare.api.account.zone.<Z>` |
//! | `cloudflare.all_zones` | the account's | `{"com.cloudflare.api.account.<A>": {"com.cloudflare.api.account.zone.*": "*"}}` |
//! | `cloudflare.r2_bucket` | `<A>_<jurisdiction>_<bucket>` | `com.cloudflare.edge.r2.bucket.<A>_<jurisdiction>_<bucket>` |
//! | `cloudflare.user` | the user's | `com.cloudflare.api.user.<U>` |

use std::collections::BTreeMap;

use keywright_core::grant::Resource;
use serde_json::Value;

use super::shapes::ResourceBody;
use crate::provider::ParameterKind;

const ACCOUNT: &str = "com.cloudflare.api.account";
const ZONE: &str = "com.cloudflare.api.account.zone";
const USER: &str = "com.cloudflare.api.user";
const BUCKET: &str = "com.cloudflare.edge.r2.bucket";
const EVERY_ZONE: &str = "com.cloudflare.api.account.zone.*";

/// Jurisdictions of R2 buckets.
const JURISDICTIONS: [&str; 3] = ["default", "eu", "fedramp"];

/// A kind of resource that a parameter can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Account,
    Zone,
    /// Every zone of one account, present and future. Never derived: only a parameter of this kind gives it.
    AllZones,
    Bucket,
    User,
}

/// What a permission group applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    Account,
    Zone,
    Bucket,
    User,
}

/// The kinds, as the registry tells them.
pub(in crate::provider) const PARAMETERS: &[ParameterKind] = &[
    ParameterKind {
        kind: Kind::Account.name(),
        scopes: &["account"],
        from_connection: true,
        help: "the connection's account, by its id or its exact name",
    },
    ParameterKind {
        kind: Kind::Zone.name(),
        scopes: &["zone"],
        from_connection: false,
        help: "one zone, by its exact name (`example.com`) or its id",
    },
    ParameterKind {
        kind: Kind::AllZones.name(),
        scopes: &["zone"],
        from_connection: false,
        help: "every zone of the account, present and future, by the account's id or exact name",
    },
    ParameterKind {
        kind: Kind::Bucket.name(),
        scopes: &["bucket"],
        from_connection: false,
        help: "one R2 bucket: `bucket`, or `jurisdiction/bucket` as in `eu/assets`",
    },
    ParameterKind {
        kind: Kind::User.name(),
        scopes: &["user"],
        from_connection: true,
        help: "the user whom a user-owned parent belongs to: `me`, or the user's id",
    },
];

impl Kind {
    const ALL: [Self; 5] = [Self::Account, Self::Zone, Self::AllZones, Self::Bucket, Self::User];

    /// Its name, as templates write it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Account => "cloudflare.account",
            Self::Zone => "cloudflare.zone",
            Self::AllZones => "cloudflare.all_zones",
            Self::Bucket => "cloudflare.r2_bucket",
            Self::User => "cloudflare.user",
        }
    }

    /// Reads a name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The names of all kinds.
    pub(super) fn names() -> String {
        Self::ALL.map(|kind| format!("`{}`", kind.name())).join(", ")
    }

    /// The scope of the permissions that apply to it.
    pub(super) fn scope(self) -> Scope {
        match self {
            Self::Account => Scope::Account,
            Self::Zone | Self::AllZones => Scope::Zone,
            Self::Bucket => Scope::Bucket,
            Self::User => Scope::User,
        }
    }

    /// A resource of this kind.
    pub(super) fn resource(self, id: &str, name: &str) -> Resource {
        Resource { kind: self.name().to_owned(), id: id.to_owned(), name: name.to_owned() }
    }

    /// Whether an id has the form of this kind's ids.
    pub(super) fn fits(self, id: &str) -> bool {
        match self {
            Self::Bucket => is_bucket_id(id),
            Self::Account | Self::Zone | Self::AllZones | Self::User => is_id(id),
        }
    }

    /// The entry of a policy's `resources` for one id of this kind.
    pub(super) fn write(self, id: &str) -> (String, ResourceBody) {
        let whole = ResourceBody::Whole("*");
        match self {
            Self::Account => (format!("{ACCOUNT}.{id}"), whole),
            Self::Zone => (format!("{ZONE}.{id}"), whole),
            Self::AllZones => {
                (format!("{ACCOUNT}.{id}"), ResourceBody::Within(BTreeMap::from([(EVERY_ZONE, "*")])))
            }
            Self::Bucket => (format!("{BUCKET}.{id}"), whole),
            Self::User => (format!("{USER}.{id}"), whole),
        }
    }

    /// Reads an entry of a policy's `resources`; `None` for every notation that [`Kind::write`] does not write.
    pub(super) fn read(key: &str, value: &Value) -> Option<(Self, String)> {
        let (kind, id) = match value {
            Value::String(star) if star == "*" => {
                // The zone's prefix begins with the account's, so it is tried first.
                let prefixes = [
                    (Self::Zone, ZONE),
                    (Self::Account, ACCOUNT),
                    (Self::Bucket, BUCKET),
                    (Self::User, USER),
                ];
                prefixes
                    .into_iter()
                    .find_map(|(kind, prefix)| Some((kind, key.strip_prefix(prefix)?.strip_prefix('.')?)))?
            }
            Value::Object(within) if within.len() == 1 => {
                let every = within.get(EVERY_ZONE).and_then(Value::as_str) == Some("*");
                let account = key.strip_prefix(ACCOUNT)?.strip_prefix('.')?;
                every.then_some((Self::AllZones, account))?
            }
            _ => return None,
        };
        kind.fits(id).then(|| (kind, id.to_owned()))
    }
}

impl Scope {
    /// Reads a scope: the provider's word, or the catalog's short one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            ACCOUNT | "account" => Some(Self::Account),
            ZONE | "zone" => Some(Self::Zone),
            BUCKET | "bucket" => Some(Self::Bucket),
            USER | "user" => Some(Self::User),
            _ => None,
        }
    }

    /// What such a permission needs to be confined to.
    pub(super) fn needs(self) -> &'static str {
        match self {
            Self::Account => "an account",
            Self::Zone => "a zone",
            Self::Bucket => "an R2 bucket",
            Self::User => "a user",
        }
    }
}

/// Whether this is an id: 32 lower-case hexadecimal digits.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The id of a bucket, from `bucket` or `jurisdiction/bucket`; `None` when it is neither.
pub(super) fn bucket_id(account: &str, text: &str) -> Option<String> {
    let (jurisdiction, bucket) = text.split_once('/').unwrap_or(("default", text));
    let id = format!("{account}_{jurisdiction}_{bucket}");
    is_bucket_id(&id).then_some(id)
}

/// Bucket names: 3 to 63 lower-case letters, digits and hyphens, no hyphen at either end (R2 documentation).
fn is_bucket_id(id: &str) -> bool {
    let Some((account, rest)) = id.split_once('_') else { return false };
    let Some((jurisdiction, bucket)) = rest.split_once('_') else { return false };
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    is_id(account)
        && JURISDICTIONS.contains(&jurisdiction)
        && (3..=63).contains(&bucket.len())
        && bucket.bytes().all(good)
        && !bucket.starts_with('-')
        && !bucket.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn every_kind_reads_what_it_writes() {
        let bucket = format!("{ID}_eu_my-bucket");
        for kind in Kind::ALL {
            let id = if kind == Kind::Bucket { bucket.as_str() } else { ID };
            let (key, value) = kind.write(id);
            assert_eq!(Kind::read(&key, &serde_json::to_value(value).unwrap()), Some((kind, id.to_owned())));
            assert_eq!(Kind::parse(kind.name()), Some(kind));
        }
    }

    #[test]
    fn what_the_registry_tells_is_what_confining_does() {
        let told: Vec<Kind> = PARAMETERS.iter().map(|told| Kind::parse(told.kind).unwrap()).collect();
        assert_eq!(told, Kind::ALL);
        for (told, kind) in PARAMETERS.iter().zip(Kind::ALL) {
            for word in ["account", "zone", "bucket", "user", "planet"] {
                assert_eq!(
                    told.confines(word),
                    Scope::parse(word) == Some(kind.scope()),
                    "{} {word}",
                    told.kind
                );
            }
        }
    }

    #[test]
    fn every_other_notation_is_not_understood() {
        let of = |prefix: &str| format!("{prefix}.{ID}");
        for (key, value) in [
            (of(ZONE), json!("read")),
            (of(ZONE), json!(null)),
            (of("com.cloudflare.api.token"), json!("*")),
            (format!("{ZONE}.*"), json!("*")),
            (format!("{ACCOUNT}.*"), json!("*")),
            (format!("{ACCOUNT}.{}", ID.to_uppercase()), json!("*")),
            (of(ACCOUNT), json!({})),
            (of(ACCOUNT), json!({ZONE: "*"})),
            (of(ACCOUNT), json!({"com.cloudflare.api.account.zone.*": "read"})),
            (of(ACCOUNT), json!({"com.cloudflare.api.account.zone.*": "*", of(ZONE): "*"})),
            (of(ZONE), json!({"com.cloudflare.api.account.zone.*": "*"})),
            (format!("{BUCKET}.{ID}_default_*"), json!("*")),
            (format!("{BUCKET}.*"), json!("*")),
        ] {
            assert_eq!(Kind::read(&key, &value), None, "{key} {value}");
        }
    }

    #[test]
    fn bucket_names_are_checked() {
        assert_eq!(bucket_id(ID, "assets"), Some(format!("{ID}_default_assets")));
        assert_eq!(bucket_id(ID, "eu/assets-2"), Some(format!("{ID}_eu_assets-2")));
        for wrong in
            ["", "ab", "-abc", "abc-", "Abc", "a_b", "*", "mars/assets", "eu/eu/assets", &"a".repeat(64)]
        {
            assert_eq!(bucket_id(ID, wrong), None, "{wrong}");
        }
    }
}
