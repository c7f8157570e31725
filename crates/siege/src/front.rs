//! What is besieged: a deed, who does it, and where the ledger is.

use std::fmt;

/// What is done while the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deed {
    /// A key is made, and lies in the sealed store.
    MintSealed,
    /// A key is made, and lies in a `.env` file.
    MintEnv,
    /// A key that lies in both gets a successor, until the version before it has ended.
    Rotate,
    /// A key that lies in both ends.
    Revoke,
    /// A mint that died, and what it made that nobody knows of, is taken up.
    Reconcile,
}

/// Which process does it, and dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// A command that opens the home itself.
    Command,
    /// A broker that a command asks.
    Broker,
}

/// Where the ledger is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// One front of the siege.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Front {
    pub(crate) deed: Deed,
    pub(crate) way: Way,
    pub(crate) engine: Engine,
}

impl Deed {
    pub(crate) const ALL: [Self; 5] =
        [Self::MintSealed, Self::MintEnv, Self::Rotate, Self::Revoke, Self::Reconcile];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::MintSealed => "mint-sealed",
            Self::MintEnv => "mint-env",
            Self::Rotate => "rotate",
            Self::Revoke => "revoke",
            Self::Reconcile => "reconcile",
        }
    }

    /// The name of the key that it is about.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::MintSealed | Self::MintEnv => "NEW",
            Self::Rotate | Self::Revoke => "OLD",
            Self::Reconcile => "INTERRUPTED",
        }
    }

    /// The key that a consumer uses all the time: the one that is rotated, or one that is nobody's business.
    pub(crate) fn used(self) -> &'static str {
        if self == Self::Rotate { "OLD" } else { "BYSTANDER" }
    }

    /// Its command line.
    pub(crate) fn words(self) -> Vec<String> {
        match self {
            Self::MintSealed => mint(self.key(), &["embedded:web/dev/NEW"]),
            Self::MintEnv => mint(self.key(), &["dotenv:./.env#NEW"]),
            Self::Rotate => ["key", "rotate", "OLD"].map(str::to_owned).to_vec(),
            Self::Revoke => ["key", "revoke", "OLD"].map(str::to_owned).to_vec(),
            Self::Reconcile => vec!["reconcile".to_owned()],
        }
    }
}

/// The words that ask for a key.
pub(crate) fn mint(name: &str, places: &[&str]) -> Vec<String> {
    let ask = ["key", "request", "cloudflare/dns-edit", "--project", "web", "--env", "dev", "--name", name];
    let places = places.iter().flat_map(|place| ["--to", place]);
    ask.into_iter().chain(["--param", "zone=example.com"]).chain(places).map(str::to_owned).collect()
}

impl Way {
    pub(crate) const ALL: [Self; 2] = [Self::Command, Self::Broker];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Broker => "broker",
        }
    }
}

impl Engine {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

impl fmt::Display for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.deed.as_str(), self.way.as_str(), self.engine.as_str())
    }
}
