//! Standing grants: what of an agent's requests is approved in advance, on its page, and how a request leads to one.

use std::sync::Arc;

use jiff::Timestamp;
use keywright_broker::grants::GrantShown;
use keywright_broker::passkey::Like;
use keywright_broker::review::Review;
use keywright_core::look;
use keywright_core::name::OperatorName;
use keywright_core::place::DestinationPattern;
use keywright_core::standing::StandingGrant;

use super::super::Door;
use super::parts::{Deed, Part, Shown, Table, Text, Tone};
use super::{deeds, has_passkey};

/// For how many days one can be given by a touch, and for how many requests; no number stands for any.
const DAYS: [u64; 3] = [1, 7, 30];
const USES: [Option<u64>; 4] = [Some(1), Some(10), Some(100), None];
/// What is chosen to begin with.
const USUAL: (u64, Option<u64>) = (7, Some(10));

/// What of it is approved in advance, and how each of those ends.
pub(super) async fn standing(door: &Door, operator: &OperatorName, grants: &[GrantShown]) -> Vec<Part> {
    let now = door.broker.now();
    let row = |one: &GrantShown| {
        let grant = &one.grant;
        let uses = grant.uses.map_or_else(|| one.used.to_string(), |most| format!("{} of {most}", one.used));
        let state = match &one.void {
            Some(why) => Text::of(format!("counts for nothing: {why}")).toned(Tone::Warn),
            None => Text::at(grant.until, now),
        };
        vec![
            Text::of(grant.template.to_string()),
            Text::of(place(grant)),
            Text::of(parameters(grant)),
            Text::of(destinations(grant)),
            Text::of(grant.ttl_max.to_string()),
            Text::of(uses),
            Text::of(grant.operator.as_str()),
            state,
            Text::of(grant.id.to_string()),
        ]
    };
    let table = Table {
        header: vec![
            "template",
            "for",
            "parameters",
            "goes to",
            "lives at most",
            "used",
            "by",
            "until",
            "id",
        ],
        rows: grants.iter().map(row).collect(),
        empty: "Nothing: `keywright grant add` approves a class of its requests for a while, and so does the page of a request that \
                was approved.",
    };
    let remove = |one: &GrantShown| Deed {
        act: "remove_grant",
        field: "grant",
        of: Shown::of(one.grant.id.to_string()),
        label: Shown::of(format!("Remove the grant for {}", one.grant.template)),
        says: Shown::of("Has it approve nothing any more. Keys that were made by it live on."),
        tone: Tone::Warn,
        asks: "",
        command: Shown::of(format!("keywright grant remove {}", one.grant.id)),
    };
    let mut parts = vec![Part::Table(table)];
    // Why there are no buttons stands on the page already.
    if !grants.is_empty() && has_passkey(door, operator).await {
        parts.push(deeds(door, operator, grants.iter().map(remove).collect()).await);
    }
    parts
}

/// A grant that a touch gives, in plain words.
pub(super) struct Likes {
    /// The digest of the plan that it is like.
    pub(super) digest: Shown,
    pub(super) agent: Shown,
    /// All that it says, but for how long and how often.
    pub(super) says: Vec<Part>,
    pub(super) days: Vec<Choice>,
    pub(super) uses: Vec<Choice>,
    /// Where keys go, of this name only or of any.
    pub(super) names: Vec<Choice>,
    /// Whether a key lies at this place that lives.
    pub(super) is_taken: bool,
}

/// Something that can be chosen; nothing stands for any number.
pub(super) struct Choice {
    pub(super) value: String,
    pub(super) label: Shown,
    pub(super) is_chosen: bool,
}

/// The grant that can be given for requests like one that was approved; `None` where there is none to give.
pub(super) async fn likes(door: &Arc<Door>, operator: &OperatorName, review: &Review) -> Option<Likes> {
    let Like { grant, is_taken, any_name } = door.broker.grant_like(operator, review.request).await.ok()?;
    let numbers =
        |count: u64, noun: &str| if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") };
    let days = DAYS.into_iter().map(|days| Choice {
        value: days.to_string(),
        label: Shown::of(numbers(days, "day")),
        is_chosen: days == USUAL.0,
    });
    let uses = USES.into_iter().map(|uses| Choice {
        value: uses.map_or_else(String::new, |uses| uses.to_string()),
        label: Shown::of(
            uses.map_or_else(|| "any number of requests".to_owned(), |uses| numbers(uses, "request")),
        ),
        is_chosen: uses == USUAL.1,
    });
    let facts = vec![
        ("for", Text::of(format!("agent {}, in {}", grant.agent, place(&grant)))),
        ("template", Text::of(format!("{}, version {}", grant.template, grant.template_version))),
        ("parameters", Text::of(format!("exactly {}", parameters(&grant)))),
        ("lives", Text::of(format!("{} at most", grant.ttl_max))),
    ];
    Some(Likes {
        digest: Shown::of(&review.digest),
        agent: Shown::of(grant.agent.as_str()),
        says: vec![Part::facts(facts)],
        names: names(&grant, is_taken, any_name),
        is_taken,
        days: days.collect(),
        uses: uses.collect(),
    })
}

/// Where the keys go, in words that can be chosen among: this place alone first, and chosen, also where a key lies there that lives.
/// Keys of any name are nobody's choice but by their own hand.
fn names(grant: &StandingGrant, is_taken: bool, any_name: Option<Vec<DestinationPattern>>) -> Vec<Choice> {
    let note = if is_taken { " only (taken just now)" } else { " only" };
    let choice = |value: &str, grant: &StandingGrant, note: &str| Choice {
        value: value.to_owned(),
        label: Shown::of(format!("{}{note}", destinations(grant))),
        is_chosen: value == "this",
    };
    let wider = any_name.filter(|wider| *wider != grant.destinations);
    let wider = wider.map(|wider| StandingGrant { destinations: wider, ..grant.clone() });
    let any = wider.map(|wider| choice("any", &wider, ", keys of any name"));
    std::iter::once(choice("this", grant, note)).chain(any).collect()
}

/// That one was given, and for what.
pub(super) fn given(grant: &StandingGrant, now: Timestamp) -> String {
    let uses = match grant.uses {
        Some(1) => "1 request".to_owned(),
        Some(uses) => format!("{uses} requests"),
        None => "any number of requests".to_owned(),
    };
    format!(
        "Approved in advance: {uses} for {} in {}, {}, to {}; it ends {}. It stands below, with a button that removes it.",
        grant.template,
        place(grant),
        parameters(grant),
        destinations(grant),
        crate::when::both(&grant.until.to_string(), now),
    )
}

fn place(grant: &StandingGrant) -> String {
    format!("{} / {}", grant.project, grant.environment)
}

fn parameters(grant: &StandingGrant) -> String {
    let named = grant.parameters.iter().map(|(name, value)| format!("{name} = {}", look::shown(value)));
    let rest = grant.any_parameters.then(|| "any that the template allows".to_owned());
    let all: Vec<String> = named.chain(rest).collect();
    if all.is_empty() { "no parameters".to_owned() } else { all.join(", ") }
}

fn destinations(grant: &StandingGrant) -> String {
    let places = grant.destinations.iter().map(ToString::to_string);
    let all: Vec<String> = places.map(|place| look::shown(&place).into_owned()).collect();
    match &grant.directory {
        Some(directory) => format!("{} from {directory}", all.join(", ")),
        None => all.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use keywright_core::id::GrantId;

    use super::*;

    #[test]
    fn this_place_alone_stands_first_and_is_chosen_whatever_lies_there() {
        let pattern = |text: &str| vec![DestinationPattern::parse(text).unwrap()];
        let now = Timestamp::UNIX_EPOCH;
        let grant = StandingGrant {
            id: GrantId::generate(now, [7; 10]),
            operator: "ana".parse().unwrap(),
            agent: "bot".parse().unwrap(),
            template: "cloudflare/dns-edit".parse().unwrap(),
            template_version: 1,
            project: "web".parse().unwrap(),
            environment: "dev".parse().unwrap(),
            parameters: std::collections::BTreeMap::new(),
            any_parameters: false,
            destinations: pattern("embedded:web/dev/CF"),
            directory: None,
            ttl_max: keywright_core::span::Span::from_seconds(60),
            uses: None,
            given_at: now,
            until: now,
        };
        for (is_taken, any_name, labels) in [
            (false, None, vec!["embedded:web/dev/CF only"]),
            (true, None, vec!["embedded:web/dev/CF only (taken just now)"]),
            (
                false,
                Some("embedded:web/dev/*"),
                vec!["embedded:web/dev/CF only", "embedded:web/dev/*, keys of any name"],
            ),
            (
                true,
                Some("embedded:web/dev/*"),
                vec!["embedded:web/dev/CF only (taken just now)", "embedded:web/dev/*, keys of any name"],
            ),
            (true, Some("embedded:web/dev/CF"), vec!["embedded:web/dev/CF only (taken just now)"]),
        ] {
            let all = names(&grant, is_taken, any_name.map(pattern));
            assert_eq!(all.iter().map(|one| one.label.to_string()).collect::<Vec<_>>(), labels);
            let chosen: Vec<bool> = all.iter().map(|one| one.is_chosen).collect();
            assert_eq!(chosen, (0..labels.len()).map(|at| at == 0).collect::<Vec<_>>());
            assert_eq!(all.first().map(|one| one.value.as_str()), Some("this"));
        }
    }
}
