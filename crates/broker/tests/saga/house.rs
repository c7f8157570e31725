//! A world whose ledger can be made to refuse a write.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use keywright_broker::ask::Ask;
use keywright_core::audit::{Deed, Record, Stage};
use keywright_core::key::{Attempt, VersionState};
use keywright_core::name::KeyName;
use keywright_core::receipt::Receipt;
use keywright_core::saga::Phase;
use keywright_ledger::{AuditFilter, Ledger, LedgerError, Location, Saga, Tx};
use keywright_sandbox::{Fault, FaultKind, TokenView};
use keywright_testkit::{World, ask, unlock};

pub(crate) const CREATE: (&str, &str) = ("POST", "/accounts/*/tokens");
pub(crate) const LIST: (&str, &str) = ("GET", "/accounts/*/tokens");
pub(crate) const SHOW: (&str, &str) = ("GET", "/accounts/*/tokens/*");
pub(crate) const ZONES: (&str, &str) = ("GET", "/zones");
pub(crate) const VERIFY: (&str, &str) = ("GET", "/accounts/*/tokens/verify");
pub(crate) const DELETE: (&str, &str) = ("DELETE", "/accounts/*/tokens/*");

/// Asks for a pause so long that a call is not repeated by itself, which takes real time.
pub(crate) const DOWN: FaultKind = FaultKind::Status { status: 503, retry_after: Some(3_600) };
/// Hides everything that these tests make.
pub(crate) const LAG: FaultKind = FaultKind::LaggingList { ms: 3_600_000 };
/// For as long as the fault is not cleared.
pub(crate) const ALWAYS: u32 = 100_000;

/// Longer than a saga's lease.
const LEASE: i64 = 301;

/// A world, its ledger read from outside, and a directory with a `.env` file.
pub(crate) struct House {
    pub(crate) world: World,
    pub(crate) dir: tempfile::TempDir,
    ledger: Ledger,
    pub(crate) raw: rusqlite::Connection,
}

impl House {
    pub(crate) async fn new() -> Self {
        // The probe's patience and the limit of calls are real time.
        let settings = [("probe_for", "1s"), ("requests_per_minute", "1000000")];
        let world = World::with_triggers(&settings).await;
        let path = world.home.join("ledger.db");
        let ledger = Ledger::open(&Location::File(path.clone()), world.clock.as_clock()).unwrap();
        unlock(&ledger, "ana", &World::passphrase()).await;
        let raw = rusqlite::Connection::open(path).unwrap();
        raw.busy_timeout(Duration::from_secs(10)).unwrap();
        Self { world, dir: tempfile::tempdir().unwrap(), ledger, raw }
    }

    /// The ledger refuses every write that `event` describes, as in `INSERT ON keys`, until it is told otherwise.
    pub(crate) fn refuse(&self, event: &str) {
        self.when(event, "BEFORE", "SELECT RAISE(ABORT, 'refused by a test')");
    }

    /// Whenever `event` is written, something else is written with it.
    pub(crate) fn when(&self, event: &str, moment: &str, also: &str) {
        let condition = event.find(" WHEN ").map_or("", |at| &event[at..]);
        let event = event.strip_suffix(condition).unwrap();
        let sql = format!("CREATE TRIGGER test {moment} {event} FOR EACH ROW {condition} BEGIN {also}; END");
        self.raw.execute_batch(&sql).unwrap();
    }

    /// The ledger takes everything again.
    pub(crate) fn allow_all(&self) {
        self.raw.execute_batch("DROP TRIGGER test").unwrap();
    }

    pub(crate) fn inject(&self, (method, path): (&str, &str), kind: FaultKind, times: u32) {
        self.world.sandbox.inject(Fault::on(method, path, kind).times(times)).unwrap();
    }

    /// As above, but not from the first call on.
    pub(crate) fn inject_later(&self, (method, path): (&str, &str), kind: FaultKind, skip: u32, times: u32) {
        self.world.sandbox.inject(Fault::on(method, path, kind).skipping(skip).times(times)).unwrap();
    }

    pub(crate) fn heal(&self) {
        self.world.sandbox.clear_faults();
    }

    /// A key into the embedded store.
    pub(crate) fn embedded(&self, name: &str) -> Ask {
        ask("example.com", name)
    }

    /// A key into the embedded store and the `.env` file.
    pub(crate) fn both(&self, name: &str) -> Ask {
        let destinations = vec![format!("embedded:web/dev/{name}"), format!("dotenv:./.env#{name}")];
        Ask {
            destinations,
            cwd: Some(self.dir.path().to_str().unwrap().to_owned()),
            ..ask("example.com", name)
        }
    }

    pub(crate) fn dotenv(&self) -> String {
        std::fs::read_to_string(self.dir.path().join(".env")).unwrap_or_default()
    }

    /// Asks as agent `bot`, and returns when nobody works on it any more, however far it got.
    pub(crate) async fn ask(&self, ask: &Ask) -> Receipt {
        let bot = World::agent("bot");
        let receipt = self.world.broker.request(&bot, ask, Duration::ZERO).await.unwrap();
        self.rest().await;
        self.world.broker.check(&bot.principal, &receipt.request.to_string(), Duration::ZERO).await.unwrap()
    }

    /// Waits until no task of the broker works on a saga: each holds it.
    pub(crate) async fn rest(&self) {
        while Arc::strong_count(&self.world.broker) > 1 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The broker dies without a word, and another one opens the home.
    pub(crate) async fn restart(self) -> Self {
        Self { world: self.world.restart().await, ..self }
    }

    /// Lets time pass, and has the broker do what became due.
    pub(crate) async fn pass(&self, seconds: i64) {
        self.world.clock.advance(SignedDuration::from_secs(seconds));
        self.world.broker.tick().await.unwrap();
    }

    /// Lets a lease run out, and has the broker take its saga up again.
    pub(crate) async fn take_up_again(&self) {
        self.pass(LEASE).await;
    }

    pub(crate) async fn read<T: Send + 'static>(
        &self,
        reading: impl FnOnce(&Tx<'_>) -> Result<T, LedgerError> + Send + 'static,
    ) -> T {
        self.ledger.read(reading).await.unwrap()
    }

    pub(crate) async fn saga(&self, name: &str) -> Saga {
        let name = KeyName::parse(name).unwrap();
        self.read(move |tx| {
            let key = tx.keys_named(&name)?.remove(0);
            Ok(tx.saga_of(key.request)?.expect("a saga"))
        })
        .await
    }

    pub(crate) async fn phase(&self, name: &str) -> Phase {
        self.saga(name).await.phase
    }

    /// How the request for a key stands.
    pub(crate) async fn status(&self, name: &str) -> &'static str {
        let request = self.saga(name).await.request;
        self.read(move |tx| tx.request(request)).await.status.as_str()
    }

    /// The attempts of a key, in order, as the log names them.
    pub(crate) async fn attempts(&self, name: &str) -> Vec<Attempt> {
        let intents = self.records(name, Deed::KeyMint, Stage::Intent).await;
        let ids: Vec<_> =
            intents.iter().map(|r| r.subject.attempt.as_deref().unwrap().parse().unwrap()).collect();
        self.read(move |tx| ids.into_iter().map(|id| tx.attempt(id)).collect()).await
    }

    /// The audit entries about a key.
    pub(crate) async fn records(&self, name: &str, deed: Deed, stage: Stage) -> Vec<Record> {
        let filter =
            AuditFilter { key: Some(self.saga(name).await.key), limit: 1_000, ..AuditFilter::default() };
        let read = move |tx: &Tx<'_>| {
            tx.audit_entries(&filter)?.iter().map(|e| e.entry().map(|e| e.record().clone())).collect()
        };
        let all: Vec<Record> = self.read(read).await;
        all.into_iter().filter(|r| r.deed == deed && r.stage == stage).collect()
    }

    /// The placements of a key are as if nobody had looked at them yet.
    pub(crate) async fn forget_verified(&self, name: &str) {
        let key = self.saga(name).await.key.to_string();
        self.raw
            .execute("UPDATE placements SET state = 'written', verified = NULL WHERE key_id = $1", [key])
            .unwrap();
    }

    pub(crate) fn living(&self) -> Vec<TokenView> {
        self.world.sandbox.live_tokens_named_like("kw-")
    }

    /// How many creates reached the provider.
    pub(crate) fn creates(&self) -> usize {
        let is_create =
            |c: &&keywright_sandbox::CallRecord| c.method == "POST" && c.path.ends_with("/tokens");
        self.world.sandbox.calls().iter().filter(is_create).count()
    }

    /// The request for `name` ended like this; whatever else happened before, the provider, the stores and the ledger
    /// agree about every key of this house.
    pub(crate) async fn assert_ended(&self, name: &str, status: &str) {
        assert_eq!(self.status(name).await, status, "{name}: {:?}", self.saga(name).await.trouble);
        let key = self.saga(name).await.key;
        let (versions, placements) = self.read(move |tx| Ok((tx.versions(key)?, tx.placements(key)?))).await;
        let live: Vec<_> = versions.iter().filter(|v| v.state == VersionState::Active).collect();
        assert_eq!(live.len(), usize::from(status == "active"), "{name}");
        let stays = |state| matches!(state, keywright_core::key::PlacementState::Verified);
        assert!(placements.iter().all(|p| stays(p.state) == (status == "active")), "{name}: {placements:?}");
        let value = live.first().map(|v| self.world.sandbox.secret_of(&v.provider_key_id).expect("it lives"));
        if placements.iter().any(|p| p.destination.place.store.as_str() == "dotenv") {
            let text = self.dotenv();
            let mine = self.world.sandbox.secret_values().into_iter().filter(|v| text.contains(v));
            let mine: BTreeSet<String> = mine.collect();
            assert!(
                value.iter().all(|value| mine.contains(value)),
                "{name}: the file holds the living value"
            );
            assert!(text.matches(&format!("\n{name}=")).count() <= 1, "{name}: {text}");
        }
        let outcomes = self.records(name, Deed::KeyMint, Stage::Outcome).await;
        assert_eq!(outcomes.len(), 1, "{name}: one outcome");
        self.assert_sound().await;
    }

    /// What lives at the provider is what the ledger says, nothing is owed, nothing is under way.
    pub(crate) async fn assert_sound(&self) {
        let (owned, debts, open, in_transit) = self
            .read(|tx| {
                let owned = tx.live_versions(&"cf".parse().expect("a name"))?;
                let mut in_transit = 0;
                tx.each_sealed(|owner, _| {
                    in_transit += usize::from(owner.starts_with("attempt:"));
                    Ok(())
                })?;
                Ok((owned, tx.revocations_owed()?, tx.sagas_open()?, in_transit))
            })
            .await;
        let owned: BTreeSet<String> = owned.into_iter().map(|v| v.provider_key_id).collect();
        let living: BTreeSet<String> = self.living().into_iter().map(|t| t.id).collect();
        assert_eq!(living, owned, "what lives at the provider is what the ledger says");
        assert!(debts.is_empty(), "{debts:?}");
        assert_eq!(open, 0, "nothing is under way");
        assert_eq!(in_transit, 0, "what was only in transit is erased");
    }
}
