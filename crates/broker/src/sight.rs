//! What an agent may know of others' keys: nothing. Another's key looks like none where it is asked for, and like anything
//! that is not theirs where it is in the way.

use keywright_core::id::KeyId;
use keywright_core::key::{Key, KeyState};
use keywright_core::name::KeyName;
use keywright_core::plan::{Destination, Principal};
use keywright_core::store::StoreError;
use keywright_core::text::{Untrusted, escaped};
use keywright_ledger::LedgerError;

use crate::broker::Broker;
use crate::error::{BrokerError, Code, Result};

/// Whether somebody may know of a key: agents of their own only.
pub(crate) fn sees(principal: &Principal, key: &Key) -> bool {
    match principal {
        Principal::Agent(name) => key.agent.as_ref() == Some(name),
        _ => true,
    }
}

/// A place at which something lies that the asker may not write over. An agent is not told whether it is another's key, or a value
/// that somebody else put there.
pub(crate) fn occupied(principal: &Principal, destination: &Destination) -> BrokerError {
    let place = &destination.place;
    if !matches!(principal, Principal::Agent(_)) {
        let place = Untrusted::capped(&place.place, 200);
        return StoreError::Conflict { store: destination.place.store.clone(), place }.into();
    }
    BrokerError::new(Code::Conflict, format!("`{place}` is not free: something lies there that is not yours"))
        .hint("choose another name or place, or ask your human about it")
}

/// A name that is not free, where the asker may not know why.
pub(crate) fn no_free_name(full: &str) -> BrokerError {
    BrokerError::new(Code::Conflict, format!("the name `{full}` is not free"))
        .hint("choose another name, or ask your human about it")
}

impl Broker {
    /// The key that an operator means.
    pub(crate) async fn find_key(&self, text: &str) -> Result<KeyId> {
        self.meant(text, |_| true).await.map(|key| key.id)
    }

    /// The key that somebody means, of those that they may know of.
    ///
    /// # Errors
    /// When there is none, or it is another agent's.
    pub(crate) async fn visible_key(&self, principal: &Principal, text: &str) -> Result<Key> {
        self.meant(text, |key| sees(principal, key)).await
    }

    async fn meant(&self, text: &str, may_be: impl Fn(&Key) -> bool) -> Result<Key> {
        if let Ok(id) = KeyId::parse(text) {
            let found = self.ledger.read(move |tx| tx.key(id)).await;
            return match found {
                Ok(key) if may_be(&key) => Ok(key),
                Ok(_) | Err(LedgerError::Missing { .. }) => Err(unknown_key(text)),
                Err(error) => Err(error.into()),
            };
        }
        let (project, environment, name) = match text.split('/').collect::<Vec<_>>().as_slice() {
            [name] => (None, None, (*name).to_owned()),
            [project, environment, name] => {
                (Some((*project).to_owned()), Some((*environment).to_owned()), (*name).to_owned())
            }
            _ => return Err(unknown_key(text)),
        };
        let name = KeyName::parse(&name).map_err(|_| unknown_key(text))?;
        let mut keys = self.ledger.read(move |tx| tx.keys_named(&name)).await?;
        keys.retain(|key| {
            project.as_deref().is_none_or(|p| p == key.project.as_str())
                && environment.as_deref().is_none_or(|e| e == key.environment.as_str())
                && may_be(key)
        });
        let live: Vec<&Key> = keys.iter().filter(|k| k.state == KeyState::Active).collect();
        match (live.as_slice(), keys.as_slice()) {
            ([one], _) => Ok((*one).clone()),
            ([], [newest, ..]) => Ok(newest.clone()),
            ([], []) => Err(unknown_key(text)),
            (several, _) => {
                let ids =
                    several.iter().map(|k| format!("{}/{}/{}", k.project, k.environment, k.name)).collect();
                Err(BrokerError::new(Code::InvalidArgument, format!("`{text}` names several keys"))
                    .alternatives(ids))
            }
        }
    }
}

fn unknown_key(text: &str) -> BrokerError {
    BrokerError::missing(format!("there is no key `{}`", escaped(text)))
        .hint("`keywright key list` shows them; a key goes by its id, its name, or project/environment/NAME")
}
