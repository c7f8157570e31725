//! Our values as PostgreSQL's, and back.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Row as Found, Statement};

use crate::error::{LedgerError, Result};
use crate::sql::{Row, Value};

/// That parameters are as many and of such types as a statement takes, before anything is sent.
pub(super) fn check(statement: &Statement, parameters: &[Value]) -> Result<()> {
    let takes = statement.params();
    if takes.len() != parameters.len() {
        let (takes, given) = (takes.len(), parameters.len());
        return Err(LedgerError::Statement(format!("it takes {takes} parameters and was given {given}")));
    }
    for (number, (kind, value)) in (1..).zip(takes.iter().zip(parameters)) {
        let fits = match value {
            Value::Null => true,
            Value::Int(_) => *kind == Type::INT8,
            Value::Text(text) if text.contains('\0') => {
                return Err(LedgerError::Statement(
                    "PostgreSQL holds no text with a zero byte in it".to_owned(),
                ));
            }
            Value::Text(_) => *kind == Type::TEXT,
            Value::Bytes(_) => *kind == Type::BYTEA,
        };
        if !fits {
            return Err(LedgerError::Statement(format!("parameter {number} is no {kind}")));
        }
    }
    Ok(())
}

impl ToSql for Value {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(number) => number.to_sql(kind, out),
            Self::Text(text) => text.to_sql(kind, out),
            Self::Bytes(bytes) => bytes.to_sql(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> std::result::Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(match *kind {
            Type::INT8 => Self::Int(i64::from_sql(kind, raw)?),
            Type::INT4 => Self::Int(i32::from_sql(kind, raw)?.into()),
            Type::TEXT => Self::Text(String::from_sql(kind, raw)?),
            // What we never write is kept as bytes, as with SQLite.
            _ => Self::Bytes(raw.to_vec()),
        })
    }

    fn from_sql_null(_: &Type) -> std::result::Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

pub(super) fn row(found: &Found) -> Result<Row> {
    let values = (0..found.len()).map(|column| found.try_get::<_, Value>(column));
    let values = values.collect::<std::result::Result<Vec<_>, _>>();
    values.map(Row::of).map_err(|_| LedgerError::Damaged { what: "column" })
}
