//! Canaries: no secret in an error, a `Debug` or a trace, whatever the provider does.

use std::io;
use std::sync::{Arc, Mutex};

use keywright_core::provider::Listing;
use keywright_core::redact::encodings;
use keywright_sandbox::{Fault, FaultKind};
use tracing_subscriber::fmt::MakeWriter;

use crate::world::*;

/// Everything that was traced.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn every_fault() -> Vec<FaultKind> {
    let mut faults = vec![
        FaultKind::EchoSecretInError { commit: true },
        FaultKind::EchoSecretInError { commit: false },
        FaultKind::ReplyLostAfterCommit,
        FaultKind::ServerErrorAfterCommit,
        FaultKind::Garbage,
        FaultKind::HugeBody { bytes: 16 << 20 },
        FaultKind::Redirect { location: "http://127.0.0.1:9/".to_owned() },
        FaultKind::Slow { delay_ms: 0, trickle_ms: 200 },
    ];
    faults.extend(
        [400, 401, 403, 404, 429, 500].map(|status| FaultKind::Status { status, retry_after: Some(0) }),
    );
    faults
}

/// Runs every verb under one fault and returns all that was said.
async fn said_under(fault: &FaultKind) -> (String, Vec<String>) {
    let world = World::start().await;
    let minted = world.mint("kw-good").await.unwrap();
    world
        .sandbox
        .inject(Fault { method: None, ..Fault::on("GET", "/**", fault.clone()) }.times(1_000))
        .unwrap();
    let (provider, id) = (world.provider.as_ref(), minted.provider_key_id.as_str());
    let mut said = String::new();
    let mut say = |error: Option<&keywright_core::provider::ProviderError>| {
        if let Some(error) = error {
            said.push_str(&format!("{error}\n{error:?}\n"));
        }
    };
    say(world.mint("kw-bad").await.as_ref().err());
    say(provider.check().await.as_ref().err());
    say(provider.resolve("cloudflare.zone", "example.com").await.as_ref().err());
    say(provider.resolve("cloudflare.account", "Sandbox Inc").await.as_ref().err());
    say(provider.read_back(id).await.as_ref().err());
    say(provider.probe(&minted.secret, id).await.as_ref().err());
    say(provider.list(Listing::All).await.as_ref().err());
    say(provider.last_used().unwrap().last_used(id).await.as_ref().err());
    say(provider.disabling().unwrap().disable(id).await.as_ref().err());
    say(provider.revoke(id).await.as_ref().err());
    world.sandbox.clear_faults();
    said.push_str(&format!("{:?}", provider.check().await));
    (said, world.sandbox.secret_values())
}

#[tokio::test]
async fn no_secret_is_in_any_error_or_trace() {
    let sink = Sink::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(sink.clone())
        .with_ansi(false)
        .init();
    let mut said = String::new();
    let mut secrets = Vec::new();
    for fault in every_fault() {
        let (more, values) = said_under(&fault).await;
        assert!(more.len() > 500, "{fault:?} made errors: {more}");
        said.push_str(&more);
        secrets.extend(values);
    }
    let traced = String::from_utf8_lossy(&sink.0.lock().unwrap()).into_owned();
    assert!(traced.contains("label=\"cloudflare\""), "the traces of the wire are among them");
    assert!(said.contains("[redacted]"), "something was there to redact");
    for secret in secrets {
        for form in encodings(&secret) {
            assert!(!said.contains(form.as_str()), "an error holds a secret");
            assert!(!traced.contains(form.as_str()), "a trace holds a secret");
        }
    }
}
