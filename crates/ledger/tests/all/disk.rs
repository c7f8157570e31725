//! A disk that fills up. Deeds are refused, nothing is half done, and it goes on when there is room.
//!
//! The disks are real: a small file system of its own where the system lets us mount one (Linux), and the shell's
//! limit on a file's size everywhere. Both need a process of their own, which is this test binary again.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use jiff::Timestamp;
use keywright_core::id::SealedId;
use keywright_core::secret::Secret;
use keywright_ledger::seal::MasterKey;
use keywright_ledger::{Ledger, LedgerError, Location};

use crate::support::record;
use crate::things::id;

const DIR: &str = "KEYWRIGHT_TEST_DISK";

fn open(dir: &Path) -> Ledger {
    let ledger = Ledger::open(&Location::File(dir.join("ledger.db")), Arc::new(Timestamp::now)).unwrap();
    ledger.unlock(&MasterKey::generate().unwrap().keyring([0; 16]));
    ledger
}

/// Runs one of the ignored tests below under a shell that prepares the disk.
fn run(child: &str, dir: &Path, shell: &[&str], prepare: &str) -> Output {
    let (program, arguments) = shell.split_first().unwrap();
    let script = format!("{prepare}\nexec \"$0\" --exact disk::{child} --ignored --nocapture");
    Command::new(program)
        .args(arguments)
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(DIR, dir)
        .output()
        .unwrap()
}

fn dir() -> PathBuf {
    PathBuf::from(std::env::var_os(DIR).unwrap())
}

/// How many entries were acknowledged, as a child says in its last words.
fn acknowledged(output: &Output) -> u64 {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    let said = text.split("acknowledged=").nth(1).and_then(|rest| rest.split_whitespace().next());
    said.unwrap_or_else(|| panic!("{text}{errors}")).parse().unwrap()
}

#[tokio::test]
async fn a_deed_that_does_not_fit_under_the_file_size_limit_is_refused() {
    let home = tempfile::tempdir().unwrap();
    drop(open(home.path()));
    // Ignored, the signal becomes an error of the write. The unit is 512 or 1,024 bytes.
    let output = run("write_until_refused", home.path(), &["sh"], "trap '' XFSZ; ulimit -f 1200");
    let acknowledged = acknowledged(&output);
    assert!(acknowledged > 0);
    let ledger = open(home.path());
    assert_eq!(ledger.read(|tx| tx.audit_size()).await.unwrap(), acknowledged, "no more and no less");
    assert_eq!(ledger.write(|tx| tx.audit(record(0))).await.unwrap(), acknowledged, "with room it goes on");
}

#[tokio::test]
#[ignore = "runs under a limit, as the child of another test"]
async fn write_until_refused() {
    let ledger = open(&dir());
    let mut number = 0;
    let error = loop {
        match ledger.write(move |tx| tx.audit(record(number))).await {
            Ok(place) => assert_eq!(place, number),
            Err(error) => break error,
        }
        number += 1;
        assert!(number < 100_000, "there is no limit");
    };
    assert!(matches!(error, LedgerError::DiskFull | LedgerError::Io(_)), "{error:?}");
    let again = ledger.write(move |tx| tx.audit(record(number))).await;
    assert!(matches!(again, Err(LedgerError::DiskFull | LedgerError::Io(_))), "{again:?}");
    println!("acknowledged={number}");
}

#[tokio::test]
async fn a_deed_on_a_full_disk_is_refused_and_the_ledger_goes_on_when_there_is_room() {
    let mount = tempfile::tempdir().unwrap();
    let prepare = "mount -t tmpfs -o size=2m none \"$KEYWRIGHT_TEST_DISK\" || exit 77";
    let can = Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success());
    let output = can.then(|| run("fill_the_disk", mount.path(), &["unshare", "-rm", "sh"], prepare));
    let Some(output) = output.filter(|output| output.status.code() != Some(77)) else {
        eprintln!("SKIPPED: this system lets nobody mount a small disk");
        return;
    };
    assert!(acknowledged(&output) > 0);
}

#[tokio::test]
#[ignore = "runs on a small disk, as the child of another test"]
async fn fill_the_disk() {
    let ledger = Arc::new(open(&dir()));
    ledger.write(|tx| tx.audit(record(0))).await.unwrap();
    let ballast = dir().join("ballast");
    let mut size = 1;
    for _ in 0..5 {
        fill(&ballast);
        // What is left of pages that are there already may still take a few entries.
        let refused = loop {
            let (done, refused) = eight_deeds(&ledger).await;
            size += done;
            if !refused.is_empty() {
                break refused;
            }
        };
        // Those that shared the commit did nothing wrong; they are told the same reason.
        assert!(refused.iter().all(|error| matches!(error, LedgerError::DiskFull)), "{refused:?}");
        assert_eq!(ledger.read(|tx| tx.audit_size()).await.unwrap(), size, "nothing is half done");
        fs::remove_file(&ballast).unwrap();
        assert_eq!(
            ledger.write(move |tx| tx.audit(record(size))).await.unwrap(),
            size,
            "with room it goes on"
        );
        size += 1;
    }
    size += one_that_is_too_large(&ledger).await;
    drop(ledger);
    assert_eq!(open(&dir()).read(|tx| tx.audit_size()).await.unwrap(), size);
    println!("acknowledged={size}");
}

/// A deed that does not fit even while it runs, among others. Says how many of the others were done.
async fn one_that_is_too_large(ledger: &Arc<Ledger>) -> u64 {
    let ring = MasterKey::generate().unwrap().keyring([1; 16]);
    let sealed = ring.seal("large", &Secret::new("x".repeat(9_000_000))).unwrap();
    let large = tokio::spawn({
        let ledger = Arc::clone(ledger);
        async move { ledger.write(move |tx| tx.put_sealed(id!(SealedId, 1u32), "large", &sealed)).await }
    });
    let (done, refused) = eight_deeds(ledger).await;
    let large = large.await.unwrap();
    assert!(matches!(large, Err(LedgerError::DiskFull)), "{large:?}");
    let is_told = |error: &LedgerError| matches!(error, LedgerError::DiskFull | LedgerError::Undone);
    assert!(refused.iter().all(is_told), "{refused:?}");
    assert!(ledger.read(|tx| tx.sealed_of("large")).await.unwrap().is_none());
    done
}

fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
}

/// How many of eight deeds at a time were done, and why the others were not.
async fn eight_deeds(ledger: &Arc<Ledger>) -> (u64, Vec<LedgerError>) {
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let ledger = Arc::clone(ledger);
            tokio::spawn(async move { ledger.write(move |tx| tx.audit(record(n))).await })
        })
        .collect();
    let (mut done, mut refused) = (0, Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => done += 1,
            Err(error) => refused.push(error),
        }
    }
    (done, refused)
}
