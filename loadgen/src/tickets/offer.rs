//! What an orchestrator offers: `POST /refresh-payment`, and the parameters in its answer.
//!
//! ```text
//!   {"sender", "manifest_id"} ──▶ {"payment_params": base64 of OrchestratorInfo, …}
//!                                      OrchestratorInfo   2 TicketParams   3 PriceInfo
//!                                      PriceInfo          1 pricePerUnit   2 pixelsPerUnit   (int64)
//! ```
//!
//! The generator risks nothing, so it accepts whatever a sender with boundless funds may. What it does look at, when it is told to, is
//! how often the tickets win: a winner costs an orchestrator more than another ticket, so figures at another win rate are other figures.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use ticket::float::Funds;
use ticket::sender::{self, Accepted};
use ticket::wire::{PriceInfo, TicketParams};
use ticket::{Address, Wei};

use super::proto::{Fields, Value};
use crate::ask::{Answer, Asker};
use crate::conduct::Stop;
use crate::failure::Failure;
use crate::units::Share;

/// Parameters that are good to sign for, and the price that came with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) accepted: Accepted,
    pub(super) price: PriceInfo,
}

#[derive(Deserialize)]
struct Refreshed {
    payment_params: String,
}

impl Offer {
    /// Asks for one. An orchestrator that does not know a sender's funds yet answers 503, and is asked again for a while.
    pub(super) fn ask(
        asker: &mut Asker,
        sender: Address,
        manifest_id: &str,
        stop: &Stop,
    ) -> Result<Self, Failure> {
        let body = serde_json::json!({"sender": sender.to_string(), "manifest_id": manifest_id});
        let body = body.to_string();
        let deadline = Instant::now() + PATIENCE;
        let answer = loop {
            let answer = asker
                .ask("POST", PATH, HEADERS, body.as_bytes(), ANSWER_TIMEOUT)
                .map_err(|why| {
                    Failure::new(format!(
                        "{why}; is an orchestrator there? Name another with --target"
                    ))
                })?;
            if answer.status != 503 || Instant::now() >= deadline || stop.is_told() {
                break answer;
            }
            std::thread::sleep(AGAIN);
        };
        Self::of(&answer).map_err(|why| {
            why.during(format_args!(
                "POST {PATH}, to be offered ticket params for sender {sender}"
            ))
        })
    }

    fn of(answer: &Answer) -> Result<Self, Failure> {
        match answer.status {
            200 => {}
            404 => {
                return Err(Failure::new(
                    "it was answered 404; this server takes no payments, or not yet",
                ));
            }
            status => {
                return Err(Failure::new(format!(
                    "it was answered {status}: {}",
                    answer.text()
                )));
            }
        }
        let wrong = |what: &dyn std::fmt::Display| {
            Failure::new(format!("the answer is not what it should be: {what}"))
        };
        let refreshed: Refreshed = serde_json::from_slice(&answer.body).map_err(|e| wrong(&e))?;
        let info = BASE64
            .decode(&refreshed.payment_params)
            .map_err(|e| wrong(&format_args!("payment_params: {e}")))?;
        let (params, price) = parse(&info).map_err(|why| wrong(&why))?;
        let accepted = sender::accept(&params, 1, (0, 0), &FUNDS, &LIMITS)
            .map_err(|declined| Failure::new(format!("nobody would sign for these: {declined}")))?;
        Ok(Self { accepted, price })
    }

    /// Of its tickets, how many win.
    pub(super) fn win_rate(&self) -> f64 {
        // Of 2^256, byte by byte: as close as an f64 comes.
        let bytes: [u8; 32] = self.accepted.params().win_prob.to_be_bytes();
        let parts = bytes.iter().rev();
        parts.fold(0.0, |rest, byte| (rest + f64::from(*byte)) / 256.0)
    }

    /// Whether its tickets win as often as is wanted, within 1 % of that.
    pub(super) fn check_win_rate(&self, wanted: Share) -> Result<(), Failure> {
        let offered = self.win_rate();
        if (offered - wanted.0).abs() <= wanted.0 * WIN_RATE_TOLERANCE {
            return Ok(());
        }
        let percent = |share: f64| crate::search::slo::significant(share * 100.0);
        Err(Failure::new(format!(
            "--win-rate {} %: of the tickets that this orchestrator offers, {} % win. The win rate is ticket EV / face value, here \
             {} / {} wei: on the node, change --ticket-ev or --max-face-value, or take what it offers and leave --win-rate out",
            percent(wanted.0),
            percent(offered),
            self.accepted.value().floor_wei(),
            self.accepted.params().face_value
        )))
    }
}

/// Of an `OrchestratorInfo`. As in protobuf, the last of a field counts.
fn parse(info: &[u8]) -> Result<(TicketParams, PriceInfo), String> {
    let (mut params, mut price) = (None, PriceInfo::default());
    for field in Fields::of(info) {
        match field.map_err(|how| how.to_string())? {
            (2, Value::Bytes(bytes)) => params = Some(bytes),
            (3, Value::Bytes(bytes)) => price = parse_price(bytes)?,
            _ => {}
        }
    }
    let params = params.ok_or("there are no ticket params in it")?;
    let params = TicketParams::parse(params).map_err(|how| format!("its ticket params: {how}"))?;
    Ok((params, price))
}

fn parse_price(bytes: &[u8]) -> Result<PriceInfo, String> {
    let mut price = PriceInfo::default();
    for field in Fields::of(bytes) {
        match field.map_err(|how| format!("its price: {how}"))? {
            (1, Value::Varint(wei)) => price.price_per_unit = wei.cast_signed(),
            (2, Value::Varint(pixels)) => price.pixels_per_unit = pixels.cast_signed(),
            _ => {}
        }
    }
    Ok(price)
}

const PATH: &str = "/refresh-payment";
const HEADERS: &[(&str, &str)] = &[("Content-Type", "application/json")];
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an orchestrator may take to find out about a sender.
const PATIENCE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(200);
const WIN_RATE_TOLERANCE: f64 = 0.01;
/// Whoever has all there is can pay any face value.
const FUNDS: Funds = Funds {
    deposit: Wei::MAX,
    reserve: Wei::MAX,
    claimed_in_round: Wei::ZERO,
    claimed_by_us: Wei::ZERO,
    pool_size: 1,
    withdraw_round: 0,
};
const LIMITS: sender::Limits = sender::Limits {
    ticket_ev_max: Wei::MAX,
    total_ev_max: Wei::MAX,
    deposit_multiplier: 1,
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ticket::wire::put_message;

    use super::*;

    fn params(win_prob: Wei) -> TicketParams {
        TicketParams {
            recipient: Address([1; 20]),
            face_value: Wei::from(1_000_000_u64),
            win_prob,
            recipient_rand_hash: ticket::Hash([2; 32]),
            seed: Wei::from(3),
            expiration_block: Wei::from(40),
            creation_round: 5,
            creation_round_block_hash: ticket::Hash([4; 32]),
        }
    }

    fn info(params: &TicketParams) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_message(&mut bytes, 2, |into| params.write(into));
        put_message(&mut bytes, 3, |into| {
            PriceInfo {
                price_per_unit: 7,
                pixels_per_unit: 2,
            }
            .write(into);
        });
        bytes
    }

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            fields: Vec::new(),
            body: body.as_bytes().to_vec(),
        }
    }

    fn offer(win_prob: Wei) -> Result<Offer, Failure> {
        let text = BASE64.encode(info(&params(win_prob)));
        Offer::of(&answer(
            200,
            &format!("{{\"payment_params\":\"{text}\",\"manifest_id\":\"a\"}}"),
        ))
    }

    #[test]
    fn an_answer_is_an_offer_or_says_what_is_wrong_with_it() {
        let offered = offer(Wei::MAX / Wei::from(10)).unwrap();
        assert_eq!(*offered.accepted.params(), params(Wei::MAX / Wei::from(10)));
        assert_eq!(offered.price.price_per_unit, 7);
        assert_eq!(offered.price.pixels_per_unit, 2);
        for (status, body, want) in [
            (404, "not found", "takes no payments"),
            (
                400,
                "insufficient sender reserve\n",
                "400: insufficient sender reserve",
            ),
            (200, "<html>", "not what it should be"),
            (200, "{\"payment_params\":\"*\"}", "payment_params"),
            (200, "{\"payment_params\":\"\"}", "no ticket params"),
            (200, "{\"payment_params\":\"EgH/\"}", "its ticket params"),
        ] {
            let why = Offer::of(&answer(status, body)).unwrap_err().to_string();
            assert!(why.contains(want), "{why}");
        }
        let why = offer(Wei::MAX).unwrap_err().to_string();
        assert!(why.contains("nobody would sign"), "{why}");
    }

    #[test]
    fn a_win_rate_is_held_against_what_is_wanted() {
        let offered = offer(Wei::MAX / Wei::from(1_000)).unwrap();
        assert!((offered.win_rate() - 0.001).abs() < 1e-15);
        for (wanted, is_right) in [
            (0.001, true),
            (0.001_009, true),
            (0.000_98, false),
            (0.1, false),
        ] {
            assert_eq!(
                offered.check_win_rate(Share(wanted)).is_ok(),
                is_right,
                "{wanted}"
            );
        }
        let why = offered.check_win_rate(Share(0.1)).unwrap_err().to_string();
        for want in [
            "10 %",
            "0.1 % win",
            "999 / 1000000 wei",
            "--ticket-ev",
            "--max-face-value",
        ] {
            assert!(why.contains(want), "{want}: {why}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_refused_and_never_more(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let _ = Offer::of(&answer(200, &String::from_utf8_lossy(&bytes)));
            let text = BASE64.encode(&bytes);
            let _ = Offer::of(&answer(200, &format!("{{\"payment_params\":\"{text}\"}}")));
        }
    }
}
