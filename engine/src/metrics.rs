//! Plain counters a shard keeps for itself and copies out on request; no cache line is shared.

use std::cell::RefCell;

/// What the shards have counted since they started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Connections open now.
    pub connections: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections refused because the shard was full.
    pub refused: u64,
    /// Connections that moved to the shard that owns their channel.
    pub moved: u64,
    /// Connections handed to the control plane.
    pub visitors: u64,
    /// Channels open now.
    pub channels: u64,
    /// Payload bytes received by publishers' requests.
    pub bytes_in: u64,
    /// Payload bytes sent to subscribers.
    pub bytes_out: u64,
    /// Reads that brought payload.
    pub chunks_in: u64,
    /// Chunks sent.
    pub chunks_out: u64,
    /// Publishers that vanished in the middle of a segment.
    pub aborts: u64,
    /// Readers cut because they held evicted segments too long.
    pub readers_cut: u64,
    /// Segments ended early because a bound was reached.
    pub segments_capped: u64,
    /// Requests that were not understood.
    pub bad_requests: u64,
    /// TLS handshakes that failed.
    pub tls_failures: u64,
    /// Bytes of pages in use now.
    pub page_bytes: u64,
    /// The most bytes of pages that were in use at once.
    pub page_bytes_peak: u64,
    /// Live sessions now.
    pub sessions: u64,
    /// Lanes that have been in one device call for too long, now.
    pub lanes_stuck: u64,
    /// Tasks that panicked and took only their own connection or session with them.
    pub panics: u64,
}

impl Metrics {
    /// The counters of two shards together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            accepted: self.accepted + other.accepted,
            refused: self.refused + other.refused,
            moved: self.moved + other.moved,
            visitors: self.visitors + other.visitors,
            channels: self.channels + other.channels,
            bytes_in: self.bytes_in + other.bytes_in,
            bytes_out: self.bytes_out + other.bytes_out,
            chunks_in: self.chunks_in + other.chunks_in,
            chunks_out: self.chunks_out + other.chunks_out,
            aborts: self.aborts + other.aborts,
            readers_cut: self.readers_cut + other.readers_cut,
            segments_capped: self.segments_capped + other.segments_capped,
            bad_requests: self.bad_requests + other.bad_requests,
            tls_failures: self.tls_failures + other.tls_failures,
            page_bytes: self.page_bytes + other.page_bytes,
            page_bytes_peak: self.page_bytes_peak + other.page_bytes_peak,
            sessions: self.sessions + other.sessions,
            lanes_stuck: self.lanes_stuck + other.lanes_stuck,
            panics: self.panics + other.panics,
        }
    }
}

/// The counters a shard bumps as it goes.
#[derive(Debug, Default)]
pub(crate) struct Counters(RefCell<Metrics>);

/// Names one counter.
type Pick = fn(&mut Metrics) -> &mut u64;

impl Counters {
    /// Adds to one counter.
    pub(crate) fn add(&self, pick: Pick, n: u64) {
        *pick(&mut self.0.borrow_mut()) += n;
    }

    /// What was counted.
    pub(crate) fn read(&self) -> Metrics {
        *self.0.borrow()
    }
}
