//! An older copy of the home is put back.

use std::process::Command;

use keywright_testkit::Hanging;

use crate::support::{Serving, World, request};

fn copy(from: &std::path::Path, to: &std::path::Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[test]
fn an_older_copy_only_looks_until_an_operator_goes_on_from_it() {
    let world = World::ready();
    world.key("OLD");
    let (home, backup) = (world.home(), world.path("backup"));
    copy(&home, &backup);
    world.key("NEW");
    assert_eq!(world.live_keys(), 2);
    world.alice(&["--json", "reconcile", "--accept-restore"]).expect(7);
    std::fs::remove_dir_all(&home).unwrap();
    copy(&backup, &home);

    let refused = world.alice(&request("MORE", "dev", &["--json"])).expect(7).json();
    assert!(refused["hint"].as_str().unwrap().contains("--accept-restore"), "{refused}");
    let looked = world.ok(&["reconcile"]);
    assert!(looked["only_looked"] == true && looked["lost"].as_array().unwrap().len() == 1, "{looked}");
    assert_eq!(world.live_keys(), 2, "nothing was ended");
    let said = world.alice(&["reconcile"]).expect(0);
    assert!(said.out.contains("lost") && said.err.contains("--accept-restore"), "{}{}", said.out, said.err);

    let accepted = world.ok(&["reconcile", "--accept-restore"]);
    assert!(
        accepted["only_looked"] == false && accepted["lost"].as_array().unwrap().len() == 1,
        "{accepted}"
    );
    world.plain(&["audit", "verify"]).expect(0);
    world.key("MORE");
    let lost = world.ok(&["reconcile"]);
    assert_eq!((world.live_keys(), &lost["orphans"]), (3, &serde_json::json!([])), "{lost}");
    let said = world.alice(&["reconcile"]).expect(0);
    assert!(said.err.contains("--revoke-lost"), "{}", said.err);
    let ended = world.ok(&["reconcile", "--revoke-lost"]);
    assert_eq!((world.live_keys(), &ended["lost"]), (2, &serde_json::json!([])), "{ended}");
    world.assert_nothing_leaked();
}

#[test]
fn the_second_place_is_where_init_was_told_or_nowhere() {
    let world = World::empty();
    world.init();
    let config = std::fs::read_to_string(world.home().join("config.toml")).unwrap();
    assert!(config.contains(world.path("witness").to_str().unwrap()), "{config}");
    let kept = std::fs::read_dir(world.path("witness")).unwrap().count();
    assert_eq!(kept, 1, "one directory for each home");
    let finding = |world: &World| {
        let found = world.plain(&["--json", "doctor"]).json();
        let all = found["findings"].as_array().unwrap().clone();
        all.into_iter().find(|one| one["check"] == "witness" || one["name"] == "witness").unwrap()
    };
    assert!(finding(&world).to_string().contains("would be noticed by"));
    let advice =
        || world.plain(&["audit", "verify"]).expect(0).err.contains("keep a copy of HOME/audit/checkpoint");
    assert!(!advice(), "a copy is kept already");
    std::fs::remove_file(world.home().join("config.toml")).unwrap();
    assert!(advice());
    assert!(finding(&world).to_string().contains("would not be noticed"));
    std::fs::write(world.home().join("config.toml"), "[audit]\nwitness = \"here\"\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(world.home().join("config.toml"), mode).unwrap();
    let refused = world.alice(&["--json", "provider", "list"]).json();
    assert!(refused["message"].as_str().unwrap().contains("no absolute path"), "{refused}");
}

#[test]
fn a_second_place_that_hangs_is_said_and_holds_up_nothing() {
    let world = World::ready();
    let place = world.path("witness");
    let Some(hanging) = Hanging::over(&place) else { return };
    let finding = || {
        let found = world.plain(&["--json", "doctor"]).json();
        let all = found["findings"].as_array().unwrap();
        all.iter().find(|one| one["check"] == "witness").unwrap().clone()
    };
    let found = finding();
    assert!(found["verdict"] == "warning" && found.to_string().contains("does not answer"), "{found}");
    world.key("ONE");
    let mut serving = Serving::start(&world);
    world.key("TWO");
    let found = finding();
    assert!(
        found["verdict"] == "warning" && found.to_string().contains("an older copy is not known"),
        "{found}"
    );
    assert!(world.ok(&["status"])["health"]["witness"].is_string());
    serving.signal("TERM");
    assert_eq!(serving.0.wait().unwrap().code(), Some(0));
    hanging.end();
    world.ok(&["key", "list"]);
    assert_eq!(finding()["verdict"], "good");
    let kept = std::fs::read_dir(&place).unwrap().next().unwrap().unwrap().path().join("head");
    assert_eq!(std::fs::read(kept).unwrap(), std::fs::read(world.home().join("audit/head")).unwrap());
}
