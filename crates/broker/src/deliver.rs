//! Deliver: secrets for workloads and operators at run time. The only verb that hands out a secret, and agents
//! can't call it: the types of its callers leave no room for one.

use std::collections::BTreeSet;
use std::sync::Arc;

use keywright_core::audit::{Deed, Outcome, Record, Stage, Subject};
use keywright_core::id::VersionId;
use keywright_core::key::{Key, KeyState, PlacementState, Version};
use keywright_core::name::{EnvironmentName, KeyName, ProjectName};
use keywright_core::plan::Principal;
use keywright_core::policy::{Action, Actor, Behind, Facts, KeyFacts};
use keywright_core::secret::Secret;
use keywright_ledger::{LedgerError, Workload};

use crate::auth::Proven;
use crate::broker::Broker;
use crate::embedded::owner_of_value;
use crate::error::{BrokerError, Code, Result};
use crate::holds::Holder;
use crate::receipt::given_out;
use crate::record::{failed, of_key, who};
use crate::request::nobody;

/// Who may read secrets.
pub enum Reader<'a> {
    /// A program, for what it was registered for.
    Workload(&'a Workload),
    /// A human, with their passphrase.
    Operator(&'a Proven),
}

/// Which keys are wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Of this project; a workload's own when absent.
    pub project: Option<ProjectName>,
    /// Of this environment; a workload's own when absent.
    pub environment: Option<EnvironmentName>,
    /// Only these names; empty = all.
    pub only: Vec<KeyName>,
    /// The program that lives with what it is given, where it can be heard of.
    pub holder: Option<Holder>,
}

/// One secret on its way to the program that needs it.
pub struct Delivered {
    /// The variable.
    pub name: KeyName,
    /// Its value.
    pub secret: Secret,
}

impl Broker {
    /// Reads the active keys that lie in the embedded store. The reading is on record before anything is opened, and what
    /// was read before anything is handed out.
    ///
    /// # Errors
    /// When the reader may not, a wanted name is not there, two keys would have the same name, or an operator does not say
    /// of which environment and there are several.
    pub async fn deliver(&self, reader: &Reader<'_>, wanted: Wanted) -> Result<Vec<Delivered>> {
        self.refuse_if_forked()?;
        let (actor, principal, project, environment) = scope(reader, &wanted)?;
        let (of, env) = (project.clone(), environment.clone());
        let keys = self
            .ledger
            .scan(move |tx| tx.keys(Some(&of), env.as_ref(), Some(KeyState::Active), 10_000))
            .await?;
        let keys: Vec<Key> =
            keys.into_iter().filter(|k| wanted.only.is_empty() || wanted.only.contains(&k.name)).collect();
        if matches!(reader, Reader::Operator(_)) && environment.is_none() {
            refuse_several(&keys, &project)?;
        }
        let keys = self.without_unread(keys).await?;
        self.refuse_gaps(&keys, &wanted, &project)?;
        for key in &keys {
            self.may_deliver(&actor, &principal, key).await?;
        }
        let (names, ids): (Vec<String>, Vec<String>) =
            keys.iter().map(|k| (k.name.to_string(), k.id.to_string())).unzip();
        let mut record = Record::new(self.now(), Deed::SecretRead, Stage::Intent, who(&principal));
        record.subject = Subject {
            project: Some(project.to_string()),
            environment: environment.as_ref().map(ToString::to_string),
            ..Subject::default()
        };
        record.facts.insert("names".to_owned(), serde_json::json!(names));
        record.facts.insert("keys".to_owned(), serde_json::json!(ids));
        let mut ended = record.clone();
        self.ledger.write(move |tx| tx.audit(record)).await?;
        let opened = self.open_embedded(keys).await;
        let (read, result) = match &opened {
            Ok(opened) => (opened.iter().map(|(key, ..)| key.clone()).collect(), Outcome::done()),
            Err(error) => (Vec::new(), failed(error)),
        };
        let given: Vec<_> = opened.iter().flatten().map(|(key, version, _)| (key.id, *version)).collect();
        let holder = wanted.holder.map(|holder| (self.hold_id(&holder.word), holder));
        let heard_as = self.hears_as();
        // One outcome a key that was read, so that the key's trace shows it; one in all when there was none.
        (ended.stage, ended.result) = (Stage::Outcome, Some(result.clone()));
        let who = who(&principal);
        let written = self.ledger.write(move |tx| {
            if read.is_empty() {
                tx.audit(ended)?;
            }
            if let Some((id, holder)) = &holder {
                Self::write_holds(tx, id, holder, &given, heard_as.as_deref())?;
            }
            for key in &read {
                let mut record = of_key(tx.now(), Deed::SecretRead, Stage::Outcome, who.clone(), key);
                record.result = Some(result.clone());
                tx.audit(record)?;
            }
            Ok::<_, LedgerError>(())
        });
        written.await?;
        Ok(opened?.into_iter().map(|(key, _, secret)| Delivered { name: key.name, secret }).collect())
    }

    /// Without the keys that were made elsewhere and never replaced: nobody here has their values.
    async fn without_unread(&self, keys: Vec<Key>) -> Result<Vec<Key>> {
        let kept = self.ledger.read(move |tx| {
            let mut kept = Vec::with_capacity(keys.len());
            for key in keys {
                if !(key.template.is_of_adopted() && tx.request_in_force(&key)?.plan.is_adoption()) {
                    kept.push(key);
                }
            }
            Ok::<_, LedgerError>(kept)
        });
        Ok(kept.await?)
    }

    /// The values of those keys that lie in the embedded store.
    async fn open_embedded(&self, keys: Vec<Key>) -> Result<Vec<(Key, VersionId, Secret)>> {
        let keyring = Arc::clone(&self.keyring);
        let opened = self.ledger.read(move |tx| {
            let mut opened = Vec::new();
            for key in keys {
                let lives = |v: &&Version| v.expires_at.is_none_or(|at| at > tx.now());
                let active: Vec<_> = given_out(tx, key.id)?.iter().filter(lives).map(|v| v.id).collect();
                let here = tx.placements(key.id)?.into_iter().find(|p| {
                    p.state == PlacementState::Verified
                        && active.contains(&p.version)
                        && p.destination.place.store.as_str() == crate::outside::EMBEDDED
                });
                // A key that lies elsewhere is read from there by its program; the broker does not go and fetch it.
                let Some(placement) = here else { continue };
                let value = tx
                    .embedded_of(placement.id)?
                    .ok_or(LedgerError::Damaged { what: "value of the embedded store" })?;
                let secret = keyring.open(&owner_of_value(placement.id), &tx.sealed(value.sealed)?)?;
                opened.push((key, placement.version, secret));
            }
            Ok::<_, LedgerError>(opened)
        });
        Ok(opened.await?)
    }

    fn refuse_gaps(&self, keys: &[Key], wanted: &Wanted, project: &ProjectName) -> Result<()> {
        if let Some(missing) = wanted.only.iter().find(|name| !keys.iter().any(|k| k.name == **name)) {
            return Err(BrokerError::missing(format!("project `{project}` has no active key `{missing}`"))
                .hint("`keywright key list` shows what there is"));
        }
        let mut names: Vec<_> = keys.iter().map(|k| &k.name).collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair.first() == pair.last()).and_then(<[_]>::first)
        {
            return Err(BrokerError::new(
                Code::Conflict,
                format!("`{twice}` exists in several environments of `{project}`"),
            )
            .hint("say which one with --env"));
        }
        Ok(())
    }

    async fn may_deliver(&self, actor: &Actor, principal: &Principal, key: &Key) -> Result<()> {
        let template = self.template_of(key).await?;
        let counts = self.counts(principal).await?;
        let (_, policies) = self.policies().await?;
        let nobody = nobody();
        policies
            .authorize_key_action(
                actor.clone(),
                Action::Deliver,
                &KeyFacts::of(key, &template),
                &Facts { counts, approvals: &nobody, behind: &Behind::Nobody },
            )
            .map(drop)
            .map_err(|refusal| BrokerError::new(Code::Denied, refusal.to_string()))
    }
}

/// A human who does not say which environment does not mean all of them: production would be among them, unseen.
fn refuse_several(keys: &[Key], project: &ProjectName) -> Result<()> {
    let environments: BTreeSet<&EnvironmentName> = keys.iter().map(|key| &key.environment).collect();
    if environments.len() < 2 {
        return Ok(());
    }
    let names = environments.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    Err(BrokerError::invalid(format!("which environment? project `{project}` has keys in {names}"))
        .hint("name it with --env"))
}

type Scope = (Actor, Principal, ProjectName, Option<EnvironmentName>);

/// A workload reads what it was registered for and nothing else; an operator says what.
fn scope(reader: &Reader<'_>, wanted: &Wanted) -> Result<Scope> {
    match reader {
        Reader::Workload(workload) => {
            let other_project = wanted.project.as_ref().is_some_and(|p| *p != workload.project);
            let other_env = match (&wanted.environment, &workload.environment) {
                (Some(wanted), Some(own)) => wanted != own,
                _ => false,
            };
            if other_project || other_env {
                let message = format!("workload `{}` may read keys of its own project only", workload.name);
                return Err(BrokerError::new(Code::Forbidden, message));
            }
            let environment = wanted.environment.clone().or_else(|| workload.environment.clone());
            let actor = Actor::workload(
                workload.name.clone(),
                workload.project.clone(),
                workload.environment.clone(),
            );
            Ok((actor, Principal::Workload(workload.name.clone()), workload.project.clone(), environment))
        }
        Reader::Operator(operator) => {
            operator.signing()?;
            let principal = Principal::Operator(operator.name().clone());
            let project = wanted
                .project
                .clone()
                .ok_or_else(|| BrokerError::invalid("which project?").hint("name it with --project"))?;
            Ok((Actor::from(principal.clone()), principal, project, wanted.environment.clone()))
        }
    }
}
