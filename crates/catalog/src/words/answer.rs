//! What the planner answers.

use crate::permission::Permission;

pub use super::hear::Resource;

/// How an answer is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate<'catalog> {
    /// The operations of the job, `METHOD /path` or the provider's own names.
    pub operations: Vec<String>,
    /// The least permissions for them.
    pub permissions: Vec<&'catalog Permission>,
    /// What it would be, in a few words.
    pub why: String,
}

/// Why a permission is in a plan, and how far it reaches.
#[derive(Debug, Clone, PartialEq)]
pub struct Proof<'catalog> {
    /// The permission.
    pub permission: &'catalog Permission,
    /// The operations of the job that need it.
    pub forced_by: Vec<String>,
    /// How many operations it opens, how many of them change something, and how many the job does not call.
    pub unlocks: usize,
    /// See `unlocks`.
    pub mutating: usize,
    /// See `unlocks`.
    pub beyond_the_job: usize,
}

/// The answer to plain words.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<'catalog> {
    /// The provider that was asked, or guessed.
    pub provider: &'catalog str,
    /// How it is meant.
    pub status: Status,
    /// The operations of the job.
    pub operations: Vec<String>,
    /// The least permissions for the job.
    pub permissions: Vec<&'catalog Permission>,
    /// What the words name, exactly as they were written.
    pub resources: Vec<Resource>,
    /// What else the words may mean, most likely first.
    pub candidates: Vec<Candidate<'catalog>>,
    /// What has to be known before a plan.
    pub question: Option<String>,
    /// What of the words was not served, and why.
    pub refused: Option<String>,
    /// Why each permission is there.
    pub proof: Vec<Proof<'catalog>>,
}
