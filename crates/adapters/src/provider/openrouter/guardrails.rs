//! Guardrails: which models and which providers a key may use. They are the operator's to make; a key is assigned to one.

use keywright_core::grant::Resource;
use keywright_core::provider::{Provider as _, ProviderError};
use keywright_core::text::Untrusted;
use reqwest::Method;
use serde::de::DeserializeOwned;

use super::shapes::{AssignBody, Assigned, Assignment, Guardrail, Page};
use super::{GUARDRAIL, KIND, MOST_PAGES, OpenRouter, told};
use crate::provider::no_such;
use crate::rest::{self, Failure};
use crate::wire::Call;

/// The most that the API gives in one page.
const PAGE_SIZE: usize = 100;

impl OpenRouter {
    /// A guardrail of the workspace, by its id or its exact name.
    pub(super) async fn guardrail(&self, value: &str) -> Result<Resource, ProviderError> {
        let workspace = [("workspace_id", self.workspace.clone())];
        let mut all: Vec<Guardrail> = self.pages(&["guardrails"], &workspace).await.map_err(told)?;
        all.retain(|one| one.workspace_id.as_deref() == Some(self.workspace.as_str()));
        let named: Vec<_> = all.iter().filter(|one| one.id == value || one.name == value).collect();
        match named.as_slice() {
            [one] => Ok(Resource { kind: GUARDRAIL.to_owned(), id: one.id.clone(), name: one.described() }),
            [] => {
                let alike = all.iter().find(|one| one.name.eq_ignore_ascii_case(value));
                let names: Vec<String> = alike
                    .into_iter()
                    .chain(&all)
                    .take(3)
                    .map(|one| format!("`{}`", Untrusted::capped(&one.name, 60)))
                    .collect();
                let hint = match (alike, names.first()) {
                    (Some(_), Some(name)) => format!("; did you mean {name}?"),
                    (None, Some(_)) => format!("; there is {}", names.join(", ")),
                    _ => "; it has no guardrails".to_owned(),
                };
                Err(no_such(KIND, GUARDRAIL, value, hint))
            }
            _ => Err(no_such(KIND, GUARDRAIL, value, ", but several of that name; use the guardrail's id")),
        }
    }

    /// Assigns a fresh key. When that fails, the key is ended: without its guardrail it may do more than was asked.
    pub(super) async fn guard(&self, hash: &str, guardrail: &str) -> Result<(), ProviderError> {
        let why = match self.assign(hash, guardrail).await {
            Ok(()) => return Ok(()),
            Err(failure) => failure.of_provider(KIND, "such guardrail", super::NEEDS),
        };
        match self.revoke(hash).await {
            Ok(_) => Err(why),
            Err(error) => {
                let why =
                    format!("it was made, but not assigned to its guardrail ({why}), and not ended: {error}");
                Err(ProviderError::OutcomeUnknown { provider: KIND, why })
            }
        }
    }

    /// `POST /guardrails/{id}/assignments/keys`: replaces what was assigned before, so a repetition does no harm.
    async fn assign(&self, hash: &str, guardrail: &str) -> Result<(), Failure> {
        let body = rest::body(&AssignBody { key_hashes: [hash] })?;
        let path = vec!["guardrails", guardrail, "assignments", "keys"];
        self.rest
            .json::<Assigned>(Call::again(Method::POST, path, &self.parent, body))
            .await
            .map(|Assigned {}| ())
    }

    /// The guardrails that a key is assigned to: read from the list of all assignments, because a key does not say.
    pub(super) async fn guardrails_of(&self, hash: &str) -> Result<Vec<String>, ProviderError> {
        let path = ["guardrails", "assignments", "keys"];
        let all: Vec<Assignment> = self.pages(&path, &[]).await.map_err(told)?;
        Ok(all.into_iter().filter(|one| one.key_hash == hash).map(|one| one.guardrail_id).collect())
    }

    /// A whole list that has a total.
    async fn pages<T: DeserializeOwned>(
        &self,
        path: &[&str],
        filter: &[(&'static str, String)],
    ) -> Result<Vec<T>, Failure> {
        let mut rows = Vec::new();
        for _ in 0..MOST_PAGES {
            let mut query = filter.to_vec();
            query.extend([("limit", PAGE_SIZE.to_string()), ("offset", rows.len().to_string())]);
            let page: Page<T> =
                self.rest.json(Call { query, ..Call::get(path.to_vec(), &self.parent) }).await?;
            let last = page.data.is_empty();
            rows.extend(page.data);
            if rows.len() >= page.total_count {
                return Ok(rows);
            }
            if last {
                return Err(Failure::garbled("a list ends before its total".to_owned()));
            }
        }
        Err(Failure::garbled(format!("a list has more than {MOST_PAGES} pages")))
    }
}
