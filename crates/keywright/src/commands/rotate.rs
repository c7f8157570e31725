//! `keywright key rotate`: each step as it happens, until the old version has ended or takes too long to wait for.

use std::time::Duration;

use jiff::Timestamp;
use keywright_core::plan::Ending;
use keywright_server::call::OperatorCall;
use serde_json::Value;
use tokio::time::sleep;

use super::key::{drain_text, draining, show, told};
use crate::app::App;
use crate::errors::Exit;
use crate::output::{Done, Output, say};
use crate::show::list::{Tone, toned};
use crate::show::{field, items, moments, number, receipt, when};

/// How long a drain may take for which the command waits.
const PATIENCE: i64 = 15 * 60;
/// How often a consumer is tried before the command waits no longer.
const IN_VAIN: u64 = 3;
const LOOK_AGAIN: Duration = Duration::from_millis(300);
/// How long a program's call waits for the successor to be in force.
const WAIT: u32 = 120;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Its id, its name, or project/environment/NAME.
    key: String,
    /// Why; it goes on record.
    #[arg(long, value_name = "T", default_value = "an operator said so")]
    reason: String,
    /// Only begin; what has to follow happens by itself.
    #[arg(long)]
    no_wait: bool,
    /// End the old version of a rotation now, whatever is known of its use.
    #[arg(long, conflicts_with = "no_wait")]
    end_old: bool,
    /// Never end the old version by itself: once idle it is switched off where that can be taken back (`key enable`), and
    /// `--end-old` ends it.
    #[arg(long, conflicts_with = "end_old")]
    keep_old: bool,
    /// The version in force leaked: end it as soon as its successor is in force and consumers were told (ten minutes at
    /// most), used or not.
    #[arg(long, conflicts_with_all = ["end_old", "keep_old"])]
    leaked: bool,
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    let Args { key, reason, no_wait, end_old, keep_old, leaked } = args;
    let ending = match (keep_old, leaked) {
        (true, _) => Some(Ending::Kept),
        (_, true) => Some(Ending::Leaked),
        _ => None,
    };
    if end_old {
        let trace = app.signed(OperatorCall::KeyEndOld { key: key.clone(), reason }).await?;
        if app.json {
            return Ok(Output::new(trace, ""));
        }
        let said = last_entry(&trace);
        return follow(app, &key, said, trace).await;
    }
    let wait_seconds = if app.json { WAIT } else { 0 };
    let make = || OperatorCall::KeyRotate { key: key.clone(), reason: reason.clone(), wait_seconds, ending };
    let before = app.everyday(|| OperatorCall::KeyShow { key: key.clone() }).await?;
    // What ends a version that may be in use takes a passphrase.
    let begun = if leaked { app.signed(make()).await? } else { app.everyday(make).await? };
    let goes_on = ["active", "in_progress"].contains(&field(&begun, "status").as_str());
    if no_wait && field(&begun, "status") == "in_progress" {
        // It began, which is what was asked.
        return receipt::done(begun).map(|output| output.exit(Exit::Done));
    }
    if app.json || no_wait || !goes_on {
        return receipt::done(begun);
    }
    follow(app, &key, last_entry(&before), begun).await
}

/// Says each step as it happens. The key's entries up to number `said` were told already.
async fn follow(app: &App, key: &str, mut said: u64, begun: Value) -> Done {
    let mut waits_for = String::new();
    loop {
        app.tick().await;
        let trace = app.everyday(|| OperatorCall::KeyShow { key: key.to_owned() }).await?;
        for moment in items(&trace, "timeline").iter().filter(|moment| entry_of(moment) > said) {
            say(&line_of(moment));
        }
        said = said.max(last_entry(&trace));
        let under_way = trace.get("under_way").filter(|saga| field(saga, "what") == "rotate");
        let Some(saga) = under_way else { return ended(trace, &begun) };
        let now = Timestamp::now();
        let is_kept = field(&trace, "ending") == "kept";
        let (phase, trouble) = (field(saga, "phase"), field(saga, "trouble"));
        let waits_long = |(_, drain): &(u64, &Value)| phase == "switched" && !waits_soon(drain, now);
        if let Some((version, drain)) = draining(&trace).into_iter().find(waits_long) {
            let line = format!("{}: {}", toned("draining", Tone::Warn), drain_text(version, drain, now));
            let text = show(&trace);
            return Ok(Output::new(trace, text).talk(line).talk(
                "next: nothing; the broker ends the old version once it is idle (keywright serve has to run); `keywright \
                 key show` says how far it is",
            ));
        }
        let in_vain =
            |telling: &&&Value| field(telling, "state") == "owed" && number(telling, "tries") >= IN_VAIN;
        if let Some(telling) = told(&trace).iter().find(in_vain).filter(|_| phase == "switched") {
            let line = format!(
                "{}: consumer {} could not be told: {}",
                toned("draining", Tone::Warn),
                field(telling, "consumer"),
                field(telling, "trouble")
            );
            let text = show(&trace);
            return Ok(Output::new(trace, text).talk(line).talk(
                "next: see to it, or remove it (`keywright consumer remove`); the broker tries again by itself (keywright \
                 serve has to run), and the old version works until then",
            ));
        }
        let is_idle = draining(&trace).iter().any(|(_, drain)| field(drain, "verdict") == "idle");
        if is_kept && (phase == "disabled" || (phase == "switched" && is_idle && !trouble.is_empty())) {
            let text = show(&trace);
            return Ok(
                Output::new(trace.clone(), text).talk(format!("{}: {trouble}", toned("kept", Tone::Warn)))
            );
        }
        if trouble != waits_for && !trouble.is_empty() {
            say(&format!("  {}  {trouble}", toned("waits", Tone::Warn)));
            waits_for = trouble;
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Whether it is worth waiting at the terminal for a version to be idle.
fn waits_soon(drain: &Value, now: Timestamp) -> bool {
    let Ok(idle_at) = field(drain, "idle_at").parse::<Timestamp>() else {
        return !field(drain, "word").is_empty() || field(drain, "verdict") == "idle";
    };
    idle_at.as_second() - now.as_second() <= PATIENCE
}

fn ended(trace: Value, begun: &Value) -> Done {
    let text = show(&trace);
    let last = items(&trace, "entries")
        .iter()
        .rev()
        .find(|entry| field(entry, "deed") == "key.rotate" && field(entry, "stage") == "outcome");
    let result = last.and_then(|entry| entry.get("result")).cloned().unwrap_or_default();
    if result.get("ok").and_then(Value::as_bool).unwrap_or(false) {
        return Ok(Output::new(trace, text));
    }
    let request = field(begun, "request");
    let why = field(&result, "message");
    let failed = keywright_server::answer::Failure::new(
        keywright_broker::Code::Provider,
        format!("the rotation came to nothing: {why}"),
    );
    Err(failed.hint(format!(
        "the key works as before; `keywright review show {request}` and `keywright audit trace` say what happened"
    )))
}

/// A moment of the key's life, as a line.
fn line_of(moment: &Value) -> String {
    let at = field(moment, "at").parse::<Timestamp>().map(when::seconds).unwrap_or_default();
    let time = at.get(11..).unwrap_or_default().to_owned();
    format!("  {time}  {}", moments::line(moment))
}

/// The number of the last entry that is known of a key.
fn last_entry(trace: &Value) -> u64 {
    items(trace, "entries").last().map_or(0, |entry| number(entry, "index"))
}

/// The number of the entry that a moment is from.
fn entry_of(moment: &Value) -> u64 {
    field(moment, "entry").rsplit('_').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
