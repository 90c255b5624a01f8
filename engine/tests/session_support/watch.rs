//! The watcher: follows an output channel and keeps every chunk as it came.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::offline::FrameStarts;

use super::{Client, PATIENCE};

/// How long a watcher waits for a segment to begin.
const SEGMENT_PATIENCE: Duration = Duration::from_secs(30);

/// Follows a channel on a thread of its own.
pub(crate) struct Watcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    news: Condvar,
}

/// What came.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) segments: Vec<Segment>,
    /// The status that ended it, once it has.
    pub(crate) over: Option<u16>,
}

/// One segment.
pub(crate) struct Segment {
    pub(crate) seq: u64,
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) ended: bool,
}

pub(crate) struct Chunk {
    pub(crate) at: Instant,
    pub(crate) bytes: Vec<u8>,
    /// The time stamps, 33 bits, of the frames that begin in it.
    pub(crate) frames: Vec<u64>,
}

impl Segment {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.chunks
            .iter()
            .flat_map(|chunk| &chunk.bytes)
            .copied()
            .collect()
    }
}

impl Seen {
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.segments.iter().flat_map(|segment| &segment.chunks)
    }

    pub(crate) fn frames(&self) -> usize {
        self.chunks().map(|chunk| chunk.frames.len()).sum()
    }
}

impl Watcher {
    /// Follows `{name}` from its first segment, with a connection a segment.
    pub(crate) fn start(addr: std::net::SocketAddr, name: &str) -> Self {
        let shared = Arc::new(Shared::default());
        let name = name.to_owned();
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || follow(addr, &name, &shared)
        });
        Self {
            shared,
            thread: Some(thread),
        }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.lock()
    }

    /// Waits until `is_so`; false when it does not come true in time.
    pub(crate) fn wait_within(&self, patience: Duration, is_so: impl Fn(&Seen) -> bool) -> bool {
        let until = Instant::now() + patience;
        let mut seen = self.shared.lock();
        while !is_so(&seen) {
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                return false;
            };
            seen = self
                .shared
                .news
                .wait_timeout(seen, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// Waits until `is_so`.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, is_so: impl Fn(&Seen) -> bool) {
        assert!(
            self.wait_within(PATIENCE, is_so),
            "never came true: {what}; {} frames",
            self.seen().frames()
        );
    }

    /// Waits until nothing has come for `time`.
    pub(crate) fn settle(&self, time: Duration) {
        loop {
            let chunks = self.seen().chunks().count();
            if !self.wait_within(time, |seen| seen.chunks().count() > chunks) {
                return;
            }
        }
    }

    /// Waits for the end of the channel; returns all that came.
    pub(crate) fn finish(mut self) -> Seen {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the watcher saw clean responses");
        }
        std::mem::take(&mut *self.shared.lock())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.lock());
        self.news.notify_all();
    }
}

fn follow(addr: std::net::SocketAddr, name: &str, shared: &Shared) {
    let get = |seq: u64| {
        let mut client = Client::connect(addr, None);
        client.send(format!(
            "GET /ai/trickle/{name}/{seq} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ));
        client
    };
    let mut seq = 0;
    let mut client = get(seq);
    loop {
        let head = client
            .head_within(SEGMENT_PATIENCE)
            .expect("a segment, or the end, in time");
        let is_over = head.get("Lp-Trickle-Closed").is_some();
        match head.status {
            200 if !is_over && head.get("Content-Type").is_some() => {
                let next = get(seq + 1);
                shared.tell(|seen| {
                    seen.segments.push(Segment {
                        seq,
                        chunks: Vec::new(),
                        ended: false,
                    });
                });
                read(&mut client, shared);
                client = next;
                seq += 1;
            }
            // Closed before its first byte: the one after it, if there is more.
            200 if !is_over => {
                seq += 1;
                client = get(seq);
            }
            470 => {
                let latest = head
                    .get("Lp-Trickle-Latest")
                    .and_then(|latest| latest.parse().ok());
                seq = latest.expect("470 names the head");
                client = get(seq);
            }
            status => return shared.tell(|seen| seen.over = Some(status)),
        }
    }
}

fn read(client: &mut Client, shared: &Shared) {
    let mut starts = FrameStarts::default();
    while let Some(bytes) = client.next_chunk() {
        let mut frames = Vec::new();
        starts.push(&bytes, |pts| frames.push(pts));
        let at = Instant::now();
        shared.tell(|seen| {
            let segment = seen.segments.last_mut().expect("it has begun");
            segment.chunks.push(Chunk { at, bytes, frames });
        });
    }
    shared.tell(|seen| seen.segments.last_mut().expect("it has begun").ended = true);
}
