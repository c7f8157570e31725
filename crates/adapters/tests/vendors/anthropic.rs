//! The provider `anthropic` before its stand-in. It can't mint, so that the suite of providers does not apply.

use keywright_adapters::provider::{ConnectionConfig, connect};
use keywright_core::grant::{Permission, Resource};
use keywright_core::provider::{Listing, Provider, ProviderError, Usage};
use keywright_core::secret::Secret;
use keywright_sandbox::vendors;

use crate::support::Proxy;
use crate::support::contract::{Wish, marker};
use crate::support::faults::fits;
use crate::support::proxy::{Bad, Kind, bad_answers};

fn provider(address: &str, parent: &str) -> Box<dyn Provider> {
    let extra = [("timeout".to_owned(), "6s".to_owned())].into();
    let config = ConnectionConfig { base_url: Some(address.to_owned()), account: None, extra };
    connect("anthropic", config, Secret::new(parent.to_owned())).unwrap()
}

fn said(status: u16) -> String {
    format!(r#"{{"type":"error","error":{{"type":"refused","message":"refused with {status}"}}}}"#)
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
    // Each on a line of its own, all together: most of the time is waiting.
    let alone = async |bad: Bad, verb: &str| {
        let proxy = Proxy::start(&anthropic.base_url).await;
        let provider = provider(&proxy.url, &anthropic.parent);
        proxy.fail_from(0, bad.fault.clone());
        let outcome = match verb {
            "list" => provider.list(Listing::All).await.map(drop),
            "read" => provider.read_back("apikey_0002").await.map(drop),
            "usage" => provider.metered().unwrap().usage("apikey_0002").await.map(drop),
            "check" => provider.check().await.map(drop),
            "disable" => provider.disabling().unwrap().disable("apikey_0002").await,
            _ => provider.revoke("apikey_0002").await.map(drop),
        };
        assert!(proxy.met() > 0, "{verb} {bad:?}");
        match outcome {
            // Whoever knows no such key, in the vendor's own words, is believed.
            Ok(()) if verb == "revoke" && bad.kind == Kind::Missing && bad.documented => {}
            Ok(()) => panic!("{verb} {bad:?}: it failed, and nobody says so"),
            Err(error) => assert!(fits(&bad, &error), "{verb} {bad:?}: {error:?}"),
        }
    };
    for verb in ["list", "read", "usage", "check", "disable", "revoke"] {
        futures::future::join_all(bad_answers(said).into_iter().map(|bad| alone(bad, verb))).await;
    }
    let stranger = provider(&anthropic.base_url, "sk-ant-api03-not-an-admin");
    assert!(matches!(stranger.check().await, Err(ProviderError::Unauthorized { .. })));
}
