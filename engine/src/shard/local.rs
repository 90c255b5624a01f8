//! Publish and subscribe without a socket: for pipelines, and for what the control plane says.

use handoff::page::Size;
use trickle::hub::{Appended, Publisher, Seq, Subscribed};
use trickle::{ChannelRef, SegmentRef, Waiter};

use super::Shard;
use super::payload::Payload;

/// Copies `bytes` into pages; `None` when there are not enough.
pub(crate) fn fill(shard: &Shard, bytes: &[u8]) -> Option<Vec<Payload>> {
    let mut spans = Vec::with_capacity(1);
    let mut rest = bytes;
    while !rest.is_empty() {
        let size = if rest.len() > Size::Small.bytes() {
            Size::Large
        } else {
            Size::Small
        };
        let mut page = shard.take_page(size)?;
        let span = page.fill(rest);
        rest = &rest[span.len()..];
        spans.push(Payload {
            span,
            read_at_us: shard.now_us(),
        });
    }
    Some(spans)
}

/// Follows a channel from a given segment on, span by span.
pub(crate) struct Tail {
    name: String,
    next: Seq,
    current: Option<Current>,
    waiter: Waiter,
    ticket: Option<u32>,
    begun: u64,
}

struct Current {
    channel: ChannelRef<Payload>,
    segment: SegmentRef<Payload>,
    span: usize,
}

/// What a tail finds next.
pub(crate) enum Found {
    /// Payload.
    Span(Payload),
    /// A segment ended.
    SegmentEnd,
    /// Segments were lost: the follower was too slow, or the publisher skipped some.
    Gap,
    /// Nothing now; the waiter will be woken.
    Nothing,
    /// The channel is closed or gone.
    Closed,
}

impl Tail {
    /// Follows `name` from segment `from`.
    pub(crate) fn new(name: &str, from: u64, waiter: Waiter) -> Self {
        Self {
            name: name.to_owned(),
            next: Seq::At(from),
            current: None,
            waiter,
            ticket: None,
            begun: 0,
        }
    }

    /// Segments of which it has found payload.
    pub(crate) const fn begun(&self) -> u64 {
        self.begun
    }

    /// The next thing that happened.
    pub(crate) fn poll(&mut self, shard: &Shard) -> Found {
        if self.current.is_none()
            && let Err(found) = self.open(shard)
        {
            return found;
        }
        let Some(current) = &mut self.current else {
            return Found::Nothing;
        };
        let mut segment = current.segment.borrow_mut();
        if let Some(payload) = segment.spans().get(current.span) {
            self.begun += u64::from(current.span == 0);
            current.span += 1;
            return Found::Span(payload.clone());
        }
        if !segment.is_closed() {
            segment.wait(self.waiter, &mut self.ticket);
            return Found::Nothing;
        }
        let (cut, seq) = (segment.is_cut(), segment.seq());
        drop(segment);
        let closed = current.channel.borrow().is_closed();
        self.next = Seq::At(seq + 1);
        self.current = None;
        self.ticket = None;
        match () {
            () if closed => Found::Closed,
            () if cut => Found::Gap,
            () => Found::SegmentEnd,
        }
    }

    fn open(&mut self, shard: &Shard) -> Result<(), Found> {
        match shard.hub.borrow_mut().subscribe(&self.name, self.next) {
            Err(_) => Err(Found::Closed),
            Ok(Subscribed::Found {
                channel, segment, ..
            }) => {
                self.current = Some(Current {
                    channel,
                    segment,
                    span: 0,
                });
                Ok(())
            }
            Ok(Subscribed::Missing { .. }) => {
                self.next = Seq::Current;
                Err(Found::Gap)
            }
        }
    }
}

/// Writes a channel, one segment after the other.
pub(crate) struct Pen {
    name: String,
    publisher: Option<Publisher<Payload>>,
}

impl Pen {
    /// Writes `name` from its head on.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            publisher: None,
        }
    }

    /// Adds to the current segment, opening one if there is none. False when the channel is gone or memory is short.
    pub(crate) fn write(&mut self, shard: &Shard, bytes: &[u8]) -> bool {
        let Some(spans) = fill(shard, bytes) else {
            return false;
        };
        let now = shard.now();
        let mut hub = shard.hub.borrow_mut();
        if self.publisher.is_none() {
            self.publisher = hub.open_local(&self.name, now).ok();
        }
        let Some(publisher) = &mut self.publisher else {
            return false;
        };
        spans
            .into_iter()
            .all(|span| hub.append(publisher, span, now) == Appended::Live)
    }

    /// Ends the current segment.
    pub(crate) fn end_segment(&mut self, shard: &Shard) {
        if let Some(publisher) = self.publisher.take() {
            shard.hub.borrow_mut().finish(publisher, shard.now());
        }
    }
}
