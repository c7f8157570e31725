//! What is the same for everybody.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

pub(crate) async fn style() -> impl IntoResponse {
    let kept = "public, max-age=3600";
    let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, kept)];
    (headers, include_str!("../../../assets/style.css"))
}

pub(crate) async fn script() -> impl IntoResponse {
    let headers = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];
    (headers, include_str!("../../../assets/script.js"))
}

pub(crate) async fn icon() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "image/svg+xml")], include_str!("../../../assets/icon.svg"))
}

/// Whether the broker is there; nothing else.
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

pub(crate) async fn nothing() -> Response {
    (StatusCode::NOT_FOUND, "there is nothing here\n").into_response()
}
