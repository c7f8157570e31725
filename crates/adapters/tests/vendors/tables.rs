//! The tables of the documents say what the code says. `KEYWRIGHT_UPDATE_DOCS=1` writes them anew.

use std::fmt::Write as _;
use std::path::Path;

use keywright_adapters::{provider, store};
use keywright_core::provider::{Evidence, Recovery};
use keywright_core::store::VerifyMode;

const BEGIN: &str = "<!-- table: written by a test from the code, not by hand -->\n";
const END: &str = "<!-- end of the table -->\n";

fn yes(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}

fn providers() -> String {
    let mut table = "| kind | expiry at the provider | networks | budget | evidence of use | an orphan is found by | parameters of templates |\n\
                     |---|---|---|---|---|---|---|\n"
        .to_owned();
    for kind in provider::KINDS {
        let facts = provider::facts_of(kind).unwrap();
        let evidence = match facts.evidence {
            Evidence::Exact => "time of last use",
            Evidence::Counters => "usage or cost",
            Evidence::None => "none",
        };
        let recovery = match facts.recovery {
            Recovery::Replay => "the same create again",
            Recovery::Label => "its label",
            Recovery::Difference => "comparing lists",
            Recovery::Container => "its container's name",
            Recovery::Expiry => "nothing: it ends by itself",
        };
        let parameters: Vec<_> =
            provider::kinds(kind).unwrap().iter().map(|p| format!("`{}`", p.kind)).collect();
        writeln!(
            table,
            "| `{kind}` | {} | {} | {} | {evidence} | {recovery} | {} |",
            yes(facts.has_expiry),
            yes(facts.has_ip_condition),
            yes(facts.has_budget),
            parameters.join(", ")
        )
        .unwrap();
    }
    table.push_str("\n| kind | parent credential | `--account` | settings |\n|---|---|---|---|\n");
    for kind in provider::connections() {
        let settings: Vec<_> = kind.settings.iter().map(|(name, what)| format!("`{name}`: {what}")).collect();
        let account = kind.account.unwrap_or("none");
        writeln!(table, "| `{}` | {} | {account} | {} |", kind.kind, kind.credential, settings.join("; "))
            .unwrap();
    }
    table
}

fn stores() -> String {
    let mut table = "| kind | known after a write | write guarded | older versions | longest value |\n|---|---|---|---|---|\n"
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

#[test]
fn the_table_of_providers_is_true() {
    check("providers.md", &providers());
}

#[test]
fn the_table_of_stores_is_true() {
    check("stores.md", &stores());
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
            path if path.starts_with("KEYWRIGHT_UPDATE_DOCS=1 ") => true,
            path if path.contains('/') => root.join("../..").join(path).exists(),
            name if elsewhere.contains(&name) => true,
            name => module.contains(name),
        };
        assert!(is_there, "`{name}`");
    }
}
