//! Test files of policies, for `policy test FILE`.
//!
//! ```toml
//! [[case]]
//! name = "production needs two operators"
//! expect = "needs 2"                                   # allow | deny | needs 1 | needs 2 | needs 3
//! principal = "agent builder"                          # agent NAME | operator NAME | workload NAME | schedule
//! action = "mint"
//! template = { id = "cloudflare/dns-edit", tier = "standard", mutating = 25 }
//! context = { project = "web", environment = "production", ttl = "30d" }
//! ```
//!
//! `mint` and `propose` are about a `template`, `rotate`, `revoke` and `deliver` about a `key`, `inspect` about either, and so is
//! `approve`: an operator's approval of a mint or of a rotation, with `own` and `approvals` (how many it needs) in its `context`.
//! Every field of `template`, `key` and `context` has a default.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Action, Actor, Ask, Counts, Decision, Effect, KeyFacts, Policies, Question, TemplateFacts};
use crate::grant::Permission;
use crate::id::KeyId;
use crate::name::{
    AgentName, EnvironmentName, KeyName, Kind, OperatorName, ProjectName, TemplateId, WorkloadName,
};
use crate::place::Place;
use crate::plan::Principal;
use crate::span::Span;
use crate::template::{Limits, ResolvedTemplate, Template, Tier, Usd};
use crate::text::Untrusted;

/// How one case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseResult {
    /// The case's name.
    pub name: Untrusted,
    /// What the file expects.
    pub expected: Effect,
    /// What the policies decide.
    pub decision: Decision,
    /// What was asked, in words.
    pub asked: String,
}

/// A test file that can't be run.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// The file is too long.
    #[error("a policy test file has at most {MAX_TEXT} bytes, this one has {0}")]
    TooLong(usize),
    /// It is not TOML, or not the fields of a test file.
    #[error("the policy tests can't be read: {0}")]
    Form(#[source] Box<toml::de::Error>),
    /// One case makes no sense.
    #[error("case `{case}`: {problem}")]
    Case {
        /// The case's name.
        case: Untrusted,
        /// What is wrong.
        problem: String,
    },
}

const MAX_TEXT: usize = 1024 * 1024;

/// Runs a test file against policies, in the file's order.
///
/// # Errors
/// When the file can't be read or a case makes no sense; a case with another outcome than expected is a result.
pub fn run_cases(policies: &Policies, text: &str) -> Result<Vec<CaseResult>, CaseError> {
    if text.len() > MAX_TEXT {
        return Err(CaseError::TooLong(text.len()));
    }
    let file: File = toml::from_str(text).map_err(|error| CaseError::Form(Box::new(error)))?;
    file.case.into_iter().map(|case| run(policies, case)).collect()
}

impl CaseResult {
    /// Whether the policies decide as the file expects.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.decision.effect == self.expected
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    expect: String,
    principal: String,
    workload: Option<Scope>,
    action: String,
    template: Option<TemplateCase>,
    key: Option<KeyCase>,
    #[serde(default)]
    context: ContextCase,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scope {
    project: ProjectName,
    environment: Option<EnvironmentName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateCase {
    #[serde(default = "fixed::template")]
    id: TemplateId,
    #[serde(default = "fixed::tier")]
    tier: Tier,
    #[serde(default)]
    permissions: Vec<String>,
    #[serde(default)]
    escalation: bool,
    #[serde(default)]
    unlocks: u32,
    #[serde(default)]
    mutating: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyCase {
    #[serde(default = "fixed::key")]
    id: KeyId,
    #[serde(default = "fixed::key_name")]
    name: KeyName,
    #[serde(default = "fixed::project")]
    project: ProjectName,
    #[serde(default = "fixed::environment")]
    environment: EnvironmentName,
    #[serde(default = "fixed::template")]
    template: TemplateId,
    #[serde(default = "fixed::tier")]
    tier: Tier,
    #[serde(default)]
    escalation: bool,
    agent: Option<AgentName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ContextCase {
    project: ProjectName,
    environment: EnvironmentName,
    parameters: BTreeMap<String, String>,
    resources: BTreeMap<String, String>,
    ttl: Span,
    destinations: Vec<String>,
    budget_usd: Option<Usd>,
    keys_active: u64,
    requests_last_hour: u64,
    own: bool,
    approvals: u8,
}

impl Default for ContextCase {
    fn default() -> Self {
        Self {
            project: fixed::project(),
            environment: fixed::environment(),
            parameters: BTreeMap::new(),
            resources: BTreeMap::new(),
            ttl: Span::from_seconds(30 * 86_400),
            destinations: Vec::new(),
            budget_usd: None,
            keys_active: 0,
            requests_last_hour: 0,
            own: false,
            approvals: 1,
        }
    }
}

fn run(policies: &Policies, case: Case) -> Result<CaseResult, CaseError> {
    let name = Untrusted::capped(&case.name, 200);
    let bad = |problem: String| CaseError::Case { case: name.clone(), problem };
    let expected = effect(&case.expect).ok_or_else(|| {
        bad(format!(
            "`{}` is not an outcome; use allow, deny or needs N",
            Untrusted::capped(&case.expect, 40)
        ))
    })?;
    let question = question(case).map_err(bad)?;
    let decision = policies.decide(&question);
    Ok(CaseResult { name: name.clone(), expected, decision, asked: question.to_string() })
}

fn effect(text: &str) -> Option<Effect> {
    match text {
        "allow" => Some(Effect::Allow),
        "deny" => Some(Effect::Deny),
        "needs 1" => Some(Effect::NeedsApprovals(1)),
        "needs 2" => Some(Effect::NeedsApprovals(2)),
        "needs 3" => Some(Effect::NeedsApprovals(3)),
        _ => None,
    }
}

fn question(case: Case) -> Result<Question, String> {
    let actor = actor(&case.principal, case.workload)?;
    let counts =
        Counts { keys_active: case.context.keys_active, requests_last_hour: case.context.requests_last_hour };
    let action = Action::parse(&case.action)
        .ok_or_else(|| format!("`{}` is not an action", Untrusted::capped(&case.action, 40)))?;
    match (action, case.template, case.key) {
        (Action::Mint, Some(template), None) => {
            Ok(Question::mint(actor, facts(template)?, ask(case.context)?, counts))
        }
        (Action::Propose | Action::Inspect, Some(template), None) => {
            Ok(Question::on_template(actor, action, facts(template)?, counts))
        }
        (Action::Rotate | Action::Revoke | Action::Deliver | Action::Inspect, None, Some(key)) => {
            Ok(Question::on_key(actor, action, key_facts(key)?, counts))
        }
        (Action::Approve, template, key) => {
            let Principal::Operator(operator) = actor.principal().clone() else {
                return Err("`approve` is something that operators do".to_owned());
            };
            let (own, needed) = (case.context.own, case.context.approvals);
            let of = match (template, key) {
                (Some(template), None) => Question::mint(actor, facts(template)?, ask(case.context)?, counts),
                (None, Some(key)) => Question {
                    ask: Some(ask(case.context)?),
                    ..Question::on_key(actor, Action::Rotate, key_facts(key)?, counts)
                },
                _ => return Err("`approve` is about either a `template` or a `key`".to_owned()),
            };
            Ok(Question::approve(&of, &operator, own, needed))
        }
        (Action::Mint | Action::Propose, ..) => Err(format!("`{action}` is about a `template`")),
        (Action::Inspect, ..) => Err("`inspect` is about either a `template` or a `key`".to_owned()),
        (Action::Rotate | Action::Revoke | Action::Deliver, ..) => {
            Err(format!("`{action}` is about a `key`"))
        }
    }
}

fn actor(text: &str, scope: Option<Scope>) -> Result<Actor, String> {
    let said = |error: crate::name::NameError| error.to_string();
    let (kind, name) = text.split_once(' ').unwrap_or((text, ""));
    let principal = match kind {
        "agent" => Principal::Agent(AgentName::parse(name).map_err(said)?),
        "operator" => Principal::Operator(OperatorName::parse(name).map_err(said)?),
        "schedule" if name.is_empty() => Principal::Schedule,
        "workload" => {
            let name = WorkloadName::parse(name).map_err(said)?;
            return Ok(match scope {
                Some(Scope { project, environment }) => Actor::workload(name, project, environment),
                None => Principal::Workload(name).into(),
            });
        }
        _ => {
            let given = Untrusted::capped(text, 80);
            return Err(format!(
                "`{given}` is not a principal; write `agent NAME`, `operator NAME`, `workload NAME` or `schedule`"
            ));
        }
    };
    match scope {
        Some(_) => Err("`workload` goes with a principal that is one".to_owned()),
        None => Ok(principal.into()),
    }
}

fn provider(template: &TemplateId) -> Result<Kind, String> {
    let provider = template.as_str().split('/').next().unwrap_or_default();
    Kind::parse(provider).map_err(|error| error.to_string())
}

fn facts(case: TemplateCase) -> Result<TemplateFacts, String> {
    let permissions: Vec<Permission> = case
        .permissions
        .into_iter()
        .map(|name| Permission { id: name.clone(), name, scope: String::new() })
        .collect();
    let template = Template {
        provider: provider(&case.id)?,
        id: case.id,
        title: String::new(),
        connection: None,
        tier: case.tier,
        permissions: Vec::new(),
        operations: Vec::new(),
        escalation: Vec::new(),
        parameters: BTreeMap::new(),
        limits: Limits {
            ttl_default: None,
            ttl_max: Span::from_seconds(u64::MAX),
            destinations: Vec::new(),
            ip_allow: Vec::new(),
            budget_usd: None,
        },
        rotation: None,
    };
    let escalation = if case.escalation { vec!["escalation".to_owned()] } else { Vec::new() };
    let (unlocks, mutating) = (case.unlocks, case.mutating);
    Ok(TemplateFacts::of(&ResolvedTemplate { template, permissions, escalation, unlocks, mutating }))
}

fn key_facts(case: KeyCase) -> Result<KeyFacts, String> {
    Ok(KeyFacts {
        id: case.id,
        name: case.name,
        project: case.project,
        environment: case.environment,
        provider: provider(&case.template)?,
        template: case.template,
        tier: case.tier,
        escalation: case.escalation,
        agent: case.agent,
    })
}

fn ask(case: ContextCase) -> Result<Ask, String> {
    let places: Result<Vec<_>, _> = case.destinations.iter().map(|place| Place::parse(place)).collect();
    Ok(Ask {
        project: case.project,
        environment: case.environment,
        parameters: case.parameters,
        resources: case.resources.into_iter().collect::<BTreeSet<_>>(),
        ttl: case.ttl,
        destinations: places.map_err(|error| error.to_string())?,
        budget_cents: case.budget_usd.map(|usd| usd.0),
    })
}

/// What a case that says nothing else is about.
mod fixed {
    #![expect(clippy::expect_used, reason = "constants, which every test of this module reads")]

    use super::{EnvironmentName, KeyId, KeyName, ProjectName, TemplateId, Tier};

    pub(super) fn template() -> TemplateId {
        TemplateId::parse("cloudflare/dns-edit").expect("a constant")
    }
    pub(super) fn tier() -> Tier {
        Tier::Standard
    }
    pub(super) fn key() -> KeyId {
        KeyId::parse("key_01970000000070008000000000000000").expect("a constant")
    }
    pub(super) fn key_name() -> KeyName {
        KeyName::parse("TOKEN").expect("a constant")
    }
    pub(super) fn project() -> ProjectName {
        ProjectName::parse("web").expect("a constant")
    }
    pub(super) fn environment() -> EnvironmentName {
        EnvironmentName::parse("dev").expect("a constant")
    }
}
