//! Names that people and agents choose: short, lower-case-friendly, without surprises.

use std::fmt;

/// A name that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not {noun}: {rule}")]
pub struct NameError {
    given: crate::text::Untrusted,
    noun: &'static str,
    rule: &'static str,
}

const SLUG_RULE: &str =
    "use 1 to 64 letters, digits, `-`, `_` or `.`, starting with a letter or digit (ASCII only)";
const LOWER_RULE: &str =
    "use 1 to 64 lower-case letters, digits, `-`, `_` or `.`, starting with a letter or digit (ASCII only)";
const VARIABLE_RULE: &str = "use 1 to 128 letters, digits or `_`, starting with a letter or `_` (ASCII only)";

fn is_slug(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && !text.contains("..")
}

fn is_lower_slug(text: &str) -> bool {
    is_slug(text) && !text.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_variable(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $noun:literal, $check:path, $rule:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Reads a name.
            ///
            /// # Errors
            /// When it is empty, too long, or has a character that names may not have.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                if $check(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(NameError { given: crate::text::Untrusted::capped(text, 80), noun: $noun, rule: $rule })
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "`{}`", self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name_type!(/// A project: what a group of keys belongs to.
    ProjectName, "a project name", is_slug, SLUG_RULE);
name_type!(/// An environment of a project: `dev`, `staging`, `production`. Policies tell environments by their names, so there
    /// is one way to spell each: in lower case.
    EnvironmentName, "an environment name", is_lower_slug, LOWER_RULE);
name_type!(/// An agent's name.
    AgentName, "an agent name", is_slug, SLUG_RULE);
name_type!(/// An operator's name.
    OperatorName, "an operator name", is_slug, SLUG_RULE);
name_type!(/// A workload's name.
    WorkloadName, "a workload name", is_slug, SLUG_RULE);
name_type!(/// A connection to a provider.
    ConnectionName, "a connection name", is_slug, SLUG_RULE);
name_type!(/// A configured store.
    StoreName, "a store name", is_slug, SLUG_RULE);
name_type!(/// Somebody who is told when a key has a successor.
    ConsumerName, "a consumer name", is_slug, SLUG_RULE);
name_type!(/// A way in which people hear that something waits for them.
    ChannelName, "a channel name", is_slug, SLUG_RULE);
name_type!(/// The kind of a provider or a store: `cloudflare`, `embedded`.
    Kind, "a kind", is_slug, SLUG_RULE);
name_type!(/// A key's name: the variable under which applications read it.
    KeyName, "a key name", is_variable, VARIABLE_RULE);

impl KeyName {
    /// Whether the system reads a variable of this name before the program does: a key of such a name would change
    /// what runs.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        // Shells, loaders, language runtimes, TLS trust, proxies: each decides what runs or where it connects.
        const NAMES: [&str; 31] = [
            "PATH",
            "HOME",
            "SHELL",
            "IFS",
            "ENV",
            "BASH_ENV",
            "PROMPT_COMMAND",
            "PS4",
            "CDPATH",
            "TMPDIR",
            "EDITOR",
            "VISUAL",
            "PAGER",
            "BROWSER",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "NO_PROXY",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "CURL_CA_BUNDLE",
            "REQUESTS_CA_BUNDLE",
            "NODE_OPTIONS",
            "NODE_EXTRA_CA_CERTS",
            "NODE_PATH",
            "PERL5OPT",
            "PERL5LIB",
            "RUBYOPT",
            "RUBYLIB",
            "JAVA_TOOL_OPTIONS",
            "CLASSPATH",
        ];
        const PREFIXES: [&str; 6] = ["LD_", "DYLD_", "KEYWRIGHT_", "GIT_SSH", "GIT_CONFIG", "PYTHON"];
        let upper = self.as_str().to_ascii_uppercase();
        NAMES.contains(&upper.as_str()) || PREFIXES.iter().any(|prefix| upper.starts_with(prefix))
    }
}

/// A template's id: `provider/job`, as in `cloudflare/dns-edit`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateId(Box<str>);

impl TemplateId {
    /// Reads `provider/job`.
    ///
    /// # Errors
    /// When there is not exactly one `/` between two names.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            Some((provider, job)) if is_slug(provider) && is_slug(job) => Ok(Self(text.into())),
            _ => Err(NameError {
                given: crate::text::Untrusted::capped(text, 80),
                noun: "a template id",
                rule: "use `provider/job`, as in `cloudflare/dns-edit`",
            }),
        }
    }

    /// What stands in the place of a template for a key that was made elsewhere and put under management without one. No
    /// template can have this id.
    #[must_use]
    pub fn of_adopted(provider: &Kind) -> Self {
        Self(format!("{provider}{ADOPTED}").into())
    }

    /// Whether this is no template's id, but [`TemplateId::of_adopted`].
    #[must_use]
    pub fn is_of_adopted(&self) -> bool {
        self.0.ends_with(ADOPTED)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How the id of a key without a template ends.
const ADOPTED: &str = "/adopted";

impl fmt::Display for TemplateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TemplateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

impl std::str::FromStr for TemplateId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl serde::Serialize for TemplateId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for TemplateId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_surprises_are_refused() {
        for bad in ["", "-x", "a b", "a/b", "ä", "a\n", "..", "a..b", "аdmin", &"a".repeat(65)] {
            assert!(ProjectName::parse(bad).is_err(), "{bad:?}");
        }
        for good in ["web", "my-app_2", "v1.2"] {
            assert!(ProjectName::parse(good).is_ok(), "{good}");
        }
        assert!(ProjectName::parse("Web").is_ok());
        for bad in ["PROD", "Prod", "prOd", "my-Production"] {
            let error = EnvironmentName::parse(bad).unwrap_err().to_string();
            assert!(error.contains("lower-case"), "{error}");
        }
        assert!(EnvironmentName::parse("prod-eu_1.2").is_ok());
        assert!(KeyName::parse("CF_TOKEN").is_ok());
        assert!(KeyName::parse("2X").is_err());
        assert!(KeyName::parse("A-B").is_err());
        assert!(TemplateId::parse("cloudflare/dns-edit").is_ok());
        assert!(TemplateId::parse("dns-edit").is_err());
        assert!(TemplateId::parse("a/b/c").is_err());
    }
}
