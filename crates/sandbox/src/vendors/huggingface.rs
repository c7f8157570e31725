//! Hugging Face: service accounts of one organisation, and their tokens.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Running;
use super::door::{self, Asked, Told};
use crate::error::SandboxError;
use crate::ids::{Ids, fresh_value};

/// The only organisation.
pub const ORGANISATION: &str = "keywright";

struct HuggingFace {
    ids: Ids,
    parent: String,
    accounts: Vec<Account>,
}

struct Account {
    id: String,
    name: String,
    created_at: String,
    tokens: Vec<Token>,
}

struct Token {
    secret: String,
    permissions: Value,
    /// As the account shows it.
    shown: Value,
}

pub(super) async fn start() -> Result<Running, SandboxError> {
    let parent = secret()?;
    let state = HuggingFace { ids: Ids::new(None)?, parent: parent.clone(), accounts: Vec::new() };
    door::serve(state, parent, answer).await
}

fn secret() -> Result<String, SandboxError> {
    let value = fresh_value().map_err(SandboxError::Randomness)?;
    Ok(format!("hf_{}", value.chars().filter(char::is_ascii_alphanumeric).collect::<String>()))
}

fn refused(status: u16, why: &str) -> Told {
    (status, Some(json!({"error": why})))
}

fn answer(state: &mut HuggingFace, asked: &Asked) -> Told {
    let (method, path) = (asked.method.as_str(), asked.segments());
    let bearer = asked.bearer().unwrap_or_default();
    if (method, path.as_slice()) == ("GET", &["api", "whoami-v2"]) {
        return state.whoami(bearer);
    }
    if bearer != state.parent {
        return refused(401, "Invalid username or password.");
    }
    let Some((&["api", "organizations", ORGANISATION, "service-accounts"], below)) = path.split_first_chunk()
    else {
        return refused(404, "Organization not found");
    };
    match (method, below) {
        ("GET", []) => (200, Some(state.accounts.iter().map(Account::shown).collect())),
        ("POST", []) => state.create(asked.text("/name").unwrap_or_default()),
        ("GET", [id]) => match state.accounts.iter().find(|account| account.id == *id) {
            None => refused(404, "Service account not found"),
            Some(account) => {
                let mut shown = account.shown();
                if let Some(fields) = shown.as_object_mut() {
                    let tokens = account.tokens.iter().map(|token| token.shown.clone()).collect();
                    fields.insert("accessTokens".to_owned(), tokens);
                }
                (200, Some(shown))
            }
        },
        ("DELETE", [id]) => {
            let before = state.accounts.len();
            state.accounts.retain(|account| account.id != *id);
            if state.accounts.len() < before {
                (204, None)
            } else {
                refused(404, "Service account not found")
            }
        }
        ("POST", [id, "tokens"]) => state.token(id, &asked.body),
        _ => refused(404, "Not found"),
    }
}

impl HuggingFace {
    fn id(&mut self) -> String {
        self.ids.next().chars().take(24).collect()
    }

    fn create(&mut self, name: &str) -> Told {
        if name.is_empty() || name.len() > 50 {
            return refused(400, "a name has 1 to 50 characters");
        }
        let (id, created_at) = (self.id(), Timestamp::now().to_string());
        let told = json!({"_id": id, "user": id, "fullname": name, "createdAt": created_at});
        self.accounts.push(Account { id, name: name.to_owned(), created_at, tokens: Vec::new() });
        (201, Some(told))
    }

    fn token(&mut self, account: &str, body: &Value) -> Told {
        let id = self.id();
        let Some(account) = self.accounts.iter_mut().find(|known| known.id == account) else {
            return refused(404, "Service account not found");
        };
        let permissions = body.get("permissions").cloned().unwrap_or_default();
        let name = body.get("displayName").cloned().unwrap_or(json!("API Token"));
        if permissions.as_array().is_none_or(Vec::is_empty) {
            return refused(400, "permissions are required");
        }
        let Ok(secret) = secret() else { return refused(500, "no randomness") };
        let created_at = Timestamp::now().to_string();
        let info =
            json!({"_id": id, "displayName": name, "createdAt": created_at, "permissions": permissions});
        let shown = json!({
            "_id": id, "displayName": name, "createdAt": created_at, "role": "fineGrained", "permissions": permissions,
            "last4": secret.get(secret.len().saturating_sub(4)..),
        });
        let told = json!({"token": secret, "tokenInfo": info});
        account.tokens.push(Token { secret, permissions, shown });
        (201, Some(told))
    }

    fn whoami(&mut self, bearer: &str) -> Told {
        let now = Timestamp::now().to_string();
        let tokens = self.accounts.iter_mut().flat_map(|account| &mut account.tokens);
        let known = tokens.into_iter().find(|token| token.secret == bearer).map(|token| {
            if let Some(fields) = token.shown.as_object_mut() {
                fields.insert("lastUsedAt".to_owned(), json!(now));
            }
            (token.shown.get("displayName").cloned(), token.permissions.clone())
        });
        let parent =
            || (Some(json!("parent")), json!(["org.serviceAccounts.write", "org.serviceAccounts.read"]));
        let Some((name, permissions)) = known.or_else(|| (bearer == self.parent).then(parent)) else {
            return refused(401, "Invalid username or password.");
        };
        let entity = json!({"_id": "0123456789abcdef01234567", "name": ORGANISATION, "type": "org"});
        let scoped = json!([{"entity": entity, "permissions": permissions}]);
        let token = json!({
            "displayName": name, "role": "fineGrained", "createdAt": now, "fineGrained": {"scoped": scoped},
        });
        let told = json!({
            "auth": {"type": "access_token", "accessToken": token}, "type": "user", "id": "0123456789abcdef01234567",
            "name": "somebody", "fullname": "Somebody", "avatarUrl": "", "isPro": false, "orgs": [],
        });
        (200, Some(told))
    }
}

impl Account {
    fn shown(&self) -> Value {
        let email = "nobody@example.org";
        json!({"_id": self.id, "user": self.id, "name": self.name, "email": email, "createdAt": self.created_at})
    }
}
