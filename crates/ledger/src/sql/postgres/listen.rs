//! Hearing that others wrote, and telling them. It only wakes: whoever is woken looks for themselves, and nothing is lost with a
//! word that does not come, because everybody looks from time to time anyway. So no commit waits for it, or fails with it: a
//! transaction that notifies takes a lock of the whole server, and a server whose queue is full refuses it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls};

use super::address::Address;
use super::{passfile, session, tls};
use crate::error::{LedgerError, Result};

const LISTEN: &str = "LISTEN keywright";
/// Words that come together are one.
pub(super) const SELDOM: Duration = Duration::from_millis(200);
/// What the server calls such a session.
const APPLICATION: &str = "keywright listens";
/// How long it takes until a session that was lost is made anew, at first and at most.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_AT_MOST: Duration = Duration::from_secs(60);

/// What the others are to be told.
#[derive(Default)]
pub(super) struct Herald {
    appended: Notify,
    /// Whether a session that listens tells them.
    is_there: AtomicBool,
}

impl Herald {
    /// Something was appended. False where nobody tells it.
    pub(super) fn appended(&self) -> bool {
        self.appended.notify_one();
        self.is_there.load(Ordering::Relaxed)
    }
}

/// Tells that `who` wrote. The statement, unlike the function `pg_notify`, is nothing that a right could be missing for.
pub(super) fn tell(who: &str) -> String {
    // INVARIANT: the name of a claim, which is made of hexadecimal digits.
    format!("NOTIFY keywright, '{who}'")
}

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
    /// Listens to everybody but `own`, and tells them what `herald` says.
    pub(super) fn start(address: Address, own: String, herald: Arc<Herald>) -> Result<Self> {
        let woken = Arc::new(Notify::new());
        let task = session::runtime()?.spawn(listen(address, own, herald, Arc::clone(&woken)));
        Ok(Self { woken, task: task.abort_handle() })
    }

    /// Waits until somebody else wrote, or may have written while nobody listened.
    pub(crate) async fn woken(&self) {
        self.woken.notified().await;
    }
}

async fn listen(address: Address, own: String, herald: Arc<Herald>, woken: Arc<Notify>) {
    let mut pause = PAUSE;
    loop {
        let mut was_heard = false;
        if let Err(error) = hear(&address, &own, &herald, &woken, &mut was_heard).await {
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
async fn hear(
    address: &Address,
    own: &str,
    herald: &Herald,
    woken: &Notify,
    was_heard: &mut bool,
) -> Result<()> {
    let mut config = address.config.clone();
    config.application_name(APPLICATION);
    if let Some(password) = passfile::password(address)? {
        config.password(password.as_bytes());
    }
    if address.has_tls {
        let (client, connection) = config.connect(tls::connector(address.roots.as_deref())?).await?;
        hear_on(client, connection, (own, herald), woken, was_heard).await
    } else {
        let (client, connection) = config.connect(NoTls).await?;
        hear_on(client, connection, (own, herald), woken, was_heard).await
    }
}

async fn hear_on<S, T>(
    client: Client,
    mut connection: Connection<S, T>,
    (own, herald): (&str, &Herald),
    woken: &Notify,
    was_heard: &mut bool,
) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut messages = std::pin::pin!(stream::poll_fn(move |context| connection.poll_message(context)));
    let mut asked = std::pin::pin!(client.batch_execute(LISTEN));
    let mut telling = std::pin::pin!(tell_others(&client, own, herald));
    *was_heard = false;
    loop {
        tokio::select! {
            listens = &mut asked, if !*was_heard => {
                listens?;
                *was_heard = true;
                // For what was written before.
                woken.notify_one();
            }
            () = &mut telling, if *was_heard => {}
            message = messages.next() => match message {
                Some(Ok(AsyncMessage::Notification(said))) if said.payload() != own => woken.notify_one(),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            },
        }
    }
}

/// Tells the others, seldom, for as long as the session lasts.
async fn tell_others(client: &Client, own: &str, herald: &Herald) {
    /// Whoever appends tells it themselves once nobody is there for it.
    struct Gone<'a>(&'a AtomicBool);
    impl Drop for Gone<'_> {
        fn drop(&mut self) {
            self.0.store(false, Ordering::Relaxed);
        }
    }
    herald.is_there.store(true, Ordering::Relaxed);
    let _gone = Gone(&herald.is_there);
    let (tell, mut is_told) = (tell(own), true);
    loop {
        herald.appended.notified().await;
        match client.batch_execute(&tell).await {
            Ok(()) => is_told = true,
            Err(error) => {
                if std::mem::take(&mut is_told) {
                    let error = LedgerError::from(error);
                    tracing::warn!(%error, "other brokers are not told of what is written; they find it a moment later");
                }
            }
        }
        tokio::time::sleep(SELDOM).await;
    }
}
