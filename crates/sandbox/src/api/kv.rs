//! Workers KV: `/accounts/{account_id}/storage/kv/namespaces`.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde_json::{Value, json};

use super::page::{PageSize, number, page};
use crate::envelope::{Answer, Refusal};
use crate::world::{Account, Call, World};

const PAGE: PageSize = PageSize { least: 1, most: 1000, default: 20 };
/// The longest key, in bytes.
const LONGEST_KEY: usize = 512;
/// The longest title, in characters.
const LONGEST_TITLE: usize = 512;
/// The shortest life of a value, in seconds.
const SHORTEST_TTL: i64 = 60;

/// A KV namespace.
pub(crate) struct Namespace {
    id: String,
    title: String,
    values: BTreeMap<String, Entry>,
}

struct Entry {
    bytes: Vec<u8>,
    /// Unix seconds from which on it is gone.
    expiration: Option<i64>,
}

impl Namespace {
    /// An empty namespace.
    pub(crate) fn new(id: String, title: String) -> Self {
        Self { id, title, values: BTreeMap::new() }
    }

    fn to_json(&self) -> Value {
        json!({"id": self.id, "title": self.title, "supports_url_encoding": true})
    }
}

impl Entry {
    fn is_live(&self, call: &Call<'_>) -> bool {
        self.expiration.is_none_or(|end| end > call.now.as_second())
    }
}

impl Account {
    fn namespace(&mut self, id: &str) -> Result<&mut Namespace, Refusal> {
        let missing = || Refusal::new(404, 10_013, "namespace not found");
        self.namespaces.iter_mut().find(|namespace| namespace.id == id).ok_or_else(missing)
    }
}

impl World {
    pub(crate) fn list_namespaces(&mut self, call: &Call<'_>, account: &str) -> Result<Answer, Refusal> {
        page(call, &PAGE, self.account(account)?.namespaces.iter().map(Namespace::to_json).collect())
    }

    pub(crate) fn create_namespace(&mut self, call: &Call<'_>, account: &str) -> Result<Answer, Refusal> {
        let limit = self.limits.stored;
        let id = self.ids.next();
        let body = call.json()?;
        let title = body.get("title").and_then(Value::as_str).unwrap_or_default();
        if title.is_empty() || title.chars().count() > LONGEST_TITLE {
            return Err(Refusal::new(
                400,
                10_019,
                format!("`title` must have 1 to {LONGEST_TITLE} characters"),
            ));
        }
        let account = self.account(account)?;
        if account.namespaces.iter().any(|namespace| namespace.title == title) {
            return Err(Refusal::new(400, 10_014, "a namespace with this title already exists"));
        }
        if account.namespaces.len() >= limit {
            return Err(Refusal::full("namespaces", limit));
        }
        let namespace = Namespace::new(id, title.to_owned());
        let shown = namespace.to_json();
        account.namespaces.push(namespace);
        Ok(Answer::ok(shown))
    }

    pub(crate) fn show_namespace(&mut self, account: &str, id: &str) -> Result<Answer, Refusal> {
        Ok(Answer::ok(self.account(account)?.namespace(id)?.to_json()))
    }

    pub(crate) fn delete_namespace(&mut self, account: &str, id: &str) -> Result<Answer, Refusal> {
        let account = self.account(account)?;
        account.namespace(id)?;
        account.namespaces.retain(|namespace| namespace.id != id);
        Ok(Answer::ok(json!({})))
    }

    pub(crate) fn list_keys(&mut self, call: &Call<'_>, account: &str, id: &str) -> Result<Answer, Refusal> {
        let namespace = self.account(account)?.namespace(id)?;
        let limit = number(call, "limit", 1000, 10, 1000)?;
        let prefix = call.query("prefix").unwrap_or_default();
        // The cursor is the last key that was shown; an empty one starts over.
        let cursor = call.query("cursor").filter(|cursor| !cursor.is_empty());
        let start = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let live = namespace.values.range::<str, _>((start, Bound::Unbounded));
        let mut live = live.filter(|(key, entry)| key.starts_with(prefix) && entry.is_live(call)).peekable();
        let mut keys = Vec::new();
        let mut last = "";
        while keys.len() < limit
            && let Some((key, entry)) = live.next()
        {
            last = key;
            keys.push(match entry.expiration {
                Some(end) => json!({"name": key, "expiration": end}),
                None => json!({"name": key}),
            });
        }
        let cursor = if live.peek().is_some() { last } else { "" };
        let info = json!({"count": keys.len(), "cursor": cursor});
        Ok(Answer::list(keys.into(), info))
    }

    pub(crate) fn read_value(
        &mut self,
        call: &Call<'_>,
        account: &str,
        id: &str,
        key: &str,
    ) -> Result<Answer, Refusal> {
        let namespace = self.account(account)?.namespace(id)?;
        let entry = namespace.values.get(key).filter(|entry| entry.is_live(call));
        let entry = entry.ok_or_else(|| Refusal::new(404, 10_009, "key not found"))?;
        Ok(Answer::bytes(entry.bytes.clone()))
    }

    pub(crate) fn write_value(
        &mut self,
        call: &Call<'_>,
        account: &str,
        id: &str,
        key: &str,
    ) -> Result<Answer, Refusal> {
        let limit = self.limits.stored;
        let namespace = self.account(account)?.namespace(id)?;
        if key.is_empty() || key.len() > LONGEST_KEY {
            return Err(Refusal::new(400, 10_029, format!("a key has 1 to {LONGEST_KEY} bytes")));
        }
        if call.content_type.is_some_and(|kind| kind.starts_with("multipart/")) {
            return Err(Refusal::new(415, 10_015, "the sandbox takes a value as raw bytes only"));
        }
        let expiration = expiration(call)?;
        if namespace.values.len() >= limit && !namespace.values.contains_key(key) {
            return Err(Refusal::full("keys in a namespace", limit));
        }
        namespace.values.insert(key.to_owned(), Entry { bytes: call.body.to_vec(), expiration });
        Ok(Answer::ok(json!({})))
    }

    pub(crate) fn erase_value(&mut self, account: &str, id: &str, key: &str) -> Result<Answer, Refusal> {
        // The provider answers success for a key that is not there.
        self.account(account)?.namespace(id)?.values.remove(key);
        Ok(Answer::ok(json!({})))
    }
}

fn expiration(call: &Call<'_>) -> Result<Option<i64>, Refusal> {
    let read = |key: &str| match call.query(key).map(str::parse::<i64>) {
        None => Ok(None),
        Some(Ok(number)) => Ok(Some(number)),
        Some(Err(_)) => Err(Refusal::new(400, 10_033, format!("`{key}` must be a number of seconds"))),
    };
    let now = call.now.as_second();
    let end = read("expiration")?.or(read("expiration_ttl")?.map(|ttl| now.saturating_add(ttl)));
    match end {
        Some(end) if end < now.saturating_add(SHORTEST_TTL) => {
            Err(Refusal::new(400, 10_033, format!("a value lives at least {SHORTEST_TTL} seconds")))
        }
        end => Ok(end),
    }
}
