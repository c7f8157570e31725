//! `keywright audit`

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use keywright_broker::Code;
use keywright_broker::log::moment_of;
use keywright_broker::passkey::signed_by_whom_it_says;
use keywright_core::audit::Deed;
use keywright_ledger::audit_files;
use keywright_server::answer::Failure;
use keywright_server::call::{LogWish, OperatorCall};
use serde_json::{Value, json};

use crate::app::App;
use crate::errors::{self, Exit};
use crate::input;
use crate::output::{Done, Output};
use crate::show::facts::Facts;
use crate::show::list::{List, Tone, plain, strong, toned};
use crate::show::{count, field, items, joined, moments, number, outside, when};

/// The audit log: what happened, who did it, and whether anybody changed the record.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show the newest entries, those from a place on, or those that you look for.
    Log {
        /// From this entry on, oldest first; without it, the newest.
        #[arg(long, value_name = "N", conflicts_with = "sought")]
        from: Option<u64>,
        /// At most so many.
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
        #[command(flatten)]
        sought: Sought,
    },
    /// Everything about one key: who asked and why, who approved, what it can do, where it is, what happened to it.
    Trace {
        /// A key's id or name, a request's id, or a fingerprint.
        #[arg(value_name = "KEY|FINGERPRINT|NAME")]
        what: String,
    },
    /// Check that nothing was changed, cut off or rewritten; needs neither passphrase nor broker.
    Verify {
        /// An older checkpoint that you kept: the log must continue it.
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
    },
    /// Take the log as it is after its files were lost, and sign it anew. That it was lost stays on record.
    Accept,
    /// Copy the whole log: the files that other tools verify, or the entries as JSON.
    Export {
        /// The directory that gets the files; it must not exist yet. Without it, entries go to standard output, one a line.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

/// Which entries of the log.
#[derive(clap::Args)]
#[group(id = "sought", multiple = true)]
struct Sought {
    /// Only about this key, request or entry: its id, or a key's name or fingerprint.
    #[arg(long, value_name = "WHAT")]
    about: Option<String>,
    /// Only of this deed, as in `key.request`; `--deed help` names them.
    #[arg(long, value_name = "DEED", value_parser = deed)]
    deed: Option<Deed>,
    /// Only by an agent, operator or workload of this name.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Only what did not go well.
    #[arg(long)]
    failed: bool,
    /// Not older: a day in UTC, as in 2026-12-24, or a moment in RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// Not newer: the whole of a day in UTC, or a moment in RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = until)]
    until: Option<Timestamp>,
    /// Only entries before this place, where a search goes on.
    #[arg(long, value_name = "N")]
    before: Option<u64>,
}

fn deed(text: &str) -> Result<Deed, String> {
    let all = || Deed::ALL.iter().map(|deed| deed.as_str()).collect::<Vec<_>>().join(", ");
    text.parse().map_err(|_| format!("the deeds are {}", all()))
}

fn since(text: &str) -> Result<Timestamp, String> {
    moment(text, false)
}

fn until(text: &str) -> Result<Timestamp, String> {
    moment(text, true)
}

fn moment(text: &str, is_end: bool) -> Result<Timestamp, String> {
    moment_of(text, is_end)
        .ok_or_else(|| "it is no day as in 2026-12-24, and no moment in RFC 3339".to_owned())
}

impl Sought {
    /// What the broker is asked; none where nothing in particular is looked for.
    fn wish(self, limit: u32) -> Option<LogWish> {
        let Self { about, deed, by, failed, since, until, before } = self;
        let went_well = failed.then_some(false);
        let wish = LogWish { about, deed, by, went_well, since, until, before, limit };
        let nothing = LogWish {
            about: None,
            deed: None,
            by: None,
            went_well: None,
            since: None,
            until: None,
            before: None,
            limit,
        };
        (wish != nothing).then_some(wish)
    }
}

/// How many entries are fetched at a time.
const PAGE: u32 = 500;

pub(crate) async fn run(app: &App, args: Args) -> Done {
    match args.command {
        Command::Log { from, limit, sought } => match sought.wish(limit) {
            Some(wish) => search(app, &wish).await,
            None => log(app, from, limit).await,
        },
        Command::Trace { what } => {
            let trace = app.everyday(|| OperatorCall::AuditTrace { what: what.clone() }).await?;
            let mut text = String::new();
            let edited = joined(&trace, "edited");
            if !edited.is_empty() {
                let said = format!(
                    "changed since they were written, and not to be believed: {edited} (`keywright audit verify`)"
                );
                text = format!("{}\n", toned(&said, Tone::Bad));
            }
            text.push_str(&super::key::show(&trace));
            text.push('\n');
            text.push_str(&moments::list(items(&trace, "timeline")));
            Ok(Output::new(trace, text))
        }
        Command::Verify { checkpoint } => verify(app, checkpoint.as_deref()).await,
        Command::Accept => {
            let signed = app.signed(OperatorCall::AuditAccept).await?;
            let text = format!(
                "the audit log is signed again: {}",
                count(number(&signed, "size"), "entry", "entries")
            );
            Ok(Output::new(signed, text).talk("next: keywright reconcile"))
        }
        Command::Export { out: Some(out) } => export_files(app, &out).await,
        Command::Export { out: None } => export_entries(app).await,
    }
}

async fn log(app: &App, from: Option<u64>, limit: u32) -> Done {
    let make = || OperatorCall::AuditLog { from: from.unwrap_or(0), limit, newest_first: from.is_none() };
    let mut log = app.everyday(make).await?;
    // People read downwards: the newest stand at the end, where the prompt is.
    if from.is_none()
        && let Some(entries) = log.get_mut("entries").and_then(Value::as_array_mut)
    {
        entries.reverse();
    }
    let all = items(&log, "entries");
    let text = if all.is_empty() { "no entries".to_owned() } else { entries(all) };
    Ok(Output::new(log, text))
}

async fn search(app: &App, wish: &LogWish) -> Done {
    let mut log = app.everyday(|| OperatorCall::AuditSearch(Box::new(wish.clone()))).await?;
    if let Some(entries) = log.get_mut("entries").and_then(Value::as_array_mut) {
        entries.reverse();
    }
    let all = items(&log, "entries");
    let mut text = if all.is_empty() { "nothing of that is on record here".to_owned() } else { entries(all) };
    let edited = joined(&log, "edited");
    if !edited.is_empty() {
        let said = format!(
            "changed since they were written, and not to be believed: {edited} (`keywright audit verify`)"
        );
        text = format!("{}\n{text}", toned(&said, Tone::Bad));
    }
    let looked = field(&log, "looked_down_to");
    let talk = log.get("before").and_then(Value::as_u64).map(|before| match looked.is_empty() {
        true => format!("older ones: the same with --before {before}"),
        false => format!("looked at down to {looked}; further down: the same with --before {before}"),
    });
    let output = Output::new(log, text);
    Ok(match talk {
        Some(talk) => output.talk(talk),
        None => output,
    })
}

fn entries(all: &[Value]) -> String {
    let mut list = List::new(&["entry", "at", "deed", "who", "about", "outcome"]);
    for entry in all {
        let who = entry.get("who").cloned().unwrap_or_default();
        let at = field(entry, "at").parse::<Timestamp>().map_or_else(|_| field(entry, "at"), when::seconds);
        list.row(vec![
            strong(field(entry, "id")),
            plain(at),
            plain(field(entry, "deed")),
            plain(format!("{} {}", field(&who, "kind"), field(&who, "name"))),
            plain(about(entry)),
            outcome(entry),
        ]);
    }
    list.render()
}

fn about(entry: &Value) -> String {
    // A copy in a store goes by its place.
    if let Some(place) = entry.pointer("/facts/place").and_then(Value::as_str) {
        return outside(place);
    }
    let subject = entry.get("subject").cloned().unwrap_or_default();
    let names = ["name", "template", "connection", "key", "request", "project"];
    names.into_iter().map(|name| field(&subject, name)).find(|text| !text.is_empty()).unwrap_or_default()
}

fn outcome(entry: &Value) -> (String, Tone) {
    let stage = field(entry, "stage");
    let effect = entry.get("decision").map(|decision| field(decision, "effect")).unwrap_or_default();
    let went_well = entry.pointer("/result/ok").and_then(Value::as_bool);
    let fact = |name: &str| entry.pointer(&format!("/facts/{name}")).and_then(Value::as_str).map(outside);
    match (effect.as_str(), went_well) {
        ("deny", _) => (effect, Tone::Bad),
        ("", Some(true)) => match (fact("verified"), fact("provider_key_id")) {
            (Some(how), _) => (format!("verified by {how}"), Tone::Good),
            // One key can have had several credentials, some of them copies that nobody asked for.
            (None, Some(id)) => (format!("done: {id}"), Tone::Good),
            (None, None) => ("done".to_owned(), Tone::Good),
        },
        ("", Some(false)) => ("failed".to_owned(), Tone::Bad),
        ("", None) if stage == "note" => plain(fact("phase").unwrap_or_default()),
        ("", None) => plain(stage),
        ("needs-approvals", _) => {
            let needed = entry.pointer("/decision/approvals_needed").and_then(Value::as_u64);
            (needed.map_or_else(|| "pending".to_owned(), |needed| format!("needs {needed}")), Tone::Warn)
        }
        _ => plain(effect),
    }
}

async fn verify(app: &App, checkpoint: Option<&Path>) -> Done {
    app.require_home()?;
    let read = |file| input::text_file(&app.stdin, file, "the checkpoint");
    let older = checkpoint.map(read).transpose()?;
    let (dir, ledger) = (app.home.audit(), app.home.location()?);
    let work =
        move || audit_files::verify_with(&dir, ledger, older.as_deref(), None, &signed_by_whom_it_says());
    let internal = |error: &dyn std::fmt::Display| Failure::new(Code::Internal, error.to_string());
    let report = tokio::task::spawn_blocking(work).await.map_err(|e| internal(&e))?;
    let report = report.map_err(|e| internal(&e))?;
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    let first_bad = report.first_bad().map(|entry| entry.to_string());
    let value = json!({
        "schema": "keywright/verification/1", "sound": report.is_sound(), "log": report.log.as_ref().map(|log| log.as_str()),
        "entries": report.entries, "signed": report.covered, "unsigned": report.unsigned(),
        "root": report.root.to_string(), "first_bad": first_bad, "first": report.first().map(ToString::to_string),
        "findings": findings,
    });
    let (head, exit) = if report.is_sound() {
        (toned("the audit log is sound", Tone::Good), Exit::Done)
    } else {
        (toned("the audit log was tampered with or damaged", Tone::Bad), Exit::Error)
    };
    let facts = Facts::new()
        .add("first bad", first_bad.unwrap_or_default())
        .all("found", findings.iter().take(20).map(|finding| outside(finding)))
        .add("entries", report.entries.to_string())
        .add("signed", report.covered.to_string())
        .add(
            "not yet",
            match report.unsigned() {
                0 => String::new(),
                number => format!("{number} signed yet"),
            },
        )
        .add("root", report.root.to_string());
    let output = Output::new(value, format!("{head}\n{}", facts.render())).exit(exit);
    let is_witnessed = matches!(app.home.witness(), Ok(Some(_)));
    Ok(if checkpoint.is_none() && !is_witnessed && exit == Exit::Done {
        output.talk(
            "to notice a log that was rewritten as a whole, keep a copy of HOME/audit/checkpoint elsewhere",
        )
    } else {
        output
    })
}

async fn export_entries(app: &App) -> Done {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let from = all.len() as u64;
        let make = || OperatorCall::AuditLog { from, limit: PAGE, newest_first: false };
        let mut page = app.everyday(make).await?;
        let Some(Value::Array(entries)) = page.get_mut("entries").map(Value::take) else { break };
        if entries.is_empty() {
            break;
        }
        all.extend(entries);
    }
    let lines: Vec<String> = all.iter().map(ToString::to_string).collect();
    let text = lines.join("\n");
    Ok(Output::new(json!({ "schema": "keywright/entries/1", "entries": all }), text))
}

async fn export_files(app: &App, out: &Path) -> Done {
    app.everyday(|| OperatorCall::AuditPublish).await?;
    let from = app.home.audit();
    std::fs::create_dir(out).map_err(|error| errors::file(out, &error))?;
    let copied = copy(&from, out, 0)?;
    let path = std::path::absolute(out).unwrap_or_else(|_| out.to_owned());
    let value =
        json!({ "schema": "keywright/export/1", "directory": path.display().to_string(), "files": copied });
    let text = format!("{} copied to {}", count(copied, "file", "files"), path.display());
    Ok(Output::new(value, text))
}

/// Copies a directory of plain files; the checkpoint comes last, so that it never promises what is not there yet.
fn copy(from: &Path, to: &Path, depth: u8) -> Result<u64, Failure> {
    if depth > 8 {
        return Err(Failure::new(Code::Internal, "the audit log's directory is deeper than it can be"));
    }
    let io = |error: std::io::Error| errors::file(from, &error);
    let mut names = std::fs::read_dir(from).map_err(io)?.collect::<Result<Vec<_>, _>>().map_err(io)?;
    names.sort_by_key(|entry| (entry.file_name() == "checkpoint", entry.file_name()));
    let mut copied = 0;
    for entry in names {
        let (kind, target) = (entry.file_type().map_err(io)?, to.join(entry.file_name()));
        let failed = |error: std::io::Error| errors::file(&target, &error);
        if kind.is_dir() {
            std::fs::create_dir(&target).map_err(failed)?;
            copied += copy(&entry.path(), &target, depth + 1)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), &target).map_err(failed)?;
            copied += 1;
        }
    }
    Ok(copied)
}
