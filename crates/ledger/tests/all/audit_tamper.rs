//! Every tampering is detected, and the first bad entry is named.

use std::fs;

use keywright_core::audit::proof::LeafNodes;
use keywright_core::audit::tile::{Kind, Tile, bundle};
use keywright_core::audit::{Checkpoint, Entry, Frontier, Hash, Origin, VerifierKey};
use keywright_ledger::LedgerError;
use keywright_ledger::audit_files::{Finding, Held, Report};

use crate::support::{Home, flip, grow, record};

const SHOT: &str =
    "UPDATE audit_entries SET leaf = CAST(replace(CAST(leaf AS TEXT), 'shop', 'shot') AS BLOB) WHERE number";
const SWAP: &str = "CREATE TEMP TABLE two AS SELECT * FROM audit_entries WHERE number IN (40, 41); \
    UPDATE audit_entries SET leaf = (SELECT leaf FROM two WHERE number = 41), \
      leaf_hash = (SELECT leaf_hash FROM two WHERE number = 41) WHERE number = 40; \
    UPDATE audit_entries SET leaf = (SELECT leaf FROM two WHERE number = 40), \
      leaf_hash = (SELECT leaf_hash FROM two WHERE number = 40) WHERE number = 41";

fn named(report: &Report) -> Option<u64> {
    report.first_bad().map(|id| id.0)
}

#[tokio::test]
async fn tampered_rows_are_detected_and_the_first_is_named() {
    let (home, notes) = Home::with_log(&[100, 300, 600], 610).await;
    assert!(home.verify().is_sound());
    let sound = home.kept();
    let changes: &[(&str, u64)] = &[
        (&format!("{SHOT} = 0"), 0),
        (&format!("{SHOT} IN (7, 255, 599)"), 7),
        (&format!("{SHOT} = 609"), 609),
        ("UPDATE audit_entries SET leaf_hash = zeroblob(32) WHERE number = 256", 256),
        ("UPDATE audit_entries SET leaf_hash = zeroblob(31) WHERE number = 256", 256),
        ("UPDATE audit_entries SET leaf = CAST(leaf AS TEXT), leaf_hash = 'none' WHERE number = 12", 12),
        ("UPDATE audit_entries SET leaf = x'ff', leaf_hash = 1.5 WHERE number = 12", 12),
        ("UPDATE audit_entries SET leaf = 77 WHERE number = 13", 13),
        ("DELETE FROM audit_entries WHERE number = 0", 0),
        ("DELETE FROM audit_entries WHERE number = 555", 555),
        ("DELETE FROM audit_entries WHERE number >= 599", 599),
        ("DELETE FROM audit_entries WHERE number >= 300", 300),
        ("DELETE FROM audit_entries", 0),
        (SWAP, 40),
        ("UPDATE audit_entries SET number = -1 WHERE number = 50", 0),
        ("UPDATE audit_entries SET number = 9999 WHERE number = 3", 3),
        ("UPDATE audit_entries SET key_id = NULL WHERE number = 44", 44),
        ("UPDATE audit_entries SET request = 'req_other' WHERE number = 600", 600),
        ("UPDATE audit_entries SET at = at + 1 WHERE number = 300", 300),
        ("UPDATE audit_entries SET deed = 'key.mint' WHERE number = 300", 300),
        ("UPDATE audit_entries SET stage = 'note' WHERE number = 300", 300),
        (
            "INSERT INTO audit_entries SELECT log, 610, leaf, leaf_hash, deed, stage, at, request, key_id, mac \
          FROM audit_entries WHERE number = 9",
            610,
        ),
        (
            "INSERT INTO audit_entries SELECT log, 700, leaf, leaf_hash, deed, stage, at, request, key_id, mac \
          FROM audit_entries WHERE number = 9",
            610,
        ),
    ];
    for (change, first) in changes {
        // A server's columns hold nothing of another type.
        if home.server.is_some() && ["1.5", "77", "AS TEXT), leaf"].iter().any(|other| change.contains(other))
        {
            continue;
        }
        home.put_back(&sound);
        home.tamper(change);
        for report in [home.verify(), home.verify_with(&notes[1]), home.verify_trusted()] {
            assert!(!report.is_sound(), "{change}");
            assert_eq!(named(&report), Some(*first), "{change}: {:?}", report.findings);
        }
    }
}

#[tokio::test]
async fn an_index_that_leads_past_an_entry_is_found_though_the_schema_says_nothing_of_it() {
    let (home, _) = Home::with_log(&[100, 300], 310).await;
    if home.server.is_some() {
        return;
    }
    // The index is filled under another text than stands in the schema afterwards.
    let file = rusqlite::Connection::open(home.database()).unwrap();
    let text: String = file
        .query_row("SELECT sql FROM sqlite_schema WHERE name = 'audit_by_key'", [], |row| row.get(0))
        .unwrap();
    let without = format!("{text} AND number <> 57");
    assert!(text.contains("WHERE"), "{text}");
    let write = |sql: &str| {
        let file = rusqlite::Connection::open(home.database()).unwrap();
        file.execute_batch("PRAGMA writable_schema = ON").unwrap();
        file.execute("UPDATE sqlite_schema SET sql = ?1 WHERE name = 'audit_by_key'", [sql]).unwrap();
    };
    drop(file);
    write(&without);
    rusqlite::Connection::open(home.database()).unwrap().execute_batch("REINDEX audit_by_key").unwrap();
    write(&text);
    let report = home.verify();
    assert!(!report.is_sound());
    assert!(matches!(&report.findings[..], [Finding::Index { .. }, ..]), "{:?}", report.findings);
}

#[tokio::test]
async fn the_unsigned_tail_is_counted_and_a_forged_entry_is_part_of_it() {
    let (home, _) = Home::with_log(&[300], 300).await;
    forge(&home, 300);
    let report = home.verify();
    // Nobody can tell a well-made entry after the newest checkpoint from a true one, so the tail is counted.
    assert_eq!((report.covered, report.unsigned()), (300, 1));
    // In the middle of what was signed it is found out.
    forge(&home, 301);
    home.tamper("DELETE FROM audit_entries WHERE number = 299");
    forge(&home, 299);
    let report = home.verify();
    assert_eq!(named(&report), Some(299), "{:?}", report.findings);
}

/// Adds a row that is right in itself.
fn forge(home: &Home, number: u64) {
    let leaf = Entry::new(number, record(number + 5_000)).to_leaf().unwrap();
    let request = format!("req_{:032x}", number + 5_000);
    let key = format!("key_{:032x}", (number + 5_000) % 7);
    let at = (1_790_000_000 + i64::try_from(number).unwrap() + 5_000) * 1000;
    let (hash, leaf) = (home.literal(Hash::of_leaf(&leaf).as_bytes()), home.literal(&leaf));
    home.tamper(&format!(
        "INSERT INTO audit_entries VALUES ('main', {number}, {leaf}, {hash}, 'request.decide', 'intent', {at}, \
         '{request}', '{key}', zeroblob(32))"
    ));
}

/// Puts a forged entry in the middle of the ledger, and recomputes whatever can be recomputed.
async fn rewrite(home: &Home, at: u64, with_files: bool, sign_with: Option<&[u8; 32]>) {
    home.tamper(&format!("DELETE FROM audit_entries WHERE number = {at}"));
    forge(home, at);
    let text = if home.server.is_some() { "convert_from(leaf, 'UTF8')" } else { "CAST(leaf AS TEXT)" };
    let leaves = home.values(&format!("SELECT {text} FROM audit_entries ORDER BY number"));
    let leaves: Vec<Vec<u8>> = leaves.into_iter().map(String::into_bytes).collect();
    let hashes: Vec<Hash> = leaves.iter().map(|leaf| Hash::of_leaf(leaf)).collect();
    let size = u64::try_from(leaves.len()).unwrap();
    if with_files {
        let nodes = LeafNodes::new(|first, count| {
            let first = usize::try_from(first).unwrap();
            Ok(hashes[first..first + count].to_vec())
        });
        for tile in Tile::grown(0, size).unwrap() {
            let range =
                usize::try_from(tile.range().start).unwrap()..usize::try_from(tile.range().end).unwrap();
            let bytes = match tile.kind() {
                Kind::Entries => bundle(leaves[range].iter().map(Vec::as_slice)).unwrap(),
                Kind::Hashes { .. } => tile.hashes(&nodes).unwrap(),
            };
            fs::write(home.file(&tile.to_string()), bytes).unwrap();
        }
    }
    let root = hashes.iter().copied().collect::<Frontier>().root();
    // Without the passphrase nobody can tell whether its last line is right.
    let head = format!("keywright/head/1\n{size:020}\n{root}\n{}\n", "0".repeat(64));
    if with_files {
        fs::write(home.file("head"), head).unwrap();
    }
    if let Some(seed) = sign_with {
        let vkey: VerifierKey = fs::read_to_string(home.file("vkey")).unwrap().trim().parse().unwrap();
        let origin: Origin = vkey.origin().clone();
        let note = Checkpoint::new(origin.clone(), size, root, Vec::new()).unwrap().sign(seed).unwrap();
        fs::write(home.file("checkpoint"), &note).unwrap();
        let vkey = VerifierKey::of_signing_key(origin, seed);
        fs::write(home.file("vkey"), format!("{vkey}\n")).unwrap();
        home.tamper(&format!(
            "DELETE FROM checkpoints; INSERT INTO checkpoints VALUES ('main', {size}, '{note}', 0)"
        ));
    }
}

#[tokio::test]
async fn a_rewritten_ledger_is_found_out_by_the_tiles() {
    let (home, _) = Home::with_log(&[100, 600], 600).await;
    rewrite(&home, 123, false, None).await;
    let report = home.verify();
    assert_eq!(named(&report), Some(123), "{:?}", report.findings);
    assert!(report.first().unwrap().to_string().contains("the log was changed"));
}

#[tokio::test]
async fn a_ledger_rewritten_with_its_tiles_is_found_out_by_the_checkpoint() {
    let (home, notes) = Home::with_log(&[100, 600], 600).await;
    rewrite(&home, 123, true, None).await;
    let report = home.verify();
    let root = |held, since| Finding::Root { held, since, size: 600 };
    assert_eq!(report.findings, [root(Held::File, 0)]);
    // An older checkpoint narrows it down.
    assert_eq!(home.verify_with(&notes[0]).findings, [root(Held::File, 100)]);
    fs::remove_file(home.file("checkpoint")).unwrap();
    assert!(home.verify().findings.contains(&root(Held::Ledger, 0)));
}

#[tokio::test]
async fn a_log_rewritten_and_signed_anew_is_found_out_by_an_older_checkpoint_or_the_true_key() {
    let (home, notes) = Home::with_log(&[100, 600], 600).await;
    // The signing key itself was stolen.
    rewrite(&home, 50, true, Some(home.ring.checkpoint_seed())).await;
    assert!(home.verify().is_sound(), "nothing in the home can tell");
    let report = home.verify_with(&notes[0]);
    assert!(matches!(report.first(), Some(Finding::Root { held: Held::Given, since: 0, size: 100 })));
    // Another key, and its `vkey` beside it.
    rewrite(&home, 51, true, Some(&[9; 32])).await;
    assert!(home.verify().is_sound(), "nothing in the home can tell");
    let is_key = |finding: &Finding| matches!(finding, Finding::Key { .. });
    assert!(home.verify_trusted().findings.iter().any(is_key));
    let given = |finding: &Finding| matches!(finding, Finding::Checkpoint { held: Held::Given, .. });
    assert!(home.verify_with(&notes[0]).findings.iter().any(given));
}

#[tokio::test]
async fn a_rollback_of_everything_is_found_out_by_a_kept_checkpoint() {
    let (home, notes) = Home::with_log(&[100, 600], 600).await;
    home.tamper("DELETE FROM audit_entries WHERE number >= 100; DELETE FROM checkpoints WHERE size > 100");
    fs::write(home.file("checkpoint"), &notes[0]).unwrap();
    let report = home.verify();
    assert_eq!(named(&report), Some(100), "the newer tiles are still there: {:?}", report.findings);
    // With its tiles too, the home is in itself as it was.
    fs::remove_dir_all(home.audit()).unwrap();
    home.files().publish(&home.open()).await.unwrap();
    assert!(home.verify().is_sound());
    assert_eq!(named(&home.verify_with(&notes[1])), Some(100));
}

#[tokio::test]
async fn every_changed_file_is_detected() {
    let (home, _) = Home::with_log(&[300, 600], 610).await;
    // File, byte, first bad entry where it can be told.
    let changes: &[(&str, usize, Option<u64>)] = &[
        ("tile/0/000", 32 * 9 + 5, Some(9)),
        ("tile/0/001", 0, Some(256)),
        ("tile/0/002.p/88", 32 * 87, Some(599)),
        ("tile/1/000.p/2", 40, None),
        ("tile/entries/000", 0, Some(0)),
        ("tile/entries/000", 300, Some(0)),
        ("tile/entries/002.p/88", 20, Some(512)),
        ("checkpoint", 12, None),
        ("checkpoint", 48, None),
        ("checkpoint", 60, None),
        ("checkpoint", 170, None),
        ("vkey", 3, None),
        ("vkey", 60, None),
    ];
    for (name, at, first) in changes {
        flip(&home.file(name), *at);
        for report in [home.verify(), home.verify_trusted()] {
            assert!(!report.is_sound(), "{name}");
            assert_eq!(named(&report), *first, "{name}: {:?}", report.findings);
        }
        flip(&home.file(name), *at);
        assert!(home.verify().is_sound());
    }
    for name in ["tile/0/000", "tile/0/002.p/88", "tile/1/000.p/2", "tile/entries/001", "checkpoint", "vkey"]
    {
        let bytes = fs::read(home.file(name)).unwrap();
        for length in [0, 1, bytes.len() - 1] {
            fs::write(home.file(name), &bytes[..length]).unwrap();
            // The last byte of two of the files is only the line's end.
            let is_same = length + 1 == bytes.len() && name == "vkey";
            assert_eq!(home.verify().is_sound(), is_same, "{name} cut to {length}");
        }
        fs::write(home.file(name), [bytes.as_slice(), b"more"].concat()).unwrap();
        assert!(!home.verify().is_sound(), "{name} with more behind it");
        fs::remove_file(home.file(name)).unwrap();
        assert!(!home.verify().is_sound(), "no {name}");
        fs::write(home.file(name), &bytes).unwrap();
    }
    assert!(home.verify().is_sound());
}

#[tokio::test]
async fn no_byte_of_a_tile_can_change_unnoticed() {
    let (home, _) = Home::with_log(&[260], 260).await;
    for name in ["tile/0/000", "tile/0/001.p/4", "tile/1/000.p/1", "tile/entries/001.p/4"] {
        let length = fs::read(home.file(name)).unwrap().len();
        for at in (0..length).step_by(length.div_ceil(40)) {
            flip(&home.file(name), at);
            assert!(!home.verify().is_sound(), "{name} at {at}");
            flip(&home.file(name), at);
        }
    }
}

#[tokio::test]
async fn verifying_works_while_a_broker_is_writing_and_changes_nothing() {
    let (home, _) = Home::with_log(&[10], 10).await;
    let ledger = home.open();
    let files = home.files();
    for step in 1..=10 {
        grow(&ledger, 10 + step * 30).await;
        let report = home.verify();
        assert!(report.is_sound(), "{:?}", report.findings);
        assert_eq!(report.unsigned(), 30);
        files.publish(&ledger).await.unwrap();
        assert_eq!(home.verify().unsigned(), 0);
    }
    // An open transaction of the broker does not keep it waiting.
    let adding = ledger.write(move |tx| {
        tx.audit(record(310))?;
        Ok::<_, LedgerError>((home.verify(), home))
    });
    let (report, _home) = adding.await.unwrap();
    assert!(report.is_sound());
}

#[tokio::test]
async fn a_log_without_entries_is_not_sound_while_the_ledger_holds_what_was_recorded() {
    let (home, _) = Home::with_log(&[], 0).await;
    home.files().publish(&home.open()).await.unwrap();
    assert!(home.verify().is_sound(), "nothing was done here yet");
    let ring = keywright_ledger::seal::MasterKey::generate().unwrap().keyring(crate::support::INSTANCE);
    let ledger = home.open();
    let added = ledger.write(move |tx| {
        tx.add_agent(&"bot".parse().unwrap(), &[1; 32], &"ada".parse().unwrap(), &ring)?;
        tx.audit(record(0))
    });
    added.await.unwrap_or_else(|error: LedgerError| panic!("{error}"));
    home.files().publish(&ledger).await.unwrap();
    assert!(home.verify().is_sound());
    home.tamper("DELETE FROM audit_entries; DELETE FROM checkpoints");
    fs::remove_file(home.file("checkpoint")).unwrap();
    fs::remove_file(home.file("head")).unwrap();
    fs::remove_dir_all(home.file("tile")).unwrap();
    let report = home.verify();
    let [Finding::Emptied { what }] = report.findings.as_slice() else { panic!("{:?}", report.findings) };
    assert_eq!(what, "rows in `agents` (1)");
    assert!(!report.is_sound() && report.first_bad().is_none());
}
