//! Jobs about AWS's own access management: the operation that the words say, and not its neighbour.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use keywright_catalog::Catalog;
use keywright_catalog::words::plan;

#[test]
fn keys_and_policies_are_what_the_words_say() {
    let aws = Catalog::for_provider("aws").unwrap();
    for (words, operations) in [
        ("create an access key", &["iam:CreateAccessKey"][..]),
        ("attach a policy to the role app", &["iam:AttachRolePolicy"]),
        ("attach a policy to user ci", &["iam:AttachUserPolicy"]),
        ("detach the policy from the role app", &["iam:DetachRolePolicy"]),
        ("create an iam policy", &["iam:CreatePolicy"]),
    ] {
        let answer = plan(words, aws);
        let offered: Vec<&str> =
            answer.candidates.iter().flat_map(|one| one.operations.iter().map(String::as_str)).collect();
        // Where the words leave it open it is asked about, and the operation is among what is offered.
        let is_first = answer.operations == operations || operations.iter().all(|one| offered.contains(one));
        assert!(is_first, "{words}: {:?}, {offered:?}", answer.operations);
        if !answer.operations.is_empty() {
            assert!(!answer.needs_a_human.is_empty(), "{words}");
        }
    }
    let answer = plan("attach a policy", aws);
    let offered: Vec<&str> =
        answer.candidates.iter().flat_map(|one| one.operations.iter().map(String::as_str)).collect();
    assert_eq!(
        offered,
        ["iam:AttachRolePolicy", "iam:AttachUserPolicy", "iam:AttachGroupPolicy"],
        "{answer:?}"
    );
}
