//! The load: publishers and subscribers on one thread, in an open loop.
//!
//! Chunk `k` of publisher `p` of `P` is due at `start + (k + p / P) / rate`, whatever the server does: a server that falls
//! behind is given the next chunk all the same, and pays for both. Every subscriber checks every byte.
//!
//! ```text
//!    settle       warm-up                window                     drain
//!  ├────────┼────────────────┼────────────────────────────────┼──────────────┤
//!  connect  first chunk      Moment::WindowStart              Moment::WindowEnd, then wait for stragglers
//! ```

mod floor;
mod tally;
mod trickle;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::{self, SECOND, Timer};
use crate::net::{Net, Token};

pub use tally::{LATENESS_NS_MAX, OWN_CPU_SHARE_MAX, Tally};

/// What kind of server is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A trickle server, spoken to in HTTP/1.1 as real clients do.
    Trickle,
    /// The [floor](crate::floor).
    Floor,
}

/// What to send where.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server's kind.
    pub target: Target,
    /// The server's address.
    pub addr: SocketAddr,
    /// The path under which a trickle server keeps its channels, slashes included.
    pub base: String,
    /// How many publish, each to a channel of its own.
    pub publishers: u32,
    /// How many listen to each.
    pub subscribers_each: u32,
    /// Length of a chunk.
    pub chunk_bytes: usize,
    /// Chunks a second, each publisher.
    pub chunks_per_second: u32,
    /// How long to run before measuring.
    pub warmup: Duration,
    /// How long to measure.
    pub window: Duration,
    /// Length of a trickle segment.
    pub segment: Duration,
}

/// A moment that a caller may want to know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The first measured chunk is due.
    WindowStart,
    /// The last measured chunk was due.
    WindowEnd,
}

/// Why a load came to nothing.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// What went wrong, in words for an operator.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl Plan {
    /// Carries the plan out.
    ///
    /// # Errors
    /// The server cannot be reached, broke a connection, or answered what it should not have.
    pub fn run(&self, mut moment: impl FnMut(Moment)) -> Result<Tally, Failure> {
        let mut peers: Box<dyn Peers> = match self.target {
            Target::Floor => Box::new(floor::Floor::default()),
            Target::Trickle => Box::new(trickle::Trickle::new(self)?),
        };
        let mut load = Load {
            net: Net::new()?,
            timer: Timer::new()?,
            tally: Tally::new(self),
            events: Vec::new(),
            buffer: vec![0; READ_BYTES],
        };
        load.net.watch(load.timer.fd(), TIMER)?;
        peers.start(self, &mut load.net)?;
        let start_ns = clock::now_ns() + SETTLE_NS;
        load.serve_until(start_ns, &mut *peers)?;

        let (warmup, total) = (self.warmup_chunks(), self.chunks());
        for number in 0..total {
            for group in 0..self.publishers {
                let due_ns = start_ns + self.due_ns(number, group);
                load.serve_until(due_ns, &mut *peers)?;
                if number == warmup && group == 0 {
                    moment(Moment::WindowStart);
                    load.tally.open_window();
                }
                load.tally
                    .record_lateness(number, clock::now_ns().saturating_sub(due_ns));
                let pattern = load.tally.pattern();
                let header = pattern.header(group, number, due_ns);
                let chunk = [&header[..], pattern.body(&header)];
                peers.send(&mut load.net, group, number, chunk)?;
            }
        }
        let end_ns = start_ns + self.due_ns(total, 0);
        load.serve_until(end_ns, &mut *peers)?;
        load.tally.close_window();
        moment(Moment::WindowEnd);

        peers.end(&mut load.net)?;
        let step_ns = SECOND / 100;
        let mut now_ns = end_ns;
        while !load.tally.is_complete() && now_ns < end_ns + DRAIN_NS {
            now_ns += step_ns;
            load.serve_until(now_ns, &mut *peers)?;
        }
        drop(load.net);
        peers.clean_up()?;
        Ok(load.tally)
    }

    /// Chunks that each publisher sends.
    pub(crate) fn chunks(&self) -> u64 {
        self.warmup_chunks() + self.chunks_in(self.window).max(1)
    }

    /// Those of them that are not measured.
    pub(crate) fn warmup_chunks(&self) -> u64 {
        self.chunks_in(self.warmup)
    }

    fn segment_chunks(&self) -> u64 {
        self.chunks_in(self.segment).max(1)
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // durations of a bench, rounded to whole chunks
    fn chunks_in(&self, time: Duration) -> u64 {
        (time.as_secs_f64() * f64::from(self.chunks_per_second)).round() as u64
    }

    /// When a chunk is due, after the start. Publishers take turns within the interval.
    fn due_ns(&self, number: u64, group: u32) -> u64 {
        let turn = number * u64::from(self.publishers) + u64::from(group);
        turn * SECOND / (u64::from(self.publishers) * u64::from(self.chunks_per_second))
    }
}

/// The clients of one kind of server.
trait Peers {
    /// Connects everybody.
    fn start(&mut self, plan: &Plan, net: &mut Net) -> Result<(), Failure>;
    /// Publishes one chunk.
    fn send(
        &mut self,
        net: &mut Net,
        group: u32,
        number: u64,
        chunk: [&[u8]; 2],
    ) -> Result<(), Failure>;
    /// Takes what a socket received; no bytes are its end.
    fn handle_bytes(
        &mut self,
        net: &mut Net,
        token: Token,
        bytes: &[u8],
        now_ns: u64,
        tally: &mut Tally,
    ) -> Result<(), Failure>;
    /// Publishes no more.
    fn end(&mut self, net: &mut Net) -> Result<(), Failure>;
    /// Leaves the server as it was found; every socket is closed already.
    fn clean_up(&mut self) -> Result<(), Failure>;
}

struct Load {
    net: Net,
    timer: Timer,
    tally: Tally,
    events: Vec<crate::net::Event>,
    buffer: Vec<u8>,
}

impl Load {
    /// Serves the sockets until `until_ns`, and at least once.
    ///
    /// Whatever was ready is served before the next chunk goes out, so a generator that cannot keep up is late, and is
    /// seen to be; were publishing to go first, it would be on time and read too little.
    fn serve_until(&mut self, until_ns: u64, peers: &mut dyn Peers) -> Result<(), Failure> {
        self.timer.arm(until_ns)?;
        loop {
            let is_due = clock::now_ns() >= until_ns;
            self.net.wait(&mut self.events, is_due.then_some(0))?;
            for event in &self.events {
                if event.token == TIMER {
                    continue;
                }
                if event.writable {
                    self.net.flush(event.token)?;
                }
                if event.readable
                    && let Some(count) = self.net.read(event.token, &mut self.buffer)?
                {
                    let now_ns = clock::now_ns();
                    peers.handle_bytes(
                        &mut self.net,
                        event.token,
                        &self.buffer[..count],
                        now_ns,
                        &mut self.tally,
                    )?;
                }
            }
            if clock::now_ns() >= until_ns {
                return Ok(());
            }
        }
    }
}

const TIMER: Token = usize::MAX;
/// Sixteen chunks of 16 KiB; a subscriber that fell behind catches up in few reads.
const READ_BYTES: usize = 256 << 10;
/// For the server to have seen every hello and parked every GET.
const SETTLE_NS: u64 = SECOND / 2;
/// How long stragglers may take after the last chunk.
const DRAIN_NS: u64 = 3 * SECOND;
