//! What can go wrong in the ledger.

/// What can go wrong in the ledger, in words for a person.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another process holds the database.
    #[error(
        "the ledger is locked by another process (waited {waited_seconds} s); is a second broker running on this home?"
    )]
    Locked {
        /// How long was waited.
        waited_seconds: u64,
    },
    /// What names a server is no good.
    #[error("the ledger's URL can't be used: {0}")]
    Address(String),
    /// The server does not answer.
    #[error("the ledger's server can't be reached: {0}")]
    Unreachable(String),
    /// The connection was lost while something was committed, and did not come back in time.
    #[error(
        "the connection to the ledger's server was lost while this was written, and nobody knows whether it was: look \
         again before you ask again"
    )]
    Unknown,
    /// Another process took over while the connection was lost.
    #[error(
        "another broker has taken this ledger over; this one writes nothing any more and has to be started again"
    )]
    Taken,
    /// Everything was moved elsewhere.
    #[error("this ledger was moved, and counts no more: {note}")]
    Moved {
        /// When, and to where.
        note: String,
    },
    /// A move came as far as the copy, which nobody uses yet.
    #[error("a move to this ledger was not finished, and nobody uses it yet")]
    Arriving,
    /// A ledger is only ever copied into an empty one.
    #[error("the ledger that everything was to be copied into is not empty: {what}")]
    NotEmpty {
        /// What lies there.
        what: String,
    },
    /// It shared a transaction with something that could not be written.
    #[error("something else in the same commit could not be written, and nothing of it was kept")]
    Undone,
    /// No room.
    #[error("the disk that holds the ledger is full")]
    DiskFull,
    /// The file is not readable as a ledger.
    #[error("the ledger can't be read: {0}; restore it from a backup, then run `keywright reconcile`")]
    Corrupt(String),
    /// Reading or writing failed.
    #[error("the ledger can't be read or written: {0}")]
    Io(String),
    /// Made before the first release.
    #[error(
        "this ledger was made by a Keywright from before the first release (schema {found}) and can't be opened; revoke its \
         keys with that one, and make a new home"
    )]
    TooOld {
        /// The schema's version.
        found: i64,
    },
    /// Written by a newer Keywright.
    #[error(
        "a newer Keywright changed the ledger's tables (schema {found}, and this one knows {known}): this one writes nothing any \
         more; upgrade it, and start it again"
    )]
    TooNew {
        /// In the file.
        found: i64,
        /// In this program.
        known: i64,
    },
    /// The row is not as expected any more: somebody else was faster.
    #[error("{what} changed in the meantime; look again")]
    Conflict {
        /// Which row.
        what: &'static str,
    },
    /// A name is already taken.
    #[error("{what} `{name}` already exists")]
    Exists {
        /// The kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A name that people would take for one that exists.
    #[error("{what} `{name}` could be taken for `{existing}`, which differs in upper and lower case only")]
    Alike {
        /// The kind of thing.
        what: &'static str,
        /// The new name.
        name: String,
        /// The name that is there.
        existing: String,
    },
    /// Nobody would be left to open the home.
    #[error("the last operator can't be removed: nobody could open the home any more")]
    LastOperator,
    /// A row that was not written by whoever has the master key.
    #[error("{what} `{name}` was changed in the ledger's file outside of Keywright; it counts for nothing")]
    Edited {
        /// The kind of thing.
        what: &'static str,
        /// Its name, as the row says.
        name: keywright_core::text::Untrusted,
    },
    /// SQLite's own check of the file.
    #[error(
        "the ledger's file does not agree with itself: {0}; stop the broker and restore the file from a backup, or `REINDEX` it"
    )]
    Pages(keywright_core::text::Untrusted),
    /// A row that should be there is not.
    #[error("there is no {what} `{name}`")]
    Missing {
        /// The kind of thing.
        what: &'static str,
        /// Its name or id.
        name: String,
    },
    /// A stored value does not read back as what it should be.
    #[error("the ledger holds a {what} that does not read back; it may be damaged or edited by hand")]
    Damaged {
        /// Which column or value.
        what: &'static str,
    },
    /// The passphrase opens no slot.
    #[error("the passphrase is wrong{}", .operator.as_deref().map(|o| format!(" for operator `{o}`")).unwrap_or_default())]
    WrongPassphrase {
        /// Whose slot was tried, when one was named.
        operator: Option<String>,
    },
    /// The ledger's writer has stopped.
    #[error("the ledger is closed")]
    Closed,
    /// The statement itself is wrong: a defect of Keywright.
    #[error("a statement of the ledger failed: {0}")]
    Statement(String),
    /// The audit log is not a continuation of what was signed before. The broker must not go on as if it were.
    #[error(
        "the audit log does not continue what was signed: {why}; an old copy of the ledger may have been restored, or \
         entries were changed: run `keywright audit verify`"
    )]
    NotContinued {
        /// What contradicts what.
        why: String,
    },
    /// An entry that the audit log can't hold.
    #[error("the audit entry can't be written: {0}")]
    Audit(String),
}

/// The result of everything in this room.
pub type Result<T> = std::result::Result<T, LedgerError>;

impl From<keywright_core::audit::LogError> for LedgerError {
    fn from(error: keywright_core::audit::LogError) -> Self {
        Self::Audit(error.to_string())
    }
}
