//! What a DNS record says, and what is wrong with one.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};

use super::dns::Record;
use crate::envelope::Refusal;

/// Types whose content is a string.
const PLAIN_TYPES: [&str; 8] = ["A", "AAAA", "CNAME", "MX", "NS", "OPENPGPKEY", "PTR", "TXT"];
/// Types whose content is made from a `data` object.
const DATA_TYPES: [&str; 13] =
    ["CAA", "CERT", "DNSKEY", "DS", "HTTPS", "LOC", "NAPTR", "SMIMEA", "SRV", "SSHFP", "SVCB", "TLSA", "URI"];
/// The longest content, in bytes: what a TXT record can hold in the service.
const LONGEST_CONTENT: usize = 2048;

/// The part of a record that a client writes.
pub(crate) struct RecordBody {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) content: String,
    pub(crate) data: Map<String, Value>,
    pub(crate) ttl: u32,
    pub(crate) proxied: bool,
    pub(crate) comment: String,
    tags: Vec<Value>,
    settings: Map<String, Value>,
    priority: Option<u16>,
}

impl RecordBody {
    /// Reads and checks a whole record for a zone.
    pub(crate) fn read(body: &Value, zone: &str) -> Result<Self, Refusal> {
        let text = |key: &str| body.get(key).and_then(Value::as_str);
        let kind = text("type").ok_or_else(|| wrong("`type` is missing"))?.to_owned();
        let data = body.get("data").and_then(Value::as_object).cloned().unwrap_or_default();
        let content = if PLAIN_TYPES.contains(&kind.as_str()) {
            text("content").unwrap_or_default().to_owned()
        } else if DATA_TYPES.contains(&kind.as_str()) {
            data_content(&data)
        } else {
            return Err(wrong(format!("`{kind}` is not a record type")));
        };
        check_content(&kind, &content)?;
        let priority = match body.get("priority").filter(|value| !value.is_null()) {
            None if kind == "MX" => return Err(wrong("an MX record needs a `priority`")),
            None => None,
            Some(value) => Some(
                value
                    .as_u64()
                    .and_then(|number| u16::try_from(number).ok())
                    .ok_or_else(|| wrong("`priority` must be 0 to 65535"))?,
            ),
        };
        let record = Self {
            name: full_name(text("name"), zone)?,
            content,
            data,
            ttl: ttl(body.get("ttl"))?,
            proxied: flag(body, "proxied")?,
            comment: text("comment").unwrap_or_default().to_owned(),
            tags: body.get("tags").and_then(Value::as_array).cloned().unwrap_or_default(),
            settings: body.get("settings").and_then(Value::as_object).cloned().unwrap_or_default(),
            priority,
            kind,
        };
        if record.proxied && !record.proxiable() {
            return Err(Refusal::new(400, 9004, "This record type cannot be proxied."));
        }
        Ok(record)
    }

    /// The fields as a client would write them, all of them.
    pub(crate) fn to_map(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("name".to_owned(), self.name.clone().into());
        fields.insert("type".to_owned(), self.kind.clone().into());
        fields.insert("content".to_owned(), self.content.clone().into());
        fields.insert("data".to_owned(), Value::Object(self.data.clone()));
        fields.insert("ttl".to_owned(), self.ttl.into());
        fields.insert("proxied".to_owned(), self.proxied.into());
        fields.insert("comment".to_owned(), self.comment.clone().into());
        fields.insert("tags".to_owned(), self.tags.clone().into());
        fields.insert("settings".to_owned(), Value::Object(self.settings.clone()));
        if let Some(priority) = self.priority {
            fields.insert("priority".to_owned(), json!(priority));
        }
        fields
    }

    /// Whether the provider's proxy could stand in front of it.
    pub(crate) fn proxiable(&self) -> bool {
        matches!(self.kind.as_str(), "A" | "AAAA" | "CNAME")
    }

    /// Refuses a record that equals one of `others`, or a CNAME beside an address of the same name.
    pub(crate) fn conflicts<'a>(&self, mut others: impl Iterator<Item = &'a Record>) -> Result<(), Refusal> {
        let hosts = |kind: &str| matches!(kind, "A" | "AAAA" | "CNAME");
        let clash = others.find_map(|other| {
            let other = &other.body;
            if other.name != self.name {
                None
            } else if other.kind == self.kind && other.content == self.content {
                Some(Refusal::new(400, 81_058, "An identical record already exists."))
            } else if hosts(&self.kind)
                && hosts(&other.kind)
                && (self.kind == "CNAME" || other.kind == "CNAME")
            {
                Some(Refusal::new(400, 81_053, "An A, AAAA, or CNAME record with that host already exists."))
            } else {
                None
            }
        });
        clash.map_or(Ok(()), Err)
    }
}

fn wrong(message: impl Into<String>) -> Refusal {
    Refusal::new(400, 9000, message)
}

/// The presentation form is approximated by the values of `data` in the order of their names.
fn data_content(data: &Map<String, Value>) -> String {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    data.values().map(word).collect::<Vec<_>>().join(" ")
}

fn check_content(kind: &str, content: &str) -> Result<(), Refusal> {
    let fits = match kind {
        "A" => content.parse::<Ipv4Addr>().is_ok(),
        "AAAA" => content.parse::<Ipv6Addr>().is_ok(),
        "CNAME" | "MX" | "NS" | "PTR" => is_host(content),
        _ => !content.is_empty() && content.len() <= LONGEST_CONTENT,
    };
    if fits {
        Ok(())
    } else {
        Err(Refusal::new(400, 9005, format!("the content does not fit a record of type {kind}")))
    }
}

fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.len() <= 253 && name.strip_suffix('.').unwrap_or(name).split('.').all(label)
}

/// A name that does not end with the zone's is taken as relative to it; `@` is the zone itself.
fn full_name(name: Option<&str>, zone: &str) -> Result<String, Refusal> {
    let name = name.unwrap_or_default().trim_end_matches('.').to_lowercase();
    let full = match name.as_str() {
        "" => return Err(wrong("`name` is missing")),
        "@" => zone.to_owned(),
        name if name == zone || name.ends_with(&format!(".{zone}")) => name.to_owned(),
        name => format!("{name}.{zone}"),
    };
    let relative = full.strip_prefix("*.").unwrap_or(&full);
    if full.len() <= 255 && is_host(relative) { Ok(full) } else { Err(wrong("`name` is not a DNS name")) }
}

/// 1 stands for automatic; otherwise 30 to 86400 seconds.
fn ttl(value: Option<&Value>) -> Result<u32, Refusal> {
    match value.filter(|value| !value.is_null()).map(Value::as_u64) {
        None | Some(Some(1)) => Ok(1),
        Some(Some(seconds @ 30..=86_400)) => u32::try_from(seconds).map_err(|_| wrong("`ttl` is too large")),
        Some(_) => Err(Refusal::new(400, 9021, "`ttl` must be 1 (automatic) or 30 to 86400 seconds")),
    }
}

fn flag(body: &Value, key: &str) -> Result<bool, Refusal> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(wrong(format!("`{key}` must be true or false"))),
    }
}
