//! KV version 2: versions of maps, written under check-and-set.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::{Told, refused, told};
use crate::vendors::door::Asked;

/// What is kept of a secret when nobody says otherwise.
const VERSIONS_KEPT: u64 = 10;

/// A secrets engine.
#[derive(Default)]
pub(super) struct Mount {
    config: Settings,
    secrets: BTreeMap<String, Entry>,
}

/// The settings of a mount, and those of a secret.
#[derive(Clone, Default)]
struct Settings {
    max_versions: u64,
    cas_required: bool,
    delete_version_after: Option<String>,
}

#[derive(Clone)]
struct Entry {
    settings: Settings,
    custom: Option<Map<String, Value>>,
    created: Timestamp,
    updated: Timestamp,
    current: u64,
    versions: BTreeMap<u64, Version>,
}

#[derive(Clone)]
struct Version {
    data: Value,
    created: Timestamp,
    deleted: Option<Timestamp>,
    destroyed: bool,
}

/// How a mount of this kind describes itself.
pub(super) fn described() -> Value {
    json!({"type": "kv", "description": "", "options": {"version": "2"}, "accessor": "kv_1", "local": false})
}

impl Settings {
    fn take(&mut self, body: &Value) {
        if let Some(count) = body.get("max_versions").and_then(Value::as_u64) {
            self.max_versions = count;
        }
        if let Some(required) = body.get("cas_required").and_then(Value::as_bool) {
            self.cas_required = required;
        }
        if let Some(after) = body.get("delete_version_after").and_then(Value::as_str) {
            self.delete_version_after = Some(after.to_owned());
        }
    }

    fn after(&self) -> &str {
        self.delete_version_after.as_deref().unwrap_or("0s")
    }

    fn shown(&self) -> Value {
        json!({
            "max_versions": self.max_versions, "cas_required": self.cas_required,
            "delete_version_after": self.after(),
        })
    }
}

impl Version {
    fn shown(&self) -> Value {
        let deletion = self.deleted.map(|at| at.to_string()).unwrap_or_default();
        json!({"created_time": self.created.to_string(), "deletion_time": deletion, "destroyed": self.destroyed})
    }

    fn readable(&self, now: Timestamp) -> bool {
        !self.destroyed && self.deleted.is_none_or(|at| now < at)
    }
}

impl Entry {
    fn new(now: Timestamp) -> Self {
        Self {
            settings: Settings::default(),
            custom: None,
            created: now,
            updated: now,
            current: 0,
            versions: BTreeMap::new(),
        }
    }

    /// A version's metadata, as it stands beside the data and in the answer to a write.
    fn stamp(&self, number: u64, version: &Version) -> Value {
        let mut shown = version.shown();
        shown["version"] = json!(number);
        shown["custom_metadata"] = json!(self.custom);
        shown
    }

    fn version(&self, asked: &Asked) -> Option<(u64, &Version)> {
        let number = asked.query("version").and_then(|n| n.parse().ok()).filter(|n| *n > 0);
        let number = number.unwrap_or(self.current);
        self.versions.get(&number).map(|version| (number, version))
    }

    fn shown(&self) -> Value {
        let versions: Map<String, Value> =
            self.versions.iter().map(|(number, version)| (number.to_string(), version.shown())).collect();
        let mut shown = self.settings.shown();
        shown["created_time"] = json!(self.created.to_string());
        shown["updated_time"] = json!(self.updated.to_string());
        shown["current_version"] = json!(self.current);
        shown["oldest_version"] = json!(self.versions.keys().next().copied().unwrap_or(0));
        shown["custom_metadata"] = json!(self.custom);
        shown["versions"] = Value::Object(versions);
        shown
    }
}

impl Mount {
    /// Whether a secret is known, which makes a write an update.
    pub(super) fn holds(&self, path: &[&str]) -> bool {
        self.secrets.contains_key(&path.join("/"))
    }

    pub(super) fn answer(&mut self, method: &str, path: &[&str], asked: &Asked, now: Timestamp) -> Told {
        let Some((part, rest)) = path.split_first() else { return refused(404, "") };
        let key = rest.join("/");
        match (method, *part) {
            ("GET", "config") => told(self.config.shown()),
            ("POST", "config") => {
                self.config.take(&asked.body);
                (204, None)
            }
            ("GET", "data") => self.read(&key, asked, now, Clone::clone),
            ("GET", "subkeys") => self.read(&key, asked, now, names),
            ("POST", "data") => self.write(&key, asked, now),
            ("DELETE", "data") => {
                let current = self.secrets.get(&key).map(|entry| entry.current);
                self.each(&key, current, |version| version.deleted = version.deleted.or(Some(now)))
            }
            ("POST", "delete") => {
                self.named(&key, asked, |version| version.deleted = version.deleted.or(Some(now)))
            }
            ("POST", "undelete") => self.named(&key, asked, |version| version.deleted = None),
            ("POST", "destroy") => self.named(&key, asked, |version| {
                version.destroyed = true;
                version.data = Value::Null;
            }),
            ("GET", "metadata") => match self.secrets.get(&key) {
                Some(entry) => told(entry.shown()),
                None => refused(404, ""),
            },
            ("POST", "metadata") => self.describe(&key, &asked.body, now),
            ("DELETE", "metadata") => {
                self.secrets.remove(&key);
                (204, None)
            }
            ("LIST", "metadata") => self.list(&key),
            _ => refused(405, "unsupported operation"),
        }
    }

    /// A deleted version is told apart from one that never was: 404 with its metadata.
    fn read(&self, key: &str, asked: &Asked, now: Timestamp, show: fn(&Value) -> Value) -> Told {
        let Some((entry, (number, version))) =
            self.secrets.get(key).and_then(|entry| Some((entry, entry.version(asked)?)))
        else {
            return refused(404, "");
        };
        let name = if asked.path.iter().any(|part| part == "subkeys") { "subkeys" } else { "data" };
        let stamp = entry.stamp(number, version);
        if version.readable(now) {
            told(json!({name: show(&version.data), "metadata": stamp}))
        } else {
            (404, told(json!({name: null, "metadata": stamp})).1)
        }
    }

    fn write(&mut self, key: &str, asked: &Asked, now: Timestamp) -> Told {
        let Some(data) = asked.body.get("data").filter(|data| data.is_object()) else {
            return refused(400, "no data provided");
        };
        let entry = self.secrets.get(key).cloned();
        let current = entry.as_ref().map_or(0, |entry| entry.current);
        let required = self.config.cas_required || entry.as_ref().is_some_and(|e| e.settings.cas_required);
        match asked.body.pointer("/options/cas") {
            None | Some(Value::Null) if required => {
                return refused(400, "check-and-set parameter required for this call");
            }
            None | Some(Value::Null) => {}
            Some(cas) => match cas.as_i64().or_else(|| cas.as_str()?.parse().ok()) {
                None => return refused(400, "error parsing check-and-set parameter"),
                Some(cas) if u64::try_from(cas).ok() != Some(current) => {
                    return refused(400, "check-and-set parameter did not match the current version");
                }
                Some(_) => {}
            },
        }
        let mut entry = entry.unwrap_or_else(|| Entry::new(now));
        let number = current + 1;
        let deleted = lifetime(entry.settings.delete_version_after.as_deref(), self.config.after())
            .map(|after| now + after);
        let version = Version { data: data.clone(), created: now, deleted, destroyed: false };
        let kept = [entry.settings.max_versions, self.config.max_versions];
        let kept = kept.into_iter().find(|kept| *kept > 0).unwrap_or(VERSIONS_KEPT);
        entry.current = number;
        entry.updated = now;
        entry.versions.insert(number, version.clone());
        entry.versions.retain(|old, _| *old + kept > number);
        let stamp = entry.stamp(number, &version);
        self.secrets.insert(key.to_owned(), entry);
        told(stamp)
    }

    fn named(&mut self, key: &str, asked: &Asked, change: impl FnMut(&mut Version)) -> Told {
        let numbers = asked.body.get("versions").and_then(Value::as_array);
        let Some(numbers) = numbers.filter(|numbers| !numbers.is_empty()) else {
            return refused(400, "no version number provided");
        };
        let numbers: Vec<u64> = numbers
            .iter()
            .filter_map(|number| number.as_u64().or_else(|| number.as_str()?.parse().ok()))
            .collect();
        self.each(key, numbers, change)
    }

    fn each(
        &mut self,
        key: &str,
        numbers: impl IntoIterator<Item = u64>,
        mut change: impl FnMut(&mut Version),
    ) -> Told {
        if let Some(entry) = self.secrets.get_mut(key) {
            for number in numbers {
                if let Some(version) = entry.versions.get_mut(&number).filter(|version| !version.destroyed) {
                    change(version);
                }
            }
        }
        (204, None)
    }

    fn describe(&mut self, key: &str, body: &Value, now: Timestamp) -> Told {
        let custom = body.get("custom_metadata");
        if let Some(custom) = custom
            && let Err(why) = fits(custom)
        {
            return refused(400, &format!("custom_metadata validation failed: {why}"));
        }
        let entry = self.secrets.entry(key.to_owned()).or_insert_with(|| Entry::new(now));
        entry.settings.take(body);
        if let Some(Value::Object(custom)) = custom {
            entry.custom = Some(custom.clone());
        }
        entry.updated = now;
        (204, None)
    }

    fn list(&self, folder: &str) -> Told {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut keys: Vec<String> = self
            .secrets
            .keys()
            .filter_map(|key| key.strip_prefix(&prefix))
            .map(|rest| {
                rest.split_once('/').map_or_else(|| rest.to_owned(), |(first, _)| format!("{first}/"))
            })
            .collect();
        keys.dedup();
        if keys.is_empty() { refused(404, "") } else { told(json!({"keys": keys})) }
    }
}

/// The limits of custom metadata: 64 keys of 1 to 128 bytes, values of 1 to 512.
fn fits(custom: &Value) -> Result<(), &'static str> {
    let Value::Object(custom) = custom else { return Err("it is not a map") };
    if custom.len() > 64 {
        return Err("payload must contain at most 64 keys");
    }
    for (key, value) in custom {
        let Value::String(value) = value else { return Err("values must be strings") };
        if key.is_empty() || key.len() > 128 {
            return Err("length of key is out of bounds");
        }
        if value.is_empty() || value.len() > 512 {
            return Err("length of value is out of bounds");
        }
    }
    Ok(())
}

/// The names of a map without its values.
fn names(data: &Value) -> Value {
    match data {
        Value::Object(map) => Value::Object(map.iter().map(|(k, v)| (k.clone(), names(v))).collect()),
        _ => Value::Null,
    }
}

/// When a new version deletes itself: the secret's setting, else the mount's, as `30s` or `30m0s`.
fn lifetime(own: Option<&str>, mount: &str) -> Option<SignedDuration> {
    let span = |text: &str| text.parse::<SignedDuration>().ok().filter(SignedDuration::is_positive);
    own.and_then(span).or_else(|| span(mount))
}
