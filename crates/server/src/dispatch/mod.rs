//! A call, run on a broker: parse the words, name the caller, call the verb, shape the answer.

mod agent;
mod consumer;
mod grant;
mod mask;
mod notify;
mod operator;
mod passkey;
mod reader;

use std::collections::BTreeMap;
use std::sync::Arc;

use keywright_broker::auth::{Proven, Terminal};
use keywright_broker::holds::{self, Holder};
use keywright_broker::{Broker, Code};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::answer::Failure;
use crate::call::{Call, Login};

/// Who is at the other end, as the kernel says.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The user id.
    pub uid: u32,
    /// The process id, where the platform tells.
    pub pid: Option<i32>,
    /// The terminal session, for operator sessions.
    pub terminal: Option<Terminal>,
}

impl Peer {
    /// This very process: a command that works on the home itself.
    #[must_use]
    pub fn here() -> Self {
        let pid = i32::try_from(std::process::id()).ok();
        Self { uid: rustix::process::geteuid().as_raw(), pid, terminal: None }
    }

    fn verified(&self) -> BTreeMap<String, String> {
        let mut verified = BTreeMap::from([("uid".to_owned(), self.uid.to_string())]);
        verified.extend(self.pid.map(|pid| ("pid".to_owned(), pid.to_string())));
        verified
    }
}

/// Runs a call. `stop` is there when a broker serves; a command that works on the home itself has none.
///
/// # Errors
/// What the verb said.
pub async fn dispatch(
    broker: &Arc<Broker>,
    peer: &Peer,
    call: Call,
    stop: Option<&watch::Sender<bool>>,
) -> Result<Value, Failure> {
    match call {
        Call::Anybody => {
            let health = broker.health().await?;
            Ok(json!({
                "schema": "keywright/status/1",
                "version": env!("CARGO_PKG_VERSION"),
                "home": broker.home().root().display().to_string(),
                "serving": stop.is_some(),
                "health": health,
            }))
        }
        Call::Stop => match stop {
            Some(stop) => {
                // The receiver lives as long as the broker serves.
                let _ = stop.send(true);
                Ok(json!({ "schema": "keywright/status/1", "stopping": true }))
            }
            None => Err(Failure::new(Code::Conflict, "no broker runs, so there is nothing to stop")),
        },
        Call::Agent { token, claimed, call } => {
            let token = token.into_secret();
            let agent = broker.agent(&token).await?;
            let mask = broker.mask(&token).await?;
            let (claimed, call) = (mask::masked(&mask, &claimed)?, mask::masked(&mask, &call)?);
            agent::run(broker, peer, agent, claimed, call).await
        }
        Call::Operator { login, call } => {
            let operator = let_in(broker, peer, login).await?;
            operator::run(broker, peer, &operator, *call, stop).await
        }
        Call::Reader { login, project, environment, only, holder } => {
            let process = peer.pid.and_then(|pid| u64::try_from(pid).ok());
            let process = process.and_then(|pid| Some((pid, holds::began(pid)?)));
            let holder = holder.map(|word| Holder { word: word.into_word(), process });
            reader::run(broker, login, (project, environment, only), holder).await
        }
        Call::Hold { word, is_over } => {
            let standing = broker.hear_of(&word.into_word(), is_over).await?;
            let standing = serde_json::to_value(standing).map_err(invalid)?;
            Ok(crate::views::with_schema("keywright/hold/1", standing))
        }
    }
}

async fn let_in(broker: &Broker, peer: &Peer, login: Login) -> Result<Proven, Failure> {
    match login {
        Login::Passphrase { operator, passphrase } => {
            let name = operator.as_deref().map(str::parse).transpose().map_err(invalid)?;
            Ok(broker.operator(name.as_ref(), passphrase.into_secret()).await?)
        }
        Login::Session => match peer.terminal {
            Some(terminal) => Ok(broker.session(terminal).await?),
            None => Err(Failure::new(Code::Unauthenticated, "this needs an operator's passphrase")
                .hint("type it at the prompt, or name a file with --passphrase-file")),
        },
    }
}

/// A word that could not be read.
fn invalid(error: impl std::fmt::Display) -> Failure {
    Failure::new(Code::InvalidArgument, error.to_string())
}

/// An optional word, read.
fn read<T>(text: Option<&String>) -> Result<Option<T>, Failure>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.map(|text| text.parse()).transpose().map_err(invalid)
}
