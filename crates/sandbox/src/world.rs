//! The state behind the door, and the judgement that every call passes through.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::api;
use crate::api::dns::Record;
use crate::api::kv::Namespace;
use crate::api::r2::Bucket;
use crate::config::SandboxConfig;
use crate::envelope::{Answer, Refusal};
use crate::error::SandboxError;
use crate::fault::Widening;
use crate::grant::policy::{Policy, permits};
use crate::grant::resource::Target;
use crate::ids::Ids;
use crate::route::{KvVerb, Need, R2Verb, RecordVerb, Route};
use crate::token::book::TokenBook;
use crate::token::view::TokenStatus;
use crate::token::{Owner, Token};

/// Everything that exists.
pub(crate) struct World {
    pub(crate) ids: Ids,
    pub(crate) accounts: Vec<Account>,
    pub(crate) user: String,
    pub(crate) tokens: TokenBook,
    pub(crate) limits: Limits,
    pub(crate) born: Timestamp,
}

/// The bounds of a world.
pub(crate) struct Limits {
    pub(crate) account_tokens: usize,
    pub(crate) user_tokens: usize,
    pub(crate) last_used_lag: SignedDuration,
    pub(crate) stored: usize,
}

/// An account and what it holds.
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) zones: Vec<Zone>,
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) buckets: BTreeMap<String, Bucket>,
}

/// A zone and what it holds.
pub(crate) struct Zone {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) records: Vec<Record>,
    pub(crate) purges: u64,
}

/// A zone, as the Rust handle and the control path show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ZoneView {
    /// 32 hex digits.
    pub id: String,
    /// Its domain name.
    pub name: String,
    /// The account that owns it.
    pub account_id: String,
    /// How many DNS records it holds.
    pub records: usize,
    /// How often its cache was purged.
    pub purges: u64,
}

/// One call, read.
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) segments: &'a [String],
    pub(crate) query: &'a [(String, String)],
    pub(crate) authorization: Option<&'a str>,
    pub(crate) content_type: Option<&'a str>,
    pub(crate) body: &'a [u8],
    pub(crate) ip: IpAddr,
    pub(crate) now: Timestamp,
}

/// How faults change what a call does.
#[derive(Default)]
pub(crate) struct Grants {
    pub(crate) widenings: Vec<Widening>,
    pub(crate) refuse_uses: Option<u32>,
    pub(crate) hide_younger_ms: Option<u64>,
}

impl World {
    /// The world that a configuration describes.
    pub(crate) fn new(config: &SandboxConfig, now: Timestamp) -> Result<Self, SandboxError> {
        api::genesis::world(config, now)
    }

    /// The bearer of a call, if the header has one.
    pub(crate) fn bearer(authorization: Option<&str>) -> Option<&str> {
        let (scheme, value) = authorization?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(value.trim())
    }

    /// The token that a call carries, whether or not it works.
    pub(crate) fn identify(&self, authorization: Option<&str>) -> Option<String> {
        self.tokens.by_value(Self::bearer(authorization)?).map(|token| token.id.clone())
    }

    /// Judges a call and does what it asks.
    pub(crate) fn answer(&mut self, call: &Call<'_>, grants: &Grants) -> Result<Answer, Refusal> {
        let route = Route::parse(call.method, call.segments).ok_or_else(|| Refusal::no_route(call.path))?;
        let caller = self.authenticate(call, &route)?;
        self.authorize(&caller, &route)?;
        match route {
            Route::VerifyToken(owner) => self.verify_token(call, &caller, &owner),
            Route::PermissionGroups(owner) => api::tokens::permission_groups(call, &owner),
            Route::Tokens(owner, verb) => self.tokens_call(call, &owner, verb, grants),
            Route::ListAccounts => self.list_accounts(call, &caller),
            Route::ShowAccount(account) => self.show_account(&account),
            Route::ShowUser => Ok(self.show_user()),
            Route::ListZones => self.list_zones(call, &caller),
            Route::ShowZone(zone) => self.show_zone(&zone),
            Route::PurgeCache(zone) => self.purge_cache(call, &zone),
            Route::Records(zone, verb) => self.records_call(call, &zone, verb),
            Route::Kv(account, verb) => self.kv_call(call, &account, verb),
            Route::R2(account, verb) => self.r2_call(call, &account, verb),
        }
    }

    /// The account with this id.
    pub(crate) fn account(&mut self, id: &str) -> Result<&mut Account, Refusal> {
        self.accounts.iter_mut().find(|account| account.id == id).ok_or_else(|| Refusal::missing("account"))
    }

    /// The zone with this id.
    pub(crate) fn zone(&mut self, id: &str) -> Result<&mut Zone, Refusal> {
        let mut zones = self.accounts.iter_mut().flat_map(|account| account.zones.iter_mut());
        zones.find(|zone| zone.id == id).ok_or_else(|| Refusal::missing("zone"))
    }

    /// All zones.
    pub(crate) fn zone_views(&self) -> Vec<ZoneView> {
        let of = |account: &Account, zone: &Zone| ZoneView {
            id: zone.id.clone(),
            name: zone.name.clone(),
            account_id: account.id.clone(),
            records: zone.records.len(),
            purges: zone.purges,
        };
        self.accounts
            .iter()
            .flat_map(|account| account.zones.iter().map(move |zone| of(account, zone)))
            .collect()
    }

    /// Whether `caller` may do what accepts any of `accepted` on `target`. An account's token never reaches beyond its
    /// account, whatever its policies say.
    pub(crate) fn may(caller: &Caller, accepted: &[&str], target: &Target) -> bool {
        let within = match (&caller.owner, target) {
            (Owner::User, _) => true,
            (
                Owner::Account(mine),
                Target::Account(account) | Target::Zone { account, .. } | Target::Bucket { account, .. },
            ) => mine == account,
            (Owner::Account(_), Target::User(_)) => false,
        };
        within && permits(&caller.policies, accepted, target)
    }

    fn authenticate(&mut self, call: &Call<'_>, route: &Route) -> Result<Caller, Refusal> {
        let verifies = matches!(route, Route::VerifyToken(_));
        let unknown = || {
            if verifies {
                Refusal::new(401, 1000, "Invalid API Token")
            } else {
                Refusal::new(403, 9109, "Invalid access token")
            }
        };
        let authorization =
            call.authorization.ok_or_else(|| Refusal::new(401, 9106, "Missing Authorization header"))?;
        let value = Self::bearer(Some(authorization))
            .ok_or_else(|| Refusal::new(400, 6003, "Invalid request headers"))?;
        let id = self.tokens.by_value(value).map(|token| token.id.clone()).ok_or_else(unknown)?;
        let token = self.tokens.by_id_mut(&id).ok_or_else(unknown)?;
        if token.refusals_left > 0 {
            token.refusals_left -= 1;
            return Err(unknown());
        }
        if token.not_before.is_some_and(|start| start > call.now) {
            return Err(unknown());
        }
        if token.condition.as_ref().is_some_and(|condition| !condition.admits(call.ip)) {
            let message = format!("Cannot use the access token from location: {}", call.ip);
            return Err(Refusal::new(403, 9109, message));
        }
        if token.status(call.now) == TokenStatus::Active {
            token.uses.note(call.now);
        } else if !verifies {
            return Err(unknown());
        }
        Ok(Caller::of(token))
    }

    fn authorize(&self, caller: &Caller, route: &Route) -> Result<(), Refusal> {
        let account_of = |zone: &str| {
            let holds = |account: &&Account| account.zones.iter().any(|mine| mine.id == zone);
            self.accounts.iter().find(holds).map(|account| account.id.clone())
        };
        let Some(needs) = route.needs(account_of, &self.user) else { return Ok(()) };
        let allowed = needs.iter().any(|Need { accepted, target }| Self::may(caller, accepted, target));
        if allowed { Ok(()) } else { Err(Refusal::forbidden()) }
    }

    fn records_call(&mut self, call: &Call<'_>, zone: &str, verb: RecordVerb) -> Result<Answer, Refusal> {
        match verb {
            RecordVerb::List => self.list_records(call, zone),
            RecordVerb::Create => self.create_record(call, zone),
            RecordVerb::Show(id) => self.show_record(zone, &id),
            RecordVerb::Replace(id) => self.replace_record(call, zone, &id),
            RecordVerb::Patch(id) => self.patch_record(call, zone, &id),
            RecordVerb::Delete(id) => self.delete_record(zone, &id),
        }
    }

    fn kv_call(&mut self, call: &Call<'_>, account: &str, verb: KvVerb) -> Result<Answer, Refusal> {
        match verb {
            KvVerb::List => self.list_namespaces(call, account),
            KvVerb::Create => self.create_namespace(call, account),
            KvVerb::Show(id) => self.show_namespace(account, &id),
            KvVerb::Delete(id) => self.delete_namespace(account, &id),
            KvVerb::Keys(id) => self.list_keys(call, account, &id),
            KvVerb::Read(id, key) => self.read_value(call, account, &id, &key),
            KvVerb::Write(id, key) => self.write_value(call, account, &id, &key),
            KvVerb::Erase(id, key) => self.erase_value(account, &id, &key),
        }
    }

    fn r2_call(&mut self, call: &Call<'_>, account: &str, verb: R2Verb) -> Result<Answer, Refusal> {
        match verb {
            R2Verb::List => self.list_buckets(call, account),
            R2Verb::Create => self.create_bucket(call, account),
            R2Verb::Delete(name) => self.delete_bucket(account, &name),
            R2Verb::Objects(name) => self.list_objects(call, account, &name),
            R2Verb::Read(name, key) => self.read_object(account, &name, &key),
            R2Verb::Write(name, key) => self.write_object(call, account, &name, &key),
            R2Verb::Erase(name, key) => self.erase_object(account, &name, &key),
        }
    }
}

/// Who calls: a token that passed authentication.
pub(crate) struct Caller {
    pub(crate) id: String,
    pub(crate) owner: Owner,
    pub(crate) policies: Vec<Policy>,
}

impl Caller {
    fn of(token: &Token) -> Self {
        Self { id: token.id.clone(), owner: token.owner.clone(), policies: token.policies.clone() }
    }
}

impl Call<'_> {
    /// The value of a query parameter.
    pub(crate) fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<serde_json::Value, Refusal> {
        serde_json::from_slice(self.body)
            .map_err(|error| Refusal::new(400, 6007, format!("the request body is not JSON: {error}")))
    }
}
