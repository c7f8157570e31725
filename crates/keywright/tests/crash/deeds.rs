//! For each failpoint, the deed that reaches it.

use keywright_sandbox::{FaultKind, Widening};

use crate::aftermath::{End, check};
use crate::dying::{Way, die, die_rotating, recover, recover_rotation, start_again};
use crate::house::{Destination, House};
use crate::support::request;

/// What has to be done so that a failpoint is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A key is asked for and made.
    Mint,
    /// A key is made that is not the one that was asked for.
    Undo,
    /// Operators approve.
    Approve,
    /// A key is revoked.
    Revoke,
    /// A key's version is replaced.
    Rotate,
    /// A connection gets another parent credential: `parents`.
    Parent,
    /// People are told that something waits: `notices`.
    Notify,
}

impl Deed {
    /// The deed for a failpoint. A new failpoint has to be added here, with what reaches it.
    pub(crate) fn reaching(point: &str) -> Self {
        match point {
            "approve.given" => Self::Approve,
            "mint.reserved" | "mint.sent" | "mint.answered" | "mint.sealed" | "mint.compared"
            | "mint.probed" | "mint.writing" | "mint.placed" | "mint.verified" | "mint.active" => Self::Mint,
            "mint.undo" => Self::Undo,
            "rotate.switched" | "rotate.telling" | "rotate.told" | "rotate.drained" | "rotate.disabling"
            | "rotate.ending" | "rotate.rotated" => Self::Rotate,
            "parent.reserved" | "parent.answered" | "parent.sealed" | "parent.proved" | "parent.switched"
            | "parent.disabled" | "parent.ended" => Self::Parent,
            "notify.sent" => Self::Notify,
            "revoke.owed" | "revoke.confirmed" => Self::Revoke,
            _ => panic!("no deed reaches the failpoint `{point}`; add one"),
        }
    }
}

/// The name of the key of a scenario.
pub(crate) fn name_of(point: &str) -> String {
    format!("KEY_{}", point.replace('.', "_").to_uppercase())
}

/// Does the deed that reaches `point`, dies there, recovers, and looks at everything.
pub(crate) fn die_and_recover(house: &House, way: Way, point: &str, to: Destination) {
    let name = name_of(point);
    let places = to.places("dev", &name);
    let to_args: Vec<&str> = places.iter().flat_map(|place| ["--to", place.as_str()]).collect();
    let ask = request(&name, "dev", &to_args);
    match Deed::reaching(point) {
        Deed::Mint => {
            die(house, way, point, "pass", &ask);
            let _recovered = recover(house, way, &name);
            check(house, &name, to, End::Active);
            if to == Destination::Both {
                // An operator who asks again, not knowing, gets no second key.
                let again = house.run("pass", &ask).expect(7);
                assert_eq!(again.json()["code"], "conflict", "{}", again.out);
                check(house, &name, to, End::Active);
            }
        }
        Deed::Undo => {
            let wider = FaultKind::WiderGrant { grant: Widening::ExtraGroup };
            house.inject("POST", "/accounts/*/tokens", wider, 1);
            die(house, way, point, "pass", &ask);
            let _recovered = recover(house, way, &name);
            check(house, &name, to, End::Failed);
        }
        Deed::Approve => approve(house, way, point, &name, to),
        Deed::Rotate => {
            house.world.ok(&ask);
            rotate(house, way, point, &name, to);
        }
        // In a house of its own each.
        Deed::Parent | Deed::Notify => {}
        Deed::Revoke => {
            house.world.ok(&ask);
            check(house, &name, to, End::Active);
            die(house, way, point, "pass", &["key", "revoke", &name]);
            let _recovered = recover(house, way, &name);
            check(house, &name, to, End::Revoked);
        }
    }
}

/// Dies while a key is rotated, and ends with its successor.
pub(crate) fn rotate(house: &House, way: Way, point: &str, name: &str, to: Destination) {
    check(house, name, to, End::Active);
    die_rotating(house, way, point, name);
    let _recovered = recover_rotation(house, way, name);
    check(house, name, to, End::Rotated);
    // Told once; or again, as the same news, where it was told and that was not on record yet.
    let told = house.told(name);
    let times = if point == "rotate.telling" { 2 } else { 1 };
    assert_eq!(told.len(), times, "{point}: {told:?}");
    assert!(told.iter().all(|id| id.starts_with("tel_") && *id == told[0]), "{told:?}");
}

/// A production key needs two operators; the process dies after each of them has approved.
fn approve(house: &House, way: Way, point: &str, name: &str, to: Destination) {
    let id = pending(house, name, to);
    die(house, way, point, "pass", &["review", "approve", &id, "--yes"]);
    {
        let _recovered = start_again(house, way);
        let shown = house.world.ok(&["review", "show", &id]);
        assert_eq!(shown["status"], "pending_approval", "one approval is not two: {shown}");
        assert_eq!(shown["approved_by"], serde_json::json!(["alice"]), "and it is not lost");
        house.run("pass", &["review", "approve", &id, "--yes"]).expect(7);
    }
    die(house, way, point, "bobs", &["review", "approve", &id, "--yes"]);
    let _recovered = recover(house, way, name);
    check(house, name, to, End::Active);
}

/// A request for a production key, which waits.
pub(crate) fn pending(house: &House, name: &str, to: Destination) -> String {
    let places = to.places("production", name);
    let to_args: Vec<&str> = places.iter().flat_map(|place| ["--to", place.as_str()]).collect();
    let receipt = house.run("pass", &request(name, "production", &to_args)).expect(4).json();
    receipt["request"].as_str().unwrap().to_owned()
}
