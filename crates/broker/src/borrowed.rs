//! Who else works with a parent credential: another connection, or a store, which may take the same kind of one. When it ends, it
//! ends for them as well.

use std::sync::Arc;

use keywright_core::id::SealedId;
use keywright_core::name::ConnectionName;
use keywright_core::secret::Secret;
use keywright_ledger::seal::Keyring;
use keywright_ledger::{Connection, LedgerError, ParentRenewal, Tx};

use crate::broker::Broker;
use crate::error::{BrokerError, Code, Result};
use crate::outside::{owner_of_connection, owner_of_store};

/// One that works with it.
enum Borrower {
    Connection(String),
    Store(String),
}

/// What the fingerprint of the parent before is bound to, for as long as it is to end: its value is not kept.
fn owner(renewal: &ParentRenewal) -> String {
    format!("parent-before:{}", renewal.id)
}

/// Keeps the fingerprint of the credential that a connection works with until now.
pub(crate) fn remember(
    tx: &Tx<'_>,
    keyring: &Keyring,
    renewal: &ParentRenewal,
    connection: &Connection,
    id: SealedId,
) -> std::result::Result<(), LedgerError> {
    let credential = keyring.open(&owner_of_connection(connection), &tx.sealed(connection.credential)?)?;
    let print = Secret::new(print(keyring, &credential));
    tx.put_sealed(id, &owner(renewal), &keyring.seal(&owner(renewal), &print)?)
}

/// Nothing is to end any more.
pub(crate) fn forget(tx: &Tx<'_>, renewal: &ParentRenewal) -> std::result::Result<(), LedgerError> {
    tx.erase_sealed(&owner(renewal))
}

fn print(keyring: &Keyring, credential: &Secret) -> String {
    keyring.fingerprint(credential).to_hex()
}

/// The connections but one, and the stores, whose credential it is.
fn borrowers(
    tx: &Tx<'_>,
    keyring: &Keyring,
    own: &ConnectionName,
    is_it: impl Fn(&Secret) -> bool,
) -> std::result::Result<Vec<Borrower>, LedgerError> {
    let mut found = Vec::new();
    for other in tx.sound_connections()?.into_iter().filter(|other| other.name != *own) {
        if is_it(&keyring.open(&owner_of_connection(&other), &tx.sealed(other.credential)?)?) {
            found.push(Borrower::Connection(other.name.to_string()));
        }
    }
    for store in tx.sound_stores()? {
        let Some(id) = store.credential else { continue };
        if is_it(&keyring.open(&owner_of_store(&store), &tx.sealed(id)?)?) {
            found.push(Borrower::Store(store.name.to_string()));
        }
    }
    Ok(found)
}

impl Broker {
    /// A parent credential that another connection or a store works with would be gone for that one, too.
    pub(crate) async fn refuse_borrowed(&self, connection: &Connection) -> Result<()> {
        let (own, keyring) = (connection.clone(), Arc::clone(&self.keyring));
        let found = self.ledger.read(move |tx| {
            let credential = keyring.open(&owner_of_connection(&own), &tx.sealed(own.credential)?)?;
            let wanted = print(&keyring, &credential);
            borrowers(tx, &keyring, &own.name, |other| print(&keyring, other) == wanted)
        });
        let found = found.await.map_err(|error: LedgerError| error)?;
        let Some(first) = found.first() else { return Ok(()) };
        let hint = match first {
            Borrower::Connection(name) => format!(
                "give it one of its own first: `keywright provider replace-parent {name}`; or remove it, if nothing needs it"
            ),
            Borrower::Store(name) => format!(
                "give the connection one of its own: `keywright provider replace-parent {}`, which ends none; or remove the store, \
                 `keywright store remove {name}`, and add it again with one of its own",
                connection.name
            ),
        };
        let who = first.words();
        let message = format!("{who} works with the same credential, which would be ended for it as well");
        let names = found.iter().map(|one| one.name().to_owned()).collect();
        Err(BrokerError::new(Code::Conflict, message).hint(hint).alternatives(names))
    }

    /// Who works with a credential that is to end, by the provider's id of it: with the parent before, which may have been given to
    /// another one since, or with one whose own text says the id, as AWS's does.
    pub(crate) async fn lent(&self, now: &ParentRenewal, id: &str) -> Result<Option<String>> {
        let (of, keyring, begins) = (now.clone(), Arc::clone(&self.keyring), format!("{id}:"));
        let is_parent = id == now.parent.id;
        let found = self.ledger.read(move |tx| {
            // One that was switched by an older Keywright has none.
            let before = tx.sealed_of(&owner(&of))?.filter(|_| is_parent);
            let before = before.map(|sealed| keyring.open(&owner(&of), &sealed)).transpose()?;
            let before = before.map(|before| before.expose_secret().to_owned());
            borrowers(tx, &keyring, &of.connection, |other| {
                let begins = other.expose_secret().trim().starts_with(&begins);
                begins || before.as_ref().is_some_and(|before| print(&keyring, other) == *before)
            })
        });
        let found = found.await.map_err(|error: LedgerError| error)?;
        Ok(found.first().map(Borrower::words))
    }

    /// As above, where it then must not end.
    pub(crate) async fn refuse_lent(&self, now: &ParentRenewal, id: &str) -> Result<()> {
        let Some(who) = self.lent(now, id).await? else { return Ok(()) };
        let message =
            format!("{who} works with the credential that was to end; it ends once nobody here does");
        Err(BrokerError::new(Code::Conflict, message))
    }
}

impl Borrower {
    fn name(&self) -> &str {
        match self {
            Self::Connection(name) | Self::Store(name) => name,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Connection(name) => format!("connection `{name}`"),
            Self::Store(name) => format!("store `{name}`"),
        }
    }
}
