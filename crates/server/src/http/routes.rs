//! Every route, and what it takes. The router is made from this table, and the test that tries each of them as nobody, as an agent, with
//! a session only and from another origin walks it: a route that is not in it does not exist.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Method;
use axum::middleware;
use axum::routing::{MethodRouter, get, post};

use super::{Door, deeds, guard, pages};

/// The largest body, in bytes.
const BODY: usize = 64 * 1_024;

/// What a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Nothing: what it shows is no secret, and it changes nothing.
    Nothing,
    /// An operator's passphrase, or the touch of a passkey: it lets somebody in to look.
    Proof,
    /// A link's word, which takes an operator's passphrase or touch to be made.
    Word,
    /// A session: it only looks, or leaves.
    Session,
    /// A session, and the touch of a passkey over exactly the deed.
    Touch,
}

/// A route.
pub struct Route {
    /// GET or POST.
    pub method: Method,
    /// As axum writes it.
    pub path: &'static str,
    /// What it takes.
    pub takes: Takes,
    handler: fn() -> MethodRouter<Arc<Door>>,
}

/// All of them.
pub const ROUTES: &[Route] = &[
    look("/", || get(pages::inbox::page)),
    look("/r/{request}", || get(pages::review::page)),
    look("/keys", || get(pages::keys::list)),
    look("/keys/{key}", || get(pages::keys::one)),
    look("/agents", || get(pages::agents::list)),
    look("/agents/{name}", || get(pages::agents::one)),
    look("/templates", || get(pages::templates::list)),
    look("/templates/{provider}/{name}", || get(pages::templates::one)),
    look("/policy", || get(pages::templates::policy)),
    look("/audit", || get(pages::audit::page)),
    look("/audit/download", || get(pages::audit::download)),
    look("/audit/{entry}", || get(pages::audit::one)),
    look("/health", || get(pages::health::page)),
    look("/passkeys", || get(pages::passkeys::list)),
    open("/door", || get(pages::door::page)),
    open("/enrol", || get(pages::door::enrol)),
    open("/healthz", || get(pages::assets::alive)),
    open("/style.css", || get(pages::assets::style)),
    open("/icon.svg", || get(pages::assets::icon)),
    open("/script.js", || get(pages::assets::script)),
    change("/door", Takes::Proof, || post(deeds::enter)),
    change("/door/offer", Takes::Proof, || post(deeds::offer_entry)),
    change("/door/touch", Takes::Proof, || post(deeds::enter_with_passkey)),
    change("/leave", Takes::Session, || post(deeds::leave)),
    change("/passkeys/begin", Takes::Word, || post(deeds::begin_passkey)),
    change("/passkeys/add", Takes::Word, || post(deeds::add_passkey)),
    change("/touch/offer", Takes::Session, || post(deeds::offer)),
    change("/touch", Takes::Touch, || post(deeds::touch)),
];

const fn look(path: &'static str, handler: fn() -> MethodRouter<Arc<Door>>) -> Route {
    Route { method: Method::GET, path, takes: Takes::Session, handler }
}

const fn open(path: &'static str, handler: fn() -> MethodRouter<Arc<Door>>) -> Route {
    Route { method: Method::GET, path, takes: Takes::Nothing, handler }
}

const fn change(path: &'static str, takes: Takes, handler: fn() -> MethodRouter<Arc<Door>>) -> Route {
    Route { method: Method::POST, path, takes, handler }
}

/// The router: the table, behind its guard.
pub(super) fn router(door: Arc<Door>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        router = router.route(route.path, (route.handler)());
    }
    router
        .fallback(pages::assets::nothing)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&door), guard::guard))
        .with_state(door)
}
