//! `--json`: every command answers with one document that names its schema, failures included.

use std::collections::BTreeSet;

use crate::support::{Serving, World, request};

/// What every command answers in a home with a broker, a key and a pending request. `serve`, `sandbox`, `init`, `mcp`,
/// `login` and `logout` have tests of their own.
#[test]
fn every_command_answers_with_a_document_that_names_its_schema() {
    let world = World::ready();
    world.key("CF_TOKEN");
    let pending = world.alice(&request("P", "production", &["--json"])).expect(4).json();
    let id = pending["request"].as_str().unwrap().to_owned();
    let cases = world.file("cases.toml", CASES);
    let policy = world.file("policy.cedar", "permit(principal, action, resource);");
    let template = world.file("t.toml", TEMPLATE);
    let _serving = Serving::start(&world);
    let table: Vec<(Vec<&str>, i32, &str)> = vec![
        (vec!["status"], 0, "status"),
        (vec!["doctor"], 0, "doctor"),
        (vec!["provider", "add", "cloudflare", "--name", "x"], 2, "error"),
        (vec!["provider", "kinds", "aws"], 0, "kinds"),
        (vec!["audit", "accept"], 7, "error"),
        (vec!["provider", "list"], 0, "providers"),
        (vec!["provider", "check", "cf"], 0, "provider"),
        (vec!["provider", "remove", "cf"], 7, "error"),
        (vec!["provider", "replace-parent", "cf", "--credential-file", "parent"], 7, "error"),
        (vec!["provider", "rotate-parent", "cf"], 0, "provider"),
        (vec!["store", "add", "dotenv", "--name", "s"], 0, "store"),
        (vec!["store", "kinds"], 0, "kinds"),
        (vec!["store", "list"], 0, "stores"),
        (vec!["store", "check", "embedded"], 0, "store"),
        (vec!["store", "remove", "s"], 0, "store"),
        (vec!["consumer", "add", "app", "--project", "web", "--command", "/bin/true"], 0, "consumer"),
        (vec!["consumer", "list"], 0, "consumers"),
        (vec!["consumer", "test", "app"], 0, "consumer"),
        (vec!["consumer", "remove", "app"], 0, "consumer"),
        (
            vec![
                "notify",
                "add",
                "email",
                "--name",
                "m",
                "--server",
                "smtp://127.0.0.1:9",
                "--from",
                "a@b.example",
                "--to",
                "c@d.example",
            ],
            0,
            "channel",
        ),
        (vec!["notify", "list"], 0, "channels"),
        (vec!["notify", "test", "m"], 6, "error"),
        (vec!["notify", "remove", "m"], 0, "channel"),
        (vec!["template", "list"], 0, "templates"),
        (vec!["template", "show", "cloudflare/dns-edit"], 0, "template"),
        (vec!["template", "check", &template], 0, "template-check"),
        (vec!["template", "apply", &template], 0, "templates"),
        (vec!["policy", "show"], 0, "policy"),
        (vec!["policy", "check", &policy], 0, "policy-check"),
        (vec!["policy", "apply", "--default"], 0, "policy"),
        (vec!["policy", "test", &cases], 0, "policy-test"),
        (vec!["policy", "explain", &id], 0, "explanation"),
        (vec!["operator", "add", "bob", "--new-passphrase-file", "bobs"], 0, "operator"),
        (vec!["operator", "list"], 0, "operators"),
        (vec!["operator", "passphrase", "--new-passphrase-file", "pass"], 0, "operator"),
        (vec!["operator", "remove", "bob"], 0, "operator"),
        (vec!["passkey", "list"], 0, "passkeys"),
        (vec!["passkey", "add"], 7, "error"),
        (vec!["passkey", "remove", "none"], 2, "error"),
        (vec!["agent", "add", "a"], 0, "agent"),
        (vec!["agent", "list"], 0, "agents"),
        (vec!["agent", "install", "cursor", "--agent", "a"], 0, "agent-install"),
        (vec!["agent", "install", "vscode", "--agent", "a", "--yes"], 0, "agent-install"),
        (grant("--param", "zone=example.com"), 0, "grant"),
        (grant("--param", "planet=mars"), 2, "error"),
        (grant("--to", "vault:elsewhere/*"), 2, "error"),
        (vec!["grant", "list"], 0, "grants"),
        (vec!["grant", "remove", "none"], 2, "error"),
        (vec!["agent", "pause", "a", "--reason", "it loops"], 0, "agent"),
        (vec!["agent", "resume", "a"], 0, "agent"),
        (vec!["agent", "revoke-all", "a", "--reason", "it leaked"], 0, "teardown"),
        (vec!["agent", "remove", "a"], 0, "agent"),
        (vec!["workload", "add", "w", "--project", "web"], 0, "workload"),
        (vec!["workload", "list"], 0, "workloads"),
        (vec!["workload", "remove", "w"], 0, "workload"),
        (vec!["catalog", "list"], 0, "catalogs"),
        (vec!["catalog", "search", "dns"], 0, "permissions"),
        (vec!["catalog", "plan", "list dns records", "--provider", "cloudflare"], 0, "plan-answer"),
        (vec!["catalog", "needs", "GET /zones/{zone_id}/dns_records"], 0, "plan-answer"),
        (
            vec!["catalog", "needs", "GET /zones/{zone_id}/dns_records", "--refused-to", "CF_TOKEN"],
            0,
            "denied",
        ),
        (vec!["catalog", "import", "no-such-file"], 1, "error"),
        (vec!["catalog", "refresh", "cf"], 0, "catalog-refresh"),
        (vec!["key", "request", "no/template", "--project", "p", "--env", "e", "--name", "N"], 1, "error"),
        (vec!["key", "list"], 0, "keys"),
        (vec!["key", "show", "CF_TOKEN"], 0, "trace"),
        (vec!["key", "rotate", "web/dev/CF_TOKEN"], 0, "receipt"),
        (vec!["key", "rotate", "web/dev/CF_TOKEN", "--end-old"], 0, "trace"),
        (vec!["key", "list", "--unmanaged"], 0, "unmanaged"),
        (vec!["spend"], 0, "spend"),
        (vec!["key", "adopt", "cf", "none", "--project", "p", "--env", "dev", "--name", "N"], 1, "error"),
        (vec!["key", "disable", "web/dev/CF_TOKEN"], 0, "trace"),
        (vec!["key", "enable", "web/dev/CF_TOKEN"], 0, "trace"),
        (vec!["key", "revoke", "web/dev/CF_TOKEN"], 0, "receipt"),
        (vec!["review", "list"], 0, "requests"),
        (vec!["review", "show", &id], 0, "review"),
        (vec!["review", "approve", &id], 4, "receipt"),
        (vec!["review", "reject", &id, "--reason", "no"], 0, "review"),
        (vec!["reconcile"], 0, "reconcile"),
        (vec!["run", "--project", "none", "--only", "NOTHING", "--", "true"], 1, "error"),
        (vec!["audit", "log"], 0, "entries"),
        (vec!["audit", "log", "--about", "web/dev/CF_TOKEN"], 0, "entries"),
        (vec!["audit", "trace", "web/dev/CF_TOKEN"], 0, "trace"),
        (vec!["audit", "verify"], 0, "verification"),
        (vec!["audit", "export"], 0, "entries"),
        (vec!["ledger", "migrate", "--to", "sqlite"], 7, "error"),
        (vec!["project", "teardown", "web"], 0, "teardown"),
        (vec!["completions", "bash"], 0, "completions"),
        (vec!["help", "key", "request"], 0, "help"),
        (vec!["stop"], 0, "status"),
    ];
    let mut covered = BTreeSet::new();
    for (args, code, schema) in table {
        let ran = world.alice(&[&["--json"], args.as_slice()].concat());
        assert_eq!(ran.code, code, "{args:?}: {}{}", ran.out, ran.err);
        assert_eq!(ran.json()["schema"], format!("keywright/{schema}/1"), "{args:?}: {}", ran.out);
        assert_eq!(ran.out.lines().count(), 1, "{args:?}: one document, and nothing else");
        let words: Vec<&str> = args.iter().take_while(|a| !a.starts_with('-')).copied().collect();
        covered.insert(words.iter().take(2).map(ToString::to_string).collect::<Vec<_>>());
    }
    for leaf in super::help::leaves() {
        let elsewhere =
            ["init", "serve", "sandbox", "mcp", "demo", "login", "logout"].contains(&leaf[0].as_str());
        let is_covered = covered
            .iter()
            .any(|words| words.starts_with(&leaf) || leaf == words[..leaf.len().min(words.len())]);
        assert!(elsewhere || is_covered, "{leaf:?} has no line in the table");
    }
}

#[test]
fn a_token_is_never_printed_only_its_file() {
    let world = World::empty();
    world.init();
    for args in [&["agent", "add", "a"][..], &["workload", "add", "w", "--project", "p"]] {
        let answer = world.ok(args);
        let token = std::fs::read_to_string(answer["token_file"].as_str().unwrap()).unwrap();
        assert!(token.trim().len() > 40 && answer.get("token").is_none());
    }
    world.assert_nothing_leaked();
}

#[test]
fn json_on_a_terminals_behalf_holds_nothing_that_steers_it() {
    let world = World::ready();
    let purpose = "x\u{1b}[2J\u{9b}31m\u{202e}y\u{200b}";
    world.alice(&request("P", "production", &["--purpose", purpose])).expect(4);
    let ran = world.alice(&["review", "--json"]).expect(0);
    assert!(!ran.out.chars().any(|c| (c.is_control() && c != '\n') || ['\u{202e}', '\u{200b}'].contains(&c)));
    assert_eq!(ran.json()["requests"][0]["plan"]["purpose"], purpose, "and means the same");
}

#[test]
fn a_policy_can_be_checked_and_tested_without_a_home() {
    let world = World::empty();
    let cases = world.file("cases.toml", CASES);
    let deny = world.file("deny.cedar", "forbid(principal, action, resource);");
    let bad = world.file("bad.cedar", "permit(principal, action == Action::\"fly\", resource);");
    world.plain(&["policy", "check", &deny]).expect(0);
    world.plain(&["policy", "check", &bad]).expect(2);
    world.plain(&["policy", "test", &cases, "--default"]).expect(0);
    let failed = world.plain(&["policy", "test", &cases, "--policy", &deny, "--json"]).expect(1).json();
    assert_eq!(failed["failed"], 1);
}

const CASES: &str = "[[case]]\nname = \"production needs two\"\nexpect = \"needs 2\"\nprincipal = \"agent builder\"\n\
    action = \"mint\"\ntemplate = { id = \"cloudflare/dns-edit\", tier = \"standard\", mutating = 25 }\n\
    context = { project = \"web\", environment = \"production\", ttl = \"30d\" }\n";

const TEMPLATE: &str = "id = \"cloudflare/x\"\ntitle = \"T\"\nprovider = \"cloudflare\"\ntier = \"sandbox\"\n\
    permissions = [\"DNS Read\"]\n[parameters.zone]\nkind = \"cloudflare.zone\"\n[limits]\nttl_max = \"30d\"\n\
    destinations = [\"embedded:*\"]\n";

/// A standing grant for agent `a`, with one more option.
fn grant<'a>(option: &'a str, value: &'a str) -> Vec<&'a str> {
    let mut words =
        vec!["grant", "add", "--agent", "a", "--template", "cloudflare/dns-edit", "--project", "p"];
    words.extend(["--env", "lab", "--for", "7d", option, value]);
    words
}
