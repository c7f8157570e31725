//! The adapter through a contract proxy: Prism checks every request and every answer against the provider's OpenAPI
//! document (a subset of it), and the sandbox behind it does the work.
//!
//! Needs the document (`KEYWRIGHT_DATA`, or `shared/data` beside the workspace) and Prism (`KEYWRIGHT_PRISM`, or
//! `.peers/node_modules/.bin/prism` in the workspace). Without them the test says that it was skipped, but in CI it fails.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use keywright_core::provider::{Listing, Provider};
use keywright_core::secret::Secret;
use keywright_sandbox::{Sandbox, SandboxConfig};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::world::*;

/// A running proxy; it ends with the value.
struct Prism {
    port: u16,
    _child: Child,
}

impl Prism {
    async fn start(program: &Path, document: &Path, upstream: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = Command::new(program)
            .args(["proxy", "--errors", "--host", "127.0.0.1", "--port", &port.to_string()])
            .arg(document)
            .arg(upstream)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains("is listening") {
                    return;
                }
            }
            panic!("the proxy ended before it listened");
        };
        tokio::time::timeout(Duration::from_secs(90), listening).await.expect("the proxy starts");
        // Its log must keep flowing, or it blocks on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { port, _child: child }
    }
}

/// Where the program and the document are; `None` (said aloud) when one of them is not there.
fn peers() -> Option<(PathBuf, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let from =
        |name: &str, default: &str| std::env::var_os(name).map_or_else(|| root.join(default), PathBuf::from);
    let program = from("KEYWRIGHT_PRISM", ".peers/node_modules/.bin/prism");
    let document = from("KEYWRIGHT_DATA", "../shared/data").join("cloudflare-openapi.tokens-subset.json");
    for path in [&program, &document] {
        if !path.exists() {
            assert!(std::env::var_os("CI").is_none(), "`{}` is missing", path.display());
            eprintln!("SKIPPED: `{}` is missing", path.display());
            return None;
        }
    }
    Some((program, document))
}

/// Mints, and runs every other verb on what came out.
async fn every_verb(provider: &dyn Provider, sandbox: &Sandbox, zone: &str) {
    let zone = provider.resolve("cloudflare.zone", zone).await.unwrap();
    let mut wish = Wish::new(&[DNS_WRITE, KV_WRITE], vec![zone]);
    wish.resources = provider.confine(&wish.permissions, wish.resources).unwrap();
    wish.ip_allow = vec!["127.0.0.0/8".to_owned()];
    let plan = wish.authorized();
    let grant = plan.get().grant(jiff::Timestamp::now());
    let marker = keywright_core::marker::Marker::from_ledger("kw-contract".to_owned());
    let minted = provider.mint(&plan, &grant, &marker).await.unwrap();
    let id = minted.provider_key_id.as_str();
    assert_eq!(grant.differences(&provider.read_back(id).await.unwrap()), []);
    provider.probe(&minted.secret, id).await.unwrap();
    assert_eq!(provider.list(Listing::Marked).await.unwrap().len(), 1);
    provider.check().await.unwrap();
    assert!(provider.last_used().unwrap().last_used(id).await.unwrap().is_some());
    provider.disabling().unwrap().disable(id).await.unwrap();
    provider.disabling().unwrap().enable(id).await.unwrap();
    assert_eq!(grant.differences(&provider.read_back(id).await.unwrap()), []);
    provider.revoke(id).await.unwrap();
    provider.revoke(id).await.unwrap();
    assert!(sandbox.live_tokens_named_like("kw-").is_empty());
}

#[tokio::test]
async fn every_request_and_answer_fits_the_providers_own_document() {
    let Some((program, document)) = peers() else { return };
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let prism = Prism::start(&program, &document, &sandbox.base_url()).await;
    let base = format!("http://127.0.0.1:{}", prism.port);
    let patient = [("timeout", "30s")];
    let of_account = connect_account(&sandbox, &base, sandbox.parent_token(), &patient);
    every_verb(of_account.as_ref(), &sandbox, "example.com").await;
    let bucket = of_account.resolve("cloudflare.r2_bucket", "assets").await.unwrap();
    let wish = Wish::new(&[BUCKET_READ], vec![bucket]);
    let plan = wish.authorized();
    let grant = plan.get().grant(jiff::Timestamp::now());
    let marker = keywright_core::marker::Marker::from_ledger("kw-bucket".to_owned());
    let minted = of_account.mint(&plan, &grant, &marker).await.unwrap();
    of_account.revoke(&minted.provider_key_id).await.unwrap();

    let extra = [("timeout", "30s"), ("owner", "user")];
    let config = config(&base, Some(sandbox.account_id()), &extra);
    let parent = Secret::new(sandbox.user_parent_token().to_owned());
    let of_user = keywright_adapters::provider::connect("cloudflare", config, parent).unwrap();
    let zone = sandbox.zones().into_iter().find(|zone| zone.name == "example.net").unwrap();
    every_verb(of_user.as_ref(), &sandbox, &zone.id).await;
}
