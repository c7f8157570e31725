//! A way to a database that can fall silent.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::database::Database;

/// Hands everything on between a broker and its database, until it is told to swallow it: then nothing comes through, in no
/// direction, and no connection is closed, as when a cable is pulled or a firewall forgets.
pub struct Swallowing {
    port: u16,
    database: String,
    swallows: Arc<AtomicBool>,
    met: Arc<AtomicUsize>,
}

impl Swallowing {
    /// Before a database.
    #[must_use]
    pub fn before(database: &Database) -> Self {
        let url = database.url();
        let server_port = url.rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
        let socket = database.file(&format!(".s.PGSQL.{server_port}"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (swallows, met) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (is_on, counted) = (Arc::clone(&swallows), Arc::clone(&met));
        std::thread::spawn(move || accept(&listener, &socket, &is_on, &counted));
        Self { port, database: url.rsplit('/').next().unwrap().to_owned(), swallows, met }
    }

    /// The database by this way.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://broker@127.0.0.1:{}/{}", self.port, self.database)
    }

    /// From here on nothing comes through, or everything does.
    pub fn swallow(&self, swallows: bool) {
        self.swallows.store(swallows, Ordering::SeqCst);
    }

    /// How many connections there were.
    #[must_use]
    pub fn met(&self) -> usize {
        self.met.load(Ordering::SeqCst)
    }
}

fn accept(listener: &TcpListener, socket: &Path, swallows: &Arc<AtomicBool>, met: &AtomicUsize) {
    for client in listener.incoming() {
        let (client, server) = (client.unwrap(), UnixStream::connect(socket).unwrap());
        met.fetch_add(1, Ordering::SeqCst);
        let (to, from) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        let (up, down) = (Arc::clone(swallows), Arc::clone(swallows));
        std::thread::spawn(move || {
            carry(from, &to, &up);
            let _ = to.shutdown(Shutdown::Both);
        });
        std::thread::spawn(move || {
            carry(server, &client, &down);
            let _ = TcpStream::shutdown(&client, Shutdown::Both);
        });
    }
}

fn carry(mut from: impl Read, mut to: impl Write, swallows: &AtomicBool) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if !swallows.load(Ordering::SeqCst) && to.write_all(bytes.get(..length).unwrap()).is_err() {
            return;
        }
    }
}
