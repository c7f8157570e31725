//! OpenAI before its stand-in.

use keywright_core::provider::ProviderError;
use keywright_sandbox::vendors::OPENAI_PROJECT;

use crate::support::stand_in::{Vendor, mint};
use crate::support::{Fault, Proxy};

pub const VENDOR: Vendor = Vendor {
    kind: "openai",
    account: Some(OPENAI_PROJECT),
    permissions: &["member"],
    scope: "models",
    parameters: &[("openai.models", "gpt-5-mini"), ("openai.spend_limit", "50")],
    budget_cents: None,
    list: "organization/projects/proj_keywright/service_accounts",
    rows: "/data",
    // The probe: a gateway's page counts as an answer of the models' list.
    believed: &[],
    resolve: ("openai.models", "gpt-5-mini"),
    said: |status| {
        format!(
            r#"{{"error":{{"message":"refused with {status}","type":"invalid_request_error","param":null,"code":null}}}}"#
        )
    },
    next: Some(|rows| {
        rows.last().map_or_else(String::new, |row| format!("after={}", row["id"].as_str().unwrap()))
    }),
};

#[tokio::test]
async fn openai_keeps_the_contract() {
    VENDOR.keeps_the_contract(("POST", "/service_accounts")).await;
}

#[tokio::test]
async fn openai_fits_the_vendors_document() {
    VENDOR.fits_the_document("openai-admin-openapi.json", false).await;
}

#[tokio::test]
async fn a_key_that_may_not_list_models_is_known_all_the_same() {
    let running = VENDOR.start().await;
    let proxy = Proxy::start(&running.base_url).await;
    let provider = VENDOR.connect(&proxy.url, &running.parent);
    let wish = VENDOR.wish(provider.as_ref()).await;
    let minted = mint(provider.as_ref(), &wish, 1).await.1.unwrap();
    let answer = |status, body: &str| Fault::Answer { status, headers: "", body: body.to_owned() };
    let refusal =
        r#"{"error":{"message":"Missing scopes: api.model.read","type":"t","param":null,"code":null}}"#;
    proxy.next("GET", "/models", answer(403, refusal));
    provider.probe(&minted.secret, &minted.provider_key_id).await.unwrap();
    assert_eq!(proxy.unmet(), 0);
    provider.revoke(&minted.provider_key_id).await.unwrap();
    assert!(provider.probe(&minted.secret, &minted.provider_key_id).await.is_err());
}

#[tokio::test]
async fn models_that_the_project_does_not_keep_to_are_refused_and_noticed() {
    let running = VENDOR.start().await;
    let proxy = Proxy::start(&running.base_url).await;
    let provider = VENDOR.connect(&proxy.url, &running.parent);
    for value in ["any", "gpt-5", "gpt-5-mini,gpt-5"] {
        let error = provider.resolve("openai.models", value).await.unwrap_err().to_string();
        assert!(error.contains("the project allows `gpt-5-mini`"), "{error}");
    }
    assert!(provider.confine(&VENDOR.permissions(), Vec::new()).is_err(), "models have to be named");
    let wish = VENDOR.wish(provider.as_ref()).await;
    let (grant, minted) = mint(provider.as_ref(), &wish, 1).await;
    let id = minted.unwrap().provider_key_id;
    let list = r#"{"object":"project.model_permissions","mode":"deny_list","model_ids":[]}"#;
    proxy.next(
        "GET",
        "/model_permissions",
        Fault::Answer { status: 200, headers: "", body: list.to_owned() },
    );
    let observed = provider.read_back(&id).await.unwrap();
    assert_eq!(grant.differences(&observed).len(), 2, "one extra, one missing");
}

#[tokio::test]
async fn a_spend_limit_that_the_project_does_not_keep_to_is_refused_and_noticed() {
    let running = VENDOR.start().await;
    let proxy = Proxy::start(&running.base_url).await;
    let provider = VENDOR.connect(&proxy.url, &running.parent);
    for value in ["none", "5000", "49.99", "a lot"] {
        let error = provider.resolve("openai.spend_limit", value).await.unwrap_err().to_string();
        assert!(error.contains("the project's is `50`"), "{error}");
    }
    let models = provider.resolve("openai.models", "gpt-5-mini").await.unwrap();
    assert!(provider.confine(&VENDOR.permissions(), vec![models]).is_err(), "the limit has to be named");
    let wish = VENDOR.wish(provider.as_ref()).await;
    let (grant, minted) = mint(provider.as_ref(), &wish, 1).await;
    let id = minted.unwrap().provider_key_id;
    let raised = r#"{"object":"project.spend_limit","threshold_amount":5000,"currency":"USD","interval":"month",
        "enforcement":{"status":"inactive"}}"#;
    proxy.next("GET", "/spend_limit", Fault::Answer { status: 200, headers: "", body: raised.to_owned() });
    let observed = provider.read_back(&id).await.unwrap();
    assert_eq!(grant.differences(&observed).len(), 2, "one extra, one missing");
    proxy.next("GET", "/spend_limit", Fault::Answer { status: 200, headers: "", body: raised.to_owned() });
    let warnings = provider.check().await.unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.contains("enforces no spend limit")), "{warnings:?}");
}

#[tokio::test]
async fn what_a_key_cost_is_the_sum_of_its_own_rows_in_dollars() {
    let running = VENDOR.start().await;
    let proxy = Proxy::start(&running.base_url).await;
    let provider = VENDOR.connect(&proxy.url, &running.parent);
    let wish = VENDOR.wish(provider.as_ref()).await;
    let minted = mint(provider.as_ref(), &wish, 1).await.1.unwrap();
    let id = minted.provider_key_id.as_str();
    let metered = provider.metered().unwrap();
    for calls in 0..3 {
        let usage = metered.usage(id).await.unwrap();
        assert_eq!(usage.cost_microusd, Some(calls * 60_000));
        provider.probe(&minted.secret, id).await.unwrap();
    }
    // A page that does not come is no zero, and neither is another currency.
    let body = r#"{"object":"page","data":[],"has_more":true,"next_page":null}"#.to_owned();
    proxy.next("GET", "/organization/costs", Fault::Answer { status: 200, headers: "", body });
    assert!(metered.usage(id).await.is_err());
    assert!(matches!(metered.usage("svc_acct_none").await, Err(ProviderError::NotFound { .. })));
}
