//! The provider's OpenAPI document, cut and sharpened to what a test needs.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

/// Reads a document, packed or not.
pub(crate) fn read(path: &Path) -> Value {
    let text = if path.extension().is_some_and(|end| end == "gz") {
        let unpacked = Command::new("gzip").arg("-dc").arg(path).output().unwrap();
        assert!(unpacked.status.success(), "`{}` can't be unpacked", path.display());
        unpacked.stdout
    } else {
        std::fs::read(path).unwrap()
    };
    serde_json::from_slice(&text).unwrap()
}

/// Only these paths, and what they refer to: the whole document takes a proxy minutes. Without `security`, where the
/// document leaves the token out of many operations that take one.
pub(crate) fn cut(whole: &Value, paths: &[&str]) -> Value {
    let mut kept = Map::new();
    for path in paths {
        let mut path_item =
            whole["paths"].get(*path).unwrap_or_else(|| panic!("the document has no `{path}`")).clone();
        for operation in path_item.as_object_mut().unwrap().values_mut().filter_map(Value::as_object_mut) {
            operation.remove("security");
        }
        kept.insert((*path).to_owned(), path_item);
    }
    let mut components = json!({});
    let mut open: Vec<&Value> = paths.iter().map(|path| &whole["paths"][*path]).collect();
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
    json!({
        "openapi": whole["openapi"], "info": whole["info"], "servers": whole["servers"],
        "paths": kept, "components": components,
    })
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

/// Makes the bodies that create and replace tokens exact. The document leaves every object open, so a misspelt field
/// (`request.ip`, say) would pass as an extra one; the provider may ignore it, and the key would be wider than asked.
pub(crate) fn close_token_bodies(document: &mut Value) {
    let schemas = &mut document["components"]["schemas"];
    for name in [
        "iam_create_payload",
        "iam_condition",
        "iam_request_ip",
        "iam_policy_with_permission_groups_and_resources",
        "iam_permission_group",
    ] {
        assert!(schemas[name]["properties"].is_object(), "`{name}` is an object of named fields");
        schemas[name]["additionalProperties"] = false.into();
    }
    // Answers build on the base and add to it, so a replacement gets a closed copy of its own.
    let mut whole_token = schemas["iam_token_base"].clone();
    assert_eq!(schemas["iam_token_body"]["allOf"][0], json!({"$ref": "#/components/schemas/iam_token_base"}));
    whole_token["additionalProperties"] = false.into();
    schemas["iam_token_body"]["allOf"][0] = whole_token;
}
