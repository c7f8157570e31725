//! Vendor facts and people's judgements in, the text of a catalog out.
//!
//! `cargo xtask catalog` compiles what ships with it; `import` compiles a newer publication at run time, under the same
//! judgements. Only facts come through (ids, names, scopes, methods, paths, which permission opens what), never a vendor's
//! sentences. The same inputs give the same bytes, whatever order they are in.

pub mod cloudflare;
pub mod needs;
pub mod review;

use std::fmt::Write as _;

/// Why a catalog could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The review file is not one.
    #[error("the review file: {0}")]
    Review(#[from] toml::de::Error),
    /// A judgement about something that the vendor's data no longer has.
    #[error("the review file names `{0}`, which the vendor data does not have")]
    Stale(String),
    /// The vendor's data is not what the rules expect.
    #[error("{0}")]
    Unexpected(String),
}

/// What stands above each part of a compiled file.
pub const HEAD: &str = "# Compiled by `cargo xtask catalog`; do not edit. Facts only: ids, names, scopes, methods, paths.\n\
    # Columns stand between tabs, lists in a column between `;`, and `-` is none.\n";
/// What stands above the sources.
pub const SOURCES: &str = "[sources]\n# holds, from, taken, licence, sha256 of the file\n";
/// What stands above the permissions.
pub const PERMISSIONS: &str = "[permissions]\n# id, name, scope, access, flags, why the flags\n";
/// What stands above the variants.
pub const VARIANTS: &str = "[variants]\n# set, variant, what it needs\n";
/// What stands above the operations.
pub const OPERATIONS: &str = "[operations]\n# method, path, operation id, tags, flags, any one of these opens it, names without an id, \
    what it needs, its variants\n";

/// The first line of a compiled file.
#[must_use]
pub fn first_line(provider: &str) -> String {
    format!("keywright/catalog/2\t{provider}\n")
}

/// The items of a list column in one text.
///
/// # Errors
/// [`CompileError::Unexpected`] where an item would break the column.
pub fn list<T: AsRef<str>>(items: &[T]) -> Result<String, CompileError> {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match items.iter().find(|item| item.contains(';') || item.is_empty()) {
        Some(odd) => Err(CompileError::Unexpected(format!("`{odd}` cannot stand in a list"))),
        None => Ok(items.join(";")),
    }
}

/// One line of a compiled file.
///
/// # Errors
/// [`CompileError::Unexpected`] where a column would break the line.
pub fn row(out: &mut String, columns: &[&str]) -> Result<(), CompileError> {
    for (position, column) in columns.iter().enumerate() {
        if column.chars().any(char::is_control) || *column == "-" || column.starts_with(['#', '[']) {
            return Err(CompileError::Unexpected(format!("`{column}` cannot stand in a column")));
        }
        let tab = if position == 0 { "" } else { "\t" };
        // Writing to a `String` does not fail.
        write!(out, "{tab}{}", if column.is_empty() { "-" } else { column }).ok();
    }
    out.push('\n');
    Ok(())
}
