//! What plans come to, in one line.
#![allow(clippy::unwrap_used, reason = "tests")]

use keywright_core::plan::Plan;
use keywright_core::verdict::{Flag, Level, flags, verdict};
use serde_json::{Value, json};

/// A plan like most, with some fields as a test wants them.
fn plan(changes: &Value) -> Plan {
    let mut plan = json!({
        "request": "req_0197f0a0000070008000000000000001", "principal": { "kind": "agent", "name": "bot" },
        "template": "cloudflare/dns-edit", "template_version": 1, "tier": "standard", "provider": "cloudflare", "connection": "cf",
        "project": "web", "environment": "dev", "name": "CF_TOKEN", "parameters": {},
        "permissions": [{ "id": "1", "name": "DNS Write", "scope": "zone" }], "escalation": [],
        "resources": [{ "kind": "cloudflare.zone", "id": "a", "name": "example.com" }], "ttl": "30d", "ip_allow": [],
        "budget_cents": null, "destinations": [], "rotation": null, "unlocks": 14, "mutating": 7, "purpose": "to deploy",
    });
    let fields = plan.as_object_mut().unwrap();
    fields.extend(changes.as_object().unwrap().clone());
    serde_json::from_value(plan).unwrap()
}

fn said(changes: &Value) -> String {
    let plan = plan(changes);
    verdict(&plan, &flags(&plan)).to_string()
}

#[test]
fn a_plan_comes_to_one_line() {
    let zone = |id: &str| json!({ "kind": "cloudflare.zone", "id": id, "name": id });
    let may = |id: &str| json!({ "id": id, "name": format!("May {id}"), "scope": "zone" });
    for (changes, line) in [
        (json!({}), "MEDIUM: new Cloudflare token, DNS Write on 1 zone, 30 days, dev"),
        (json!({ "mutating": 0 }), "LOW: new Cloudflare token, DNS Write on 1 zone, 30 days, dev"),
        (json!({ "tier": "sandbox" }), "LOW: new Cloudflare token, DNS Write on 1 zone, 30 days, dev"),
        (
            json!({ "mutating": 0, "unlocks": 0 }),
            "MEDIUM: new Cloudflare token, DNS Write on 1 zone, 30 days, dev",
        ),
        (
            json!({ "environment": "prod-eu" }),
            "HIGH: new Cloudflare token, DNS Write on 1 zone, 30 days, prod-eu",
        ),
        (json!({ "tier": "production" }), "HIGH: new Cloudflare token, DNS Write on 1 zone, 30 days, dev"),
        (json!({ "escalation": ["1"] }), "HIGH: new Cloudflare token, DNS Write on 1 zone, 30 days, dev"),
        (
            json!({ "resources": [{ "kind": "cloudflare.all_zones", "id": "*", "name": "all zones" }] }),
            "HIGH: new Cloudflare token, DNS Write on all zones, 30 days, dev",
        ),
        (
            json!({ "resources": [zone("a"), zone("b")], "permissions": [may("1"), may("2")], "ttl": "12h" }),
            "MEDIUM: new Cloudflare token, May 1 and May 2 on 2 zones, 12 hours, dev",
        ),
        (
            json!({ "permissions": [may("1"), may("2"), may("3")], "provider": "aws", "ttl": "1d",
                "resources": [{ "kind": "github.repository", "id": "a", "name": "a" }, { "kind": "github.repository", "id": "b", "name": "b" },
                              { "kind": "github.organization", "id": "c", "name": "c" }] }),
            "MEDIUM: new AWS access key, May 1 and 2 more on 2 repositories and 1 organization, 1 day, dev",
        ),
        (
            json!({ "rotates": "key_0197f0a0000070008000000000000001", "provider": "openai", "resources": [] }),
            "MEDIUM: successor of OpenAI key, DNS Write on what the credential reaches, 30 days, dev",
        ),
        (json!({ "adopts": "abc" }), "MEDIUM: known Cloudflare token, DNS Write on 1 zone, 30 days, dev"),
    ] {
        assert_eq!(said(&changes), line, "{changes}");
    }
}

#[test]
fn a_permission_whose_name_steers_a_terminal_is_escaped() {
    let line =
        said(&json!({ "permissions": [{ "id": "1", "name": "a\u{1b}[2Jb\u{202e}", "scope": "zone" }] }));
    assert!(!line.contains(['\u{1b}', '\u{202e}']), "{line}");
}

#[test]
fn what_deserves_a_look_is_told_worst_first_and_decides_the_level() {
    let plan = plan(&json!({ "mutating": 200, "ttl": "365d", "escalation": ["1"], "environment": "live" }));
    let found = flags(&plan);
    assert_eq!(found.first(), Some(&Flag::Escalation));
    assert!(found.contains(&Flag::Production) && found.contains(&Flag::Changes(200)), "{found:?}");
    assert!(found.iter().any(|flag| matches!(flag, Flag::Lives(_))));
    assert!(found.is_sorted_by_key(|flag| std::cmp::Reverse(flag.level())), "{found:?}");
    let reads = self::plan(&json!({ "mutating": 0 }));
    let looks = [Flag::Looks("it could be taken for `a`".to_owned())];
    assert_eq!(verdict(&reads, &looks).level, Level::High, "also where the plan itself is harmless");
}
