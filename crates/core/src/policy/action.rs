//! What can be asked, and by whom at all.

use std::fmt;

use crate::plan::Principal;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Make a key.
    Mint,
    /// Replace a key's version by a new one.
    Rotate,
    /// End a key.
    Revoke,
    /// Put a template forward for review.
    Propose,
    /// Look at a template or a key, without its secret.
    Inspect,
    /// Hand the secret to a running program.
    Deliver,
    /// Have one's approval of a plan counted.
    Approve,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 7] =
        [Self::Mint, Self::Rotate, Self::Revoke, Self::Propose, Self::Inspect, Self::Deliver, Self::Approve];

    /// The word in policies: the id of `Keywright::Action`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mint => "mint",
            Self::Rotate => "rotate",
            Self::Revoke => "revoke",
            Self::Propose => "propose",
            Self::Inspect => "inspect",
            Self::Deliver => "deliver",
            Self::Approve => "approve",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == text)
    }

    /// Whether this kind of principal can do it at all. Decided here and not by policy, so that
    /// `permit (principal, action, resource);` still hands no secret to an agent. The schema says the same.
    #[must_use]
    pub fn open_to(self, principal: &Principal) -> bool {
        match principal {
            Principal::Agent(_) => !matches!(self, Self::Deliver | Self::Approve),
            Principal::Operator(_) => true,
            Principal::Workload(_) => matches!(self, Self::Deliver | Self::Inspect),
            Principal::Schedule => matches!(self, Self::Rotate | Self::Revoke | Self::Inspect),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
