//! A topic of ntfy (<https://docs.ntfy.sh/publish/#publish-as-json>). Whoever knows a topic's name reads it, where the server keeps
//! no list of who may; so the name is the secret.

use async_trait::async_trait;
use keywright_core::channel::{Notice, Onward};
use keywright_core::secret::Secret;
use keywright_core::verdict::Level;
use serde_json::{Value, json};

use super::post::Post;
use super::{Channel, NotTold, Told, words};
use crate::wire::Authority;

pub(super) struct Ntfy {
    post: Post,
    topic: Secret,
    token: Option<Secret>,
}

impl Ntfy {
    pub(super) fn new(credential: &Secret, authority: Authority) -> Result<Self, String> {
        let mut lines = credential.expose_secret().trim().lines().map(str::trim);
        let (address, token) =
            (lines.next().unwrap_or_default(), lines.next().filter(|line| !line.is_empty()));
        if lines.next().is_some() {
            return Err("the secret of an ntfy channel has two lines at most: the topic's address, and an access token".to_owned());
        }
        let is_topic = |topic: &&str| {
            !topic.is_empty()
                && topic.len() <= 64
                && topic.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let (server, topic) = address
            .rsplit_once('/')
            .filter(|(server, topic)| is_topic(topic) && !server.ends_with(['/', ':']))
            .ok_or("the address of an ntfy channel ends with the topic, as in `https://ntfy.sh/TOPIC`")?;
        let own = |text: &str| Secret::new(text.to_owned());
        Ok(Self { post: Post::new("ntfy", server, authority)?, topic: own(topic), token: token.map(own) })
    }

    /// JSON goes to the server itself, and names the topic.
    fn message(&self, notice: &Notice) -> Value {
        let mut lines = words::plain(notice);
        let click = match &notice.onward {
            Some(Onward::Page(url)) => {
                lines.pop();
                Some(url)
            }
            _ => None,
        };
        let priority = match notice.level {
            Some(Level::High) => 5,
            Some(Level::Low) => 3,
            _ => 4,
        };
        let mut message = json!({
            "topic": self.topic.expose_secret(), "title": notice.heading(), "message": lines.join("\n"),
            "priority": priority, "tags": ["key"],
        });
        if let (Some(url), Some(fields)) = (click, message.as_object_mut()) {
            fields.insert("click".to_owned(), json!(url));
        }
        message
    }
}

#[async_trait]
impl Channel for Ntfy {
    async fn tell(&self, notice: &Notice) -> Result<Told, NotTold> {
        self.post.send(&self.message(notice), Vec::new(), self.token.as_ref()).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NAUGHTY, notice};
    use super::*;

    #[test]
    fn a_message_is_plain_text_and_leads_to_our_page_only() {
        let credential = Secret::new("https://ntfy.example/a/topic-1\n tk_1 \n".to_owned());
        let ntfy = Ntfy::new(&credential, Authority::Never).unwrap();
        assert_eq!(ntfy.token.as_ref().unwrap().expose_secret(), "tk_1");
        for text in NAUGHTY {
            let message = ntfy.message(&notice(text));
            assert_eq!((&message["topic"], &message["priority"]), (&json!("topic-1"), &json!(5)));
            assert!(message.get("markdown").is_none() && message.get("actions").is_none());
            assert!(message["click"].as_str().unwrap().starts_with("https://keys.example.com/r/"));
            let said = message["message"].as_str().unwrap();
            // Longer than that, and the server makes a file of it.
            assert!(said.len() < 4_096 && !said.contains("https://evil"), "{said}");
        }
    }
}
