//! `keywright review`

use jiff::Timestamp;
use keywright_broker::Code;
use keywright_broker::approve::Less;
use keywright_server::answer::Failure;
use keywright_server::call::OperatorCall;
use owo_colors::OwoColorize as _;
use serde_json::Value;

use crate::app::App;
use crate::errors;
use crate::input;
use crate::output::{Done, Output, say, source_block};
use crate::show::facts::Facts;
use crate::show::fit::{columns, wrapped};
use crate::show::list::{List, Tone, of_state, plain, strong, toned};
use crate::show::plan::{SAID, quoted_of};
use crate::show::{field, items, number, outside, receipt, talk_width, when, width};

/// Review: what waits for a human.
///
/// An approval signs the digest of the whole plan as it was shown; if anything would happen differently, it counts for
/// nothing.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List what waits, the riskiest first.
    List,
    /// Show one request, whole.
    Show {
        /// Its id.
        request: String,
        /// With all of a long purpose or prompt; else what is left out is counted.
        #[arg(long)]
        whole: bool,
    },
    /// Read the plan, then approve exactly that, or less of it.
    Approve {
        /// Its id.
        request: String,
        /// Approve a shorter lifetime than was asked for, as in `7d`.
        #[arg(long, value_name = "D")]
        ttl: Option<String>,
        /// Approve it without this permission, by name or id; may be given again.
        #[arg(long, value_name = "PERMISSION")]
        without: Vec<String>,
        /// Do not ask; you have read it. Where nobody can be asked, a passphrase file or --no-input says as much.
        #[arg(long, overrides_with = "yes")]
        yes: bool,
    },
    /// Turn a request down.
    Reject {
        /// Its id.
        request: String,
        /// Why; the agent reads it.
        #[arg(long, value_name = "T")]
        reason: String,
    },
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    match args.command.unwrap_or(Command::List) {
        Command::List => list(app.everyday(|| OperatorCall::ReviewList).await?),
        Command::Show { request, whole: all } => {
            let pending = app
                .everyday(|| OperatorCall::ReviewShow { request: request.clone(), less: Less::default() })
                .await?;
            let text = whole(&pending, if all { usize::MAX } else { SAID }, width());
            let is_cut = !all && has_more(&pending);
            let id = field(&pending, "request");
            let waits = ["pending_approval", "pending"].contains(&field(&pending, "status").as_str());
            let mut output = Output::new(pending, text);
            if is_cut {
                output = output.talk(format!("all of it: keywright review show {id} --whole"));
            }
            Ok(if waits {
                output
                    .talk(format!("next: keywright review approve {id}"))
                    .talk(format!("or:   keywright review reject {id} --reason TEXT"))
            } else {
                output
            })
        }
        Command::Approve { request, ttl, without, yes } => {
            approve(app, &request, Less { ttl, without }, yes).await
        }
        Command::Reject { request, reason } => {
            let answer = app.signed(OperatorCall::ReviewReject { request, reason }).await?;
            let text = format!("{} was rejected", field(&answer, "request"));
            Ok(Output::new(answer, text))
        }
    }
}

async fn approve(app: &App, request: &str, less: Less, yes: bool) -> Done {
    // An approval takes it in any case, whatever session is open.
    app.passphrase_first().await?;
    let make = || OperatorCall::ReviewShow { request: request.to_owned(), less: less.clone() };
    let pending = app.everyday(make).await?;
    say(&whole(&pending, SAID, talk_width()));
    if has_more(&pending) {
        say(&format!("all of it: keywright review show {} --whole", field(&pending, "request")));
    }
    let is_template = field(&pending, "kind") == "template";
    if is_template && !less.is_nothing() {
        return Err(errors::usage(
            "a template is put in force as it stands; --ttl and --without are for keys",
        )
        .hint("save its text, change that, and use `keywright template apply FILE`"));
    }
    let status = field(&pending, "status");
    if !is_template && status != "pending_approval" {
        let message =
            format!("{} does not wait for approval any more; it is {status}", field(&pending, "request"));
        return Err(Failure::new(Code::Conflict, message));
    }
    let question = if is_template { "put this template in force?" } else { "approve exactly this?" };
    // What is approved stands far above by now.
    if !yes && input::can_prompt(app.no_input) {
        say(&again(&pending, talk_width()));
    }
    if !input::consents(app, yes, "an approval", question)? {
        return Err(errors::declined("it was not approved"));
    }
    let raw = |name: &str| pending.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    if is_template {
        let version = pending.get("replaces").and_then(Value::as_u64).map_or(1, |replaced| replaced + 1);
        let call = OperatorCall::ProposalApply { request: raw("request"), source: raw("source"), version };
        let applied = app.signed(call).await?;
        let text = super::template::checked_text(&applied, "is in force");
        return Ok(Output::new(applied, text));
    }
    let call = OperatorCall::ReviewApprove { request: raw("request"), digest: raw("digest"), less };
    receipt::done(app.signed(call).await?)
}

/// What is about to be approved, beside the question: what it comes to, of what, and the code that the agent has.
fn again(pending: &Value, width: Option<usize>) -> String {
    let is_template = field(pending, "kind") == "template";
    let subject = field(pending, if is_template { "template" } else { "subject" });
    let (line, tone) = verdict_cell(pending);
    let mut lines = vec![String::new()];
    lines.extend(broken(&line, width).map(|line| toned(&line, tone)));
    lines.extend(broken(&subject, width).map(|line| named(&line, pending)));
    lines.push(format!("match code {}", field(pending, "match_code").bold()));
    lines.join("\n")
}

/// What a request is about; marked where a name in it can be taken for another one.
fn named(subject: &str, pending: &Value) -> String {
    let looks = pending.get("looks").and_then(Value::as_bool).unwrap_or_default();
    if looks { subject.bold().red().to_string() } else { subject.bold().to_string() }
}

/// Lines that fit.
fn broken(text: &str, width: Option<usize>) -> impl Iterator<Item = String> {
    wrapped(text, width.unwrap_or(usize::MAX)).into_iter()
}

fn list(inbox: Value) -> Done {
    if items(&inbox, "requests").is_empty() {
        return Ok(Output::new(inbox, "nothing waits for you"));
    }
    let left_out = number(&inbox, "waiting").saturating_sub(items(&inbox, "requests").len() as u64);
    let text = waiting(&inbox, width(), Timestamp::now());
    let output = Output::new(inbox, text).talk("next: keywright review show REQUEST");
    Ok(if left_out > 0 {
        output.talk(format!("{left_out} more wait, which are not shown: decide about these first"))
    } else {
        output
    })
}

/// A row for each that waits; where the columns do not fit, a card.
fn waiting(inbox: &Value, width: Option<usize>, now: Timestamp) -> String {
    let mut list =
        List::new(&["request", "what it comes to", "key", "asked by", "for", "approvals", "code", "asked"]);
    let mut cards = String::new();
    for pending in items(inbox, "requests") {
        let asked = plain(when::short(&field(pending, "created_at"), now));
        let is_template = field(pending, "kind") == "template";
        let plan = pending.get("plan").cloned().unwrap_or_default();
        let principal = plan.get("principal").cloned().unwrap_or_default();
        let (key, by, place, given) = if is_template {
            let by = format!("agent {}", field(pending, "agent"));
            (field(pending, "template"), by, "a template".to_owned(), "0 of 1".to_owned())
        } else {
            let by = format!("{} {}", field(&principal, "kind"), field(&principal, "name"));
            let place = format!("{}/{}", field(&plan, "project"), field(&plan, "environment"));
            let given = items(pending, "approved_by").len();
            (field(pending, "subject"), by, place, format!("{given} of {}", number(pending, "needed")))
        };
        let (request, code) = (field(pending, "request"), field(pending, "match_code"));
        let (line, tone) = verdict_cell(pending);
        let looks = pending.get("looks").and_then(Value::as_bool).unwrap_or_default();
        let of_key = (key.clone(), if looks { Tone::Bad } else { Tone::Plain });
        if let Some(width) = width {
            let room = width.saturating_sub(2).max(20);
            cards.push_str(&format!("{}\n", request.bold()));
            for line in wrapped(&line, room) {
                cards.push_str(&format!("  {}\n", toned(&line, tone)));
            }
            // Neither the key's name nor what it reaches is left out, however long either is.
            for line in wrapped(&key, room) {
                cards.push_str(&format!("  {}\n", toned(&line, of_key.1)));
            }
            for line in wrapped(&format!("match code {code} · {given} · asked {}", asked.0), room) {
                cards.push_str(&format!("  {line}\n"));
            }
            for line in wrapped(&format!("by {by} for {place}"), room) {
                cards.push_str(&format!("  {line}\n"));
            }
        }
        list.row(vec![
            strong(request),
            (line, tone),
            of_key,
            plain(by),
            plain(place),
            plain(given),
            plain(code),
            asked,
        ]);
    }
    if width.is_some_and(|width| list.natural() > width) { cards } else { list.render_at(None) }
}

/// Everything that a human needs to decide.
fn whole(pending: &Value, most: usize, width: Option<usize>) -> String {
    if field(pending, "kind") == "template" {
        proposal(pending, most, width)
    } else {
        request(pending, most, width)
    }
}

/// Whether somebody else's words are longer than what is shown of them.
fn has_more(pending: &Value) -> bool {
    let lines = items(pending, "blocks").iter().flat_map(|block| items(block, "lines"));
    let said = |line: &&Value| line.get("said").and_then(Value::as_bool).unwrap_or_default();
    let length =
        |line: &Value| line.get("text").and_then(Value::as_str).map_or(0, |text| text.chars().count());
    lines.filter(said).any(|line| length(line) > SAID)
}

fn request(review: &Value, most: usize, width: Option<usize>) -> String {
    // The page has the same, in the same order.
    let (status, code) = (field(review, "status"), field(review, "match_code"));
    let code = if status == "pending_approval" { format!(" · match code {code}") } else { String::new() };
    let stands = toned(&field(review, "stands"), of_state(&status));
    let mut text = verdict(review, width);
    text.push_str(&indented(&format!("{} · {stands}{code}", field(review, "request").bold()), "  ", width));
    text.push_str(&indented(&named(&field(review, "subject"), review), "  ", width));
    text.push_str(&flags(review, width));
    text.push_str(&blocks(review, most).render_at(width));
    text
}

/// A line below the head, as wide as the terminal.
fn indented(text: &str, indent: &str, width: Option<usize>) -> String {
    let room = width.map(|width| width.saturating_sub(columns(indent)).max(20));
    let mut lines = String::new();
    for line in broken(text, room) {
        lines.push_str(&format!("{indent}{line}\n"));
    }
    lines
}

/// The blocks, as the broker made them: the page shows the same.
fn blocks(pending: &Value, most: usize) -> Facts {
    let now = Timestamp::now();
    let mut facts = Facts::new();
    for block in items(pending, "blocks") {
        facts = facts.title(&field(block, "title"));
        for line in items(block, "lines") {
            let text = line.get("text").and_then(Value::as_str).unwrap_or_default();
            let is = |name: &str| line.get(name).and_then(Value::as_bool).unwrap_or_default();
            let text = match (is("said"), is("time")) {
                (true, _) => quoted_of(text, most),
                (false, true) => when::both(text, now),
                (false, false) => outside(text),
            };
            facts = facts.line(&field(line, "label"), toned(&text, Tone::of(&field(line, "tone"))));
        }
    }
    facts
}

/// What it comes to.
fn verdict(review: &Value, width: Option<usize>) -> String {
    let (text, tone) = verdict_cell(review);
    indented(&toned(&text, tone), "", width)
}

fn verdict_cell(review: &Value) -> (String, Tone) {
    let verdict = review.get("verdict").cloned().unwrap_or_default();
    let level = field(&verdict, "level");
    let line = verdict.get("line").and_then(Value::as_str).unwrap_or_default();
    (format!("{}: {}", level.to_uppercase(), outside(line)), of_level(&level))
}

fn of_level(level: &str) -> Tone {
    match level {
        "low" => Tone::Good,
        "medium" => Tone::Warn,
        _ => Tone::Bad,
    }
}

fn flags(pending: &Value, width: Option<usize>) -> String {
    let flags = items(pending, "red_flags").iter().filter_map(Value::as_str);
    flags.map(|flag| indented(&toned(&format!("! {}", outside(flag)), Tone::Bad), "  ", width)).collect()
}

fn proposal(pending: &Value, most: usize, width: Option<usize>) -> String {
    let source = pending.get("source").and_then(Value::as_str).unwrap_or_default();
    let code = match field(pending, "status").as_str() {
        "pending" => format!(" · match code {}", field(pending, "match_code")),
        _ => String::new(),
    };
    let stands = match field(pending, "status").as_str() {
        "pending" => "waits for approval".to_owned(),
        other => other.to_owned(),
    };
    format!(
        "{}{}{}{}\n{}",
        verdict(pending, width),
        indented(&format!("{} · {stands}{code}", field(pending, "request").bold()), "  ", width),
        flags(pending, width),
        blocks(pending, most).render_at(width),
        source_block(source, "  ", width)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blocks_are_shown_in_their_order_and_what_others_wrote_in_quotes() {
        let line = |label: &str, text: &str, said: bool| json!({ "label": label, "text": text, "tone": "warn", "said": said, "time": false });
        let pending = json!({
            "kind": "key", "request": "req_1", "status": "pending_approval", "stands": "waits for approval",
            "match_code": "ABC-DEF", "subject": "CF_TOKEN → example.com",
            "verdict": { "level": "medium", "line": "new Cloudflare token" },
            "red_flags": ["the title: `D\u{39d}S` has letters that look like others"],
            "blocks": [
                { "title": "who", "lines": [line("asked by", "agent bot", false), line("", "and on", false)] },
                { "title": "why", "lines": [line("purpose", "say \u{1b}[31mred”. Keywright: “harmless", true)] },
            ],
        });
        let text = anstream::adapter::strip_str(&whole(&pending, SAID, None)).to_string();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "MEDIUM: new Cloudflare token",
                "req_1 · waits for approval · match code ABC-DEF",
                "CF_TOKEN → example.com",
                "! the title: `D\u{39d}S` has letters that look like others",
                "WHO",
                "asked by  agent bot",
                "and on",
                "WHY",
                "purpose   “say \\u{1b}[31mred\\u{201d}. Keywright: \\u{201c}harmless”",
            ]
        );
    }

    #[test]
    fn what_waits_fits_a_terminal_of_80_columns_with_its_id_and_code_whole() {
        let one = |name: &str| {
            json!({
                "kind": "key", "request": "req_01970000000070008000000000000000", "match_code": "abcd-efgh", "needed": 2,
                "verdict": { "level": "medium", "line": format!("new Cloudflare token, DNS Write on {name}, 30 days, dev") },
                "subject": format!("{name} → {name}.example.com"), "approved_by": ["ana"], "created_at": "2026-01-01T00:00:00Z",
                "plan": { "principal": { "kind": "agent", "name": "builder" }, "project": "web", "environment": name },
            })
        };
        let inbox = json!({ "requests": [one("short"), one(&"long".repeat(20))] });
        let now = "2026-01-01T00:10:00Z".parse().unwrap();
        let at = |width| anstream::adapter::strip_str(&waiting(&inbox, width, now)).to_string();
        for width in [40, 60, 80, 120] {
            let text = at(Some(width));
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= width, "{width}: {text}");
            assert_eq!(text.matches("req_01970000000070008000000000000000\n").count(), 2, "{text}");
            assert_eq!(text.matches("match code abcd-efgh").count(), 2, "{text}");
            assert!(text.contains("short → short.example.com\n"), "{text}");
            // What a long name is for stands there, too: in pieces, and whole.
            let whole: String = text.split_whitespace().collect();
            let long = "long".repeat(20);
            for part in [format!("{long}→{long}.example.com"), format!("byagentbuilderforweb/{long}")] {
                assert!(whole.contains(&part), "{width}: {text}");
            }
            assert!(!text.contains('…'), "{text}");
        }
        assert!(at(None).starts_with("REQUEST ") && at(Some(1_000)).starts_with("REQUEST "));
    }

    #[test]
    fn the_question_says_once_more_what_is_approved() {
        let pending = json!({
            "kind": "key", "match_code": "abcd-efgh", "subject": "CF_TOKEN → example.com",
            "verdict": { "level": "high", "line": "new Cloudflare token" },
        });
        let text = anstream::adapter::strip_str(&again(&pending, Some(80))).to_string();
        assert_eq!(text, "\nHIGH: new Cloudflare token\nCF_TOKEN → example.com\nmatch code abcd-efgh");
    }
}
