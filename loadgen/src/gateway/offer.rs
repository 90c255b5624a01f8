//! What an orchestrator offers: the parameters, the price and the auth token in its answer to `GetOrchestrator`.
//!
//! The generator risks nothing, so it accepts whatever a sender with boundless funds may. What it does look at, when it is told to, is
//! how often the tickets win: a winner costs an orchestrator more than another ticket, so figures at another win rate are other figures.

use std::time::{Duration, Instant};

use proto::Message as _;
use proto::net::{AuthToken, OrchestratorInfo, OrchestratorRequest};
use ticket::Wei;
use ticket::float::Funds;
use ticket::sender::{self, Accepted};
use ticket::wire::{PriceInfo, TicketParams};

use crate::conduct::Stop;
use crate::failure::Failure;
use crate::grpc::{Answer, Asker, Status};
use crate::units::Share;

/// The method's path.
pub const GET_ORCHESTRATOR: &str = "/net.Orchestrator/GetOrchestrator";

/// Parameters that are good to sign for, and what came with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The parameters.
    pub accepted: Accepted,
    /// What a pixel costs.
    pub price: PriceInfo,
    /// The right to the session that they are for.
    pub token: AuthToken,
}

impl Offer {
    /// Asks for one. An orchestrator that cannot say yet, since it does not know a sender's funds, answers *unavailable*, and is asked
    /// again for a while.
    ///
    /// # Errors
    /// There is no orchestrator, or it offers nothing that anybody would sign for.
    pub fn ask(
        asker: &mut Asker,
        request: &OrchestratorRequest,
        stop: &Stop,
    ) -> Result<Self, Failure> {
        let message = request.encode_to_vec();
        let deadline = Instant::now() + PATIENCE;
        let answer = loop {
            let answer = asker
                .call(GET_ORCHESTRATOR, &message, ANSWER_TIMEOUT)
                .map_err(|why| {
                    Failure::new(format!(
                        "{why}; is an orchestrator there? Name another with --target"
                    ))
                })?;
            let is_unavailable =
                matches!(answer, Answer::Status(Status { code, .. }) if code == UNAVAILABLE);
            if !is_unavailable || Instant::now() >= deadline || stop.is_told() {
                break answer;
            }
            std::thread::sleep(AGAIN);
        };
        Self::of_answer(answer)
            .map_err(|why| why.during("GetOrchestrator, to be offered ticket params"))
    }

    fn of_answer(answer: Answer) -> Result<Self, Failure> {
        let message = match answer {
            Answer::Message(message) => message,
            Answer::Status(Status { code, .. }) if code == UNIMPLEMENTED => {
                return Err(Failure::new("this server is no orchestrator, or not yet"));
            }
            Answer::Status(status) => {
                return Err(Failure::new(format!("it was refused: {status}")));
            }
            Answer::Http(status) => {
                return Err(Failure::new(format!(
                    "it was answered {status}, and not by gRPC; this server is no orchestrator, or not yet"
                )));
            }
            Answer::Malformed(how) => return Err(wrong(&how)),
        };
        let info = OrchestratorInfo::decode(&message[..]).map_err(|how| wrong(&how))?;
        Self::of_info(&info)
    }

    /// Of an answer, however it came.
    ///
    /// # Errors
    /// Something is missing in it, or nobody would sign for these parameters.
    pub fn of_info(info: &OrchestratorInfo) -> Result<Self, Failure> {
        let params = info.ticket_params.as_ref().ok_or_else(|| {
            Failure::new("it offers no ticket params: this orchestrator takes no payments")
        })?;
        let params = TicketParams::parse(&params.encode_to_vec())
            .map_err(|how| wrong(&format_args!("its ticket params: {how}")))?;
        let price = info
            .price_info
            .as_ref()
            .ok_or_else(|| wrong(&"there is no price in it"))?;
        let token = info.auth_token.clone();
        let token = token.filter(|token| !token.session_id.is_empty());
        let accepted = sender::accept(&params, 1, (0, 0), &FUNDS, &LIMITS)
            .map_err(|declined| Failure::new(format!("nobody would sign for these: {declined}")))?;
        Ok(Self {
            accepted,
            price: PriceInfo {
                price_per_unit: price.price_per_unit,
                pixels_per_unit: price.pixels_per_unit,
            },
            token: token.ok_or_else(|| wrong(&"there is no auth token in it"))?,
        })
    }

    /// Of its tickets, how many win.
    pub fn win_rate(&self) -> f64 {
        // Of 2^256, byte by byte: as close as an f64 comes.
        let bytes: [u8; 32] = self.accepted.params().win_prob.to_be_bytes();
        let parts = bytes.iter().rev();
        parts.fold(0.0, |rest, byte| (rest + f64::from(*byte)) / 256.0)
    }

    /// Whether its tickets win as often as is wanted, within 1 % of that.
    ///
    /// # Errors
    /// They do not.
    pub fn check_win_rate(&self, wanted: Share) -> Result<(), Failure> {
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

fn wrong(what: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!("the answer is not what it should be: {what}"))
}

const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// How long an orchestrator may take to find out about a sender.
const PATIENCE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(200);
/// Of gRPC.
const UNIMPLEMENTED: u32 = 12;
const UNAVAILABLE: u32 = 14;
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
    use proto::net;
    use ticket::{Address, Hash};

    use super::*;

    fn params(win_prob: Wei) -> TicketParams {
        TicketParams {
            recipient: Address([1; 20]),
            face_value: Wei::from(1_000_000_u64),
            win_prob,
            recipient_rand_hash: Hash([2; 32]),
            seed: Wei::from(3),
            expiration_block: Wei::from(40),
            creation_round: 5,
            creation_round_block_hash: Hash([4; 32]),
        }
    }

    fn info(win_prob: Wei) -> OrchestratorInfo {
        let mut bytes = Vec::new();
        params(win_prob).write(&mut bytes);
        OrchestratorInfo {
            ticket_params: Some(net::TicketParams::decode(&bytes[..]).unwrap()),
            price_info: Some(net::PriceInfo {
                price_per_unit: 7,
                pixels_per_unit: 2,
                ..net::PriceInfo::default()
            }),
            auth_token: Some(AuthToken {
                session_id: "a".to_owned(),
                ..AuthToken::default()
            }),
            ..OrchestratorInfo::default()
        }
    }

    #[test]
    fn an_answer_is_an_offer_or_says_what_is_wrong_with_it() {
        let good = info(Wei::MAX / Wei::from(10));
        let offered = Offer::of_answer(Answer::Message(good.encode_to_vec())).unwrap();
        assert_eq!(*offered.accepted.params(), params(Wei::MAX / Wei::from(10)));
        assert_eq!(
            (offered.price.price_per_unit, offered.price.pixels_per_unit),
            (7, 2)
        );
        assert_eq!(offered.token.session_id, "a");
        let status = |code, message: &str| {
            Answer::Status(Status {
                code,
                message: message.to_owned(),
            })
        };
        for (answer, want) in [
            (Answer::Http(404), "no orchestrator"),
            (status(12, ""), "no orchestrator"),
            (
                status(2, "insufficient sender reserve"),
                "refused: insufficient sender reserve",
            ),
            (
                Answer::Malformed("it has no status"),
                "not what it should be",
            ),
            (Answer::Message(vec![0xff]), "not what it should be"),
            (Answer::Message(Vec::new()), "takes no payments"),
        ] {
            let why = Offer::of_answer(answer).unwrap_err().to_string();
            assert!(why.contains(want), "{why}");
        }
        type Change = fn(&mut OrchestratorInfo);
        let wrong: [(Change, &str); 4] = [
            (|info| info.price_info = None, "no price"),
            (|info| info.auth_token = None, "no auth token"),
            (
                |info| info.auth_token = Some(AuthToken::default()),
                "no auth token",
            ),
            (
                |info| info.ticket_params.as_mut().unwrap().seed = vec![1; 33],
                "its ticket params",
            ),
        ];
        for (change, want) in wrong {
            let mut info = good.clone();
            change(&mut info);
            let why = Offer::of_info(&info).unwrap_err().to_string();
            assert!(why.contains(want), "{why}");
        }
        let why = Offer::of_info(&info(Wei::MAX)).unwrap_err().to_string();
        assert!(why.contains("nobody would sign"), "{why}");
    }

    #[test]
    fn a_win_rate_is_held_against_what_is_wanted() {
        let offered = Offer::of_info(&info(Wei::MAX / Wei::from(1_000))).unwrap();
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
            let _ = Offer::of_answer(Answer::Message(bytes));
        }
    }
}
