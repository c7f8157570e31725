//! The provider `anthropic` before its stand-in. It can't mint, so that the suite of providers does not apply.

use keywright_adapters::provider::{ConnectionConfig, connect};
use keywright_core::grant::{Permission, Resource};
use keywright_core::provider::{Listing, Provider, ProviderError, Usage};
use keywright_core::secret::Secret;
use keywright_sandbox::vendors;

use crate::support::Proxy;
use crate::support::contract::{Wish, marker};
use crate::support::proxy::bad_answers;

fn provider(address: &str, parent: &str) -> Box<dyn Provider> {
    let config = ConnectionConfig { base_url: Some(address.to_owned()), ..ConnectionConfig::default() };
    connect("anthropic", config, Secret::new(parent.to_owned())).unwrap()
}

#[tokio::test]
async fn keys_are_listed_to_the_end_switched_and_archived() {
    let anthropic = vendors::start("anthropic").await.unwrap();
    let provider = provider(&anthropic.base_url, &anthropic.parent);
    let listed = provider.list(Listing::All).await.unwrap();
    let ids: Vec<&str> = listed.iter().map(|key| key.provider_key_id.as_str()).collect();
    assert_eq!(ids, ["apikey_0001", "apikey_0002", "apikey_0003"]);
    assert!(provider.list(Listing::Marked).await.unwrap().is_empty());
    let read = |id: &'static str| provider.read_back(id);
    let resource = |id: &str| ("anthropic.workspace".to_owned(), id.to_owned());
    assert!(read("apikey_0001").await.unwrap().resources.contains(&resource("wrkspc_01")));
    assert!(read("apikey_0002").await.unwrap().resources.contains(&resource("default")));
    let switch = provider.disabling().unwrap();
    for _ in 0..2 {
        switch.disable("apikey_0001").await.unwrap();
    }
    assert_ne!(read("apikey_0001").await.unwrap().not_understood, []);
    assert!(!provider.list(Listing::All).await.unwrap()[0].enabled);
    for _ in 0..2 {
        switch.enable("apikey_0001").await.unwrap();
    }
    assert_eq!(read("apikey_0001").await.unwrap().not_understood, []);
    for id in ["apikey_0001", "apikey_0001", "apikey_9999"] {
        provider.revoke(id).await.unwrap();
    }
    assert!(matches!(read("apikey_0001").await, Err(ProviderError::NotFound { .. })));
    assert_eq!(provider.list(Listing::All).await.unwrap().len(), 2);
    assert!(switch.enable("apikey_0001").await.is_err());
}

#[tokio::test]
async fn the_usage_of_a_key_is_that_of_all_its_days_and_of_nobody_else() {
    let anthropic = vendors::start("anthropic").await.unwrap();
    let provider = provider(&anthropic.base_url, &anthropic.parent);
    let metered = provider.metered().unwrap();
    let usage = metered.usage("apikey_0001").await.unwrap();
    // Two days of 1,000 + 200 + 30 + 4 + 500.
    assert_eq!(usage, Usage { cost_microusd: None, tokens: Some(3_468) });
    assert!(matches!(metered.usage("apikey_9999").await, Err(ProviderError::NotFound { .. })));
}

#[tokio::test]
async fn a_mint_says_what_there_is_instead() {
    let anthropic = vendors::start("anthropic").await.unwrap();
    let proxy = Proxy::start(&anthropic.base_url).await;
    let provider = provider(&proxy.url, &anthropic.parent);
    assert!(provider.facts().no_mint.is_some());
    assert!(provider.check().await.unwrap().warnings.join(" ").contains("can't mint"));
    proxy.seen();
    let workspace = provider.resolve("anthropic.workspace", "default").await.unwrap();
    let all = Permission { id: "workspace/all".into(), name: "all".into(), scope: "workspace".into() };
    assert_eq!(
        provider.confine(std::slice::from_ref(&all), vec![workspace.clone()]).unwrap(),
        std::slice::from_ref(&workspace)
    );
    assert!(provider.confine(std::slice::from_ref(&all), Vec::<Resource>::new()).is_err());
    let wish = Wish {
        provider: "anthropic",
        permissions: vec![all],
        resources: vec![workspace],
        ttl: "1d",
        budget_cents: None,
    };
    let plan = wish.authorized();
    let grant = plan.get().grant(jiff::Timestamp::now());
    let error = provider.mint(&plan, &grant, &marker(1)).await.err().unwrap().to_string();
    assert!(error.contains("Workload Identity Federation"), "{error}");
    assert!(proxy.seen().is_empty(), "nothing was sent");
}

#[tokio::test]
async fn a_bad_answer_is_neither_a_list_nor_an_end() {
    let anthropic = vendors::start("anthropic").await.unwrap();
    let proxy = Proxy::start(&anthropic.base_url).await;
    let provider = provider(&proxy.url, &anthropic.parent);
    for (what, fault) in bad_answers().into_iter().filter(|(what, _)| !what.starts_with("429")) {
        let often = |method: &str| {
            for _ in 0..5 {
                proxy.next(method, "/api_keys", fault.clone());
            }
        };
        often("GET");
        assert!(provider.list(Listing::All).await.is_err(), "{what}");
        proxy.unmet();
        often("GET");
        assert!(provider.read_back("apikey_0001").await.is_err(), "{what}");
        proxy.unmet();
        often("POST");
        assert!(provider.disabling().unwrap().disable("apikey_0001").await.is_err(), "{what}");
        proxy.unmet();
    }
    let stranger = self::provider(&anthropic.base_url, "sk-ant-api03-not-an-admin");
    assert!(matches!(stranger.check().await, Err(ProviderError::Unauthorized { .. })));
}
