//! A message by one POST of JSON, to an address that may itself be the secret: nothing that is said quotes it.

use keywright_core::secret::Secret;
use reqwest::Method;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{DEADLINE, NotTold, Told, not_told};
use crate::wire::{AddressError, Auth, Authority, Call, Wire, WireConfig, WireError};

/// The most that is read of an answer, in bytes.
const LONGEST_ANSWER: usize = 64 << 10;

pub(super) struct Post {
    wire: Wire,
}

impl Post {
    /// Reads the address; dials nothing yet.
    pub(super) fn new(label: &'static str, url: &str, authority: Authority) -> Result<Self, String> {
        let config = WireConfig {
            is_given: true,
            deadline: DEADLINE,
            max_body: LONGEST_ANSWER,
            authority,
            ..WireConfig::new(label, url)
        };
        let wire = Wire::new(config).map_err(|error| match error {
            WireError::Address(AddressError::Form(_)) => {
                "write the whole address, as in `https://host/path`, without user, query or fragment"
                    .to_owned()
            }
            WireError::Address(AddressError::Plain(_)) => {
                "the address is not https; plain http is for loopback only".to_owned()
            }
            WireError::Address(AddressError::Private(_)) => "the address may not be dialled".to_owned(),
            other => other.to_string(),
        })?;
        Ok(Self { wire })
    }

    /// Sends a message, once: whether it is tried again is decided elsewhere.
    pub(super) async fn send(
        &self,
        message: &Value,
        query: Vec<(&'static str, String)>,
        token: Option<&Secret>,
    ) -> Result<Told, NotTold> {
        let body = Zeroizing::new(message.to_string().into_bytes());
        let auth = token.map_or(Auth::Nobody, Auth::Bearer);
        let call = Call { query, ..Call::once(Method::POST, Vec::new(), auth, body) };
        let reply = self.wire.send(call).await.map_err(|fault| not_told(fault.to_string(), ""))?;
        let said = String::from_utf8_lossy(&reply.body);
        match reply.status {
            200..=299 => {
                Ok(Told(keywright_core::text::Untrusted::capped(&format!("status {}", reply.status), 20)))
            }
            status @ (401 | 403) => {
                Err(not_told(format!("it answered {status}: it does not let us in"), &said))
            }
            status @ (404 | 410) => {
                Err(not_told(format!("it answered {status}: there is no such address any more"), &said))
            }
            status @ 429 => Err(not_told(format!("it answered {status}: too much at a time"), "")),
            status => Err(not_told(format!("it answered {status}"), &said)),
        }
    }
}
