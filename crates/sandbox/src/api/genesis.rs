//! The first moment of a world: accounts, zones, and the two parent tokens.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::kv::Namespace;
use crate::config::{AccountSpec, SandboxConfig};
use crate::error::SandboxError;
use crate::grant::group::Group;
use crate::grant::policy::{Effect, Policy};
use crate::grant::resource::Resource;
use crate::ids::{Ids, fresh_value, is_id};
use crate::token::book::TokenBook;
use crate::token::{Owner, Token, Uses};
use crate::world::{Account, Limits, World, Zone};

/// What the account's parent may do: make tokens, and read the names that requests are resolved against.
const PARENT_ACCOUNT_GROUPS: &[&str] = &[
    "5bc3f8b21c554832afc660159ab75fa4", // Account API Tokens Write
    "c1fde68c7bcc44588cbb6ddbc16d6480", // Account Settings Read
];
const PARENT_ZONE_GROUPS: &[&str] = &["c8fed203ed3043cba015a93ad1616f1f"]; // Zone Read
const PARENT_USER_GROUPS: &[&str] = &["686d18d5ac6c441c867cbf6771e58a0a"]; // API Tokens Write

/// Builds the world.
pub(crate) fn world(config: &SandboxConfig, now: Timestamp) -> Result<World, SandboxError> {
    let mut ids = Ids::new(config.seed)?;
    let accounts =
        config.accounts.iter().map(|spec| account(spec, &mut ids)).collect::<Result<Vec<_>, _>>()?;
    let first =
        accounts.first().ok_or_else(|| SandboxError::Config("it needs an account".to_owned()))?.id.clone();
    let lag = SignedDuration::try_from(config.last_used_lag)
        .map_err(|_| SandboxError::Config("`last_used_lag` is too long".to_owned()))?;
    let mut world = World {
        user: ids.next(),
        ids,
        accounts,
        tokens: TokenBook::default(),
        limits: Limits {
            account_tokens: config.account_token_quota,
            user_tokens: config.user_token_quota,
            last_used_lag: lag,
            stored: config.stored_limit,
        },
        born: now,
    };
    world.check_distinct()?;
    let account_key = format!("com.cloudflare.api.account.{first}");
    let policies = vec![
        world.policy(PARENT_ACCOUNT_GROUPS, json!({account_key.as_str(): "*"}))?,
        world.policy(PARENT_ZONE_GROUPS, json!({account_key: {"com.cloudflare.api.account.zone.*": "*"}}))?,
    ];
    let value = match &config.parent_token {
        Some(value)
            if (40..=80).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic()) =>
        {
            value.clone()
        }
        Some(_) => {
            return Err(SandboxError::Config("a token has 40 to 80 visible ASCII characters".to_owned()));
        }
        None => fresh_value().map_err(SandboxError::Randomness)?,
    };
    world.add_parent("parent", Owner::Account(first), value, policies, now);
    let user_key = format!("com.cloudflare.api.user.{}", world.user);
    let policies = vec![world.policy(PARENT_USER_GROUPS, json!({user_key: "*"}))?];
    let value = fresh_value().map_err(SandboxError::Randomness)?;
    world.add_parent("user parent", Owner::User, value, policies, now);
    Ok(world)
}

impl World {
    fn add_parent(&mut self, name: &str, owner: Owner, value: String, policies: Vec<Policy>, now: Timestamp) {
        self.tokens.add(Token {
            id: self.ids.next(),
            owner,
            name: name.to_owned(),
            value,
            policies,
            condition: None,
            not_before: None,
            expires_on: None,
            disabled: false,
            issued_on: now,
            modified_on: now,
            uses: Uses::default(),
            refusals_left: 0,
        });
    }

    fn policy(&mut self, groups: &[&str], resources: Value) -> Result<Policy, SandboxError> {
        let written: Map<String, Value> = match resources {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        let resources =
            Resource::parse_all(&written).map_err(|refusal| SandboxError::Config(refusal.message))?;
        let groups = groups.iter().filter_map(|id| Group::find(id)).collect();
        Ok(Policy { id: self.ids.next(), effect: Effect::Allow, groups, resources, written })
    }

    fn check_distinct(&self) -> Result<(), SandboxError> {
        let mut ids: Vec<&str> = self.accounts.iter().map(|account| account.id.as_str()).collect();
        ids.extend(
            self.accounts.iter().flat_map(|account| account.zones.iter().map(|zone| zone.id.as_str())),
        );
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() == count {
            Ok(())
        } else {
            Err(SandboxError::Config("two things have the same id".to_owned()))
        }
    }
}

fn account(spec: &AccountSpec, ids: &mut Ids) -> Result<Account, SandboxError> {
    let id = given_id(spec.id.as_deref(), ids)?;
    let mut zones = Vec::new();
    for zone in &spec.zones {
        if !is_domain(&zone.name) {
            return Err(SandboxError::Config(format!("`{}` is not a domain name", zone.name)));
        }
        let id = given_id(zone.id.as_deref(), ids)?;
        zones.push(Zone { id, name: zone.name.clone(), records: Vec::new(), purges: 0 });
    }
    let namespaces =
        spec.kv_namespaces.iter().map(|title| Namespace::new(ids.next(), title.clone())).collect();
    Ok(Account { id, name: spec.name.clone(), zones, namespaces, buckets: std::collections::BTreeMap::new() })
}

fn given_id(given: Option<&str>, ids: &mut Ids) -> Result<String, SandboxError> {
    match given {
        None => Ok(ids.next()),
        Some(id) if is_id(id) => Ok(id.to_owned()),
        Some(id) => Err(SandboxError::Config(format!("`{id}` is not an id of 32 lower-case hex digits"))),
    }
}

/// The published pattern for zone names: labels of letters, digits and hyphens, and a last one of 2 to 20 characters.
fn is_domain(name: &str) -> bool {
    let label_fits = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253
        && name.contains('.')
        && name.split('.').all(label_fits)
        && (2..=20).contains(&last.len())
}
