//! The life of a key, a moment a line: the words are the broker's, as on the key's page.

use jiff::Timestamp;
use serde_json::Value;

use super::list::{List, Tone, toned};
use super::plan::quoted;
use super::{field, number, when};

/// What happened, and why in somebody's words.
pub(crate) fn what(moment: &Value) -> (String, Tone) {
    let (what, said, times) = (field(moment, "what"), field(moment, "said"), number(moment, "times"));
    let times = if times > 1 { format!(", {times} times in a row") } else { String::new() };
    let said = if said.is_empty() { String::new() } else { format!(": {}", quoted(&said)) };
    (format!("{what}{times}{said}"), Tone::of(&field(moment, "tone")))
}

/// The same in its colour.
pub(crate) fn line(moment: &Value) -> String {
    let (text, tone) = what(moment);
    toned(&text, tone)
}

/// All of them, oldest first.
pub(crate) fn list(moments: &[Value]) -> String {
    let mut list = List::new(&["when", "what", "who", "entry"]);
    for moment in moments {
        let at = field(moment, "at").parse::<Timestamp>().map_or_else(|_| field(moment, "at"), when::seconds);
        let is_signed = moment.get("signed").and_then(Value::as_bool).unwrap_or_default();
        let signed = if is_signed { ", signed" } else { "" };
        list.row(vec![
            (at, Tone::Strong),
            what(moment),
            (format!("{}{signed}", field(moment, "who")), Tone::Plain),
            (field(moment, "entry"), Tone::Plain),
        ]);
    }
    list.render()
}
