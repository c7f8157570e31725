//! A proxy on loopback that does to chosen calls what networks, gateways and confused services do.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What happens to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// None: the call that is meant comes after this one.
    Nothing,
    /// The connection closes; the service never saw the call.
    LostBefore,
    /// The service did the work; the connection closes without its answer.
    LostAfter,
    /// This answer instead; the service never saw the call.
    Answer { status: u16, headers: &'static str, body: String },
    /// The service did the work; this answer instead of its own.
    AnswerAfter { status: u16, headers: &'static str, body: String },
    /// The service did the work; an error in its place quotes the request's credential and the answer.
    Echo { status: u16 },
    /// The service did the work; the answer arrives one byte a time, slowly.
    Trickle,
}

/// A call that came through.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    /// With its query.
    pub path: String,
    pub head: String,
    pub body: Vec<u8>,
}

impl Seen {
    /// Whether it is the call that `method` and `part` mean: a part of the path, or after a `~` a part of the head or the
    /// body, where that says what is called.
    pub fn is(&self, method: &str, part: &str) -> bool {
        let meant = match part.strip_prefix('~') {
            Some(part) => self.head.contains(part) || String::from_utf8_lossy(&self.body).contains(part),
            None => self.path.contains(part),
        };
        self.method == method && meant
    }
}

/// Where it listens, what it will do, what it has seen.
pub struct Proxy {
    pub url: String,
    state: Arc<State>,
}

type Plan = (String, String, Fault);

struct State {
    upstream: SocketAddr,
    plans: Mutex<Vec<Plan>>,
    seen: Mutex<Vec<Seen>>,
}

/// The statuses and bodies that every adapter must survive, whatever the call: each with a name for the failure message.
pub fn bad_answers() -> Vec<(&'static str, Fault)> {
    let answer = |status, headers, body: &str| Fault::Answer { status, headers, body: body.to_owned() };
    let after = |status, headers, body: &str| Fault::AnswerAfter { status, headers, body: body.to_owned() };
    vec![
        ("lost before", Fault::LostBefore),
        ("lost after", Fault::LostAfter),
        ("401", answer(401, "", "{}")),
        ("403", answer(403, "", "{}")),
        ("409", answer(409, "", "{}")),
        ("429", answer(429, "Retry-After: 7\r\n", "{}")),
        ("500 before", answer(500, "", "oops")),
        ("500 after", after(500, "", "oops")),
        ("garbage", after(200, "Content-Type: text/html\r\n", "<html>hello</html>")),
        ("huge", after(200, "", &format!("\"{}\"", "x".repeat(64 << 20)))),
        ("redirect", answer(302, "Location: http://192.0.2.1/\r\n", "")),
    ]
}

impl Proxy {
    /// Starts it before `upstream`, a URL on loopback.
    pub async fn start(upstream: &str) -> Self {
        let host = upstream.trim_start_matches("http://").split('/').next().unwrap();
        let upstream_path: String = upstream.trim_start_matches("http://").chars().skip(host.len()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{upstream_path}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            upstream: host.parse().unwrap(),
            plans: Mutex::default(),
            seen: Mutex::default(),
        });
        let of_task = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&of_task)));
            }
        });
        Self { url, state }
    }

    /// The next call with this method whose path contains `path` meets the fault; each plan is for one call. See
    /// [`Seen::is`] for APIs whose calls all have one path.
    pub fn next(&self, method: &str, path: &str, fault: Fault) {
        self.state.plans.lock().unwrap().push((method.to_owned(), path.to_owned(), fault));
    }

    /// Drops the plans that were not met, and says how many.
    pub fn unmet(&self) -> usize {
        std::mem::take(&mut *self.state.plans.lock().unwrap()).len()
    }

    /// What came through since the last time.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.state.seen.lock().unwrap())
    }
}

async fn serve(mut client: TcpStream, state: Arc<State>) {
    if let Some((head, body)) = read_request(&mut client).await {
        let mut first = head.lines().next().unwrap_or_default().split(' ');
        let (method, path) = (first.next().unwrap().to_owned(), first.next().unwrap().to_owned());
        let seen = Seen { method, path, head: head.clone(), body: body.clone() };
        let fault = {
            let mut plans = state.plans.lock().unwrap();
            let met = plans.iter().position(|(method, part, _)| seen.is(method, part));
            met.map(|at| plans.remove(at).2)
        };
        state.seen.lock().unwrap().push(seen);
        let answer = match fault {
            Some(Fault::LostBefore) => return,
            Some(Fault::Answer { status, headers, body }) => said(status, headers, &body),
            Some(Fault::LostAfter) => {
                forward(&state, &head, &body).await;
                return;
            }
            Some(Fault::AnswerAfter { status, headers, body: instead }) => {
                forward(&state, &head, &body).await;
                said(status, headers, &instead)
            }
            Some(Fault::Echo { status }) => {
                let answer = forward(&state, &head, &body).await;
                let (said_head, sent) = (String::from_utf8_lossy(&answer), String::from_utf8_lossy(&body));
                let text = format!("bad: {head} {sent} {said_head}");
                let text = serde_json::json!({
                    "message": text, "error": text, "errors": [{"message": text, "code": 1}],
                    "success": false, "messages": [text],
                });
                said(status, "Content-Type: application/json\r\n", &text.to_string())
            }
            Some(Fault::Trickle) => {
                for byte in forward(&state, &head, &body).await {
                    if client.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                return;
            }
            Some(Fault::Nothing) | None => forward(&state, &head, &body).await,
        };
        // The upstream's answer ends with its connection, so ours does too.
        let _ = client.write_all(&answer).await;
        let _ = client.shutdown().await;
    }
}

fn said(status: u16, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} Said\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Does the call and brings the whole answer.
async fn forward(state: &State, head: &str, body: &[u8]) -> Vec<u8> {
    let mut upstream = TcpStream::connect(state.upstream).await.unwrap();
    let kept = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let head: String = kept.take_while(|line| !line.is_empty()).map(|line| format!("{line}\r\n")).collect();
    upstream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
    upstream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    let _ = upstream.read_to_end(&mut answer).await;
    answer
}

async fn read_request(client: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end + 4].to_vec()).unwrap();
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned))
                .map_or(0, |length| length.trim().parse().unwrap());
            while bytes.len() < end + 4 + length {
                let count = client.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
                bytes.extend_from_slice(&chunk[..count]);
            }
            return Some((head, bytes[end + 4..].to_vec()));
        }
        let count = client.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&chunk[..count]);
    }
}
