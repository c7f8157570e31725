//! Items of a vault, however they are reached.

use async_trait::async_trait;
use keywright_core::secret::Secret;
use serde::{Deserialize, Serialize};

use crate::rest::Failure;
use crate::store::remote::Held;

/// The way to the items of one vault.
#[async_trait]
pub(super) trait Items: Send + Sync {
    /// Whether the vault is reached.
    async fn check(&self) -> Result<(), Failure>;

    /// Every item of the title, whatever its case.
    async fn titled(&self, title: &str) -> Result<Vec<Item>, Failure>;

    async fn create(&self, title: &str, fields: [NewField<'_>; 2]) -> Result<Item, Failure>;

    /// Replaces both fields in one call; those that the item does not have are added.
    async fn replace(&self, old: &Item, fields: [NewField<'_>; 2]) -> Result<Item, Failure>;

    /// Takes fields, by their ids, out of an item.
    async fn empty(&self, item: &Item, fields: &[&str]) -> Result<(), Failure>;

    /// Success when it is already gone.
    async fn delete(&self, id: &str) -> Result<(), Failure>;
}

/// An item of a list, which has no fields.
#[derive(Deserialize)]
pub(super) struct Listed {
    pub(super) id: String,
    title: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) version: u64,
    #[serde(default)]
    fields: Vec<Field>,
}

#[derive(Deserialize)]
pub(super) struct Field {
    pub(super) id: String,
    label: Option<String>,
    pub(super) value: Option<Held>,
}

#[derive(Serialize)]
pub(super) struct NewItem<'a> {
    vault: Id<'a>,
    title: &'a str,
    category: &'static str,
    tags: [&'static str; 1],
    fields: [NewField<'a>; 2],
}

#[derive(Serialize)]
struct Id<'a> {
    id: &'a str,
}

#[derive(Serialize)]
pub(super) struct NewField<'a> {
    pub(super) id: &'a str,
    r#type: &'static str,
    pub(super) label: &'a str,
    value: &'a str,
}

impl Listed {
    pub(super) fn is_called(&self, title: &str) -> bool {
        self.title.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(title)) && is_id(&self.id)
    }
}

impl Item {
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        let by_label = |field: &&Field| field.label.as_deref() == Some(name);
        self.fields.iter().find(|field| field.id == name).or_else(|| self.fields.iter().find(by_label))
    }
}

impl Item {
    /// Whether a field has a value besides those with these ids.
    pub(super) fn has_other_than(&self, ids: [Option<&str>; 2]) -> bool {
        self.fields.iter().any(|field| {
            let is_filled = field.value.as_ref().is_some_and(|value| !value.0.is_empty());
            is_filled && !ids.contains(&Some(field.id.as_str()))
        })
    }
}

impl<'a> NewItem<'a> {
    pub(super) fn of(vault: &'a str, title: &'a str, fields: [NewField<'a>; 2]) -> Self {
        Self { vault: Id { id: vault }, title, category: "API_CREDENTIAL", tags: [super::STAMP], fields }
    }
}

impl<'a> NewField<'a> {
    pub(super) fn concealed(id: &'a str, label: &'a str, value: &'a Secret) -> Self {
        Self { id, r#type: "CONCEALED", label, value: value.expose_secret() }
    }

    pub(super) fn plain(id: &'a str, label: &'a str, value: &'a str) -> Self {
        Self { id, r#type: "STRING", label, value }
    }
}

/// As 1Password gives ids to vaults and items.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}
