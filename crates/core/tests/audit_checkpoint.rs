//! Checkpoints: only the log's own key makes one, and others' tools agree with us.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use base64::Engine as _;
use keywright_core::audit::{Checkpoint, CheckpointError, Hash, Origin, VerifierKey};

const SECRET: [u8; 32] = [7; 32];

fn origin() -> Origin {
    Origin::of_instance("home-1").unwrap()
}

fn key() -> VerifierKey {
    VerifierKey::of_signing_key(origin(), &SECRET)
}

fn checkpoint(size: u64) -> Checkpoint {
    Checkpoint::new(origin(), size, Hash::of_leaf(&size.to_be_bytes()), Vec::new()).unwrap()
}

#[test]
fn a_signed_checkpoint_has_the_form_of_the_specification_and_opens() {
    let made = checkpoint(42);
    let text = made.sign(&SECRET).unwrap();
    let lines: Vec<&str> = text.split('\n').collect();
    assert_eq!((lines.len(), lines[0], lines[1], lines[3]), (6, "keywright/home-1", "42", ""));
    assert!(lines[4].starts_with("— keywright/home-1 ") && lines[5].is_empty(), "{text}");
    assert_eq!(Checkpoint::open(&text, &key()).unwrap(), made);
    assert_eq!(made.sign(&SECRET).unwrap(), text, "Ed25519 signatures are deterministic");
}

#[test]
fn extension_lines_are_signed_and_come_back() {
    let lines = vec!["time 2027-01-01T00:00:00Z".to_owned(), "epoch 3".to_owned()];
    let made = Checkpoint::new(origin(), 0, Hash::OF_NOTHING, lines.clone()).unwrap();
    let text = made.sign(&SECRET).unwrap();
    assert_eq!(Checkpoint::open(&text, &key()).unwrap().extensions(), lines);
    let forged = text.replace("epoch 3", "epoch 2");
    assert!(matches!(Checkpoint::open(&forged, &key()), Err(CheckpointError::Signature { .. })));
    for bad in ["", "two\nlines", "a\ttab"] {
        let refused = Checkpoint::new(origin(), 0, Hash::OF_NOTHING, vec![bad.to_owned()]);
        assert_eq!(refused.unwrap_err(), CheckpointError::Extension { number: 1 });
    }
}

#[test]
fn a_checkpoint_signed_by_another_key_is_refused() {
    let text = checkpoint(42).sign(&[8; 32]).unwrap();
    assert_eq!(Checkpoint::open(&text, &key()), Err(CheckpointError::NotSigned { key: key().to_string() }));
}

#[test]
fn a_checkpoint_that_borrows_our_keys_name_and_id_is_refused() {
    let ours = checkpoint(42).sign(&SECRET).unwrap();
    let theirs = checkpoint(42).sign(&[8; 32]).unwrap();
    let signature = |text: &str| {
        let line = text.lines().last().unwrap().rsplit(' ').next().unwrap().to_owned();
        base64::engine::general_purpose::STANDARD.decode(line).unwrap()
    };
    let mixed = [&signature(&ours)[..4], &signature(&theirs)[4..]].concat();
    let mixed = base64::engine::general_purpose::STANDARD.encode(mixed);
    let forged = ours.replace(ours.lines().last().unwrap(), &format!("— keywright/home-1 {mixed}"));
    assert_eq!(Checkpoint::open(&forged, &key()), Err(CheckpointError::Signature { key: key().to_string() }));
}

#[test]
fn a_checkpoint_of_another_log_under_our_key_is_refused() {
    // The note is signed under our key's name but its first line names another log.
    let other = Origin::of_instance("home-2").unwrap();
    let text =
        format!("{}\n5\n{}\n", other.as_str(), base64::engine::general_purpose::STANDARD.encode([1; 32]));
    let forged = sign_by_hand(&text);
    assert!(matches!(Checkpoint::open(&forged, &key()), Err(CheckpointError::OtherLog { .. })));
    let other_key = VerifierKey::of_signing_key(other, &SECRET);
    let named_apart = checkpoint(5).sign(&SECRET).unwrap();
    assert!(matches!(Checkpoint::open(&named_apart, &other_key), Err(CheckpointError::NotSigned { .. })));
}

#[test]
fn witnesses_may_add_signatures_and_order_does_not_matter() {
    let text = checkpoint(9).sign(&SECRET).unwrap();
    let witness = "— witness.example/w1 AAAAAQIDBAUGBwg=\n";
    let (body, ours) = text.split_once("\n\n").unwrap();
    for signatures in [format!("{ours}{witness}"), format!("{witness}{ours}")] {
        let text = format!("{body}\n\n{signatures}");
        assert_eq!(Checkpoint::open(&text, &key()).unwrap(), checkpoint(9));
    }
}

#[test]
fn no_changed_byte_survives() {
    let text = checkpoint(1_234).sign(&SECRET).unwrap();
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            assert!(Checkpoint::open(&changed, &key()).is_err(), "bit {bit} of byte {at}: {changed}");
        }
        if text.is_char_boundary(at) {
            assert!(Checkpoint::open(&text[..at], &key()).is_err(), "cut at {at}");
        }
    }
}

#[test]
fn well_signed_nonsense_is_malformed() {
    let root = base64::engine::general_purpose::STANDARD.encode([1; 32]);
    for text in [
        format!("keywright/home-1\n05\n{root}\n"),
        format!("keywright/home-1\n-5\n{root}\n"),
        format!("keywright/home-1\n18446744073709551615\n{root}\n"),
        "keywright/home-1\n5\nAAAA\n".to_owned(),
        format!("keywright/home-1\n{root}\n5\n"),
        format!("keywright/home-1\n5\n{root}\n\nlate\n"),
        "keywright/home-1\n".to_owned(),
    ] {
        let opened = Checkpoint::open(&sign_by_hand(&text), &key());
        assert!(matches!(opened, Err(CheckpointError::Malformed { .. })), "{text}: {opened:?}");
    }
    let endless = format!("{}{}", checkpoint(1).sign(&SECRET).unwrap(), "x".repeat(100_000));
    assert!(matches!(Checkpoint::open(&endless, &key()), Err(CheckpointError::Malformed { .. })));
}

#[test]
fn a_verifier_key_survives_its_text() {
    let text = key().to_string();
    assert_eq!(text.parse::<VerifierKey>().unwrap(), key());
    assert_eq!(VerifierKey::from_bytes(origin(), &key().to_bytes()).unwrap(), key());
    for bad in [
        "",
        "keywright/home-1",
        "keywright/home-1+00000000+AQ==",
        &text.replace("home-1", "home-2"),
        &text[1..],
    ] {
        assert!(matches!(bad.parse::<VerifierKey>(), Err(CheckpointError::Key { .. })), "{bad}");
    }
    // The key of the example in Go's sumdb/note documentation: the same id is computed there.
    let go = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    assert_eq!(go.parse::<VerifierKey>().unwrap().to_string(), go);
}

#[test]
fn an_origin_can_name_a_key() {
    assert_eq!(origin().as_str(), "keywright/home-1");
    for bad in ["", "a b", "a+b", "a/b", "ü", "a\nb", &"a".repeat(65)] {
        assert!(Origin::of_instance(bad).is_err(), "{bad}");
    }
    assert!(Origin::parse("example.com/log").is_ok());
    for bad in ["", "a b", "a+b", "a\nb", "a\u{7f}b", "a\u{2003}b"] {
        assert!(Origin::parse(bad).is_err(), "{bad}");
    }
}

/// Signs any text as our log's key would, with the libraries alone.
fn sign_by_hand(text: &str) -> String {
    use ed25519_dalek::Signer as _;
    let signer = ed25519_dalek::SigningKey::from_bytes(&SECRET);
    let public = [&[1], signer.verifying_key().as_bytes().as_slice()].concat();
    let id = signed_note::key_id("keywright/home-1", &public);
    let signature = [id.to_be_bytes().as_slice(), &signer.sign(text.as_bytes()).to_bytes()].concat();
    let signature = base64::engine::general_purpose::STANDARD.encode(signature);
    format!("{text}\n— keywright/home-1 {signature}\n")
}
