//! `cargo xtask tidy`: the rules of the house that the compiler does not know.
//!
//! * Arrows between rooms only point downward, and the pure rooms stay pure.
//! * Files do not outgrow their room.
//! * A secret is exposed only where the list below says so; SQL and HTTP stay in one room each.
//! * Nothing in the tree names a machine's paths or a registry's host.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which rooms a room may use. What is not listed is forbidden.
const ARROWS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("catalog", &["core"]),
    ("hygiene", &["core"]),
    ("ledger", &["core"]),
    ("adapters", &["core"]),
    ("sandbox", &[]),
    ("broker", &["core", "catalog", "ledger", "adapters", "hygiene"]),
    ("server", &["core", "ledger", "broker"]),
    ("keywright", &["core", "catalog", "hygiene", "ledger", "broker", "server", "sandbox"]),
    ("testkit", &["core", "ledger", "broker", "sandbox"]),
    ("siege", &["core", "ledger", "broker", "sandbox", "testkit"]),
];

/// Crates that only some rooms may depend on.
const CONFINED: &[(&str, &[&str])] = &[
    ("rusqlite", &["ledger"]),
    ("tokio-postgres", &["ledger"]),
    ("reqwest", &["adapters"]),
    ("cedar-policy", &["core"]),
    ("rmcp", &["server"]),
    ("argon2", &["ledger"]),
    ("chacha20poly1305", &["ledger"]),
    ("axum", &["sandbox", "server"]),
];

/// Crates that a pure room may not depend on.
const IMPURE: &[&str] =
    &["tokio", "rustix", "reqwest", "rusqlite", "tokio-postgres", "getrandom", "tempfile", "axum", "rand"];
const PURE: &[&str] = &["core", "catalog", "hygiene"];

/// Where a secret's text may be touched. Each line is a reason to look closely in a review.
const EXPOSES: &[&str] = &[
    "crates/core/src/secret.rs",
    "crates/core/src/redact.rs",
    "crates/ledger/src/seal.rs",
    "crates/adapters/src/",
    "crates/hygiene/src/",
    "crates/broker/src/home.rs",
    "crates/broker/src/admin.rs",
    // A parent's successor is sealed together with its id.
    "crates/broker/src/renew.rs",
    // A credential may begin with the provider's id of it.
    "crates/broker/src/borrowed.rs",
    "crates/server/src/dispatch/reader.rs",
    "crates/server/src/dispatch/operator.rs",
    // The passphrase goes to the broker in the background through a pipe.
    "crates/keywright/src/commands/serve.rs",
];

const LONGEST_FILE: usize = 500;

/// Runs every check.
///
/// # Errors
/// With a line for each thing that is not tidy.
pub(crate) fn run() -> Result<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let mut faults = String::new();
    let files = tracked(root);
    if files.is_empty() {
        return Err(format!("git names no files in {}: nothing was looked at\n", root.display()));
    }
    arrows(root, &mut faults);
    sizes(root, &files, &mut faults);
    exposures(root, &files, &mut faults);
    foreign_words(root, &files, &mut faults);
    leftovers(root, &files, &mut faults);
    if faults.is_empty() { Ok(format!("tidy: {} files, all rules hold", files.len())) } else { Err(faults) }
}

fn arrows(root: &Path, faults: &mut String) {
    for (room, allowed) in ARROWS {
        let path = root.join("crates").join(room).join("Cargo.toml");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let Ok(manifest) = text.parse::<toml::Table>() else {
            let _ = writeln!(faults, "{}: not readable", path.display());
            continue;
        };
        let names = manifest
            .get("dependencies")
            .and_then(toml::Value::as_table)
            .into_iter()
            .flat_map(toml::Table::keys);
        for name in names {
            if let Some(target) = name.strip_prefix("keywright-")
                && !allowed.contains(&target)
            {
                let _ =
                    writeln!(faults, "crates/{room}: may not use `{target}` (arrows only point downward)");
            }
            if PURE.contains(room) && IMPURE.contains(&name.as_str()) {
                let _ = writeln!(faults, "crates/{room}: is pure, so it may not use `{name}`");
            }
            if let Some((_, rooms)) = CONFINED.iter().find(|(confined, _)| confined == name)
                && !rooms.contains(room)
            {
                let _ = writeln!(faults, "crates/{room}: `{name}` belongs to {}", rooms.join(", "));
            }
        }
    }
    let known: Vec<&str> = ARROWS.iter().map(|(room, _)| *room).collect();
    for entry in std::fs::read_dir(root.join("crates")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !known.contains(&name.as_str()) {
            let _ =
                writeln!(faults, "crates/{name}: a room that the house does not know; add it to the arrows");
        }
    }
}

fn sizes(root: &Path, files: &[PathBuf], faults: &mut String) {
    for file in files.iter().filter(|f| is_source(f)) {
        let lines = std::fs::read_to_string(root.join(file)).unwrap_or_default().lines().count();
        if lines > LONGEST_FILE {
            let _ = writeln!(faults, "{}: {lines} lines; which noun wants its own room?", file.display());
        }
    }
}

fn exposures(root: &Path, files: &[PathBuf], faults: &mut String) {
    for file in files.iter().filter(|f| is_source(f)) {
        let shown = file.to_string_lossy();
        if EXPOSES.iter().any(|allowed| shown.starts_with(allowed)) || shown.starts_with("crates/testkit") {
            continue;
        }
        let text = std::fs::read_to_string(root.join(file)).unwrap_or_default();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            if line.contains(".expose_secret()") && !line.trim_start().starts_with("//") {
                let _ = writeln!(faults, "{shown}:{}: exposes a secret and is not on the list", number + 1);
            }
        }
    }
}

fn foreign_words(root: &Path, files: &[PathBuf], faults: &mut String) {
    // In two pieces, so that this file is held to the rule too.
    let words = [
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("registry.", "npmjs"),
        concat!("static.", "crates.io"),
        concat!("files.", "pythonhosted"),
        concat!("deb.", "debian.org"),
    ];
    for file in files {
        if file.ends_with("Cargo.lock") {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(root.join(file)) else { continue };
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(*word)) {
                let _ = writeln!(faults, "{}:{}: names `{word}`", file.display(), number + 1);
            }
        }
    }
}

/// What a merge leaves behind in a file that nobody looked at.
fn leftovers(root: &Path, files: &[PathBuf], faults: &mut String) {
    let marks = [concat!("<<<<", "<<< "), concat!(">>>>", ">>> ")];
    for file in files {
        let Ok(text) = std::fs::read_to_string(root.join(file)) else { continue };
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.starts_with(mark)) {
                let _ =
                    writeln!(faults, "{}:{}: a merge was left unfinished here", file.display(), number + 1);
            }
        }
    }
}

fn is_source(file: &Path) -> bool {
    let text = file.to_string_lossy();
    text.starts_with("crates/") && text.contains("/src/") && text.ends_with(".rs")
}

fn tracked(root: &Path) -> Vec<PathBuf> {
    let listed = Command::new("git").arg("-C").arg(root).args(["ls-files", "-z"]).output();
    let bytes = listed.map(|o| o.stdout).unwrap_or_default();
    bytes
        .split(|b| *b == 0)
        .filter(|p| !p.is_empty())
        .map(|p| PathBuf::from(String::from_utf8_lossy(p).as_ref()))
        .collect()
}
