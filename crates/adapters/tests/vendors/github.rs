//! The provider `github` before its stand-in, GitHub's own OpenAPI document and a Python library that checks signatures.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use keywright_adapters::provider::{ConnectError, ConnectionConfig, connect};
use keywright_core::grant::{Difference, Permission, Resource};
use keywright_core::provider::{Listing, Minted, Provider, ProviderError};
use keywright_core::secret::Secret;
use keywright_sandbox::vendors::{self, Running};
use serde_json::{Value, json};

use crate::support::contract::{ProviderCase, Wish, keeps_the_providers_contract};
use crate::support::{Fault, Proxy, openapi, peer, peers};

const DOCUMENT: &str = "node_modules/@octokit/openapi/generated/api.github.com.json";
const APP: &str = "Iv23liSandbox0000001";

fn open(address: &str, parent: &str, app: &str) -> Result<Box<dyn Provider>, ConnectError> {
    let extra: BTreeMap<String, String> =
        [("app", app), ("installation", "4242"), ("probe_for", "1s"), ("timeout", "6s")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    let config = ConnectionConfig { base_url: Some(address.to_owned()), account: None, extra };
    connect("github", config, Secret::new(parent.to_owned()))
}

fn provider(address: &str, parent: &str) -> Box<dyn Provider> {
    open(address, parent, APP).unwrap()
}

fn permissions(ids: &[&str]) -> Vec<Permission> {
    let permission = |id: &&str| {
        let scope = if id.starts_with("members") { "organization" } else { "repository" };
        Permission { id: (*id).to_owned(), name: (*id).to_owned(), scope: scope.to_owned() }
    };
    let mut all: Vec<_> = ids.iter().map(permission).collect();
    all.sort();
    all
}

fn repository(name: &str) -> Resource {
    Resource { kind: "github.repository".to_owned(), id: name.to_owned(), name: name.to_owned() }
}

fn wish(ttl: &'static str) -> Wish {
    Wish {
        provider: "github",
        permissions: permissions(&["contents:read", "issues:write"]),
        resources: vec![repository("acme/web")],
        ttl,
        budget_cents: None,
    }
}

async fn ask(github: &str, path: &str, body: Value) -> Value {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.post(format!("{github}/-/{path}")).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default()
}

/// Which of the tokens live, in the order of their creation.
async fn lives(github: &str) -> Vec<bool> {
    serde_json::from_value(ask(github, "tokens", json!({})).await).unwrap()
}

async fn mint(provider: &dyn Provider, wish: &Wish) -> Result<Minted, ProviderError> {
    let plan = wish.authorized();
    let grant = plan.get().grant(Timestamp::now());
    provider.mint(&plan, &grant, &crate::support::contract::marker(1)).await
}

pub async fn case() -> (ProviderCase, Arc<Running>) {
    let github = Arc::new(vendors::start("github").await.unwrap());
    let proxy = Proxy::start(&github.base_url).await;
    let base_url = github.base_url.clone();
    // A token carries no marker. Those that came since the last question belong to the marker that is asked about.
    let owned: Arc<Mutex<Vec<String>>> = Arc::default();
    let case = ProviderCase {
        provider: provider(&proxy.url, &github.parent),
        proxy,
        wish: wish("1h"),
        create: ("POST", "/access_tokens"),
        live: Box::new(move |marker| {
            let (base_url, owned) = (base_url.clone(), Arc::clone(&owned));
            Box::pin(async move {
                let lives = lives(&base_url).await;
                let mut owned = owned.lock().unwrap();
                owned.resize(lives.len(), marker.clone());
                lives.iter().zip(owned.iter()).filter(|(lives, owner)| **lives && **owner == marker).count()
            })
        }),
        believed: &[],
        is_slow: false,
        resolve: ("github.repository", "acme/web".to_owned()),
        said: |status| {
            format!(
                r#"{{"message":"refused with {status}","documentation_url":"https://docs.github.com/rest"}}"#
            )
        },
        peer: Box::new(Arc::clone(&github)),
        secrets: github.parent.lines().filter(|line| !line.starts_with('-')).map(str::to_owned).collect(),
    };
    (case, github)
}

#[tokio::test]
async fn it_keeps_the_contract() {
    keeps_the_providers_contract(async || case().await.0).await;
}

#[tokio::test]
async fn every_call_and_every_answer_is_githubs() {
    let Some(path) = peer(DOCUMENT) else { return };
    let whole: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let paths = [
        "/app",
        "/app/installations/{installation_id}",
        "/app/installations/{installation_id}/access_tokens",
        "/repos/{owner}/{repo}/installation",
        "/installation/repositories",
        "/installation/token",
    ];
    let mut document = openapi::cut(&whole, &paths, &[401, 404, 422]);
    let schemas = &mut document["components"]["schemas"];
    // The stand-in shows of these what this adapter reads.
    for (name, required) in [
        ("integration", json!(["id", "name"])),
        ("installation", json!(["id", "repository_selection", "permissions"])),
        ("repository", json!(["id", "name", "full_name"])),
    ] {
        schemas[name]["required"] = required;
    }
    schemas["installation"]["properties"]["account"] = json!({});
    // A misspelt permission would pass as an extra field.
    schemas["app-permissions"]["additionalProperties"] = false.into();
    let body = &mut document["paths"]["/app/installations/{installation_id}/access_tokens"]["post"]["requestBody"]
        ["content"]["application/json"]["schema"];
    body["additionalProperties"] = false.into();
    body["required"] = json!(["permissions", "repositories"]);
    let github = vendors::start("github").await.unwrap();
    let Some(prism) = peers::Peer::prism(&document, Some(&github.base_url)).await else { return };
    let provider = provider(&prism.url, &github.parent);
    assert_eq!(provider.check().await.unwrap().warnings, Vec::<String>::new());
    assert_eq!(provider.resolve("github.repository", "Acme/Web").await.unwrap(), repository("acme/web"));
    let plan = wish("1h").authorized();
    let grant = plan.get().grant(Timestamp::now());
    let minted = provider.mint(&plan, &grant, &crate::support::contract::marker(1)).await.unwrap();
    let id = minted.provider_key_id.as_str();
    assert_eq!(provider.facts().differences(grant.clone(), &provider.read_back(id).await.unwrap()), []);
    provider.probe(&minted.secret, id).await.unwrap();
    provider.revoke(id).await.unwrap();
    assert_eq!(lives(&github.base_url).await, [false]);
    assert!(matches!(provider.read_back(id).await, Err(ProviderError::NotFound { .. })));
}

#[tokio::test]
async fn a_token_that_is_wider_than_asked_is_ended_and_not_handed_on() {
    let github = vendors::start("github").await.unwrap();
    let proxy = Proxy::start(&github.base_url).await;
    let provider = provider(&proxy.url, &github.parent);
    for (what, says) in [("permissions", "actions:write"), ("repositories", "acme/secret-plans")] {
        ask(&github.base_url, "widen", json!({"what": what})).await;
        let error = mint(provider.as_ref(), &wish("1h")).await.err().unwrap();
        assert!(matches!(&error, ProviderError::Refused { .. }), "{error}");
        assert!(error.to_string().contains(says) && error.to_string().contains("ended"), "{error}");
    }
    assert_eq!(lives(&github.base_url).await, [false, false]);
    // When it can't be ended, nobody claims that it was.
    ask(&github.base_url, "widen", json!({"what": "permissions"})).await;
    for _ in 0..5 {
        proxy.next("DELETE", "/installation/token", Fault::LostBefore);
    }
    let error = mint(provider.as_ref(), &wish("1h")).await.err().unwrap();
    assert!(matches!(&error, ProviderError::OutcomeUnknown { .. }), "{error}");
    assert_eq!(lives(&github.base_url).await, [false, false, true]);
}

/// What the answer to the create does not show counts as missing.
#[tokio::test]
async fn an_answer_without_what_would_show_the_grant_is_refused() {
    let github = vendors::start("github").await.unwrap();
    let proxy = Proxy::start(&github.base_url).await;
    let provider = provider(&proxy.url, &github.parent);
    let good = json!({
        "token": "ghs_0123456789abcdefghij0123456789abcdefghij",
        "expires_at": (Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string(),
        "permissions": {"contents": "read", "issues": "write", "metadata": "read"},
        "repository_selection": "selected",
        "repositories": [{"full_name": "acme/Web"}],
    });
    let answer = |body: &Value| {
        let body = body.to_string();
        proxy.next("POST", "/access_tokens", Fault::Answer { status: 201, headers: "", body });
    };
    answer(&good);
    mint(provider.as_ref(), &wish("1h")).await.unwrap();
    let late = (Timestamp::now() + jiff::SignedDuration::from_hours(9)).to_string();
    for (field, value) in [
        ("permissions", Value::Null),
        ("permissions", json!({"contents": "read"})),
        ("permissions", json!({"contents": "write", "issues": "write"})),
        ("repository_selection", Value::Null),
        ("repository_selection", json!("all")),
        ("repositories", Value::Null),
        ("repositories", json!([])),
        ("expires_at", json!(late)),
    ] {
        let mut other = good.clone();
        other[field] = value.clone();
        answer(&other);
        let error = mint(provider.as_ref(), &wish("1h")).await.err().unwrap();
        assert!(matches!(&error, ProviderError::Refused { .. }), "{field} {value}: {error}");
    }
}

#[tokio::test]
async fn the_signature_is_one_that_other_people_accept() {
    let Some(python) = peer("venv/bin/python") else { return };
    let (case, github) = case().await;
    case.provider.check().await.unwrap();
    let call = case.proxy.seen().into_iter().next().unwrap();
    let bearer = call.head.lines().find_map(|line| line.strip_prefix("authorization: Bearer ")).unwrap();
    let program = "import base64, json, sys\n\
        from cryptography.hazmat.primitives import hashes, serialization\n\
        from cryptography.hazmat.primitives.asymmetric import padding\n\
        said = json.load(sys.stdin)\n\
        un = lambda part: base64.urlsafe_b64decode(part + '=' * (-len(part) % 4))\n\
        head, claims, signature = said['jwt'].split('.')\n\
        key = serialization.load_pem_private_key(said['pem'].encode(), None).public_key()\n\
        key.verify(un(signature), f'{head}.{claims}'.encode(), padding.PKCS1v15(), hashes.SHA256())\n\
        print(json.dumps([json.loads(un(head)), json.loads(un(claims))]))";
    let mut child = Command::new(python)
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = json!({"jwt": bearer, "pem": github.parent}).to_string();
    child.stdin.take().unwrap().write_all(said.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let [head, claims]: [Value; 2] = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&head["alg"], &claims["iss"]), (&json!("RS256"), &json!(APP)));
    assert!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap() <= 600);
}

#[tokio::test]
async fn the_key_comes_in_three_forms_and_garbage_is_no_key() {
    use base64::Engine as _;
    let github = vendors::start("github").await.unwrap();
    let escaped = github.parent.replace('\n', "\\n");
    let folded = base64::engine::general_purpose::STANDARD.encode(&github.parent);
    for form in [github.parent.as_str(), &escaped, &folded] {
        provider(&github.base_url, form).check().await.unwrap();
    }
    for bad in ["", "ghp_token", "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----"] {
        let error = open(&github.base_url, bad, APP).err().unwrap().to_string();
        assert!(error.contains("PEM") && (bad.is_empty() || !error.contains(bad)), "{error}");
    }
    let other = open(&github.base_url, &github.parent, "Iv23liAnother").unwrap();
    assert!(matches!(other.check().await, Err(ProviderError::Unauthorized { .. })));
}

#[tokio::test]
async fn an_app_is_named_by_its_client_id_old_or_new() {
    let github = vendors::start("github").await.unwrap();
    for app in [APP, "Iv1.8a61f9b3a7aba766", "123456"] {
        assert!(open(&github.base_url, &github.parent, app).is_ok(), "{app}");
    }
    for bad in ["", "my app", "https://github.com/apps/mine"] {
        let error = open(&github.base_url, &github.parent, bad).err().unwrap().to_string();
        assert!(error.contains("`Iv1.8a61f9b3a7aba766`"), "{error}");
    }
}

#[tokio::test]
async fn nothing_is_made_that_no_repository_confines_or_that_outlives_the_hour() {
    let github = vendors::start("github").await.unwrap();
    let provider = provider(&github.base_url, &github.parent);
    for (value, says) in [
        ("web", "owner/name"),
        ("acme/nothing", "there is none"),
        ("other/web", "there is none"),
        ("acme/../web", "owner/name"),
    ] {
        let error = provider.resolve("github.repository", value).await.unwrap_err();
        assert!(matches!(&error, ProviderError::NoSuchResource { .. }), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    let web = || vec![repository("acme/web")];
    assert_eq!(provider.confine(&permissions(&["contents:read"]), web()).unwrap(), web());
    for (ids, given) in [
        (&["contents:read"][..], vec![]),
        (&[][..], web()),
        (&["members:read"][..], web()),
        (&["contents:read", "contents:write"][..], web()),
        (&["contents"][..], web()),
        (&["contents:read"][..], vec![repository("acme/web"), repository("other/web")]),
    ] {
        assert!(provider.confine(&permissions(ids), given.clone()).is_err(), "{ids:?} {given:?}");
    }
    let error = mint(provider.as_ref(), &wish("2h")).await.err().unwrap();
    assert!(matches!(&error, ProviderError::Unsupported { .. }), "{error}");
    let refused = Wish { permissions: permissions(&["administration:write"]), ..wish("1h") };
    let error = mint(provider.as_ref(), &refused).await.err().unwrap();
    assert!(matches!(&error, ProviderError::Refused { .. }), "{error}");
    assert!(lives(&github.base_url).await.is_empty());
}

/// A shorter grant ends by the broker's hand; GitHub's hour is behind it.
#[tokio::test]
async fn a_token_is_kept_until_it_ends_and_another_process_does_not_have_it() {
    let github = vendors::start("github").await.unwrap();
    let first = provider(&github.base_url, &github.parent);
    let plan = wish("10m").authorized();
    let grant = plan.get().grant(Timestamp::now());
    let minted = first.mint(&plan, &grant, &crate::support::contract::marker(1)).await.unwrap();
    let id = minted.provider_key_id.as_str();
    assert!(!id.contains(minted.secret.expose_secret()));
    assert_eq!(
        first.facts().differences(grant.clone(), &first.read_back(id).await.unwrap()),
        Vec::<Difference>::new()
    );
    let second = provider(&github.base_url, &github.parent);
    assert!(matches!(second.read_back(id).await, Err(ProviderError::Unsupported { .. })));
    let error = second.revoke(id).await.unwrap_err().to_string();
    assert!(error.contains("it ends at"), "{error}");
    assert!(matches!(second.list(Listing::All).await, Err(ProviderError::Unsupported { .. })));
    assert_eq!(lives(&github.base_url).await, [true]);
    // What has ended by itself is gone, whoever made it.
    second.revoke("ghs-1700000000-0123456789abcdef").await.unwrap();
    first.revoke(id).await.unwrap();
    assert_eq!(lives(&github.base_url).await, [false]);
}
