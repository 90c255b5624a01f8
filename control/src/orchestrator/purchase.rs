//! Who pays for a live session, and whether it may begin.
//!
//! ```text
//!   headers ──▶ Offer: sender, its credentials good, a payment that is well formed and at our price
//!                 │  the session is opened, since what cannot be had is not to be paid for
//!                 ▼
//!              payment to the ticket lane, into the new session's account ──▶ balance holds a ticket ──▶ Tab
//! ```
//!
//! What the price is, is said by our own list: a payment under parameters that were offered for cheaper work is refused, and one that pays nothing
//! is good for work that is free and no other. go-livepeer believes the price that comes with the payment.
//!
//! | fault | answer |
//! |---|---|
//! | `Livepeer-Payment` is none | 402 |
//! | `Livepeer-Segment` is none; `ErrSegSig`, `incompatible capabilities`, `missing`, `invalid` or `expired auth token` | 403 |
//! | a ticket is refused | 400 and its text; 503 where the same may be sent again |
//! | the price is too low | 400 `TicketParams expired: …`, on which stock gateways ask for new parameters |
//! | nothing was paid for what is not free | 400 `Insufficient balance` |

use hyper::header::HeaderMap;
use link::{Charge, NotCharged};
use proto::Message;
use ticket::received::Parsed;
use ticket::{Address, Price, Received, SessionId, Wei};

use super::App;
use super::payment::{Bad, decode, hand_in, header};
use crate::capability;
use crate::creds::Creds;

/// What the gateway has shown.
pub(super) enum Offer {
    /// Nobody pays, and nobody need.
    Free,
    /// Somebody pays.
    Paid(Box<Paid>),
}

/// A payment that is not handed in yet.
pub(super) struct Paid {
    sender: Address,
    account: SessionId,
    payment: Received,
}

/// Whose account a session is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Payer {
    pub(super) sender: Address,
    pub(super) account: SessionId,
    pub(super) price: Price,
}

/// Reads what a start's headers say. `manifest_id` is the new session's, `model_id` is what it wants.
pub(super) fn read(
    app: &App,
    headers: &HeaderMap,
    manifest_id: &str,
    model_id: &str,
) -> Result<Offer, Bad> {
    let given = |name| header(headers, name).filter(|bytes| !bytes.trim_ascii().is_empty());
    let payment = match given("Livepeer-Payment") {
        Some(bytes) => decode(402, "Livepeer-Payment", bytes)?,
        None => Vec::new(),
    };
    let sender = proto::net::Payment::decode(&payment[..])
        .map(|payment| Address::from_wire(&payment.sender))
        .map_err(|error| (402, format!("protobuf unmarshal error: {error}")))?;
    let session = match (given("Livepeer-Segment"), app.desk.payments()) {
        (Some(bytes), _) => session(app, bytes, &sender)?,
        // Off-chain anybody may, with or without; unless somebody is asked who may.
        (None, None) if app.desk.webhook().is_none() => return Ok(Offer::Free),
        (None, _) => {
            let why = "no Livepeer-Segment header: segment credentials in base64";
            return Err((403, why.to_owned()));
        }
    };
    let price = app.desk.least(&sender, model_id);
    if price.is_free() {
        return Ok(Offer::Free);
    }
    let account = SessionId::new(manifest_id).ok_or((500, "no manifest id".to_owned()))?;
    match Received::parse(payment, session, account) {
        Parsed::Payment(payment) if is_less(&payment.terms().price, &price) => {
            let text = format!(
                "TicketParams expired: {model_id} costs {price} wei a pixel, and they are for {}",
                payment.terms().price
            );
            Err((400, text))
        }
        Parsed::Payment(payment) => Ok(Offer::Paid(Box::new(Paid {
            sender,
            account,
            payment,
        }))),
        Parsed::Nothing(_) => Err(insufficient()),
        Parsed::Refused(_, fault) => Err((fault.status(), fault.to_string())),
    }
}

/// The session that good credentials are for.
fn session(app: &App, bytes: &[u8], sender: &Address) -> Result<SessionId, Bad> {
    let bytes = decode(403, "Livepeer-Segment", bytes).map_err(|_| {
        let text = crate::creds::CredsFault::Encoding.to_string();
        (403, text)
    })?;
    let creds = Creds::parse(&bytes).map_err(|fault| (403, fault.to_string()))?;
    let data = creds.data();
    if !app
        .desk
        .identity()
        .believes(sender, &creds.flatten(), &data.sig)
    {
        return Err((403, "ErrSegSig".to_owned()));
    }
    let wanted = data.capabilities.clone().unwrap_or_default();
    if let Err(why) = capability::compatible(Some(&wanted), Some(&app.desk.capabilities())) {
        tracing::debug!(%sender, %why, "incompatible");
        return Err((403, "incompatible capabilities".to_owned()));
    }
    app.desk
        .tokens()
        .check(sender, data.auth_token.as_ref(), app.desk.now())
        .map_err(|fault| (403, fault.to_string()))
}

/// Hands the payment in. The session may begin when its account holds what one ticket is worth, even if some ticket of several was refused.
pub(super) async fn buy(app: &App, paid: Paid) -> Result<Payer, Bad> {
    let Paid {
        sender,
        account,
        payment,
    } = paid;
    let receipt = hand_in(app, payment)
        .await
        .map_err(|why| (why.status(), why.to_string()))?;
    if let Some(why) = receipt.refused {
        if receipt.credited == 0 {
            return Err((why.status(), why.to_string()));
        }
        tracing::info!(%sender, %why, credited = receipt.credited, "a part of a first payment is refused");
    }
    let held = app.commands.charge(Charge {
        sender,
        account,
        pixels: 0,
    });
    let held = held.await.map_err(|why| match why {
        NotCharged::NoAccount => insufficient(),
        NotCharged::Busy | NotCharged::NotRecorded => (503, why.to_string()),
    })?;
    let ticket_ev = match app.desk.payments() {
        Some(payments) => payments.offers.ticket_ev(),
        None => Wei::ZERO,
    };
    match held.covers(ticket_ev, 0) {
        true => Ok(Payer {
            sender,
            account,
            price: held.price,
        }),
        false => Err(insufficient()),
    }
}

fn insufficient() -> Bad {
    (400, "Insufficient balance".to_owned())
}

/// Exactly, by multiplying crosswise.
pub(super) fn is_less(a: &Price, b: &Price) -> bool {
    let cross = |x: &Price, y: &Price| u128::from(x.wei()) * u128::from(y.pixels());
    cross(a, b) < cross(b, a)
}
