//! What the session tests share: an engine whose reports are kept, a publisher, and a watcher that keeps what comes back.
//!
//! - [`clip`] is what is played, and what a stream holds when it is looked at whole.
//! - [`live`] is one session: opened as the control plane opens it, fed and watched over plain sockets.
//! - [`watch`] follows the output as stock subscribers do, the next segment asked for while this one is read.

// Each test binary takes what it needs.
#![allow(dead_code, unused_imports)]

#[path = "../support/client.rs"]
pub(crate) mod client;

pub(crate) mod clip;
pub(crate) mod live;
pub(crate) mod watch;

pub(crate) use client::{Client, Head, Response};
pub(crate) use clip::{Clip, Stream};
pub(crate) use live::{Ended, Live};
pub(crate) use watch::Watcher;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use engine::{Config, Engine, Handle, Limits, TrickleConfig};
use link::{Answer, Command, Control, Engine as _, Refusal, Reply, Report, Visitor};

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Engines of tests that need one of their own, at once; the shared one comes on top.
const OWN_ENGINES_MAX: usize = 2;

/// A running engine.
pub(crate) struct World {
    pub(crate) handle: Handle,
    pub(crate) addr: SocketAddr,
    pub(crate) reports: Arc<Reports>,
    _permit: Option<Permit>,
}

impl World {
    /// The engine that the tests of a binary share: two shards, two lanes.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<World> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(2, None, |_| {}))
    }

    /// An engine of one's own: one shard, one lane.
    pub(crate) fn own(set: impl FnOnce(&mut Config)) -> Self {
        Self::start(1, Some(Permit::take()), set)
    }

    fn start(shards: usize, permit: Option<Permit>, set: impl FnOnce(&mut Config)) -> Self {
        watch_for_panics();
        let mut config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            trickle_listen: None,
            cores: (0..shards).collect(),
            lanes: shards,
            device: engine::Device::Cpu,
            models: Vec::new(),
            trickle: TrickleConfig::default(),
            limits: Limits {
                // Debug builds on busy machines are slow, and these tests are about sessions that run.
                lane_percent: 1_000_000,
                lane_calibration: Duration::ZERO,
                ..Limits::default()
            },
        };
        set(&mut config);
        let reports = Arc::new(Reports::default());
        let handle = Engine::start(config, reports.clone()).expect("the engine starts");
        let addr = handle.local_addr();
        Self {
            handle,
            addr,
            reports,
            _permit: permit,
        }
    }

    /// Hands over a command and waits for its outcome.
    pub(crate) fn command(&self, command: Command) -> Result<Answer, Refusal> {
        let (to, answer) = mpsc::channel();
        self.handle
            .submit(command, Reply::new(move |outcome| drop(to.send(outcome))));
        answer.recv_timeout(PATIENCE).expect("the engine answers")
    }

    /// A name that no other test has.
    pub(crate) fn fresh_name(&self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        format!("{:08x}", 0x5e55_0000 + NEXT.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.addr, None)
    }

    /// Sends `text` on a connection of its own.
    pub(crate) fn send(&self, text: impl AsRef<[u8]>) -> Client {
        let mut client = self.connect();
        client.send(text);
        client
    }

    /// Sends `text` and reads one response.
    pub(crate) fn ask(&self, text: impl AsRef<[u8]>) -> Response {
        self.send(text).response()
    }

    /// Begins a chunked publish, and waits until the server has admitted it.
    pub(crate) fn post(&self, name: &str, seq: u64) -> Client {
        let mut client = self.send(format!(
            "POST /ai/trickle/{name}/{seq} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
        ));
        client.await_continue();
        client
    }

    /// Deletes a channel.
    pub(crate) fn delete(&self, name: &str) -> Response {
        self.ask(format!(
            "DELETE /ai/trickle/{name} HTTP/1.1\r\nHost: x\r\n\r\n"
        ))
    }

    /// Whether there is no such channel.
    pub(crate) fn is_gone(&self, name: &str) -> bool {
        let next = format!("GET /ai/trickle/{name}/next HTTP/1.1\r\nHost: x\r\n\r\n");
        self.ask(next).head.status == 404
    }

    /// Nothing in the engine has panicked, caught or not.
    #[track_caller]
    pub(crate) fn assert_sound(&self) {
        assert_eq!(self.handle.metrics().panics, 0, "tasks that panicked");
        assert_eq!(
            PANICS.load(Ordering::Relaxed),
            0,
            "panics on shards and lanes"
        );
    }
}

/// Panics on the engine's threads, those that were caught as well.
static PANICS: AtomicU64 = AtomicU64::new(0);

fn watch_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current();
            if thread
                .name()
                .is_some_and(|name| name.starts_with("shard") || name.starts_with("lane"))
            {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            before(info);
        }));
    });
}

/// The control plane's stand-in: keeps every report, takes no visitor.
#[derive(Default)]
pub(crate) struct Reports {
    all: Mutex<Vec<Report>>,
    news: Condvar,
}

impl Control for Reports {
    fn report(&self, report: Report) {
        self.lock().push(report);
        self.news.notify_all();
    }

    fn visit(&self, visitor: Visitor) -> Result<(), Visitor> {
        Err(visitor)
    }
}

impl Reports {
    fn lock(&self) -> MutexGuard<'_, Vec<Report>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `pick` makes of the reports so far.
    pub(crate) fn all<T>(&self, pick: impl Fn(&Report) -> Option<T>) -> Vec<T> {
        self.lock().iter().filter_map(pick).collect()
    }

    /// The first report that `pick` wants, at most `patience` from now.
    pub(crate) fn find<T>(
        &self,
        patience: Duration,
        pick: impl Fn(&Report) -> Option<T>,
    ) -> Option<T> {
        let until = Instant::now() + patience;
        let mut all = self.lock();
        loop {
            if let Some(found) = all.iter().find_map(&pick) {
                return Some(found);
            }
            let left = until.checked_duration_since(Instant::now())?;
            all = self
                .news
                .wait_timeout(all, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// Executors pin memory, and the limit on that is small on many machines.
struct Permit;

static IN_USE: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

impl Permit {
    fn take() -> Self {
        let in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut in_use = FREED
            .wait_while(in_use, |in_use| *in_use >= OWN_ENGINES_MAX)
            .unwrap_or_else(PoisonError::into_inner);
        *in_use += 1;
        Self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *IN_USE.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        FREED.notify_all();
    }
}

/// Milliseconds.
pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Waits until `is_so`.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "never came true: {what}");
        std::thread::sleep(ms(10));
    }
}

/// Bytes that look like nothing and are the same every time (SplitMix64).
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut chance = Chance(seed);
    let words = std::iter::repeat_with(|| chance.next().to_le_bytes());
    words.take(len / 8 + 1).flatten().take(len).collect()
}

/// SplitMix64.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// A quantile of some latencies.
pub(crate) fn quantile(all: impl Iterator<Item = Duration>, quantile: f64) -> Duration {
    let mut all: Vec<Duration> = all.collect();
    all.sort_unstable();
    assert!(!all.is_empty(), "something was measured");
    all[((all.len() - 1) as f64 * quantile).round() as usize]
}
