//! HTTP as the engine reads it: a request head, and the chunks of a body.

use std::hint::black_box;

use trickle::http::{Body as Framing, Piece};
use trickle::request::{self, Action, Parsed};

use super::{Body, Round};

/// The path under which channels live.
pub(super) const BASE: &str = "/ai/trickle/";
/// What a Go publisher sends ahead of a segment.
const POST: &str = "POST /ai/trickle/5f0c9a7e-3b1d-4a86-9c55-20c1de8f7a10-out/1207 HTTP/1.1\r\n\
    Host: 203.0.113.7:8935\r\nUser-Agent: Go-http-client/1.1\r\nTransfer-Encoding: chunked\r\n\
    Content-Type: video/MP2T\r\nAccept-Encoding: gzip\r\n\r\n";
/// What a Go subscriber sends.
const GET: &str = "GET /ai/trickle/5f0c9a7e-3b1d-4a86-9c55-20c1de8f7a10-out/1207 HTTP/1.1\r\n\
    Host: 203.0.113.7:8935\r\nUser-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n\r\n";
/// Heads of a round: one alone is over before a clock has noticed.
const HEADS: u64 = 64;

/// Payload of a chunk: a read of the usual publisher.
pub(super) const CHUNK_BYTES: usize = 16 << 10;
/// Chunks of a round.
const CHUNKS: usize = 64;
/// What the engine reads from a socket at once: a large page.
const READ_BYTES: usize = handoff::page::LARGE;

/// One head, again and again.
pub(super) struct Heads {
    /// On the heap, where it is aligned alike in every build; the search for a byte goes by words.
    head: Vec<u8>,
    is_publish: bool,
}

impl Heads {
    pub(super) fn post() -> Self {
        Self {
            head: POST.into(),
            is_publish: true,
        }
    }

    pub(super) fn get() -> Self {
        Self {
            head: GET.into(),
            is_publish: false,
        }
    }
}

impl Body for Heads {
    fn round(&self) -> Round {
        Round {
            operations: HEADS,
            bytes: Some(HEADS * self.head.len() as u64),
        }
    }

    fn run(&mut self) -> u64 {
        let mut understood = 0;
        for _ in 0..HEADS {
            let parsed = request::parse(BASE, black_box(&self.head));
            let Parsed::Trickle { request, .. } = black_box(parsed) else {
                continue;
            };
            understood += match request.action {
                Action::Publish(_) => u64::from(self.is_publish),
                Action::Subscribe(_) => u64::from(!self.is_publish),
                _ => 0,
            };
        }
        understood
    }
}

/// A chunked body, in the pieces that a socket gives.
pub(super) struct Chunks {
    wire: Vec<u8>,
}

impl Chunks {
    pub(super) fn new() -> Self {
        let mut wire = Vec::new();
        for _ in 0..CHUNKS {
            wire.extend_from_slice(format!("{CHUNK_BYTES:x}\r\n").as_bytes());
            wire.resize(wire.len() + CHUNK_BYTES, 0x47);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n\r\n");
        Self { wire }
    }
}

impl Body for Chunks {
    fn round(&self) -> Round {
        Round {
            operations: CHUNKS as u64,
            bytes: None,
        }
    }

    fn run(&mut self) -> u64 {
        let mut framing = Framing::chunked();
        let (mut payload, mut is_done) = (0, false);
        for read in black_box(&self.wire).chunks(READ_BYTES) {
            let mut at = 0;
            loop {
                match black_box(framing.next(read, &mut at)) {
                    Ok(Piece::Payload(range)) => payload += range.len(),
                    Ok(Piece::Done(_)) => {
                        is_done = true;
                        break;
                    }
                    Ok(Piece::More) | Err(_) => break,
                }
            }
        }
        if is_done {
            (payload / CHUNK_BYTES) as u64
        } else {
            0
        }
    }
}
