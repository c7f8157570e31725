//! A webhook of a channel of Discord (<https://docs.discord.com/developers/resources/webhook#execute-webhook>; mentions:
//! <https://docs.discord.com/developers/resources/message#allowed-mentions-object>). With `wait` it answers once the message
//! is there, and not before.

use async_trait::async_trait;
use keywright_core::channel::{Notice, Onward};
use keywright_core::secret::Secret;
use serde_json::{Value, json};

use super::post::Post;
use super::{Channel, NotTold, Told, words};
use crate::wire::Authority;

/// The longest message, in characters.
const LONGEST: usize = 2_000;
/// A flag of a message: no previews of links.
const SUPPRESS_EMBEDS: u32 = 1 << 2;

pub(super) struct Discord(Post);

impl Discord {
    pub(super) fn new(url: &Secret) -> Result<Self, String> {
        Post::new("discord", url.expose_secret().trim(), Authority::Never).map(Self)
    }
}

#[async_trait]
impl Channel for Discord {
    async fn tell(&self, notice: &Notice) -> Result<Told, NotTold> {
        self.0.send(&message(notice), vec![("wait", "true".to_owned())], None).await
    }
}

/// What others wrote is code: no mention, no link, no format; and no mention is allowed besides.
fn message(notice: &Notice) -> Value {
    let mut lines = vec![format!("**{}**", notice.heading()), words::code(&words::verdict(notice))];
    let details: Vec<String> =
        words::details(notice).iter().map(|(name, value)| format!("{name} {}", words::code(value))).collect();
    if !details.is_empty() {
        lines.push(details.join(", "));
    }
    match &notice.onward {
        Some(Onward::Page(url)) => lines.push(format!("<{url}>")),
        Some(Onward::Command(command)) => lines.push(words::code(command)),
        None => {}
    }
    let length = |lines: &[String]| lines.iter().map(|line| line.chars().count() + 1).sum::<usize>();
    if let Some(said) = words::purpose(notice) {
        let said = format!("{}: {}", words::THEY_SAY, words::code(&said));
        if length(&lines) + said.chars().count() <= LONGEST {
            lines.push(said);
        }
    }
    json!({ "content": lines.join("\n"), "allowed_mentions": { "parse": [] }, "flags": SUPPRESS_EMBEDS })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NAUGHTY, notice};
    use super::*;

    #[test]
    fn nothing_that_others_wrote_is_a_mention_a_link_or_a_format() {
        for text in NAUGHTY.into_iter().chain([&*"x ".repeat(4_000)]) {
            let message = message(&notice(text));
            assert_eq!(message["allowed_mentions"], json!({ "parse": [] }));
            let content = message["content"].as_str().unwrap();
            assert!(content.chars().count() <= LONGEST);
            let rest =
                content.replace("<https://keys.example.com/r/req_01970000000070008000000000000000>", "");
            assert_eq!(rest.matches('`').count() % 2, 0, "{content}");
            let ours: String = rest.split('`').step_by(2).collect();
            assert!(ours.chars().all(|c| c.is_ascii_alphabetic() || " *,:\n'".contains(c)), "{ours}");
        }
    }
}
