//! Trickle as a value: bytes and time in, spans and actions out.
//!
//! Trickle is a segmented publish-subscribe protocol on HTTP/1.1. A *channel* is a named sequence of *segments*; a
//! publisher POSTs a segment and its bytes reach every subscriber while they arrive; a subscriber GETs a segment and is
//! parked until its first byte. This crate is the whole server side of that protocol and knows nothing of sockets,
//! tasks, clocks or media:
//!
//! ```text
//!    bytes ──▶ Conn::handle_bytes ──▶ Request ──▶ Conn::begin ─┐
//!    pages ──▶ Conn::handle_span  ─────────────────────────────┼──▶ Hub ──▶ Channel ──▶ Segment ──▶ spans
//!     time ──▶ Conn::handle_timeout, Hub::handle_timeout ──────┘                           │
//!   socket ◀── Conn::with_output, Conn::advance ◀──── one cursor a reader ◀────────────────┘
//! ```
//!
//! Invariants:
//! - Time ([`Millis`]) and payload memory ([`Span`]) are handed in; nothing here asks the world for anything.
//! - A byte of payload is stored once. A reader is a cursor; a slow one costs its cursor and, at worst, itself.
//! - A segment only grows, then closes, once. What a reader was promised it gets, or its connection is cut: never a
//!   chunked body that ends cleanly but short.
//! - The write head of a channel never goes back, but for an explicit new epoch ([`channel`]).
//! - Every wait of a connection has a deadline ([`Conn::deadline`]) or ends with its segment.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod channel;
pub mod conn;
pub mod http;
pub mod hub;
pub mod name;
pub mod request;
pub mod segment;

pub use channel::{Channel, ChannelRef};
pub use conn::{Conn, Wants};
pub use hub::{Hub, HubConfig};
pub use name::{Home, split_token};
pub use request::{Parsed, Request};
pub use segment::{Segment, SegmentRef};

/// A moment, in milliseconds since an arbitrary start; only differences mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// The moment `ms` later.
    #[must_use]
    pub const fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds since `earlier`, 0 if that is in the future.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A run of payload bytes that someone else owns and that never changes again.
pub trait Span: Clone {
    /// The bytes.
    fn bytes(&self) -> &[u8];
    /// A part of it, sharing the same memory.
    #[must_use]
    fn slice(&self, range: core::ops::Range<usize>) -> Self;
}

/// Plain bytes on the heap: for tests, and for what control publishes.
impl Span for alloc::rc::Rc<[u8]> {
    fn bytes(&self) -> &[u8] {
        self
    }
    fn slice(&self, range: core::ops::Range<usize>) -> Self {
        self[range].into()
    }
}

/// Names a waiting connection or pipeline to the shell, which knows how to wake it.
pub type Waiter = u32;
