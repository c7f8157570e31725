//! The head: how long the log is, in a file beside the ledger.

use std::fs;

use keywright_testkit::{Closed, World, ask};

use crate::home::{audit, does_nothing, edit, report};

#[tokio::test]
async fn a_head_that_is_gone_or_made_up_is_no_head() {
    let cut = "DELETE FROM audit_entries WHERE number > (SELECT MAX(number) - 3 FROM audit_entries)";
    let claim = |home: &Closed, size: i64| {
        let head = fs::read_to_string(audit(home, "head")).unwrap();
        let mut lines: Vec<String> = head.lines().map(str::to_owned).collect();
        lines[1] = format!("{size:020}");
        format!("{}\n", lines.join("\n"))
    };
    type Change<'a> = &'a dyn Fn(&Closed);
    let changes: [(&str, Change<'_>); 5] = [
        ("gone", &|home| fs::remove_file(audit(home, "head")).unwrap()),
        ("empty", &|home| fs::write(audit(home, "head"), "").unwrap()),
        ("cut", &|home| edit(home, cut)),
        ("another size", &|home| {
            let text = claim(home, 1);
            fs::write(audit(home, "head"), text).unwrap();
        }),
        ("a checkpoint in its place", &|home| {
            fs::copy(audit(home, "checkpoint"), audit(home, "head")).unwrap();
        }),
    ];
    for (what, change) in changes {
        let world = World::new().await;
        world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
        let home = world.closed().await;
        change(&home);
        edit(&home, cut);
        does_nothing(&home.opened().await, what).await;
    }
}

#[tokio::test]
async fn a_head_that_is_moved_away_from_under_the_broker_is_put_back() {
    let world = World::new().await;
    let head = world.home.join("audit/head");
    let older = fs::read(&head).unwrap();
    fs::rename(&head, world.home.join("audit/away")).unwrap();
    fs::write(&head, &older).unwrap();
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    assert_ne!(fs::read(&head).unwrap(), older);
    fs::remove_file(&head).unwrap();
    world.request(&ask("example.com", "NEXT_TOKEN")).await.unwrap();
    let home = world.closed().await;
    assert!(report(home.ledger().parent().unwrap()).is_sound());
}

#[tokio::test]
async fn a_head_from_before_a_loss_of_power_is_continued() {
    let world = World::new().await;
    let home = world.closed().await;
    let older = fs::read(audit(&home, "head")).unwrap();
    let world = home.opened().await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let home = world.closed().await;
    // The ledger was forced to the disk and the head was not.
    fs::write(audit(&home, "head"), older).unwrap();
    let world = home.opened().await;
    assert_eq!(world.broker.health().await.unwrap().read_only, None);
    world.request(&ask("example.com", "NEXT_TOKEN")).await.unwrap();
}

#[tokio::test]
async fn what_is_no_file_in_the_place_of_the_head_keeps_nobody_waiting() {
    let world = World::new().await;
    world.request(&ask("example.com", "TOKEN")).await.unwrap();
    let home = world.closed().await;
    let head = audit(&home, "head");
    fs::remove_file(&head).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&head).status().unwrap();
    assert!(made.success());
    let dir = audit(&home, "");
    let verified = keywright_ledger::audit_files::verify(&dir, &home.ledger(), None, None);
    assert!(verified.unwrap_err().to_string().contains("no file of an audit log"));
    fs::remove_file(&head).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &head).unwrap();
    assert!(keywright_ledger::audit_files::verify(&dir, &home.ledger(), None, None).is_err());
}
