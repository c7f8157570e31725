//! Several brokers on one PostgreSQL database.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keywright_adapters::provider::{ConnectionConfig, connect};
use keywright_broker::admin::{NewConnection, NewStore};
use keywright_broker::ask::Ask;
use keywright_broker::auth::Proven;
use keywright_broker::deliver::{Reader, Wanted};
use keywright_broker::holds::Holder;
use keywright_broker::{Broker, Code, Options};
use keywright_core::name::{ConnectionName, StoreName};
use keywright_core::provider::Provider;
use keywright_core::receipt::Status;
use keywright_core::secret::Secret;
use keywright_ledger::audit_files::verify;
use keywright_ledger::{Clock, Location};
use keywright_sandbox::{Fault, FaultKind, Sandbox, SandboxConfig, TokenOwner, TokenStatus, TokenView};
use keywright_testkit::{Brokers, Database, Running, World, ask};

const WAIT: Duration = Duration::from_secs(20);
/// The longest that anything is waited for. Nothing is asserted about how long it takes.
const PATIENCE: Duration = Duration::from_secs(300);

async fn house(others: usize) -> Option<Brokers> {
    Some(Brokers::new(Database::where_there_is_one()?, others).await)
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// An operator's word at one of the brokers.
async fn ana(broker: &Broker) -> Proven {
    broker.operator(None, World::passphrase()).await.unwrap()
}

fn cf() -> ConnectionName {
    "cf".parse().unwrap()
}

/// Asks at a broker, and gets it.
async fn works(broker: &Arc<Broker>, name: &str) {
    let receipt = broker.request(&World::agent("bot"), &ask("example.com", name), WAIT).await.unwrap();
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
}

const MAKES_TOKENS: &str = "5bc3f8b21c554832afc660159ab75fa4";

fn is_parent(token: &TokenView) -> bool {
    let mut groups = token.policies.iter().flat_map(|policy| &policy.groups);
    matches!(token.owner, TokenOwner::Account(_))
        && token.status == TokenStatus::Active
        && groups.any(|group| group.id == MAKES_TOKENS)
}

fn parents(sandbox: &Sandbox) -> Vec<String> {
    sandbox.tokens().into_iter().filter(is_parent).map(|token| token.id).collect()
}

/// The provider as somebody sees it who holds one of its tokens.
fn with(sandbox: &Sandbox, id: &str) -> Box<dyn Provider> {
    let config = ConnectionConfig {
        base_url: Some(sandbox.base_url()),
        account: Some(sandbox.account_id().to_owned()),
        ..ConnectionConfig::default()
    };
    connect("cloudflare", config, Secret::new(sandbox.secret_of(id).unwrap())).unwrap()
}

/// The provider's account as a connection.
fn account_of(sandbox: &Sandbox) -> NewConnection {
    NewConnection {
        name: cf(),
        kind: "cloudflare".parse().unwrap(),
        base_url: Some(sandbox.base_url()),
        account: Some(sandbox.account_id().to_owned()),
        extra: <_>::default(),
        credential: Secret::new(sandbox.parent_token().to_owned()),
    }
}

fn verified(house: &Brokers) -> Vec<u64> {
    let report = |home| verify(&house.home(home).audit(), house.location(), None, None).unwrap();
    let sound =
        (0..house.homes()).map(report).inspect(|report| assert!(report.is_sound(), "{:?}", report.findings));
    sound.map(|report| report.entries).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_lets_in_removes_or_applies_counts_at_the_other_at_once() {
    let Some(house) = house(1).await else { return };
    let (one, two) = (house.open(0).await, house.open(1).await);
    let ana = one.operator(None, World::passphrase()).await.unwrap();
    let token = one.add_agent(&ana, &"bot".parse().unwrap()).await.unwrap();
    assert_eq!(
        two.agent(&token).await.unwrap().name.as_str(),
        "bot",
        "let in by the one, known to the other"
    );
    let receipt = two.request(&World::agent("bot"), &ask("example.com", "TOKEN"), WAIT).await.unwrap();
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
    // The template changes at one: the other goes by it.
    one.apply_template(&ana, &keywright_testkit::QUICK.replace("\"30d\"", "\"10d\"")).await.unwrap();
    assert_eq!(two.templates().await.unwrap()[0].version, 2);
    let receipt = two.request(&World::agent("bot"), &ask("example.com", "OTHER"), WAIT).await.unwrap();
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
    // The row as it was before the agent was removed, and put back by somebody who may write to the database.
    house.database.run("CREATE TABLE public.kept AS SELECT * FROM agents");
    one.remove_agent(&ana, &"bot".parse().unwrap()).await.unwrap();
    assert_eq!(two.agent(&token).await.unwrap_err().code, Code::Unauthenticated);
    house.database.run("DELETE FROM agents; INSERT INTO agents SELECT * FROM public.kept");
    assert_eq!(two.agent(&token).await.unwrap_err().code, Code::Unauthenticated);
    for broker in [&one, &two] {
        broker.publish_audit().await.unwrap();
    }
    let entries = verified(&house);
    assert_eq!(entries[0], entries[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_brokers_rotate_every_key_that_is_due_once() {
    const KEYS: usize = 60;
    let Some(house) = house(2).await else { return };
    let mut brokers = Vec::new();
    for home in 0..house.homes() {
        brokers.push(house.open(home).await);
    }
    house.mint(&brokers[1], KEYS).await;
    house.make_due();
    let running = Running::start(&brokers);
    until("the rotation of all keys", || house.rotated() == KEYS).await;
    running.stop().await;
    let found = brokers[0].reconcile().await.unwrap();
    assert!(found.orphans.is_empty() && found.missing.is_empty(), "{found:?}");
    house.assert_each_rotated_once(KEYS);
    assert_eq!(house.count("SELECT count(*) FROM attempts"), 2 * KEYS, "nothing was made twice");
    for broker in &brokers {
        broker.publish_audit().await.unwrap();
    }
    verified(&house);
    let worked = house.count("SELECT count(*) FROM brokers WHERE fence > 100");
    assert!(worked >= 2, "more than one of them did the work");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_one_that_leads_is_gone_another_does_its_work() {
    let Some(house) = house(1).await else { return };
    let (one, two) = (house.open(0).await, house.open(1).await);
    house.mint(&one, 1).await;
    assert!(one.tick().await.is_ok());
    let leader = || house.database.run("SELECT owner FROM leads");
    let first = leader();
    house.make_due();
    two.tick().await.unwrap();
    assert_eq!(house.count("SELECT count(*) FROM sagas WHERE kind = 'rotate'"), 0, "it does not lead");
    drop(one);
    house.database.run("UPDATE leads SET expires_at = 0");
    two.tick().await.unwrap();
    assert_ne!(leader(), first);
    assert_eq!(house.count("SELECT count(*) FROM sagas WHERE kind = 'rotate'"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_asks_several_times_at_once_whether_it_leads_leads() {
    let Some(house) = house(0).await else { return };
    let broker = house.open(0).await;
    works(&broker, "CF_TOKEN").await;
    let at_once: Vec<_> = (0..8)
        .map(|_| {
            let broker = Arc::clone(&broker);
            tokio::spawn(async move { broker.tick().await.unwrap() })
        })
        .collect();
    for tick in at_once {
        tick.await.unwrap();
    }
    house.make_due();
    broker.tick().await.unwrap();
    assert_eq!(
        house.count("SELECT count(*) FROM sagas WHERE kind = 'rotate'"),
        1,
        "nobody waited for a lead to run out"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_whose_clock_is_off_makes_no_keys_and_says_so() {
    let Some(house) = house(0).await else { return };
    let broker = house.open(0).await;
    for off in [-60, 60] {
        let wrong: Clock =
            Arc::new(move || Timestamp::now().saturating_add(SignedDuration::from_secs(off)).unwrap());
        broker.set_machine_clock(wrong);
        broker.tick().await.unwrap();
        assert!(broker.health().await.unwrap().clock_off.is_some());
        let refused =
            broker.request(&World::agent("bot"), &ask("example.com", "TOKEN"), WAIT).await.unwrap_err();
        assert!(refused.message.contains("clock"), "{refused:?}");
    }
    broker.set_machine_clock(Arc::new(Timestamp::now));
    broker.tick().await.unwrap();
    assert_eq!(broker.health().await.unwrap().clock_off, None);
    let receipt = broker.request(&World::agent("bot"), &ask("example.com", "TOKEN"), WAIT).await.unwrap();
    assert_eq!(receipt.status, Status::Active);
    assert!(house.sandbox.live_tokens_named_like("kw-").len() == 1);
}

fn off_by(seconds: i64) -> Clock {
    Arc::new(move || Timestamp::now().saturating_add(SignedDuration::from_secs(seconds)).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_whose_clock_is_off_leaves_the_lead_to_one_whose_is_not() {
    let Some(house) = house(1).await else { return };
    let (one, two) = (house.open(0).await, house.open(1).await);
    house.mint(&one, 2).await;
    one.tick().await.unwrap();
    let leader = || house.database.run("SELECT owner FROM leads WHERE expires_at > 0");
    let first = leader();
    house.make_due();
    let down = FaultKind::Status { status: 503, retry_after: None };
    house.sandbox.inject(Fault::on("DELETE", "/accounts/*/tokens/*", down).times(1_000)).unwrap();
    one.revoke(&World::agent("agent-0"), "KEY_0", "done").await.unwrap();
    assert_eq!(one.health().await.unwrap().revocations_owed, 1);
    house.sandbox.clear_faults();
    house.database.run("UPDATE revocations SET due_at = 1");
    one.set_machine_clock(off_by(6));
    for _ in 0..3 {
        one.tick().await.unwrap();
    }
    assert_eq!(
        house.count("SELECT count(*) FROM keys WHERE rotate_at = 0 AND name = 'KEY_1'"),
        1,
        "it is due as before"
    );
    assert_eq!(one.health().await.unwrap().revocations_owed, 0, "what is owed is paid without the lead");
    assert_eq!(leader().trim(), "");
    two.tick().await.unwrap();
    assert_ne!(leader(), first);
    assert_eq!(
        house.count("SELECT count(*) FROM sagas WHERE kind = 'rotate'"),
        1,
        "the other one does the work"
    );
    // Neither takes it back nor is refused for ever: it leads again when its clock is right and the other one gone.
    one.tick().await.unwrap();
    one.set_machine_clock(Arc::new(Timestamp::now));
    drop(two);
    house.database.run("UPDATE leads SET expires_at = 0");
    one.tick().await.unwrap();
    assert_eq!(leader(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_on_the_machine_of_a_broker_that_is_away_keeps_its_version() {
    let Some(house) = house(1).await else { return };
    let behind = Arc::new(AtomicI64::new(0));
    let (by, right) = (Arc::clone(&behind), Options::at(house.home(0)));
    let clock: Clock = Arc::new(move || {
        Timestamp::now().saturating_sub(SignedDuration::from_secs(by.load(Ordering::SeqCst))).unwrap()
    });
    let one = Broker::open(Options { clock, ..right }, World::passphrase()).await.unwrap();
    let two = house.open(1).await;
    // The first one is there for longer than a program may be silent.
    behind.store(120, Ordering::SeqCst);
    one.listens();
    behind.store(0, Ordering::SeqCst);
    two.listens();
    for broker in [&one, &two] {
        broker.tick().await.unwrap();
    }
    house.mint(&one, 1).await;
    let word = keywright_broker::holds::new_word().unwrap();
    let holder = Some(Holder { word: word.clone(), process: None });
    let wanted = Wanted { project: Some("web".parse().unwrap()), holder, ..Wanted::default() };
    let ana = two.operator(None, World::passphrase()).await.unwrap();
    assert_eq!(two.deliver(&Reader::Operator(&ana), wanted).await.unwrap().len(), 1);
    drop(two);
    // Nothing is heard of it for long: nobody is there who could. The one that leads was there all the time.
    house
        .database
        .run("UPDATE holds SET seen_at = 1000; UPDATE listeners SET since = 1000, until = until - 600000");
    house.database.run("UPDATE listeners SET until = 2000 WHERE name = (SELECT seen_by FROM holds)");
    let agent = World::agent("agent-0");
    one.rotate(&agent, "KEY_0", "it is time", WAIT).await.unwrap();
    let ended = "SELECT count(*) FROM versions WHERE state IN ('revoking', 'revoked')";
    let goes_on = async || {
        for _ in 0..6 {
            house.database.run("UPDATE sagas SET due_at = 1 WHERE kind = 'rotate'");
            one.tick().await.unwrap();
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    };
    goes_on().await;
    assert_eq!(house.count(ended), 0, "it may live, and use what it was given");
    assert_eq!(one.trace("KEY_0").await.unwrap().holders.len(), 1);
    // The other broker is back, and hears nothing for long enough.
    let two = house.open(1).await;
    two.listens();
    two.tick().await.unwrap();
    goes_on().await;
    assert_eq!(house.count(ended), 0, "a program has a minute to be heard of");
    house.database.run("UPDATE listeners SET since = since - 61000");
    until("the end of the old version", || {
        house.database.run("UPDATE sagas SET due_at = 1 WHERE kind = 'rotate'");
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(one.tick())).unwrap();
        house.count(ended) == 1
    })
    .await;
}

/// A broker that has been there to be spoken to for longer than a program may be silent.
async fn listening(house: &Brokers) -> Arc<Broker> {
    let behind = Arc::new(AtomicI64::new(0));
    let by = Arc::clone(&behind);
    let clock: Clock = Arc::new(move || {
        Timestamp::now().saturating_sub(SignedDuration::from_secs(by.load(Ordering::SeqCst))).unwrap()
    });
    let options = Options { clock, ..Options::at(house.home(0)) };
    let broker = Broker::open(options, World::passphrase()).await.unwrap();
    behind.store(120, Ordering::SeqCst);
    broker.listens();
    behind.store(0, Ordering::SeqCst);
    broker
}

/// How many programs hold a value of a key.
async fn holders(broker: &Arc<Broker>) -> usize {
    broker.trace("KEY_0").await.unwrap().holders.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_ended_is_gone_after_an_upgrade_and_after_the_ledger_moved() {
    let Some(house) = house(0).await else { return };
    let one = listening(&house).await;
    house.mint(&one, 1).await;
    let holder = Some(Holder { word: keywright_broker::holds::new_word().unwrap(), process: None });
    let wanted = Wanted { project: Some("web".parse().unwrap()), holder, ..Wanted::default() };
    assert_eq!(one.deliver(&Reader::Operator(&ana(&one).await), wanted).await.unwrap().len(), 1);
    assert_eq!(holders(&one).await, 1, "it was there just now");
    // As it is after an upgrade: who heard of it is not said. It was silent for long.
    house.database.run("UPDATE holds SET seen_by = NULL, seen_at = 1000");
    assert_eq!(holders(&one).await, 1, "nobody who knows was there to hear of it");
    one.tick().await.unwrap();
    assert_eq!(holders(&one).await, 0, "this one was");
    drop(one);
    let home = house.home(0);
    let moves = async |to: &Location| {
        until("the end of the broker", || home.lock().is_ok()).await;
        home.move_ledger(to, None, World::passphrase(), Arc::new(Timestamp::now)).await.unwrap();
        listening(&house).await
    };
    assert_eq!(holders(&moves(&Location::File(home.ledger())).await).await, 0, "in a file");
    let other = Database::where_there_is_one().unwrap();
    let other = Location::Server(Box::new(other.url().parse().unwrap()));
    assert_eq!(holders(&moves(&other).await).await, 0, "on a server again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_joins_only_with_a_passphrase_and_where_there_is_a_ledger() {
    let Some(house) = house(0).await else { return };
    let dir = tempfile::tempdir().unwrap();
    let home = keywright_broker::home::Home::at(dir.path().join("joined"));
    let clock = || -> Clock { Arc::new(Timestamp::now) };
    let wrong = keywright_core::secret::Secret::new("not this one".to_owned());
    assert!(home.join(&house.location(), None, wrong, clock()).await.is_err());
    let file = Location::File(dir.path().join("ledger.db"));
    assert!(home.join(&file, None, World::passphrase(), clock()).await.is_err());
    let empty = Database::where_there_is_one().unwrap();
    let empty = Location::Server(Box::new(empty.url().parse().unwrap()));
    let refused = home.join(&empty, None, World::passphrase(), clock()).await.unwrap_err();
    assert!(refused.message.contains("nothing to join"), "{refused:?}");
    assert!(!home.root().exists(), "nothing is left behind");
    assert_eq!(
        home.join(&house.location(), None, World::passphrase(), clock()).await.unwrap().as_str(),
        "ana"
    );
    assert!(home.join(&house.location(), None, World::passphrase(), clock()).await.is_err(), "it is there");
    let report = verify(&home.audit(), house.location(), None, None).unwrap();
    assert!(report.is_sound() && report.entries > 0, "{:?}", report.findings);
}

/// Everything below a directory.
fn files_in(dir: &std::path::Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for found in std::fs::read_dir(dir).unwrap() {
        let path = found.unwrap().path();
        if path.is_dir() {
            files.extend(files_in(&path));
        } else {
            files.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_keeps_the_files_of_a_home_that_was_there_and_holds_the_log_against_them() {
    let Some(house) = house(1).await else { return };
    let older = house.database.copy();
    let two = house.open(1).await;
    works(&two, "TOKEN").await;
    two.publish_audit().await.unwrap();
    drop(two);
    let newer = Database::where_there_is_one().unwrap();
    newer.become_like(&house.database);
    // The home's configuration is lost, and with it where the ledger is. Something else of the home's lies there, too.
    let home = house.home(1);
    std::fs::remove_file(home.config()).unwrap();
    std::fs::write(home.root().join("notes"), "mine").unwrap();
    let kept = files_in(home.root());
    let clock = || -> Clock { Arc::new(Timestamp::now) };
    let join = async |location: &Location, passphrase: Secret| {
        let refused = home.join(location, None, passphrase, clock()).await.unwrap_err();
        assert!(files_in(home.root()) == kept, "what was there is there: {refused:?}");
        assert!(!home.exists());
        refused
    };
    join(&house.location(), Secret::new("mistyped".to_owned())).await;
    let nobody = "postgres://broker@127.0.0.1:1/keywright?connect_timeout=1".parse().unwrap();
    join(&Location::Server(Box::new(nobody)), World::passphrase()).await;
    // The log was cut meanwhile: only these files say so.
    house.database.become_like(&older);
    let refused = join(&house.location(), World::passphrase()).await;
    assert!(refused.message.contains("does not go on from it"), "{refused:?}");
    assert!(refused.hint.is_some_and(|hint| hint.contains("move") && hint.contains("evidence")));
    house.database.become_like(&newer);
    let head = home.audit().join("head");
    let text = std::fs::read(&head).unwrap();
    std::fs::remove_file(&head).unwrap();
    let refused = home.join(&house.location(), None, World::passphrase(), clock()).await.unwrap_err();
    assert!(refused.message.contains("`head` is gone"), "{refused:?}");
    // Whoever works on the home keeps it.
    std::fs::write(&head, text).unwrap();
    let lock = home.lock().unwrap();
    assert_eq!(join(&house.location(), World::passphrase()).await.code, Code::Conflict);
    drop(lock);
    home.join(&house.location(), None, World::passphrase(), clock()).await.unwrap();
    let two = house.open(1).await;
    works(&two, "OTHER").await;
    assert!(two.health().await.unwrap().read_only.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_one_put_in_place_of_another_is_the_other_brokers_too() {
    let Some(house) = house(1).await else { return };
    let (one, two) = (house.open(0).await, house.open(1).await);
    works(&two, "FIRST").await;
    two.revoke(&World::agent("bot"), "FIRST", "done").await.unwrap();
    // Another account, under the name of the one that was removed.
    let other = Sandbox::start(SandboxConfig::default()).await.unwrap();
    one.remove_connection(&ana(&one).await, &cf()).await.unwrap();
    assert_eq!(two.check_connection(&cf()).await.unwrap_err().code, Code::NotFound);
    one.add_connection(&ana(&one).await, account_of(&other)).await.unwrap();
    works(&two, "SECOND").await;
    assert_eq!(house.sandbox.live_tokens_named_like("kw-").len(), 0, "nothing is made where nobody looks");
    assert_eq!(other.live_tokens_named_like("kw-").len(), 1);
    one.revoke(&World::agent("bot"), "SECOND", "done").await.unwrap();
    assert_eq!(other.live_tokens_named_like("kw-").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_one_removed_gets_no_secret_from_the_others() {
    let Some(house) = house(1).await else { return };
    let (one, two) = (house.open(0).await, house.open(1).await);
    let files: StoreName = "files".parse().unwrap();
    let new = NewStore {
        name: files.clone(),
        kind: "dotenv".parse().unwrap(),
        address: None,
        extra: <_>::default(),
        credential: None,
    };
    one.add_store(&ana(&one).await, new).await.unwrap();
    let open = keywright_testkit::QUICK.replace("\"embedded:*\"", "\"files:*\"");
    one.apply_template(&ana(&one).await, &open).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let wish = Ask {
        destinations: vec!["files:./.env#CF_TOKEN".to_owned()],
        cwd: Some(folder.path().display().to_string()),
        ..ask("example.com", "CF_TOKEN")
    };
    let receipt = two.request(&World::agent("bot"), &wish, WAIT).await.unwrap();
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
    two.revoke(&World::agent("bot"), "CF_TOKEN", "done").await.unwrap();
    one.remove_store(&ana(&one).await, &files).await.unwrap();
    let refused = two.request(&World::agent("bot"), &wish, WAIT).await.unwrap_err();
    assert!(refused.message.contains("there is no store `files`"), "{refused:?}");
    let left = std::fs::read_to_string(folder.path().join(".env")).unwrap_or_default();
    assert!(!left.contains("CF_TOKEN"), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_one_replaced_is_what_the_others_work_with() {
    let Some(house) = house(1).await else { return };
    let (one, two) = (house.open(0).await, house.open(1).await);
    works(&two, "BEFORE").await;
    let renewed = one.rotate_parent(&ana(&one).await, &cf()).await.unwrap();
    let before = renewed.before.unwrap();
    assert!(
        !renewed.before_is_gone && parents(&house.sandbox).len() == 2,
        "the other may work with it just now"
    );
    // Whoever goes on with the one before finds it gone.
    let after =
        house.sandbox.tokens().into_iter().find(|token| is_parent(token) && token.id != before).unwrap();
    with(&house.sandbox, &after.id).revoke(&before).await.unwrap();
    works(&two, "AFTER").await;
    two.revoke(&World::agent("bot"), "BEFORE", "done").await.unwrap();
    // Once no call can be under way any more that began with it, whoever leads sees to its end.
    house.database.run("UPDATE parents SET due_at = 0");
    two.tick().await.unwrap();
    assert_eq!(house.count("SELECT count(*) FROM parents WHERE phase = 'switched'"), 1);
    house.database.run("UPDATE parents SET due_at = 0, switched_at = switched_at - 300000");
    two.tick().await.unwrap();
    assert_eq!(house.count("SELECT count(*) FROM parents WHERE phase = 'done'"), 1);
    works(&one, "LATER").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_one_gives_a_successor_is_none_of_the_others_business() {
    let Some(house) = house(1).await else { return };
    let (one, two) = (house.open(0).await, house.open(1).await);
    two.tick().await.unwrap();
    let slow = FaultKind::Slow { delay_ms: 3_000, trickle_ms: 0 };
    house.sandbox.inject(Fault::on("POST", "/accounts/*/tokens", slow).times(1)).unwrap();
    let before = parents(&house.sandbox);
    let (rotating, word) = (Arc::clone(&one), ana(&one).await);
    let renewed = tokio::spawn(async move { rotating.rotate_parent(&word, &cf()).await });
    // It is made, and its secret on the way; the one that leads looks for what is left of attempts.
    until("the successor", || parents(&house.sandbox).len() == 2).await;
    two.tick().await.unwrap();
    assert_eq!(parents(&house.sandbox).len(), 2, "whoever sent it has it");
    let given = Secret::new(house.sandbox.parent_token().to_owned());
    let refused = two.replace_parent(&ana(&two).await, &cf(), given).await.unwrap_err();
    assert!(refused.message.contains("another broker"), "{refused:?}");
    let refused = two.rotate_parent(&ana(&two).await, &cf()).await.unwrap_err();
    assert!(refused.message.contains("another broker"), "{refused:?}");
    renewed.await.unwrap().unwrap();
    assert_eq!(house.count("SELECT count(*) FROM parents WHERE phase = 'switched'"), 1);
    assert!(parents(&house.sandbox).contains(&before[0]));
    works(&two, "AFTER").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_lost_the_lease_of_a_successor_takes_back_what_it_made() {
    let Some(house) = house(1).await else { return };
    let (one, two) = (house.open(0).await, house.open(1).await);
    two.tick().await.unwrap();
    let slow = FaultKind::Slow { delay_ms: 3_000, trickle_ms: 0 };
    house.sandbox.inject(Fault::on("POST", "/accounts/*/tokens", slow).times(1)).unwrap();
    let before = parents(&house.sandbox);
    let (rotating, word) = (Arc::clone(&one), ana(&one).await);
    let renewed = tokio::spawn(async move { rotating.rotate_parent(&word, &cf()).await });
    until("the successor", || parents(&house.sandbox).len() == 2).await;
    // As if it had been stopped for longer than its lease.
    house.database.run("UPDATE parents SET lease_until = 0");
    two.tick().await.unwrap();
    renewed.await.unwrap().unwrap_err();
    assert_eq!(parents(&house.sandbox), before);
    works(&one, "TOKEN").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_and_a_parent_credential_that_one_made_are_masked_at_the_others() {
    let Some(house) = house(1).await else { return };
    let (one, two) = (house.open(0).await, house.open(1).await);
    let token = Secret::new("the caller's own".to_owned());
    let clean = two.mask(&token).await.unwrap().clean("nothing secret");
    assert_eq!(clean, "nothing secret", "the secrets that there were are known from here on");
    works(&one, "TOKEN").await;
    let made = house.sandbox.live_tokens_named_like("kw-");
    let value = house.sandbox.secret_of(&made[0].id).unwrap();
    let clean = two.mask(&token).await.unwrap().clean(&format!("CF_TOKEN={value}, please"));
    assert!(!clean.contains(&value), "{clean}");
    // So is what a connection works with since.
    let before = parents(&house.sandbox);
    one.rotate_parent(&ana(&one).await, &cf()).await.unwrap();
    let fresh = parents(&house.sandbox).into_iter().find(|id| !before.contains(id)).unwrap();
    let value = house.sandbox.secret_of(&fresh).unwrap();
    let clean = two.mask(&token).await.unwrap().clean(&format!("is it {value}?"));
    assert!(!clean.contains(&value), "{clean}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_writes_wakes_the_others() {
    let Some(house) = house(1).await else { return };
    let one = house.open(0).await;
    // Nothing but a word of the other makes it look again.
    let never = Duration::from_secs(100 * 24 * 3_600);
    let seldom = Options { tick: never, ..Options::at(house.home(1)) };
    let two = Broker::open(seldom, World::passphrase()).await.unwrap();
    house.mint(&one, 4).await;
    let running = Running::start(&[two]);
    let listens = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'keywright listens' \
                   AND (query LIKE 'LISTEN%' OR query LIKE 'NOTIFY%')";
    let ana = ana(&one).await;
    for key in 0..4 {
        if key == 2 {
            // A session that is lost is made anew.
            let lost = house.database.run(&format!("SELECT pg_terminate_backend(pid, 5000), pid {listens}"));
            let lost = lost.trim().split_once('|').unwrap().1.to_owned();
            let others = format!("SELECT count(*) {listens} AND pid <> {lost}");
            until("another session that listens", || house.count(&others) == 1).await;
        }
        let listening = format!("SELECT count(*) {listens}");
        until("a session that listens", || house.count(&listening) == 1).await;
        house.database.run(&format!("UPDATE keys SET rotate_at = 0 WHERE name = 'KEY_{key}'"));
        // Of words that come together only the first is told, where nobody listens.
        tokio::time::sleep(Duration::from_millis(300)).await;
        one.add_agent(&ana, &format!("new-{key}").parse().unwrap()).await.unwrap();
        let begun = "SELECT count(*) FROM sagas WHERE kind = 'rotate'";
        until("the rotation", || house.count(begun) == key + 1).await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_whose_ledger_was_moved_is_nobodys_ledger_any_more() {
    let Some(house) = house(1).await else { return };
    let suspended = house.open(1).await;
    let first = house.open(0).await;
    works(&first, "CF_TOKEN").await;
    drop(first);
    let to = Location::File(house.home(0).root().join("ledger.db"));
    house.database.run("UPDATE listeners SET until = 1000");
    let home = house.home(0);
    home.move_ledger(&to, None, World::passphrase(), Arc::new(Timestamp::now)).await.unwrap();

    // Whoever slept through it does nothing any more.
    let live = || house.sandbox.live_tokens_named_like("kw-").len();
    let before = live();
    house.make_due();
    let receipt = suspended.request(&World::agent("bot"), &ask("example.com", "LATE"), WAIT).await;
    assert!(receipt.is_err(), "{receipt:?}");
    let _ = suspended.tick().await;
    let found = suspended.reconcile().await;
    assert_eq!(live(), before, "nothing was made, nothing was ended: {found:?}");
    drop(suspended);
    // Whoever comes later is told where it is.
    let options = Options::at(house.home(1));
    let refused = Broker::open(options, World::passphrase()).await.err().unwrap();
    assert!(refused.message.contains("was moved"), "{refused}");
    let moved = Broker::open(Options::at(house.home(0)), World::passphrase()).await.unwrap();
    works(&moved, "AFTER").await;
    assert_eq!(live(), before + 1);
}
