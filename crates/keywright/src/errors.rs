//! Words and exit codes: the one file that decides how a failure sounds and what the shell sees.

use std::path::Path;

use keywright_broker::Code;
use keywright_core::receipt::Status;
use keywright_core::text::escaped;
use keywright_server::answer::Failure;
use owo_colors::OwoColorize as _;

/// What the shell sees. The numbers are part of the public interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It is done.
    Done,
    /// It failed.
    Error,
    /// The command line, or a word on it, is not well formed.
    Usage,
    /// Policy or the template says no.
    Denied,
    /// Humans have to approve first.
    Pending,
    /// Who calls could not be established.
    Login,
    /// The provider or the store failed.
    Outside,
    /// Something else is in the way.
    Conflict,
    /// Later it may work.
    Later,
    /// What a program that was run ended with.
    Of(u8),
}

impl Exit {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::Denied => 3,
            Self::Pending => 4,
            Self::Login => 5,
            Self::Outside => 6,
            Self::Conflict => 7,
            Self::Later => 75,
            Self::Of(code) => code,
        }
    }
}

impl From<&Failure> for Exit {
    fn from(failure: &Failure) -> Self {
        if failure.code == USAGE {
            return Self::Usage;
        }
        match failure.kind() {
            Some(Code::InvalidArgument) => Self::Usage,
            Some(Code::Denied | Code::Forbidden) => Self::Denied,
            Some(Code::Unauthenticated) => Self::Login,
            Some(Code::Provider | Code::Store) => Self::Outside,
            Some(Code::Conflict) => Self::Conflict,
            Some(Code::TryAgain) => Self::Later,
            Some(Code::NotFound | Code::Unsupported | Code::Internal) | None => Self::Error,
        }
    }
}

impl From<Status> for Exit {
    fn from(status: Status) -> Self {
        match status {
            Status::Active | Status::Revoked => Self::Done,
            Status::PendingApproval => Self::Pending,
            Status::Denied | Status::Rejected => Self::Denied,
            Status::Failed => Self::Outside,
            Status::Expired | Status::InProgress => Self::Later,
        }
    }
}

/// The code of a command line that could not be read.
const USAGE: &str = "usage";

/// A command line that could not be read.
pub(crate) fn usage(message: impl Into<String>) -> Failure {
    Failure { code: USAGE.to_owned(), ..Failure::new(Code::InvalidArgument, message) }
}

/// A file that can't be read or written.
pub(crate) fn file(path: &Path, error: &std::io::Error) -> Failure {
    let code = match error.kind() {
        std::io::ErrorKind::NotFound => Code::NotFound,
        std::io::ErrorKind::AlreadyExists => Code::Conflict,
        _ => Code::Internal,
    };
    Failure::new(code, format!("{}: {}", path.display(), plain(error)))
}

/// The system's word for an error, without the number that says the same again.
pub(crate) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let cut = text.find(" (os error").unwrap_or(text.len());
    text.get(..cut).unwrap_or(&text).to_owned()
}

/// No passphrase, and nobody to ask.
pub(crate) fn needs_passphrase() -> Failure {
    Failure::new(Code::Unauthenticated, "this needs an operator's passphrase")
        .hint("name a file with --passphrase-file, pipe it in, or run it in a terminal and type it")
}

/// A directory that the system keeps from us.
pub(crate) fn foreign_home(root: &Path) -> Failure {
    let message = format!("{}: permission denied", root.display());
    Failure::new(Code::Internal, message)
        .hint("this home belongs to another user; name your own with KEYWRIGHT_HOME or --home")
}

/// Somebody else works on the home for longer than one waits.
pub(crate) fn busy(root: &Path) -> Failure {
    Failure::new(Code::TryAgain, format!("another command works on {} right now", root.display()))
        .hint("try again, or start a broker, which serves many at once: `keywright serve --detach`")
}

/// A home that has its broker.
pub(crate) fn has_broker(root: &Path) -> Failure {
    Failure::new(Code::Conflict, format!("a broker runs on {} already", root.display()))
        .hint("there is one broker per home; `keywright stop` ends it")
}

/// Nothing in this home.
pub(crate) fn no_home(root: &Path) -> Failure {
    Failure::new(Code::NotFound, format!("there is no Keywright home at {}", root.display()))
        .hint("make one with `keywright init`, or name another with KEYWRIGHT_HOME or --home")
}

/// A verb that only a running broker has.
pub(crate) fn no_broker(root: &Path, what: &str) -> Failure {
    Failure::new(
        Code::TryAgain,
        format!("{what} needs a running broker, and none runs on {}", root.display()),
    )
    .hint("start it: `keywright serve`, or in the background `keywright serve --detach`")
}

/// A verb that this version does not have.
pub(crate) fn unsupported(what: &str) -> Failure {
    Failure::new(Code::Unsupported, format!("{what} is not in this version"))
}

/// A person was asked, and said no.
pub(crate) fn declined(what: &str) -> Failure {
    let message = format!("{what}; nothing was done");
    Failure { code: "declined".to_owned(), ..Failure::new(Code::Internal, message) }
}

/// A person has to agree, and nobody is there.
pub(crate) fn needs_consent(what: &str) -> Failure {
    usage(format!("{what} has to be agreed to, and nobody is there to ask"))
        .hint("look at it first, then add --yes")
}

/// Says what went wrong: JSON on standard output, or words on standard error.
pub(crate) fn report(failure: &Failure, json: bool) -> Exit {
    let advised = advised(failure);
    let as_json = || serde_json::to_value(&advised).unwrap_or_default();
    if json && crate::output::print_json(&as_json()).is_ok() {
        return Exit::from(failure);
    }
    tell(&advised)
}

/// What to do about a failure that came without a hint.
fn advised(failure: &Failure) -> Failure {
    let is_wrong_passphrase = failure.message.starts_with("the passphrase is wrong");
    if failure.hint.is_none() && is_wrong_passphrase {
        return failure.clone().hint(
            "whose it is can be said with --operator NAME; of a file, one line break at its end does not count",
        );
    }
    failure.clone()
}

/// Says what went wrong, in words, on standard error.
pub(crate) fn tell(failure: &Failure) -> Exit {
    // Where standard error is closed there is nobody to tell.
    crate::output::say(&format!("{} {}", "error:".red().bold(), lines(&failure.message)));
    for reason in &failure.reasons {
        crate::output::say(&format!("  - {}", lines(reason)));
    }
    if !failure.alternatives.is_empty() {
        let all: Vec<String> = failure.alternatives.iter().map(|a| escaped(a)).collect();
        crate::output::say(&format!("{} {}", "there is:".dimmed(), all.join(", ")));
    }
    if let Some(hint) = &failure.hint {
        crate::output::say(&format!("{} {}", "hint:".cyan(), lines(hint)));
    }
    Exit::from(failure)
}

/// Several lines stay several lines; whatever else steers a terminal is escaped.
fn lines(text: &str) -> String {
    text.trim_end().split('\n').map(escaped).collect::<Vec<_>>().join("\n  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_failure_has_its_exit_code() {
        let table = [
            (Code::InvalidArgument, 2),
            (Code::NotFound, 1),
            (Code::Denied, 3),
            (Code::Forbidden, 3),
            (Code::Unauthenticated, 5),
            (Code::Provider, 6),
            (Code::Store, 6),
            (Code::Conflict, 7),
            (Code::TryAgain, 75),
            (Code::Unsupported, 1),
            (Code::Internal, 1),
        ];
        for (code, exit) in table {
            assert_eq!(Exit::from(&Failure::new(code, "x")).code(), exit, "{code:?}");
        }
        assert_eq!(Exit::from(&usage("x")).code(), 2);
    }

    #[test]
    fn every_status_has_its_exit_code() {
        let expected = [0, 4, 3, 3, 75, 6, 75, 0];
        let got: Vec<u8> = Status::ALL.iter().map(|status| Exit::from(*status).code()).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn a_message_from_outside_can_not_steer_the_terminal() {
        assert_eq!(lines("a\nb\u{1b}[2J"), "a\n  b\\u{1b}[2J");
    }
}
