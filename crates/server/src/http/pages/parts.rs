//! The parts that pages are made of.

use std::fmt;

use jiff::Timestamp;
use keywright_broker::blocks::{Block, Line};
use keywright_core::text::{Untrusted, quoted};

use super::times::{Piece, pieces};
use crate::when;

/// The longest text that a part shows, in characters.
const LONGEST: usize = 4_000;
/// What is shown of somebody else's words where they are one of many things.
const SAID: usize = 2_000;
/// The longest line of a file: of an entry that has a whole prompt.
const LINE: usize = 20_000;

/// A text that may be shown: control, bidirectional and invisible characters are escaped. HTML is the template's business.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Shown {
    text: String,
    is_said: bool,
    /// How many characters were left out of somebody else's words.
    left_out: usize,
}

impl Shown {
    pub(super) fn of(text: impl AsRef<str>) -> Self {
        Self { text: Untrusted::capped(text.as_ref(), LONGEST).to_string(), ..Self::default() }
    }

    /// In quotes that nothing within can end, as somebody else's words; the template sets them apart as well.
    pub(super) fn said(text: impl AsRef<str>) -> Self {
        Self::said_of(text.as_ref(), SAID)
    }

    /// All of them.
    pub(super) fn all_said(text: impl AsRef<str>) -> Self {
        Self::said_of(text.as_ref(), usize::MAX)
    }

    /// What is cut off is counted, outside of the quotation.
    fn said_of(text: &str, most: usize) -> Self {
        let shown: String = text.chars().take(most).collect();
        let left_out = text.chars().count().saturating_sub(most);
        Self { text: quoted(&shown), is_said: true, left_out }
    }

    /// A line of a file.
    fn line(text: &str) -> Self {
        Self { text: Untrusted::capped(text, LINE).to_string(), ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether these are somebody else's words.
    pub(super) fn is_said(&self) -> bool {
        self.is_said
    }

    /// What it is made of: moments, and what stands between them. Somebody else's words stay as they are.
    pub(super) fn pieces(&self) -> Vec<Piece> {
        if self.is_said {
            return vec![Piece { text: self.text.clone(), time: String::new() }];
        }
        pieces(&self.text)
    }

    /// How much of them is not shown.
    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a text means, and so how it is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Warn,
    Bad,
}

impl From<keywright_broker::blocks::Tone> for Tone {
    fn from(tone: keywright_broker::blocks::Tone) -> Self {
        match tone {
            keywright_broker::blocks::Tone::Plain => Self::Plain,
            keywright_broker::blocks::Tone::Good => Self::Good,
            keywright_broker::blocks::Tone::Warn => Self::Warn,
            keywright_broker::blocks::Tone::Bad => Self::Bad,
        }
    }
}

impl fmt::Display for Tone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        })
    }
}

/// A text with what it means, where it leads, and the moment that it is.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) text: Shown,
    pub(super) tone: Tone,
    /// A path of ours.
    pub(super) href: String,
    /// The moment, for machines, where the text says how far away it is.
    pub(super) time: String,
    /// What is said before and after that.
    pub(super) around: (Shown, Shown),
    /// Where all of it is, where some is left out.
    pub(super) whole: String,
}

/// A word of so many characters is not broken in a table.
const LONGEST_WORD: usize = 28;

impl Text {
    pub(super) fn of(text: impl AsRef<str>) -> Self {
        Self {
            text: Shown::of(text),
            tone: Tone::Plain,
            href: String::new(),
            time: String::new(),
            around: (Shown::default(), Shown::default()),
            whole: String::new(),
        }
    }

    /// Whether there is a word in it that leaves the others of its row no room.
    pub(super) fn is_long(&self) -> bool {
        self.text.to_string().split_whitespace().any(|word| word.chars().count() > LONGEST_WORD)
    }

    /// All of somebody else's words.
    pub(super) fn all_said(text: &str) -> Self {
        Self { text: Shown::all_said(text), ..Self::of("") }
    }

    /// Somebody else's words, in quotes.
    pub(super) fn said(text: &str) -> Self {
        Self { text: Shown::said(text), ..Self::of("") }
    }

    pub(super) fn is_plain(&self) -> bool {
        self.tone == Tone::Plain
    }

    pub(super) fn toned(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }

    /// With a few words of ours behind it.
    pub(super) fn and(mut self, words: &str) -> Self {
        self.text.text.push_str(words);
        self
    }

    /// To a path of ours; each of `parts` is one segment, whatever is in it.
    pub(super) fn to(self, parts: &[&str]) -> Self {
        Self { href: path(parts), ..self }
    }

    /// To an address of ours; nowhere where it is empty.
    pub(super) fn leads(self, href: &str) -> Self {
        Self { href: href.to_owned(), ..self }
    }

    pub(super) fn at(at: Timestamp, now: Timestamp) -> Self {
        Self { time: when::seconds(at), ..Self::of(when::away(at, now)) }
    }

    /// The moment for people, where the text says how far away it is.
    pub(super) fn utc(&self) -> String {
        self.time.parse().map(when::utc).unwrap_or_default()
    }

    /// A moment with words around it.
    pub(super) fn within(self, before: impl AsRef<str>, after: impl AsRef<str>) -> Self {
        Self { around: (Shown::of(before), Shown::of(after)), ..self }
    }

    /// The moment itself, and how far away it is.
    pub(super) fn both(at: &str, now: Timestamp) -> Self {
        Self::of(when::both(at, now))
    }
}

/// A path of ours.
pub(super) fn path(parts: &[&str]) -> String {
    parts.iter().fold(String::new(), |mut path, part| {
        path.push('/');
        path.extend(
            url::form_urlencoded::byte_serialize(part.as_bytes()).map(|text| text.replace('+', "%20")),
        );
        path
    })
}

/// A label and a text.
#[derive(Debug, Clone)]
pub(super) struct Fact {
    pub(super) label: Shown,
    pub(super) text: Text,
}

/// A list in columns.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    pub(super) header: Vec<&'static str>,
    pub(super) rows: Vec<Vec<Text>>,
    /// What to say when there is none.
    pub(super) empty: &'static str,
}

impl Table {
    /// Without the columns in which nothing stands.
    pub(super) fn lean(mut self) -> Self {
        let columns = self.header.len();
        let is_empty = |column: &usize| {
            let cell = |row: &Vec<Text>| row.get(*column).is_none_or(|cell| cell.text.is_empty());
            !self.rows.is_empty() && self.rows.iter().all(cell)
        };
        let empty: Vec<usize> = (0..columns).filter(is_empty).collect();
        for column in empty.into_iter().rev() {
            self.header.remove(column);
            for row in self.rows.iter_mut().filter(|row| row.len() > column) {
                row.remove(column);
            }
        }
        self
    }

    /// What stands over a column: on a phone it stands beside each cell.
    pub(super) fn label(&self, column: impl std::borrow::Borrow<usize>) -> &'static str {
        self.header.get(*column.borrow()).copied().unwrap_or_default()
    }
}

/// Something that takes a touch.
#[derive(Debug, Clone)]
pub(super) struct Deed {
    /// The act, as the script sends it.
    pub(super) act: &'static str,
    /// The name of the field that says to what: `key`, `request`, `passkey`, `agent`.
    pub(super) field: &'static str,
    pub(super) of: Shown,
    pub(super) label: Shown,
    /// What it means, in a few words.
    pub(super) says: Shown,
    pub(super) tone: Tone,
    /// The name of a text to type, or empty.
    pub(super) asks: &'static str,
    /// The same at the command line.
    pub(super) command: Shown,
}

impl Deed {
    /// Whether the text may be left out: what is done anyway by the schedule needs no reason.
    pub(super) fn may_be_empty(&self) -> bool {
        self.act == "rotate"
    }
}

/// Something that happened.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) at: Text,
    pub(super) what: Text,
    /// Why, in quotes, or empty.
    pub(super) said: Shown,
    pub(super) who: Shown,
    pub(super) entry: Text,
}

/// A part of a page.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Heading(Shown),
    Note(Shown, Tone),
    /// What came of several things, and where each of them is.
    Came(Shown, Vec<Text>, Tone),
    Facts(Vec<Fact>),
    Table(Table),
    /// One thing a line.
    List(Vec<Text>),
    /// What happened, in the order in which it is told.
    Moments(Vec<Told>),
    /// Text of a file, line by line.
    Source(Vec<Shown>),
    /// What can be done, and why it can't be done here.
    Deeds(Vec<Deed>, Shown),
    /// Where a list goes on.
    More(String, &'static str),
    /// Fields to search by, and where they lead.
    Filters(&'static str, Vec<Field>),
}

/// A field to search by.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    /// What stands in it.
    pub(super) value: Shown,
    pub(super) hint: &'static str,
    /// What can be chosen, as value and words; a text where there is nothing.
    pub(super) options: Vec<(&'static str, &'static str)>,
}

impl Field {
    /// A text to type.
    pub(super) fn text(name: &'static str, label: &'static str, value: &str, hint: &'static str) -> Self {
        Self { name, label, value: Shown::of(value), hint, options: Vec::new() }
    }

    /// One of several.
    pub(super) fn choice(
        name: &'static str,
        label: &'static str,
        value: &str,
        options: Vec<(&'static str, &'static str)>,
    ) -> Self {
        Self { name, label, value: Shown::of(value), hint: "", options }
    }

    pub(super) fn is_chosen(&self, option: &str) -> bool {
        self.value.text == option
    }
}

/// A path of ours with what was searched for, empty texts left out.
pub(super) fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs.iter().filter(|(_, value)| !value.is_empty()));
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

impl Part {
    pub(super) fn heading(text: impl AsRef<str>) -> Self {
        Self::Heading(Shown::of(text))
    }

    pub(super) fn facts(facts: Vec<(&str, Text)>) -> Self {
        let facts = facts.into_iter().filter(|(_, text)| !text.text.is_empty());
        Self::Facts(facts.map(|(label, text)| Fact { label: Shown::of(label), text }).collect())
    }

    /// Whether a file is shown from its first to its last letter, and without gaps that nobody scrolls over.
    pub(super) fn shows_all_of(text: &str) -> bool {
        let lines: Vec<&str> = text.lines().collect();
        let is_gap = |lines: &[&str]| lines.iter().all(|line| line.trim().is_empty());
        lines.len() <= 400
            && lines.iter().all(|line| line.chars().count() <= 300 && !line.contains("          \u{20}"))
            && !lines.windows(4).any(is_gap)
    }

    /// A file. What steers a terminal is escaped in each line.
    pub(super) fn source(text: &str) -> Self {
        Self::Source(text.lines().take(2_000).map(Shown::line).collect())
    }

    /// A block, as the terminal shows it too. Long words of others are cut; `whole` is where they are not, or empty where that is here.
    pub(super) fn block(block: &Block, now: Timestamp, whole: &str) -> [Self; 2] {
        let facts = block
            .lines
            .iter()
            .map(|line| Fact { label: Shown::of(line.label), text: text(line, now, whole) });
        [Self::heading(block.title.as_str()), Self::Facts(facts.collect())]
    }
}

fn text(line: &Line, now: Timestamp, whole: &str) -> Text {
    if line.time {
        return Text::both(&line.text, now);
    }
    let shown = match (line.said, whole) {
        (true, "") => Text::all_said(&line.text),
        (true, _) => Text { whole: whole.to_owned(), ..Text::said(&line.text) },
        (false, _) => Text::of(&line.text),
    };
    shown.toned(line.tone.into())
}
