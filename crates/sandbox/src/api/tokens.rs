//! Account and user tokens: create, list, show, replace, roll, delete, verify; and the permission groups.
//!
//! Follows the operations under `/accounts/{account_id}/tokens` and `/user/tokens`.

use serde_json::{Map, Value, json};

use super::page::{SMALL_PAGE, page};
use crate::envelope::{Answer, Refusal};
use crate::fault::Widening;
use crate::grant::group::{Group, Scope};
use crate::grant::policy::{Effect, Policy};
use crate::grant::resource::Resource;
use crate::ids::fresh_value;
use crate::route::TokenVerb;
use crate::token::ask::{Ask, Reach};
use crate::token::view::TokenStatus;
use crate::token::{Owner, Token, Uses, seconds};
use crate::world::{Call, Caller, Grants, World};

/// Zone Read.
const ZONE_READ_GROUP: &str = "c8fed203ed3043cba015a93ad1616f1f";

/// Lists the permission groups that an owner's tokens can hold; `name` and `scope` filter exactly.
pub(crate) fn permission_groups(call: &Call<'_>, owner: &Owner) -> Result<Answer, Refusal> {
    let (name, scope) = (call.query("name"), call.query("scope"));
    let shown: Vec<Value> = Group::all()
        .iter()
        .filter(|group| *owner == Owner::User || group.scope != Scope::User)
        .filter(|group| name.is_none_or(|name| group.name == name))
        .filter(|group| scope.is_none_or(|scope| group.scope.wire_name() == scope))
        .map(Group::to_json)
        .collect();
    let count = shown.len();
    let info = json!({"page": 1, "per_page": count, "count": count, "total_count": count});
    Ok(Answer::list(shown.into(), info))
}

impl World {
    pub(crate) fn tokens_call(
        &mut self,
        call: &Call<'_>,
        owner: &Owner,
        verb: TokenVerb,
        grants: &Grants,
    ) -> Result<Answer, Refusal> {
        match verb {
            TokenVerb::List => self.list_tokens(call, owner, grants),
            TokenVerb::Create => self.create_token(call, owner, grants),
            TokenVerb::Show(id) => {
                let token = self.owned(owner, &id)?;
                Ok(Answer::ok(token.to_json(call.now, self.limits.last_used_lag)))
            }
            TokenVerb::Replace(id) => self.replace_token(call, owner, &id, grants),
            TokenVerb::Delete(id) => {
                if self.tokens.remove(owner, &id) {
                    Ok(Answer::ok(json!({"id": id})))
                } else {
                    Err(Refusal::missing("token"))
                }
            }
            TokenVerb::Roll(id) => self.roll_token(call, owner, &id, grants),
        }
    }

    /// Answers for the calling token itself. The path must be its owner's: an account's token does not verify as a user's.
    pub(crate) fn verify_token(
        &self,
        call: &Call<'_>,
        caller: &Caller,
        owner: &Owner,
    ) -> Result<Answer, Refusal> {
        let invalid = || Refusal::new(401, 1000, "Invalid API Token");
        let token = self.owned(owner, &caller.id).map_err(|_| invalid())?;
        let status = token.status(call.now);
        let mut result = json!({"id": token.id, "status": status});
        if let Some(fields) = result.as_object_mut() {
            for (key, time) in [("not_before", token.not_before), ("expires_on", token.expires_on)] {
                if let Some(time) = time {
                    fields.insert(key.to_owned(), seconds(time).into());
                }
            }
        }
        let message = match status {
            TokenStatus::Active => "This API Token is valid and active",
            TokenStatus::Disabled => "This API Token is disabled",
            TokenStatus::Expired => "This API Token has expired",
        };
        Ok(Answer::ok_saying(result, 10_000, message))
    }

    fn list_tokens(&self, call: &Call<'_>, owner: &Owner, grants: &Grants) -> Result<Answer, Refusal> {
        let listed = |token: &&Token| {
            let age = call.now.duration_since(token.issued_on).as_millis();
            grants.hide_younger_ms.is_none_or(|least| age >= i128::from(least))
        };
        let tokens = self.tokens.of(owner).filter(listed);
        page(
            call,
            &SMALL_PAGE,
            tokens.map(|token| token.to_json(call.now, self.limits.last_used_lag)).collect(),
        )
    }

    fn create_token(&mut self, call: &Call<'_>, owner: &Owner, grants: &Grants) -> Result<Answer, Refusal> {
        let ask = self.ask(call, owner)?;
        if ask.says_expired || ask.expires_on.is_some_and(|end| end <= call.now) {
            return Err(Refusal::invalid("`expires_on` must be in the future"));
        }
        let quota = match owner {
            Owner::Account(_) => self.limits.account_tokens,
            Owner::User => self.limits.user_tokens,
        };
        if self.tokens.of(owner).count() >= quota {
            return Err(Refusal::new(400, 1011, format!("the limit of {quota} tokens is reached")));
        }
        let value = fresh_value()?;
        let mut token = Token {
            id: self.ids.next(),
            owner: owner.clone(),
            name: ask.name,
            value: value.clone(),
            policies: ask.policies,
            condition: ask.condition,
            not_before: ask.not_before,
            expires_on: ask.expires_on,
            disabled: ask.disabled,
            issued_on: call.now,
            modified_on: call.now,
            uses: Uses::default(),
            refusals_left: grants.refuse_uses.unwrap_or(0),
        };
        // The answer is written before the widening: a grant that differs from it shows only on reading back.
        let mut shown = token.to_json(call.now, self.limits.last_used_lag);
        if let Some(fields) = shown.as_object_mut() {
            fields.insert("value".to_owned(), value.clone().into());
        }
        self.widen(&mut token, grants);
        self.tokens.add(token);
        Ok(Answer::ok(shown).showing(value))
    }

    fn replace_token(
        &mut self,
        call: &Call<'_>,
        owner: &Owner,
        id: &str,
        grants: &Grants,
    ) -> Result<Answer, Refusal> {
        let old_end = self.owned(owner, id)?.expires_on;
        let ask = self.ask(call, owner)?;
        let past = ask.expires_on.is_some_and(|end| end <= call.now);
        if past && ask.expires_on != old_end {
            return Err(Refusal::invalid("`expires_on` must be in the future"));
        }
        if ask.says_expired && !past {
            return Err(Refusal::invalid("`status` can't be set to `expired`"));
        }
        let lag = self.limits.last_used_lag;
        // Taken out of its place while it changes, because widening looks at the rest of the world.
        let (place, mut token) = self.tokens.lift(id).ok_or_else(|| Refusal::missing("token"))?;
        token.name = ask.name;
        token.policies = ask.policies;
        token.condition = ask.condition;
        token.not_before = ask.not_before;
        token.expires_on = ask.expires_on;
        token.disabled = ask.disabled;
        token.modified_on = call.now;
        let shown = token.to_json(call.now, lag);
        self.widen(&mut token, grants);
        self.tokens.put_back(place, token);
        Ok(Answer::ok(shown))
    }

    fn roll_token(
        &mut self,
        call: &Call<'_>,
        owner: &Owner,
        id: &str,
        grants: &Grants,
    ) -> Result<Answer, Refusal> {
        self.owned(owner, id)?;
        let value = fresh_value()?;
        self.tokens.roll(id, value.clone());
        if let Some(token) = self.tokens.by_id_mut(id) {
            token.modified_on = call.now;
            token.refusals_left = grants.refuse_uses.unwrap_or(0);
        }
        Ok(Answer::ok(value.clone().into()).showing(value))
    }

    fn owned(&self, owner: &Owner, id: &str) -> Result<&Token, Refusal> {
        self.tokens.by_id(id).filter(|token| token.owner == *owner).ok_or_else(|| Refusal::missing("token"))
    }

    fn ask(&mut self, call: &Call<'_>, owner: &Owner) -> Result<Ask, Refusal> {
        let zones = self
            .accounts
            .iter()
            .flat_map(|account| account.zones.iter().map(|zone| (zone.id.as_str(), account.id.as_str())))
            .collect();
        let accounts = self.accounts.iter().map(|account| account.id.as_str()).collect();
        let reach = Reach { owner, zones, accounts, user: &self.user };
        Ask::parse(call.body, &reach, &mut self.ids)
    }

    /// Makes the stored token wider than what was asked, where a fault says so.
    fn widen(&mut self, token: &mut Token, grants: &Grants) {
        for widening in &grants.widenings {
            match widening {
                Widening::NoExpiry => token.expires_on = None,
                Widening::DropCondition => token.condition = None,
                Widening::OtherZone => self.add_other_zone(token),
                Widening::ExtraGroup => add_extra_group(token),
            }
        }
    }

    fn add_other_zone(&mut self, token: &mut Token) {
        let zones = self.accounts.iter().flat_map(|account| account.zones.iter());
        let keys: Vec<String> = zones.map(|zone| Resource::zone_key(&zone.id)).collect();
        let names_zones = |policy: &&mut Policy| {
            policy.effect == Effect::Allow
                && policy.resources.iter().any(|resource| matches!(resource, Resource::Zone(Some(_))))
                && !policy.written.values().any(Value::is_object)
        };
        let policy = token.policies.iter_mut().find(names_zones);
        let known = |key: &&String| policy.as_ref().is_none_or(|policy| !policy.written.contains_key(*key));
        let Some(key) = keys.iter().find(known).cloned() else { return };
        match policy {
            Some(policy) => {
                policy.written.insert(key, "*".into());
                policy.resources = Resource::parse_all(&policy.written).unwrap_or_default();
            }
            None => {
                let written = Map::from_iter([(key, Value::from("*"))]);
                token.policies.push(Policy {
                    id: self.ids.next(),
                    effect: Effect::Allow,
                    groups: Group::find(ZONE_READ_GROUP).into_iter().collect(),
                    resources: Resource::parse_all(&written).unwrap_or_default(),
                    written,
                });
            }
        }
    }
}

/// Adds a group of a scope that the first policy already covers, so that it takes effect.
fn add_extra_group(token: &mut Token) {
    let Some(policy) = token.policies.iter_mut().find(|policy| policy.effect == Effect::Allow) else {
        return;
    };
    let fits = |group: &&Group| {
        !policy.groups.contains(group) && policy.groups.iter().any(|mine| mine.scope == group.scope)
    };
    // A group that writes, where there is one: the difference should matter.
    let extra = Group::all().iter().filter(fits).find(|group| group.name.ends_with("Write"));
    if let Some(group) = extra {
        policy.groups.push(group);
    }
}
