//! JSON files that other people wrote: one value is put in, and everything else stays as it is, byte for byte.

use std::ops::Range;

use serde::Serialize as _;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

/// Puts a value at the end of a path of object keys. Objects on the way that are missing are made; a value that is
/// there is replaced. `None` when the text is not plain JSON, or something on the way is no object.
pub(super) fn put(text: &str, path: &[&str], value: &Value) -> Option<String> {
    if text.trim().is_empty() {
        return put("{}\n", path, value);
    }
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let style = Style::of(text);
    let mut start = skip_blank(text, 0);
    for (depth, name) in path.iter().enumerate() {
        let object = Object::read(text, start)?;
        let rest = path.get(depth + 1..)?;
        let Some(found) = object.members.iter().rev().find(|member| member.name == *name) else {
            let member = rest.iter().rev().fold(value.clone(), |inner, name| {
                Value::Object([((*name).to_owned(), inner)].into_iter().collect())
            });
            return Some(object.insert(text, name, &member, depth + 1, &style));
        };
        if rest.is_empty() {
            let shown = style.render(value, depth + 1);
            return Some(replace(text, found.value.clone(), &shown));
        }
        start = found.value.start;
    }
    None
}

/// How a file is written.
struct Style {
    /// One step of indentation; `None` when everything stands on one line.
    step: Option<String>,
    line_break: &'static str,
}

impl Style {
    fn of(text: &str) -> Self {
        let line_break = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let after_brace = text.trim_start().strip_prefix('{').unwrap_or_default();
        let blank = after_brace.len() - after_brace.trim_start().len();
        let indent = after_brace.get(..blank).unwrap_or_default();
        let step = match indent.rsplit_once('\n') {
            Some((_, step)) if !step.is_empty() => Some(step.to_owned()),
            Some(_) => Some("  ".to_owned()),
            None if after_brace.trim_start().starts_with('}') => Some("  ".to_owned()),
            None => None,
        };
        Self { step, line_break }
    }

    fn new_line(&self, depth: usize) -> String {
        self.step
            .as_ref()
            .map_or_else(String::new, |step| format!("{}{}", self.line_break, step.repeat(depth)))
    }

    /// A value that stands so deep.
    fn render(&self, value: &Value, depth: usize) -> String {
        let Some(step) = &self.step else { return value.to_string() };
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(step.as_bytes());
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
        // Writing to memory can't fail, and what serde_json writes is UTF-8.
        let _ = value.serialize(&mut serializer);
        String::from_utf8_lossy(&bytes).replace('\n', &self.new_line(depth))
    }
}

/// An object in a text, which is known to be JSON.
struct Object {
    /// Right behind its brace.
    start: usize,
    members: Vec<Member>,
}

struct Member {
    name: String,
    value: Range<usize>,
}

impl Object {
    fn read(text: &str, at: usize) -> Option<Self> {
        let start = after(text, at, '{')?;
        let mut object = Self { start, members: Vec::new() };
        let mut at = skip_blank(text, start);
        while after(text, at, '}').is_none() {
            let (name, end) = one::<String>(text, at)?;
            let value = skip_blank(text, after(text, skip_blank(text, end), ':')?);
            let (IgnoredAny, end) = one(text, value)?;
            object.members.push(Member { name, value: value..end });
            at = skip_blank(text, end);
            at = after(text, at, ',').map_or(at, |next| skip_blank(text, next));
        }
        Some(object)
    }

    /// A member goes in front of the others: so no line changes but those that are new.
    fn insert(&self, text: &str, name: &str, value: &Value, depth: usize, style: &Style) -> String {
        let (before, behind) = (style.new_line(depth), style.new_line(depth - 1));
        let member = format!("{before}{}: {}", Value::from(name), style.render(value, depth));
        if self.members.is_empty() {
            let end = skip_blank(text, self.start);
            return replace(text, self.start..end, &format!("{member}{behind}"));
        }
        let gap = if style.step.is_some() { "" } else { " " };
        replace(text, self.start..self.start, &format!("{member},{gap}"))
    }
}

fn replace(text: &str, range: Range<usize>, by: &str) -> String {
    let head = text.get(..range.start).unwrap_or_default();
    let tail = text.get(range.end..).unwrap_or_default();
    format!("{head}{by}{tail}")
}

/// One JSON value, and where it ends.
fn one<T: DeserializeOwned>(text: &str, at: usize) -> Option<(T, usize)> {
    let mut stream = serde_json::Deserializer::from_str(text.get(at..)?).into_iter::<T>();
    let value = stream.next()?.ok()?;
    Some((value, at + stream.byte_offset()))
}

fn skip_blank(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + (rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len())
}

/// The place behind a character, if it stands here.
fn after(text: &str, at: usize, c: char) -> Option<usize> {
    text.get(at..)?.starts_with(c).then(|| at + c.len_utf8())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_value_is_put_in_and_the_rest_stays_as_it_was() {
        let server = json!({ "command": "kw" });
        let table = [
            ("", "{\n  \"s\": {\n    \"k\": {\n      \"command\": \"kw\"\n    }\n  }\n}\n"),
            ("{}", "{\n  \"s\": {\n    \"k\": {\n      \"command\": \"kw\"\n    }\n  }\n}"),
            (
                "{\n\t\"z\": 1,\n\t\"a\": [ 2 ]\n}\n",
                concat!(
                    "{\n\t\"s\": {\n\t\t\"k\": {\n\t\t\t\"command\": \"kw\"\n\t\t}\n\t},\n",
                    "\t\"z\": 1,\n\t\"a\": [ 2 ]\n}\n"
                ),
            ),
            ("{\n  \"s\": {}\n}", "{\n  \"s\": {\n    \"k\": {\n      \"command\": \"kw\"\n    }\n  }\n}"),
            (
                "{\n  \"s\": { \n  },\n  \"t\": 1\n}",
                "{\n  \"s\": {\n    \"k\": {\n      \"command\": \"kw\"\n    }\n  },\n  \"t\": 1\n}",
            ),
            (
                "{\n  \"s\": {\n    \"o\\\"}\": {\"x\": \"}\"}\n  }\n}",
                concat!(
                    "{\n  \"s\": {\n    \"k\": {\n      \"command\": \"kw\"\n    },\n",
                    "    \"o\\\"}\": {\"x\": \"}\"}\n  }\n}"
                ),
            ),
            ("{\"s\":{\"o\":1}}", "{\"s\":{\"k\": {\"command\":\"kw\"}, \"o\":1}}"),
            ("{\"s\":{\"k\":1.5e3,\"o\":1}}", "{\"s\":{\"k\":{\"command\":\"kw\"},\"o\":1}}"),
            (
                "{\r\n  \"t\": 1\r\n}",
                "{\r\n  \"s\": {\r\n    \"k\": {\r\n      \"command\": \"kw\"\r\n    }\r\n  },\r\n  \"t\": 1\r\n}",
            ),
        ];
        for (before, after) in table {
            let put = put(before, &["s", "k"], &server).unwrap();
            assert_eq!(put, after, "{before:?}");
            let value: Value = serde_json::from_str(&put).unwrap();
            assert_eq!(value["s"]["k"], server, "{before:?}");
        }
    }

    #[test]
    fn what_is_not_plain_json_or_no_object_is_left_alone() {
        for text in ["[]", "1", "{\"s\": []}", "{ // why\n}", "{\"s\": {},}", "\u{feff}{}", "{} {}"] {
            assert_eq!(put(text, &["s", "k"], &json!(1)), None, "{text:?}");
        }
    }
}
