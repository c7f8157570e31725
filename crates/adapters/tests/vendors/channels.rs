//! Channels before what they speak to: a mail server (aiosmtpd), a bus with a desktop on it, and listeners that hold a message
//! against what the vendor's documentation says it looks like.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use keywright_adapters::channel::{Channel, connect};
use keywright_core::channel::{ChannelKind, Matter, Notice, Onward};
use keywright_core::id::NoticeId;
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_core::text::{Untrusted, escaped};
use keywright_core::verdict::Level;
use serde_json::Value;
use zbus::zvariant;

use crate::support::peers::{peer, programs};

/// What others wrote, wherever they may.
const NAUGHTY: [&str; 8] = [
    "<!channel> <@U012AB3CD> @everyone",
    "<https://evil.example|Approve> [Approve](https://evil.example)",
    "a\r\nBcc: eve@evil.example\r\n\r\n.\r\nQUIT\r\n",
    "`code` *bold* ``` ~no~",
    "</b><a href=\"https://evil.example\">x</a>&amp;",
    "\u{202e}evorppa\u{200b}\u{1b}[2J\0",
    "田中さん 😍 Ω≈ç ﷽ ' ; -- \" \\",
    "x",
];

fn notice(text: &str, onward: Onward) -> Notice {
    let at = jiff::Timestamp::now();
    let others = escaped(text);
    Notice {
        id: NoticeId::generate(at, [7; 10]),
        turn: 0,
        channel: "ops".parse().unwrap(),
        matter: Matter::Request,
        about: "req_01970000000070008000000000000000".to_owned(),
        at,
        waited: Some(Span::from_seconds(720)),
        level: Some(Level::High),
        line: format!("new Cloudflare token, {others} on 1 zone, 30 days, production"),
        facts: vec![("asked by", format!("agent {others}")), ("match code", "abcd-efgh".to_owned())],
        onward: Some(onward),
        purpose: Some(Untrusted::capped(text, 500)),
    }
}

/// As others' words are shown: escaped, and with no address in them.
fn shown(text: &str) -> String {
    escaped(text).replace("://", "[:]//")
}

fn page() -> Onward {
    Onward::Page("https://keys.example.com/r/req_01970000000070008000000000000000".to_owned())
}

fn command() -> Onward {
    Onward::Command("keywright review show req_01970000000070008000000000000000".to_owned())
}

fn open(kind: ChannelKind, settings: &[(&str, &str)], secret: Option<&str>) -> Box<dyn Channel> {
    let settings: BTreeMap<String, String> =
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    connect(kind, &settings, secret.map(|text| Secret::new(text.to_owned())).as_ref()).unwrap()
}

/// A listener that answers each message as a vendor would: what is wrong with it, or that it was taken.
fn vendor(
    check: impl Fn(&str, &Value) -> (u16, String) + Send + 'static,
) -> (String, Arc<Mutex<Vec<(String, Value)>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let taken = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&taken);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
            for line in head.lines() {
                if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = text.parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let message: Value = serde_json::from_slice(&body).unwrap();
            let (status, answer) = check(&head, &message);
            kept.lock().unwrap().push((head, message));
            let answer = format!(
                "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
                answer.len()
            );
            reader.into_inner().write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, taken)
}

/// Tells all that is naughty, to a page and by a command.
async fn all_is_taken(channel: &dyn Channel) {
    for text in NAUGHTY {
        for onward in [page(), command()] {
            channel.tell(&notice(text, onward)).await.unwrap_or_else(|error| panic!("{text}: {error:?}"));
        }
    }
    let test = Notice { level: None, onward: None, purpose: None, facts: Vec::new(), ..notice("", page()) };
    channel.tell(&test).await.unwrap();
}

fn is_text(value: &Value, most: usize) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty() && text.chars().count() <= most)
}

/// What an incoming webhook answers `invalid_payload` or `invalid_blocks` to:
/// <https://docs.slack.dev/reference/block-kit/blocks/section-block>.
fn slack(head: &str, message: &Value) -> (u16, String) {
    let is_section = |block: &Value| {
        let text = &block["text"];
        block["type"] == "section"
            && text["type"] == "mrkdwn"
            && text["verbatim"] == true
            && is_text(&text["text"], 3_000)
            && text.as_object().unwrap().len() == 3
            && block.as_object().unwrap().len() == 2
    };
    let known = ["text", "mrkdwn", "unfurl_links", "unfurl_media", "blocks"];
    let fields = message.as_object().unwrap();
    let blocks = message["blocks"].as_array().unwrap();
    if !head.starts_with("POST /services/T000/B000/XXXX HTTP/1.1\r\n") {
        return (404, "no_service".to_owned());
    }
    let is_good = fields.keys().all(|name| known.contains(&name.as_str()))
        && is_text(&message["text"], 40_000)
        && (1..=50).contains(&blocks.len());
    match (is_good, blocks.iter().all(is_section)) {
        (true, true) => (200, "ok".to_owned()),
        (true, false) => (400, "invalid_blocks".to_owned()),
        (false, _) => (400, "invalid_payload".to_owned()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_takes_each_message() {
    let (address, taken) = vendor(slack);
    let channel = open(ChannelKind::Slack, &[], Some(&format!("{address}/services/T000/B000/XXXX")));
    all_is_taken(channel.as_ref()).await;
    let taken = taken.lock().unwrap().clone();
    assert_eq!(taken.len(), 2 * NAUGHTY.len() + 1);
    let first = &taken[0].1["blocks"];
    assert_eq!(
        first[0]["text"]["text"],
        "*A request waits for approval*\n`HIGH: new Cloudflare token, &lt;!channel&gt; &lt;@U012AB3CD&gt; @everyone on 1 zone, \
         30 days, production`"
    );
    assert_eq!(
        first[3]["text"]["text"],
        "<https://keys.example.com/r/req_01970000000070008000000000000000|Look at it>"
    );
    let closed = open(ChannelKind::Slack, &[], Some(&format!("{address}/services/gone")));
    let error = closed.tell(&notice("x", page())).await.unwrap_err();
    assert_eq!(
        (error.why.as_str(), error.said.raw()),
        ("it answered 404: there is no such address any more", "no_service")
    );
}

/// <https://docs.discord.com/developers/resources/webhook#execute-webhook>.
fn discord(head: &str, message: &Value) -> (u16, String) {
    let is_known = head.starts_with("POST /api/webhooks/1/token?wait=true HTTP/1.1\r\n");
    let known = ["content", "allowed_mentions", "flags"];
    let fields = message.as_object().unwrap();
    let is_good = fields.keys().all(|name| known.contains(&name.as_str()))
        && is_text(&message["content"], 2_000)
        && message["allowed_mentions"] == serde_json::json!({ "parse": [] })
        && message["flags"] == 4;
    match (is_known, is_good) {
        (true, true) => (200, "{\"id\": \"1\", \"type\": 0}".to_owned()),
        (true, false) => (400, "{\"code\": 50006}".to_owned()),
        (false, _) => (404, "{\"code\": 10015, \"message\": \"Unknown Webhook\"}".to_owned()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn discord_takes_each_message() {
    let (address, taken) = vendor(discord);
    let channel = open(ChannelKind::Discord, &[], Some(&format!("{address}/api/webhooks/1/token")));
    all_is_taken(channel.as_ref()).await;
    let taken = taken.lock().unwrap();
    let said = taken[1].1["content"].as_str().unwrap();
    assert_eq!(
        said,
        "**A request waits for approval**\n`HIGH: new Cloudflare token, <!channel> <@U012AB3CD> @everyone on 1 zone, 30 days, \
         production`\nasked by `agent <!channel> <@U012AB3CD> @everyone`, match code `abcd-efgh`, waiting for `12 minutes`\n\
         `keywright review show req_01970000000070008000000000000000`\nThey say, and nobody checked it: `<!channel> \
         <@U012AB3CD> @everyone`"
    );
}

/// <https://docs.ntfy.sh/publish/#publish-as-json>.
fn ntfy(head: &str, message: &Value) -> (u16, String) {
    let may = head.to_ascii_lowercase().contains("authorization: bearer tk_0123456789abcdef\r\n");
    let known = ["topic", "title", "message", "priority", "tags", "click"];
    let fields = message.as_object().unwrap();
    let is_good = fields.keys().all(|name| known.contains(&name.as_str()))
        && message["topic"] == "keys"
        && is_text(&message["title"], 200)
        && message["message"].as_str().is_some_and(|text| text.len() <= 4_096)
        && message["priority"].as_u64().is_some_and(|number| (1..=5).contains(&number))
        && message["tags"] == serde_json::json!(["key"]);
    match (head.starts_with("POST / HTTP/1.1\r\n"), may, is_good) {
        (true, true, true) => (200, "{\"id\": \"x\", \"event\": \"message\"}".to_owned()),
        (_, false, _) => (403, "{\"code\": 40301, \"error\": \"forbidden\"}".to_owned()),
        _ => (400, "{\"code\": 40024}".to_owned()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ntfy_takes_each_message() {
    let (address, taken) = vendor(ntfy);
    let secret = format!("{address}/keys\ntk_0123456789abcdef\n");
    let channel = open(ChannelKind::Ntfy, &[], Some(&secret));
    all_is_taken(channel.as_ref()).await;
    {
        let taken = taken.lock().unwrap();
        let message = &taken[taken.len() - 3].1;
        assert_eq!(message["click"], "https://keys.example.com/r/req_01970000000070008000000000000000");
        assert_eq!(
            message["message"],
            "HIGH: new Cloudflare token, x on 1 zone, 30 days, production\nasked by agent x, match code abcd-efgh, waiting for \
             12 minutes\nThey say, and nobody checked it: “x”"
        );
    }
    let closed = open(ChannelKind::Ntfy, &[], Some(&format!("{address}/keys")));
    let error = closed.tell(&notice("x", page())).await.unwrap_err();
    assert_eq!(error.why, "it answered 403: it does not let us in");
}

/// A mail server of somebody else's.
struct Mail {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
    taken: std::sync::mpsc::Receiver<Value>,
}

const PASSWORD: &str = "not-a-word-that-anybody-knows";

impl Mail {
    fn start(way: &str) -> Option<Self> {
        let python = peer("venv/bin/python")?;
        if !Command::new(&python)
            .args(["-c", "import aiosmtpd, cryptography"])
            .output()
            .unwrap()
            .status
            .success()
        {
            assert!(std::env::var_os("CI").is_none(), "no aiosmtpd: `scripts/peers` installs it");
            eprintln!("SKIPPED, no aiosmtpd; `scripts/peers` installs it");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vendors/support/mail.py");
        let mut child = Command::new(python)
            .args(["-W", "ignore", script])
            .arg(folder.path())
            .arg(way)
            .env("PASSWORD", PASSWORD)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        let (sender, taken) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        Some(Self { child, port, folder, taken })
    }

    fn channel(&self, scheme: &str, more: &[(&str, &str)], password: Option<&str>) -> Box<dyn Channel> {
        let server = format!("{scheme}://127.0.0.1:{}", self.port);
        let mut settings = vec![("server", server.as_str()), ("from", "Keywright <kw@example.com>")];
        settings.extend_from_slice(more);
        if !more.iter().any(|(name, _)| *name == "to") {
            settings.push(("to", "ana@example.com, Bo <bo@example.com>"));
        }
        if password.is_some() {
            settings.push(("user", "kw"));
        }
        open(ChannelKind::Email, &settings, password)
    }

    fn authority(&self) -> String {
        self.folder.path().join("ca.pem").to_str().unwrap().to_owned()
    }
}

impl Drop for Mail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_arrives_whole_and_nothing_that_others_wrote_is_a_header_a_receiver_or_an_end() {
    let Some(mail) = Mail::start("plain") else { return };
    let channel = mail.channel("smtp", &[], Some(PASSWORD));
    for text in NAUGHTY {
        channel.tell(&notice(text, page())).await.unwrap();
        let taken = mail.taken.recv().unwrap();
        assert_eq!((&taken["from"], &taken["user"]), (&"kw@example.com".into(), &"kw".into()));
        assert_eq!(taken["to"], serde_json::json!(["ana@example.com", "bo@example.com"]));
        let content = taken["content"].as_str().unwrap();
        let (head, _) = content.split_once("\r\n\r\n").unwrap();
        let lower = head.to_ascii_lowercase();
        assert!(!lower.contains("\r\nbcc:") && lower.contains("auto-submitted: auto-generated"), "{head}");
        assert_eq!(lower.matches("\r\nsubject:").count() + usize::from(lower.starts_with("subject:")), 1);
        let python = peer("venv/bin/python").unwrap();
        let read = "import email, email.policy, json, sys; m = email.message_from_bytes(sys.stdin.buffer.read(), \
                    policy=email.policy.default); print(json.dumps([m['subject'], m.get_content(), m['message-id']]))";
        let mut child = Command::new(python)
            .args(["-c", read])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(content.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let [subject, body, id]: [String; 3] = serde_json::from_slice(&output.stdout).unwrap();
        assert!(subject.starts_with("[Keywright] HIGH: new Cloudflare token, "), "{subject}");
        assert!(id.starts_with("<ntc_") && id.ends_with("@keywright.invalid>"), "{id}");
        let lines: Vec<&str> = body.lines().collect();
        assert_eq!(lines.len(), 6, "{body}");
        assert_eq!(lines[5], "https://keys.example.com/r/req_01970000000070008000000000000000");
        assert!(lines[2].contains(&shown(text)), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_by_tls_to_whom_an_authority_vouches_for_and_to_nobody_else() {
    for (way, scheme) in [("starttls", "smtp"), ("tls", "smtps")] {
        let Some(mail) = Mail::start(way) else { return };
        let authority = mail.authority();
        let named = mail.channel(scheme, &[("ca_file", &authority)], Some(PASSWORD));
        named.tell(&notice("x", page())).await.unwrap();
        assert_eq!(mail.taken.recv().unwrap()["tls"], true);
        let error = mail.channel(scheme, &[], Some(PASSWORD)).tell(&notice("x", page())).await.unwrap_err();
        let said = format!("{}; {}", error.why, error.said.raw());
        assert!(said.to_ascii_lowercase().contains("certificate"), "{way}: {said}");
        assert!(mail.taken.try_recv().is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_refuses_is_quoted_and_one_that_babbles_is_left() {
    let Some(mail) = Mail::start("plain") else { return };
    let error = mail.channel("smtp", &[], Some("wrong")).tell(&notice("x", page())).await.unwrap_err();
    assert!(error.why == "the mail server answered 535", "{error:?}");
    let error = mail.channel("smtp", &[], None).tell(&notice("x", page())).await.unwrap_err();
    assert_eq!(error.why, "the mail server answered 530", "{error:?}");
    let refused = mail.channel("smtp", &[("to", "refused@example.com")], Some(PASSWORD));
    let error = refused.tell(&notice("x", page())).await.unwrap_err();
    assert_eq!(error.why, "the mail server answered 554", "{error:?}");
    // One that never ends its line.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("smtp://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let settings = [("server", server.as_str()), ("from", "kw@example.com"), ("to", "ana@example.com")];
    let error = open(ChannelKind::Email, &settings, None).tell(&notice("x", page())).await.unwrap_err();
    assert!(error.said.raw().contains("says more than it may"), "{error:?}");
    let settings = [("server", "smtp://127.0.0.1:9"), ("from", "kw@example.com"), ("to", "ana@example.com")];
    let error = open(ChannelKind::Email, &settings, None).tell(&notice("x", page())).await.unwrap_err();
    assert!(error.why.starts_with("no connection: "), "{error:?}");
}

/// What a desktop does with what it is asked to show:
/// <https://specifications.freedesktop.org/notification-spec/latest/protocol.html>.
struct Shows {
    able: Vec<String>,
    shown: Arc<Mutex<Vec<Shown>>>,
}

#[derive(Debug)]
struct Shown {
    program: String,
    summary: String,
    body: String,
    actions: Vec<String>,
    urgency: u8,
}

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl Shows {
    fn get_capabilities(&self) -> Vec<String> {
        self.able.clone()
    }

    #[expect(clippy::too_many_arguments, reason = "the interface is somebody else's")]
    fn notify(
        &self,
        program: String,
        _replaces: u32,
        _icon: String,
        summary: String,
        body: String,
        actions: Vec<String>,
        hints: std::collections::HashMap<String, zvariant::OwnedValue>,
        _lasts: i32,
    ) -> u32 {
        let urgency = hints.into_iter().find(|(name, _)| name == "urgency");
        let urgency = urgency.and_then(|(_, value)| u8::try_from(value).ok()).unwrap_or_default();
        self.shown.lock().unwrap().push(Shown { program, summary, body, actions, urgency });
        1
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desktop_shows_it_and_takes_nothing_for_markup() {
    if !programs(&["dbus-daemon"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("bus.conf");
    let allow = "<allow send_destination=\"*\"/><allow receive_sender=\"*\"/><allow own=\"*\"/>";
    let text = format!(
        "<busconfig><type>session</type><listen>unix:path={}/bus</listen><policy context=\"default\">{allow}</policy></busconfig>",
        folder.path().display()
    );
    std::fs::write(&config, text).unwrap();
    let mut daemon = tokio::process::Command::new("dbus-daemon")
        .args(["--nofork", "--print-address=1", "--config-file"])
        .arg(config)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(daemon.stdout.take().unwrap()));
    let bus = lines.next_line().await.unwrap().unwrap();
    let channel = open(ChannelKind::Desktop, &[("bus", &bus)], None);
    let nobody = channel.tell(&notice("x", page())).await.unwrap_err();
    assert!(nobody.why.contains("no desktop"), "{nobody:?}");
    for able in [&["body", "body-markup"][..], &["body"]] {
        let shown = Arc::new(Mutex::new(Vec::new()));
        let able: Vec<String> = able.iter().map(|one| (*one).to_owned()).collect();
        let server = Shows { able: able.clone(), shown: Arc::clone(&shown) };
        let _desktop = zbus::connection::Builder::address(bus.as_str())
            .unwrap()
            .name("org.freedesktop.Notifications")
            .unwrap()
            .serve_at("/org/freedesktop/Notifications", server)
            .unwrap()
            .build()
            .await
            .unwrap();
        for text in NAUGHTY {
            channel.tell(&notice(text, page())).await.unwrap();
            let shown = shown.lock().unwrap().pop().unwrap();
            assert_eq!(
                (shown.program.as_str(), shown.summary.as_str()),
                ("Keywright", "A request waits for approval")
            );
            assert!(shown.actions.is_empty() && shown.urgency == 2 && shown.body.lines().count() == 4);
            if able.len() == 2 {
                assert!(!shown.body.contains('<') && !shown.body.contains('>'), "{}", shown.body);
                assert!(!text.contains("&amp;") || shown.body.contains("&amp;amp;"), "{}", shown.body);
            } else {
                assert!(shown.body.contains(&self::shown(text)), "{}", shown.body);
            }
        }
    }
}
