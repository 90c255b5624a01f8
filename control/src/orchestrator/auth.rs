//! `--auth-webhook-url`: whoever asks for a handshake is first asked about.
//!
//! The operator's webhook is sent `{"id": "<address>"}`. Status 200 lets the sender in, with a price of its own when the body has one:
//! `{"priceInfo": {"pricePerUnit": 1200, "pixelsPerUnit": 1}}`; any other keeps it out, and the body says why. go-livepeer waits for the
//! answer as long as it takes, and forgets the price when the request names capabilities; here the wait has an end, and the caller
//! gets the price in either case.
//!
//! Invariants:
//! - A sender that was let in is not asked about again for half an hour; one that was not, at its next request.
//! - However many requests of one sender come at once, the webhook is asked once; when the request that asks is given up, the next asks.
//! - Every wait ends, and what is kept, read and passed on is bounded: see `limits`.

mod known;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::{Client, Response, StatusCode, Url, redirect};
use rustls::crypto::CryptoProvider;
use serde_json::{Value, json};
use ticket::{Address, Price};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use self::known::Known;
use super::events::bounded;
use super::limits;
use crate::world::World;

/// Why a sender is not let in. Its text goes to the sender, so it says nothing of where the webhook is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// The webhook said so; its words, shortened.
    #[error("authentication failed: {0}")]
    Refused(String),
    /// It gave no answer in time.
    #[error("authentication failed: the webhook did not answer in time; ask again")]
    Late,
    /// There was no connection, or it broke.
    #[error("authentication failed: the webhook could not be asked; ask again")]
    Unreachable,
    /// It is being asked about too many others.
    #[error("authentication failed: the webhook is being asked about too many others; ask again")]
    Busy,
    /// Its answer is too long.
    #[error(
        "authentication failed: the webhook's answer is longer than {} bytes",
        limits::WEBHOOK_BODY_BYTES
    )]
    TooLong,
    /// Its answer is not a JSON object.
    #[error("authentication failed: the webhook's answer is not a JSON object")]
    NotJson,
    /// Its answer has a price that is none.
    #[error("authentication failed: the webhook's price is wrong: {0}")]
    Price(String),
}

/// Why there is no webhook to ask. The operator is told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadWebhook {
    /// The text is no URL of HTTP.
    #[error("the webhook's URL must be one of http or https: {0}")]
    Url(String),
    /// The process has not chosen its cryptography yet.
    #[error("the webhook cannot be asked: no TLS provider is installed")]
    NoTls,
    /// The client could not be made; it needs the system's certificates for https.
    #[error("the webhook cannot be asked")]
    Client(#[source] reqwest::Error),
}

/// The webhook, and what it said.
pub struct Webhook {
    url: Url,
    client: Client,
    world: Arc<dyn World>,
    deadline: Duration,
    asking_max: usize,
    state: Mutex<State>,
}

type Answer = Result<Option<Price>, Denied>;

#[derive(Default)]
struct State {
    known: Known,
    asking: HashMap<Address, Question>,
}

/// The webhook is being asked about somebody.
struct Question {
    answer: Arc<OnceCell<Answer>>,
    /// Requests that wait for the answer.
    waiting: usize,
}

impl Webhook {
    /// The process has to have installed rustls's provider.
    ///
    /// # Errors
    /// See [`BadWebhook`].
    pub fn new(url: &str, world: Arc<dyn World>) -> Result<Self, BadWebhook> {
        let url: Url = url
            .parse()
            .map_err(|error| BadWebhook::Url(format!("{error}")))?;
        let mut client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none());
        match url.scheme() {
            "https" => {}
            // It needs no certificates, so it works on a system that has none.
            "http" => client = client.tls_certs_only([]),
            other => return Err(BadWebhook::Url(format!("{other} is neither"))),
        }
        if CryptoProvider::get_default().is_none() {
            return Err(BadWebhook::NoTls);
        }
        Ok(Self {
            url,
            client: client.build().map_err(BadWebhook::Client)?,
            world,
            deadline: limits::WEBHOOK,
            asking_max: limits::WEBHOOK_ASKING,
            state: Mutex::default(),
        })
    }

    /// Whether a sender is let in, and at which price; `None` is everybody's.
    ///
    /// # Errors
    /// See [`Denied`].
    pub async fn allow(&self, sender: Address) -> Result<Option<Price>, Denied> {
        let Waiting { answer, .. } = &match self.join(sender)? {
            Joined::Known(price) => return Ok(price),
            Joined::Waiting(waiting) => waiting,
        };
        timeout(self.deadline, answer.get_or_init(|| self.ask(sender)))
            .await
            .map_or(Err(Denied::Late), Clone::clone)
    }

    /// The price of its own that a sender was let in with, for as long as that is remembered.
    pub(super) fn price(&self, sender: &Address) -> Option<Price> {
        let now_ms = self.world.unix_ms();
        self.lock().known.find(sender, now_ms).flatten()
    }

    /// Finds what is known, or waits with the others that want to know it.
    fn join(&self, sender: Address) -> Result<Joined<'_>, Denied> {
        let now_ms = self.world.unix_ms();
        let mut state = self.lock();
        if let Some(price) = state.known.find(&sender, now_ms) {
            return Ok(Joined::Known(price));
        }
        let is_full = state.asking.len() >= self.asking_max;
        let question = match state.asking.entry(sender) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if is_full => return Err(Denied::Busy),
            Entry::Vacant(entry) => entry.insert(Question {
                answer: Arc::default(),
                waiting: 0,
            }),
        };
        question.waiting += 1;
        Ok(Joined::Waiting(Waiting {
            webhook: self,
            sender,
            answer: Arc::clone(&question.answer),
        }))
    }

    async fn ask(&self, sender: Address) -> Answer {
        let answer = timeout(self.deadline, self.post(sender))
            .await
            .unwrap_or(Err(Denied::Late));
        match &answer {
            Ok(price) => {
                let now_ms = self.world.unix_ms();
                self.lock().known.insert(sender, *price, now_ms);
            }
            Err(why) => tracing::info!(%sender, %why, "not let in"),
        }
        answer
    }

    async fn post(&self, sender: Address) -> Answer {
        let request = self
            .client
            .post(self.url.clone())
            .json(&json!({ "id": sender.checksummed() }));
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(Denied::Refused(reason(status, &mut response).await));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > limits::WEBHOOK_BODY_BYTES {
                return Err(Denied::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        price(&body)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The rest of a URL may hold a secret.
        f.debug_struct("Webhook")
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}

enum Joined<'a> {
    Known(Option<Price>),
    Waiting(Waiting<'a>),
}

/// One request's part in a question. When the last one goes, or the answer is there, the question goes.
struct Waiting<'a> {
    webhook: &'a Webhook,
    sender: Address,
    answer: Arc<OnceCell<Answer>>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.webhook.lock();
        let Entry::Occupied(mut entry) = state.asking.entry(self.sender) else {
            return;
        };
        let question = entry.get_mut();
        // It may be a later question about the same sender.
        if !Arc::ptr_eq(&question.answer, &self.answer) {
            return;
        }
        question.waiting -= 1;
        if question.waiting == 0 || self.answer.initialized() {
            entry.remove();
        }
    }
}

/// The operator learns what happened, the sender only that it did.
fn unreachable(error: reqwest::Error) -> Denied {
    let error = error.without_url();
    tracing::warn!(?error, "the auth webhook could not be asked");
    Denied::Unreachable
}

/// Why the webhook keeps somebody out: the beginning of its answer, or its status.
async fn reason(status: StatusCode, response: &mut Response) -> String {
    let mut body = Vec::new();
    // What came before a connection broke is said all the same.
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk[..chunk.len().min(limits::ERROR_TEXT_BYTES)]);
        if body.len() >= limits::ERROR_TEXT_BYTES {
            break;
        }
    }
    let text = String::from_utf8_lossy(&body);
    match text.trim() {
        "" => format!("the webhook answered {status}"),
        _ => bounded(&text).to_owned(),
    }
}

/// What an answer says of the price. go-livepeer leaves out zeros.
fn price(body: &[u8]) -> Answer {
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let info = match serde_json::from_slice(body) {
        Ok(Value::Null) => return Ok(None),
        Ok(Value::Object(mut answer)) => answer.remove("priceInfo"),
        Ok(_) | Err(_) => return Err(Denied::NotJson),
    };
    let info = match info {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(info)) => info,
        Some(_) => return Err(Denied::Price("priceInfo is not an object".to_owned())),
    };
    let integer = |key| match info.get(key) {
        None | Some(Value::Null) => Some(0),
        Some(value) => value.as_i64(),
    };
    let (Some(wei), Some(pixels)) = (integer("pricePerUnit"), integer("pixelsPerUnit")) else {
        return Err(Denied::Price(
            "pricePerUnit and pixelsPerUnit are integers of 64 bits".to_owned(),
        ));
    };
    Price::new(wei, pixels)
        .map(Some)
        .map_err(|fault| Denied::Price(fault.to_string()))
}
