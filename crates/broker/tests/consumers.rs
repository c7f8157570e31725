//! Consumers are told of a successor before the version before it ends: by a program, and by a signed message.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use keywright_broker::Code;
use keywright_broker::consumers::{NewConsumer, PATIENCE, Way};
use keywright_broker::deliver::{Reader, Wanted};
use keywright_broker::record::Caller;
use keywright_broker::trace::Trace;
use keywright_core::audit::Deed;
use keywright_core::consumer::{TellingState, Uses};
use keywright_core::key::{KeyState, VersionState};
use keywright_core::plan::{Ending, Principal};
use keywright_core::saga::Phase;
use keywright_testkit::{DNS_EDIT, World, ask};

const WAIT: Duration = Duration::from_secs(20);

async fn world() -> World {
    let world = World::new().await;
    let rotation = "[rotation]\nevery = \"20d\"\nquiet_for = \"1h\"\nmax_overlap = \"2d\"\n";
    let ana = world.ana().await;
    world.broker.apply_template(&ana, &format!("{DNS_EDIT}{rotation}")).await.unwrap();
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    world
}

async fn pass(world: &World, seconds: i64) {
    let by = SignedDuration::from_secs(seconds);
    world.clock.advance(by);
    world.sandbox.advance_clock(by.unsigned_abs());
    world.broker.tick().await.unwrap();
}

async fn rotate(world: &World) {
    let ana = Caller::plain(Principal::Operator("ana".parse().unwrap()));
    world.broker.rotate(&ana, "CF_TOKEN", "it is time", WAIT).await.unwrap();
}

async fn trace(world: &World) -> Trace {
    world.broker.trace("CF_TOKEN").await.unwrap()
}

fn states(trace: &Trace) -> Vec<VersionState> {
    trace.versions.iter().map(|version| version.state).collect()
}

fn script(name: &str, text: String) -> NewConsumer {
    consumer(name, Way::Command(vec!["/bin/sh".to_owned(), "-c".to_owned(), text]))
}

fn consumer(name: &str, way: Way) -> NewConsumer {
    let uses = Uses { project: "web".parse().unwrap(), environment: None, names: "CF_*".parse().unwrap() };
    NewConsumer { name: name.parse().unwrap(), uses, way, patience: PATIENCE }
}

async fn add(world: &World, new: NewConsumer) {
    let ana = world.ana().await;
    world.broker.add_consumer(&ana, new).await.unwrap();
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// A file that does not exist yet, and the folder that keeps it.
fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("told");
    (folder, path)
}

#[tokio::test]
async fn a_command_is_told_once_of_each_rotation_of_its_keys_and_of_no_other() {
    let world = world().await;
    let (_folder, told) = file();
    let text = format!(
        "echo $KEYWRIGHT_EVENT $KEYWRIGHT_PROJECT/$KEYWRIGHT_ENVIRONMENT/$KEYWRIGHT_NAME $KEYWRIGHT_VERSION \
         $KEYWRIGHT_REPLACED >> {}; echo reloaded",
        told.display()
    );
    add(&world, script("app", text)).await;
    world.request(&ask("example.com", "OTHER")).await.unwrap();
    rotate(&world).await;
    pass(&world, 1).await;
    let now = trace(&world).await;
    let (old, new) = (now.versions[0].id, now.versions[1].id);
    assert_eq!(lines(&told), [format!("key.rotated web/dev/CF_TOKEN {new} {old}")]);
    let ana = Caller::plain(Principal::Operator("ana".parse().unwrap()));
    world.broker.rotate(&ana, "OTHER", "it is time", WAIT).await.unwrap();
    for _ in 0..12 {
        pass(&world, 900).await;
    }
    let done = trace(&world).await;
    assert_eq!(states(&done), [VersionState::Revoked, VersionState::Active]);
    assert_eq!(lines(&told).len(), 1, "{:?}", lines(&told));
    let entry = done.entries.iter().find(|e| e.record().deed == Deed::ConsumerTell).unwrap().record();
    assert!(entry.result.as_ref().unwrap().ok);
    assert_eq!((&entry.facts["consumer"], &entry.facts["said"]), (&"app".into(), &"reloaded".into()));
    rotate(&world).await;
    pass(&world, 1).await;
    assert_eq!(lines(&told).len(), 2);
}

#[tokio::test]
async fn the_old_version_waits_for_a_consumer_that_can_not_be_told_and_is_late_but_lives() {
    let world = world().await;
    let (folder, told) = file();
    let gate = folder.path().join("gate");
    let text = format!(
        "test -e {} || {{ echo not now >&2; exit 7; }}; echo x >> {}",
        gate.display(),
        told.display()
    );
    add(&world, script("app", text)).await;
    rotate(&world).await;
    for _ in 0..5 {
        pass(&world, 1_800).await;
    }
    let waits = trace(&world).await;
    let saga = waits.saga.as_ref().unwrap();
    assert_eq!(saga.phase, Phase::Switched, "{saga:?}");
    let why = saga.trouble.as_deref().unwrap();
    assert!(why.contains("`app` was not told yet") && why.contains("not now"), "{why}");
    assert!(waits.tellings[0].tries >= 3 && waits.tellings[0].state == TellingState::Owed, "{waits:?}");
    assert_eq!(world.broker.health().await.unwrap().consumers_untold, 1);
    let said = waits.entries.iter().filter(|e| e.record().deed == Deed::ConsumerTell).count();
    assert_eq!(said, 1, "the same trouble is said once");
    assert_eq!(world.broker.health().await.unwrap().drains_late, 0);
    pass(&world, 2 * 86_400).await;
    pass(&world, 3_600).await;
    assert_eq!(world.broker.health().await.unwrap().drains_late, 1);
    assert_eq!(states(&trace(&world).await), [VersionState::Draining, VersionState::Active]);
    std::fs::write(gate, "").unwrap();
    for _ in 0..12 {
        pass(&world, 900).await;
    }
    assert_eq!(lines(&told).len(), 1);
    assert_eq!(states(&trace(&world).await), [VersionState::Revoked, VersionState::Active]);
    assert_eq!(world.broker.health().await.unwrap().consumers_untold, 0);
}

#[tokio::test]
async fn an_operators_word_the_consumers_end_and_the_keys_end_wait_for_nobody() {
    for how in ["word", "removed", "revoked"] {
        let world = world().await;
        let ana = world.ana().await;
        add(&world, script("app", "exit 1".to_owned())).await;
        rotate(&world).await;
        pass(&world, 60).await;
        match how {
            "word" => drop(world.broker.end_old(&ana, "CF_TOKEN", "I know").await.unwrap()),
            "removed" => world.broker.remove_consumer(&ana, &"app".parse().unwrap()).await.unwrap(),
            _ => drop(world.broker.revoke(&ana.caller(), "CF_TOKEN", "enough").await.unwrap()),
        }
        for _ in 0..12 {
            pass(&world, 900).await;
        }
        let done = trace(&world).await;
        assert_eq!(done.versions[0].state, VersionState::Revoked, "{how}: {:?}", done.saga);
        if how == "removed" {
            assert_eq!(done.tellings[0].state, TellingState::Dropped);
        }
    }
}

#[tokio::test]
async fn what_is_said_and_what_is_configured_holds_no_secret() {
    let world = world().await;
    let ana = world.ana().await;
    let parent = world.sandbox.parent_token().to_owned();
    let refused = world.broker.add_consumer(&ana, script("app", format!("echo {parent}"))).await.unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgument);
    assert!(!format!("{refused:?}").contains(&parent), "{refused:?}");
    let (folder, _) = file();
    let leak = folder.path().join("leak");
    std::fs::write(&leak, &parent).unwrap();
    add(&world, script("app", format!("cat {} >&2; exit 1", leak.display()))).await;
    rotate(&world).await;
    pass(&world, 1).await;
    let now = trace(&world).await;
    let trouble = now.tellings[0].trouble.clone().unwrap();
    assert!(trouble.contains("it said: ") && !trouble.contains(&parent), "{trouble}");
    for entry in &now.entries {
        assert!(!format!("{entry:?}").contains(&parent));
    }
}

#[tokio::test]
async fn a_consumer_that_was_taken_out_of_the_file_or_put_back_is_noticed() {
    let world = world().await;
    let ana = world.ana().await;
    let (_folder, told) = file();
    add(&world, script("app", format!("echo x >> {}", told.display()))).await;
    let ledger = rusqlite::Connection::open(world.home.join("ledger.db")).unwrap();
    ledger.busy_timeout(Duration::from_secs(10)).unwrap();
    ledger.execute_batch("CREATE TEMP TABLE kept AS SELECT * FROM consumers; DELETE FROM consumers").unwrap();
    let (_, edited) = world.broker.soundness().await.unwrap();
    assert!(edited.iter().any(|line| line.contains("consumer `app`")), "{edited:?}");
    rotate(&world).await;
    for _ in 0..12 {
        pass(&world, 900).await;
    }
    let waits = trace(&world).await;
    assert_eq!(states(&waits), [VersionState::Draining, VersionState::Active]);
    assert!(waits.saga.unwrap().trouble.unwrap().contains("consumer `app` is on record"));
    let app = "app".parse().unwrap();
    world.broker.remove_consumer(&ana, &app).await.unwrap();
    for _ in 0..12 {
        pass(&world, 900).await;
    }
    assert_eq!(states(&trace(&world).await), [VersionState::Revoked, VersionState::Active]);
    // What was removed, put back: nothing of it runs.
    ledger.execute_batch("INSERT INTO consumers SELECT * FROM kept").unwrap();
    let refused = world.broker.test_consumer(&ana, &app).await.unwrap_err();
    assert!(refused.message.contains("outside of Keywright"), "{refused}");
    rotate(&world).await;
    pass(&world, 1).await;
    assert!(lines(&told).is_empty());
}

#[tokio::test]
async fn a_test_tells_and_a_command_that_fails_says_so() {
    let world = world().await;
    let ana = world.ana().await;
    add(&world, script("good", "echo $KEYWRIGHT_EVENT; pwd".to_owned())).await;
    add(&world, script("bad", "echo no luck; exit 3".to_owned())).await;
    let said = world.broker.test_consumer(&ana, &"good".parse().unwrap()).await.unwrap();
    assert!(said.ends_with("/home"), "{said}");
    let failed = world.broker.test_consumer(&ana, &"bad".parse().unwrap()).await.unwrap_err();
    assert!(failed.message.contains("exit status: 3") && failed.message.contains("no luck"), "{failed}");
    let missing = world.broker.test_consumer(&ana, &"none".parse().unwrap()).await.unwrap_err();
    assert_eq!(missing.code, Code::NotFound);
}

/// What one message looked like.
struct Message {
    headers: Vec<(String, String)>,
    body: String,
}

impl Message {
    fn header(&self, name: &str) -> &str {
        &self.headers.iter().find(|(known, _)| known == name).unwrap().1
    }
}

/// Somebody on loopback who takes messages, and answers them with these statuses in turn.
async fn receiver(statuses: &'static [u16]) -> (String, std::sync::Arc<std::sync::Mutex<Vec<Message>>>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks/rotated", listener.local_addr().unwrap());
    let taken = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = std::sync::Arc::clone(&taken);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
            let message = loop {
                let read = stream.read(&mut piece).await.unwrap();
                bytes.extend_from_slice(&piece[..read]);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let mut lines = head.lines();
                assert_eq!(lines.next(), Some("POST /hooks/rotated HTTP/1.1"));
                let headers: Vec<(String, String)> = lines
                    .filter_map(|line| line.split_once(": "))
                    .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                    .collect();
                let message = Message { headers, body: body.to_owned() };
                if message.header("content-length").parse::<usize>().unwrap() == body.len() {
                    break message;
                }
            };
            let status = {
                let mut taken = kept.lock().unwrap();
                taken.push(message);
                statuses.get(taken.len() - 1).copied().unwrap_or(204)
            };
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, taken)
}

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn webhook(url: String) -> NewConsumer {
    let secret = keywright_core::secret::Secret::new(SECRET.to_owned());
    consumer("hook", Way::Webhook { url, secret })
}

#[tokio::test]
async fn a_message_is_signed_and_sent_again_under_the_same_id_until_it_is_taken() {
    let world = world().await;
    // The wire itself tries three times; the rest is up to the rotation.
    let (url, taken) = receiver(&[500, 500, 500]).await;
    add(&world, webhook(url)).await;
    rotate(&world).await;
    // No time passes for the broker: what was tried in vain is not tried again.
    let waits = loop {
        let waits = trace(&world).await;
        if waits.tellings.iter().any(|telling| telling.tries > 0) {
            break waits;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(waits.tellings[0].state, TellingState::Owed);
    assert_eq!(waits.tellings[0].trouble.as_deref(), Some("it answered 500"));
    pass(&world, 60).await;
    let done = trace(&world).await;
    assert_eq!(done.tellings[0].state, TellingState::Told);
    let taken = taken.lock().unwrap();
    assert_eq!(taken.len(), 4);
    for message in taken.iter() {
        assert_eq!(message.header("webhook-id"), done.tellings[0].id.to_string());
        assert_eq!(message.header("content-type"), "application/json");
        let body: serde_json::Value = serde_json::from_str(&message.body).unwrap();
        assert_eq!(body["type"], "key.rotated");
        assert!(body["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
        let version = |n: usize| serde_json::json!({ "id": done.versions[n].id, "number": n + 1 });
        let data = serde_json::json!({
            "consumer": "hook", "key": done.key.id, "name": "CF_TOKEN", "project": "web", "environment": "dev",
            "version": version(1), "replaced": [version(0)],
        });
        assert_eq!(body["data"], data);
    }
    verified_by_a_peer(&taken);
}

/// The library of Standard Webhooks itself says whether the signatures hold, and that none holds for another body.
fn verified_by_a_peer(messages: &[Message]) {
    const SCRIPT: &str = "import json, sys\nfrom standardwebhooks.webhooks import Webhook, WebhookVerificationError\n\
        hook = Webhook(sys.argv[1])\nfor m in json.load(sys.stdin):\n    hook.verify(m['body'], m['headers'])\n    \
        try:\n        hook.verify(m['body'] + ' ', m['headers'])\n        sys.exit('another body passes')\n    \
        except WebhookVerificationError:\n        pass\n    print('verified')\n";
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.peers/venv/bin/python");
    let has = |module: &str| {
        let import = format!("import {module}");
        std::process::Command::new(&python).args(["-c", &import]).output().is_ok_and(|o| o.status.success())
    };
    if !has("standardwebhooks") {
        assert!(std::env::var_os("CI").is_none(), "no peer: `scripts/peers` installs it");
        eprintln!("SKIPPED, no standardwebhooks; `scripts/peers` installs it");
        return;
    }
    let said: Vec<_> = messages
        .iter()
        .map(|m| serde_json::json!({ "body": m.body, "headers": m.headers.iter().cloned().collect::<std::collections::BTreeMap<_, _>>() }))
        .collect();
    let mut child = std::process::Command::new(&python)
        .args(["-c", SCRIPT, SECRET])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    serde_json::to_writer(child.stdin.take().unwrap(), &said).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().matches("verified").count(), messages.len());
    assert!(output.status.success());
}

#[tokio::test]
async fn an_address_in_the_clear_is_refused_and_one_that_was_changed_gets_no_signature() {
    let world = world().await;
    let ana = world.ana().await;
    let refused = world.broker.add_consumer(&ana, webhook("http://example.com/x".to_owned())).await;
    assert!(refused.unwrap_err().message.contains("is not https"));
    let (url, taken) = receiver(&[]).await;
    let (elsewhere, stolen) = receiver(&[]).await;
    add(&world, webhook(url.clone())).await;
    world.broker.test_consumer(&ana, &"hook".parse().unwrap()).await.unwrap();
    assert_eq!(taken.lock().unwrap().len(), 1);
    let ledger = rusqlite::Connection::open(world.home.join("ledger.db")).unwrap();
    ledger
        .execute_batch(&format!("UPDATE consumers SET target = replace(target, '{url}', '{elsewhere}')"))
        .unwrap();
    let refused = world.broker.test_consumer(&ana, &"hook".parse().unwrap()).await.unwrap_err();
    assert!(refused.message.contains("outside of Keywright"), "{refused}");
    rotate(&world).await;
    pass(&world, 1).await;
    assert!(stolen.lock().unwrap().is_empty());
}

/// What is cut before it is looked through may hold most of a secret, which nobody recognises then.
#[tokio::test]
async fn what_a_program_says_is_looked_through_as_a_whole() {
    let world = world().await;
    let ana = world.ana().await;
    let wanted = Wanted { project: Some("web".parse().unwrap()), ..Wanted::default() };
    let delivered = world.broker.deliver(&Reader::Operator(&ana), wanted).await.unwrap();
    let secret = delivered[0].secret.expose_secret().to_owned();
    let (folder, path) = file();
    std::fs::write(&path, &secret).unwrap();
    for before in [200, 262, 280] {
        let says = format!("printf '%0{before}d env: %s other' 0 \"$(cat {})\"", path.display());
        add(&world, script("says", says)).await;
        let said = world.broker.test_consumer(&ana, &"says".parse().unwrap()).await.unwrap();
        let said = format!("{said:?}");
        assert!(said.contains("000"), "{said}");
        assert!(!said.contains(&secret[..12]), "{before}: {said}");
        world.broker.remove_consumer(&ana, &"says".parse().unwrap()).await.unwrap();
    }
    drop(folder);
}

#[tokio::test]
async fn a_leaked_version_ends_even_where_somebody_ended_its_successor_and_the_key_gets_another() {
    let world = world().await;
    let leaked = trace(&world).await.versions[0].provider_key_id.clone();
    add(&world, script("app", "exit 1".to_owned())).await;
    let (ana, caller) = (world.ana().await, Caller::plain(Principal::Operator("ana".parse().unwrap())));
    let ending = (Ending::Leaked, WAIT);
    world.broker.rotate_as(&ana, &caller, "CF_TOKEN", "it stood in a log", ending).await.unwrap();
    assert_eq!(states(&trace(&world).await), [VersionState::Draining, VersionState::Active]);
    assert!(world.sandbox.delete_token(&trace(&world).await.versions[1].provider_key_id));
    world.broker.reconcile().await.unwrap();
    for _ in 0..8 {
        pass(&world, 300).await;
    }
    let done = trace(&world).await;
    assert_eq!(done.versions[0].provider_key_id, leaked);
    assert_eq!(
        states(&done),
        [VersionState::Revoked, VersionState::Revoked, VersionState::Active],
        "{:?}",
        done.saga
    );
    assert_eq!(done.key.state, KeyState::Active);
}
