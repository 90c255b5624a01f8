//! A publisher: one POST a segment, the next one opened ahead.
//!
//! ```text
//!   chunk 0 of segment n is due:   current := ahead (POST n)      ahead := POST n+1, which waits for its first chunk
//!   a POST breaks, or is answered before its end:  current := none; what is due until the next segment is dropped
//! ```
//!
//! A segment that broke off is closed with a DELETE, as Go's publishers do; its subscribers would wait for ever otherwise.

use super::clients::{Audience, Clients};
use super::wire::{Awaits, Post};
use crate::http::Head;
use crate::net::Token;

/// The connections of a channel's publisher.
#[derive(Debug, Default)]
pub(super) struct Publisher {
    current: Option<Token>,
    ahead: Option<(Token, i64)>,
    pub(super) idle: Vec<Token>,
    /// The channel is gone, or closed.
    is_over: bool,
    /// It was told that the server does not read.
    has_complained: bool,
}

impl<A: Audience> Clients<A> {
    /// Opens the first segment, before anything is due.
    pub(super) fn open_first(&mut self, channel: usize) {
        let seq = self.channels[channel].seq_first;
        self.publishers[channel].ahead = self.post(channel, seq).map(|token| (token, seq));
    }

    /// Publishes a chunk; false when there is no connection to take it.
    pub(crate) fn publish(&mut self, channel: usize, number: u64, due_ns: u64) -> bool {
        if self.publishers[channel].is_over {
            return false;
        }
        if self.channels[channel].is_segment_start(number) {
            self.begin_segment(channel, self.channels[channel].seq_of(number));
        }
        let Some(token) = self.publishers[channel].current else {
            return false;
        };
        if self.wire.net.unsent(token) > UNSENT_BYTES_MAX {
            let publisher = &mut self.publishers[channel];
            if !std::mem::replace(&mut publisher.has_complained, true)
                && let Some(meter) = &self.book.meter
            {
                meter.note("the server does not read what is published: 8 MiB wait, and chunks are dropped");
            }
            return false;
        }
        let of = &self.channels[channel];
        let header = of.pattern.header(of.group, number, due_ns);
        let parts = [
            of.size_line.as_bytes(),
            &header,
            of.pattern.body(&header),
            b"\r\n",
        ];
        match self.wire.net.send(token, &parts) {
            Ok(()) => true,
            Err(error) => {
                self.lose(token, self.wire.net.class_of(token, &error));
                false
            }
        }
    }

    /// Publishes no more: ends the segment, and the one that was opened ahead, which stays empty.
    pub(crate) fn finish(&mut self, channel: usize) {
        self.end_segment(channel);
        self.publishers[channel].current = self.publishers[channel]
            .ahead
            .take()
            .map(|(token, _)| token);
        self.end_segment(channel);
    }

    fn begin_segment(&mut self, channel: usize, seq: i64) {
        self.end_segment(channel);
        let ahead = self.publishers[channel].ahead.take();
        let current = match ahead {
            Some((token, ahead_seq)) if ahead_seq == seq => Some(token),
            _ => self.post(channel, seq),
        };
        self.publishers[channel].current = current;
        if self.is_preconnecting {
            let next = seq.saturating_add(1);
            self.publishers[channel].ahead = self.post(channel, next).map(|token| (token, next));
        }
    }

    fn end_segment(&mut self, channel: usize) {
        let Some(token) = self.publishers[channel].current.take() else {
            return;
        };
        if let Some(conn) = self.wire.conn(token)
            && let Awaits::Post(post) = &mut conn.awaits
        {
            post.is_ended = true;
        }
        if let Err(error) = self.wire.net.send(token, &[b"0\r\n\r\n"]) {
            self.lose(token, self.wire.net.class_of(token, &error));
        }
    }

    /// Opens a segment.
    fn post(&mut self, channel: usize, seq: i64) -> Option<Token> {
        let post = Post {
            channel,
            seq,
            is_ended: false,
        };
        let line = format!("POST {}/{seq}", self.channels[channel].path);
        self.wire
            .request(
                &mut self.publishers[channel].idle,
                &line,
                "Content-Type: video/mp2t\r\nTransfer-Encoding: chunked\r\n",
                Awaits::Post(post),
            )
            .map_err(|class| self.book.error(class))
            .ok()
    }

    /// Whether the rest of the answer is wanted.
    pub(super) fn handle_post_head(&mut self, token: Token, post: Post, head: &Head) -> bool {
        let is_over = head.status == 404 || head.is_closed;
        self.publishers[post.channel].is_over |= is_over;
        match head.status {
            200 if head.is_closed => self.book.error("closed"),
            200 if post.is_ended => return true,
            200 => self.book.error("closed-early"),
            status => self.book.error(&format!("status-{status}")),
        }
        self.detach(post.channel, token);
        false
    }

    pub(super) fn lose_post(&mut self, token: Token, post: Post, class: &str, is_crossing: bool) {
        let was_ahead = self.publishers[post.channel]
            .ahead
            .is_some_and(|(ahead, _)| ahead == token);
        self.detach(post.channel, token);
        if is_crossing && was_ahead {
            self.book.more("reconnects");
            let again = self.post(post.channel, post.seq);
            self.publishers[post.channel].ahead = again.map(|token| (token, post.seq));
            return;
        }
        self.book.error(class);
        if !was_ahead && !post.is_ended && self.book.meter.is_some() {
            let line = format!("DELETE {}/{}", self.channels[post.channel].path, post.seq);
            let request = self
                .wire
                .request(&mut Vec::new(), &line, "", Awaits::Deletion);
            if let Err(class) = request {
                self.book.error(class);
            }
        }
    }

    fn detach(&mut self, channel: usize, token: Token) {
        let publisher = &mut self.publishers[channel];
        publisher.current.take_if(|current| *current == token);
        publisher.ahead.take_if(|(ahead, _)| *ahead == token);
    }
}

/// What may wait for a server that does not read, before chunks are dropped: some seconds of a stream.
const UNSENT_BYTES_MAX: usize = 8 << 20;
