//! How secrets and consent come in: standard input, a hidden prompt, or a file. Never an argument, never the
//! environment.

use std::cell::Cell;
use std::fs::File;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use keywright_broker::Code;
use keywright_server::answer::Failure;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use zeroize::Zeroizing;

use crate::app::App;
use crate::errors;
use crate::output::say;

/// The longest secret that is read, in bytes.
const LONGEST: u64 = 64 * 1024;

/// How long a pipe may be silent before it counts as one that nobody writes a passphrase to.
const SILENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Standard input: one thing is read from it, to its end.
#[derive(Default)]
pub(crate) struct Stdin {
    taken_for: Cell<Option<&'static str>>,
    is_left: Cell<bool>,
}

impl Stdin {
    /// Takes it for something; refused when it serves something else already.
    pub(crate) fn take(&self, what: &'static str) -> Result<(), Failure> {
        match self.taken_for.replace(Some(what)) {
            None => Ok(()),
            Some(other) => Err(errors::usage(format!("standard input can't serve both {other} and {what}"))
                .hint("name a file for one of them")),
        }
    }

    /// Leaves it to a program that takes this one's place: nothing is read from it unless the command line says so.
    pub(crate) fn leave(&self) {
        self.is_left.set(true);
    }

    /// A passphrase that somebody pipes in without saying so. Nothing is read from a terminal, from what serves
    /// something else, or from a pipe that stays silent.
    pub(crate) fn piped_passphrase(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        if self.is_left.get() || self.taken_for.get().is_some() || !is_fed() || !speaks_soon() {
            return Ok(None);
        }
        self.take("the passphrase")?;
        Ok(Some(secret_stdin()?).filter(|text| !text.is_empty()))
    }
}

/// Whether standard input is a pipe or a file: something that a person or a script put there.
fn is_fed() -> bool {
    let kind = rustix::fs::fstat(std::io::stdin()).map(|stat| FileType::from_raw_mode(stat.st_mode));
    // Some programs connect those that they start by sockets instead of pipes.
    matches!(kind, Ok(FileType::Fifo | FileType::RegularFile | FileType::Socket))
}

/// Whether there is something to read, the end included.
fn speaks_soon() -> bool {
    let stdin = std::io::stdin();
    poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&SILENCE)).is_ok_and(|ready| ready > 0)
}

/// Whether there is somebody to ask.
pub(crate) fn can_prompt(no_input: bool) -> bool {
    let somebody = std::io::stdin().is_terminal() || std::io::stderr().is_terminal();
    !no_input && somebody && File::open("/dev/tty").is_ok()
}

/// Asks for something that must not be seen.
pub(crate) fn hidden(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let typed = rpassword::prompt_password(prompt).map_err(|error| {
        Failure::new(Code::Unauthenticated, format!("nothing was typed ({})", errors::plain(&error)))
    })?;
    Ok(Zeroizing::new(typed))
}

/// Asks twice, so that a typing error does not lock anybody out.
pub(crate) fn hidden_twice(what: &str) -> Result<Zeroizing<String>, Failure> {
    let first = hidden(&format!("{what}: "))?;
    let again = hidden(&format!("{what}, once more: "))?;
    if first == again {
        Ok(first)
    } else {
        Err(Failure::new(Code::InvalidArgument, "the two do not match; nothing was done"))
    }
}

/// What an empty line means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Enter {
    /// It takes the proposal.
    Agrees,
    /// Only `y` or `yes` agrees.
    Declines,
}

/// Asks a question.
pub(crate) fn agrees(question: &str, enter: Enter) -> Result<bool, Failure> {
    let choices = if enter == Enter::Agrees { "[Y/n]" } else { "[y/N]" };
    let mut talk = std::io::stderr().lock();
    let _ = write!(talk, "{question} {choices} ");
    let _ = talk.flush();
    drop(talk);
    let tty = File::open("/dev/tty").map_err(|e| errors::file(Path::new("/dev/tty"), &e))?;
    let mut line = String::new();
    let read = std::io::BufRead::read_line(&mut std::io::BufReader::new(tty.take(1024)), &mut line)
        .map_err(|e| errors::file(Path::new("/dev/tty"), &e))?;
    Ok(match line.trim().to_ascii_lowercase().as_str() {
        // The end of the input (Ctrl-D) is no empty line.
        "" => read > 0 && enter == Enter::Agrees,
        answer => ["y", "yes"].contains(&answer),
    })
}

/// Whether a deed is agreed to: on the command line, or at the terminal. Where nobody can be asked, whoever named a
/// passphrase file or said `--no-input` has agreed by that.
pub(crate) fn consents(app: &App, yes: bool, deed: &str, question: &str) -> Result<bool, Failure> {
    if yes {
        return Ok(true);
    }
    if can_prompt(app.no_input) {
        return agrees(question, Enter::Declines);
    }
    if app.no_input || app.names_passphrase() { Ok(true) } else { Err(errors::needs_consent(deed)) }
}

/// Reads a secret from a file; `-` is standard input. One line break at its end is not part of it.
pub(crate) fn secret_file(
    stdin: &Stdin,
    path: &Path,
    what: &'static str,
) -> Result<Zeroizing<String>, Failure> {
    if path == Path::new("-") {
        stdin.take(what)?;
        return secret_stdin();
    }
    let io = |e: std::io::Error| errors::file(path, &e);
    let file = File::open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if meta.is_file() && meta.mode() & 0o077 != 0 {
        let mode = meta.mode() & 0o777;
        say(&format!(
            "warning: {} can be read by other users (mode {mode:03o}): chmod go-rwx it",
            path.display()
        ));
    }
    bounded(file, &path.display().to_string())
}

fn secret_stdin() -> Result<Zeroizing<String>, Failure> {
    bounded(std::io::stdin().lock(), "standard input")
}

/// Reads a text file of at most 1 MiB; `-` is standard input.
pub(crate) fn text_file(stdin: &Stdin, path: &Path, what: &'static str) -> Result<String, Failure> {
    text_of_at_most(stdin, path, what, 1)
}

/// Reads a text file of at most so many MiB; `-` is standard input.
pub(crate) fn text_of_at_most(
    stdin: &Stdin,
    path: &Path,
    what: &'static str,
    mebibytes: u64,
) -> Result<String, Failure> {
    let longest = mebibytes << 20;
    let io = |e: std::io::Error| errors::file(path, &e);
    let mut text = String::new();
    let read = if path == Path::new("-") {
        stdin.take(what)?;
        std::io::stdin().lock().take(longest + 1).read_to_string(&mut text)
    } else {
        File::open(path).map_err(io)?.take(longest + 1).read_to_string(&mut text)
    };
    read.map_err(io)?;
    if text.len() as u64 > longest {
        let message = format!("{} has more than {mebibytes} MiB", path.display());
        return Err(Failure::new(Code::InvalidArgument, message));
    }
    Ok(text)
}

/// A credential: from a file, else from standard input unless that is a terminal, else from a prompt.
pub(crate) fn credential(
    app: &App,
    file: Option<&Path>,
    what: &'static str,
) -> Result<Zeroizing<String>, Failure> {
    let missing = || {
        errors::usage(format!("{what} is missing"))
            .hint("give it on standard input, at the prompt, or with --credential-file PATH")
    };
    let credential = match file {
        Some(path) => secret_file(&app.stdin, path, what)?,
        None if !std::io::stdin().is_terminal() => {
            app.stdin.take(what)?;
            secret_stdin()?
        }
        None if can_prompt(app.no_input) => hidden(&format!("{}: ", what.trim_start_matches("the ")))?,
        None => return Err(missing()),
    };
    if credential.trim().is_empty() { Err(missing()) } else { Ok(credential) }
}

/// A setting as it stands on the command line: `K=V`.
#[derive(Debug, Clone)]
pub(crate) struct Setting(String, String);

impl Setting {
    /// Name and value.
    pub(crate) fn into_pair(self) -> (String, String) {
        (self.0, self.1)
    }
}

impl std::str::FromStr for Setting {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(Self(name.to_owned(), value.to_owned())),
            _ => Err("write it as NAME=VALUE"),
        }
    }
}

/// Makes a file for a secret that does not exist yet: for its owner only, never through a link.
pub(crate) fn fresh_file(path: &Path) -> Result<File, Failure> {
    let made = File::options().write(true).create_new(true).mode(0o600).open(path);
    made.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            errors::file(path, &error).hint("name another file, or remove that one")
        }
        _ => errors::file(path, &error),
    })
}

fn bounded(source: impl std::io::Read, name: &str) -> Result<Zeroizing<String>, Failure> {
    // Full capacity from the start: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(LONGEST).unwrap_or(0) + 1));
    let read = source.take(LONGEST + 1).read_to_end(&mut bytes);
    read.map_err(|e| Failure::new(Code::Internal, format!("{name}: {}", errors::plain(&e))))?;
    if bytes.len() as u64 > LONGEST {
        return Err(Failure::new(
            Code::InvalidArgument,
            format!("{name} has more than 64 KiB; that is no secret"),
        ));
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Failure::new(Code::InvalidArgument, format!("{name} does not hold UTF-8 text")))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok(Zeroizing::new(text.strip_suffix('\r').unwrap_or(text).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_at_the_end_is_not_part_of_a_secret() {
        for (given, read) in
            [("a\n", "a"), ("a", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a "), ("", "")]
        {
            assert_eq!(*bounded(given.as_bytes(), "x").unwrap(), read, "{given:?}");
        }
    }

    #[test]
    fn what_is_too_long_or_no_text_is_refused_without_being_quoted() {
        let long = vec![b'x'; 65 * 1024];
        assert!(bounded(long.as_slice(), "x").unwrap_err().message.contains("64 KiB"));
        assert_eq!(bounded(&[0xff, 0xfe][..], "x").unwrap_err().message, "x does not hold UTF-8 text");
    }
}
