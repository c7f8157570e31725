//! The proof: what policy, template and approvals together let through.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests: a failure to set up is a failure of the test")]

mod policy_world;

use std::collections::BTreeSet;

use keywright_core::grant::Permission;
use keywright_core::name::OperatorName;
use keywright_core::place::Place;
use keywright_core::plan::{Destination, Plan, Principal};
use keywright_core::policy::{
    Action, Actor, Behind, Ceiling, Counts, DEFAULT_POLICIES, Decision, Effect, Facts, Policies, Question,
    Refusal, TemplateFacts,
};
use keywright_core::template::{PermissionRef, ResolvedTemplate, Tier};
use policy_world::{agent, ask, key, plan, template};

/// One way to change a plan.
type Change<'a> = &'a dyn Fn(&mut Plan);

const ALL: &str = "permit (principal, action, resource);";
const KEY: &str = "key_01970000000070008000000000000000";

fn authorize(
    policies: &str,
    plan: Plan,
    template: &ResolvedTemplate,
    operators: &[&str],
) -> Result<Plan, Refusal> {
    let names: Vec<OperatorName> = operators.iter().map(|name| name.parse().unwrap()).collect();
    let approvals: BTreeSet<&OperatorName> = names.iter().collect();
    let facts = Facts { counts: Counts::default(), approvals: &approvals, behind: &Behind::Nobody };
    let ceiling = Ceiling { template, version: 3 };
    let policies = Policies::parse(policies).unwrap();
    policies.authorize(plan, ceiling, &facts).map(|proof| proof.into_inner())
}

#[test]
fn an_allow_all_policy_does_not_widen_the_template() {
    let template = template("cloudflare/dns-edit", "standard", false);
    assert_eq!(authorize(ALL, plan(&template), &template, &[]).unwrap(), plan(&template));
    let other = || Permission { id: "p-other".into(), name: "Other".into(), scope: "zone".into() };
    let mutations: [(&str, Change<'_>); 14] = [
        ("longer", &|p| p.ttl = "91d".parse().unwrap()),
        ("elsewhere", &|p| {
            let place = Place::parse("dotenv:./.env#X").unwrap();
            p.destinations.push(Destination { place, base: None });
        }),
        ("another permission", &|p| p.permissions.push(other())),
        ("no permission", &|p| p.permissions.clear()),
        ("another name for a permission", &|p| p.permissions[0].name = "Read".into()),
        ("another parameter", &|p| drop(p.parameters.insert("zone".into(), "evil.example".into()))),
        ("an unknown parameter", &|p| drop(p.parameters.insert("account".into(), "x".into()))),
        ("a budget", &|p| p.budget_cents = Some(1)),
        ("a network", &|p| p.ip_allow.push("192.0.2.0/24".into())),
        ("another version", &|p| p.template_version = 2),
        ("another tier", &|p| p.tier = Tier::Sandbox),
        ("another template", &|p| p.template = "cloudflare/other".parse().unwrap()),
        ("more operations", &|p| p.unlocks += 1),
        ("an invented escalation", &|p| p.escalation.push("p-dns".into())),
    ];
    for (what, mutate) in mutations {
        let mut wider = plan(&template);
        mutate(&mut wider);
        let refusal = authorize(ALL, wider, &template, &["ana", "bo", "cy"]).unwrap_err();
        assert!(matches!(refusal, Refusal::Ceiling(_) | Refusal::Stale { .. }), "{what}: {refusal}");
    }
}

#[test]
fn who_may_approve_is_policy_and_an_approval_of_somebody_who_may_not_is_none() {
    let template = template("cloudflare/dns-edit", "standard", false);
    let two = "permit (principal, action, resource);
        forbid (principal, action == Keywright::Action::\"mint\", resource) unless { context.approvals >= 2 };";
    let rules = |approve: &str| {
        format!(
            "{two} @id(\"who\") @reason(\"only some\") forbid (principal, action == Keywright::Action::\"approve\", resource) {approve};"
        )
    };
    let by = |policies: &str, operators: &[&str], human: Option<&str>| {
        let names: Vec<OperatorName> = operators.iter().map(|name| name.parse().unwrap()).collect();
        let approvals: BTreeSet<&OperatorName> = names.iter().collect();
        let human = human.map_or(Behind::Nobody, |name| Behind::Operator(name.parse().unwrap()));
        let facts = Facts { counts: Counts::default(), approvals: &approvals, behind: &human };
        let ceiling = Ceiling { template: &template, version: 3 };
        Policies::parse(policies).unwrap().authorize(plan(&template), ceiling, &facts).map(drop)
    };
    assert!(by(two, &["ana", "bo"], None).is_ok());
    let only = rules(
        "unless { principal == Keywright::Operator::\"ana\" || principal == Keywright::Operator::\"cy\" }",
    );
    let short = by(&only, &["ana", "bo"], None).unwrap_err();
    assert!(matches!(short, Refusal::NeedsApprovals { needed: 2, given: 1, .. }), "{short}");
    assert!(by(&only, &["ana", "bo", "cy"], None).is_ok(), "bo's is left out, and two are left");
    // By what it is for, as with any other rule.
    let here = rules("when { context.environment == \"dev\" && context.project == \"elsewhere\" }");
    assert!(by(&here, &["ana", "bo"], None).is_ok());
    // Who asked may be one of several, and not the only one.
    let own = |needed: &str| {
        format!(
            "permit (principal, action, resource);
             forbid (principal, action == Keywright::Action::\"mint\", resource) unless {{ context.approvals >= {needed} }};
             forbid (principal, action == Keywright::Action::\"approve\", resource)
             when {{ context.own && context.approvals == 1 }};"
        )
    };
    let alone = by(&own("1"), &["ana"], Some("ana")).unwrap_err();
    assert!(matches!(alone, Refusal::NeedsApprovals { needed: 1, given: 0, .. }), "{alone}");
    assert!(by(&own("1"), &["bo"], Some("ana")).is_ok());
    assert!(by(&own("1"), &["ana"], None).is_ok(), "nobody stands behind it");
    let names: Vec<OperatorName> = vec!["ana".parse().unwrap(), "bo".parse().unwrap()];
    let approvals: BTreeSet<&OperatorName> = names.iter().collect();
    let facts = Facts { counts: Counts::default(), approvals: &approvals, behind: &Behind::Unknown };
    let ceiling = Ceiling { template: &template, version: 3 };
    let unknown = Policies::parse(&own("1")).unwrap().authorize(plan(&template), ceiling, &facts);
    assert!(unknown.is_err(), "nobody is on record to have added the agent");
    assert!(by(&own("2"), &["ana", "bo"], Some("ana")).is_ok());
    // No permit is needed for it.
    let narrow = "permit (principal is Keywright::Agent, action == Keywright::Action::\"mint\", resource)
        when { context.approvals >= 1 };";
    assert!(by(narrow, &["ana"], None).is_ok());
    // A rule that fails lets nobody approve.
    let broken = rules("when { context.ttl_seconds * 9223372036854775807 > 0 }");
    assert!(by(&broken, &["ana", "bo"], None).is_err());
}

#[test]
fn a_threshold_that_asks_for_nobody_is_an_error_of_the_policy() {
    for condition in ["context.approvals >= 0", "context.approvals > -1", "0 <= context.approvals"] {
        let text = format!("@id(\"open\") permit (principal, action, resource) when {{ {condition} }};");
        let error = Policies::parse(&text).unwrap_err().to_string();
        assert!(error.contains("always holds, whoever approved"), "{error}");
        assert!(error.starts_with("line 1, column "), "{error}");
    }
    let never = "permit (principal, action, resource) when { context.approvals >= 4 };";
    let error = Policies::parse(never).unwrap_err().to_string();
    assert!(error.contains("can never hold") && error.contains("between 1 and 3"), "{error}");
    // What is in force already goes on deciding.
    assert_eq!(Policies::stored(never).unwrap().count(), 1);
    // A permit that looks as if it kept the others out.
    for action in ["== Keywright::Action::\"approve\"", "in [Keywright::Action::\"approve\"]"] {
        let text = format!(
            "permit (principal == Keywright::Operator::\"ana\", action {action}, resource is Keywright::Template);"
        );
        let error = Policies::parse(&text).unwrap_err().to_string();
        assert!(error.contains("keeps nobody from approving") && error.contains("unless"), "{error}");
        assert!(Policies::stored(&text).is_ok(), "what is in force goes on as it did");
    }
}

#[test]
fn a_narrower_plan_is_still_within() {
    let template = template("cloudflare/tokens", "standard", true);
    let mut less = plan(&template);
    less.permissions.retain(|permission| permission.id == "p-dns");
    less.escalation.clear();
    less.ttl = "1d".parse().unwrap();
    (less.unlocks, less.mutating) = (10, 5);
    assert!(authorize(ALL, less, &template, &[]).is_ok(), "without the escalation class, no approval is due");
}

#[test]
fn escalation_needs_an_approval_whatever_policy_says() {
    let template = template("cloudflare/tokens", "sandbox", true);
    match authorize(ALL, plan(&template), &template, &[]).unwrap_err() {
        Refusal::NeedsApprovals { needed: 1, given: 0, decision, .. } => {
            assert!(decision.reasons.iter().any(|reason| reason.contains("make keys")), "{decision:?}");
        }
        other => panic!("{other}"),
    }
    assert!(authorize(ALL, plan(&template), &template, &["ana"]).is_ok());

    let mut silent = plan(&template);
    silent.escalation.clear();
    let refusal = authorize(ALL, silent, &template, &["ana"]).unwrap_err();
    assert!(matches!(refusal, Refusal::Stale { .. }), "a plan can't hide it: {refusal}");
}

#[test]
fn escalation_that_no_operator_marked_is_refused_with_any_number_of_approvals() {
    let marked = template("cloudflare/tokens", "sandbox", true);
    let marks: [(&[PermissionRef], bool); 6] = [
        (&[], false),
        (&[PermissionRef::Named("DNS Write".into())], false),
        (&[PermissionRef::Scoped { name: "API Tokens Write".into(), scope: "user".into() }], false),
        (&[PermissionRef::Scoped { name: "API Tokens Write".into(), scope: "zone".into() }], true),
        (&[PermissionRef::Named("api tokens write".into())], true),
        (&[PermissionRef::Named("p-tokens".into())], true),
    ];
    for (marks, accepted) in marks {
        let mut template = marked.clone();
        template.template.escalation = marks.to_vec();
        match authorize(ALL, plan(&template), &template, &["ana", "bo"]) {
            Ok(_) => assert!(accepted, "{marks:?}"),
            Err(Refusal::Unmarked { permission, .. }) => {
                assert!(!accepted && permission == "API Tokens Write", "{marks:?}");
            }
            Err(other) => panic!("{marks:?}: {other}"),
        }
    }
}

#[test]
fn production_takes_two_distinct_operators_and_says_how_many_are_missing() {
    let template = template("cloudflare/dns-edit", "production", false);
    let ask = |operators: &[&str]| authorize(DEFAULT_POLICIES, plan(&template), &template, operators);
    for too_few in [&[][..], &["ana"], &["ana", "ana"]] {
        let refusal = ask(too_few).unwrap_err();
        let one = u8::from(!too_few.is_empty());
        assert!(
            matches!(refusal, Refusal::NeedsApprovals { needed: 2, given, .. } if given == one),
            "{too_few:?}: {refusal}"
        );
    }
    assert!(ask(&["ana", "bo"]).is_ok());
    assert!(ask(&["ana", "bo", "cy", "dee", "eve"]).is_ok(), "more than needed is enough");
}

#[test]
fn the_smallest_quorum_is_found_and_found_again() {
    let facts = || TemplateFacts::of(&template("cf/a", "standard", false));
    let question = Question::mint(agent("builder"), facts(), ask(), Counts::default());
    let when = |condition: &str| format!("permit (principal, action, resource) when {{ {condition} }};");
    let table = [
        (ALL.to_owned(), Effect::Allow),
        (when("context.approvals >= 1"), Effect::NeedsApprovals(1)),
        (when("context.approvals >= 2"), Effect::NeedsApprovals(2)),
        (when("context.approvals == 3"), Effect::NeedsApprovals(3)),
        (when("context.approvals > 0 && context.approvals == context.keys_active"), Effect::Deny),
        (
            format!("{ALL} forbid (principal, action, resource) unless {{ context.approvals >= 2 }};"),
            Effect::NeedsApprovals(2),
        ),
        (format!("{ALL} forbid (principal, action, resource);"), Effect::Deny),
        (String::new(), Effect::Deny),
    ];
    for (text, expected) in table {
        let policies = Policies::parse(&text).unwrap();
        let first = policies.decide(&question);
        assert_eq!(first.effect, expected, "{text}");
        for _ in 0..20 {
            assert_eq!(Policies::parse(&text).unwrap().decide(&question), first, "{text}");
        }
    }
}

#[test]
fn a_policy_that_likes_fewer_approvals_better_fails_closed() {
    let template = template("cloudflare/dns-edit", "standard", false);
    let odd = "permit (principal, action, resource) when { context.approvals == 1 };";
    assert!(authorize(odd, plan(&template), &template, &["ana"]).is_ok());
    let refusal = authorize(odd, plan(&template), &template, &["ana", "bo"]).unwrap_err();
    assert!(matches!(&refusal, Refusal::Denied { .. }), "{refusal}");
}

#[test]
fn a_policy_that_fails_denies_and_is_named() {
    let failing = "@id(\"bad\") forbid (principal, action == Keywright::Action::\"mint\", resource)
                   when { resource.unlocks * 9223372036854775807 > 0 };";
    let facts = TemplateFacts::of(&template("cf/a", "standard", false));
    let question = Question::mint(agent("builder"), facts, ask(), Counts::default());
    let decision = Policies::parse(&format!("{ALL}\n{failing}")).unwrap().decide(&question);
    assert_eq!(decision.effect, Effect::Deny);
    assert!(decision.reasons.iter().any(|r| r.contains("bad") && r.contains("overflow")), "{decision:?}");
    let template = template("cf/a", "standard", false);
    let refusal =
        authorize(&format!("{ALL}\n{failing}"), plan(&template), &template, &["ana", "bo"]).unwrap_err();
    assert!(matches!(refusal, Refusal::Denied { .. }), "{refusal}");
}

#[test]
fn what_forbids_names_itself_and_what_nobody_allows_says_so() {
    let facts = || TemplateFacts::of(&template("cf/a", "standard", false));
    let question = Question::mint(agent("builder"), facts(), ask(), Counts::default());
    let forbid = format!(
        "{ALL} @id(\"frozen\") @reason(\"nothing new this week\") forbid (principal, action, resource);"
    );
    assert_eq!(
        Policies::parse(&forbid).unwrap().decide(&question),
        Decision {
            effect: Effect::Deny,
            policies: vec!["frozen".into()],
            reasons: vec!["nothing new this week (policy `frozen`)".into()],
        }
    );
    assert_eq!(Policies::parse("").unwrap().decide(&question).reasons, ["no policy allows this"]);
}

#[test]
fn a_parameter_in_capitals_does_not_pass_a_rule_in_lower_case() {
    let rule = format!(
        "{ALL} forbid (principal, action == Keywright::Action::\"mint\", resource)
         when {{ context.parameters.contains(\"zone=example.com\") }};"
    );
    let facts = TemplateFacts::of(&template("cf/a", "standard", false));
    let ask = ask();
    assert_eq!(ask.parameters.get("zone").map(String::as_str), Some("Example.com"));
    let question = Question::mint(agent("builder"), facts, ask, Counts::default());
    assert_eq!(Policies::parse(&rule).unwrap().decide(&question).effect, Effect::Deny);
}

#[test]
fn nobody_gets_what_is_closed_to_their_kind_even_when_everything_is_permitted() {
    let policies = Policies::parse(ALL).unwrap();
    let none = BTreeSet::new();
    let facts = Facts { counts: Counts::default(), approvals: &none, behind: &Behind::Nobody };
    let actors: [Actor; 4] = [
        agent("builder").into(),
        Principal::Operator("ana".parse().unwrap()).into(),
        Actor::workload("api".parse().unwrap(), "web".parse().unwrap(), None),
        Principal::Schedule.into(),
    ];
    let key = key(KEY, Tier::Standard, "builder");
    let mut open = Vec::new();
    for actor in &actors {
        for action in Action::ALL {
            let on_key = policies.authorize_key_action(actor.clone(), action, &key, &facts);
            let on_template = policies.authorize_template_action(
                actor.clone(),
                action,
                &TemplateFacts::of(&template("cf/a", "standard", false)),
                &facts,
            );
            if let Ok(proof) = &on_key {
                assert_eq!((proof.get().action, proof.get().key), (action, key.id));
            }
            for (noun, allowed) in [("key", on_key.is_ok()), ("template", on_template.is_ok())] {
                open.extend(allowed.then(|| format!("{} {action} {noun}", actor.principal().kind())));
            }
        }
    }
    assert_eq!(
        open.join(", "),
        "agent rotate key, agent revoke key, agent propose template, agent inspect key, agent inspect template, \
         operator rotate key, operator revoke key, operator propose template, operator inspect key, \
         operator inspect template, operator deliver key, operator approve key, \
         workload inspect key, workload inspect template, workload deliver key, \
         schedule rotate key, schedule revoke key, schedule inspect key, schedule inspect template"
    );
}

#[test]
fn the_code_and_the_schema_agree_about_who_may_ask_what() {
    let (schema, _) = cedar_policy::Schema::from_cedarschema_str(keywright_core::policy::SCHEMA).unwrap();
    let principals = [
        agent("a"),
        Principal::Operator("o".parse().unwrap()),
        Principal::Workload("w".parse().unwrap()),
        Principal::Schedule,
    ];
    assert_eq!(schema.actions().count(), Action::ALL.len());
    assert_eq!(schema.action_groups().count(), 0, "the index takes `in` for `==` on actions");
    for action in Action::ALL {
        let uid: cedar_policy::EntityUid = format!("Keywright::Action::\"{action}\"").parse().unwrap();
        let named: BTreeSet<String> = schema
            .principals_for_action(&uid)
            .unwrap()
            .map(|noun| noun.basename().to_ascii_lowercase())
            .collect();
        let open: BTreeSet<String> =
            principals.iter().filter(|p| action.open_to(p)).map(|p| p.kind().to_owned()).collect();
        assert_eq!(named, open, "{action}");
    }
}

#[test]
fn every_question_is_what_the_schema_describes() {
    let (schema, _) = cedar_policy::Schema::from_cedarschema_str(keywright_core::policy::SCHEMA).unwrap();
    let facts = || TemplateFacts::of(&template("cf/a", "standard", true));
    let key = || key(KEY, Tier::Standard, "builder");
    let counts = Counts { keys_active: u64::MAX, requests_last_hour: 1 };
    let mut rich = ask();
    rich.budget_cents = Some(u64::MAX);
    rich.resources.insert(("cloudflare.zone".into(), "z1".into()));
    let successor = plan(&template("cf/a", "standard", false));
    let workload =
        || Actor::workload("api".parse().unwrap(), "web".parse().unwrap(), Some("dev".parse().unwrap()));
    let questions = [
        Question::mint(agent("a"), facts(), rich, counts),
        Question::rotate(Principal::Schedule, key(), None, counts),
        Question::rotate(Principal::Schedule, key(), Some(&successor), counts),
        Question::revoke(agent("a"), key(), counts),
        Question::deliver(workload(), key(), counts),
        Question::inspect_key(workload(), key(), counts),
        Question::inspect_template(agent("a"), facts(), counts),
        Question::propose(agent("a"), facts(), counts),
    ];
    for question in &questions {
        let prepared = question.prepare().unwrap();
        let request = prepared.request(2).unwrap();
        let checked = cedar_policy::Request::new(
            request.principal().unwrap().clone(),
            request.action().unwrap().clone(),
            request.resource().unwrap().clone(),
            request.context().unwrap().clone(),
            Some(&schema),
        );
        assert!(checked.is_ok(), "{question}: {:?}", checked.err().map(|e| e.to_string()));
        let entities = cedar_policy::Entities::from_entities(prepared.entities().clone(), Some(&schema));
        assert!(entities.is_ok(), "{question}: {:?}", entities.err().map(|e| e.to_string()));
    }
}

#[test]
fn a_successor_is_for_its_own_key_and_the_scheduler_may_make_it() {
    let template = template("cf/a", "production", false);
    let key = key(KEY, Tier::Production, "builder");
    let none = BTreeSet::new();
    let facts = Facts { counts: Counts::default(), approvals: &none, behind: &Behind::Nobody };
    let policies = Policies::parse(DEFAULT_POLICIES).unwrap();
    let rotate = |change: Change<'_>| {
        let mut successor = plan(&template);
        successor.principal = Principal::Schedule;
        successor.rotates = Some(key.id);
        change(&mut successor);
        policies.authorize_rotation(successor, Ceiling { template: &template, version: 3 }, &key, &facts)
    };
    assert!(rotate(&|_| {}).is_ok(), "a production key that was approved is rotated without people");
    let others: [Change<'_>; 5] = [
        &|p| p.rotates = None,
        &|p| p.adopts = Some("made elsewhere".to_owned()),
        &|p| p.project = "shop".parse().unwrap(),
        &|p| p.environment = "production".parse().unwrap(),
        &|p| p.name = "OTHER".parse().unwrap(),
    ];
    for change in others {
        let refusal = rotate(change).unwrap_err();
        assert!(matches!(refusal, Refusal::OtherKey { .. }), "{refusal}");
    }
    assert!(matches!(rotate(&|p| p.ttl = "91d".parse().unwrap()).unwrap_err(), Refusal::Ceiling(_)));
    let stranger = rotate(&|p| p.principal = agent("tester")).unwrap_err();
    assert!(matches!(stranger, Refusal::Denied { .. }), "{stranger}");
}
