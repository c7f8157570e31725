//! Finding permissions by words, and the least permissions for operations.

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
    /// At this provider; the only built-in one when absent.
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
        find(query, provider, limit)
    }

    /// Permissions for plain words or operations. A search, not a proof: the answer is candidates to choose a template
    /// by, never something that is minted.
    ///
    /// # Errors
    /// When there is no catalog for the provider.
    pub async fn plan_plain(&self, plain: &Plain) -> Result<PlainAnswer> {
        plan(plain)
    }
}

/// Permissions that match some words, the best first. Needs no broker.
///
/// # Errors
/// When there is no catalog for the provider.
pub fn find(query: &str, provider: Option<&str>, limit: u32) -> Result<Vec<Found>> {
    let limit = usize::try_from(limit.clamp(1, 50)).unwrap_or(10);
    let mut found = Vec::new();
    for (kind, catalog) in catalogs(provider)? {
        for ranked in catalog.search(query, limit) {
            found.push(describe(kind, catalog, ranked.item)?);
        }
    }
    found.truncate(limit);
    Ok(found)
}

fn plan(plain: &Plain) -> Result<PlainAnswer> {
    let all = catalogs(plain.provider.as_deref())?;
    let Some((kind, catalog)) = all.into_iter().next() else {
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

fn catalogs(provider: Option<&str>) -> Result<Vec<(&'static str, &'static Catalog)>> {
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
