//! Resource strings: what a policy covers.
//!
//! Forms: account `com.cloudflare.api.account.<A>`, zone `com.cloudflare.api.account.zone.<Z>`, all zones of an account
//! `{"com.cloudflare.api.account.<A>": {"com.cloudflare.api.account.zone.*": "*"}}`, user `com.cloudflare.api.user.<U>`,
//! bucket `com.cloudflare.edge.r2.bucket.<A>_<jurisdiction>_<name>`. The value is always `"*"`.

use serde_json::{Map, Value};

use super::group::Scope;
use crate::envelope::Refusal;

const ACCOUNT: &str = "com.cloudflare.api.account.";
const ZONE: &str = "com.cloudflare.api.account.zone.";
const USER: &str = "com.cloudflare.api.user.";
const BUCKET: &str = "com.cloudflare.edge.r2.bucket.";
/// How many resources one policy may name.
const MOST_RESOURCES: usize = 500;

/// One resource of a policy. `None` stands for `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Account(Option<String>),
    Zone(Option<String>),
    ZonesOf(String),
    User(String),
    Bucket { account: String, jurisdiction: String, name: String },
}

/// The thing that a call touches.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Account(String),
    Zone { zone: String, account: String },
    User(String),
    Bucket { account: String, name: String },
}

impl Resource {
    /// The resource for one zone.
    pub(crate) fn zone_key(zone: &str) -> String {
        format!("{ZONE}{zone}")
    }

    /// Reads the `resources` object of a policy. The published schema allows either the flat or the nested form in one
    /// policy, never a mixture, and an empty object matches both, which its `oneOf` forbids.
    pub(crate) fn parse_all(resources: &Map<String, Value>) -> Result<Vec<Self>, Refusal> {
        if resources.is_empty() {
            return Err(Refusal::invalid("a policy needs at least one resource"));
        }
        let nested = resources.values().filter(|value| value.is_object()).count();
        if nested != 0 && nested != resources.len() {
            return Err(Refusal::invalid("a policy can't mix nested and flat resources"));
        }
        let mut parsed = Vec::new();
        for (key, value) in resources {
            match value {
                Value::Object(inner) => Self::parse_nested(key, inner, &mut parsed)?,
                Value::String(star) if star == "*" => parsed.push(Self::parse_key(key)?),
                _ => return Err(Refusal::invalid(format!("the value of resource `{key}` must be `*`"))),
            }
            if parsed.len() > MOST_RESOURCES {
                return Err(Refusal::invalid(format!("a policy names at most {MOST_RESOURCES} resources")));
            }
        }
        Ok(parsed)
    }

    /// The scope that a group needs to apply to this resource.
    pub(crate) fn scope(&self) -> Scope {
        match self {
            Self::Account(_) => Scope::Account,
            Self::Zone(_) | Self::ZonesOf(_) => Scope::Zone,
            Self::User(_) => Scope::User,
            Self::Bucket { .. } => Scope::Bucket,
        }
    }

    /// Whether `target` is within this resource.
    pub(crate) fn covers(&self, target: &Target) -> bool {
        match (self, target) {
            (Self::Account(None), Target::Account(_)) | (Self::Zone(None), Target::Zone { .. }) => true,
            (Self::Account(Some(mine)), Target::Account(account)) => mine == account,
            (Self::Zone(Some(mine)), Target::Zone { zone, .. }) => mine == zone,
            (Self::ZonesOf(mine), Target::Zone { account, .. }) => mine == account,
            (Self::User(mine), Target::User(user)) => mine == user,
            // The sandbox's buckets all live in the default jurisdiction.
            (
                Self::Bucket { account: mine, jurisdiction, name: bucket },
                Target::Bucket { account, name },
            ) => mine == account && bucket == name && jurisdiction == "default",
            _ => false,
        }
    }

    fn parse_nested(key: &str, inner: &Map<String, Value>, parsed: &mut Vec<Self>) -> Result<(), Refusal> {
        let Self::Account(Some(account)) = Self::parse_key(key)? else {
            return Err(Refusal::invalid(format!("`{key}` can't hold nested resources")));
        };
        if inner.is_empty() {
            return Err(Refusal::invalid(format!("`{key}` holds no nested resource")));
        }
        for (inner_key, value) in inner {
            match (Self::parse_key(inner_key)?, value.as_str()) {
                (Self::Zone(None), Some("*")) => parsed.push(Self::ZonesOf(account.clone())),
                (Self::Zone(Some(zone)), Some("*")) => parsed.push(Self::Zone(Some(zone))),
                _ => return Err(Refusal::invalid(format!("`{inner_key}` can't be nested in an account"))),
            }
        }
        Ok(())
    }

    fn parse_key(key: &str) -> Result<Self, Refusal> {
        let star = |id: &str| if id == "*" { None } else { Some(id.to_owned()) };
        // The zone prefix begins with the account prefix, so it is tried first.
        if let Some(id) = key.strip_prefix(ZONE) {
            return Ok(Self::Zone(star(id)));
        }
        if let Some(id) = key.strip_prefix(ACCOUNT) {
            return Ok(Self::Account(star(id)));
        }
        if let Some(id) = key.strip_prefix(USER) {
            return Ok(Self::User(id.to_owned()));
        }
        if let Some((account, rest)) = key.strip_prefix(BUCKET).and_then(|rest| rest.split_once('_'))
            && let Some((jurisdiction, name)) = rest.split_once('_')
        {
            let (account, jurisdiction, name) =
                (account.to_owned(), jurisdiction.to_owned(), name.to_owned());
            return Ok(Self::Bucket { account, jurisdiction, name });
        }
        Err(Refusal::invalid(format!("`{key}` is not a resource")))
    }
}
