//! What a client asks for when it creates or replaces a token, and what is wrong with it.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Owner, whole};
use crate::envelope::Refusal;
use crate::grant::cidr::{Cidr, IpCondition};
use crate::grant::group::{Group, Scope};
use crate::grant::policy::{Effect, Policy};
use crate::grant::resource::Resource;
use crate::ids::Ids;

/// The longest name, in characters.
const LONGEST_NAME: usize = 120;
/// How many policies one token may have.
const MOST_POLICIES: usize = 50;
/// How many ranges one list of an address condition may have.
const MOST_RANGES: usize = 200;

/// A request for a token that makes sense.
pub(crate) struct Ask {
    pub(crate) name: String,
    pub(crate) policies: Vec<Policy>,
    pub(crate) condition: Option<IpCondition>,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) expires_on: Option<Timestamp>,
    pub(crate) disabled: bool,
    /// The client wrote `expired`, which only an expired token may stay.
    pub(crate) says_expired: bool,
}

/// What an owner's tokens may name.
pub(crate) struct Reach<'a> {
    pub(crate) owner: &'a Owner,
    /// (zone id, account id) of every zone.
    pub(crate) zones: Vec<(&'a str, &'a str)>,
    pub(crate) accounts: Vec<&'a str>,
    pub(crate) user: &'a str,
}

/// The body on the wire. Fields that the API does not know are ignored, in the condition too: a client that writes the
/// old key `request.ip` gets a token without an address limit, and only the read-back tells.
#[derive(Deserialize)]
struct TokenBody {
    name: String,
    policies: Vec<PolicyBody>,
    condition: Option<ConditionBody>,
    not_before: Option<String>,
    expires_on: Option<String>,
    status: Option<String>,
}

#[derive(Deserialize)]
struct PolicyBody {
    effect: Effect,
    permission_groups: Vec<GroupBody>,
    resources: Map<String, Value>,
}

#[derive(Deserialize)]
struct GroupBody {
    id: String,
}

#[derive(Deserialize)]
struct ConditionBody {
    request_ip: Option<RequestIpBody>,
}

#[derive(Deserialize)]
struct RequestIpBody {
    #[serde(default, rename = "in")]
    allowed: Vec<String>,
    #[serde(default, rename = "not_in")]
    refused: Vec<String>,
}

impl Ask {
    /// Reads and checks a body. A field that is left out is dropped from the token, whatever it was before, and a
    /// `status` that is left out means active: the hardest reading of "replaces the whole object".
    pub(crate) fn parse(body: &[u8], reach: &Reach<'_>, ids: &mut Ids) -> Result<Self, Refusal> {
        let body: TokenBody = serde_json::from_slice(body)
            .map_err(|error| Refusal::invalid(format!("the request body is not a token: {error}")))?;
        let length = body.name.chars().count();
        if body.name.trim().is_empty() || length > LONGEST_NAME {
            return Err(Refusal::invalid(format!("`name` must have 1 to {LONGEST_NAME} characters")));
        }
        if body.policies.is_empty() || body.policies.len() > MOST_POLICIES {
            return Err(Refusal::invalid(format!("`policies` must have 1 to {MOST_POLICIES} entries")));
        }
        let policies = body.policies.into_iter().map(|policy| policy.check(reach, ids));
        let policies = policies.collect::<Result<Vec<_>, _>>()?;
        let not_before = time("not_before", body.not_before.as_deref())?;
        let expires_on = time("expires_on", body.expires_on.as_deref())?;
        if let (Some(start), Some(end)) = (not_before, expires_on)
            && start >= end
        {
            return Err(Refusal::invalid("`not_before` must be earlier than `expires_on`"));
        }
        let (disabled, says_expired) = match body.status.as_deref() {
            None | Some("active") => (false, false),
            Some("disabled") => (true, false),
            Some("expired") => (false, true),
            Some(_) => return Err(Refusal::invalid("`status` must be `active` or `disabled`")),
        };
        let condition = body.condition.and_then(|condition| condition.request_ip);
        let condition = condition.map(RequestIpBody::check).transpose()?.flatten();
        Ok(Self { name: body.name, policies, condition, not_before, expires_on, disabled, says_expired })
    }
}

impl PolicyBody {
    fn check(self, reach: &Reach<'_>, ids: &mut Ids) -> Result<Policy, Refusal> {
        if self.permission_groups.is_empty() {
            return Err(Refusal::invalid("a policy needs at least one permission group"));
        }
        let mut groups: Vec<&'static Group> = Vec::new();
        for asked in &self.permission_groups {
            let group = Group::find(&asked.id)
                .ok_or_else(|| Refusal::invalid(format!("there is no permission group `{}`", asked.id)))?;
            if group.scope == Scope::User && *reach.owner != Owner::User {
                return Err(Refusal::invalid(format!("an account token can't hold `{}`", group.name)));
            }
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        let resources = Resource::parse_all(&self.resources)?;
        for resource in &resources {
            reach.check(resource)?;
            if !groups.iter().any(|group| group.scope == resource.scope()) {
                let scope = resource.scope().wire_name();
                return Err(Refusal::invalid(format!(
                    "no permission group applies to the resource of `{scope}`"
                )));
            }
        }
        for group in &groups {
            if !resources.iter().any(|resource| resource.scope() == group.scope) {
                let scope = group.scope.wire_name();
                return Err(Refusal::invalid(format!("`{}` needs a resource of `{scope}`", group.name)));
            }
        }
        Ok(Policy { id: ids.next(), effect: self.effect, groups, resources, written: self.resources })
    }
}

impl RequestIpBody {
    fn check(self) -> Result<Option<IpCondition>, Refusal> {
        let condition = IpCondition { allowed: ranges(&self.allowed)?, refused: ranges(&self.refused)? };
        let empty = condition.allowed.is_empty() && condition.refused.is_empty();
        Ok(if empty { None } else { Some(condition) })
    }
}

impl Reach<'_> {
    /// Whether the owner may name this resource: an account's token names itself and its own zones and buckets only.
    fn check(&self, resource: &Resource) -> Result<(), Refusal> {
        let mine = |account: &str| match self.owner {
            Owner::Account(owner) => owner == account,
            Owner::User => self.accounts.contains(&account),
        };
        let known = match resource {
            Resource::Account(None) | Resource::Zone(None) => true,
            Resource::Account(Some(account))
            | Resource::ZonesOf(account)
            | Resource::Bucket { account, .. } => mine(account),
            Resource::Zone(Some(zone)) => self.zones.iter().any(|(id, account)| id == zone && mine(account)),
            Resource::User(user) => *self.owner == Owner::User && user == self.user,
        };
        if known { Ok(()) } else { Err(Refusal::invalid("a resource is not one of the owner's")) }
    }
}

fn ranges(texts: &[String]) -> Result<Vec<Cidr>, Refusal> {
    if texts.len() > MOST_RANGES {
        return Err(Refusal::invalid(format!("a condition holds at most {MOST_RANGES} ranges")));
    }
    let parse = |text: &String| {
        Cidr::parse(text).ok_or_else(|| Refusal::invalid(format!("`{text}` is not an address range")))
    };
    texts.iter().map(parse).collect()
}

fn time(field: &str, text: Option<&str>) -> Result<Option<Timestamp>, Refusal> {
    let parse = |text: &str| match text.parse::<Timestamp>() {
        Ok(time) => Ok(whole(time)),
        Err(_) => Err(Refusal::invalid(format!("`{field}` is not an RFC 3339 time"))),
    };
    text.map(parse).transpose()
}
