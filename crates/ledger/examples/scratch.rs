#![allow(warnings, clippy::all)]
use rusqlite::Connection;
use std::sync::mpsc::channel;
use std::time::Instant;
const OURS: &str = "CREATE TABLE a (log TEXT NOT NULL, number BIGINT NOT NULL, leaf BYTEA NOT NULL, leaf_hash BYTEA NOT NULL, deed TEXT NOT NULL, stage TEXT NOT NULL, at BIGINT NOT NULL, request TEXT, key_id TEXT, PRIMARY KEY (log, number));";
const INT: &str = "CREATE TABLE a (log TEXT NOT NULL, number INTEGER PRIMARY KEY, leaf BYTEA NOT NULL, leaf_hash BYTEA NOT NULL, deed TEXT NOT NULL, stage TEXT NOT NULL, at BIGINT NOT NULL, request TEXT, key_id TEXT);";
const IDX: &str = "CREATE INDEX ar ON a (request) WHERE request IS NOT NULL; CREATE INDEX ak ON a (key_id) WHERE key_id IS NOT NULL;";
const INS: &str = "INSERT INTO a VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9)";
struct V {
    name: &'static str,
    c: Option<Connection>,
    plain: bool,
    max: bool,
    times: Vec<f64>,
    hop: bool,
    n: i64,
    tx: Option<(std::sync::mpsc::Sender<i64>, std::sync::mpsc::Receiver<()>)>,
}
fn deed(c: &Connection, n: i64, plain: bool, max: bool) {
    let leaf = vec![b'x'; 850];
    if plain {
        c.prepare_cached("INSERT INTO a (leaf) VALUES (?1)").unwrap().execute([&leaf]).unwrap();
        return;
    }
    c.prepare_cached("BEGIN IMMEDIATE").unwrap().raw_execute().unwrap();
    if max {
        let _: i64 = c
            .prepare_cached("SELECT COALESCE(MAX(number), -1) + 1 FROM a WHERE log = ?1")
            .unwrap()
            .query_row(["main"], |r| r.get(0))
            .unwrap();
    }
    c.prepare_cached(INS)
        .unwrap()
        .execute(rusqlite::params![
            "main",
            n,
            leaf,
            [7u8; 32],
            "request.decide",
            "intent",
            n,
            format!("req_0197a{n:027x}"),
            format!("key_0197a{:027x}", n / 4)
        ])
        .unwrap();
    c.prepare_cached("COMMIT").unwrap().raw_execute().unwrap();
}
fn main() {
    let dir = tempfile::tempdir_in("/work/main/target").unwrap();
    let mk = |name: &'static str, ddl: String, plain, max, hop: bool| {
        let c = Connection::open(dir.path().join(format!("{name}.db"))).unwrap();
        c.pragma_update(None, "journal_mode", "WAL").unwrap();
        c.pragma_update(None, "synchronous", "FULL").unwrap();
        c.pragma_update(None, "secure_delete", true).unwrap();
        c.execute_batch(&ddl).unwrap();
        c.set_prepared_statement_cache_capacity(128);
        if hop {
            let (tx, rx) = channel::<i64>();
            let (atx, arx) = channel();
            std::thread::spawn(move || {
                while let Ok(n) = rx.recv() {
                    deed(&c, n, plain, max);
                    atx.send(()).unwrap();
                }
            });
            return V { name, c: None, plain, max, times: vec![], hop, n: 0, tx: Some((tx, arx)) };
        }
        V { name, c: Some(c), plain, max, times: vec![], hop, n: 0, tx: None }
    };
    let plain = "CREATE TABLE a (number INTEGER PRIMARY KEY, leaf BLOB NOT NULL)".to_owned();
    let mut vs = vec![
        mk("plain", plain.clone(), true, false, false),
        mk("plain-hop", plain, true, false, true),
        mk("int", INT.into(), false, false, false),
        mk("int-idx", format!("{INT}{IDX}"), false, false, false),
        mk("ours-noidx", OURS.into(), false, true, false),
        mk("ours-nomax", format!("{OURS}{IDX}"), false, false, false),
        mk("ours", format!("{OURS}{IDX}"), false, true, false),
        mk("ours-hop", format!("{OURS}{IDX}"), false, true, true),
    ];
    for _ in 0..40 {
        for v in vs.iter_mut() {
            for _ in 0..100 {
                v.n += 1;
                let n = v.n;
                let s = Instant::now();
                if v.hop {
                    let (tx, rx) = v.tx.as_ref().unwrap();
                    tx.send(n).unwrap();
                    rx.recv().unwrap();
                } else {
                    deed(v.c.as_ref().unwrap(), n, v.plain, v.max);
                }
                v.times.push(s.elapsed().as_secs_f64() * 1e6);
            }
        }
    }
    for v in &mut vs {
        v.times.sort_by(|a, b| a.total_cmp(b));
        println!(
            "{:12} p25 {:6.1} p50 {:6.1}",
            v.name,
            v.times[v.times.len() / 4],
            v.times[v.times.len() / 2]
        );
    }
}
