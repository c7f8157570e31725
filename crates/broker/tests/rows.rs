//! Those whom an operator let in, and what somebody who may write the ledger's file makes of them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use keywright_broker::ask::Ask;
use keywright_broker::review::Pending;
use keywright_broker::{Broker, BrokerError, Code, Options};
use keywright_core::approval::Approval;
use keywright_core::id::ApprovalId;
use keywright_core::name::OperatorName;
use keywright_core::receipt::Status;
use keywright_core::secret::Secret;
use keywright_ledger::seal::{MasterKey, SlotCost};
use keywright_ledger::{Ledger, LedgerError, Location, OperatorKeys};
use keywright_testkit::{World, ask};

fn edit(world: &World, sql: &str) {
    let ledger = rusqlite::Connection::open(world.home.join("ledger.db")).unwrap();
    ledger.execute_batch(sql).unwrap();
    assert!(ledger.changes() > 0, "{sql}");
}

/// Keeps a copy of a table's rows, for later.
fn keep(world: &World, table: &str) {
    edit(
        world,
        &format!(
            "CREATE TABLE kept AS SELECT * FROM {table} WHERE 0; INSERT INTO kept SELECT * FROM {table}"
        ),
    );
}

fn refused<T>(result: Result<T, BrokerError>, why: &str) {
    let Err(error) = result else { panic!("let in, although: {why}") };
    assert_eq!(error.code, Code::Unauthenticated, "{why}: {error}");
    assert!(error.message.contains("outside of Keywright"), "{why}: {error}");
    assert!(error.hint.unwrap().contains("restore"), "{why}");
}

#[tokio::test]
async fn an_agent_or_workload_whose_row_was_edited_is_let_in_no_more() {
    let world = World::new().await;
    let ana = world.ana().await;
    let bot = world.broker.add_agent(&ana, &"bot".parse().unwrap()).await.unwrap();
    let (web, dev) = ("web".parse().unwrap(), "dev".parse().unwrap());
    let app = world.broker.add_workload(&ana, &"app".parse().unwrap(), &web, Some(&dev)).await.unwrap();
    world.broker.agent(&bot).await.unwrap();
    world.broker.workload(&app).await.unwrap();
    edit(&world, "UPDATE agents SET name = 'admin'");
    refused(world.broker.agent(&bot).await, "another name");
    assert!(world.broker.agents().await.unwrap().is_empty());
    edit(&world, "UPDATE agents SET name = 'bot'");
    world.broker.agent(&bot).await.unwrap();
    for (column, new, old) in [("environment", "NULL", "'dev'"), ("project", "'bank'", "'web'")] {
        edit(&world, &format!("UPDATE workloads SET {column} = {new}"));
        refused(world.broker.workload(&app).await, column);
        edit(&world, &format!("UPDATE workloads SET {column} = {old}"));
    }
    let world = world.restart().await;
    world.broker.workload(&app).await.unwrap();
    world.broker.agent(&bot).await.unwrap();
}

#[tokio::test]
async fn an_older_row_that_is_put_back_is_not_let_in() {
    let world = World::new().await;
    let ana = world.ana().await;
    let bot = world.broker.add_agent(&ana, &"bot".parse().unwrap()).await.unwrap();
    keep(&world, "agents");
    world.broker.remove_agent(&ana, &"bot".parse().unwrap()).await.unwrap();
    assert_eq!(world.broker.agent(&bot).await.unwrap_err().code, Code::Unauthenticated);
    edit(&world, "DELETE FROM agents; INSERT INTO agents SELECT * FROM kept");
    refused(world.broker.agent(&bot).await, "live");
    let world = world.restart().await;
    refused(world.broker.agent(&bot).await, "after a restart");
    assert!(world.broker.agents().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_operator_whose_key_was_swapped_neither_approves_nor_is_let_in() {
    let world = World::new().await;
    let ana = world.ana().await;
    let (bo, passphrase) =
        ("bo".parse::<OperatorName>().unwrap(), || Secret::new("another long one".to_owned()));
    world.broker.add_operator(&ana, &bo, passphrase()).await.unwrap();
    let wish = Ask { environment: "production".to_owned(), ..ask("example.com", "CF_TOKEN") };
    let pending = world.request(&wish).await.unwrap();
    let id = pending.request.to_string();
    let review = async |world: &World| match world.broker.review(&id, &Default::default()).await.unwrap() {
        Pending::Key(review) => review,
        Pending::Template(_) => panic!("a key was asked for"),
    };
    let shown = review(&world).await;
    world.broker.approve(&ana, &id, &shown.digest, &Default::default(), Duration::ZERO).await.unwrap();

    // Somebody signs in the name of bo, with a key that they write into bo's row.
    let forger = SigningKey::from_bytes(&[7; 32]);
    let key = forger.verifying_key().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let digest = shown.plan.digest().unwrap();
    let times = (shown.created_at, shown.expires_at);
    let approval_id = ApprovalId::generate(shown.created_at, [9; 10]);
    let forged = Approval::sign(approval_id, shown.request, bo.clone(), digest, times, &forger);
    let ledger = Ledger::open(&Location::File(world.home.join("ledger.db")), world.clock.as_clock()).unwrap();
    ledger.write(move |tx| tx.add_approval(&forged)).await.unwrap_or_else(|e: LedgerError| panic!("{e}"));
    drop(ledger);
    edit(&world, &format!("UPDATE operators SET public_key = x'{key}' WHERE name = 'bo'"));
    assert_eq!(review(&world).await.approved_by, ["ana"]);
    world.broker.tick().await.unwrap();
    let standing = world.broker.check(&World::agent("bot").principal, &id, Duration::ZERO).await.unwrap();
    assert_eq!(standing.status, Status::PendingApproval);
    refused(world.broker.operator(Some(&bo), passphrase()).await, "the key");
    refused(world.broker.operator(None, passphrase()).await, "the key, unnamed");
    let names: Vec<_> = world.broker.operators().await.unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["ana".parse::<OperatorName>().unwrap()]);
    world.broker.remove_operator(&ana, &bo).await.unwrap();
}

#[tokio::test]
async fn an_operator_who_was_written_into_the_ledger_is_let_in_nowhere() {
    let world = World::new().await;
    let passphrase = || Secret::new("eve's own passphrase".to_owned());
    let (eve, master) = ("eve".parse::<OperatorName>().unwrap(), MasterKey::generate().unwrap());
    let cost = SlotCost { memory_kib: 64, passes: 1, lanes: 1 };
    let keys = OperatorKeys::seal(&eve, &passphrase(), &master, None, cost).unwrap();
    let ledger = Ledger::open(&Location::File(world.home.join("ledger.db")), world.clock.as_clock()).unwrap();
    let name = eve.clone();
    let written = ledger.write(move |tx| {
        let instance = tx.instance()?.unwrap();
        tx.add_operator(&name, &keys, &master.keyring(instance))
    });
    written.await.unwrap_or_else(|error: LedgerError| panic!("{error}"));
    drop(ledger);
    refused(world.broker.operator(Some(&eve), passphrase()).await, "named");
    refused(world.broker.operator(None, passphrase()).await, "unnamed");
    let world = world.closed().await;
    let options = Options::at(keywright_broker::home::Home::at(world.ledger().parent().unwrap()));
    let opened: Result<Arc<Broker>, _> = Broker::open(options, passphrase()).await;
    assert!(opened.is_err(), "a home opens for its own operators");
    world.opened().await.ana().await;
}

#[tokio::test]
async fn a_passphrase_that_was_changed_does_not_come_back_with_its_row() {
    let world = World::new().await;
    let ana = world.ana().await;
    let new = || Secret::new("a new long passphrase".to_owned());
    keep(&world, "operators");
    world.broker.change_passphrase(&ana, new()).await.unwrap();
    world.broker.operator(None, new()).await.unwrap();
    edit(&world, "DELETE FROM operators; INSERT INTO operators SELECT * FROM kept");
    refused(world.broker.operator(None, World::passphrase()).await, "the old row");
}

#[tokio::test]
async fn the_first_operator_and_what_vouches_for_them_is_the_first_entry_of_the_log() {
    let world = World::new().await;
    let log = world.broker.log(Default::default()).await.unwrap();
    let first = log[0].record();
    assert_eq!((first.deed.as_str(), first.subject.name.as_deref()), ("operator.add", Some("ana")));
    assert!(first.facts.contains_key("digest"));
    let ana = world.ana().await;
    let (shouted, passphrase) = ("ANA".parse().unwrap(), Secret::new("one of her own".into()));
    let error = world.broker.add_operator(&ana, &shouted, passphrase).await.unwrap_err();
    assert!(error.code == Code::Conflict && error.message.contains("`ana`"), "{error}");
}

#[tokio::test]
async fn what_a_passphrase_opened_is_gone_from_the_files_once_it_counts_no_more() {
    let world = World::new().await;
    let ana = world.ana().await;
    let bo = "bo".parse().unwrap();
    let words = || Secret::new("another passphrase".to_owned());
    world.broker.add_operator(&ana, &bo, words()).await.unwrap();
    let wraps = || {
        let ledger = rusqlite::Connection::open(world.home.join("ledger.db")).unwrap();
        let sql = "SELECT master_key_sealed, signing_key_sealed FROM operators WHERE name = ?1";
        ["ana", "bo"].map(|name| {
            ledger.query_row(sql, [name], |row| Ok([row.get::<_, Vec<u8>>(0)?, row.get(1)?])).unwrap()
        })
    };
    let [of_ana, of_bo] = wraps();
    world.broker.change_passphrase(&ana, Secret::new("a new long passphrase".to_owned())).await.unwrap();
    let ana = world.broker.operator(None, Secret::new("a new long passphrase".to_owned())).await.unwrap();
    world.broker.remove_operator(&ana, &bo).await.unwrap();
    for file in ["ledger.db", "ledger.db-wal"] {
        let bytes = std::fs::read(world.home.join(file)).unwrap();
        for wrap in of_ana.iter().chain(&of_bo) {
            assert!(!bytes.windows(wrap.len()).any(|window| window == wrap), "{file}");
        }
    }
}
