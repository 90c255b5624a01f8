//! The data plane: shards and lanes.
//!
//! **Life of a segment.** A publisher's bytes are read by [`shard::conn`](shard) straight into a page; [`trickle`] names the
//! payload in it; the hub appends it to the channel and every reader's cursor may move. A [`pipeline`] is just one more reader.
//!
//! **Life of a frame.** The pipeline demuxes an access unit, a lane decodes, filters and encodes it, the pipeline muxes it and
//! publishes it on the output channel, a chunk a frame.
//!
//! **Life of a ticket.** A payment is read from a request's head by the shard's [till](shard), or comes from the control plane through
//! [`link`]; the ticket lane proves it in a batch, credits it in the book, and lets the shard answer when the journal has it.
//!
//! **Two planes.** Shards run on glommio, a thread a core; lanes are bare threads; the control plane runs elsewhere and is spoken
//! to through [`link`]. Whatever is not trickle leaves through the door to it.

#![forbid(unsafe_code)]

pub mod config;
pub mod drive;
pub mod fatal;
mod lane;
pub mod limits;
pub mod metrics;
pub mod offline;
mod pipeline;
mod shard;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use handoff::ring::{self, Sender};
use handoff::socket;
use link::{Command, Refusal, Reply};
use shard::{Message, net};

pub use config::{Config, Device, TrickleConfig, TrickleListen};
use lane::ticket::TicketLane;

pub use lane::ticket::{Gather, TicketReport, Tickets, VerifierChoice};
pub use lane::{BATCH_SIZES, LaneMetrics, LaneReport, LaneState};
pub use limits::Limits;
pub use metrics::Metrics;

/// Messages that may wait for a shard: sockets on their way to it, and commands.
const MAILBOX_MAX: usize = 8192;
/// How long a shard may take to start, and to answer a question.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long stopping waits for lanes to come out of the device calls that they are in.
const LANE_FAREWELL: Duration = Duration::from_secs(5);
/// How often it looks.
const LANE_LOOK: Duration = Duration::from_millis(1);
/// How often a drain looks whether it is over.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

/// The data plane.
#[derive(Debug)]
pub struct Engine;

/// Why the engine did not start; the text names the fix.
#[derive(Debug)]
pub struct StartError(pub String);

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// A running engine. Cheap to clone; dropping the last one stops it.
#[derive(Clone)]
pub struct Handle(Arc<Running>);

struct Running {
    shards: Vec<Sender<Message>>,
    addrs: shard::Addrs,
    lanes: lane::Lanes,
    tickets: Option<TicketLane>,
    threads: Mutex<Threads>,
    next: AtomicUsize,
}

#[derive(Default)]
struct Threads {
    shards: Vec<net::Thread>,
    lanes: Vec<JoinHandle<()>>,
}

impl Engine {
    /// Starts shards and lanes; returns once every shard listens. Payments are not taken.
    ///
    /// # Errors
    /// When a shard cannot listen or start. Look before you call whether io_uring is to be had: without it a shard panics.
    pub fn start(config: Config, control: Arc<dyn link::Control>) -> Result<Handle, StartError> {
        Self::start_with(config, control, None)
    }

    /// The same, and takes payments if it is told how.
    ///
    /// # Errors
    /// As [`start`](Self::start); and when the verifier that was asked for is not to be had.
    pub fn start_with(
        mut config: Config,
        control: Arc<dyn link::Control>,
        tickets: Option<Tickets>,
    ) -> Result<Handle, StartError> {
        if config.cores.is_empty() {
            return Err(StartError(
                "no core to run a shard on: name at least one".to_owned(),
            ));
        }
        config.trickle_listen = (config.trickle_listen).map(TrickleListen::speaking_http1);
        let mut listen = shard::Addrs {
            public: config.listen,
            trickle: config.trickle_listen.as_ref().map(|at| at.addr),
        };
        if let Some(addr) = listen.trickle
            && config::is_same_place(addr, listen.public)
        {
            return Err(StartError(format!(
                "trickle alone cannot be served on {addr}: all is on {}",
                listen.public
            )));
        }
        let (lanes, lane_threads) = lane::Lanes::start(
            &config.device,
            config.lanes.max(1),
            &config.limits,
            &config.models,
        )
        .map_err(StartError)?;
        let mut threads = Threads {
            shards: Vec::new(),
            lanes: lane_threads,
        };
        let (tickets, windows) = match tickets {
            Some(tickets) => {
                let (lane, windows, thread) =
                    TicketLane::start(tickets, config.cores.len()).map_err(StartError)?;
                threads.lanes.push(thread);
                (Some(lane), windows.into_iter().map(Some).collect())
            }
            None => (None, config.cores.iter().map(|_| None).collect::<Vec<_>>()),
        };
        let config = Arc::new(config);
        let (mailboxes, inboxes): (Vec<_>, Vec<_>) =
            config.cores.iter().map(|_| ring::ring(MAILBOX_MAX)).unzip();
        let running = Running {
            shards: mailboxes.clone(),
            addrs: listen,
            lanes: lanes.clone(),
            tickets,
            threads: Mutex::new(threads),
            next: AtomicUsize::new(0),
        };
        let mut handle = Handle(Arc::new(running));
        let cores = config.cores.clone().into_iter().zip(windows);
        for ((index, inbox), (core, window)) in inboxes.into_iter().enumerate().zip(cores) {
            let (ready, is_ready) = mpsc::channel();
            let (peers, lanes) = (mailboxes.clone(), lanes.clone());
            let (config, control) = (config.clone(), control.clone());
            let thread = net::spawn_thread(core, &format!("shard-{index}"), move || {
                shard::run(shard::Start {
                    index,
                    config,
                    control,
                    peers,
                    mailbox: inbox,
                    lanes,
                    window,
                    listen,
                    ready,
                })
            })
            .map_err(|error| StartError(format!("cannot start a shard on core {core}: {error}")))?;
            handle.0.lock().shards.push(thread);
            listen = is_ready
                .recv_timeout(PATIENCE)
                .map_err(|_| StartError(format!("the shard on core {core} did not start")))?
                .map_err(StartError)?;
        }
        if let Some(running) = Arc::get_mut(&mut handle.0) {
            running.addrs = listen;
        }
        Ok(handle)
    }
}

impl Running {
    fn lock(&self) -> std::sync::MutexGuard<'_, Threads> {
        self.threads
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn stop(&self) {
        for shard in &self.shards {
            let mut message = Message::Stop;
            while let Err(back) = shard.send(message) {
                message = back;
                std::thread::yield_now();
            }
        }
        let threads = std::mem::take(&mut *self.lock());
        for thread in threads.shards {
            if let Err(error) = thread.join() {
                tracing::error!(%error, "a shard ended badly");
            }
        }
        self.lanes.stop();
        if let Some(tickets) = &self.tickets {
            tickets.stop();
        }
        let until = Instant::now() + LANE_FAREWELL;
        for (lane, thread) in threads.lanes.into_iter().enumerate() {
            while !thread.is_finished() && Instant::now() < until {
                std::thread::sleep(LANE_LOOK);
            }
            if thread.is_finished() {
                let _ = thread.join();
            } else {
                // A thread cannot be ended from outside, and this one would be waited for in vain.
                tracing::error!(
                    lane,
                    "a lane is stuck in a device call and is left behind; only the end of the process ends it"
                );
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.lock().shards.is_empty() {
            self.stop();
        }
    }
}

impl Handle {
    /// Where the shards listen.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.addrs.public
    }

    /// Where they listen for trickle alone, if they do.
    pub fn trickle_addr(&self) -> Option<SocketAddr> {
        self.0.addrs.trickle
    }

    /// Counters of every shard, added up. Waits for the shards' answers, at most a few seconds.
    pub fn metrics(&self) -> Metrics {
        if self.0.lock().shards.is_empty() {
            return Metrics::default(); // stopped: nobody is left to answer
        }
        let answers: Vec<_> = self
            .0
            .shards
            .iter()
            .filter_map(|shard| {
                let (to, answer) = mpsc::channel();
                shard.send(Message::Metrics(to)).ok().map(|()| answer)
            })
            .collect();
        let shards = answers
            .iter()
            .filter_map(|answer| answer.recv_timeout(PATIENCE).ok())
            .fold(Metrics::default(), Metrics::plus);
        Metrics {
            lanes_stuck: self.0.lanes.stuck(),
            ..shards
        }
    }

    /// What each lane is doing and has counted. Waits for nobody.
    pub fn lanes(&self) -> Vec<LaneReport> {
        self.0.lanes.reports()
    }

    /// What the ticket lane is doing and has counted; `None` when payments are not taken. Waits for nobody.
    pub fn tickets(&self) -> Option<TicketReport> {
        self.0.tickets.as_ref().map(TicketLane::report)
    }

    /// Refuses new sessions, lets running ones go on until the deadline, then ends them. Blocks the calling thread.
    pub fn drain(&self, deadline: Duration) {
        let until = Instant::now() + deadline;
        for shard in &self.0.shards {
            let _ = shard.send(Message::RefuseSessions);
        }
        while Instant::now() < until && self.metrics().sessions > 0 {
            std::thread::sleep(DRAIN_LOOK);
        }
        for shard in &self.0.shards {
            let _ = shard.send(Message::Drain);
        }
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && self.metrics().sessions > 0 {
            std::thread::sleep(DRAIN_LOOK);
        }
    }

    /// Stops every shard and lane now. Blocks the calling thread until their threads have ended, for a lane that hangs in its
    /// device a few seconds at most.
    pub fn stop(&self) {
        self.0.stop();
    }

    fn home_of(&self, command: &Command) -> &Sender<Message> {
        let name = match command {
            Command::OpenSession(open) => &open.manifest_id,
            Command::SetProcess { manifest_id, .. } | Command::CloseSession { manifest_id } => {
                manifest_id
            }
            Command::CreateChannel { name, .. }
            | Command::DeleteChannel { name }
            | Command::Publish { name, .. } => name,
        };
        &self.0.shards[trickle::Home::of(name).shard(self.0.shards.len())]
    }
}

impl link::Engine for Handle {
    fn submit(&self, command: Command, reply: Reply) {
        let shard = self.home_of(&command);
        if let Err(Message::Command(_, reply)) = shard.send(Message::Command(command, reply)) {
            reply.send(Err(Refusal::Busy));
        }
    }

    fn connect(&self) -> io::Result<OwnedFd> {
        let (near, far) = socket::pair()?;
        let next = self.0.next.fetch_add(1, Ordering::Relaxed) % self.0.shards.len();
        match self.0.shards[next].send(Message::private(far)) {
            Ok(()) => Ok(near),
            Err(_) => Err(io::ErrorKind::ResourceBusy.into()),
        }
    }

    fn pay(&self, payment: ticket::Received, source: u64, reply: link::PaymentReply) {
        match &self.0.tickets {
            Some(tickets) => tickets.pay(payment, source, reply),
            None => reply.refuse(ticket::Refusal::Recipient),
        }
    }

    fn charge(&self, charge: link::Charge, reply: link::ChargeReply) {
        match &self.0.tickets {
            Some(tickets) => tickets.charge(charge, reply),
            None => reply.send(Err(link::NotCharged::NoAccount)),
        }
    }

    fn room(&self) -> Option<u32> {
        Some(self.0.lanes.room())
    }

    fn health(&self) -> Vec<String> {
        let mut troubles = self.0.lanes.troubles();
        if self.tickets().is_some_and(|tickets| !tickets.is_recording) {
            troubles.push(
                "payments cannot be recorded, so none are taken: see the log for what is wrong with the disk".to_owned(),
            );
        }
        troubles
    }
}

/// What a probe says, for whoever reports it: plain data.
pub mod probe {
    pub use gpu::Codec;
    pub use gpu::probe::{Ability, Device, Driver, Probe};
}

/// Models, as a node offers them: bytes that were read, and the library that runs them.
pub mod model {
    pub use gpu::model::{Error, Model, Runtime, Source};
}

/// Payments, as a node and its benches speak of them.
pub mod tickets {
    pub use crate::lane::ticket::{BATCH_TICKETS, REFUSALS};
    pub use ticket::verify::{Known, Limits, Portable, Reference, Verifier};
}

/// What this build and this machine can process frames with. Nothing is left running.
pub fn devices() -> probe::Probe {
    gpu::probe()
}
