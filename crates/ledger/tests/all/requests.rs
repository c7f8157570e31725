//! Requests and approvals.

use keywright_core::approval::{Approval, quorum};
use keywright_core::id::{ApprovalId, RequestId};
use keywright_core::receipt::Status;
use keywright_core::span::Span;
use keywright_core::template::Tier;
use keywright_ledger::seal::{MasterKey, SlotCost};
use keywright_ledger::{LedgerError, NewRequest, OperatorKeys};

use crate::support::Home;
use crate::things::{add_request, id, plan, request};

#[tokio::test]
async fn an_idempotency_key_is_one_principals_own_and_used_once() {
    let home = Home::new();
    let ledger = home.open();
    let add = |n: u32, agent: &'static str, key: Option<&'static str>| {
        ledger.write(move |tx| {
            let request = request(n, agent, tx.now());
            tx.add_request(&NewRequest { request: &request, idempotency_key: key })
        })
    };
    add(1, "builder", Some("once")).await.unwrap();
    assert!(add(2, "builder", Some("once")).await.is_err());
    add(3, "tester", Some("once")).await.unwrap();
    add(4, "builder", Some("twice")).await.unwrap();
    add(5, "builder", None).await.unwrap();
    add(6, "builder", None).await.unwrap();
    let found = ledger.read(|tx| tx.request_by_idempotency_key("agent", "builder", "once")).await.unwrap();
    assert_eq!(found.unwrap().id, id!(RequestId, 1u32));
    assert!(matches!(
        ledger.read(|tx| tx.request(id!(RequestId, 2u32))).await,
        Err(LedgerError::Missing { .. })
    ));
    assert_eq!(ledger.read(|tx| tx.requests_pending("agent", "builder")).await.unwrap(), 4);
    assert!(add(1, "tester", None).await.is_err(), "an id is never used twice");
}

#[tokio::test]
async fn a_request_reads_back_as_it_was_written() {
    let home = Home::new();
    let ledger = home.open();
    ledger.write(|tx| add_request(tx, 1)).await.unwrap();
    let found = ledger.read(|tx| tx.request(id!(RequestId, 1u32))).await.unwrap();
    assert_eq!(found.plan, plan(1, "builder"));
    assert_eq!(found.plan.digest().unwrap(), found.digest);
    assert_eq!((found.created_at, found.status), (ledger.now(), Status::PendingApproval));
}

#[tokio::test]
async fn a_request_moves_only_from_the_state_that_it_is_in() {
    let home = Home::new();
    let ledger = home.open();
    ledger.write(|tx| add_request(tx, 1)).await.unwrap();
    let move_to = |from, to| {
        let why = ["because".to_owned()];
        ledger.write(move |tx| tx.move_request(id!(RequestId, 1u32), from, to, &why, 7))
    };
    move_to(Status::PendingApproval, Status::InProgress).await.unwrap();
    // A second operator rejects in the same moment.
    let late = move_to(Status::PendingApproval, Status::Rejected).await;
    assert!(matches!(late, Err(LedgerError::Conflict { .. })));
    move_to(Status::InProgress, Status::Active).await.unwrap();
    let found = ledger.read(|tx| tx.request(id!(RequestId, 1u32))).await.unwrap();
    assert_eq!((found.status, found.entry, found.reasons), (Status::Active, 7, vec!["because".to_owned()]));
}

#[tokio::test]
async fn requests_that_waited_too_long_are_found_by_the_ledgers_clock() {
    let home = Home::new();
    let ledger = home.open();
    ledger.write(|tx| add_request(tx, 1)).await.unwrap();
    home.pass(3599);
    assert!(ledger.read(|tx| tx.requests_overdue()).await.unwrap().is_empty());
    home.pass(1);
    assert_eq!(ledger.read(|tx| tx.requests_overdue()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_operator_approves_a_plan_once_and_the_signature_survives_the_ledger() {
    // A clock with more digits than a column has.
    let dir = tempfile::tempdir().unwrap();
    let start = jiff::Timestamp::new(1_790_000_000, 123_456_789).unwrap();
    let clock = std::sync::Arc::new(move || start);
    let location = keywright_ledger::Location::File(dir.path().join("ledger.db"));
    let ledger = keywright_ledger::Ledger::open(&location, clock).unwrap();
    let cheap = SlotCost { memory_kib: 64, passes: 1, lanes: 1 };
    let passphrase = keywright_core::secret::Secret::new("p".to_owned());
    let ada: keywright_core::name::OperatorName = "ada".parse().unwrap();
    let master = MasterKey::generate().unwrap();
    let keys = OperatorKeys::seal(&ada, &passphrase, &master, None, cheap).unwrap();
    let (name, ring) = (ada.clone(), master.keyring([7; 16]));
    ledger.unlock(&ring);
    ledger.write(move |tx| tx.add_operator(&name, &keys, &ring)).await.unwrap();
    let name = ada.clone();
    let slot = ledger.read(move |tx| tx.slot(&name)).await.unwrap();
    let operator = slot.vouched(&master.keyring([7; 16])).unwrap();
    let signing = slot.unlock(&passphrase).unwrap().signing;

    let (request, digest) = (id!(RequestId, 1u32), plan(1, "builder").digest().unwrap());
    let now = ledger.now();
    let approve = |n: u32| {
        let times = (now, Span::from_seconds(3600).after(now));
        Approval::sign(id!(ApprovalId, n), request, ada.clone(), digest, times, &signing)
    };
    let (first, second) = (approve(1), approve(2));
    let added = ledger.write(move |tx| {
        add_request(tx, 1)?;
        tx.add_approval(&first)
    });
    added.await.unwrap();
    let twice = ledger.write(move |tx| tx.add_approval(&second)).await;
    assert!(matches!(twice, Err(LedgerError::Exists { .. })));
    let found = ledger.read(move |tx| tx.approvals(request)).await.unwrap();
    assert_eq!(quorum(&found, request, &digest, now, |one| one.is_signed_by(&operator.public_key)).len(), 1);
}

#[tokio::test]
async fn the_inbox_has_the_riskiest_first_and_goes_on_where_it_stopped() {
    let home = Home::new();
    let ledger = home.open();
    for n in 0..7u32 {
        let written = ledger.write(move |tx| {
            let mut request = request(n, "builder", tx.now());
            // Every third is about production, and every third of the others only plays.
            request.plan.tier = match n % 3 {
                0 => Tier::Production,
                1 => Tier::Standard,
                _ => Tier::Sandbox,
            };
            request.digest = request.plan.digest().unwrap();
            request.created_at = jiff::Timestamp::from_second(1_000 + i64::from(n)).unwrap();
            tx.add_request(&NewRequest { request: &request, idempotency_key: None })
        });
        written.await.unwrap();
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let part = ledger.read(move |tx| tx.requests_inbox(after, 2)).await.unwrap();
        let Some((place, _)) = part.last() else { break };
        after = Some(*place);
        seen.extend(part.iter().map(|(place, request)| (place.risk, request.created_at.as_second() - 1_000)));
    }
    assert_eq!(seen, [(2, 0), (2, 3), (2, 6), (1, 1), (1, 4), (0, 2), (0, 5)]);
}
