//! One session with the server. What runs on it waits on the caller's thread, which also keeps the connection going meanwhile:
//! one change of thread less for each answer.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::TryStreamExt as _;
use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};

use super::address::Address;
use super::{SCHEMA, failure, passfile, tls, values};
use crate::error::{LedgerError, Result};
use crate::sql::{BUSY_SECONDS, Row, Value};

/// The oldest server that is supported.
const OLDEST: i64 = 130_000;
/// How long an answer is waited for; a statement that takes longer is as good as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// A session, and where its transaction stands.
pub(super) struct Session {
    client: Client,
    /// None once it has ended.
    connection: RefCell<Option<Connection>>,
    statements: RefCell<HashMap<String, Statement>>,
    transaction: Cell<Transaction>,
    is_lost: Cell<bool>,
    /// Rows of an answer are still being read.
    is_reading: Cell<bool>,
    /// The server's process, and when it began: together they name it.
    pub(super) backend: (i64, String),
}

type Connection = Pin<Box<dyn Future<Output = std::result::Result<(), tokio_postgres::Error>> + Send>>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transaction {
    None,
    Open,
    /// A statement failed: PostgreSQL does nothing more before a rollback, and answers a commit with one.
    Failed,
}

impl Session {
    /// Connects and sees to it that the server does what we rely on.
    pub(super) fn open(address: &Address) -> Result<Self> {
        Self::connect(address).map_err(|(error, _)| error)
    }

    /// As above; the second part of a failure says whether another try may go better.
    pub(super) fn connect(address: &Address) -> std::result::Result<Self, (LedgerError, bool)> {
        let firm = |error| (error, false);
        let mut config = address.config.clone();
        if let Some(password) = passfile::password(address).map_err(firm)? {
            config.password(password.as_bytes());
        }
        let failed = |error: tokio_postgres::Error| {
            let may_pass = failure::may_pass(&error);
            (LedgerError::from(error), may_pass)
        };
        let runtime = runtime().map_err(firm)?;
        let limit = config.get_connect_timeout().copied().unwrap_or(PATIENCE) * 2;
        let (client, connection): (Client, Connection) = if address.has_tls {
            let tls = tls::connector(address.roots.as_deref()).map_err(firm)?;
            let connected = wait(runtime, limit, config.connect(tls)).map_err(|late| (late, true))?;
            let (client, connection) = connected.map_err(failed)?;
            (client, Box::pin(connection))
        } else {
            let connected = wait(runtime, limit, config.connect(NoTls)).map_err(|late| (late, true))?;
            let (client, connection) = connected.map_err(failed)?;
            (client, Box::pin(connection))
        };
        let mut session = Self {
            client,
            connection: RefCell::new(Some(connection)),
            statements: RefCell::default(),
            transaction: Cell::new(Transaction::None),
            is_lost: Cell::new(false),
            is_reading: Cell::new(false),
            backend: (0, String::new()),
        };
        session.set_up().map_err(|error| {
            let may_pass = matches!(error, LedgerError::Unreachable(_));
            (error, may_pass)
        })?;
        Ok(session)
    }

    fn set_up(&mut self) -> Result<()> {
        // A table of ours is never another one, rows are never hidden without a word, a commit is on the disk, and a server
        // whose broker is gone without a word notices within a minute. A plan that was made while a table was small is kept for
        // as long as the session: there is an index for each look, and it is used from the beginning.
        self.batch(&format!(
            "SET enable_seqscan = off; SET jit = off; \
             SET search_path = {SCHEMA}, pg_temp; SET row_security = off; SET lock_timeout = '{BUSY_SECONDS}s'; \
             SET idle_in_transaction_session_timeout = '5min'; SET client_min_messages = warning; \
             SET default_transaction_isolation = 'read committed'; SET standard_conforming_strings = on; \
             SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3; \
             SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        ))?;
        let sql = "SELECT current_setting('server_encoding'), current_setting('server_version_num')::bigint, \
                   pg_backend_pid()::bigint, \
                   COALESCE((SELECT backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()), '')";
        let rows = self.query(sql, &[])?;
        let row = rows.first().ok_or(LedgerError::Damaged { what: "answer of the server" })?;
        if row.text(0)? != "UTF8" {
            let encoding = keywright_core::text::escaped(row.text(0)?);
            return Err(LedgerError::Io(format!(
                "the database has the encoding {encoding}; it has to be UTF8"
            )));
        }
        if row.int(1)? < OLDEST {
            let why = "the server is older than PostgreSQL 13, the oldest that is supported";
            return Err(LedgerError::Io(why.to_owned()));
        }
        self.backend = (row.int(2)?, row.text(3)?.to_owned());
        Ok(())
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.is_lost.get() && !self.client.is_closed()
    }

    pub(super) fn in_transaction(&self) -> bool {
        self.transaction.get() != Transaction::None && self.is_usable()
    }

    /// Whether a statement failed, so that nothing of the transaction can be kept.
    pub(super) fn has_failed(&self) -> bool {
        self.transaction.get() == Transaction::Failed
    }

    /// Begins a transaction.
    pub(super) fn begin(&self, how: &str) -> Result<()> {
        let begun = self.batch(how);
        if begun.is_err() && self.is_usable() {
            self.rollback()?;
        }
        begun?;
        self.transaction.set(Transaction::Open);
        Ok(())
    }

    /// Begins a transaction with a first statement, in one exchange, and gives that one's rows.
    pub(super) fn begin_with(&self, how: &str, sql: &str, parameters: &[Value]) -> Result<Vec<Row>> {
        let statement = self.prepared(sql)?;
        values::check(&statement, parameters)?;
        let parameters = references(parameters);
        let both = async {
            let begin = self.client.batch_execute(how);
            let first = self.client.query(&statement, &parameters);
            Ok(futures::future::join(begin, first).await)
        };
        let (begun, first) = self.wait(both)?;
        self.transaction.set(Transaction::Open);
        let rows = begun.and(first).map_err(|error| self.failed(error));
        if rows.is_err() && self.is_usable() {
            self.rollback()?;
        }
        rows?.iter().map(values::row).collect()
    }

    /// Makes the transaction durable. What fails before the commit itself is an error of the inner kind: nothing was kept.
    /// With one of the outer kind nobody knows.
    pub(super) fn commit(&self) -> std::result::Result<Result<()>, LedgerError> {
        if self.has_failed() {
            let why = "a statement of the deed failed, and the deed went on";
            return Ok(self.rollback().and(Err(LedgerError::Statement(why.to_owned()))));
        }
        // A commit of a transaction that failed is answered as if it had gone well; the statement before it is not.
        let probe = match self.prepared("SELECT 1") {
            Ok(probe) => probe,
            Err(error) => return Ok(Err(error)),
        };
        let both = async {
            let (probe, commit) = (self.client.execute(&probe, &[]), self.client.batch_execute("COMMIT"));
            Ok(futures::future::join(probe, commit).await)
        };
        let (probe, commit) = self.wait(both)?;
        self.transaction.set(Transaction::None);
        match (probe, commit) {
            (Ok(_), Ok(())) => Ok(Ok(())),
            (Err(error), _) if error.as_db_error().is_some() && !failure::is_loss(&error) => {
                Ok(Err(self.failed(error)))
            }
            // The server decided: what it refuses to commit is not committed.
            (Ok(_), Err(error)) if error.as_db_error().is_some() && !failure::is_loss(&error) => {
                Ok(Err(self.failed(error)))
            }
            (Err(error), _) | (_, Err(error)) => Err(self.failed(error)),
        }
    }

    pub(super) fn rollback(&self) -> Result<()> {
        self.transaction.set(Transaction::None);
        self.send("ROLLBACK")
    }

    /// Goes back to a savepoint, from where a transaction in which a statement failed goes on.
    pub(super) fn back_to(&self, sql: &str) -> Result<()> {
        self.send(sql)?;
        self.transaction.set(Transaction::Open);
        Ok(())
    }

    /// Sends statements whose answer nobody waits for. The server takes all in the order in which they were sent; when one of
    /// these fails within a transaction, so does the commit.
    pub(super) fn send(&self, sql: &str) -> Result<()> {
        if !self.is_usable() {
            return Err(LedgerError::Unreachable("the connection was lost".to_owned()));
        }
        let _inside = runtime()?.enter();
        let mut sent = std::pin::pin!(self.client.batch_execute(sql));
        let mut unheard = Context::from_waker(Waker::noop());
        // The first poll hands it to the connection, which goes on whether or not somebody listens.
        let _ = sent.as_mut().poll(&mut unheard);
        self.carry(&mut unheard);
        Ok(())
    }

    /// Runs statements without parameters.
    pub(super) fn batch(&self, sql: &str) -> Result<()> {
        self.wait(self.client.batch_execute(sql))
    }

    pub(super) fn execute(&self, sql: &str, parameters: &[Value]) -> Result<u64> {
        let statement = self.prepared(sql)?;
        values::check(&statement, parameters)?;
        self.wait(self.client.execute(&statement, &references(parameters)))
    }

    pub(super) fn query(&self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>> {
        let statement = self.prepared(sql)?;
        values::check(&statement, parameters)?;
        let rows = self.wait(self.client.query(&statement, &references(parameters)))?;
        rows.iter().map(values::row).collect()
    }

    pub(super) fn each(
        &self,
        sql: &str,
        parameters: &[Value],
        mut visit: impl FnMut(Result<Row>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let statement = self.prepared(sql)?;
        values::check(&statement, parameters)?;
        let rows = self.wait(self.client.query_raw(&statement, references(parameters)))?;
        let mut rows = std::pin::pin!(rows);
        self.is_reading.set(true);
        let _read = Read(&self.is_reading);
        while let Some(row) = self.wait(rows.try_next())? {
            if visit(values::row(&row))?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn prepared(&self, sql: &str) -> Result<Statement> {
        if self.is_reading.get() {
            // The answer that is still coming is in its way.
            return Err(LedgerError::Statement("a statement was run while rows are read".to_owned()));
        }
        if let Some(statement) = self.statements.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.wait(self.client.prepare(sql))?;
        self.statements.borrow_mut().insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    fn wait<T>(
        &self,
        answer: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>,
    ) -> Result<T> {
        if !self.is_usable() {
            return Err(LedgerError::Unreachable("the connection was lost".to_owned()));
        }
        let mut answer = std::pin::pin!(answer);
        let carried = std::future::poll_fn(|context| {
            // First what is asked goes out, then what is answered comes in.
            if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                return Poll::Ready(answer);
            }
            self.carry(context);
            answer.as_mut().poll(context)
        });
        let answer = wait(runtime()?, PATIENCE, carried).inspect_err(|_| self.is_lost.set(true))?;
        answer.map_err(|error| self.failed(error))
    }

    /// Lets the connection send and receive what it can. Once it has ended and is dropped, every answer ends too.
    fn carry(&self, context: &mut Context<'_>) {
        let mut connection = self.connection.borrow_mut();
        if connection.as_mut().is_some_and(|connection| connection.as_mut().poll(context).is_ready()) {
            *connection = None;
            self.is_lost.set(true);
        }
    }

    fn failed(&self, error: tokio_postgres::Error) -> LedgerError {
        if failure::is_loss(&error) {
            self.is_lost.set(true);
        }
        if self.transaction.get() == Transaction::Open {
            self.transaction.set(Transaction::Failed);
        }
        error.into()
    }
}

struct Read<'a>(&'a Cell<bool>);

impl Drop for Read<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

fn references(parameters: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    parameters.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

/// The one thread that hears from the system when there is something to read; what waits for an answer does so on its own.
pub(super) fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<std::result::Result<Runtime, String>> = OnceLock::new();
    let built = RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("ledger-server").enable_all().build().map_err(|e| e.to_string())
    });
    built.as_ref().map_err(|why| LedgerError::Io(why.clone()))
}

/// Waits on a thread that may or may not belong to a runtime: the future itself only listens to the thread above. It must not
/// be held up by what the task that it happens to run in has used of its turn.
fn wait<F: Future>(runtime: &Runtime, limit: Duration, answer: F) -> Result<F::Output> {
    let _inside = runtime.enter();
    let limited = tokio::task::unconstrained(tokio::time::timeout(limit, answer));
    futures::executor::block_on(limited)
        .map_err(|_| LedgerError::Unreachable(format!("there was no answer for {} s", limit.as_secs())))
}
