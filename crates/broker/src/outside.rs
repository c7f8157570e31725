//! The adapters of this home: built when first used, from the ledger's connections and stores.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use keywright_adapters::{provider, store};
use keywright_core::name::{ConnectionName, StoreName};
use keywright_core::provider::Provider;
use keywright_core::redact::Redactor;
use keywright_core::secret::Secret;
use keywright_core::store::Store;
use keywright_ledger::seal::Keyring;
use keywright_ledger::{
    ConfiguredChannel, ConfiguredConsumer, ConfiguredStore, Connection, Ledger, LedgerError, Tx,
};
use sha2::{Digest as _, Sha256};

use crate::embedded::EmbeddedStore;
use crate::error::{BrokerError, Code, Result};
use crate::rails::{Rails, STORE, of_connection, of_store};

/// The store that every home has and that needs no set-up.
pub(crate) const EMBEDDED: &str = "embedded";
/// The kind of the `.env` store; a store of this name exists in every home too.
pub(crate) const DOTENV: &str = "dotenv";

/// The adapters of this home. Each is kept with the digest of the row that it was built from, and the row is looked at each time
/// somebody asks: another broker may have removed it, added another one under its name, or given it another credential.
pub(crate) struct Outside {
    ledger: Arc<Ledger>,
    keyring: Arc<Keyring>,
    rails: Arc<Rails>,
    /// Those that were there before the ledger was read.
    given: HashMap<ConnectionName, Arc<dyn Provider>>,
    providers: Mutex<HashMap<ConnectionName, Kept<dyn Provider>>>,
    stores: Mutex<HashMap<StoreName, Kept<dyn Store>>>,
    /// Every one that was built and may be alive: whatever was under way may still hold one of a row that is gone.
    built: Mutex<Vec<(ConnectionName, String, Weak<dyn Provider>)>>,
}

/// An adapter, and the digest of its row.
struct Kept<T: ?Sized> {
    row: String,
    adapter: Arc<T>,
}

impl<T: ?Sized> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self { row: self.row.clone(), adapter: Arc::clone(&self.adapter) }
    }
}

/// A row, as somebody finds it who may have an adapter that was built from it.
enum Found<R> {
    /// It is the one that the adapter was built from.
    Same,
    /// It is another one, with this digest and credential.
    Other(R, String, Option<Secret>),
    /// There is none. These there are.
    None(Vec<String>),
}

impl Outside {
    pub(crate) fn new(
        ledger: Arc<Ledger>,
        keyring: Arc<Keyring>,
        rails: Arc<Rails>,
        given: HashMap<ConnectionName, Arc<dyn Provider>>,
    ) -> Self {
        Self {
            ledger,
            keyring,
            rails,
            given,
            providers: Mutex::default(),
            stores: Mutex::default(),
            built: Mutex::default(),
        }
    }

    /// The provider behind a connection.
    pub(crate) async fn provider(&self, name: &ConnectionName) -> Result<Arc<dyn Provider>> {
        match self.given.get(name) {
            Some(given) => Ok(Arc::clone(given)),
            None => self.current(name).await.map(|kept| kept.adapter),
        }
    }

    async fn current(&self, name: &ConnectionName) -> Result<Kept<dyn Provider>> {
        let known = lock(&self.providers).get(name).cloned();
        let found = self.ledger.read(|tx| self.look_at_connection(tx, name, known.as_ref())).await;
        let found =
            found.map_err(|error: LedgerError| not_as_added(&format!("connection `{name}`"), error))?;
        match (found, known) {
            (Found::Same, Some(known)) => Ok(known),
            (Found::Other(connection, row, Some(credential)), _) => {
                let adapter: Arc<dyn Provider> = Arc::from(connect(&connection, credential)?);
                let mut built = lock(&self.built);
                built.retain(|(.., adapter)| adapter.strong_count() > 0);
                built.push((name.clone(), row.clone(), Arc::downgrade(&adapter)));
                let kept = Kept { row, adapter };
                lock(&self.providers).insert(name.clone(), kept.clone());
                Ok(kept)
            }
            (found, _) => {
                self.forget_provider(name);
                let names = if let Found::None(names) = found { names } else { Vec::new() };
                Err(BrokerError::missing(format!("there is no connection `{name}`"))
                    .hint("add one with `keywright provider add KIND --name NAME`")
                    .alternatives(names))
            }
        }
    }

    /// Row and credential of one moment: whoever replaces the credential destroys the one before.
    fn look_at_connection(
        &self,
        tx: &Tx<'_>,
        name: &ConnectionName,
        known: Option<&Kept<dyn Provider>>,
    ) -> std::result::Result<Found<Connection>, LedgerError> {
        let connection = match tx.connection(name) {
            Ok(connection) => connection,
            Err(LedgerError::Missing { .. }) => {
                let names = tx.sound_connections()?.into_iter().map(|c| c.name.to_string());
                return Ok(Found::None(names.collect()));
            }
            Err(error) => return Err(error),
        };
        let row = of_connection(&connection);
        if known.is_some_and(|known| known.row == row) {
            return Ok(Found::Same);
        }
        let sealed = tx.sealed(connection.credential)?;
        let credential = self.keyring.open(&owner_of_connection(&connection), &sealed)?;
        Ok(Found::Other(connection, row, Some(credential)))
    }

    /// The store of a name.
    pub(crate) async fn store(&self, name: &StoreName) -> Result<Arc<dyn Store>> {
        let known = lock(&self.stores).get(name).cloned();
        if [EMBEDDED, DOTENV].contains(&name.as_str()) {
            return match known {
                Some(known) => Ok(known.adapter),
                None => Ok(self.keep_store(name, String::new(), self.built_in(name)?)),
            };
        }
        let found = self.ledger.read(|tx| self.look_at_store(tx, name, known.as_ref())).await;
        let found = found.map_err(|error: LedgerError| not_as_added(&format!("store `{name}`"), error))?;
        match (found, known) {
            (Found::Same, Some(known)) => Ok(known.adapter),
            (Found::Other(store, row, credential), _) => {
                // Secrets go there: a row that was put back is not believed, whatever is under way.
                self.ledger.catch_up().await?;
                self.rails.check_way(STORE, name.as_str(), &row)?;
                Ok(self.keep_store(name, row, Arc::from(connect_store(&store, credential)?)))
            }
            (found, _) => {
                self.forget_store(name);
                let mut names = if let Found::None(names) = found { names } else { Vec::new() };
                names.extend([EMBEDDED.to_owned(), DOTENV.to_owned()]);
                Err(BrokerError::new(Code::InvalidArgument, format!("there is no store `{name}`"))
                    .hint("add one with `keywright store add KIND --name NAME`")
                    .alternatives(names))
            }
        }
    }

    fn look_at_store(
        &self,
        tx: &Tx<'_>,
        name: &StoreName,
        known: Option<&Kept<dyn Store>>,
    ) -> std::result::Result<Found<ConfiguredStore>, LedgerError> {
        let store = match tx.store(name) {
            Ok(store) => store,
            Err(LedgerError::Missing { .. }) => {
                let names = tx.sound_stores()?.into_iter().map(|s| s.name.to_string());
                return Ok(Found::None(names.collect()));
            }
            Err(error) => return Err(error),
        };
        let row = of_store(&store);
        if known.is_some_and(|known| known.row == row) {
            return Ok(Found::Same);
        }
        let open = |id| self.keyring.open(&owner_of_store(&store), &tx.sealed(id)?);
        let credential = store.credential.map(open).transpose()?;
        Ok(Found::Other(store, row, credential))
    }

    /// A store that every home has.
    fn built_in(&self, name: &StoreName) -> Result<Arc<dyn Store>> {
        Ok(if name.as_str() == EMBEDDED {
            Arc::new(EmbeddedStore::new(name.clone(), Arc::clone(&self.ledger), Arc::clone(&self.keyring)))
        } else {
            Arc::from(connect_store(&plain_dotenv(name)?, None)?)
        })
    }

    fn keep_store(&self, name: &StoreName, row: String, adapter: Arc<dyn Store>) -> Arc<dyn Store> {
        lock(&self.stores).insert(name.clone(), Kept { row, adapter: Arc::clone(&adapter) });
        adapter
    }

    /// A connection was removed, or has another parent credential: the one before is not kept in memory.
    pub(crate) fn forget_provider(&self, name: &ConnectionName) {
        lock(&self.providers).remove(name);
    }

    /// Whether something under way still holds a credential that was replaced.
    pub(crate) async fn is_held(&self, name: &ConnectionName) -> Result<bool> {
        let row = self.current(name).await?.row;
        let mut built = lock(&self.built);
        built.retain(|(.., adapter)| adapter.strong_count() > 0);
        Ok(built.iter().any(|(of, from, _)| of == name && *from != row))
    }

    /// A store was removed.
    pub(crate) fn forget_store(&self, name: &StoreName) {
        lock(&self.stores).remove(name);
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
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

/// What the secret of a channel is bound to.
pub(crate) fn owner_of_channel(channel: &ConfiguredChannel) -> String {
    let ConfiguredChannel { name, kind, settings, .. } = channel;
    format!("channel:{name}:{}", digest(&serde_json::json!([kind.as_str(), settings])))
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
