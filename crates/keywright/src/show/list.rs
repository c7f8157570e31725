//! Lists: columns where they fit, one block per row where they do not.

use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Table, TableStyle};
use owo_colors::OwoColorize as _;

use super::facts::Facts;
use super::fit::{columns, wrapped};
use super::width;

/// The room between columns.
const GAP: usize = 2;
/// The narrowest terminal in which wrapped columns can be read.
const LEAST: usize = 72;
/// The narrowest column in which a long text can be read.
const READABLE: usize = 24;
/// How much too wide is little enough to wrap.
const SLIGHTLY: usize = 12;

/// What a text means, and so how it is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing special.
    Plain,
    /// What the row is about.
    Strong,
    /// As it should be.
    Good,
    /// Deserves a look.
    Warn,
    /// Wrong.
    Bad,
}

impl Tone {
    /// As the broker names it.
    pub(crate) fn of(name: &str) -> Self {
        match name {
            "good" => Self::Good,
            "warn" => Self::Warn,
            "bad" => Self::Bad,
            _ => Self::Plain,
        }
    }
}

/// A list with a header.
pub(crate) struct List {
    header: Vec<&'static str>,
    rows: Vec<Vec<(String, Tone)>>,
}

impl List {
    /// A list without rows.
    pub(crate) fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; texts from outside are escaped by now.
    pub(crate) fn row(&mut self, cells: Vec<(String, Tone)>) {
        self.rows.push(cells);
    }

    /// The text, as wide as the terminal.
    pub(crate) fn render(&self) -> String {
        self.render_at(width())
    }

    /// The text, so wide.
    pub(crate) fn render_at(&self, width: Option<usize>) -> String {
        match width {
            None => self.columns(None),
            Some(width) if self.natural() <= width => self.columns(None),
            Some(width) => {
                let table = self.can_wrap(width).then(|| self.columns(Some(width)));
                let fits = |table: &String| table.lines().all(|line| columns(line) <= width);
                table.filter(fits).unwrap_or_else(|| self.blocks(width))
            }
        }
    }

    /// How wide the columns want to be.
    pub(crate) fn natural(&self) -> usize {
        (0..self.header.len()).map(|column| self.widest(column) + GAP).sum::<usize>().saturating_sub(GAP)
    }

    /// Whether wrapping helps: a little all over, or one long text. Else columns would be shreds.
    fn can_wrap(&self, width: usize) -> bool {
        let longest = (1..self.header.len()).map(|column| self.widest(column)).max().unwrap_or(0);
        let with_it_wrapped = self.natural().saturating_sub(longest.saturating_sub(READABLE));
        width >= LEAST && (self.natural() <= width + SLIGHTLY || with_it_wrapped <= width)
    }

    fn widest(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|(text, _)| columns(text));
        cells.chain(self.header.get(column).map(|h| h.len())).max().unwrap_or(0)
    }

    fn columns(&self, width: Option<usize>) -> String {
        let mut table = Table::new();
        let is_coloured = anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never;
        table.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Disabled);
        if let Some(width) = width.and_then(|width| u16::try_from(width).ok()) {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        if is_coloured {
            table.enforce_styling()
        } else {
            table.force_no_tty()
        };
        table.set_header(
            self.header.iter().map(|h| Cell::new(h.to_uppercase()).add_attribute(Attribute::Dim)),
        );
        for row in &self.rows {
            table.add_row(row.iter().map(|(text, tone)| cell(text, *tone)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        if let Some(column) = table.column_mut(self.header.len().saturating_sub(1)) {
            column.set_padding((0, 0));
        }
        if let Some(column) = table.column_mut(0) {
            // What the row is about is copied and typed again, so it stays in one piece.
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        let mut text = String::new();
        for line in table.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn blocks(&self, width: usize) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let mut cells = self.header.iter().zip(row);
            if let Some((_, (title, tone))) = cells.next() {
                for line in wrapped(title, width.max(1)) {
                    text.push_str(&toned(&line, *tone));
                    text.push('\n');
                }
            }
            let facts = cells.fold(Facts::new(), |facts, (label, (fact, tone))| {
                if fact.is_empty() { facts } else { facts.add(label, toned(fact, *tone)) }
            });
            text.push_str(&facts.render_at(Some(width)));
        }
        text
    }
}

/// A text in its colour.
pub(crate) fn toned(text: &str, tone: Tone) -> String {
    match tone {
        Tone::Plain => text.to_owned(),
        Tone::Strong => text.bold().to_string(),
        Tone::Good => text.green().to_string(),
        Tone::Warn => text.yellow().to_string(),
        Tone::Bad => text.red().to_string(),
    }
}

/// The tone of a state or status.
pub(crate) fn of_state(state: &str) -> Tone {
    match state {
        "active" => Tone::Good,
        "pending_approval" | "minting" | "revoking" | "in_progress" | "expired" => Tone::Warn,
        "denied" | "rejected" | "failed" => Tone::Bad,
        _ => Tone::Plain,
    }
}

/// A cell that says nothing special.
pub(crate) fn plain(text: impl Into<String>) -> (String, Tone) {
    (text.into(), Tone::Plain)
}

/// The cell that a row is about.
pub(crate) fn strong(text: impl Into<String>) -> (String, Tone) {
    (text.into(), Tone::Strong)
}

fn cell(text: &str, tone: Tone) -> Cell {
    let cell = Cell::new(text);
    match tone {
        Tone::Plain => cell,
        Tone::Strong => cell.add_attribute(Attribute::Bold),
        Tone::Good => cell.fg(Color::Green),
        Tone::Warn => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_does_not_fit_becomes_one_block_per_row() {
        let mut list = List::new(&["name", "place"]);
        list.row(vec![strong("CF_TOKEN"), plain("embedded:web/dev/CF_TOKEN")]);
        let strip = |text: &str| anstream::adapter::strip_str(text).to_string();
        assert_eq!(strip(&list.render_at(None)), "NAME      PLACE\nCF_TOKEN  embedded:web/dev/CF_TOKEN\n");
        assert_eq!(strip(&list.render_at(Some(34))), "CF_TOKEN\n  place  embedded:web/dev/CF_TOKEN\n");
        for width in [20, 30, 34, 35, 80] {
            let text = strip(&list.render_at(Some(width)));
            let widest = text.lines().map(columns).max().unwrap();
            assert!(widest <= width, "{width}: {text}");
        }
    }
}
