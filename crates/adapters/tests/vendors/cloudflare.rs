//! The provider `cloudflare` before the sandbox, in the suite of all providers. Its own tests are in
//! `tests/provider_cloudflare`.

use std::sync::Arc;

use keywright_adapters::provider::{ConnectionConfig, connect};
use keywright_core::grant::Permission;
use keywright_core::secret::Secret;
use keywright_sandbox::{Sandbox, SandboxConfig};

use crate::renewing::{Case, a_bad_answer_to_the_create_hides_nothing, a_successor_takes_over};
use crate::support::Proxy;
use crate::support::contract::{ProviderCase, Wish, keeps_the_providers_contract};

const DNS_READ: &str = "82e64a83756745bbbb1c9c2701bf816b";

/// Codes of Cloudflare that go with a status.
fn said(status: u16) -> String {
    let code = match status {
        401 => 1000,
        403 => 10_000,
        404 => 1003,
        429 => 971,
        _ => 1001,
    };
    format!(
        r#"{{"success":false,"errors":[{{"code":{code},"message":"refused with {status}"}}],"messages":[],"result":null}}"#
    )
}

pub async fn case(owner: &'static str) -> ProviderCase {
    let sandbox = Arc::new(Sandbox::start(SandboxConfig::default()).await.unwrap());
    let proxy = Proxy::start(&sandbox.base_url()).await;
    let extra =
        [("owner", owner), ("timeout", "6s"), ("probe_for", "1s"), ("requests_per_minute", "1000000")];
    let parent = if owner == "user" { sandbox.user_parent_token() } else { sandbox.parent_token() };
    let config = ConnectionConfig {
        base_url: Some(proxy.url.clone()),
        account: Some(sandbox.account_id().to_owned()),
        extra: extra.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
    };
    let provider = connect("cloudflare", config, Secret::new(parent.to_owned())).unwrap();
    let permissions = vec![Permission {
        id: DNS_READ.to_owned(),
        name: "DNS Read".to_owned(),
        scope: "com.cloudflare.api.account.zone".to_owned(),
    }];
    // The user's own sees no zones by name.
    let zone = sandbox.zones().into_iter().find(|zone| zone.name == "example.com").unwrap();
    let resolve = ("cloudflare.zone", if owner == "user" { zone.id } else { zone.name });
    let zone = provider.resolve(resolve.0, &resolve.1).await.unwrap();
    let resources = provider.confine(&permissions, vec![zone]).unwrap();
    let counted = Arc::clone(&sandbox);
    ProviderCase {
        wish: Wish { provider: "cloudflare", permissions, resources, ttl: "1d", budget_cents: None },
        create: ("POST", "/tokens"),
        live: Box::new(move |marker| {
            let sandbox = Arc::clone(&counted);
            Box::pin(async move { sandbox.live_tokens_named_like(&marker).len() })
        }),
        resolve,
        said,
        secrets: vec![parent.to_owned()],
        // An id stands for itself where the token sees no zones at all.
        believed: if owner == "user" { &["GET /client/v4/zones/"] } else { &[] },
        is_slow: false,
        peer: Box::new(Arc::clone(&sandbox)),
        proxy,
        provider,
    }
}

#[tokio::test]
async fn an_accounts_tokens_keep_the_contract() {
    keeps_the_providers_contract(async || case("account").await).await;
}

#[tokio::test]
async fn a_users_tokens_keep_the_contract() {
    keeps_the_providers_contract(async || case("user").await).await;
}

async fn renewing(owner: &'static str) -> (Arc<Sandbox>, Case) {
    let sandbox = Arc::new(Sandbox::start(SandboxConfig::default()).await.unwrap());
    let proxy = Proxy::start(&sandbox.base_url()).await;
    let (url, account) = (proxy.url.clone(), sandbox.account_id().to_owned());
    let open = move |credential: &str| {
        let extra =
            [("owner", owner), ("timeout", "6s"), ("probe_for", "1s"), ("requests_per_minute", "1000000")];
        let config = ConnectionConfig {
            base_url: Some(url.clone()),
            account: Some(account.clone()),
            extra: extra.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        };
        connect("cloudflare", config, Secret::new(credential.to_owned())).unwrap()
    };
    let parent = if owner == "user" { sandbox.user_parent_token() } else { sandbox.parent_token() };
    let credential = parent.to_owned();
    (sandbox, Case { proxy, open: Box::new(open), credential, create: ("POST", "/tokens") })
}

#[tokio::test]
async fn a_parent_makes_its_like() {
    for owner in ["account", "user"] {
        let (_sandbox, case) = renewing(owner).await;
        a_bad_answer_to_the_create_hides_nothing(&case).await;
        a_successor_takes_over(&case).await;
    }
}
