//! `GET /zones`, `GET /zones/{zone_id}`, `POST /zones/{zone_id}/purge_cache`.

use serde_json::{Value, json};

use super::page::{SMALL_PAGE, page};
use crate::envelope::{Answer, Refusal};
use crate::grant::resource::Target;
use crate::grant::rights;
use crate::token::seconds;
use crate::world::{Account, Call, Caller, World, Zone};

/// What `purge_cache` can be asked to purge, one list a kind.
const PURGE_LISTS: [&str; 4] = ["files", "tags", "hosts", "prefixes"];
/// How many things one purge may name.
const MOST_PURGED: usize = 100;

impl World {
    /// Lists the zones that the caller can read; others are left out, not refused.
    pub(crate) fn list_zones(&self, call: &Call<'_>, caller: &Caller) -> Result<Answer, Refusal> {
        let any = match call.query("match") {
            None | Some("all") => false,
            Some("any") => true,
            Some(_) => return Err(Refusal::invalid("`match` must be `any` or `all`")),
        };
        let mut found: Vec<(&Account, &Zone)> = Vec::new();
        for account in &self.accounts {
            for zone in &account.zones {
                let target = Target::Zone { zone: zone.id.clone(), account: account.id.clone() };
                if World::may(caller, rights::ZONE_READ, &target) && asked_for(call, any, account, zone) {
                    found.push((account, zone));
                }
            }
        }
        match call.query("order") {
            None => {}
            Some("name") => found.sort_by(|one, two| one.1.name.cmp(&two.1.name)),
            Some("account.id") => found.sort_by(|one, two| one.0.id.cmp(&two.0.id)),
            Some("account.name") => found.sort_by(|one, two| one.0.name.cmp(&two.0.name)),
            // All zones have the same status and plan.
            Some("status" | "plan.id") => {}
            Some(_) => return Err(Refusal::invalid("`order` is not a field that zones are ordered by")),
        }
        page(
            call,
            &SMALL_PAGE,
            found.into_iter().map(|(account, zone)| self.zone_json(account, zone)).collect(),
        )
    }

    /// Shows one zone.
    pub(crate) fn show_zone(&self, id: &str) -> Result<Answer, Refusal> {
        for account in &self.accounts {
            if let Some(zone) = account.zones.iter().find(|zone| zone.id == id) {
                return Ok(Answer::ok(self.zone_json(account, zone)));
            }
        }
        Err(Refusal::missing("zone"))
    }

    /// Counts a purge of the zone's cache.
    pub(crate) fn purge_cache(&mut self, call: &Call<'_>, id: &str) -> Result<Answer, Refusal> {
        let body = call.json()?;
        let everything = body.get("purge_everything").and_then(Value::as_bool) == Some(true);
        let named: usize =
            PURGE_LISTS.iter().filter_map(|list| body.get(list)?.as_array()).map(Vec::len).sum();
        if everything == (named > 0) || named > MOST_PURGED {
            let message = format!("name either `purge_everything` or 1 to {MOST_PURGED} things to purge");
            return Err(Refusal::new(400, 1012, message));
        }
        let zone = self.zone(id)?;
        zone.purges += 1;
        Ok(Answer::ok(json!({"id": zone.id})))
    }

    fn zone_json(&self, account: &Account, zone: &Zone) -> Value {
        let born = seconds(self.born);
        json!({
            "id": zone.id,
            "name": zone.name,
            "status": "active",
            "paused": false,
            "type": "full",
            "development_mode": 0,
            "name_servers": ["ada.ns.sandbox.example", "bob.ns.sandbox.example"],
            "original_name_servers": null,
            "original_registrar": null,
            "original_dnshost": null,
            "created_on": born,
            "modified_on": born,
            "activated_on": born,
            "meta": {"step": 2, "custom_certificate_quota": 0, "page_rule_quota": 3, "phishing_detected": false},
            "owner": {"id": account.id, "name": account.name, "type": "organization"},
            "account": {"id": account.id, "name": account.name},
            "plan": {"name": "Free", "price": 0, "currency": "USD", "is_subscribed": false, "legacy_id": "free"},
        })
    }
}

fn asked_for(call: &Call<'_>, any: bool, account: &Account, zone: &Zone) -> bool {
    let filters = [
        ("name", zone.name.as_str()),
        ("status", "active"),
        ("type", "full"),
        ("account.id", account.id.as_str()),
        ("account.name", account.name.as_str()),
    ];
    let mut given = filters.iter().filter_map(|(key, actual)| {
        // `type` takes a list; the others one value.
        call.query(key).map(|wanted| wanted.split(',').any(|one| one.eq_ignore_ascii_case(actual)))
    });
    if any { given.clone().count() == 0 || given.any(|fits| fits) } else { given.all(|fits| fits) }
}
