//! Copying a ledger into an empty one of either engine: every row as it is, MACs and sealed values included,
//! but for who hears of programs.
//!
//! A move can be stopped anywhere, and is begun again or gone on with. Rows of `meta` say how far it is:
//!
//! | row | where | what it says |
//! |---|---|---|
//! | `move` | both | which move began there last; a copy has that of the ledger that it was made from |
//! | `arriving` | the new one | it is a copy that nobody uses yet; the ledger that it was made from may make it anew |
//! | `moved` | the old one | it counts no more; the copy that has its `move` is the ledger |

use std::ops::ControlFlow;

use sha2::{Digest as _, Sha256};

use crate::error::{LedgerError, Result};
use crate::migrations;
use crate::seal::random;
use crate::sql::{Engine, Ledger, Location, Row, Sqlite, Tx, Value};

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// How many tables.
    pub tables: usize,
    /// How many rows.
    pub rows: u64,
    /// How many entries the audit log had.
    pub entries: u64,
    /// How many turns had been taken by those who write to it.
    turns: u64,
    /// Which move it is.
    id: Id,
}

/// What a database says of moves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// Where everything was moved to, and when.
    pub moved: Option<String>,
    /// Whether it is a copy that nobody uses yet.
    pub is_arriving: bool,
    /// Whether it is the ledger of a home. Tables alone are none.
    pub is_a_homes: bool,
    /// The newest move, to it or from it.
    id: Option<Id>,
}

/// What a move goes by: random.
type Id = [u8; 16];

/// The rows of `meta`.
const MOVE: &str = "move";
const ARRIVING: &str = "arriving";
const MOVED: &str = "moved";

impl Marks {
    /// Looks at a database, which need not be a ledger yet, and changes nothing.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn of(location: &Location) -> Result<Self> {
        if let Location::File(path) = location
            && !path.exists()
        {
            return Ok(Self::default());
        }
        let engine = location.reading()?;
        engine.begin_read()?;
        if migrations::is_made(&engine)? { Self::read(&engine) } else { Ok(Self::default()) }
    }

    fn read(engine: &Engine) -> Result<Self> {
        let sql = "SELECT name, value FROM meta WHERE name IN ($1, $2, $3, 'instance')";
        let mut marks = Self::default();
        for row in engine.query(sql, &[MOVE.into(), ARRIVING.into(), MOVED.into()])? {
            match row.text(0)? {
                MOVE => marks.id = Some(row.array(1)?),
                ARRIVING => marks.is_arriving = true,
                MOVED => marks.moved = Some(note(row.bytes(1)?)),
                _ => marks.is_a_homes = true,
            }
        }
        Ok(marks)
    }

    /// Whether one move led from the one to the other.
    #[must_use]
    pub fn is_of_one_move(&self, other: &Self) -> bool {
        self.id.is_some() && self.id == other.id
    }

    /// Whether this is the move that copied.
    #[must_use]
    pub fn is_of(&self, copied: &Moved) -> bool {
        self.id == Some(copied.id)
    }
}

impl Ledger {
    /// Copies everything into an empty ledger and compares what lies there with what was read. The copy is one transaction: it is
    /// whole or nothing. Nobody opens it as a ledger before [`Ledger::arrived`]; until then another copy may take its place.
    ///
    /// Who hears of programs belongs to a database: those that are known are `heard_by` that broker from here on, or on a file by
    /// whoever works on it.
    ///
    /// # Errors
    /// [`LedgerError::NotEmpty`]; when either can't be read or written, or differs afterwards.
    pub async fn copy_to(&self, to: &Location, heard_by: Option<&str>) -> Result<Moved> {
        let (to, heard_by, id) = (to.clone(), heard_by.map(str::to_owned), *random::<16>()?);
        // Whoever copied before can't retire it any more: their copy is made anew here.
        self.write(move |tx| put(tx, MOVE, &id)).await?;
        self.scan(move |tx| copy(tx, &to, heard_by.as_deref(), id)).await
    }

    /// Says in the database that everything was moved elsewhere. Nobody opens it as a ledger from here on, and whoever has it open
    /// writes nothing more to it.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] when something was written to it since it was copied, which would be lost; then it stays as it
    /// is. When it can't be written.
    pub async fn retire(&self, note: &str, copied: &Moved) -> Result<()> {
        let (note, copied) = (note.as_bytes().to_vec(), copied.clone());
        // This turn itself.
        let turns = copied.turns + u64::from(self.is_shared());
        let written = self.write(move |tx| {
            let is_as_copied = Marks::read(tx.engine())?.is_of(&copied)
                && tx.audit_size()? == copied.entries
                && turns_of(tx)? == turns;
            if !is_as_copied {
                return Err(LedgerError::Conflict { what: "ledger that was copied" });
            }
            put(tx, MOVED, &note)?;
            // Whoever is too old to look at the note is stopped by this.
            tx.execute("UPDATE brokers SET fence = fence + 1000000", &[]).map(drop)
        });
        written.await
    }

    /// Says in a copy that it is the ledger from here on, and how many rows there are. Nothing happens when it was said before.
    ///
    /// # Errors
    /// When it can't be written.
    pub async fn arrived(&self) -> Result<u64> {
        let written = self.write(|tx| {
            tx.execute("DELETE FROM meta WHERE name = $1", &[ARRIVING.into()])?;
            tables()?.iter().map(|table| count(tx.engine(), &table.name)).sum()
        });
        written.await
    }
}

/// Refuses a database whose ledger was moved elsewhere, and one that is a copy nobody uses yet.
pub(crate) fn check(engine: &Engine) -> Result<()> {
    let marks = Marks::read(engine)?;
    match marks.moved {
        Some(note) => Err(LedgerError::Moved { note }),
        None if marks.is_arriving => Err(LedgerError::Arriving),
        None => Ok(()),
    }
}

/// Refuses where a column holds the note of a move.
pub(crate) fn is_here(row: &Row, column: usize) -> Result<()> {
    match row.values().get(column) {
        Some(Value::Null) => Ok(()),
        _ => Err(LedgerError::Moved { note: note(row.bytes(column)?) }),
    }
}

fn note(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn put(tx: &Tx<'_>, name: &str, value: &[u8]) -> Result<()> {
    let sql = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2";
    tx.execute(sql, &[name.into(), value.into()]).map(drop)
}

/// How many turns were taken in all: each writer's fence is how many of its own.
fn turns_of(tx: &Tx<'_>) -> Result<u64> {
    let row = tx.first("SELECT CAST(COALESCE(SUM(fence), 0) AS BIGINT) FROM brokers", &[])?;
    row.map_or(Ok(0), |row| row.count(0))
}

fn copy(from: &Tx<'_>, to: &Location, heard_by: Option<&str>, id: Id) -> Result<Moved> {
    let tables = tables()?;
    let (entries, turns, instance) = (from.audit_size()?, turns_of(from)?, from.instance()?);
    let target = to.writing()?;
    migrations::migrate(&target)?;
    if let Some(what) = target.foreign()? {
        return Err(LedgerError::NotEmpty { what });
    }
    refuse_full(&target, &tables, instance)?;
    target.begin_write()?;
    if refuse_full(&target, &tables, instance)? {
        for table in tables.iter().rev() {
            target.execute(&format!("DELETE FROM {}", table.name), &[])?;
        }
    }
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
    let arriving = [ARRIVING.into(), Value::Bytes(Vec::new())];
    target.execute("INSERT INTO meta (name, value) VALUES ($1, $2)", &arriving)?;
    target.commit()?;
    Ok(Moved { tables: tables.len(), rows, entries, turns, id })
}

/// Refuses to copy over anything but an earlier copy of the same ledger that nobody ever used. Whether there is one.
fn refuse_full(target: &Engine, tables: &[Table], instance: Option<[u8; 16]>) -> Result<bool> {
    let is_left = Marks::read(target)?.is_arriving && instance.is_some() && instance_of(target)? == instance;
    for table in tables {
        if !is_left && count(target, &table.name)? > 0 {
            return Err(LedgerError::NotEmpty { what: format!("there are rows in `{}`", table.name) });
        }
    }
    Ok(is_left)
}

fn instance_of(engine: &Engine) -> Result<Option<[u8; 16]>> {
    let rows = engine.query("SELECT value FROM meta WHERE name = 'instance'", &[])?;
    rows.first().map(|row| row.array(0)).transpose()
}

/// A table and its columns.
struct Table {
    name: String,
    columns: Vec<String>,
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
