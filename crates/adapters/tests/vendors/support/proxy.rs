//! A proxy on loopback that does to chosen calls what networks, gateways and confused services do.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What happens to a call.
#[derive(Debug, Clone)]
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
    /// The service did the work; its answer comes one byte a time, and the last one never comes.
    Trickle,
    /// No answer comes at all; before or after the service did the work.
    Hang { after_commit: bool },
    /// The service did the work; an answer of 64 MiB comes. (One of no announced length is the wire's own test: to wipe what
    /// was read takes a slow build too long here.)
    Huge,
    /// The clock of the service is so many seconds ahead of ours: a signature that is a quarter of an hour off is refused,
    /// in the words that `said` puts around.
    Clock { ahead: i64, said: fn(&str) -> (u16, String) },
}

/// In what way a bad answer is bad, which decides what an adapter has to say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Lost,
    TimedOut,
    Denied,
    Missing,
    Conflict,
    Throttled,
    Failed,
    Garbled,
}

/// A bad answer that every adapter must survive, whatever the call.
#[derive(Debug, Clone)]
pub struct Bad {
    /// For the failure message.
    pub what: &'static str,
    pub fault: Fault,
    pub kind: Kind,
    /// Whether its body is the vendor's own form of a refusal.
    pub documented: bool,
}

/// What is left of the bad answers where the peer is slow: those that were ever found to matter.
const FEW: [(&str, bool); 9] = [
    ("lost after", false),
    ("timeout after", false),
    ("slow body", false),
    ("garbage before", false),
    ("500 after", false),
    ("403", true),
    ("404", true),
    ("404", false),
    ("429", true),
];
impl Bad {
    /// Whether it is left where the peer is slow.
    pub fn is_of_few(&self) -> bool {
        FEW.contains(&(self.what, self.documented))
    }
}

/// How long [`Kind::Throttled`] asks to wait, in seconds.
pub const RETRY_AFTER: u64 = 7;

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
    /// What is called: method and path, and the operation where one path has them all.
    pub fn name(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        let body = String::from_utf8_lossy(&self.body);
        let target = self.head.lines().find(|line| line.starts_with("x-amz-target:"));
        let action = body.split('&').find(|field| field.starts_with("Action="));
        format!("{} {path} {}", self.method, target.or(action).unwrap_or_default())
    }

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
    script: Mutex<Option<Script>>,
    seen: Mutex<Vec<Seen>>,
}

/// Every bad answer; `said` is the body of a vendor's own refusal with a status.
pub fn bad_answers(said: fn(u16) -> String) -> Vec<Bad> {
    let bad = |what, kind, fault| Bad { what, fault, kind, documented: false };
    let answer = |status, headers, body: String| Fault::Answer { status, headers, body };
    let html = || "<html>hello</html>".to_owned();
    let text = "Content-Type: text/html\r\n";
    let hang = |after_commit| Fault::Hang { after_commit };
    let mut all = vec![
        bad("lost before", Kind::Lost, Fault::LostBefore),
        bad("lost after", Kind::Lost, Fault::LostAfter),
        bad("timeout before", Kind::TimedOut, hang(false)),
        bad("timeout after", Kind::TimedOut, hang(true)),
        bad("slow body", Kind::TimedOut, Fault::Trickle),
        bad("500 before", Kind::Failed, answer(500, "", "oops".to_owned())),
        bad("500 after", Kind::Failed, Fault::AnswerAfter { status: 500, headers: "", body: "oops".into() }),
        bad("garbage before", Kind::Garbled, answer(200, text, html())),
        bad("garbage after", Kind::Garbled, Fault::AnswerAfter { status: 200, headers: text, body: html() }),
        bad("huge", Kind::Garbled, Fault::Huge),
        bad("redirect", Kind::Garbled, answer(302, "Location: http://192.0.2.1/\r\n", String::new())),
    ];
    for (status, what, kind) in [
        (401, "401", Kind::Denied),
        (403, "403", Kind::Denied),
        (404, "404", Kind::Missing),
        (409, "409", Kind::Conflict),
        (429, "429", Kind::Throttled),
    ] {
        let headers = if status == 429 { "Retry-After: 7\r\n" } else { "" };
        all.push(bad(what, kind, answer(status, headers, "{}".to_owned())));
        all.push(Bad { documented: true, ..bad(what, kind, answer(status, headers, said(status))) });
    }
    all
}

/// What is known of the call that a script fails.
struct Script {
    /// How many calls go through before.
    skip: usize,
    fault: Fault,
    /// The call that met it first; all others of its name meet it as well.
    name: Option<String>,
    met: usize,
}

impl Script {
    fn meets(&mut self, seen: &Seen) -> bool {
        let name = seen.name();
        let is_meant = match &self.name {
            None if self.skip > 0 => {
                self.skip -= 1;
                return false;
            }
            None => true,
            Some(first) => *first == name,
        };
        if is_meant {
            self.name = Some(name);
            self.met += 1;
        }
        is_meant
    }
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
            script: Mutex::default(),
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

    /// The call after so many others meets the fault, and so does every later one of the same name.
    pub fn fail_from(&self, skip: usize, fault: Fault) {
        *self.state.script.lock().unwrap() = Some(Script { skip, fault, name: None, met: 0 });
    }

    /// Ends that, and says how many calls met it.
    pub fn met(&self) -> usize {
        self.state.script.lock().unwrap().take().map_or(0, |script| script.met)
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
        let scripted = || {
            let mut script = state.script.lock().unwrap();
            script.as_mut().and_then(|script| script.meets(&seen).then(|| script.fault.clone()))
        };
        let fault = fault.or_else(scripted);
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
                let answer = forward(&state, &head, &body).await;
                let (_, all_but_one) = answer.split_last().unwrap();
                let body = all_but_one.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
                let (head, slow) = all_but_one.split_at(body);
                if client.write_all(head).await.is_err() {
                    return;
                }
                for byte in slow {
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_millis(20)) => {}
                        _ = gone(&client) => return,
                    }
                    if client.write_all(&[*byte]).await.is_err() {
                        return;
                    }
                }
                gone(&client).await;
                return;
            }
            Some(Fault::Hang { after_commit }) => {
                if after_commit {
                    forward(&state, &head, &body).await;
                }
                gone(&client).await;
                return;
            }
            Some(Fault::Clock { ahead, said: refusal }) => match judged_by_clock(&head, ahead) {
                Some(words) => {
                    let (status, body) = refusal(&words);
                    said(status, "", &body)
                }
                None => forward(&state, &head, &body).await,
            },
            Some(Fault::Huge) => {
                forward(&state, &head, &body).await;
                let _ = client.write_all(b"HTTP/1.1 200 Said\r\nContent-Length: 67108864\r\n\r\n\"").await;
                let chunk = [b'x'; 64 << 10];
                for _ in 0..1024 {
                    if client.write_all(&chunk).await.is_err() {
                        return;
                    }
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

/// What AWS says to the time of a signature, where it is more than 15 minutes from its own.
fn judged_by_clock(head: &str, ahead: i64) -> Option<String> {
    let signed = head.lines().find_map(|line| line.strip_prefix("x-amz-date: ")).unwrap().trim();
    let form = "%Y%m%dT%H%M%SZ";
    let at = jiff::civil::DateTime::strptime(form, signed).unwrap();
    let at = jiff::tz::Offset::UTC.to_timestamp(at).unwrap();
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(ahead);
    let shown = |at: jiff::Timestamp| at.strftime(form).to_string();
    let quarter = jiff::SignedDuration::from_mins(15);
    if at < now - quarter {
        let (bound, now) = (shown(now - quarter), shown(now));
        return Some(format!("Signature expired: {signed} is now earlier than {bound} ({now} - 15 min.)"));
    }
    (at > now + quarter).then(|| {
        let (bound, now) = (shown(now + quarter), shown(now));
        format!("Signature not yet current: {signed} is still later than {bound} ({now} + 15 min.)")
    })
}

/// Until the client has closed its side.
async fn gone(client: &TcpStream) {
    let mut byte = [0];
    while client.readable().await.is_ok() {
        match client.try_read(&mut byte) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
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
