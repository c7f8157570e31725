//! `keywright spend`

use jiff::Timestamp;
use keywright_server::call::OperatorCall;
use serde_json::Value;

use crate::app::App;
use crate::errors::Exit;
use crate::output::{Done, Output};
use crate::show::list::{List, Tone, plain, strong, toned};
use crate::show::{count, field, items, number, outside, when};

/// What keys used and cost, as their providers count it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// By what it is summed up.
    #[arg(long, value_name = "WHAT", default_value = "key",
        value_parser = ["key", "project", "environment", "agent", "purpose"])]
    by: String,
    /// Only what was spent in this time, as in `30d`.
    #[arg(long, value_name = "D")]
    since: Option<String>,
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    let make = || OperatorCall::Spend { by: args.by.clone(), since: args.since.clone() };
    let spent = app.everyday(make).await?;
    let now = Timestamp::now();
    let mut list = List::new(&[heading(&args.by), "cost", "tokens", "keys", "last counted"]);
    let (mut is_partial, mut is_mixed) = (false, false);
    for row in items(&spent, "rows") {
        let misses = row.get("is_partial").and_then(Value::as_bool).unwrap_or(false);
        is_partial |= misses;
        is_mixed |= [("cost_microusd", "cost_unknown"), ("tokens", "tokens_unknown")]
            .iter()
            .any(|(sum, unknown)| !row[*sum].is_null() && number(row, unknown) > 0);
        let name = field(row, "name");
        list.row(vec![
            strong(if name.is_empty() { "(none given)".to_owned() } else { name }),
            plain(at_least(dollars(row), misses || number(row, "cost_unknown") > 0)),
            plain(at_least(tokens(row), misses || number(row, "tokens_unknown") > 0)),
            plain(number(row, "keys").to_string()),
            plain(when::short(&field(row, "counted_at"), now)),
        ]);
    }
    let (rows, unmetered) = (items(&spent, "rows").len(), number(&spent, "unmetered"));
    let unread: Vec<String> = spent
        .get("unread")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, why)| format!("{}: {}", outside(name), outside(why.as_str().unwrap_or_default())))
        .collect();
    let text = if rows == 0 { "nothing was counted yet".to_owned() } else { list.render() };
    let exit = if unread.is_empty() { Exit::Done } else { Exit::Outside };
    let mut output = Output::new(spent, text).exit(exit);
    for one in unread {
        output = output.talk(format!("{}: {one}", toned("not counted now", Tone::Warn)));
    }
    if is_partial {
        output = output.talk("at least: nobody counted at the beginning of that time");
    }
    if is_mixed {
        output = output.talk("at least: not every provider in a sum tells both cost and tokens");
    }
    if unmetered > 0 {
        output = output.talk(format!(
            "{} not in it: their providers count nothing by key, or did not yet",
            count(unmetered, "key", "keys")
        ));
    }
    Ok(output)
}

fn heading(by: &str) -> &'static str {
    match by {
        "project" => "project",
        "environment" => "environment",
        "agent" => "asked by",
        "purpose" => "purpose",
        _ => "key",
    }
}

/// US dollars; a little more than nothing is not shown as nothing.
fn dollars(row: &Value) -> String {
    match row.get("cost_microusd").and_then(Value::as_u64) {
        None => "?".to_owned(),
        Some(1..=4_999) => "under $0.01".to_owned(),
        Some(micro) => {
            let cents = micro.saturating_add(5_000) / 10_000;
            format!("${}.{:02}", thousands(cents / 100), cents % 100)
        }
    }
}

fn tokens(row: &Value) -> String {
    row.get("tokens").and_then(Value::as_u64).map_or_else(|| "?".to_owned(), thousands)
}

/// What is known, where there may be more.
fn at_least(text: String, may_be_more: bool) -> String {
    if may_be_more && text != "?" { format!("at least {text}") } else { text }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn money_and_numbers_are_written_as_people_read_them() {
        for (micro, text) in [
            (0_u64, "$0.00"),
            (1, "under $0.01"),
            (4_999, "under $0.01"),
            (5_000, "$0.01"),
            (1_234_567, "$1.23"),
            (1_235_000, "$1.24"),
            (12_345_678_900_000, "$12,345,678.90"),
        ] {
            assert_eq!(dollars(&json!({ "cost_microusd": micro })), text, "{micro}");
        }
        assert_eq!(dollars(&json!({ "cost_microusd": null })), "?");
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }
}
