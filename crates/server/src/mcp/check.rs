//! Arguments against a tool's own input schema, so that what is listed is what is enforced, and a model reads
//! every mistake at once, by field.
//!
//! Only the few words of JSON Schema that our inputs use; a test makes sure that they use no other.

use keywright_core::text::Untrusted;
use serde_json::{Map, Value};

/// How many mistakes are told at a time.
const MOST: usize = 10;
/// Longer than the name of any tool or field, in characters.
const LONGEST_NAME: usize = 24;

/// Everything that is wrong with the arguments.
pub(super) fn mistakes(schema: &Map<String, Value>, given: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    fields(schema, given, "", &mut found);
    found.truncate(MOST);
    found
}

/// A name that somebody sent, fit to be quoted. A name that is longer than any of ours is no slip of the pen: it may be a
/// value, even a secret, that was put into the wrong place, and an error must not repeat it.
pub(super) fn quoted(name: &str) -> String {
    match name.chars().count() {
        0..=LONGEST_NAME => Untrusted::capped(name, LONGEST_NAME).to_string(),
        count => format!("(a name of {count} characters)"),
    }
}

/// Drops what is `null`: clients send it for what they leave out.
pub(super) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn check(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let Some(schema) = schema.as_object() else { return };
    if found.len() >= MOST {
        return;
    }
    match (schema.get("type").and_then(Value::as_str), value) {
        (Some("object"), Value::Object(given)) => fields(schema, given, at, found),
        (Some("array"), Value::Array(given)) => items(schema, given, at, found),
        (Some("string"), Value::String(given)) => text(schema, given, at, found),
        (Some("boolean"), Value::Bool(_)) => {}
        (Some("integer"), Value::Number(number)) if number.is_u64() || number.is_i64() => {
            range(schema, number, at, found);
        }
        (Some("number"), Value::Number(number)) => range(schema, number, at, found),
        (expected, _) => {
            let expected = name_of(expected.unwrap_or_default());
            found.push(format!("`{at}` is {}; it should be {expected}", kind_of(value)));
        }
    }
}

fn fields(schema: &Map<String, Value>, given: &Map<String, Value>, at: &str, found: &mut Vec<String>) {
    let path = |name: &str| {
        let name = quoted(name);
        if at.is_empty() { name } else { format!("{at}.{name}") }
    };
    let known = schema.get("properties").and_then(Value::as_object);
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    for name in required.filter_map(Value::as_str).filter(|name| !given.contains_key(*name)) {
        found.push(format!("`{}` is missing", path(name)));
    }
    if limit(schema, "maxProperties").is_some_and(|most| given.len() as u64 > most) {
        found.push(format!("`{at}` has more than {} fields", limit(schema, "maxProperties").unwrap_or(0)));
    }
    for (name, value) in given {
        match (known.and_then(|known| known.get(name)), schema.get("additionalProperties")) {
            (Some(part), _) => check(part, value, &path(name), found),
            (None, Some(any @ Value::Object(_))) => check(any, value, &path(name), found),
            (None, _) => {
                let names =
                    known.map(|k| k.keys().map(String::as_str).collect::<Vec<_>>()).unwrap_or_default();
                found.push(format!("`{}` is unknown; there are: {}", path(name), names.join(", ")));
            }
        }
    }
}

fn items(schema: &Map<String, Value>, given: &[Value], at: &str, found: &mut Vec<String>) {
    let count = given.len() as u64;
    if let Some(most) = limit(schema, "maxItems").filter(|most| count > *most) {
        found.push(format!("`{at}` has {count} items; at most {most} are taken"));
    }
    if let Some(least) = limit(schema, "minItems").filter(|least| count < *least) {
        found.push(format!("`{at}` has {count} items; at least {least} are needed"));
    }
    if let Some(part) = schema.get("items") {
        for (n, value) in given.iter().enumerate() {
            check(part, value, &format!("{at}[{n}]"), found);
        }
    }
}

fn text(schema: &Map<String, Value>, given: &str, at: &str, found: &mut Vec<String>) {
    let count = given.chars().count() as u64;
    if let Some(most) = limit(schema, "maxLength").filter(|most| count > *most) {
        found.push(format!("`{at}` has {count} characters; at most {most} are taken"));
    }
    if let Some(least) = limit(schema, "minLength").filter(|least| count < *least) {
        let why =
            if count == 0 { "is empty".to_owned() } else { format!("is shorter than {least} characters") };
        found.push(format!("`{at}` {why}"));
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.iter().any(|one| one.as_str() == Some(given))
    {
        let allowed: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
        found.push(format!("`{at}` is one of: {}", allowed.join(", ")));
    }
}

fn range(schema: &Map<String, Value>, given: &serde_json::Number, at: &str, found: &mut Vec<String>) {
    let given = given.as_f64().unwrap_or(f64::NAN);
    if let Some(least) = schema.get("minimum").and_then(Value::as_f64).filter(|least| given < *least) {
        found.push(format!("`{at}` is less than {least}"));
    }
    if let Some(most) = schema.get("maximum").and_then(Value::as_f64).filter(|most| given > *most) {
        found.push(format!("`{at}` is more than {most}"));
    }
}

fn limit(schema: &Map<String, Value>, word: &str) -> Option<u64> {
    schema.get(word).and_then(Value::as_u64)
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn name_of(kind: &str) -> &'static str {
    match kind {
        "object" => "an object",
        "array" => "a list",
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn every_mistake_is_told_by_its_field() {
        let schema = object(&json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["name", "why"],
            "properties": {
                "name": { "type": "string", "minLength": 1, "maxLength": 3 },
                "why": { "type": "string" },
                "wait": { "type": "integer", "minimum": 0, "maximum": 25 },
                "many": { "type": "array", "maxItems": 1, "items": { "type": "string" } },
                "pairs": { "type": "object", "maxProperties": 1, "additionalProperties": { "type": "string" } },
                "tier": { "type": "string", "enum": ["low", "high"] },
                "price": { "type": "number" },
                "on": { "type": "boolean" },
            },
        }));
        let cases = [
            (json!({ "name": "a", "why": "b" }), vec![]),
            (
                json!({ "name": "a", "why": "b", "wait": 25, "many": ["x"], "pairs": { "k": "v" }, "tier": "low",
                    "price": 0.5, "on": true }),
                vec![],
            ),
            (json!({ "why": "b" }), vec!["`name` is missing"]),
            (json!({ "name": "", "why": "b" }), vec!["`name` is empty"]),
            (json!({ "name": "ééé", "why": "b" }), vec![]),
            (json!({ "name": "abcd", "why": "b" }), vec!["`name` has 4 characters; at most 3 are taken"]),
            (json!({ "name": 1, "why": "b" }), vec!["`name` is a number; it should be text"]),
            (json!({ "name": "a", "why": "b", "wait": 26 }), vec!["`wait` is more than 25"]),
            (json!({ "name": "a", "why": "b", "wait": -1 }), vec!["`wait` is less than 0"]),
            (
                json!({ "name": "a", "why": "b", "wait": 1.5 }),
                vec!["`wait` is a number; it should be a whole number"],
            ),
            (
                json!({ "name": "a", "why": "b", "wait": "5" }),
                vec!["`wait` is text; it should be a whole number"],
            ),
            (
                json!({ "name": "a", "why": "b", "many": ["x", 2] }),
                vec!["`many` has 2 items; at most 1 are taken", "`many[1]` is a number; it should be text"],
            ),
            (
                json!({ "name": "a", "why": "b", "pairs": { "k": ["v"] } }),
                vec!["`pairs.k` is a list; it should be text"],
            ),
            (json!({ "name": "a", "why": "b", "tier": "mid" }), vec!["`tier` is one of: low, high"]),
            (json!({ "name": "a", "why": null }), vec!["`why` is null; it should be text"]),
        ];
        for (given, expected) in cases {
            assert_eq!(mistakes(&schema, &object(&given)), expected, "{given}");
        }
        let unknown = mistakes(&schema, &object(&json!({ "name": "a", "why": "b", "x\n\u{202e}": 1 })));
        assert_eq!(unknown.len(), 1);
        assert!(unknown[0].starts_with("`x\\n\\u{202e}` is unknown; there are: "), "{unknown:?}");
    }

    #[test]
    fn a_name_that_may_be_a_value_is_not_repeated() {
        let schema = object(&json!({
            "type": "object",
            "additionalProperties": false,
            "properties": { "pairs": { "type": "object", "additionalProperties": { "type": "string" } } },
        }));
        let value = "Zq3x_9Kd-7Lm2Pw5Rt8Yv1Bn4Cf6Gh0Jk-Sa_EuI";
        let found = mistakes(&schema, &object(&json!({ value: 1, "pairs": { value: 1 } })));
        assert_eq!(
            found,
            [
                "`(a name of 40 characters)` is unknown; there are: pairs",
                "`pairs.(a name of 40 characters)` is a number; it should be text"
            ]
        );
    }

    #[test]
    fn no_name_of_ours_is_too_long_to_be_quoted() {
        for verb in super::super::tools::VERBS.iter() {
            let names = verb.tool.input_schema["properties"].as_object().unwrap().keys();
            for name in names.map(String::as_str).chain([verb.tool.name.as_ref()]) {
                assert_eq!(quoted(name), name);
            }
        }
    }

    #[test]
    fn mistakes_are_told_up_to_a_bound() {
        let schema = object(&json!({ "type": "object", "additionalProperties": { "type": "string" } }));
        let given = (0..1_000).map(|n| (n.to_string(), json!(n))).collect();
        assert_eq!(mistakes(&schema, &given).len(), MOST);
    }

    #[test]
    fn what_is_null_counts_as_left_out() {
        let mut given = json!({ "a": null, "b": { "c": null, "d": 1 }, "e": [{ "f": null }] });
        drop_nulls(&mut given);
        assert_eq!(given, json!({ "b": { "d": 1 }, "e": [{}] }));
    }
}
