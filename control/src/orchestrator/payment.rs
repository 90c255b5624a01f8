//! `POST /payment` and `POST /refresh-payment`: tickets in, parameters for tickets out.
//!
//! Most payments never come here: a shard takes them itself. What does come is over HTTP/2, has a body, or pays nothing, and is answered in the
//! same words. Off-chain, where nothing is paid, a payment is answered as one that pays nothing.
//!
//! `/refresh-payment` takes `{"sender", "manifest_id"}` and answers with an `OrchestratorInfo` in base64, for an account that is there: 409
//! otherwise. go-livepeer gives whoever asks a fresh auth token with it. Here that takes a proof, `"sig"`: the sender's signature of its own address,
//! as in a handshake. Without it the answer has a token that names the account and gives no right to anything; parameters are of use to
//! nobody but their sender anyway. With it an account need not be there yet.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, StatusCode};
use link::{PaymentReply, Receipt};
use proto::Message;
use proto::net::{AuthToken, PaymentResult};
use serde::Deserialize;
use serde_json::json;
use ticket::received::Parsed;
use ticket::wire::{PaymentView, Purpose};
use ticket::{Address, Received, Refusal, SessionId};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::http::{json_answer, text_error};
use super::live::read;
use super::{App, Payments, limits};
use crate::payment::offers::Unoffered;

/// Takes a payment.
pub(super) async fn pay(State(app): State<App>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    // Its body means nothing; it is read so that the connection can go on.
    if let Err((status, text)) = read(body, Instant::now() + limits::PAYMENT).await {
        return text_error(status, &text);
    }
    match order(&parts.headers) {
        Ok((order, token)) => settle(&app, order, &token).await,
        Err((status, text)) => refused(status, &text),
    }
}

/// A status and its text.
pub(super) type Bad = (u16, String);

enum Order {
    Pay(Received),
    /// It pays nothing.
    Nothing {
        sender: Address,
        account: SessionId,
    },
}

/// Of the two header fields; the auth token's bytes beside it, empty when there is none.
fn order(headers: &HeaderMap) -> Result<(Order, Vec<u8>), Bad> {
    let payment = header(headers, "Livepeer-Payment").ok_or((
        402,
        "no Livepeer-Payment header: a payment in base64".to_owned(),
    ))?;
    let payment = decode(402, "Livepeer-Payment", payment)?;
    let purpose = header(headers, "Livepeer-Segment").ok_or((
        403,
        "no Livepeer-Segment header: what the payment is for, in base64".to_owned(),
    ))?;
    let purpose = decode(403, "Livepeer-Segment", purpose)?;
    let purpose = Purpose::parse(&purpose)
        .map_err(|how| (403, format!("invalid segment credentials: {how}")))?;
    let (session, account) = purpose.ids().map_err(|error| (403, error.to_string()))?;
    let token = purpose.auth_token.to_vec();
    match Received::parse(payment, session, account) {
        Parsed::Payment(payment) => Ok((Order::Pay(payment), token)),
        Parsed::Nothing(mut blank) => {
            let view = PaymentView::parse(blank.bytes())
                .map_err(|how| (402, format!("invalid payment: {how}")))?;
            let sender = view.sender;
            Ok((Order::Nothing { sender, account }, token))
        }
        Parsed::Refused(_, fault) => Err((fault.status(), fault.to_string())),
    }
}

/// A header field, as it came.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    headers.get(name).map(HeaderValue::as_bytes)
}

/// Base64.
pub(super) fn decode(status: u16, name: &str, bytes: &[u8]) -> Result<Vec<u8>, Bad> {
    STANDARD
        .decode(bytes.trim_ascii())
        .map_err(|error| (status, format!("{name} is not base64: {error}")))
}

async fn settle(app: &App, order: Order, token: &[u8]) -> Response {
    let payment = match (app.desk.payments(), order) {
        (Some(_), Order::Pay(payment)) => payment,
        // Off-chain a payment is worth nothing, and no worse.
        (None, Order::Pay(payment)) => {
            let (sender, account) = (*payment.sender(), payment.account());
            return nothing(app, sender, account, token);
        }
        (_, Order::Nothing { sender, account }) => return nothing(app, sender, account, token),
    };
    let refuse = |why: Refusal| refused(why.status(), &why.to_string());
    match hand_in(app, payment).await {
        Ok(receipt) => match receipt.refused {
            Some(why) => refuse(why),
            None => {
                let mut body = Vec::new();
                app.desk.write_result(&receipt, token, &mut body);
                protobuf(body)
            }
        },
        Err(why) => refuse(why),
    }
}

/// Hands a payment to the ticket lane, and waits for what becomes of it.
///
/// # Errors
/// Nothing became of it in time.
pub(super) async fn hand_in(app: &App, payment: Received) -> Result<Receipt, Refusal> {
    let (tell, told) = oneshot::channel();
    let reply = PaymentReply::new(&payment, move |receipt| {
        // Nobody waits any more: the payment counts all the same.
        drop(tell.send(receipt));
    });
    app.commands.pay(payment, 0, reply);
    match timeout(limits::PAYMENT, told).await {
        Ok(Ok(receipt)) => Ok(receipt),
        Ok(Err(_)) | Err(_) => Err(Refusal::NotRecorded),
    }
}

/// Answers a payment of nothing: with an offer, for whoever has nothing to pay just now may soon have.
fn nothing(app: &App, sender: Address, account: SessionId, token: &[u8]) -> Response {
    let Ok(token) = AuthToken::decode(token) else {
        return refused(403, "invalid auth token");
    };
    let token = match token.session_id.is_empty() {
        true => named(account),
        false => token,
    };
    let price = app
        .desk
        .payments()
        .map(|payments| price(payments, sender, account));
    let info = match price {
        None => app.desk.renew(sender, token, ticket::Price::FREE),
        Some(Ok((price, _))) => app.desk.renew(sender, token, price),
        Some(Err(why)) => Err(why),
    };
    match info {
        Ok(info) => protobuf(PaymentResult { info: Some(info) }.encode_to_vec()),
        Err(why) => unoffered(why),
    }
}

/// The price of an account, or what a new one would have, and whether it is there.
fn price(
    payments: &Payments,
    sender: Address,
    account: SessionId,
) -> Result<(ticket::Price, bool), Unoffered> {
    let (price, pending) = {
        let book = payments.ledger.book();
        let price = book.account(sender, account).map(|account| account.price);
        (price, book.pending(&sender))
    };
    match price {
        Some(price) => Ok((price, true)),
        None => Ok((payments.offers.price(&sender, None, pending)?, false)),
    }
}

/// A token that says which account is meant, and proves nothing.
fn named(account: SessionId) -> AuthToken {
    AuthToken {
        session_id: account.as_str().to_owned(),
        ..AuthToken::default()
    }
}

fn unoffered(why: Unoffered) -> Response {
    refused(why.status(), &why.to_string())
}

pub(super) fn refused(status: u16, text: &str) -> Response {
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
    #[serde(default)]
    sender: String,
    #[serde(default)]
    manifest_id: String,
    /// The sender's signature of its own address, in hexadecimal digits.
    #[serde(default)]
    sig: String,
}

/// Gives parameters for tickets.
pub(super) async fn refresh(State(app): State<App>, request: Request<Body>) -> Response {
    let bytes = match read(request.into_body(), Instant::now() + limits::PAYMENT).await {
        Ok(bytes) => bytes,
        Err((status, text)) => return json_error(status, &text),
    };
    match refreshed(&app, &bytes) {
        Ok(answer) => answer,
        Err((status, text)) => json_error(
            StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
            &text,
        ),
    }
}

fn refreshed(app: &App, bytes: &[u8]) -> Result<Response, Bad> {
    let wanted: Wanted = serde_json::from_slice(bytes)
        .map_err(|error| (400, format!("not {{\"sender\", \"manifest_id\"}}: {error}")))?;
    let sender: Address = wanted
        .sender
        .parse()
        .map_err(|error| (400, format!("invalid sender: {error}")))?;
    let manifest_id = wanted.manifest_id.trim();
    let account = SessionId::new(manifest_id).ok_or((400, "missing manifest_id".to_owned()))?;
    let unknown = (409, "fixed price not found for session".to_owned());
    let payments = app.desk.payments().ok_or(unknown.clone())?;
    let is_proven = is_proven(app, &sender, &wanted.sig)?;
    let bad = |why: Unoffered| (why.status(), why.to_string());
    let (price, is_there) = price(payments, sender, account).map_err(bad)?;
    if !is_there && !is_proven {
        return Err(unknown);
    }
    let token = match is_proven {
        true => app
            .desk
            .tokens()
            .issue(&sender, manifest_id, app.desk.now()),
        false => None,
    };
    let token = token.unwrap_or_else(|| named(account));
    let info = app.desk.renew(sender, token, price).map_err(bad)?;
    Ok(json_answer(
        StatusCode::OK,
        &json!({
            "payment_params": STANDARD.encode(info.encode_to_vec()),
            "orchestrator": app.desk.service_url(),
            "manifest_id": account.as_str(),
            "payment_url": format!("{}/payment", app.desk.service_url()),
        }),
    ))
}

/// Whether whoever asks is the sender. A proof that does not hold is an error, not the lack of one.
fn is_proven(app: &App, sender: &Address, sig: &str) -> Result<bool, Bad> {
    if sig.is_empty() {
        return Ok(false);
    }
    let digits = sig.strip_prefix("0x").unwrap_or(sig);
    let signature = hex::decode(digits).unwrap_or_default();
    match app.desk.identity().believes_greeting(sender, &signature) {
        true => Ok(true),
        false => Err((
            403,
            "sig is not the sender's signature of its address".to_owned(),
        )),
    }
}

/// go-livepeer's form of an error in JSON.
fn json_error(status: StatusCode, text: &str) -> Response {
    json_answer(status, &json!({ "error": { "message": text } }))
}
