//! Every kind of provider and of store by hand, in its sandbox or its peer: connected as the sandbox says, one key into
//! two places, and out of both again.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use keywright_sandbox::vendors::{self, Joint, infisical};
use serde_json::Value;

use crate::support::{Serving, World, request};

/// `keywright sandbox --vendor`, and what it said when it was ready.
struct StandIn {
    told: Value,
    _runs: Serving,
}

impl StandIn {
    fn start(world: &World, kind: &str) -> Self {
        let token = format!("{kind}.token");
        let args = ["sandbox", "--vendor", kind, "--json", "--token-file", &token];
        let mut runs = Serving(world.command(&args).stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(runs.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { told: serde_json::from_str(&line).unwrap(), _runs: runs }
    }

    fn word(&self, name: &str) -> &str {
        self.told[name].as_str().unwrap()
    }

    /// Adds it to the home, as `noun`, under the name of its kind.
    fn add(&self, world: &World, noun: &str, address: &str) {
        self.add_with(world, noun, address, &[]);
    }

    /// As above, with more settings.
    fn add_with(&self, world: &World, noun: &str, address: &str, more: &[&str]) {
        let kind = self.word("vendor");
        let mut args: Vec<String> =
            [noun, "add", kind, "--name", kind, address, self.word("base_url")].map(str::to_owned).into();
        args.extend(["--credential-file".to_owned(), self.word("token_file").to_owned()]);
        args.extend(
            self.told["account"].as_str().iter().flat_map(|id| ["--account".to_owned(), (*id).into()]),
        );
        for (name, value) in self.told["settings"].as_object().unwrap() {
            args.extend(["--set".to_owned(), format!("{name}={}", value.as_str().unwrap())]);
        }
        args.extend(more.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]));
        world.ok(&args.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

/// A home with a folder that git keeps `.env` out of.
fn home() -> World {
    let world = World::empty();
    world.init();
    for args in [&["init", "--quiet"][..], &["config", "core.excludesFile", "/dev/null"]] {
        let git = Command::new("git").args(args).current_dir(world.dir()).status().unwrap();
        assert!(git.success());
    }
    world.file(".gitignore", ".env\n");
    world
}

/// What `.env` says about a name.
fn in_dotenv(world: &World, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(world.path(".env")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}=")))?;
    Some(line.trim_matches(['\'', '"']).to_owned())
}

/// What revoking a key comes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// The provider ends it.
    AtOnce,
    /// Only its time ends it; its copies are taken away at once.
    InTime,
}

/// What is known after a write into a Vault whose values may be read, into `.env`, and into most others.
const READ_BACK: &str = "read-back";

/// Asks for a key in two places, looks at the receipt and the log, and revokes it. `mode` is what is known of the copy in the
/// second place.
fn into_two_places(world: &World, args: &[&str], (second, mode): (&str, &str), ends: Ends) {
    let store = second.split_once(':').unwrap().0;
    let mut asked = args.to_vec();
    asked.extend(["--to", "dotenv:./.env", "--to", second]);
    let receipt = world.ok(&asked);
    assert_eq!(receipt["status"], "active", "{receipt}");
    let placements = receipt["placements"].as_array().unwrap();
    assert_eq!(placements.len(), 2, "{receipt}");
    let stores: BTreeSet<_> =
        placements.iter().map(|placement| placement["store"].as_str().unwrap()).collect();
    assert_eq!(stores, BTreeSet::from(["dotenv", store]));
    let log = world.ok(&["audit", "log", "--limit", "200"]);
    for (store, mode) in [("dotenv", READ_BACK), (store, mode)] {
        let on_receipt = placements.iter().find(|placement| placement["store"] == store).unwrap();
        assert_eq!(on_receipt["verified"], mode, "{store}: {receipt}");
        let is_noted = |entry: &Value| {
            let facts = &entry["facts"];
            let place = facts["place"].as_str().unwrap_or_default();
            facts["verified"] == mode && place.starts_with(&format!("{store}:"))
        };
        assert!(log["entries"].as_array().unwrap().iter().any(is_noted), "{store}: {log}");
    }
    let value = in_dotenv(world, "API_TOKEN").expect("the key is in .env");
    assert!(!receipt.to_string().contains(&value), "the receipt holds no secret");

    // A successor takes the same two places; both versions live until one of them is known to be idle.
    let rotated = world.ok(&["key", "rotate", "web/dev/API_TOKEN"]);
    assert_eq!(rotated["status"], "active", "{rotated}");
    let now = rotated["placements"].as_array().unwrap();
    assert!(now.len() == 2 && now.iter().all(|placement| placement["verified"].is_string()), "{rotated}");
    let successor = in_dotenv(world, "API_TOKEN").expect("the successor is in .env");
    assert_ne!(successor, value);

    let revoke = ["--json", "key", "revoke", "web/dev/API_TOKEN", "--reason", "done"];
    let (code, status) = if ends == Ends::AtOnce { (0, "revoked") } else { (75, "in_progress") };
    let revoked = world.alice(&revoke).expect(code).json();
    assert_eq!(revoked["status"], status, "{revoked}");
    assert_eq!(in_dotenv(world, "API_TOKEN"), None, "the copy is gone");
    // The second place is free again.
    let again = world.ok(&asked);
    assert_eq!(again["status"], "active", "{again}");
    world.alice(&revoke).expect(code);
    world.assert_nothing_leaked();
}

fn ask<'a>(template: &'a str, parameters: &[&'a str]) -> Vec<&'a str> {
    let mut args =
        vec!["key", "request", template, "--project", "web", "--env", "dev", "--name", "API_TOKEN"];
    args.extend(parameters.iter().flat_map(|parameter| ["--param", parameter]));
    args
}

/// A key of a provider into `.env` and into a Vault.
fn provider(kind: &str, template: &str, parameters: &[&str]) {
    provider_with(kind, &[], template, parameters);
}

/// As above, with settings of its connection that the stand-in does not say.
fn provider_with(kind: &str, more: &[&str], template: &str, parameters: &[&str]) {
    let world = home();
    let (provider, vault) = (StandIn::start(&world, kind), StandIn::start(&world, "vault"));
    provider.add_with(&world, "provider", "--base-url", more);
    vault.add(&world, "store", "--address");
    world.ok(&["provider", "check", kind]);
    world.ok(&["template", "apply", template, "--destination", "vault:secret/apps/*"]);
    let second = ("vault:secret/apps/web#API_TOKEN", READ_BACK);
    into_two_places(&world, &ask(template, parameters), second, Ends::AtOnce);
    what_else_there_is(&world, kind);
}

/// What nobody manages is listed where the provider has a list, what was used is counted where it counts, and what was ours
/// is in neither.
fn what_else_there_is(world: &World, kind: &str) {
    let listed = world.alice(&["--json", "key", "list", "--unmanaged"]);
    if kind == "github" {
        assert_eq!(listed.code, 6, "{}", listed.out);
        assert!(listed.out.contains("has no list of its credentials"), "{}", listed.out);
    } else {
        assert_eq!(listed.code, 0, "{}{}", listed.out, listed.err);
        let listed = listed.json();
        assert_eq!(listed["connections"], serde_json::json!([kind]), "{listed}");
        let labels: Vec<&str> =
            listed["keys"].as_array().unwrap().iter().map(|key| key["label"].as_str().unwrap()).collect();
        assert!(labels.iter().all(|label| !label.starts_with("kw-")), "{labels:?}");
    }
    let spent = world.ok(&["spend"]);
    let is_metered = ["openrouter", "openai"].contains(&kind);
    assert_eq!(!spent["rows"].as_array().unwrap().is_empty(), is_metered, "{spent}");
    assert_eq!(spent["unmetered"], 0, "both keys have ended: {spent}");
}

/// A key of the sandbox into `.env` and into a store.
fn store(kind: &str, place: &str, mode: &str) {
    let world = home();
    let store = StandIn::start(&world, kind);
    store.add(&world, "store", "--address");
    world.ok(&["store", "check", kind]);
    world.connect();
    let second = format!("{kind}:{place}");
    world.ok(&["template", "apply", "cloudflare/dns-edit", "--destination", &second]);
    into_two_places(&world, &request("API_TOKEN", "dev", &[]), (&second, mode), Ends::AtOnce);
}

#[test]
fn openrouter() {
    provider("openrouter", "openrouter/app", &[]);
}

#[test]
fn openai() {
    provider("openai", "openai/app", &["models=gpt-5-mini", "spend_limit=50"]);
}

#[test]
fn huggingface() {
    provider("huggingface", "huggingface/repo-read", &[]);
}

#[test]
fn sendgrid() {
    provider("sendgrid", "sendgrid/mail-send", &[]);
}

#[test]
fn github() {
    provider("github", "github/contents-read", &["repository=acme/web"]);
}

#[test]
fn gitlab() {
    provider("gitlab", "gitlab/repository-read", &["project=acme/web"]);
}

#[test]
fn gitlab_fine_grained() {
    let template = "gitlab/fine-grained-code-read";
    provider_with("gitlab", &["mints=fine-grained"], template, &["project=acme/web"]);
}

#[test]
fn tailscale() {
    provider("tailscale", "tailscale/join-ci", &["tag=ci"]);
}

#[test]
fn tailscale_oauth_clients() {
    provider_with("tailscale", &["mints=oauth-clients"], "tailscale/devices-read", &[]);
}

/// What a parent can give is held against the templates in force, and the catalog.
#[test]
fn what_a_parent_can_not_give_is_told() {
    for (kind, enough, more, lacks) in [
        ("sendgrid", "sendgrid/mail-send", "sendgrid/templates-edit", "templates.create"),
        ("github", "github/issues-edit", "github/own", "administration:read"),
    ] {
        let world = home();
        let stand_in = StandIn::start(&world, kind);
        stand_in.add(&world, "provider", "--base-url");
        world.ok(&["template", "apply", enough]);
        let listed = world.ok(&["catalog", "refresh", kind]);
        assert_eq!((&listed["of"], &listed["short"]), (&"parent".into(), &serde_json::json!({})), "{listed}");
        assert_eq!(
            (&listed["new"], &listed["gone"]),
            (&serde_json::json!([]), &serde_json::json!([])),
            "{listed}"
        );
        let text = world.alice(&["catalog", "refresh", kind]).expect(0).out;
        assert!(text.contains("enough for every template in force"), "{text}");
        let own = r#"
id = "github/own"
title = "Look at settings"
provider = "github"
tier = "standard"
permissions = ["administration:read"]
escalation = ["administration:read"]
[parameters.repository]
kind = "github.repository"
allow = ["acme/web"]
[limits]
ttl_max = "1h"
destinations = ["embedded:*"]
"#;
        let file = world.file("own.toml", own);
        world.ok(&["template", "apply", if more == "github/own" { &file } else { more }]);
        let listed = world.ok(&["catalog", "refresh", kind]);
        assert!(listed["short"][more].as_array().unwrap().contains(&lacks.into()), "{listed}");
        let text = world.alice(&["catalog", "refresh", kind]).expect(0).out;
        assert!(text.contains(&format!("{more} needs")) && text.contains(lacks), "{text}");
    }
}

#[test]
fn doppler() {
    store("doppler", "web/dev#API_TOKEN", READ_BACK);
}

#[test]
fn infisical() {
    store("infisical", "dev/web#API_TOKEN", READ_BACK);
}

#[test]
fn onepassword() {
    store("1password", "web#API_TOKEN", READ_BACK);
}

#[test]
fn github_actions() {
    store("github-actions", "acme/web#API_TOKEN", "version-moved");
}

#[test]
fn cloudflare_workers() {
    store("cloudflare-workers", "web#API_TOKEN", "status-only");
}

#[test]
fn vercel() {
    store("vercel", "web@production#API_TOKEN", READ_BACK);
}

#[test]
fn kubernetes() {
    store("kubernetes", "web/api/API_TOKEN", READ_BACK);
}

/// A home with a provider, and a store of age files that a key may also go to.
fn with_age_files() -> (World, PathBuf) {
    let world = home();
    world.connect();
    let root = world.path("sealed");
    std::fs::create_dir(&root).unwrap();
    let set = format!("root={}", root.display());
    let recipient = "recipients=age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    world.ok(&["store", "add", "age", "--name", "age", "--set", &set, "--set", recipient]);
    world.ok(&["template", "apply", "cloudflare/dns-edit", "--destination", "age:*"]);
    (world, root)
}

#[test]
fn age_files() {
    let (world, root) = with_age_files();
    let second = "age:web/dev/TOKEN.age";
    // Without an identity nobody here can read it.
    into_two_places(&world, &request("API_TOKEN", "dev", &[]), (second, "status-only"), Ends::AtOnce);
    assert!(!root.join("web/dev/TOKEN.age").exists(), "the last copy is gone");
}

#[test]
fn a_second_place_that_is_somebody_elses_leaves_nothing_in_the_first() {
    let (world, root) = with_age_files();
    std::fs::create_dir_all(root.join("web/dev")).unwrap();
    let theirs = root.join("web/dev/TOKEN.age");
    std::fs::write(&theirs, "somebody's own").unwrap();
    let places = ["--to", "dotenv:./.env", "--to", "age:web/dev/TOKEN.age"];
    let refused = world.alice(&request("API_TOKEN", "dev", &places));
    assert_eq!(refused.code, 7, "{}{}", refused.out, refused.err);
    assert_eq!(in_dotenv(&world, "API_TOKEN"), None);
    assert_eq!(std::fs::read_to_string(&theirs).unwrap(), "somebody's own");
    assert_eq!(world.live_keys(), 0, "no key is left behind");
    world.assert_nothing_leaked();
}

/// Nothing is made for a place that can't take it, and what is wrong is said in words.
#[test]
fn a_second_place_that_is_not_there_or_does_not_answer_leaves_no_key() {
    let world = home();
    let infisical = StandIn::start(&world, "infisical");
    infisical.add(&world, "store", "--address");
    world.connect();
    world.ok(&["template", "apply", "cloudflare/dns-edit", "--destination", "infisical:*"]);
    let into = |place: &str, more: &[&str]| {
        let places = ["--to", "dotenv:./.env", "--to", place];
        let mut args = request("API_TOKEN", "dev", &places);
        args.extend(more);
        let ran = world.alice(&args);
        assert_eq!(in_dotenv(&world, "API_TOKEN"), None);
        assert_eq!(world.live_keys(), 0, "no key is left behind");
        (ran.code, format!("{}{}", ran.out, ran.err))
    };
    for more in [&["--dry-run"][..], &[]] {
        let (code, said) = into("infisical:dev/nowhere#API_TOKEN", more);
        assert_eq!(code, 6, "{said}");
        assert!(said.contains("Folder") && said.contains("make it in the store first"), "{said}");
    }
    let wrong = world.secret("wrong", "nobody's");
    let (id, project) = (infisical::CLIENT_ID, infisical::PROJECT);
    let (id, project) = (format!("client_id={id}"), format!("project_id={project}"));
    let added = world.alice(&[
        "store",
        "add",
        "infisical",
        "--name",
        "other",
        "--address",
        infisical.word("base_url"),
        "--credential-file",
        &wrong,
        "--set",
        &id,
        "--set",
        &project,
    ]);
    assert_eq!(added.code, 6, "{}{}", added.out, added.err);
    assert!(added.err.contains("does not accept its credential"), "{}", added.err);
    drop(infisical);
    let (code, said) = into("infisical:dev/web#API_TOKEN", &[]);
    assert_eq!(code, 6, "{said}");
    assert!(said.contains("can't be reached"), "{said}");
    world.assert_nothing_leaked();
}

/// An account that is not the parent's is noticed when the connection is made, and nothing is kept.
#[test]
fn an_account_that_is_another_ones_is_no_connection() {
    for (kind, account) in [
        ("openai", "proj_somebody"),
        ("openrouter", "11111111-2222-4333-8444-555555555555"),
        ("huggingface", "somebody"),
    ] {
        let world = home();
        let vendor = StandIn::start(&world, kind);
        let parent = vendor.word("token_file");
        let added = world.alice(&[
            "provider",
            "add",
            kind,
            "--name",
            kind,
            "--base-url",
            vendor.word("base_url"),
            "--account",
            account,
            "--credential-file",
            parent,
        ]);
        assert_eq!(added.code, 2, "{kind}: {}{}", added.out, added.err);
        assert!(added.err.contains(account), "{kind}: {}", added.err);
        let listed = world.ok(&["provider", "list"]);
        assert_eq!(listed["providers"].as_array().map(Vec::len), Some(0), "{listed}");
    }
}

#[test]
fn every_stand_in_is_tried() {
    let source = include_str!("vendors.rs");
    for stand_in in vendors::ALL {
        let call = match stand_in.joint {
            Joint::Provider => format!("provider(\"{}\"", stand_in.kind),
            Joint::Store => format!("store(\"{}\"", stand_in.kind),
        };
        // Keys can't be made at Anthropic, and every provider above puts its keys into a Vault.
        let is_tried = source.contains(&call) || ["anthropic", "vault"].contains(&stand_in.kind);
        assert!(is_tried, "{}", stand_in.kind);
    }
}

#[test]
fn anthropic_cannot_mint_and_says_what_works() {
    let world = home();
    StandIn::start(&world, "anthropic").add(&world, "provider", "--base-url");
    let text = r#"
        id = "anthropic/app"
        title = "Call models"
        provider = "anthropic"
        tier = "standard"
        permissions = ["everything in a workspace"]
        [parameters.workspace]
        kind = "anthropic.workspace"
        [limits]
        ttl_default = "30d"
        ttl_max = "90d"
        destinations = ["embedded:*"]
    "#;
    let ran = world.alice(&["template", "apply", &world.file("template.toml", text)]);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("no template makes keys at `anthropic`"), "{}", ran.err);
    assert!(ran.err.contains("Workload Identity Federation"), "{}", ran.err);
}

#[test]
fn a_key_that_was_made_at_anthropic_is_adopted_switched_off_counted_and_ended() {
    let world = home();
    let anthropic = StandIn::start(&world, "anthropic");
    anthropic.add(&world, "provider", "--base-url");
    let listed = world.ok(&["key", "list", "--unmanaged", "--connection", "anthropic"]);
    assert_eq!(listed["keys"].as_array().map(Vec::len), Some(3), "{listed}");
    let adopted = world.ok(&[
        "key",
        "adopt",
        "anthropic",
        "apikey_0001",
        "--project",
        "web",
        "--env",
        "dev",
        "--name",
        "ANTHROPIC_API_KEY",
        "--reason",
        "the app's own",
    ]);
    assert_eq!((&adopted["key"]["state"], &adopted["adopted"]), (&"active".into(), &"apikey_0001".into()));
    let ids = |listed: &Value| {
        let keys = listed["keys"].as_array().unwrap().clone();
        keys.iter().map(|key| key["provider_key_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&world.ok(&["key", "list", "--unmanaged"])), ["apikey_0002", "apikey_0003"]);
    let spent = world.ok(&["spend"]);
    assert_eq!(spent["rows"][0]["name"], "web/dev/ANTHROPIC_API_KEY", "{spent}");
    assert_eq!(spent["rows"][0]["tokens"], 3_468, "{spent}");
    assert_eq!(spent["rows"][0]["cost_microusd"], Value::Null, "Anthropic tells no cost by key: {spent}");
    // Before it was counted for the first time nobody knows when it was used.
    let lately = world.ok(&["spend", "--since", "1h", "--by", "agent"]);
    assert_eq!(
        (&lately["rows"][0]["tokens"], &lately["rows"][0]["is_partial"]),
        (&0.into(), &true.into()),
        "{lately}"
    );
    assert_eq!(lately["rows"][0]["name"], "operator alice", "{lately}");
    let off = world.ok(&["key", "disable", "ANTHROPIC_API_KEY", "--reason", "a spike"]);
    assert!(off["key"]["disabled_at"].is_string(), "{off}");
    let listed = world.alice(&["key", "list"]).expect(0);
    assert!(listed.out.contains("switched off"), "{}", listed.out);
    let on = world.ok(&["key", "enable", "ANTHROPIC_API_KEY"]);
    assert_eq!(on["key"]["disabled_at"], Value::Null);
    let refused = world.alice(&["key", "rotate", "ANTHROPIC_API_KEY"]);
    assert_eq!(refused.code, 7, "{}{}", refused.out, refused.err);
    assert!(refused.err.contains("Workload Identity Federation"), "{}", refused.err);
    let revoked = world.ok(&["key", "revoke", "ANTHROPIC_API_KEY"]);
    assert_eq!(revoked["status"], "revoked", "{revoked}");
    assert_eq!(ids(&world.ok(&["key", "list", "--unmanaged"])), ["apikey_0002", "apikey_0003"]);
    let entries = world.ok(&["audit", "trace", "ANTHROPIC_API_KEY"])["entries"].clone();
    let deeds: Vec<&str> = entries.as_array().unwrap().iter().filter_map(|e| e["deed"].as_str()).collect();
    for deed in ["key.adopt", "key.disable", "key.enable", "key.revoke"] {
        assert!(deeds.contains(&deed), "{deeds:?}");
    }
}

/// moto: AWS, with state.
struct Moto {
    url: String,
    _runs: Serving,
}

impl Moto {
    /// `None`, said aloud, where it is not installed; in CI that fails.
    fn start() -> Option<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.peers/venv/bin/moto_server");
        if !program.exists() {
            assert!(std::env::var_os("CI").is_none(), "moto is missing; run `scripts/peers`");
            eprintln!("SKIPPED: moto is missing; run `scripts/peers`");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut moto = Command::new(PathBuf::from(&program));
        moto.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let runs = Serving(moto.spawn().unwrap());
        for _ in 0..300 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(Self { url: format!("http://127.0.0.1:{port}"), _runs: runs });
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("moto did not start");
    }
}

/// What every command about AWS says: the region and the parent credential.
fn region(world: &World) -> [String; 4] {
    let parent = world.secret("aws", "AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMIbPxRfiCYEXAMPLEKEY");
    ["--set".to_owned(), "region=eu-central-1".to_owned(), "--credential-file".to_owned(), parent]
}

fn add_aws(world: &World, moto: &Moto) {
    let role = "role=arn:aws:iam::123456789012:role/minting";
    let provider = ["provider", "add", "aws", "--name", "aws", "--base-url", &moto.url, "--set", role];
    let region = region(world);
    let region: Vec<&str> = region.iter().map(String::as_str).collect();
    world.ok(&[&provider[..], &["--account", "123456789012"], &region].concat());
}

#[test]
fn a_key_of_aws_is_taken_apart_for_the_program() {
    let Some(moto) = Moto::start() else { return };
    let world = home();
    add_aws(&world, &moto);
    world.ok(&["template", "apply", "aws/s3-read"]);
    world.ok(&ask("aws/s3-read", &["bucket=assets"]));
    let script =
        "printf '%s|%s|%s|%s' \"$API_TOKEN\" $AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY $AWS_SESSION_TOKEN";
    let pass = world.path("pass");
    let run =
        ["run", "--project", "web", "--passphrase-file", pass.to_str().unwrap(), "--", "sh", "-c", script];
    let said = String::from_utf8(world.command(&run).output().unwrap().stdout).unwrap();
    let parts: Vec<&str> = said.split('|').collect();
    let document: Value = serde_json::from_str(parts[0]).unwrap();
    let names = ["AccessKeyId", "SecretAccessKey", "SessionToken"];
    assert_eq!(names.map(|name| document[name].as_str().unwrap()), [parts[1], parts[2], parts[3]]);
}

/// A key of AWS into `.env` and into one of AWS's stores.
fn aws(store: &str, place: &str) {
    let Some(moto) = Moto::start() else { return };
    let world = home();
    add_aws(&world, &moto);
    let region = region(&world);
    let region: Vec<&str> = region.iter().map(String::as_str).collect();
    world.ok(&[&["store", "add", store, "--name", store, "--address", &moto.url][..], &region].concat());
    let second = format!("{store}:{place}");
    world.ok(&["template", "apply", "aws/s3-read", "--destination", &second]);
    into_two_places(&world, &ask("aws/s3-read", &["bucket=assets"]), (&second, READ_BACK), Ends::InTime);
}

#[test]
fn aws_into_secrets_manager() {
    aws("aws-secrets-manager", "apps/web/API_TOKEN");
}

#[test]
fn aws_into_parameter_store() {
    aws("aws-ssm", "/apps/web/API_TOKEN");
}
