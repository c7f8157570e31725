//! A language model behind an endpoint that speaks OpenAI's chat completions (`POST {base}/chat/completions`), as local servers do
//! too. It is asked one question and its text is handed back; what it says is worth nothing until somebody has checked it.

use std::time::Duration;

use keywright_core::redact::Redactor;
use keywright_core::secret::Secret;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::wire::{Auth, Call, Wire, WireConfig};

/// Models on small machines take their time.
const DEADLINE: Duration = Duration::from_secs(120);
/// What an answer may have at most, in tokens: a list of numbers is short.
const TOKENS: u32 = 400;

/// An endpoint and one of its models.
pub struct Model {
    wire: Wire,
    name: String,
    credential: Option<Secret>,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

impl Model {
    /// `base_url` is the part before `/chat/completions`, as in `http://127.0.0.1:11434/v1`; without encryption only on this
    /// machine.
    ///
    /// # Errors
    /// When the address can't be used.
    pub fn new(base_url: &str, name: &str, credential: Option<Secret>) -> Result<Self, String> {
        let config = WireConfig { is_given: true, deadline: DEADLINE, ..WireConfig::new("model", base_url) };
        let wire = Wire::new(config).map_err(|error| error.to_string())?;
        Ok(Self { wire, name: name.to_owned(), credential })
    }

    /// Asks once, and waits two minutes at most.
    ///
    /// # Errors
    /// When there is no answer, in words that quote nothing of it.
    pub async fn ask(&self, rules: &str, question: &str) -> Result<String, String> {
        let body = json!({
            "model": self.name, "temperature": 0, "max_tokens": TOKENS, "stream": false,
            "messages": [{ "role": "system", "content": rules }, { "role": "user", "content": question }],
        });
        let auth = self.credential.as_ref().map_or(Auth::Nobody, Auth::Bearer);
        let body = Zeroizing::new(body.to_string().into_bytes());
        let call = Call::once(Method::POST, vec!["chat", "completions"], auth, body);
        let reply = self.wire.send(call).await.map_err(|fault| fault.to_string())?;
        match reply.status {
            200..=299 => {}
            401 | 403 => return Err(format!("it does not accept the credential (status {})", reply.status)),
            404 => {
                return Err("there is no `/chat/completions` at that address, or no such model (status 404)"
                    .to_owned());
            }
            status => return Err(format!("it answered status {status}")),
        }
        let completion: Completion =
            serde_json::from_slice(&reply.body).map_err(|_| "its answer is no chat completion".to_owned())?;
        let first = completion.choices.into_iter().next().and_then(|choice| choice.message.content);
        let first = first.ok_or_else(|| "its answer is empty".to_owned())?;
        // It is quoted where it is no choice.
        Ok(Redactor::new(self.credential.as_ref()).clean(&first))
    }
}
