//! `keywright status`

use keywright_server::call::Call;
use serde_json::{Value, json};

use crate::app::App;
use crate::output::{Done, Output};
use crate::show::facts::Facts;
use crate::show::list::{Tone, toned};
use crate::show::{count, field, items, number, outside};

/// Show the home, whether a broker serves it, and what waits.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One line about what waits, for a prompt or a status bar; nothing where nothing does, and where no broker serves.
    #[arg(long)]
    short: bool,
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    let is_serving = app.is_serving().await?;
    let has_home = app.has_home()?;
    let value = if is_serving {
        app.call(&Call::Anybody).await?
    } else {
        json!({
            "schema": "keywright/status/1", "version": env!("CARGO_PKG_VERSION"),
            "home": app.home.root().display().to_string(), "exists": has_home, "serving": false,
        })
    };
    let text = if args.short { short(&value) } else { long(&value) };
    let exists = is_serving || has_home;
    let output = Output::new(value, text);
    Ok(match (exists, is_serving || args.short) {
        (false, _) if !args.short => output.talk("next: keywright init"),
        (true, false) => output.talk("next: keywright serve --detach"),
        _ => output,
    })
}

fn short(status: &Value) -> String {
    let Some(health) = status.get("health").filter(|_| is(status, "serving")) else {
        return String::new();
    };
    if health.get("read_only").is_some_and(|why| !why.is_null()) {
        return "only revokes: see `keywright status`".to_owned();
    }
    let (pending, high) = (number(health, "requests_pending"), number(health, "requests_high"));
    let failing = items(health, "channels_failing").len() as u64;
    // What asks for nobody's attention is not said: it stands in a prompt.
    [
        (pending, if high > 0 { format!("to review ({high} HIGH)") } else { "to review".to_owned() }),
        (number(health, "revocations_owed"), plural(number(health, "revocations_owed"), "debt")),
        (number(health, "attempts_uncertain"), "uncertain".to_owned()),
        (number(health, "drains_late"), "replaced and still alive".to_owned()),
        (number(health, "rotations_failing"), "not rotated".to_owned()),
        (number(health, "versions_back"), "gone and back".to_owned()),
        (number(health, "consumers_untold"), "not told".to_owned()),
        (number(health, "parents_renewing"), "parents under way".to_owned()),
        (failing, plural(failing, "channel") + if failing == 1 { " fails" } else { " fail" }),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, words)| format!("{number} {words}"))
    .collect::<Vec<_>>()
    .join(", ")
}

fn plural(number: u64, one: &str) -> String {
    if number == 1 { one.to_owned() } else { format!("{one}s") }
}

/// What was gone at its provider, and is there again.
fn back(number: u64) -> String {
    if number == 0 {
        return String::new();
    }
    let said = count(number, "credential was gone and is back", "credentials were gone and are back");
    toned(&format!("{said} (`keywright reconcile`)"), Tone::Warn)
}

fn long(status: &Value) -> String {
    let is_serving = is(status, "serving");
    let broker = match (is_serving, is(status, "exists")) {
        (true, _) => toned("serving", Tone::Good),
        (false, true) => toned("not serving", Tone::Warn),
        (false, false) => "no home there yet".to_owned(),
    };
    let mut facts = Facts::new().add("home", field(status, "home")).add("broker", broker);
    if let Some(health) = status.get("health").filter(|_| is_serving) {
        facts = facts
            .add("keys", format!("{} active", number(health, "keys_active")))
            .add("to review", to_review(health))
            .add("under way", count(number(health, "sagas_open"), "saga", "sagas"))
            .add("owed", count(number(health, "revocations_owed"), "revocation", "revocations"))
            .add("late", late(number(health, "drains_late")))
            .add("not rotated", failing(number(health, "rotations_failing")))
            .add("back", back(number(health, "versions_back")))
            .add("not told", untold(number(health, "consumers_untold")))
            .add("channels", deaf(health))
            .add("parents", renewing(number(health, "parents_renewing")))
            .add("uncertain", uncertain(number(health, "attempts_uncertain")))
            .add("audit log", count(number(health, "audit_entries"), "entry", "entries"));
    }
    if let Some(why) = status.pointer("/health/clock").and_then(Value::as_str) {
        facts = facts.add("clock", toned(why, Tone::Warn));
    }
    if let Some(why) = status.pointer("/health/read_only").and_then(Value::as_str) {
        facts = facts.add("only revokes", toned(why, Tone::Bad));
    }
    if let Some(why) = status.pointer("/health/unsigned").and_then(Value::as_str) {
        facts = facts.add("not signed", toned(why, Tone::Warn));
    }
    if let Some(why) = status.pointer("/health/witness").and_then(Value::as_str) {
        facts = facts.add("second place", toned(why, Tone::Warn));
    }
    if let Some(why) = status.pointer("/health/clock_off").and_then(Value::as_str) {
        facts = facts.add("makes no keys", toned(why, Tone::Bad));
    }
    facts.add("version", field(status, "version")).render()
}

/// What waits, and how much of it there is much to lose with.
fn to_review(health: &Value) -> String {
    let waits = count(number(health, "requests_pending"), "request", "requests");
    match number(health, "requests_high") {
        0 => waits,
        high => format!("{waits}, {}", toned(&format!("{high} HIGH"), Tone::Bad)),
    }
}

/// Channels that tell nobody.
fn deaf(health: &Value) -> String {
    let failing: Vec<String> =
        items(health, "channels_failing").iter().filter_map(Value::as_str).map(outside).collect();
    match failing.as_slice() {
        [] => String::new(),
        all => format!("the last tries to tell somebody failed: {}", all.join("; ")),
    }
}

/// Keys whose rotation does not come about.
fn failing(keys: u64) -> String {
    match keys {
        0 => String::new(),
        _ => toned(
            &format!(
                "{} could not be rotated when due; `keywright key show KEY` says why",
                count(keys, "key", "keys")
            ),
            Tone::Bad,
        )
        .to_string(),
    }
}

/// What it means that attempts are uncertain, and what comes next.
fn uncertain(attempts: u64) -> String {
    let number = count(attempts, "attempt", "attempts");
    match attempts {
        0 => number,
        _ => format!(
            "{number} to make a key got no answer: one may live at the provider whose secret nobody has. It is looked for \
             every two minutes, revoked when found, and let go once its create can take no effect any more; nothing has to be done"
        ),
    }
}

fn is(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// Parent credentials that are being replaced.
fn renewing(number: u64) -> String {
    match number {
        0 => String::new(),
        number => format!(
            "{} being replaced, or the one before is not gone yet: it is tried until it is, also by `keywright reconcile`",
            count(number, "parent credential is", "parent credentials are")
        ),
    }
}

/// Consumers that could not be told of a successor.
fn untold(number: u64) -> String {
    match number {
        0 => String::new(),
        number => format!(
            "{} of a successor could not be delivered so far, and the old version waits for it: `keywright key show` says which",
            count(number, "message", "messages")
        ),
    }
}

/// Versions that were replaced and live longer than they should.
fn late(number: u64) -> String {
    match number {
        0 => String::new(),
        number => format!(
            "{} replaced, and used or of unknown use for too long: `keywright key show` says which",
            count(number, "version is", "versions are")
        ),
    }
}
