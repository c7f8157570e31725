//! Administration: connections, stores, operators, agents, workloads. Each verb takes an operator's proof with its
//! signing key, so a session is not enough.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keywright_core::audit::{Deed, Record, Stage, Subject, Who};
use keywright_core::id::SealedId;
use keywright_core::key::{Key, VersionState};
use keywright_core::name::{
    AgentName, ConnectionName, EnvironmentName, Kind, OperatorName, ProjectName, StoreName, WorkloadName,
};
use keywright_core::provider::ParentHealth;
use keywright_core::secret::Secret;
use keywright_ledger::seal::{Keyring, SlotCost};
use keywright_ledger::{Agent, ConfiguredStore, Connection, LedgerError, OperatorKeys, Workload};

use crate::auth::{Proven, new_token};
use crate::broker::Broker;
use crate::clock::entropy;
use crate::derive::ambiguous;
use crate::error::{BrokerError, Code, Result};
use crate::mask::FINGERPRINT;
use crate::outside::{DOTENV, EMBEDDED, connect, connect_store, owner_of_connection, owner_of_store};
use crate::passkey::PUBLIC_KEY;
use crate::rails::{
    AGENT, CONNECTION, FACT, OPERATOR, Rails, STORE, WORKLOAD, known_as, of_connection, of_store,
};

/// A connection about to be added.
pub struct NewConnection {
    /// Its name.
    pub name: ConnectionName,
    /// The provider's kind.
    pub kind: Kind,
    /// Where its API is, when not at the usual address. Plain http is for loopback only.
    pub base_url: Option<String>,
    /// The account at the provider.
    pub account: Option<String>,
    /// What else the adapter wants to know.
    pub extra: BTreeMap<String, String>,
    /// The parent credential.
    pub credential: Secret,
}

/// A store about to be added.
pub struct NewStore {
    /// Its name.
    pub name: StoreName,
    /// Its kind.
    pub kind: Kind,
    /// Where it is.
    pub address: Option<String>,
    /// What else the adapter wants to know.
    pub extra: BTreeMap<String, String>,
    /// The credential, where it needs one.
    pub credential: Option<Secret>,
}

/// A store as `store list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StoreSummary {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Where it is.
    pub address: Option<String>,
    /// The best that is known after a write.
    pub verify: String,
}

impl Broker {
    /// Adds a connection after trying the credential. Nothing is kept when it does not work.
    ///
    /// # Errors
    /// When the kind is unknown, the address is not allowed, or the provider does not accept the credential.
    pub async fn add_connection(&self, operator: &Proven, new: NewConnection) -> Result<ParentHealth> {
        self.refuse_if_forked()?;
        operator.signing()?;
        if new.credential.is_empty() {
            return Err(BrokerError::invalid("the parent credential is empty")
                .hint("give it on standard input, at the prompt, or with --credential-file PATH"));
        }
        let id = SealedId::generate(self.now(), entropy()?);
        let connection = Connection {
            name: new.name,
            kind: new.kind,
            base_url: new.base_url,
            account: new.account,
            extra: new.extra,
            credential: id,
            added_at: self.now(),
        };
        let owner = owner_of_connection(&connection);
        let sealed = self.keyring.seal(&owner, &new.credential)?;
        self.secret_came(&new.credential).await?;
        let print = self.keyring.fingerprint(&new.credential).to_hex();
        let provider = connect(&connection, new.credential)?;
        let mut health = provider.check().await?;
        let kind = connection.kind.clone();
        self.refuse_managed(&connection, provider.own_key_id().await?).await?;
        let who = operator.caller().who();
        let (known, digest) = (known_as(CONNECTION, connection.name.as_str()), of_connection(&connection));
        let coming = digest.clone();
        let written = self.ledger.write(move |tx| {
            tx.put_sealed(id, &owner, &sealed)?;
            tx.add_connection(&connection)?;
            let mut record = Record::new(tx.now(), Deed::ProviderAdd, Stage::Note, who);
            record.subject = Subject { connection: Some(connection.name.to_string()), ..Subject::default() };
            record.facts.insert("kind".to_owned(), serde_json::json!(connection.kind.as_str()));
            record.facts.insert("base_url".to_owned(), serde_json::json!(connection.base_url));
            record.facts.insert("account".to_owned(), serde_json::json!(connection.account));
            record.facts.insert(FINGERPRINT.to_owned(), serde_json::json!(print));
            record.facts.insert(FACT.to_owned(), serde_json::json!(coming));
            tx.audit(record)
        });
        written.await?;
        self.rails.coming(&known, &digest);
        let ambiguous = self.ledger.read(move |tx| ambiguous(tx, &kind)).await?;
        health.warnings.extend(ambiguous);
        Ok(health)
    }

    /// A key that this home manages is replaced and revoked one day; a connection that lives by it would go with it.
    pub(crate) async fn refuse_managed(&self, connection: &Connection, own: Option<String>) -> Result<()> {
        let Some(own) = own else { return Ok(()) };
        let (kind, base_url) = (connection.kind.clone(), connection.base_url.clone());
        let held = self.ledger.read(move |tx| {
            for other in tx.sound_connections()? {
                if other.kind == kind
                    && other.base_url == base_url
                    && let Some((key, version)) = tx.key_of_credential(&other.name, &own)?
                    && version.state != VersionState::Revoked
                {
                    return Ok(Some(key));
                }
            }
            Ok::<_, LedgerError>(None)
        });
        match held.await? {
            None => Ok(()),
            Some(Key { project, environment, name, .. }) => Err(BrokerError::new(
                Code::Conflict,
                format!("this credential is the key `{project}/{environment}/{name}` of this home"),
            )
            .hint("a key is replaced and revoked one day, and the connection would go with it; make a credential of its own")),
        }
    }

    /// The connections, without their credentials.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn connections(&self) -> Result<Vec<Connection>> {
        Ok(self.ledger.read(|tx| tx.connections()).await?)
    }

    /// Tries a connection's credential.
    ///
    /// # Errors
    /// When there is no such connection, or what is wrong with it.
    pub async fn check_connection(&self, name: &ConnectionName) -> Result<ParentHealth> {
        Ok(self.outside.provider(name).await?.check().await?)
    }

    /// Adds a store after trying it.
    ///
    /// # Errors
    /// When the kind is unknown or the store can't be used.
    pub async fn add_store(&self, operator: &Proven, new: NewStore) -> Result<()> {
        self.refuse_if_forked()?;
        operator.signing()?;
        if [EMBEDDED, DOTENV].contains(&new.name.as_str()) {
            return Err(BrokerError::new(
                Code::Conflict,
                format!("store `{}` exists in every home", new.name),
            )
            .hint("choose another name"));
        }
        let id = SealedId::generate(self.now(), entropy()?);
        let store = ConfiguredStore {
            name: new.name,
            kind: new.kind,
            address: new.address,
            extra: new.extra,
            credential: new.credential.is_some().then_some(id),
            added_at: self.now(),
        };
        let owner = owner_of_store(&store);
        let sealed = new.credential.as_ref().map(|secret| self.keyring.seal(&owner, secret)).transpose()?;
        if let Some(credential) = &new.credential {
            self.secret_came(credential).await?;
        }
        let print = new.credential.as_ref().map(|secret| self.keyring.fingerprint(secret).to_hex());
        connect_store(&store, new.credential)?.check().await?;
        let who = operator.caller().who();
        let (known, digest) = (known_as(STORE, store.name.as_str()), of_store(&store));
        let coming = digest.clone();
        let written = self.ledger.write(move |tx| {
            if let Some(sealed) = &sealed {
                tx.put_sealed(id, &owner, sealed)?;
            }
            tx.add_store(&store)?;
            let mut record = Record::new(tx.now(), Deed::StoreAdd, Stage::Note, who);
            record.facts.insert("store".to_owned(), serde_json::json!(store.name.as_str()));
            record.facts.insert("kind".to_owned(), serde_json::json!(store.kind.as_str()));
            record.facts.insert("address".to_owned(), serde_json::json!(store.address));
            record.facts.extend(print.map(|print| (FINGERPRINT.to_owned(), serde_json::json!(print))));
            record.facts.insert(FACT.to_owned(), serde_json::json!(coming));
            tx.audit(record)
        });
        written.await?;
        self.rails.coming(&known, &digest);
        Ok(())
    }

    /// The stores: the two that every home has, and the configured ones.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn stores(&self) -> Result<Vec<StoreSummary>> {
        let configured = self.ledger.read(|tx| tx.stores()).await?;
        let built_in = [EMBEDDED, DOTENV].into_iter().map(|name| (name.to_owned(), name.to_owned(), None));
        let all = built_in
            .chain(configured.into_iter().map(|s| (s.name.to_string(), s.kind.to_string(), s.address)));
        let mut stores = Vec::new();
        for (name, kind, address) in all {
            let parsed = StoreName::parse(&name).map_err(BrokerError::invalid)?;
            let verify = self.outside.store(&parsed).await?.facts().verify.as_str().to_owned();
            stores.push(StoreSummary { name, kind, address, verify });
        }
        Ok(stores)
    }

    /// Tries a store.
    ///
    /// # Errors
    /// When there is no such store, or what is wrong with it.
    pub async fn check_store(&self, name: &StoreName) -> Result<()> {
        Ok(self.outside.store(name).await?.check().await?)
    }

    /// Adds an operator with their own passphrase, which also opens the home.
    ///
    /// # Errors
    /// When the name is taken or the passphrase is too short.
    pub async fn add_operator(
        &self,
        operator: &Proven,
        name: &OperatorName,
        passphrase: Secret,
    ) -> Result<()> {
        self.refuse_if_forked()?;
        operator.signing()?;
        self.refuse_shared(&passphrase, name).await?;
        let keys = self.slot(name, passphrase, None).await?;
        let (name, who) = (name.clone(), operator.caller().who());
        let (known, keyring, rails) = self.row_of(OPERATOR, name.as_str());
        let written = self.ledger.write(move |tx| {
            let mac = tx.add_operator(&name, &keys, &keyring)?.to_string();
            rails.coming(&known, &mac);
            tx.audit(of_operator(tx.now(), who, &name, &keys, &mac))
        });
        written.await?;
        Ok(())
    }

    /// Puts the operator's keys under a new passphrase. Nothing else is encrypted again.
    ///
    /// # Errors
    /// When the new passphrase is too short.
    pub async fn change_passphrase(&self, operator: &Proven, passphrase: Secret) -> Result<()> {
        self.refuse_if_forked()?;
        let signing = operator.signing()?.clone();
        self.refuse_shared(&passphrase, operator.name()).await?;
        let keys = self.slot(operator.name(), passphrase, Some(signing)).await?;
        let (name, who) = (operator.name().clone(), operator.caller().who());
        let (known, keyring, rails) = self.row_of(OPERATOR, name.as_str());
        let coming = known.clone();
        let written = self.ledger.write(move |tx| {
            let mac = tx.rewrap_operator(&name, &keys, &keyring)?.to_string();
            rails.coming(&coming, &mac);
            tx.audit(vouched(tx.now(), Deed::PassphraseChange, who, name.as_str(), &mac))?;
            Ok::<_, LedgerError>(mac)
        });
        self.rails.came(&known, &written.await?);
        self.fold_ledger().await;
        Ok(())
    }

    /// What opened with a passphrase that counts no more must not lie in the write-ahead log.
    async fn fold_ledger(&self) {
        if let Err(error) = self.ledger.fold().await {
            tracing::warn!(%error, "an old wrap of the master key lies in the write-ahead log until the broker stops");
        }
    }

    /// Removes an operator: their passphrase opens nothing any more, their unused approvals are void.
    ///
    /// # Errors
    /// When there is none of this name, or it is the last one.
    pub async fn remove_operator(&self, operator: &Proven, name: &OperatorName) -> Result<()> {
        operator.signing()?;
        let (gone, who) = (name.clone(), operator.caller().who());
        let keyring = Arc::clone(&self.keyring);
        let written = self.ledger.write(move |tx| {
            tx.remove_operator(&gone, &keyring)?;
            tx.audit(named(tx.now(), Deed::OperatorRemove, who, gone.as_str()))
        });
        written.await?;
        self.rails.went(OPERATOR, name.as_str());
        self.fold_ledger().await;
        Ok(())
    }

    /// The operators' names and since when they are.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn operators(&self) -> Result<Vec<(OperatorName, jiff::Timestamp)>> {
        let keyring = Arc::clone(&self.keyring);
        let operators = self.ledger.read(move |tx| tx.operators(&keyring)).await?;
        Ok(self.rails.counting(operators).into_iter().map(|o| (o.name, o.added_at)).collect())
    }

    /// Adds an agent and returns its token, which is shown this once.
    ///
    /// # Errors
    /// When the name is taken.
    pub async fn add_agent(&self, operator: &Proven, name: &AgentName) -> Result<Secret> {
        self.refuse_if_forked()?;
        operator.signing()?;
        let token = new_token("kwa_")?;
        let (hash, by, name, who) =
            (self.keyring.token_hash(&token), operator.name().clone(), name.clone(), operator.caller().who());
        let (known, keyring, rails) = self.row_of(AGENT, name.as_str());
        let written = self.ledger.write(move |tx| {
            let mac = tx.add_agent(&name, &hash, &by, &keyring)?.to_string();
            rails.coming(&known, &mac);
            tx.audit(vouched(tx.now(), Deed::AgentAdd, who, name.as_str(), &mac))
        });
        written.await?;
        Ok(token)
    }

    /// The agents.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn agents(&self) -> Result<Vec<Agent>> {
        let keyring = Arc::clone(&self.keyring);
        Ok(self.rails.counting(self.ledger.read(move |tx| tx.agents(&keyring)).await?))
    }

    /// Removes an agent; its token is worth nothing from then on, and what it asked for and nobody decided yet is
    /// turned down. Its keys stay until they are revoked.
    ///
    /// # Errors
    /// When there is none of this name.
    pub async fn remove_agent(&self, operator: &Proven, name: &AgentName) -> Result<()> {
        operator.signing()?;
        let (gone, who) = (name.clone(), operator.caller().who());
        let keyring = Arc::clone(&self.keyring);
        let written = self.ledger.write(move |tx| {
            tx.remove_agent(&gone, &keyring)?;
            let entry = tx.audit(named(tx.now(), Deed::AgentRemove, who, gone.as_str()))?;
            tx.reject_requests_of(&gone, "the agent that asked was removed", entry)?;
            tx.reject_proposals_of(&gone)
        });
        written.await?;
        self.rails.went(AGENT, name.as_str());
        Ok(())
    }

    /// Adds a workload and returns its token, which is shown this once.
    ///
    /// # Errors
    /// When the name is taken.
    pub async fn add_workload(
        &self,
        operator: &Proven,
        name: &WorkloadName,
        project: &ProjectName,
        environment: Option<&EnvironmentName>,
    ) -> Result<Secret> {
        self.refuse_if_forked()?;
        operator.signing()?;
        let token = new_token("kww_")?;
        let (hash, by, who) =
            (self.keyring.token_hash(&token), operator.name().clone(), operator.caller().who());
        let (name, project, environment) = (name.clone(), project.clone(), environment.cloned());
        let (known, keyring, rails) = self.row_of(WORKLOAD, name.as_str());
        let written = self.ledger.write(move |tx| {
            let mac =
                tx.add_workload(&name, &hash, &project, environment.as_ref(), &by, &keyring)?.to_string();
            rails.coming(&known, &mac);
            let mut record = vouched(tx.now(), Deed::WorkloadAdd, who, name.as_str(), &mac);
            record.subject.project = Some(project.to_string());
            record.subject.environment = environment.map(|e| e.to_string());
            tx.audit(record)
        });
        written.await?;
        Ok(token)
    }

    /// The workloads.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn workloads(&self) -> Result<Vec<Workload>> {
        let keyring = Arc::clone(&self.keyring);
        Ok(self.rails.counting(self.ledger.read(move |tx| tx.workloads(&keyring)).await?))
    }

    /// Removes a workload; its token is worth nothing from then on.
    ///
    /// # Errors
    /// When there is none of this name.
    pub async fn remove_workload(&self, operator: &Proven, name: &WorkloadName) -> Result<()> {
        operator.signing()?;
        let (gone, who) = (name.clone(), operator.caller().who());
        let keyring = Arc::clone(&self.keyring);
        let written = self.ledger.write(move |tx| {
            tx.remove_workload(&gone, &keyring)?;
            tx.audit(named(tx.now(), Deed::WorkloadRemove, who, gone.as_str()))
        });
        written.await?;
        self.rails.went(WORKLOAD, name.as_str());
        Ok(())
    }

    /// What a row is made with, and what the log is going to know it by.
    fn row_of(&self, noun: &str, name: &str) -> (String, Arc<Keyring>, Arc<Rails>) {
        (known_as(noun, name), Arc::clone(&self.keyring), Arc::clone(&self.rails))
    }

    /// Two operators with one passphrase would be one person with two votes.
    async fn refuse_shared(&self, passphrase: &Secret, whose: &OperatorName) -> Result<()> {
        let copy = Secret::new(passphrase.expose_secret().to_owned());
        match self.operator(None, copy).await {
            Ok(found) if found.name() == whose => Ok(()),
            Ok(_) => Err(BrokerError::invalid("an operator of this home has this passphrase already")
                .hint("each operator needs one of their own; several random words make a good one")),
            Err(error) if error.code == Code::Unauthenticated => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn slot(
        &self,
        name: &OperatorName,
        passphrase: Secret,
        signing: Option<ed25519_dalek::SigningKey>,
    ) -> Result<OperatorKeys> {
        if passphrase.expose_secret().chars().count() < 8 {
            return Err(BrokerError::invalid("a passphrase has at least 8 characters")
                .hint("several random words make a good one"));
        }
        let (name, keyring) = (name.clone(), Arc::clone(&self.keyring));
        let sealing = tokio::task::spawn_blocking(move || {
            OperatorKeys::seal(&name, &passphrase, keyring.master(), signing.as_ref(), SlotCost::RECOMMENDED)
        });
        Ok(sealing.await.map_err(|e| BrokerError::new(Code::Internal, e.to_string()))??)
    }
}

/// Somebody is let in: the log keeps what the row must have.
pub(crate) fn vouched(at: jiff::Timestamp, deed: Deed, who: Who, name: &str, mac: &str) -> Record {
    let mut record = named(at, deed, who, name);
    record.facts.insert(FACT.to_owned(), serde_json::json!(mac));
    record
}

/// An operator is added, whose signatures are known by this key from here on.
pub(crate) fn of_operator(
    at: jiff::Timestamp,
    who: Who,
    name: &OperatorName,
    keys: &OperatorKeys,
    mac: &str,
) -> Record {
    let mut record = vouched(at, Deed::OperatorAdd, who, name.as_str(), mac);
    let key = STANDARD.encode(keys.public_key().as_bytes());
    record.facts.insert(PUBLIC_KEY.to_owned(), serde_json::json!(key));
    record
}

pub(crate) fn named(at: jiff::Timestamp, deed: Deed, who: Who, name: &str) -> Record {
    let mut record = Record::new(at, deed, Stage::Note, who);
    record.subject = Subject { name: Some(name.to_owned()), ..Subject::default() };
    record
}
