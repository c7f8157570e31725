//! R2 buckets and objects: `/accounts/{account_id}/r2/buckets`.
//!
//! Buckets need the account's R2 groups. Objects are also open to the groups of their own bucket
//! (`com.cloudflare.edge.r2.bucket.<account>_default_<name>`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::page::number;
use crate::envelope::{Answer, Refusal};
use crate::token::seconds;
use crate::world::{Account, Call, World};

/// The longest object key, in bytes.
const LONGEST_KEY: usize = 1024;

/// One bucket.
pub(crate) struct Bucket {
    created: Timestamp,
    location: String,
    storage_class: String,
    objects: BTreeMap<String, Object>,
}

struct Object {
    bytes: Vec<u8>,
    modified: Timestamp,
}

impl Bucket {
    fn to_json(&self, name: &str) -> Value {
        json!({
            "name": name,
            "creation_date": seconds(self.created),
            "jurisdiction": "default",
            "location": self.location,
            "storage_class": self.storage_class,
        })
    }
}

impl Account {
    fn bucket(&mut self, name: &str) -> Result<&mut Bucket, Refusal> {
        let missing = || Refusal::new(404, 10_006, "The specified bucket does not exist.");
        self.buckets.get_mut(name).ok_or_else(missing)
    }
}

impl World {
    pub(crate) fn list_buckets(&mut self, call: &Call<'_>, account: &str) -> Result<Answer, Refusal> {
        let per_page = number(call, "per_page", 20, 1, 1000)?;
        let part = call.query("name_contains").unwrap_or_default();
        let after = call.query("cursor").or(call.query("start_after")).unwrap_or_default();
        let account = self.account(account)?;
        let mut found: Vec<&String> = account.buckets.keys().filter(|name| name.contains(part)).collect();
        if call.query("direction") == Some("desc") {
            found.reverse();
            found.retain(|name| after.is_empty() || name.as_str() < after);
        } else {
            found.retain(|name| name.as_str() > after);
        }
        let shown: Vec<&String> = found.iter().copied().take(per_page).collect();
        let more = found.len() > shown.len();
        let cursor = shown.last().filter(|_| more).map(|name| name.as_str()).unwrap_or_default();
        let buckets = shown.iter().filter_map(|name| Some(account.buckets.get(*name)?.to_json(name)));
        let result = json!({"buckets": buckets.collect::<Vec<_>>()});
        Ok(Answer::list(result, json!({"cursor": cursor, "per_page": per_page})))
    }

    pub(crate) fn create_bucket(&mut self, call: &Call<'_>, account: &str) -> Result<Answer, Refusal> {
        let limit = self.limits.stored;
        let body = call.json()?;
        let text = |key: &str| body.get(key).and_then(Value::as_str);
        let name = text("name").unwrap_or_default();
        if !is_bucket_name(name) {
            return Err(Refusal::new(400, 10_005, "The bucket name is not valid."));
        }
        let location = text("locationHint").unwrap_or("wnam");
        let storage_class = text("storageClass").unwrap_or("Standard");
        if !["apac", "eeur", "enam", "weur", "wnam", "oc"].contains(&location)
            || !["Standard", "InfrequentAccess"].contains(&storage_class)
        {
            return Err(Refusal::new(400, 10_040, "`locationHint` or `storageClass` is not known"));
        }
        let account = self.account(account)?;
        if account.buckets.contains_key(name) {
            return Err(Refusal::new(409, 10_004, "The bucket already exists and you own it."));
        }
        if account.buckets.len() >= limit {
            return Err(Refusal::full("buckets", limit));
        }
        let bucket = Bucket {
            created: call.now,
            location: location.to_owned(),
            storage_class: storage_class.to_owned(),
            objects: BTreeMap::new(),
        };
        let shown = bucket.to_json(name);
        account.buckets.insert(name.to_owned(), bucket);
        Ok(Answer::ok(shown))
    }

    pub(crate) fn delete_bucket(&mut self, account: &str, name: &str) -> Result<Answer, Refusal> {
        let account = self.account(account)?;
        if !account.bucket(name)?.objects.is_empty() {
            return Err(Refusal::new(409, 10_008, "The bucket is not empty."));
        }
        account.buckets.remove(name);
        Ok(Answer::ok(json!({})))
    }

    pub(crate) fn list_objects(
        &mut self,
        call: &Call<'_>,
        account: &str,
        name: &str,
    ) -> Result<Answer, Refusal> {
        let per_page = number(call, "per_page", 20, 1, 1000)?;
        let prefix = call.query("prefix").unwrap_or_default();
        let after = call.query("cursor").or(call.query("start_after")).unwrap_or_default();
        let bucket = self.account(account)?.bucket(name)?;
        let found: Vec<(&String, &Object)> = bucket
            .objects
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && (after.is_empty() || key.as_str() > after))
            .take(per_page + 1)
            .collect();
        let truncated = found.len() > per_page;
        let shown = found.iter().take(per_page);
        let cursor = shown.clone().next_back().filter(|_| truncated).map_or("", |(key, _)| key.as_str());
        let info =
            json!({"cursor": cursor, "is_truncated": truncated, "per_page": per_page, "delimited": []});
        let shown: Vec<Value> = shown
            .map(|(key, object)| {
                json!({
                    "key": key,
                    "size": object.bytes.len(),
                    "last_modified": seconds(object.modified),
                    "storage_class": bucket.storage_class,
                })
            })
            .collect();
        Ok(Answer::list(shown.into(), info))
    }

    pub(crate) fn read_object(&mut self, account: &str, name: &str, key: &str) -> Result<Answer, Refusal> {
        let bucket = self.account(account)?.bucket(name)?;
        let missing = || Refusal::new(404, 10_007, "The specified key does not exist.");
        Ok(Answer::bytes(bucket.objects.get(key).ok_or_else(missing)?.bytes.clone()))
    }

    pub(crate) fn write_object(
        &mut self,
        call: &Call<'_>,
        account: &str,
        name: &str,
        key: &str,
    ) -> Result<Answer, Refusal> {
        let limit = self.limits.stored;
        let bucket = self.account(account)?.bucket(name)?;
        if key.is_empty() || key.len() > LONGEST_KEY {
            return Err(Refusal::new(400, 10_020, format!("a key has 1 to {LONGEST_KEY} bytes")));
        }
        if bucket.objects.len() >= limit && !bucket.objects.contains_key(key) {
            return Err(Refusal::full("objects in a bucket", limit));
        }
        bucket.objects.insert(key.to_owned(), Object { bytes: call.body.to_vec(), modified: call.now });
        Ok(Answer::ok(json!({"key": key})))
    }

    pub(crate) fn erase_object(&mut self, account: &str, name: &str, key: &str) -> Result<Answer, Refusal> {
        self.account(account)?.bucket(name)?.objects.remove(key);
        Ok(Answer::ok(json!({"key": key})))
    }
}

/// 3 to 64 characters: lower-case letters, digits and inner hyphens.
fn is_bucket_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (3..=64).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with('-') && !name.ends_with('-')
}
