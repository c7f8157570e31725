//! The sandbox by hand, and its control path.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Serving, World, bare};

/// A sandbox that runs until the test ends, and what it said when it was ready.
fn started(world: &World, args: &[&str]) -> (Serving, Value) {
    let mut all = vec!["sandbox", "--json", "--token-file", "sandbox.token"];
    all.extend(args);
    let mut sandbox = Serving(world.command(&all).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(sandbox.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (sandbox, serde_json::from_str(&line).unwrap())
}

/// One call over HTTP; the status and the body.
fn call(method: &str, url: &str, bearer: &str, body: Option<&Value>) -> (u16, Value) {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAuthorization: Bearer {bearer}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

#[test]
fn the_control_path_injects_faults_and_moves_the_clock() {
    let world = World::empty();
    let (_sandbox, told) = started(&world, &["--control"]);
    let (base, account) = (told["base_url"].as_str().unwrap(), told["account"].as_str().unwrap());
    let control = told["control"]["url"].as_str().unwrap();
    assert_eq!(told["control"]["authentication"], "none");
    let token = std::fs::read_to_string(world.path("sandbox.token")).unwrap().trim().to_owned();
    let zones = format!("{base}/zones?account.id={account}");
    assert_eq!(call("GET", &zones, &token, None).0, 200);

    let fault = json!({"method": "GET", "path": "/zones", "kind": "status", "status": 429, "retry_after": 7});
    assert_eq!(call("POST", &format!("{control}/faults"), "", Some(&fault)), (200, json!({"id": 1})));
    assert_eq!(call("GET", &zones, &token, None).0, 429);
    assert_eq!(call("GET", &zones, &token, None).0, 200);

    let (_, before) = call("GET", &format!("{control}/state"), "", None);
    assert_eq!(before["faults"][0]["hits"], 1);
    assert!(!before.to_string().contains(&token), "the state shows no token's value");
    let step = json!({"advance_ms": 86_400_000});
    let (status, after) = call("POST", &format!("{control}/clock"), "", Some(&step));
    let at = |value: &Value| value["now"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(status, 200);
    assert!(at(&after).duration_since(at(&before)) >= jiff::SignedDuration::from_hours(24));
}

#[test]
fn the_control_path_is_off_unless_it_is_asked_for() {
    let world = World::empty();
    let (_sandbox, told) = started(&world, &[]);
    assert_eq!(told["control"], Value::Null);
    let root = told["base_url"].as_str().unwrap().replace("/client/v4", "/_sandbox");
    for (method, path) in [("GET", "state"), ("POST", "faults"), ("POST", "clock")] {
        assert_eq!(call(method, &format!("{root}/{path}"), "", Some(&json!({}))).0, 404, "{path}");
    }
}

#[test]
fn help_tells_how_the_control_path_is_used() {
    let help = String::from_utf8(bare().args(["sandbox", "--help"]).output().unwrap().stdout).unwrap();
    for word in ["--control", "/_sandbox", "/faults", "/state", "/clock", "no credential"] {
        assert!(help.contains(word), "{word}: {help}");
    }
}
