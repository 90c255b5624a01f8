//! Sessions are begun and ended over the orchestrator's HTTP API, as a gateway does.
//!
//! ```text
//!   POST   /live-video-to-video {model_id, params, …} ──▶ publish_url, subscribe_url, manifest_id
//!   DELETE {publish_url}                               ──▶ the session ends
//! ```
//!
//! What is paid is in headers that are handed in; a server that asks for more refuses, and that is told with its own words.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::ask::ask;
use crate::clock;
use crate::conduct::Stop;
use crate::failure::Failure;
use crate::target::Target;

/// A session as the orchestrator described it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub manifest_id: String,
    /// Channel of the input.
    pub publish_path: String,
    /// Channel of the output.
    pub subscribe_path: String,
    /// How long the answer took.
    pub start_ns: u64,
    /// When it came.
    pub at_ns: u64,
}

/// Asks for a session.
///
/// # Errors
/// There is no answer, or one that is no session; with its status and words.
pub fn start(
    target: &Target,
    model: &str,
    params: &Value,
    id: &str,
    paid: &[(&str, &str)],
) -> Result<Session, Failure> {
    let request = json!({
        "model_id": model,
        "params": params,
        "gateway_request_id": id,
        "stream_id": id,
    });
    let headers = [&[("Content-Type", "application/json")], paid].concat();
    let body = request.to_string();
    let begun_ns = clock::now_ns();
    let answer = ask(
        target,
        "POST",
        PATH,
        &headers,
        body.as_bytes(),
        START_TIMEOUT,
    )?;
    let at_ns = clock::now_ns();
    let start_ns = at_ns - begun_ns;
    if answer.status != 200 {
        return Err(Failure::new(format!(
            "POST {PATH} was answered {}: {}",
            answer.status,
            answer.text()
        )));
    }
    let wrong = |why: String| Failure::new(format!("POST {PATH} was answered {why}"));
    let reply: Reply = serde_json::from_slice(&answer.body).map_err(|error| {
        wrong(format!(
            "with {:?}, which is no session: {error}",
            answer.text()
        ))
    })?;
    let path = |name: &str, url: &str| {
        target
            .path_of(url)
            .map_err(|why| why.during(format_args!("{name} of the session")))
    };
    Ok(Session {
        publish_path: path("publish_url", &reply.publish_url)?,
        subscribe_path: path("subscribe_url", &reply.subscribe_url)?,
        manifest_id: reply.manifest_id,
        start_ns,
        at_ns,
    })
}

/// Ends a session.
///
/// # Errors
/// The server does not answer. What it answers does not matter: the session may have ended already.
pub fn end(target: &Target, session: &Session) -> Result<(), Failure> {
    ask(
        target,
        "DELETE",
        &session.publish_path,
        &[],
        b"",
        END_TIMEOUT,
    )
    .map(drop)
}

/// The pace at which all workers together begin sessions, and what came of it.
#[derive(Debug)]
pub struct Starts {
    every_ns: u64,
    stops_at_refusal: bool,
    sessions: usize,
    begin_ns: OnceLock<u64>,
    over: AtomicUsize,
    refusals: Mutex<Refusals>,
}

#[derive(Debug, Default)]
struct Refusals {
    refused: usize,
    skipped: usize,
    first: Option<String>,
}

impl Starts {
    /// None yet.
    pub fn new(sessions: usize, every_ns: u64, stops_at_refusal: bool) -> Self {
        Self {
            every_ns,
            stops_at_refusal,
            sessions,
            begin_ns: OnceLock::new(),
            over: AtomicUsize::new(0),
            refusals: Mutex::default(),
        }
    }

    /// Begins session `number` when it is its turn. `None`: it was refused, or not tried.
    pub fn start(
        &self,
        number: usize,
        stop: &Stop,
        start: impl FnOnce() -> Result<Session, Failure>,
    ) -> Option<Session> {
        let begin_ns = *self.begin_ns.get_or_init(clock::now_ns);
        let turn_ns = begin_ns.saturating_add(self.every_ns.saturating_mul(number as u64));
        while !stop.is_told() && !self.is_given_up() && clock::now_ns() < turn_ns {
            let left = Duration::from_nanos(turn_ns.saturating_sub(clock::now_ns()));
            thread::sleep(left.min(LOOK_EVERY));
        }
        let session = if stop.is_told() || self.is_given_up() {
            self.refusals().skipped += 1;
            None
        } else {
            match start() {
                Ok(session) => Some(session),
                Err(why) => {
                    let mut refusals = self.refusals();
                    refusals.refused += 1;
                    refusals.first.get_or_insert(why.to_string());
                    None
                }
            }
        };
        self.over.fetch_add(1, Ordering::AcqRel);
        session
    }

    /// Why there are fewer sessions than were asked for, once all were tried.
    ///
    /// # Errors
    /// There are fewer.
    pub fn conclude(&self, stop: &Stop) -> Result<(), Failure> {
        if self.refusals().first.is_none() {
            return Ok(()); // another worker's refusal is for it to tell
        }
        while self.over.load(Ordering::Acquire) < self.sessions && !stop.is_told() {
            thread::sleep(LOOK_EVERY);
        }
        let Refusals {
            refused,
            skipped,
            first,
        } = &*self.refusals();
        let started = self.sessions - refused - skipped;
        let after = if *skipped > 0 {
            format!("; the remaining {skipped} were not tried")
        } else {
            String::new()
        };
        Err(Failure::new(format!(
            "{refused} of {} sessions were refused after {started} had started{after}; the first: {}; \
             ask for fewer (--sessions), or for another model (--model)",
            self.sessions,
            first.as_deref().unwrap_or("")
        )))
    }

    fn is_given_up(&self) -> bool {
        self.stops_at_refusal && self.refusals().refused > 0
    }

    fn refusals(&self) -> std::sync::MutexGuard<'_, Refusals> {
        // A panic elsewhere leaves numbers that are still right.
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Deserialize)]
struct Reply {
    publish_url: String,
    subscribe_url: String,
    #[serde(default)]
    manifest_id: String,
}

const PATH: &str = "/live-video-to-video";
/// A gateway gives an orchestrator 5 s; a model may take longer to load.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const END_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session {
            manifest_id: "a".to_owned(),
            publish_path: "/a".to_owned(),
            subscribe_path: "/a-out".to_owned(),
            start_ns: 1,
            at_ns: 2,
        }
    }

    #[test]
    fn sessions_begin_at_their_pace_and_all_are_told_of() {
        let every_ns = 5_000_000;
        let starts = Starts::new(3, every_ns, false);
        let begun_ns = clock::now_ns();
        let stop = Stop::default();
        for number in 0..3 {
            let started = starts.start(number, &stop, || Ok(session()));
            assert_eq!(started, Some(session()));
        }
        assert!(clock::now_ns() - begun_ns >= 2 * every_ns);
        starts.conclude(&stop).unwrap();
    }

    #[test]
    fn a_refusal_ends_the_trying_where_that_is_asked_for() {
        let refuse = || Err(Failure::new("503: no room"));
        for (stops, want) in [
            (
                false,
                "2 of 4 sessions were refused after 2 had started; the first: 503: no room",
            ),
            (
                true,
                "1 of 4 sessions were refused after 1 had started; the remaining 2 were not tried",
            ),
        ] {
            let starts = Starts::new(4, 0, stops);
            let stop = Stop::default();
            starts.start(0, &stop, || Ok(session()));
            starts.start(1, &stop, refuse);
            starts.start(2, &stop, refuse);
            starts.start(3, &stop, || Ok(session()));
            let error = starts.conclude(&stop).unwrap_err().to_string();
            assert!(error.starts_with(want), "{error}");
        }
    }
}
