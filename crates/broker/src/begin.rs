//! The first transaction of a saga: everything that it needs is reserved, and the intent is on record.

use jiff::Timestamp;
use keywright_core::audit::{Deed, Stage};
use keywright_core::id::{AttemptId, KeyId, SagaId};
use keywright_core::key::{Attempt, AttemptOutcome, Key, KeyState};
use keywright_core::marker::Marker;
use keywright_core::plan::{Destination, Ending, Plan, Principal};
use keywright_core::saga::SagaKind;
use keywright_ledger::{LedgerError, NewSaga, Request, Tx};

use crate::clock::entropy;
use crate::error::{BrokerError, Code, Result};
use crate::record::of_request;
use crate::rotate::is_off;
use crate::sight::{no_free_name, occupied, sees};

/// The ids of a saga, made before the transaction that uses them.
pub(crate) struct NewIds {
    key: KeyId,
    pub(crate) attempt: AttemptId,
    pub(crate) saga: SagaId,
}

impl NewIds {
    pub(crate) fn generate(now: Timestamp) -> Result<Self> {
        Ok(Self {
            key: KeyId::generate(now, entropy()?),
            attempt: AttemptId::generate(now, entropy()?),
            saga: SagaId::generate(now, entropy()?),
        })
    }
}

/// Begins what a request asks for: a new key, or a successor of one.
pub(crate) fn begin(
    tx: &Tx<'_>,
    request: &mut Request,
    ids: &NewIds,
    keyring: &keywright_ledger::seal::Keyring,
) -> Result<()> {
    // It may have been removed since the plan was made, and another one have its name: to another account, say.
    let connection = tx.connection(&request.plan.connection)?;
    // A time that has not come says only that a clock was ahead.
    if connection.added_at > request.created_at && connection.added_at <= tx.now() {
        let message = format!("connection `{}` was added anew since this was asked for", connection.name);
        return Err(BrokerError::outdated(message).hint("ask again"));
    }
    match request.plan.rotates {
        None => begin_mint(tx, request, ids, keyring),
        Some(key) => begin_rotation(tx, request, key, ids, keyring),
    }
}

/// Reserves key, attempt and marker, and records the intent: "will create". The saga is due from here on.
fn begin_mint(
    tx: &Tx<'_>,
    request: &mut Request,
    ids: &NewIds,
    keyring: &keywright_ledger::seal::Keyring,
) -> Result<()> {
    let plan = &request.plan;
    let agent = match &plan.principal {
        Principal::Agent(name) => Some(name.clone()),
        _ => None,
    };
    tx.add_key(&Key {
        id: ids.key,
        name: plan.name.clone(),
        project: plan.project.clone(),
        environment: plan.environment.clone(),
        provider: plan.provider.clone(),
        connection: plan.connection.clone(),
        template: plan.template.clone(),
        request: request.id,
        agent,
        state: KeyState::Minting,
        created_at: tx.now(),
    })
    .map_err(|error| name_taken(tx, plan, error))?;
    if let Some((destination, holder)) = tx.claim(ids.key, &plan.destinations)? {
        return Err(match sees(&plan.principal, &holder) {
            true => place_taken(destination, &holder),
            false => occupied(&plan.principal, destination),
        });
    }
    let marker = keyring.markers().marker(tx.epoch()?, ids.attempt);
    tx.add_saga(&NewSaga {
        id: ids.saga,
        kind: SagaKind::Mint,
        request: request.id,
        key: ids.key,
        attempt: ids.attempt,
        digest: request.digest,
    })?;
    add_attempt(tx, ids, ids.key, plan, &marker)?;
    request.key = Some(ids.key);
    let who = crate::record::who(&plan.principal);
    let mut record = of_request(tx.now(), Deed::KeyMint, Stage::Intent, who, request);
    record.subject.attempt = Some(ids.attempt.to_string());
    record.subject.saga = Some(ids.saga.to_string());
    record.facts.insert("marker".to_owned(), serde_json::json!(marker.as_str()));
    request.entry = tx.audit(record)?;
    Ok(tx.set_request_key(request.id, ids.key, request.entry)?)
}

/// A name that is not free belongs to a key that lives or is being made; one that has ended frees it.
pub(crate) fn place_taken(destination: &Destination, holder: &Key) -> BrokerError {
    let Key { project, environment, name, .. } = holder;
    let how = if holder.state == KeyState::Minting { "is being made right now" } else { "lives" };
    let message =
        format!("`{}` is the place of key `{project}/{environment}/{name}`, which {how}", destination.place);
    BrokerError::new(Code::Conflict, message).hint(format!(
        "choose another place, or revoke that key, which frees the place: `keywright key revoke \
         {project}/{environment}/{name}`"
    ))
}

pub(crate) fn name_taken(tx: &Tx<'_>, plan: &Plan, error: LedgerError) -> BrokerError {
    if !matches!(error, LedgerError::Exists { .. }) {
        return error.into();
    }
    let full = format!("{}/{}/{}", plan.project, plan.environment, plan.name);
    let is_it = |key: &Key| {
        (&key.project, &key.environment) == (&plan.project, &plan.environment)
            && matches!(key.state, KeyState::Minting | KeyState::Active)
    };
    match tx.keys_named(&plan.name).map(|keys| keys.into_iter().find(is_it)) {
        Ok(Some(key)) if !sees(&plan.principal, &key) => no_free_name(&full),
        Ok(Some(key)) if key.state == KeyState::Minting => {
            let message = format!("a key of the name `{full}` is being made right now ({})", key.id);
            BrokerError::new(Code::Conflict, message)
                .hint(format!("see how that goes (its request is {}), or choose another name", key.request))
        }
        Ok(Some(key)) => {
            let message = format!("a key of the name `{full}` lives already ({})", key.id);
            BrokerError::new(Code::Conflict, message).hint(format!(
                "use that one, choose another name, or revoke it, which frees the name: `keywright key revoke {full}`"
            ))
        }
        _ => error.into(),
    }
}

/// Reserves attempt and marker for a key's successor, and records the intent: "will create". The saga is due from here on.
fn begin_rotation(
    tx: &Tx<'_>,
    request: &mut Request,
    key: KeyId,
    ids: &NewIds,
    keyring: &keywright_ledger::seal::Keyring,
) -> Result<()> {
    let plan = &request.plan;
    tx.connection(&plan.connection)?;
    let found = tx.key(key)?;
    if found.state != KeyState::Active {
        return Err(BrokerError::new(Code::Conflict, format!("key {key} is {} now", found.state)));
    }
    if plan.ending != Some(Ending::Leaked) && tx.disabled_since(key)?.is_some() {
        return Err(is_off(&found));
    }
    let marker = keyring.markers().marker(tx.epoch()?, ids.attempt);
    tx.add_saga(&NewSaga {
        id: ids.saga,
        kind: SagaKind::Rotate,
        request: request.id,
        key,
        attempt: ids.attempt,
        digest: request.digest,
    })
    .map_err(|error| match error {
        LedgerError::Exists { .. } => {
            BrokerError::new(Code::Conflict, format!("a rotation of key {key} is under way already"))
        }
        other => other.into(),
    })?;
    add_attempt(tx, ids, key, plan, &marker)?;
    // Until the outcome is known, the schedule leaves it alone.
    let (_, tries) = tx.rotation_of(key)?;
    tx.set_rotation(key, None, tries)?;
    request.key = Some(key);
    let who = crate::record::who(&request.plan.principal);
    let mut record = of_request(tx.now(), Deed::KeyRotate, Stage::Intent, who, request);
    record.subject.attempt = Some(ids.attempt.to_string());
    record.subject.saga = Some(ids.saga.to_string());
    record.facts.insert("marker".to_owned(), serde_json::json!(marker.as_str()));
    request.entry = tx.audit(record)?;
    Ok(tx.set_request_key(request.id, key, request.entry)?)
}

/// The first try of a saga to make what its plan says.
fn add_attempt(
    tx: &Tx<'_>,
    ids: &NewIds,
    key: KeyId,
    plan: &Plan,
    marker: &Marker,
) -> std::result::Result<(), LedgerError> {
    let attempt = Attempt {
        id: ids.attempt,
        key,
        number: 1,
        marker: marker.clone(),
        connection: plan.connection.clone(),
        sent_at: None,
        outcome: AttemptOutcome::Unsent,
        provider_key_id: None,
        expires_at: None,
    };
    tx.add_attempt(&attempt, ids.saga)
}
