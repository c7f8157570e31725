//! The provider `gitlab` before its stand-in. GitLab publishes no OpenAPI document of its token API, so that the shapes are
//! those of the documentation.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keywright_adapters::provider::{ConnectionConfig, connect};
use keywright_core::grant::{Difference, Permission, Resource};
use keywright_core::provider::{Listing, Provider, ProviderError};
use keywright_core::secret::Secret;
use keywright_sandbox::vendors::{self, Running};
use serde_json::{Value, json};

use crate::support::contract::{ProviderCase, Wish, keeps_the_providers_contract};
use crate::support::{Fault, Proxy};

fn provider(address: &str, parent: &str, extra: &[(&str, &str)]) -> Box<dyn Provider> {
    let extra: BTreeMap<String, String> =
        extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let config = ConnectionConfig { base_url: Some(address.to_owned()), account: None, extra };
    connect("gitlab", config, Secret::new(parent.to_owned())).unwrap()
}

fn permissions(ids: &[&str]) -> Vec<Permission> {
    let permission = |id: &&str| Permission {
        id: (*id).to_owned(),
        name: id.rsplit('/').next().unwrap().to_owned(),
        scope: id.split('/').next().unwrap().to_owned(),
    };
    let mut all: Vec<_> = ids.iter().map(permission).collect();
    all.sort();
    all
}

fn resource(kind: &str, id: &str, name: &str) -> Resource {
    Resource { kind: kind.to_owned(), id: id.to_owned(), name: name.to_owned() }
}

async fn get(gitlab: &Running, path: &str) -> Vec<Value> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/{path}?per_page=1000", gitlab.base_url);
    let text = client.get(url).bearer_auth(&gitlab.parent).send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap()
}

async fn case(of: &'static str) -> (ProviderCase, std::sync::Arc<Running>) {
    let gitlab = std::sync::Arc::new(vendors::start("gitlab").await.unwrap());
    let proxy = Proxy::start(&gitlab.base_url).await;
    let reach = [("projects", "acme/web,acme/api"), ("groups", "acme"), ("probe_for", "1s")];
    let (resources, path) = match of {
        "project" => (vec![resource("gitlab.project", "42", "acme/web")], "projects/42/access_tokens"),
        _ => (vec![resource("gitlab.group", "7", "acme")], "groups/7/access_tokens"),
    };
    let scopes = [format!("{of}/read_repository"), format!("{of}/role/reporter")];
    let counted = std::sync::Arc::clone(&gitlab);
    let case = ProviderCase {
        provider: provider(&proxy.url, &gitlab.parent, &reach),
        proxy,
        wish: Wish {
            provider: "gitlab",
            permissions: permissions(&[&scopes[0], &scopes[1]]),
            resources,
            ttl: "36h",
            budget_cents: None,
        },
        create: ("POST", "/access_tokens"),
        list: ("GET", "/access_tokens?"),
        read: ("GET", "/access_tokens/"),
        revoke: ("DELETE", "/access_tokens/"),
        live: Box::new(move |marker| {
            let gitlab = std::sync::Arc::clone(&counted);
            Box::pin(async move {
                let tokens = get(&gitlab, path).await;
                let is_it = |token: &&Value| {
                    token["active"] == true && token["name"].as_str().unwrap().starts_with(&marker)
                };
                tokens.iter().filter(is_it).count()
            })
        }),
        secrets: vec![gitlab.parent.clone()],
    };
    (case, gitlab)
}

#[tokio::test]
async fn a_projects_tokens_keep_the_contract() {
    keeps_the_providers_contract(&case("project").await.0).await;
}

#[tokio::test]
async fn a_groups_tokens_keep_the_contract() {
    keeps_the_providers_contract(&case("group").await.0).await;
}

#[tokio::test]
async fn the_end_is_a_midnight_and_never_before_the_end_that_was_asked() {
    let (case, gitlab) = case("project").await;
    let (grant, minted) = case.mint(1).await;
    let id = minted.unwrap().provider_key_id;
    let token = get(&gitlab, "projects/42/access_tokens").await.pop().unwrap();
    let midnight: Timestamp = format!("{}T00:00:00Z", token["expires_at"].as_str().unwrap()).parse().unwrap();
    let late = midnight.duration_since(grant.expires_at.unwrap());
    assert!(!late.is_negative() && late.as_hours() < 24, "{late}");
    // A date that does not fit the name is told as it is.
    let mut other = token.clone();
    other["expires_at"] = json!("2098-01-01");
    let body = other.to_string();
    case.proxy.next("GET", "/access_tokens/", Fault::Answer { status: 200, headers: "", body });
    let differences =
        case.provider.facts().differences(grant.clone(), &case.provider.read_back(&id).await.unwrap());
    assert!(matches!(differences.as_slice(), [Difference::Expiry { .. }]), "{differences:?}");
}

#[tokio::test]
async fn whatever_else_a_token_has_is_a_difference() {
    let (case, gitlab) = case("project").await;
    let (grant, minted) = case.mint(1).await;
    let id = minted.unwrap().provider_key_id;
    let token = get(&gitlab, "projects/42/access_tokens").await.pop().unwrap();
    type Mutation = (&'static str, fn(&mut Value));
    let mutations: [Mutation; 6] = [
        ("another scope", |t| t["scopes"] = json!(["read_repository", "api"])),
        ("fewer scopes", |t| t["scopes"] = json!([])),
        ("another role", |t| t["access_level"] = json!(40)),
        ("an unknown role", |t| t["access_level"] = json!(33)),
        ("not active", |t| t["active"] = json!(false)),
        ("fine-grained", |t| t["granular_scopes"] = json!([{"permissions": ["x"]}])),
    ];
    for (what, mutate) in mutations {
        let mut other = token.clone();
        mutate(&mut other);
        let body = other.to_string();
        case.proxy.next("GET", "/access_tokens/", Fault::Answer { status: 200, headers: "", body });
        assert_ne!(
            case.provider.facts().differences(grant.clone(), &case.provider.read_back(&id).await.unwrap()),
            [],
            "{what}"
        );
    }
    case.provider.revoke(&id).await.unwrap();
    assert!(matches!(case.provider.read_back(&id).await, Err(ProviderError::NotFound { .. })));
    assert!(case.provider.list(Listing::All).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_token_that_says_it_is_another_ends_the_mint() {
    let (case, _gitlab) = case("project").await;
    let minted = case.mint(1).await.1.unwrap();
    let (_, id) = minted.provider_key_id.rsplit_once(':').unwrap();
    let shown = |id: &str, active: bool| json!({"id": id.parse::<u64>().unwrap(), "name": "x", "scopes": ["api"], "active": active, "revoked": false});
    for other in [shown("999999", true), shown(id, false)] {
        case.proxy.next("GET", "/self", Fault::Answer { status: 200, headers: "", body: other.to_string() });
        let error = case.provider.probe(&minted.secret, &minted.provider_key_id).await.unwrap_err();
        assert!(error.to_string().contains("another key than asked for"), "{error}");
        assert!(!error.is_transient(), "{error}");
    }
    case.provider.probe(&minted.secret, &minted.provider_key_id).await.unwrap();
}

#[tokio::test]
async fn names_become_numbers_within_the_connections_reach_only() {
    let gitlab = vendors::start("gitlab").await.unwrap();
    let provider = provider(&gitlab.base_url, &gitlab.parent, &[("projects", "acme/web")]);
    let web = resource("gitlab.project", "42", "acme/web");
    for name in ["acme/web", "42"] {
        assert_eq!(provider.resolve("gitlab.project", name).await.unwrap(), web, "{name}");
    }
    for (kind, name) in [("gitlab.project", "acme/api"), ("gitlab.project", "43"), ("gitlab.group", "acme")] {
        let error = provider.resolve(kind, name).await.unwrap_err();
        assert!(matches!(&error, ProviderError::NoSuchResource { .. }), "{error}");
    }
    let both = permissions(&["project/read_api", "project/role/guest"]);
    assert_eq!(provider.confine(&both, vec![web.clone()]).unwrap(), vec![web.clone()]);
    let group = resource("gitlab.group", "7", "acme");
    for (ids, given) in [
        (&["project/read_api", "project/role/guest"][..], vec![]),
        (&["project/read_api", "project/role/guest"][..], vec![web.clone(), group.clone()]),
        (&["project/read_api", "project/role/guest"][..], vec![group]),
        (&["project/read_api"][..], vec![web.clone()]),
        (&["project/role/guest"][..], vec![web.clone()]),
        (&["project/read_api", "project/role/guest", "project/role/owner"][..], vec![web]),
    ] {
        assert!(provider.confine(&permissions(ids), given.clone()).is_err(), "{ids:?} {given:?}");
    }
}

#[tokio::test]
async fn the_parent_is_judged() {
    let gitlab = vendors::start("gitlab").await.unwrap();
    let proxy = Proxy::start(&gitlab.base_url).await;
    let provider = provider(&proxy.url, &gitlab.parent, &[("projects", "acme/web"), ("groups", "acme")]);
    let health = provider.check().await.unwrap();
    let [wide] = health.warnings.as_slice() else { panic!("{:?}", health.warnings) };
    assert!(wide.contains("reaches everything that its user does"), "{wide}");
    assert_eq!(health.what, "personal access token");
    let say = |scopes: &str| {
        let body = format!(
            r#"{{"id":1,"name":"p","scopes":{scopes},"active":true,"revoked":false,"expires_at":null}}"#
        );
        proxy.next("GET", "/self", Fault::Answer { status: 200, headers: "", body });
    };
    say(r#"["read_api"]"#);
    let error = provider.check().await.unwrap_err().to_string();
    assert!(error.contains("`api`"), "{error}");
    say(r#"["api","sudo"]"#);
    let denied =
        Fault::Answer { status: 403, headers: "", body: r#"{"message":"403 Forbidden"}"#.to_owned() };
    proxy.next("GET", "/groups/acme/access_tokens", denied);
    let warnings = provider.check().await.unwrap().warnings.join("\n");
    for part in ["sudo", "group `acme`", "no expiry", "its user"] {
        assert!(warnings.contains(part), "{part}: {warnings}");
    }
}
