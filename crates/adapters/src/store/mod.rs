//! The stores: secrets managers and files, one module each.
//!
//! A module reads like its API's documentation and implements [`keywright_core::store::Store`]. Adding one means: the
//! module, its line in the registry below, its contract tests.
//!
//! The kind `embedded` is not here: it keeps its values in the ledger, which this room never sees, so the broker
//! implements it.

mod age;
mod aws;
mod cloudflare_workers;
mod doppler;
pub mod dotenv;
mod github_actions;
mod infisical;
mod keyring;
mod kubernetes;
mod onepassword;
mod pass;
mod remote;
mod settings;
mod spots;
mod tag;
mod vault;
mod vercel;

use std::collections::BTreeMap;

use spots::spotted;

use keywright_core::name::StoreName;
use keywright_core::secret::Secret;
use keywright_core::store::{Store, StoreFacts};
use keywright_core::text::Untrusted;

/// A setting: its name, and what it is.
pub type Setting = (&'static str, &'static str);

/// The settings of a store that is reached by network: its own, and those of the wire.
macro_rules! networked {
    ($own:expr) => {{
        const ALL: [Setting; $own.len() + 1] = with_timeout($own);
        &ALL
    }};
}

#[expect(
    clippy::indexing_slicing,
    reason = "runs at compile time, where an index that is out of bounds is an error"
)]
const fn with_timeout<const N: usize>(own: &[Setting]) -> [Setting; N] {
    let mut all = [TIMEOUT; N];
    let mut at = 0;
    while at < own.len() {
        all[at] = own[at];
        at += 1;
    }
    all
}

/// Every store that is built in.
const REGISTRY: &[Registered] = &[
    Registered {
        kind: dotenv::KIND,
        place: "`PATH`, as in `./.env`, in the directory of who asks; `PATH#NAME` for another name than the key's",
        connect: |config, _| Ok(Box::new(dotenv::Dotenv::new(&config)?)),
        facts: &dotenv::FACTS,
        credential: None,
        address: None,
        settings: &[("root", "an absolute directory; places outside it are refused")],
    },
    Registered {
        kind: vault::KIND,
        place: "`PATH#FIELD` below the mount, as in `apps/web#token`; the field is `value` unless said; a path takes one key",
        connect: |config, credential| Ok(Box::new(vault::Vault::new(&config, config.must(credential)?)?)),
        facts: &vault::FACTS,
        credential: Some("a token, or the SecretID of an AppRole"),
        address: Some("the server, as in `https://vault.example:8200`"),
        settings: networked!(vault::SETTINGS),
    },
    Registered {
        kind: aws::secrets_manager::KIND,
        place: "the secret's name, as in `apps/web/API_TOKEN`",
        connect: |config, credential| {
            spotted(&config, aws::secrets_manager::SecretsManager::new(&config, credential.as_ref())?)
        },
        facts: &aws::secrets_manager::FACTS,
        credential: Some(crate::aws::CREDENTIAL),
        address: Some("the region's public one when absent"),
        settings: networked!(aws::secrets_manager::SETTINGS),
    },
    Registered {
        kind: aws::parameters::KIND,
        place: "the parameter's name, as in `/apps/web/API_TOKEN`",
        connect: |config, credential| {
            spotted(&config, aws::parameters::Parameters::new(&config, credential.as_ref())?)
        },
        facts: &aws::parameters::FACTS,
        credential: Some(crate::aws::CREDENTIAL),
        address: Some("the region's public one when absent"),
        settings: networked!(aws::parameters::SETTINGS),
    },
    Registered {
        kind: github_actions::KIND,
        place: "`OWNER/REPO#NAME`, `OWNER/REPO@ENVIRONMENT#NAME` or `OWNER#NAME`; the name is the key's unless said",
        connect: |config, credential| {
            Ok(Box::new(github_actions::GitHubActions::new(&config, config.must(credential)?)?))
        },
        facts: &github_actions::FACTS,
        credential: Some("a token that may read and write secrets and variables"),
        address: Some("GitHub's API; `https://HOST/api/v3` of an enterprise server, else GitHub's own"),
        settings: networked!(github_actions::SETTINGS),
    },
    Registered {
        kind: doppler::KIND,
        place: "`PROJECT/CONFIG#NAME`, as in `web/dev#API_TOKEN`; the name is the key's unless said",
        connect: |config, credential| {
            spotted(&config, doppler::Doppler::new(&config, config.must(credential)?)?)
        },
        facts: &doppler::FACTS,
        credential: Some("a service account's token, or a service token that may write"),
        address: Some("the API, where it is not `https://api.doppler.com`"),
        settings: networked!(doppler::SETTINGS),
    },
    Registered {
        kind: infisical::KIND,
        place: "`ENVIRONMENT/FOLDER#NAME`, as in `dev/web#API_TOKEN`; the name is the key's unless said",
        connect: |config, credential| {
            spotted(&config, infisical::Infisical::new(&config, config.must(credential)?)?)
        },
        facts: &infisical::FACTS,
        credential: Some("the client secret of a machine identity with universal auth"),
        address: Some("the server, where it is not `https://app.infisical.com`"),
        settings: networked!(infisical::SETTINGS),
    },
    Registered {
        kind: onepassword::KIND,
        place: "`TITLE#FIELD`, as in `web-dev#credential`; the field is `credential` unless said",
        connect: |config, credential| {
            Ok(Box::new(onepassword::OnePassword::connect(&config, config.must(credential)?)?))
        },
        facts: &onepassword::FACTS,
        credential: Some("the token of a Connect server that may write to the vault"),
        address: Some("the Connect server, as in `https://connect.example:8443`"),
        settings: networked!(onepassword::SETTINGS),
    },
    Registered {
        kind: onepassword::CLI_KIND,
        place: "`TITLE#FIELD`, as in `web-dev#credential`; the field is `credential` unless said",
        connect: |config, credential| {
            Ok(Box::new(onepassword::OnePassword::program(&config, config.must(credential)?)?))
        },
        facts: &onepassword::CLI_FACTS,
        credential: Some("the token of a service account that may write to the vault"),
        address: None,
        settings: onepassword::CLI_SETTINGS,
    },
    Registered {
        kind: pass::KIND,
        place: "`FOLDER/NAME`, as in `pass show FOLDER/NAME`",
        connect: |config, _| Ok(Box::new(pass::Pass::new(&config)?)),
        facts: &pass::FACTS,
        credential: None,
        address: None,
        settings: pass::SETTINGS,
    },
    Registered {
        kind: age::KIND,
        place: "the path of a file below the root, as in `web/dev/TOKEN.age`",
        connect: |config, credential| Ok(Box::new(age::Age::new(&config, credential)?)),
        facts: &age::FACTS,
        credential: Some(age::CREDENTIAL),
        address: None,
        settings: age::SETTINGS,
    },
    Registered {
        kind: cloudflare_workers::KIND,
        place: "`SCRIPT#NAME`; the name is the key's unless said",
        connect: |config, credential| {
            spotted(&config, cloudflare_workers::CloudflareWorkers::new(&config, config.must(credential)?)?)
        },
        facts: &cloudflare_workers::FACTS,
        credential: Some("a token with `Workers Scripts Write`"),
        address: Some("Cloudflare's API when absent"),
        settings: networked!(cloudflare_workers::SETTINGS),
    },
    Registered {
        kind: vercel::KIND,
        place: "`PROJECT@TARGET#NAME`, as in `web@production#API_TOKEN`; the name is the key's unless said",
        connect: |config, credential| {
            spotted(&config, vercel::Vercel::new(&config, config.must(credential)?)?)
        },
        facts: &vercel::FACTS,
        credential: Some("an access token, limited to the team"),
        address: Some("Vercel's API when absent"),
        settings: networked!(vercel::SETTINGS),
    },
    Registered {
        kind: kubernetes::KIND,
        place: "`NAMESPACE/SECRET/KEY`",
        connect: |config, credential| {
            spotted(&config, kubernetes::Kubernetes::new(&config, config.must(credential)?)?)
        },
        facts: &kubernetes::FACTS,
        credential: Some("a token of a service account that may get, create, patch and delete secrets"),
        address: Some("the API server, as in `https://kubernetes.example:6443`"),
        settings: networked!(kubernetes::SETTINGS),
    },
    Registered {
        kind: keyring::KIND,
        place: "`SERVICE/USERNAME`, as in `secret-tool lookup service SERVICE username USERNAME`",
        connect: |config, _| Ok(Box::new(keyring::Keyring::new(&config))),
        facts: &keyring::FACTS,
        credential: None,
        address: None,
        settings: keyring::SETTINGS,
    },
];

/// How long a call may take; every store that is reached by network has it.
const TIMEOUT: Setting = ("timeout", "how long one attempt of a call may take; `30s` unless set");

/// The kinds that [`connect`] opens.
pub static KINDS: [&str; REGISTRY.len()] = names(REGISTRY);

type Connect = fn(StoreConfig, Option<Secret>) -> Result<Box<dyn Store>, StoreConnectError>;

/// One line of the registry.
struct Registered {
    kind: &'static str,
    /// What a place in it looks like.
    place: &'static str,
    connect: Connect,
    facts: &'static StoreFacts,
    /// What the credential is; `None` where there is none. It may be left out where this starts with [`OPTIONAL`].
    credential: Option<&'static str>,
    /// What the address is; `None` where there is none.
    address: Option<&'static str>,
    /// The names that [`StoreConfig::extra`] may hold, and what each is.
    settings: &'static [Setting],
}

/// What a credential is introduced with that may be left out.
const OPTIONAL: &str = "optional: ";

/// What an operator has to know to add a store of a kind, and what such a store can do.
#[derive(Debug, Clone, Copy)]
pub struct StoreKind {
    /// The kind.
    pub kind: &'static str,
    /// What a place in it looks like.
    pub place: &'static str,
    /// What it can and can't do.
    pub facts: &'static StoreFacts,
    /// What its credential is; `None` where there is none.
    pub credential: Option<&'static str>,
    /// What its address is; `None` where there is none.
    pub address: Option<&'static str>,
    /// Its settings, and what each is.
    pub settings: &'static [(&'static str, &'static str)],
}

impl StoreKind {
    /// Whether a store of this kind can't be opened without a credential.
    #[must_use]
    pub fn needs_credential(&self) -> bool {
        self.credential.is_some_and(|what| !what.starts_with(OPTIONAL))
    }
}

/// Every kind that is built in.
pub fn kinds() -> impl Iterator<Item = StoreKind> {
    REGISTRY.iter().map(|one| StoreKind {
        kind: one.kind,
        place: one.place,
        facts: one.facts,
        credential: one.credential,
        address: one.address,
        settings: one.settings,
    })
}

#[expect(
    clippy::indexing_slicing,
    reason = "runs at compile time, where an index that is out of bounds is an error"
)]
const fn names<const N: usize>(registry: &[Registered]) -> [&'static str; N] {
    let mut names = [""; N];
    let mut at = 0;
    while at < N {
        names[at] = registry[at].kind;
        at += 1;
    }
    names
}

/// What an operator configured for one store.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Its name, the part of a place before the colon.
    pub name: StoreName,
    /// Where it answers, for a store that is reached by network. It may be of a private network, because an operator says so.
    pub address: Option<String>,
    /// Settings of its kind, by name.
    pub extra: BTreeMap<String, String>,
}

/// A store that could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreConnectError {
    /// No such kind.
    #[error("`{given}` is not a kind of store that is connected to; known kinds: {known}")]
    Kind {
        /// What was given.
        given: Untrusted,
        /// What there is.
        known: String,
    },
    /// A setting that the kind does not have, or one that makes no sense.
    #[error("store `{store}`: setting `{setting}` {why}")]
    Setting {
        /// Which store.
        store: StoreName,
        /// Which setting.
        setting: Untrusted,
        /// What is wrong with it.
        why: String,
    },
    /// The address is missing, given where none belongs, or one that may not be dialled.
    #[error("store `{store}` {why}")]
    Address {
        /// Which store.
        store: StoreName,
        /// What is wrong.
        why: String,
    },
    /// A credential is missing, or given where none belongs.
    #[error("store `{store}` {why}")]
    Credential {
        /// Which store.
        store: StoreName,
        /// What is wrong.
        why: String,
    },
}

/// Opens a configured store. Nothing but a `ca_file` is read, and nothing is dialled yet; [`Store::check`] does that.
///
/// # Errors
/// When the kind is unknown (`embedded` is the broker's), or the settings or the credential don't fit it.
pub fn connect(
    kind: &str,
    config: StoreConfig,
    credential: Option<Secret>,
) -> Result<Box<dyn Store>, StoreConnectError> {
    let registered = REGISTRY.iter().find(|registered| registered.kind == kind).ok_or_else(|| {
        StoreConnectError::Kind { given: Untrusted::capped(kind, 80), known: KINDS.join(", ") }
    })?;
    config.check(registered, credential.as_ref())?;
    (registered.connect)(config, credential)
}
