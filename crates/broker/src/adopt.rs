//! Adopt: a key that was made elsewhere comes under management. Nothing is made and nothing is written: the broker knows of it
//! from now on, can switch it off and revoke it, and its next rotation replaces it by a key of its own.
//!
//! What a successor may do is a template's business, so a key without one can't be rotated. Its secret is nobody's business:
//! the broker never has it.

use std::sync::Arc;

use keywright_core::audit::{Deed, Outcome, Stage};
use keywright_core::grant::{Difference, ObservedGrant};
use keywright_core::id::{AttemptId, KeyId, PlacementId, RequestId, SagaId, VersionId};
use keywright_core::key::{
    Attempt, AttemptOutcome, Key, KeyState, Placement, PlacementState, Version, VersionState,
};
use keywright_core::marker::Recognised;
use keywright_core::name::{ConnectionName, TemplateId};
use keywright_core::plan::{Destination, Plan, Principal};
use keywright_core::provider::{Listed, Listing, Provider, Recovery};
use keywright_core::receipt::Status;
use keywright_core::span::Span;
use keywright_core::store::Presence;
use keywright_core::template::Tier;
use keywright_core::text::Untrusted;
use keywright_ledger::{LedgerError, NewRequest, Request, Tx};
use sha2::{Digest as _, Sha256};

use crate::ask::{Ask, LONGEST_PURPOSE};
use crate::auth::Proven;
use crate::begin::place_taken;
use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{BrokerError, Code, Result};
use crate::inventory::{named, peers_of, unnamed};
use crate::record::{Caller, of_request};

/// What stands in a plan for the life of a key that has no end: it is not asked of anybody.
const NO_END: u64 = 365 * 86_400;

/// What an operator says of a key that was made elsewhere.
#[derive(Debug, Clone)]
pub struct Adoption {
    /// The connection that sees it.
    pub connection: String,
    /// The provider's id of it.
    pub provider_key_id: String,
    /// What it is called from now on, and what its successor is: the template with its parameters and places. Without a
    /// template it can't be rotated, and has no places.
    pub ask: Ask,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Adopted {
    /// The key.
    pub key: Key,
    /// What a successor by its template will differ in, in words.
    pub differences: Vec<String>,
}

/// The ids of its rows, made before the transaction that writes them.
struct NewIds {
    key: KeyId,
    attempt: AttemptId,
    saga: SagaId,
    version: VersionId,
    placements: Vec<PlacementId>,
}

/// A credential as its provider shows it.
struct Seen<'a> {
    connection: &'a ConnectionName,
    provider: &'a dyn Provider,
    listed: Listed,
    observed: ObservedGrant,
}

/// Everything that is written.
struct Found {
    plan: Plan,
    listed: Listed,
    observed: ObservedGrant,
    differences: Vec<String>,
    /// Where somebody's value lies, which a successor's may be written over.
    theirs: Vec<Destination>,
}

impl Broker {
    /// Puts a credential under management. One that is already, and has no template, gets the one that is named now.
    ///
    /// # Errors
    /// When it is not at the provider, is the connection's own credential, is managed already, or may not be read.
    pub async fn adopt(self: &Arc<Self>, operator: &Proven, adoption: &Adoption) -> Result<Adopted> {
        operator.signing()?;
        self.refuse_if_forked()?;
        let connection = ConnectionName::parse(&adoption.connection).map_err(BrokerError::invalid)?;
        let provider = self.outside.provider(&connection).await?;
        let listed = self.listed(provider.as_ref(), &connection, &adoption.provider_key_id).await?;
        let peers = self.peers(&connection).await?;
        let (of, id) = (peers.clone(), listed.provider_key_id.clone());
        let known = self.ledger.read(move |tx| held(tx, &of, &id)).await?;
        let known = match known {
            Some((key, version)) => Some(self.to_adopt_again(key, &version, &adoption.ask).await?),
            None => None,
        };
        let observed = provider.read_back(&listed.provider_key_id).await?;
        let caller = Caller::plain(Principal::Operator(operator.name().clone()));
        let seen = Seen { connection: &connection, provider: provider.as_ref(), listed, observed };
        let found = self.find_out(&caller, seen, adoption, known.as_ref()).await?;
        let differences = found.differences.clone();
        let key = self.put_under_management(&caller, found, known, peers).await?;
        Ok(Adopted { key, differences })
    }

    /// The credential as the provider lists it, when it is one that can be taken.
    async fn listed(&self, provider: &dyn Provider, connection: &ConnectionName, id: &str) -> Result<Listed> {
        if provider.facts().recovery == Recovery::Expiry {
            return Err(BrokerError::new(
                Code::Unsupported,
                format!(
                    "{} has no list in which a key could be found; its keys end by themselves",
                    provider.facts().kind
                ),
            ));
        }
        let listed = provider.list(Listing::All).await?;
        let shown = Untrusted::capped(id, 120);
        let found = listed.into_iter().find(|one| one.provider_key_id == id).ok_or_else(|| {
            BrokerError::missing(format!("connection `{connection}` sees no key with the id `{shown}`"))
                .hint(format!("`keywright key list --unmanaged --connection {connection}` shows their ids"))
        })?;
        if self.parents(connection).await?.contains(id) {
            return Err(BrokerError::new(
                Code::Conflict,
                format!("`{shown}` is the credential of a connection of this home itself"),
            )
            .hint(
                "a key that was adopted is replaced and revoked one day, and the connection would go with it",
            ));
        }
        match self.keyring.markers().recognise(found.label.raw()) {
            Recognised::Foreign if !Listing::Marked.wants(found.label.raw()) => Ok(found),
            Recognised::Ours { attempt, epoch } if self.is_unknown_since(attempt, epoch).await? => Ok(found),
            Recognised::Ours { .. } if self.came_back(connection, id).await? => Ok(found),
            Recognised::Ours { attempt, .. } => {
                let known = self.ledger.read(move |tx| tx.attempt(attempt)).await.is_ok();
                let message = format!("`{shown}` is a key that this home made");
                Err(BrokerError::new(Code::Conflict, message).hint(if known {
                    "`keywright key list --all` shows it; one that nobody owns is revoked by `keywright reconcile`"
                } else {
                    "nobody owns it: `keywright reconcile` revokes it"
                }))
            }
            Recognised::Foreign | Recognised::Forged => Err(BrokerError::new(
                Code::Conflict,
                format!("`{shown}` is named as Keywright names its keys, and not by this home"),
            )
            .hint("another home may own it; if none does, give it another name at the provider first")),
        }
    }

    /// Only a living key without a template can be adopted once more, and keeps what it is called.
    async fn to_adopt_again(&self, key: Key, version: &Version, ask: &Ask) -> Result<Key> {
        let full = format!("{}/{}/{}", key.project, key.environment, key.name);
        if version.state == VersionState::Revoked || key.state != KeyState::Active {
            return Err(BrokerError::new(
                Code::Conflict,
                format!("it belongs to key `{full}`, which is {}", key.state),
            ));
        }
        let of = key.clone();
        let before = self.ledger.read(move |tx| tx.request_in_force(&of)).await?.plan;
        if !before.template.is_of_adopted() || ask.template.is_empty() {
            return Err(BrokerError::new(
                Code::Conflict,
                format!("it is under management already, as `{full}`"),
            )
            .hint(format!("`keywright key show {full}` shows it")));
        }
        let same = [
            (&ask.project, key.project.as_str()),
            (&ask.environment, key.environment.as_str()),
            (&ask.name, key.name.as_str()),
        ];
        if same.into_iter().any(|(given, is)| !given.is_empty() && given != is) {
            return Err(BrokerError::new(Code::Conflict, format!("it is called `{full}` already"))
                .hint("leave --project, --env and --name out: a key keeps its name"));
        }
        Ok(key)
    }

    async fn find_out(
        &self,
        caller: &Caller,
        seen: Seen<'_>,
        adoption: &Adoption,
        known: Option<&Key>,
    ) -> Result<Found> {
        let id = RequestId::generate(self.now(), entropy()?);
        let mut given = adoption.ask.clone();
        if let Some(key) = known {
            (given.project, given.environment, given.name) =
                (key.project.to_string(), key.environment.to_string(), key.name.to_string());
        }
        if [&given.project, &given.environment, &given.name].into_iter().any(String::is_empty) {
            return Err(BrokerError::invalid("it needs a name from now on")
                .hint("say what it is called: --project P --env E --name NAME"));
        }
        if seen.observed.expires_at.or(seen.listed.expires_at).is_some_and(|end| end <= self.now()) {
            return Err(BrokerError::new(Code::Conflict, "it has ended already; there is nothing to manage"));
        }
        let purpose = self.kept(&given.purpose, LONGEST_PURPOSE).await?;
        if given.template.is_empty() {
            if !given.parameters.is_empty() || !given.destinations.is_empty() {
                return Err(BrokerError::invalid(
                    "parameters and places are a successor's, and what that may do is said by --template",
                ));
            }
            let plan = self.without_template(id, caller, &seen, &given, purpose)?;
            let Seen { listed, observed, .. } = seen;
            return Ok(Found { plan, listed, observed, differences: Vec::new(), theirs: Vec::new() });
        }
        let mut ask = given.parse()?;
        (ask.purpose, ask.adopts) = (purpose, Some(seen.listed.provider_key_id.clone()));
        let (plan, _) = self.derive(id, &caller.principal, &ask).await?;
        if plan.connection != *seen.connection {
            return Err(BrokerError::new(
                Code::Conflict,
                format!(
                    "template `{}` makes its keys at connection `{}`, and this one is at `{}`",
                    plan.template, plan.connection, seen.connection
                ),
            ));
        }
        let theirs = self.theirs(&plan).await?;
        let differences = seen.provider.facts().differences(plan.grant(self.now()), &seen.observed);
        // When a successor ends is the template's business, and no surprise.
        let differences = differences.iter().filter(|one| !matches!(one, Difference::Expiry { .. }));
        let differences =
            differences.map(|one| crate::inventory::said(plan.provider.as_str(), one)).collect();
        Ok(Found { plan, listed: seen.listed, observed: seen.observed, differences, theirs })
    }

    /// The places of a plan where somebody's value lies. One that holds another key's is refused.
    async fn theirs(&self, plan: &Plan) -> Result<Vec<Destination>> {
        let mut theirs = Vec::new();
        for destination in &plan.destinations {
            let store = self.outside.store(&destination.place.store).await?;
            match store.look(destination).await? {
                Presence::Foreign => theirs.push(destination.clone()),
                presence => self.may_write(plan, destination, &presence, None).await?,
            }
        }
        Ok(theirs)
    }

    /// What the key is, as the provider shows it: no plan of anything, but what stands in the place of one.
    fn without_template(
        &self,
        id: RequestId,
        caller: &Caller,
        seen: &Seen<'_>,
        given: &Ask,
        purpose: Untrusted,
    ) -> Result<Plan> {
        let Seen { connection, provider, listed, observed } = seen;
        let kind = provider.facts().kind.parse().map_err(BrokerError::invalid)?;
        let may = named(provider.facts().kind, observed);
        let end = observed.expires_at.or(listed.expires_at);
        let left = end.map(|end| end.as_second().saturating_sub(self.now().as_second()));
        let left = left.and_then(|left| u64::try_from(left).ok()).map_or(NO_END, |left| left.max(1));
        // Read as any other ask is, so that the same names are refused.
        let read = Ask { template: format!("{kind}/none"), ..given.clone() }.parse()?;
        Ok(Plan {
            request: id,
            principal: caller.principal.clone(),
            template: TemplateId::of_adopted(&kind),
            template_version: 0,
            tier: Tier::Standard,
            provider: kind,
            connection: (*connection).clone(),
            project: read.project,
            environment: read.environment,
            name: read.name,
            parameters: std::collections::BTreeMap::new(),
            permissions: may.permissions,
            escalation: may.escalation,
            withheld: Vec::new(),
            resources: unnamed(observed),
            ttl: Span::from_seconds(left),
            ip_allow: observed.ip_allow.iter().cloned().collect(),
            budget_cents: observed.budget_cents,
            destinations: Vec::new(),
            rotation: None,
            rotates: None,
            adopts: Some(listed.provider_key_id.clone()),
            ending: None,
            unlocks: may.unlocks,
            mutating: may.mutating,
            needs: 0,
            purpose,
        })
    }

    /// One transaction: request, key, version and the places that are its own from now on, with the entry about it.
    async fn put_under_management(
        &self,
        caller: &Caller,
        found: Found,
        known: Option<Key>,
        peers: Vec<ConnectionName>,
    ) -> Result<Key> {
        let now = self.now();
        let mut placements = Vec::new();
        for _ in &found.theirs {
            placements.push(PlacementId::generate(now, entropy()?));
        }
        placements.sort_unstable();
        let ids = NewIds {
            key: known.as_ref().map_or(KeyId::generate(now, entropy()?), |key| key.id),
            attempt: AttemptId::generate(now, entropy()?),
            saga: SagaId::generate(now, entropy()?),
            version: VersionId::generate(now, entropy()?),
            placements,
        };
        let digest = found.plan.digest().map_err(|e| BrokerError::new(Code::Internal, e.to_string()))?;
        let keyring = Arc::clone(&self.keyring);
        let who = caller.who();
        let written = self.ledger.write(move |tx| {
            let Found { plan, listed, observed, differences, theirs } = found;
            // It may have been removed since it was looked at.
            tx.connection(&plan.connection)?;
            // Nor may anybody else have adopted or revoked the key.
            let again = match (known, held(tx, &peers, &listed.provider_key_id)?) {
                (None, None) => None,
                (Some(known), Some((key, version)))
                    if known.id == key.id
                        && version.state == VersionState::Active
                        && may_have_template(tx, &key)? =>
                {
                    Some((key, version))
                }
                _ => {
                    return Err(BrokerError::new(
                        Code::Conflict,
                        "somebody else adopted or revoked it just now",
                    )
                    .hint("`keywright key list` shows what became of it"));
                }
            };
            let mut request = Request {
                id: plan.request,
                digest,
                status: Status::Active,
                approvals_needed: 0,
                reasons: Vec::new(),
                policies: Vec::new(),
                prompt: None,
                claimed: std::collections::BTreeMap::new(),
                key: Some(ids.key),
                entry: 0,
                created_at: tx.now(),
                expires_at: tx.now(),
                ask_digest: Sha256::digest(format!(
                    "keywright/adopt/1\n{}\n{}",
                    plan.connection, listed.provider_key_id
                ))
                .into(),
                plan,
            };
            let mut record = of_request(tx.now(), Deed::KeyAdopt, Stage::Outcome, who, &request);
            record.result = Some(Outcome::done());
            record.subject.attempt = Some(ids.attempt.to_string());
            record.facts.insert("provider_key_id".to_owned(), serde_json::json!(listed.provider_key_id));
            let may = named(request.plan.provider.as_str(), &observed).permissions;
            record.facts.insert(MAY.to_owned(), serde_json::json!(may));
            record.facts.insert(ON.to_owned(), serde_json::json!(unnamed(&observed)));
            record.facts.insert("label".to_owned(), serde_json::json!(listed.label.to_string()));
            record.facts.insert("differences".to_owned(), serde_json::json!(differences));
            request.entry = tx.audit(record)?;
            tx.add_request(&NewRequest { request: &request, idempotency_key: None })?;
            let (key, version) = match again {
                Some((key, version)) => (key, version.id),
                None => (add_rows(tx, &request, &ids, &listed, &observed, &keyring)?, ids.version),
            };
            if let Some((destination, holder)) = tx.claim(key.id, &request.plan.destinations)? {
                return Err(place_taken(destination, &holder));
            }
            for (id, destination) in ids.placements.iter().zip(&theirs) {
                tx.add_placement(&Placement {
                    id: *id,
                    version,
                    key: key.id,
                    destination: destination.clone(),
                    store_version: None,
                    verified: None,
                    state: PlacementState::Adopted,
                    change: None,
                })?;
            }
            if !listed.enabled {
                tx.set_disabled(key.id, true)?;
            }
            Ok::<_, BrokerError>(key)
        });
        written.await
    }
}

/// What an adoption's entry calls what the key may do, and on what, as its provider said then.
pub const MAY: &str = "may";
/// As [`MAY`].
pub const ON: &str = "on";

/// The key that holds a credential, at whichever of the connections that see it. One whose versions are all over holds it no more,
/// but what is owed is to end.
fn held(tx: &Tx<'_>, peers: &[ConnectionName], provider_key_id: &str) -> Result<Option<(Key, Version)>> {
    for peer in peers {
        if tx.revocation_of(peer, provider_key_id)?.is_some_and(|debt| debt.done_at.is_none()) {
            return Err(BrokerError::new(Code::Conflict, "its revocation is owed: it is to end")
                .hint("`keywright key list --all` shows the key that it belonged to"));
        }
        match tx.key_of_credential(peer, provider_key_id)? {
            Some(found) if found.1.state != VersionState::Revoked => return Ok(Some(found)),
            Some(_) | None => {}
        }
    }
    Ok(None)
}

/// Whether a key lives, was adopted, and has no template yet.
fn may_have_template(tx: &Tx<'_>, key: &Key) -> std::result::Result<bool, LedgerError> {
    Ok(key.state == KeyState::Active && tx.request_in_force(key)?.plan.template.is_of_adopted())
}

/// Key, attempt and version of a credential that nobody of this home made. The marker is the attempt's name here only: it was
/// never sent anywhere.
fn add_rows(
    tx: &Tx<'_>,
    request: &Request,
    ids: &NewIds,
    listed: &Listed,
    observed: &ObservedGrant,
    keyring: &keywright_ledger::seal::Keyring,
) -> Result<Key> {
    let plan = &request.plan;
    let expires_at = observed.expires_at.or(listed.expires_at);
    let key = Key {
        id: ids.key,
        name: plan.name.clone(),
        project: plan.project.clone(),
        environment: plan.environment.clone(),
        provider: plan.provider.clone(),
        connection: plan.connection.clone(),
        template: plan.template.clone(),
        request: request.id,
        agent: None,
        state: KeyState::Active,
        created_at: tx.now(),
    };
    tx.add_key(&key).map_err(|error| crate::begin::name_taken(tx, plan, error))?;
    let attempt = Attempt {
        id: ids.attempt,
        key: ids.key,
        number: 1,
        marker: keyring.markers().marker(tx.epoch()?, ids.attempt),
        connection: plan.connection.clone(),
        sent_at: None,
        outcome: AttemptOutcome::Adopted,
        provider_key_id: Some(listed.provider_key_id.clone()),
        expires_at,
    };
    tx.add_attempt(&attempt, ids.saga)?;
    let version = Version {
        id: ids.version,
        key: ids.key,
        attempt: ids.attempt,
        number: 1,
        provider_key_id: listed.provider_key_id.clone(),
        expires_at,
        state: VersionState::Active,
    };
    for peer in peers_of(tx, &key.connection)? {
        for (back, _) in tx.back_of(&peer)?.into_iter().filter(|(_, id)| *id == version.provider_key_id) {
            tx.set_version_back(back, false)?;
        }
    }
    tx.add_version(&version, None)?;
    Ok(key)
}
