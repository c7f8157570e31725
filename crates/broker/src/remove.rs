//! Removing what keys rely on: connections and stores. Refused while something still needs them.

use keywright_core::audit::{Deed, Record, Stage, Subject, Who};
use keywright_core::key::{Key, KeyState};
use keywright_core::name::{ConnectionName, StoreName, TemplateId};
use keywright_core::plan::Plan;
use keywright_core::receipt::Status;
use keywright_ledger::{LedgerError, RequestFilter, Tx};

use crate::auth::Proven;
use crate::broker::Broker;
use crate::error::{BrokerError, Code, Result};
use crate::outside::{DOTENV, EMBEDDED, owner_of_connection, owner_of_store};
use crate::rails::{CONNECTION, STORE};
use crate::record::of_request;

/// How many of the keys that stand in the way are named.
const NAMED: usize = 20;

impl Broker {
    /// Removes a connection and destroys its parent credential here. Returns the templates that name it: they make no keys
    /// from now on.
    ///
    /// # Errors
    /// When there is none of this name, or a key that was made through it lives or may live: without the connection
    /// nobody could revoke it.
    pub async fn remove_connection(
        &self,
        operator: &Proven,
        name: &ConnectionName,
    ) -> Result<Vec<TemplateId>> {
        self.refuse_if_forked()?;
        operator.signing()?;
        let (wanted, who) = (name.clone(), operator.caller().who());
        let written = self.ledger.write(move |tx| {
            let connection = tx.connection(&wanted)?;
            let keys = tx.keys_through(&wanted)?;
            if !keys.is_empty() {
                let what = format!(
                    "connection `{wanted}` is still needed: keys that were made through it live or may live"
                );
                return Err(in_use(what, &keys));
            }
            let owed = tx.revocations_through(&wanted)?;
            if owed > 0 {
                let what = format!(
                    "connection `{wanted}` is still needed: {owed} of its credentials wait to be revoked"
                );
                return Err(BrokerError::new(Code::Conflict, what)
                    .hint("`keywright reconcile` tries them now; then remove it again"));
            }
            if tx.renewal_of(&wanted)?.is_some() {
                let what = format!("connection `{wanted}` is getting another parent credential just now");
                return Err(BrokerError::new(Code::Conflict, what)
                    .hint("`keywright reconcile` tries to finish that; then remove it again"));
            }
            let reason = format!("connection `{wanted}` was removed; ask again if it is still needed");
            end_what_waits(tx, &who, &reason, |plan| plan.connection == wanted)?;
            tx.remove_connection(&wanted)?;
            tx.erase_sealed(&owner_of_connection(&connection))?;
            let mut record = Record::new(tx.now(), Deed::ProviderRemove, Stage::Note, who);
            record.subject = Subject { connection: Some(wanted.to_string()), ..Subject::default() };
            record.facts.insert("kind".to_owned(), serde_json::json!(connection.kind.as_str()));
            record.facts.insert("account".to_owned(), serde_json::json!(connection.account));
            tx.audit(record)?;
            let naming = tx.templates()?.into_iter().map(|applied| applied.resolved.template);
            Ok(naming.filter(|t| t.connection.as_ref() == Some(&wanted)).map(|t| t.id).collect())
        });
        let templates = written.await?;
        self.rails.went(CONNECTION, name.as_str());
        self.outside.forget_provider(name);
        Ok(templates)
    }

    /// Removes a store and destroys its credential here. What lies in it stays there.
    ///
    /// # Errors
    /// When there is none of this name, every home has it, or a copy of a key lies in it or is on its way: without the
    /// store nobody could take it back.
    pub async fn remove_store(&self, operator: &Proven, name: &StoreName) -> Result<()> {
        self.refuse_if_forked()?;
        operator.signing()?;
        if [EMBEDDED, DOTENV].contains(&name.as_str()) {
            return Err(BrokerError::new(
                Code::Conflict,
                format!("store `{name}` is part of every home and can't be removed"),
            )
            .hint("templates say which places keys may go to: leave it out of their `destinations`"));
        }
        let (wanted, who) = (name.clone(), operator.caller().who());
        let written = self.ledger.write(move |tx| {
            let stores = tx.stores()?;
            let store = stores
                .into_iter()
                .find(|s| s.name == wanted)
                .ok_or_else(|| LedgerError::Missing { what: "store", name: wanted.to_string() })?;
            let mut keys = tx.keys_in_store(&wanted)?;
            for key in tx.keys(None, None, Some(KeyState::Minting), 10_000)? {
                if !keys.contains(&key) && is_bound_for(tx, &key, &wanted)? {
                    keys.push(key);
                }
            }
            if !keys.is_empty() {
                return Err(in_use(
                    format!("store `{wanted}` is still needed: copies of keys lie in it or are on their way"),
                    &keys,
                ));
            }
            // Without its store nobody looks any more whether somebody approves them.
            tx.forget_unwanted(&wanted)?;
            tx.remove_store(&wanted)?;
            tx.erase_sealed(&owner_of_store(&store))?;
            let mut record = Record::new(tx.now(), Deed::StoreRemove, Stage::Note, who);
            record.facts.insert("store".to_owned(), serde_json::json!(store.name.as_str()));
            record.facts.insert("kind".to_owned(), serde_json::json!(store.kind.as_str()));
            record.facts.insert("address".to_owned(), serde_json::json!(store.address));
            tx.audit(record)?;
            Ok::<_, BrokerError>(())
        });
        written.await?;
        self.rails.went(STORE, name.as_str());
        self.outside.forget_store(name);
        Ok(())
    }
}

/// Ends the requests that wait for approval and of which `is_it`: what people would approve is not what they saw any more.
pub(crate) fn end_what_waits(
    tx: &Tx<'_>,
    who: &Who,
    reason: &str,
    is_it: impl Fn(&Plan) -> bool,
) -> std::result::Result<(), LedgerError> {
    let filter = RequestFilter { status: Some(Status::PendingApproval), limit: u32::MAX };
    for request in tx.requests(&filter)?.into_iter().filter(|request| is_it(&request.plan)) {
        let mut record = of_request(tx.now(), Deed::RequestExpire, Stage::Note, who.clone(), &request);
        record.facts.insert("because".to_owned(), serde_json::json!(reason));
        let entry = tx.audit(record)?;
        tx.move_request(request.id, Status::PendingApproval, Status::Expired, &[reason.to_owned()], entry)?;
    }
    Ok(())
}

/// Whether a key that is being made will be written to a store.
fn is_bound_for(tx: &Tx<'_>, key: &Key, store: &StoreName) -> std::result::Result<bool, LedgerError> {
    Ok(tx.request(key.request)?.plan.destinations.iter().any(|d| d.place.store == *store))
}

fn in_use(what: String, keys: &[Key]) -> BrokerError {
    let mut named: Vec<String> = keys
        .iter()
        .take(NAMED)
        .map(|key| {
            let state = match key.state {
                // Over here, but the provider has not confirmed that nothing of it lives.
                KeyState::Failed | KeyState::Revoked => "not known to be gone",
                state => state.as_str(),
            };
            format!("{}/{}/{} ({state})", key.project, key.environment, key.name)
        })
        .collect();
    if let Some(more) = keys.len().checked_sub(NAMED).filter(|more| *more > 0) {
        named.push(format!("and {more} more"));
    }
    let mut error = BrokerError::new(Code::Conflict, what).hint(
        "revoke them first: `keywright key revoke PROJECT/ENV/NAME`, or all of a project with `keywright project \
         teardown PROJECT`; what is not known to be gone is looked for by itself and by `keywright reconcile`",
    );
    error.reasons = named;
    error
}
