//! OpenAI: service accounts of one project, each with its first key.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Running;
use super::door::{self, Asked, Told};
use crate::error::SandboxError;
use crate::ids::{Ids, fresh_value};

/// The only project. It allows one model.
pub const PROJECT: &str = "proj_keywright";
/// The vendor gives up to 100 rows in a page.
const PAGE_SIZE: usize = 4;

struct OpenAi {
    ids: Ids,
    parent: String,
    accounts: Vec<Account>,
}

struct Account {
    id: String,
    name: String,
    key: String,
    secret: String,
    created_at: i64,
    last_used_at: Option<i64>,
    /// Each call costs 0.06 dollars.
    calls: u32,
}

pub(super) async fn start() -> Result<Running, SandboxError> {
    let parent = format!("sk-admin-{}", fresh_value().map_err(SandboxError::Randomness)?);
    let state = OpenAi { ids: Ids::new(None)?, parent: parent.clone(), accounts: Vec::new() };
    door::serve(state, parent, answer).await
}

fn refused(status: u16, why: &str) -> Told {
    let error = json!({"type": "invalid_request_error", "message": why, "param": null, "code": null});
    (status, Some(json!({"error": error})))
}

fn answer(state: &mut OpenAi, asked: &Asked) -> Told {
    let (method, path) = (asked.method.as_str(), asked.segments());
    let bearer = asked.bearer().unwrap_or_default();
    if (method, path.as_slice()) == ("GET", &["models"]) {
        let Some(account) = state.accounts.iter_mut().find(|account| account.secret == bearer) else {
            return refused(401, "Incorrect API key provided");
        };
        account.last_used_at = Some(Timestamp::now().as_second());
        account.calls += 1;
        return (200, Some(json!({"object": "list", "data": []})));
    }
    if bearer != state.parent {
        return refused(401, "an admin key is required");
    }
    if (method, path.as_slice()) == ("GET", &["organization", "costs"]) {
        return state.costs(asked);
    }
    let Some((&["organization", "projects", PROJECT], below)) = path.split_first_chunk() else {
        return refused(404, "no such project");
    };
    match (method, below) {
        ("GET", []) => {
            let project = json!({
                "id": PROJECT, "object": "organization.project", "name": "Keywright", "created_at": 1_760_000_000,
                "archived_at": null, "status": "active",
            });
            (200, Some(project))
        }
        ("GET", ["model_permissions"]) => {
            let models = json!({"object": "project.model_permissions", "mode": "allow_list", "model_ids": ["gpt-5-mini"]});
            (200, Some(models))
        }
        ("GET", ["spend_limit"]) => {
            let limit = json!({
                "object": "project.spend_limit", "threshold_amount": 5_000, "currency": "USD", "interval": "month",
                "enforcement": {"status": "enforcing"},
            });
            (200, Some(limit))
        }
        ("POST", ["service_accounts"]) => state.create(&asked.body),
        ("GET", ["service_accounts"]) => page(state.accounts.iter().map(Account::shown), asked),
        ("GET", ["api_keys"]) => page(state.accounts.iter().map(Account::shown_key), asked),
        (_, ["service_accounts", id]) => match state.accounts.iter().position(|account| account.id == *id) {
            None => refused(404, "no such service account"),
            Some(at) if method == "DELETE" => {
                state.accounts.remove(at);
                let object = "organization.project.service_account.deleted";
                (200, Some(json!({"object": object, "id": id, "deleted": true})))
            }
            Some(at) => (200, state.accounts.get(at).map(Account::shown)),
        },
        _ => refused(404, "not found"),
    }
}

impl OpenAi {
    fn create(&mut self, body: &Value) -> Told {
        let Some(name) = body.get("name").and_then(Value::as_str) else {
            return refused(400, "name is required");
        };
        let (id, key) = (format!("svc_acct_{}", self.ids.next()), format!("key_{}", self.ids.next()));
        let Ok(secret) = fresh_value().map(|value| format!("sk-svcacct-{value}")) else {
            return refused(500, "no randomness");
        };
        let created_at = Timestamp::now().as_second();
        let account =
            Account { id, name: name.to_owned(), key, secret, created_at, last_used_at: None, calls: 0 };
        let mut told = account.shown();
        if let Some(fields) = told.as_object_mut() {
            let key = json!({
                "object": "organization.project.service_account.api_key", "value": account.secret,
                "name": "Secret Key", "created_at": created_at, "id": account.key,
            });
            fields.insert("api_key".to_owned(), key);
        }
        self.accounts.push(account);
        (200, Some(told))
    }
}

impl OpenAi {
    /// One day a page: today, with a row for each call, then yesterday, with another key's.
    fn costs(&self, asked: &Asked) -> Told {
        if asked.query("start_time").is_none_or(|text| text.parse::<i64>().is_err()) {
            return refused(400, "start_time is required");
        }
        let row = |key: &str| {
            json!({
                "object": "organization.costs.result", "amount": {"value": 0.06, "currency": "usd"},
                "line_item": null, "project_id": PROJECT, "api_key_id": key,
            })
        };
        let wanted = asked.query("api_key_ids");
        let of_key = self.accounts.iter().find(|account| Some(account.key.as_str()) == wanted);
        let is_first = asked.query("page").is_none();
        let results: Vec<Value> = match of_key {
            Some(account) if is_first => (0..account.calls).map(|_| row(&account.key)).collect(),
            _ => vec![row("key_of_somebody_else")],
        };
        let today = Timestamp::now().as_second() / 86_400 * 86_400;
        let day =
            json!({"object": "bucket", "start_time": today, "end_time": today + 86_400, "results": results});
        let next = is_first.then_some("page_2");
        (200, Some(json!({"object": "page", "data": [day], "has_more": is_first, "next_page": next})))
    }
}

impl Account {
    fn shown(&self) -> Value {
        json!({
            "object": "organization.project.service_account", "id": self.id, "name": self.name, "role": "member",
            "created_at": self.created_at,
        })
    }

    fn shown_key(&self) -> Value {
        let owner =
            json!({"id": self.id, "name": self.name, "created_at": self.created_at, "role": "member"});
        json!({
            "object": "organization.project.api_key", "redacted_value": "sk-svcacct-***", "name": "Secret Key",
            "created_at": self.created_at, "last_used_at": self.last_used_at, "id": self.key,
            "owner_project_access": "active", "owner": {"type": "service_account", "service_account": owner},
        })
    }
}

fn page(rows: impl Iterator<Item = Value>, asked: &Asked) -> Told {
    let rows: Vec<Value> = rows.collect();
    let is = |row: &Value, id: &str| row.get("id").and_then(Value::as_str) == Some(id);
    let after = asked.query("after").and_then(|id| rows.iter().position(|row| is(row, id)));
    let left: Vec<&Value> = rows.iter().skip(after.map_or(0, |at| at + 1)).collect();
    let shown: Vec<&Value> = left.iter().take(PAGE_SIZE).copied().collect();
    let id = |row: Option<&&Value>| row.and_then(|row| row.get("id")).cloned();
    let told = json!({
        "object": "list", "data": shown, "first_id": id(shown.first()), "last_id": id(shown.last()),
        "has_more": left.len() > shown.len(),
    });
    (200, Some(told))
}
