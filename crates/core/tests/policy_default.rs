//! The default pack against its truth table, and what it says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests: a failure to set up is a failure of the test")]

mod policy_world;

use keywright_core::policy::{
    CaseError, Counts, DEFAULT_CASES, DEFAULT_POLICIES, Effect, Policies, PolicySetSource, Question,
    TemplateFacts, explain, run_cases,
};
use policy_world::{agent, ask, template};

fn default() -> Policies {
    Policies::parse(DEFAULT_POLICIES).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_default_pack_decides_as_its_truth_table_says() {
    let results = run_cases(&default(), DEFAULT_CASES).unwrap_or_else(|error| panic!("{error}"));
    assert!(results.len() >= 40, "{}", results.len());
    for result in &results {
        let got = &result.decision;
        assert!(result.passed(), "{}: {}, not {}: {got:?}", result.name, got.effect, result.expected);
        assert!(!got.reasons.is_empty(), "{}", result.name);
    }
    for effect in [Effect::Allow, Effect::Deny, Effect::NeedsApprovals(1), Effect::NeedsApprovals(2)] {
        assert!(results.iter().any(|result| result.expected == effect), "{effect}");
    }
}

#[test]
fn every_rule_of_the_default_pack_decides_some_case_and_has_an_id_and_a_reason() {
    let source = PolicySetSource::parse(DEFAULT_POLICIES).unwrap();
    let results = run_cases(&default(), DEFAULT_CASES).unwrap();
    for (id, _, reason) in source.policies() {
        assert!(!id.starts_with("policy"), "{id} has no @id");
        assert!(reason.is_some(), "{id} has no @reason");
        let decides = results.iter().any(|result| result.decision.policies.iter().any(|policy| policy == id));
        assert!(decides, "no case is decided by {id}");
    }
}

#[test]
fn without_any_one_rule_the_truth_table_fails() {
    let rules: Vec<&str> = DEFAULT_POLICIES.split_inclusive("\n@id").collect();
    let count = PolicySetSource::parse(DEFAULT_POLICIES).unwrap().policies().count();
    assert_eq!(rules.len(), count + 1, "one piece before each @id");
    for leave_out in 1..rules.len() {
        let text: String =
            rules.iter().enumerate().filter(|(n, _)| *n != leave_out).map(|(_, rule)| *rule).collect();
        let text = text.strip_suffix("\n@id").unwrap_or(&text);
        let policies = Policies::parse(text).unwrap_or_else(|error| panic!("{error}"));
        let results = run_cases(&policies, DEFAULT_CASES).unwrap();
        assert!(!results.iter().all(|result| result.passed()), "{:?}", rules.get(leave_out));
    }
}

#[test]
fn the_one_line_for_somebody_alone_turns_two_into_one() {
    let alone = DEFAULT_POLICIES.replace("context.approvals >= 2 ", "context.approvals >= 1 ");
    assert_ne!(alone, DEFAULT_POLICIES);
    let policies = Policies::parse(&alone).unwrap();
    let facts = TemplateFacts::of(&template("cf/a", "production", false));
    let question = Question::mint(agent("builder"), facts, ask(), Counts::default());
    assert_eq!(policies.decide(&question).effect, Effect::NeedsApprovals(1));
}

#[test]
fn a_decision_explains_itself_in_words() {
    let facts = TemplateFacts::of(&template("cf/a", "production", false));
    let question = Question::mint(agent("builder"), facts, ask(), Counts::default());
    let lines = explain(&default().decide(&question), &question);
    assert_eq!(
        lines,
        [
            "agent builder asks to mint template `cf/a` (production tier) for web/dev",
            "  lifetime 30d, destinations: embedded:web/dev/CF_TOKEN",
            "  parameters: zone=Example.com",
            "  active keys: 0, requests in the last hour: 0",
            "it needs the approvals of 2 distinct operators",
            "  because production needs the approval of two distinct operators (policy `production-needs-two-operators`)",
            "  decided by agents-mint-beyond-limits-with-approval, production-needs-two-operators",
        ]
    );
}

#[test]
fn the_nearest_alternative_is_one_that_the_policies_do_allow() {
    let facts = TemplateFacts::of(&template("cf/a", "standard", false));
    let mut long = ask();
    long.ttl = "91d".parse().unwrap();
    let question = Question::mint(agent("builder"), facts, long, Counts::default());
    let policies = default();
    assert_eq!(policies.decide(&question).effect, Effect::NeedsApprovals(1));
    assert_eq!(policies.nearest(&question).as_deref(), Some("with a lifetime of 90d it is allowed"));
}

#[test]
fn a_test_file_that_makes_no_sense_is_an_error_and_not_a_pass() {
    let case = |fields: &str| format!("[[case]]\nname = \"x\"\nexpect = \"allow\"\n{fields}");
    let table = [
        (case("principal = \"agent a\"\naction = \"mint\""), "is about a `template`"),
        (case("principal = \"agent a\"\naction = \"revoke\"\ntemplate = {}"), "is about a `key`"),
        (case("principal = \"agent a\"\naction = \"fly\"\ntemplate = {}"), "not an action"),
        (case("principal = \"agent a\"\naction = \"approve\"\ntemplate = {}"), "operators do"),
        (case("principal = \"operator a\"\naction = \"approve\""), "either a `template` or a `key`"),
        (case("principal = \"root\"\naction = \"mint\"\ntemplate = {}"), "not a principal"),
        (case("principal = \"agent \u{430}dmin\"\naction = \"mint\"\ntemplate = {}"), "not an agent name"),
        (
            case("principal = \"agent a\"\naction = \"mint\"\ntemplate = { teir = \"sandbox\" }"),
            "unknown field",
        ),
        (
            "[[case]]\nname=\"x\"\nexpect=\"maybe\"\nprincipal=\"schedule\"\naction=\"revoke\"\nkey={}"
                .into(),
            "outcome",
        ),
    ];
    for (text, says) in table {
        let error = run_cases(&default(), &text).unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
    let long = " ".repeat(1024 * 1024 + 1);
    assert!(matches!(run_cases(&default(), &long), Err(CaseError::TooLong(_))));
}
