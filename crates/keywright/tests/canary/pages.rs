//! The review pages: every one that there is, as an operator with a session sees it and as nobody does, and every entry of the log.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use keywright_server::http::routes::ROUTES;
use serde_json::{Value, json};

use crate::cases::ask;
use crate::ground::Ground;
use crate::search::Search;
use crate::support::PASSPHRASE;

/// All that comes back to a browser's request: head and body.
fn sends(origin: &str, method: &str, path: &str, cookie: &str, body: &str) -> Vec<u8> {
    let host = origin.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host.replace("localhost", "127.0.0.1")).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\nsec-fetch-site: same-origin\r\ncookie: {cookie}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// Asks for a key as the agent, in the words of a secret.
fn pastes(ground: &Ground, name: &str, secret: &str) -> String {
    let mut asked = ask(name);
    for field in ["purpose", "prompt"] {
        asked[field] = json!(format!("it says {secret} here"));
    }
    asked["idempotency_key"] = json!(name);
    let token = ground.token("agents", "builder");
    let call = json!({ "from": "agent", "token": token, "claimed": { "model": secret },
        "call": { "verb": "request_key", "ask": asked } });
    let mut stream = UnixStream::connect(ground.socket()).unwrap();
    stream.write_all(format!("{call}\n").as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    let answer: Value = serde_json::from_str(&line).unwrap();
    answer["ok"]["request"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[test]
fn no_page_shows_a_secret_to_an_operator_or_to_anybody_else() {
    let ground = Ground::with_pages();
    let origin = &ground.origin;
    let (live, token) = (ground.live(), ground.token("agents", "builder"));
    let requests = [pastes(&ground, "PASTED", &live), pastes(&ground, "OWN", &token)];
    ground.world.ok(&["agent", "pause", "builder", "--reason", &format!("it pasted {live}")]);
    let code = ground.world.ok(&["passkey", "add", "--name", "laptop"])["code"].as_str().unwrap().to_owned();
    let entered =
        sends(origin, "POST", "/door", "", &format!("passphrase={}&to=/", PASSPHRASE.replace(' ', "+")));
    let entered = String::from_utf8(entered).unwrap();
    let cookie = entered.split("set-cookie: ").nth(1).unwrap().split(';').next().unwrap().to_owned();
    let session = cookie.split_once('=').unwrap().1.to_owned();
    let mut secrets = ground.secrets();
    secrets.extend([code, session]);
    let search = Search::new(secrets);

    let key = ground.world.ok(&["key", "list"])["keys"][0]["id"].as_str().unwrap().to_owned();
    let entries = ground.world.ok(&["status"])["health"]["audit_entries"].as_u64().unwrap();
    let filled = |path: &str| {
        path.replace("{request}", &requests[0])
            .replace("{key}", &key)
            .replace("/agents/{name}", "/agents/builder")
            .replace("{provider}/{name}", "cloudflare/dns-edit")
            .replace("{entry}", "ent_0")
    };
    let mut paths: Vec<String> =
        ROUTES.iter().filter(|route| route.method == "GET").map(|route| filled(route.path)).collect();
    paths.extend((0..entries).map(|number| format!("/audit/ent_{number}")));
    paths.extend([
        format!("/r/{}", requests[1]),
        format!("/?done={}", requests[0]),
        "/audit?verify=1".to_owned(),
    ]);
    paths.extend(["/health?rows=1".to_owned(), format!("/audit?q={live}"), format!("/keys?q={live}")]);
    assert!(paths.len() > 30, "{}", paths.len());
    let mut pages = 0;
    for path in paths {
        let shown = sends(origin, "GET", &path, &cookie, "");
        // What somebody typed into the address is said back to whoever typed it.
        if !path.contains(&live) {
            search.absent_from(&path, &shown, "HTTP/1.1 200");
        }
        pages += usize::from(String::from_utf8_lossy(&shown).contains("<nav aria-label=\"pages\">"));
        search.absent_from(
            &format!("{path}, as nobody"),
            &sends(origin, "GET", &path.replace(&live, "x"), "", ""),
            "HTTP/1.1",
        );
    }
    assert!(pages > 30, "{pages} were pages for somebody who is let in");
    // A touch that is none, and a form that is none, are not said back.
    for (path, body) in
        [("/touch/offer", live.as_str()), ("/touch", &token), ("/passkeys/begin", &live), ("/door", &token)]
    {
        search.absent_from(path, &sends(origin, "POST", path, &cookie, body), "HTTP/1.1 4");
    }
    ground.search_talk();
}
