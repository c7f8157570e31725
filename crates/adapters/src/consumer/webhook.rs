//! A signed message to an address, as in Standard Webhooks
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>): the id of the message, the
//! time of sending and the body are signed with a shared secret.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use keywright_core::consumer::News;
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_core::text::Untrusted;
use reqwest::Method;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Consumer, NotTold, Told, message};
use crate::wire::{Auth, Authority, Call, Wire, WireConfig};

/// What a secret looks like, for whoever has to give one.
pub const SECRET_FORM: &str = "`whsec_` and the base64 of 24 to 64 random bytes";
const PREFIX: &str = "whsec_";

/// A consumer that is told by messages.
pub(super) struct Webhook(Signed);

impl Webhook {
    pub(super) fn new(url: &str, secret: Secret, patience: Span) -> Result<Self, String> {
        Signed::new(url, secret, Duration::from_secs(patience.seconds()), Authority::Never).map(Self)
    }
}

#[async_trait]
impl Consumer for Webhook {
    async fn tell(&self, news: &News) -> Result<Told, NotTold> {
        self.0.send(&news.id.to_string(), &message::body(news)).await
    }
}

/// An address that takes signed messages.
pub(crate) struct Signed {
    wire: Wire,
    key: Zeroizing<Vec<u8>>,
}

impl Signed {
    /// Reads the secret; dials nothing yet.
    pub(crate) fn new(
        url: &str,
        secret: Secret,
        deadline: Duration,
        authority: Authority,
    ) -> Result<Self, String> {
        let key = secret
            .expose_secret()
            .trim()
            .strip_prefix(PREFIX)
            .and_then(|text| STANDARD.decode(text).ok())
            .map(Zeroizing::new)
            .filter(|key| (24..=64).contains(&key.len()))
            .ok_or_else(|| format!("the secret of a webhook is {SECRET_FORM}"))?;
        drop(secret);
        let config = WireConfig { is_given: true, deadline, authority, ..WireConfig::new("webhook", url) };
        let wire = Wire::new(config).map_err(|error| error.to_string())?;
        Ok(Self { wire, key })
    }

    fn signature(&self, id: &str, timestamp: &str, body: &[u8]) -> Result<String, NotTold> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.key);
        let mut mac = mac.map_err(|_| not_told("the message can't be signed".to_owned(), ""))?;
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    }

    /// Sends a message under an id, by which the receiver knows that it had it before.
    pub(crate) async fn send(&self, id: &str, body: &serde_json::Value) -> Result<Told, NotTold> {
        let body = Zeroizing::new(body.to_string().into_bytes());
        let timestamp = jiff::Timestamp::now().as_second().to_string();
        let signature = self.signature(id, &timestamp, &body)?;
        let mut call = Call::again(Method::POST, Vec::new(), Auth::Nobody, body);
        call.headers = vec![
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", timestamp),
            ("webhook-signature", signature),
        ];
        let reply = self.wire.send(call).await.map_err(|fault| not_told(fault.to_string(), ""))?;
        match reply.status {
            200..=299 => Ok(Told(Untrusted::capped(&format!("status {}", reply.status), 20))),
            410 => Err(not_told("it answered 410: it wants no more messages".to_owned(), "")),
            status => Err(not_told(format!("it answered {status}"), "")),
        }
    }
}

fn not_told(why: String, said: &str) -> NotTold {
    NotTold { why, said: Untrusted::capped(said, 300) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(url: &str, secret: &str) -> Result<Signed, String> {
        Webhook::new(url, Secret::new(secret.to_owned()), Span::from_seconds(5)).map(|webhook| webhook.0)
    }

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The example of the specification's own libraries.
    #[test]
    fn a_known_message_has_its_known_signature() {
        let webhook = webhook("https://example.com/hook", SECRET).unwrap();
        let signed =
            webhook.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(signed.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_of_another_form_and_addresses_in_the_clear_are_refused_without_being_quoted() {
        for secret in ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!!"] {
            let error = webhook("https://example.com", secret).err().unwrap();
            assert!(error.contains(SECRET_FORM) && (secret.len() < 10 || !error.contains(secret)), "{error}");
        }
        for url in [
            "http://example.com",
            "https://user:word@example.com",
            "ftp://x",
            "https://x/?a=b",
            "https://169.254.169.254",
        ] {
            assert!(webhook(url, SECRET).is_err(), "{url}");
        }
        assert!(
            webhook("http://127.0.0.1:9", SECRET).is_ok() && webhook("https://10.0.0.1/x/", SECRET).is_ok()
        );
    }
}
