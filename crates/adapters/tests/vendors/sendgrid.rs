//! SendGrid before its stand-in.

use keywright_core::provider::ProviderError;

use crate::support::contract::marker;
use crate::support::stand_in::{Vendor, mint};

pub const VENDOR: Vendor = Vendor {
    kind: "sendgrid",
    account: None,
    permissions: &["mail.send", "stats.read"],
    scope: "account",
    parameters: &[],
    budget_cents: None,
    list: "v3/api_keys",
    rows: "/result",
    believed: &[],
    resolve: ("sendgrid.account", "own"),
    said: |status| format!(r#"{{"errors":[{{"message":"refused with {status}","field":null}}]}}"#),
    next: None,
};

#[tokio::test]
async fn sendgrid_keeps_the_contract() {
    VENDOR.keeps_the_contract(("POST", "/v3/api_keys")).await;
}

#[tokio::test]
async fn sendgrid_fits_the_vendors_documents() {
    // The probe is in a document of its own.
    VENDOR.fits_the_keys_document().await;
}

impl Vendor {
    /// As `fits_the_document`, with the two documents that SendGrid publishes put together.
    async fn fits_the_keys_document(&self) {
        let names = ["sendgrid-tsg_api_keys_v3.json", "sendgrid-tsg_scopes_v3.json"];
        let [Some(keys), Some(scopes)] = names.map(crate::support::data) else { return };
        let read = |path| serde_json::from_slice::<serde_json::Value>(&std::fs::read(path).unwrap()).unwrap();
        let (mut whole, other) = (read(keys), read(scopes));
        for part in ["/paths", "/components/schemas", "/components/parameters", "/components/responses"] {
            let Some(more) = other.pointer(part).and_then(|more| more.as_object()) else { continue };
            let into = whole.pointer_mut(part).and_then(|into| into.as_object_mut()).unwrap();
            for (name, value) in more {
                into.entry(name).or_insert_with(|| value.clone());
            }
        }
        let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
        serde_json::to_writer(&file, &whole).unwrap();
        self.fits_the_document(file.path().to_str().unwrap(), true).await;
    }
}

#[tokio::test]
async fn scopes_are_never_left_out() {
    let running = VENDOR.start().await;
    let provider = VENDOR.connect(&running.base_url, &running.parent);
    // Asked the way that leaves them out, the vendor gives everything: this is what must not happen.
    let wide: serde_json::Value = reqwest::Client::new()
        .post(format!("{}/v3/api_keys", running.base_url))
        .bearer_auth(&running.parent)
        .json(&serde_json::json!({"name": marker(9).as_str()}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let wish = VENDOR.wish(provider.as_ref()).await;
    let (grant, _) = mint(provider.as_ref(), &wish, 1).await;
    let observed = provider.read_back(wide["api_key_id"].as_str().unwrap()).await.unwrap();
    assert!(observed.permissions.contains("api_keys.create"));
    assert!(!grant.differences(&observed).is_empty(), "a key with full access is noticed");
}

#[tokio::test]
async fn the_hundred_and_first_key_is_refused_as_such() {
    let running = VENDOR.start().await;
    let provider = VENDOR.connect(&running.base_url, &running.parent);
    let wish = VENDOR.wish(provider.as_ref()).await;
    for number in 0..100 {
        mint(provider.as_ref(), &wish, number).await.1.unwrap();
    }
    let health = provider.check().await.unwrap();
    assert_eq!(health.quota, Some((100, 100)));
    assert!(health.warnings.iter().any(|said| said == "100 of 100 keys exist"), "{:?}", health.warnings);
    let error = mint(provider.as_ref(), &wish, 100).await.1.err().unwrap();
    assert!(matches!(error, ProviderError::QuotaExhausted { .. }), "{error}");
}

#[tokio::test]
async fn a_parent_that_can_not_mint_is_told_what_it_lacks() {
    let running = VENDOR.start().await;
    let provider = VENDOR.connect(&running.base_url, &running.parent);
    let wish = VENDOR.wish(provider.as_ref()).await;
    let minted = mint(provider.as_ref(), &wish, 1).await.1.unwrap();
    let poor = VENDOR.connect(&running.base_url, minted.secret.expose_secret());
    let error = poor.check().await.unwrap_err().to_string();
    assert!(error.contains("`api_keys.create`, `api_keys.read`, `api_keys.delete`"), "{error}");
    let other = mint(provider.as_ref(), &wish, 2).await.1.unwrap();
    provider.probe(&other.secret, &other.provider_key_id).await.unwrap();
    let parent = keywright_core::secret::Secret::new(running.parent.clone());
    let error = provider.probe(&parent, &other.provider_key_id).await.unwrap_err();
    assert!(matches!(error, ProviderError::Refused { .. }), "another secret than the key's: {error}");
    assert!(error.to_string().contains("another key than asked for: it also has `"), "{error}");
    let mut fewer = VENDOR.wish(provider.as_ref()).await;
    fewer.permissions.truncate(1);
    let fewer = mint(provider.as_ref(), &fewer, 3).await.1.unwrap();
    let error = provider.probe(&fewer.secret, &other.provider_key_id).await.unwrap_err();
    assert!(error.to_string().contains("another key than asked for: it lacks `"), "{error}");
}
