//! Another parent credential for a connection. The connection stays the same: its keys, templates and name.
//!
//! Where the provider lets a parent make its like, the broker does it ([`Broker::rotate_parent`], and `renew` for the steps).
//! Elsewhere an operator makes one and gives it in ([`Broker::replace_parent`]). Neither is there for agents.

use std::collections::BTreeSet;
use std::sync::Arc;

use keywright_adapters::provider::new_parent;
use keywright_core::audit::{Deed, Outcome, Record, Stage, Who};
use keywright_core::id::{AttemptId, SealedId};
use keywright_core::marker::Marker;
use keywright_core::name::ConnectionName;
use keywright_core::provider::{Listing, ParentHealth, Provider, ProviderError};
use keywright_core::secret::Secret;
use keywright_ledger::seal::SealedValue;
use keywright_ledger::{Connection, LedgerError, ParentRenewal, RenewalPhase, Tx};

use crate::auth::Proven;
use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{BrokerError, Code, Result};
use crate::mask::FINGERPRINT;
use crate::outside::{connect, owner_of_connection};
use crate::rails::{CONNECTION, FACT, Rails, known_as, of_connection};
use crate::record::failed;
use crate::renew::{own_id, stays};

/// What came of giving a connection another parent credential.
#[derive(Debug, Clone)]
pub struct Renewed {
    /// How the new one is doing.
    pub health: ParentHealth,
    /// The provider's id of the one before it, where the provider says.
    pub before: Option<String>,
    /// Whether the one before it is known to be gone.
    pub before_is_gone: bool,
    /// What stands in the way of its end.
    pub trouble: Option<String>,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// A credential that is about to be the connection's.
pub(crate) struct Coming {
    id: SealedId,
    sealed: SealedValue,
    /// What other brokers know it by.
    print: String,
}

impl Broker {
    /// Has the provider make a credential like the connection's parent, moves the connection to it, and ends the one before.
    /// After a crash the next broker goes on from where this one stopped; what was made for nothing is ended.
    ///
    /// # Errors
    /// [`Code::Unsupported`] where a parent can't make its like: the hint says what to do by hand. Otherwise when it can't be
    /// made or is not equal; then nothing has changed.
    pub async fn rotate_parent(
        self: &Arc<Self>,
        operator: &Proven,
        name: &ConnectionName,
    ) -> Result<Renewed> {
        self.refuse_if_forked()?;
        operator.signing()?;
        let _one_at_a_time = self.renewing.lock().await;
        let wanted = name.clone();
        let connection = self.ledger.read(move |tx| tx.connection(&wanted)).await?;
        let renewal = match self.claim_under_way(name).await? {
            Some(renewal) => self.drive(renewal).await?,
            None => {
                self.refuse_borrowed(&connection).await?;
                self.make_successor(operator, &connection).await?
            }
        };
        if renewal.phase == RenewalPhase::Failed {
            let why = renewal.trouble.unwrap_or_else(|| "an earlier try was given up".to_owned());
            let message = format!("connection `{name}` keeps its parent credential: {why}");
            return Err(BrokerError::new(Code::Provider, message)
                .hint("nothing was left behind at the provider; try it again"));
        }
        let health = self.check_connection(name).await?;
        Ok(Renewed {
            health,
            before: Some(renewal.parent.id),
            before_is_gone: renewal.phase == RenewalPhase::Done && renewal.trouble.is_none(),
            trouble: renewal.trouble,
            notes: Vec::new(),
        })
    }

    /// Intent, one send, and everything after it.
    async fn make_successor(
        self: &Arc<Self>,
        operator: &Proven,
        connection: &Connection,
    ) -> Result<ParentRenewal> {
        let provider = self.outside.provider(&connection.name).await?;
        let parent = match provider.renewing() {
            Some(renewing) => match renewing.parent().await {
                Ok(parent) => parent,
                Err(ProviderError::Unsupported { why, .. }) => return Err(by_hand(connection, &why)),
                Err(error) => return Err(error.into()),
            },
            None => return Err(by_hand(connection, "its parent credentials are made by people only")),
        };
        let id = AttemptId::generate(self.now(), entropy()?);
        let epoch = self.ledger.read(|tx| tx.epoch()).await?;
        let marker = self.keyring.markers().marker(epoch, id);
        let renewal = ParentRenewal {
            id,
            connection: connection.name.clone(),
            marker: marker.to_string(),
            parent,
            sent_at: self.now(),
            phase: RenewalPhase::Sent,
            tries: 0,
            trouble: None,
            fence: 1,
            switched_at: None,
            ended_at: None,
        };
        let (new, who) = (renewal.clone(), operator.caller().who());
        let (owner, lease) = (self.owner.clone(), self.renewal_lease());
        let written = self.ledger.write(move |tx| {
            tx.add_renewal(&new, &owner, lease)?;
            let mut record = of_renewal(tx, &new, Stage::Intent, who);
            record.facts.insert("marker".to_owned(), serde_json::json!(new.marker));
            tx.audit(record)
        });
        written.await?;
        self.crash_at.reached("parent.reserved");
        match self.while_leased(&renewal, self.send_successor(&renewal, &marker, provider)).await? {
            Ok(sealed) => {
                self.crash_at.reached("parent.sealed");
                self.drive(sealed).await
            }
            Err(error) => self.not_made(renewal, error).await,
        }
    }

    /// It is sent here and nowhere else: who finds it on record later does not know whether it was.
    async fn send_successor(
        &self,
        renewal: &ParentRenewal,
        marker: &Marker,
        provider: Arc<dyn Provider>,
    ) -> Result<std::result::Result<ParentRenewal, ProviderError>> {
        let sent = match provider.renewing() {
            Some(renewing) => renewing.succeed(&renewal.parent, marker, self.now()).await,
            None => return Err(BrokerError::new(Code::Internal, "the provider changed its mind")),
        };
        drop(provider);
        self.crash_at.reached("parent.answered");
        let minted = match sent {
            Ok(minted) => minted,
            Err(error) => return Ok(Err(error)),
        };
        self.secret_came(&minted.secret).await?;
        let sealed = self.seal_successor(renewal, &minted).await;
        if sealed.is_err() {
            self.end_late(renewal, &minted.provider_key_id).await;
        }
        sealed.map(Ok)
    }

    /// A refusal is believed when nothing is seen of a successor. Where no answer came, it is looked for until the create can
    /// take no effect any more.
    async fn not_made(
        self: &Arc<Self>,
        renewal: ParentRenewal,
        error: ProviderError,
    ) -> Result<ParentRenewal> {
        let is_unknown = matches!(error, ProviderError::OutcomeUnknown { .. });
        let error = BrokerError::from(error);
        let left = match is_unknown {
            true => Ok(true),
            false => self.is_something_left(&renewal).await,
        };
        if let Ok(false) = left {
            self.fail_renewal(&renewal, &error).await?;
            return Err(error);
        }
        match self.drive_slowly(renewal).await {
            Ok(over) => Ok(ParentRenewal { trouble: Some(error.message), ..over }),
            Err(_) => Err(error.hint(
                "the connection keeps its parent credential; what may have been made is looked for, and ended where it is \
                 found: `keywright status` says when that is over",
            )),
        }
    }

    /// Takes a parent credential that an operator made in place of the connection's. It is tried first, and has to reach the
    /// keys that live; then it is in force at once. The one before it is left to the operator.
    ///
    /// # Errors
    /// When it does not work, is a key of this home, is the same, or does not reach what the one before reaches.
    pub async fn replace_parent(
        self: &Arc<Self>,
        operator: &Proven,
        name: &ConnectionName,
        credential: Secret,
    ) -> Result<Renewed> {
        self.refuse_if_forked()?;
        operator.signing()?;
        if credential.is_empty() {
            return Err(BrokerError::invalid("the parent credential is empty")
                .hint("give it on standard input, at the prompt, or with --credential-file PATH"));
        }
        let _one_at_a_time = self.renewing.lock().await;
        // Whoever works on a successor meanwhile would end what is given here, or what it lives by.
        let under_way = self.claim_under_way(name).await?;
        let Some(renewal) = under_way else { return self.replace(operator, name, credential, None).await };
        let replacing = self.replace(operator, name, credential, Some(&renewal));
        let replaced = self.while_leased(&renewal, replacing).await;
        self.ledger.write(move |tx| tx.let_go_renewal(&renewal)).await.or_else(|error: LedgerError| {
            // The lease runs out by itself.
            tracing::warn!(%error, "a parent's successor is not free yet");
            Ok::<_, BrokerError>(())
        })?;
        replaced
    }

    async fn replace(
        self: &Arc<Self>,
        operator: &Proven,
        name: &ConnectionName,
        credential: Secret,
        under_way: Option<&ParentRenewal>,
    ) -> Result<Renewed> {
        let wanted = name.clone();
        let connection = self.ledger.read(move |tx| tx.connection(&wanted)).await?;
        self.secret_came(&credential).await?;
        let coming = self.seal_coming(&connection, &credential)?;
        let fresh = connect(&connection, credential)?;
        let health = fresh.check().await?;
        let own = own_id(fresh.as_ref()).await?;
        self.refuse_managed(&connection, own.clone()).await?;
        let before = self.own_id_now(name).await;
        if own.is_some() && own == before {
            return Err(BrokerError::new(
                Code::Conflict,
                format!("connection `{name}` works with this credential already"),
            ));
        }
        let notes = self.reaches(&connection, fresh.as_ref()).await?;
        let (read, who, rails) = (connection.clone(), operator.caller().who(), Arc::clone(&self.rails));
        let (said, claimed) = (before.clone(), under_way.cloned());
        let written = self.ledger.write(move |tx| {
            match (&claimed, tx.renewal_of(&read.name)?) {
                (None, None) => {}
                (Some(claimed), Some(_)) => give_way(tx, claimed, own.as_deref())?,
                _ => return Err(LedgerError::Conflict { what: "parent's successor" }),
            }
            let mut record = Record::new(tx.now(), Deed::ProviderRotateParent, Stage::Note, who);
            record.facts.insert("parent".to_owned(), serde_json::json!(said));
            swap(tx, &read, &coming, record, &rails)
        });
        let (known, digest) = written.await?;
        self.rails.came(&known, &digest);
        self.outside.forget_provider(name);
        Ok(Renewed { health, before, before_is_gone: false, trouble: None, notes })
    }

    /// The id of the credential that a connection lives by, where it works and its provider says.
    async fn own_id_now(&self, name: &ConnectionName) -> Option<String> {
        own_id(self.outside.provider(name).await.ok()?.as_ref()).await.ok().flatten()
    }

    /// Whoever does not see the keys of a connection can't end them: another account's credential, say.
    async fn reaches(&self, connection: &Connection, fresh: &dyn Provider) -> Result<Vec<String>> {
        let name = connection.name.clone();
        let living = self.ledger.scan(move |tx| tx.live_versions(&name)).await?;
        let living: BTreeSet<String> = living.into_iter().map(|version| version.provider_key_id).collect();
        let ids = |listed: Vec<keywright_core::provider::Listed>| {
            listed.into_iter().map(|one| one.provider_key_id).collect::<BTreeSet<_>>()
        };
        let seen = match fresh.list(Listing::All).await {
            Ok(listed) => ids(listed),
            // There is no list, so that nobody can look.
            Err(ProviderError::Unsupported { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let unseen: BTreeSet<_> = living.difference(&seen).cloned().collect();
        let before = match self.outside.provider(&connection.name).await {
            Ok(provider) => provider.list(Listing::All).await.ok().map(ids),
            Err(_) => None,
        };
        let is_blind = match &before {
            Some(before) => unseen.iter().any(|id| before.contains(id)),
            None => !unseen.is_empty() && unseen.len() == living.len(),
        };
        if is_blind {
            let message = format!(
                "it does not see {} of the {} keys that live through connection `{}`, so it could not end them",
                unseen.len(),
                living.len(),
                connection.name
            );
            return Err(BrokerError::new(Code::Conflict, message)
                .hint("give a credential of the same account, with the same rights"));
        }
        Ok(match unseen.len() {
            0 => Vec::new(),
            some => {
                vec![format!("{some} keys that should live are not there: `keywright reconcile` says which")]
            }
        })
    }

    pub(crate) fn seal_coming(&self, connection: &Connection, credential: &Secret) -> Result<Coming> {
        let id = SealedId::generate(self.now(), entropy()?);
        let sealed = self.keyring.seal(&owner_of_connection(connection), credential)?;
        Ok(Coming { id, sealed, print: self.keyring.fingerprint(credential).to_hex() })
    }

    pub(crate) async fn fail_renewal(&self, renewal: &ParentRenewal, error: &BrokerError) -> Result<()> {
        let (failing, error) = (renewal.clone(), error.clone());
        let written = self.ledger.write(move |tx| {
            tx.erase_sealed(&crate::renew::owner(failing.id))?;
            let mut record = of_renewal(tx, &failing, Stage::Outcome, crate::record::system());
            record.result = Some(failed(&error));
            tx.audit(record)?;
            tx.move_renewal(&failing, RenewalPhase::Failed, Some(&error.message))
        });
        Ok(written.await?)
    }
}

/// What is under way makes room for a credential, of this id, that an operator gives in.
fn give_way(
    tx: &Tx<'_>,
    claimed: &ParentRenewal,
    given: Option<&str>,
) -> std::result::Result<(), LedgerError> {
    tx.still_renews(claimed)?;
    match (claimed.phase, given) {
        // What was made for the one before is not taken any more.
        (RenewalPhase::Sealed, _) => {
            let why = "an operator gave the connection another credential meanwhile";
            tx.move_renewal(claimed, RenewalPhase::Undoing, Some(why))
        }
        // It is not what the attempt made, also where nothing but its time would tell, and it is not in force any more.
        (RenewalPhase::Sent, Some(given)) => tx.spare(claimed, given),
        (RenewalPhase::Switched, Some(given)) if given == claimed.parent.id => stays(tx, claimed),
        _ => Ok(()),
    }
}

/// Puts a credential in force: sealed value, row and the entry that the log knows the connection by from now on.
pub(crate) fn swap(
    tx: &Tx<'_>,
    read: &Connection,
    coming: &Coming,
    mut record: Record,
    rails: &Rails,
) -> std::result::Result<(String, String), LedgerError> {
    tx.put_sealed(coming.id, &owner_of_connection(read), &coming.sealed)?;
    let changed = tx.change_credential(read, coming.id)?;
    let (known, digest) = (known_as(CONNECTION, changed.name.as_str()), of_connection(&changed));
    rails.coming(&known, &digest);
    record.subject.connection = Some(changed.name.to_string());
    record.facts.insert(FACT.to_owned(), serde_json::json!(digest));
    record.facts.insert(FINGERPRINT.to_owned(), serde_json::json!(coming.print));
    record.result.get_or_insert_with(Outcome::done);
    tx.audit(record)?;
    Ok((known, digest))
}

/// An entry about one.
pub(crate) fn of_renewal(tx: &Tx<'_>, renewal: &ParentRenewal, stage: Stage, who: Who) -> Record {
    let mut record = Record::new(tx.now(), Deed::ProviderRotateParent, stage, who);
    record.subject.connection = Some(renewal.connection.to_string());
    record.subject.attempt = Some(renewal.id.to_string());
    record.facts.insert("parent".to_owned(), serde_json::json!(renewal.parent.id));
    record
}

/// What has to be done by people, step by step.
fn by_hand(connection: &Connection, why: &str) -> BrokerError {
    let name = &connection.name;
    let make = new_parent(connection.kind.as_str()).unwrap_or("make another credential at the provider");
    BrokerError::new(
        Code::Unsupported,
        format!("the broker can't make another parent credential for connection `{name}`: {why}"),
    )
    .hint(format!(
        "1. {make}; 2. give it in: `keywright provider replace-parent {name}`, on standard input; 3. end the one before at the \
         provider"
    ))
}
