//! The review pages: a door for people with a browser. A session lets them look; whatever changes something takes the touch of a
//! passkey over exactly that.
//!
//! | module | what it holds |
//! |---|---|
//! | [`routes`] | every route, and what it takes: one table, from which the router is made |
//! | `guard` | what each request has to be: to this host, from this origin |
//! | `session` | who looks |
//! | `deeds` | what is done |
//! | `pages` | what is seen |

mod deeds;
mod guard;
mod pages;
pub mod routes;
mod session;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use keywright_broker::{Broker, Code, told};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::answer::Failure;
use session::Sessions;

/// How many connections at a time. More wait in the kernel's queue.
const CONNECTIONS: usize = 128;
/// How long the head of a request may take, and how long a connection may be silent between two.
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection may live. A deed may wait for a mint.
const LONGEST: Duration = Duration::from_secs(180);

/// What every handler knows.
pub struct Door {
    broker: Arc<Broker>,
    /// Where the pages are, as browsers name it: `http://localhost:4777`.
    origin: String,
    /// Its host, and its port where it has one, as a request names it.
    host: String,
    sessions: Sessions,
}

impl Door {
    /// The door of a broker at an origin.
    ///
    /// # Errors
    /// When it is no origin at which browsers have passkeys.
    pub fn new(broker: Arc<Broker>, origin: &str) -> Result<Arc<Self>, Failure> {
        let invalid = |message: &str| {
            Failure::new(Code::InvalidArgument, message.to_owned())
                .hint("name it as in `--public-url https://keys.example.com`, without a path")
        };
        let url = url::Url::parse(origin).map_err(|_| invalid("the public address is no address"))?;
        if url.origin().ascii_serialization() != origin {
            return Err(invalid("the public address has to be an origin"));
        }
        let is_local = url.scheme() == "http" && url.host_str() == Some("localhost");
        if !is_local && url.scheme() != "https" {
            return Err(invalid("the public address has to be https: browsers have passkeys nowhere else"));
        }
        let host = url.host_str().unwrap_or_default();
        let sessions = Sessions::new(!is_local, url.port());
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Ok(Arc::new(Self { broker, origin: origin.to_owned(), host, sessions }))
    }

    /// Where the pages are.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

/// Listens there. Ready as soon as this returns. `localhost` is two addresses for a browser: on loopback both are taken, so that
/// nobody else shows pages under our name on the other.
///
/// # Errors
/// When the address can't be had, or others could reach it without the pages being behind https.
pub async fn listen(address: SocketAddr, is_behind_https: bool) -> Result<Vec<TcpListener>, Failure> {
    if !address.ip().is_loopback() && !is_behind_https {
        let message = format!("{address} can be reached from other machines, without TLS");
        return Err(Failure::new(Code::InvalidArgument, message).hint(
            "listen on 127.0.0.1, or name the https address of the proxy before it: `--public-url https://keys.example.com`",
        ));
    }
    let taken = |address: SocketAddr, error: &std::io::Error| {
        Failure::new(Code::Conflict, format!("nothing can listen on {address}: {}", error.kind()))
            .hint("another program may have the port; name another one")
    };
    let first = TcpListener::bind(address).await.map_err(|error| taken(address, &error))?;
    if !address.ip().is_loopback() {
        return Ok(vec![first]);
    }
    let port = first.local_addr().map_or(address.port(), |bound| bound.port());
    let other: IpAddr =
        if address.is_ipv4() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
    let other = SocketAddr::new(other, port);
    match TcpListener::bind(other).await {
        Ok(second) => Ok(vec![first, second]),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Err(taken(other, &error)),
        // A machine without one of them.
        Err(_) => Ok(vec![first]),
    }
}

/// Serves the pages until told to stop.
pub async fn serve(listeners: Vec<TcpListener>, door: Arc<Door>, stop: watch::Receiver<bool>) {
    door.broker.set_door(&door.origin);
    let router = routes::router(door);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let all = listeners.into_iter().map(|listener| accept(listener, &router, &places, stop.clone()));
    futures::future::join_all(all).await;
}

async fn accept(
    listener: TcpListener,
    router: &Router,
    places: &Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let place = tokio::select! {
            () = told(&mut stop) => break,
            place = Arc::clone(places).acquire_owned() => place,
        };
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            () = told(&mut stop) => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, say; the next one may go.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        let mut ending = stop.clone();
        connections.spawn(async move {
            let _place = place;
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_buf_size(64 * 1_024)
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(serving);
            tokio::select! {
                // What a browser did wrong on its connection is its own business.
                _ = &mut serving => {}
                () = tokio::time::sleep(LONGEST) => {}
                () = told(&mut ending) => {
                    serving.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(Duration::from_secs(5), serving).await;
                }
            }
        });
    }
    while connections.join_next().await.is_some() {}
}
