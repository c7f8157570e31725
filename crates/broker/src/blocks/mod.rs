//! What whoever has to decide reads: the same blocks, in the same order and words, in the terminal and on the page. Only how a line is
//! coloured and broken is each door's own.

mod permitted;
mod proposal;
mod settled;

use permitted::{permissions, unlocks};
use settled::Settled;

pub(crate) use proposal::of_proposal;

use jiff::Timestamp;
use keywright_core::grant::Resource;
use keywright_core::key::Key;
use keywright_core::look;
use keywright_core::plan::{Destination, Ending, Plan, Principal};
use keywright_core::receipt::{Narrowed, Status};
use keywright_core::span::Span;
use keywright_core::template::Rotation;
use keywright_core::text::Untrusted;
use keywright_core::verdict::Level;
use keywright_ledger::{ConfiguredConsumer, LedgerError, Request, Workload};
use serde::Serialize;

use crate::broker::Broker;
use crate::error::Result;
use crate::outside::DOTENV;
use crate::review::Review;
use crate::spend::{Spent, spent};

/// How far back it is looked for asks like this one.
const PAST: u32 = 200;

/// A block: a question that a reviewer has, and the answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Block {
    /// Which question.
    pub title: Title,
    /// The answers.
    pub lines: Vec<Line>,
}

/// What a block is about, in the order in which they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Title {
    /// Who asks.
    Who,
    /// What the key may.
    What,
    /// Where it goes.
    Where,
    /// Why, in their words.
    Why,
    /// What else is known.
    Evidence,
}

impl Title {
    /// As it is shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Who => "who",
            Self::What => "what",
            Self::Where => "where",
            Self::Why => "why",
            Self::Evidence => "evidence",
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Of what; empty where it goes on from the line before.
    pub label: &'static str,
    /// The answer. Parts of it may come from anywhere, so it is shown escaped.
    pub text: String,
    /// What it means.
    pub tone: Tone,
    /// Whether all of it is somebody else's words, which stand in quotes.
    pub said: bool,
    /// Whether it is a moment (RFC 3339), which each door shows in its own way.
    pub time: bool,
}

/// What a line means, and so how it is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    /// Nothing special.
    Plain,
    /// It only reads, or takes something away.
    Good,
    /// It changes something.
    Warn,
    /// It deserves a second look.
    Bad,
}

/// Lines under way.
struct Lines(Vec<Line>);

impl Lines {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn toned(mut self, label: &'static str, text: impl Into<String>, tone: Tone) -> Self {
        let text = text.into();
        if !text.is_empty() {
            self.0.push(Line { label, text, tone, said: false, time: false });
        }
        self
    }

    fn add(self, label: &'static str, text: impl Into<String>) -> Self {
        self.toned(label, text, Tone::Plain)
    }

    /// Several answers of one kind.
    fn all(mut self, label: &'static str, texts: impl IntoIterator<Item = (String, Tone)>) -> Self {
        for (at, (text, tone)) in texts.into_iter().enumerate() {
            self = self.toned(if at == 0 { label } else { "" }, text, tone);
        }
        self
    }

    fn plain(self, label: &'static str, texts: impl IntoIterator<Item = String>) -> Self {
        self.all(label, texts.into_iter().map(|text| (text, Tone::Plain)))
    }

    fn said(mut self, label: &'static str, text: &str) -> Self {
        if !text.trim().is_empty() {
            // All of it: how much is shown is each door's own.
            self.0.push(Line { label, text: text.to_owned(), tone: Tone::Plain, said: true, time: false });
        }
        self
    }

    fn time(mut self, label: &'static str, at: Timestamp) -> Self {
        self.0.push(Line { label, text: at.to_string(), tone: Tone::Plain, said: false, time: true });
        self
    }

    fn block(self, title: Title) -> Option<Block> {
        (!self.0.is_empty()).then_some(Block { title, lines: self.0 })
    }
}

/// What is known besides the request.
#[derive(Debug, Clone, Default)]
struct Known {
    /// Asks of the same principal for the same template, this one left out.
    alike: Vec<Status>,
    /// How many asks of theirs were looked at.
    looked_at: usize,
    workloads: Vec<Workload>,
    consumers: Vec<ConfiguredConsumer>,
    /// The key whose version it replaces.
    replaces: Option<Key>,
    /// What the living keys of the agent that asks used.
    spent: Option<Spent>,
    /// How it ended that it waited, where it was not approved.
    settled: Settled,
}

impl Broker {
    /// The blocks of a request, as it would be approved.
    pub(crate) async fn blocks_of(&self, review: &Review, request: &Request) -> Result<Vec<Block>> {
        let known = self.known_of(request).await?;
        Ok(of_request(review, request, &known))
    }

    async fn known_of(&self, request: &Request) -> Result<Known> {
        let (plan, id, keyring) = (request.plan.clone(), request.id, std::sync::Arc::clone(&self.keyring));
        let status = request.status;
        let known = self.ledger.read(move |tx| {
            let asked = tx.requests_of(&plan.principal, PAST)?;
            let alike = asked.iter().filter(|one| one.id != id && one.plan.template == plan.template);
            let workloads = tx.workloads(&keyring)?.into_iter().filter_map(std::result::Result::ok);
            let reads = |one: &Workload| {
                one.project == plan.project
                    && one.environment.as_ref().is_none_or(|own| *own == plan.environment)
            };
            let covers =
                |one: &ConfiguredConsumer| one.uses.covers(&plan.project, &plan.environment, &plan.name);
            Ok::<_, LedgerError>(Known {
                alike: alike.map(|one| one.status).collect(),
                looked_at: asked.len(),
                workloads: workloads.filter(reads).collect(),
                consumers: tx.sound_consumers()?.into_iter().filter(covers).collect(),
                settled: Settled::of(tx, id, status)?,
                replaces: plan.rotates.map(|key| tx.key(key)).transpose()?,
                spent: match &plan.principal {
                    Principal::Agent(name) => spent(tx, &tx.keys_of(name, PAST)?)?,
                    Principal::Operator(_) | Principal::Workload(_) | Principal::Schedule => None,
                },
            })
        });
        Ok(known.await?)
    }
}

fn of_request(review: &Review, request: &Request, known: &Known) -> Vec<Block> {
    let plan = &review.plan;
    let blocks = [
        who(review, plan),
        what(plan, review.narrowed.as_ref()),
        places(plan, known),
        why(review, plan),
        evidence(review, request, known),
    ];
    let titles = [Title::Who, Title::What, Title::Where, Title::Why, Title::Evidence];
    blocks.into_iter().zip(titles).filter_map(|(lines, title)| lines.block(title)).collect()
}

fn who(review: &Review, plan: &Plan) -> Lines {
    let how = match &plan.principal {
        Principal::Agent(_) => ", by its token",
        Principal::Operator(_) | Principal::Workload(_) | Principal::Schedule => "",
    };
    let mut lines = Lines::new()
        .add("asked by", format!("{}{how}", plan.principal))
        .add("for", format!("{} / {}", plan.project, plan.environment));
    for (name, value) in &review.claimed {
        // Nobody checked it.
        let label = if lines.0.iter().any(|line| line.label == "it says") { "" } else { "it says" };
        lines = lines.said(label, &format!("{name} = {}", value.raw()));
    }
    lines
}

fn what(plan: &Plan, narrowed: Option<&Narrowed>) -> Lines {
    let less =
        narrowed.map(|less| format!("operator {} approves less than was asked: {}", less.by, less.words()));
    let budget = plan.budget_cents.map(|cents| format!("{}.{:02} US dollars", cents / 100, cents % 100));
    Lines::new()
        .add("key", plan.name.to_string())
        .add("made at", format!("{} ({})", plan.connection, plan.provider))
        .add(
            "template",
            format!("{} (version {}, {})", plan.template, plan.template_version, plan.tier.as_str()),
        )
        .toned("less", less.unwrap_or_default(), Tone::Good)
        .all("may", permissions(plan.provider.as_str(), &plan.permissions, &plan.escalation))
        .plain("left out", plan.withheld.iter().cloned())
        .all("on", plan.resources.iter().map(resource))
        .all("asked for", plan.parameters.iter().map(|(name, value)| marked(format!("{name} = {value}"))))
        .all("unlocks", [unlocks(plan.unlocks, plan.mutating, plan.needs)])
        .all("can't", cannot(plan).into_iter().map(|text| (text, Tone::Good)))
        .add("lives", lives(plan))
        .plain("only from", plan.ip_allow.iter().cloned())
        .add("budget", budget.unwrap_or_default())
        .add(
            "rotates",
            plan.rotation.as_ref().map(|rotation| rotates(rotation, plan.ttl)).unwrap_or_default(),
        )
}

/// How long a key lives: where it is rotated by itself, that is how long each of its versions does.
fn lives(plan: &Plan) -> String {
    match plan.rotation {
        None => plan.ttl.to_string(),
        Some(_) => format!("{} each version; the key lives until somebody ends it", plan.ttl),
    }
}

/// How often a key is rotated, in words: before its version ends.
fn rotates(rotation: &Rotation, ttl: Span) -> String {
    let longest = rotation.longest(ttl);
    // In hours, which people can read: never later than it is.
    let hours = Span::from_seconds(longest.seconds() / 3_600 * 3_600);
    let every = if hours.seconds() == 0 { longest } else { hours };
    let early =
        if longest < rotation.every { format!(", before the version of {ttl} ends") } else { String::new() };
    format!("by itself, every {every} at the latest{early}")
}

fn resource(resource: &Resource) -> (String, Tone) {
    let name = if resource.name.is_empty() { &resource.id } else { &resource.name };
    let (text, tone) = marked(format!("{name} ({})", resource.kind));
    (text, if resource.kind.contains("all_") { Tone::Bad } else { tone })
}

/// What can be taken for other letters is shown with its code points, and marked, wherever it stands.
fn marked(text: String) -> (String, Tone) {
    match look::doubt(&text) {
        Some(_) => (look::spelled(&text), Tone::Bad),
        None => (text, Tone::Plain),
    }
}

/// What the key can't do, as far as the plan shows it for certain.
fn cannot(plan: &Plan) -> Vec<String> {
    let mut cannot = Vec::new();
    if plan.escalation.is_empty() && plan.unlocks > 0 {
        cannot.push("make keys, or change what others may".to_owned());
    }
    if plan.unlocks > 0 && plan.mutating == 0 {
        cannot.push("change anything".to_owned());
    }
    if !plan.resources.is_empty() && !plan.resources.iter().any(|one| one.kind.contains("all_")) {
        cannot.push("reach anything else than what stands above".to_owned());
    }
    cannot
}

fn places(plan: &Plan, known: &Known) -> Lines {
    let is_embedded = plan.destinations.iter().any(|one| one.place.store.as_str() == "embedded");
    let mut readers: Vec<(String, Tone)> = Vec::new();
    if is_embedded {
        readers.extend(known.workloads.iter().map(|one| (format!("workload {}", one.name), Tone::Plain)));
        readers.push(("operators, with `keywright run`".to_owned(), Tone::Plain));
    }
    for place in plan.destinations.iter().filter(|one| one.place.store.as_str() != "embedded") {
        readers.push(if place.place.store.as_str() == DOTENV {
            let (place, tone) = marked(place.place.to_string());
            let who = format!("whatever runs as the same user and reads {place}, in plain text: agents, too");
            (who, if tone == Tone::Plain { Tone::Warn } else { tone })
        } else {
            marked(format!("whoever may read {}", place.place))
        });
    }
    let old = match (&known.replaces, plan.ending) {
        (None, _) => None,
        (Some(key), None) => Some((format!("{}: it ends once nobody uses it", key.name), Tone::Plain)),
        (Some(key), Some(Ending::Kept)) => {
            Some((format!("{}: it is kept until an operator ends it", key.name), Tone::Plain))
        }
        (Some(key), Some(Ending::Leaked)) => {
            Some((format!("{}: it leaked, and ends at once, used or not", key.name), Tone::Bad))
        }
    };
    let adopted = plan.adopts.as_ref().map(|id| (format!("the credential {id}, made elsewhere"), Tone::Warn));
    Lines::new()
        .all("goes to", plan.destinations.iter().map(|one| marked(destination(one))))
        .all("read by", readers)
        .plain("told of it", known.consumers.iter().map(|one| format!("consumer {}", one.name)))
        .all("replaces", old.into_iter().chain(adopted))
}

fn destination(destination: &Destination) -> String {
    match &destination.base {
        Some(base) => format!("{} (from {base})", destination.place),
        None => destination.place.to_string(),
    }
}

fn why(review: &Review, plan: &Plan) -> Lines {
    let prompt = review.prompt.as_ref().map(Untrusted::raw).unwrap_or_default();
    Lines::new().said("purpose", plan.purpose.raw()).said("prompt", prompt)
}

fn evidence(review: &Review, request: &Request, known: &Known) -> Lines {
    let given = review.approved_by.len();
    let needs = match (review.status, given) {
        (Status::PendingApproval, 0) => format!("{given} of {}", review.needed),
        _ => format!("{given} of {}{}", review.needed, names(&review.approved)),
    };
    let tone = if given >= usize::from(review.needed) { Tone::Good } else { Tone::Plain };
    let is_waiting = review.status == Status::PendingApproval;
    let lines = known
        .settled
        .lines(Lines::new(), &review.reasons)
        .plain("policies", review.policies.iter().cloned())
        .all("asks like it", [alike(request, known)])
        .plain("spent", known.spent.map(|spent| spending(&spent, request)))
        .toned("approvals", needs, tone)
        .all("may approve", may_approve(review))
        .time("asked", review.created_at);
    let lines = if is_waiting { lines.time("waits until", review.expires_at) } else { lines };
    lines.add("digest", review.digest.clone())
}

/// What the keys that an agent has used so far.
fn spending(spent: &Spent, request: &Request) -> String {
    let keys = counted(spent.keys as u64, "key");
    format!("{} with {keys} of {} that live", spent.usage, request.plan.principal.name())
}

/// Who may approve it, where not everybody may or they are too few.
fn may_approve(review: &Review) -> Vec<(String, Tone)> {
    if let Some(why) = &review.no_approvers {
        return vec![(format!("not known: {why}"), Tone::Bad)];
    }
    let (refused, may): (Vec<_>, Vec<_>) = review.approvers.iter().partition(|one| one.refused.is_some());
    let is_short = review.status == Status::PendingApproval
        && !review.approvers.is_empty()
        && may.len() < usize::from(review.needed);
    if refused.is_empty() && !is_short {
        return Vec::new();
    }
    let names: Vec<&str> = may.iter().map(|one| one.name.as_str()).collect();
    let mut lines = vec![match names.as_slice() {
        [] => ("nobody".to_owned(), Tone::Bad),
        names => (names.join(", "), Tone::Plain),
    }];
    lines.extend(refused.iter().map(|one| {
        (format!("not {}: {}", one.name, one.refused.as_deref().unwrap_or_default()), Tone::Warn)
    }));
    if is_short {
        let text = format!(
            "too few: it needs {}. Add an operator (`keywright operator add NAME`), or change the policy",
            counted(review.needed.into(), "distinct operator")
        );
        lines.push((text, Tone::Bad));
    }
    lines
}

/// `: ana 10:02, bea 10:07`.
fn names(approved: &[(String, Timestamp)]) -> String {
    let said: Vec<String> =
        approved.iter().map(|(name, at)| format!("{name} {}", at.strftime("%Y-%m-%dT%H:%M:%SZ"))).collect();
    if said.is_empty() { String::new() } else { format!(": {}", said.join(", ")) }
}

/// How often they asked for the same template, and what came of it.
fn alike(request: &Request, known: &Known) -> (String, Tone) {
    let of = |wanted: &[Status]| known.alike.iter().filter(|status| wanted.contains(status)).count();
    let who = request.plan.principal.name();
    if known.alike.is_empty() {
        let first = format!("none: the first ask of {who} for this template");
        return (first, Tone::Warn);
    }
    let outcomes = [
        (of(&[Status::Active, Status::Revoked, Status::InProgress]), "made"),
        (of(&[Status::Rejected]), "turned down"),
        (of(&[Status::Denied]), "denied"),
        (of(&[Status::Expired]), "expired"),
        (of(&[Status::Failed]), "failed"),
        (of(&[Status::PendingApproval]), "waiting"),
    ];
    let said: Vec<String> = outcomes
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let tone = if of(&[Status::Rejected, Status::Denied]) > 0 { Tone::Warn } else { Tone::Plain };
    let among = known.looked_at;
    (
        format!(
            "{} for this template among the last {among} of {who}: {}",
            known.alike.len(),
            said.join(", ")
        ),
        tone,
    )
}

fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// How a level is coloured.
impl From<Level> for Tone {
    fn from(level: Level) -> Self {
        match level {
            Level::Low => Self::Good,
            Level::Medium => Self::Warn,
            Level::High => Self::Bad,
        }
    }
}
