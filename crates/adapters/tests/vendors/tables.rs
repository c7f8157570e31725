//! The tables of the documents say what the code says. `KEYWRIGHT_UPDATE_DOCS=1` writes them anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use keywright_adapters::provider::ConnectionConfig;
use keywright_adapters::{channel, provider, store};
use keywright_core::provider::{Evidence, Provider, Recovery};
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_core::store::VerifyMode;
use keywright_sandbox::vendors::{self, HUGGINGFACE_ORGANISATION, OPENAI_PROJECT, OPENROUTER_WORKSPACE};

const BEGIN: &str = "<!-- table: written by a test from the code, not by hand -->\n";
const END: &str = "<!-- end of the table -->\n";

fn yes(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}

fn connections() -> String {
    let mut table =
        "\n| kind | parent credential | `--account` | settings | parameters of templates |\n|---|---|---|---|---|\n"
            .to_owned();
    for kind in provider::connections() {
        let settings: Vec<_> = kind.settings.iter().map(|(name, what)| format!("`{name}`: {what}")).collect();
        let parameters = provider::kinds(kind.kind).unwrap().iter().map(|p| format!("`{}`", p.kind));
        let cells = [
            format!("`{}`", kind.kind),
            kind.credential.to_owned(),
            kind.account.unwrap_or("none").to_owned(),
            settings.join("; "),
            parameters.collect::<Vec<_>>().join(", "),
        ];
        writeln!(table, "| {} |", cells.join(" | ")).unwrap();
    }
    table
}

/// A connection of each kind, and of what makes a kind do other things: nothing is dialled.
async fn samples() -> Vec<(String, Box<dyn Provider>)> {
    let mut all = Vec::new();
    for (kind, account, modes) in [
        ("anthropic", None, &[""][..]),
        ("cloudflare", Some("0123456789abcdef0123456789abcdef"), &[""]),
        ("openrouter", Some(OPENROUTER_WORKSPACE), &[""]),
        ("sendgrid", None, &[""]),
        ("openai", Some(OPENAI_PROJECT), &[""]),
        ("huggingface", Some(HUGGINGFACE_ORGANISATION), &[""]),
        ("github", None, &["app=Iv23liAbCdEfGhIjKlMn installation=1"]),
        ("gitlab", None, &["projects=acme/web", "projects=acme/web mints=fine-grained"]),
        ("tailscale", None, &["", "mints=oauth-clients"]),
        ("aws", Some("123456789012"), &["region=eu-central-1 role=minter", "region=eu-central-1 mode=user"]),
    ] {
        let credential = match kind {
            "cloudflare" => "token".to_owned(),
            "aws" => "AKIAIOSFODNN7EXAMPLE:secret".to_owned(),
            vendor => vendors::start(vendor).await.unwrap().parent.clone(),
        };
        for mode in modes {
            let extra: BTreeMap<String, String> = mode
                .split_whitespace()
                .filter_map(|setting| setting.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            let of =
                ["mints", "mode"].iter().find_map(|name| Some(format!(", `{name}={}`", extra.get(*name)?)));
            let config = ConnectionConfig {
                base_url: Some("http://127.0.0.1:9".to_owned()),
                account: account.map(str::to_owned),
                extra: extra.clone(),
            };
            let provider = provider::connect(kind, config, Secret::new(credential.clone())).unwrap();
            all.push((format!("`{kind}`{}", of.unwrap_or_default()), provider));
        }
    }
    all
}

/// What each connection can do, by what it says itself.
async fn abilities() -> String {
    let mut table = "| kind | makes keys | ends keys | expiry at the provider | networks | budget | an orphan is found by |\n\
                     |---|---|---|---|---|---|---|\n"
        .to_owned();
    let mut evidence =
        "\n| kind | evidence of use | time of last use | usage and cost | switches off and on again |\n\
                        |---|---|---|---|---|\n"
            .to_owned();
    let samples = samples().await;
    for kind in provider::KINDS {
        assert!(samples.iter().any(|(label, _)| label.starts_with(&format!("`{kind}`"))), "{kind}");
    }
    for (label, provider) in samples {
        let facts = provider.facts();
        let ends = match (provider.ending_itself(), facts.recovery) {
            (Some(_), _) => "with the key's own secret",
            (None, Recovery::Expiry) => "no: it ends by itself",
            _ => "yes",
        };
        let recovery = match facts.recovery {
            Recovery::Replay => "the same create again",
            Recovery::Label => "its label",
            Recovery::Difference => "comparing lists",
            Recovery::Container => "its container's name",
            Recovery::Expiry => "nothing: it ends by itself",
        };
        writeln!(
            table,
            "| {label} | {} | {ends} | {} | {} | {} | {recovery} |",
            if facts.no_mint.is_none() { "yes" } else { "no: people do" },
            yes(facts.has_expiry),
            yes(facts.has_ip_condition),
            yes(facts.has_budget),
        )
        .unwrap();
        let kind_of_evidence = match facts.evidence {
            Evidence::Exact => "time of last use",
            Evidence::Counters => "usage or cost",
            Evidence::None => "none",
        };
        let lag = |hours: Option<Span>| hours.map_or("no".to_owned(), |lag| format!("yes, up to {lag} late"));
        writeln!(
            evidence,
            "| {label} | {kind_of_evidence} | {} | {} | {} |",
            lag(provider.last_used().map(|last_used| last_used.lag())),
            lag(provider.metered().map(|metered| metered.lag())),
            yes(provider.disabling().is_some()),
        )
        .unwrap();
    }
    format!("{table}{evidence}")
}

fn stores() -> String {
    let mut table = "| kind | known after a write, at best | write guarded | older versions | longest value |\n|---|---|---|---|---|\n"
        .to_owned();
    for kind in store::kinds() {
        let verify = match kind.facts.verify {
            VerifyMode::ReadBack => "the value, read back",
            VerifyMode::VersionMoved => "that its version moved",
            VerifyMode::StatusOnly => "that the store said so",
        };
        writeln!(
            table,
            "| `{}` | {verify} | {} | {} | {} bytes |",
            kind.kind,
            yes(kind.facts.guarded),
            yes(kind.facts.versions),
            kind.facts.max_value
        )
        .unwrap();
    }
    table.push_str("\n| kind | a place | credential | `--address` | settings |\n|---|---|---|---|---|\n");
    for kind in store::kinds() {
        let settings: Vec<_> = kind.settings.iter().map(|(name, what)| format!("`{name}`: {what}")).collect();
        writeln!(
            table,
            "| `{}` | {} | {} | {} | {} |",
            kind.kind,
            kind.place,
            kind.credential.unwrap_or("none"),
            kind.address.unwrap_or("none"),
            settings.join("; ")
        )
        .unwrap();
    }
    table
}

/// When a new value is seen, and how long the value before it works at least.
fn seen() -> String {
    let mut table =
        "| store | a new value is seen | the old version lives at least |\n|---|---|---|\n".to_owned();
    for kind in store::kinds() {
        let settles = match kind.facts.settles {
            0 => "as long as evidence of its use says".to_owned(),
            seconds => format!("{}, and as long as evidence of its use says", Span::from_seconds(seconds)),
        };
        writeln!(table, "| `{}` | {} | {settles} |", kind.kind, kind.facts.seen).unwrap();
    }
    table
}

#[test]
fn the_table_of_when_a_new_value_is_seen_is_true() {
    check("rotation.md", &seen());
}

fn check(file: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    if std::env::var_os("KEYWRIGHT_UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    } else {
        assert_eq!(written, table, "`KEYWRIGHT_UPDATE_DOCS=1` with this test writes docs/{file} anew");
    }
}

#[tokio::test]
async fn the_table_of_providers_is_true() {
    check("providers.md", &format!("{}{}", abilities().await, connections()));
}

#[test]
fn the_table_of_stores_is_true() {
    check("stores.md", &stores());
}

#[test]
fn the_table_of_channels_is_true() {
    let mut table = "\n| kind | on standard input, at the prompt, or with `--credential-file` | options |\n|---|---|---|\n".to_owned();
    for facts in channel::KINDS {
        let secret = match facts.credential {
            Some(secret) if facts.is_optional => format!("{secret}, where there is one"),
            Some(secret) => secret.to_owned(),
            None => "nothing".to_owned(),
        };
        let option = |(name, what): &(&str, &str)| format!("`--{}`: {what}", name.replace('_', "-"));
        let options: Vec<_> = facts.settings.iter().map(option).collect();
        writeln!(table, "| `{}` | {secret} | {} |", facts.kind, options.join("; ")).unwrap();
    }
    check("notifications.md", &table);
}

/// What the walk calls by name is there.
#[test]
fn the_walk_through_a_provider_is_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let (docs, module) = (read("../../docs/providers.md"), read("src/provider/sendgrid.rs"));
    let (_, walk) = docs.split_once("## Adding a provider").unwrap();
    let named: Vec<&str> = walk.split('`').skip(1).step_by(2).collect();
    assert!(named.len() > 30, "{named:?}");
    for name in named {
        let elsewhere = ["keeps_the_providers_contract", "escalation", "Registered"];
        let is_there = match name {
            command if command.starts_with("KEYWRIGHT_UPDATE_DOCS=1 ") || command.starts_with("cargo ") => {
                true
            }
            path if path.contains('/') => root.join("../..").join(path).exists(),
            name if elsewhere.contains(&name) => true,
            name => module.contains(name),
        };
        assert!(is_there, "`{name}`");
    }
}
