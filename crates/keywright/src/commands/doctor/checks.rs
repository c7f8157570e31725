//! What `doctor` looks at in the home, the broker and this process.

use std::path::Path;

use jiff::Timestamp;
use keywright_broker::passkey::signed_by_whom_it_says;
use keywright_broker::{Code, machine};
use keywright_ledger::audit_files;
use keywright_server::answer::Failure;
use keywright_server::call::{Call, OperatorCall};
use serde_json::Value;

use super::{Finding, Verdict};
use crate::app::App;
use crate::show::{count, field, items, number, outside};

/// From how many days on the age of a parent credential is worth a word.
const OLD_PARENT: i64 = 90;

/// The home: is it there, whose is it, who can read it.
pub(super) fn home(app: &App) -> Vec<Finding> {
    let root = app.home.root();
    match app.has_home() {
        Ok(true) => {}
        Ok(false) => {
            let what = format!("there is no home at {}", root.display());
            return vec![Finding::new("home", Verdict::Note, what).hint("keywright init")];
        }
        Err(failure) => return vec![Finding::new("home", Verdict::Wrong, failure.message)],
    }
    let mut findings = vec![Finding::new("home", Verdict::Good, format!("the home is {}", root.display()))];
    findings.extend(machine::of_home(root));
    findings
}

/// The broker: does one run, and what keeps agents of the same user from it.
pub(super) async fn broker(app: &App) -> Result<Vec<Finding>, Failure> {
    // What keeps us from looking is told as a finding about the home.
    let is_serving = if app.has_home().is_ok() { app.is_serving().await? } else { false };
    let mut findings = vec![if is_serving {
        Finding::new("broker", Verdict::Good, "a broker serves it")
    } else {
        Finding::new("broker", Verdict::Note, "no broker serves it; agents can't ask until one does")
            .hint("keywright serve --detach")
    }];
    if is_serving {
        let status = app.call(&Call::Anybody).await?;
        if let Some(why) = status.pointer("/health/read_only").and_then(Value::as_str) {
            let what = format!("the broker only revokes: {}", crate::show::outside(why));
            findings.push(Finding::new("read-only", Verdict::Wrong, what).hint("keywright audit verify"));
        }
        if let Some(why) = status.pointer("/health/clock_off").and_then(Value::as_str) {
            let what = format!("the broker makes no keys: {}", crate::show::outside(why));
            findings.push(
                Finding::new("clock", Verdict::Wrong, what).hint("set the clock (NTP) of either machine"),
            );
        }
        for one in status.pointer("/health/failing").and_then(Value::as_array).into_iter().flatten() {
            let shown = |name| crate::show::outside(&field(one, name));
            let what = format!("key {} could not be rotated: {}", shown("key"), shown("why"));
            findings.push(
                Finding::new("rotation", Verdict::Warning, what)
                    .hint(format!("it is tried again; `keywright key show {}`", shown("key"))),
            );
        }
        let ambiguous = status.pointer("/health/ambiguous").and_then(Value::as_array);
        for why in ambiguous.into_iter().flatten().filter_map(Value::as_str) {
            findings.push(Finding::new("ambiguous", Verdict::Warning, crate::show::outside(why)));
        }
        let back = status.pointer("/health/versions_back").and_then(Value::as_u64).unwrap_or_default();
        if back > 0 {
            let what = format!(
                "{} gone at the provider, and there again; nobody was asked what becomes of it",
                count(back, "credential was", "credentials were")
            );
            findings.push(Finding::new("back", Verdict::Warning, what).hint("keywright reconcile"));
        }
        let failing = status.pointer("/health/channels_failing").and_then(Value::as_array);
        for why in failing.into_iter().flatten().filter_map(Value::as_str) {
            let what = format!("nobody hears of what waits by {}", crate::show::outside(why));
            findings.push(
                Finding::new("channel", Verdict::Warning, what)
                    .hint("try it with `keywright notify test NAME`, or remove it and add it again"),
            );
        }
        if let Some(why) = status.pointer("/health/unsigned").and_then(Value::as_str) {
            let what = format!("new entries of the audit log are not signed: {}", crate::show::outside(why));
            findings.push(
                Finding::new("unsigned", Verdict::Warning, what).hint("make room or give HOME/audit back"),
            );
        }
    }
    findings.push(
        Finding::new(
            "tier",
            Verdict::Warning,
            "tier T0: the broker runs as the user who runs your agents. An agent with a shell can't read keys out of the \
             files or out of the broker's memory, but it can replace this program, show you a false prompt for your \
             passphrase, or act in your browser",
        )
        .hint("type passphrases only where you started the program yourself, and keep agents out of terminals in which you are logged in"),
    );
    findings.extend(machine::of_user());
    Ok(findings)
}

/// The audit log: is it as it was signed.
pub(super) async fn audit(app: &App) -> Result<Vec<Finding>, Failure> {
    if !app.has_home().unwrap_or(false) {
        return Ok(Vec::new());
    }
    let (dir, ledger) = (app.home.audit(), app.home.location()?);
    let work = tokio::task::spawn_blocking(move || {
        audit_files::verify_with(&dir, ledger, None, None, &signed_by_whom_it_says())
    });
    let report = work.await.map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    Ok(vec![match report {
        Ok(report) if report.is_sound() => Finding::new(
            "audit",
            Verdict::Good,
            format!("the audit log is sound: {}", count(report.entries, "entry", "entries")),
        ),
        Ok(report) => {
            let first = report.first().map(ToString::to_string).unwrap_or_default();
            let what = format!("the audit log is not sound: {}", crate::show::outside(&first));
            Finding::new("audit", Verdict::Wrong, what).hint("keywright audit verify")
        }
        Err(error) => Finding::new("ledger", Verdict::Wrong, unreadable(&error.to_string())),
    }])
}

/// The second place of the log's head.
pub(super) async fn witness(app: &App) -> Result<Option<Finding>, Failure> {
    if !app.has_home().unwrap_or(false) {
        return Ok(None);
    }
    let root = app.home.root();
    let witness = app.home.witness();
    if let Ok(Some(place)) = &witness
        && let Some(what) = second_place(app, place).await?
    {
        return Ok(Some(Finding::new("witness", Verdict::Warning, what).hint(
            "see to it that the place answers, or name another one in config.toml and start the broker again",
        )));
    }
    Ok(Some(match witness {
        Ok(place) => machine::of_second_place(root, &app.home.config(), place.as_deref()),
        Err(error) => Finding::new("witness", Verdict::Wrong, error.message),
    }))
}

/// What is wrong with the second place: as the broker knows it, or, where none runs, as it looks from here.
async fn second_place(app: &App, place: &Path) -> Result<Option<String>, Failure> {
    if app.is_serving().await? {
        let status = app.call(&Call::Anybody).await?;
        let why = status.pointer("/health/witness").and_then(Value::as_str);
        return Ok(why.map(outside));
    }
    let (looked_at, log) = (place.to_owned(), app.home.audit());
    let look = tokio::task::spawn_blocking(move || audit_files::look_at(&looked_at, &log));
    let found = look.await.map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    Ok(found
        .map(|why| format!("the copy of the audit log's head in {} can't be read: {why}", place.display())))
}

/// The rows of the ledger: are they as Keywright wrote them.
pub(super) async fn rows(app: &App) -> Result<Vec<Finding>, Failure> {
    let is_serving = if app.has_home().unwrap_or(false) { app.is_serving().await? } else { false };
    if !is_serving {
        return Ok(Vec::new());
    }
    // Doctor asks nobody for anything.
    let asked = match app.passphrase_file {
        Some(_) => app.signed(OperatorCall::LedgerCheck).await,
        None => app.session_only(OperatorCall::LedgerCheck).await,
    };
    let found = match asked {
        Ok(found) => found,
        Err(failure) if failure.kind() != Some(Code::Unauthenticated) => {
            let what = format!("the ledger's rows could not be looked at: {}", outside(&failure.message));
            return Ok(vec![Finding::new("rows", Verdict::Wrong, what).hint(
                "keywright audit verify says whether the log is sound; a backup has the rows as they were",
            )]);
        }
        Err(_) => {
            let what = "whether rows of the ledger were edited was not looked at: that takes an operator";
            return Ok(vec![Finding::new("rows", Verdict::Note, what).hint("keywright login, then doctor")]);
        }
    };
    let edited = items(&found, "edited");
    Ok(if edited.is_empty() {
        let rows = count(number(&found, "rows"), "row is", "rows are");
        vec![Finding::new("rows", Verdict::Good, format!("{rows} as Keywright wrote them"))]
    } else {
        let said = edited.iter().take(20).filter_map(Value::as_str).map(outside);
        said.map(|said| Finding::new("rows", Verdict::Wrong, said).hint("restore the ledger from a backup"))
            .collect()
    })
}

/// The parent credentials: for how long each is in use. Nothing where an operator would have to be asked.
pub(super) async fn parents(app: &App) -> Result<Vec<Finding>, Failure> {
    let is_serving = if app.has_home().unwrap_or(false) { app.is_serving().await? } else { false };
    if !is_serving {
        return Ok(Vec::new());
    }
    let asked = match app.passphrase_file {
        Some(_) => app.signed(OperatorCall::ProviderList).await,
        None => app.session_only(OperatorCall::ProviderList).await,
    };
    let Ok(listed) = asked else { return Ok(Vec::new()) };
    let now = Timestamp::now();
    let aged = items(&listed, "providers").iter().filter_map(|one| {
        let since: Timestamp = field(one, "parent_since").parse().ok()?;
        let days = now.duration_since(since).as_hours() / 24;
        let name = outside(&field(one, "name"));
        (days >= OLD_PARENT).then(|| {
            let what = format!("connection {name} works with one parent credential for {days} days");
            Finding::new("parent", Verdict::Note, what)
                .hint(format!("keywright provider rotate-parent {name}, where its provider can"))
        })
    });
    Ok(aged.collect())
}

/// The templates in force: does each reach the connection that it names. Nothing where an operator would have to be asked.
pub(super) async fn templates(app: &App) -> Result<Vec<Finding>, Failure> {
    let is_serving = if app.has_home().unwrap_or(false) { app.is_serving().await? } else { false };
    if !is_serving {
        return Ok(Vec::new());
    }
    let asked = match app.passphrase_file {
        Some(_) => app.signed(OperatorCall::TemplateList).await,
        None => app.session_only(OperatorCall::TemplateList).await,
    };
    let Ok(listed) = asked else { return Ok(Vec::new()) };
    let said = items(&listed, "templates").iter().filter_map(|one| {
        let why = one.get("unconnected").and_then(Value::as_str)?;
        let what = format!("template {}: {}", outside(&field(one, "id")), outside(why));
        Some(Finding::new("template", Verdict::Warning, what))
    });
    Ok(said.collect())
}

/// Why the ledger can't be read, said once.
fn unreadable(error: &str) -> String {
    let start = "the ledger can't be read";
    if error.starts_with(start) { error.to_owned() } else { format!("{start}: {error}") }
}

/// This process: what keeps its memory to itself.
pub(super) fn process() -> Vec<Finding> {
    let mut findings = machine::of_process();
    findings.extend(variables());
    findings
}

/// Variables that look as if somebody put a secret of ours into the environment.
fn variables() -> Option<Finding> {
    let names: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| {
            name.starts_with("KEYWRIGHT_") && ["PASS", "TOKEN", "SECRET"].iter().any(|w| name.contains(w))
        })
        .map(|name| crate::show::outside(&name))
        .collect();
    (!names.is_empty()).then(|| {
        let what = format!("{} is in the environment, where every child can read it", names.join(", "));
        Finding::new("environment", Verdict::Warning, what)
            .hint("take it out; a passphrase comes from a prompt or a file")
    })
}

/// Whether a path is there, whatever it is.
pub(super) fn is_there(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}
