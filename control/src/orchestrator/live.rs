//! `POST /live-video-to-video`: a gateway asks for a live session.
//!
//! The order of answers: 413 and 408 for the body, 400 for what it says, 402, 403 and 400 for who pays (see `purchase.rs`), 503 `insufficient
//! capacity` (the text that makes a gateway go elsewhere without holding a grudge), 500 for a data plane that fails, 400 for a payment that is
//! refused, 200 with four URLs. Off-chain nobody need pay.
//!
//! Invariants:
//! - Every request is answered within [`limits::START`].
//! - The session's task owns the session from the first moment; a caller that hangs up leaves nothing behind.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::header::HeaderMap;
use hyper::{Request, StatusCode};
use link::Process;
use serde_json::{Map, Value, json};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::payment::{Bad, refused};
use super::purchase::{self, Offer};

use super::http::{json_answer, text_error};
use super::session::{OpenError, Session};
use super::view::View;
use super::{App, limits, params};
use crate::world::random_hex;

/// What a gateway does on seeing this is to try another orchestrator.
const NO_ROOM: &str = "insufficient capacity";
const LATE: &str = "live start timed out";
/// A correlation id is kept up to this many characters.
const ID_CHARS: usize = 256;

/// The handler.
pub(super) async fn start(State(app): State<App>, request: Request<Body>) -> Response {
    let deadline = Instant::now() + limits::START;
    let (parts, body) = request.into_parts();
    let wanted = match read(body, deadline)
        .await
        .and_then(|bytes| parse(&parts.headers, &bytes, &app.models))
    {
        Ok(wanted) => wanted,
        Err((status, text)) => return text_error(status, &text),
    };
    match open(&app, wanted, &parts.headers, deadline).await {
        Ok(answer) => json_answer(StatusCode::OK, &answer),
        Err((status, text)) => refused(status, &text),
    }
}

impl From<OpenError> for Bad {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NoRoom => (503, NO_ROOM.to_owned()),
            OpenError::Late => (500, LATE.to_owned()),
            OpenError::Failed(why) => (500, why),
        }
    }
}

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    model_id: String,
    process: Process,
    ignored: Vec<String>,
    stream_id: String,
    gateway_request_id: String,
}

async fn open(
    app: &App,
    wanted: Wanted,
    headers: &HeaderMap,
    deadline: Instant,
) -> Result<Value, Bad> {
    let id =
        |error: io::Error| OpenError::Failed(format!("no randomness for a manifest id: {error}"));
    let manifest_id = random_hex::<16>(&*app.world).map_err(id)?;
    let owner_token = match app.owner_tokens {
        true => Some(random_hex::<16>(&*app.world).map_err(id)?),
        false => None,
    };
    let offer = purchase::read(app, headers, &manifest_id, &wanted.model_id)?;
    let mut view = View::new(wanted.model_id, wanted.process, app.world.unix_ms());
    view.stream_id = wanted.stream_id;
    view.gateway_request_id = wanted.gateway_request_id;
    tracing::info!(
        manifest_id,
        model_id = view.model_id,
        stream_id = view.stream_id,
        gateway_request_id = view.gateway_request_id,
        "live session asked for"
    );
    let (view_tx, view_rx) = watch::channel(view);
    let (seat, mail) = app
        .registry
        .admit(&manifest_id, view_rx)
        .map_err(|_| OpenError::NoRoom)?;
    // Dropped without a word, which every error below does, it ends the session.
    let (payer_tx, payer) = oneshot::channel();
    let session = Session {
        seat,
        mail,
        view: view_tx,
        commands: app.commands.clone(),
        world: Arc::clone(&app.world),
        owner_token: owner_token.clone(),
        models: Arc::clone(&app.models),
        ignored: wanted.ignored,
        payer,
        rules: app.rules,
        desk: Arc::clone(&app.desk),
    };
    let (opened_tx, opened) = oneshot::channel();
    app.spawn_until_stop(session.run(deadline, opened_tx));
    opened
        .await
        .map_err(|_| OpenError::Failed("the session's task is gone".to_owned()))??;
    let payer = match offer {
        Offer::Free => None,
        Offer::Paid(paid) => {
            let bought = timeout_at(deadline, purchase::buy(app, *paid)).await;
            Some(bought.map_err(|_| OpenError::Late)??)
        }
    };
    if payer_tx.send(payer).is_err() {
        return Err(OpenError::Failed("the session's task is gone".to_owned()).into());
    }

    let key = owner_token
        .map(|token| format!("~{token}"))
        .unwrap_or_default();
    let url = |suffix: &str| {
        format!(
            "{}{}{manifest_id}{suffix}{key}",
            app.trickle_url, app.trickle_base
        )
    };
    Ok(json!({
        "publish_url": url(""),
        "subscribe_url": url("-out"),
        "control_url": url("-control"),
        "events_url": url("-events"),
        "manifest_id": manifest_id,
    }))
}

type Refused = (StatusCode, String);

pub(super) async fn read(body: Body, deadline: Instant) -> Result<Bytes, Refused> {
    match timeout_at(
        deadline,
        Limited::new(body, limits::JSON_BODY_BYTES).collect(),
    )
    .await
    {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err((
            StatusCode::PAYLOAD_TOO_LARGE,
            "request body too large".to_owned(),
        )),
        Ok(Err(error)) => Err((
            StatusCode::BAD_REQUEST,
            format!("request body unreadable: {error}"),
        )),
        Err(_) => Err((
            StatusCode::REQUEST_TIMEOUT,
            "request body too slow".to_owned(),
        )),
    }
}

/// Lenient where gateways are loose: absent, null and empty are the same, and unknown fields are nobody's business.
fn parse(headers: &HeaderMap, body: &[u8], models: &[String]) -> Result<Wanted, Refused> {
    let bad = |text: String| (StatusCode::BAD_REQUEST, text);
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| bad(format!("request is not JSON: {error}")))?;
    let Value::Object(fields) = value else {
        return Err(bad(format!(
            "request must be a JSON object, not {}",
            params::kind(&value)
        )));
    };
    let model_id = match fields.get("model_id") {
        None | Some(Value::Null) => "",
        Some(Value::String(id)) => id,
        Some(other) => {
            return Err(bad(format!(
                "model_id must be a string, not {}",
                params::kind(other)
            )));
        }
    };
    let process = params::model(model_id, models).map_err(bad)?;
    let none = Map::new();
    let given = match fields.get("params") {
        None | Some(Value::Null) => &none,
        Some(Value::Object(given)) => given,
        Some(other) => {
            return Err(bad(format!(
                "params must be a JSON object, not {}",
                params::kind(other)
            )));
        }
    };
    let update = params::update(&process, given, models).map_err(bad)?;
    Ok(Wanted {
        model_id: params::model_id(&process),
        process: update.process,
        ignored: update.ignored,
        stream_id: correlation(&fields, "stream_id", headers, "streamID"),
        gateway_request_id: correlation(&fields, "gateway_request_id", headers, "requestID"),
    })
}

/// An id for logs: from the body, or from the header that older gateways use.
fn correlation(
    fields: &Map<String, Value>,
    field: &str,
    headers: &HeaderMap,
    header: &str,
) -> String {
    let in_body = fields
        .get(field)
        .and_then(Value::as_str)
        .filter(|id| !id.is_empty());
    let in_header = || headers.get(header).and_then(|id| id.to_str().ok());
    in_body
        .or_else(in_header)
        .unwrap_or_default()
        .chars()
        .take(ID_CHARS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(body: &str) -> Result<Wanted, Refused> {
        parse(
            &HeaderMap::new(),
            body.as_bytes(),
            &["onnx/denoise".to_owned()],
        )
    }

    #[test]
    fn a_stock_request_is_understood() {
        let wanted = parsed(
            r#"{"model_id":"builtin/edges","params":{"gain_percent":200,"width":512},"gateway_request_id":"g",
                "stream_id":"s","subscribe_url":"","publish_url":"","new_in_v2":[1]}"#,
        );
        let wanted = wanted.unwrap();
        let edges = link::Filter::Edges { gain_percent: 200 };
        assert_eq!(wanted.process, Process::Filter(edges));
        assert_eq!(
            (&*wanted.stream_id, &*wanted.gateway_request_id),
            ("s", "g")
        );
        assert_eq!(wanted.ignored, ["width"]);
    }

    #[test]
    fn a_model_that_is_offered_can_be_asked_for() {
        let wanted = parsed(r#"{"model_id":"onnx/denoise"}"#).unwrap();
        assert_eq!(wanted.model_id, "onnx/denoise");
        let id = "onnx/denoise".to_owned();
        assert_eq!(wanted.process, Process::Model { id });
    }

    #[test]
    fn null_absent_and_empty_are_the_same() {
        let plain = parsed("{}").unwrap();
        assert_eq!(plain.model_id, "builtin/passthrough");
        assert_eq!(
            parsed(r#"{"model_id":null,"params":null,"stream_id":null}"#).unwrap(),
            plain
        );
        assert_eq!(
            parsed(r#"{"model_id":"","params":{},"stream_id":""}"#).unwrap(),
            plain
        );
        assert_eq!(parsed(r#"{"model_id":"noop"}"#).unwrap(), plain);
    }

    #[test]
    fn old_headers_fill_in_for_empty_fields() {
        let mut headers = HeaderMap::new();
        headers.insert("streamID", "from-header".parse().unwrap());
        headers.insert("requestID", "\u{e9}".parse().unwrap());
        let wanted = parse(&headers, br#"{"stream_id":""}"#, &[]).unwrap();
        assert_eq!(wanted.stream_id, "from-header");
        assert_eq!(
            wanted.gateway_request_id, "",
            "a header that is no text is none"
        );
        let wanted = parse(&headers, br#"{"stream_id":"from-body"}"#, &[]).unwrap();
        assert_eq!(wanted.stream_id, "from-body");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_reason() {
        for (body, reason) in [
            (
                "",
                "request is not JSON: EOF while parsing a value at line 1 column 0",
            ),
            (
                "hello",
                "request is not JSON: expected value at line 1 column 1",
            ),
            ("[]", "request must be a JSON object, not an array"),
            (
                r#"{"model_id":7}"#,
                "model_id must be a string, not a number",
            ),
            (
                r#"{"model_id":"onnx/upscale"}"#,
                "unknown model \"onnx/upscale\"; this node offers builtin/passthrough, builtin/grayscale, builtin/edges, \
                 builtin/blur, builtin/pixelate, builtin/invert, onnx/denoise",
            ),
            (
                r#"{"params":"{}"}"#,
                "params must be a JSON object, not a string",
            ),
            (
                r#"{"model_id":"builtin/blur","params":{"radius_px":99}}"#,
                "radius_px must be a whole number from 1 to 64, not 99",
            ),
        ] {
            assert_eq!(
                parsed(body),
                Err((StatusCode::BAD_REQUEST, reason.to_owned()))
            );
        }
    }
}
