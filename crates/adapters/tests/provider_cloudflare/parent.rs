//! The parent's health, and what a connection can't be made from.

use keywright_adapters::provider::{ConnectionConfig, connect};
use keywright_core::provider::{ParentHealth, Provider, ProviderError};
use keywright_core::secret::Secret;

use crate::world::*;

/// A connection whose parent holds these permissions.
async fn parent_with(world: &World, permissions: &[(&str, &str)]) -> Box<dyn Provider> {
    let mut wish = Wish::new(permissions, vec![]);
    let zones = permissions.iter().any(|(_, scope)| *scope == "zone").then(|| world.zone("example.com"));
    wish.resources = world.provider.confine(&wish.permissions, zones.into_iter().collect()).unwrap();
    let minted = world.mint_wish(&wish, "a parent").await.unwrap();
    connect_account(&world.sandbox, &world.sandbox.base_url(), minted.secret.expose_secret(), &[])
}

fn warns(health: &ParentHealth, word: &str) -> bool {
    health.warnings.iter().any(|warning| warning.contains(word))
}

#[tokio::test]
async fn a_good_parent_is_described() {
    let world = World::start().await;
    for _ in 0..2 {
        let health = world.provider.check().await.unwrap();
        assert_eq!(health.what, "account-owned token");
        assert_eq!((health.expires_at, health.quota), (None, Some((1, 500))));
        assert_eq!(health.warnings, ["it has no expiry; give it one"]);
    }
    let better = parent_with(&world, &[TOKENS_WRITE]).await;
    let health = better.check().await.unwrap();
    assert!(health.expires_at.is_some());
    assert_eq!(health.warnings, [""; 0]);
}

#[tokio::test]
async fn a_user_owned_parent_is_warned_about() {
    let health = World::of_user().await.provider.check().await.unwrap();
    assert_eq!((health.what.as_str(), health.quota), ("user-owned token", Some((1, 50))));
    assert!(warns(&health, "belongs to a person"), "{health:?}");
}

#[tokio::test]
async fn a_parent_that_can_do_more_is_warned_about() {
    let world = World::start().await;
    let health = parent_with(&world, &[TOKENS_WRITE, DNS_WRITE, KV_WRITE]).await.check().await.unwrap();
    assert!(warns(&health, "more than mint: "), "{health:?}");
    assert!(warns(&health, "`DNS Write`") && warns(&health, "`Workers KV Storage Write`"), "{health:?}");
}

#[tokio::test]
async fn a_parent_that_can_not_mint_is_told_which_permission_it_lacks() {
    let world = World::start().await;
    let reader = parent_with(&world, &[TOKENS_READ]).await.check().await.unwrap_err().to_string();
    assert!(reader.contains("lacks `Account API Tokens Write`"), "{reader}");
    let stranger = parent_with(&world, &[DNS_READ]).await.check().await.unwrap();
    assert!(
        stranger.warnings.iter().filter(|warning| warning.contains("Account API Tokens Read")).count() >= 2
    );
    assert_eq!(stranger.quota, None);
}

#[tokio::test]
async fn a_parent_that_does_not_work_is_an_error() {
    let world = World::start().await;
    let (url, account) = (world.sandbox.base_url(), world.sandbox.account_id().to_owned());
    let unknown = connect_account(&world.sandbox, &url, &"x".repeat(40), &[]);
    assert!(matches!(unknown.check().await, Err(ProviderError::Unauthorized { .. })));
    let of_user = connect_account(&world.sandbox, &url, world.sandbox.user_parent_token(), &[]);
    let error = of_user.check().await.unwrap_err().to_string();
    assert!(error.contains("owner=user"), "{error}");
    let config = config(&url, Some(&account), &[("owner", "user")]);
    let of_account =
        connect("cloudflare", config, Secret::new(world.sandbox.parent_token().to_owned())).unwrap();
    assert!(matches!(of_account.check().await, Err(ProviderError::Unauthorized { .. })));
    let wish = Wish::new(&[TOKENS_WRITE], vec![resource("cloudflare.account", &account)]);
    let disabled = world.mint_wish(&wish, "a parent").await.unwrap();
    world.provider.disabling().unwrap().disable(&disabled.provider_key_id).await.unwrap();
    let connection = connect_account(&world.sandbox, &url, disabled.secret.expose_secret(), &[]);
    assert!(connection.check().await.unwrap_err().to_string().contains("disabled"));
}

#[test]
fn a_connection_is_made_only_from_what_makes_sense() {
    let account = "0123456789abcdef0123456789abcdef";
    let good = || config("https://api.cloudflare.com/client/v4", Some(account), &[]);
    let secret = || Secret::new("x".repeat(40));
    assert!(connect("cloudflare", good(), secret()).is_ok());
    let plain = ConnectionConfig { account: Some(account.to_owned()), ..ConnectionConfig::default() };
    assert!(connect("cloudflare", plain, secret()).is_ok());
    let with = |name: &str, value: &str| {
        let mut config = good();
        config.extra.insert(name.to_owned(), value.to_owned());
        config
    };
    let at = |url: &str| ConnectionConfig { base_url: Some(url.to_owned()), ..good() };
    for (what, config, expected) in [
        ("no account", ConnectionConfig { account: None, ..good() }, "needs `--account`"),
        ("a name", ConnectionConfig { account: Some("Acme".to_owned()), ..good() }, "32 lower-case"),
        ("an owner", with("owner", "robot"), "`account` or `user`"),
        ("a user", with("user_id", "me"), "32 lower-case"),
        ("a timeout", with("timeout", "1h"), "`1s` to `5m`"),
        ("a pace", with("requests_per_minute", "0"), "1 to 1000000"),
        ("a misspelt setting", with("time_out", "1s"), "no setting `time_out`"),
        ("plain http", at("http://api.cloudflare.com/client/v4"), "not https"),
        ("its option", at("http://api.cloudflare.com/client/v4"), "`--base-url`"),
        ("metadata", at("https://169.254.169.254/"), "not a public address"),
    ] {
        let error = connect("cloudflare", config, secret()).err().expect(what).to_string();
        assert!(error.contains(expected), "{what}: {error}");
    }
    for bad in ["", "two words", "line\nbreak", "Bearer x"] {
        let error = connect("cloudflare", good(), Secret::new(bad.to_owned())).err().expect(bad).to_string();
        assert!(error.contains("credential") && (bad.is_empty() || !error.contains(bad)), "{error}");
    }
}
