//! The planner against the yardstick: every job of the evaluation set, given the operations that it really calls, is solved to
//! one of the sets that were derived independently. See `tests/eval/README.md`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test helpers fail by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use keywright_catalog::{Catalog, Wanted};
use serde_json::Value;

/// The providers whose operations the catalogs hold.
const SOLVED: [&str; 7] =
    ["aws", "cloudflare", "digitalocean", "github", "openrouter", "sendgrid", "tailscale"];

fn records() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/eval/dev.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The yardstick shortens the paths.
fn spelt_out(provider: &str, operation: &str) -> String {
    let long = match provider {
        "cloudflare" => [(" A", " /accounts/{}"), (" Z", " /zones/{}")],
        "github" => [(" R", " /repos/{}/{}"), (" O", " /orgs/{}")],
        _ => return operation.to_owned(),
    };
    for (short, long) in long {
        if let Some((method, rest)) = operation.split_once(short)
            && method.chars().all(char::is_alphabetic)
            && (rest.is_empty() || rest.starts_with(['/', '#']))
        {
            return format!("{method}{long}{rest}");
        }
    }
    operation.to_owned()
}

fn names(set: &Value) -> BTreeSet<String> {
    set.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|one| one.as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_job_of_the_evaluation_set_is_solved_exactly() {
    let records = records();
    let (mut solved, mut wrong) = (0, Vec::new());
    for record in records.iter().filter(|record| !record["ambiguous"].as_bool().unwrap()) {
        let provider = record["provider"].as_str().unwrap();
        let mut operations: Vec<String> =
            strings(&record["operation_paths"]).iter().map(|one| spelt_out(provider, one)).collect();
        if operations.is_empty() || !SOLVED.contains(&provider) {
            continue;
        }
        let pinned = strings(&record["pinned"]);
        for pin in &pinned {
            match pin.as_str() {
                "workflows:write" => operations[0].push_str("#workflows"),
                "auth_keys" => operations[0].push_str("#auth"),
                action if provider == "aws" => operations.push(action.to_owned()),
                _ => {}
            }
        }
        let writes = pinned.iter().any(|pin| pin.ends_with(" Write"));
        let wanted: Vec<Wanted<'_>> =
            operations.iter().map(|operation| Wanted { operation, writes }).collect();
        let got = match Catalog::for_provider(provider).and_then(|catalog| catalog.least(&wanted, &[])) {
            Ok(least) => least.permissions.iter().map(|one| one.name.to_owned()).collect::<BTreeSet<_>>(),
            Err(error) => BTreeSet::from([format!("{error}")]),
        };
        let minimal: Vec<BTreeSet<String>> =
            record["minimal"].as_array().unwrap().iter().map(names).collect();
        // Each token of a GitHub App reads metadata.
        let free: BTreeSet<String> =
            strings(&record["optional"]).into_iter().chain(["metadata:read".to_owned()]).collect();
        let bare = |set: &BTreeSet<String>| set.difference(&free).cloned().collect::<BTreeSet<_>>();
        if minimal.iter().any(|set| bare(set) == bare(&got)) {
            solved += 1;
        } else {
            wrong.push(format!("{}: {operations:?} gave {got:?}, wanted {minimal:?}", record["id"]));
        }
    }
    assert!(wrong.is_empty(), "{solved} solved, {} not:\n{}", wrong.len(), wrong.join("\n"));
    assert!(solved >= 90, "{solved}");
}
