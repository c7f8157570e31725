//! Entries: the same entry always has the same bytes, and they fit into a bundle.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use jiff::Timestamp;
use keywright_core::audit::entry::LEAF_MAX;
use keywright_core::audit::record::{PROMPT_MAX, PURPOSE_MAX};
use keywright_core::audit::{
    Decided, Deed, Effect, Entry, EntryError, EntryId, Outcome, Principal, Record, SignatureRecord, Stage,
    Subject, Who, Why,
};
use keywright_core::text::Untrusted;
use proptest::prelude::*;
use serde_json::json;

fn full() -> Record {
    let at: Timestamp = "2027-01-02T03:04:05.678Z".parse().unwrap();
    let mut who = Who::new(Principal::Agent, "claude");
    who.verified.insert("uid".to_owned(), "1000".to_owned());
    who.claimed.insert("client".to_owned(), Untrusted::capped("cli \u{1b}[2J 1.0", 80));
    let mut record = Record::new(at, Deed::KeyMint, Stage::Outcome, who);
    record.subject =
        Subject { key: Some("key_1".to_owned()), project: Some("shop".to_owned()), ..Subject::default() };
    record.why = Why::new("publish the site", Some("please\nput it \"online\""));
    record.decision = Some(Decided {
        effect: Effect::NeedsApprovals,
        approvals_needed: 2,
        approvals_given: 2,
        policies: vec!["production-needs-two".to_owned()],
        reasons: vec!["production".to_owned()],
    });
    record.plan_digest = Some("ab".repeat(32));
    record.result = Some(Outcome::failed("provider", Untrusted::capped("429: slow down", 80)));
    record
        .facts
        .insert("placements".to_owned(), json!([{"store": "vault", "verified": "read-back", "at": "a/b"}]));
    record.signatures.push(SignatureRecord {
        by: "ada".to_owned(),
        method: "ed25519".to_owned(),
        key: "AA==".to_owned(),
        over: "AQ==".to_owned(),
        signature: "Ag==".to_owned(),
        with: [("client_data".to_owned(), "Aw==".to_owned())].into(),
    });
    record
}

fn small() -> Record {
    Record::new(Timestamp::UNIX_EPOCH, Deed::BrokerStart, Stage::Note, Who::new(Principal::System, "broker"))
}

#[test]
fn an_entry_survives_its_bytes() {
    for record in [small(), full()] {
        let entry = Entry::new(42, record);
        let leaf = entry.to_leaf().unwrap();
        let read = Entry::from_leaf(&leaf).unwrap();
        assert_eq!(read, entry);
        assert_eq!(read.to_leaf().unwrap(), leaf);
        assert_eq!((read.index(), read.id().to_string()), (42, "ent_42".to_owned()));
    }
}

#[test]
fn the_bytes_are_fixed_for_all_time() {
    // A change of this text is a change of the form: old logs would no longer verify.
    assert_eq!(
        String::from_utf8(Entry::new(0, small()).to_leaf().unwrap()).unwrap(),
        r#"{"schema":"keywright/entry/1","index":0,"id":"ent_0","at":"1970-01-01T00:00:00Z","deed":"broker.start","stage":"note","who":{"kind":"system","name":"broker"},"subject":{},"why":{}}"#
    );
    let leaf = String::from_utf8(Entry::new(7, full()).to_leaf().unwrap()).unwrap();
    assert_eq!(
        leaf,
        [
            r#"{"schema":"keywright/entry/1","index":7,"id":"ent_7","at":"2027-01-02T03:04:05.678Z","deed":"key.mint","#,
            r#""stage":"outcome","who":{"kind":"agent","name":"claude","verified":{"uid":"1000"},"#,
            r#""claimed":{"client":"cli \u001b[2J 1.0"}},"subject":{"key":"key_1","project":"shop"},"#,
            r#""why":{"purpose":"publish the site","prompt":"please\nput it \"online\""},"#,
            r#""decision":{"effect":"needs-approvals","approvals_needed":2,"approvals_given":2,"#,
            r#""policies":["production-needs-two"],"reasons":["production"]},"#,
            r#""plan_digest":"abababababababababababababababababababababababababababababababab","#,
            r#""result":{"ok":false,"code":"provider","message":"429: slow down"},"#,
            r#""facts":{"placements":[{"at":"a/b","store":"vault","verified":"read-back"}]},"#,
            r#""signatures":[{"by":"ada","method":"ed25519","key":"AA==","over":"AQ==","signature":"Ag==","#,
            r#""with":{"client_data":"Aw=="}}]}"#,
        ]
        .concat()
    );
}

#[test]
fn facts_have_the_same_bytes_in_any_order_of_insertion() {
    let with = |facts: &str| {
        let mut record = small();
        record.facts.insert("x".to_owned(), serde_json::from_str(facts).unwrap());
        Entry::new(1, record).to_leaf().unwrap()
    };
    assert_eq!(
        with(r#"{"b":1,"a":[{"d":null,"c":{"f":1.5,"e":true}}]}"#),
        with(r#"{"a":[{"c":{"e":true,"f":1.5},"d":null}],"b":1}"#)
    );
}

#[test]
fn an_entry_longer_than_a_bundle_can_hold_is_refused() {
    let of_length = |padding: usize| {
        let mut record = small();
        record.facts.insert("pad".to_owned(), json!("x".repeat(padding)));
        Entry::new(1, record).to_leaf()
    };
    let frame = of_length(0).unwrap().len();
    assert_eq!(of_length(LEAF_MAX - frame).unwrap().len(), LEAF_MAX);
    assert!(matches!(of_length(LEAF_MAX - frame + 1), Err(EntryError::TooLong { len: 65_536 })));
    assert!(matches!(Entry::from_leaf(&vec![b' '; LEAF_MAX + 1]), Err(EntryError::TooLong { .. })));
}

#[test]
fn texts_over_their_caps_are_refused_and_the_longest_allowed_fit() {
    let worst = "\u{1}".repeat(10_000);
    let mut record = small();
    record.why = Why::new(&worst, Some(&worst));
    Entry::new(1, record.clone()).to_leaf().unwrap();
    record.why.prompt = Some(Untrusted::capped(&worst, PROMPT_MAX));
    assert!(matches!(
        Entry::new(1, record.clone()).to_leaf(),
        Err(EntryError::FieldTooLong { field: "prompt", max: PROMPT_MAX })
    ));
    record.why = Why { purpose: Some(Untrusted::capped(&worst, PURPOSE_MAX)), prompt: None };
    assert!(matches!(
        Entry::new(1, record).to_leaf(),
        Err(EntryError::FieldTooLong { field: "purpose", max: PURPOSE_MAX })
    ));
}

#[test]
fn an_entry_of_a_newer_version_is_read_if_its_form_is_the_same() {
    let leaf = String::from_utf8(Entry::new(3, small()).to_leaf().unwrap()).unwrap();
    let more = leaf.replace(r#""why":{}"#, r#""why":{"ticket":"T-1"},"weather":"fine""#);
    assert_eq!(Entry::from_leaf(more.as_bytes()).unwrap(), Entry::new(3, small()));
    let other = r#"{"schema":"keywright/entry/2","index":3,"id":"ent_3","what":"else"}"#;
    assert!(matches!(Entry::from_leaf(other.as_bytes()), Err(EntryError::Schema { .. })));
}

#[test]
fn bytes_that_are_no_entry_are_refused() {
    let leaf = String::from_utf8(Entry::new(3, small()).to_leaf().unwrap()).unwrap();
    let lies = leaf.replace("ent_3", "ent_4");
    assert!(matches!(Entry::from_leaf(lies.as_bytes()), Err(EntryError::Id { index: 3, .. })));
    for bad in [
        "",
        "{}",
        "[]",
        &leaf[1..],
        &leaf[..leaf.len() - 1],
        &format!("{leaf}x"),
        &leaf.replace("broker.start", "broker.dance"),
        &leaf.replace("ent_3", "ent_03"),
        &leaf.replace(r#""index":3"#, r#""index":3,"index":3"#),
        &leaf.replace(r#""index":3"#, r#""index":-3"#),
    ] {
        assert!(matches!(Entry::from_leaf(bad.as_bytes()), Err(EntryError::Json(_))), "{bad}");
    }
}

#[test]
fn the_quick_look_at_an_index_agrees_with_the_whole_reading() {
    for index in [0, 1, 9, 10, 12_345, u64::MAX] {
        let leaf = Entry::new(index, full()).to_leaf().unwrap();
        assert_eq!(Entry::index_of(&leaf), Some(index));
        let text = String::from_utf8(leaf).unwrap();
        for bad in [
            text.replace("entry/1", "entry/2"),
            text.replace("\"ent_", "\"ent_0"),
            text.replace("\"index\":", "\"index\":0"),
            text.replace("\"index\":", "\"index\": "),
            text.replace("\"index\":", "\"index\":-"),
            text[..text.len() - 1].to_owned(),
            text[..60.min(text.len())].to_owned(),
            String::new(),
        ] {
            assert_eq!(Entry::index_of(bad.as_bytes()), None, "{bad}");
        }
    }
    let too_large = r#"{"schema":"keywright/entry/1","index":18446744073709551616,"id":"ent_18446744073709551616","at":0}"#;
    assert_eq!(Entry::index_of(too_large.as_bytes()), None);
}

#[test]
fn an_id_has_one_text() {
    assert_eq!("ent_42".parse::<EntryId>().unwrap(), EntryId(42));
    for bad in ["", "ent_", "ent_042", "ent_+4", "ent_-4", "ent_4 ", "key_4", "4", "ent_18446744073709551616"]
    {
        assert!(bad.parse::<EntryId>().is_err(), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_survives(purpose in ".{0,80}", prompt in prop::option::of("(?s).{0,200}"), name in ".{0,40}", key in ".{0,20}") {
        let mut record = small();
        record.why = Why::new(&purpose, prompt.as_deref());
        record.who.name = name;
        record.who.claimed.insert(key.clone(), Untrusted::capped(&purpose, 40));
        record.facts.insert(key, json!({ "text": purpose }));
        let entry = Entry::new(5, record);
        let leaf = entry.to_leaf().unwrap();
        prop_assert_eq!(Entry::index_of(&leaf), Some(5));
        prop_assert_eq!(Entry::from_leaf(&leaf).unwrap(), entry);
    }

    #[test]
    fn no_bytes_make_the_quick_look_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), cut in 0usize..90) {
        let leaf = Entry::new(77, small()).to_leaf().unwrap();
        let mixed = [&leaf[..cut], &bytes].concat();
        let _ = Entry::index_of(&mixed);
        prop_assert!(Entry::from_leaf(&mixed).is_err());
    }
}
