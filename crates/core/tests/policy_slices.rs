//! The index leaves policies out. It must never leave out one that matters.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests: a failure to set up is a failure of the test"
)]

mod policy_world;

use std::collections::BTreeSet;

use keywright_core::policy::Policies;
use policy_world::{
    Random, by_the_whole_set, grown_policies, grown_question, random_policies, random_question, whole,
};

#[test]
fn slices_decide_as_the_whole_set_with_the_same_policies_and_errors() {
    let (mut allowed, mut failed, mut forbidden) = (0, 0, 0);
    for seed in 0..60 {
        let mut random = Random(seed);
        let size = 1 + random.below(40);
        let text = random_policies(&mut random, size);
        // A policy that can't hold is refused at apply; such a set says nothing about slices.
        let policies = match Policies::parse(&text) {
            Ok(policies) => policies,
            Err(error) => panic!("seed {seed}: {error}"),
        };
        let set = whole(&text);
        for _ in 0..60 {
            let question = random_question(&mut random);
            let approvals = u8::try_from(random.below(4)).unwrap();
            let ours = policies.answer(&question, approvals).unwrap();
            let theirs = by_the_whole_set(&set, &question, approvals);
            assert_eq!(ours, theirs, "seed {seed}, {approvals} approvals, {question}\n{text}");
            allowed += u32::from(ours.allowed);
            failed += u32::from(!ours.errors.is_empty());
            forbidden += u32::from(!ours.allowed && !ours.policies.is_empty());
        }
    }
    assert!(allowed > 100 && failed > 100 && forbidden > 100, "one-sided: {allowed} {failed} {forbidden}");
}

#[test]
fn a_grown_set_allows_what_its_one_rule_allows_and_nothing_else() {
    let policies = Policies::parse(&grown_policies(300)).unwrap();
    for n in [0, 1, 7, 295] {
        let answer = policies.answer(&grown_question(n), 0).unwrap();
        assert!(answer.allowed, "{n}");
        assert_eq!(answer.policies, BTreeSet::from([format!("grant-{n}")]));
    }
    assert!(!policies.answer(&grown_question(296), 0).unwrap().allowed);
}
