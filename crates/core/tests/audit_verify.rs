//! Tampering: each record flipped, deleted, reordered, cut off, rewritten; found, and the right entry named.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use std::convert::Infallible;

use jiff::Timestamp;
use keywright_core::audit::{
    Blame, Checkpoint, CheckpointError, Deed, Entry, Expect, Fault, Frontier, Hash, Head, Origin, Principal,
    Record, Row, Stage, Verdict, VerifierKey, Who, verify_log,
};
use proptest::prelude::*;

const SECRET: [u8; 32] = [7; 32];
const SIZE: u64 = 40;

fn key() -> VerifierKey {
    VerifierKey::of_signing_key(Origin::of_instance("home-1").unwrap(), &SECRET)
}

fn leaf(index: u64, says: &str) -> Vec<u8> {
    let who = Who::new(Principal::Operator, says);
    let at = Timestamp::from_second(1_800_000_000 + i64::try_from(index).unwrap()).unwrap();
    Entry::new(index, Record::new(at, Deed::KeyRevoke, Stage::Note, who)).to_leaf().unwrap()
}

fn row(index: u64, says: &str) -> Row<Vec<u8>> {
    let body = leaf(index, says);
    let hash = Hash::of_leaf(&body);
    Row { index, body, stored: Some(hash), published: Some(hash) }
}

fn log(size: u64) -> Vec<Row<Vec<u8>>> {
    (0..size).map(|index| row(index, "ada")).collect()
}

fn sign_with(secret: &[u8; 32], rows: &[Row<Vec<u8>>]) -> String {
    let tree: Frontier = rows.iter().map(|row| Hash::of_leaf(&row.body)).collect();
    let origin = Origin::of_instance("home-1").unwrap();
    Checkpoint::new(origin, tree.size(), tree.root(), Vec::new()).unwrap().sign(secret).unwrap()
}

fn sign(rows: &[Row<Vec<u8>>]) -> String {
    sign_with(&SECRET, rows)
}

/// A log as it was: its checkpoint, and those that somebody kept at smaller sizes.
struct Past {
    key: VerifierKey,
    current: String,
    older: Vec<String>,
}

impl Past {
    fn of(rows: &[Row<Vec<u8>>], older: &[usize]) -> Self {
        Self {
            key: key(),
            current: sign(rows),
            older: older.iter().map(|size| sign(&rows[..*size])).collect(),
        }
    }

    fn verdict(&self, rows: &[Row<Vec<u8>>], tiles: bool) -> Verdict {
        let older: Vec<&str> = self.older.iter().map(String::as_str).collect();
        let tiles = tiles.then(|| rows.iter().filter(|row| row.published.is_some()).count() as u64);
        let expect = Expect { older: &older, tiles, ..Expect::current(&self.key, &self.current) };
        run(rows, &expect)
    }
}

fn run(rows: &[Row<Vec<u8>>], expect: &Expect<'_>) -> Verdict {
    verify_log(rows.iter().cloned().map(Ok::<_, Infallible>), expect).unwrap()
}

/// Puts another text at a place, and makes the hash beside it agree.
fn rewrite(rows: &mut [Row<Vec<u8>>], at: usize) {
    let (index, published) = (rows[at].index, rows[at].published);
    rows[at] = Row { published, ..row(index, "eve") };
}

#[test]
fn a_sound_log_is_sound_with_any_of_its_checkpoints() {
    for size in [0, 1, 2, 3, 31, 32, 33, 300] {
        let rows = log(size);
        let older: Vec<usize> = [0, 1, 2, 32].into_iter().filter(|n| *n <= rows.len()).collect();
        let past = Past::of(&rows, &older);
        for tiles in [false, true] {
            let verdict = past.verdict(&rows, tiles);
            assert_eq!(verdict.faults, [], "size {size}");
            assert_eq!((verdict.entries, verdict.covered, verdict.first_bad()), (size, size, None));
        }
        let decoding = Expect { decode: true, ..Expect::current(&past.key, &past.current) };
        assert!(run(&rows, &decoding).is_sound());
    }
}

#[test]
fn entries_after_the_checkpoint_are_read_and_counted_apart() {
    let rows = log(SIZE);
    let verdict = Past::of(&rows[..30], &[7]).verdict(&rows, false);
    assert_eq!((verdict.is_sound(), verdict.entries, verdict.covered), (true, SIZE, 30));
    let tree: Frontier = rows.iter().map(|row| row.stored.unwrap()).collect();
    assert_eq!(verdict.root, tree.root());
}

#[test]
fn each_flipped_byte_of_each_entry_is_found_and_named() {
    let rows = log(SIZE);
    let past = Past::of(&rows, &[]);
    for at in 0..rows.len() {
        for byte in (0..rows[at].body.len()).step_by(7).chain([rows[at].body.len() - 1]) {
            let mut bad = rows.clone();
            bad[at].body[byte] ^= 1;
            assert_eq!(past.verdict(&bad, false).first_bad(), Some(at as u64));
        }
        let mut bad = rows.clone();
        bad[at].stored = Some(Hash::OF_NOTHING);
        assert_eq!(past.verdict(&bad, false).faults, [Fault::Altered { entry: at as u64 }]);
    }
}

#[test]
fn each_deleted_entry_is_found_and_named() {
    let rows = log(SIZE);
    let past = Past::of(&rows, &[]);
    for at in 0..rows.len() {
        let mut bad = rows.clone();
        bad.remove(at);
        let entry = at as u64;
        let expected = if at + 1 == rows.len() {
            Fault::Truncated { entry, signed: SIZE }
        } else {
            Fault::Missing { entry, instead: entry + 1 }
        };
        assert_eq!(past.verdict(&bad, false).faults, std::slice::from_ref(&expected));
        // A storage that numbers its rows anew hides the gap; the entries still say who they are.
        for (place, row) in bad.iter_mut().enumerate() {
            row.index = place as u64;
        }
        assert_eq!(past.verdict(&bad, false).faults, [expected]);
    }
}

#[test]
fn each_pair_of_swapped_entries_is_found_and_named() {
    let rows = log(SIZE);
    let past = Past::of(&rows, &[]);
    for at in 0..rows.len() - 1 {
        for other in [at + 1, rows.len() - 1] {
            if other == at {
                continue;
            }
            let (entry, instead, position) = (at as u64, other as u64, other as u64);
            let moved = [Fault::Moved { entry, instead, position }];
            let mut bad = rows.clone();
            bad.swap(at, other);
            assert_eq!(past.verdict(&bad, false).faults, moved);
            for (place, row) in bad.iter_mut().enumerate() {
                row.index = place as u64;
            }
            assert_eq!(past.verdict(&bad, false).faults, moved);
            // Only the texts: then the hashes beside them tell.
            let mut bad = rows.clone();
            (bad[at].body, bad[other].body) = (rows[other].body.clone(), rows[at].body.clone());
            assert_eq!(past.verdict(&bad, false).first_bad(), Some(entry));
        }
    }
}

#[test]
fn each_row_that_was_numbered_otherwise_is_found_and_named() {
    let rows = log(SIZE);
    let past = Past::of(&rows, &[]);
    for at in 0..rows.len() {
        for index in [at as u64 + 1, at as u64 + 1_000, u64::MAX] {
            let mut bad = rows.clone();
            bad[at].index = index;
            let verdict = past.verdict(&bad, false);
            assert_eq!(verdict.first_bad(), Some(at as u64), "{verdict:?}");
        }
    }
}

#[test]
fn each_repeated_or_inserted_entry_is_found_and_named() {
    let rows = log(SIZE);
    let past = Past::of(&rows, &[]);
    for at in 1..rows.len() {
        let mut bad = rows.clone();
        bad.insert(at, rows[at - 1].clone());
        assert_eq!(past.verdict(&bad, false).first_bad(), Some(at as u64));
        // An invented entry with a well-formed place, everything after it numbered anew and rewritten.
        let mut bad = rows[..at].to_vec();
        bad.push(row(at as u64, "eve"));
        bad.extend((at as u64 + 1..=SIZE).map(|index| row(index, "ada")));
        let verdict = past.verdict(&bad, false);
        assert!(!verdict.is_sound() && verdict.covered == 0, "{verdict:?}");
    }
}

#[test]
fn each_truncation_is_found_and_the_first_missing_entry_named() {
    let rows = log(SIZE);
    let past = Past::of(&rows, &[10]);
    for size in 0..rows.len() {
        let verdict = past.verdict(&rows[..size], false);
        assert_eq!(verdict.faults, [Fault::Truncated { entry: size as u64, signed: SIZE }]);
        assert_eq!(verdict.covered, if size >= 10 { 10 } else { 0 });
    }
}

#[test]
fn a_log_cut_back_together_with_its_checkpoint_fails_an_older_one() {
    let rows = log(SIZE);
    let past = Past { current: sign(&rows[..20]), ..Past::of(&rows, &[30]) };
    let verdict = past.verdict(&rows[..20], false);
    assert_eq!(verdict.faults, [Fault::Truncated { entry: 20, signed: 30 }]);
}

#[test]
fn entries_cut_off_after_the_checkpoint_show_in_the_tiles() {
    let rows = log(SIZE);
    let past = Past::of(&rows[..20], &[]);
    let expect = Expect { tiles: Some(35), ..Expect::current(&past.key, &past.current) };
    assert_eq!(run(&rows[..30], &expect).faults, [Fault::Truncated { entry: 30, signed: 35 }]);
}

#[test]
fn a_rewrite_with_its_hashes_is_named_by_the_tiles() {
    let rows = log(SIZE);
    let past = Past::of(&rows, &[]);
    for at in 0..rows.len() {
        let mut bad = rows.clone();
        rewrite(&mut bad, at);
        let entry = at as u64;
        let verdict = past.verdict(&bad, true);
        assert!(verdict.faults.contains(&Fault::Differs { entry, blame: Blame::Log }), "{verdict:?}");
        assert_eq!(verdict.first_bad(), Some(entry));
        // Without them, the span is what can be told.
        let verdict = past.verdict(&bad, false);
        assert_eq!(verdict.faults, [Fault::Root { head: Head::Current, since: 0, size: SIZE }]);
        assert_eq!((verdict.first_bad(), verdict.covered), (None, 0));
    }
}

#[test]
fn older_checkpoints_narrow_the_span_of_a_rewrite() {
    let rows = log(SIZE);
    let past = Past::of(&rows, &[30, 10, 20, 21]);
    let mut bad = rows.clone();
    rewrite(&mut bad, 15);
    let verdict = past.verdict(&bad, false);
    assert_eq!(verdict.first(), Some(&Fault::Root { head: Head::Older(2), since: 10, size: 20 }));
    assert_eq!((verdict.covered, verdict.first_bad()), (10, None));
    let mut bad = rows.clone();
    rewrite(&mut bad, 20);
    assert_eq!(past.verdict(&bad, false).first_bad(), Some(20), "only one entry lies between 20 and 21");
}

#[test]
fn a_rewrite_that_was_signed_again_fails_an_older_checkpoint() {
    let rows = log(SIZE);
    let past = Past::of(&rows, &[25]);
    let mut bad = rows.clone();
    rewrite(&mut bad, 12);
    let resigned = Past { current: sign(&bad), ..past };
    let root = Fault::Root { head: Head::Older(0), since: 0, size: 25 };
    assert_eq!(resigned.verdict(&bad, false).faults, std::slice::from_ref(&root));
    assert_eq!(resigned.verdict(&bad, true).faults, [root, Fault::Differs { entry: 12, blame: Blame::Log }]);
    // Whoever did it also changed the tiles, but kept a stored hash: that entry is named.
    for row in &mut bad {
        row.published = Some(Hash::of_leaf(&row.body));
    }
    bad[12].stored = rows[12].stored;
    assert_eq!(resigned.verdict(&bad, true).faults, [Fault::Altered { entry: 12 }]);
}

#[test]
fn a_changed_tile_is_told_from_a_changed_log() {
    let rows = log(SIZE);
    let past = Past::of(&rows, &[10, 20]);
    for at in 0..rows.len() {
        let mut bad = rows.clone();
        bad[at].published = Some(Hash::OF_NOTHING);
        let entry = at as u64;
        assert_eq!(past.verdict(&bad, true).faults, [Fault::Differs { entry, blame: Blame::Tiles }]);
        assert!(past.verdict(&bad, false).is_sound());
    }
    let mut bad = rows.clone();
    rewrite(&mut bad, 5);
    bad[9].published = Some(Hash::OF_NOTHING);
    let verdict = past.verdict(&bad, true);
    assert_eq!(verdict.first(), Some(&Fault::Differs { entry: 5, blame: Blame::Unknown }));
    let verdict = Past::of(&rows[..3], &[]).verdict(&bad, true);
    assert_eq!(verdict.faults, [Fault::Differs { entry: 5, blame: Blame::Unknown }]);
}

#[test]
fn tiles_that_end_before_the_checkpoint_are_found() {
    let whole = log(SIZE);
    let past = Past::of(&whole, &[]);
    let cut_at = |tiles: usize| {
        let mut rows = whole.clone();
        rows[tiles..].iter_mut().for_each(|row| row.published = None);
        rows
    };
    for tiles in 0..whole.len() {
        let entry = tiles as u64;
        assert_eq!(
            past.verdict(&cut_at(tiles), true).faults,
            [Fault::TilesTruncated { entry, signed: SIZE }]
        );
    }
    let past = Past::of(&whole[..25], &[]);
    assert!(past.verdict(&cut_at(25), true).is_sound(), "tiles are written at checkpoints and may lag");
}

#[test]
fn a_fault_late_in_the_log_does_not_hide_an_earlier_span() {
    let rows = log(SIZE);
    let past = Past::of(&rows, &[10]);
    let mut bad = rows.clone();
    rewrite(&mut bad, 3);
    bad[30].body[50] ^= 1;
    let verdict = past.verdict(&bad, false);
    assert_eq!(verdict.first(), Some(&Fault::Root { head: Head::Older(0), since: 0, size: 10 }));
    assert_eq!(verdict.faults.last(), Some(&Fault::Altered { entry: 30 }));
}

#[test]
fn checkpoints_by_other_keys_are_faults_and_the_rest_still_counts() {
    let rows = log(SIZE);
    let foreign = sign_with(&[9; 32], &rows);
    let past = Past { current: foreign, ..Past::of(&rows, &[25]) };
    let verdict = past.verdict(&rows, false);
    let reason = CheckpointError::NotSigned { key: key().to_string() };
    assert_eq!(verdict.faults, [Fault::Checkpoint { head: Head::Current, reason: reason.clone() }]);
    assert_eq!((verdict.covered, verdict.first_bad()), (25, None));
    let mut bad = rows.clone();
    bad[4].body[60] ^= 1;
    assert_eq!(past.verdict(&bad, false).first_bad(), Some(4), "an entry comes before a checkpoint");
    let older = Past { older: vec![sign_with(&[9; 32], &rows[..5])], ..Past::of(&rows, &[]) };
    assert_eq!(older.verdict(&rows, false).faults, [Fault::Checkpoint { head: Head::Older(0), reason }]);
}

#[test]
fn a_log_without_any_checkpoint_is_not_sound() {
    let key = key();
    let expect = Expect { key: &key, current: None, older: &[], claimed: None, tiles: None, decode: false };
    assert_eq!(run(&log(3), &expect).faults, [Fault::NoCheckpoint]);
    assert!(run(&[], &expect).is_sound());
}

#[test]
fn bytes_that_are_no_entry_are_named_even_when_everything_was_signed_so() {
    let mut rows = log(SIZE);
    for (at, body) in [(7, b"not json at all".to_vec()), (9, b"{}".to_vec())] {
        rows[at].stored = Some(Hash::of_leaf(&body));
        rows[at].body = body;
    }
    let verdict = Past::of(&rows, &[]).verdict(&rows, false);
    assert!(matches!(verdict.faults.as_slice(), [Fault::Undecodable { entry: 7, .. }]), "{verdict:?}");
    // Damage in the middle of the JSON shows when entries are decoded.
    let mut rows = log(SIZE);
    let text = String::from_utf8(rows[11].body.clone()).unwrap().replace("\"who\":{", "\"who\":[");
    rows[11] = Row { stored: Some(Hash::of_leaf(text.as_bytes())), body: text.into_bytes(), ..rows[11] };
    let past = Past::of(&rows, &[]);
    let decoding = Expect { decode: true, ..Expect::current(&past.key, &past.current) };
    assert_eq!(run(&rows, &decoding).first_bad(), Some(11));
}

#[test]
fn a_source_that_fails_is_an_error_and_no_verdict() {
    let rows = log(3);
    let past = Past::of(&rows, &[]);
    let failing = rows.into_iter().map(Ok).chain([Err("disk")]);
    assert_eq!(verify_log(failing, &Expect::current(&past.key, &past.current)), Err("disk"));
}

#[test]
fn every_fault_says_where_in_plain_words() {
    let rows = log(SIZE);
    let mut bad = rows.clone();
    bad.remove(6);
    let verdict = Past::of(&rows, &[]).verdict(&bad, false);
    assert_eq!(verdict.first().unwrap().to_string(), "entry 6 is missing; entry 7 stands in its place");
    let verdict = Past::of(&rows, &[]).verdict(&rows[..6], false);
    assert!(verdict.first().unwrap().to_string().contains("entry 6 is missing"), "{verdict:?}");
}

/// One thing that somebody did to a log. With `hash`, the hash beside the entry was made to agree.
#[derive(Debug, Clone)]
enum Tamper {
    Flip { at: usize, byte: usize, bit: u8, hash: bool },
    Remove { at: usize, renumber: bool },
    Swap { at: usize, by: usize, renumber: bool },
    Rewrite { at: usize },
    Truncate { at: usize },
}

fn tamper() -> impl Strategy<Value = Tamper> {
    let at = any::<usize>();
    prop_oneof![
        (at, any::<usize>(), 0u8..8, any::<bool>()).prop_map(|(at, byte, bit, hash)| Tamper::Flip {
            at,
            byte,
            bit,
            hash
        }),
        (at, any::<bool>()).prop_map(|(at, renumber)| Tamper::Remove { at, renumber }),
        (at, 1usize..50, any::<bool>()).prop_map(|(at, by, renumber)| Tamper::Swap { at, by, renumber }),
        at.prop_map(|at| Tamper::Rewrite { at }),
        at.prop_map(|at| Tamper::Truncate { at }),
    ]
}

/// Does it, leaving the tiles as they were. Gives the first entry that is no longer right.
fn apply(rows: &mut Vec<Row<Vec<u8>>>, tamper: &Tamper) -> u64 {
    let published: Vec<_> = rows.iter().map(|row| row.published).collect();
    let size = rows.len();
    let (first, renumber) = match *tamper {
        Tamper::Flip { at, byte, bit, hash } => {
            let row = &mut rows[at % size];
            let byte = byte % row.body.len();
            row.body[byte] ^= 1 << bit;
            if hash {
                row.stored = Some(Hash::of_leaf(&row.body));
            }
            (at % size, false)
        }
        Tamper::Remove { at, renumber } => {
            rows.remove(at % size);
            (at % size, renumber)
        }
        Tamper::Swap { at, by, renumber } => {
            let (one, other) = (at % size, (at % size + 1 + by % (size - 1)) % size);
            rows.swap(one, other);
            (one.min(other), renumber)
        }
        Tamper::Rewrite { at } => {
            rewrite(rows, at % size);
            (at % size, false)
        }
        Tamper::Truncate { at } => {
            rows.truncate(at % size);
            (at % size, false)
        }
    };
    for (place, row) in rows.iter_mut().enumerate() {
        row.published = published[place];
        if renumber {
            row.index = place as u64;
        }
    }
    first as u64
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tampering_is_found_and_with_tiles_its_first_entry_is_named(
        size in 2u64..90,
        tamper in tamper(),
        older in prop::collection::vec(any::<usize>(), 0..3),
    ) {
        let rows = log(size);
        let older: Vec<usize> = older.iter().map(|n| n % rows.len()).collect();
        let past = Past::of(&rows, &older);
        let mut bad = rows.clone();
        let first = apply(&mut bad, &tamper);
        let expect = Expect {
            tiles: Some(size),
            older: &past.older.iter().map(String::as_str).collect::<Vec<_>>(),
            ..Expect::current(&past.key, &past.current)
        };
        let verdict = run(&bad, &expect);
        prop_assert_eq!(verdict.first_bad(), Some(first), "{:?}", verdict);
        let without = past.verdict(&bad, false);
        let span = without.first().and_then(Fault::span);
        prop_assert!(span.clone().is_some_and(|span| span.contains(&first)), "{:?} in {:?}", first, without);
    }
}
