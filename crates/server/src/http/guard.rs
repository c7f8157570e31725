//! What each request has to be before anything is looked at: to this host by its name (so that no foreign name can be made to point
//! here), and, where it could change something, from a page of ours.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};

use super::Door;

const HEADERS: [(HeaderName, &str); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
         worker-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // With `no-referrer` browsers name no origin in a form's request either.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "publickey-credentials-get=(self), publickey-credentials-create=(self), camera=(), geolocation=(), microphone=()",
    ),
];

pub(super) async fn guard(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    if request.headers().contains_key("service-worker") {
        // Somebody who listened here while no broker ran left a worker behind, which would stand before every page.
        return (StatusCode::OK, [(header::CONTENT_TYPE, "text/javascript")], GO_AWAY).into_response();
    }
    let Some(request) = with_body(request).await else {
        return StatusCode::REQUEST_TIMEOUT.into_response();
    };
    let checked = check(&door, request.method(), request.headers());
    let mut response = match checked {
        Ok(()) => {
            let (asked, body) = request.into_parts();
            let answer = next.run(Request::from_parts(asked.clone(), body)).await;
            super::pages::dressed(&door, asked, answer).await
        }
        Err(Refused::Elsewhere) if request.method() == Method::GET => {
            // By the number of this machine: browsers have no passkeys there.
            Redirect::temporary(&format!("{}{}", door.origin, request.uri().path())).into_response()
        }
        Err(why) => (why.status(), why.words(&door)).into_response(),
    };
    let is_page = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.to_str().is_ok_and(|text| text.starts_with("text/html")));
    if is_page {
        // As above: it ends with the first page that comes from us.
        response.headers_mut().insert("clear-site-data", HeaderValue::from_static("\"storage\""));
    }
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// A worker that ends itself and all that its origin registered.
const GO_AWAY: &str = "self.addEventListener('install', () => self.skipWaiting());\n\
    self.addEventListener('activate', (event) => event.waitUntil(self.registration.unregister()\
    .then(() => self.clients.matchAll()).then((all) => all.forEach((one) => one.navigate(one.url)))));\n";
/// How long the body of a request may take.
const BODY_TIME: Duration = Duration::from_secs(10);
/// The largest body that is waited for; each route takes less.
const BODY: usize = 128 * 1_024;

/// The request with its whole body, or none when that does not come.
async fn with_body(request: Request) -> Option<Request> {
    let (parts, body) = request.into_parts();
    let body = tokio::time::timeout(BODY_TIME, axum::body::to_bytes(body, BODY)).await.ok()?;
    // One that is too large is refused by its route like any other nonsense.
    Some(Request::from_parts(parts, axum::body::Body::from(body.unwrap_or_default())))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// To this machine by its number.
    Elsewhere,
    /// To a host that this is not.
    Host,
    /// From a page that is not ours, or from none that says so.
    Origin,
}

impl Refused {
    fn status(self) -> StatusCode {
        match self {
            Self::Elsewhere | Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Origin => StatusCode::FORBIDDEN,
        }
    }

    fn words(self, door: &Door) -> String {
        match self {
            Self::Elsewhere | Self::Host => format!("the pages are at {}, and nowhere else\n", door.origin),
            Self::Origin => "this can be asked for by a page of ours only\n".to_owned(),
        }
    }
}

fn check(door: &Door, method: &Method, headers: &HeaderMap) -> Result<(), Refused> {
    let one = |name: &HeaderName| {
        let mut all = headers.get_all(name).iter();
        match (all.next(), all.next()) {
            (Some(value), None) => value.to_str().ok(),
            // Two of them say nothing.
            _ => None,
        }
    };
    let host = one(&header::HOST).unwrap_or_default();
    if host != door.host {
        let is_number = door.origin.starts_with("http://localhost")
            && host.replacen("127.0.0.1", "localhost", 1) == door.host;
        return Err(if is_number { Refused::Elsewhere } else { Refused::Host });
    }
    let fetched_by = headers.get("sec-fetch-site").map(|value| value.to_str().unwrap_or("?"));
    if method == Method::GET || method == Method::HEAD {
        // A link from anywhere may be followed; no page elsewhere may read or show what is here.
        let navigates = headers.get("sec-fetch-mode").is_none_or(|mode| mode == "navigate");
        let is_ours = matches!(fetched_by, None | Some("same-origin" | "none"));
        return if is_ours || navigates { Ok(()) } else { Err(Refused::Origin) };
    }
    let is_ours = one(&header::ORIGIN) == Some(door.origin.as_str());
    if is_ours && matches!(fetched_by, None | Some("same-origin")) { Ok(()) } else { Err(Refused::Origin) }
}
