//! A token of GitLab: whose it is, what is asked of it, and what is seen of it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use keywright_core::grant::{ObservedGrant, Permission, Resource};
use keywright_core::provider::ProviderError;
use keywright_core::text::{Untrusted, escaped};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::{unknown_kind, unsupported};
use super::{KIND, PARAMETERS};

/// What a token belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Project,
    Group,
}

impl Owner {
    pub(super) const fn word(self) -> &'static str {
        if matches!(self, Self::Project) { "project" } else { "group" }
    }

    pub(super) const fn collection(self) -> &'static str {
        if matches!(self, Self::Project) { "projects" } else { "groups" }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        [Self::Project, Self::Group].into_iter().find(|owner| owner.word() == word)
    }
}

/// Between the marker and the end of the grant.
pub(super) const UNTIL: &str = " until ";
const DAY: i64 = 86_400;
const ROLES: [(&str, u64); 6] =
    [("guest", 10), ("planner", 15), ("reporter", 20), ("developer", 30), ("maintainer", 40), ("owner", 50)];
/// What a token shows besides what it may do.
const COSMETIC: [&str; 7] =
    ["description", "created_at", "user_id", "last_used_at", "last_used_ips", "resource_type", "resource_id"];

/// A token as GitLab shows it.
#[derive(Deserialize)]
pub(super) struct Token {
    pub(super) id: u64,
    pub(super) name: String,
    #[serde(default)]
    pub(super) scopes: Vec<String>,
    pub(super) access_level: Option<u64>,
    pub(super) expires_at: Option<String>,
    pub(super) active: bool,
    pub(super) revoked: bool,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

impl Token {
    pub(super) fn time(&self, name: &str) -> Option<Timestamp> {
        self.rest.get(name)?.as_str()?.parse().ok()
    }
}

/// A token's id: `project:42:7`, of what the token belongs to, its number, the token's; or `user:7`, of the parent's own
/// user.
#[derive(Clone, Copy)]
pub(super) struct Id<'a> {
    /// `None` for the user's own.
    pub(super) of: Option<(Owner, &'a str)>,
    pub(super) token: &'a str,
}

impl<'a> Id<'a> {
    pub(super) fn parse(id: &'a str) -> Result<Self, ProviderError> {
        let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let mut parts = id.split(':');
        let owner = parts.next();
        let numbers: Vec<&str> = parts.collect();
        let of = owner.and_then(Owner::parse);
        match (of, numbers.as_slice()) {
            _ if !numbers.iter().all(is_number) => {}
            (Some(owner), [number, token]) => return Ok(Self { of: Some((owner, number)), token }),
            (None, [token]) if owner == Some("user") => return Ok(Self { of: None, token }),
            _ => {}
        }
        Err(unsupported(KIND, format!("`{}` is not the id of a token", escaped(id))))
    }

    /// Where the token is: `/projects/:id/access_tokens/:id`, `/groups/...`, or `/personal_access_tokens/:id`.
    pub(super) fn path(self) -> Vec<&'a str> {
        match self.of {
            Some((owner, number)) => vec![owner.collection(), number, "access_tokens", self.token],
            None => vec!["personal_access_tokens", self.token],
        }
    }
}

/// What a grant asks of a token: what it belongs to, its scopes, its role.
pub(super) struct Asked<'a> {
    pub(super) owner: Owner,
    pub(super) of: &'a Resource,
    pub(super) scopes: Vec<&'a str>,
    pub(super) access_level: u64,
}

pub(super) fn asked<'a>(
    permissions: &'a [Permission],
    resources: &'a [Resource],
) -> Result<Asked<'a>, ProviderError> {
    let [of] = resources else {
        return Err(unsupported(KIND, "a token is for one project or one group, no more and no fewer"));
    };
    let owner = of.kind.strip_prefix("gitlab.").and_then(Owner::parse);
    let owner = owner.ok_or_else(|| unknown_kind(KIND, &of.kind, PARAMETERS))?;
    let (mut scopes, mut roles) = (Vec::new(), Vec::new());
    for permission in permissions {
        let Some(rest) = permission.id.strip_prefix(owner.word()).and_then(|rest| rest.strip_prefix('/'))
        else {
            let (name, owner) = (escaped(&permission.name), owner.word());
            return Err(unsupported(KIND, format!("`{name}` is not a permission of a {owner}'s token")));
        };
        match rest.strip_prefix("role/") {
            Some(role) => roles.extend(ROLES.iter().find(|(name, _)| *name == role)),
            None => scopes.push(rest),
        }
    }
    match roles.as_slice() {
        [(_, access_level)] if !scopes.is_empty() => {
            Ok(Asked { owner, of, scopes, access_level: *access_level })
        }
        _ => Err(unsupported(KIND, "a token has one role and at least one scope")),
    }
}

/// The first midnight that is not before the time, as a date.
pub(super) fn last_day(end: Timestamp) -> String {
    let midnight = (end.as_second() + DAY - 1).div_euclid(DAY) * DAY;
    let midnight = Timestamp::from_second(midnight).unwrap_or(Timestamp::MAX);
    midnight.strftime("%Y-%m-%d").to_string()
}

pub(super) fn midnight(day: &str) -> Option<Timestamp> {
    format!("{day}T00:00:00Z").parse().ok()
}

/// What a token shows that is neither understood nor cosmetic.
pub(super) fn oddities(token: &Token, known: &[&str]) -> Vec<Untrusted> {
    let is_empty =
        |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty) || *value == false;
    let odd = token.rest.iter().filter(|(name, value)| {
        !is_empty(value) && !COSMETIC.contains(&name.as_str()) && !known.contains(&name.as_str())
    });
    let mut odd: Vec<Untrusted> =
        odd.map(|(name, _)| Untrusted::capped(&format!("token.{name}"), 120)).collect();
    if !token.active {
        odd.push(Untrusted::capped("it is not active", 120));
    }
    odd
}

/// When a token ends: as its name says, if the date fits it, or at the midnight of its date.
pub(super) fn end_of(token: &Token) -> Option<Timestamp> {
    let named: Option<Timestamp> = token.name.split_once(UNTIL).and_then(|(_, end)| end.parse().ok());
    match named {
        Some(end) if Some(last_day(end)) == token.expires_at => Some(end),
        _ => token.expires_at.as_deref().and_then(midnight),
    }
}

pub(super) fn observe(owner: Owner, number: String, token: &Token) -> ObservedGrant {
    let mut odd = oddities(token, &[]);
    let mut note = |what: String| odd.push(Untrusted::capped(&what, 120));
    let mut permissions: BTreeSet<String> =
        token.scopes.iter().map(|scope| format!("{}/{scope}", owner.word())).collect();
    match ROLES.iter().find(|(_, level)| Some(*level) == token.access_level) {
        Some((role, _)) => drop(permissions.insert(format!("{}/role/{role}", owner.word()))),
        None => note(format!("access_level: {:?}", token.access_level)),
    }
    ObservedGrant {
        permissions,
        resources: BTreeSet::from([(format!("gitlab.{}", owner.word()), number)]),
        expires_at: end_of(token),
        not_understood: odd,
        ..ObservedGrant::default()
    }
    .labelled(&token.name)
}
