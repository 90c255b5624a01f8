//! The routes, and the shape of an answer that says no.
//!
//! | method, path | answer |
//! |---|---|
//! | POST `/live-video-to-video` | a live session, see `live.rs` |
//! | GET `/live-video-to-video/{manifest_id}/status` | how it is doing, JSON |
//! | POST `/payment`, POST `/refresh-payment` | tickets in, parameters out, see `payment.rs` |
//! | POST `/net.Orchestrator/…` | gRPC, see `handshake.rs` |
//! | GET `/healthz` | `{"status":"OK",…}`; 503 and `DRAINING` once the node drains |
//! | any, under the trickle base | bridged to the data plane, see `bridge.rs` |
//! | else | 404 |
//!
//! Doubled slashes are collapsed, and a trailing one is ignored outside of trickle: clients build such URLs, and a
//! redirect would lose the body of a POST.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::http::uri::{PathAndQuery, Uri};
use hyper::{Method, StatusCode};
use link::Stage;
use serde_json::{Map, Value, json};

use super::view::View;
use super::{App, bridge, handshake, live, params, payment};

/// Every route.
pub(super) fn router(app: App, handshake: handshake::Service) -> Router {
    Router::new()
        .route_service("/net.Orchestrator/{method}", handshake)
        .route("/live-video-to-video", post(live::start))
        .route("/live-video-to-video/{manifest_id}/status", get(status))
        .route("/payment", post(payment::pay))
        .route("/refresh-payment", post(payment::refresh))
        .route("/healthz", get(health))
        .fallback(elsewhere)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(app)
}

/// Collapses doubled slashes; drops trailing ones unless the path is trickle's.
pub(super) fn normalise(uri: &mut Uri, trickle_base: &str) {
    let path = uri.path();
    let mut clean = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !clean.ends_with('/') {
            clean.push(c);
        }
    }
    if !clean.starts_with(trickle_base) {
        clean.truncate(clean.trim_end_matches('/').len().max(1));
    }
    if clean == path {
        return;
    }
    if let Some(query) = uri.query() {
        clean.push('?');
        clean.push_str(query);
    }
    let mut parts = std::mem::take(uri).into_parts();
    // It was a path before a slash was taken out of it, so it is one now; `*` and the like have no slash to lose.
    parts.path_and_query = PathAndQuery::try_from(clean).ok().or(parts.path_and_query);
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

/// What Go's `http.Error` writes; peers read these texts.
pub(super) fn text_error(status: StatusCode, message: &str) -> Response {
    let mut response = Response::new(Body::from(format!("{message}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A JSON answer.
pub(super) fn json_answer(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn elsewhere(State(app): State<App>, request: Request) -> Response {
    if request.uri().path().starts_with(&*app.trickle_base) {
        return bridge::forward(&app.commands, request).await;
    }
    let content_type = request.headers().get(CONTENT_TYPE);
    match content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        true => tonic::Status::unimplemented("this node has no such service").into_http(),
        false => text_error(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

async fn method_not_allowed(method: Method, request: Request) -> Response {
    let mut response = text_error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    let allowed = match request.uri().path() {
        "/live-video-to-video" | "/payment" | "/refresh-payment" => "POST",
        _ => "GET, HEAD",
    };
    tracing::debug!(%method, allowed, "method not allowed");
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

async fn health(State(app): State<App>) -> Response {
    let (status, word) = match app.registry.draining() {
        true => (StatusCode::SERVICE_UNAVAILABLE, "DRAINING"),
        false => (StatusCode::OK, "OK"),
    };
    let sessions = *app.registry.count().borrow();
    json_answer(
        status,
        &json!({ "status": word, "sessions": sessions, "sessions_max": app.registry.sessions_max() }),
    )
}

/// Whoever knows the id may read it, as with the channels themselves; an owner's token behind it is accepted.
async fn status(State(app): State<App>, Path(id): Path<String>) -> Response {
    let id = id.split_once('~').map_or(&*id, |(id, _token)| id);
    match app.registry.view(id) {
        Some(view) => json_answer(StatusCode::OK, &describe(id, &view)),
        None => text_error(StatusCode::NOT_FOUND, "Session not found"),
    }
}

fn describe(manifest_id: &str, view: &View) -> Value {
    let stats = &view.stats;
    let stages: Map<String, Value> = Stage::ALL
        .iter()
        .map(|stage| {
            let latency = stats.stage(*stage);
            let value = json!({
                "count": latency.count,
                "p50_us": latency.p50_us,
                "p99_us": latency.p99_us,
                "max_us": latency.max_us,
            });
            (stage.name().to_owned(), value)
        })
        .collect();
    json!({
        "manifest_id": manifest_id,
        "model_id": view.model_id,
        "stream_id": view.stream_id,
        "gateway_request_id": view.gateway_request_id,
        "state": view.state.name(),
        "state_since_ms": view.state_since_ms,
        "started_ms": view.started_ms,
        "params": params::to_json(&view.process),
        "last_error": view.last_error,
        "payment": view.bill.as_ref().map(|bill| json!({
            "sender": bill.sender,
            "price": bill.price,
            "charged_pixels": bill.charged_pixels,
            "balance_wei": bill.balance_wei,
        })),
        "fps_in": view.rates.fps_in,
        "fps_out": view.rates.fps_out,
        "stats": {
            "frames_in": stats.frames_in,
            "frames_out": stats.frames_out,
            "frames_dropped": stats.frames_dropped,
            "decode_errors": stats.decode_errors,
            "audio_packets": stats.audio_packets,
            "damaged_packets": stats.damaged_packets,
            "segments_in": stats.segments_in,
            "bytes_in": stats.bytes_in,
            "bytes_out": stats.bytes_out,
            "last_input_ms": stats.last_input_ms,
            "last_output_ms": stats.last_output_ms,
        },
        "latency": stages,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_are_tidied_and_queries_kept() {
        for (dirty, clean) in [
            ("/live-video-to-video", "/live-video-to-video"),
            ("//live-video-to-video//", "/live-video-to-video"),
            ("/live-video-to-video/?a=//b", "/live-video-to-video?a=//b"),
            ("/", "/"),
            ("///", "/"),
            ("/ai//trickle///x//1", "/ai/trickle/x/1"),
            ("/ai/trickle/x/", "/ai/trickle/x/"),
            ("http://host:1//healthz/", "http://host:1/healthz"),
            ("*", "*"),
            ("host:443", "host:443"),
        ] {
            let mut uri: Uri = dirty.parse().unwrap();
            normalise(&mut uri, "/ai/trickle/");
            assert_eq!(
                uri.to_string(),
                clean.parse::<Uri>().unwrap().to_string(),
                "{dirty}"
            );
        }
    }
}
