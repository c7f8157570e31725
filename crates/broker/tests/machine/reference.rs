//! Which keys have to live, and what programs may rely on, as whoever gave the orders can know it.

use jiff::Timestamp;
use keywright_broker::trace::Trace;
use keywright_core::id::KeyId;
use keywright_core::key::{KeyState, VersionState};

use crate::deed::{SLOTS, Slot};
use crate::house::QUIET;

/// What is to be of a slot's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Fate {
    /// Nobody was told of one.
    #[default]
    None,
    /// It may live or not: whoever asked was not answered, or something happened to it. Whatever it is, it is that as a whole.
    Either,
    /// Somebody was told that it is in force, and nobody wanted it to end since.
    Lives,
    /// It has ended, and somebody was told.
    Dead,
}

/// Whether it works at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Switched {
    #[default]
    On,
    Off,
    Either,
}

/// A program with the value that it read when it started.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) value: String,
    pub(crate) called_at: Timestamp,
    /// Somebody had the version that it holds end, used or not.
    pub(crate) is_given_up: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) fate: Fate,
    pub(crate) key: Option<KeyId>,
    /// Somebody deleted a credential that was in force or about to be, or tried to revoke the key and was not answered.
    pub(crate) is_doomed: bool,
    pub(crate) switched: Switched,
    /// Somebody changed the file that its value lies in.
    pub(crate) is_touched: bool,
    /// When the version in force expires.
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) program: Option<Program>,
}

#[derive(Debug, Default)]
pub(crate) struct Reference {
    pub(crate) slots: [Known; SLOTS],
    /// Keys whose revocation was taken on: they end, however long it takes.
    pub(crate) revoked: Vec<KeyId>,
    /// The markers that are on record, and up to which entry the log was read.
    pub(crate) markers: std::collections::BTreeSet<String>,
    pub(crate) read_to: u64,
}

impl Known {
    /// Whether a program that reads the value now may rely on it.
    pub(crate) fn is_promised(&self) -> bool {
        self.fate == Fate::Lives && self.switched == Switched::On
    }

    /// Nobody can say any more whether it has to live.
    pub(crate) fn unsettle(&mut self) {
        if self.fate == Fate::Lives {
            self.fate = Fate::Either;
        }
    }

    /// Whether the program may rely on what it holds: it called lately enough that the version counts as used.
    pub(crate) fn may_call(&self, now: Timestamp) -> bool {
        let used_lately = |program: &Program| now.as_second() - program.called_at.as_second() < QUIET;
        self.is_promised() && self.program.as_ref().is_some_and(|p| !p.is_given_up && used_lately(p))
    }

    pub(crate) fn give_up_program(&mut self) {
        if let Some(program) = &mut self.program {
            program.is_given_up = true;
        }
    }

    /// Holds what the engine says against what is known, and learns from it.
    pub(crate) fn see(&mut self, trace: Option<&Trace>, now: Timestamp) -> Result<(), String> {
        let Some(trace) = trace else {
            return if self.fate == Fate::Lives {
                Err("a key that lives is not there".to_owned())
            } else {
                Ok(())
            };
        };
        let state = trace.key.state;
        if self.key != Some(trace.key.id) {
            if self.key.is_some() && self.fate == Fate::Lives {
                return Err(format!("another key is in the place of one that lives: {:?}", trace.key.id));
            }
            let fate =
                if self.key.is_none() && self.fate == Fate::Lives { Fate::Lives } else { Fate::Either };
            *self = Self { fate, key: Some(trace.key.id), is_touched: self.is_touched, ..Self::default() };
        }
        let active: Vec<_> = trace.versions.iter().filter(|v| v.state == VersionState::Active).collect();
        self.expires_at = active.first().and_then(|version| version.expires_at);
        let has_expired = self.expires_at.is_some_and(|at| at <= now);
        if has_expired {
            self.unsettle();
        }
        match (self.fate, state) {
            (Fate::Lives, KeyState::Active)
            | (Fate::None | Fate::Either, KeyState::Minting | KeyState::Revoking) => {}
            (Fate::Dead, KeyState::Revoked | KeyState::Failed) => {}
            (Fate::Lives, _) => return Err(format!("a key that has to live is {state}")),
            (Fate::Dead, _) => return Err(format!("a key that has ended is {state}")),
            (Fate::None | Fate::Either, KeyState::Active) => {
                if !self.is_doomed && !has_expired {
                    self.fate = Fate::Lives;
                }
            }
            (Fate::None | Fate::Either, KeyState::Revoked | KeyState::Failed) => self.fate = Fate::Dead,
        }
        // Somebody ended a successor at the provider: the version before it is in force again as soon as its saga is worked on.
        let has_lost = self.is_doomed && trace.saga.as_ref().is_some_and(|saga| saga.phase.has_switched());
        if state == KeyState::Active && active.len() != 1 && !(has_lost && active.is_empty()) {
            return Err(format!("an active key has {} versions in force", active.len()));
        }
        Ok(())
    }
}

impl Reference {
    pub(crate) fn of(&mut self, slot: Slot) -> &mut Known {
        &mut self.slots[slot]
    }
}
