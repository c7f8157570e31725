//! From names to resources.

use keywright_core::provider::ProviderError;
use keywright_sandbox::{AccountSpec, Fault, FaultKind, SandboxConfig};

use crate::world::*;

async fn two_accounts() -> World {
    let config = SandboxConfig {
        accounts: vec![
            AccountSpec::new("Ours", &["example.com", "shop.example.com"]),
            AccountSpec::new("Theirs", &["example.org"]),
        ],
        ..SandboxConfig::default()
    };
    World::with(config, &[]).await
}

/// A connection whose parent may make tokens and nothing else.
async fn bare_parent(world: &World) -> Box<dyn keywright_core::provider::Provider> {
    let account = resource("cloudflare.account", world.sandbox.account_id());
    let minted = world.mint_wish(&Wish::new(&[TOKENS_WRITE], vec![account]), "bare parent").await.unwrap();
    connect_account(&world.sandbox, &world.sandbox.base_url(), minted.secret.expose_secret(), &[])
}

#[tokio::test]
async fn a_zone_is_found_by_its_exact_name_or_its_id() {
    let world = two_accounts().await;
    let id = world.zone("example.com").id;
    for value in ["example.com", "EXAMPLE.com", &id] {
        for _ in 0..2 {
            let zone = world.provider.resolve("cloudflare.zone", value).await.unwrap();
            assert_eq!(
                (zone.kind.as_str(), &zone.id, zone.name.as_str()),
                ("cloudflare.zone", &id, "example.com")
            );
        }
    }
}

#[tokio::test]
async fn what_is_not_a_zone_of_the_connection_is_refused() {
    let world = two_accounts().await;
    let theirs = world.zone("example.org").id;
    for value in [
        "example.org",
        &theirs,
        &"0".repeat(32),
        "xample.com",
        "example.com.",
        "*.example.com",
        "",
        "com",
        "example.com&name=shop.example.com",
        "../accounts",
        &format!("{}.com", "x".repeat(260)),
    ] {
        let error = world.provider.resolve("cloudflare.zone", value).await.unwrap_err();
        assert!(matches!(error, ProviderError::NoSuchResource { .. }), "{value}: {error}");
        assert!(!error.to_string().contains("looks like"), "{value}: {error}");
    }
}

#[tokio::test]
async fn a_name_that_imitates_a_zone_is_refused_and_named() {
    let world = two_accounts().await;
    for value in ["ехample.com", "example.c\u{043e}m", "еxample.com", "examp1e.com", "exаmple.com"] {
        let error = world.provider.resolve("cloudflare.zone", value).await.unwrap_err().to_string();
        assert!(error.contains("only looks like `example.com`"), "{value}: {error}");
        assert!(error.is_ascii() && (value.is_ascii() || error.contains("xn--")), "{value}: {error}");
    }
    let error =
        world.provider.resolve("cloudflare.zone", "xn--xample-2of.com").await.unwrap_err().to_string();
    assert!(error.contains("only looks like `example.com`"), "{error}");
    for value in ["müller.example", "пример.испытание", "\u{202e}moc.elpmaxe"] {
        let error = world.provider.resolve("cloudflare.zone", value).await.unwrap_err().to_string();
        assert!(error.contains("punycode") && error.is_ascii(), "{value}: {error}");
    }
    // Theirs is not ours to name.
    let error = world.provider.resolve("cloudflare.zone", "еxample.org").await.unwrap_err().to_string();
    assert!(!error.contains("looks like"), "{error}");
}

#[tokio::test]
async fn a_parent_without_rights_to_zones_takes_ids_and_asks_for_rights_on_names() {
    let world = World::start().await;
    let bare = bare_parent(&world).await;
    let zone = world.zone("example.com");
    assert_eq!(bare.resolve("cloudflare.zone", &zone.id).await.unwrap(), zone);
    let error = bare.resolve("cloudflare.zone", "example.com").await.unwrap_err().to_string();
    assert!(error.contains("Zone Read") && error.contains("id"), "{error}");
}

#[tokio::test]
async fn a_refused_look_at_the_zones_is_about_the_credential_and_not_about_the_name() {
    for status in [401, 403] {
        let world = World::start().await;
        let id = world.zone("example.com").id;
        let fault = FaultKind::Status { status, retry_after: None };
        world
            .sandbox
            .inject(Fault { method: None, ..Fault::on("GET", "/zones/**", fault) }.times(100))
            .unwrap();
        for value in ["example.com", "\u{435}xample.com", "nothing", &id] {
            let error = world.provider.resolve("cloudflare.zone", value).await.unwrap_err();
            assert!(matches!(error, ProviderError::Unauthorized { .. }), "{value}: {error}");
            assert!(error.to_string().contains("needs `Zone Read`"), "{value}: {error}");
        }
    }
    let world = World::start().await;
    let stranger = connect_account(&world.sandbox, &world.sandbox.base_url(), &"x".repeat(40), &[]);
    let error = stranger.resolve("cloudflare.zone", "example.com").await.unwrap_err();
    assert!(matches!(error, ProviderError::Unauthorized { .. }), "{error}");
}

#[tokio::test]
async fn an_account_is_the_connections_own() {
    let world = two_accounts().await;
    let own = world.sandbox.account_id().to_owned();
    for kind in ["cloudflare.account", "cloudflare.all_zones"] {
        for value in [own.as_str(), "Ours"] {
            let account = world.provider.resolve(kind, value).await.unwrap();
            assert_eq!((account.kind.as_str(), &account.id), (kind, &own));
        }
        for value in ["Theirs", "ours", "", &"0".repeat(32), "*"] {
            let error = world.provider.resolve(kind, value).await.unwrap_err();
            assert!(matches!(error, ProviderError::NoSuchResource { .. }), "{value}: {error}");
        }
    }
    let bare = bare_parent(&world).await;
    assert_eq!(bare.resolve("cloudflare.account", &own).await.unwrap().id, own);
}

#[tokio::test]
async fn a_user_is_the_parents_own() {
    let world = World::of_user().await;
    let own = world.sandbox.user_id();
    for value in ["me", &own] {
        assert_eq!(world.provider.resolve("cloudflare.user", value).await.unwrap().id, own);
    }
    assert!(world.provider.resolve("cloudflare.user", &"0".repeat(32)).await.is_err());
    let world = World::start().await;
    assert!(world.provider.resolve("cloudflare.user", "me").await.is_err());
}

#[tokio::test]
async fn buckets_are_checked_by_form_and_kinds_by_name() {
    let world = World::start().await;
    let account = world.sandbox.account_id();
    let bucket = world.provider.resolve("cloudflare.r2_bucket", "assets").await.unwrap();
    assert_eq!(bucket.id, format!("{account}_default_assets"));
    for value in ["*", "Assets", "a_b", "mars/assets", "../assets"] {
        assert!(world.provider.resolve("cloudflare.r2_bucket", value).await.is_err(), "{value}");
    }
    for kind in ["zone", "aws.role", "", "cloudflare.zones"] {
        let error = world.provider.resolve(kind, "example.com").await.unwrap_err();
        assert!(matches!(error, ProviderError::Unsupported { .. }), "{kind}: {error}");
    }
}
