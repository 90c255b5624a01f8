//! `POST /payment` and `POST /refresh-payment`: tickets in, parameters for tickets out.
//!
//! Most payments never come here: a shard takes them itself. What does come is over HTTP/2, or has a body, and is answered in the same
//! words.
//!
//! `/refresh-payment` takes `{"sender", "manifest_id"}` and answers with an `OrchestratorInfo` in base64. Parameters are worth nothing to
//! anybody but their sender, so whoever asks may have them; go-livepeer's answer also holds a fresh auth token, and ours does not.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, StatusCode};
use link::PaymentReply;
use serde::Deserialize;
use serde_json::json;
use ticket::received::Parsed;
use ticket::wire::Purpose;
use ticket::{Address, Received, Refusal, SessionId};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::http::{json_answer, text_error};
use super::live::read;
use super::{App, Payments, limits};

const NOT_TAKEN: &str = "payments are not taken here: this orchestrator works off-chain";

/// Takes a payment.
pub(super) async fn pay(State(app): State<App>, request: Request<Body>) -> Response {
    let Some(payments) = &app.payments else {
        return text_error(StatusCode::NOT_FOUND, NOT_TAKEN);
    };
    let (parts, body) = request.into_parts();
    // Its body means nothing; it is read so that the connection can go on.
    if let Err((status, text)) = read(body, Instant::now() + limits::PAYMENT).await {
        return text_error(status, &text);
    }
    match order(&parts.headers) {
        Ok(Some(payment)) => check(&app, payments, payment).await,
        Ok(None) => protobuf(Vec::new()),
        Err((status, text)) => refused(status, &text),
    }
}

type Bad = (u16, String);

/// Of the two header fields; `None` pays nothing.
fn order(headers: &HeaderMap) -> Result<Option<Received>, Bad> {
    let field = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    let decode = |status, name: &str, bytes: &[u8]| {
        STANDARD
            .decode(bytes.trim_ascii())
            .map_err(|error| (status, format!("{name} is not base64: {error}")))
    };
    let payment = field("Livepeer-Payment").ok_or((
        402,
        "no Livepeer-Payment header: a payment in base64".to_owned(),
    ))?;
    let payment = decode(402, "Livepeer-Payment", payment)?;
    let purpose = field("Livepeer-Segment").ok_or((
        403,
        "no Livepeer-Segment header: what the payment is for, in base64".to_owned(),
    ))?;
    let purpose = decode(403, "Livepeer-Segment", purpose)?;
    let purpose = Purpose::parse(&purpose)
        .map_err(|how| (403, format!("invalid segment credentials: {how}")))?;
    let (session, account) = purpose.ids().map_err(|error| (403, error.to_string()))?;
    match Received::parse(payment, session, account) {
        Parsed::Payment(payment) => Ok(Some(payment)),
        Parsed::Nothing(_) => Ok(None),
        Parsed::Refused(_, fault) => Err((fault.status(), fault.to_string())),
    }
}

async fn check(app: &App, payments: &Payments, payment: Received) -> Response {
    let (tell, told) = oneshot::channel();
    let reply = PaymentReply::new(&payment, move |receipt| {
        // Nobody waits any more: the payment counts all the same.
        drop(tell.send(receipt));
    });
    app.commands.pay(payment, 0, reply);
    let receipt = match timeout(limits::PAYMENT, told).await {
        Ok(Ok(receipt)) => receipt,
        Ok(Err(_)) | Err(_) => return refuse(Refusal::NotRecorded),
    };
    if let Some(why) = receipt.refused {
        return refuse(why);
    }
    let mut body = Vec::new();
    payments.offers.write_result(&receipt, &mut body);
    protobuf(body)
}

fn refuse(why: Refusal) -> Response {
    refused(why.status(), &why.to_string())
}

fn refused(status: u16, text: &str) -> Response {
    text_error(
        StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
        text,
    )
}

fn protobuf(body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    response
}

#[derive(Deserialize)]
struct Wanted {
    sender: String,
    manifest_id: String,
}

/// Gives parameters for tickets.
pub(super) async fn refresh(State(app): State<App>, request: Request<Body>) -> Response {
    let Some(payments) = &app.payments else {
        return text_error(StatusCode::NOT_FOUND, NOT_TAKEN);
    };
    let bytes = match read(request.into_body(), Instant::now() + limits::PAYMENT).await {
        Ok(bytes) => bytes,
        Err((status, text)) => return text_error(status, &text),
    };
    let (sender, account) = match wanted(&bytes) {
        Ok(both) => both,
        Err(text) => return text_error(StatusCode::BAD_REQUEST, &text),
    };
    let (price, pending) = {
        let book = payments.ledger.book();
        (
            book.account(sender, account).map(|account| account.price),
            book.pending(&sender),
        )
    };
    let offer = match payments.offers.make(sender, account, price, pending) {
        Ok(offer) => offer,
        Err(why) => return refused(why.status(), &why.to_string()),
    };
    let mut info = Vec::new();
    payments
        .offers
        .write_info(Some(&offer), offer.price, &mut info);
    json_answer(
        StatusCode::OK,
        &json!({
            "payment_params": STANDARD.encode(info),
            "orchestrator": &*app.service_url,
            "manifest_id": account.as_str(),
            "payment_url": format!("{}/payment", app.service_url),
        }),
    )
}

fn wanted(bytes: &[u8]) -> Result<(Address, SessionId), String> {
    let wanted: Wanted = serde_json::from_slice(bytes)
        .map_err(|error| format!("not {{\"sender\", \"manifest_id\"}}: {error}"))?;
    let sender = wanted
        .sender
        .parse()
        .map_err(|error| format!("sender: {error}"))?;
    let account = SessionId::new(&wanted.manifest_id).ok_or("manifest_id: may not be empty")?;
    Ok((sender, account))
}
