//! The doors of the review pages: every route, tried by whoever may not, and what comes back of it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "pages/lists.rs"]
mod lists;
#[path = "pages/log.rs"]
mod log;
#[path = "pages/ways.rs"]
mod ways;

use std::sync::Arc;

use axum::http::Method;
use keywright_broker::ask::Ask;
use keywright_broker::deliver::{Reader, Wanted};
use keywright_broker::grants::NewGrant;
use keywright_broker::notify::NewChannel;
use keywright_broker::passkey::Counts;
use keywright_core::channel::{ChannelKind, Rules};
use keywright_core::receipt::Status;
use keywright_core::secret::Secret;
use keywright_ledger::AuditFilter;
use keywright_sandbox::{Fault, FaultKind};
use keywright_server::http::routes::{ROUTES, Route, Takes};
use keywright_server::http::{self, Door};
use keywright_testkit::{Canaries, DNS_EDIT, World, ask};
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::sync::watch;

const PASSPHRASE: &str = "correct horse battery staple";
/// What a page shows of everything that could be shown otherwise than it is.
const NAUGHTY: &str = "<script>alert(1)</script><img src=x onerror=alert(1)>\" onclick=\"x\u{202e}\u{200b}\u{1b}[31m'${7*7}{{7*7}}&amp;";

struct House {
    world: World,
    origin: String,
    stop: watch::Sender<bool>,
    client: Client,
}

impl House {
    async fn new() -> Self {
        // As the program does it: the page of health tells when it is otherwise.
        #[cfg(target_os = "linux")]
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable).unwrap();
        let world = World::new().await;
        let listeners = http::listen("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
        let origin = format!("http://localhost:{}", listeners[0].local_addr().unwrap().port());
        let door = Door::new(Arc::clone(&world.broker), &origin).unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(http::serve(listeners, door, stopped));
        let client = Client::builder().redirect(Policy::none()).build().unwrap();
        Self { world, origin, stop, client }
    }

    /// A request as a browser at our own page makes it.
    async fn sends(
        &self,
        method: &Method,
        path: &str,
        body: Body,
        changes: &[(&'static str, &str)],
    ) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert("sec-fetch-site", HeaderValue::from_static("same-origin"));
        if method == Method::POST {
            headers.insert(header::ORIGIN, HeaderValue::from_str(&self.origin).unwrap());
        }
        for (name, value) in changes {
            headers.remove(*name);
            if !value.is_empty() {
                headers.insert(*name, HeaderValue::from_str(value).unwrap());
            }
        }
        let request = self.client.request(method.clone(), format!("{}{path}", self.origin)).headers(headers);
        let request = match body {
            Body::None => request,
            Body::Json(value) => request.json(&value),
            Body::Form(text) => {
                request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(text)
            }
        };
        request.send().await.unwrap()
    }

    /// The cookie of somebody who came in by the passphrase.
    async fn comes_in(&self) -> String {
        let form = Body::Form(format!("passphrase={}&to=%2Fkeys", PASSPHRASE.replace(' ', "+")));
        let answer = self.sends(&Method::POST, "/door", form, &[]).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()[header::LOCATION]),
            (303, &HeaderValue::from_static("/keys"))
        );
        let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
        assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
        cookie.split(';').next().unwrap().to_owned()
    }

    async fn waiting(&self, name: &str, purpose: &str) -> (String, String) {
        let wish = Ask {
            environment: "production".to_owned(),
            purpose: purpose.to_owned(),
            prompt: Some(purpose.to_owned()),
            ..ask("example.com", name)
        };
        let receipt = self.world.request(&wish).await.unwrap();
        assert_eq!(receipt.status, Status::PendingApproval);
        let request =
            self.world.broker.review(&receipt.request.to_string(), &Default::default()).await.unwrap();
        let keywright_broker::review::Pending::Key(review) = request else { panic!() };
        (receipt.request.to_string(), review.digest)
    }

    async fn entries(&self) -> u64 {
        self.world.broker.health().await.unwrap().audit_entries
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

enum Body {
    None,
    Json(Value),
    Form(String),
}

/// A path of a route that leads to something, and what somebody would send there to change it.
fn filled(route: &Route, request: &str, digest: &str, key: &str) -> (String, Body) {
    let path = route
        .path
        .replace("{request}", request)
        .replace("{key}", key)
        .replace("/agents/{name}", "/agents/bot")
        .replace("{entry}", "ent_3")
        .replace("{provider}/{name}", "cloudflare/dns-edit");
    let assertion = json!({ "credential": "AAAA", "authenticatorData": "AAAA", "clientData": "AAAA", "signature": "AAAA" });
    let id = "apr_01a21dbbbd2872b89405dbb2efeabe3f";
    let body = match route.path {
        "/door" if route.method == Method::POST => Body::Form("passphrase=wrong&to=/".to_owned()),
        "/door/touch" | "/touch" => Body::Json(json!({ "id": id, "assertion": assertion })),
        "/passkeys/begin" => Body::Json(json!({ "word": "kwp_guessed" })),
        "/passkeys/add" => Body::Json(json!({ "word": "kwp_guessed", "credential": {} })),
        "/touch/offer" => Body::Json(json!({ "act": "approve", "request": request, "digest": digest })),
        "/door/offer" => Body::Json(json!({})),
        _ => Body::None,
    };
    (path, body)
}

#[tokio::test]
async fn no_route_changes_anything_for_nobody_an_agent_a_session_alone_or_another_origin() {
    let house = House::new().await;
    let key = house.world.request(&ask("example.com", "CF_TOKEN")).await.unwrap().key.unwrap().to_string();
    let (request, digest) = house.waiting("PROD", "why not").await;
    let ana = house.world.ana().await;
    let token = house.world.broker.add_agent(&ana, &"bot".parse().unwrap()).await.unwrap();
    let token = token.expose_secret().to_owned();
    let session = house.comes_in().await;
    let port = house.origin.rsplit(':').next().unwrap().to_owned();
    let before = house.entries().await;

    let (bearer, as_cookie) = (format!("Bearer {token}"), format!("keywright={token}"));
    let foreign = "https://evil.example";
    let elsewhere = format!("evil.example:{port}");
    let opaque = ("origin", "null");
    let callers: Vec<(&str, Vec<(&'static str, &str)>)> = vec![
        ("nobody", vec![]),
        ("an agent", vec![("authorization", &bearer)]),
        ("an agent's token as a cookie", vec![("cookie", &as_cookie)]),
        ("a session", vec![("cookie", &session)]),
        (
            "another origin",
            vec![
                ("cookie", &session),
                ("origin", foreign),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "cors"),
            ],
        ),
        (
            "another origin of an old browser",
            vec![
                ("cookie", &session),
                ("origin", foreign),
                ("sec-fetch-site", ""),
                ("sec-fetch-mode", "no-cors"),
            ],
        ),
        (
            "a frame without an origin",
            vec![("cookie", &session), opaque, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors")],
        ),
        ("no origin at all", vec![("cookie", &session), ("origin", ""), ("sec-fetch-site", "none")]),
        (
            "another port of this host",
            vec![
                ("cookie", &session),
                ("origin", "http://localhost:1"),
                ("sec-fetch-site", "same-site"),
                ("sec-fetch-mode", "cors"),
            ],
        ),
        ("a name that was made to point here", vec![("cookie", &session), ("host", &elsewhere)]),
    ];
    for route in ROUTES {
        for (who, changes) in &callers {
            if route.path == "/leave" && *who == "a session" {
                // It would end the session that the others come with.
                continue;
            }
            let (path, body) = filled(route, &request, &digest, &key);
            let answer = house.sends(&route.method, &path, body, changes).await;
            let status = answer.status().as_u16();
            let what = format!("{} {path} as {who}: {status}", route.method);
            let is_foreign = changes.iter().any(|(name, _)| *name == "sec-fetch-mode");
            let expected = match (route.takes, *who) {
                (_, "a name that was made to point here") => vec![421],
                (_, "another origin of an old browser") if route.method == Method::GET => continue,
                _ if is_foreign => vec![403],
                (_, "no origin at all") if route.method == Method::POST => vec![403],
                (Takes::Nothing, _) => vec![200],
                (Takes::Session, "a session" | "no origin at all") if route.method == Method::GET => {
                    vec![200]
                }
                (Takes::Session, _) if route.method == Method::GET => vec![303],
                // There is no passkey here.
                (Takes::Session, "a session") => vec![409],
                (Takes::Touch, "a session") => vec![409],
                (Takes::Session | Takes::Touch, _) => vec![401],
                (Takes::Proof | Takes::Word, _) => vec![400, 401, 409, 503],
            };
            let csp = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(csp.starts_with("default-src 'none'") && !csp.contains("unsafe"), "{what}");
            assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{what}");
            let said = answer.text().await.unwrap();
            assert!(expected.contains(&status), "{what}, expected {expected:?}: {said}");
        }
    }
    assert_eq!(house.entries().await, before, "nothing of all that is on record, because nothing was done");
    let log = house.world.broker.log(AuditFilter::default()).await.unwrap();
    assert!(log.iter().all(|entry| entry.record().signatures.is_empty()));
}

#[tokio::test]
async fn a_session_ends_when_its_operator_leaves_or_is_removed() {
    let house = House::new().await;
    let session = house.comes_in().await;
    let looks = async |cookie: &str| {
        house.sends(&Method::GET, "/keys", Body::None, &[("cookie", cookie)]).await.status()
    };
    assert_eq!(looks(&session).await, 200);
    let left = house.sends(&Method::POST, "/leave", Body::None, &[("cookie", &session)]).await;
    assert_eq!(left.status(), 303);
    assert_eq!(looks(&session).await, 303);
    let (world, bea) = (&house.world, "bea".parse().unwrap());
    let ana = world.ana().await;
    let word = keywright_core::secret::Secret::new("another passphrase of hers".to_owned());
    world.broker.add_operator(&ana, &bea, word).await.unwrap();
    let form = Body::Form("passphrase=another+passphrase+of+hers&to=https%3A%2F%2Fevil.example".to_owned());
    let answer = house.sends(&Method::POST, "/door", form, &[]).await;
    assert_eq!(answer.headers()[header::LOCATION], "/", "nobody is led elsewhere");
    let hers = answer.headers()[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(looks(&hers).await, 200);
    world.broker.remove_operator(&ana, &bea).await.unwrap();
    assert_eq!(looks(&hers).await, 303);
}

#[tokio::test]
async fn guesses_of_the_passphrase_are_slowed_down() {
    let house = House::new().await;
    let guess = async |word: &str| {
        let form = Body::Form(format!("passphrase={word}&to=/"));
        house.sends(&Method::POST, "/door", form, &[]).await.status().as_u16()
    };
    for number in 0..5 {
        assert_eq!(guess("wrong").await, 401, "{number}");
    }
    assert_eq!(guess("correct+horse+battery+staple").await, 503, "also the right one waits");
}

#[tokio::test]
async fn no_page_holds_a_script_a_steering_character_or_a_secret() {
    let house = House::new().await;
    let key = house.world.request(&ask("example.com", "CF_TOKEN")).await.unwrap().key.unwrap().to_string();
    let (request, _) = house.waiting("PROD", NAUGHTY).await;
    let agent = World::agent("bot");
    let source = include_str!("../../../templates/cloudflare/dns-read.toml")
        .replace("title = \"", "title = \"<script>alert(2)</script> ");
    let proposal = house.world.broker.propose_template(&agent, &source, NAUGHTY).await.unwrap().to_string();
    house
        .world
        .broker
        .reject(&house.world.ana().await, &house.waiting("OTHER", "x").await.0, NAUGHTY)
        .await
        .unwrap();
    let (broker, ana) = (&house.world.broker, house.world.ana().await);
    let token = broker.add_agent(&ana, &"bot".parse().unwrap()).await.unwrap();
    let (api, web) = ("api".parse().unwrap(), "web".parse().unwrap());
    let workload = broker.add_workload(&ana, &api, &web, None).await.unwrap();
    let code = broker.invite_passkey(&ana, "laptop", Counts::AtOnce).await.unwrap();
    let channel = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let new = NewChannel {
        name: "ops".parse().unwrap(),
        kind: ChannelKind::Webhook,
        settings: [("url".to_owned(), "https://hooks.example.invalid/x".to_owned())].into(),
        rules: Rules { after: None, remind: None, quiet: None, is_urgent: false, with_purpose: false },
        credential: Some(Secret::new(channel.to_owned())),
    };
    broker.add_channel(&ana, new).await.unwrap();
    let mut caller = World::agent("bot");
    caller.claimed.insert("model".to_owned(), NAUGHTY.to_owned());
    caller.claimed.insert(NAUGHTY.to_owned(), "x".to_owned());
    let wish = Ask { environment: "production".to_owned(), ..ask("example.com", "CLAIMED") };
    let claimed =
        broker.request(&caller, &wish, std::time::Duration::ZERO).await.unwrap().request.to_string();
    broker.pause_agent(&ana, &"bot".parse().unwrap(), Some(NAUGHTY)).await.unwrap();
    let session = house.comes_in().await;
    // Everything secret that this house ever had, whoever has it.
    let mut secrets: Vec<String> = house.world.sandbox.secret_values();
    let own = [token.expose_secret(), workload.expose_secret(), &code, channel, PASSPHRASE];
    secrets.extend(own.map(str::to_owned));
    secrets.push(session.split_once('=').unwrap().1.to_owned());
    let canaries = Canaries::new(secrets);
    assert!(canaries.count() > 7);
    let mut paths: Vec<String> = vec![
        format!("/r/{proposal}"),
        format!("/r/{claimed}"),
        format!("/?done={claimed}"),
        "/audit?verify=1".to_owned(),
        "/audit?deed=agent.pause".to_owned(),
        "/audit?q=%3Cscript%3E%E2%80%AE&who=%22%3E%3Cscript%3E&from=%3Cscript%3E&before=%3Cimg".to_owned(),
        "/keys?project=%22%3E%3Cscript%3E&agent=%3Cimg".to_owned(),
        "/agents/%3Cscript%3E".to_owned(),
        "/%3Cscript%3E".to_owned(),
        format!("/r/{NAUGHTY}").replace(['\u{1b}', '{', '}', '<', '>', '"', ' '], "%3C"),
        "/keys?q=%3Cscript%3E".to_owned(),
        "/door?to=%22%3E%3Cscript%3E".to_owned(),
    ];
    // Each entry of the log, with all that it holds.
    paths.extend((0..house.entries().await).map(|number| format!("/audit/ent_{number}")));
    paths.extend(
        ROUTES.iter().filter(|one| one.method == Method::GET).map(|one| filled(one, &request, "", &key).0),
    );
    for path in paths {
        let answer = house.sends(&Method::GET, &path, Body::None, &[("cookie", &session)]).await;
        let text = answer.text().await.unwrap();
        canaries.absent_from(&path, text.as_bytes());
        assert!(text.len() < 40_000, "{path} has {} bytes", text.len());
        if ["/script.js", "/audit/download", "/style.css"].contains(&path.as_str()) {
            continue;
        }
        let without_ours = text.replace("<script src=\"/script.js\" defer></script>", "");
        assert!(!without_ours.to_lowercase().contains("<script"), "{path}: {without_ours}");
        assert!(!without_ours.contains("<img") && !without_ours.contains(" style="), "{path}");
        assert!(!without_ours.contains("\" onclick"), "{path}");
        let is_bad = |c: char| {
            matches!(c, '\u{202a}'..='\u{202e}' | '\u{200b}'..='\u{200f}') || (c.is_control() && c != '\n')
        };
        assert!(!text.contains(is_bad), "{path}");
    }
}

#[tokio::test]
async fn the_pages_tell_what_is_approved_in_advance_what_could_not_be_rotated_and_how_old_parents_are() {
    let house = House::new().await;
    let (world, ana) = (&house.world, house.world.ana().await);
    let rotation = "[rotation]\nevery = \"20d\"\nquiet_for = \"1h\"\nmax_overlap = \"2d\"\n";
    world.broker.apply_template(&ana, &format!("{DNS_EDIT}{rotation}")).await.unwrap();
    world.broker.add_agent(&ana, &"bot".parse().unwrap()).await.unwrap();
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let grant = NewGrant {
        agent: "bot".parse().unwrap(),
        template: "cloudflare/dns-edit".parse().unwrap(),
        project: "web".parse().unwrap(),
        environment: "lab".parse().unwrap(),
        parameters: [("zone".to_owned(), "example.com".to_owned())].into(),
        any_parameters: false,
        destinations: Vec::new(),
        directory: None,
        ttl_max: None,
        uses: Some(3),
        lasts: keywright_core::span::Span::from_seconds(86_400),
    };
    let grant = world.broker.add_grant(&ana, grant).await.unwrap().id.to_string();
    let session = house.comes_in().await;
    let page = async |path: &str| {
        let answer = house.sends(&Method::GET, path, Body::None, &[("cookie", &session)]).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.unwrap()
    };
    let agent = page("/agents/bot").await;
    for told in ["0 of 3", "zone = example.com", "embedded:*", "30d", &grant, "not counted by its provider"] {
        assert!(agent.contains(told), "{told}: {agent}");
    }
    let may =
        agent.split("may ask for, by policy").nth(1).unwrap().split("approved in advance").next().unwrap();
    for told in ["cloudflare/dns-edit", "DNS Write", "at once", "after 2 approvals"] {
        assert!(may.contains(told), "{told}: {may}");
    }
    let key = page("/keys/CF_TOKEN").await;
    assert!(key.contains("not counted by its provider"));
    let life = key.split("its life, newest first").nth(1).unwrap();
    let told =
        ["version 1 is in force", "version 1 lies in", "version 1 works", "is made, and sealed", "asked for"];
    let places: Vec<usize> = told.iter().map(|told| life.find(told).expect(told)).collect();
    assert!(places.is_sorted(), "{life}");
    // How far away a moment is has the moment with it.
    let near = |text: &str, words: &str, near: &str| {
        let after = text.split(&format!("{words}<time datetime=\"")).nth(1).unwrap_or_default();
        let moment = after.split("</time>").next().unwrap_or_default();
        moment.contains(" UTC\">") && moment.split('>').nth(1).unwrap_or_default().starts_with(near)
    };
    let keys = page("/keys").await;
    // In the last tenth of its 20 days.
    assert!(near(&keys, "rotates ", "in 1") || near(&keys, "rotates ", "in 20"), "{keys}");
    assert!(keys.contains("not read"), "{keys}");
    let wanted = Wanted { project: Some("web".parse().unwrap()), ..Wanted::default() };
    world.broker.deliver(&Reader::Operator(&ana), wanted).await.unwrap();
    assert!(near(&page("/keys").await, ">read ", "now"));
    let log = page("/audit").await;
    assert!(log.contains("keys are to be read") && !log.contains("secret.read begins"), "{log}");
    let well = page("/health").await;
    assert!(well.contains("Nothing is wrong.") && well.contains("its parent credential is in use since"));
    // Nothing can be made, and the key is due.
    let denied = FaultKind::Status { status: 403, retry_after: None };
    world.sandbox.inject(Fault::on("POST", "/accounts/*/tokens", denied).times(1_000)).unwrap();
    world.clock.advance(jiff::SignedDuration::from_hours(20 * 24));
    world.broker.tick().await.unwrap();
    world.broker.tick().await.unwrap();
    let ill = page("/health").await;
    assert!(ill.contains("could not be rotated") && ill.contains("web/dev/CF_TOKEN"), "{ill}");
    assert!(!ill.contains("Nothing is wrong."));
    assert!(page("/health?rows=1").await.contains("rows of the ledger are as Keywright wrote them."));
    let ledger = rusqlite::Connection::open(world.home.join("ledger.db")).unwrap();
    ledger.execute("UPDATE agents SET added_by = 'eve'", []).unwrap();
    let edited = page("/health?rows=1").await;
    assert!(edited.contains("agent") && !edited.contains("are as Keywright wrote them"), "{edited}");
}

#[tokio::test]
async fn a_body_that_is_too_large_or_nonsense_is_refused() {
    let house = House::new().await;
    let session = house.comes_in().await;
    let large = json!({ "act": "reject", "request": "x", "reason": "y".repeat(70_000) });
    for (body, expected) in [(large, 400), (json!({ "act": "become_root" }), 400), (json!([]), 400)] {
        let answer =
            house.sends(&Method::POST, "/touch/offer", Body::Json(body), &[("cookie", &session)]).await;
        assert_eq!(answer.status(), expected);
    }
    let nowhere = house.sends(&Method::GET, "/../../etc/passwd", Body::None, &[("cookie", &session)]).await;
    assert_eq!(nowhere.status(), 404);
    let wrong = house
        .sends(&Method::PUT, "/touch", Body::None, &[("cookie", &session), ("origin", &house.origin)])
        .await;
    assert_eq!(wrong.status(), 405);
}

#[tokio::test]
async fn the_pages_are_at_one_address_only() {
    let house = House::new().await;
    let port = house.origin.rsplit(':').next().unwrap();
    let by_number = format!("127.0.0.1:{port}");
    let answer = house.sends(&Method::GET, "/keys", Body::None, &[("host", &by_number)]).await;
    assert_eq!(answer.status(), 307);
    assert_eq!(answer.headers()[header::LOCATION], format!("{}/keys", house.origin));
    // Nobody else can have the other `localhost`.
    let six = tokio::net::TcpListener::bind(format!("[::1]:{port}")).await;
    assert!(six.is_err());
    for origin in [
        "http://example.com",
        "https://example.com/path",
        "https://",
        "ftp://localhost",
        "http://127.0.0.1:1",
    ] {
        assert!(Door::new(Arc::clone(&house.world.broker), origin).is_err(), "{origin}");
    }
    let open = http::listen("0.0.0.0:0".parse().unwrap(), false).await;
    assert!(open.is_err(), "nothing without TLS is shown to other machines");
}
