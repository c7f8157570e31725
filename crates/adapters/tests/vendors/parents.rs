//! What a check says of a parent credential that may do too little, or too much: by the answers that vendors give to it.

use std::collections::BTreeMap;

use keywright_adapters::provider::{ConnectionConfig, connect};
use keywright_core::provider::{ParentHealth, Provider, ProviderError, Whose};
use keywright_core::secret::Secret;
use keywright_sandbox::vendors;
use serde_json::{Value, json};

use crate::support::{Fault, Proxy};

/// Checks the parent of a provider that answers one call like this.
async fn checked(kind: &str, path: &str, answer: &Value) -> Result<ParentHealth, ProviderError> {
    let (provider, proxy, _running) = answering(kind, path, answer).await;
    let health = provider.check().await;
    assert_eq!(proxy.unmet(), 0, "{kind}: `{path}` is asked");
    health
}

/// A provider that answers one call like this; it lives as long as its stand-in.
async fn answering(kind: &str, path: &str, answer: &Value) -> (Box<dyn Provider>, Proxy, vendors::Running) {
    let running = vendors::start(kind).await.unwrap();
    let proxy = Proxy::start(&running.base_url).await;
    let stand_in = vendors::ALL.iter().find(|stand_in| stand_in.kind == kind).unwrap();
    let settings = stand_in.settings.iter().chain(&[("probe_for", "1s"), ("timeout", "2s")]);
    let extra: BTreeMap<String, String> =
        settings.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let account = stand_in.account.map(str::to_owned);
    let config = ConnectionConfig { base_url: Some(proxy.url.clone()), account, extra };
    let provider = connect(kind, config, Secret::new(running.parent.clone())).unwrap();
    proxy.next("GET", path, Fault::Answer { status: 200, headers: "", body: answer.to_string() });
    (provider, proxy, running)
}

fn hugging_face(permissions: &[&str]) -> Value {
    let scoped = json!([{"entity": {"type": "org", "name": "acme"}, "permissions": permissions}]);
    json!({"type": "user", "name": "ana", "auth": {"type": "access_token", "expiresAt": "2027-01-01T00:00:00Z",
        "accessToken": {"displayName": "broker", "role": "fineGrained", "fineGrained": {"scoped": scoped}}}})
}

fn installation(selection: &str, permissions: &Value, suspended: Option<&str>) -> Value {
    json!({"id": 4242, "repository_selection": selection, "permissions": permissions, "suspended_at": suspended})
}

#[tokio::test]
async fn a_parent_that_may_do_too_little_is_refused_with_what_is_missing() {
    let own = json!({"data": {"label": "sk-or-v1-a...b", "is_management_key": false, "expires_at": null}});
    let archived = json!({"id": vendors::OPENAI_PROJECT, "name": "Web", "archived_at": 1_770_000_000});
    for (kind, path, answer, said) in [
        ("sendgrid", "/scopes", json!({"scopes": ["mail.send", "api_keys.create"]}), "it lacks `api_keys."),
        ("huggingface", "/whoami-v2", hugging_face(&["repo.write"]), "it lacks `org.serviceAccounts.write`"),
        (
            "github",
            "/app/installations/",
            installation("selected", &json!({}), Some("2026-11-01T00:00:00Z")),
            "the installation is suspended",
        ),
        ("openrouter", "/key", own, "only a management key makes keys"),
        ("openai", "/organization/projects/", archived, "its project is archived"),
    ] {
        let error = checked(kind, path, &answer).await.expect_err(kind);
        assert!(matches!(error, ProviderError::Unauthorized { .. }), "{kind}: {error}");
        assert!(error.to_string().contains(said), "{kind}: {error}");
    }
}

#[tokio::test]
async fn a_parent_that_may_do_too_much_is_warned_about() {
    let needed = ["api_keys.create", "api_keys.read", "api_keys.update", "api_keys.delete", "scopes.read"];
    let scopes: Vec<&str> =
        needed.into_iter().chain(["mail.send", "billing.read", "teammates.update"]).collect();
    let own = json!({"data": {"label": "sk-or-v1-a...b", "is_management_key": true, "expires_at": null}});
    let any = json!({"object": "project.model_permissions", "mode": "deny_list", "model_ids": []});
    let wide = json!({"contents": "write", "secrets": "write", "organization_hooks": "write"});
    for (kind, path, answer, said) in [
        ("sendgrid", "/scopes", json!({"scopes": scopes}), "`billing.read` and 1 more"),
        (
            "huggingface",
            "/whoami-v2",
            hugging_face(&["org.serviceAccounts.write", "org.serviceAccounts.read", "repo.write"]),
            "it can do more than mint: `repo.write`",
        ),
        (
            "github",
            "/app/installations/",
            installation("selected", &wide, None),
            "the App may give organization_hooks, secrets",
        ),
        ("github", "/app/installations/", installation("all", &json!({}), None), "on every repository"),
        ("openrouter", "/key", own, "it has no expiry"),
        ("openai", "/model_permissions", any, "its keys call every model"),
    ] {
        let warnings = checked(kind, path, &answer).await.unwrap_or_else(|e| panic!("{kind}: {e}")).warnings;
        assert!(warnings.iter().any(|warning| warning.contains(said)), "{kind}: {said}: {warnings:?}");
    }
}

#[tokio::test]
async fn what_a_parent_can_give_is_listed() {
    for (kind, path, answer, ids) in [
        (
            "sendgrid",
            "/scopes",
            json!({"scopes": ["2fa_required", "mail.send", "api_keys.read"]}),
            &["api_keys.read", "mail.send"][..],
        ),
        (
            "github",
            "/app/installations/",
            installation("selected", &json!({"issues": "write", "metadata": "read"}), None),
            &["issues:read", "issues:write", "metadata:read"],
        ),
    ] {
        let (provider, _proxy, _running) = answering(kind, path, &answer).await;
        let lists = provider.permissions_now().unwrap();
        assert_eq!(lists.of(), Whose::Parent, "{kind}");
        let now = lists.permissions_now().await.unwrap();
        assert_eq!(now.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ids, "{kind}");
        assert!(now.iter().all(|one| one.scopes.is_empty() && one.name.raw() == one.id), "{kind}");
    }
    let odd = installation("selected", &json!({"issues": "own"}), None);
    let (provider, _proxy, _running) = answering("github", "/app/installations/", &odd).await;
    let error = provider.permissions_now().unwrap().permissions_now().await.unwrap_err();
    assert!(matches!(error, ProviderError::Garbled { .. }) && error.to_string().contains("`own`"), "{error}");
}
