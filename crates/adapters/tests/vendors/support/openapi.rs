//! A vendor's OpenAPI document, cut to what a test needs: a whole one takes Prism minutes.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// Only these paths, and what they refer to. Without `security`, which tests nothing here. Refusals that the document
/// leaves out (Prism would call them wrong) are added by status; `default` of the document stays as it is.
pub fn cut(whole: &Value, paths: &[&str], refusals: &[u16]) -> Value {
    let mut kept = Map::new();
    for path in paths {
        let mut item =
            whole["paths"].get(*path).unwrap_or_else(|| panic!("the document has no `{path}`")).clone();
        for operation in item.as_object_mut().unwrap().values_mut().filter_map(Value::as_object_mut) {
            operation.remove("security");
            let Some(responses) = operation.get_mut("responses") else { continue };
            for status in refusals {
                responses[status.to_string()] = json!({"description": "refused", "content": {"application/json": {
                    "schema": {"type": "object", "required": ["message"]},
                }}});
            }
        }
        kept.insert((*path).to_owned(), item);
    }
    let mut components = json!({});
    let paths = Value::Object(kept);
    let mut open: Vec<&Value> = vec![&paths];
    let mut seen = BTreeSet::new();
    while let Some(part) = open.pop() {
        let mut found = Vec::new();
        references(part, &mut found);
        for reference in found.into_iter().filter(|reference| seen.insert(*reference)) {
            let (kind, name) = reference.strip_prefix("#/components/").unwrap().split_once('/').unwrap();
            let target = &whole["components"][kind][name];
            assert!(!target.is_null(), "the document has no `{reference}`");
            components[kind][name] = target.clone();
            open.push(target);
        }
    }
    json!({"openapi": whole["openapi"], "info": whole["info"], "paths": paths, "components": components})
}

fn references<'a>(part: &'a Value, found: &mut Vec<&'a str>) {
    match part {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(reference) if key == "$ref" => found.push(reference),
                    other => references(other, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}
