//! Decisions: allow, needs N approvals, or deny, always with reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cedar_policy::{Authorizer, Decision as Verdict, Request};

use super::Subject;
use super::facts::Behind;
use super::index::Index;
use super::question::{Prepared, Question};
use super::source::{PolicySetSource, SourceError};
use crate::name::OperatorName;
use crate::span::Span;
use crate::text::escaped;

/// The most approvals that a policy can ask for.
pub const MOST_APPROVALS: u8 = 3;

/// What comes of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// It may happen now.
    Allow,
    /// It may happen once so many distinct operators approved it.
    NeedsApprovals(u8),
    /// It may not happen.
    Deny,
}

/// A decision and what led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What comes of it.
    pub effect: Effect,
    /// The ids of the policies that decided, sorted: for an allow those that permit, for a deny those that forbid;
    /// for approvals those that permit with them and those that forbid without.
    pub policies: Vec<String>,
    /// Why, one sentence each, for people and agents. Never empty.
    pub reasons: Vec<String>,
}

/// Cedar's answer for one number of approvals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether it is allowed. Never, when a policy could not be evaluated.
    pub allowed: bool,
    /// The ids of the determining policies, sorted.
    pub policies: BTreeSet<String>,
    /// What went wrong in which policy.
    pub errors: BTreeSet<String>,
}

/// The policies that are in force.
#[derive(Debug)]
pub struct Policies {
    index: Index,
    reasons: BTreeMap<String, String>,
    count: usize,
}

const UNANSWERABLE: &str = "a fact of this request can't be expressed to the policies";

impl Policies {
    /// Puts checked policies in force.
    ///
    /// # Errors
    /// Never for a source that was parsed; the index's error is passed on rather than hidden.
    pub fn new(source: PolicySetSource) -> Result<Self, SourceError> {
        let (policies, reasons) = source.into_parts();
        let count = policies.len();
        let index = Index::of(policies).map_err(SourceError::Index)?;
        Ok(Self { index, reasons, count })
    }

    /// Reads, checks and puts in force.
    ///
    /// # Errors
    /// As [`PolicySetSource::parse`].
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        Self::new(PolicySetSource::parse(text)?)
    }

    /// Puts policies in force that were checked when they were applied: by this version, or by one that let more pass.
    ///
    /// # Errors
    /// As [`PolicySetSource::stored`].
    pub fn stored(text: &str) -> Result<Self, SourceError> {
        Self::new(PolicySetSource::stored(text)?)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Decides with 0, 1, 2 and 3 approvals: the smallest number that is allowed is what it needs.
    ///
    /// A policy that can't be evaluated makes it a deny: Cedar alone would skip it, and a skipped `forbid` would be
    /// an open door.
    #[must_use]
    pub fn decide(&self, question: &Question) -> Decision {
        if !question.action.open_to(question.principal()) {
            return Decision::deny(closed(question));
        }
        if let Some((_, needed)) = question.approval {
            return match self.answer(question, needed) {
                Some(answer) if answer.allowed => self.allowing(&answer, 0, None),
                // An operator is somebody who approves; policy takes that away, and need not give it.
                Some(answer) if answer.policies.is_empty() && answer.errors.is_empty() => Decision {
                    effect: Effect::Allow,
                    policies: Vec::new(),
                    reasons: vec!["no policy forbids it".to_owned()],
                },
                Some(answer) => self.refusing(&answer),
                None => Decision::deny(UNANSWERABLE.to_owned()),
            };
        }
        let Some(prepared) = question.prepare() else { return Decision::deny(UNANSWERABLE.to_owned()) };
        let mut without: Option<Answer> = None;
        for approvals in question.floor..=MOST_APPROVALS {
            let Some(request) = prepared.request(approvals) else {
                return Decision::deny(UNANSWERABLE.to_owned());
            };
            let answer = self.ask(question, &prepared, &request);
            if !answer.errors.is_empty() {
                return self.refusing(&answer);
            }
            if answer.allowed {
                return self.allowing(&answer, approvals, without.as_ref());
            }
            without = Some(answer);
        }
        without.map_or_else(|| Decision::deny(UNANSWERABLE.to_owned()), |answer| self.refusing(&answer))
    }

    /// Whether an operator's approval counts for what is asked. `behind` is who stands behind the
    /// ask.
    ///
    /// # Errors
    /// The decision, with its reasons, when it does not.
    pub fn may_approve(
        &self,
        asked: &Question,
        operator: &OperatorName,
        behind: &Behind,
    ) -> Result<(), Decision> {
        let needed = match self.decide(asked).effect {
            Effect::NeedsApprovals(needed) => needed,
            // Asked all the same: somebody approved a part of what needed it.
            Effect::Allow | Effect::Deny => 1,
        };
        let decision = self.decide(&Question::approve(asked, operator, behind.is(operator), needed));
        if decision.effect == Effect::Allow { Ok(()) } else { Err(decision) }
    }

    /// The answer for exactly this number of approvals, `None` when the facts can't be put to Cedar.
    #[must_use]
    pub fn answer(&self, question: &Question, approvals: u8) -> Option<Answer> {
        let prepared = question.prepare()?;
        Some(self.ask(question, &prepared, &prepared.request(approvals)?))
    }

    /// What would be allowed more freely: the longest shorter lifetime (of 90, 30, 7 days and one day) with which the
    /// same request needs fewer approvals, or is allowed at all.
    #[must_use]
    pub fn nearest(&self, question: &Question) -> Option<String> {
        let asked = question.ask.as_ref()?;
        let now = self.decide(question).effect;
        [90, 30, 7, 1].into_iter().map(|days| Span::from_seconds(days * 86_400)).find_map(|ttl| {
            let mut shorter = question.clone();
            shorter.ask.as_mut().filter(|_| ttl < asked.ttl)?.ttl = ttl;
            match self.decide(&shorter).effect {
                better if better >= now => None,
                Effect::NeedsApprovals(n) => Some(format!("with a lifetime of {ttl} it needs {}", people(n))),
                _ => Some(format!("with a lifetime of {ttl} it is allowed")),
            }
        })
    }

    /// The sets are disjoint, so Cedar's own rule (a forbid wins, else a permit allows, else nothing does) holds
    /// for the union when it is applied to the union of what each set found.
    fn ask(&self, question: &Question, prepared: &Prepared, request: &Request) -> Answer {
        let cedar = Authorizer::new();
        let (mut permits, mut forbids, mut errors) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for set in self.index.matching(prepared.principal(), question.action, prepared.resource()) {
            let response = cedar.is_authorized(request, set, prepared.entities());
            let found = match response.decision() {
                Verdict::Allow => &mut permits,
                Verdict::Deny => &mut forbids,
            };
            found.extend(response.diagnostics().reason().map(ToString::to_string));
            errors.extend(response.diagnostics().errors().map(|error| escaped(&error.to_string())));
        }
        let allowed = errors.is_empty() && forbids.is_empty() && !permits.is_empty();
        Answer { allowed, policies: if forbids.is_empty() { permits } else { forbids }, errors }
    }

    fn allowing(&self, answer: &Answer, approvals: u8, without: Option<&Answer>) -> Decision {
        let mut reasons = Vec::new();
        let mut policies = answer.policies.clone();
        if approvals > 0 {
            // What forbids it without the approvals says best why they are needed.
            let forbids = without.map(|answer| answer.policies.clone()).unwrap_or_default();
            let tell = if forbids.is_empty() { &policies } else { &forbids };
            reasons.extend(tell.iter().map(|id| self.reason(id)));
            if without.is_none() {
                reasons.insert(0, ESCALATION.to_owned());
            }
            policies.extend(forbids);
        } else {
            reasons.extend(policies.iter().map(|id| self.reason(id)));
        }
        reasons.dedup();
        let effect = if approvals == 0 { Effect::Allow } else { Effect::NeedsApprovals(approvals) };
        Decision { effect, policies: policies.into_iter().collect(), reasons }
    }

    fn refusing(&self, answer: &Answer) -> Decision {
        let reasons = if !answer.errors.is_empty() {
            answer.errors.iter().map(|error| format!("denied, because a policy failed: {error}")).collect()
        } else if answer.policies.is_empty() {
            vec!["no policy allows this".to_owned()]
        } else {
            answer.policies.iter().map(|id| self.reason(id)).collect()
        };
        Decision { effect: Effect::Deny, policies: answer.policies.iter().cloned().collect(), reasons }
    }

    fn reason(&self, id: &str) -> String {
        self.reasons
            .get(id)
            .map_or_else(|| format!("policy `{id}`"), |text| format!("{text} (policy `{id}`)"))
    }
}

/// The rule that stands in code.
pub(super) const ESCALATION: &str =
    "a permission that can make keys or change permissions always needs an approval";

impl Decision {
    pub(super) fn deny(reason: String) -> Self {
        Self { effect: Effect::Deny, policies: Vec::new(), reasons: vec![reason] }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => f.write_str("allow"),
            Self::NeedsApprovals(n) => write!(f, "needs {n}"),
            Self::Deny => f.write_str("deny"),
        }
    }
}

fn closed(question: &Question) -> String {
    let noun = match question.subject {
        Subject::Template(_) => "template",
        Subject::Key(_) => "key",
    };
    let who = question.principal().kind();
    let article = if who.starts_with(['a', 'o']) { "an" } else { "a" };
    format!("{article} {who} can never {} a {noun}, whatever the policies say", question.action)
}

pub(super) fn people(approvals: u8) -> String {
    match approvals {
        1 => "1 approval".to_owned(),
        n => format!("the approvals of {n} distinct operators"),
    }
}
