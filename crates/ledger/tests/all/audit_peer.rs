//! A second reader, in Python and with libsodium, verifies what we publish. Without it the tests say so and pass,
//! except in CI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{Home, flip};

/// Where a peer with its package may be, the project's own first.
fn pythons() -> [PathBuf; 2] {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    [root.join(".peers/venv/bin/python"), PathBuf::from("python3")]
}

fn peer(directory: &Path) -> Option<Output> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/verify_log.py");
    for python in pythons() {
        match Command::new(python).arg(&program).arg(directory).output() {
            Ok(output) if output.status.code() != Some(77) => return Some(output),
            _ => {}
        }
    }
    assert!(std::env::var_os("CI").is_none(), "no peer in CI: Python with `pynacl` is missing");
    eprintln!("SKIPPED, no peer: there is no Python with `pynacl` or `cryptography`");
    None
}

#[tokio::test]
async fn a_peer_verifies_what_we_publish() {
    for sizes in [&[1][..], &[256], &[100, 300, 600], &[255, 257]] {
        let (home, _) = Home::with_log(sizes, sizes[sizes.len() - 1]).await;
        let Some(output) = peer(&home.audit()) else { return };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).unwrap();
        let report = home.verify();
        assert_eq!(
            said.trim(),
            format!("{} {} {}", report.log.unwrap().as_str(), report.covered, report.root)
        );
    }
}

#[tokio::test]
async fn a_peer_refuses_what_we_refuse() {
    let (home, notes) = Home::with_log(&[300, 600], 600).await;
    for (name, at) in [
        ("tile/entries/001", 90),
        ("checkpoint", 50),
        ("checkpoint", 150),
        ("vkey", 70),
        ("tile/1/000.p/2", 9),
    ] {
        flip(&home.file(name), at);
        let Some(output) = peer(&home.audit()) else { return };
        assert!(!output.status.success(), "{name}");
        flip(&home.file(name), at);
    }
    // Signed, but over a tree whose tiles were pruned and replaced.
    fs::write(home.file("checkpoint"), &notes[0]).unwrap();
    flip(&home.file("tile/entries/000"), 90);
    let Some(output) = peer(&home.audit()) else { return };
    assert!(!output.status.success());
}
