//! Hugging Face before its stand-in.

use keywright_adapters::provider::ConnectionConfig;
use keywright_core::provider::ProviderError;
use keywright_core::secret::Secret;
use keywright_sandbox::vendors::HUGGINGFACE_ORGANISATION;

use crate::support::contract::marker;
use crate::support::stand_in::{Vendor, mint};
use crate::support::{Fault, Proxy};

pub const VENDOR: Vendor = Vendor {
    kind: "huggingface",
    account: Some(HUGGINGFACE_ORGANISATION),
    permissions: &["repo.content.read", "collection.read"],
    scope: "organization",
    parameters: &[],
    budget_cents: None,
    list: "api/organizations/keywright/service-accounts",
    rows: "",
    believed: &[],
    resolve: ("huggingface.organization", HUGGINGFACE_ORGANISATION),
    said: |status| format!(r#"{{"error":"refused with {status}"}}"#),
    next: None,
};

const ACCOUNT: &str = "/service-accounts/";

#[tokio::test]
async fn huggingface_keeps_the_contract_in_the_first_create() {
    VENDOR.keeps_the_contract(("POST", "/service-accounts")).await;
}

#[tokio::test]
async fn huggingface_keeps_the_contract_in_the_second_create() {
    VENDOR.keeps_the_contract(("POST", "/tokens")).await;
}

#[tokio::test]
async fn huggingface_fits_the_vendors_document() {
    VENDOR.fits_the_document("huggingface-service-accounts-openapi.json", true).await;
}

#[tokio::test]
async fn an_account_whose_token_is_refused_does_not_stay() {
    let running = VENDOR.start().await;
    let proxy = Proxy::start(&running.base_url).await;
    let provider = VENDOR.connect(&proxy.url, &running.parent);
    let wish = VENDOR.wish(provider.as_ref()).await;
    let refusal = || Fault::Answer { status: 403, headers: "", body: r#"{"error":"no"}"#.to_owned() };
    proxy.next("POST", "/tokens", refusal());
    let error = mint(provider.as_ref(), &wish, 1).await.1.err().unwrap();
    assert!(matches!(error, ProviderError::Unauthorized { .. }), "{error}");
    assert_eq!((VENDOR.live(&running))(marker(1).as_str().to_owned()).await, 0);

    // It can't be ended either: then it has to be looked for.
    proxy.next("POST", "/tokens", refusal());
    proxy.next("DELETE", ACCOUNT, refusal());
    let error = mint(provider.as_ref(), &wish, 2).await.1.err().unwrap();
    assert!(matches!(error, ProviderError::OutcomeUnknown { .. }), "{error}");
    assert_eq!((VENDOR.live(&running))(marker(2).as_str().to_owned()).await, 1);
}

#[tokio::test]
async fn a_second_token_of_an_account_is_noticed() {
    let running = VENDOR.start().await;
    let provider = VENDOR.connect(&running.base_url, &running.parent);
    let wish = VENDOR.wish(provider.as_ref()).await;
    let (grant, minted) = mint(provider.as_ref(), &wish, 1).await;
    let id = minted.unwrap().provider_key_id;
    let url = format!("{}/{}/{id}/tokens", running.base_url, VENDOR.list);
    let body = serde_json::json!({"displayName": "by hand", "permissions": ["collection.read"]});
    let answer =
        reqwest::Client::new().post(url).bearer_auth(&running.parent).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let differences = provider.facts().differences(grant.clone(), &provider.read_back(&id).await.unwrap());
    assert_eq!(differences.len(), 1, "{differences:?}");
}

#[tokio::test]
async fn an_organisation_that_is_none_is_called_so() {
    let running = VENDOR.start().await;
    let other = Vendor { account: Some("nobody"), ..VENDOR };
    let error = other.connect(&running.base_url, &running.parent).check().await.unwrap_err();
    assert!(matches!(error, ProviderError::NoSuchResource { .. }), "{error}");
    assert!(error.to_string().contains("organisation `nobody`"), "{error}");
    for bad in ["..", ".", "-x", ""] {
        let config = ConnectionConfig {
            base_url: Some(running.base_url.clone()),
            account: Some(bad.to_owned()),
            ..ConnectionConfig::default()
        };
        let refused =
            keywright_adapters::provider::connect("huggingface", config, Secret::new("hf_x".to_owned()));
        let error = refused.err().unwrap().to_string();
        assert!(error.contains("huggingface.co/NAME"), "{bad:?}: {error}");
    }
}
