//! Asks many orchestrators at once what they offer, and holds each answer against a job.
//!
//! Invariants:
//! - Each is asked by itself and within its own deadlines; one that stalls, breaks or lies costs its own row and no other.
//! - At most [`AT_ONCE_MAX`] are asked at a time, and a row is bounded whatever was answered.
//! - Rows come in the order of the targets, and all that is text in them is printable.
//! - Dropping the future ends all of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::net;
use rustls::ClientConfig;
use ticket::amount::MinBytes;
use ticket::price::PriceFault;
use ticket::{Address, ExpectedValue, Price, Wei};
use tokio::task::JoinSet;

use super::client::{Connection, Deadlines, request};
use super::target::Target;
use crate::capability::{Bits, Capability, Incompatible, LiveModel, compatible};
use crate::printable::printable;
use ticket::sender::LocalKey;

/// Orchestrators that are asked at a time.
pub const AT_ONCE_MAX: usize = 32;
/// Models that a row has at the most.
pub const MODELS_MAX: usize = 64;
const TEXT_CHARS_MAX: usize = 200;
const VERSION_CHARS_MAX: usize = 40;

/// What every one of them is asked.
#[derive(Debug, Clone)]
pub struct Question {
    request: net::OrchestratorRequest,
    deadlines: Deadlines,
}

impl Question {
    /// Whether they can do `job`; signed by `key`, or by nobody.
    ///
    /// They are asked not to mind whether they have room: what they have is part of the answer.
    #[must_use]
    pub fn new(key: Option<&LocalKey>, job: net::Capabilities, deadlines: Deadlines) -> Self {
        let request = request(key, Some(job), true);
        Self { request, deadlines }
    }
}

/// What became of asking one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Who was asked.
    pub target: Target,
    /// How long it took to connect, TLS included; `None` when there was no connection.
    pub connect: Option<Duration>,
    /// How long the answer took from there, whether good or bad.
    pub call: Option<Duration>,
    /// The answer, or why there is none.
    pub outcome: Result<Answer, String>,
}

impl Row {
    /// Whether a gateway would give it the job.
    #[must_use]
    pub fn is_fit(&self) -> bool {
        matches!(
            &self.outcome,
            Ok(Answer {
                verdict: Ok(()),
                ..
            })
        )
    }
}

/// What an orchestrator says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Where work is done; empty when none is.
    pub service: String,
    /// The orchestrator's own account; zero when it is off-chain.
    pub address: Address,
    /// What a pixel costs; `None` when nothing is said, as off-chain, or nothing that is a price.
    pub price: Option<Price>,
    /// What it takes tickets under; `None` when it takes none, or what it says is malformed.
    pub tickets: Option<Tickets>,
    /// Of its software; may be empty.
    pub version: String,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// Its models for live video, by name.
    pub models: Vec<LiveModel>,
    /// Models that are not among them, because they are too many.
    pub models_left_out: usize,
    /// Whether a gateway would give it the job, and if not, why.
    pub verdict: Result<(), Unfit>,
}

/// What an orchestrator takes tickets under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tickets {
    /// Who is paid.
    pub recipient: Address,
    /// What a winner is worth.
    pub face_value: Wei,
    /// What each is worth.
    pub value: ExpectedValue,
}

/// Why a gateway would not give it the job, though it answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// It does no work itself.
    #[error("does no work itself: it names no address at which work is done")]
    NoWork,
    /// It cannot do this job.
    #[error(transparent)]
    Incompatible(#[from] Incompatible),
    /// There is no token to begin a session with.
    #[error("gives no token, and without one no session begins")]
    NoToken,
    /// The price is none.
    #[error("its price is none: {0}")]
    Price(PriceFault),
    /// The parameters are none.
    #[error("its ticket parameters are none: a number in them has more than 32 bytes")]
    Tickets,
}

/// Asks all of them; a row for each, in their order.
pub async fn probe(targets: Vec<Target>, question: &Question, tls: &Arc<ClientConfig>) -> Vec<Row> {
    let question = Arc::new(question.clone());
    let mut rows: Vec<Option<Row>> = Vec::new();
    rows.resize_with(targets.len(), || None);
    let mut waiting = targets.iter().cloned().enumerate();
    let mut asked = JoinSet::new();
    loop {
        while asked.len() < AT_ONCE_MAX {
            let Some((index, target)) = waiting.next() else {
                break;
            };
            let (question, tls) = (Arc::clone(&question), Arc::clone(tls));
            asked.spawn(async move { (index, ask(target, &question, &tls).await) });
        }
        match asked.join_next().await {
            None => break,
            Some(Ok((index, row))) => rows[index] = Some(row),
            Some(Err(error)) => tracing::error!(%error, "asking an orchestrator went wrong"),
        }
    }
    let broken = |target| Row {
        target,
        connect: None,
        call: None,
        outcome: Err("asking it went wrong on this side; the log says how".to_owned()),
    };
    let rows = rows.into_iter().zip(targets);
    rows.map(|(row, target)| row.unwrap_or_else(|| broken(target)))
        .collect()
}

async fn ask(target: Target, question: &Question, tls: &Arc<ClientConfig>) -> Row {
    let mut row = Row {
        target,
        connect: None,
        call: None,
        outcome: Err(String::new()),
    };
    match Connection::open(&row.target, tls, question.deadlines).await {
        Err(error) => row.outcome = Err(error.to_string()),
        Ok(mut connection) => {
            row.connect = Some(connection.took());
            let began = Instant::now();
            let answer = connection.orchestrator(question.request.clone()).await;
            row.call = Some(began.elapsed());
            row.outcome = answer
                .map(|info| Answer::of(&info, question.request.capabilities.as_ref()))
                .map_err(|error| error.to_string());
        }
    }
    row
}

impl Answer {
    /// Of a message, held against `job`.
    #[must_use]
    pub fn of(info: &net::OrchestratorInfo, job: Option<&net::Capabilities>) -> Self {
        let peer = info.capabilities.as_ref();
        let price = info.price_info.as_ref().map(price).transpose();
        let tickets = info.ticket_params.as_ref().map(tickets).transpose();
        let verdict = match () {
            () if info.transcoder.is_empty() => Err(Unfit::NoWork),
            () => compatible(job, peer).map_err(Unfit::from),
        };
        let verdict = verdict.and_then(|()| {
            price.as_ref().map_err(Clone::clone)?;
            tickets.as_ref().map_err(Clone::clone)?;
            info.auth_token.as_ref().ok_or(Unfit::NoToken).map(drop)
        });
        let models = || peer.into_iter().flat_map(LiveModel::of);
        Self {
            service: printable(&info.transcoder, TEXT_CHARS_MAX),
            address: Address::from_wire(&info.address),
            price: price.ok().flatten(),
            tickets: tickets.ok().flatten(),
            version: printable(peer.map_or("", |peer| &peer.version), VERSION_CHARS_MAX),
            capabilities: peer.map_or_else(Vec::new, |peer| {
                Bits::of_words(&peer.bitstring).iter().collect()
            }),
            models: models()
                .take(MODELS_MAX)
                .map(|model| LiveModel {
                    id: printable(&model.id, TEXT_CHARS_MAX),
                    ..model
                })
                .collect(),
            models_left_out: models().skip(MODELS_MAX).count(),
            verdict,
        }
    }
}

fn price(info: &net::PriceInfo) -> Result<Price, Unfit> {
    Price::new(info.price_per_unit, info.pixels_per_unit).map_err(Unfit::Price)
}

fn tickets(params: &net::TicketParams) -> Result<Tickets, Unfit> {
    let number = |bytes: &[u8]| MinBytes::parse(bytes).ok_or(Unfit::Tickets);
    let face_value = number(&params.face_value)?;
    let win_prob = number(&params.win_prob)?;
    Ok(Tickets {
        recipient: Address::from_wire(&params.recipient),
        face_value,
        value: ExpectedValue::of(face_value, win_prob),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::{Job, Offer};

    fn info() -> net::OrchestratorInfo {
        let models = [LiveModel {
            id: "builtin/edges".to_owned(),
            warm: true,
            idle: 3,
            in_use: 1,
        }];
        let offer = Offer {
            models: &models,
            version: "0.9.1",
        };
        net::OrchestratorInfo {
            transcoder: "https://a:8935".to_owned(),
            address: vec![7; 20],
            price_info: Some(net::PriceInfo {
                price_per_unit: 2_400,
                pixels_per_unit: 14,
                ..Default::default()
            }),
            ticket_params: Some(net::TicketParams {
                recipient: vec![8; 20],
                face_value: vec![1, 0],
                win_prob: vec![0x80; 32],
                ..Default::default()
            }),
            capabilities: Some(offer.capabilities()),
            auth_token: Some(net::AuthToken::default()),
            ..Default::default()
        }
    }

    fn verdict(change: impl FnOnce(&mut net::OrchestratorInfo)) -> String {
        let mut info = info();
        change(&mut info);
        let job = Job::live().capabilities();
        match Answer::of(&info, Some(&job)).verdict {
            Ok(()) => "fit".to_owned(),
            Err(unfit) => unfit.to_string(),
        }
    }

    #[test]
    fn an_answer_is_what_the_message_says() {
        let answer = Answer::of(&info(), Some(&Job::live().capabilities()));
        assert_eq!(answer.verdict, Ok(()));
        assert_eq!(answer.price.unwrap().to_string(), "1200/7");
        let tickets = answer.tickets.unwrap();
        assert_eq!(tickets.recipient, Address([8; 20]));
        assert_eq!(tickets.face_value, Wei::from(256));
        assert_eq!(tickets.value.floor_wei(), Wei::from(128));
        assert_eq!(answer.capabilities.len(), 16);
        assert_eq!((answer.models.len(), answer.models_left_out), (1, 0));
        assert_eq!(answer.version, "0.9.1");
    }

    #[test]
    fn who_answers_need_not_be_fit() {
        assert_eq!(verdict(|_| ()), "fit");
        assert_eq!(
            verdict(|it| it.transcoder.clear()),
            "does no work itself: it names no address at which work is done"
        );
        assert_eq!(
            verdict(|it| it.capabilities = None),
            "does not say what it can do"
        );
        assert_eq!(
            verdict(|it| it.auth_token = None),
            "gives no token, and without one no session begins"
        );
        assert_eq!(
            verdict(|it| it.price_info = Some(net::PriceInfo::default())),
            "its price is none: pixels per unit is 0"
        );
        assert_eq!(
            verdict(|it| it.price_info.as_mut().unwrap().price_per_unit = -1),
            "its price is none: a price is not negative"
        );
        assert_eq!(
            verdict(|it| it.ticket_params.as_mut().unwrap().face_value = vec![1; 33]),
            "its ticket parameters are none: a number in them has more than 32 bytes"
        );
        // Off-chain there is neither.
        assert_eq!(
            verdict(|it| {
                it.price_info = None;
                it.ticket_params = None;
            }),
            "fit"
        );
    }

    #[test]
    fn a_row_is_bounded_and_printable() {
        let models: Vec<_> = (0..1_000)
            .map(|n| LiveModel {
                id: format!("\x1b{n}{}", "m".repeat(1_000)),
                warm: false,
                idle: 0,
                in_use: 0,
            })
            .collect();
        let offer = Offer {
            models: &models,
            version: &"9\n".repeat(1_000),
        };
        let mut info = info();
        info.transcoder = "\r".repeat(100_000);
        info.address = vec![1; 1_000];
        info.capabilities = Some(offer.capabilities());
        let answer = Answer::of(&info, Some(&Job::live().capabilities()));
        assert_eq!(
            (answer.models.len(), answer.models_left_out),
            (MODELS_MAX, 1_000 - MODELS_MAX)
        );
        let texts = answer.models.iter().map(|model| &model.id);
        for text in texts.chain([&answer.version, &answer.service]) {
            assert!(text.chars().count() <= TEXT_CHARS_MAX + 1);
            assert!(!text.chars().any(char::is_control));
        }
    }
}
