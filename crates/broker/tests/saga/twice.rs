//! What was done and not written down is done again, and comes to the same.

use keywright_core::saga::Phase;
use keywright_sandbox::{FaultKind, Widening};

use crate::house::{CREATE, House};

/// The phases on the way forward, with the one before each.
const FORWARD: [(Phase, Phase); 6] = [
    (Phase::Intent, Phase::Sealed),
    (Phase::Sealed, Phase::Compared),
    (Phase::Compared, Phase::Probed),
    (Phase::Probed, Phase::Placed),
    (Phase::Placed, Phase::Verified),
    (Phase::Verified, Phase::Active),
];

fn phase(next: Phase) -> String {
    format!("UPDATE OF phase ON sagas WHEN NEW.phase = '{next}'")
}

#[tokio::test]
async fn every_step_may_be_done_twice() {
    let house = House::new().await;
    for (before, after) in FORWARD {
        let name = format!("KEY_{}", after.as_str().to_uppercase());
        house.refuse(&phase(after));
        house.ask(&house.both(&name)).await;
        assert_eq!(house.phase(&name).await, before, "the step to {after} was done and not written down");
        house.allow_all();
        house.take_up_again().await;
        house.world.settle().await;
        house.assert_ended(&name, "active").await;
        // Only a create whose answer was not kept is followed by another one; it is never sent again.
        let creates = if after == Phase::Sealed { 2 } else { 1 };
        assert_eq!(house.attempts(&name).await.len(), creates, "{after}");
    }
    assert_eq!(house.creates(), FORWARD.len() + 1);
}

#[tokio::test]
async fn giving_up_and_undoing_may_be_done_twice() {
    let house = House::new().await;
    for (left, next) in [(Phase::Sealed, Phase::Undo), (Phase::Undo, Phase::Undone)] {
        let name = format!("KEY_{}", next.as_str().to_uppercase());
        house.inject(CREATE, FaultKind::WiderGrant { grant: Widening::ExtraGroup }, 1);
        house.refuse(&phase(next));
        house.ask(&house.both(&name)).await;
        assert_eq!(house.phase(&name).await, left);
        house.allow_all();
        house.take_up_again().await;
        house.assert_ended(&name, "failed").await;
    }
}

#[tokio::test]
async fn placements_are_taken_back_twice_without_touching_what_somebody_else_wrote() {
    let house = House::new().await;
    let name = "KEY";
    house.refuse("UPDATE OF phase ON sagas WHEN NEW.phase = 'verified'");
    house.ask(&house.both(name)).await;
    assert_eq!(house.phase(name).await, Phase::Placed);
    house.allow_all();
    // The step forgets that it verified, and meanwhile somebody changes the file by hand.
    house.forget_verified(name).await;
    std::fs::write(house.dir.path().join(".env"), format!("{name}='by hand'\n")).unwrap();
    house.refuse("UPDATE OF phase ON sagas WHEN NEW.phase = 'undone'");
    house.take_up_again().await;
    assert_eq!(house.phase(name).await, Phase::Undo, "{:?}", house.saga(name).await.trouble);
    house.allow_all();
    house.take_up_again().await;
    house.assert_ended(name, "failed").await;
    assert_eq!(house.dotenv(), format!("{name}='by hand'\n"));
}

/// Every write of a mint after its reservation, in order. Each is refused once; the next claim gets through.
const WRITES: [(&str, &str); 20] = [
    ("SENT", "UPDATE OF outcome ON attempts WHEN NEW.outcome = 'sent'"),
    ("SEALED_COPY", "INSERT ON sealed_values WHEN NEW.owner LIKE 'attempt:%'"),
    ("CREATED", "UPDATE OF outcome ON attempts WHEN NEW.outcome = 'created'"),
    ("VERSION", "INSERT ON versions"),
    ("PLACEMENT", "INSERT ON placements"),
    ("MINT_NOTE", "INSERT ON audit_entries WHEN NEW.deed = 'key.mint' AND NEW.stage = 'note'"),
    ("SEALED", "UPDATE OF phase ON sagas WHEN NEW.phase = 'sealed'"),
    ("COMPARED", "UPDATE OF phase ON sagas WHEN NEW.phase = 'compared'"),
    ("PROBED", "UPDATE OF phase ON sagas WHEN NEW.phase = 'probed'"),
    ("WRITING", "UPDATE OF state ON placements WHEN NEW.state = 'writing'"),
    ("EMBEDDED_VALUE", "INSERT ON embedded_values"),
    ("WRITTEN", "UPDATE OF state ON placements WHEN NEW.state = 'written'"),
    ("PLACED", "UPDATE OF phase ON sagas WHEN NEW.phase = 'placed'"),
    ("VERIFIED", "UPDATE OF state ON placements WHEN NEW.state = 'verified'"),
    ("VERSION_ACTIVE", "UPDATE OF state ON versions WHEN NEW.state = 'active'"),
    ("KEY_ACTIVE", "UPDATE OF state ON keys WHEN NEW.state = 'active'"),
    ("ERASED", "DELETE ON sealed_values WHEN OLD.owner LIKE 'attempt:%'"),
    ("OUTCOME", "INSERT ON audit_entries WHEN NEW.deed = 'key.mint' AND NEW.stage = 'outcome'"),
    ("REQUEST_ACTIVE", "UPDATE OF status ON requests WHEN NEW.status = 'active'"),
    ("ACTIVE", "UPDATE OF phase ON sagas WHEN NEW.phase = 'active'"),
];

#[tokio::test]
async fn a_ledger_that_refuses_any_one_write_of_a_mint_delays_it_and_leaves_nothing_behind() {
    let house = House::new().await;
    for (name, write) in WRITES {
        house.refuse(write);
        let receipt = house.ask(&house.both(name)).await;
        assert_eq!(receipt.status.as_str(), "in_progress", "{name} was refused");
        house.allow_all();
        house.take_up_again().await;
        house.world.settle().await;
        house.assert_ended(name, "active").await;
    }
}

#[tokio::test]
async fn what_can_not_be_reserved_on_record_is_never_sent() {
    let house = House::new().await;
    for write in [
        "INSERT ON requests",
        "INSERT ON keys",
        "INSERT ON attempts",
        "INSERT ON sagas",
        "INSERT ON audit_entries WHEN NEW.deed = 'request.decide'",
        "INSERT ON audit_entries WHEN NEW.deed = 'key.mint' AND NEW.stage = 'intent'",
    ] {
        house.refuse(write);
        house.world.request(&house.embedded("KEY")).await.unwrap_err();
        house.allow_all();
        house.world.settle().await;
        assert_eq!(house.creates(), 0, "{write}");
    }
    // Once it is reserved, that it is sent has to be on record as well.
    house.refuse("UPDATE OF outcome ON attempts WHEN NEW.outcome = 'sent'");
    house.ask(&house.embedded("UNSENT")).await;
    assert_eq!((house.phase("UNSENT").await, house.creates()), (Phase::Intent, 0));
    house.allow_all();
    house.take_up_again().await;
    house.assert_ended("UNSENT", "active").await;
    // Nothing of what was refused is left that would be in the way.
    house.ask(&house.embedded("KEY")).await;
    house.assert_ended("KEY", "active").await;
}

#[tokio::test]
async fn a_step_that_could_not_be_put_on_record_is_taken_again_in_a_moment_and_not_when_the_lease_has_run_out()
 {
    let house = House::new().await;
    house.refuse("UPDATE OF phase ON sagas WHEN NEW.phase = 'compared'");
    house.ask(&house.embedded("KEY")).await;
    assert_eq!((house.phase("KEY").await, house.creates()), (Phase::Sealed, 1));
    house.allow_all();
    house.pass(3).await;
    house.assert_ended("KEY", "active").await;
    assert_eq!(house.creates(), 1);
}
