//! Somebody on loopback who takes messages over HTTP and answers as a test says.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A message as it came.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Method, path and query: `POST /hook?wait=true`.
    pub line: String,
    /// By their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

impl Taken {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

/// What comes back: a status and a body; nothing at all, for as long as the taker is there, where that is `None`.
pub type Answer = Option<(u16, String)>;

/// A listener, which goes when this is dropped.
pub struct Taker {
    address: String,
    taken: Arc<Mutex<Vec<Taken>>>,
}

impl Taker {
    /// Answers each message, which is told with its number.
    #[must_use]
    pub fn answering(answer: impl Fn(usize, &Taken) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (Arc::downgrade(&taken), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(taken) = kept.upgrade() else { return };
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || serve(stream, &taken, answer.as_ref()));
            }
        });
        Self { address, taken }
    }

    /// Answers each message with a status and nothing else.
    #[must_use]
    pub fn always(status: u16) -> Self {
        Self::answering(move |_, _| Some((status, String::new())))
    }

    /// The address of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// What came so far.
    #[must_use]
    pub fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, taken: &Mutex<Vec<Taken>>, answer: &dyn Fn(usize, &Taken) -> Answer) {
    while let Some(message) = read(&mut stream) {
        let number = {
            let mut taken = taken.lock().unwrap();
            taken.push(message.clone());
            taken.len() - 1
        };
        match answer(number, &message) {
            Some((status, body)) => {
                let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", body.len());
                // Whoever asked may be gone.
                let _ = stream.write_all((head + &body).as_bytes());
            }
            // Until the other end goes.
            None => drop(stream.read(&mut [0])),
        }
    }
}

fn read(stream: &mut TcpStream) -> Option<Taken> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(piece.get(..read)?);
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let Some(end) = end else { continue };
        let head = String::from_utf8_lossy(bytes.get(..end)?).into_owned();
        let mut lines = head.lines();
        let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length: usize = headers.get("content-length").map_or(Some(0), |text| text.parse().ok())?;
        let body = bytes.get(end + 4..)?;
        if body.len() >= length {
            return Some(Taken { line, headers, body: String::from_utf8_lossy(body).into_owned() });
        }
    }
}
