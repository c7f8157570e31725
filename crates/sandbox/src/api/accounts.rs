//! `GET /accounts`, `GET /accounts/{account_id}`, `GET /user`.

use serde_json::{Value, json};

use super::page::{SMALL_PAGE, page};
use crate::envelope::{Answer, Refusal};
use crate::grant::policy::Effect;
use crate::grant::resource::Target;
use crate::token::{Owner, seconds};
use crate::world::{Account, Call, Caller, World, Zone};

impl World {
    /// Lists the accounts that the caller holds any permission in. The operation has no published groups: this filter is
    /// the sandbox's reading of it.
    pub(crate) fn list_accounts(&self, call: &Call<'_>, caller: &Caller) -> Result<Answer, Refusal> {
        let name = call.query("name");
        let shown = self.accounts.iter().filter(|account| name.is_none_or(|name| account.name == name));
        let shown = shown.filter(|account| touches(caller, account));
        page(call, &SMALL_PAGE, shown.map(|account| self.account_json(account)).collect())
    }

    /// Shows one account.
    pub(crate) fn show_account(&self, id: &str) -> Result<Answer, Refusal> {
        let account = self.accounts.iter().find(|account| account.id == id);
        Ok(Answer::ok(self.account_json(account.ok_or_else(|| Refusal::missing("account"))?)))
    }

    /// Shows the user.
    pub(crate) fn show_user(&self) -> Answer {
        Answer::ok(json!({"id": self.user, "email": "owner@sandbox.example", "suspended": false}))
    }

    fn account_json(&self, account: &Account) -> Value {
        json!({
            "id": account.id,
            "name": account.name,
            "type": "standard",
            "settings": {"enforce_twofactor": false},
            "created_on": seconds(self.born),
        })
    }
}

/// Whether any allow of the caller lies in the account or one of its zones.
fn touches(caller: &Caller, account: &Account) -> bool {
    if matches!(&caller.owner, Owner::Account(mine) if *mine != account.id) {
        return false;
    }
    let zone = |zone: &Zone| Target::Zone { zone: zone.id.clone(), account: account.id.clone() };
    let targets: Vec<Target> =
        std::iter::once(Target::Account(account.id.clone())).chain(account.zones.iter().map(zone)).collect();
    let allows = caller.policies.iter().filter(|policy| policy.effect == Effect::Allow);
    allows
        .flat_map(|policy| &policy.resources)
        .any(|resource| targets.iter().any(|target| resource.covers(target)))
}
