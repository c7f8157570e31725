//! A provider whose keys can't be listed, read or ended: only their expiry ends them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;
use keywright_broker::ask::Ask;
use keywright_broker::home::Home;
use keywright_broker::{Broker, Options};
use keywright_core::grant::{Grant, ObservedGrant, Permission, Resource};
use keywright_core::key::KeyState;
use keywright_core::marker::Marker;
use keywright_core::plan::Plan;
use keywright_core::policy::Authorized;
use keywright_core::provider::{
    Ended, Evidence, Listed, Listing, Minted, ParentHealth, Provider, ProviderError, ProviderFacts, Recovery,
};
use keywright_core::receipt::{Receipt, Status};
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_testkit::{Closed, TestClock, World, ask};

/// How late a create may take effect.
const LATE: i64 = 900;
const LIFE: i64 = 3_600;

/// Mints sessions; each reply in `lost` does not arrive.
#[derive(Default)]
struct Sessions {
    lost: AtomicUsize,
    refuses_probes: AtomicUsize,
    made: Mutex<Vec<String>>,
    lists: AtomicUsize,
}

fn never<T>() -> Result<T, ProviderError> {
    Err(ProviderError::Unsupported { provider: "cloudflare", why: "it ends by itself".to_owned() })
}

/// Whether one of so many is left; it is used up.
fn take(counter: &AtomicUsize) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

#[async_trait]
impl Provider for Sessions {
    fn facts(&self) -> &'static ProviderFacts {
        static FACTS: LazyLock<ProviderFacts> = LazyLock::new(|| ProviderFacts {
            kind: "cloudflare",
            no_mint: None,
            recovery: Recovery::Expiry,
            evidence: Evidence::None,
            has_expiry: true,
            counts_lifetime: false,
            has_ip_condition: true,
            has_budget: false,
            longest_late_delivery: Span::from_seconds(LATE.unsigned_abs()),
        });
        &FACTS
    }

    async fn check(&self) -> Result<ParentHealth, ProviderError> {
        Ok(ParentHealth { what: "a role".to_owned(), expires_at: None, quota: None, warnings: Vec::new() })
    }

    async fn resolve(&self, kind: &str, value: &str) -> Result<Resource, ProviderError> {
        Ok(Resource { kind: kind.to_owned(), id: value.to_owned(), name: value.to_owned() })
    }

    fn confine(&self, _: &[Permission], given: Vec<Resource>) -> Result<Vec<Resource>, ProviderError> {
        Ok(given)
    }

    async fn mint(&self, _: &Authorized<Plan>, _: &Grant, marker: &Marker) -> Result<Minted, ProviderError> {
        self.made.lock().unwrap().push(marker.to_string());
        if take(&self.lost) {
            return Err(ProviderError::OutcomeUnknown { provider: "cloudflare", why: "lost".to_owned() });
        }
        let secret = Secret::new(format!("session-secret-of-{marker}"));
        Ok(Minted { provider_key_id: format!("session-{marker}"), secret })
    }

    async fn read_back(&self, _: &str) -> Result<ObservedGrant, ProviderError> {
        never()
    }

    async fn probe(&self, _: &Secret, _: &str) -> Result<(), ProviderError> {
        if take(&self.refuses_probes) { never() } else { Ok(()) }
    }

    async fn list(&self, _: Listing) -> Result<Vec<Listed>, ProviderError> {
        self.lists.fetch_add(1, Ordering::SeqCst);
        never()
    }

    async fn revoke(&self, _: &str) -> Result<Ended, ProviderError> {
        never()
    }
}

struct Desk {
    sessions: Arc<Sessions>,
    broker: Arc<Broker>,
    clock: TestClock,
    _closed: Closed,
}

impl Desk {
    /// A world whose connection leads to such a provider.
    async fn new() -> Self {
        let world = World::new().await;
        let (home, clock) = (world.home.clone(), world.clock.clone());
        let closed = world.closed().await;
        let sessions = Arc::new(Sessions::default());
        let provider: Arc<dyn Provider> = Arc::<Sessions>::clone(&sessions);
        let providers = HashMap::from([("cf".parse().unwrap(), provider)]);
        let options = Options {
            clock: clock.as_clock(),
            steady: clock.as_steady(),
            providers,
            ..Options::at(Home::at(&home))
        };
        let broker = Broker::open(options, World::passphrase()).await.unwrap();
        Self { sessions, broker, clock, _closed: closed }
    }

    async fn ask(&self) -> Receipt {
        let ask = Ask { ttl: Some("1h".to_owned()), ..ask("example.com", "CF_TOKEN") };
        self.broker.request(&World::agent("bot"), &ask, Duration::from_secs(20)).await.unwrap()
    }

    async fn pass(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
        self.broker.tick().await.unwrap();
    }

    async fn state(&self) -> KeyState {
        self.broker.trace("CF_TOKEN").await.unwrap().key.state
    }

    async fn owed(&self) -> u64 {
        self.broker.health().await.unwrap().revocations_owed
    }

    async fn uncertain(&self) -> u64 {
        self.broker.health().await.unwrap().attempts_uncertain
    }

    fn made(&self) -> usize {
        self.sessions.made.lock().unwrap().len()
    }

    fn lists(&self) -> usize {
        self.sessions.lists.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_revocation_is_owed_until_the_key_has_ended_by_itself_and_says_so() {
    let desk = Desk::new().await;
    assert_eq!(desk.ask().await.status, Status::Active);
    let bot = World::agent("bot");
    let receipt = desk.broker.revoke(&bot, "CF_TOKEN", "done").await.unwrap();
    assert_eq!(receipt.status, Status::InProgress);
    let ends = receipt.expires_at.unwrap().to_string();
    let says = receipt.reasons.iter().any(|reason| reason.contains(&format!("ends by itself at {ends}")));
    assert!(says, "{:?}", receipt.reasons);
    assert!(receipt.placements.is_empty(), "its copies are gone at once: {:?}", receipt.placements);
    for _ in 0..5 {
        desk.pass(LIFE / 6).await;
        assert_eq!((desk.state().await, desk.owed().await), (KeyState::Revoking, 1));
    }
    desk.pass(LIFE / 6 + 1).await;
    assert_eq!((desk.state().await, desk.owed().await), (KeyState::Revoked, 0));
    let now = desk.broker.check(&bot.principal, &receipt.request.to_string(), Duration::ZERO).await.unwrap();
    assert_eq!(now.status, Status::Revoked);
}

#[tokio::test]
async fn an_attempt_whose_reply_was_lost_is_not_looked_for_but_uncertain_until_it_has_ended() {
    let desk = Desk::new().await;
    desk.sessions.lost.store(1, Ordering::SeqCst);
    assert_eq!(desk.ask().await.status, Status::Active);
    assert_eq!((desk.made(), desk.uncertain().await), (2, 1));
    desk.pass(31).await;
    assert_eq!(desk.uncertain().await, 1);
    // It is over, but its create may have been late.
    desk.pass(LIFE).await;
    assert_eq!(desk.uncertain().await, 1);
    desk.pass(LATE).await;
    assert_eq!((desk.uncertain().await, desk.made(), desk.lists()), (0, 2, 0));
}

#[tokio::test]
async fn a_reconcile_leaves_what_has_no_list_alone() {
    let desk = Desk::new().await;
    desk.ask().await;
    let found = desk.broker.reconcile().await.unwrap();
    assert!(
        found.missing.is_empty() && found.orphans.is_empty() && found.unreachable.is_empty(),
        "{found:?}"
    );
    assert_eq!((desk.state().await, desk.lists()), (KeyState::Active, 0));
}

#[tokio::test]
async fn a_key_that_has_expired_is_over() {
    let desk = Desk::new().await;
    desk.ask().await;
    desk.pass(LIFE + 1).await;
    assert_eq!((desk.state().await, desk.owed().await), (KeyState::Revoked, 0));
    assert_eq!(desk.ask().await.status, Status::Active, "its name is free again");
}

#[tokio::test]
async fn a_mint_that_fails_after_its_key_was_made_owes_it_until_it_has_ended() {
    let desk = Desk::new().await;
    desk.sessions.refuses_probes.store(1, Ordering::SeqCst);
    assert_eq!(desk.ask().await.status, Status::Failed);
    assert_eq!((desk.state().await, desk.owed().await), (KeyState::Failed, 1));
    desk.pass(LIFE + 1).await;
    assert_eq!(desk.owed().await, 0);
}

#[tokio::test]
async fn a_copy_that_could_not_be_taken_away_is_tried_again_long_before_the_key_ends() {
    let desk = Desk::new().await;
    let dir = tempfile::tempdir().unwrap();
    let mode = |mode| std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    let ask = Ask {
        ttl: Some("1h".to_owned()),
        destinations: vec!["embedded:web/dev/CF_TOKEN".to_owned(), "dotenv:./.env#CF_TOKEN".to_owned()],
        cwd: Some(dir.path().to_str().unwrap().to_owned()),
        ..ask("example.com", "CF_TOKEN")
    };
    let bot = World::agent("bot");
    let receipt = desk.broker.request(&bot, &ask, Duration::from_secs(20)).await.unwrap();
    assert_eq!(receipt.status, Status::Active, "{:?}", receipt.reasons);
    // A directory that everybody may write to is no safe place to touch a file in.
    mode(0o777);
    let receipt = desk.broker.revoke(&bot, "CF_TOKEN", "done").await.unwrap();
    let stays = |receipt: &Receipt| receipt.reasons.iter().any(|r| r.contains("could not be taken away yet"));
    assert!(stays(&receipt), "{:?}", receipt.reasons);
    assert_eq!(receipt.placements.len(), 1, "{:?}", receipt.placements);
    mode(0o700);
    desk.pass(61).await;
    assert_eq!(desk.state().await, KeyState::Revoking);
    assert_eq!(std::fs::read_to_string(dir.path().join(".env")).unwrap(), "");
    let now = desk.broker.check(&bot.principal, &receipt.request.to_string(), Duration::ZERO).await.unwrap();
    assert!(!stays(&now) && now.placements.is_empty(), "{now:?}");
}
