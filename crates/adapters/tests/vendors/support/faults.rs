//! What a provider says when a call of a verb fails: every bad answer to every call, found by watching the verb at work.

use keywright_core::grant::ObservedGrant;
use keywright_core::provider::{Listing, Minted, ProviderError};

use super::contract::{ProviderCase, marker};
use super::harm::{self, Harm, harms, in_lanes, only_cold, quotes_nothing, scenes, steps_of};
use super::proxy::{Bad, Kind, RETRY_AFTER, Seen};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Check,
    Resolve,
    Mint,
    List,
    ReadBack,
    Probe,
    LastUsed,
    Usage,
    Disable,
    Enable,
    Revoke,
    EndItself,
}

const VERBS: [Verb; 12] = [
    Verb::Check,
    Verb::Resolve,
    Verb::Mint,
    Verb::List,
    Verb::ReadBack,
    Verb::Probe,
    Verb::LastUsed,
    Verb::Usage,
    Verb::Disable,
    Verb::Enable,
    Verb::Revoke,
    Verb::EndItself,
];

type Step = harm::Step<Verb>;
/// Its number is the one of the marker.
type Scene = harm::Scene<Step>;

impl Verb {
    fn needs_key(self) -> bool {
        !matches!(self, Self::Check | Self::Resolve | Self::Mint | Self::List)
    }

    /// `None` where the provider does not have it.
    async fn run(
        self,
        case: &ProviderCase,
        key: Option<&Minted>,
        number: u32,
    ) -> Option<Result<Option<ObservedGrant>, ProviderError>> {
        let provider = case.provider.as_ref();
        let id = key.map(|key| key.provider_key_id.as_str()).unwrap_or_default();
        let outcome = match self {
            Self::Check => provider.check().await.map(drop),
            Self::Resolve => provider.resolve(case.resolve.0, &case.resolve.1).await.map(drop),
            Self::Mint => case.mint(number).await.1.map(drop),
            Self::List => provider.list(Listing::Marked).await.map(drop),
            Self::ReadBack => return told(provider.read_back(id).await.map(Some)),
            Self::Probe => provider.probe(&key?.secret, id).await,
            Self::LastUsed => provider.last_used()?.last_used(id).await.map(drop),
            Self::Usage => provider.metered()?.usage(id).await.map(drop),
            Self::Disable => provider.disabling()?.disable(id).await,
            Self::Enable => provider.disabling()?.enable(id).await,
            Self::Revoke => provider.revoke(id).await.map(drop),
            Self::EndItself => provider.ending_itself()?.end(&key?.secret).await,
        };
        told(outcome.map(|()| None))
    }
}

/// `None` for what the provider does not have.
fn told<T>(outcome: Result<T, ProviderError>) -> Option<Result<T, ProviderError>> {
    match outcome {
        Err(ProviderError::Unsupported { .. }) => None,
        outcome => Some(outcome),
    }
}

impl Scene {
    /// The key that the verb is about.
    async fn prepare(verb: Verb, case: &ProviderCase, number: u32) -> Option<Minted> {
        if !verb.needs_key() {
            return None;
        }
        let minted = case.mint(number).await.1.unwrap();
        assert_eq!(case.live(number).await, 1);
        if verb == Verb::Enable
            && let Some(switch) = case.provider.disabling()
        {
            switch.disable(&minted.provider_key_id).await.unwrap();
        }
        Some(minted)
    }

    async fn play(&self, case: &ProviderCase) {
        let key = Self::prepare(self.step.verb, case, self.number).await;
        case.proxy.seen();
        case.proxy.fail_from(self.step.at, self.harm.fault());
        let outcome = self.step.verb.run(case, key.as_ref(), self.number).await;
        assert!(case.proxy.met() > 0, "{self:?}: the call was sent");
        let outcome = outcome.unwrap_or_else(|| panic!("{self:?}: it is not unsupported, it failed"));
        if let Err(error) = &outcome {
            let own = key.as_ref().map(|key| key.secret.expose_secret());
            quotes_nothing(self, error, case.secrets.iter().map(String::as_str).chain(own));
        }
        if self.step.creates {
            let sent = case.proxy.seen().iter().filter(|call| call.is(case.create.0, case.create.1)).count();
            assert_eq!(sent, 1, "{self:?}: sent once");
        }
        if let Harm::Bad(bad) = &self.harm {
            self.judge(case, bad, key.as_ref(), &outcome).await;
        }
        if !self.harm.closes() {
            clean(case, self.number, key.as_ref()).await;
        }
    }

    async fn judge(
        &self,
        case: &ProviderCase,
        bad: &Bad,
        key: Option<&Minted>,
        outcome: &Result<Option<ObservedGrant>, ProviderError>,
    ) {
        let live = if self.step.verb == Verb::Mint { case.live(self.number).await } else { 0 };
        match (self.step.verb, outcome) {
            (Verb::Mint, Err(error)) if self.step.creates => {
                let is_unknown = matches!(error, ProviderError::OutcomeUnknown { .. });
                // What was made for the key may still be there.
                assert!(create_fits(bad, error) || (is_unknown && live > 0), "{self:?}: {error:?}");
                assert!(is_unknown || live == 0, "{self:?}: it exists, yet {error}");
            }
            (Verb::Mint, Err(error)) => {
                let is_unknown = matches!(error, ProviderError::OutcomeUnknown { .. });
                assert!(is_unknown || live == 0, "{self:?}: it exists, yet {error}");
                assert!(is_unknown || fits(bad, error), "{self:?}: {error:?}");
            }
            (Verb::Mint, Ok(_)) => assert!(!self.step.creates && live == 1, "{self:?}: a key came out"),
            // A part that is not there, in the vendor's own words, is read as that, and shows.
            (Verb::ReadBack, Ok(Some(observed))) if bad.kind == Kind::Missing && bad.documented => {
                let id = key.unwrap().provider_key_id.as_str();
                assert_ne!(*observed, case.provider.read_back(id).await.unwrap(), "{self:?}");
            }
            (Verb::Revoke | Verb::EndItself, Ok(_)) => {
                // Whoever knows no such key, in the vendor's own words, is believed.
                let is_told = bad.kind == Kind::Missing && bad.documented;
                assert!(is_told || case.live(self.number).await == 0, "{self:?}: revoked means gone");
            }
            // What is said to be gone and is not shows when it is in the way.
            (Verb::Revoke, Err(ProviderError::Refused { .. }))
                if bad.kind == Kind::Missing && bad.documented => {}
            (_, Ok(_)) if case.believed.iter().any(|call| self.step.call.starts_with(call)) => {}
            (Verb::Disable, Ok(_)) => {
                let id = key.unwrap().provider_key_id.as_str();
                let listed = case.provider.list(Listing::All).await.unwrap();
                let is_off = listed.iter().any(|one| one.provider_key_id == id && !one.enabled)
                    || !case.provider.read_back(id).await.unwrap().not_understood.is_empty();
                assert!(is_off, "{self:?}: switched off means off");
            }
            // It may tell of what it could not see as a warning.
            (Verb::Check, Ok(_)) => {
                let may_not_look = bad.kind == Kind::Denied && bad.documented;
                assert!(self.step.at > 0 || may_not_look, "{self:?}: who the parent is was never told");
            }
            (_, Ok(_)) => panic!("{self:?}: it failed, and nobody says so"),
            (_, Err(error)) => assert!(fits(bad, error), "{self:?}: {error:?}"),
        }
    }
}

/// Ends what was made under a number, so that nothing is left behind and no quota is reached.
async fn clean(case: &ProviderCase, number: u32, key: Option<&Minted>) {
    // Where nothing else says whose a key is, it belongs to the number that is asked about next.
    case.live(number).await;
    if let (Some(own), Some(key)) = (case.provider.ending_itself(), key) {
        own.end(&key.secret).await.unwrap();
    }
    if case.lists() {
        let listed = case.provider.list(Listing::Marked).await.unwrap();
        let label = marker(number);
        for one in listed.iter().filter(|one| one.label.raw().starts_with(label.as_str())) {
            case.provider.revoke(&one.provider_key_id).await.unwrap();
        }
        assert_eq!(case.live(number).await, 0, "nothing is left");
    }
}

/// What a bad answer to a call that may be sent twice is told as.
pub fn fits(bad: &Bad, error: &ProviderError) -> bool {
    use ProviderError as E;
    match (bad.kind, bad.documented, error) {
        (Kind::Lost | Kind::Failed, _, E::Unavailable { .. }) => true,
        (Kind::TimedOut, _, E::Unavailable { why, .. }) => why.contains("no complete answer within"),
        (Kind::Denied, _, E::Unauthorized { .. }) => true,
        (Kind::Missing, true, E::NotFound { .. } | E::NoSuchResource { .. }) => true,
        (Kind::Conflict, true, E::Refused { .. }) => true,
        (Kind::Missing | Kind::Conflict, false, E::Garbled { .. }) => true,
        (Kind::Garbled, _, E::Garbled { .. }) => true,
        (Kind::Throttled, _, E::Throttled { retry_after: Some(wait), .. }) => {
            (1..=RETRY_AFTER).contains(&wait.seconds())
        }
        _ => false,
    }
}

/// What a bad answer to the call that makes a key is told as: only the vendor's own words, or a 401 or 403 after a look,
/// say that nothing was made.
fn create_fits(bad: &Bad, error: &ProviderError) -> bool {
    let is_told = bad.documented || bad.kind == Kind::Denied;
    if is_told { fits(bad, error) } else { matches!(error, ProviderError::OutcomeUnknown { .. }) }
}

/// Every call of every verb, by watching them.
async fn steps(make: &impl AsyncFn() -> ProviderCase) -> Vec<Step> {
    let case = make().await;
    // The first time it may have to log in.
    let cold = watch(&case, Verb::Check, 98).await;
    let mut all = only_cold(cold, &watch(&case, Verb::Check, 99).await);
    for (verb, number) in VERBS.into_iter().zip(100..) {
        all.extend(watch(&case, verb, number).await);
    }
    assert_eq!(all.iter().filter(|step| step.creates).count(), 1, "one call creates: {all:?}");
    all
}

async fn watch(case: &ProviderCase, verb: Verb, number: u32) -> Vec<Step> {
    let key = Scene::prepare(verb, case, number).await;
    case.proxy.seen();
    let mut steps: Vec<Step> = Vec::new();
    if let Some(outcome) = verb.run(case, key.as_ref(), number).await {
        outcome.unwrap_or_else(|error| panic!("{verb:?}: {error}"));
        let seen = case.proxy.seen();
        let is_create = |seen: &Seen| verb == Verb::Mint && seen.is(case.create.0, case.create.1);
        let creates = seen.iter().position(is_create);
        for step in steps_of(verb, seen) {
            // One after the first of its name fails with it.
            if !steps.iter().any(|other| other.call == step.call) {
                steps.push(Step { creates: creates == Some(step.at), ..step });
            }
        }
    }
    clean(case, number, key.as_ref()).await;
    steps
}

/// A case that has logged in.
async fn warm(make: &impl AsyncFn() -> ProviderCase) -> ProviderCase {
    let case = make().await;
    case.provider.check().await.unwrap();
    case
}

/// Every bad answer to every call of every verb.
pub async fn fails_clearly(make: &impl AsyncFn() -> ProviderCase) {
    let steps = steps(make).await;
    let ProviderCase { said, is_slow, .. } = make().await;
    let is_wanted = |step: &Step, harm: &Harm| !is_slow || step.creates || harm.is_of_few();
    let harms = harms(said, &[400, 401, 403, 404, 409, 422, 500]);
    in_lanes(scenes(&steps, &harms, is_wanted), async |next| {
        let mut case = warm(make).await;
        while let Some(scene) = next() {
            if scene.step.cold {
                scene.play(&make().await).await;
            } else {
                scene.play(&case).await;
                if scene.harm.closes() {
                    case = warm(make).await;
                }
            }
        }
    })
    .await;
}
