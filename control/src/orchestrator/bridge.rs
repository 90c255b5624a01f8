//! The road of HTTP/2 into trickle: a request is sent on over a private HTTP/1.1 stream to the data plane, and the answer
//! comes back as it is.
//!
//! Invariants:
//! - Bodies stream both ways, a frame at a time; nothing is collected.
//! - The answer's status (470 included), headers and body are the data plane's own.
//! - The private stream lives exactly as long as the exchange: a client that goes away, before or after the answer
//!   began, takes it down, and with it the parked reader or publisher behind it.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::client::conn::http1;
use hyper::header::{
    CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use hyper::http::uri::PathAndQuery;
use hyper::{StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::commands::Commands;
use super::http::text_error;
use super::stream::Keeping;

/// What speaks of one connection only and must not be passed on. `Expect` is answered by our own server.
const OF_THE_HOP: [HeaderName; 8] = [
    CONNECTION,
    EXPECT,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Sends `request` to the data plane and returns its answer.
pub(super) async fn forward(commands: &Commands, request: Request) -> Response {
    let version = request.version();
    match exchange(commands, request).await {
        Ok(mut response) => {
            let headers = response.headers_mut();
            headers.remove(TRANSFER_ENCODING);
            if version == Version::HTTP_2 {
                OF_THE_HOP
                    .iter()
                    .for_each(|name| drop(headers.remove(name)));
            }
            *response.version_mut() = version;
            response
        }
        Err(error) => {
            tracing::debug!(error = &*error, "a bridged request got no answer");
            text_error(StatusCode::BAD_GATEWAY, "the data plane did not answer")
        }
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(commands: &Commands, request: Request) -> Result<Response, Error> {
    let socket = std::os::unix::net::UnixStream::from(commands.connect()?);
    socket.set_nonblocking(true)?;
    let stream = TokioIo::new(UnixStream::from_std(socket)?);
    let (mut sender, connection) = http1::handshake(stream).await?;
    let pump = Pump(tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a bridge broke");
        }
    }));
    let response = sender.send_request(rewritten(request)?).await?;
    // The sender stays as well: without it the connection would think that nobody is there.
    Ok(response.map(|body| Body::new(Keeping::new(body, (pump, sender)))))
}

/// Ends the private stream when dropped.
struct Pump(JoinHandle<()>);

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The same request in HTTP/1.1's words: a path for a target, and the authority as `Host`.
fn rewritten(mut request: Request) -> Result<Request, Error> {
    let uri = std::mem::take(request.uri_mut());
    let authority = uri
        .authority()
        .map(|authority| HeaderValue::from_str(authority.as_str()))
        .transpose()?;
    let target = uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(target);
    *request.version_mut() = Version::HTTP_11;
    let headers: &mut HeaderMap = request.headers_mut();
    OF_THE_HOP
        .iter()
        .for_each(|name| drop(headers.remove(name)));
    if !headers.contains_key(HOST) {
        headers.insert(
            HOST,
            authority.unwrap_or_else(|| HeaderValue::from_static("localhost")),
        );
    }
    Ok(request)
}
