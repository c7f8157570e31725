//! What can't be applied, and how it is said.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests: a failure to set up is a failure of the test")]

use keywright_core::policy::{Fault, MAX_POLICIES, MAX_TEXT, PolicySetSource, SourceError};

fn faults(text: &str) -> Vec<Fault> {
    match PolicySetSource::parse(text) {
        Err(SourceError::Faults(faults)) => faults,
        other => panic!("{other:?}"),
    }
}

/// One policy whose condition stands on line 4.
fn with_condition(condition: &str) -> String {
    format!(
        "@id(\"one\")\npermit (principal, action == Keywright::Action::\"mint\", resource)\nwhen {{\n  {condition}\n}};\n"
    )
}

#[test]
fn a_wrong_word_is_refused_with_line_column_and_the_line() {
    let table = [
        ("context.aprovals >= 1", (4, 3), "attribute `aprovals`"),
        ("context.ttl_seconds <= \"90d\"", (4, 26), "expected Long but saw String"),
        ("resource.teir == \"production\"", (4, 3), "attribute `teir`"),
        ("resource has agent", (1, 1), "policy is impossible"),
        ("context.budget_usd.lessThan(decimal(\"20.00\"))", (4, 3), "budget_usd"),
        ("principal == Keywright::Robot::\"x\"", (4, 16), "Robot"),
        ("context.approvals >= ", (5, 1), "unexpected token"),
    ];
    for (condition, place, says) in table {
        let found = faults(&with_condition(condition));
        let first = found.first().unwrap();
        assert!(first.problem.contains(says), "{condition}: {first}");
        assert_eq!((first.line, first.column), place, "{condition}: {first}");
        let line =
            [(4, condition.trim()), (1, "@id(\"one\")"), (5, "};")].into_iter().find(|(n, _)| *n == place.0);
        let line = line.unwrap().1;
        assert_eq!(first.text.raw(), line, "{first}");
    }
}

#[test]
fn what_the_schema_has_is_accepted() {
    for condition in [
        "context has budget_usd && context.budget_usd.lessThan(decimal(\"20.00\"))",
        "context.parameters.contains(\"zone=example.com\") && [\"embedded\", \"dotenv\"].containsAll(context.stores)",
        "resource.permissions.contains(\"p\") && !resource.permission_names.contains(\"DNS Write\") && resource.unlocks < 5",
        "context.resources.contains(\"cloudflare.zone:1\") && context.destinations.contains(\"embedded:a/b/C\")",
    ] {
        let source =
            PolicySetSource::parse(&with_condition(condition)).unwrap_or_else(|e| panic!("{condition}: {e}"));
        assert_eq!(source.policies().collect::<Vec<_>>(), [("one", "permit", None)]);
    }
}

#[test]
fn a_policy_is_called_by_its_id_or_its_place_and_never_like_another() {
    let any = "permit (principal, action, resource);";
    let source =
        PolicySetSource::parse(&format!("{any} @id(\"b\") @reason(\"because\") {any} {any}")).unwrap();
    let mut ids: Vec<_> = source.policies().collect();
    ids.sort_unstable();
    assert_eq!(
        ids,
        [("b", "permit", Some("because")), ("policy0", "permit", None), ("policy2", "permit", None)]
    );

    let table = [
        (format!("@id(\"a\") {any}\n@id(\"a\") {any}"), 2, "two policies have the id `a`"),
        (format!("{any}\n@id(\"policy0\") {any}"), 2, "two policies have the id `policy0`"),
        (format!("{any}\n@id(\"a b\") {any}"), 2, "not a policy id"),
        (format!("{any}\n@id(\"\u{430}dmin\") {any}"), 2, "not a policy id"),
        (format!("{any}\n@reason(\"{}\") {any}", "x".repeat(301)), 2, "longer than 300"),
    ];
    for (text, line, says) in table {
        let found = faults(&text);
        let first = found.first().unwrap();
        assert!(first.line == line && first.problem.contains(says), "{says}: {first}");
    }
}

#[test]
fn a_name_that_could_not_exist_is_refused_wherever_it_stands() {
    for (scope, says) in [
        ("principal == Keywright::Agent::\"\u{430}dmin\", action, resource", "mixed scripts"),
        ("principal, action, resource == Keywright::Template::\"dns-edit\"", "not a template id"),
        ("principal, action, resource == Keywright::Key::\"CF_TOKEN\"", "not a key id"),
        ("principal == Keywright::Schedule::\"nightly\", action, resource", "the scheduler's name"),
    ] {
        let found = faults(&format!("// first line\npermit ({scope});"));
        let first = found.first().unwrap();
        assert!(first.line == 2 && first.problem.contains(says), "{says}: {first}");
    }
    let inside = with_condition("principal == Keywright::Agent::\"a/b\"");
    assert_eq!(faults(&inside).first().map(|fault| fault.line), Some(4));
}

#[test]
fn a_policy_reads_as_it_looks() {
    for hidden in ['\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}', '\u{1b}', '\u{0}', '\u{e0041}'] {
        let found = faults(&format!("// a\n// b {hidden} c\npermit (principal, action, resource);"));
        let first = found.first().unwrap();
        assert_eq!((first.line, first.column), (2, 6), "{first}");
        assert!(first.to_string().chars().all(|c| !c.is_control() && c != hidden), "{first}");
    }
    assert!(PolicySetSource::parse("// tabs,\tCRLF and Ünïcode are fine\r\n").is_ok());
}

#[test]
fn texts_and_sets_have_bounds() {
    let many = "permit(principal,action,resource);".repeat(MAX_POLICIES + 1);
    assert!(matches!(PolicySetSource::parse(&many), Err(SourceError::TooMany(n)) if n == MAX_POLICIES + 1));
    let long = " ".repeat(MAX_TEXT + 1);
    assert!(matches!(PolicySetSource::parse(&long), Err(SourceError::TooLong(_))));
    let wrong = "permit (principal, action, resource) when { context.nothing };\n".repeat(100);
    assert_eq!(faults(&wrong).len(), 20, "the first twenty are enough");
}

#[test]
fn a_template_with_slots_is_refused() {
    let found = faults("\npermit (principal == ?principal, action, resource);");
    assert!(found.first().unwrap().problem.contains("slot"), "{found:?}");
}

#[test]
fn a_text_that_nests_or_chains_without_end_is_refused_and_not_the_end_of_the_process() {
    let often = |piece: &str, n: usize| piece.repeat(n);
    let shapes: [&dyn Fn(usize) -> String; 9] = [
        &|n| format!("{}true{}", often("(", n), often(")", n)),
        &|n| format!("{}true{}", often("[", n), often("]", n)),
        &|n| format!("{}1{}", often("{a:", n), often("}", n)),
        &|n| format!("{}true", often("!", n)),
        &|n| format!("true{}", often("&&true", n)),
        &|n| format!("1{}==1", often("+1", n)),
        &|n| format!("context{}", often(".a", n)),
        &|n| format!("{}true", often("if true then true else ", n)),
        &|n| format!("{}true{}", often("if ", n), often(" then true else true", n)),
    ];
    for (number, shape) in shapes.iter().enumerate() {
        // The last size is far beyond any bound; the others look for one that is let through and too deep.
        for size in [30, 60, 120, 240, 400, 490, 100_000] {
            let read = PolicySetSource::parse(&with_condition(&shape(size)));
            assert!(size < 100_000 || read.is_err(), "{number}");
        }
        let comment =
            format!("// {}\n@reason(\"{}\")\n{}", shape(5_000), "(".repeat(200), with_condition("true"));
        assert!(
            PolicySetSource::parse(&comment).is_ok(),
            "what only reads like code is not counted: {number}"
        );
    }
    let many = "context.ttl_seconds == 3600 || ".repeat(240);
    let broad = with_condition(&format!("{many} context.ttl_seconds == 1"));
    assert!(PolicySetSource::parse(&broad).is_ok(), "hundreds of alternatives are fine");
}
