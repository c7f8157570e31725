//! A program that uses a key all the time, as one that reads its `.env` file at each start.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The pause between two uses.
const PAUSE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(20);

/// Where a key is used.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    /// Below the host.
    pub(crate) path: String,
}

/// How it went.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    pub(crate) calls: u32,
    /// How often there was no value to be read.
    pub(crate) gaps: u32,
    pub(crate) refused: u32,
}

impl Api {
    /// Whether the provider takes this value.
    pub(crate) fn takes(&self, value: &str) -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "GET {} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {value}\r\nconnection: close\r\n\r\n",
            self.path, self.address
        )?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(head.ends_with(b" 200"))
    }
}

/// The value of a variable in the text of a `.env` file.
pub(crate) fn value_in(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches(['\'', '"']).to_owned())
}

/// One that runs until it is stopped.
pub(crate) struct Consumer {
    stop: Arc<AtomicBool>,
    runs: JoinHandle<Uses>,
}

impl Consumer {
    pub(crate) fn start(api: Api, file: PathBuf, name: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let runs = std::thread::spawn(move || {
            let mut uses = Uses::default();
            while !stopped.load(Ordering::Acquire) {
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                match value_in(&text, name).map(|value| api.takes(&value)) {
                    None => uses.gaps += 1,
                    Some(Ok(taken)) => {
                        uses.calls += 1;
                        uses.refused += u32::from(!taken);
                    }
                    // The sandbox has no time just now; that is no refusal.
                    Some(Err(_)) => {}
                }
                std::thread::sleep(PAUSE);
            }
            uses
        });
        Self { stop, runs }
    }

    pub(crate) fn stop(self) -> Uses {
        self.stop.store(true, Ordering::Release);
        self.runs.join().expect("a consumer does not panic")
    }
}
