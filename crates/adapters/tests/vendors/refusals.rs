//! What a refusal is worth that does not look like the vendor's: a gateway's, or one of an old version.

use keywright_core::provider::ProviderError;
use keywright_core::store::{Presence, Store, StoreError};
use keywright_sandbox::vendors::infisical::{CLIENT_ID, PROJECT};
use keywright_sandbox::vendors::start;

use crate::support::contract::{VALUE, marker};
use crate::support::opened::put;
use crate::support::stand_in::mint;
use crate::support::{Fault, Proxy, stores};
use crate::{cloudflare_workers, kubernetes, openrouter};

const PLAIN: [(u16, &str); 4] =
    [(401, r#"{"message":"x"}"#), (401, ""), (403, "<html>go away</html>"), (403, r#"{"errors":[]}"#)];

fn answer(status: u16, body: &str) -> Fault {
    Fault::Answer { status, headers: "", body: body.to_owned() }
}

#[tokio::test]
async fn a_plain_401_or_403_to_a_create_is_a_refusal() {
    let running = openrouter::VENDOR.start().await;
    let proxy = Proxy::start(&running.base_url).await;
    let provider = openrouter::VENDOR.connect(&proxy.url, &running.parent);
    let wish = openrouter::VENDOR.wish(provider.as_ref()).await;
    for (status, body) in PLAIN {
        proxy.next("POST", "/keys", answer(status, body));
        let error = mint(provider.as_ref(), &wish, 1).await.1.err().unwrap();
        assert!(matches!(error, ProviderError::Unauthorized { .. }), "{status} {body}: {error}");
        assert!(error.to_string().contains(&format!("status {status}")), "{error}");
    }
    // A credential that may do nothing at all: not even look.
    for (method, path) in [("POST", "/keys"), ("GET", "/keys")] {
        proxy.next(method, path, answer(401, "no"));
    }
    let error = mint(provider.as_ref(), &wish, 1).await.1.err().unwrap();
    assert!(matches!(error, ProviderError::Unauthorized { .. }), "{error}");
    // In the documented form, with a code or without.
    for body in [r#"{"error":{"code":400,"message":"too low"}}"#, r#"{"error":{"message":"too low"}}"#] {
        proxy.next("POST", "/keys", answer(400, body));
        let error = mint(provider.as_ref(), &wish, 1).await.1.err().unwrap();
        assert!(matches!(error, ProviderError::Refused { .. }), "{body}: {error}");
        assert!(error.to_string().contains("too low"), "{error}");
    }
    assert_eq!(proxy.unmet(), 0);
    // One that lies is found out.
    let after = Fault::AnswerAfter { status: 403, headers: "", body: "no".to_owned() };
    proxy.next("POST", "/keys", after);
    let error = mint(provider.as_ref(), &wish, 2).await.1.err().unwrap();
    assert!(matches!(error, ProviderError::OutcomeUnknown { .. }), "{error}");
    assert_eq!((openrouter::VENDOR.live(&running))(marker(2).as_str().to_owned()).await, 1);
}

#[tokio::test]
async fn an_outcome_that_stays_unknown_names_the_status_that_came() {
    let running = openrouter::VENDOR.start().await;
    let proxy = Proxy::start(&running.base_url).await;
    let provider = openrouter::VENDOR.connect(&proxy.url, &running.parent);
    let wish = openrouter::VENDOR.wish(provider.as_ref()).await;
    let refused = r#"{"error":{"code":400,"message":"too low"}}"#;
    for (status, body) in [(500, "oops"), (429, ""), (404, ""), (400, "{}"), (201, "{}"), (400, refused)] {
        proxy.next("POST", "/keys", answer(status, body));
        // Nobody can look, where that would decide.
        for _ in 0..3 {
            proxy.next("GET", "/keys", answer(500, "oops"));
        }
        let error = mint(provider.as_ref(), &wish, 1).await.1.err().unwrap();
        proxy.unmet();
        assert!(matches!(error, ProviderError::OutcomeUnknown { .. }), "{status} {body}: {error}");
        assert!(error.to_string().contains(&format!("status {status}")), "{error}");
    }
}

/// It landed, the answer says 403 in nobody's words, and nobody can look: that is no refusal.
async fn what_may_have_landed_is_not_refused(
    proxy: &Proxy,
    store: &dyn Store,
    place: &str,
    calls: [&str; 3],
) {
    let [write, path, look] = calls;
    let after = Fault::AnswerAfter { status: 403, headers: "", body: "no".to_owned() };
    proxy.next(write, path, after);
    proxy.next("GET", look, Fault::Nothing);
    for _ in 0..3 {
        proxy.next("GET", look, answer(500, "oops"));
    }
    let error = put(store, place, 2, VALUE, Presence::Absent).await.unwrap_err();
    let kind = store.facts().kind;
    assert_eq!(proxy.unmet(), 0, "{kind}: {error}");
    assert!(error.is_transient() && error.to_string().contains("status 403"), "{kind}: {error}");
    put(store, place, 2, VALUE, Presence::Absent).await.unwrap();
}

/// Plain refusals of one kind of call, each for good: a bad credential is not tried again.
async fn a_write_is_refused(proxy: &Proxy, store: &dyn Store, place: &str, write: (&str, &str)) {
    for (status, body) in PLAIN {
        for _ in 0..2 {
            proxy.next(write.0, write.1, answer(status, body));
        }
        let error = put(store, place, 1, VALUE, Presence::Absent).await.unwrap_err();
        proxy.unmet();
        let kind = store.facts().kind;
        assert!(matches!(error, StoreError::Unauthorized { .. }), "{kind} {status} {body}: {error}");
        assert!(error.to_string().contains("does not accept its credential"), "{kind}: {error}");
    }
    put(store, place, 1, VALUE, Presence::Absent).await.unwrap();
}

#[tokio::test]
async fn a_plain_401_or_403_to_a_write_is_a_refusal() {
    for (stand_in, place, write) in [
        (&kubernetes::STAND_IN, "web/dev/TOKEN", ("PATCH", "/secrets/")),
        (&cloudflare_workers::STAND_IN, "web#TOKEN", ("PATCH", "/secrets-bulk")),
    ] {
        let running = start(stand_in.kind).await.unwrap();
        let proxy = Proxy::start(&running.base_url).await;
        let store = stand_in.open(&proxy.url, &running.parent);
        a_write_is_refused(&proxy, store.as_ref(), place, write).await;
        let look = if stand_in.kind == "kubernetes" { write.1 } else { "/secrets" };
        let other = format!("{}2", place);
        what_may_have_landed_is_not_refused(&proxy, store.as_ref(), &other, [write.0, write.1, look]).await;
    }
    let running = start("infisical").await.unwrap();
    let proxy = Proxy::start(&running.base_url).await;
    let settings = [("client_id", CLIENT_ID), ("project_id", PROJECT)];
    let store = stores::open("infisical", &proxy.url, &running.parent, &settings);
    a_write_is_refused(&proxy, store.as_ref(), "dev#TOKEN", ("POST", "/api/v4/secrets/")).await;
}
