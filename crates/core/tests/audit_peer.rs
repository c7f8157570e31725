//! Another implementation reads what we write, and we read what it signs. It is a Python program beside this file;
//! without Python or its `cryptography` package there is no peer, and the tests say so and pass.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::indexing_slicing, reason = "test helpers")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use keywright_core::audit::proof::LeafNodes;
use keywright_core::audit::tile::{Kind, Tile, bundle};
use keywright_core::audit::{Checkpoint, Frontier, Hash, Origin, VerifierKey};

const SECRET: [u8; 32] = [7; 32];

fn origin() -> Origin {
    Origin::of_instance("home-1").unwrap()
}

fn key() -> VerifierKey {
    VerifierKey::of_signing_key(origin(), &SECRET)
}

/// Runs the peer; nothing where there is none.
fn peer(arguments: &[&str]) -> Option<Output> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/read_log.py");
    let output = Command::new("python3").arg(program).args(arguments).output().ok()?;
    if output.status.code() == Some(77) {
        eprintln!("no peer: python3 has no `cryptography` package");
        return None;
    }
    Some(output)
}

/// Lays out a whole log as files.
fn write_log(name: &str, size: u64) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    let leaf = |n: u64| format!("{{\"entry\":{n}}}").repeat(usize::try_from(n % 4).unwrap()).into_bytes();
    let hash = |n: u64| Hash::of_leaf(&leaf(n));
    let nodes = LeafNodes::new(|first, count| Ok((first..).take(count).map(hash).collect()));
    for tile in Tile::grown(0, size).unwrap() {
        let bytes = match tile.kind() {
            Kind::Entries => {
                bundle(tile.range().map(leaf).collect::<Vec<_>>().iter().map(Vec::as_slice)).unwrap()
            }
            Kind::Hashes { .. } => tile.hashes(&nodes).unwrap(),
        };
        let path = directory.join(tile.to_string());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    fs::create_dir_all(&directory).unwrap();
    let root = (0..size).map(hash).collect::<Frontier>().root();
    let lines = vec!["an extension line".to_owned()];
    let checkpoint = Checkpoint::new(origin(), size, root, lines).unwrap();
    fs::write(directory.join("checkpoint"), checkpoint.sign(&SECRET).unwrap()).unwrap();
    directory
}

#[test]
fn a_peer_verifies_our_files_and_our_signature() {
    for size in [0, 1, 255, 256, 257, 1_000, 65_537] {
        let directory = write_log(&format!("sound-{size}"), size);
        let Some(output) = peer(&[directory.to_str().unwrap(), &key().to_string()]) else { return };
        assert!(output.status.success(), "size {size}: {}", String::from_utf8_lossy(&output.stderr));
        fs::remove_dir_all(directory).unwrap();
    }
}

#[test]
fn a_peer_refuses_what_we_would_refuse() {
    let refused = |directory: &Path, key: &VerifierKey| {
        peer(&[directory.to_str().unwrap(), &key.to_string()]).map(|output| !output.status.success())
    };
    let directory = write_log("foreign", 300);
    let other = VerifierKey::of_signing_key(origin(), &[8; 32]);
    assert_ne!(refused(&directory, &other), Some(false));
    let tile = directory.join("tile/entries/000");
    let mut bytes = fs::read(&tile).unwrap();
    bytes[100] ^= 1;
    fs::write(&tile, bytes).unwrap();
    assert_ne!(refused(&directory, &key()), Some(false));
}

#[test]
fn we_open_a_checkpoint_that_a_peer_signed() {
    let root = Hash::of_leaf(b"root");
    let (seed, root_text) = (hex::encode(SECRET), root.to_string());
    let Some(output) = peer(&["--sign", &seed, origin().as_str(), "77", &root_text]) else { return };
    let printed = String::from_utf8(output.stdout).unwrap();
    let (note, vkey) = printed.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(vkey.parse::<VerifierKey>().unwrap(), key());
    let opened = Checkpoint::open(&format!("{note}\n"), &key()).unwrap();
    assert_eq!((opened.size(), opened.root()), (77, root));
    assert_eq!(opened.sign(&SECRET).unwrap(), format!("{note}\n"), "both sign the same bytes alike");
}
