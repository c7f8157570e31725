//! An incoming webhook of Slack
//! (<https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>, the blocks and their text objects:
//! <https://docs.slack.dev/reference/block-kit/composition-objects/text-object>, and what is escaped:
//! <https://docs.slack.dev/messaging/formatting-message-text>). It answers 200 and `ok`.

use async_trait::async_trait;
use keywright_core::channel::{Notice, Onward};
use keywright_core::secret::Secret;
use serde_json::{Value, json};

use super::post::Post;
use super::{Channel, NotTold, Told, words};
use crate::wire::Authority;

pub(super) struct Slack(Post);

impl Slack {
    pub(super) fn new(url: &Secret) -> Result<Self, String> {
        Post::new("slack", url.expose_secret().trim(), Authority::Never).map(Self)
    }
}

#[async_trait]
impl Channel for Slack {
    async fn tell(&self, notice: &Notice) -> Result<Told, NotTold> {
        self.0.send(&message(notice), Vec::new(), None).await
    }
}

/// What others wrote is code, and escaped: no mention, no link, no format. `verbatim` makes no link of anything else either.
fn message(notice: &Notice) -> Value {
    let mut blocks = vec![section(&format!("*{}*\n{}", notice.heading(), code(&words::verdict(notice))))];
    let details: Vec<String> =
        words::details(notice).iter().map(|(name, value)| format!("{name} {}", code(value))).collect();
    if !details.is_empty() {
        blocks.push(section(&details.join(", ")));
    }
    if let Some(said) = words::purpose(notice) {
        blocks.push(section(&format!("{}: {}", words::THEY_SAY, code(&said))));
    }
    match &notice.onward {
        Some(Onward::Page(url)) => blocks.push(section(&format!("<{}|Look at it>", link(url)))),
        Some(Onward::Command(command)) => blocks.push(section(&code(command))),
        None => {}
    }
    json!({
        // What a phone shows before the message is opened.
        "text": escaped(&format!("{}: {}", notice.heading(), words::verdict(notice).replace('`', "'"))),
        "mrkdwn": false,
        "unfurl_links": false,
        "unfurl_media": false,
        "blocks": blocks,
    })
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": text, "verbatim": true } })
}

fn code(text: &str) -> String {
    escaped(&words::code(text))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn link(url: &str) -> String {
    escaped(url).replace('|', "%7C")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NAUGHTY, notice};
    use super::*;

    #[test]
    fn nothing_that_others_wrote_is_a_mention_a_link_or_a_format() {
        for text in NAUGHTY {
            let message = message(&notice(text));
            let texts = message["blocks"]
                .as_array()
                .unwrap()
                .iter()
                .map(|block| block["text"]["text"].as_str().unwrap());
            for text in texts.chain([message["text"].as_str().unwrap()]) {
                // The only control sequence is our own link.
                let own = "<https://keys.example.com/r/req_01970000000070008000000000000000|Look at it>";
                let rest = text.replace(own, "");
                assert!(!rest.contains('<') && !rest.contains('>'), "{text}");
                // Outside of code there are our words only.
                let ours: String = rest.split('`').step_by(2).collect();
                assert_eq!(rest.matches('`').count() % 2, 0, "{text}");
                if text != message["text"].as_str().unwrap() {
                    let is_plain = |c: char| c.is_ascii_alphabetic() || " *,:\n'".contains(c);
                    assert!(ours.chars().all(is_plain), "{ours}");
                }
                assert!(text.chars().count() < 3_000);
            }
        }
    }
}
