//! The engine against a reference: random deeds of agents, operators, programs, people with access to the provider and the
//! stores, time, faults and crashes, over the sandbox, real stores and a real ledger.
//!
//! | module | what it holds |
//! |---|---|
//! | `deed` | what may happen, and how it is drawn |
//! | `house` | the provider, the stores, the clock, and the broker's lives |
//! | `play` | a deed done to the real engine |
//! | `reference` | which keys have to live, and what programs may rely on |
//! | `check` | what has to hold after each deed, and when everything has come to rest |
//!
//! `KEYWRIGHT_MACHINE_CASES` has it run more cases, `KEYWRIGHT_MACHINE_SEED` others, `KEYWRIGHT_MACHINE_DEEDS` longer ones. A case that
//! fails is shrunk, and told with the seed that leads there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that can't set up its world has failed"
)]

mod check;
mod deed;
mod house;
mod play;
mod reference;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use deed::Deed;
use house::House;
use reference::Reference;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

/// One case from its beginning to its rest.
fn play(deeds: &[Deed]) -> Result<(), String> {
    let (mut house, mut reference) = (House::new(), Reference::default());
    for (at, deed) in deeds.iter().enumerate() {
        play::play(&mut house, &mut reference, deed)
            .and_then(|()| check::after(&mut house, &mut reference))
            .map_err(|why| format!("after deed {at}, {deed:?}: {why}"))?;
    }
    check::at_rest(&mut house, &mut reference).map_err(|why| format!("at rest: {why}"))
}

#[test]
fn the_engine_does_what_the_reference_says() {
    let cases = u32::try_from(number("KEYWRIGHT_MACHINE_CASES", 16)).unwrap();
    let (seed, longest) = (number("KEYWRIGHT_MACHINE_SEED", 1), number("KEYWRIGHT_MACHINE_DEEDS", 24));
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 400,
        max_shrink_time: 240_000,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let deeds = deed::deeds(usize::try_from(longest).unwrap());
    let played = runner.run(&deeds, |deeds| {
        play(&deeds).map_err(|why| {
            eprintln!("{} deeds: {why}", deeds.len());
            TestCaseError::fail(why)
        })
    });
    match played {
        Ok(()) => {}
        Err(TestError::Fail(why, deeds)) => {
            panic!("seed {seed}: {why}\nthe least that leads there:\n{deeds:#?}")
        }
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}
