//! A provider that says other things than it does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use keywright_broker::admin::NewConnection;
use keywright_broker::home::Home;
use keywright_broker::{Broker, Options};
use keywright_core::grant::{Grant, ObservedGrant, Permission, Resource};
use keywright_core::marker::Marker;
use keywright_core::plan::Plan;
use keywright_core::policy::Authorized;
use keywright_core::provider::{
    Ended, Listed, Listing, Minted, ParentHealth, Provider, ProviderError, ProviderFacts,
};
use keywright_core::receipt::Status;
use keywright_core::secret::Secret;
use keywright_core::text::Untrusted;
use keywright_testkit::{AtOnce, DNS_EDIT, World, ask};

/// Keys by their ids, with their labels.
#[derive(Default)]
struct Said {
    /// The id that the next create is answered with, in place of its own.
    next_id: Option<String>,
    /// What the next create is answered with, although it is done.
    next_error: Option<ProviderError>,
    /// What the next revocation is answered with, which is not done.
    next_refusal: Option<ProviderError>,
    /// Whether nothing is found, and nothing ended.
    hides: bool,
    /// Whether a revocation is said to be done and is not, and nobody can look.
    keeps: bool,
    living: BTreeMap<String, (String, Grant)>,
    ended: Vec<String>,
}

#[derive(Default)]
struct Liar {
    plain: AtOnce,
    said: Mutex<Said>,
}

#[async_trait]
impl Provider for Liar {
    fn facts(&self) -> &'static ProviderFacts {
        self.plain.facts()
    }

    async fn check(&self) -> Result<ParentHealth, ProviderError> {
        self.plain.check().await
    }

    async fn resolve(&self, kind: &str, value: &str) -> Result<Resource, ProviderError> {
        self.plain.resolve(kind, value).await
    }

    fn confine(
        &self,
        permissions: &[Permission],
        given: Vec<Resource>,
    ) -> Result<Vec<Resource>, ProviderError> {
        self.plain.confine(permissions, given)
    }

    async fn mint(
        &self,
        _: &Authorized<Plan>,
        grant: &Grant,
        marker: &Marker,
    ) -> Result<Minted, ProviderError> {
        let mut said = self.said.lock().unwrap();
        let id = format!("id-{}", said.living.len() + said.ended.len());
        said.living.insert(id.clone(), (marker.as_str().to_owned(), grant.clone()));
        if let Some(error) = said.next_error.take() {
            return Err(error);
        }
        let told = said.next_id.take().unwrap_or_else(|| id.clone());
        Ok(Minted { secret: Secret::new(format!("secret-of-{id}-0123456789")), provider_key_id: told })
    }

    async fn read_back(&self, id: &str) -> Result<ObservedGrant, ProviderError> {
        let said = self.said.lock().unwrap();
        if said.keeps {
            return Err(ProviderError::Unavailable { provider: "cloudflare", why: "status 500".to_owned() });
        }
        let Some((label, grant)) = said.living.get(id).filter(|_| !said.hides).cloned() else {
            return Err(ProviderError::NotFound { provider: "cloudflare", what: "key" });
        };
        let observed = ObservedGrant {
            permissions: grant.permissions.into_iter().map(|p| p.id).collect(),
            resources: grant.resources.into_iter().map(|r| (r.kind, r.id)).collect(),
            expires_at: grant.expires_at,
            ..ObservedGrant::default()
        };
        Ok(observed.labelled(&label))
    }

    async fn probe(&self, _: &Secret, _: &str) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn list(&self, which: Listing) -> Result<Vec<Listed>, ProviderError> {
        let said = self.said.lock().unwrap();
        let rows = said.living.iter().filter(|(_, (label, _))| !said.hides && which.wants(label));
        Ok(rows.map(|(id, (label, _))| Listed::of(id.clone(), label)).collect())
    }

    async fn revoke(&self, id: &str) -> Result<Ended, ProviderError> {
        let mut said = self.said.lock().unwrap();
        if let Some(error) = said.next_refusal.take() {
            return Err(error);
        }
        if said.hides {
            return Ok(Ended::NotFound);
        }
        if !said.keeps && said.living.remove(id).is_some() {
            said.ended.push(id.to_owned());
        }
        Ok(Ended::Taken)
    }
}

async fn home(dir: &std::path::Path) -> (Arc<Liar>, Arc<Broker>) {
    let clock = Arc::new(jiff::Timestamp::now);
    let operator = "ana".parse().unwrap();
    drop(Home::at(dir).init(&operator, World::passphrase(), clock).await.unwrap());
    let liar = Arc::new(Liar::default());
    let provider: Arc<dyn Provider> = Arc::<Liar>::clone(&liar);
    let mut options = Options::at(Home::at(dir));
    options.providers = HashMap::from([("cf".parse().unwrap(), provider)]);
    let broker = Broker::open(options, World::passphrase()).await.unwrap();
    let ana = broker.operator(None, World::passphrase()).await.unwrap();
    broker.apply_default_policy(&ana).await.unwrap();
    broker.apply_template(&ana, DNS_EDIT).await.unwrap();
    let sandbox =
        keywright_sandbox::Sandbox::start(keywright_sandbox::SandboxConfig::default()).await.unwrap();
    let new = NewConnection {
        name: "cf".parse().unwrap(),
        kind: "cloudflare".parse().unwrap(),
        base_url: Some(sandbox.base_url()),
        account: Some(sandbox.account_id().to_owned()),
        extra: BTreeMap::new(),
        credential: Secret::new(sandbox.parent_token().to_owned()),
    };
    broker.add_connection(&ana, new).await.unwrap();
    (liar, broker)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_of_another_key_is_not_believed_and_that_key_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (liar, broker) = home(&dir.path().join("home")).await;
    let bot = World::agent("bot");
    let wait = Duration::from_secs(20);
    let first = broker.request(&bot, &ask("example.com", "FIRST"), wait).await.unwrap();
    assert_eq!(first.status, Status::Active);
    // Somebody's own key, and one of ours.
    let person = Grant {
        permissions: Vec::new(),
        resources: Vec::new(),
        expires_at: None,
        ip_allow: Vec::new(),
        budget_cents: None,
    };
    liar.said.lock().unwrap().living.insert("person".to_owned(), ("by hand".to_owned(), person));
    for (number, told) in ["id-0", "person", "nowhere"].into_iter().enumerate() {
        liar.said.lock().unwrap().next_id = Some(told.to_owned());
        let wish = ask("example.com", &format!("NEXT_{number}"));
        let receipt = broker.request(&bot, &wish, Duration::from_secs(2)).await.unwrap();
        assert_ne!(receipt.status, Status::Active, "{told}");
    }
    let living: Vec<String> = liar.said.lock().unwrap().living.keys().cloned().collect();
    assert_eq!(living, ["id-0", "person"], "each was found by its marker at once");
    let owed = broker.health().await.unwrap().revocations_owed;
    assert_eq!(owed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_of_another_key_that_a_successor_was_told_to_have_is_not_revoked_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let (liar, broker) = home(&dir.path().join("home")).await;
    let bot = World::agent("bot");
    let wait = Duration::from_secs(20);
    broker.request(&bot, &ask("example.com", "FIRST"), wait).await.unwrap();
    let grant = liar.said.lock().unwrap().living["id-0"].1.clone();
    liar.said.lock().unwrap().living.insert("person".to_owned(), ("by hand".to_owned(), grant));
    liar.said.lock().unwrap().next_id = Some("person".to_owned());
    let receipt = broker.rotate(&bot, "FIRST", "it is time", Duration::from_secs(2)).await.unwrap();
    assert_ne!(receipt.status, Status::Active);
    for _ in 0..2 {
        broker.revoke(&bot, "FIRST", "done").await.unwrap();
    }
    let living: Vec<String> = liar.said.lock().unwrap().living.keys().cloned().collect();
    assert_eq!(living, ["person"], "it is somebody else's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_nobody_can_look_at_is_owed() {
    let dir = tempfile::tempdir().unwrap();
    let (liar, broker) = home(&dir.path().join("home")).await;
    let bot = World::agent("bot");
    let wait = Duration::from_secs(20);
    broker.request(&bot, &ask("example.com", "KEY"), wait).await.unwrap();
    liar.said.lock().unwrap().keeps = true;
    let receipt = broker.revoke(&bot, "KEY", "done").await.unwrap();
    assert_ne!(receipt.status, Status::Revoked, "it lives");
    assert_eq!(broker.health().await.unwrap().revocations_owed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_came_to_the_provider_is_no_revocation_whose_answer_was_lost() {
    let provider = "cloudflare";
    let why = || "connection refused".to_owned();
    let errors = [
        // Nothing was sent; then one answer that there is no such key says little.
        (ProviderError::Unreachable { provider, why: why() }, Status::InProgress),
        // It may have been done.
        (ProviderError::Unavailable { provider, why: why() }, Status::Revoked),
    ];
    for (error, ends) in errors {
        let dir = tempfile::tempdir().unwrap();
        let (liar, broker) = home(&dir.path().join("home")).await;
        let bot = World::agent("bot");
        broker.request(&bot, &ask("example.com", "KEY"), Duration::from_secs(20)).await.unwrap();
        liar.said.lock().unwrap().next_refusal = Some(error.clone());
        let receipt = broker.revoke(&bot, "KEY", "done").await.unwrap();
        assert_eq!(receipt.status, Status::InProgress, "{error}");
        liar.said.lock().unwrap().hides = true;
        let receipt = broker.revoke(&bot, "KEY", "done").await.unwrap();
        assert_eq!(receipt.status, ends, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_to_be_refused_and_was_made_is_found_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (liar, broker) = home(&dir.path().join("home")).await;
    let bot = World::agent("bot");
    let provider = "cloudflare";
    let refusals = [
        ProviderError::Unauthorized { provider, message: Untrusted::capped("no", 10) },
        ProviderError::NotFound { provider, what: "key" },
        ProviderError::Throttled { provider, retry_after: None },
    ];
    for (number, error) in refusals.into_iter().enumerate() {
        liar.said.lock().unwrap().next_error = Some(error.clone());
        let wish = ask("example.com", &format!("KEY_{number}"));
        let receipt = broker.request(&bot, &wish, Duration::from_secs(5)).await.unwrap();
        assert!(receipt.status != Status::Active, "{receipt:?}");
        let said = liar.said.lock().unwrap();
        assert!(said.living.is_empty() && said.ended.len() == number + 1, "{error}: {:?}", said.living);
    }
}
