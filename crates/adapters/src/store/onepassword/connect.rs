//! Through a Connect server.
//!
//! API: <https://developer.1password.com/docs/connect/api-reference/>, specification 1.7.1. It wants an id in every field
//! and patches by whole fields.

use async_trait::async_trait;
use keywright_core::secret::Secret;
use reqwest::Method;
use serde::Serialize;
use serde::de::IgnoredAny;

use super::items::{Item, Items, Listed, NewField, NewItem};
use crate::rest::{Failure, RefusalBody, Rest, Said, body, found};
use crate::wire::Call;

/// One vault behind a server.
pub(super) struct Connect {
    pub(super) rest: Rest,
    pub(super) token: Secret,
    pub(super) vault: String,
}

#[derive(Serialize)]
struct Patch<'a> {
    op: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<NewField<'a>>,
}

/// `{"status": 401, "message": "..."}`.
pub(super) fn said(body: &[u8]) -> Option<Said> {
    let refusal = RefusalBody::parse(body)?;
    Some(Said { code: Some(refusal.number("/status")?), message: refusal.text("/message")? })
}

impl Connect {
    fn items(&self) -> Vec<&str> {
        vec!["v1", "vaults", &self.vault, "items"]
    }

    fn item<'a>(&'a self, id: &'a str) -> Vec<&'a str> {
        vec!["v1", "vaults", &self.vault, "items", id]
    }
}

#[async_trait]
impl Items for Connect {
    /// The token's scope; whether it may write there shows only when it does.
    async fn check(&self) -> Result<(), Failure> {
        self.rest
            .json::<IgnoredAny>(Call::get(vec!["v1", "vaults", &self.vault], &self.token))
            .await
            .map(drop)
    }

    async fn titled(&self, title: &str) -> Result<Vec<Item>, Failure> {
        let query = vec![("filter", format!("title eq \"{title}\""))];
        let listed: Vec<Listed> =
            self.rest.json(Call { query, ..Call::get(self.items(), &self.token) }).await?;
        let mut items = Vec::new();
        for item in listed.iter().filter(|item| item.is_called(title)) {
            items.extend(found(self.rest.json(Call::get(self.item(&item.id), &self.token)).await)?);
        }
        Ok(items)
    }

    async fn create(&self, title: &str, fields: [NewField<'_>; 2]) -> Result<Item, Failure> {
        let item = body(&NewItem::of(&self.vault, title, fields))?;
        self.rest.json(Call::once(Method::POST, self.items(), &self.token, item)).await
    }

    async fn replace(&self, old: &Item, fields: [NewField<'_>; 2]) -> Result<Item, Failure> {
        let patches = fields.map(|value| match old.field(value.id) {
            Some(field) => Patch { op: "replace", path: format!("/fields/{}", field.id), value: Some(value) },
            None => Patch { op: "add", path: "/fields".to_owned(), value: Some(value) },
        });
        let call = Call::once(Method::PATCH, self.item(&old.id), &self.token, body(&patches)?);
        self.rest.json(call).await
    }

    async fn empty(&self, item: &Item, fields: &[&str]) -> Result<(), Failure> {
        let remove = |id: &&str| Patch { op: "remove", path: format!("/fields/{id}"), value: None };
        let patches: Vec<Patch<'_>> = fields.iter().map(remove).collect();
        let call = Call::once(Method::PATCH, self.item(&item.id), &self.token, body(&patches)?);
        self.rest.send(call).await.map(drop)
    }

    async fn delete(&self, id: &str) -> Result<(), Failure> {
        found(self.rest.send(Call::delete(self.item(id), &self.token)).await).map(drop)
    }
}
