//! Input that is not as it should be, made from good input: secrets pasted into every field, and the usual mistakes.

use serde_json::{Map, Value, json};

/// What somebody may write who means no good, around a secret.
const NAUGHTY: [(&str, &str); 5] = [
    ("\u{1b}[2J\u{1b}]0;", "\u{7}\r\n"),
    ("\u{202e}\u{2066}", "\u{200b}\u{feff}"),
    ("\u{0}", "\u{9b}31m"),
    ("`", "`: \"}], {\"isError\": false}"),
    ("\u{1f3f4}\u{e0067}\u{e007f} е\u{301}", " \u{fffd}\u{ffff}"),
];

/// What people and agents write when they paste a secret.
pub(crate) fn plain(secret: &str) -> Vec<String> {
    vec![secret.to_owned(), format!("use {secret}, please"), format!("CF_TOKEN={secret}.")]
}

/// What somebody writes who wants to confuse whoever reads it.
pub(crate) fn naughty(secret: &str) -> Vec<String> {
    NAUGHTY.map(|(before, after)| format!("{before}{secret}{after}")).into()
}

/// All of these, and texts that are too long.
pub(crate) fn texts(secret: &str) -> Vec<String> {
    let mut texts = [plain(secret), naughty(secret)].concat();
    texts.push(format!("{secret} {}", "long ".repeat(20_000)));
    // Where a text is cut, a part of the secret may be left.
    texts.extend(
        [64, 80, 120, 128, 160, 200, 500, 1_000, 8_000].map(|cut| format!("{:>1$}", secret, cut + 20)),
    );
    texts
}

/// A secret in each encoding.
pub(crate) fn encoded(secret: &str) -> Vec<String> {
    keywright_core::redact::encodings(secret).iter().map(|form| form.to_string()).collect()
}

/// The good input with each of its texts replaced by each of these, one at a time.
pub(crate) fn pasted(good: &Value, texts: &[String]) -> Vec<Value> {
    let mut all = Vec::new();
    for pointer in pointers(good) {
        if good.pointer(&pointer).is_some_and(Value::is_string) {
            all.extend(texts.iter().map(|text| replaced(good, &pointer, json!(text))));
        }
    }
    all
}

/// The good input with mistakes in it: each field missing, each of another type, fields that nobody knows.
pub(crate) fn mistaken(good: &Value, secret: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for pointer in pointers(good) {
        for other in [
            json!(u64::MAX),
            json!(-1.5),
            json!(true),
            json!([secret]),
            json!({ secret: secret }),
            json!(null),
        ] {
            all.push(replaced(good, &pointer, other));
        }
        all.push(without(good, &pointer));
    }
    for field in ["colour", secret] {
        let mut more = good.clone();
        more[field] = json!(secret);
        all.push(more);
    }
    for pointer in pointers(good) {
        if let Some(Value::Object(fields)) = good.pointer(&pointer) {
            let mut fields: Map<String, Value> = fields.clone();
            fields.insert(secret.to_owned(), json!(secret));
            all.push(replaced(good, &pointer, Value::Object(fields)));
        }
    }
    let deep = (0..60).fold(json!(secret), |inner, _| json!([inner]));
    all.extend([json!({}), json!({ secret: deep })]);
    all
}

/// Every place in a value, as JSON pointers.
fn pointers(value: &Value) -> Vec<String> {
    let parts: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, part)| (name.clone(), part)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(n, part)| (n.to_string(), part)).collect(),
        _ => Vec::new(),
    };
    let mut all = Vec::new();
    for (name, part) in parts {
        all.push(format!("/{name}"));
        all.extend(pointers(part).into_iter().map(|inner| format!("/{name}{inner}")));
    }
    all
}

fn replaced(value: &Value, pointer: &str, by: Value) -> Value {
    let mut value = value.clone();
    *value.pointer_mut(pointer).unwrap() = by;
    value
}

fn without(value: &Value, pointer: &str) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let mut value = value.clone();
    match value.pointer_mut(parent).unwrap() {
        Value::Object(fields) => drop(fields.remove(name)),
        Value::Array(items) => drop(items.remove(name.parse().unwrap())),
        _ => unreachable!("only objects and lists have parts"),
    }
    value
}
