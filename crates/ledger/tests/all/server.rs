//! What is so because the ledger is on a server: who may write, what a lost connection leaves, how it is reached.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use keywright_core::id::SagaId;
use keywright_ledger::audit_files::Finding;
use keywright_ledger::seal::MasterKey;
use keywright_ledger::{Address, Ledger, LedgerError, Location, Result};

use crate::database::Database;
use crate::support::{Home, INSTANCE, grow, record};
use crate::things::{attempt, id};

/// A home on a server, where there is one.
fn home() -> Option<Home> {
    Database::where_there_is_one().map(|server| Home::on(Some(server)))
}

fn open_at(url: &str) -> Result<Ledger> {
    let address: Address = url.parse()?;
    let ledger = Ledger::open(&Location::Server(Box::new(address)), Arc::new(Timestamp::now))?;
    ledger.unlock(&MasterKey::generate().unwrap().keyring([0; 16]));
    Ok(ledger)
}

fn said<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error.to_string(),
    }
}

async fn size(ledger: &Ledger) -> u64 {
    ledger.read(|tx| tx.audit_size()).await.unwrap()
}

async fn append(ledger: &Ledger, number: u64) -> Result<u64> {
    ledger.write(move |tx| tx.audit(record(number))).await
}

/// Has the server end every session with the home's database.
fn cut_off(home: &Home) {
    let sql = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    home.server.as_ref().unwrap().run(sql);
}

#[tokio::test]
async fn one_that_wants_to_be_alone_writes_and_others_read() {
    let Some(home) = home() else { return };
    let (first, second) = (home.open(), home.open());
    first.claim().await.unwrap();
    assert_eq!(append(&first, 0).await.unwrap(), 0);
    for refused in [second.claim().await, append(&second, 1).await.map(drop)] {
        assert!(matches!(refused, Err(LedgerError::Locked { .. })), "{refused:?}");
    }
    assert_eq!(size(&second).await, 1, "reading goes on");
    drop(first);
    assert_eq!(append(&second, 1).await.unwrap(), 1);
}

#[tokio::test]
async fn a_writer_that_was_overtaken_writes_nothing_more() {
    let Some(home) = home() else { return };
    let ledger = home.open();
    append(&ledger, 0).await.unwrap();
    // As if somebody else wrote in its name.
    home.tamper("UPDATE brokers SET fence = fence + 7");
    for _ in 0..2 {
        let refused = append(&ledger, 1).await;
        assert!(matches!(refused, Err(LedgerError::Taken)), "{refused:?}");
    }
    assert_eq!(home.values("SELECT COUNT(*) FROM audit_entries"), ["1"]);
}

#[tokio::test]
async fn a_lost_connection_costs_no_deed_and_does_none_twice() {
    let Some(home) = home() else { return };
    let ledger = home.open();
    ledger.write(|tx| tx.set_instance(&INSTANCE)).await.unwrap();
    let files = home.files();
    files.publish(&ledger).await.unwrap();
    append(&ledger, 0).await.unwrap();
    cut_off(&home);
    assert_eq!(size(&ledger).await, 1, "reading connects again");
    cut_off(&home);
    assert_eq!(append(&ledger, 1).await.unwrap(), 1, "writing too");
    let home = Arc::new(home);
    let middle = Arc::clone(&home);
    let lost: Result<u64> = ledger
        .write(move |tx| {
            tx.audit(record(2))?;
            cut_off(&middle);
            tx.audit(record(3))
        })
        .await;
    assert!(matches!(lost, Err(LedgerError::Unreachable(_))), "{lost:?}");
    assert_eq!(size(&ledger).await, 2, "nothing of it is kept");
    assert_eq!(append(&ledger, 2).await.unwrap(), 2);
    files.publish(&ledger).await.unwrap();
    let report = home.verify_trusted();
    assert!(report.is_sound() && report.entries == 3, "{:?}", report.findings);
}

/// Between the ledger and its server: hands everything on, until it sees a commit.
struct Between {
    port: u16,
    at_commit: Arc<AtomicU8>,
}

const PASS: u8 = 0;
/// The commit is not handed on, and the connection ends.
const BEFORE: u8 = 1;
/// The commit is handed on, and its answer is not.
const AFTER: u8 = 2;

impl Between {
    fn start(home: &Home) -> Self {
        let server = home.server.as_ref().unwrap();
        let port = std::env::var("KEYWRIGHT_TEST_POSTGRES_PORT").unwrap();
        let socket = server.file(&format!(".s.PGSQL.{port}"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let at_commit = Arc::new(AtomicU8::new(PASS));
        let mode = Arc::clone(&at_commit);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), UnixStream::connect(&socket).unwrap());
                let mode = Arc::clone(&mode);
                std::thread::spawn(move || carry(client, server, &mode));
            }
        });
        Self { port, at_commit }
    }
}

fn carry(mut client: TcpStream, mut server: UnixStream, mode: &AtomicU8) {
    let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let is_cut = Arc::new(AtomicU8::new(0));
    let cut = Arc::clone(&is_cut);
    let down = std::thread::spawn(move || {
        let mut bytes = [0; 16 * 1024];
        while let Ok(length @ 1..) = answers.read(&mut bytes) {
            if cut.load(Ordering::SeqCst) == 1 || back.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        let _ = back.shutdown(Shutdown::Both);
    });
    let mut bytes = [0; 16 * 1024];
    while let Ok(length @ 1..) = client.read(&mut bytes) {
        let is_commit = bytes[..length].windows(7).any(|window| window == b"COMMIT\0");
        let mode = if is_commit { mode.swap(PASS, Ordering::SeqCst) } else { PASS };
        if mode == BEFORE {
            break;
        }
        is_cut.store(u8::from(mode == AFTER), Ordering::SeqCst);
        if server.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
    let _ = down.join();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_looked_up_and_done_once() {
    let Some(home) = home() else { return };
    drop(home.open());
    let between = Between::start(&home);
    let own = home.server.as_ref().unwrap().url();
    let (_, rest) = own.split_once("@").unwrap();
    let name = rest.rsplit('/').next().unwrap();
    let ledger = open_at(&format!("postgres://broker@127.0.0.1:{}/{name}", between.port)).unwrap();
    let ring = MasterKey::generate().unwrap().keyring(INSTANCE);
    ledger.write(|tx| tx.set_instance(&INSTANCE)).await.unwrap();
    let files = keywright_ledger::audit_files::AuditFiles::open(&home.audit(), &ring).unwrap();
    files.publish(&ledger).await.unwrap();
    assert_eq!(append(&ledger, 0).await.unwrap(), 0);
    for place in (1..7).step_by(2) {
        between.at_commit.store(AFTER, Ordering::SeqCst);
        assert_eq!(append(&ledger, place).await.unwrap(), place, "it took effect, so it is said to have");
        assert_eq!(size(&ledger).await, place + 1);
        between.at_commit.store(BEFORE, Ordering::SeqCst);
        let lost = append(&ledger, 99).await;
        assert!(matches!(lost, Err(LedgerError::Unreachable(_))), "{lost:?}");
        assert_eq!(size(&ledger).await, place + 1, "it did not, so it is said to have failed");
        assert_eq!(append(&ledger, place + 1).await.unwrap(), place + 1);
    }
    let head = std::fs::read_to_string(home.file("head")).unwrap();
    assert_eq!(head.lines().nth(1), Some(format!("{:020}", 7).as_str()), "the head follows what took effect");
}

/// Nothing is known against them, so nobody may take it for a refusal.
#[tokio::test]
async fn what_shares_a_commit_with_a_lost_connection_is_undone_and_may_be_tried_again() {
    let Some(home) = home().map(Arc::new) else { return };
    let ledger = home.open();
    append(&ledger, 0).await.unwrap();
    let (go, held) = std::sync::mpsc::channel();
    let hold = ledger.write(move |tx| {
        held.recv().unwrap();
        tx.audit_size()
    });
    let server = Arc::clone(&home);
    let cut = ledger.write(move |tx| {
        cut_off(&server);
        tx.audit(record(1))
    });
    // All have come before the first one is let go on.
    let (_, cut, beside, ()) = tokio::join!(hold, cut, append(&ledger, 1), async { go.send(()).unwrap() });
    assert!(matches!(cut, Err(LedgerError::Unreachable(_))), "{cut:?}");
    assert!(matches!(beside, Err(LedgerError::Undone)), "{beside:?}");
    assert_eq!(append(&ledger, 1).await.unwrap(), 1);
}

/// Being woken is a comfort, and no part of the commit.
#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_can_be_told_what_was_appended_is_appended_all_the_same() {
    let Some(home) = home() else { return };
    let (one, two) = (home.open(), home.open());
    home.tamper("REVOKE EXECUTE ON FUNCTION pg_catalog.pg_notify(text, text) FROM PUBLIC");
    for place in 0..3 {
        assert_eq!(append(&one, place).await.unwrap(), place);
    }
    // And they can be: by a ledger that only writes, and by one that listens too.
    let (heard, answers) = (two.listen(), one.listen());
    heard.wrote().await;
    answers.wrote().await;
    drop(answers);
    for place in 3..6 {
        // Words that come together are one.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (told, ()) = tokio::join!(append(&one, place), heard.wrote());
        assert_eq!(told.unwrap(), place);
    }
    let answers = one.listen();
    answers.wrote().await;
    let (told, ()) = tokio::join!(append(&two, 6), answers.wrote());
    assert_eq!(told.unwrap(), 6);
}

#[tokio::test]
async fn a_deed_that_goes_on_after_a_failed_statement_is_not_done() {
    let Some(home) = home() else { return };
    let ledger = Arc::new(home.open());
    let careless = |number: u64| {
        let ledger = Arc::clone(&ledger);
        tokio::spawn(async move {
            ledger
                .write(move |tx| {
                    tx.audit(record(number))?;
                    // Of a key that is not there.
                    assert!(tx.add_attempt(&attempt(1), id!(SagaId, 1u32)).is_err());
                    Ok::<_, LedgerError>(())
                })
                .await
        })
    };
    assert!(careless(0).await.unwrap().is_err(), "alone");
    let among: Vec<_> = (0..10).map(|number| (number, careless(number))).collect();
    let good: Vec<_> = (0..10)
        .map(|number| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move { append(&ledger, number).await })
        })
        .collect();
    for (number, deed) in among {
        assert!(deed.await.unwrap().is_err(), "{number}");
    }
    for deed in good {
        deed.await.unwrap().unwrap();
    }
    assert_eq!(size(&ledger).await, 10);
}

#[tokio::test]
async fn what_somebody_put_into_the_schema_or_took_from_it_is_found() {
    let Some(home) = home() else { return };
    drop(home.open());
    assert_eq!(home.open().foreign(), None);
    let does_nothing =
        "CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$";
    home.tamper(does_nothing);
    for (change, back, found) in [
        (
            "CREATE TRIGGER quiet BEFORE UPDATE ON sagas FOR EACH ROW EXECUTE FUNCTION public.nothing()",
            "DROP TRIGGER quiet ON sagas",
            "trigger `quiet`",
        ),
        ("ALTER TABLE keys DISABLE TRIGGER ALL", "ALTER TABLE keys ENABLE TRIGGER ALL", "trigger `RI_"),
        (
            "CREATE RULE quiet AS ON DELETE TO agents DO INSTEAD NOTHING",
            "DROP RULE quiet ON agents",
            "rule `quiet`",
        ),
        (
            "CREATE POLICY hides ON keys USING (false); ALTER TABLE keys ENABLE ROW LEVEL SECURITY",
            "DROP POLICY hides ON keys; ALTER TABLE keys DISABLE ROW LEVEL SECURITY",
            "policy `hides`",
        ),
        ("CREATE VIEW extra AS SELECT 1 AS one", "DROP VIEW extra", "extra"),
        ("CREATE TABLE heir () INHERITS (agents)", "DROP TABLE heir", "heir"),
        ("CREATE TABLE notes (a int)", "DROP TABLE notes", "notes"),
        (
            "ALTER TABLE keys ADD COLUMN extra text",
            "ALTER TABLE keys DROP COLUMN extra",
            "column `keys.extra`",
        ),
        (
            "ALTER TABLE requests ALTER COLUMN status SET DEFAULT 'active'",
            "ALTER TABLE requests ALTER COLUMN status DROP DEFAULT",
            "column `requests.status`",
        ),
        (
            "DROP INDEX keys_live_name",
            "CREATE UNIQUE INDEX keys_live_name ON keys (project, environment, name) WHERE state IN ('minting', 'active')",
            "index `keys_live_name`",
        ),
        ("ALTER TABLE agents SET UNLOGGED", "ALTER TABLE agents SET LOGGED", "table `agents`"),
        (
            "CREATE FUNCTION lower(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "DROP FUNCTION lower(int)",
            "function `lower`",
        ),
    ] {
        home.tamper(change);
        let ledger = home.open();
        let said = ledger.foreign().unwrap_or_else(|| panic!("{change} was not seen")).to_owned();
        assert!(said.contains(found), "{change}: {said}");
        drop(ledger);
        home.tamper(back);
        assert_eq!(home.open().foreign(), None, "{back}");
    }
    let (home, _) = Home::with_log_on(home, &[10], 10).await;
    home.tamper("CREATE VIEW extra AS SELECT 1 AS one");
    assert!(home.verify().findings.iter().any(|finding| matches!(finding, Finding::Schema { .. })));
}

#[tokio::test]
async fn over_the_network_only_a_server_with_the_right_certificate_is_believed() {
    let Some(home) = home() else { return };
    let server = home.server.as_ref().unwrap();
    let ledger = open_at(&server.tls_url("ca.pem")).unwrap();
    append(&ledger, 0).await.unwrap();
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) \
                     WHERE a.application_name = 'keywright' AND a.datname = current_database()";
    assert_eq!(server.run(encrypted).trim(), "t");
    drop(ledger);
    for stranger in [
        server.tls_url("other.pem"),
        // The system's authorities do not know it.
        server.tls_url("ca.pem").replace("&sslrootcert=", "&passfile="),
        // Another name than the certificate's.
        server.tls_url("ca.pem").replace("@localhost:", "@127.0.0.1:"),
    ] {
        let said = said(open_at(&stranger).map(drop));
        assert!(said.contains("certificate"), "{said}");
    }
}

#[tokio::test]
async fn a_password_comes_from_its_file_and_is_never_told() {
    let Some(home) = home() else { return };
    let server = home.server.as_ref().unwrap();
    let wrong = home.dir.path().join("wrong");
    std::fs::write(&wrong, "*:*:*:*:hunter2-hunter2").unwrap();
    std::fs::set_permissions(&wrong, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (url, right) = (server.tls_url("ca.pem"), server.file("passfile"));
    let said = said(open_at(&url.replace(right.to_str().unwrap(), wrong.to_str().unwrap())).map(drop));
    assert!(said.contains("password authentication failed") && !said.contains("hunter2"), "{said}");
    let location = Location::Server(Box::new(url.parse().unwrap()));
    let password = std::fs::read_to_string(server.file("password")).unwrap();
    assert!(open_at(&url).is_ok() && !format!("{location:?}").contains(&password));
}

#[tokio::test]
async fn a_server_that_is_not_there_or_will_not_do_is_told_in_words() {
    let Some(home) = home() else { return };
    let server = home.server.as_ref().unwrap();
    let url = server.url();
    let (base, name) = url.rsplit_once('/').unwrap();
    assert!(said(open_at(&format!("{base}/no_such_database")).map(drop)).contains("does not exist"));
    let refused = open_at("postgres://broker@127.0.0.1:1/kw?connect_timeout=1").map(drop);
    assert!(matches!(refused, Err(LedgerError::Unreachable(_))), "{refused:?}");
    server.run(&format!(
        "REVOKE CREATE ON DATABASE {name} FROM broker; ALTER DATABASE {name} OWNER TO keywright"
    ));
    let refused = said(open_at(&url).map(drop));
    assert!(refused.contains("permission denied for database"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_read_at_once_than_there_are_connections_for() {
    let Some(home) = home() else { return };
    let ledger = Arc::new(home.open());
    grow(&ledger, 5).await;
    let reads: Vec<_> = (0..64)
        .map(|_| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move {
                (ledger.scan(|tx| tx.audit_size()).await, ledger.read(|tx| tx.audit_size()).await)
            })
        })
        .collect();
    for read in reads {
        let (scanned, read): (Result<u64>, Result<u64>) = read.await.unwrap();
        assert_eq!((scanned.unwrap(), read.unwrap()), (5, 5));
    }
    let sessions = "SELECT count(*) <= 10 FROM pg_stat_activity WHERE datname = current_database() \
                    AND application_name = 'keywright'";
    assert_eq!(home.values(sessions), ["t"]);
}

#[tokio::test]
async fn text_that_the_server_does_not_hold_is_refused_and_nothing_else_suffers() {
    let Some(home) = home() else { return };
    let ledger = home.open();
    let refused = ledger.write(|tx| tx.add_checkpoint(1, "a\0b")).await;
    assert!(matches!(refused, Err(LedgerError::Statement(_))), "{refused:?}");
    append(&ledger, 0).await.unwrap();
}
