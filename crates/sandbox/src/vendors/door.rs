//! How every stand-in hears a call and answers it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Query, Request};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;
use tokio::net::TcpListener;

use super::Running;
use crate::error::SandboxError;

/// The largest body of a call in bytes.
const BODY_LIMIT: usize = 2 << 20;

/// A call.
pub(super) struct Asked {
    pub(super) method: String,
    /// The segments of the path, decoded.
    pub(super) path: Vec<String>,
    query: Vec<(String, String)>,
    headers: axum::http::HeaderMap,
    /// The body, where it is JSON; else null.
    pub(super) body: Value,
    /// The fields of the body, where it is a form.
    form: Vec<(String, String)>,
}

impl Asked {
    /// A header, where it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What `Authorization: Bearer` carries.
    pub(super) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// A parameter of the query.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A field of the form.
    pub(super) fn form(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A text in the body, by JSON pointer.
    pub(super) fn text(&self, pointer: &str) -> Option<&str> {
        self.body.pointer(pointer)?.as_str()
    }

    /// The path, to match on.
    pub(super) fn segments(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }
}

/// An answer: status, and JSON or nothing.
pub(super) type Told = (u16, Option<Value>);

/// Serves a vendor's state on a free port of loopback.
pub(super) async fn serve<S: Send + 'static>(
    state: S,
    parent: String,
    answer: fn(&mut S, &Asked) -> Told,
) -> Result<Running, SandboxError> {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let failed = |source| SandboxError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let state = Arc::new(Mutex::new(state));
    let handler = move |request: Request| {
        let state = Arc::clone(&state);
        async move {
            let Some(asked) = hear(request).await else { return respond((400, None)) };
            let told = answer(&mut state.lock().unwrap_or_else(PoisonError::into_inner), &asked);
            respond(told)
        }
    };
    let server = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, Router::new().fallback(handler)).await {
            tracing::error!(%error, "the stand-in stopped serving");
        }
    });
    Ok(Running { base_url: format!("http://{address}"), parent, server })
}

async fn hear(request: Request) -> Option<Asked> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_LIMIT).await.ok()?;
    let form = format!("/?{}", String::from_utf8_lossy(&body)).parse().ok();
    let form = form.and_then(|uri| Query::try_from_uri(&uri).ok()).map(|Query(pairs)| pairs);
    Some(Asked {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().split('/').filter(|part| !part.is_empty()).map(decoded).collect(),
        query: Query::try_from_uri(&parts.uri).map(|Query(pairs)| pairs).unwrap_or_default(),
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
        form: form.unwrap_or_default(),
    })
}

fn respond((status, body): Told) -> Response {
    let mut response = Response::new(body.as_ref().map_or_else(Body::empty, |b| Body::from(b.to_string())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if body.is_some() {
        let json = axum::http::HeaderValue::from_static("application/json");
        response.headers_mut().insert(axum::http::header::CONTENT_TYPE, json);
    }
    response
}

/// Undoes percent-encoding.
fn decoded(part: &str) -> String {
    let mut bytes = part.bytes();
    let mut plain = Vec::with_capacity(part.len());
    while let Some(byte) = bytes.next() {
        let hex = |byte: Option<u8>| char::from(byte?).to_digit(16);
        match byte {
            b'%' => {
                let (high, low) = (hex(bytes.next()).unwrap_or(0), hex(bytes.next()).unwrap_or(0));
                plain.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
            }
            other => plain.push(other),
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}
