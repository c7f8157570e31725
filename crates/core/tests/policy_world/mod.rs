//! What the tests and the bench of policy share: a plan and its template, and random policies and questions.
#![allow(dead_code, reason = "each test and the bench use their own part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "helpers of tests and of a bench, on constants"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use cedar_policy::{Authorizer, Decision as Verdict, PolicyId, PolicySet};
use jiff::Timestamp;
use keywright_core::grant::Permission;
use keywright_core::id::{KeyId, RequestId};
use keywright_core::name::{AgentName, KeyName, OperatorName, ProjectName, TemplateId, WorkloadName};
use keywright_core::place::Place;
use keywright_core::plan::{Destination, Plan, Principal};
use keywright_core::policy::{Actor, Answer, Ask, Counts, KeyFacts, Question, TemplateFacts};
use keywright_core::span::Span;
use keywright_core::template::{ResolvedTemplate, Template, Tier};
use keywright_core::text::Untrusted;

/// A template with one harmless permission, and with one that makes keys when asked for.
pub(crate) fn template(id: &str, tier: &str, escalation: bool) -> ResolvedTemplate {
    let provider = id.split('/').next().unwrap();
    let mark = if escalation { "escalation = [\"API Tokens Write\"]\n" } else { "" };
    let file = format!(
        "id = \"{id}\"\ntitle = \"t\"\nprovider = \"{provider}\"\ntier = \"{tier}\"\npermissions = [\"DNS Write\"]\n{mark}\
         [parameters.zone]\nkind = \"cloudflare.zone\"\nallow = [\"example.com\"]\n\
         [limits]\nttl_max = \"90d\"\ndestinations = [\"embedded:*\"]\n"
    );
    let permission =
        |id: &str, name: &str| Permission { id: id.into(), name: name.into(), scope: "zone".into() };
    let mut permissions = vec![permission("p-dns", "DNS Write")];
    permissions.extend(escalation.then(|| permission("p-tokens", "API Tokens Write")));
    ResolvedTemplate {
        template: Template::parse(&file).unwrap(),
        permissions,
        escalation: escalation.then(|| "p-tokens".to_owned()).into_iter().collect(),
        unlocks: 40,
        mutating: 25,
    }
}

/// A plan that is exactly what the template offers, version 3, asked by agent `builder` for web/dev.
pub(crate) fn plan(template: &ResolvedTemplate) -> Plan {
    Plan {
        request: RequestId::generate(Timestamp::UNIX_EPOCH, [1; 10]),
        principal: agent("builder"),
        template: template.template.id.clone(),
        template_version: 3,
        tier: template.template.tier,
        provider: template.template.provider.clone(),
        connection: "cf".parse().unwrap(),
        project: "web".parse().unwrap(),
        environment: "dev".parse().unwrap(),
        name: "CF_TOKEN".parse().unwrap(),
        parameters: BTreeMap::from([("zone".to_owned(), "Example.com".to_owned())]),
        permissions: template.permissions.clone(),
        escalation: template.escalation.clone(),
        withheld: Vec::new(),
        resources: Vec::new(),
        ttl: Span::parse("30d").unwrap(),
        ip_allow: Vec::new(),
        budget_cents: None,
        destinations: vec![Destination {
            place: Place::parse("embedded:web/dev/CF_TOKEN").unwrap(),
            base: None,
        }],
        rotation: None,
        rotates: None,
        adopts: None,
        ending: None,
        unlocks: template.unlocks,
        mutating: template.mutating,
        needs: 0,
        purpose: Untrusted::capped("dns", 10),
    }
}

pub(crate) fn agent(name: &str) -> Principal {
    Principal::Agent(AgentName::parse(name).unwrap())
}

/// A small generator (splitmix64), so that a failing seed can be run again anywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    pub(crate) fn one_of<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.below(items.len())]
    }
}

const AGENTS: [&str; 3] = ["ana", "bob", "cyd"];
const TEMPLATES: [&str; 3] = ["cf/a", "cf/b", "or/c"];
const KEYS: [&str; 2] = ["key_01970000000070008000000000000000", "key_01970000000070008000000000000001"];

/// A policy over a tiny world, so that random questions often meet it. `1 * 9223372036854775807 ...` overflows for
/// some facts only: those policies fail to evaluate.
pub(crate) fn random_policy(random: &mut Random, id: usize) -> String {
    let effect = random.one_of(&["permit", "permit", "permit", "forbid"]);
    let (action, on_key) = match random.below(5) {
        0 | 1 => ("action == Keywright::Action::\"mint\"", false),
        2 => ("action in [Keywright::Action::\"rotate\", Keywright::Action::\"revoke\"]", true),
        3 => ("action == Keywright::Action::\"revoke\"", true),
        _ => ("action", random.below(2) == 0),
    };
    let principal = match random.below(6) {
        0 => "principal".to_owned(),
        1 => "principal is Keywright::Agent".to_owned(),
        2 => "principal is Keywright::Operator".to_owned(),
        3 => format!("principal in Keywright::Agent::\"{}\"", random.one_of(&AGENTS)),
        _ => format!("principal == Keywright::Agent::\"{}\"", random.one_of(&AGENTS)),
    };
    let resource = match (random.below(4), on_key) {
        (0, _) => "resource".to_owned(),
        (1, true) => "resource is Keywright::Key".to_owned(),
        (1, false) => "resource is Keywright::Template".to_owned(),
        (_, true) => format!("resource == Keywright::Key::\"{}\"", random.one_of(&KEYS)),
        (_, false) => format!("resource == Keywright::Template::\"{}\"", random.one_of(&TEMPLATES)),
    };
    let condition = match random.below(8) {
        0 | 1 => String::new(),
        2 | 3 => format!(" when {{ context.approvals >= {} }}", 1 + random.below(3)),
        4 => format!(" unless {{ context.approvals >= {} }}", 1 + random.below(3)),
        5 => format!(" when {{ context.keys_active < {} }}", random.below(6)),
        6 => format!(
            " when {{ resource.tier == \"{}\" }}",
            random.one_of(&["sandbox", "standard", "production"])
        ),
        _ => {
            format!(" when {{ context.keys_active * {} > 0 }}", random.one_of(&["1", "9223372036854775807"]))
        }
    };
    format!("@id(\"p{id}\") {effect} ({principal}, {action}, {resource}){condition};\n")
}

pub(crate) fn random_policies(random: &mut Random, count: usize) -> String {
    (0..count).map(|id| random_policy(random, id)).collect()
}

pub(crate) fn random_question(random: &mut Random) -> Question {
    let actor: Actor = match random.below(8) {
        0 => Principal::Operator(OperatorName::parse("olga").unwrap()).into(),
        1 => Principal::Schedule.into(),
        2 => Actor::workload(WorkloadName::parse("api").unwrap(), ProjectName::parse("web").unwrap(), None),
        _ => agent(random.one_of(&AGENTS)).into(),
    };
    let counts = Counts { keys_active: random.next() % 6, requests_last_hour: 0 };
    let tier = [Tier::Sandbox, Tier::Standard, Tier::Production][random.below(3)];
    let facts = |random: &mut Random| {
        TemplateFacts::of(&template(random.one_of(&TEMPLATES), tier.as_str(), random.below(5) == 0))
    };
    let key = key(random.one_of(&KEYS), tier, random.one_of(&AGENTS));
    match random.below(7) {
        0 => Question::rotate(actor, key, None, counts),
        1 => Question::revoke(actor, key, counts),
        2 => Question::inspect_key(actor, key, counts),
        3 => Question::inspect_template(actor, facts(random), counts),
        _ => Question::mint(actor, facts(random), ask(), counts),
    }
}

pub(crate) fn ask() -> Ask {
    Ask::of(&plan(&template("cf/a", "standard", false)))
}

pub(crate) fn key(id: &str, tier: Tier, agent: &str) -> KeyFacts {
    KeyFacts {
        id: KeyId::parse(id).unwrap(),
        name: KeyName::parse("CF_TOKEN").unwrap(),
        project: "web".parse().unwrap(),
        environment: "dev".parse().unwrap(),
        provider: "cf".parse().unwrap(),
        template: TemplateId::parse("cf/a").unwrap(),
        tier,
        escalation: false,
        agent: Some(AgentName::parse(agent).unwrap()),
    }
}

/// A set as a team grows it: four general rules, and the rest one rule for one agent and one template each.
pub(crate) fn grown_policies(count: usize) -> String {
    let mut text = String::from(
        "@id(\"production\") forbid (principal, action == Keywright::Action::\"mint\", resource) when { resource.tier == \
         \"production\" && context.approvals < 2 };\n\
         @id(\"flood\") forbid (principal is Keywright::Agent, action == Keywright::Action::\"mint\", resource) when { \
         context.requests_last_hour > 100 };\n\
         @id(\"own\") permit (principal is Keywright::Agent, action == Keywright::Action::\"revoke\", resource) when { resource \
         has agent && resource.agent == principal };\n\
         @id(\"operators\") permit (principal is Keywright::Operator, action, resource);\n",
    );
    for n in 0..count.saturating_sub(4) {
        writeln!(
            text,
            "@id(\"grant-{n}\") permit (principal == Keywright::Agent::\"agent-{}\", action == Keywright::Action::\"mint\", resource \
             == Keywright::Template::\"cf/job-{}\") when {{ context.ttl_seconds <= 7776000 && context.keys_active < 50 }};",
            n % 100,
            n / 3,
        )
        .unwrap();
    }
    text
}

/// A question that grant number `n` of [`grown_policies`] allows.
pub(crate) fn grown_question(n: usize) -> Question {
    let facts = TemplateFacts::of(&template(&format!("cf/job-{}", n / 3), "standard", false));
    Question::mint(agent(&format!("agent-{}", n % 100)), facts, ask(), Counts::default())
}

/// The whole set in Cedar's hands, with the same ids.
pub(crate) fn whole(text: &str) -> PolicySet {
    let read: PolicySet = text.parse().unwrap();
    let mut set = PolicySet::new();
    for policy in read.policies() {
        let id = PolicyId::new(policy.annotation("id").unwrap());
        set.add(policy.new_id(id)).unwrap();
    }
    set
}

/// What Cedar says over the whole set.
pub(crate) fn by_the_whole_set(set: &PolicySet, question: &Question, approvals: u8) -> Answer {
    let prepared = question.prepare().unwrap();
    let response =
        Authorizer::new().is_authorized(&prepared.request(approvals).unwrap(), set, prepared.entities());
    let errors: BTreeSet<String> = response.diagnostics().errors().map(ToString::to_string).collect();
    let allowed = errors.is_empty() && response.decision() == Verdict::Allow;
    Answer { allowed, policies: response.diagnostics().reason().map(ToString::to_string).collect(), errors }
}
