//! What a store says when a call of a verb fails: every bad answer to every call, found by watching the verb at work.

use std::time::Duration;

use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Presence, StoreError, VerifyMode, Write, Written};

use super::contract::{Network, StoreCase, VALUE, origin_of};
use super::harm::{self, Harm, Step, harms, in_lanes, only_cold, quotes_nothing, scenes, steps_of};
use super::proxy::{Bad, Kind};

/// What a replacing write leaves.
const NEXT: &str = "Canary_value-next-9876543210+/=:abcdefghijklm";
/// Tells the origin of the second write from the first one's.
const SECOND: u32 = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Check,
    Look,
    Write,
    Replace,
    Verify,
    Remove,
}

const VERBS: [Verb; 6] = [Verb::Check, Verb::Look, Verb::Write, Verb::Replace, Verb::Verify, Verb::Remove];

/// Its number is the one of the place.
type Scene = harm::Scene<Step<Verb>>;

/// What lies at the place before.
struct Before {
    at: Destination,
    present: Presence,
    written: Option<Written>,
}

#[derive(Debug)]
enum Came {
    Nothing,
    Seen(Presence),
    Mode(VerifyMode),
}

impl Before {
    async fn of(verb: Verb, case: &StoreCase, number: u32) -> Self {
        let at = case.destination(number).await;
        if matches!(verb, Verb::Check | Verb::Write) {
            return Self { at, present: Presence::Absent, written: None };
        }
        let written = case.put(&at, number, VALUE, Presence::Absent).await.unwrap();
        let present = case.store.look(&at).await.unwrap();
        Self { at, present, written: Some(written) }
    }

    async fn run(&self, verb: Verb, case: &StoreCase, number: u32) -> Result<Came, StoreError> {
        match verb {
            Verb::Check => case.store.check().await.map(|()| Came::Nothing),
            Verb::Look => case.store.look(&self.at).await.map(Came::Seen),
            Verb::Write => case.put(&self.at, number, VALUE, Presence::Absent).await.map(|_| Came::Nothing),
            Verb::Replace => {
                let put = case.put(&self.at, number + SECOND, NEXT, self.present.clone()).await;
                put.map(|_| Came::Nothing)
            }
            Verb::Verify => {
                let written = self.written.as_ref().unwrap();
                verify(case, &self.at, number, VALUE, written).await.map(Came::Mode)
            }
            Verb::Remove => case.store.remove(&origin_of(number), &self.at).await.map(|()| Came::Nothing),
        }
    }
}

async fn verify(
    case: &StoreCase,
    at: &Destination,
    number: u32,
    value: &str,
    written: &Written,
) -> Result<VerifyMode, StoreError> {
    let (origin, secret) = (origin_of(number), Secret::new(value.to_owned()));
    let write = Write { destination: at, expected: Presence::Absent, origin: &origin, secret: &secret };
    case.store.verify(&write, written).await
}

fn network(case: &StoreCase) -> &Network {
    case.network.as_ref().unwrap()
}

impl Scene {
    async fn play(&self, case: &mut StoreCase) {
        let before = Before::of(self.step.verb, case, self.number).await;
        let proxy = &network(case).proxy;
        proxy.fail_from(self.step.at, self.harm.fault());
        let outcome = before.run(self.step.verb, case, self.number).await;
        assert!(proxy.met() > 0, "{self:?}: the call was sent");
        if self.harm.closes() {
            // This one is closed for a while.
            case.store = (network(case).open)(&network(case).proxy.url);
            case.store.check().await.unwrap();
        }
        if let Err(error) = &outcome {
            quotes_nothing(self, error, case.secrets.iter().map(String::as_str).chain([VALUE, NEXT]));
        }
        if let Harm::Bad(bad) = &self.harm {
            self.judge(case, bad, &before, &outcome).await;
        }
        let is_beside = matches!(self.step.verb, Verb::Replace | Verb::Remove)
            && outcome.is_ok()
            && matches!(&self.harm, Harm::Bad(Bad { kind: Kind::Missing, .. }));
        if !is_beside {
            self.comes_to_the_same_end(case, &before).await;
        }
    }

    async fn judge(&self, case: &StoreCase, bad: &Bad, before: &Before, outcome: &Result<Came, StoreError>) {
        // Who looks is told by the vendor itself that nothing is there.
        let is_told = bad.kind == Kind::Missing && (bad.documented || !network(case).is_ours);
        let stored = (case.read)(before.at.place.place.clone()).await;
        match (self.step.verb, outcome) {
            // As long as something was told, it may leave the rest.
            (Verb::Check, Ok(_)) => assert!(self.step.at > 0 || is_told, "{self:?}: nothing was told"),
            (Verb::Look, Ok(Came::Seen(seen))) => {
                let fits = matches!(seen, Presence::Ours { .. }) || is_told;
                assert!(fits, "{self:?}: {seen:?}");
            }
            (Verb::Write | Verb::Replace, Ok(_)) => {
                let value = if self.step.verb == Verb::Write { VALUE } else { NEXT };
                // Who is told that nothing lies there puts something beside it, where a place has room for two.
                let fits = is_told || stored.is_none_or(|stored| stored == value);
                assert!(fits, "{self:?}: written means there");
                assert_ne!(case.store.look(&before.at).await, Ok(Presence::Absent), "{self:?}");
            }
            (Verb::Verify, Ok(Came::Mode(mode))) => {
                let is_less = *mode != case.store.facts().verify && *mode != VerifyMode::ReadBack;
                assert!(is_less, "{self:?}: {mode:?}, though nothing was seen");
            }
            (Verb::Remove, Ok(_)) => {
                let seen = case.store.look(&before.at).await.unwrap();
                let looked = self.step.at == 0 || self.step.call.starts_with("GET");
                let is_gone = seen == Presence::Absent && stored.is_none();
                // What SSM shows may be old, so that its own word counts there.
                let counts = looked || self.step.call.contains("AmazonSSM");
                assert!(is_gone || (is_told && counts), "{self:?}: removed means gone: {seen:?}");
            }
            (Verb::Write | Verb::Replace, Err(error)) => {
                let value = if self.step.verb == Verb::Write { VALUE } else { NEXT };
                let landed = stored.is_some_and(|stored| stored == value);
                assert!(!landed || error.is_transient(), "{self:?}: it landed, yet {error}");
                assert!(self.fits(case, bad, error), "{self:?}: {error:?}");
            }
            (Verb::Verify, Err(StoreError::Mismatch { .. })) => {
                assert!(is_told, "{self:?}: nothing says that something else lies there");
            }
            (_, Err(error)) => assert!(self.fits(case, bad, error), "{self:?}: {error:?}"),
            (_, Ok(came)) => panic!("{self:?}: {came:?}"),
        }
    }

    /// Through a program nobody sees what came.
    fn fits(&self, case: &StoreCase, bad: &Bad, error: &StoreError) -> bool {
        let is_write = matches!(self.step.verb, Verb::Write | Verb::Replace | Verb::Remove);
        let is_unknown = is_write && matches!(error, StoreError::OutcomeUnknown { .. });
        // A login that is refused in the store's own words is one of a bad credential, whatever the status.
        let is_login = self.step.cold && bad.documented && matches!(error, StoreError::Unauthorized { .. });
        !network(case).is_ours || is_unknown || is_login || fits(bad, error)
    }

    /// The same write again, without the harm, and then its removal.
    async fn comes_to_the_same_end(&self, case: &StoreCase, before: &Before) {
        let (number, value, expected) = match self.step.verb {
            Verb::Check => return,
            Verb::Replace => (self.number + SECOND, NEXT, before.present.clone()),
            _ => (self.number, VALUE, Presence::Absent),
        };
        if matches!(self.step.verb, Verb::Write | Verb::Replace) {
            let mut written = case.put(&before.at, number, value, expected.clone()).await;
            for _ in 0..20 {
                if written.as_ref().is_err_and(StoreError::is_transient) {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    written = case.put(&before.at, number, value, expected.clone()).await;
                }
            }
            let written = written.unwrap_or_else(|error| panic!("{self:?}, then nothing: {error}"));
            let verified = verify(case, &before.at, number, value, &written).await;
            verified.unwrap_or_else(|error| panic!("{self:?}, then nothing: {error}"));
        }
        let removed = case.store.remove(&origin_of(number), &before.at).await;
        removed.unwrap_or_else(|error| panic!("{self:?}, then nothing: {error}"));
        assert_eq!((case.read)(before.at.place.place.clone()).await, None, "{self:?}: it is gone");
        assert_eq!(case.store.look(&before.at).await, Ok(Presence::Absent), "{self:?}: it is gone");
    }
}

/// What a bad answer is told as.
fn fits(bad: &Bad, error: &StoreError) -> bool {
    use StoreError as E;
    match (bad.kind, bad.documented, error) {
        (Kind::TimedOut, _, E::Unavailable { why, .. }) => why.contains("no complete answer within"),
        (Kind::Throttled, _, E::Unavailable { why, .. }) => why.contains("slow down"),
        (Kind::Denied, _, E::Unauthorized { .. }) => true,
        // A part that is said not to be there shows when it is in the way.
        (
            Kind::Missing,
            true,
            E::Missing { .. } | E::Place { .. } | E::Conflict { .. } | E::Refused { .. },
        ) => true,
        // Some vendors hide so what the credential does not reach.
        (Kind::Missing | Kind::Conflict, true, E::Unauthorized { .. }) => true,
        // Somebody else was quicker: for some it is one more try.
        (Kind::Conflict, true, E::Refused { .. } | E::Conflict { .. } | E::Unavailable { .. }) => true,
        (Kind::Missing | Kind::Conflict, false, E::Unavailable { .. }) => true,
        (Kind::Lost | Kind::Failed | Kind::Garbled, _, E::Unavailable { .. }) => true,
        _ => false,
    }
}

/// Every call of every verb, by watching them.
async fn steps(case: &StoreCase) -> Vec<Step<Verb>> {
    // The first time it may have to log in.
    let cold = watch(case, Verb::Check, 98).await;
    let mut all = only_cold(cold, &watch(case, Verb::Check, 99).await);
    for (verb, number) in VERBS.into_iter().zip(100..) {
        all.extend(watch(case, verb, number).await);
    }
    all
}

async fn watch(case: &StoreCase, verb: Verb, number: u32) -> Vec<Step<Verb>> {
    let proxy = &network(case).proxy;
    let before = Before::of(verb, case, number).await;
    proxy.seen();
    before.run(verb, case, number).await.unwrap_or_else(|error| panic!("{verb:?}: {error}"));
    steps_of(verb, proxy.seen())
}

/// Every bad answer to every call of every verb.
pub async fn fails_clearly(make: &impl AsyncFn() -> StoreCase) {
    let case = make().await;
    let steps = steps(&case).await;
    let Network { said, is_ours, .. } = network(&case);
    // A program that is started for each call takes its time: what changes something, and the few, are left.
    let is_wanted =
        |step: &Step<Verb>, harm: &Harm| *is_ours || (!step.call.starts_with("GET") && harm.is_of_few());
    in_lanes(scenes(&steps, &harms(*said, &[400, 403, 500]), is_wanted), async |next| {
        let mut case = make().await;
        case.store.check().await.unwrap();
        while let Some(scene) = next() {
            if scene.step.cold {
                scene.play(&mut make().await).await;
            } else {
                scene.play(&mut case).await;
            }
        }
    })
    .await;
}
