//! An older copy of the whole home is put back, and a broker starts on it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use keywright_broker::adopt::Adoption;
use keywright_broker::ask::Ask;
use keywright_broker::{Code, Reconciled};
use keywright_core::receipt::Status;
use keywright_testkit::{Closed, Hanging, Running, World, ask};

/// Numbers that look random and are the same each time (Lehmer's).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0 * 48_271 % 2_147_483_647;
        usize::try_from(self.0 >> 8).unwrap() % most
    }
}

/// Our keys that live at the provider.
fn living(world: &World) -> BTreeSet<String> {
    world.sandbox.live_tokens_named_like("kw-").into_iter().map(|token| token.id).collect()
}

/// Those of them that the ledger knows as living.
fn known(world: &World) -> BTreeSet<String> {
    let ledger = rusqlite::Connection::open(world.home.join("ledger.db")).unwrap();
    let sql = "SELECT provider_key_id FROM versions WHERE state IN ('active', 'draining')";
    let mut rows = ledger.prepare(sql).unwrap();
    let ids = rows.query_map([], |row| row.get(0)).unwrap();
    ids.map(Result::unwrap).collect()
}

fn lost(found: &Reconciled) -> BTreeSet<String> {
    found.lost.iter().map(|one| one.provider_key_id.clone()).collect()
}

async fn makes(world: &World, name: &str) {
    let receipt = world.request(&ask("example.com", name)).await.unwrap();
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
}

/// A deed that leaves a key, ends one, or replaces one's version.
async fn deed(world: &World, number: u32, random: &mut Dice, keys: &mut Vec<String>) {
    match (keys.len(), random.below(4)) {
        (2.., 0) => {
            let name = keys.swap_remove(random.below(keys.len()));
            let ended = world.broker.revoke(&World::agent("bot"), &name, "done").await.unwrap();
            assert_eq!(ended.status, Status::Revoked);
        }
        (1.., 1) => {
            let name = &keys[random.below(keys.len())];
            let wait = Duration::from_secs(20);
            // One that is being rotated already is left alone.
            drop(world.broker.rotate(&World::agent("bot"), name, "it is old", wait).await);
        }
        _ => {
            let name = format!("KEY_{number}");
            makes(world, &name).await;
            keys.push(name);
        }
    }
}

/// A broker on a home that is behind changes nothing by itself, and a human can still end a key.
async fn only_looks(world: &World, what: &str) {
    let before = living(world);
    assert!(world.broker.health().await.unwrap().read_only.is_some(), "{what}");
    let refused = world.request(&ask("example.com", "NOT_NOW")).await.unwrap_err();
    assert!(refused.code == Code::Conflict, "{what}: {refused}");
    assert!(refused.hint.unwrap().contains("--accept-restore"), "{what}");
    let found = world.broker.reconcile().await.unwrap();
    assert!(found.only_looked && found.orphans.is_empty(), "{what}: {found:?}");
    for _ in 0..2 {
        world.broker.tick().await.unwrap();
    }
    assert_eq!(living(world), before, "{what}: nothing was ended");
}

async fn accepted(world: &World, what: &str) -> BTreeSet<String> {
    let before = living(world);
    let found = world.broker.accept_restore(&world.ana().await).await.unwrap();
    let told: BTreeSet<String> = known(world).union(&lost(&found)).cloned().collect();
    let left = living(world);
    assert!(left.is_subset(&told), "{what}: {left:?} {told:?}");
    // What went is what this ledger knew to be over.
    assert!(lost(&found).is_subset(&before) && left.is_superset(&lost(&found)), "{what}");
    assert_eq!(world.broker.health().await.unwrap().read_only, None, "{what}");
    lost(&found)
}

#[tokio::test]
async fn an_older_copy_is_noticed_wherever_it_was_taken_and_every_key_is_known_or_told() {
    let mut random = Dice(20_261_127);
    let (mut world, mut keys) = (World::with_witness().await, Vec::new());
    let mut copies = Vec::new();
    for number in 0..6 {
        let home = world.closed().await;
        copies.push(home.copy(&format!("copy-{number}")));
        world = home.opened().await;
        assert_eq!(world.broker.health().await.unwrap().read_only, None, "as it was left: {number}");
        deed(&world, number, &mut random, &mut keys).await;
    }
    // Again and again, also copies from before one that was accepted already.
    for number in [5, 2, 4, 0, 0, 3] {
        let what = format!("copy {number}");
        let home = world.closed().await;
        home.put_back(&copies[number]);
        world = home.opened().await;
        only_looks(&world, &what).await;
        let lost_now = accepted(&world, &what).await;
        makes(&world, &format!("AFTER_{number}_{}", random.below(1_000_000))).await;
        // They stay where they are, however often somebody looks, and after another start.
        world = world.restart().await;
        let found = world.broker.reconcile().await.unwrap();
        assert!(lost(&found) == lost_now && found.orphans.is_empty(), "{what}: {found:?}");
    }
    let found = world.broker.revoke_lost(&world.ana().await).await.unwrap();
    assert!(found.lost.is_empty() && found.owed == 0, "{found:?}");
    assert_eq!(living(&world), known(&world));
    assert_eq!(world.broker.soundness().await.unwrap().1, Vec::<String>::new());
}

/// A world whose home was put back to before its newest key was made.
async fn behind() -> (World, String) {
    let world = World::with_witness().await;
    makes(&world, "OLD").await;
    let before = living(&world);
    let home = world.closed().await;
    let copy = home.copy("copy");
    let world = home.opened().await;
    makes(&world, "NEW").await;
    let new = living(&world).difference(&before).next().unwrap().clone();
    let home = world.closed().await;
    home.put_back(&copy);
    (home.opened().await, new)
}

#[tokio::test]
async fn a_key_of_the_time_that_is_lost_can_be_put_under_management() {
    let (world, new) = behind().await;
    assert_eq!(accepted(&world, "accepted").await, BTreeSet::from([new.clone()]));
    let ana = world.ana().await;
    let named = Ask {
        project: "web".to_owned(),
        environment: "dev".to_owned(),
        name: "NEW".to_owned(),
        ..Ask::default()
    };
    let adoption = Adoption { connection: "cf".to_owned(), provider_key_id: new.clone(), ask: named };
    world.broker.adopt(&ana, &adoption).await.unwrap();
    let found = world.broker.reconcile().await.unwrap();
    assert!(found.lost.is_empty() && found.orphans.is_empty() && found.missing.is_empty(), "{found:?}");
    world.broker.revoke(&ana.caller(), "NEW", "done").await.unwrap();
    assert!(!living(&world).contains(&new));
}

#[tokio::test]
async fn a_human_can_end_a_key_while_the_broker_only_looks() {
    let (world, new) = behind().await;
    let ana = world.ana().await;
    let ended = world.broker.revoke(&ana.caller(), "OLD", "leaked").await.unwrap();
    assert_eq!(ended.status, Status::Revoked);
    assert_eq!(living(&world), BTreeSet::from([new]));
}

#[tokio::test]
async fn a_restore_is_on_record_and_only_an_older_copy_is_accepted() {
    let (world, _) = behind().await;
    accepted(&world, "accepted").await;
    let ana = world.ana().await;
    let again = world.broker.accept_restore(&ana).await.unwrap_err();
    assert!(again.code == Code::Conflict && again.message.contains("nothing to accept"), "{again}");
    let home = world.closed().await;
    let ledger = rusqlite::Connection::open(home.ledger()).unwrap();
    let said: String = ledger
        .query_row(
            "SELECT CAST(leaf AS TEXT) FROM audit_entries WHERE CAST(leaf AS TEXT) LIKE '%restore.accept%'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert!(said.contains("in a second place"), "{said}");
    let edit = "UPDATE audit_entries SET leaf = CAST(REPLACE(CAST(leaf AS TEXT), 'OLD', 'ODD') AS BLOB) \
                WHERE CAST(leaf AS TEXT) LIKE '%OLD%'";
    assert!(ledger.execute(edit, []).unwrap() > 0);
    drop(ledger);
    let world = home.opened().await;
    let refused = world.broker.accept_restore(&world.ana().await).await.unwrap_err();
    assert!(refused.message.contains("this is no older copy"), "{refused}");
}

fn head_of(home: &Closed) -> std::path::PathBuf {
    let mut all = std::fs::read_dir(home.witness().unwrap()).unwrap();
    all.next().unwrap().unwrap().path().join("head")
}

#[tokio::test]
async fn a_second_place_that_is_gone_or_holds_something_else_stops_nobody() {
    let world = World::with_witness().await;
    type Change = fn(&std::path::Path);
    let changes: [(Change, bool); 3] = [
        (|head| std::fs::write(head, "").unwrap(), false),
        (|head| std::fs::remove_file(head).unwrap(), true),
        (|head| std::fs::remove_dir_all(head.parent().unwrap()).unwrap(), true),
    ];
    let mut world = world;
    for (number, (change, is_missed)) in changes.into_iter().enumerate() {
        let home = world.closed().await;
        let (head, note) = (head_of(&home), home.home().join("audit/witness"));
        change(&head);
        world = home.opened().await;
        makes(&world, &format!("TOKEN_{number}")).await;
        if is_missed {
            let said = world.broker.health().await.unwrap().witness.unwrap();
            assert!(said.contains("is missing") && said.contains(note.to_str().unwrap()), "{said}");
            assert!(!head.exists(), "nobody takes another place for it");
            // It is gone for good.
            let home = world.closed().await;
            std::fs::remove_file(note).unwrap();
            world = home.opened().await;
            makes(&world, &format!("AFTER_{number}")).await;
        }
        assert_eq!(world.broker.health().await.unwrap().witness, None);
    }
    // It is back, and follows each commit.
    let home = world.closed().await;
    let (first, second) = (head_of(&home), home.home().join("audit/head"));
    assert_eq!(std::fs::read(first).unwrap(), std::fs::read(second).unwrap());
}

/// Waits until the broker says of the second place what is wanted.
async fn until_said(world: &World, what: &str, is_so: impl Fn(Option<&str>) -> bool) {
    let begun = std::time::Instant::now();
    loop {
        let said = world.broker.health().await.unwrap().witness;
        if is_so(said.as_deref()) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}: {said:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_place_that_hangs_while_it_is_written_holds_up_nobody_and_gets_the_newest_head() {
    let home = World::with_witness().await.closed().await;
    let (first, second) = (home.home().join("audit/head"), head_of(&home));
    // Whoever opens a pipe to write waits until somebody reads.
    let pipe = second.with_file_name("head.new");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let world = home.opened().await;
    for number in 0..3 {
        makes(&world, &format!("TOKEN_{number}")).await;
    }
    until_said(&world, "it hangs", |said| said.is_some_and(|said| said.contains("is behind"))).await;
    assert_eq!(world.broker.health().await.unwrap().read_only, None);
    assert_ne!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());
    // It answers again.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let reader = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(&pipe).unwrap();
    std::fs::remove_file(&pipe).unwrap();
    until_said(&world, "it is well", |said| said.is_none()).await;
    drop(reader);
    makes(&world, "LAST").await;
    let home = world.closed().await;
    assert_eq!(std::fs::read(first).unwrap(), std::fs::read(second).unwrap());
    assert_eq!(home.opened().await.broker.health().await.unwrap().read_only, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_place_that_does_not_answer_at_the_start_is_gone_by_as_soon_as_it_does() {
    let world = World::with_witness().await;
    makes(&world, "OLD").await;
    let home = world.closed().await;
    let copy = home.copy("copy");
    let world = home.opened().await;
    makes(&world, "NEW").await;
    let all = living(&world);
    let home = world.closed().await;
    home.put_back(&copy);
    let Some(hanging) = Hanging::over(home.witness().unwrap()) else { return };
    let world = home.opened().await;
    let health = world.broker.health().await.unwrap();
    assert_eq!(health.read_only, None, "nobody knows yet");
    assert!(health.witness.unwrap().contains("whether this home is an older copy is not known"));
    // It works, and ends nothing that may be in use.
    makes(&world, "MEANWHILE").await;
    let found = world.broker.reconcile().await.unwrap();
    assert!(found.orphans.is_empty() && found.lost.len() == 1, "{found:?}");
    assert!(living(&world).is_superset(&all));
    let schedule = Running::start(&[Arc::clone(&world.broker)]);
    hanging.end();
    let begun = std::time::Instant::now();
    while world.broker.health().await.unwrap().read_only.is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it was not read");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    schedule.stop().await;
    only_looks(&world, "read late").await;
    accepted(&world, "read late").await;
    let world = world.restart().await;
    assert_eq!(world.broker.health().await.unwrap().read_only, None);
    assert_eq!(world.broker.health().await.unwrap().witness, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_place_that_is_not_mounted_at_the_start_is_not_taken_for_one_that_says_nothing() {
    let world = World::with_witness().await;
    makes(&world, "OLD").await;
    let home = world.closed().await;
    let copy = home.copy("copy");
    let world = home.opened().await;
    makes(&world, "NEW").await;
    let all = living(&world);
    let home = world.closed().await;
    home.put_back(&copy);
    let place = home.witness().unwrap().to_owned();
    let disk = place.with_file_name("disk");
    std::fs::rename(&place, &disk).unwrap();
    std::fs::create_dir(&place).unwrap();
    let said = keywright_ledger::audit_files::look_at(&place, &home.home().join("audit")).unwrap();
    assert!(said.contains("is its disk mounted?"), "{said}");
    let world = home.opened().await;
    let health = world.broker.health().await.unwrap();
    assert_eq!(health.read_only, None, "nobody knows yet");
    let said = health.witness.unwrap();
    assert!(said.contains("whether this home is an older copy is not known"), "{said}");
    assert!(said.contains("is its disk mounted?"), "{said}");
    makes(&world, "MEANWHILE").await;
    let found = world.broker.reconcile().await.unwrap();
    assert!(found.orphans.is_empty() && found.lost.len() == 1, "{found:?}");
    assert!(living(&world).is_superset(&all));
    let schedule = Running::start(&[Arc::clone(&world.broker)]);
    // Nothing was made where it is to be mounted.
    std::fs::remove_dir(&place).unwrap();
    std::fs::rename(&disk, &place).unwrap();
    let begun = std::time::Instant::now();
    while world.broker.health().await.unwrap().read_only.is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it was not read");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    schedule.stop().await;
    only_looks(&world, "mounted late").await;
    accepted(&world, "mounted late").await;
    let world = world.restart().await;
    let health = world.broker.health().await.unwrap();
    assert_eq!((health.read_only, health.witness), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_can_be_accepted_while_the_second_place_hangs_and_is_put_aside_later() {
    let (world, _) = behind().await;
    let home = world.closed().await;
    let Some(hanging) = Hanging::over(home.witness().unwrap()) else { return };
    // The home's own head is behind too, so it is noticed without the second place.
    let head = home.home().join("audit/head");
    let other = std::fs::read_to_string(&head).unwrap();
    std::fs::write(&head, other.replace("keywright/head/1", "keywright/head/2")).unwrap();
    let world = home.opened().await;
    assert!(world.broker.health().await.unwrap().read_only.is_some());
    accepted(&world, "while it hangs").await;
    makes(&world, "AFTER").await;
    hanging.end();
    until_said(&world, "put aside", |said| said.is_none()).await;
    let world = world.restart().await;
    assert_eq!(world.broker.health().await.unwrap().read_only, None, "what lay there counts no more");
}
