//! Copying a ledger into an empty one of either engine: every row as it is, MACs and sealed values included,
//! but for who hears of programs.

use std::ops::ControlFlow;

use sha2::{Digest as _, Sha256};

use crate::error::{LedgerError, Result};
use crate::migrations;
use crate::sql::{Engine, Ledger, Location, Row, Sqlite, Tx, Value};

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// How many tables.
    pub tables: usize,
    /// How many rows.
    pub rows: u64,
}

/// A table and its columns.
struct Table {
    name: String,
    columns: Vec<String>,
}

impl Ledger {
    /// Copies everything into an empty ledger and compares what lies there with what was read. The copy is one transaction: it is
    /// whole or nothing.
    ///
    /// Who hears of programs belongs to a database: those that are known are `heard_by` that broker from here on, or on a file by
    /// whoever works on it.
    ///
    /// # Errors
    /// [`LedgerError::NotEmpty`]; when either can't be read or written, or differs afterwards.
    pub async fn copy_to(&self, to: &Location, heard_by: Option<&str>) -> Result<Moved> {
        let (to, heard_by) = (to.clone(), heard_by.map(str::to_owned));
        self.scan(move |tx| copy(tx, &to, heard_by.as_deref())).await
    }
}

impl Ledger {
    /// Says in the database that everything was moved elsewhere. Nobody opens it as a ledger from here on, and whoever has it open
    /// writes nothing more to it.
    ///
    /// # Errors
    /// When it can't be written.
    pub async fn retire(&self, note: &str) -> Result<()> {
        let note = note.as_bytes().to_vec();
        let written = self.write(move |tx| {
            let sql =
                "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2";
            tx.execute(sql, &[MOVED.into(), Value::Bytes(note)])?;
            tx.execute("UPDATE brokers SET fence = fence + 1000000", &[])?;
            Ok::<_, LedgerError>(())
        });
        written.await
    }
}

/// What a ledger that was moved calls the note that says where to.
const MOVED: &str = "moved";

/// Refuses a database whose ledger was moved elsewhere.
pub(crate) fn check(engine: &Engine) -> Result<()> {
    let rows = engine.query("SELECT value FROM meta WHERE name = $1", &[MOVED.into()])?;
    match rows.first() {
        None => Ok(()),
        Some(row) => Err(LedgerError::Moved { note: String::from_utf8_lossy(row.bytes(0)?).into_owned() }),
    }
}

fn copy(from: &Tx<'_>, to: &Location, heard_by: Option<&str>) -> Result<Moved> {
    let tables = tables()?;
    let target = to.writing()?;
    migrations::migrate(&target)?;
    if let Some(what) = target.foreign()? {
        return Err(LedgerError::NotEmpty { what });
    }
    for table in &tables {
        if count(&target, &table.name)? > 0 {
            return Err(LedgerError::NotEmpty { what: format!("there are rows in `{}`", table.name) });
        }
    }
    target.begin_write()?;
    let mut rows = 0;
    for table in &tables {
        let (copied, sum) = fill(from, &target, table)?;
        if sum_of(&target, table)? != (copied, sum) {
            return Err(LedgerError::Damaged { what: "copy" });
        }
        rows += copied;
    }
    // A name that nobody goes by there would have them live without end.
    target.execute("UPDATE holds SET seen_by = $1", &[heard_by.into()])?;
    target.commit()?;
    Ok(Moved { tables: tables.len(), rows })
}

/// Who writes and who leads, which belongs to a database and not to the ledger.
const OF_A_DATABASE: [&str; 3] = ["brokers", "leads", "listeners"];

/// The tables of the newest schema, each after those that it refers to.
fn tables() -> Result<Vec<Table>> {
    let own = Engine::Sqlite(Sqlite::in_memory()?);
    migrations::migrate(&own)?;
    let listed =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'schema_version' ORDER BY rowid";
    let mut tables = Vec::new();
    for row in own.query(listed, &[])? {
        let name = row.text(0)?.to_owned();
        if OF_A_DATABASE.contains(&name.as_str()) {
            continue;
        }
        let columns =
            own.query(&format!("SELECT name FROM pragma_table_info('{name}') ORDER BY cid"), &[])?;
        let columns = columns.iter().map(|row| row.text(0).map(str::to_owned)).collect::<Result<_>>()?;
        tables.push(Table { name, columns });
    }
    Ok(tables)
}

/// Copies the rows of a table, and says how many there were and what they add up to.
fn fill(from: &Tx<'_>, target: &Engine, table: &Table) -> Result<(u64, [u8; 32])> {
    let places: Vec<String> = (1..=table.columns.len()).map(|place| format!("${place}")).collect();
    let insert =
        format!("INSERT INTO {} ({}) VALUES ({})", table.name, table.columns.join(", "), places.join(", "));
    let (mut rows, mut sum) = (0, [0; 32]);
    from.each(&select(table), &[], |row| {
        let row = row?;
        if target.execute(&insert, row.values())? != 1 {
            return Err(LedgerError::Damaged { what: "copy" });
        }
        rows += 1;
        add(&mut sum, &row);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((rows, sum))
}

fn sum_of(engine: &Engine, table: &Table) -> Result<(u64, [u8; 32])> {
    let (mut rows, mut sum) = (0, [0; 32]);
    engine.each(&select(table), &[], |row| {
        rows += 1;
        add(&mut sum, &row?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((rows, sum))
}

fn select(table: &Table) -> String {
    format!("SELECT {} FROM {}", table.columns.join(", "), table.name)
}

fn count(engine: &Engine, table: &str) -> Result<u64> {
    let rows = engine.query(&format!("SELECT COUNT(*) FROM {table}"), &[])?;
    rows.first().map_or(Ok(0), |row| row.count(0))
}

/// Adds a row to a sum that is the same in whatever order rows come. No two rows of a table are alike.
fn add(sum: &mut [u8; 32], row: &Row) {
    let mut hash = Sha256::new();
    for value in row.values() {
        let (kind, bytes) = match value {
            Value::Null => (b'n', Vec::new()),
            Value::Int(number) => (b'i', number.to_be_bytes().to_vec()),
            Value::Text(text) => (b't', text.as_bytes().to_vec()),
            Value::Bytes(bytes) => (b'b', bytes.clone()),
        };
        hash.update([kind]);
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    }
    for (sum, byte) in sum.iter_mut().zip(hash.finalize()) {
        *sum ^= byte;
    }
}
