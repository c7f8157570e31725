//! Edits a `.env` file without touching what it was not asked to touch.
//!
//! Comments, order, blank lines, unknown lines, `export` and line ends stay byte for byte. Our own two lines (the
//! stamp and the assignment) end in a line feed even in a file with CRLF, for a shell would take the carriage return
//! for a part of the value. A file that ends without a line end gets one before anything is appended.
//!
//! A variable that is assigned more than once: the last one wins for all four readers. If all of them are ours the
//! last is replaced and the others are dropped; if one is not, the variable counts as somebody else's. When that one
//! is to be taken over there must be exactly one.

use keywright_core::id::PlacementId;
use zeroize::Zeroizing;

use super::lines::{Kind, Statement, Unreadable, statements};
use super::quote::unquoted;
use super::stamp::Stamp;

/// A file's text, split.
pub(super) struct Editor<'a> {
    text: &'a str,
    statements: Vec<Statement>,
}

/// Whose a variable is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    Absent,
    Ours(Stamp),
    Foreign,
}

/// The variable is assigned in several places, or in a way that can't be edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the variable is assigned more than once or in an unusual way")]
pub(super) struct Tangled;

/// One place where some reader sees the variable assigned.
struct Occurrence {
    statement: usize,
    /// Whether it is a line `NAME=value` of its own.
    plain: bool,
    stamp: Option<Stamp>,
}

impl<'a> Editor<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let text = std::str::from_utf8(bytes).map_err(|_| Unreadable::NotText)?;
        Ok(Self { text, statements: statements(text)? })
    }

    /// Whose the variable is.
    pub(super) fn standing(&self, variable: &str) -> Standing {
        let mut last = Standing::Absent;
        for occurrence in self.occurrences(variable) {
            match occurrence.stamp {
                Some(stamp) => last = Standing::Ours(stamp),
                None => return Standing::Foreign,
            }
        }
        last
    }

    /// The value of a variable that is ours.
    pub(super) fn value(&self, variable: &str) -> Option<&'a str> {
        let last = self.occurrences(variable).pop()?;
        self.assigned(self.statements.get(last.statement)?, variable).filter(|_| last.stamp.is_some())
    }

    /// The file with the variable set. `quoted` is what stands behind the `=`.
    pub(super) fn put(
        &self,
        variable: &str,
        stamp: &Stamp,
        quoted: &str,
    ) -> Result<Zeroizing<String>, Tangled> {
        let occurrences = self.occurrences(variable);
        let foreign = occurrences.iter().any(|occurrence| occurrence.stamp.is_none());
        let Some(last) = occurrences.last() else { return Ok(self.appended(variable, stamp, quoted)) };
        if foreign && (occurrences.len() > 1 || !last.plain) {
            return Err(Tangled);
        }
        let mut out = Zeroizing::new(String::with_capacity(self.text.len() + quoted.len() + 512));
        for (at, statement) in self.statements.iter().enumerate() {
            let replaced = occurrences
                .iter()
                .any(|o| o.statement == at || (o.statement == at + 1 && self.stamp(at).is_some()));
            if at == last.statement {
                let prefix = self.prefix(statement);
                out.push_str(&stamp.line());
                out.push('\n');
                push_assignment(&mut out, prefix, variable, quoted);
            } else if !replaced {
                out.push_str(self.slice(statement));
            }
        }
        Ok(out)
    }

    /// The file without what was written for a placement; `None` when there is nothing of it.
    pub(super) fn take(&self, variable: &str, placement: &PlacementId) -> Option<Zeroizing<String>> {
        let stamps: Vec<(usize, Stamp)> = (0..self.statements.len())
            .filter_map(|at| Some((at, self.stamp(at)?)))
            .filter(|(_, stamp)| stamp.placement == *placement)
            .collect();
        if stamps.is_empty() {
            return None;
        }
        let mut out = Zeroizing::new(String::with_capacity(self.text.len()));
        for (at, statement) in self.statements.iter().enumerate() {
            let is_stamp = stamps.iter().any(|(stamp, _)| *stamp == at);
            let is_ours = self
                .assigned(statement, variable)
                .is_some_and(|value| stamps.iter().any(|(_, stamp)| stamp.covers(variable, value)));
            if !is_stamp && !is_ours {
                out.push_str(self.slice(statement));
            }
        }
        Some(out)
    }

    fn appended(&self, variable: &str, stamp: &Stamp, quoted: &str) -> Zeroizing<String> {
        let mut out = Zeroizing::new(String::with_capacity(self.text.len() + quoted.len() + 512));
        out.push_str(self.text);
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            out.push('\n');
        }
        out.push_str(&stamp.line());
        out.push('\n');
        push_assignment(&mut out, "", variable, quoted);
        out
    }

    fn occurrences(&self, variable: &str) -> Vec<Occurrence> {
        let mut found = Vec::new();
        for (at, statement) in self.statements.iter().enumerate() {
            let named = match &statement.kind {
                Kind::Assignment { name, .. } | Kind::Mention { name } => {
                    Some(name.clone()).filter(|name| self.text.get(name.clone()) == Some(variable))
                }
                _ => None,
            };
            let elsewhere = statement.words.iter().any(|word| {
                let own = named.as_ref().is_some_and(|name| name.start == *word);
                !own && self.text.get(*word..).is_some_and(|text| is_assigned(text, variable))
            });
            let plain = matches!(statement.kind, Kind::Assignment { .. }) && named.is_some() && !elsewhere;
            if named.is_some() || elsewhere {
                let above = at.checked_sub(1).and_then(|above| self.stamp(above));
                let stamp = above.filter(|stamp| {
                    plain
                        && self
                            .assigned(statement, variable)
                            .is_some_and(|value| stamp.covers(variable, value))
                });
                found.push(Occurrence { statement: at, plain, stamp });
            }
        }
        found
    }

    /// The value of a statement that assigns the variable in one of the two styles that we write.
    fn assigned(&self, statement: &Statement, variable: &str) -> Option<&'a str> {
        match &statement.kind {
            Kind::Assignment { name, value } if self.text.get(name.clone()) == Some(variable) => {
                unquoted(self.text.get(value.clone())?)
            }
            _ => None,
        }
    }

    fn stamp(&self, at: usize) -> Option<Stamp> {
        let statement = self.statements.get(at).filter(|statement| statement.kind == Kind::Comment)?;
        Stamp::parse(self.slice(statement).trim_end_matches(['\n', '\r']))
    }

    /// `export`, if it stands before the name; written with the one space that node wants behind it.
    fn prefix(&self, statement: &Statement) -> &'static str {
        let Kind::Assignment { name, .. } = &statement.kind else { return "" };
        let before = self.text.get(statement.range.start..name.start).unwrap_or_default();
        if before.contains("export") { "export " } else { "" }
    }

    fn slice(&self, statement: &Statement) -> &'a str {
        self.text.get(statement.range.clone()).unwrap_or_default()
    }
}

fn push_assignment(out: &mut String, prefix: &str, variable: &str, quoted: &str) {
    for part in [prefix, variable, "=", quoted, "\n"] {
        out.push_str(part);
    }
}

fn is_assigned(word: &str, variable: &str) -> bool {
    word.strip_prefix(variable).is_some_and(|rest| rest.starts_with('=') || rest.starts_with("+="))
}

#[cfg(test)]
#[path = "editor_tests.rs"]
mod tests;
