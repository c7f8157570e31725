//! Consumers: who is told when a key has a successor, and what they are told. Never a secret: a consumer reads the new value
//! where it always reads it.

use jiff::Timestamp;

use crate::id::{KeyId, TellingId, VersionId};
use crate::key::state;
use crate::name::{ConsumerName, EnvironmentName, KeyName, NameError, ProjectName};

state!(/// How a consumer is told.
ConsumerKind {
    /// A program is run, without a shell.
    Command = "command",
    /// A signed message is sent to an address.
    Webhook = "webhook",
});

impl std::str::FromStr for ConsumerKind {
    type Err = NoSuchKind;
    fn from_str(text: &str) -> Result<Self, NoSuchKind> {
        Self::parse(text).ok_or(NoSuchKind)
    }
}

/// A word that is no kind of consumer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a consumer is a `command` or a `webhook`")]
pub struct NoSuchKind;

state!(/// How a piece of news stands.
TellingState {
    /// The consumer has to be told yet.
    Owed = "owed",
    /// It was told, and said so.
    Told = "told",
    /// It was removed before it could be told.
    Dropped = "dropped",
});

/// Names of keys: one name, or the beginning of names and a `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPattern(String);

impl KeyPattern {
    /// Every key.
    #[must_use]
    pub fn any() -> Self {
        Self("*".to_owned())
    }

    /// Whether a name is among them.
    #[must_use]
    pub fn covers(&self, name: &KeyName) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => name.as_str().starts_with(beginning),
            None => name.as_str() == self.0,
        }
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for KeyPattern {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let name = text.strip_suffix('*').unwrap_or(text);
        if !(name.is_empty() && text == "*") {
            KeyName::parse(name)?;
        }
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Display for KeyPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which keys a consumer uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uses {
    /// Of this project.
    pub project: ProjectName,
    /// Of this environment; of all when absent.
    pub environment: Option<EnvironmentName>,
    /// Of these names.
    pub names: KeyPattern,
}

impl Uses {
    /// Whether a key is among them.
    #[must_use]
    pub fn covers(&self, project: &ProjectName, environment: &EnvironmentName, name: &KeyName) -> bool {
        self.project == *project
            && self.environment.as_ref().is_none_or(|own| own == environment)
            && self.names.covers(name)
    }
}

/// What news is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A key has a successor in force.
    Rotated,
    /// An operator tries whether a consumer can be told.
    Test,
}

impl Event {
    /// As the consumer sees it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rotated => "key.rotated",
            Self::Test => "consumer.test",
        }
    }
}

/// A version, as a consumer may know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered {
    /// Its id.
    pub id: VersionId,
    /// Counts from 1 within its key.
    pub number: u64,
}

/// What a consumer is told. There is no room for a secret in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The same however often it is told.
    pub id: TellingId,
    /// Who is told.
    pub consumer: ConsumerName,
    /// What happened.
    pub event: Event,
    /// When it happened.
    pub at: Timestamp,
    /// To which key; of a test, to none.
    pub key: Option<KeyId>,
    /// Its name.
    pub name: KeyName,
    /// Its project.
    pub project: ProjectName,
    /// Its environment.
    pub environment: EnvironmentName,
    /// The version in force.
    pub version: Option<Numbered>,
    /// The versions that it replaced.
    pub replaced: Vec<Numbered>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_uses_the_keys_that_its_operator_said() {
        let uses = |environment: Option<&str>, names: &str| Uses {
            project: "web".parse().unwrap(),
            environment: environment.map(|name| name.parse().unwrap()),
            names: names.parse().unwrap(),
        };
        for (uses, project, environment, name, covers) in [
            (uses(None, "*"), "web", "dev", "CF_TOKEN", true),
            (uses(None, "*"), "shop", "dev", "CF_TOKEN", false),
            (uses(Some("dev"), "CF_TOKEN"), "web", "dev", "CF_TOKEN", true),
            (uses(Some("dev"), "CF_TOKEN"), "web", "production", "CF_TOKEN", false),
            (uses(Some("dev"), "CF_TOKEN"), "web", "dev", "CF_TOKEN_2", false),
            (uses(None, "CF_*"), "web", "dev", "CF_TOKEN", true),
            (uses(None, "CF_*"), "web", "dev", "GH_TOKEN", false),
        ] {
            let (of, env) = (project.parse().unwrap(), environment.parse().unwrap());
            assert_eq!(uses.covers(&of, &env, &name.parse().unwrap()), covers, "{uses:?} {name}");
        }
        for bad in ["", "**", "*X", "A-*", "A B"] {
            assert!(bad.parse::<KeyPattern>().is_err(), "{bad}");
        }
    }
}
