//! A newer publication, compiled at run time: the same facts give the same catalog, and what changed is said.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "test helpers fail by panicking"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use keywright_catalog::import::{Drift, ImportError, Imported, Publication, cloudflare};
use keywright_catalog::{Catalog, Wanted};
use proptest::prelude::*;

fn about() -> Publication {
    Publication { from: "a test".to_owned(), taken: "2026-11-26".to_owned(), sha256: "0".repeat(64) }
}

fn imported(openapi: &str) -> Imported {
    cloudflare(openapi, None, &about()).unwrap()
}

const SMALL: &str = r#"{"openapi": "3.0.3", "paths": {
    "/zones/{zone_identifier}/dns_records": {
        "parameters": [],
        "get": {"operationId": "list", "tags": ["DNS"], "summary": "A vendor's sentence", "x-api-token-group": ["DNS Read", "DNS Write"]},
        "post": {"operationId": "make", "x-api-token-group": ["DNS Write"]}},
    "/zones/{zone_identifier}/silent": {"get": {"operationId": "silent"}}}}"#;

#[test]
fn a_publication_becomes_a_catalog_that_plans() {
    let Imported { catalog, text, stale } = imported(SMALL);
    assert_eq!(catalog.all_operations().len(), 3);
    let answer = catalog.least(&[Wanted::from("GET /zones/{zone_id}/dns_records")], &[]).unwrap();
    assert_eq!(answer.permissions[0].name, "DNS Read");
    assert!(catalog.least(&[Wanted::from("GET /zones/{}/silent")], &[]).is_err(), "nothing is guessed");
    assert!(stale.iter().any(|name| name == "GET /zones/{}"), "{stale:?}");
    assert!(!text.contains("sentence") && text.contains("a test"));
    let again = Catalog::read(text.to_owned()).unwrap();
    assert_eq!(again.permissions(), catalog.permissions());
    assert_eq!(again.all_operations(), catalog.all_operations());
}

#[test]
fn ids_may_come_from_the_vendors_own_list() {
    let groups = r#"{"success": true, "result": [
        {"id": "c0ffee", "name": "DNS Write", "scopes": ["com.cloudflare.api.account.zone"]}]}"#;
    let catalog = cloudflare(SMALL, Some(groups), &about()).unwrap().catalog;
    let answer = catalog.least(&[Wanted::from("GET /zones/{zone_id}/dns_records")], &[]).unwrap();
    assert_eq!(answer.permissions[0].id, "c0ffee");
}

#[test]
fn what_is_no_description_of_permissions_is_refused() {
    assert!(matches!(cloudflare("{", None, &about()), Err(ImportError::NotJson { .. })));
    assert!(matches!(cloudflare(SMALL, Some("[]"), &about()), Err(ImportError::NotJson { .. })));
    let silent = SMALL.replace("x-api-token-group", "x-other");
    for odd in [
        "{}",
        &silent,
        &SMALL.replace("[\"DNS Write\"]", "\"DNS Write\""),
        &SMALL.replace("[\"DNS Write\"]", "[7]"),
    ] {
        assert!(matches!(cloudflare(odd, None, &about()), Err(ImportError::Odd(_))), "{odd}");
    }
    assert!(matches!(
        cloudflare(&SMALL.replace("make", "ma\\tke"), None, &about()),
        Err(ImportError::Compile(_))
    ));
}

#[test]
fn what_became_wider_narrower_or_new_is_said() {
    let old = imported(SMALL).catalog;
    let renamed_parameter = SMALL.replace("zone_identifier", "zone_id");
    assert!(Drift::between(&old, &imported(&renamed_parameter).catalog).is_empty());

    let wider = renamed_parameter
        .replace(
            r#""x-api-token-group": ["DNS Write"]"#,
            r#""x-api-token-group": ["DNS Write", "Zone Settings Write"]"#,
        )
        .replace(
            r#""get": {"operationId": "silent"}"#,
            r#""delete": {"operationId": "end", "x-api-token-group": ["DNS Write"]}"#,
        );
    let new = imported(&wider).catalog;
    let drift = Drift::between(&old, &new);
    let widened: Vec<(&str, Vec<&str>, usize)> = drift
        .widened
        .iter()
        .map(|one| (one.name.as_str(), one.operations.iter().map(String::as_str).collect(), one.mutating))
        .collect();
    assert_eq!(
        widened,
        [
            ("Zone Settings Write", vec!["POST /zones/{zone_id}/dns_records"], 1),
            ("DNS Write", vec!["DELETE /zones/{zone_id}/silent"], 1),
        ]
    );
    assert_eq!(drift.new_operations, ["DELETE /zones/{zone_id}/silent"]);
    assert_eq!(drift.gone_operations, ["GET /zones/{zone_identifier}/silent"]);
    assert!(drift.narrowed.is_empty() && drift.removed.is_empty());
    let back = Drift::between(&new, &old);
    assert_eq!(back.narrowed.len(), 2);
    assert!(back.widened.is_empty());

    let held = new.permission("DNS Write", None).unwrap().id;
    let touching = drift.touching(&BTreeSet::from([held]));
    assert_eq!(touching.widened.len(), 1);
    assert_eq!(touching.widened[0].permission, held);
    assert!(touching.new_operations.is_empty());

    let groups = r#"{"groups": [{"id": "c0ffee", "name": "DNS Write", "scopes": ["com.cloudflare.api.account.zone"]}]}"#;
    let other = cloudflare(SMALL, Some(groups), &about()).unwrap().catalog;
    let drift = Drift::between(&old, &other);
    assert_eq!(drift.added, [("c0ffee".to_owned(), "DNS Write".to_owned())]);
    assert_eq!(drift.removed.len(), 308);
}

/// The vendor's whole description is not part of this repository. Where it is absent this test says so.
#[test]
fn the_vendors_description_becomes_the_shipped_catalog() {
    let base = std::env::var_os("KEYWRIGHT_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let file = base.join("cloudflare-openapi.full.json.gz");
    if !file.is_file() {
        eprintln!("SKIPPED: no vendor data; set KEYWRIGHT_DATA to the directory that holds it");
        return;
    }
    let unpacked = Command::new("gzip").arg("-dc").arg(&file).output().unwrap();
    let Imported { catalog, stale, .. } = imported(&String::from_utf8(unpacked.stdout).unwrap());
    assert_eq!(stale, [""; 0]);
    let shipped = Catalog::cloudflare().unwrap();
    assert_eq!(catalog.permissions(), shipped.permissions());
    assert_eq!(catalog.all_operations(), shipped.all_operations());
    assert!(Drift::between(shipped, &catalog).is_empty());
}

proptest! {
    #[test]
    fn any_text_is_a_catalog_or_is_refused(
        cut in any::<prop::sample::Index>(), with in "[a-z&;@#=()\\[\\]\\t\\n-]{0,12}", from in any::<prop::sample::Index>(),
    ) {
        let text = imported(SMALL).text;
        // Near the operations, where most of the form is.
        let body = text.find("[variants]").unwrap();
        let cut = body + cut.index(text.len() - body);
        let from = (cut + from.index(8)).min(text.len());
        let damaged = format!("{}{with}{}", &text[..cut], &text[from..]);
        if let Ok(catalog) = Catalog::read(damaged) {
            for operation in catalog.all_operations() {
                let name = operation.to_string();
                drop(catalog.least(&[Wanted::from(name.as_str())], &[]));
            }
        }
    }

    #[test]
    fn any_description_is_imported_or_refused(text in "\\PC{0,60}", path in "[a-z/{}]{0,20}", group in "[A-Za-z ;-]{0,12}") {
        prop_assert!(cloudflare(&text, None, &about()).is_err());
        let described = serde_json::json!({"paths": {path: {"get": {"operationId": "x", "x-api-token-group": [group]}}}});
        drop(cloudflare(&described.to_string(), None, &about()));
    }
}
