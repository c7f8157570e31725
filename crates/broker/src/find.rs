//! Finding permissions by words, and the least permissions for operations.

use keywright_adapters::provider;
use keywright_catalog::called::Called;
use keywright_catalog::solve::{Resource, Wanted};
pub use keywright_catalog::words::Answer;
use keywright_catalog::words::{self, Candidate, Status};
use keywright_catalog::{Catalog, CatalogError, Permission};
use keywright_core::text::Untrusted;
use serde::Serialize;

use crate::broker::Broker;
use crate::error::{BrokerError, Result};
use crate::whose::{Connected, Named, Whose, note_on, quoted, searched, whose};

/// What kind of JSON a planner's answer is.
const ANSWER: &str = "keywright/plan-answer/1";

/// A permission that matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The provider's kind.
    pub provider: String,
    /// The provider's id.
    pub id: String,
    /// The provider's name.
    pub name: String,
    /// What kind of resource it applies to.
    pub scope: String,
    /// `read`, `write` or another word of the catalog.
    pub access: String,
    /// How many operations it unlocks.
    pub unlocks: usize,
    /// How many of those change something.
    pub mutating: usize,
    /// Whether it can make keys or change who may do what.
    pub escalation: bool,
}

/// A job in plain words, or as the operations that it calls.
#[derive(Debug, Clone, Default)]
pub struct Plain {
    /// In plain words.
    pub intent: Option<String>,
    /// As `METHOD /path`.
    pub operations: Vec<String>,
    /// At this provider; at one that has a connection when absent.
    pub provider: Option<String>,
}

/// A planner's answer, and what has to be said about the provider that it is for.
#[derive(Debug, Clone, Serialize)]
pub struct Planned {
    /// The answer.
    #[serde(flatten)]
    pub answer: Answer<'static>,
    /// For which provider it is, where the ask names another one, or one without a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Broker {
    /// Permissions that match some words, the best first, and what has to be said about their provider.
    ///
    /// # Errors
    /// When there is no catalog for the provider.
    pub async fn find_permissions(
        &self,
        query: &str,
        provider: Option<&str>,
        limit: u32,
    ) -> Result<(Vec<Found>, Option<String>)> {
        let (catalogs, note) = searched(query, provider, &self.connected().await?)?;
        Ok((search(query, &catalogs, limit)?, note))
    }

    /// The least permissions for plain words or operations, with their proof.
    ///
    /// # Errors
    /// When there is no catalog for the provider.
    pub async fn plan_plain(&self, plain: &Plain) -> Result<Planned> {
        plan(plain, &self.connected().await?)
    }

    async fn connected(&self) -> Result<Connected> {
        let connections = self.ledger.read(|tx| tx.connections()).await?;
        Ok(Connected::To(connections.iter().map(|connection| connection.kind.to_string()).collect()))
    }
}

/// Permissions that match some words, the best first, and what has to be said about their provider. Needs no broker.
///
/// # Errors
/// When there is no catalog for the provider.
pub fn find(query: &str, provider: Option<&str>, limit: u32) -> Result<(Vec<Found>, Option<String>)> {
    let (catalogs, note) = searched(query, provider, &Connected::Unknown)?;
    Ok((search(query, &catalogs, limit)?, note))
}

fn search(query: &str, catalogs: &[Named], limit: u32) -> Result<Vec<Found>> {
    let limit = usize::try_from(limit.clamp(1, 50)).unwrap_or(10);
    let mut found = Vec::new();
    for (kind, catalog) in catalogs {
        found.extend(catalog.search(query, limit).into_iter().map(|ranked| (*kind, *catalog, ranked)));
    }
    // Stable: equals keep the order of the catalogs.
    found.sort_by(|one, two| two.2.score.total_cmp(&one.2.score));
    found.truncate(limit);
    found.into_iter().map(|(kind, catalog, ranked)| describe(kind, catalog, ranked.item)).collect()
}

/// The least permissions for plain words or operations, with their proof. Needs no broker.
///
/// # Errors
/// When there is no catalog for the provider.
pub fn plan_of(plain: &Plain) -> Result<Planned> {
    plan(plain, &Connected::Unknown)
}

/// Whether this version makes keys at a provider.
#[must_use]
pub fn makes_keys(provider_kind: &str) -> bool {
    provider::facts_of(provider_kind).is_some_and(|facts| facts.no_mint.is_none())
}

/// Operations of a provider in whatever form they were called, as its catalog has them.
///
/// # Errors
/// When there is no catalog for the provider, or an operation is not known.
pub fn called(provider: &str, operations: &[String]) -> Result<Vec<Called>> {
    let catalog = Catalog::for_provider(provider).map_err(BrokerError::invalid)?;
    operations.iter().map(|one| catalog.called(one).map_err(BrokerError::invalid)).collect()
}

/// What is missing, so that whoever holds these permissions of a provider, by id, can call these operations.
///
/// # Errors
/// When there is no catalog for the provider, or an operation is not known.
pub fn missing(provider: &str, held: &[&str], operations: &[String]) -> Result<Vec<&'static Permission>> {
    let catalog = Catalog::for_provider(provider).map_err(BrokerError::invalid)?;
    let operations: Vec<&str> = operations.iter().map(String::as_str).collect();
    catalog.missing(held, &operations).map_err(BrokerError::invalid)
}

/// Whether a key with these permissions of a provider, by id, can call all of these operations.
#[must_use]
pub fn opens(provider: &str, held: &[&str], operations: &[String]) -> bool {
    let operations: Vec<&str> = operations.iter().map(String::as_str).collect();
    Catalog::for_provider(provider).is_ok_and(|catalog| catalog.opens(held, &operations))
}

fn plan(plain: &Plain, connected: &Connected) -> Result<Planned> {
    let words = plain.intent.as_deref().unwrap_or_default();
    let (catalogs, note) = match whose(plain, connected)? {
        Whose::Of(catalogs, note) => (catalogs, note),
        Whose::Either(kinds) => {
            let answer = Answer {
                status: Status::Question,
                question: Some(format!("at which provider is it, of {}?", quoted(&kinds))),
                ..nothing("")
            };
            return Ok(Planned { answer, note: None });
        }
    };
    let answer = match (catalogs.as_slice(), plain.operations.first()) {
        ([(kind, catalog)], _) => plan_at(kind, catalog, plain),
        (_, None) => words::plan_any(words),
        (_, Some(first)) => {
            let name = Untrusted::capped(first, 200);
            return Err(BrokerError::missing(format!("no catalog has an operation `{name}`"))
                .hint("write `METHOD /path`, or the vendor's own name, and say the provider: the answer names the nearest ones then"));
        }
    };
    let is_said = plain.provider.is_some() || !plain.operations.is_empty();
    let note = note.or_else(|| note_on(answer.provider, words, connected).filter(|_| !is_said));
    Ok(Planned { answer, note })
}

/// The answer of one provider's catalog.
fn plan_at(kind: &'static str, catalog: &'static Catalog, plain: &Plain) -> Answer<'static> {
    if let Some(instead) = provider::facts_of(kind).and_then(|facts| facts.no_mint) {
        return refused(kind, format!("no keys can be made at `{kind}`: {instead}"));
    }
    if plain.operations.is_empty() {
        return words::plan(plain.intent.as_deref().unwrap_or_default(), catalog);
    }
    let mut calls = Vec::with_capacity(plain.operations.len());
    for operation in &plain.operations {
        match catalog.called(operation) {
            Ok(called) => calls.push(called),
            Err(error @ CatalogError::AmbiguousCall { .. }) => {
                let question = Some(format!("{error}?"));
                return Answer { status: Status::Question, question, ..nothing(kind) };
            }
            Err(error) => return refused(kind, error.to_string()),
        }
    }
    let wanted: Vec<Wanted<'_>> = calls.iter().map(|call| Wanted::from(call.operation.as_str())).collect();
    let mut resources: Vec<Resource> = Vec::new();
    for resource in calls.iter().flat_map(|call| &call.resources) {
        if !resources.contains(resource) {
            resources.push(resource.clone());
        }
    }
    let least = match catalog.least(&wanted, &resources) {
        Ok(least) => least,
        Err(error) => return refused(kind, error.to_string()),
    };
    if let Some(key_maker) = least.permissions.iter().find(|permission| permission.escalation) {
        let why = key_maker.why.unwrap_or("it can make keys or change permissions");
        return refused(kind, format!("it takes `{}`: {why}", key_maker.name));
    }
    Answer {
        schema: ANSWER,
        provider: least.provider,
        status: Status::Plan,
        operations: least.operations,
        permissions: least.permissions,
        resources: least.resources,
        candidates: least.ties.into_iter().map(tie).collect(),
        question: None,
        refused: None,
        proof: least.proof,
        needs_a_human: least.needs_a_human,
        narrowed: least.narrowed,
    }
}

fn tie(permissions: Vec<&'static Permission>) -> Candidate<'static> {
    let why = "it unlocks exactly as much".to_owned();
    Candidate { operations: Vec::new(), permissions, why }
}

fn refused(provider: &'static str, why: String) -> Answer<'static> {
    Answer { refused: Some(why), ..nothing(provider) }
}

fn nothing(provider: &'static str) -> Answer<'static> {
    Answer {
        schema: ANSWER,
        provider,
        status: Status::Refused,
        operations: Vec::new(),
        permissions: Vec::new(),
        resources: Vec::new(),
        candidates: Vec::new(),
        question: None,
        refused: None,
        proof: Vec::new(),
        needs_a_human: Vec::new(),
        narrowed: None,
    }
}

fn describe(kind: &str, catalog: &Catalog, permission: &Permission) -> Result<Found> {
    let footprint = catalog.unlocks([permission.id]).map_err(BrokerError::invalid)?;
    Ok(Found {
        provider: kind.to_owned(),
        id: permission.id.to_string(),
        name: permission.name.to_string(),
        scope: permission.scope.to_string(),
        access: permission.access.as_str().to_owned(),
        unlocks: footprint.total,
        mutating: footprint.mutating,
        escalation: permission.escalation,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_keys_can_be_made_the_answer_says_what_there_is_instead() {
        let plain = Plain {
            intent: Some("call a model".to_owned()),
            provider: Some("anthropic".to_owned()),
            ..Plain::default()
        };
        let answer = plan_of(&plain).unwrap().answer;
        assert_eq!((answer.status, answer.permissions.len()), (Status::Refused, 0));
        assert!(answer.refused.unwrap().contains("Workload Identity Federation"));
    }

    #[test]
    fn words_that_name_a_provider_are_answered_for_it() {
        let plain = Plain {
            intent: Some("list the pull requests of acme/web at github".to_owned()),
            ..Plain::default()
        };
        let planned = plan_of(&plain).unwrap();
        assert_eq!(planned.answer.provider, "github");
        assert!(planned.note.unwrap().contains("`github`, which is named"));
        let (found, note) = find("cache purge", None, 1).unwrap();
        assert_eq!((found.first().unwrap().name.as_str(), note), ("Cache Purge", None));
        let (found, note) = find("read buckets at aws", None, 5).unwrap();
        assert!(found.iter().all(|one| one.provider == "aws") && note.unwrap().contains("`aws`"));
    }
}
