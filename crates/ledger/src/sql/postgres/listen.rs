//! Hearing that others wrote. It only wakes: whoever is woken looks for themselves, and nothing is lost with a word that does
//! not come, because everybody looks from time to time anyway.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls};

use super::address::Address;
use super::{passfile, session, tls};
use crate::error::Result;

/// Where it is told that something was written. What is told is who wrote.
pub(super) const TELL: &str = "SELECT pg_notify('keywright', $1)";
const LISTEN: &str = "LISTEN keywright";
/// How long it takes until a session that was lost is made anew, at first and at most.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_AT_MOST: Duration = Duration::from_secs(60);

/// A session of its own that listens until this is dropped.
pub(crate) struct Listening {
    woken: Arc<Notify>,
    task: AbortHandle,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listening {
    /// Listens to everybody but `own`.
    pub(super) fn start(address: Address, own: String) -> Result<Self> {
        let woken = Arc::new(Notify::new());
        let task = session::runtime()?.spawn(listen(address, own, Arc::clone(&woken)));
        Ok(Self { woken, task: task.abort_handle() })
    }

    /// Waits until somebody else wrote, or may have written while nobody listened.
    pub(crate) async fn woken(&self) {
        self.woken.notified().await;
    }
}

async fn listen(address: Address, own: String, woken: Arc<Notify>) {
    let mut pause = PAUSE;
    loop {
        let mut was_heard = false;
        if let Err(error) = hear(&address, &own, &woken, &mut was_heard).await {
            tracing::info!(%error, "other brokers are not heard at present; their work is found a moment later");
        }
        if was_heard {
            pause = PAUSE;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_AT_MOST);
    }
}

/// Listens in one session, until that ends.
async fn hear(address: &Address, own: &str, woken: &Notify, was_heard: &mut bool) -> Result<()> {
    let mut config = address.config.clone();
    if let Some(password) = passfile::password(address)? {
        config.password(password.as_bytes());
    }
    if address.has_tls {
        let (client, connection) = config.connect(tls::connector(address.roots.as_deref())?).await?;
        hear_on(client, connection, own, woken, was_heard).await
    } else {
        let (client, connection) = config.connect(NoTls).await?;
        hear_on(client, connection, own, woken, was_heard).await
    }
}

async fn hear_on<S, T>(
    client: Client,
    mut connection: Connection<S, T>,
    own: &str,
    woken: &Notify,
    was_heard: &mut bool,
) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut messages = std::pin::pin!(stream::poll_fn(move |context| connection.poll_message(context)));
    let mut asked = std::pin::pin!(client.batch_execute(LISTEN));
    loop {
        tokio::select! {
            listens = &mut asked, if !*was_heard => {
                listens?;
                *was_heard = true;
                // For what was written before.
                woken.notify_one();
            }
            message = messages.next() => match message {
                Some(Ok(AsyncMessage::Notification(said))) if said.payload() != own => woken.notify_one(),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            },
        }
    }
}
