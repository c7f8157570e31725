//! Stores that refuse at each step.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use keywright_core::saga::Phase;
use keywright_sandbox::vendors::Running;

use crate::house::{ALWAYS, DOWN, House, VERIFY};
use crate::people::gated;

/// A key that was made, and whose next step is to be placed: what happens to the file meanwhile is up to the test.
async fn about_to_be_placed(house: &House, name: &str) {
    house.inject(VERIFY, DOWN, ALWAYS);
    house.ask(&house.both(name)).await;
    assert_eq!(house.phase(name).await, Phase::Compared);
    house.heal();
}

fn git(house: &House, args: &[&str]) {
    let mut command = Command::new("git");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    let output = command.current_dir(house.dir.path()).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn set_mode(house: &House, mode: u32) {
    std::fs::set_permissions(house.dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_store_that_refuses_at_look_ends_the_mint_and_keeps_what_lies_there() {
    let house = House::new().await;
    about_to_be_placed(&house, "KEY").await;
    std::fs::write(house.dir.path().join(".env"), "KEY='by hand'\n").unwrap();
    house.pass(400).await;
    house.assert_ended("KEY", "failed").await;
    assert_eq!(house.dotenv(), "KEY='by hand'\n");
}

#[tokio::test]
async fn a_store_that_refuses_at_write_ends_the_mint_and_takes_the_other_copy_back() {
    let house = House::new().await;
    about_to_be_placed(&house, "KEY").await;
    // Looking does not ask git, writing does.
    git(&house, &["init", "--quiet"]);
    house.pass(400).await;
    house.assert_ended("KEY", "failed").await;
    assert_eq!(house.dotenv(), "");
    assert!(house.saga("KEY").await.trouble.unwrap().contains("not a safe place"));
}

#[tokio::test]
async fn a_store_that_refuses_at_verify_ends_the_mint_and_takes_the_other_copy_back() {
    let house = House::new().await;
    house.refuse("UPDATE OF state ON placements WHEN NEW.state = 'verified'");
    house.ask(&house.both("KEY")).await;
    assert_eq!(house.phase("KEY").await, Phase::Placed);
    house.allow_all();
    std::fs::remove_file(house.dir.path().join(".env")).unwrap();
    house.take_up_again().await;
    house.assert_ended("KEY", "failed").await;
}

#[tokio::test]
async fn a_store_that_refuses_to_remove_is_asked_until_it_does_and_the_key_is_dead_meanwhile() {
    let house = House::new().await;
    house.refuse("UPDATE OF state ON placements WHEN NEW.state = 'verified'");
    house.ask(&house.both("KEY")).await;
    house.allow_all();
    // A directory that everybody may write to is no safe place to touch a file in.
    set_mode(&house, 0o777);
    house.take_up_again().await;
    house.world.settle().await;
    assert_eq!(house.phase("KEY").await, Phase::Undo);
    assert_eq!(house.status("KEY").await, "in_progress");
    assert!(house.living().is_empty(), "the copy in the file is worth nothing");
    set_mode(&house, 0o700);
    house.world.settle().await;
    house.assert_ended("KEY", "failed").await;
}

#[tokio::test]
async fn a_directory_that_is_gone_ends_the_mint() {
    let house = House::new().await;
    let dir = house.dir.path().join("app");
    std::fs::create_dir(&dir).unwrap();
    let ask = keywright_broker::ask::Ask { cwd: Some(dir.to_str().unwrap().to_owned()), ..house.both("KEY") };
    house.inject(VERIFY, DOWN, ALWAYS);
    house.ask(&ask).await;
    house.heal();
    std::fs::remove_dir(&dir).unwrap();
    house.pass(400).await;
    house.assert_ended("KEY", "failed").await;
}

/// What the stand-in of Doppler is told besides its API's calls.
async fn doppler(running: &Running, path: &str, body: &serde_json::Value) {
    let url = format!("{}/v3/{path}", running.base_url);
    let call = reqwest::Client::new().post(url).bearer_auth(&running.parent).json(body).send();
    assert!(call.await.unwrap().status().is_success(), "{path}");
}

#[tokio::test]
async fn a_write_that_came_half_of_the_way_is_finished_and_what_somebody_wrote_meanwhile_is_left() {
    for is_theirs in [false, true] {
        let (house, running, ask) = gated("doppler", &[], "web/dev#KEY").await;
        house.refuse("UPDATE OF state ON placements WHEN NEW.state = 'written' AND NEW.store = 'gate'");
        house.ask(&ask).await;
        house.allow_all();
        // The value is there, and nothing says whose it is.
        let note = serde_json::json!({"secret": "KEY", "note": ""});
        doppler(&running, "projects/project/note?project=web", &note).await;
        if is_theirs {
            let by_hand = serde_json::json!({"secrets": {"KEY": "by hand"}});
            doppler(&running, "configs/config/secrets?project=web&config=dev", &by_hand).await;
        }
        house.take_up_again().await;
        house.world.settle().await;
        house.assert_ended("KEY", if is_theirs { "failed" } else { "active" }).await;
    }
}
