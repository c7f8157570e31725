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

use crate::support::contract::{ProviderCase, Wish, keeps_the_providers_contract, marker};
use crate::support::stores::run;
use crate::support::{Fault, Proxy, peer};

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
        scope: id.trim_start_matches("fine/").split('/').next().unwrap().to_owned(),
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

pub async fn case(of: &'static str) -> (ProviderCase, std::sync::Arc<Running>) {
    let gitlab = std::sync::Arc::new(vendors::start("gitlab").await.unwrap());
    let proxy = Proxy::start(&gitlab.base_url).await;
    let mints = if of == "fine" { "fine-grained" } else { "access-tokens" };
    let reach = [
        ("projects", "acme/web,acme/api"),
        ("groups", "acme"),
        ("probe_for", "1s"),
        ("timeout", "6s"),
        ("mints", mints),
    ];
    let (resources, path) = match of {
        "fine" => (
            vec![resource("gitlab.project", "42", "acme/web"), resource("gitlab.project", "43", "acme/api")],
            "personal_access_tokens",
        ),
        "project" => (vec![resource("gitlab.project", "42", "acme/web")], "projects/42/access_tokens"),
        _ => (vec![resource("gitlab.group", "7", "acme")], "groups/7/access_tokens"),
    };
    let scopes = match of {
        "fine" => ["fine/project/read_repository", "fine/project/read_job"].map(str::to_owned),
        _ => [format!("{of}/read_repository"), format!("{of}/role/reporter")],
    };
    let create = if of == "fine" { "/user/personal_access_tokens" } else { "/access_tokens" };
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
        create: ("POST", create),
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
        believed: &[],
        is_slow: false,
        resolve: ("gitlab.project", "acme/web".to_owned()),
        said: |status| format!(r#"{{"message":"{status} refused"}}"#),
        secrets: vec![gitlab.parent.clone()],
        peer: Box::new(std::sync::Arc::clone(&gitlab)),
    };
    (case, gitlab)
}

#[tokio::test]
async fn a_projects_tokens_keep_the_contract() {
    keeps_the_providers_contract(async || case("project").await.0).await;
}

#[tokio::test]
async fn a_groups_tokens_keep_the_contract() {
    keeps_the_providers_contract(async || case("group").await.0).await;
}

#[tokio::test]
async fn fine_grained_tokens_keep_the_contract() {
    keeps_the_providers_contract(async || case("fine").await.0).await;
}

#[tokio::test]
async fn a_fine_grained_token_does_what_was_asked_in_the_places_that_were_asked() {
    let (case, gitlab) = case("fine").await;
    let (grant, minted) = case.mint(1).await;
    let id = minted.unwrap().provider_key_id;
    let body: Value = {
        let seen = case.proxy.seen();
        let create = seen.iter().find(|call| call.method == "POST").unwrap();
        serde_json::from_slice(&create.body).unwrap()
    };
    let scope = json!([{"access": "selected_memberships", "permissions": ["read_job", "read_repository"],
        "project_ids": [42, 43]}]);
    assert_eq!(body["granular_scopes"], scope);
    assert!(body.get("scopes").is_none() && body.get("access_level").is_none(), "{body}");
    let observed = case.provider.read_back(&id).await.unwrap();
    assert_eq!(case.provider.facts().differences(grant.clone(), &observed), []);
    let token = get(&gitlab, "personal_access_tokens").await.pop().unwrap();
    type Mutation = (&'static str, fn(&mut Value));
    let mutations: [Mutation; 8] = [
        ("more in one place", |t| t["granular_scopes"][0]["permissions"] = json!(["read_job", "push_code"])),
        ("a place less", |t| drop(t["granular_scopes"].as_array_mut().unwrap().pop())),
        ("all of the user's places", |t| t["granular_scopes"][0]["access"] = json!("all_memberships")),
        ("a place that is none", |t| t["granular_scopes"][0]["project_id"] = Value::Null),
        ("something new about a place", |t| t["granular_scopes"][0]["else"] = json!(1)),
        ("scopes beside", |t| t["scopes"] = json!(["api"])),
        ("not shown", |t| drop(t.as_object_mut().unwrap().remove("granular_scopes"))),
        ("not active", |t| t["active"] = json!(false)),
    ];
    for (what, mutate) in mutations {
        let mut other = token.clone();
        mutate(&mut other);
        let body = other.to_string();
        case.proxy.next("GET", "/personal_access_tokens/", Fault::Answer { status: 200, headers: "", body });
        let observed = case.provider.read_back(&id).await.unwrap();
        assert_ne!(case.provider.facts().differences(grant.clone(), &observed), [], "{what}");
    }
}

#[tokio::test]
async fn what_a_fine_grained_token_can_not_be_is_refused_before_anything_is_sent() {
    let gitlab = vendors::start("gitlab").await.unwrap();
    let fine = [("projects", "acme/web"), ("mints", "fine-grained")];
    let fine = provider(&gitlab.base_url, &gitlab.parent, &fine);
    let web = || vec![resource("gitlab.project", "42", "acme/web")];
    for (ids, given) in [
        (&["project/read_repository", "project/role/reporter"][..], web()),
        (&["fine/project/read_job"], Vec::new()),
        (&["fine/project/read_job"], vec![resource("gitlab.group", "7", "acme")]),
        (&["fine/group/read_job"], web()),
        (&[], web()),
        (&[], Vec::new()),
    ] {
        let refused = fine.confine(&permissions(ids), given);
        assert!(matches!(refused, Err(ProviderError::Unsupported { .. })), "{ids:?} {refused:?}");
    }
    let access = provider(&gitlab.base_url, &gitlab.parent, &[("projects", "acme/web")]);
    assert!(access.confine(&permissions(&["fine/project/read_job"]), web()).is_err());
    let config = ConnectionConfig {
        base_url: Some(gitlab.base_url.clone()),
        account: None,
        extra: BTreeMap::from([
            ("projects".to_owned(), "a/b".to_owned()),
            ("mints".to_owned(), "x".to_owned()),
        ]),
    };
    assert!(connect("gitlab", config, Secret::new("x".to_owned())).is_err());
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

/// python-gitlab sees what the adapter made, and the adapter what python-gitlab makes.
const CLIENT: &str = r#"
import datetime, gitlab, json, os
site = os.environ["SITE"]
project = gitlab.Gitlab(site, oauth_token=os.environ["PARENT"]).projects.get("acme/web")
seen = [[t.name, sorted(t.scopes), t.access_level, t.expires_at, t.active]
        for t in project.access_tokens.list(iterator=True, state="active")]
ends = (datetime.date.today() + datetime.timedelta(days=30)).isoformat()
made = project.access_tokens.create(
    {"name": os.environ["NAME"], "scopes": ["read_api"], "access_level": 20, "expires_at": ends})
own = gitlab.Gitlab(site, oauth_token=made.token).personal_access_tokens.get("self")
assert own.name == made.name and own.active, own
gone = project.access_tokens.create(
    {"name": "gone", "scopes": ["read_api"], "access_level": 20, "expires_at": ends})
project.access_tokens.delete(gone.id)
active = [t.id for t in project.access_tokens.list(iterator=True, state="active")]
assert made.id in active and gone.id not in active, active
print(json.dumps({"seen": seen, "made": made.id}))
"#;

#[tokio::test]
async fn what_the_adapter_makes_python_gitlab_sees_and_the_other_way_round() {
    let Some(python) = peer("venv/bin/python") else { return };
    let (case, gitlab) = case("project").await;
    let (grant, minted) = case.mint(1).await;
    let own = minted.unwrap().provider_key_id;
    let mut command = tokio::process::Command::new(python);
    command
        .args(["-c", CLIENT])
        .env("SITE", &gitlab.base_url)
        .env("PARENT", &gitlab.parent)
        .env("NAME", marker(2).as_str());
    let output = run(command).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{errors}"));
    let seen = &told["seen"][0];
    assert!(seen[0].as_str().unwrap().starts_with(marker(1).as_str()), "{told}");
    assert_eq!((&seen[1], &seen[2], &seen[4]), (&json!(["read_repository"]), &json!(20), &json!(true)));
    let ends = grant.expires_at.unwrap().to_string();
    assert!(seen[3].as_str().unwrap() >= &ends[..10], "{seen} {ends}");
    let listed = case.provider.list(Listing::Marked).await.unwrap();
    let theirs = listed.iter().find(|l| l.label.raw() == marker(2).as_str()).unwrap();
    assert!(theirs.provider_key_id.ends_with(&told["made"].to_string()), "{theirs:?}");
    for id in [&theirs.provider_key_id, &own] {
        case.provider.revoke(id).await.unwrap();
    }
    assert!(case.provider.list(Listing::Marked).await.unwrap().is_empty());
}
