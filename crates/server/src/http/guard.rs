//! What each request has to be before anything is looked at: to this host by its name (so that no foreign name can be made to point
//! here), and, where it could change something, from a page of ours.

use std::sync::Arc;

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
         frame-ancestors 'none'; base-uri 'none'",
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
    let mut response = match check(&door, request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(Refused::Elsewhere) if request.method() == Method::GET => {
            // By the number of this machine: browsers have no passkeys there.
            Redirect::temporary(&format!("{}{}", door.origin, request.uri().path())).into_response()
        }
        Err(why) => (why.status(), why.words(&door)).into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
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
