//! What the faults of providers and of stores have in common: which calls a verb makes, what happens to one of them, and
//! many such scenes at work together.

use std::collections::VecDeque;
use std::fmt::{Debug, Display};
use std::sync::Mutex;

use futures::future::join_all;
use keywright_core::redact::encodings;

use super::proxy::{Bad, Fault, Kind, Seen, bad_answers};

/// How many cases are at work together: most of the time is waiting.
const LANES: usize = 20;

/// What happens to a call.
#[derive(Debug, Clone)]
pub enum Harm {
    Bad(Bad),
    /// An error that quotes everything.
    Echo(u16),
}

/// Every bad answer, in the vendor's own words where it has some, and echoes with these statuses.
pub fn harms(said: fn(u16) -> String, echoes: &[u16]) -> Vec<Harm> {
    let echoes = echoes.iter().copied().map(Harm::Echo);
    bad_answers(said).into_iter().map(Harm::Bad).chain(echoes).collect()
}

impl Harm {
    pub fn fault(&self) -> Fault {
        match self {
            Self::Bad(bad) => bad.fault.clone(),
            Self::Echo(status) => Fault::Echo { status: *status },
        }
    }

    /// Whether no call goes out for a while afterwards.
    pub fn closes(&self) -> bool {
        matches!(self, Self::Bad(bad) if bad.kind == Kind::Throttled)
    }

    /// Whether it is one of the few that stand for all, where each takes its time.
    pub fn is_of_few(&self) -> bool {
        match self {
            Self::Bad(bad) => bad.is_of_few(),
            Self::Echo(status) => *status == 400,
        }
    }
}

/// A call of a verb, as it was seen.
#[derive(Debug, Clone)]
pub struct Step<V> {
    pub verb: V,
    /// How many calls come before, and the name of the call.
    pub at: usize,
    pub call: String,
    /// Whether it is the call that makes a key.
    pub creates: bool,
    /// Whether the case is a new one, which has to log in first.
    pub cold: bool,
}

/// The calls of a verb, in their order.
pub fn steps_of<V: Copy>(verb: V, seen: Vec<Seen>) -> Vec<Step<V>> {
    let step = |(at, seen): (usize, Seen)| Step { verb, at, call: seen.name(), creates: false, cold: false };
    seen.into_iter().enumerate().map(step).collect()
}

/// What a verb does the first time only.
pub fn only_cold<V>(cold: Vec<Step<V>>, warm: &[Step<V>]) -> Vec<Step<V>> {
    let is_new = |step: &Step<V>| warm.iter().all(|other| other.call != step.call);
    cold.into_iter().filter(is_new).map(|step| Step { cold: true, ..step }).collect()
}

/// One verb, and what happens to one of its calls.
#[derive(Debug, Clone)]
pub struct Scene<S> {
    pub step: S,
    pub harm: Harm,
    /// Tells what this scene makes from what others make.
    pub number: u32,
}

/// Every one of these harms to every step, where that is wanted.
pub fn scenes<S: Clone>(steps: &[S], harms: &[Harm], is_wanted: impl Fn(&S, &Harm) -> bool) -> Vec<Scene<S>> {
    let all = steps.iter().flat_map(|step| harms.iter().map(move |harm| (step, harm)));
    let wanted = all.filter(|(step, harm)| is_wanted(step, harm));
    wanted
        .zip(1_000..)
        .map(|((step, harm), number)| Scene { step: step.clone(), harm: harm.clone(), number })
        .collect()
}

/// Several lanes at work together, each of which takes the next scene when it is done with one.
pub async fn in_lanes<S>(scenes: Vec<Scene<S>>, lane: impl AsyncFn(&dyn Fn() -> Option<Scene<S>>)) {
    let scenes = Mutex::new(VecDeque::from(scenes));
    let next = || scenes.lock().unwrap().pop_front();
    join_all((0..LANES).map(|_| lane(&next))).await;
}

/// No error quotes a secret, in whatever form.
pub fn quotes_nothing<'a>(
    scene: &impl Debug,
    error: &(impl Display + Debug),
    secrets: impl IntoIterator<Item = &'a str>,
) {
    let said = format!("{error} {error:?}");
    for secret in secrets {
        for form in encodings(secret) {
            assert!(!said.contains(form.as_str()), "{scene:?}: an error quotes a secret: {said}");
        }
    }
}
