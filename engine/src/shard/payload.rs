//! What the relay stores: a span of a page, and when it was read off its socket.

use std::ops::Range;

/// Payload with the time of its arrival.
#[derive(Debug, Clone)]
pub(crate) struct Payload {
    pub(crate) span: handoff::page::Span,
    /// Microseconds on the shard's clock.
    pub(crate) read_at_us: u64,
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
