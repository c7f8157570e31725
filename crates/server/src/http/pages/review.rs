//! One request, or one proposal: what whoever decides reads, and where they decide.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use keywright_broker::approve::Less;
use keywright_broker::blocks::{self, Block};
use keywright_broker::review::{Pending, Proposed, Review};
use keywright_core::id::RequestId;
use keywright_core::look;
use keywright_core::name::OperatorName;
use keywright_core::plan::Principal;
use keywright_core::receipt::{Narrowed, Status};
use sha2::{Digest as _, Sha256};

use super::super::Door;
use super::super::session::Looks;
use super::approvals::{given, voided, with_approvals};
use super::came;
use super::grants::{Likes, likes};
use super::parts::{Part, Shown, Table, Text, Tone, path, with_query};
use super::{failed, has_passkey, html};

#[derive(Template)]
#[template(path = "review.html")]
struct ReviewPage {
    title: Shown,
    here: &'static str,
    operator: Shown,
    waiting: u64,
    fresh: bool,
    /// What came of what was decided before.
    notes: Vec<Part>,
    /// That the approval of whoever looks counts no more, and why.
    voided: Shown,
    /// What waits for them besides: a path, or nothing.
    before: String,
    after: String,
    request: Shown,
    level: Tone,
    verdict: Shown,
    status: Shown,
    match_code: Shown,
    /// What it is about, by name: the verdict only counts.
    subject: Shown,
    /// Whether a name in it can be taken for another one.
    looks: bool,
    flags: Vec<Shown>,
    blocks: Vec<Part>,
    source: Vec<Part>,
    /// What can be decided, where it still can.
    decision: Option<Decision>,
    /// Where the key is, once there is one.
    key: String,
    /// Requests that wait and may be approved together with this one.
    alike: Vec<Part>,
    /// All of those and this one, as they are signed: ids and digests.
    together: Option<Together>,
    /// What requests like it can be approved with in advance.
    likes: Option<Likes>,
}

/// Requests that one touch approves, or those of them that stay chosen.
struct Together {
    requests: Vec<OfSeveral>,
}

/// One of them.
struct OfSeveral {
    request: String,
    digest: Shown,
    label: Shown,
}

/// What an operator can decide.
struct Decision {
    /// Whoever asked is paused since.
    is_paused: bool,
    /// All of what would be signed is on the page.
    is_whole: bool,
    is_template: bool,
    /// What is signed: of a plan its digest, of a template the SHA-256 of its text.
    digest: Shown,
    /// Of a template, which version it becomes.
    version: u64,
    /// What would be cut off.
    ttl: Shown,
    without: Vec<Shown>,
    /// What can be: shorter lives, and permissions.
    lives: Vec<Choice>,
    permissions: Vec<Choice>,
    is_less: bool,
    /// What is less, in words.
    smaller: Shown,
    /// Whose approval counts no more once something less is approved, in words.
    voids: Shown,
    /// They have approved already.
    has_approved: bool,
    /// As many have as it takes, and it has not begun.
    is_enough: bool,
    /// Why nobody can say whether they may.
    unknown: Shown,
    has_passkey: bool,
    agent: Shown,
    /// It was an agent that asked, which can be paused.
    is_agent: bool,
}

impl Decision {
    /// Whether they can approve it here and now.
    fn may_approve(&self) -> bool {
        self.has_passkey && self.is_whole && !self.is_enough && !self.has_approved && self.unknown.is_empty()
    }
}

/// Something that can be chosen.
struct Choice {
    value: Shown,
    label: Shown,
    is_chosen: bool,
}

/// What is cut off, from the address of the page.
fn less(query: Option<&str>) -> Less {
    let mut less = Less::default();
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match name.as_ref() {
            "ttl" if !value.is_empty() => less.ttl = Some(value.into_owned()),
            "without" if !value.is_empty() => less.without.push(value.into_owned()),
            _ => {}
        }
    }
    less
}

pub(crate) async fn page(
    State(door): State<Arc<Door>>,
    Looks(operator): Looks,
    Path(request): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let less = less(query.as_deref());
    let pending = match door.broker.review(&request, &less).await {
        Ok(pending) => pending,
        Err(error) => return failed("inbox", &operator, error),
    };
    let has_passkey = has_passkey(&door, &operator).await;
    let whole = whole(&request, query.as_deref());
    let mut page = match &pending {
        Pending::Key(review) => of_key(&door, review, &operator, has_passkey, (&less, &whole)).await,
        Pending::Template(proposed) => of_template(&door, proposed, &operator, has_passkey, &whole),
    };
    let id = match &pending {
        Pending::Key(review) => review.request,
        Pending::Template(proposed) => proposed.request,
    };
    let (before, after) = door.broker.beside(&operator, id).await.unwrap_or_default();
    let leads = |to: Option<RequestId>| to.map(|id| path(&["r", &id.to_string()])).unwrap_or_default();
    (page.before, page.after) = (leads(before), leads(after));
    page.notes = came::of(&door, query.as_deref()).await;
    page.waiting = door.broker.waits_for(&operator).await.unwrap_or(0);
    html(&page, StatusCode::OK)
}

/// The same page with all of what others wrote; nothing where this is it.
fn whole(request: &str, query: Option<&str>) -> String {
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .filter(|(name, _)| ["ttl", "without", "whole"].contains(&name.as_ref()))
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    if pairs.iter().any(|(name, _)| name == "whole") {
        return String::new();
    }
    let asked = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let pairs: Vec<(&str, &str)> = asked.chain([("whole", "1")]).collect();
    with_query(&path(&["r", request]), &pairs)
}

fn parts(door: &Door, blocks: &[Block], whole: &str) -> Vec<Part> {
    let now = door.broker.now();
    blocks.iter().flat_map(|block| Part::block(block, now, whole)).collect()
}

async fn of_key(
    door: &Arc<Door>,
    review: &Review,
    operator: &OperatorName,
    has_passkey: bool,
    (less, whole_at): (&Less, &str),
) -> ReviewPage {
    let waits = review.status == Status::PendingApproval;
    let (asked, digest, approved_by) =
        match door.broker.review(&review.request.to_string(), &Less::default()).await {
            Ok(Pending::Key(asked)) => (asked.plan, asked.digest, asked.approved_by),
            _ => (review.plan.clone(), review.digest.clone(), Vec::new()),
        };
    let approvals = given(door, review, &digest).await;
    let voided = voided(review, operator, &approvals);
    let smaller = Narrowed {
        by: operator.to_string(),
        asked_ttl: asked.ttl,
        given_ttl: review.plan.ttl,
        without: asked
            .permissions
            .iter()
            .filter(|one| !review.plan.permissions.contains(one))
            .map(|one| one.name.clone())
            .collect(),
    };
    let voids = match approved_by.as_slice() {
        [] => String::new(),
        [one] => format!("the approval of {one}"),
        several => format!("the approvals of {}", several.join(", ")),
    };
    let decision = waits.then(|| {
        let lives = ["1h", "12h", "1d", "7d", "14d", "30d", "90d"].into_iter();
        let shorter =
            lives.filter(|text| keywright_core::span::Span::parse(text).is_ok_and(|span| span < asked.ttl));
        Decision {
            is_whole: true,
            is_template: false,
            digest: Shown::of(&review.digest),
            version: 0,
            ttl: Shown::of(less.ttl.as_deref().unwrap_or_default()),
            without: less.without.iter().map(Shown::of).collect(),
            lives: shorter
                .map(|text| Choice {
                    value: Shown::of(text),
                    label: Shown::of(text),
                    is_chosen: less.ttl.as_deref() == Some(text),
                })
                .collect(),
            permissions: asked
                .permissions
                .iter()
                .filter(|_| asked.permissions.len() > 1)
                .map(|one| Choice {
                    value: Shown::of(&one.id),
                    label: Shown::of(&one.name),
                    is_chosen: less.without.contains(&one.id),
                })
                .collect(),
            is_paused: is_paused(door, &review.plan.principal),
            is_less: !less.is_nothing(),
            smaller: Shown::of(smaller.words()),
            voids: Shown::of(voids),
            has_approved: review.approved_by.iter().any(|name| name == operator.as_str()),
            is_enough: review.approved_by.len() >= usize::from(review.needed),
            unknown: Shown::of(review.no_approvers.as_deref().unwrap_or_default()),
            has_passkey,
            agent: Shown::of(review.plan.principal.to_string()),
            is_agent: matches!(review.plan.principal, Principal::Agent(_)),
        }
    });
    let key = door.broker.led_to(review.request).await.ok().flatten();
    let (others, more) = if waits && less.is_nothing() && review.no_approvers.is_none() {
        door.broker.alike_and_more(operator, review.request).await.unwrap_or_default()
    } else {
        (Vec::new(), 0)
    };
    ReviewPage {
        title: Shown::of(format!("{} · {}", review.plan.name, review.verdict.level)),
        here: "inbox",
        operator: Shown::of(operator.as_str()),
        waiting: 0,
        fresh: false,
        notes: Vec::new(),
        voided: Shown::of(voided),
        before: String::new(),
        after: String::new(),
        request: Shown::of(review.request.to_string()),
        level: blocks::Tone::from(review.verdict.level).into(),
        verdict: Shown::of(review.verdict.to_string()),
        status: Shown::of(status(review)),
        match_code: Shown::of(if waits { review.match_code.as_str() } else { "" }),
        subject: Shown::of(&review.subject),
        looks: review.looks,
        flags: review.red_flags.iter().map(|flag| Shown::of(flag.to_string())).collect(),
        blocks: with_approvals(parts(door, &review.blocks, whole_at), &approvals),
        source: Vec::new(),
        decision,
        key: key.map(|id| path(&["keys", &id.to_string()])).unwrap_or_default(),
        together: (!others.is_empty()).then(|| together(review, &others)),
        likes: if has_passkey { likes(door, operator, review).await } else { None },
        alike: alike(&others, more, door.broker.now()),
    }
}

fn is_paused(door: &Door, principal: &Principal) -> bool {
    matches!(principal, Principal::Agent(agent) if door.broker.paused(agent).is_some())
}

fn of_template(
    door: &Door,
    proposed: &Proposed,
    operator: &OperatorName,
    has_passkey: bool,
    whole: &str,
) -> ReviewPage {
    // Nobody signs what they could not see.
    let is_whole = Part::shows_all_of(proposed.source.raw());
    let decision = (proposed.status == "pending").then(|| Decision {
        is_paused: proposed.agent.parse().is_ok_and(|agent| door.broker.paused(&agent).is_some()),
        is_whole,
        is_template: true,
        digest: Shown::of(hex::encode(Sha256::digest(proposed.source.raw().as_bytes()))),
        version: proposed.replaces.map_or(1, |replaced| replaced + 1),
        ttl: Shown::default(),
        without: Vec::new(),
        lives: Vec::new(),
        permissions: Vec::new(),
        is_less: false,
        smaller: Shown::default(),
        voids: Shown::default(),
        has_approved: false,
        is_enough: false,
        unknown: Shown::default(),
        has_passkey,
        agent: Shown::of(format!("agent {}", proposed.agent)),
        is_agent: true,
    });
    ReviewPage {
        title: Shown::of(format!("{} · {}", proposed.template, proposed.verdict.level)),
        here: "inbox",
        operator: Shown::of(operator.as_str()),
        waiting: 0,
        fresh: false,
        notes: Vec::new(),
        voided: Shown::default(),
        before: String::new(),
        after: String::new(),
        request: Shown::of(proposed.request.to_string()),
        level: blocks::Tone::from(proposed.verdict.level).into(),
        verdict: Shown::of(proposed.verdict.to_string()),
        status: Shown::of(came::of_proposal(&proposed.status)),
        match_code: Shown::of(if proposed.status == "pending" { proposed.match_code.as_str() } else { "" }),
        subject: Shown::of(&proposed.template),
        looks: false,
        flags: proposed.red_flags.iter().map(Shown::of).collect(),
        blocks: parts(door, &proposed.blocks, whole),
        source: vec![Part::heading("as proposed"), Part::source(proposed.source.raw())],
        decision,
        key: String::new(),
        alike: Vec::new(),
        together: None,
        likes: None,
    }
}

/// A row for each request that may be approved together with one.
fn alike(others: &[Review], more: usize, now: Timestamp) -> Vec<Part> {
    if others.is_empty() {
        return Vec::new();
    }
    let row = |one: &Review| {
        let places = one.plan.destinations.iter().map(|one| look::shown(&one.place.to_string()).into_owned());
        let places: Vec<String> = places.collect();
        vec![
            Text::of(one.plan.name.as_str()).to(&["r", &one.request.to_string()]),
            Text::of(places.join(", ")),
            Text { text: Shown::said(one.plan.purpose.raw()), ..Text::of("") },
            Text::at(one.created_at, now),
            Text::of(&one.match_code),
        ]
    };
    vec![
        Part::heading("others like it"),
        Part::Note(
            Shown::of(
                "They differ from this one in nothing but what stands here: same agent, prompt, project, environment, \
                 template, parameters, permissions, lifetime, store and directory.",
            ),
            Tone::Plain,
        ),
        Part::Table(Table {
            header: vec!["key", "goes to", "purpose", "asked", "match code"],
            rows: others.iter().map(row).collect(),
            empty: "",
        }),
        Part::Note(
            Shown::of(match more {
                0 => String::new(),
                1 => "1 more like these waits: one touch is for 10 at most, so it takes another one."
                    .to_owned(),
                more => format!(
                    "{more} more like these wait: one touch is for 10 at most, so they take another one."
                ),
            }),
            Tone::Warn,
        ),
    ]
}

fn together(review: &Review, others: &[Review]) -> Together {
    let all = std::iter::once(review).chain(others);
    let one = |one: &Review| OfSeveral {
        request: one.request.to_string(),
        digest: Shown::of(&one.digest),
        label: Shown::of(format!("{} ({})", one.plan.name, one.match_code)),
    };
    Together { requests: all.map(one).collect() }
}

/// How it stands; of what was turned down also by whom, which the evidence has.
fn status(review: &Review) -> String {
    let lines = review.blocks.iter().flat_map(|block| &block.lines);
    let by = lines.filter(|line| line.label == "turned down").map(|line| line.text.as_str()).next();
    match by {
        Some(by) => format!("{} {by}", review.stands),
        None => review.stands.to_owned(),
    }
}
