//! All channels of one shard, and what may be done to them.
//!
//! Connections, pipelines and the control plane come here alike. Nothing is woken inside a call: who must be woken is
//! gathered, and the shell takes the list once a batch ([`Hub::drain_woken`]).

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;

use crate::channel::{Admission, Changes, Channel, ChannelRef, Lookup};
use crate::name;
use crate::segment::SegmentRef;
use crate::{Millis, Span, Waiter};

/// The channel on which a hub announces its channels, when asked to.
pub const CHANGEFEED: &str = "_changes";

/// How often idle channels and abandoned segments are looked for.
pub const SWEEP_MS: u64 = 1_000;

/// A hub's rules and bounds.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// Whether a publish, or a POST on its name, creates a channel.
    pub autocreate: bool,
    /// Whether a channel with an owner token can only be deleted with it.
    pub owner_delete: bool,
    /// Whether channels that come and go are announced on [`CHANGEFEED`].
    pub changefeed: bool,
    /// How long a channel may see no payload before it is closed.
    pub idle_ms: u64,
    /// How long the segment of a vanished publisher waits for it.
    pub abort_grace_ms: u64,
    /// Channels at once.
    pub channels_max: usize,
    /// Bytes of one segment.
    pub segment_bytes_max: u64,
    /// Bytes of all segments of a channel.
    pub channel_bytes_max: u64,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            autocreate: false,
            owner_delete: false,
            changefeed: false,
            idle_ms: 300_000,
            abort_grace_ms: 4_000,
            channels_max: 4_096,
            segment_bytes_max: 300_000_000,
            channel_bytes_max: 600_000_000,
        }
    }
}

/// Why a request on a channel is refused. The texts and codes are go-livepeer's where it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No such channel.
    NotFound,
    /// DELETE of a channel that is not there.
    InvalidStream,
    /// DELETE of a segment that is not there.
    NoSuchSegment,
    /// DELETE of an owned channel without its token.
    NotOwner,
    /// The hub holds as many channels as it may.
    TooManyChannels,
}

impl Refusal {
    /// Status code and text.
    pub const fn answer(self) -> (u16, &'static str) {
        match self {
            Self::NotFound => (404, "Stream not found"),
            Self::InvalidStream => (400, "Invalid stream"),
            Self::NoSuchSegment => (400, "Nonexistent segment"),
            Self::NotOwner => (
                403,
                "Forbidden: this channel can only be deleted by its owner",
            ),
            Self::TooManyChannels => (503, "Too many channels"),
        }
    }
}

/// A publisher's place in a channel. Ends with [`Hub::finish`], [`Hub::abort`] or [`Hub::leave`].
#[derive(Debug)]
pub struct Publisher<S> {
    /// The channel.
    pub channel: ChannelRef<S>,
    /// The segment it writes.
    pub segment: SegmentRef<S>,
    /// Whether it has written a byte.
    pub started: bool,
}

/// What a publish request gets.
#[derive(Debug)]
pub enum Published<S> {
    /// A place to write.
    Open(Publisher<S>),
    /// Nothing to write: the number is older than all that is held.
    Stale {
        /// The number, resolved.
        seq: u64,
    },
}

/// What a subscribe request gets.
#[derive(Debug)]
pub enum Subscribed<S> {
    /// A segment to read.
    Found {
        /// The channel.
        channel: ChannelRef<S>,
        /// The segment.
        segment: SegmentRef<S>,
        /// The write head when the request arrived.
        latest: u64,
    },
    /// The channel is there, the segment is not: status 470.
    Missing {
        /// The write head.
        latest: u64,
        /// The number, resolved.
        seq: u64,
    },
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// Readers see it.
    Live,
    /// The segment was closed from elsewhere; the bytes are gone, as the protocol has it.
    Discarded,
    /// The segment reached its bound and is now closed.
    Capped,
}

/// What a hub has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HubStats {
    /// Publishers that vanished in the middle of a segment.
    pub aborts: u64,
    /// Segments closed because a bound was reached.
    pub capped: u64,
    /// Channels swept for being idle.
    pub swept: u64,
    /// Evicted segments whose memory was taken back under their readers.
    pub cut: u64,
}

/// All channels of one shard.
#[derive(Debug)]
pub struct Hub<S> {
    config: HubConfig,
    channels: BTreeMap<Box<str>, ChannelRef<S>>,
    changes: Changes<S>,
    aborted: Vec<SegmentRef<S>>,
    announcements: Vec<String>,
    stats: HubStats,
}

/// Which segment a request means. Negative numbers other than the two named ones were refused before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seq {
    /// This one.
    At(u64),
    /// −1: the one that will be written next.
    Next,
    /// −2: the one being written.
    Current,
}

impl<S: Span> Hub<S> {
    /// An empty hub.
    pub fn new(config: HubConfig) -> Self {
        Self {
            config,
            channels: BTreeMap::new(),
            changes: Changes::default(),
            aborted: Vec::new(),
            announcements: Vec::new(),
            stats: HubStats::default(),
        }
    }

    /// Its rules.
    pub const fn config(&self) -> &HubConfig {
        &self.config
    }

    /// Its counters.
    pub const fn stats(&self) -> HubStats {
        self.stats
    }

    /// Channels now.
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// Whether it has no channel.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// A channel by name.
    pub fn channel(&self, name: &str) -> Option<&ChannelRef<S>> {
        self.channels.get(name)
    }

    // === channels ===

    /// Creates a channel; true if it is new. An existing one keeps its content type and owner.
    ///
    /// # Errors
    /// [`Refusal::TooManyChannels`].
    pub fn create(
        &mut self,
        name: &str,
        mime: &str,
        owner: Option<&str>,
        now: Millis,
    ) -> Result<bool, Refusal> {
        if self.channels.contains_key(name) {
            return Ok(false);
        }
        if self.channels.len() >= self.config.channels_max {
            return Err(Refusal::TooManyChannels);
        }
        let channel = Rc::new(RefCell::new(Channel::new(name, mime, owner, now)));
        self.channels.insert(name.into(), channel);
        self.announce("added", name);
        Ok(true)
    }

    /// Creates a channel as a stranger may: only if the hub creates on request.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] when it is not there and may not be made.
    pub fn create_remotely(
        &mut self,
        name: &str,
        mime: &str,
        owner: Option<&str>,
        now: Millis,
    ) -> Result<(), Refusal> {
        if self.channels.contains_key(name) {
            return Ok(());
        }
        if !self.config.autocreate || !name::is_legal(name) {
            return Err(Refusal::NotFound);
        }
        self.create(name, mime, owner, now).map(|_| ())
    }

    /// Closes and removes a channel.
    ///
    /// # Errors
    /// [`Refusal::InvalidStream`] when it is not there.
    pub fn delete(&mut self, name: &str) -> Result<(), Refusal> {
        let channel = self.channels.remove(name).ok_or(Refusal::InvalidStream)?;
        channel.borrow_mut().close(&mut self.changes);
        self.announce("removed", name);
        Ok(())
    }

    /// Deletes as a stranger may: an owned channel only with its token, if the hub is told to ask for it.
    ///
    /// # Errors
    /// [`Refusal::InvalidStream`], [`Refusal::NotOwner`].
    pub fn delete_remotely(&mut self, name: &str, token: Option<&str>) -> Result<(), Refusal> {
        let channel = self.channels.get(name).ok_or(Refusal::InvalidStream)?;
        let allowed = match channel.borrow().owner_token() {
            Some(owner) if self.config.owner_delete => name::token_matches(owner, token),
            _ => true,
        };
        if allowed {
            self.delete(name)
        } else {
            Err(Refusal::NotOwner)
        }
    }

    /// Closes every channel: the server stops.
    pub fn close_all(&mut self) {
        for channel in core::mem::take(&mut self.channels).into_values() {
            channel.borrow_mut().close(&mut self.changes);
        }
    }

    fn announce(&mut self, verb: &str, name: &str) {
        // The feed's own making is its first entry; a queue nobody drains must not grow.
        if self.config.changefeed
            && self.announcements.len() < self.config.channels_max.saturating_mul(2)
        {
            self.announcements.push(format!(
                "{{\"{verb}\":[\"{}\"]}}",
                name.replace('\\', "\\\\").replace('"', "\\\"")
            ));
        }
    }

    /// Channels that came and went since the last call, as the change feed's JSON objects.
    pub fn drain_announcements(&mut self) -> Vec<String> {
        core::mem::take(&mut self.announcements)
    }

    /// Exempts a channel from being swept for idleness, or ends that exemption: someone else watches over its life.
    pub fn keep(&mut self, name: &str, keep: bool, now: Millis) {
        if let Some(channel) = self.channels.get(name) {
            let mut channel = channel.borrow_mut();
            channel.kept = keep;
            channel.active_at = now;
        }
    }

    // === publishing ===

    /// Opens a place to write segment `seq`.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::TooManyChannels`].
    pub fn publish(
        &mut self,
        name: &str,
        seq: Seq,
        reset: bool,
        mime: &str,
        owner: Option<&str>,
        now: Millis,
    ) -> Result<Published<S>, Refusal> {
        self.create_remotely(name, mime, owner, now)?;
        let channel = self.channels.get(name).ok_or(Refusal::NotFound)?.clone();
        let mut guard = channel.borrow_mut();
        let seq = match seq {
            Seq::At(n) => n,
            Seq::Next => guard.head(),
            Seq::Current => guard.current(),
        };
        let segment = match guard.admit(
            seq,
            reset,
            self.config.abort_grace_ms,
            now,
            &mut self.changes,
        ) {
            Admission::Segment(segment) => segment,
            Admission::Stale => return Ok(Published::Stale { seq }),
        };
        guard.attach(&segment);
        drop(guard);
        Ok(Published::Open(Publisher {
            channel,
            segment,
            started: false,
        }))
    }

    /// Adds payload to a publisher's segment.
    pub fn append(&mut self, publisher: &mut Publisher<S>, span: S, now: Millis) -> Appended {
        let len = span.bytes().len() as u64;
        if len == 0 {
            return Appended::Live;
        }
        let seq = publisher.segment.borrow().seq();
        if !publisher.started {
            publisher.started = true;
            publisher.segment.borrow_mut().publishers_started += 1;
            let mut channel = publisher.channel.borrow_mut();
            channel.advance_head(&publisher.segment, now);
            channel.close_abandoned(seq, &mut self.changes);
        }
        if publisher.segment.borrow().is_closed() {
            return Appended::Discarded;
        }
        if publisher.segment.borrow().bytes() + len > self.config.segment_bytes_max {
            self.cap(publisher);
            return Appended::Capped;
        }
        let mut channel = publisher.channel.borrow_mut();
        channel.active_at = now;
        while channel.bytes() + len > self.config.channel_bytes_max
            && channel.drop_oldest(seq, &mut self.changes)
        {}
        let full = channel.bytes() + len > self.config.channel_bytes_max;
        drop(channel);
        if full {
            self.cap(publisher);
            return Appended::Capped;
        }
        let mut segment = publisher.segment.borrow_mut();
        segment.append(span);
        segment.wake_into(&mut self.changes.woken);
        Appended::Live
    }

    /// Ends a publisher's segment early because a bound was reached: its readers see a clean end.
    pub fn cap(&mut self, publisher: &Publisher<S>) {
        self.stats.capped += 1;
        self.changes.close(&publisher.segment);
    }

    /// The publisher has sent its whole body. The segment closes unless another publisher is in mid-body on it.
    pub fn finish(&mut self, publisher: Publisher<S>, now: Millis) {
        let Publisher {
            channel,
            segment,
            started,
        } = publisher;
        let mut channel = channel.borrow_mut();
        if !started {
            channel.advance_head(&segment, now);
        }
        channel.detach(&segment, started, now);
        if segment.borrow().publishers_started == 0 {
            self.changes.close(&segment);
        }
    }

    /// The publisher was turned away before it sent a byte, because its segment closed.
    pub fn leave(&mut self, publisher: Publisher<S>, now: Millis) {
        let Publisher {
            channel,
            segment,
            started,
        } = publisher;
        let mut channel = channel.borrow_mut();
        channel.advance_head(&segment, now);
        channel.detach(&segment, started, now);
    }

    /// The publisher vanished. A segment with bytes waits for it to come back, unless the channel has moved on; one without
    /// just stays open.
    pub fn abort(&mut self, publisher: Publisher<S>, now: Millis) {
        let Publisher {
            channel,
            segment,
            started,
        } = publisher;
        channel.borrow_mut().detach(&segment, started, now);
        let mut guard = segment.borrow_mut();
        if guard.is_closed() {
            return;
        }
        self.stats.aborts += u64::from(started);
        if !guard.is_started() || guard.publishers > 0 {
            return;
        }
        let moved_on = channel.borrow().next_write() > guard.seq() + 1;
        guard.aborted_at = Some(now);
        drop(guard);
        if moved_on {
            self.changes.close(&segment);
        } else {
            self.aborted.push(segment);
        }
    }

    /// Publishes a whole segment at the head of a channel: for control, and for the change feed.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub fn publish_whole(
        &mut self,
        name: &str,
        body: impl IntoIterator<Item = S>,
        now: Millis,
    ) -> Result<u64, Refusal> {
        let mut publisher = self.open_local(name, now)?;
        let seq = publisher.segment.borrow().seq();
        for span in body {
            self.append(&mut publisher, span, now);
        }
        self.finish(publisher, now);
        Ok(seq)
    }

    /// Opens the segment at the head of a channel for a publisher of this process.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub fn open_local(&mut self, name: &str, now: Millis) -> Result<Publisher<S>, Refusal> {
        let channel = self.channels.get(name).ok_or(Refusal::NotFound)?.clone();
        let mut guard = channel.borrow_mut();
        // A stranger may have closed the segment at the head before anything was written to it.
        while let Some(closed) = guard.segment(guard.head()).cloned()
            && closed.borrow().is_closed()
        {
            guard.advance_head(&closed, now);
        }
        let seq = guard.head();
        let Admission::Segment(segment) = guard.admit(seq, false, u64::MAX, now, &mut self.changes)
        else {
            return Err(Refusal::NotFound);
        };
        guard.attach(&segment);
        drop(guard);
        Ok(Publisher {
            channel,
            segment,
            started: false,
        })
    }

    // === subscribing ===

    /// Finds the segment that a subscriber means.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub fn subscribe(&mut self, name: &str, seq: Seq) -> Result<Subscribed<S>, Refusal> {
        let channel = self.channels.get(name).ok_or(Refusal::NotFound)?.clone();
        let mut guard = channel.borrow_mut();
        let latest = guard.next_write();
        let seq = match seq {
            Seq::At(n) => n,
            Seq::Next => latest,
            Seq::Current => guard.current(),
        };
        let found = guard.lookup(seq, &mut self.changes);
        drop(guard);
        Ok(match found {
            Lookup::Segment(segment) => Subscribed::Found {
                channel,
                segment,
                latest,
            },
            Lookup::Missing => Subscribed::Missing { latest, seq },
        })
    }

    /// Closes one segment.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::NoSuchSegment`].
    pub fn close_segment(&mut self, name: &str, seq: u64) -> Result<(), Refusal> {
        let channel = self.channels.get(name).ok_or(Refusal::NotFound)?;
        let channel = channel.borrow();
        let segment = channel.segment(seq).ok_or(Refusal::NoSuchSegment)?;
        self.changes.close(segment);
        Ok(())
    }

    // === time and memory ===

    /// Closes abandoned segments and idle channels. Call it every [`SWEEP_MS`].
    pub fn handle_timeout(&mut self, now: Millis) {
        let grace_ms = self.config.abort_grace_ms;
        let changes = &mut self.changes;
        self.aborted.retain(|segment| {
            let aborted_at = segment.borrow().aborted_at;
            match aborted_at {
                None => false, // resumed, or closed meanwhile
                Some(at) if now.since(at) >= grace_ms => {
                    changes.close(segment);
                    false
                }
                Some(_) => true,
            }
        });
        self.changes
            .evicted
            .retain(|segment| segment.strong_count() > 0);

        let idle: Vec<Box<str>> = self
            .channels
            .iter()
            .filter(|(name, channel)| {
                !name.starts_with('_') && channel.borrow().is_idle(now, self.config.idle_ms)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in idle {
            self.stats.swept += 1;
            let _ = self.delete(&name);
        }
    }

    /// Takes back the memory of segments that left their slot and live only for their readers, who will be cut.
    /// True if there was any.
    pub fn relieve(&mut self) -> bool {
        let mut relieved = false;
        for segment in core::mem::take(&mut self.changes.evicted) {
            if let Some(segment) = segment.upgrade() {
                let mut segment = segment.borrow_mut();
                if segment.bytes() > 0 && !segment.is_cut() {
                    segment.cut();
                    segment.wake_into(&mut self.changes.woken);
                    self.stats.cut += 1;
                    relieved = true;
                }
            }
        }
        relieved
    }

    /// Whether `segment` has left its slot in `channel`.
    pub fn is_evicted(channel: &ChannelRef<S>, segment: &SegmentRef<S>) -> bool {
        let channel = channel.borrow();
        channel.is_closed() || !channel.held().any(|held| Rc::ptr_eq(held, segment))
    }

    /// Notes that a reader of `channel` received payload.
    pub fn note_delivery(channel: &ChannelRef<S>, now: Millis) {
        channel.borrow_mut().active_at = now;
    }

    /// Moves the list of those to wake into `into`.
    pub fn drain_woken(&mut self, into: &mut Vec<Waiter>) {
        into.append(&mut self.changes.woken);
    }
}

#[cfg(test)]
mod tests;
