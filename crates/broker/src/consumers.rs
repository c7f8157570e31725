//! Consumers: who is told when a key has a successor. Operators add them, with their signing key; no agent can see or change
//! one.

use keywright_adapters::consumer::{Config, NotTold, Told, connect};
use keywright_core::audit::{Deed, Outcome, Record, Stage, Subject};
use keywright_core::consumer::{ConsumerKind, Event, News, Uses};
use keywright_core::id::{SealedId, TellingId};
use keywright_core::name::{ConsumerName, EnvironmentName, KeyName};
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_core::text::Untrusted;
use keywright_ledger::{ConfiguredConsumer, LedgerError};

use crate::auth::Proven;
use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{BrokerError, Code, Result};
use crate::outside::{not_as_added, owner_of_consumer};
use crate::rails::{CONSUMER, FACT, known_as, of_consumer};

/// How long a consumer may take to be told, where nothing else was said.
pub const PATIENCE: Span = Span::from_seconds(30);
/// The longest line of what a consumer said that is kept.
const LINE: usize = 300;

/// A consumer about to be added.
pub struct NewConsumer {
    /// Its name.
    pub name: ConsumerName,
    /// Of which keys it is told.
    pub uses: Uses,
    /// How.
    pub way: Way,
    /// How long it may take.
    pub patience: Span,
}

/// How a consumer is told.
pub enum Way {
    /// A program and its arguments.
    Command(Vec<String>),
    /// An address, and what messages to it are signed with.
    Webhook {
        /// The address.
        url: String,
        /// `whsec_` and base64.
        secret: Secret,
    },
}

impl Broker {
    /// Adds a consumer. Nothing is run or sent yet.
    ///
    /// # Errors
    /// When it can't be told in this way, or what was given holds a credential in the clear.
    pub async fn add_consumer(&self, operator: &Proven, new: NewConsumer) -> Result<()> {
        self.refuse_if_forked()?;
        operator.signing()?;
        let (kind, target, secret) = match new.way {
            Way::Command(words) => (ConsumerKind::Command, words, None),
            Way::Webhook { url, secret } => (ConsumerKind::Webhook, vec![url], Some(secret)),
        };
        for word in &target {
            if self.scrub(word).await? != *word {
                return Err(BrokerError::invalid(
                    "the command or address holds what looks like a credential",
                )
                .hint(
                    "every program of this user sees it; have the program read it from a file of its own",
                ));
            }
        }
        let id = SealedId::generate(self.now(), entropy()?);
        let consumer = ConfiguredConsumer {
            name: new.name,
            kind,
            uses: new.uses,
            target,
            patience: new.patience,
            credential: secret.is_some().then_some(id),
            added_at: self.now(),
        };
        let owner = owner_of_consumer(&consumer);
        let sealed = secret.as_ref().map(|secret| self.keyring.seal(&owner, secret)).transpose()?;
        if let Some(secret) = &secret {
            self.secret_came(secret).await?;
        }
        self.way_to(&consumer, secret)?;
        let who = operator.caller().who();
        let (known, digest) = (known_as(CONSUMER, consumer.name.as_str()), of_consumer(&consumer));
        let coming = digest.clone();
        let written = self.ledger.write(move |tx| {
            if let Some(sealed) = &sealed {
                tx.put_sealed(id, &owner, sealed)?;
            }
            tx.add_consumer(&consumer)?;
            let mut record = Record::new(tx.now(), Deed::ConsumerAdd, Stage::Note, who);
            record.subject = subject(&consumer);
            record.facts.insert("kind".to_owned(), serde_json::json!(consumer.kind.as_str()));
            record.facts.insert("names".to_owned(), serde_json::json!(consumer.uses.names.as_str()));
            record.facts.insert(FACT.to_owned(), serde_json::json!(coming));
            tx.audit(record)
        });
        written.await?;
        self.rails.coming(&known, &digest);
        Ok(())
    }

    /// The consumers.
    ///
    /// # Errors
    /// When the ledger can't be read, or one of them was edited.
    pub async fn consumers(&self) -> Result<Vec<ConfiguredConsumer>> {
        Ok(self.ledger.read(|tx| tx.consumers()).await?)
    }

    /// Removes a consumer. What it was not told yet it is not told any more, and no rotation waits for it.
    ///
    /// # Errors
    /// When there is none of this name.
    pub async fn remove_consumer(&self, operator: &Proven, name: &ConsumerName) -> Result<()> {
        self.refuse_if_forked()?;
        operator.signing()?;
        let (wanted, who) = (name.clone(), operator.caller().who());
        let is_on_record = self.rails.has(CONSUMER).contains(&known_as(CONSUMER, name.as_str()));
        let written = self.ledger.write(move |tx| {
            let found = tx.consumer(&wanted);
            match tx.remove_consumer(&wanted) {
                // Its row was taken out of the ledger's file, and rotations wait for it.
                Err(LedgerError::Missing { .. }) if is_on_record => {}
                removed => removed?,
            }
            let mut record = Record::new(tx.now(), Deed::ConsumerRemove, Stage::Note, who);
            record.subject = Subject { name: Some(wanted.to_string()), ..Subject::default() };
            if let Ok(consumer) = found {
                tx.erase_sealed(&owner_of_consumer(&consumer))?;
                record.subject = subject(&consumer);
            }
            tx.audit(record)?;
            Ok::<_, LedgerError>(())
        });
        written.await?;
        self.rails.went(CONSUMER, name.as_str());
        Ok(())
    }

    /// Tells a consumer of nothing, to see whether it can be told.
    ///
    /// # Errors
    /// When it could not be.
    pub async fn test_consumer(&self, operator: &Proven, name: &ConsumerName) -> Result<String> {
        self.refuse_if_forked()?;
        operator.signing()?;
        let wanted = name.clone();
        let consumer = self.ledger.read(move |tx| tx.consumer(&wanted)).await?;
        let any = |text: &str| KeyName::parse(text.trim_end_matches('*'));
        let news = News {
            id: TellingId::generate(self.now(), entropy()?),
            consumer: name.clone(),
            event: Event::Test,
            at: self.now(),
            key: None,
            name: any(consumer.uses.names.as_str()).or_else(|_| any("TEST")).map_err(BrokerError::invalid)?,
            project: consumer.uses.project.clone(),
            environment: match &consumer.uses.environment {
                Some(environment) => environment.clone(),
                None => EnvironmentName::parse("test").map_err(BrokerError::invalid)?,
            },
            version: None,
            replaced: Vec::new(),
        };
        let told = self.tell(&consumer, &news).await?;
        let mut record = Record::new(self.now(), Deed::ConsumerTell, Stage::Outcome, operator.caller().who());
        record.subject = subject(&consumer);
        record.facts.insert("event".to_owned(), serde_json::json!(news.event.as_str()));
        let (said, result) = match &told {
            Ok(said) => (said.clone(), Outcome::done()),
            Err(why) => (String::new(), Outcome::failed("not-told", Untrusted::capped(why, 500))),
        };
        record.facts.insert("said".to_owned(), serde_json::json!(said));
        record.result = Some(result);
        self.ledger.write(move |tx| tx.audit(record)).await?;
        told.map_err(|why| {
            BrokerError::new(Code::Provider, format!("consumer `{name}` was not told: {why}"))
                .hint("nothing was changed; look at the program or the address, and try it again")
        })
    }

    /// Tells a consumer something. What it said, or why it was not told: one line, scrubbed.
    pub(crate) async fn tell(
        &self,
        consumer: &ConfiguredConsumer,
        news: &News,
    ) -> Result<std::result::Result<String, String>> {
        self.ledger.catch_up().await?;
        self.rails.check_way(CONSUMER, consumer.name.as_str(), &of_consumer(consumer))?;
        let secret = self.secret_of(consumer).await?;
        let way = self.way_to(consumer, secret)?;
        Ok(match way.tell(news).await {
            Ok(Told(said)) => Ok(self.kept(said.raw(), LINE).await?.to_string()),
            Err(NotTold { why, said }) => {
                let why = if said.raw().is_empty() { why } else { format!("{why}; it said: {}", said.raw()) };
                Err(self.kept(&why, LINE).await?.to_string())
            }
        })
    }

    fn way_to(
        &self,
        consumer: &ConfiguredConsumer,
        secret: Option<Secret>,
    ) -> Result<Box<dyn keywright_adapters::consumer::Consumer>> {
        let config = match (consumer.kind, secret) {
            (ConsumerKind::Command, _) => {
                Config::Command { words: consumer.target.clone(), folder: self.home.root().to_owned() }
            }
            (ConsumerKind::Webhook, secret) => Config::Webhook {
                url: consumer.target.first().cloned().unwrap_or_default(),
                secret: secret.unwrap_or_else(|| Secret::new(String::new())),
            },
        };
        connect(config, consumer.patience).map_err(BrokerError::invalid)
    }

    async fn secret_of(&self, consumer: &ConfiguredConsumer) -> Result<Option<Secret>> {
        let Some(id) = consumer.credential else { return Ok(None) };
        let (owner, keyring) = (owner_of_consumer(consumer), std::sync::Arc::clone(&self.keyring));
        let opened = self.ledger.read(move |tx| keyring.open(&owner, &tx.sealed(id)?));
        let what = format!("consumer `{}`", consumer.name);
        opened.await.map(Some).map_err(|error: LedgerError| not_as_added(&what, error))
    }
}

pub(crate) fn subject(consumer: &ConfiguredConsumer) -> Subject {
    Subject {
        name: Some(consumer.name.to_string()),
        project: Some(consumer.uses.project.to_string()),
        environment: consumer.uses.environment.as_ref().map(ToString::to_string),
        ..Subject::default()
    }
}
