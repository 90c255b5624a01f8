//! A chunk on its way from a publisher's socket to its readers', without the sockets.
//!
//! ```text
//!   a read ends in a page ─▶ Conn::handle_span ─▶ Hub ─▶ drain_woken ─▶ for each reader:
//!                                                                       handle_wake, with_output, advance, handle_wake
//! ```
//!
//! The steps are those of the engine's driver (`engine/src/shard/conn.rs`), in its order; the gathered write takes all that it
//! is offered. A round is the middle of a segment: its head, its first chunk, which carries the readers' response heads, and
//! its end are gone through before the round, and the pages of old segments are given back there.
//!
//! The payload itself is not written: a socket would put it into the page, and the system's copying is not ours.

use std::hint::black_box;
use std::ops::Range;

use handoff::page::{PageMut, Size, Slab};
use trickle::conn::{Step, Timing};
use trickle::{Conn, Hub, HubConfig, Millis, Waiter, Wants};

use super::http::{BASE, CHUNK_BYTES};
use super::{Body, Round};

/// Chunks of a round: a segment of two seconds at 30 a second, less the first.
const CHUNKS: u64 = 59;
/// A chunk with its line before and its line break after.
const LINE: &[u8] = b"4000\r\n";
const WIRE_BYTES: usize = LINE.len() + CHUNK_BYTES + 2;
/// Five segments held and one that grows, at three chunks a page, are 120 pages of 64 KiB; four times that.
const SLAB_BYTES: usize = 32 << 20;
/// From chunk to chunk.
const PERIOD_MS: u64 = 33;

const TIMING: Timing = Timing {
    keep_alive_ms: 120_000,
    head_ms: 10_000,
    lag_ms: 30_000,
    head_bytes_max: 16 << 10,
};

/// What the engine stores of payload: a span, and when it was read.
#[derive(Debug, Clone)]
struct Payload {
    span: handoff::page::Span,
    read_at_us: u64,
}

impl trickle::Span for Payload {
    fn bytes(&self) -> &[u8] {
        &self.span
    }

    fn slice(&self, range: Range<usize>) -> Self {
        Self {
            span: self.span.slice(range),
            read_at_us: self.read_at_us,
        }
    }
}

/// A channel with one publisher and its readers.
pub(super) struct FanOut {
    hub: Hub<Payload>,
    slab: Slab,
    page: Option<PageMut>,
    publisher: Conn<Payload>,
    readers: Vec<Conn<Payload>>,
    woken: Vec<Waiter>,
    segments: u64,
    now: Millis,
}

impl FanOut {
    pub(super) fn new(readers: u32) -> Self {
        let now = Millis(0);
        let mut hub = Hub::new(HubConfig::default());
        hub.create("units", "video/mp2t", None, now)
            .expect("an empty hub has room for a channel");
        Self {
            hub,
            slab: Slab::new(SLAB_BYTES),
            page: None,
            publisher: Conn::new(readers, TIMING, now),
            readers: (0..readers)
                .map(|waiter| Conn::new(waiter, TIMING, now))
                .collect(),
            woken: Vec::new(),
            segments: 0,
            now,
        }
    }

    /// A read of the publisher's socket brings one chunk. Returns the payload that was delivered.
    fn chunk(&mut self) -> usize {
        self.now = self.now.plus(PERIOD_MS);
        let has_room = |page: &PageMut| page.spare_len() >= WIRE_BYTES;
        let page = self.page.take().filter(has_room);
        let Some(mut page) = page.or_else(|| self.slab.take(Size::Large)) else {
            return 0;
        };
        let spare = page.spare_mut();
        spare[..LINE.len()].copy_from_slice(LINE);
        spare[WIRE_BYTES - 2..WIRE_BYTES].copy_from_slice(b"\r\n");
        let payload = Payload {
            span: page.commit(WIRE_BYTES),
            read_at_us: self.now.0 * 1000,
        };
        self.page = Some(page);
        self.publisher
            .handle_span(&mut self.hub, &payload, self.now);
        self.deliver()
    }

    /// Polls everyone who was woken, as the executor would.
    fn deliver(&mut self) -> usize {
        let mut delivered = 0;
        self.hub.drain_woken(&mut self.woken);
        for waiter in self.woken.drain(..) {
            if let Some(reader) = self.readers.get_mut(waiter as usize) {
                reader.handle_wake(&mut self.hub, self.now);
                reader.handle_timeout(&mut self.hub, self.now);
                delivered += send(reader, &mut self.hub, self.now);
            }
        }
        delivered
    }

    /// Ends the segment, if there is one: the publisher and every reader are answered and ask again.
    fn end_segment(&mut self) {
        if self.segments == 0 {
            return;
        }
        let page = self.slab.take(Size::Small);
        let mut page = page.expect("the slab is larger than what the channel holds");
        let payload = Payload {
            span: page.fill(b"0\r\n\r\n"),
            read_at_us: self.now.0 * 1000,
        };
        self.publisher
            .handle_span(&mut self.hub, &payload, self.now);
        self.deliver();
        send(&mut self.publisher, &mut self.hub, self.now);
    }

    fn begin_segment(&mut self) {
        self.page = None;
        let segment = self.segments;
        self.segments += 1;
        let head = format!(
            "POST {BASE}units/{segment} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        ask(&mut self.publisher, &mut self.hub, &head, self.now);
        let head = format!("GET {BASE}units/{segment} HTTP/1.1\r\nHost: x\r\n\r\n");
        for reader in &mut self.readers {
            ask(reader, &mut self.hub, &head, self.now);
        }
        // It wakes nobody who waits for payload, but it must not wait in the list either.
        self.deliver();
        assert_eq!(self.publisher.wants(), Wants::Span, "it may publish");
    }
}

impl Body for FanOut {
    fn round(&self) -> Round {
        Round {
            operations: CHUNKS * self.readers.len() as u64,
            bytes: None,
        }
    }

    fn prepare(&mut self) {
        self.end_segment();
        self.begin_segment();
        let first = self.chunk();
        assert_eq!(first, CHUNK_BYTES * self.readers.len(), "all are served");
    }

    fn run(&mut self) -> u64 {
        let delivered: usize = (0..CHUNKS).map(|_| self.chunk()).sum();
        (delivered / CHUNK_BYTES) as u64
    }
}

/// Hands a request head to a connection and serves it.
fn ask(conn: &mut Conn<Payload>, hub: &mut Hub<Payload>, head: &str, now: Millis) {
    let Step::Request(request) = conn.handle_bytes(BASE, head.as_bytes(), now) else {
        panic!("a whole head is a request: {head:?}");
    };
    conn.begin(hub, *request, now);
    send(conn, hub, now);
}

/// Sends what there is, then waits for more. Returns the payload among it.
fn send(conn: &mut Conn<Payload>, hub: &mut Hub<Payload>, now: Millis) -> usize {
    let mut payload = 0;
    while let Some(n) = conn.with_output(|slices| gathered_write(black_box(slices))) {
        payload += conn.advance(n, now);
        if !conn.has_output() {
            break;
        }
    }
    conn.handle_wake(hub, now);
    black_box((conn.has_request_bytes(), conn.wants(), conn.deadline()));
    payload
}

/// A socket with room for everything.
fn gathered_write(slices: &[&[u8]]) -> usize {
    slices.iter().map(|slice| slice.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_does_not_grow_from_segment_to_segment() {
        let mut fan_out = FanOut::new(3);
        let mut used = Vec::new();
        for _ in 0..20 {
            fan_out.prepare();
            assert_eq!(fan_out.run(), CHUNKS * 3);
            used.push(fan_out.slab.used_bytes());
        }
        assert_eq!(used[10], used[19]);
        assert!(fan_out.slab.peak_bytes() < SLAB_BYTES);
    }

    #[test]
    fn the_line_says_how_long_a_chunk_is() {
        assert_eq!(LINE, format!("{CHUNK_BYTES:x}\r\n").as_bytes());
    }
}
