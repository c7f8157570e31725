//! The adapters of this home: built when first used, from the ledger's connections and stores.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use keywright_adapters::{provider, store};
use keywright_core::name::{ConnectionName, StoreName};
use keywright_core::provider::Provider;
use keywright_core::redact::Redactor;
use keywright_core::secret::Secret;
use keywright_core::store::Store;
use keywright_ledger::seal::Keyring;
use keywright_ledger::{ConfiguredConsumer, ConfiguredStore, Connection, Ledger, LedgerError};
use sha2::{Digest as _, Sha256};

use crate::embedded::EmbeddedStore;
use crate::error::{BrokerError, Code, Result};

/// The store that every home has and that needs no set-up.
pub(crate) const EMBEDDED: &str = "embedded";
/// The kind of the `.env` store; a store of this name exists in every home too.
pub(crate) const DOTENV: &str = "dotenv";

/// The adapters of this home.
pub(crate) struct Outside {
    ledger: Arc<Ledger>,
    keyring: Arc<Keyring>,
    providers: Mutex<HashMap<ConnectionName, Arc<dyn Provider>>>,
    stores: Mutex<HashMap<StoreName, Arc<dyn Store>>>,
    /// Adapters with a parent credential that was replaced: whatever was under way may still hold them.
    replaced: Mutex<Vec<(ConnectionName, Weak<dyn Provider>)>>,
}

impl Outside {
    pub(crate) fn new(
        ledger: Arc<Ledger>,
        keyring: Arc<Keyring>,
        providers: HashMap<ConnectionName, Arc<dyn Provider>>,
    ) -> Self {
        Self {
            ledger,
            keyring,
            providers: Mutex::new(providers),
            stores: Mutex::default(),
            replaced: Mutex::default(),
        }
    }

    /// The provider behind a connection.
    pub(crate) async fn provider(&self, name: &ConnectionName) -> Result<Arc<dyn Provider>> {
        if let Some(known) = self.providers.lock().ok().and_then(|all| all.get(name).cloned()) {
            return Ok(known);
        }
        let connections = self.ledger.read(|tx| tx.connections()).await?;
        let names: Vec<String> = connections.iter().map(|c| c.name.to_string()).collect();
        let connection = connections.into_iter().find(|c| c.name == *name).ok_or_else(|| {
            BrokerError::missing(format!("there is no connection `{name}`"))
                .hint("add one with `keywright provider add KIND --name NAME`")
                .alternatives(names)
        })?;
        let credential = self.credential_of(&connection).await?;
        let provider: Arc<dyn Provider> = Arc::from(connect(&connection, credential)?);
        if let Ok(mut all) = self.providers.lock() {
            all.insert(name.clone(), Arc::clone(&provider));
        }
        Ok(provider)
    }

    /// The store of a name.
    pub(crate) async fn store(&self, name: &StoreName) -> Result<Arc<dyn Store>> {
        if let Some(known) = self.stores.lock().ok().and_then(|all| all.get(name).cloned()) {
            return Ok(known);
        }
        let store: Arc<dyn Store> = if name.as_str() == EMBEDDED {
            Arc::new(EmbeddedStore::new(name.clone(), Arc::clone(&self.ledger), Arc::clone(&self.keyring)))
        } else if name.as_str() == DOTENV {
            Arc::from(connect_store(&plain_dotenv(name)?, None)?)
        } else {
            let configured = self.ledger.read(|tx| tx.stores()).await?;
            let mut names: Vec<String> = configured.iter().map(|s| s.name.to_string()).collect();
            match configured.into_iter().find(|s| s.name == *name) {
                Some(store) => Arc::from(self.open_store(&store).await?),
                None => {
                    names.extend([EMBEDDED.to_owned(), DOTENV.to_owned()]);
                    return Err(BrokerError::new(
                        Code::InvalidArgument,
                        format!("there is no store `{name}`"),
                    )
                    .hint("add one with `keywright store add KIND --name NAME`")
                    .alternatives(names));
                }
            }
        };
        if let Ok(mut all) = self.stores.lock() {
            all.insert(name.clone(), Arc::clone(&store));
        }
        Ok(store)
    }

    /// A connection was removed: nothing more goes through it.
    pub(crate) fn forget_provider(&self, name: &ConnectionName) {
        self.providers.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// A connection has another parent credential: whoever asks from here on works with that one.
    pub(crate) fn replace_provider(&self, name: &ConnectionName) {
        let before = self.providers.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        if let Some(before) = before {
            let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
            replaced.push((name.clone(), Arc::downgrade(&before)));
        }
    }

    /// Whether something under way still holds a credential that was replaced.
    pub(crate) fn is_held(&self, name: &ConnectionName) -> bool {
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        replaced.retain(|(_, adapter)| adapter.strong_count() > 0);
        replaced.iter().any(|(of, _)| of == name)
    }

    /// A store was removed.
    pub(crate) fn forget_store(&self, name: &StoreName) {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// A search for every secret that this home can read: parent credentials, store credentials, values of the
    /// embedded store.
    pub(crate) async fn known_secrets(&self) -> Result<Redactor> {
        let keyring = Arc::clone(&self.keyring);
        let known = self.ledger.scan(move |tx| {
            let mut known = Redactor::default();
            tx.each_sealed(|owner, sealed| {
                known.add(&keyring.open(owner, sealed)?);
                Ok(())
            })?;
            Ok(known)
        });
        known.await.map_err(|e: LedgerError| BrokerError::from(e))
    }

    async fn credential_of(&self, connection: &Connection) -> Result<Secret> {
        let (id, keyring) = (connection.credential, Arc::clone(&self.keyring));
        let owner = owner_of_connection(connection);
        let opened = self.ledger.read(move |tx| keyring.open(&owner, &tx.sealed(id)?));
        let what = format!("connection `{}`", connection.name);
        opened.await.map_err(|error: LedgerError| not_as_added(&what, error))
    }

    async fn open_store(&self, configured: &ConfiguredStore) -> Result<Box<dyn Store>> {
        let credential = match configured.credential {
            None => None,
            Some(id) => {
                let (owner, keyring) = (owner_of_store(configured), Arc::clone(&self.keyring));
                let opened = self.ledger.read(move |tx| keyring.open(&owner, &tx.sealed(id)?));
                let what = format!("store `{}`", configured.name);
                Some(opened.await.map_err(|error: LedgerError| not_as_added(&what, error))?)
            }
        };
        connect_store(configured, credential)
    }
}

/// What a parent credential is bound to: where it is sent, and as whom. It opens for nothing else, so that whoever edits
/// the ledger's file can't have it sent elsewhere.
pub(crate) fn owner_of_connection(connection: &Connection) -> String {
    let Connection { name, kind, base_url, account, extra, .. } = connection;
    let bound = serde_json::json!([kind.as_str(), base_url, account, extra]);
    format!("connection:{name}:{}", digest(&bound))
}

/// What a store's credential is bound to.
pub(crate) fn owner_of_store(store: &ConfiguredStore) -> String {
    let ConfiguredStore { name, kind, address, extra, .. } = store;
    format!("store:{name}:{}", digest(&serde_json::json!([kind.as_str(), address, extra])))
}

/// What the secret that a consumer's messages are signed with is bound to.
pub(crate) fn owner_of_consumer(consumer: &ConfiguredConsumer) -> String {
    let ConfiguredConsumer { name, kind, target, .. } = consumer;
    format!("consumer:{name}:{}", digest(&serde_json::json!([kind.as_str(), target])))
}

fn digest(bound: &serde_json::Value) -> String {
    Sha256::digest(bound.to_string().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn not_as_added(what: &str, error: LedgerError) -> BrokerError {
    match error {
        LedgerError::Damaged { what: "sealed value" } => BrokerError::new(
            Code::Internal,
            format!("the credential of {what} does not open for the address and account beside it"),
        )
        .hint("the ledger was edited: `keywright doctor` names what was; add it anew under another name"),
        other => other.into(),
    }
}

/// Builds a provider's adapter; nothing is dialled yet.
pub(crate) fn connect(connection: &Connection, credential: Secret) -> Result<Box<dyn Provider>> {
    let config = provider::ConnectionConfig {
        base_url: connection.base_url.clone(),
        account: connection.account.clone(),
        extra: connection.extra.clone(),
    };
    provider::connect(connection.kind.as_str(), config, credential).map_err(BrokerError::invalid)
}

/// Builds a store's adapter; nothing is dialled yet.
pub(crate) fn connect_store(store: &ConfiguredStore, credential: Option<Secret>) -> Result<Box<dyn Store>> {
    let config = store::StoreConfig {
        name: store.name.clone(),
        address: store.address.clone(),
        extra: store.extra.clone(),
    };
    store::connect(store.kind.as_str(), config, credential).map_err(BrokerError::invalid)
}

fn plain_dotenv(name: &StoreName) -> Result<ConfiguredStore> {
    Ok(ConfiguredStore {
        name: name.clone(),
        kind: keywright_core::name::Kind::parse(DOTENV).map_err(BrokerError::invalid)?,
        address: None,
        extra: std::collections::BTreeMap::new(),
        credential: None,
        added_at: jiff::Timestamp::UNIX_EPOCH,
    })
}
