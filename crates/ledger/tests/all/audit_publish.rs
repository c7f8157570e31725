//! Publishing: resumes, never signs what does not continue what was signed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use keywright_ledger::audit_files::{AuditFiles, Finding, verifier_key};
use keywright_ledger::seal::MasterKey;
use keywright_ledger::{Ledger, LedgerError};

use crate::support::{Home, INSTANCE, flip, grow};

fn all_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(all_files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    all_files(dir).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

async fn refused(files: &AuditFiles, ledger: &Ledger) -> String {
    match files.publish(ledger).await {
        Err(LedgerError::NotContinued { why }) => why,
        other => panic!("it was not refused: {other:?}"),
    }
}

#[tokio::test]
async fn six_hundred_entries_are_published_and_verify() {
    let (home, notes) = Home::with_log(&[1, 255, 256, 257, 512, 600], 600).await;
    let report = home.verify_trusted();
    assert!(report.is_sound(), "{:?}", report.findings);
    assert_eq!((report.entries, report.covered, report.unsigned()), (600, 600, 0));
    for note in &notes {
        assert!(home.verify_with(note).is_sound());
    }
    let names: Vec<String> = all_files(&home.audit())
        .iter()
        .map(|path| path.strip_prefix(home.audit()).unwrap().to_str().unwrap().to_owned())
        .collect();
    let expected = [
        "checkpoint",
        "head",
        "tile/0/000",
        "tile/0/001",
        "tile/0/002.p/88",
        "tile/1/000.p/1",
        "tile/1/000.p/2",
        "tile/entries/000",
        "tile/entries/001",
        "tile/entries/002.p/88",
        "vkey",
    ];
    // The narrower tile of level 1 belongs to the checkpoint before the last.
    let without_older: Vec<&String> = names.iter().filter(|name| *name != "tile/1/000.p/1").collect();
    assert_eq!(without_older, expected.iter().filter(|n| **n != "tile/1/000.p/1").collect::<Vec<_>>());
    for path in all_files(&home.audit()) {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
    }
    assert_eq!(fs::metadata(home.audit()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn many_small_steps_leave_the_same_files_as_one_large_one() {
    let steps: Vec<u64> = (1..=20).map(|n| n * 41).collect();
    let (by_steps, _) = Home::with_log(&steps, 820).await;
    let (at_once, _) = Home::with_log(&[820], 820).await;
    for path in all_files(&at_once.audit()) {
        let name = path.strip_prefix(at_once.audit()).unwrap();
        // The two homes have different keys.
        if name.starts_with("tile") {
            assert_eq!(fs::read(&path).unwrap(), fs::read(by_steps.audit().join(name)).unwrap(), "{name:?}");
        }
    }
    let partial = all_files(&by_steps.audit()).iter().filter(|p| p.to_str().unwrap().contains(".p/")).count();
    assert!(partial <= 6, "superseded partial tiles go away, {partial} are left");
    assert!(by_steps.verify_trusted().is_sound());
}

#[tokio::test]
async fn publishing_again_writes_nothing() {
    let (home, _) = Home::with_log(&[300], 300).await;
    let ledger = home.open();
    let files = home.files();
    files.publish(&ledger).await.unwrap();
    let (before, commits) = (contents(&home.audit()), *ledger.commits().borrow());
    fs::set_permissions(home.audit(), fs::Permissions::from_mode(0o500)).unwrap();
    assert_eq!(files.publish(&ledger).await.unwrap(), 300);
    fs::set_permissions(home.audit(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(contents(&home.audit()), before);
    assert_eq!(*ledger.commits().borrow(), commits, "or publishing would wake itself for ever");
}

#[tokio::test]
async fn an_empty_log_is_not_signed() {
    let home = Home::new();
    assert_eq!(home.files().publish(&home.open()).await.unwrap(), 0);
    assert!(!home.file("checkpoint").exists());
    assert!(home.verify().is_sound());
}

#[tokio::test]
async fn publish_resumes_after_a_crash_between_any_two_writes() {
    let (home, notes) = Home::with_log(&[250], 600).await;
    let before = contents(&home.audit());
    let ledger = home.open();
    home.files().publish(&ledger).await.unwrap();
    let after = contents(&home.audit());
    // The order in which publishing writes: entries, hashes, upwards; the checkpoint last.
    let written: Vec<_> = after.iter().filter(|file| !before.contains(file)).collect();
    assert!(written.len() > 6);
    for survivors in 0..=written.len() {
        for damage in ["gone", "cut", "left over"] {
            fs::remove_dir_all(home.audit()).unwrap();
            let mut kept: Vec<_> = before.iter().collect();
            let checkpoint = home.file("checkpoint");
            kept.extend(written.iter().filter(|(path, _)| *path != checkpoint).take(survivors));
            for (path, bytes) in kept {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
            // The file that the crash interrupted.
            let torn = written.get(survivors).filter(|(path, _)| *path != checkpoint);
            if let Some((path, bytes)) = torn.filter(|_| damage != "gone") {
                let name = if damage == "cut" { path.clone() } else { path.with_extension("new") };
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(name, &bytes[..bytes.len() / 2]).unwrap();
            }
            home.tamper("DELETE FROM checkpoints WHERE size = 600");
            assert_eq!(home.files().publish(&ledger).await.unwrap(), 600);
            let report = home.verify_with(&notes[0]);
            assert!(report.is_sound(), "{survivors} {damage}: {:?}", report.findings);
            assert_eq!(report.covered, 600);
            let checkpoint = fs::read_to_string(checkpoint).unwrap();
            let second = ledger.read(|tx| tx.last_checkpoint()).await.unwrap();
            assert_eq!(second, Some(checkpoint), "the second place has it too");
        }
    }
}

#[tokio::test]
async fn a_tile_that_is_gone_or_cut_is_written_again_from_the_ledger() {
    let (home, _) = Home::with_log(&[600], 600).await;
    let sound = contents(&home.audit());
    for (path, bytes) in sound.iter().filter(|(path, _)| path.starts_with(home.audit().join("tile"))) {
        for cut in [None, Some(0), Some(bytes.len() / 2)] {
            match cut {
                None => fs::remove_file(path).unwrap(),
                Some(length) => fs::write(path, &bytes[..length]).unwrap(),
            }
            assert!(!home.verify().is_sound(), "{path:?}");
            // A new broker: the running one has no reason to look.
            home.files().publish(&home.open()).await.unwrap();
            assert_eq!(fs::read(path).unwrap(), *bytes);
        }
    }
    assert_eq!(contents(&home.audit()), sound);
}

#[tokio::test]
async fn an_old_copy_of_the_ledger_is_not_signed_and_is_reported() {
    let (home, _) = Home::with_log(&[300], 300).await;
    let old = home.kept();
    let ledger = home.open();
    grow(&ledger, 600).await;
    home.files().publish(&ledger).await.unwrap();
    drop(ledger);
    let published = contents(&home.audit());
    home.put_back(&old);

    let ledger = home.open();
    let why = refused(&home.files(), &ledger).await;
    assert!(why.contains("600") && why.contains("300"), "{why}");
    let report = home.verify();
    assert_eq!(report.first_bad().unwrap().to_string(), "ent_300");

    // It goes on, past the size that was signed, with other entries.
    for size in [450, 599, 600, 601, 700] {
        home.pass(60);
        ledger.write(move |tx| grow_otherwise(tx, size)).await.unwrap();
        refused(&home.files(), &ledger).await;
        let report = home.verify();
        assert_eq!(report.first_bad().unwrap().to_string(), "ent_300", "{:?}", report.findings);
    }
    assert_eq!(contents(&home.audit()), published, "nothing was overwritten");
}

fn grow_otherwise(tx: &keywright_ledger::Tx<'_>, size: u64) -> Result<(), LedgerError> {
    for number in tx.audit_size()?..size {
        tx.audit(crate::support::record(number + 1_000_000))?;
    }
    Ok(())
}

#[tokio::test]
async fn old_files_under_a_newer_ledger_are_brought_up_to_date() {
    let (home, notes) = Home::with_log(&[300], 300).await;
    let old = contents(&home.audit());
    let ledger = home.open();
    grow(&ledger, 600).await;
    home.files().publish(&ledger).await.unwrap();
    fs::remove_dir_all(home.audit()).unwrap();
    for (path, bytes) in &old {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    home.files().publish(&ledger).await.unwrap();
    assert!(home.verify_with(&notes[0]).is_sound());
}

#[tokio::test]
async fn a_running_broker_notices_that_everything_was_rolled_back_under_it() {
    let (home, _) = Home::with_log(&[10], 10).await;
    let ledger = home.open();
    let files = home.files();
    grow(&ledger, 20).await;
    files.publish(&ledger).await.unwrap();
    home.tamper("DELETE FROM audit_entries WHERE number >= 10; DELETE FROM checkpoints WHERE size > 10");
    fs::remove_file(home.file("checkpoint")).unwrap();
    let why = refused(&files, &ledger).await;
    assert!(why.contains("signed last"), "{why}");
}

#[tokio::test]
async fn changed_rows_are_never_signed() {
    let changes = [
        "UPDATE audit_entries SET leaf = CAST(replace(CAST(leaf AS TEXT), 'shop', 'shot') AS BLOB) WHERE number = 5",
        "UPDATE audit_entries SET leaf = CAST(replace(CAST(leaf AS TEXT), 'shop', 'shot') AS BLOB) WHERE number = 290",
        "UPDATE audit_entries SET leaf = CAST(replace(CAST(leaf AS TEXT), 'shop', 'shot') AS BLOB) WHERE number = 299",
        "UPDATE audit_entries SET leaf_hash = zeroblob(32) WHERE number = 3",
        "DELETE FROM audit_entries WHERE number = 100",
        "UPDATE audit_entries SET number = number + 1000 WHERE number = 270",
        "UPDATE checkpoints SET note = replace(note, '2', '3')",
        "UPDATE audit_entries SET leaf = 'text' WHERE number = 3",
    ];
    for change in changes {
        let (home, _) = Home::with_log(&[200, 270], 300).await;
        let before = contents(&home.audit());
        home.tamper(change);
        let ledger = home.open();
        let refused = home.files().publish(&ledger).await;
        let is_right = matches!(refused, Err(LedgerError::NotContinued { .. } | LedgerError::Damaged { .. }));
        assert!(is_right, "{change}: {refused:?}");
        assert_eq!(contents(&home.audit()), before, "{change}");
    }
}

#[tokio::test]
async fn a_checkpoint_file_that_cannot_be_believed_stops_publishing() {
    let (home, _) = Home::with_log(&[100], 120).await;
    flip(&home.file("checkpoint"), 60);
    refused(&home.files(), &home.open()).await;
    fs::write(home.file("checkpoint"), "").unwrap();
    refused(&home.files(), &home.open()).await;
    // Gone is not forged: the second place has it.
    fs::remove_file(home.file("checkpoint")).unwrap();
    assert!(
        home.verify()
            .findings
            .iter()
            .any(|f| matches!(f, Finding::File { path, .. } if path == "checkpoint"))
    );
    assert_eq!(home.files().publish(&home.open()).await.unwrap(), 120);
    assert!(home.verify().is_sound());
}

#[tokio::test]
async fn another_home_cannot_take_over_the_directory() {
    let (home, _) = Home::with_log(&[10], 10).await;
    let other = MasterKey::generate().unwrap().keyring(INSTANCE);
    assert!(matches!(AuditFiles::open(&home.audit(), &other), Err(LedgerError::NotContinued { .. })));
    assert_ne!(verifier_key(&other).unwrap(), *home.files().key());
}

#[tokio::test]
async fn concurrent_publishers_of_one_broker_do_not_disturb_each_other() {
    let home = Home::new();
    let ledger = std::sync::Arc::new(home.open());
    ledger.write(|tx| tx.set_instance(&INSTANCE)).await.unwrap();
    let files = std::sync::Arc::new(home.files());
    // A log that nobody has published yet is not sound, and on a busy host none of the tasks may have run when it is looked at.
    grow(&ledger, 1).await;
    files.publish(&ledger).await.unwrap();
    let mut tasks = Vec::new();
    for size in 1..=40 {
        grow(&ledger, size * 20).await;
        let (files, ledger) = (std::sync::Arc::clone(&files), std::sync::Arc::clone(&ledger));
        tasks.push(tokio::spawn(async move { files.publish(&ledger).await }));
        if size % 10 == 0 {
            let report = home.verify();
            assert!(report.is_sound(), "{:?}", report.findings);
        }
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(files.publish(&ledger).await.unwrap(), 800);
    let report = home.verify_trusted();
    assert!(report.is_sound() && report.covered == 800, "{:?}", report.findings);
}

#[tokio::test]
async fn two_homes_do_not_share_a_second_place() {
    let (home, _) = Home::with_log(&[3], 3).await;
    let ledger = home.open();
    let place = home.dir.path().join("witness");
    let files = |name: &str| {
        AuditFiles::open_witnessed(&home.dir.path().join(name), Some(&place), &home.ring).unwrap()
    };
    let (one, two) = (files("audit"), files("other"));
    let mut refused = None;
    for _ in 0..1_000 {
        refused = one.second_place().or_else(|| two.second_place());
        if refused.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(refused.unwrap().why.contains("another home"));
    one.publish(&ledger).await.unwrap();
    two.publish(&ledger).await.unwrap();
    assert_ne!(one.is_unread(), two.is_unread(), "one has it, and the other one does not go by it");
}
