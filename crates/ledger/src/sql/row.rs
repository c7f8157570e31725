//! Values that go into statements, and rows that come out.

use std::str::FromStr;

use jiff::Timestamp;

use crate::error::{LedgerError, Result};

/// A value in a statement or a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// SQL's NULL.
    Null,
    /// A 64-bit integer; times are milliseconds since 1970.
    Int(i64),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Value {
    /// Anything that prints: ids, names, states.
    pub(crate) fn text(value: impl std::fmt::Display) -> Self {
        Self::Text(value.to_string())
    }

    /// Anything that prints, or NULL.
    pub(crate) fn maybe(value: Option<impl std::fmt::Display>) -> Self {
        value.map_or(Self::Null, Self::text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<Timestamp> for Value {
    fn from(at: Timestamp) -> Self {
        Self::Int(at.as_millisecond())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One row of an answer. Columns are read by position; a column that does not read back as what it should be is
/// reported as damage, never skipped.
#[derive(Debug, Clone)]
pub(crate) struct Row(Vec<Value>);

impl Row {
    pub(super) fn of(values: Vec<Value>) -> Self {
        Self(values)
    }

    /// All columns, in order.
    pub(crate) fn values(&self) -> &[Value] {
        &self.0
    }

    pub(crate) fn text(&self, column: usize) -> Result<&str> {
        self.maybe_text(column)?.ok_or(LedgerError::Damaged { what: "text column" })
    }

    pub(crate) fn maybe_text(&self, column: usize) -> Result<Option<&str>> {
        match self.0.get(column) {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Null) => Ok(None),
            _ => Err(LedgerError::Damaged { what: "text column" }),
        }
    }

    pub(crate) fn int(&self, column: usize) -> Result<i64> {
        self.maybe_int(column)?.ok_or(LedgerError::Damaged { what: "number column" })
    }

    pub(crate) fn maybe_int(&self, column: usize) -> Result<Option<i64>> {
        match self.0.get(column) {
            Some(Value::Int(number)) => Ok(Some(*number)),
            Some(Value::Null) => Ok(None),
            _ => Err(LedgerError::Damaged { what: "number column" }),
        }
    }

    pub(crate) fn count(&self, column: usize) -> Result<u64> {
        u64::try_from(self.int(column)?).map_err(|_| LedgerError::Damaged { what: "number column" })
    }

    pub(crate) fn maybe_count(&self, column: usize) -> Result<Option<u64>> {
        let number = self.maybe_int(column)?;
        number
            .map(|number| u64::try_from(number).map_err(|_| LedgerError::Damaged { what: "number column" }))
            .transpose()
    }

    pub(crate) fn bytes(&self, column: usize) -> Result<&[u8]> {
        match self.0.get(column) {
            Some(Value::Bytes(bytes)) => Ok(bytes),
            _ => Err(LedgerError::Damaged { what: "bytes column" }),
        }
    }

    pub(crate) fn array<const N: usize>(&self, column: usize) -> Result<[u8; N]> {
        self.bytes(column)?.try_into().map_err(|_| LedgerError::Damaged { what: "bytes column" })
    }

    pub(crate) fn time(&self, column: usize) -> Result<Timestamp> {
        self.maybe_time(column)?.ok_or(LedgerError::Damaged { what: "time column" })
    }

    pub(crate) fn maybe_time(&self, column: usize) -> Result<Option<Timestamp>> {
        self.maybe_int(column)?
            .map(|ms| {
                Timestamp::from_millisecond(ms).map_err(|_| LedgerError::Damaged { what: "time column" })
            })
            .transpose()
    }

    pub(crate) fn parse<T: FromStr>(&self, column: usize, what: &'static str) -> Result<T> {
        self.text(column)?.parse().map_err(|_| LedgerError::Damaged { what })
    }

    pub(crate) fn maybe_parse<T: FromStr>(&self, column: usize, what: &'static str) -> Result<Option<T>> {
        self.maybe_text(column)?.map(|t| t.parse().map_err(|_| LedgerError::Damaged { what })).transpose()
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(
        &self,
        column: usize,
        what: &'static str,
    ) -> Result<T> {
        serde_json::from_str(self.text(column)?).map_err(|_| LedgerError::Damaged { what })
    }

    /// A state column that no MAC covers: `otherwise`, the state that takes most care, where it is none.
    pub(crate) fn state_or<T>(&self, column: usize, read: fn(&str) -> Option<T>, otherwise: T) -> T {
        self.text_if(column).and_then(read).unwrap_or(otherwise)
    }

    /// A number that no MAC covers; 0 where it is none.
    pub(crate) fn count_if(&self, column: usize) -> u64 {
        self.count(column).unwrap_or(0)
    }

    /// A time that no MAC covers; none where it is no time.
    pub(crate) fn time_if(&self, column: usize) -> Option<Timestamp> {
        self.maybe_time(column).unwrap_or(None)
    }

    /// A text that no MAC covers; none where it is no text.
    pub(crate) fn text_if(&self, column: usize) -> Option<&str> {
        self.maybe_text(column).unwrap_or(None)
    }

    /// A state column: `read` is the state's own `parse`.
    pub(crate) fn state<T>(&self, column: usize, read: fn(&str) -> Option<T>) -> Result<T> {
        read(self.text(column)?).ok_or(LedgerError::Damaged { what: "state column" })
    }
}

/// JSON for a document column.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> Result<Value> {
    serde_json::to_string(value).map(Value::Text).map_err(|e| LedgerError::Statement(e.to_string()))
}
