//! The sending half of a connection: a cursor into a segment, and the slices of the next gathered write.

use alloc::vec::Vec;

use super::{Conn, Phase, SLICES_MAX, Subscribe};
use crate::http::respond::Head;
use crate::hub::Hub;
use crate::segment::Segment;
use crate::{Millis, Span};

/// The most payload of one chunk.
const CHUNK_BYTES_MAX: u64 = 1 << 20;

/// How far a reader has come.
#[derive(Debug)]
pub(super) struct Delivery {
    chunked: bool,
    /// Whether the response head has been put into the outbox.
    begun: bool,
    /// The next byte to send: which span, and where in it.
    span: usize,
    offset: usize,
    /// Payload sent.
    delivered: u64,
    chunk: Option<Chunk>,
    ended: bool,
    progress_at: Millis,
}

/// One chunk on its way: line, payload, tail. What it holds was fixed when it began; the segment may grow meanwhile.
#[derive(Debug)]
struct Chunk {
    line: [u8; 18],
    line_len: u8,
    line_sent: u8,
    payload_left: u64,
    tail: &'static [u8],
    /// Whether the segment ends with it.
    last: bool,
}

impl Delivery {
    pub(super) fn new(chunked: bool, now: Millis) -> Self {
        Self {
            chunked,
            begun: false,
            span: 0,
            offset: 0,
            delivered: 0,
            chunk: None,
            ended: false,
            progress_at: now,
        }
    }

    pub(super) const fn progress_at(&self) -> Millis {
        self.progress_at
    }

    /// Begins the wait for progress anew.
    pub(super) const fn look_again(&mut self, now: Millis) {
        self.progress_at = now;
    }

    /// Whether there is something to send.
    pub(super) fn is_pending<S: Span>(&self, segment: &Segment<S>) -> bool {
        self.begun
            && !self.ended
            && (self.chunk.is_some()
                || segment.bytes() > self.delivered
                || (segment.is_closed() && self.chunked))
    }

    /// Whether all is sent of a body that only the end of the connection ends.
    fn is_through<S: Span>(&self, segment: &Segment<S>) -> bool {
        self.begun && !self.chunked && segment.is_closed() && !self.is_pending(segment)
    }

    fn plan<S: Span>(&mut self, segment: &Segment<S>) {
        let left = segment.bytes() - self.delivered;
        let payload = left.min(CHUNK_BYTES_MAX);
        let last = segment.is_closed() && payload == left;
        if payload == 0 && !last {
            return;
        }
        let mut chunk = Chunk {
            line: [0; 18],
            line_len: 0,
            line_sent: 0,
            payload_left: payload,
            tail: b"",
            last,
        };
        if self.chunked {
            if payload > 0 {
                chunk.write_line(payload);
            }
            chunk.tail = match (payload > 0, last) {
                (true, true) => b"\r\n0\r\n\r\n",
                (true, false) => b"\r\n",
                (false, _) => b"0\r\n\r\n",
            };
        }
        self.chunk = Some(chunk);
    }
}

impl Chunk {
    fn write_line(&mut self, payload: u64) {
        let digits = (64 - payload.leading_zeros()).div_ceil(4).max(1);
        for i in 0..digits {
            let nibble = (payload >> (4 * (digits - 1 - i))) & 15;
            self.line[i as usize] = b"0123456789abcdef"[usize::try_from(nibble).unwrap_or(0)];
        }
        self.line[digits as usize] = b'\r';
        self.line[digits as usize + 1] = b'\n';
        self.line_len = u8::try_from(digits + 2).unwrap_or(0);
    }

    const fn is_sent(&self) -> bool {
        self.line_sent == self.line_len && self.payload_left == 0 && self.tail.is_empty()
    }
}

impl<S: Span> Conn<S> {
    pub(super) fn wake_subscriber(&mut self, now: Millis) {
        let Phase::Subscribe(subscribe) = &mut self.phase else {
            return;
        };
        let segment = subscribe.segment.clone();
        let mut segment = segment.borrow_mut();
        if segment.is_cut() {
            // It was promised more than we still have: a broken connection is the honest end.
            self.phase = Phase::Closed;
        } else if !subscribe.delivery.begun && segment.is_started() {
            subscribe.delivery.progress_at = now;
            subscribe.delivery.begun = true;
            let head = subscribe.begin_head(segment.seq());
            self.outbox.extend_from_slice(&head);
            if subscribe.head_only {
                self.end_subscribe(now);
            }
        } else if !subscribe.delivery.begun && segment.is_closed() {
            let head = subscribe.empty_head(segment.seq());
            self.outbox.extend_from_slice(&head);
            self.end_subscribe(now);
        } else if subscribe.delivery.is_through(&segment) {
            self.end_subscribe(now);
        } else if !subscribe.delivery.is_pending(&segment) {
            segment.wait(self.waiter, &mut self.ticket);
        } else if self.ticket.take().is_some() {
            // Until now it was waiting for us, and not we for it.
            subscribe.delivery.progress_at = now;
        }
    }

    fn end_subscribe(&mut self, now: Millis) {
        let Phase::Subscribe(subscribe) = core::mem::replace(&mut self.phase, Phase::Idle) else {
            return;
        };
        if subscribe.keep_alive {
            self.idle(now)
        } else {
            self.linger(now)
        }
    }

    /// Offers what must be sent as slices, to be written in one gathered write. `None` when there is nothing.
    pub fn with_output<R>(&mut self, write: impl FnOnce(&[&[u8]]) -> R) -> Option<R> {
        let Self {
            phase,
            outbox,
            sent,
            ..
        } = self;
        let mut slices: [&[u8]; SLICES_MAX] = [&[]; SLICES_MAX];
        let mut n = 0;
        if !outbox.is_empty() {
            slices[0] = &outbox[*sent..];
            n = 1;
        }
        let Phase::Subscribe(subscribe) = phase else {
            return (n > 0).then(|| write(&slices[..n]));
        };
        let Subscribe {
            segment, delivery, ..
        } = &mut **subscribe;
        let segment = segment.borrow();
        if delivery.begun && !delivery.ended && !segment.is_cut() {
            if delivery.chunk.is_none() {
                delivery.plan(&segment);
            }
            if let Some(chunk) = &delivery.chunk {
                n += chunk.slices(&segment, delivery.span, delivery.offset, &mut slices[n..]);
            }
        }
        (n > 0).then(|| write(&slices[..n]))
    }

    /// Notes that `n` of the bytes offered were sent. Returns how many of them were payload.
    pub fn advance(&mut self, mut n: usize, now: Millis) -> usize {
        if !self.outbox.is_empty() {
            let head = n.min(self.outbox.len() - self.sent);
            self.sent += head;
            n -= head;
            if self.sent == self.outbox.len() {
                self.outbox = Vec::new();
                self.sent = 0;
                if !matches!(self.phase, Phase::Publish(_)) {
                    self.since = now;
                }
            }
        }
        let Phase::Subscribe(subscribe) = &mut self.phase else {
            return 0;
        };
        subscribe.delivery.progress_at = now;
        let payload = subscribe.advance(n);
        if payload > 0 {
            Hub::note_delivery(&subscribe.channel, now);
        }
        let is_through = subscribe.delivery.is_through(&subscribe.segment.borrow());
        if (subscribe.delivery.ended || is_through) && self.outbox.is_empty() {
            self.end_subscribe(now);
        }
        payload
    }
}

impl Chunk {
    fn slices<'a, S: Span>(
        &'a self,
        segment: &'a Segment<S>,
        span: usize,
        offset: usize,
        slices: &mut [&'a [u8]],
    ) -> usize {
        let mut n = 0;
        if self.line_sent < self.line_len {
            slices[n] = &self.line[usize::from(self.line_sent)..usize::from(self.line_len)];
            n += 1;
        }
        let (mut left, mut offset) = (self.payload_left, offset);
        // One slice is kept free for the tail.
        for span in segment.spans()[span.min(segment.spans().len())..]
            .iter()
            .take(slices.len() - n - 1)
        {
            if left == 0 {
                break;
            }
            let bytes = &span.bytes()[offset..];
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            slices[n] = &bytes[..take];
            n += 1;
            left -= take as u64;
            offset = 0;
        }
        if left == 0 && !self.tail.is_empty() {
            slices[n] = self.tail;
            n += 1;
        }
        n
    }
}

impl<S: Span> Subscribe<S> {
    fn advance(&mut self, mut n: usize) -> usize {
        let Some(chunk) = &mut self.delivery.chunk else {
            return 0;
        };
        let line = n.min(usize::from(chunk.line_len - chunk.line_sent));
        chunk.line_sent += u8::try_from(line).unwrap_or(0);
        n -= line;
        let payload = usize::try_from(chunk.payload_left)
            .unwrap_or(usize::MAX)
            .min(n);
        chunk.payload_left -= payload as u64;
        n -= payload;
        chunk.tail = &chunk.tail[n.min(chunk.tail.len())..];
        self.delivery.delivered += payload as u64;
        let segment = self.segment.borrow();
        let mut left = payload;
        while left > 0 {
            let here = segment.spans()[self.delivery.span].bytes().len() - self.delivery.offset;
            if left < here {
                self.delivery.offset += left;
                break;
            }
            left -= here;
            self.delivery.span += 1;
            self.delivery.offset = 0;
        }
        if chunk.is_sent() {
            self.delivery.ended = chunk.last;
            self.delivery.chunk = None;
        }
        payload
    }

    /// The head of a response with payload. `Latest` is the head as it was when the request arrived.
    fn begin_head(&self, seq: u64) -> Vec<u8> {
        let mut head = Head::new(200)
            .field("Lp-Trickle-Seq", seq)
            .field_if(
                "Lp-Trickle-Latest",
                (self.latest != seq).then_some(self.latest),
            )
            .field("Content-Type", self.channel.borrow().mime());
        if self.delivery.chunked {
            head = head.field("Transfer-Encoding", "chunked");
        }
        if !self.keep_alive {
            head = head.field("Connection", "close");
        }
        head.end()
    }

    /// The head of a response to a segment that ended without a byte.
    fn empty_head(&self, seq: u64) -> Vec<u8> {
        let channel = self.channel.borrow();
        let head = Head::new(200)
            .field("Lp-Trickle-Seq", seq)
            .field("Lp-Trickle-Latest", channel.next_write())
            .field_if(
                "Lp-Trickle-Closed",
                channel.is_closed().then_some("terminated"),
            );
        let head = if self.keep_alive {
            head
        } else {
            head.field("Connection", "close")
        };
        head.with_body("", self.head_only)
    }
}
