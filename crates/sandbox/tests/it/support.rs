//! A sandbox with a client beside it, and the policies that tests keep asking for.

use std::time::Duration;

use keywright_sandbox::{Sandbox, SandboxConfig};
use serde_json::{Value, json};

pub(crate) const DNS_READ: &str = "82e64a83756745bbbb1c9c2701bf816b";
pub(crate) const DNS_WRITE: &str = "4755a26eedb94da69e1066d98aa820be";
pub(crate) const CACHE_PURGE: &str = "e17beae8b8cb423a99b1730f21238bed";
pub(crate) const KV_READ: &str = "8b47d2786a534c08a1f94ee8f9f599ef";
pub(crate) const KV_WRITE: &str = "f7f0eda5697f475c90846e879bab8666";
pub(crate) const R2_WRITE: &str = "bf7481a1826f439697cb59a20b22293e";
pub(crate) const R2_ITEM_READ: &str = "6a018a9f2fc74eb6b293b0c548f38b39";
pub(crate) const TOKENS_READ: &str = "eb56a6953c034b9d97dd838155666f06";
pub(crate) const TOKENS_WRITE: &str = "5bc3f8b21c554832afc660159ab75fa4";
pub(crate) const USER_TOKENS_WRITE: &str = "686d18d5ac6c441c867cbf6771e58a0a";

/// A running sandbox and a client.
pub(crate) struct Bench {
    pub(crate) sandbox: Sandbox,
    pub(crate) http: reqwest::Client,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) text: String,
    pub(crate) body: Value,
}

/// A token that a test made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) value: String,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        Self::with(SandboxConfig::default()).await
    }

    pub(crate) async fn with(config: SandboxConfig) -> Self {
        let sandbox = Sandbox::start(config).await.unwrap();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(60))
            .build()
            .unwrap();
        Self { sandbox, http }
    }

    pub(crate) fn zone(&self, name: &str) -> String {
        self.sandbox.zones().into_iter().find(|zone| zone.name == name).unwrap().id
    }

    /// The path of the account's tokens.
    pub(crate) fn tokens_path(&self) -> String {
        format!("/accounts/{}/tokens", self.sandbox.account_id())
    }

    pub(crate) fn request(&self, method: &str, path: &str, token: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.sandbox.base_url());
        self.http.request(method.parse().unwrap(), url).bearer_auth(token)
    }

    /// Sends a call whose answer must arrive.
    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Reply {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Reply { status, text, body }
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> Reply {
        self.send(self.request("GET", path, token)).await
    }

    pub(crate) async fn call(&self, token: &str, method: &str, path: &str, body: Value) -> Reply {
        self.send(self.request(method, path, token).json(&body)).await
    }

    /// Asks the parent for a token, whatever the answer.
    pub(crate) async fn ask(&self, body: Value) -> Reply {
        self.call(self.sandbox.parent_token(), "POST", &self.tokens_path(), body).await
    }

    /// Makes a token with these policies.
    pub(crate) async fn make(&self, policies: Value) -> Made {
        self.make_with(json!({"name": "test", "policies": policies})).await
    }

    pub(crate) async fn make_with(&self, body: Value) -> Made {
        let reply = self.ask(body).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        Made::of(&reply)
    }

    /// A token for one group on one zone.
    pub(crate) async fn zone_token(&self, group: &str, zone: &str) -> Made {
        self.make(json!([policy("allow", group, zone_resource(&self.zone(zone)))])).await
    }

    /// A token for one group on the account.
    pub(crate) async fn account_token(&self, group: &str) -> Made {
        self.make(json!([policy("allow", group, account_resource(self.sandbox.account_id()))])).await
    }

    /// Reads a token back as the parent.
    pub(crate) async fn read_back(&self, id: &str) -> Value {
        let reply = self.get(self.sandbox.parent_token(), &format!("{}/{id}", self.tokens_path())).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.body["result"].clone()
    }
}

impl Reply {
    pub(crate) fn code(&self) -> u64 {
        self.body["errors"][0]["code"].as_u64().unwrap_or(0)
    }

    pub(crate) fn result(&self) -> &Value {
        assert_eq!(self.status, 200, "{}", self.text);
        &self.body["result"]
    }

    /// Asserts a status and a code, in a complete failure envelope.
    pub(crate) fn assert_refused(&self, status: u16, code: u64) {
        assert_eq!((self.status, self.code()), (status, code), "{}", self.text);
        assert_eq!(self.body["success"], false);
        assert_eq!(self.body["result"], Value::Null);
        assert!(self.body.get("result").is_some() && self.body["messages"].is_array(), "{}", self.text);
    }
}

impl Made {
    pub(crate) fn of(reply: &Reply) -> Self {
        let text = |key: &str| reply.result()[key].as_str().unwrap().to_owned();
        Self { id: text("id"), value: text("value") }
    }
}

pub(crate) fn policy(effect: &str, group: &str, resources: Value) -> Value {
    let groups = json!([{"id": group}]);
    Value::from_iter([("effect", effect.into()), ("permission_groups", groups), ("resources", resources)])
}

pub(crate) fn zone_resource(zone: &str) -> Value {
    json!({format!("com.cloudflare.api.account.zone.{zone}"): "*"})
}

pub(crate) fn account_resource(account: &str) -> Value {
    json!({format!("com.cloudflare.api.account.{account}"): "*"})
}

pub(crate) fn all_zones(account: &str) -> Value {
    json!({format!("com.cloudflare.api.account.{account}"): {"com.cloudflare.api.account.zone.*": "*"}})
}

pub(crate) fn record(name: &str) -> Value {
    json!({"type": "A", "name": name, "content": "192.0.2.7", "ttl": 300})
}
