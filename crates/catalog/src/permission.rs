//! One permission of a provider.

use std::fmt;

/// A permission as the catalog knows it. Its id is what is granted; its name is cosmetic and may change.
#[derive(Debug, PartialEq, Eq)]
pub struct Permission {
    /// The provider's stable id.
    pub id: &'static str,
    /// The provider's name for it. Some names stand for several permissions, one per scope.
    pub name: &'static str,
    /// The kind of resource it is confined to, in one word. Cloudflare: `account`, `zone`, `user`, `bucket`.
    pub scope: &'static str,
    /// Whether it reads or writes, judged by its name.
    pub access: Access,
    /// It can make keys, or change who may do what. Refused in templates unless an operator marks it.
    pub escalation: bool,
    /// One slip costs the account, the zone or the people in it.
    pub high_blast: bool,
    /// It does not call itself a read, yet the data shows nothing that it changes: the data understates it.
    pub suspicious: bool,
    /// It reads what people would not expect (live requests, personal data): never chosen automatically.
    pub sensitive: bool,
    /// Why it carries its flags, in a few words, where a person judged it.
    pub why: Option<&'static str>,
}

/// The level of a permission, as far as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Reads.
    Read,
    /// Neither calls itself a read nor a write: purge, run, send, revoke. Treat it as a write.
    Other,
    /// Writes.
    Write,
}

impl Permission {
    /// Name and scope, as in `Logs Read (zone)`: unambiguous to people.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} ({})", self.name, self.scope)
    }
}

impl Access {
    /// The word that stands in JSON and in policies.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Other => "other",
            Self::Write => "write",
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
