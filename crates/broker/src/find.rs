//! Finding permissions by words, and the least permissions for operations.

use keywright_adapters::provider;
use keywright_catalog::{Catalog, built_in::BUILT_IN};
use serde::Serialize;

use crate::broker::Broker;
use crate::error::{BrokerError, Result};

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

/// What the words or operations came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlainAnswer {
    /// The provider's kind.
    pub provider: String,
    /// `candidates`, `question` or `refused`.
    pub status: String,
    /// The operations, as the catalog names them.
    pub operations: Vec<String>,
    /// Permissions, one of which (per operation) would do.
    pub permissions: Vec<Found>,
    /// Resources that the words name; this version recognises none.
    pub resources: Vec<serde_json::Value>,
    /// The permissions one by one, each with what speaks for it.
    pub candidates: Vec<Candidate>,
    /// What to answer before there can be a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// Why there is no plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The proof of a plan; empty, because this version searches and does not prove.
    pub proof: Vec<serde_json::Value>,
    /// For each operation, the ids of the permissions that open it.
    #[serde(skip)]
    pub opened_by: Vec<Vec<String>>,
}

/// One way to do a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// The permissions that it takes.
    pub permissions: Vec<Found>,
    /// What speaks for it.
    pub why: String,
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

    /// Permissions for plain words or operations. A search, not a proof: the answer is candidates to choose a template
    /// by, never something that is minted.
    ///
    /// # Errors
    /// When there is no catalog for the provider.
    pub async fn plan_plain(&self, plain: &Plain) -> Result<PlainAnswer> {
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

/// The catalog that a job is about: the first that knows one of its operations, or has the best answer to its words.
fn meant(plain: &Plain, catalogs: &[Named]) -> Option<Named> {
    let knows = |(_, catalog): &&Named| plain.operations.iter().any(|name| catalog.operation(name).is_ok());
    let intent = plain.intent.as_deref().unwrap_or_default();
    let score = |(_, catalog): &Named| catalog.search(intent, 1).first().map_or(0.0, |best| best.score);
    let best = || catalogs.iter().rev().max_by(|one, two| score(one).total_cmp(&score(two)));
    catalogs.iter().find(knows).or_else(best).copied()
}

fn plan(plain: &Plain, catalogs: &[Named]) -> Result<PlainAnswer> {
    let Some((kind, catalog)) = meant(plain, catalogs) else {
        return Err(BrokerError::missing("there is no catalog"));
    };
    let mut answer = PlainAnswer {
        provider: kind.to_owned(),
        status: "candidates".to_owned(),
        operations: Vec::new(),
        permissions: Vec::new(),
        resources: Vec::new(),
        candidates: Vec::new(),
        question: None,
        refused: None,
        proof: Vec::new(),
        opened_by: Vec::new(),
    };
    if let Some(instead) = provider::facts_of(kind).and_then(|facts| facts.no_mint) {
        return Ok(refuse(answer, format!("no keys can be made at `{kind}`: {instead}")));
    }
    if plain.operations.is_empty() {
        let intent = plain.intent.as_deref().unwrap_or_default();
        // What can make keys is never offered for plain words.
        answer.permissions =
            find(intent, Some(kind), 8)?.into_iter().filter(|p| !p.escalation).take(5).collect();
        if answer.permissions.is_empty() {
            answer.status = "question".to_owned();
            answer.question = Some(
                "which operations does the job call? name them as `METHOD /path`, or in other words"
                    .to_owned(),
            );
        }
        return Ok(answer.with_candidates());
    }
    for name in plain.operations.iter().take(50) {
        let operation = match catalog.operation(name) {
            Ok(operation) if operation.is_computable() => operation,
            Ok(operation) => {
                return Ok(refuse(
                    answer,
                    format!("no permission data for `{operation}`; it is not guessed"),
                ));
            }
            Err(error) => return Ok(refuse(answer, error.to_string())),
        };
        answer.operations.push(operation.to_string());
        let accepted: Vec<_> = catalog.accepted(operation).filter(|p| !p.escalation).collect();
        if accepted.is_empty() {
            let why = format!("`{operation}` takes a permission that can make keys or change permissions");
            return Ok(refuse(answer, why));
        }
        answer.opened_by.push(accepted.iter().map(|p| p.id.to_string()).collect());
        for permission in accepted {
            if !answer.permissions.iter().any(|p| p.id == permission.id) {
                answer.permissions.push(describe(kind, catalog, permission)?);
            }
        }
    }
    // The narrowest first: what changes nothing before what changes something, few operations before many.
    answer.permissions.sort_by_key(|p| (p.mutating, p.unlocks));
    Ok(answer.with_candidates())
}

impl PlainAnswer {
    fn with_candidates(mut self) -> Self {
        let candidate = |p: &Found| Candidate {
            why: format!("unlocks {} operations, of which {} change something", p.unlocks, p.mutating),
            permissions: vec![p.clone()],
        };
        self.candidates = self.permissions.iter().map(candidate).collect();
        self
    }
}

fn refuse(answer: PlainAnswer, why: String) -> PlainAnswer {
    PlainAnswer { status: "refused".to_owned(), refused: Some(why), permissions: Vec::new(), ..answer }
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

fn describe(kind: &str, catalog: &Catalog, permission: &keywright_catalog::Permission) -> Result<Found> {
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
        assert_eq!((answer.status.as_str(), answer.permissions.as_slice()), ("refused", &[][..]));
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
