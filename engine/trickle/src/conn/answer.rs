//! How requests end: the answer, and what becomes of the connection after it.

use alloc::vec::Vec;

use super::{Conn, DISCARD_BYTES_MAX, Phase, Publish};
use crate::http::respond::{Head, text_error};
use crate::http::{Body, Piece};
use crate::hub::{Hub, Refusal};
use crate::request::Request;
use crate::{Millis, Span};

impl<S: Span> Conn<S> {
    pub(super) fn end_publish(&mut self, hub: &mut Hub<S>, now: Millis) {
        let Phase::Publish(publish) = core::mem::replace(&mut self.phase, Phase::Idle) else {
            return;
        };
        let Publish {
            publisher,
            seq,
            keep_alive,
            ..
        } = *publish;
        let (started, channel) = (publisher.started, publisher.channel.clone());
        hub.finish(publisher, now);
        if started {
            let head = Head::new(200).field("Lp-Trickle-Seq", seq);
            let head = if keep_alive {
                head
            } else {
                head.field("Connection", "close")
            };
            self.outbox.extend_from_slice(&head.with_body("", false));
            if keep_alive {
                self.idle(now)
            } else {
                self.linger(now)
            }
        } else {
            self.turn_away(200, seq, channel.borrow().is_closed(), now);
        }
    }

    pub(super) fn end_turned_away(&mut self, hub: &mut Hub<S>, now: Millis) {
        let Phase::Publish(publish) = core::mem::replace(&mut self.phase, Phase::Idle) else {
            return;
        };
        let channel = publish.publisher.channel.clone();
        hub.leave(publish.publisher, now);
        self.turn_away(200, publish.seq, channel.borrow().is_closed(), now);
    }

    pub(super) fn end_capped(&mut self, hub: &mut Hub<S>, status: u16, now: Millis) {
        let Phase::Publish(publish) = core::mem::replace(&mut self.phase, Phase::Idle) else {
            return;
        };
        hub.finish(publish.publisher, now);
        self.turn_away(status, publish.seq, false, now);
    }

    /// The early end of a publish: the answer goes out without reading the rest of the body.
    pub(super) fn turn_away(&mut self, status: u16, seq: u64, channel_closed: bool, now: Millis) {
        let head = Head::new(status)
            .field("Lp-Trickle-Seq", seq)
            .field_if("Lp-Trickle-Closed", channel_closed.then_some("terminated"))
            .field("Connection", "close");
        self.outbox.extend_from_slice(&head.with_body("", false));
        self.linger(now);
    }

    pub(super) fn answer_outcome(
        &mut self,
        request: &Request,
        outcome: Result<(), Refusal>,
        now: Millis,
    ) {
        match outcome {
            Ok(()) => self.answer(request, Head::new(200), "", now),
            Err(refusal) => {
                let (status, text) = refusal.answer();
                self.answer_error(request, status, text, now);
            }
        }
    }

    pub(super) fn answer_next(&mut self, hub: &Hub<S>, request: &Request, now: Millis) {
        match hub.channel(&request.name) {
            None => self.answer_error(request, 404, Refusal::NotFound.answer().1, now),
            Some(channel) => {
                let next = channel.borrow().next_write();
                let head = Head::new(200)
                    .field("Content-Type", "text/plain; charset=utf-8")
                    .field("Lp-Trickle-Latest", next);
                self.answer(request, head, &alloc::format!("{next}"), now);
            }
        }
    }

    pub(super) fn answer_error(&mut self, request: &Request, status: u16, text: &str, now: Millis) {
        let (head, body) = text_error(status, text);
        self.answer(request, head, &body, now);
    }

    pub(super) fn answer(&mut self, request: &Request, head: Head, body: &str, now: Millis) {
        // A client that waits for our word before it sends its body gets the final answer as that word; whether it sends all
        // the same cannot be known, so the connection ends with it.
        let is_unsure = request.expects_continue && request.body != Body::Done;
        let keep_alive = request.keep_alive && !is_unsure;
        let head = if keep_alive {
            head
        } else {
            head.field("Connection", "close")
        };
        self.outbox
            .extend_from_slice(&head.with_body(body, request.head_only));
        match request.body {
            _ if !keep_alive => self.linger(now),
            Body::Done => self.idle(now),
            mut body => {
                self.since = now;
                let inbox = core::mem::take(&mut self.inbox);
                let mut at = 0;
                let rest = loop {
                    match body.next(&inbox, &mut at) {
                        Ok(Piece::Payload(_)) => {}
                        Ok(Piece::Done(at)) => break Some(at),
                        Ok(Piece::More) => break None,
                        Err(_) => return self.linger(now),
                    }
                };
                match rest {
                    Some(at) => {
                        self.inbox.extend_from_slice(&inbox[at..]);
                        self.idle(now);
                    }
                    None => {
                        self.phase = Phase::Discard {
                            body,
                            left: DISCARD_BYTES_MAX,
                        }
                    }
                }
            }
        }
    }

    /// Answers a request that is not served, and closes.
    pub fn refuse(&mut self, status: u16, why: &str, now: Millis) {
        // A publish to a channel that is gone, or that there is no room for, was understood all the same.
        self.was_refused = !matches!(status, 404 | 503);
        let (head, body) = text_error(status, why);
        self.outbox
            .extend_from_slice(&head.field("Connection", "close").with_body(&body, false));
        self.inbox = Vec::new();
        self.linger(now);
    }

    pub(super) fn idle(&mut self, now: Millis) {
        self.phase = Phase::Idle;
        self.ticket = None;
        self.since = now;
    }

    pub(super) fn linger(&mut self, now: Millis) {
        self.phase = Phase::Linger;
        self.ticket = None;
        self.since = now;
    }
}
