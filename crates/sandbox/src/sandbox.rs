//! The handle on a running sandbox.

use std::net::SocketAddr;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::SandboxConfig;
use crate::door::{self, BASE_PATH, Shared, State};
use crate::error::SandboxError;
use crate::fault::{Fault, FaultId, FaultView, Faults};
use crate::record::{CallLog, CallRecord};
use crate::token::Owner;
use crate::token::book::TokenBook;
use crate::token::view::{TokenStatus, TokenView};
use crate::wire::{CuttableListener, Peer};
use crate::world::{World, ZoneView};

/// How long a shutdown waits for calls that are under way.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// All tokens as they were at some moment, see [`Sandbox::keep_tokens`].
pub struct KeptTokens(TokenBook);

/// A running sandbox. Dropping it stops it; [`Sandbox::shutdown`] also waits until it has stopped.
pub struct Sandbox {
    shared: Arc<Shared>,
    address: SocketAddr,
    account: String,
    parent: String,
    user_parent: String,
    server: Option<JoinHandle<()>>,
}

impl Sandbox {
    /// Builds the world, binds the address and serves it on the current tokio runtime.
    ///
    /// # Errors
    /// When the address is not loopback or can't be bound, or the configuration contradicts itself.
    pub async fn start(config: SandboxConfig) -> Result<Self, SandboxError> {
        if !config.listen.ip().is_loopback() {
            return Err(SandboxError::NotLoopback(config.listen));
        }
        let world = World::new(&config, Timestamp::now())?;
        let of_owner = |owner: &Owner| world.tokens.of(owner).next().map(|token| token.value.clone());
        let account = world.accounts.first().map(|account| account.id.clone()).unwrap_or_default();
        let parent = of_owner(&Owner::Account(account.clone())).unwrap_or_default();
        let user_parent = of_owner(&Owner::User).unwrap_or_default();

        let listen_error = |source| SandboxError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                world,
                faults: Faults::default(),
                calls: CallLog::new(config.call_log),
            }),
            ahead_ms: AtomicI64::new(0),
            stop: watch::Sender::new(false),
            control: config.control,
            body_limit: config.body_limit,
        });
        let server = tokio::spawn(serve(CuttableListener(listener), Arc::clone(&shared)));
        tracing::debug!(%address, "sandbox listens");
        Ok(Self { shared, address, account, parent, user_parent, server: Some(server) })
    }

    /// Where the API is, e.g. `http://127.0.0.1:40123/client/v4`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}{BASE_PATH}", self.address)
    }

    /// Where the control path is, if it was started with one.
    #[must_use]
    pub fn control_url(&self) -> Option<String> {
        self.shared.control.then(|| format!("http://{}/_sandbox", self.address))
    }

    /// The value of the account's parent token: it may make tokens (`Account API Tokens Write`) and read the account and
    /// the names of its zones, nothing else.
    #[must_use]
    pub fn parent_token(&self) -> &str {
        &self.parent
    }

    /// The value of the user's parent token: it may make user tokens (`API Tokens Write`).
    #[must_use]
    pub fn user_parent_token(&self) -> &str {
        &self.user_parent
    }

    /// The id of the first account.
    #[must_use]
    pub fn account_id(&self) -> &str {
        &self.account
    }

    /// The id of the user.
    #[must_use]
    pub fn user_id(&self) -> String {
        self.shared.lock().world.user.clone()
    }

    /// All zones.
    #[must_use]
    pub fn zones(&self) -> Vec<ZoneView> {
        self.shared.lock().world.zone_views()
    }

    /// Injects a fault; it stays until it has hit as many calls as it says.
    ///
    /// # Errors
    /// When it is out of bounds, or a thousand faults wait already.
    pub fn inject(&self, fault: Fault) -> Result<FaultId, SandboxError> {
        self.shared.lock().faults.add(fault)
    }

    /// Forgets all faults.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear();
    }

    /// All faults and how far they got.
    #[must_use]
    pub fn faults(&self) -> Vec<FaultView> {
        self.shared.lock().faults.views().to_vec()
    }

    /// How many calls a fault has hit; 0 when it is not known any more.
    #[must_use]
    pub fn fault_hits(&self, id: FaultId) -> u32 {
        let state = self.shared.lock();
        state.faults.views().iter().find(|view| view.id == id).map_or(0, |view| view.hits)
    }

    /// All tokens that exist, expired and disabled ones and both parents included, oldest first.
    #[must_use]
    pub fn tokens(&self) -> Vec<TokenView> {
        let now = self.shared.now();
        self.shared.lock().world.tokens.iter().map(|token| TokenView::of(token, now)).collect()
    }

    /// Deletes a token, as a person does in the vendor's dashboard. False where there is none with that id.
    #[must_use]
    pub fn delete_token(&self, id: &str) -> bool {
        let mut state = self.shared.lock();
        let owner = state.world.tokens.iter().find(|token| token.id == id).map(|token| token.owner.clone());
        owner.is_some_and(|owner| state.world.tokens.remove(&owner, id))
    }

    /// The active tokens whose name starts with `prefix`.
    #[must_use]
    pub fn live_tokens_named_like(&self, prefix: &str) -> Vec<TokenView> {
        let mut tokens = self.tokens();
        tokens.retain(|token| token.status == TokenStatus::Active && token.name.starts_with(prefix));
        tokens
    }

    /// The last calls, oldest first; how many are kept is `SandboxConfig::call_log`.
    #[must_use]
    pub fn calls(&self) -> Vec<CallRecord> {
        self.shared.lock().calls.iter().cloned().collect()
    }

    /// Moves the sandbox's clock forward: tokens expire, lags pass.
    pub fn advance_clock(&self, time: Duration) {
        self.shared.advance_clock(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }

    /// The sandbox's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.now()
    }

    /// Sets how far `last_used_on` lags behind.
    pub fn lag_last_used(&self, lag: Duration) {
        self.shared.lock().world.limits.last_used_lag =
            SignedDuration::try_from(lag).unwrap_or(SignedDuration::MAX);
    }

    /// **For tests only:** every token value that was ever issued, dead ones and both parents included, for searching
    /// outputs for leaks. Nothing else in this crate hands out a value that the API has shown already.
    #[must_use]
    pub fn secret_values(&self) -> Vec<String> {
        self.shared.lock().world.tokens.values()
    }

    /// **For tests only:** the current value of one token.
    #[must_use]
    pub fn secret_of(&self, token_id: &str) -> Option<String> {
        self.shared.lock().world.tokens.by_id(token_id).map(|token| token.value.clone())
    }

    /// **For tests only:** all tokens as they are now, to begin from them again.
    #[must_use]
    pub fn keep_tokens(&self) -> KeptTokens {
        KeptTokens(self.shared.lock().world.tokens.clone())
    }

    /// **For tests only:** makes the tokens what they were, and forgets the faults and the calls since.
    pub fn put_back_tokens(&self, kept: &KeptTokens) {
        let mut state = self.shared.lock();
        state.world.tokens = kept.0.clone();
        state.faults.clear();
        state.calls.clear();
    }

    /// Stops: refuses new connections, ends every injected wait, gives calls under way two seconds, then lets go.
    pub async fn shutdown(mut self) {
        self.shared.stop.send_replace(true);
        if let Some(mut server) = self.server.take()
            && tokio::time::timeout(SHUTDOWN_GRACE, &mut server).await.is_err()
        {
            server.abort();
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.shared.stop.send_replace(true);
    }
}

/// Starts a sandbox, tells `ready` about it, and serves until the future is dropped: what `keywright sandbox` runs.
///
/// # Errors
/// As [`Sandbox::start`].
pub async fn serve_forever(config: SandboxConfig, ready: impl FnOnce(&Sandbox)) -> Result<(), SandboxError> {
    let mut sandbox = Sandbox::start(config).await?;
    ready(&sandbox);
    if let Some(server) = sandbox.server.take()
        && let Err(error) = server.await
    {
        tracing::error!(%error, "the sandbox's server ended");
    }
    Ok(())
}

async fn serve(listener: CuttableListener, shared: Arc<Shared>) {
    let mut stop = shared.stop.subscribe();
    let handler = move |request: Request| answer(Arc::clone(&shared), request);
    let service = Router::new().fallback(handler).into_make_service_with_connect_info::<Peer>();
    let stopped = async move {
        // A closed channel means the same as a stop.
        let _ = stop.wait_for(|stopped| *stopped).await;
    };
    if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(stopped).await {
        tracing::error!(%error, "the sandbox stopped serving");
    }
}

async fn answer(shared: Arc<Shared>, request: Request) -> Response {
    match door::peer_of(&request) {
        Some(peer) => door::serve(shared, peer, request).await,
        None => Response::new(axum::body::Body::empty()),
    }
}
