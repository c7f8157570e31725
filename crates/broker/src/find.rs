//! Finding permissions by words, and the least permissions for operations.

use keywright_adapters::provider;
use keywright_catalog::built_in::BUILT_IN;
use keywright_catalog::solve::Wanted;
pub use keywright_catalog::words::Answer;
use keywright_catalog::words::{self, Candidate, Status};
use keywright_catalog::{Catalog, Permission};
use keywright_core::text::Untrusted;
use serde::Serialize;

use crate::broker::Broker;
use crate::error::{BrokerError, Result};

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

impl Plain {
    fn names(&self) -> Vec<&str> {
        self.operations.iter().map(String::as_str).collect()
    }
}

impl Broker {
    /// Permissions that match some words, the best first.
    ///
    /// # Errors
    /// When there is no catalog for the provider.
    pub async fn find_permissions(
        &self,
        query: &str,
        provider: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Found>> {
        search(query, &self.catalogs(provider).await?, limit)
    }

    /// The least permissions for plain words or operations, with their proof.
    ///
    /// # Errors
    /// When there is no catalog for the provider.
    pub async fn plan_plain(&self, plain: &Plain) -> Result<Answer<'static>> {
        plan(plain, &self.catalogs(plain.provider.as_deref()).await?)
    }

    /// The catalogs that an answer may come from: of the one provider, or of those that have a connection, before which
    /// no other one is of use to anybody; all of them where there is none yet.
    async fn catalogs(&self, provider: Option<&str>) -> Result<Vec<Named>> {
        let all = catalogs(provider)?;
        if provider.is_some() {
            return Ok(all);
        }
        let connections = self.ledger.read(|tx| tx.connections()).await?;
        let is_connected = |(kind, _): &Named| connections.iter().any(|c| c.kind.as_str() == *kind);
        let connected: Vec<Named> = all.iter().copied().filter(is_connected).collect();
        Ok(if connected.is_empty() { all } else { connected })
    }
}

/// A provider's kind and its catalog.
type Named = (&'static str, &'static Catalog);

/// Permissions that match some words, the best first. Needs no broker.
///
/// # Errors
/// When there is no catalog for the provider.
pub fn find(query: &str, provider: Option<&str>, limit: u32) -> Result<Vec<Found>> {
    search(query, &catalogs(provider)?, limit)
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
pub fn plan_of(plain: &Plain) -> Result<Answer<'static>> {
    plan(plain, &catalogs(plain.provider.as_deref())?)
}

/// Whether this version makes keys at a provider.
#[must_use]
pub fn makes_keys(provider_kind: &str) -> bool {
    provider::facts_of(provider_kind).is_some_and(|facts| facts.no_mint.is_none())
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

/// The catalog that a job is about: the first that knows one of its operations, or has the best answer to its words.
fn meant(plain: &Plain, catalogs: &[Named]) -> Option<Named> {
    let knows = |(_, catalog): &&Named| plain.operations.iter().any(|name| catalog.operation(name).is_ok());
    let intent = plain.intent.as_deref().unwrap_or_default();
    let score = |(_, catalog): &Named| catalog.search(intent, 1).first().map_or(0.0, |best| best.score);
    let best = || catalogs.iter().rev().max_by(|one, two| score(one).total_cmp(&score(two)));
    catalogs.iter().find(knows).or_else(best).copied()
}

fn plan(plain: &Plain, catalogs: &[Named]) -> Result<Answer<'static>> {
    if let (true, [_, _, ..]) = (plain.operations.is_empty(), catalogs) {
        return Ok(words::plan_any(plain.intent.as_deref().unwrap_or_default()));
    }
    let is_known = |(_, catalog): &Named| plain.operations.iter().any(|name| catalog.operation(name).is_ok());
    if let (Some(first), [_, _, ..]) = (plain.operations.first(), catalogs)
        && !catalogs.iter().any(is_known)
    {
        let name = Untrusted::capped(first, 200);
        return Err(BrokerError::missing(format!("no catalog has an operation `{name}`"))
            .hint("write `METHOD /path`, or the vendor's own name, and say the provider: the answer names the nearest ones then"));
    }
    let Some((kind, catalog)) = meant(plain, catalogs) else {
        return Err(BrokerError::missing("there is no catalog"));
    };
    if let Some(instead) = provider::facts_of(kind).and_then(|facts| facts.no_mint) {
        return Ok(refused(kind, format!("no keys can be made at `{kind}`: {instead}")));
    }
    if plain.operations.is_empty() {
        return Ok(words::plan(plain.intent.as_deref().unwrap_or_default(), catalog));
    }
    let wanted: Vec<Wanted<'_>> = plain.names().into_iter().map(Wanted::from).collect();
    let least = match catalog.least(&wanted, &[]) {
        Ok(least) => least,
        Err(error) => return Ok(refused(kind, error.to_string())),
    };
    if let Some(key_maker) = least.permissions.iter().find(|permission| permission.escalation) {
        let why = key_maker.why.unwrap_or("it can make keys or change permissions");
        return Ok(refused(kind, format!("it takes `{}`: {why}", key_maker.name)));
    }
    Ok(Answer {
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
    })
}

fn tie(permissions: Vec<&'static Permission>) -> Candidate<'static> {
    let why = "it unlocks exactly as much".to_owned();
    Candidate { operations: Vec::new(), permissions, why }
}

fn refused(provider: &'static str, why: String) -> Answer<'static> {
    Answer {
        schema: ANSWER,
        provider,
        status: Status::Refused,
        operations: Vec::new(),
        permissions: Vec::new(),
        resources: Vec::new(),
        candidates: Vec::new(),
        question: None,
        refused: Some(why),
        proof: Vec::new(),
        needs_a_human: Vec::new(),
        narrowed: None,
    }
}

fn catalogs(provider: Option<&str>) -> Result<Vec<Named>> {
    match provider {
        Some(provider) => {
            let catalog = Catalog::for_provider(provider).map_err(BrokerError::invalid)?;
            Ok(vec![(catalog.provider(), catalog)])
        }
        None => BUILT_IN
            .iter()
            .map(|b| b.catalog().map(|c| (c.provider(), c)).map_err(BrokerError::invalid))
            .collect(),
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
        let plain = Plain { intent: Some("call a model".to_owned()), ..Plain::default() };
        let answer = plan(&plain, &catalogs(Some("anthropic")).unwrap()).unwrap();
        assert_eq!((answer.status, answer.permissions.len()), (Status::Refused, 0));
        assert!(answer.refused.unwrap().contains("Workload Identity Federation"));
    }

    #[test]
    fn a_job_is_about_the_provider_that_knows_its_operations_or_its_words() {
        let all = catalogs(None).unwrap();
        assert!(all.len() > 1 && all.first().is_some_and(|(kind, _)| *kind != "cloudflare"));
        let of_operations = |name: &str| Plain { operations: vec![name.to_owned()], ..Plain::default() };
        let of_words = |words: &str| Plain { intent: Some(words.to_owned()), ..Plain::default() };
        for (plain, kind) in [
            (of_operations("POST /zones/{zone_id}/dns_records"), "cloudflare"),
            (of_operations("GET /repos/{owner}/{repo}/issues"), "github"),
            (of_words("purge the cache"), "cloudflare"),
        ] {
            assert_eq!(meant(&plain, &all).unwrap().0, kind, "{plain:?}");
        }
        let found = search("cache purge", &all, 1).unwrap();
        assert_eq!(found.first().unwrap().name, "Cache Purge");
    }
}
