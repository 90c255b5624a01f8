//! One core's world and its pump.
//!
//! A shard owns its channels, pages, connections and sessions; nobody else touches them. Everything inside is `Rc` and
//! `Cell`; what comes from outside comes through one mailbox.
//!
//! Invariants worth naming:
//! - A channel is on the shard that its name hashes to ([`trickle::Home`]); sockets move to it, bytes do not.
//! - Bytes are read into pages and sent from pages. No lock, and no allocation a chunk, lies on that way.
//! - Nobody is woken inside a mutation. [`Shard::ring`] wakes all whose segment changed, once a batch.
//! - No task blocks the thread, and none waits for another shard.

mod accept;
mod conn;
mod door;
pub(crate) mod local;
pub(crate) mod net;
pub(crate) mod payload;
mod route;
mod till;
mod tls;
mod wake;
mod wire;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::Poll;
use std::time::{Duration, Instant};

use handoff::page::{PageMut, Size, Slab};
use handoff::ring::{Receiver, Sender};
use link::{Answer, Command, Refusal, Reply};
use trickle::conn::Timing;
use trickle::hub::SWEEP_MS;
use trickle::{Hub, HubConfig, Millis};

use crate::config::Config;
use crate::fatal;
use crate::lane::ticket::ShardWindow;
use crate::limits::{HEAD_BYTES, MESSAGE_BYTES, SCRATCH_BYTES};
use crate::metrics::{Counters, Metrics};
use crate::pipeline::Sessions;
use payload::Payload;
use route::Migrant;
use till::Till;
pub(crate) use till::read_head;
use wake::Sleepers;
use wire::Entrance;

/// How long a stopping shard waits for its tasks to take leave.
const FAREWELL: Duration = Duration::from_millis(500);
/// How often a shard without connections looks around.
const IDLE_BEAT: Duration = Duration::from_millis(100);
/// How many heartbeats long the pause is where a heartbeat is not needed.
const QUIET_BEATS: u32 = 4;
/// Events between two beats that make the next event likelier than the next beat.
const DENSE_EVENTS: u32 = 8;
/// Sleepers that act at once in one ring; at 10 µs each, a fraction of a frame interval.
const PROMPT_MAX: usize = 256;
/// Messages taken from the mailbox before others get a turn.
const MAIL_MAX: usize = 64;

/// What reaches a shard from outside.
pub(crate) enum Message {
    /// A connection whose channel lives here, or a private one.
    Migrant(Migrant),
    /// Something the control plane wants.
    Command(Command, Reply),
    /// Someone wants to know the counters.
    Metrics(mpsc::Sender<Metrics>),
    /// Take no new session.
    RefuseSessions,
    /// End every session and take no new one.
    Drain,
    /// Stop.
    Stop,
}

impl Message {
    /// A private stream to serve.
    pub(crate) fn private(fd: OwnedFd) -> Self {
        Self::Migrant(Migrant::private(fd))
    }
}

/// One core's world.
pub(crate) struct Shard {
    pub(crate) index: usize,
    pub(crate) config: Arc<Config>,
    pub(crate) control: Arc<dyn link::Control>,
    pub(crate) hub: RefCell<Hub<Payload>>,
    pub(crate) slab: Slab,
    pub(crate) sleepers: Sleepers,
    pub(crate) counters: Counters,
    peers: Vec<Sender<Message>>,
    timing: Timing,
    scratch: RefCell<Scratch>,
    woken: RefCell<Vec<trickle::Waiter>>,
    connections: Cell<usize>,
    events: Cell<u32>,
    pub(crate) stopping: Cell<bool>,
    epoch: Instant,
    sessions: Sessions,
    /// Where payments are taken, if any are.
    till: Option<Till>,
}

/// Where bytes pass through that do not go into a page.
struct Scratch {
    clear: Box<[u8]>,
    cipher: Box<[u8]>,
}

/// What a shard is started with.
pub(crate) struct Start {
    pub(crate) index: usize,
    pub(crate) config: Arc<Config>,
    pub(crate) control: Arc<dyn link::Control>,
    pub(crate) peers: Vec<Sender<Message>>,
    pub(crate) mailbox: Receiver<Message>,
    pub(crate) lanes: crate::lane::Lanes,
    pub(crate) window: Option<ShardWindow>,
    /// Where to listen, and where to say that it does.
    pub(crate) listen: Addrs,
    pub(crate) ready: mpsc::Sender<Result<Addrs, String>>,
}

/// Where a shard listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addrs {
    /// For all.
    pub(crate) public: SocketAddr,
    /// For trickle alone.
    pub(crate) trickle: Option<SocketAddr>,
}

/// A shard's listening sockets.
struct Listeners {
    public: net::Listener,
    trickle: Option<net::Listener>,
}

impl Listeners {
    /// Opens them; and says where they are, since port 0 is any.
    fn open(at: Addrs) -> Result<(Self, Addrs), String> {
        let bind = |addr| {
            net::Listener::bind(addr)
                .and_then(|listener| Ok((listener.local_addr()?, listener)))
                .map_err(|error| format!("cannot listen on {addr}: {error}"))
        };
        let (public_addr, public) = bind(at.public)?;
        let (trickle_addr, trickle) = at.trickle.map(bind).transpose()?.unzip();
        let addrs = Addrs {
            public: public_addr,
            trickle: trickle_addr,
        };
        Ok((Self { public, trickle }, addrs))
    }
}

/// A shard's whole life, on its own thread.
pub(crate) async fn run(start: Start) {
    let Start {
        index,
        config,
        control,
        peers,
        mailbox,
        lanes,
        window,
        listen,
        ready,
    } = start;
    let listeners = match Listeners::open(listen) {
        Ok((listeners, addrs)) => {
            let _ = ready.send(Ok(addrs));
            listeners
        }
        Err(why) => {
            let _ = ready.send(Err(why));
            return;
        }
    };
    drop(ready);
    let _guard = fatal::Guard(fatal::Reason::ShardPanicked);
    let shard = Rc::new(Shard::new(index, config, control, peers, lanes, window));
    net::spawn_task(Till::run(shard.clone()));
    let Listeners { public, trickle } = listeners;
    net::spawn_task(accept::run(shard.clone(), public, Entrance::Public));
    if let Some(listener) = trickle {
        net::spawn_task(accept::run(shard.clone(), listener, Entrance::Trickle));
    }
    net::spawn_task(beat(shard.clone()));
    pump(&shard, mailbox).await;
    shard.farewell().await;
}

/// Takes the mail until told to stop.
async fn pump(shard: &Rc<Shard>, mailbox: Receiver<Message>) {
    loop {
        std::future::poll_fn(|cx| mailbox.poll_wait(cx)).await;
        for _ in 0..MAIL_MAX {
            match mailbox.pop() {
                Some(Message::Stop) => return,
                Some(message) => shard.handle(message),
                None if mailbox.is_abandoned() => return,
                None => break,
            }
        }
        shard.ring();
        net::sleep(Duration::ZERO).await;
    }
}

/// The shard's one timer: deadlines, sweeps, and the beat that no wake-up can be lost for longer than.
async fn beat(shard: Rc<Shard>) {
    let mut sweep_at = shard.now();
    while !shard.stopping.get() {
        net::sleep(shard.next_beat()).await;
        let now = shard.now();
        shard.sleepers.wake_due(now);
        if now >= sweep_at {
            sweep_at = now.plus(SWEEP_MS);
            shard.hub.borrow_mut().handle_timeout(now);
            shard.announce_changes(now);
            shard.ring();
        }
    }
}

impl Shard {
    fn new(
        index: usize,
        config: Arc<Config>,
        control: Arc<dyn link::Control>,
        peers: Vec<Sender<Message>>,
        lanes: crate::lane::Lanes,
        window: Option<ShardWindow>,
    ) -> Self {
        let limits = &config.limits;
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let hub = HubConfig {
            autocreate: config.trickle.autocreate,
            owner_delete: config.trickle.owner_delete,
            changefeed: config.trickle.changefeed,
            idle_ms: ms(config.trickle.idle),
            abort_grace_ms: ms(config.trickle.abort_grace),
            channels_max: limits.channels,
            segment_bytes_max: limits.segment_bytes,
            channel_bytes_max: limits.channel_bytes,
        };
        let timing = Timing {
            keep_alive_ms: ms(limits.keep_alive),
            head_ms: ms(limits.head),
            lag_ms: ms(limits.lag),
            head_bytes_max: HEAD_BYTES,
        };
        let shard = Self {
            index,
            hub: RefCell::new(Hub::new(hub)),
            slab: Slab::new(limits.page_bytes),
            sleepers: Sleepers::default(),
            counters: Counters::default(),
            peers,
            timing,
            scratch: RefCell::new(Scratch {
                clear: vec![0; SCRATCH_BYTES].into_boxed_slice(),
                cipher: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            }),
            woken: RefCell::new(Vec::new()),
            connections: Cell::new(0),
            events: Cell::new(0),
            stopping: Cell::new(false),
            epoch: Instant::now(),
            sessions: Sessions::new(lanes),
            till: window.map(Till::new),
            config,
            control,
        };
        if shard.config.trickle.changefeed && shard.is_home(trickle::hub::CHANGEFEED) {
            let _ = shard.hub.borrow_mut().create(
                trickle::hub::CHANGEFEED,
                "application/json",
                None,
                shard.now(),
            );
        }
        shard
    }

    /// Notes that something happened on this shard.
    fn note_event(&self) {
        self.events.set(self.events.get().wrapping_add(1));
    }

    /// How long until the next beat. A beat costs what a dozen system calls cost, so there is one only where it is needed: with
    /// nothing going on, nothing can be overlooked; with much going on, the next event comes sooner than a beat would.
    fn next_beat(&self) -> Duration {
        let events = self.events.replace(0);
        match events {
            0 if self.connections.get() == 0 && self.sessions.is_empty() => IDLE_BEAT,
            0 => net::HEARTBEAT * QUIET_BEATS,
            _ if events >= DENSE_EVENTS => net::HEARTBEAT * QUIET_BEATS,
            _ => net::HEARTBEAT,
        }
    }

    /// The shard's clock.
    pub(crate) fn now(&self) -> Millis {
        Millis(u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// The shard's clock, finer.
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// When the shard's clock began.
    pub(crate) const fn epoch(&self) -> Instant {
        self.epoch
    }

    /// Wakes everyone whose segment changed since the last ring. Who can act at once does so here, while the bytes that it is woken
    /// for are in the cache; the first [`PROMPT_MAX`] only, so that no ring takes long. What that changes is rung for as well.
    pub(crate) fn ring(&self) {
        // A ring within a ring leaves its work to the outer one.
        let Ok(mut woken) = self.woken.try_borrow_mut() else {
            return;
        };
        let mut acted = 0;
        loop {
            self.hub.borrow_mut().drain_woken(&mut woken);
            if woken.is_empty() {
                return;
            }
            for waiter in woken.drain(..) {
                let is_done = acted < PROMPT_MAX
                    && self
                        .sleepers
                        .prompt(waiter)
                        .is_some_and(|prompt| prompt.act());
                if is_done {
                    acted += 1;
                } else {
                    self.sleepers.wake(waiter);
                }
            }
        }
    }

    /// Takes a page; if there is none, first takes back what only laggards hold.
    pub(crate) fn take_page(&self, size: Size) -> Option<PageMut> {
        if let Some(page) = self.slab.take(size) {
            return Some(page);
        }
        // Laggards' segments give up their spans at once, so their pages are free when this returns.
        let relieved = self.hub.borrow_mut().relieve();
        relieved.then(|| self.slab.take(size)).flatten()
    }

    fn is_home(&self, name: &str) -> bool {
        trickle::Home::of(name).shard(self.peers.len()) == self.index
    }

    fn handle(self: &Rc<Self>, message: Message) {
        match message {
            Message::Migrant(migrant) => accept::admit(self, migrant.settle()),
            Message::Command(command, reply) => self.command(command, reply),
            Message::Metrics(to) => {
                let _ = to.send(self.metrics());
            }
            Message::RefuseSessions => self.sessions.refuse_new(),
            Message::Drain => self.sessions.drain(self),
            Message::Stop => {}
        }
    }

    fn command(self: &Rc<Self>, command: Command, reply: Reply) {
        let now = self.now();
        let outcome = match command {
            Command::OpenSession(open) => self.sessions.open(self, open),
            Command::SetProcess {
                manifest_id,
                process,
            } => self.sessions.set_process(self, &manifest_id, process),
            Command::CloseSession { manifest_id } => self.sessions.close(self, &manifest_id),
            Command::CreateChannel {
                name,
                mime,
                owner_token,
            } => self.create_channel(&name, &mime, owner_token.as_deref(), now),
            Command::DeleteChannel { name } => Ok(match self.hub.borrow_mut().delete(&name) {
                Ok(()) => Answer::Done,
                Err(_) => Answer::Already,
            }),
            Command::Publish { name, bytes } => self.publish_whole(&name, &bytes, now),
        };
        self.announce_changes(now);
        reply.send(outcome);
    }

    pub(crate) fn create_channel(
        &self,
        name: &str,
        mime: &str,
        owner: Option<&str>,
        now: Millis,
    ) -> Result<Answer, Refusal> {
        if !trickle::name::is_legal(name) {
            return Err(Refusal::Invalid(format!("`{name}` is not a channel name")));
        }
        match self.hub.borrow_mut().create(name, mime, owner, now) {
            Ok(true) => Ok(Answer::Done),
            Ok(false) => Ok(Answer::Already),
            Err(_) => Err(Refusal::Full("channels")),
        }
    }

    fn publish_whole(&self, name: &str, bytes: &[u8], now: Millis) -> Result<Answer, Refusal> {
        if bytes.len() > MESSAGE_BYTES {
            return Err(Refusal::Invalid(format!(
                "a message of {} bytes; at most {MESSAGE_BYTES}",
                bytes.len()
            )));
        }
        if self.hub.borrow().channel(name).is_none() {
            return Err(Refusal::Unknown);
        }
        let spans = local::fill(self, bytes).ok_or(Refusal::Full("pages"))?;
        self.hub
            .borrow_mut()
            .publish_whole(name, spans, now)
            .map_err(|_| Refusal::Unknown)?;
        Ok(Answer::Done)
    }

    /// Sends what the hub has to announce to the shard that owns the change feed.
    fn announce_changes(&self, now: Millis) {
        if !self.config.trickle.changefeed {
            return;
        }
        let announcements = self.hub.borrow_mut().drain_announcements();
        let home = trickle::Home::of(trickle::hub::CHANGEFEED).shard(self.peers.len());
        for json in announcements {
            let name = trickle::hub::CHANGEFEED.to_owned();
            if home == self.index {
                let _ = self.publish_whole(&name, json.as_bytes(), now);
            } else {
                let command = Command::Publish {
                    name,
                    bytes: json.into_bytes(),
                };
                let _ = self.peers[home].send(Message::Command(command, Reply::ignore()));
            }
        }
    }

    pub(crate) fn remove_session(&self, id: &str) {
        self.sessions.remove(id);
    }

    fn metrics(&self) -> Metrics {
        let hub = self.hub.borrow();
        let stats = hub.stats();
        Metrics {
            connections: self.connections.get() as u64,
            channels: hub.len() as u64,
            aborts: stats.aborts,
            readers_cut: stats.cut,
            segments_capped: stats.capped,
            page_bytes: self.slab.used_bytes() as u64,
            page_bytes_peak: self.slab.peak_bytes() as u64,
            sessions: self.sessions.len() as u64,
            ..self.counters.read()
        }
    }

    /// Ready, with nothing, when the shard stops.
    async fn stopped<T>(&self) -> Option<T> {
        let sleeper = Sleeper {
            shard: self,
            waiter: self.sleepers.register(),
        };
        std::future::poll_fn(|cx| {
            self.sleepers.sleep(sleeper.waiter, cx.waker(), None);
            if self.stopping.get() {
                Poll::Ready(None)
            } else {
                Poll::Pending
            }
        })
        .await
    }

    /// Closes everything and lets the tasks see it. Every task holds the shard, so the last holder knows that all are gone.
    async fn farewell(self: &Rc<Self>) {
        self.sessions.drain(self);
        self.stopping.set(true);
        self.hub.borrow_mut().close_all();
        self.ring();
        let until = Instant::now() + FAREWELL;
        while Instant::now() < until && Rc::strong_count(self) > 1 {
            self.sleepers.wake_all();
            net::sleep(Duration::from_millis(5)).await;
        }
        let left = Rc::strong_count(self) - 1;
        if left > 0 {
            tracing::warn!(
                shard = self.index,
                tasks = left,
                "tasks did not end in time"
            );
        }
    }
}

/// A sleeper that is forgotten when the future that holds it is dropped.
struct Sleeper<'a> {
    shard: &'a Shard,
    waiter: trickle::Waiter,
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        self.shard.sleepers.unregister(self.waiter);
    }
}
