//! What PostgreSQL says when something fails, in our words. Values of rows are never repeated.

use std::error::Error as _;

use keywright_core::text::Untrusted;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::error::LedgerError;
use crate::sql::BUSY_SECONDS;

/// Whether the connection is of no use any more.
pub(super) fn is_loss(error: &Error) -> bool {
    match error.code() {
        // Class 57: the server shuts down, crashed, or an administrator ended the session; 08: the connection itself.
        Some(code) => {
            [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW].contains(code)
                || code.code().starts_with("08")
                || [SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT].contains(code)
        }
        None => true,
    }
}

/// Whether another try to connect may go better.
pub(super) fn may_pass(error: &Error) -> bool {
    match error.code() {
        Some(code) => is_loss(error) || *code == SqlState::TOO_MANY_CONNECTIONS,
        None => !is_refusal(error),
    }
}

/// A certificate that is not believed does not get better.
fn is_refusal(error: &Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.downcast_ref::<rustls::Error>().is_some() {
            return true;
        }
        // An I/O error keeps what it was made of to itself.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if inner.is_some_and(|inner| inner.downcast_ref::<rustls::Error>().is_some()) {
            return true;
        }
        cause = error.source();
    }
    false
}

impl From<Error> for LedgerError {
    fn from(error: Error) -> Self {
        let Some(failed) = error.as_db_error() else { return Self::Unreachable(causes(&error)) };
        // Without the detail, which has values in it.
        let said = Untrusted::capped(failed.message(), 300);
        let code = failed.code();
        match code {
            _ if is_loss(&error) || *code == SqlState::TOO_MANY_CONNECTIONS => {
                Self::Unreachable(said.to_string())
            }
            code if [
                SqlState::LOCK_NOT_AVAILABLE,
                SqlState::T_R_SERIALIZATION_FAILURE,
                SqlState::T_R_DEADLOCK_DETECTED,
            ]
            .contains(code) =>
            {
                Self::Locked { waited_seconds: BUSY_SECONDS }
            }
            code if *code == SqlState::DISK_FULL => Self::DiskFull,
            code if ["XX001", "XX002"].contains(&code.code()) => Self::Corrupt(said.to_string()),
            // The role may not, the password is wrong, there is no such database, the disk fails, it is a standby.
            code if ["42501", "25006"].contains(&code.code())
                || ["28", "3D", "58", "53"].iter().any(|class| code.code().starts_with(class)) =>
            {
                Self::Io(format!("PostgreSQL says: {said}"))
            }
            code => Self::Statement(format!("{said} ({})", code.code())),
        }
    }
}

/// An error and what led to it, in one line.
fn causes(error: &Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    Untrusted::capped(&said, 300).to_string()
}
