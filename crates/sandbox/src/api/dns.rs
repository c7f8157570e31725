//! DNS records: `/zones/{zone_id}/dns_records`.
//!
//! The answer carries every field that the published schema requires, so a record without `data` shows an empty one and a
//! record without a comment an empty comment.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::page::{PageSize, page};
use super::record_body::RecordBody;
use crate::envelope::{Answer, Refusal};
use crate::token::seconds;
use crate::world::{Call, World, Zone};

/// The published bound is 5,000,000; a zone of the sandbox is smaller anyway.
const PAGE: PageSize = PageSize { least: 1, most: 5_000_000, default: 100 };

/// One DNS record.
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) body: RecordBody,
    pub(crate) created_on: Timestamp,
    pub(crate) modified_on: Timestamp,
}

impl World {
    pub(crate) fn list_records(&mut self, call: &Call<'_>, zone: &str) -> Result<Answer, Refusal> {
        let zone = self.zone(zone)?;
        let any = match call.query("match") {
            None | Some("all") => false,
            Some("any") => true,
            Some(_) => return Err(Refusal::invalid("`match` must be `any` or `all`")),
        };
        let filters = Filter::read(call)?;
        let mut found: Vec<&Record> = zone
            .records
            .iter()
            .filter(|record| {
                let mut fits = filters.iter().map(|filter| filter.fits(record));
                filters.is_empty() || if any { fits.any(|fit| fit) } else { fits.all(|fit| fit) }
            })
            .collect();
        match call.query("order") {
            None => {}
            Some("type") => found.sort_by(|one, two| one.body.kind.cmp(&two.body.kind)),
            Some("name") => found.sort_by(|one, two| one.body.name.cmp(&two.body.name)),
            Some("content") => found.sort_by(|one, two| one.body.content.cmp(&two.body.content)),
            Some("ttl") => found.sort_by_key(|record| record.body.ttl),
            Some("proxied") => found.sort_by_key(|record| record.body.proxied),
            Some(_) => return Err(Refusal::invalid("`order` is not a field that records are ordered by")),
        }
        page(call, &PAGE, found.into_iter().map(Record::to_json).collect())
    }

    pub(crate) fn create_record(&mut self, call: &Call<'_>, zone: &str) -> Result<Answer, Refusal> {
        let limit = self.limits.stored;
        let id = self.ids.next();
        let zone = self.zone(zone)?;
        let body = RecordBody::read(&call.json()?, &zone.name)?;
        if zone.records.len() >= limit {
            return Err(Refusal::new(400, 81_045, format!("the quota of {limit} records is reached")));
        }
        body.conflicts(zone.records.iter())?;
        let record = Record { id, body, created_on: call.now, modified_on: call.now };
        let shown = record.to_json();
        zone.records.push(record);
        Ok(Answer::ok(shown))
    }

    pub(crate) fn show_record(&mut self, zone: &str, id: &str) -> Result<Answer, Refusal> {
        Ok(Answer::ok(self.zone(zone)?.record(id)?.to_json()))
    }

    pub(crate) fn replace_record(
        &mut self,
        call: &Call<'_>,
        zone: &str,
        id: &str,
    ) -> Result<Answer, Refusal> {
        let zone = self.zone(zone)?;
        zone.record(id)?;
        let body = RecordBody::read(&call.json()?, &zone.name)?;
        zone.change(id, body, call.now)
    }

    pub(crate) fn patch_record(&mut self, call: &Call<'_>, zone: &str, id: &str) -> Result<Answer, Refusal> {
        let zone = self.zone(zone)?;
        let patch = call.json()?;
        let Value::Object(patch) = patch else {
            return Err(Refusal::invalid("the request body is not an object"));
        };
        let mut merged = zone.record(id)?.body.to_map();
        merged.extend(patch);
        let body = RecordBody::read(&Value::Object(merged), &zone.name)?;
        zone.change(id, body, call.now)
    }

    pub(crate) fn delete_record(&mut self, zone: &str, id: &str) -> Result<Answer, Refusal> {
        let zone = self.zone(zone)?;
        zone.record(id)?;
        zone.records.retain(|record| record.id != id);
        Ok(Answer::ok(json!({"id": id})))
    }
}

impl Zone {
    fn record(&mut self, id: &str) -> Result<&mut Record, Refusal> {
        let missing = || Refusal::new(404, 81_044, "Record does not exist.");
        self.records.iter_mut().find(|record| record.id == id).ok_or_else(missing)
    }

    fn change(&mut self, id: &str, body: RecordBody, now: Timestamp) -> Result<Answer, Refusal> {
        body.conflicts(self.records.iter().filter(|record| record.id != id))?;
        let record = self.record(id)?;
        record.body = body;
        record.modified_on = now;
        Ok(Answer::ok(record.to_json()))
    }
}

impl Record {
    fn to_json(&self) -> Value {
        let mut fields: Map<String, Value> = self.body.to_map();
        fields.insert("id".to_owned(), self.id.clone().into());
        fields.insert("content".to_owned(), self.body.content.clone().into());
        fields.insert("proxiable".to_owned(), self.body.proxiable().into());
        fields.insert("meta".to_owned(), json!({}));
        fields.insert("created_on".to_owned(), seconds(self.created_on).into());
        fields.insert("modified_on".to_owned(), seconds(self.modified_on).into());
        Value::Object(fields)
    }
}

/// One filter of a list: `name`, `content` or `comment`, exact or by part; `type`; `proxied`.
struct Filter<'a> {
    field: &'a str,
    how: &'a str,
    wanted: &'a str,
}

impl<'a> Filter<'a> {
    /// The filters of a call. One that the sandbox does not know is refused: ignoring it would answer with records that
    /// were not asked for.
    fn read(call: &'a Call<'_>) -> Result<Vec<Self>, Refusal> {
        let mut filters = Vec::new();
        for (key, wanted) in call.query {
            let (field, how) = key.split_once('.').unwrap_or((key, "exact"));
            match (field, how) {
                ("page" | "per_page" | "order" | "direction" | "match", _) => {}
                ("name" | "content" | "comment", "exact" | "contains" | "startswith" | "endswith")
                | ("type" | "proxied", "exact")
                | ("comment", "present" | "absent") => filters.push(Self { field, how, wanted }),
                _ => return Err(Refusal::invalid(format!("the sandbox can't filter records by `{key}`"))),
            }
        }
        Ok(filters)
    }

    fn fits(&self, record: &Record) -> bool {
        let actual = match self.field {
            "name" => &record.body.name,
            "content" => &record.body.content,
            "comment" => &record.body.comment,
            "type" => &record.body.kind,
            _ => return self.wanted == if record.body.proxied { "true" } else { "false" },
        };
        let (actual, wanted) = (actual.to_lowercase(), self.wanted.to_lowercase());
        match self.how {
            "contains" => actual.contains(&wanted),
            "startswith" => actual.starts_with(&wanted),
            "endswith" => actual.ends_with(&wanted),
            "present" => !actual.is_empty(),
            "absent" => actual.is_empty(),
            _ => actual == wanted,
        }
    }
}
