//! The wire against servers that misbehave on purpose: scripted ones, byte by byte.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keywright_core::secret::Secret;
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::address::Lookup;
use super::*;

/// Answers each request with the next script, on however many connections; keeps what it was sent.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

/// What a server does with one request.
#[derive(Clone)]
enum Script {
    /// Sends this and keeps the connection.
    Say(String),
    /// Sends this and closes.
    SayAndClose(String),
    /// Sends this and then nothing more, for ever.
    SayAndHang(String),
}

fn ok(body: &str) -> Script {
    Script::Say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

fn status(line: &str, headers: &str) -> Script {
    Script::Say(format!("HTTP/1.1 {line}\r\n{headers}Content-Length: 0\r\n\r\n"))
}

impl Server {
    async fn start(scripts: Vec<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            requests: Arc::default(),
        };
        let (connections, requests) = (Arc::clone(&server.connections), Arc::clone(&server.requests));
        let scripts = Arc::new(Mutex::new(scripts.into_iter()));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (requests, scripts) = (Arc::clone(&requests), Arc::clone(&scripts));
                tokio::spawn(serve(stream, requests, scripts));
            }
        });
        server
    }

    fn url(&self) -> String {
        format!("http://{}/base", self.address)
    }

    fn wire(&self) -> Wire {
        Wire::new(quick(&self.url())).unwrap()
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(
    mut stream: TcpStream,
    requests: Arc<Mutex<Vec<String>>>,
    scripts: Arc<Mutex<std::vec::IntoIter<Script>>>,
) {
    let mut buffer = vec![0; 65_536];
    loop {
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            return;
        }
        requests.lock().unwrap().push(String::from_utf8_lossy(&buffer[..read]).into_owned());
        let script = scripts.lock().unwrap().next();
        match script {
            Some(Script::Say(text)) => stream.write_all(text.as_bytes()).await.unwrap(),
            Some(Script::SayAndClose(text)) => {
                stream.write_all(text.as_bytes()).await.unwrap();
                return;
            }
            Some(Script::SayAndHang(text)) => {
                stream.write_all(text.as_bytes()).await.unwrap();
                std::future::pending::<()>().await;
            }
            None => return,
        }
    }
}

fn quick(url: &str) -> WireConfig {
    WireConfig {
        deadline: Duration::from_millis(700),
        max_body: 1_000,
        retry: Retry { first_wait: Duration::from_millis(1), ..Retry::default() },
        ..WireConfig::new("test", url)
    }
}

fn secret() -> Secret {
    Secret::new("canary-canary-canary".to_owned())
}

fn post<'a>(secret: &'a Secret, path: &'a str) -> Call<'a> {
    Call::once(Method::POST, vec![path], secret, b"{}".to_vec().into())
}

#[tokio::test]
async fn a_call_goes_where_the_base_says_with_its_parts_encoded() {
    let server = Server::start(vec![ok("hi")]).await;
    let secret = secret();
    let mut call = Call::get(vec!["a/b", "c?d#e", "%2e%2e"], &secret);
    call.query = vec![("name", "x&y=z".to_owned())];
    let reply = server.wire().send(call).await.unwrap();
    assert_eq!((reply.status, reply.body.as_slice()), (200, b"hi".as_slice()));
    let sent = server.requests().remove(0);
    assert!(sent.starts_with("GET /base/a%2Fb/c%3Fd%23e/%252e%252e?name=x%26y%3Dz HTTP/1.1\r\n"), "{sent}");
    assert!(sent.contains("authorization: Bearer canary-canary-canary\r\n"), "{sent}");
}

#[tokio::test]
async fn a_path_can_not_climb() {
    let server = Server::start(vec![]).await;
    let secret = secret();
    for part in ["", ".", ".."] {
        let outcome = server.wire().send(Call::delete(vec!["tokens", part], &secret)).await;
        assert!(matches!(outcome, Err(Fault::NotSent { .. })), "{part}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::start(vec![ok("secret")]).await;
    let location = format!("Location: {}\r\n", elsewhere.url());
    for code in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let server = Server::start(vec![status(code, &location)]).await;
        let secret = secret();
        let outcome = server.wire().send(Call::get(vec!["x"], &secret)).await;
        assert!(matches!(outcome, Err(Fault::Redirected { .. })), "{code}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_dropped_whether_announced_or_not() {
    let announced = "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n".to_owned();
    let chunked =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n{}\r\n", "x".repeat(1_001));
    for script in [announced, chunked] {
        let server = Server::start(vec![Script::SayAndHang(script)]).await;
        let outcome = server.wire().send(Call::get(vec!["x"], &secret())).await.map(|reply| reply.status);
        assert_eq!(outcome, Err(Fault::TooLarge { limit: 1_000 }));
    }
    let fits = Server::start(vec![ok(&"x".repeat(1_000))]).await;
    assert_eq!(fits.wire().send(Call::get(vec!["x"], &secret())).await.unwrap().body.len(), 1_000);
}

#[tokio::test]
async fn the_deadline_counts_until_the_last_byte() {
    for said in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"] {
        let server = Server::start(vec![Script::SayAndHang(said.to_owned())]).await;
        let secret = secret();
        let outcome = server.wire().send(Call::get(vec!["x"], &secret)).await.map(|reply| reply.status);
        assert!(matches!(outcome, Err(Fault::TimedOut { .. })), "{said:?}: {outcome:?}");
        assert_eq!(server.requests().len(), 1, "whoever hangs is not asked again");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_lost_and_not_short() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_owned();
    let server = Server::start(vec![Script::SayAndClose(cut)]).await;
    let outcome = server.wire().send(post(&secret(), "x")).await.map(|reply| reply.status);
    assert!(matches!(outcome, Err(Fault::Lost { .. })), "{outcome:?}");
}

#[tokio::test]
async fn what_may_be_repeated_is_repeated_within_bounds() {
    let busy = || status("429 Too Many", "Retry-After: 0\r\n");
    let cases = [
        (vec![busy(), status("503 Away", ""), ok("")], 200, 3),
        (vec![status("500 Oh", ""), status("500 Oh", ""), status("500 Oh", ""), ok("")], 500, 3),
        (vec![status("429 Too Many", "Retry-After: 3600\r\n"), ok("")], 429, 1),
        (vec![status("404 No", ""), ok("")], 404, 1),
        (vec![Script::SayAndClose(String::new()), ok("")], 200, 2),
    ];
    for (scripts, expected, sent) in cases {
        let server = Server::start(scripts).await;
        let reply = server.wire().send(Call::get(vec!["x"], &secret())).await.unwrap();
        assert_eq!((reply.status, server.requests().len()), (expected, sent));
    }
}

#[tokio::test]
async fn what_must_not_be_repeated_is_sent_once() {
    for script in [
        status("429 Too Many", "Retry-After: 0\r\n"),
        status("500 Oh", ""),
        Script::SayAndClose(String::new()),
        Script::SayAndHang(String::new()),
    ] {
        let server = Server::start(vec![script, ok("")]).await;
        let outcome = server.wire().send(post(&secret(), "x")).await;
        assert!(!matches!(outcome, Err(Fault::NotSent { .. })));
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_call_that_is_sent_once_has_a_connection_of_its_own() {
    // A kept connection may be closed at the far end at the very moment when it is used again.
    let server = Server::start((0..20).map(|_| ok("")).collect()).await;
    let wire = server.wire();
    let secret = secret();
    for _ in 0..5 {
        assert_eq!(wire.send(Call::get(vec!["x"], &secret)).await.unwrap().status, 200);
    }
    assert_eq!((server.requests().len(), server.connections()), (5, 1));
    for _ in 0..5 {
        assert_eq!(wire.send(post(&secret, "x")).await.unwrap().status, 200);
    }
    assert_eq!((server.requests().len(), server.connections()), (10, 6));
}

#[tokio::test]
async fn a_refused_connection_means_that_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let outcome = Wire::new(quick(&url)).unwrap().send(post(&secret(), "x")).await.map(|reply| reply.status);
    assert!(matches!(&outcome, Err(Fault::NotSent { why }) if !why.contains("127.0.0.1")), "{outcome:?}");
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_not_dialled() {
    let server = Server::start(vec![ok("")]).await;
    for addresses in
        [vec!["127.0.0.1:0"], vec!["1.1.1.1:0", "169.254.169.254:0"], vec!["[::ffff:10.0.0.1]:0"]]
    {
        let addresses: Vec<SocketAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let lookup: Lookup = Arc::new(move |_| {
            let addresses = addresses.clone();
            Box::pin(async move { Ok(addresses) })
        });
        let url = format!("https://api.example.com:{}/", server.address.port());
        let wire = Wire::with_lookup(quick(&url), &lookup).unwrap();
        let outcome = wire.send(post(&secret(), "x")).await.map(|reply| reply.status);
        assert!(
            matches!(&outcome, Err(Fault::NotSent { why }) if why.contains("may not be dialled")),
            "{outcome:?}"
        );
    }
    // Nor one that an operator gave: a private network is not this machine, and no metadata service.
    for address in ["127.0.0.1:0", "169.254.169.254:0"] {
        let address: SocketAddr = address.parse().unwrap();
        let lookup: Lookup = Arc::new(move |_| Box::pin(async move { Ok(vec![address]) }));
        let url = format!("https://vault.example.com:{}/", server.address.port());
        let wire = Wire::with_lookup(WireConfig { is_given: true, ..quick(&url) }, &lookup).unwrap();
        let outcome = wire.send(post(&secret(), "x")).await.map(|reply| reply.status);
        assert!(
            matches!(&outcome, Err(Fault::NotSent { why }) if why.contains("may not be dialled")),
            "{outcome:?}"
        );
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn localhost_must_not_lead_away() {
    let lookup: Lookup = Arc::new(|_| Box::pin(async { Ok(vec!["93.184.216.34:0".parse().unwrap()]) }));
    let wire = Wire::with_lookup(quick("http://localhost:1/"), &lookup).unwrap();
    let outcome = wire.send(post(&secret(), "x")).await.map(|reply| reply.status);
    assert!(
        matches!(&outcome, Err(Fault::NotSent { why }) if why.contains("may not be dialled")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn calls_wait_for_their_turn_and_not_for_ever() {
    let server = Server::start(vec![ok(""), ok(""), ok("")]).await;
    let pace = Pace { burst: std::num::NonZeroU32::MIN, interval: Duration::from_millis(50) };
    let wire = Wire::new(WireConfig { pace: Some(pace), ..quick(&server.url()) }).unwrap();
    let secret = secret();
    assert_eq!(wire.send(post(&secret, "x")).await.unwrap().status, 200);
    assert_eq!(wire.send(post(&secret, "x")).await.unwrap().status, 200);
    let slow = Pace { interval: Duration::from_secs(3_600), ..pace };
    let wire = Wire::new(WireConfig { pace: Some(slow), ..quick(&server.url()) }).unwrap();
    assert_eq!(wire.send(post(&secret, "x")).await.unwrap().status, 200);
    assert!(matches!(wire.send(post(&secret, "x")).await, Err(Fault::NotSent { .. })));
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn whoever_is_asked_to_wait_waits_whatever_the_next_call_is() {
    let busy = |after: &str| status("429 Too Many", after);
    for after in [
        "Retry-After: 300\r\n".to_owned(),
        "Retry-After: 99999999999999999999\r\n".to_owned(),
        // By the clock of who wrote it, which is far from ours.
        "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sunday, 06-Nov-94 08:54:37 GMT\r\n".to_owned(),
    ] {
        let server = Server::start(vec![busy(&after), ok("")]).await;
        let (wire, secret) = (server.wire(), secret());
        let reply = wire.send(post(&secret, "x")).await.unwrap();
        let asked = reply.retry_after.unwrap();
        assert!(asked == Duration::from_secs(300) || asked == Duration::from_secs(900), "{asked:?}");
        let started = Instant::now();
        for call in [post(&secret, "x"), Call::get(vec!["x"], &secret)] {
            let outcome = wire.send(call).await.map(|reply| reply.status);
            let left = asked - Duration::from_secs(2);
            assert!(matches!(&outcome, Err(Fault::Closed { left: now }) if *now > left), "{outcome:?}");
        }
        assert!(started.elapsed() < Duration::from_secs(2));
        assert_eq!(server.requests().len(), 1, "nothing else goes out");
    }
}

#[tokio::test]
async fn a_short_wait_is_waited_for_by_every_call() {
    let server = Server::start(vec![status("429 Too Many", "Retry-After: 1\r\n"), ok(""), ok("")]).await;
    let (wire, secret) = (server.wire(), secret());
    let started = Instant::now();
    assert_eq!(wire.send(post(&secret, "x")).await.unwrap().status, 429);
    assert_eq!(server.requests().len(), 1, "what is sent once is not sent again");
    let (one, two) = tokio::join!(wire.send(post(&secret, "x")), wire.send(Call::get(vec!["x"], &secret)));
    assert_eq!((one.unwrap().status, two.unwrap().status), (200, 200));
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_shorter_wish_does_not_cut_a_longer_one_short() {
    let limiter = Limiter::new(None);
    limiter.close_for(Duration::from_secs(300));
    limiter.close_for(Duration::ZERO);
    limiter.close_for(Duration::from_secs(10));
    let outcome = limiter.wait(Duration::ZERO).await;
    assert!(matches!(outcome, Err(Fault::Closed { left }) if left > Duration::from_secs(290)), "{outcome:?}");
}

#[tokio::test]
async fn a_credential_that_is_no_header_is_not_sent() {
    let server = Server::start(vec![]).await;
    let secret = Secret::new("canary\r\nX-Evil: 1".to_owned());
    let outcome = server.wire().send(post(&secret, "x")).await.map(|reply| reply.status);
    assert!(matches!(&outcome, Err(Fault::NotSent { why }) if !why.contains("canary")), "{outcome:?}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn what_ends_a_key_goes_out_once_although_nothing_else_may() {
    let closed = || status("429 Too Many", "Retry-After: 600\r\n");
    let server = Server::start(vec![closed(), closed()]).await;
    let (wire, secret) = (server.wire(), secret());
    assert_eq!(wire.send(post(&secret, "x")).await.unwrap().status, 429);
    let held = wire.send(Call::get(vec!["x"], &secret)).await.map(|reply| reply.status);
    assert!(matches!(held, Err(Fault::Closed { .. })), "{held:?}");
    let deleted = wire.send(Call::delete(vec!["x"], &secret)).await;
    assert!(
        matches!(&deleted, Ok(reply) if reply.status == 429) || matches!(deleted, Err(Fault::Closed { .. }))
    );
    assert_eq!(server.requests().len(), 2, "once, and not again");
}
