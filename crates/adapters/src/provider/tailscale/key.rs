//! A key on the wire: what is asked for, and what is read back.

use std::collections::BTreeSet;

use jiff::Timestamp;
use keywright_core::grant::{ObservedGrant, Permission, Resource};
use keywright_core::provider::ProviderError;
use keywright_core::text::{Untrusted, escaped};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ACCOUNT, KIND, Mints, TAG};
use crate::provider::unsupported;

const JOIN: &str = "auth-key/join";
const REUSABLE: &str = "auth-key/reusable";
const EPHEMERAL: &str = "auth-key/ephemeral";
const PREAUTHORIZED: &str = "auth-key/preauthorized";
/// The scopes that reach the devices of the client's tags.
pub(super) const TAGGED: [&str; 2] = ["devices:core", "auth_keys"];
/// What a key shows besides what it may do.
const COSMETIC: [&str; 8] =
    ["expirySeconds", "created", "updated", "userId", "description", "id", "keyType", "expires"];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateBody<'a> {
    key_type: &'static str,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    capabilities: Option<Capabilities>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expiry_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<String>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Capabilities {
    devices: Devices,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Devices {
    create: Create,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    #[serde(default)]
    reusable: bool,
    #[serde(default)]
    ephemeral: bool,
    #[serde(default)]
    preauthorized: bool,
    #[serde(default)]
    tags: Vec<String>,
}

/// What a grant asks of a key.
pub(super) fn body<'a>(
    mints: Mints,
    permissions: &'a [Permission],
    resources: &[Resource],
    end: Option<Timestamp>,
    description: &'a str,
) -> Result<CreateBody<'a>, ProviderError> {
    let tags: Vec<String> =
        resources.iter().filter(|resource| resource.kind == TAG).map(|tag| tag.id.clone()).collect();
    let ids: Vec<&str> = permissions.iter().map(|permission| permission.id.as_str()).collect();
    let has = |id: &str| ids.contains(&id);
    let is_of_auth_key = |id: &&str| id.starts_with("auth-key/");
    match mints {
        Mints::AuthKeys => {
            let known = [JOIN, REUSABLE, EPHEMERAL, PREAUTHORIZED];
            if !has(JOIN) || !ids.iter().all(|id| known.contains(id)) {
                let why = "an auth key has `auth-key/join` and nothing that is not of auth keys; a connection \
                           with `mints=oauth-clients` gives scopes";
                return Err(unsupported(KIND, why));
            }
            if tags.is_empty() {
                return Err(unsupported(KIND, "an auth key without a tag makes devices of a person"));
            }
            let seconds = end.map(|end| end.as_second() - Timestamp::now().as_second());
            let seconds = seconds.filter(|seconds| *seconds > 0);
            if seconds.is_none() && end.is_some() {
                return Err(unsupported(KIND, "a key that has ended before it was made"));
            }
            let create = Create {
                reusable: has(REUSABLE),
                ephemeral: has(EPHEMERAL),
                preauthorized: has(PREAUTHORIZED),
                tags,
            };
            let capabilities = Some(Capabilities { devices: Devices { create } });
            let (expiry_seconds, scopes, tags) = (seconds, None, None);
            Ok(CreateBody { key_type: "auth", description, capabilities, expiry_seconds, scopes, tags })
        }
        Mints::OAuthClients => {
            if let Some(other) = ids.iter().find(|id| is_of_auth_key(id)) {
                return Err(unsupported(KIND, format!("`{}` is of an auth key", escaped(other))));
            }
            let is_tagged = ids.iter().any(|id| TAGGED.contains(id));
            if ids.is_empty() || is_tagged == tags.is_empty() {
                let why = "`devices:core` and `auth_keys` need a tag, and no other scope takes one";
                return Err(unsupported(KIND, why));
            }
            let (capabilities, expiry_seconds) = (None, None);
            let (scopes, tags) = (Some(ids), is_tagged.then_some(tags));
            Ok(CreateBody { key_type: "client", description, capabilities, expiry_seconds, scopes, tags })
        }
    }
}

/// What a key of this tailnet may do.
pub(super) fn observe(tailnet: &str, key: &Map<String, Value>) -> ObservedGrant {
    let mut odd: Vec<String> = Vec::new();
    let (mut permissions, mut resources) = (BTreeSet::new(), BTreeSet::new());
    let list = |name: &str| -> Option<Vec<String>> {
        key.get(name).map_or(Some(Vec::new()), |value| serde_json::from_value(value.clone()).ok())
    };
    let mut tags = list("tags");
    let scopes = list("scopes");
    match text(key, "keyType") {
        Some("auth") => {
            let read = key.get("capabilities").cloned().map(serde_json::from_value::<Capabilities>);
            if let Some(Ok(Capabilities { devices: Devices { create } })) = read {
                permissions.insert(JOIN.to_owned());
                let options = [
                    (create.reusable, REUSABLE),
                    (create.ephemeral, EPHEMERAL),
                    (create.preauthorized, PREAUTHORIZED),
                ];
                permissions.extend(options.iter().filter(|(on, _)| *on).map(|(_, id)| (*id).to_owned()));
                tags = Some(create.tags);
            } else {
                odd.push("capabilities".to_owned());
            }
            if scopes.as_ref().is_none_or(|scopes| !scopes.is_empty()) {
                odd.push("scopes".to_owned());
            }
        }
        Some("client") => match scopes {
            Some(scopes) => {
                if scopes.iter().any(|scope| !TAGGED.contains(&scope.as_str())) {
                    resources.insert((ACCOUNT.to_owned(), tailnet.to_owned()));
                }
                permissions.extend(scopes);
            }
            None => odd.push("scopes".to_owned()),
        },
        other => odd.push(format!("keyType: {}", other.unwrap_or("none"))),
    }
    match tags {
        Some(tags) => resources.extend(tags.into_iter().map(|tag| (TAG.to_owned(), tag))),
        None => odd.push("tags".to_owned()),
    }
    let known = ["capabilities", "scopes", "tags", "revoked", "invalid"];
    for (name, value) in key {
        let is_empty = value.is_null() || value == "" || value.as_object().is_some_and(Map::is_empty);
        if !is_empty && !known.contains(&name.as_str()) && !COSMETIC.contains(&name.as_str()) {
            odd.push(format!("key.{name}"));
        }
    }
    ObservedGrant {
        permissions,
        resources,
        expires_at: time(key, "expires"),
        not_understood: odd.iter().map(|what| Untrusted::capped(what, 120)).collect(),
        ..ObservedGrant::default()
    }
    .labelled(text(key, "description").unwrap_or_default())
}

pub(super) fn text<'a>(key: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    key.get(name)?.as_str()
}

/// A time; the first of January of the year 1 is none.
pub(super) fn time(key: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    text(key, name)?.parse().ok().filter(|at: &Timestamp| at.as_second() > 0)
}

pub(super) fn is_over(key: &Map<String, Value>) -> bool {
    time(key, "revoked").is_some() || key.get("invalid").and_then(Value::as_bool) == Some(true)
}
