//! What the planner answers.

use serde::Serialize;

use crate::permission::Permission;
use crate::solve::{Least, Proof, Resource, granted};

/// How an answer is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The words say one job: its operations and the least permissions for it.
    Plan,
    /// The words fit two or three jobs: one of `candidates` is to be chosen.
    Candidates,
    /// The words do not say enough: `question` asks for what is missing.
    Question,
    /// Nothing that was asked may be planned: `refused` says why.
    Refused,
}

impl Status {
    /// The word that stands in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Candidates => "candidates",
            Self::Question => "question",
            Self::Refused => "refused",
        }
    }
}

/// One thing that the words may mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate<'catalog> {
    /// The operations of the job, `METHOD /path` or the provider's own names.
    pub operations: Vec<String>,
    /// The least permissions for them.
    #[serde(serialize_with = "granted")]
    pub permissions: Vec<&'catalog Permission>,
    /// What it would be, in a few words.
    pub why: String,
}

/// The answer to plain words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer<'catalog> {
    /// What kind of JSON this is.
    pub schema: &'static str,
    /// The provider that was asked, or guessed.
    pub provider: &'static str,
    /// How it is meant.
    pub status: Status,
    /// The operations of the job.
    pub operations: Vec<String>,
    /// The least permissions for the job.
    #[serde(serialize_with = "granted")]
    pub permissions: Vec<&'catalog Permission>,
    /// What the words name, exactly as they were written.
    pub resources: Vec<Resource>,
    /// What else the words may mean, most likely first.
    pub candidates: Vec<Candidate<'catalog>>,
    /// What has to be known before a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// What of the words was not served, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Why each permission is there.
    pub proof: Vec<Proof<'catalog>>,
    /// Why a human has to decide. Empty where nobody has to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs_a_human: Vec<String>,
}

impl<'catalog> Answer<'catalog> {
    /// An answer that says nothing yet.
    pub(super) fn nothing(provider: &'static str) -> Self {
        Self {
            schema: "keywright/plan-answer/1",
            provider,
            status: Status::Question,
            operations: Vec::new(),
            permissions: Vec::new(),
            resources: Vec::new(),
            candidates: Vec::new(),
            question: None,
            refused: None,
            proof: Vec::new(),
            needs_a_human: Vec::new(),
        }
    }

    /// Makes it a plan.
    pub(super) fn take(&mut self, least: Least<'catalog>) {
        self.status = Status::Plan;
        self.operations = least.operations;
        self.permissions = least.permissions;
        self.proof = least.proof;
        self.needs_a_human = least.needs_a_human;
    }
}
