//! What may happen.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// One of the keys that there may be; where each lies is in `house`.
pub(crate) type Slot = usize;

/// How many there are.
pub(crate) const SLOTS: usize = 5;

/// How a rotation ends the version before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    WhenIdle,
    Leaked,
    KeepOld,
}

/// What somebody has the broker do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Ask(Slot),
    /// Every operator approves.
    Approve(Slot),
    Reject(Slot),
    Rotate(Slot, How),
    EndOld(Slot),
    Revoke(Slot),
    Disable(Slot),
    Enable(Slot),
    Reconcile,
    Tick,
}

/// When the broker dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// At the first wait after so many commits.
    Commits(u64),
    /// While it waits for the answer to one of its calls, which took effect or did not.
    Call { nth: u32, took_effect: bool },
}

/// What goes wrong at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    LostAfterwards,
    LostBefore,
    ErrorAfterwards,
    TooMany,
    Down,
    Unauthorized,
    Slow,
    Garbage,
    Lags,
    WorksLater,
    Wider,
}

/// Which of the provider's calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallOf {
    Create,
    List,
    Show,
    Verify,
    Change,
    Delete,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A verb, and the broker lives on.
    Do(Verb),
    /// A verb in which the broker dies.
    Dies(Verb, Moment),
    /// The broker ends between two verbs.
    Restart,
    /// So many seconds pass, and then the broker does what is due.
    Pass(i64),
    /// A program starts: it reads the value and calls.
    Start(Slot),
    /// A program calls with what it read when it started.
    Call(Slot),
    /// Somebody deletes a key at the provider: the newest credential, or the one before it.
    DeleteThere(Slot, bool),
    /// Somebody writes a value of their own where the key lies.
    Overwrite(Slot),
    /// Somebody takes the value away from where the key lies.
    TakeAway(Slot),
    /// A file is put back as it was before its last change.
    PutBack(Slot),
    /// Somebody decides about everything that waits in the store with approvals.
    People(bool),
    /// So many of the provider's calls of one kind go wrong.
    Break(CallOf, Trouble, u32),
    /// Nothing goes wrong any more.
    Heal,
}

fn slot() -> impl Strategy<Value = Slot> {
    // The first ones more often, so that several deeds meet at one key.
    prop_oneof![4 => Just(0usize), 4 => Just(1), 2 => Just(2), 2 => Just(3), 2 => Just(4)]
}

fn verb() -> impl Strategy<Value = Verb> {
    prop_oneof![
        8 => slot().prop_map(Verb::Ask),
        2 => slot().prop_map(Verb::Approve),
        1 => slot().prop_map(Verb::Reject),
        5 => rotation(),
        1 => slot().prop_map(Verb::EndOld),
        2 => slot().prop_map(Verb::Revoke),
        1 => slot().prop_map(Verb::Disable),
        2 => slot().prop_map(Verb::Enable),
        1 => Just(Verb::Reconcile),
        4 => Just(Verb::Tick),
    ]
}

fn moment() -> impl Strategy<Value = Moment> {
    prop_oneof![
        (1u64..24).prop_map(Moment::Commits),
        (0u32..10, any::<bool>()).prop_map(|(nth, took_effect)| Moment::Call { nth, took_effect }),
    ]
}

fn broken() -> impl Strategy<Value = Deed> {
    let call = select(vec![
        CallOf::Create,
        CallOf::Create,
        CallOf::List,
        CallOf::Show,
        CallOf::Verify,
        CallOf::Change,
        CallOf::Delete,
    ]);
    let trouble = select(vec![
        Trouble::LostAfterwards,
        Trouble::LostAfterwards,
        Trouble::LostBefore,
        Trouble::ErrorAfterwards,
        Trouble::TooMany,
        Trouble::Down,
        Trouble::Unauthorized,
        Trouble::Slow,
        Trouble::Garbage,
        Trouble::Lags,
        Trouble::WorksLater,
        Trouble::Wider,
    ]);
    (call, trouble, 1u32..4).prop_map(|(call, trouble, times)| Deed::Break(call, trouble, times))
}

/// One deed.
fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        14 => verb().prop_map(Deed::Do),
        8 => (verb(), moment()).prop_map(|(verb, moment)| Deed::Dies(verb, moment)),
        1 => Just(Deed::Restart),
        6 => select(vec![60, 400, 1_800, 3_700, 90_000, 19 * 86_400]).prop_map(Deed::Pass),
        3 => slot().prop_map(Deed::Start),
        4 => slot().prop_map(Deed::Call),
        1 => (slot(), any::<bool>()).prop_map(|(slot, newest)| Deed::DeleteThere(slot, newest)),
        1 => slot().prop_map(Deed::Overwrite),
        1 => slot().prop_map(Deed::TakeAway),
        1 => slot().prop_map(Deed::PutBack),
        2 => any::<bool>().prop_map(Deed::People),
        5 => broken(),
        1 => Just(Deed::Heal),
    ]
}

fn rotation() -> impl Strategy<Value = Verb> {
    (slot(), select(vec![How::WhenIdle, How::WhenIdle, How::Leaked, How::KeepOld]))
        .prop_map(|(slot, how)| Verb::Rotate(slot, how))
}

/// Deeds that belong together: what comes of a fault or a death is seen by what follows, and most of it at a key that lives.
fn scene() -> impl Strategy<Value = Vec<Deed>> {
    let rotated = (slot(), rotation(), proptest::option::of(moment())).prop_map(|(slot, verb, dies)| {
        let verb = if let Verb::Rotate(_, how) = verb { Verb::Rotate(slot, how) } else { verb };
        let rotated = dies.map_or(Deed::Do(verb), |moment| Deed::Dies(verb, moment));
        vec![
            Deed::Do(Verb::Ask(slot)),
            Deed::Start(slot),
            rotated,
            Deed::Call(slot),
            Deed::Pass(400),
            Deed::Call(slot),
        ]
    });
    let broken = (broken(), prop_oneof![2 => verb(), 1 => rotation()])
        .prop_map(|(broken, verb)| vec![broken, Deed::Do(verb), Deed::Pass(60)]);
    let ended = (slot(), 1u32..4).prop_map(|(slot, times)| {
        let broken = Deed::Break(CallOf::Delete, Trouble::Down, times);
        vec![Deed::Do(Verb::Ask(slot)), broken, Deed::Do(Verb::Revoke(slot)), Deed::Do(Verb::Tick)]
    });
    prop_oneof![10 => deed().prop_map(|deed| vec![deed]), 3 => rotated, 3 => broken, 1 => ended]
}

/// A case.
pub(crate) fn deeds(longest: usize) -> impl Strategy<Value = Vec<Deed>> {
    vec(scene(), 3..longest / 2).prop_map(|scenes| scenes.concat())
}
