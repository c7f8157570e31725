//! A signed message, as consumers get them (Standard Webhooks).

use async_trait::async_trait;
use keywright_core::channel::{Notice, Onward};
use keywright_core::secret::Secret;
use serde_json::{Value, json};

use super::{Channel, DEADLINE, NotTold, Told, not_told, words};
use crate::consumer::Signed;
use crate::wire::Authority;

pub(super) struct Webhook(Signed);

impl Webhook {
    pub(super) fn new(url: &str, secret: Secret, authority: Authority) -> Result<Self, String> {
        Signed::new(url, secret, DEADLINE, authority).map(Self)
    }
}

#[async_trait]
impl Channel for Webhook {
    async fn tell(&self, notice: &Notice) -> Result<Told, NotTold> {
        // The wire repeats what it may, and all of it together takes no longer.
        let (id, body) = (notice.message_id(), body(notice));
        let sent = tokio::time::timeout(DEADLINE, self.0.send(&id, &body)).await;
        sent.unwrap_or_else(|_| {
            Err(not_told(format!("no complete answer within {} s", DEADLINE.as_secs()), ""))
        })
    }
}

fn body(notice: &Notice) -> Value {
    let (url, command) = match &notice.onward {
        Some(Onward::Page(url)) => (Some(url), None),
        Some(Onward::Command(command)) => (None, Some(command)),
        None => (None, None),
    };
    let facts: serde_json::Map<String, Value> =
        notice.facts.iter().map(|(name, value)| (name.replace(' ', "_"), json!(value))).collect();
    json!({
        "type": notice.matter.as_str(),
        "timestamp": notice.at.to_string(),
        "data": {
            "channel": notice.channel,
            "about": notice.about,
            "reminder": notice.turn,
            "level": notice.level,
            "line": notice.line,
            "facts": facts,
            "waited_seconds": notice.waited.map(keywright_core::span::Span::seconds),
            "url": url,
            "command": command,
            "purpose": words::purpose(notice),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NAUGHTY, notice};
    use super::*;

    #[test]
    fn a_body_says_all_and_is_json_whatever_others_wrote() {
        for text in NAUGHTY {
            let body = body(&notice(text));
            let again: Value = serde_json::from_str(&body.to_string()).unwrap();
            assert_eq!(again, body);
            assert_eq!(body["type"], "request.waiting");
            assert_eq!(
                (&body["data"]["level"], &body["data"]["facts"]["match_code"]),
                (&json!("high"), &json!("abcd-efgh"))
            );
        }
    }
}
