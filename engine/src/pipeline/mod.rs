//! Live sessions: channel → demux → lane → mux → channel.
//!
//! ```text
//!   {id} ──▶ Demux ──▶ unit ──▶ lane (decode, filter, encode) ──▶ frame ──▶ Output ──▶ {id}-out
//!              └─────────────── audio, bit for bit ─────────────────────────▶ ┘
//!   {id}-control ──▶ report to the control plane            {id}-events ◀── what the control plane says
//! ```
//!
//! A session is one task on the shard that owns its channels ([`session`]). It ends when its input ends, goes idle or is bad,
//! or when it is told to; it then brings out what the lane holds, closes its channels and reports. Nothing it does reaches
//! another session.

mod output;
mod session;
mod stats;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use gpu::model::Model;
use gpu::{Filter, Step};
use handoff::ring;
use link::{Answer, EndCause, OpenSession, Process, Refusal};
use trickle::Waiter;

use crate::lane::{Lanes, RESULTS_MAX};
use crate::shard::Shard;

/// What a session's channels carry.
const MEDIA_MIME: &str = "video/MP2T";
const JSON_MIME: &str = "application/json";

/// The sessions of one shard.
pub(crate) struct Sessions {
    lanes: Lanes,
    table: RefCell<HashMap<String, Rc<Orders>>>,
    next_key: Cell<u64>,
    draining: Cell<bool>,
}

/// What a session has been told and has not yet done.
struct Orders {
    step: RefCell<Option<Step>>,
    close: RefCell<Option<EndCause>>,
    waiter: Waiter,
}

impl Sessions {
    pub(crate) fn new(lanes: Lanes) -> Self {
        Self {
            lanes,
            table: RefCell::default(),
            next_key: Cell::new(0),
            draining: Cell::new(false),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.borrow().len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table.borrow().is_empty()
    }

    /// Creates a session's channels and starts it.
    pub(crate) fn open(&self, shard: &Rc<Shard>, open: OpenSession) -> Result<Answer, Refusal> {
        let OpenSession {
            manifest_id: id,
            process,
            owner_token,
        } = open;
        let step = step_of(process, &shard.config.models)?;
        if self.draining.get() {
            return Err(Refusal::Draining);
        }
        if self.table.borrow().contains_key(&id) {
            return Ok(Answer::Already);
        }
        if self.len() >= shard.config.limits.sessions {
            return Err(Refusal::Full("sessions"));
        }
        let (results, inbox) = ring::ring(RESULTS_MAX);
        let key = (shard.index as u64) << 48 | self.next_key.replace(self.next_key.get() + 1);
        let place = self.lanes.place(key, step, results)?;
        let now = shard.now();
        for (suffix, mime) in [
            ("", MEDIA_MIME),
            ("-out", MEDIA_MIME),
            ("-control", JSON_MIME),
            ("-events", JSON_MIME),
        ] {
            if let Err(refusal) =
                shard.create_channel(&format!("{id}{suffix}"), mime, owner_token.as_deref(), now)
            {
                close_channels(shard, &id, &["", "-out", "-control", "-events"]);
                return Err(refusal);
            }
        }
        for suffix in ["", "-out", "-control", "-events"] {
            shard
                .hub
                .borrow_mut()
                .keep(&format!("{id}{suffix}"), true, now);
        }
        let waiter = shard.sleepers.register();
        let orders = Rc::new(Orders {
            step: RefCell::default(),
            close: RefCell::new(None),
            waiter,
        });
        self.table.borrow_mut().insert(id.clone(), orders.clone());
        session::spawn(shard.clone(), id, orders, place, inbox);
        Ok(Answer::Done)
    }

    /// Changes what a session does to its frames.
    pub(crate) fn set_process(
        &self,
        shard: &Shard,
        id: &str,
        process: Process,
    ) -> Result<Answer, Refusal> {
        let step = step_of(process, &shard.config.models)?;
        let table = self.table.borrow();
        let orders = table.get(id).ok_or(Refusal::Unknown)?;
        orders.step.replace(Some(step));
        shard.sleepers.wake(orders.waiter);
        Ok(Answer::Done)
    }

    /// Asks a session to end.
    pub(crate) fn close(&self, shard: &Shard, id: &str) -> Result<Answer, Refusal> {
        let table = self.table.borrow();
        table
            .get(id)
            .ok_or(Refusal::Unknown)?
            .end(shard, EndCause::Closed);
        Ok(Answer::Done)
    }

    /// Asks every session to end, and takes no new one.
    pub(crate) fn drain(&self, shard: &Shard) {
        self.draining.set(true);
        for orders in self.table.borrow().values() {
            orders.end(shard, EndCause::Draining);
        }
    }

    /// Takes no new session.
    pub(crate) fn refuse_new(&self) {
        self.draining.set(true);
    }

    pub(crate) fn remove(&self, id: &str) {
        self.table.borrow_mut().remove(id);
    }
}

impl Orders {
    fn end(&self, shard: &Shard, cause: EndCause) {
        self.close.borrow_mut().get_or_insert(cause);
        shard.sleepers.wake(self.waiter);
    }
}

fn close_channels(shard: &Shard, id: &str, suffixes: &[&str]) {
    for suffix in suffixes {
        let _ = shard.hub.borrow_mut().delete(&format!("{id}{suffix}"));
    }
}

/// The vocabulary's process as the device knows it.
///
/// # Errors
/// When it is a model that the engine was not started with.
fn step_of(process: Process, models: &[Model]) -> Result<Step, Refusal> {
    match process {
        Process::Filter(filter) => Ok(Step::Filter(filter_of(filter))),
        Process::Model { id } => {
            let known = models.iter().find(|model| model.id() == id);
            known
                .map(|model| Step::Model(model.clone()))
                .ok_or_else(|| Refusal::Invalid(format!("there is no model {id} here")))
        }
    }
}

/// The vocabulary's filter as the device knows it.
fn filter_of(filter: link::Filter) -> Filter {
    match filter {
        link::Filter::Passthrough => Filter::Passthrough,
        link::Filter::Grayscale { amount_percent } => Filter::Grayscale { amount_percent },
        link::Filter::Edges { gain_percent } => Filter::Edges { gain_percent },
        link::Filter::Blur { radius_px } => Filter::Blur { radius_px },
        link::Filter::Pixelate { block_px } => Filter::Pixelate { block_px },
        link::Filter::Invert { amount_percent } => Filter::Invert { amount_percent },
    }
}
