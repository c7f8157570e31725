//! Vault: the stand-in is certified by hvac's own suite, the adapter keeps the contract against it, and two clients
//! of other people read what it placed.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use keywright_adapters::store::{StoreConfig, connect};
use keywright_core::secret::Secret;
use keywright_core::store::{Presence, Store, StoreError, VerifyMode};
use keywright_sandbox::vendors::{Running, start};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::contract::{Limits, Network, StoreCase, VALUE, keeps_the_stores_contract, origin};
use crate::support::stores::{self, destination, placed, refuses, run};
use crate::support::{Fault, Proxy, peer};

/// Talks to the stand-in as its administrator.
#[derive(Clone)]
struct Admin {
    url: String,
    token: String,
}

impl Admin {
    fn of(vault: &Running) -> Self {
        Self { url: vault.base_url.clone(), token: vault.parent.clone() }
    }

    async fn call(&self, namespace: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let answer = reqwest::Client::new()
            .request(method.parse().unwrap(), format!("{}/v1/{path}", self.url))
            .header("x-vault-token", &self.token)
            .header("x-vault-namespace", namespace)
            .json(&body)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    async fn get(&self, path: &str) -> Value {
        self.call("", "GET", path, json!({})).await.1
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call("", "POST", path, body).await;
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    }

    /// The value of a place, as somebody else reads it.
    async fn value(&self, place: &str) -> Option<String> {
        let (path, field) = place.split_once('#').unwrap();
        let answer = self.get(&format!("secret/data/{path}")).await;
        answer.pointer(&format!("/data/data/{field}")).and_then(Value::as_str).map(str::to_owned)
    }

    /// An `AppRole` of a policy: RoleID and SecretID.
    async fn role(&self, policy: &str, ttl: &str) -> (String, String) {
        self.post("sys/policies/acl/agents", json!({"policy": policy})).await;
        let role = json!({"token_policies": ["agents"], "token_ttl": ttl});
        self.post("auth/approle/role/keywright", role).await;
        let role_id = self.get("auth/approle/role/keywright/role-id").await;
        let secret_id = self.post("auth/approle/role/keywright/secret-id", json!({})).await;
        let text = |value: &Value, at: &str| value.pointer(at).unwrap().as_str().unwrap().to_owned();
        (text(&role_id, "/data/role_id"), text(&secret_id, "/data/secret_id"))
    }
}

/// The policy of the adapter's documentation: nothing of it reads data.
const LEAST: &str = r#"
path "secret/data/agents/*"     { capabilities = ["create", "update"] }
path "secret/metadata/agents/*" { capabilities = ["create", "update", "read"] }
path "secret/subkeys/agents/*"  { capabilities = ["read"] }
path "secret/destroy/agents/*"  { capabilities = ["update"] }
"#;

fn store(url: &str, credential: &str, extra: &[(&str, &str)]) -> Box<dyn Store> {
    stores::open("vault", url, credential, extra)
}

/// A Vault of its own; with a policy, as an `AppRole` that has it.
async fn case(policy: Option<String>) -> StoreCase {
    let vault = start("vault").await.unwrap();
    let admin = Admin::of(&vault);
    let (role_id, credential) = match policy {
        Some(policy) => admin.role(&policy, "1h").await,
        None => (String::new(), vault.parent.clone()),
    };
    let secret = credential.clone();
    let open = Box::new(move |url: &str| {
        store(url, &credential, &[("role_id", role_id.as_str()), ("timeout", "6s")])
    });
    let said = |status| format!(r#"{{"errors":["refused with {status}"]}}"#);
    let (store, network) = Network::before(&vault.base_url, said, open).await;
    let (reader, writer) = (admin.clone(), admin);
    StoreCase {
        store,
        network,
        place: "agents/it/{}#value".to_owned(),
        read: Box::new(move |place| {
            let admin = reader.clone();
            Box::pin(async move { admin.value(&place).await })
        }),
        put_foreign: Box::new(move |place, value| {
            let admin = writer.clone();
            Box::pin(async move {
                let (path, field) = place.split_once('#').unwrap();
                admin.post(&format!("secret/data/{path}"), json!({"data": {field: value}})).await;
            })
        }),
        limits: Limits::of("agents/it/", 'a', 390, &format!("#{}", "f".repeat(128))),
        secrets: vec![secret],
        peer: Box::new(vault),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_keeps_the_contract() {
    keeps_the_stores_contract(async || case(None).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approle_keeps_the_contract_in_a_mount_of_its_own() {
    let policy = format!(
        "{LEAST}\npath \"secret/data/agents/it/*\" {{ capabilities = [\"create\", \"update\", \"read\"] }}"
    );
    keeps_the_stores_contract(async || case(Some(policy.clone())).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_denies_reading_leaves_the_version_and_the_names() {
    let vault = start("vault").await.unwrap();
    let admin = Admin::of(&vault);
    let (role_id, secret_id) = admin.role(LEAST, "1h").await;
    let proxy = Proxy::start(&vault.base_url).await;
    let store = store(&proxy.url, &secret_id, &[("role_id", &role_id)]);
    let (at, mode) = placed(store.as_ref(), "agents/web/a", 1).await;
    assert_eq!(mode.unwrap(), VerifyMode::VersionMoved);
    // The denial is the policy's, which no new login changes.
    let logins = proxy.seen().iter().filter(|call| call.path.ends_with("/login")).count();
    assert_eq!(logins, 1);
    // The field is not the one that was asked for: only the names were looked at, and that was enough.
    admin.post("secret/data/agents/web/a", json!({"data": {"other": "x"}, "options": {"cas": 1}})).await;
    assert_eq!(store.look(&at).await.unwrap(), Presence::Foreign);
    // Outside of the policy.
    let (_, refused) = placed(store.as_ref(), "elsewhere/a", 2).await;
    assert!(matches!(refused, Err(StoreError::Unauthorized { .. })), "{refused:?}");
    // Without reading, a lost answer can't be told from somebody else's write.
    proxy.next("POST", "/v1/secret/data/", Fault::LostAfter);
    let (_, lost) = placed(store.as_ref(), "agents/web/b", 3).await;
    assert!(matches!(lost, Err(StoreError::OutcomeUnknown { .. })), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_token_is_replaced_once_and_a_due_one_renewed() {
    let vault = start("vault").await.unwrap();
    let admin = Admin::of(&vault);
    let (role_id, secret_id) = admin.role(LEAST, "1h").await;
    let proxy = Proxy::start(&vault.base_url).await;
    let store = store(&proxy.url, &secret_id, &[("role_id", &role_id)]);
    let token = admin.post("auth/token/create", json!({"policies": ["agents"], "ttl": "1h"})).await;
    let token = token.pointer("/auth/client_token").unwrap().as_str().unwrap().to_owned();
    // The login tells of a token that lives for a second, though it lives longer.
    let body = json!({"auth": {"client_token": token, "lease_duration": 1, "renewable": true}}).to_string();
    proxy.next("POST", "/login", Fault::Answer { status: 200, headers: "", body });
    store.look(&destination(store.as_ref(), "agents/web/a").await).await.unwrap();
    tokio::time::sleep(Duration::from_millis(800)).await;
    proxy.seen();
    store.look(&destination(store.as_ref(), "agents/web/a").await).await.unwrap();
    let count = |seen: &[crate::support::proxy::Seen], end: &str| {
        seen.iter().filter(|call| call.path.ends_with(end)).count()
    };
    let seen = proxy.seen();
    assert_eq!((count(&seen, "/renew-self"), count(&seen, "/login")), (1, 0));
    // It is revoked behind our back: one login, and the call succeeds.
    admin.post("auth/token/revoke", json!({"token": token})).await;
    let (_, mode) = placed(store.as_ref(), "agents/web/a", 1).await;
    assert_eq!(mode.unwrap(), VerifyMode::VersionMoved);
    assert_eq!(count(&proxy.seen(), "/login"), 1);
    // A login that fails is not tried again and again.
    let bad = store_with_bad_secret_id(&proxy.url, &role_id);
    let failed = bad.look(&destination(bad.as_ref(), "agents/web/a").await).await;
    assert!(matches!(failed, Err(StoreError::Unauthorized { .. })), "{failed:?}");
    assert_eq!(count(&proxy.seen(), "/login"), 1);
}

fn store_with_bad_secret_id(url: &str, role_id: &str) -> Box<dyn Store> {
    store(url, "11111111-2222-3333-4444-555555555555", &[("role_id", role_id)])
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_versions_count_and_namespaces_are_kept_apart() {
    let vault = start("vault").await.unwrap();
    let admin = Admin::of(&vault);
    let plain = store(&vault.base_url, &vault.parent, &[]);
    // Somebody else's value, deleted by them: the place is free, yet the next version is 2.
    admin.post("secret/data/a/b", json!({"data": {"x": "theirs"}})).await;
    admin.call("", "DELETE", "secret/data/a/b", json!({})).await;
    let at = destination(plain.as_ref(), "a/b").await;
    assert_eq!(plain.look(&at).await.unwrap(), Presence::Absent);
    let (_, mode) = placed(plain.as_ref(), "a/b", 1).await;
    assert_eq!(mode.unwrap(), VerifyMode::ReadBack);
    let ours = plain.look(&at).await.unwrap();
    assert!(matches!(&ours, Presence::Ours { store_version: Some(n), .. } if n == "2"), "{ours:?}");
    // Other people's metadata stays beside ours, and after it.
    let custom = |value: &Value| value.pointer("/data/custom_metadata").cloned().unwrap_or_default();
    let mut with = custom(&admin.get("secret/metadata/a/b").await);
    with["owner"] = json!("web team");
    admin.post("secret/metadata/a/b", json!({"custom_metadata": with})).await;
    plain.remove(&origin(1), &at).await.unwrap();
    let after = admin.get("secret/metadata/a/b").await;
    assert_eq!(custom(&after), json!({"owner": "web team"}));
    assert_eq!(after.pointer("/data/versions/2/destroyed"), Some(&json!(true)));

    admin.post("sys/namespaces/team", json!({})).await;
    admin.call("team", "POST", "sys/mounts/kv", json!({"type": "kv", "options": {"version": "2"}})).await;
    let team = store(&vault.base_url, &vault.parent, &[("namespace", "team"), ("mount", "kv")]);
    team.check().await.unwrap();
    let (_, mode) = placed(team.as_ref(), "a/b", 2).await;
    assert_eq!(mode.unwrap(), VerifyMode::ReadBack);
    let (status, _) = admin.call("team", "GET", "kv/data/a/b", json!({})).await;
    assert_eq!(status, 200);
    assert_eq!(admin.call("", "GET", "kv/data/a/b", json!({})).await.0, 404);
    // A mount that is not there.
    let lost = store(&vault.base_url, &vault.parent, &[("mount", "nowhere")]);
    assert!(lost.check().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_cant_be_noted_takes_its_version_back() {
    let vault = start("vault").await.unwrap();
    let admin = Admin::of(&vault);
    let proxy = Proxy::start(&vault.base_url).await;
    let store = store(&proxy.url, &vault.parent, &[]);
    let denied =
        || Fault::Answer { status: 403, headers: "", body: r#"{"errors":["permission denied"]}"#.into() };
    proxy.next("POST", "/v1/secret/metadata/", denied());
    let (at, refused) = placed(store.as_ref(), "a/b", 1).await;
    assert!(matches!(refused, Err(StoreError::Unauthorized { .. })), "{refused:?}");
    assert_eq!(store.look(&at).await.unwrap(), Presence::Absent);
    assert_eq!(admin.value("a/b#value").await, None);
}

#[tokio::test]
async fn places_have_one_way_of_writing() {
    let store = store("http://127.0.0.1:1", "hvs.x", &[]);
    assert_eq!(destination(store.as_ref(), "web/dev/CF").await.place.place, "web/dev/CF#value");
    assert_eq!(destination(store.as_ref(), "web/CF#token").await.place.place, "web/CF#token");
    for bad in ["/web", "web/", "a//b", "a b", "a/*", "a/+", "a#", "a#b#c", "a%2fb", "a/./b"] {
        refuses(store.as_ref(), bad).await;
    }
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused() {
    for (extra, address) in [
        (("mount", "../sys"), Some("http://127.0.0.1:1")),
        (("namespace", "a b"), Some("http://127.0.0.1:1")),
        (("role", "x"), Some("http://127.0.0.1:1")),
        (("mount", "secret"), None),
        (("mount", "secret"), Some("http://vault.example")),
    ] {
        let config = StoreConfig {
            name: "vault".parse().unwrap(),
            address: address.map(str::to_owned),
            extra: BTreeMap::from([(extra.0.to_owned(), extra.1.to_owned())]),
        };
        assert!(connect("vault", config, Some(Secret::new("hvs.x".to_owned()))).is_err(), "{extra:?}");
    }
}

/// hvac 2.4's own suite: 84 cases, of which none may be skipped.
#[tokio::test(flavor = "multi_thread")]
async fn the_stand_in_passes_hvacs_own_suite() {
    let (Some(python), Some(suite)) = (peer("venv/bin/python"), peer("hvac/tests")) else { return };
    let vault = start("vault").await.unwrap();
    let bin = tempfile::tempdir().unwrap();
    // The suite asks the binary for its version, to choose the cases.
    let shim = bin.path().join("vault");
    std::fs::write(&shim, "#!/bin/sh\necho 'Vault v1.15.0 (abc)'\n").unwrap();
    std::fs::set_permissions(&shim, std::fs::Permissions::from_mode(0o755)).unwrap();
    let root = suite.parent().unwrap();
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vendors/support");
    let mut command = Command::new(python);
    command
        .args(["-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", "-p", "hvac_suite", "-q"])
        .arg("tests/integration_tests/api/secrets_engines/test_kv_v2.py")
        .current_dir(root)
        .env("PATH", format!("{}:{}", bin.path().display(), std::env::var("PATH").unwrap()))
        .env("PYTHONPATH", format!("{}:{}", root.display(), plugin.display()))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("KEYWRIGHT_VAULT_URL", &vault.base_url)
        .env("KEYWRIGHT_VAULT_TOKEN", &vault.parent);
    let output = run(command).await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("84 passed") && !said.contains("skipped"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hvac_and_node_vault_read_what_was_placed() {
    let vault = start("vault").await.unwrap();
    let store = store(&vault.base_url, &vault.parent, &[]);
    let (_, mode) = placed(store.as_ref(), "web/dev/CF_TOKEN#token", 1).await;
    assert_eq!(mode.unwrap(), VerifyMode::ReadBack);
    let python = "import hvac, os, sys\n\
        client = hvac.Client(os.environ['VAULT_ADDR'], os.environ['VAULT_TOKEN'])\n\
        found = client.secrets.kv.v2.read_secret_version(path='web/dev/CF_TOKEN', raise_on_deleted_version=True)\n\
        meta = found['data']['metadata']\n\
        assert meta['version'] == 1 and meta['custom_metadata']['keywright-1'].startswith('plc_'), meta\n\
        sys.stdout.write(found['data']['data']['token'])";
    let node = "require('node-vault')().read('secret/data/web/dev/CF_TOKEN')\
        .then(found => process.stdout.write(found.data.data.token))";
    let mut readers = Vec::new();
    if let Some(program) = peer("venv/bin/python") {
        let mut command = Command::new(program);
        command.args(["-c", python]);
        readers.push(command);
    }
    if let Some(package) = peer("node_modules/node-vault") {
        let mut command = Command::new("node");
        command.args(["-e", node]).current_dir(package.parent().unwrap().parent().unwrap());
        readers.push(command);
    }
    for mut command in readers {
        command.env("VAULT_ADDR", &vault.base_url).env("VAULT_TOKEN", &vault.parent);
        let output = run(command).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), VALUE, "{said}");
    }
}
