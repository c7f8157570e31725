//! What came of what was decided before a page.

use keywright_broker::approve::Less;
use keywright_broker::review::{Pending, Proposed, Review};
use keywright_core::name::AgentName;
use keywright_core::plan::Principal;
use keywright_core::receipt::Status;

use super::super::Door;
use super::agents::of_status;
use super::parts::{Part, Shown, Text, Tone};

/// So many requests are decided by one touch.
const DONE: usize = 10;

/// What came of one of them.
struct Came {
    /// What it is, and where.
    name: Text,
    what: String,
    /// The same of several, where that reads otherwise.
    of_several: &'static str,
    tone: Tone,
}

/// What came of the requests that an address names: one sentence for all of which the same is to say, in their order.
pub(super) async fn of(door: &Door, query: Option<&str>) -> Vec<Part> {
    let asked = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let requests = asked.into_iter().filter_map(|(name, id)| (name == "done").then_some(id)).take(DONE);
    let mut all: Vec<Came> = Vec::new();
    for request in requests {
        let Ok(pending) = door.broker.review(&request, &Less::default()).await else { continue };
        let came = match &pending {
            Pending::Key(review) => of_key(door, review),
            Pending::Template(proposed) => of_template(door, proposed),
        };
        // Nobody decided it twice.
        if all.iter().all(|one| one.name.href != came.name.href) {
            all.push(came);
        }
    }
    told(all)
}

fn of_key(door: &Door, review: &Review) -> Came {
    let (mut what, of_several) = match review.status {
        Status::PendingApproval => (
            "your approval is on record; it needs another operator".to_owned(),
            "approved by you; they need another operator",
        ),
        Status::Active => (review.stands.to_owned(), "approved; their keys are in force"),
        Status::InProgress => (review.stands.to_owned(), "approved; their keys are being made"),
        Status::Denied | Status::Rejected | Status::Expired | Status::Failed | Status::Revoked => {
            (review.stands.to_owned(), "")
        }
    };
    if let (Status::Rejected, Principal::Agent(agent)) = (review.status, &review.plan.principal) {
        what.push_str(&pause(door, agent));
    }
    let name = Text::of(review.plan.name.as_str()).to(&["r", &review.request.to_string()]);
    Came { name, what, of_several, tone: of_status(review.status) }
}

fn of_template(door: &Door, proposed: &Proposed) -> Came {
    let mut what = of_proposal(&proposed.status).to_owned();
    let is_rejected = proposed.status == "rejected";
    if let Ok(agent) = proposed.agent.parse::<AgentName>()
        && is_rejected
    {
        what.push_str(&pause(door, &agent));
    }
    let name = Text::of(format!("template {}", proposed.template)).to(&["r", &proposed.request.to_string()]);
    Came { name, what, of_several: "", tone: if is_rejected { Tone::Bad } else { Tone::Good } }
}

fn told(all: Vec<Came>) -> Vec<Part> {
    let mut groups: Vec<Vec<Came>> = Vec::new();
    for came in all {
        match groups.iter_mut().find(|group| group.iter().any(|one| one.what == came.what)) {
            Some(group) => group.push(came),
            None => groups.push(vec![came]),
        }
    }
    groups.into_iter().flat_map(|group| note(&group)).collect()
}

fn note(group: &[Came]) -> Vec<Part> {
    let Some(first) = group.first() else { return Vec::new() };
    if group.len() == 1 {
        let said = Shown::of(format!("{}: {}", first.name.text, first.what));
        return vec![Part::Note(said, first.tone), Part::More(first.name.href.clone(), "look at it again")];
    }
    let said = match first.of_several {
        "" => format!("{} requests: {}", group.len(), first.what),
        words => format!("{} requests {words}", group.len()),
    };
    let names = group.iter().map(|one| one.name.clone()).collect();
    vec![Part::Came(Shown::of(said), names, first.tone)]
}

/// That an agent asks in vain from now on, where it does.
fn pause(door: &Door, agent: &AgentName) -> String {
    match door.broker.paused(agent) {
        Some(_) => {
            format!("; agent {agent} is paused: what it asks for is refused until somebody resumes it")
        }
        None => String::new(),
    }
}

/// How a proposal stands, for people.
pub(super) fn of_proposal(status: &str) -> &str {
    match status {
        "pending" => "waits for approval",
        "applied" => "in force",
        "rejected" => "turned down",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_of_which_the_same_is_to_say_are_one_sentence_and_another_stands_by_itself() {
        let came = |name: &str, what: &str| Came {
            name: Text::of(name).to(&["r", name]),
            what: what.to_owned(),
            of_several: if what == "failed" { "" } else { "approved; their keys are in force" },
            tone: Tone::Good,
        };
        let force = "approved; the key is in force";
        let mut all: Vec<Came> = (0..10).map(|at| came(&format!("N{at}"), force)).collect();
        all.insert(3, came("ODD", "failed"));
        let parts = told(all);
        assert_eq!(parts.len(), 3, "one for ten, and one with its link");
        let Part::Came(said, names, _) = &parts[0] else { panic!("{parts:?}") };
        assert_eq!(said.to_string(), "10 requests approved; their keys are in force");
        assert_eq!(names.len(), 10);
        assert!(names.iter().all(|one| one.href == format!("/r/{}", one.text)));
        let Part::Note(said, _) = &parts[1] else { panic!("{parts:?}") };
        assert_eq!(said.to_string(), "ODD: failed");
    }
}
