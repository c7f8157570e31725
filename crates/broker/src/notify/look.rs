//! What a notice is about, as it stands now: in the words that people are told, or nothing once it waits no longer.

use keywright_core::channel::{Matter, Notice, Onward, Rules};
use keywright_core::id::{PlacementId, RequestId, VersionId};
use keywright_core::key::PlacementState;
use keywright_core::plan::Principal;
use keywright_core::receipt::Status;
use keywright_core::span::Span;
use keywright_core::text::{Untrusted, escaped};
use keywright_core::verdict::Level;
use keywright_ledger::{LedgerError, OwedNotice};

use crate::approve::Less;
use crate::broker::Broker;
use crate::error::{BrokerError, Result};
use crate::review::{Pending, Proposed, Review};

/// The longest purpose that is told, in characters.
const PURPOSE: usize = 500;

/// What is said of something that waits.
struct Said {
    level: Option<Level>,
    line: String,
    facts: Vec<(&'static str, String)>,
    onward: Onward,
    purpose: Option<Untrusted>,
}

impl Broker {
    /// What is told of a notice now; nothing once what it is about waits no longer.
    pub(super) async fn notice_of(&self, owed: &OwedNotice, rules: &Rules) -> Result<Option<Notice>> {
        let said = match owed.matter {
            Matter::Request | Matter::Proposal => match self.review(&owed.about, &Less::default()).await? {
                Pending::Key(review) => self.said_of_request(&review),
                Pending::Template(proposed) => self.said_of_proposal(&proposed),
            },
            Matter::Write | Matter::Removal => self.said_of_copy(&owed.about, owed.matter).await?,
            Matter::Late => self.said_of_version(&owed.about).await?,
            Matter::Test => None,
        };
        let Some(said) = said else { return Ok(None) };
        let mut facts = Vec::with_capacity(said.facts.len());
        for (name, value) in said.facts {
            facts.push((name, self.told(&value).await?));
        }
        let purpose = match said.purpose.filter(|_| rules.with_purpose) {
            Some(purpose) => Some(self.kept(purpose.raw(), PURPOSE).await?),
            None => None,
        };
        let waited = self.now().as_second().saturating_sub(owed.at.as_second());
        Ok(Some(Notice {
            id: owed.id,
            turn: owed.turn,
            channel: owed.channel.clone(),
            matter: owed.matter,
            about: owed.about.clone(),
            at: owed.at,
            waited: u64::try_from(waited).ok().map(Span::from_seconds),
            level: said.level,
            line: self.told(&said.line).await?,
            facts,
            onward: Some(said.onward),
            purpose,
        }))
    }

    /// Text as it leaves: scrubbed, on one line.
    async fn told(&self, text: &str) -> Result<String> {
        Ok(escaped(&self.scrub(text).await?))
    }

    fn said_of_request(&self, review: &Review) -> Option<Said> {
        let waits = review.status == Status::PendingApproval && review.expires_at > self.now();
        let plan = &review.plan;
        let mut facts = vec![
            ("asked by", asker(&plan.principal)),
            ("for", format!("{}/{}", plan.project, plan.environment)),
            ("key", review.subject.clone()),
            ("match code", review.match_code.clone()),
        ];
        if review.needed > 1 {
            facts.push(("approvals", format!("{} of {}", review.approved_by.len(), review.needed)));
        }
        waits.then(|| Said {
            level: Some(review.verdict.level),
            line: review.verdict.line.clone(),
            facts,
            onward: self.onward(review.request),
            purpose: Some(plan.purpose.clone()),
        })
    }

    fn said_of_proposal(&self, proposed: &Proposed) -> Option<Said> {
        (proposed.status == "pending").then(|| Said {
            level: Some(proposed.verdict.level),
            line: proposed.verdict.line.clone(),
            facts: vec![
                ("asked by", format!("agent {}", escaped(&proposed.agent))),
                ("template", proposed.template.clone()),
                ("match code", proposed.match_code.clone()),
            ],
            onward: self.onward(proposed.request),
            purpose: Some(proposed.why.clone()),
        })
    }

    async fn said_of_version(&self, about: &str) -> Result<Option<Said>> {
        let id = VersionId::parse(about).map_err(BrokerError::invalid)?;
        let found = self.ledger.read(move |tx| tx.drain_late(id)).await?;
        Ok(found.map(|(key, version)| Said {
            level: None,
            line: format!("version {} of {} was replaced, and still lives", version.number, key.name),
            facts: vec![("for", format!("{}/{}", key.project, key.environment))],
            onward: Onward::Command(format!("keywright key show {}", key.id)),
            purpose: None,
        }))
    }

    /// What waits in a store for people, where they decide; here is only where it is seen.
    async fn said_of_copy(&self, about: &str, matter: Matter) -> Result<Option<Said>> {
        let (copy, of) = about.split_once('/').unwrap_or((about, ""));
        let id = PlacementId::parse(copy).map_err(BrokerError::invalid)?;
        let (copy, key) = self
            .ledger
            .read(move |tx| {
                let copy = tx.placement(id)?;
                let key = tx.key(copy.key)?;
                Ok::<_, LedgerError>((copy, key))
            })
            .await?;
        let waits = match matter {
            Matter::Write => copy.state == PlacementState::Waiting,
            _ => copy.state.is_ending_by_people(),
        };
        let change = copy.change.unwrap_or_default();
        // Another change stands in its place by now, which is told by itself.
        let waits = waits && (of.is_empty() || change.text() == of);
        let store = copy.destination.place.store;
        let line = match copy.state {
            PlacementState::Waiting => {
                format!(
                    "the value of {} lies in store {store} once somebody approves {change} there",
                    key.name
                )
            }
            PlacementState::Leaving => {
                format!(
                    "the value of {} leaves store {store} once somebody approves {change} there",
                    key.name
                )
            }
            _ => format!("{} has ended, and somebody has to reject {change} in store {store}", key.name),
        };
        Ok(waits.then(|| Said {
            level: None,
            line,
            facts: vec![
                ("for", format!("{}/{}", key.project, key.environment)),
                ("place", copy.destination.place.place),
            ],
            onward: Onward::Command(format!("keywright key show {}", key.id)),
            purpose: None,
        }))
    }

    fn onward(&self, request: RequestId) -> Onward {
        match self.review_url(request) {
            Some(url) => Onward::Page(url),
            None => Onward::Command(format!("keywright review show {request}")),
        }
    }
}

/// `agent bot`.
fn asker(principal: &Principal) -> String {
    match principal {
        Principal::Schedule => "the schedule".to_owned(),
        named => format!("{} {}", named.kind(), named.name()),
    }
}
