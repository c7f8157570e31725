//! Brokers that were there to hear of programs, and the programs.

use keywright_core::id::{AttemptId, KeyId, VersionId};
use keywright_core::key::{Version, VersionState};
use keywright_ledger::LedgerError;

use crate::support::{Home, INSTANCE};
use crate::things::{begin_saga, id};

const DAY: i64 = 86_400;

#[tokio::test]
async fn a_broker_that_is_gone_for_long_is_forgotten_unless_one_of_its_programs_is_known() {
    let home = Home::new();
    let ledger = home.open();
    ledger.write(|tx| tx.set_instance(&INSTANCE)).await.unwrap();
    let version = Version {
        id: id!(VersionId, 1u32),
        key: id!(KeyId, 1u32),
        attempt: id!(AttemptId, 1u32),
        number: 1,
        provider_key_id: "one".to_owned(),
        expires_at: None,
        state: VersionState::Active,
    };
    let (key, held) = (version.key, version.id);
    let written = ledger.write(move |tx| {
        begin_saga(tx, 1)?;
        tx.add_version(&version, None)?;
        tx.add_hold("program", held, key, None, Some("has-a-program"))?;
        tx.listened("has-a-program", tx.now())?;
        tx.listened("gone", tx.now())
    });
    written.await.map_err(|error: LedgerError| error).unwrap();
    let there = async |broker: &'static str, after: i64| {
        home.pass_here(after);
        ledger.write(move |tx| tx.listened(broker, tx.now())).await.map_err(|e: LedgerError| e).unwrap();
        let all = ledger.read(|tx| tx.listeners()).await.map_err(|e: LedgerError| e).unwrap();
        all.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(there("here", 6 * DAY).await, ["gone", "has-a-program", "here"]);
    assert_eq!(there("here", 2 * DAY).await, ["has-a-program", "here"]);
    let until = ledger.read(|tx| tx.listening("has-a-program")).await.unwrap().unwrap().until;
    assert_eq!(until, ledger.now() - jiff::SignedDuration::from_secs(8 * DAY), "what it heard is as it was");
    ledger.write(|tx| tx.end_hold("program")).await.unwrap();
    assert_eq!(there("here", 1).await, ["here"]);
}
