//! What is kept: the ledger while it is in use and afterwards, the audit log in all its forms, and nothing of a key that
//! is gone.

use std::fs;
use std::sync::Arc;

use keywright_ledger::{Ledger, LedgerError, Location};
use serde_json::json;

use crate::agent::{Agent, ERAS};
use crate::cases::ask;
use crate::ground::Ground;
use crate::support::request;

/// What the mask leaves of a sentence that holds a secret.
const MASKED: &str = "use [redacted], please";

#[test]
fn the_home_and_the_audit_log_keep_no_secret_in_the_clear_and_none_that_is_gone() {
    let mut ground = Ground::new();
    what_somebody_pasted_is_masked_in_every_form_of_the_log(&ground);
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        assert!(ground.world.home().join(name).exists(), "{name} is there while it is in use");
    }
    ground.search_home("while it is in use");
    ground.stop();
    assert!(!ground.world.home().join("ledger.db-wal").exists(), "the ledger was closed");
    ground.search_home("after the broker has stopped");
    ground.search("the ledger's file", &fs::read(ground.world.home().join("ledger.db")).unwrap(), MASKED);
    nothing_of_a_key_that_is_gone_stays(&mut ground);
    ground.search_talk();
}

fn what_somebody_pasted_is_masked_in_every_form_of_the_log(ground: &Ground) {
    let live = ground.live();
    let sentence = format!("use {live}, please");
    let mut command = ground.mcp("builder");
    command.env("AI_AGENT", &sentence).env("CLAUDE_CODE_SESSION_ID", hex(&live));
    let agent = Agent::start(command, ERAS[0], &sentence);
    let mut pasted = ask("PASTED");
    (pasted["purpose"], pasted["prompt"]) = (json!(sentence), json!(sentence));
    let waiting = agent.call("request_key", &pasted).unwrap();
    let id = waiting["request"].as_str().unwrap().to_owned();
    agent.finish();
    let world = &ground.world;
    // An operator's texts are kept up to so many characters; the cut goes through the secret.
    let cut = |kept: usize| format!("{live:>0$}", kept + live.len() / 2);
    let own = world.ok(&request("OWN", "dev", &["--purpose", &cut(999)]));
    let key = own["key"].as_str().unwrap();
    world.ok(&["key", "revoke", key, "--reason", &cut(500)]);
    let shown = world.ok(&["review", "show", &id]);
    assert_eq!((&shown["plan"]["purpose"], &shown["prompt"]), (&json!(MASKED), &json!(MASKED)));
    assert_eq!(
        (&shown["claimed"]["client"], &shown["claimed"]["ai_agent"]),
        (&json!(MASKED), &json!(MASKED))
    );
    assert_eq!(shown["claimed"]["claude_code_session"], "[redacted]");
    world.ok(&["review", "reject", &id, "--reason", &cut(500)]);

    let out = world.path("exported");
    let out = out.to_str().unwrap();
    let views: [(&[&str], &str); 10] = [
        (&["audit", "log", "--json", "--from", "0", "--limit", "1000"], MASKED),
        (&["audit", "export"], MASKED),
        (&["audit", "export", "--json"], MASKED),
        (&["review", "show", &id, "--json"], MASKED),
        (&["audit", "trace", key, "--json"], "\"name\":\"OWN\""),
        (&["audit", "log", "--from", "0", "--limit", "1000"], "request.reject"),
        (&["audit", "log", "--deed", "request.reject", "--limit", "1000"], "request.reject"),
        (&["audit", "trace", key], "OWN"),
        (&["review", "show", &id], "turned down"),
        (&["audit", "export", "--out", out], "copied to"),
    ];
    let said = ground.logged_in(&views.map(|(args, _)| args));
    for ((args, evidence), ran) in views.into_iter().zip(said) {
        let ran = ran.expect(0);
        ground.search(&args.join(" "), format!("{}{}", ran.out, ran.err).as_bytes(), evidence);
    }
    let mut tiles = Vec::new();
    crate::ground::walk(&world.path("exported"), &mut tiles);
    let exported: Vec<u8> = tiles.iter().flat_map(|path| fs::read(path).unwrap()).collect();
    ground.search("the exported files", &exported, MASKED);
}

fn nothing_of_a_key_that_is_gone_stays(ground: &mut Ground) {
    // The owner's name stands in the same row as what is sealed for it, and nowhere else.
    let before = sealed_for(ground);
    let of_keys: Vec<&String> = before.iter().filter(|owner| owner.starts_with("placement:")).collect();
    assert_eq!((of_keys.len(), before.len()), (1, 2), "a key and the connection's credential: {before:?}");
    let ledger = ground.world.home().join("ledger.db");
    for owner in &before {
        assert!(holds(&ledger, owner), "{owner}: or the search below would prove nothing");
    }
    ground.serve();
    ground.world.ok(&["project", "teardown", "web", "--yes"]);
    assert_eq!(ground.world.live_keys(), 0);
    ground.stop();
    assert_eq!(sealed_for(ground), ["connection:cf"]);
    for owner in of_keys {
        assert!(!holds(&ledger, owner), "{owner} was erased, and its bytes are overwritten");
    }
    ground.search_home("after everything was revoked");
}

/// Whom the ledger keeps a sealed secret for.
fn sealed_for(ground: &Ground) -> Vec<String> {
    let location = Location::File(ground.world.home().join("ledger.db"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ledger = Ledger::open(&location, Arc::new(jiff::Timestamp::now)).unwrap();
    let owners = runtime.block_on(ledger.read(|tx| {
        let mut owners = Vec::new();
        tx.each_sealed(|owner, _| {
            // What it is bound to besides its name does not matter here.
            owners.push(owner.splitn(3, ':').take(2).collect::<Vec<_>>().join(":"));
            Ok(())
        })?;
        Ok::<_, LedgerError>(owners)
    }));
    let mut owners = owners.unwrap();
    owners.sort();
    owners
}

fn holds(path: &std::path::Path, text: &str) -> bool {
    fs::read(path).unwrap().windows(text.len()).any(|window| window == text.as_bytes())
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}
