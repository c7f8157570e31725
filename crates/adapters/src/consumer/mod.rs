//! Telling those who use a key that it has a successor: a program that is run, or a message to an address.

mod command;
mod message;
mod webhook;

use std::path::PathBuf;

use async_trait::async_trait;
use keywright_core::consumer::News;
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_core::text::Untrusted;

pub use webhook::SECRET_FORM;
pub(crate) use webhook::Signed;

/// The longest that a consumer may take to be told, in seconds.
pub const LONGEST: u64 = 120;

/// How a consumer is reached.
pub enum Config {
    /// A program and its arguments. It is run as the broker's own user, without a shell.
    Command {
        /// The program, by its whole path, and its arguments.
        words: Vec<String>,
        /// Where it runs.
        folder: PathBuf,
    },
    /// An address that takes signed messages.
    Webhook {
        /// The address. Plain http is for loopback only.
        url: String,
        /// What messages are signed with: `whsec_` and base64.
        secret: Secret,
    },
}

/// It was told. What it said, in a line; never without being scrubbed to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told(pub Untrusted);

/// It was not told, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NotTold {
    /// Why, in our words.
    pub why: String,
    /// What it said itself, in a line.
    pub said: Untrusted,
}

/// Somebody who can be told.
#[async_trait]
pub trait Consumer: Send + Sync {
    /// Tells it. Twice the same news does no harm: it carries an id of its own.
    ///
    /// # Errors
    /// When it did not take the news, or it is not known whether it did.
    async fn tell(&self, news: &News) -> Result<Told, NotTold>;
}

/// Builds what tells a consumer; nothing is run or dialled yet.
///
/// # Errors
/// What is wrong with the configuration, in words for an operator.
pub fn connect(config: Config, patience: Span) -> Result<Box<dyn Consumer>, String> {
    if patience.seconds() > LONGEST {
        return Err(format!("a consumer gets {LONGEST} s at most to be told"));
    }
    match config {
        Config::Command { words, folder } => Ok(Box::new(command::Command::new(&words, folder, patience)?)),
        Config::Webhook { url, secret } => Ok(Box::new(webhook::Webhook::new(&url, secret, patience)?)),
    }
}

#[cfg(test)]
mod testing {
    use keywright_core::consumer::{Event, News, Numbered};
    use keywright_core::id::{KeyId, TellingId, VersionId};

    pub(super) fn news() -> News {
        let at = jiff::Timestamp::UNIX_EPOCH;
        let version = |n: u8| Numbered { id: VersionId::generate(at, [n; 10]), number: n.into() };
        News {
            id: TellingId::generate(at, [1; 10]),
            consumer: "app".parse().unwrap(),
            event: Event::Rotated,
            at,
            key: Some(KeyId::generate(at, [2; 10])),
            name: "CF_TOKEN".parse().unwrap(),
            project: "web".parse().unwrap(),
            environment: "dev".parse().unwrap(),
            version: Some(version(2)),
            replaced: vec![version(1)],
        }
    }
}
