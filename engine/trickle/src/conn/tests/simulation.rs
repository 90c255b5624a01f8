//! A simulation: random clients on a few channels, against a model that knows who must have seen what.
//!
//! The model is the protocol with everything hard left out: no bytes on a wire, no wake-ups, no partial writes. After each step
//! the world has come to rest, and then
//! - the heads, the held segments and the publishers of every channel are the model's;
//! - a reader that reads has every byte of its segment and no other, and a clean end exactly if the segment is closed;
//! - a reader that does not read has a prefix, and never a clean end that is short;
//! - nobody is cut but readers that were slow on a segment that left its slot.
//!
//! `TRICKLE_SEED=n cargo test -p trickle simulation` replays one run.

extern crate std;

mod check;

use alloc::vec;
use core::mem::take;

use super::super::Phase;
use super::*;
use crate::channel::SLOTS;

const SEEDS: u64 = 12;
const STEPS: usize = 2_000;
const CLIENTS: usize = 10;
const NAMES: [&str; 3] = ["a", "b", "c"];

#[test]
fn random_clients_see_what_they_must() {
    match std::env::var("TRICKLE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        Some(seed) => Simulation::new(seed).run(),
        None => (0..SEEDS).for_each(|seed| Simulation::new(seed).run()),
    }
}

/// A segment as the model sees it. It is never forgotten, so that its readers can be judged to the end.
struct Segment {
    seq: u64,
    bytes: Vec<u8>,
    is_closed: bool,
    is_held: bool,
    publishers: u32,
    started: u32,
    aborted_at: Option<Millis>,
}

struct Channel {
    next_write: u64,
    slots: [Option<usize>; SLOTS],
    is_closed: bool,
    publishers: u32,
    published_at: Millis,
    active_at: Millis,
}

#[derive(Clone, Copy, Default)]
enum Job {
    #[default]
    Idle,
    Publish {
        channel: usize,
        segment: usize,
        started: bool,
    },
    Read {
        segment: usize,
        latest: u64,
        http11: bool,
        stalled: bool,
        relieved: bool,
    },
}

struct Client {
    peer: usize,
    job: Job,
}

struct Simulation {
    seed: u64,
    world: World,
    rng: Rng,
    segments: Vec<Segment>,
    channels: Vec<Channel>,
    /// The living channels, by place in [`NAMES`].
    named: [Option<usize>; NAMES.len()],
    clients: Vec<Client>,
    /// Words written: each is found nowhere else.
    words: u64,
    heads: Vec<u64>,
    /// Whether this step may take a head back.
    new_epoch: bool,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let config = HubConfig {
            autocreate: !seed.is_multiple_of(3),
            idle_ms: 60_000,
            ..HubConfig::default()
        };
        // Where a segment ends when a bound is reached depends on how its bytes arrived; so it is either bounds or bites.
        let config = if seed.is_multiple_of(2) {
            config
        } else {
            HubConfig {
                segment_bytes_max: 400,
                channel_bytes_max: 700,
                ..config
            }
        };
        let mut world = World::with(config);
        world.rng = Rng(seed);
        if seed.is_multiple_of(2) {
            world.bite = 1 + Rng(seed).below(40);
        }
        let clients = (0..CLIENTS)
            .map(|_| Client {
                peer: world.connect(),
                job: Job::Idle,
            })
            .collect();
        Self {
            seed,
            world,
            rng: Rng(!seed),
            segments: Vec::new(),
            channels: Vec::new(),
            named: [None; NAMES.len()],
            clients,
            words: 0,
            heads: Vec::new(),
            new_epoch: false,
        }
    }

    fn run(mut self) {
        for step in 0..STEPS {
            let (seed, client) = (self.seed, self.rng.below(CLIENTS));
            self.new_epoch = false;
            let what = match (self.rng.below(24), self.clients[client].job) {
                (0, _) => self.create(),
                (1, _) if self.rng.one_in(6) => self.delete(),
                (2, _) if self.rng.one_in(3) => self.delete_segment(),
                (3..6, _) => self.pass(),
                (6, _) if self.rng.one_in(4) => self.relieve(),
                (0..12, Job::Idle) => self.subscribe(client),
                (_, Job::Idle) => self.publish(client),
                (_, Job::Publish { .. }) => self.publish_more(client),
                (_, Job::Read { .. }) => self.read(client),
            };
            self.settle();
            self.check(&format!(
                "seed {seed}, step {step}: {what} (client {client})"
            ));
        }
        self.finish();
    }

    /// Everyone leaves; nothing may remain.
    fn finish(mut self) {
        for client in 0..CLIENTS {
            let peer = self.clients[client].peer;
            self.world.set_room(peer, usize::MAX);
            self.world.hang_up(peer);
            assert!(
                self.world.peers[peer].over,
                "seed {}: {peer} stays",
                self.seed
            );
        }
        for name in NAMES {
            let Some(channel) = self.world.hub.channel(name) else {
                continue;
            };
            let channel = channel.borrow();
            let counts = channel
                .held()
                .map(|s| (s.borrow().publishers, s.borrow().publishers_started))
                .collect::<Vec<_>>();
            assert!(
                counts.iter().all(|&count| count == (0, 0)),
                "seed {}: {counts:?}",
                self.seed
            );
        }
    }

    // === steps ===

    fn create(&mut self) -> &'static str {
        let i = self.rng.below(NAMES.len());
        let is_new = self
            .world
            .hub
            .create(NAMES[i], "video/mp2t", None, self.world.now)
            .unwrap();
        assert_eq!(is_new, self.named[i].is_none());
        if is_new {
            self.model_create(i);
        }
        "create"
    }

    fn delete(&mut self) -> &'static str {
        let i = self.rng.below(NAMES.len());
        let status = self.world.delete(NAMES[i]).status;
        assert_eq!(status, if self.named[i].is_some() { 200 } else { 400 });
        if let Some(channel) = self.named[i].take() {
            self.model_close(channel);
        }
        "delete"
    }

    fn delete_segment(&mut self) -> &'static str {
        let i = self.rng.below(NAMES.len());
        let Some(channel) = self.named[i] else {
            return "delete nothing";
        };
        let seq = self.near_head(channel);
        let held = self.held(channel, seq);
        let answer = self.world.delete(&format!("{}/{seq}", NAMES[i]));
        assert_eq!(answer.status, if held.is_some() { 200 } else { 400 });
        if let Some(segment) = held {
            self.segments[segment].is_closed = true;
        }
        "delete segment"
    }

    /// Time passes, a second at a time, for the hub's sweep happens each second.
    fn pass(&mut self) -> &'static str {
        let longest = if self.rng.one_in(20) { 5 } else { 4 };
        let seconds = [1, 2, 5, 11, 70][self.rng.below(longest)];
        for _ in 0..seconds {
            self.world.pass(1_000);
            let (now, grace) = (self.world.now, self.world.hub.config().abort_grace_ms);
            for segment in &mut self.segments {
                if segment.aborted_at.is_some_and(|at| now.since(at) >= grace) {
                    segment.is_closed = true;
                }
            }
            for (i, name) in NAMES.iter().enumerate() {
                let Some(channel) = self.named[i] else {
                    continue;
                };
                if self.world.hub.channel(name).is_none() {
                    // What readers take counts as well, so the model knows only when a channel must not be swept.
                    assert!(
                        now.since(self.channels[channel].active_at) > 60_000,
                        "seed {}",
                        self.seed
                    );
                    self.named[i] = None;
                    self.model_close(channel);
                }
            }
            self.settle();
        }
        "pass"
    }

    fn relieve(&mut self) -> &'static str {
        self.world.hub.relieve();
        self.world.drive();
        for client in &mut self.clients {
            if let Job::Read {
                segment, relieved, ..
            } = &mut client.job
            {
                *relieved |=
                    !self.segments[*segment].is_held && !self.segments[*segment].bytes.is_empty();
            }
        }
        "relieve"
    }

    fn subscribe(&mut self, client: usize) -> &'static str {
        let i = self.rng.below(NAMES.len());
        let http11 = !self.rng.one_in(5);
        let wanted = self.wanted(i);
        let peer = self.fresh(client);
        if self.rng.one_in(4) {
            self.world.set_room(peer, 0);
        }
        self.world.peers[peer].heads.push(false);
        let stalled = self.world.peers[peer].room == 0;
        self.world.send(
            peer,
            format!(
                "GET {BASE}{}/{wanted} HTTP/1.{}\r\n\r\n",
                NAMES[i],
                u8::from(http11)
            ),
        );
        let Some(channel) = self.named[i] else {
            self.world.set_room(peer, usize::MAX);
            assert_eq!(self.world.answer(peer).status, 404);
            return "subscribe to nothing";
        };
        let latest = self.channels[channel].next_write;
        let seq = match wanted {
            -1 => latest,
            -2 => latest.saturating_sub(1),
            n => u64::try_from(n).unwrap(),
        };
        let segment = match self.held(channel, seq) {
            Some(segment) => segment,
            None if seq == latest || (latest == 0 && seq == 1) => self.place(channel, seq),
            None => {
                self.world.set_room(peer, usize::MAX);
                let answer = self.world.answer(peer);
                assert_eq!(
                    (answer.status, answer.latest()),
                    (470, Some(&*latest.to_string()))
                );
                assert_eq!(answer.seq(), Some(&*wanted.to_string()));
                return "subscribe too far";
            }
        };
        self.clients[client].job = Job::Read {
            segment,
            latest,
            http11,
            stalled,
            relieved: false,
        };
        "subscribe"
    }

    fn read(&mut self, client: usize) -> &'static str {
        let peer = self.clients[client].peer;
        let Job::Read { stalled, .. } = &mut self.clients[client].job else {
            unreachable!()
        };
        match self.rng.below(8) {
            0 => {
                self.world.hang_up(peer);
                self.world.set_room(peer, usize::MAX);
                self.clients[client].job = Job::Idle;
                "hang up"
            }
            1 | 2 => {
                *stalled = true;
                self.world.set_room(peer, 0);
                "stall"
            }
            3 | 4 if *stalled => {
                let room = self.world.peers[peer].room;
                let more = 1 + self.rng.below(300);
                self.world.set_room(peer, room.saturating_add(more));
                "creep"
            }
            _ => {
                self.world.set_room(peer, usize::MAX);
                *stalled = false;
                "read on"
            }
        }
    }

    fn publish(&mut self, client: usize) -> &'static str {
        let i = self.rng.below(NAMES.len());
        let wanted = self.wanted(i).max(-1);
        let reset = self.rng.one_in(6);
        let peer = self.fresh(client);
        let fields = format!(
            "Transfer-Encoding: chunked\r\n{}",
            if reset { "Lp-Trickle-Reset: 1\r\n" } else { "" }
        );
        self.world
            .request(peer, "POST", &format!("{}/{wanted}", NAMES[i]), &fields);
        if self.named[i].is_none() && self.world.hub.config().autocreate {
            self.model_create(i);
        }
        let Some(channel) = self.named[i] else {
            assert_eq!(self.world.answer(peer).status, 404);
            return "publish to nothing";
        };
        let now = self.world.now;
        let Channel {
            next_write,
            publishers,
            published_at,
            ..
        } = self.channels[channel];
        let seq = u64::try_from(wanted).unwrap_or(next_write);
        let is_old = seq + SLOTS as u64 <= next_write;
        let is_lost = publishers == 0;
        let is_long_lost =
            is_lost && now.since(published_at) > self.world.hub.config().abort_grace_ms;
        if (is_lost && seq == 0 && next_write > 1) || (is_old && (reset || is_long_lost)) {
            self.drop_all(channel);
            self.channels[channel].next_write = seq;
            self.new_epoch = true;
        } else if is_old && self.held(channel, seq).is_none() {
            let answer = self.world.answer(peer);
            assert_eq!(
                (answer.status, answer.seq()),
                (200, Some(&*seq.to_string()))
            );
            return "publish what is stale";
        }
        if reset {
            for segment in self.channels[channel].slots.into_iter().flatten() {
                let lower = self.segments[segment].seq < seq;
                self.segments[segment].is_closed |= lower;
            }
        }
        let segment = self
            .held(channel, seq)
            .unwrap_or_else(|| self.place(channel, seq));
        self.channels[channel].published_at = now;
        self.channels[channel].publishers += 1;
        self.segments[segment].publishers += 1;
        self.segments[segment].aborted_at = None;
        self.clients[client].job = Job::Publish {
            channel,
            segment,
            started: false,
        };
        "publish"
    }

    fn publish_more(&mut self, client: usize) -> &'static str {
        let Job::Publish {
            channel,
            segment,
            started,
        } = self.clients[client].job
        else {
            unreachable!()
        };
        let peer = self.clients[client].peer;
        match self.rng.below(10) {
            0 => {
                self.world.hang_up(peer);
                self.detach(client);
                let now = self.world.now;
                let segment = &mut self.segments[segment];
                if !segment.is_closed && segment.publishers == 0 && !segment.bytes.is_empty() {
                    let moved_on = self.channels[channel].next_write > segment.seq + 1;
                    segment.is_closed = moved_on;
                    segment.aborted_at = (!moved_on).then_some(now);
                }
                "abort"
            }
            1..4 => {
                self.world.end(peer);
                if !started {
                    self.advance_head(channel, segment);
                }
                self.detach(client);
                self.segments[segment].is_closed |= self.segments[segment].started == 0;
                let answer = self.world.responses(peer).pop().unwrap();
                assert_eq!((answer.status, answer.says_goodbye()), (200, !started));
                "finish"
            }
            _ => self.write(client),
        }
    }

    fn write(&mut self, client: usize) -> &'static str {
        let Job::Publish {
            channel,
            segment,
            started,
        } = &mut self.clients[client].job
        else {
            unreachable!()
        };
        let (channel, segment, first) = (*channel, *segment, !core::mem::replace(started, true));
        let mut payload = Vec::new();
        for _ in 0..=self.rng.below(20) {
            self.words += 1;
            payload.extend(self.words.to_be_bytes());
        }
        let peer = self.clients[client].peer;
        self.world.chunk(peer, &payload);
        let now = self.world.now;
        if first {
            self.segments[segment].started += 1;
            self.advance_head(channel, segment);
            let seq = self.segments[segment].seq;
            for held in self.channels[channel].slots.into_iter().flatten() {
                let held = &mut self.segments[held];
                held.is_closed |= held.seq < seq && held.aborted_at.is_some();
            }
        }
        if self.segments[segment].is_closed {
            return "write to nobody";
        }
        let (segment_max, channel_max) = (
            self.world.hub.config().segment_bytes_max,
            self.world.hub.config().channel_bytes_max,
        );
        let mut is_capped =
            (self.segments[segment].bytes.len() + payload.len()) as u64 > segment_max;
        if !is_capped {
            self.channels[channel].active_at = now;
            while self.bytes(channel) + payload.len() as u64 > channel_max {
                let complete = |&s: &usize| {
                    s != segment && self.segments[s].is_closed && !self.segments[s].bytes.is_empty()
                };
                let oldest = self.channels[channel]
                    .slots
                    .into_iter()
                    .flatten()
                    .filter(complete)
                    .min_by_key(|&s| self.segments[s].seq);
                let Some(oldest) = oldest else {
                    is_capped = true;
                    break;
                };
                self.evict(channel, oldest);
            }
        }
        if is_capped {
            self.segments[segment].is_closed = true;
            self.detach(client);
            let answer = self.world.responses(peer).pop().unwrap();
            assert_eq!((answer.status, answer.says_goodbye()), (413, true));
            return "write too much";
        }
        self.segments[segment].bytes.extend(payload);
        "write"
    }

    // === the model ===

    fn model_create(&mut self, i: usize) {
        let now = self.world.now;
        self.channels.push(Channel {
            next_write: 0,
            slots: [None; SLOTS],
            is_closed: false,
            publishers: 0,
            published_at: now,
            active_at: now,
        });
        self.named[i] = Some(self.channels.len() - 1);
    }

    fn model_close(&mut self, channel: usize) {
        self.channels[channel].is_closed = true;
        self.drop_all(channel);
    }

    fn drop_all(&mut self, channel: usize) {
        for segment in self.channels[channel].slots.into_iter().flatten() {
            self.evict(channel, segment);
        }
    }

    fn evict(&mut self, channel: usize, segment: usize) {
        for slot in self.channels[channel]
            .slots
            .iter_mut()
            .filter(|slot| **slot == Some(segment))
        {
            *slot = None;
        }
        self.segments[segment].is_closed = true;
        self.segments[segment].is_held = false;
    }

    fn place(&mut self, channel: usize, seq: u64) -> usize {
        let slot = usize::try_from(seq).unwrap() % SLOTS;
        if let Some(old) = self.channels[channel].slots[slot] {
            self.evict(channel, old);
        }
        self.segments.push(Segment {
            seq,
            bytes: Vec::new(),
            is_closed: false,
            is_held: true,
            publishers: 0,
            started: 0,
            aborted_at: None,
        });
        self.channels[channel].slots[slot] = Some(self.segments.len() - 1);
        self.segments.len() - 1
    }

    fn held(&self, channel: usize, seq: u64) -> Option<usize> {
        self.channels[channel]
            .slots
            .into_iter()
            .flatten()
            .find(|&segment| self.segments[segment].seq == seq)
    }

    fn bytes(&self, channel: usize) -> u64 {
        self.channels[channel]
            .slots
            .into_iter()
            .flatten()
            .map(|segment| self.segments[segment].bytes.len() as u64)
            .sum()
    }

    fn advance_head(&mut self, channel: usize, segment: usize) {
        let Segment { seq, is_held, .. } = self.segments[segment];
        let (channel, now) = (&mut self.channels[channel], self.world.now);
        if is_held {
            channel.next_write = channel.next_write.max(seq + 1);
        }
        (channel.published_at, channel.active_at) = (now, now);
    }

    fn detach(&mut self, client: usize) {
        let Job::Publish {
            channel,
            segment,
            started,
        } = take(&mut self.clients[client].job)
        else {
            unreachable!()
        };
        self.channels[channel].publishers -= 1;
        self.channels[channel].published_at = self.world.now;
        self.segments[segment].publishers -= 1;
        self.segments[segment].started -= u32::from(started);
    }

    /// Publishers without a byte whose segment closed have been turned away.
    fn settle(&mut self) {
        for client in 0..CLIENTS {
            let Job::Publish {
                channel,
                segment,
                started: false,
            } = self.clients[client].job
            else {
                continue;
            };
            if !self.segments[segment].is_closed {
                continue;
            }
            self.advance_head(channel, segment);
            self.detach(client);
            let answer = self
                .world
                .responses(self.clients[client].peer)
                .pop()
                .unwrap();
            assert_eq!(
                (answer.status, answer.says_goodbye()),
                (200, true),
                "seed {}",
                self.seed
            );
            assert_eq!(
                answer.seq(),
                Some(&*self.segments[segment].seq.to_string()),
                "seed {}",
                self.seed
            );
        }
    }

    // === choices ===

    fn near_head(&mut self, channel: usize) -> u64 {
        (self.channels[channel].next_write + 2).saturating_sub(self.rng.below(9) as u64)
    }

    fn wanted(&mut self, name: usize) -> i64 {
        match (self.rng.below(10), self.named[name]) {
            (0 | 1, _) => -1,
            (2 | 3, _) => -2,
            (4..8, Some(channel)) => i64::try_from(self.channels[channel].next_write).unwrap(),
            (_, Some(channel)) => i64::try_from(self.near_head(channel)).unwrap(),
            (_, None) => 0,
        }
    }

    /// The client's connection if it can go on, else a new one.
    fn fresh(&mut self, client: usize) -> usize {
        let peer = self.clients[client].peer;
        let old = &mut self.world.peers[peer];
        old.room = usize::MAX;
        if old.over
            || old.hung_up
            || !matches!(old.conn.phase, Phase::Idle)
            || !old.conn.outbox.is_empty()
        {
            old.hung_up = true;
            self.world.drive();
            self.clients[client].peer = self.world.connect();
        }
        let peer = self.clients[client].peer;
        let kept = &mut self.world.peers[peer];
        kept.received = vec![];
        kept.heads = vec![];
        peer
    }

    // === judgement ===
}
