//! OpenRouter before its stand-in.

use keywright_core::provider::ProviderError;
use keywright_sandbox::vendors::OPENROUTER_WORKSPACE;

use crate::support::contract::marker;
use crate::support::stand_in::{Vendor, mint};
use crate::support::{Fault, Proxy};

pub const VENDOR: Vendor = Vendor {
    kind: "openrouter",
    account: Some(OPENROUTER_WORKSPACE),
    permissions: &["inference"],
    scope: "workspace",
    parameters: &[("openrouter.guardrail", "cheap models")],
    budget_cents: Some(250),
    list: "keys",
    rows: "/data",
    next: Some(|rows| format!("include_disabled=true&offset={}", rows.len())),
};

#[tokio::test]
async fn openrouter_keeps_the_contract() {
    VENDOR.keeps_the_contract(("POST", "/keys"), ("GET", "/keys/"), ("DELETE", "/keys/")).await;
}

#[tokio::test]
async fn openrouter_fits_the_vendors_document() {
    VENDOR.fits_the_document("openrouter-openapi.yaml", true).await;
}

#[tokio::test]
async fn a_list_of_many_keys_is_whole() {
    let running = VENDOR.start().await;
    let provider = VENDOR.connect(&running.base_url, &running.parent);
    let wish = VENDOR.wish(provider.as_ref()).await;
    for number in 0..11 {
        mint(provider.as_ref(), &wish, number).await.1.unwrap();
        let listed = provider.list(keywright_core::provider::Listing::Marked).await.unwrap();
        assert_eq!(listed.len(), number as usize + 1);
    }
}

#[tokio::test]
async fn a_key_that_does_not_get_its_guardrail_is_ended() {
    let running = VENDOR.start().await;
    let proxy = Proxy::start(&running.base_url).await;
    let provider = VENDOR.connect(&proxy.url, &running.parent);
    let wish = VENDOR.wish(provider.as_ref()).await;
    for _ in 0..3 {
        let fault = Fault::Answer { status: 500, headers: "", body: String::new() };
        proxy.next("POST", "/assignments/keys", fault);
    }
    let error = mint(provider.as_ref(), &wish, 1).await.1.err().unwrap();
    assert!(matches!(error, ProviderError::Unavailable { .. }), "{error}");
    assert_eq!((VENDOR.live(&running))(marker(1).as_str().to_owned()).await, 0);
}

#[tokio::test]
async fn a_key_without_a_limit_is_not_made_and_one_without_its_guardrail_is_noticed() {
    let running = VENDOR.start().await;
    let provider = VENDOR.connect(&running.base_url, &running.parent);
    let mut wish = VENDOR.wish(provider.as_ref()).await;
    wish.budget_cents = None;
    let error = mint(provider.as_ref(), &wish, 1).await.1.err().unwrap();
    assert!(error.to_string().contains("budget_usd"), "{error}");
    assert_eq!((VENDOR.live(&running))(marker(1).as_str().to_owned()).await, 0);

    let mut wish = VENDOR.wish(provider.as_ref()).await;
    let (guarded, _) = mint(provider.as_ref(), &wish, 2).await;
    wish.resources.retain(|resource| resource.kind != "openrouter.guardrail");
    let minted = mint(provider.as_ref(), &wish, 3).await.1.unwrap();
    let observed = provider.read_back(&minted.provider_key_id).await.unwrap();
    assert_eq!(guarded.differences(&observed).len(), 1, "the guardrail is missing");
}

#[tokio::test]
async fn a_budget_that_begins_anew_is_asked_for_and_read_back() {
    let running = VENDOR.start().await;
    let provider = VENDOR.connect(&running.base_url, &running.parent);
    let plain = VENDOR.wish(provider.as_ref()).await;
    let mut weekly = VENDOR.wish(provider.as_ref()).await;
    weekly.resources.push(provider.resolve("openrouter.limit_reset", "weekly").await.unwrap());
    let (grant, minted) = mint(provider.as_ref(), &weekly, 1).await;
    let observed = provider.read_back(&minted.unwrap().provider_key_id).await.unwrap();
    assert_eq!(grant.differences(&observed), []);
    let (for_life, _) = mint(provider.as_ref(), &plain, 2).await;
    assert!(!for_life.differences(&observed).is_empty(), "20 dollars a week are not 20 dollars");
    let error = provider.resolve("openrouter.limit_reset", "hourly").await.unwrap_err().to_string();
    assert!(error.contains("daily, weekly, monthly"), "{error}");
}

/// What a guardrail allows is in the plan by its name: who changes it after the approval changes the plan.
#[tokio::test]
async fn a_plan_says_what_a_guardrail_allows() {
    let running = VENDOR.start().await;
    let proxy = Proxy::start(&running.base_url).await;
    let provider = VENDOR.connect(&proxy.url, &running.parent);
    let before = provider.resolve("openrouter.guardrail", "cheap models").await.unwrap();
    assert_eq!(before.name, "cheap models (models: openai/gpt-5-mini; providers: any)");
    let wider = serde_json::json!({"total_count": 1, "data": [{
        "id": before.id, "name": "cheap models", "workspace_id": OPENROUTER_WORKSPACE,
        "allowed_models": null, "ignored_models": ["b", "a"], "allowed_providers": ["openai"],
    }]});
    proxy.next("GET", "/guardrails", Fault::Answer { status: 200, headers: "", body: wider.to_string() });
    let after = provider.resolve("openrouter.guardrail", "cheap models").await.unwrap();
    assert_eq!(after.name, "cheap models (models: any but a, b; providers: openai)");
    assert_ne!(before, after);
}

#[tokio::test]
async fn a_key_that_says_it_is_another_ends_the_mint() {
    let running = VENDOR.start().await;
    let provider = VENDOR.connect(&running.base_url, &running.parent);
    let wish = VENDOR.wish(provider.as_ref()).await;
    let one = mint(provider.as_ref(), &wish, 1).await.1.unwrap();
    let two = mint(provider.as_ref(), &wish, 2).await.1.unwrap();
    let parent = keywright_core::secret::Secret::new(running.parent.clone());
    for (secret, why) in [(&parent, "it is a management key"), (&two.secret, "another label")] {
        let error = provider.probe(secret, &one.provider_key_id).await.unwrap_err();
        assert!(matches!(error, ProviderError::Refused { .. }) && !error.is_transient(), "{error}");
        assert!(error.to_string().contains("another key than asked for"), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    provider.probe(&one.secret, &one.provider_key_id).await.unwrap();
}

#[tokio::test]
async fn openrouter_says_what_helps() {
    let running = VENDOR.start().await;
    let provider = VENDOR.connect(&running.base_url, &running.parent);
    for (kind, value, said) in [
        ("openrouter.guardrail", "Cheap Models", "did you mean `cheap models`?"),
        ("openrouter.guardrail", "none", "there is `cheap models`, `no training`"),
        ("openrouter.workspace", "Staging", "it is for `Production`"),
        ("openrouter.zone", "x", "no parameters of kind `openrouter.zone`"),
    ] {
        let error = provider.resolve(kind, value).await.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    assert_eq!(
        provider.resolve("openrouter.workspace", "production").await.unwrap().id,
        OPENROUTER_WORKSPACE
    );
    let mut foreign = provider.resolve("openrouter.workspace", OPENROUTER_WORKSPACE).await.unwrap();
    foreign.id = foreign.id.replace('0', "1");
    assert!(provider.confine(&VENDOR.permissions(), vec![foreign]).is_err());

    let wish = VENDOR.wish(provider.as_ref()).await;
    let ordinary = mint(provider.as_ref(), &wish, 1).await.1.unwrap();
    let ordinary = VENDOR.connect(&running.base_url, ordinary.secret.expose_secret());
    assert!(ordinary.check().await.unwrap_err().to_string().contains("only a management key makes keys"));
}

#[tokio::test]
async fn what_a_key_cost_is_read_to_the_millionth_and_no_amount_is_none() {
    let running = VENDOR.start().await;
    let proxy = Proxy::start(&running.base_url).await;
    let provider = VENDOR.connect(&proxy.url, &running.parent);
    let wish = VENDOR.wish(provider.as_ref()).await;
    let minted = mint(provider.as_ref(), &wish, 1).await.1.unwrap();
    let id = minted.provider_key_id.as_str();
    let own =
        reqwest::Client::new().get(format!("{}/keys/{id}", running.base_url)).bearer_auth(&running.parent);
    let shown: serde_json::Value = own.send().await.unwrap().json().await.unwrap();
    let metered = provider.metered().unwrap();
    for (usage, byok, cost) in [
        ("0", "0", Some(0)),
        ("25.5", "17.38", Some(42_880_000)),
        ("0.1", "0.2", Some(300_000)),
        ("0.0000004", "1e-6", Some(1)),
        ("-1", "0", None),
        ("1e30", "0", None),
        ("null", "0", None),
    ] {
        let mut shown = shown.clone();
        shown["data"]["usage"] = serde_json::from_str(usage).unwrap();
        shown["data"]["byok_usage"] = serde_json::from_str(byok).unwrap();
        proxy.next("GET", "/keys/", Fault::Answer { status: 200, headers: "", body: shown.to_string() });
        let read = metered.usage(id).await;
        assert_eq!(read.ok().and_then(|usage| usage.cost_microusd), cost, "{usage} {byok}");
    }
}
