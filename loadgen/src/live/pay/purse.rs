//! A session's purse: the params that it signs under, and the payments it makes.
//!
//! ```text
//!   Opening ── signed, and sent with the start ──▶ accepted ──▶ Purse ── pay, pay, …
//!                                                                 ├── 200: params for the next, under the same token
//!                                                                 ├── TicketParams expired: params are asked for, and it is paid again, once
//!                                                                 └── refused: what it was for is owed
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use proto::Message as _;
use proto::net::{AuthToken, OrchestratorRequest, PaymentResult};
use ticket::Price;
use ticket::nonces::NONCES_MAX;
use ticket::sender::PaymentSession;
use ticket::wire::{Payment, PriceInfo};

use super::Shared;
use super::account::{Account, pixels};
use crate::ask;
use crate::clock::SECOND;
use crate::conduct::Stop;
use crate::failure::Failure;
use crate::gateway::{LIVE_VIDEO_TO_VIDEO, Offer, credentials, live_capabilities};
use crate::grpc;
use crate::refusals::Refusals;
use crate::target::Target;

/// The connections of a thread that pays.
pub(super) struct Hands {
    http: ask::Asker,
    grpc: grpc::Asker,
    refusals: Refusals,
}

impl Hands {
    pub(super) fn new(target: &Target) -> Result<Self, Failure> {
        Ok(Self {
            http: ask::Asker::new(target)?,
            grpc: grpc::Asker::new(target)?,
            refusals: Refusals::default(),
        })
    }
}

/// What a session's start pays, and is to pay with.
#[derive(Debug)]
pub(crate) struct Opening {
    session: PaymentSession,
    token: AuthToken,
    price: Price,
    tickets: u32,
    /// The headers of the start.
    pub(crate) payment: String,
    pub(crate) purpose: String,
}

impl Opening {
    pub(super) fn prepare(
        shared: &Shared,
        asker: &mut grpc::Asker,
        stop: &Stop,
    ) -> Result<Self, Failure> {
        let request = shared.request();
        let offer = Offer::ask(asker, &request, stop)?;
        let price = Price::new(offer.price.price_per_unit, offer.price.pixels_per_unit)
            .map_err(|why| Failure::new(format!("the orchestrator's price is none: {why}")))?;
        let address = shared.identity.address();
        let account = Account::new(address, "", price);
        let tickets = account.tickets_for(pixels(OPENING_NS), offer.accepted.value());
        let tickets = u32::try_from(tickets)
            .ok()
            .filter(|tickets| *tickets <= NONCES_MAX)
            .ok_or_else(|| {
                Failure::new(format!(
                    "a minute costs {tickets} tickets at the orchestrator's price of {price} wei a pixel and {} wei a ticket, and a payment holds \
                     {NONCES_MAX}: on the node, raise --ticket-ev",
                    offer.accepted.value().floor_wei()
                ))
            })?;
        let mut session = PaymentSession::new(address, offer.accepted, offer.price);
        let name = format!("{LIVE_VIDEO_TO_VIDEO}_{}", shared.model);
        Ok(Self {
            payment: match tickets {
                0 => shared.pay_nothing(offer.price),
                _ => shared.sign(&mut session, tickets)?,
            },
            purpose: shared.purpose(&name, &offer.token),
            session,
            token: offer.token,
            price,
            tickets,
        })
    }

    pub(super) fn accepted(
        self,
        manifest_id: &str,
        now_ns: u64,
        shared: &Shared,
    ) -> (Purse, Account) {
        let mut account = Account::new(shared.identity.address(), manifest_id, self.price);
        account.pixels = pixels(OPENING_NS);
        account.tickets_sent = u64::from(self.tickets);
        account.credit(self.tickets, self.session.accepted().value());
        let purse = Purse {
            session: self.session,
            token: self.token,
            manifest_id: manifest_id.to_owned(),
            started_ns: now_ns,
            reckoned: 0,
            is_stale: false,
        };
        (purse, account)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Purse {
    session: PaymentSession,
    token: AuthToken,
    manifest_id: String,
    started_ns: u64,
    /// Pixels since then that were reckoned.
    reckoned: u64,
    /// Its params are not to be signed under any more.
    is_stale: bool,
}

impl Purse {
    /// Pays for what has passed until `now_ns`. Gives whether there was anything to be paid, or the class of the error.
    pub(super) fn pay(
        &mut self,
        shared: &Shared,
        number: usize,
        now_ns: u64,
        hands: &mut Hands,
    ) -> Result<bool, String> {
        let passed = pixels(now_ns.saturating_sub(self.started_ns));
        let pixels = passed.saturating_sub(self.reckoned);
        self.reckoned = passed;
        let value = self.session.accepted().value();
        let mut tickets = 0;
        shared.change(number, |account| {
            tickets = account.tickets_for(pixels, value);
            account.pixels = account.pixels.saturating_add(pixels);
        });
        // What one payment does not hold is owed, and in the next.
        let tickets = u32::try_from(tickets).unwrap_or(NONCES_MAX).min(NONCES_MAX);
        if tickets == 0 {
            return Ok(false);
        }
        let answer = self.try_pay(shared, number, tickets, hands)?;
        let answer = match answer {
            Err(words) if words.contains(EXPIRED) => {
                self.is_stale = true;
                self.try_pay(shared, number, tickets, hands)?
            }
            answer => answer,
        };
        match answer {
            Ok(()) => Ok(true),
            Err(words) => Err(hands.refusals.class("payment", &words).0),
        }
    }

    /// Once. Gives the words of a refusal, or the class of another error.
    fn try_pay(
        &mut self,
        shared: &Shared,
        number: usize,
        tickets: u32,
        hands: &mut Hands,
    ) -> Result<Result<(), String>, String> {
        if self.needs_refresh(tickets) {
            self.refresh(shared, hands)
                .map_err(|why| hands.refusals.class("refresh", &why.to_string()).0)?;
        }
        let value = self.session.accepted().value();
        let payment = shared
            .sign(&mut self.session, tickets)
            .map_err(|_| "payment: no nonces are left".to_owned())?;
        let purpose = shared.purpose(&self.manifest_id, &self.token);
        shared.change(number, |account| {
            account.tickets_sent += u64::from(tickets);
            account.open += 1;
        });
        let headers = [
            ("Livepeer-Payment", payment.as_str()),
            ("Livepeer-Segment", purpose.as_str()),
        ];
        let answer = hands
            .http
            .ask("POST", PAYMENT_PATH, &headers, b"", PAY_TIMEOUT);
        let Ok(answer) = answer else {
            return Err("payment-unanswered".to_owned());
        };
        let words = answer.text();
        // One that went out twice, since its connection broke, is credited once: the second time it has been seen.
        let is_seen = answer.status == 400 && words.contains(SEEN) && hands.http.was_repeated();
        shared.change(number, |account| {
            account.open -= 1;
            if answer.status == 200 || is_seen {
                account.credit(tickets, value);
            } else if account.refused.len() < WORDS_MAX || account.refused.contains_key(&words) {
                *account.refused.entry(words.clone()).or_default() += 1;
            } else {
                *account.refused.entry("others".to_owned()).or_default() += 1;
            }
        });
        if is_seen {
            self.is_stale = true;
            return Ok(Ok(()));
        }
        if answer.status != 200 {
            return Ok(Err(match words.as_str() {
                "" => format!("status {}", answer.status),
                _ => words,
            }));
        }
        self.take_params(&answer.body);
        Ok(Ok(()))
    }

    fn needs_refresh(&self, tickets: u32) -> bool {
        let now_s = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let token_left_s = self.token.expiration.saturating_sub_unsigned(now_s);
        self.is_stale || tickets > self.session.left() || token_left_s < TOKEN_LEFT_S_MIN
    }

    fn refresh(&mut self, shared: &Shared, hands: &mut Hands) -> Result<(), Failure> {
        let request = OrchestratorRequest {
            // There is a session already, which may be all that there is room for.
            ignore_capacity_check: true,
            ..shared.request()
        };
        let offer = Offer::ask(&mut hands.grpc, &request, &Stop::default())?;
        self.session.renew(offer.accepted, offer.price);
        self.token = offer.token;
        self.is_stale = false;
        Ok(())
    }

    /// Params for the next payment. Those without are no less paid; but what comes next is to be asked for.
    fn take_params(&mut self, body: &[u8]) {
        let info = PaymentResult::decode(body).ok().and_then(|it| it.info);
        let offer = info.and_then(|mut info| {
            // The token is that which the session has.
            info.auth_token = Some(self.token.clone());
            Offer::of_info(&info).ok()
        });
        match offer {
            Some(offer) => self.session.renew(offer.accepted, offer.price),
            None => self.is_stale = true,
        }
    }
}

impl Shared {
    fn request(&self) -> OrchestratorRequest {
        self.identity.request(Some(live_capabilities(&self.model)))
    }

    fn purpose(&self, manifest_id: &str, token: &AuthToken) -> String {
        let capabilities = live_capabilities(&self.model);
        credentials(&self.identity, manifest_id, token, Some(capabilities))
    }

    /// Where nothing is to be paid, a payment says just that.
    fn pay_nothing(&self, price: PriceInfo) -> String {
        let mut bytes = Vec::new();
        Payment {
            params: None,
            sender: self.identity.address(),
            expected_price: Some(price),
            tickets: &[],
        }
        .write(&mut bytes);
        BASE64.encode(bytes)
    }

    fn sign(&self, session: &mut PaymentSession, tickets: u32) -> Result<String, Failure> {
        let mut bytes = Vec::new();
        let unsigned = session
            .tickets(tickets)
            .map_err(|exhausted| Failure::new(exhausted.to_string()))?;
        unsigned.write_signed(self.identity.key(), &mut bytes);
        Ok(BASE64.encode(bytes))
    }
}

/// What a session's start pays for.
const OPENING_NS: u64 = 60 * SECOND;
const PAYMENT_PATH: &str = "/payment";
/// As stock gateways.
const PAY_TIMEOUT: Duration = Duration::from_secs(60);
/// A tenth of what a token lives.
const TOKEN_LEFT_S_MIN: i64 = 180;
/// Words of go-livepeer's refusals.
const EXPIRED: &str = "TicketParams expired";
const SEEN: &str = "already seen";
/// Refusals that are counted one by one.
const WORDS_MAX: usize = 50;
