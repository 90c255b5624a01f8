//! What must hold after each step of the simulation.

use super::*;

impl Simulation {
    pub(super) fn check(&mut self, what: &str) {
        let mut heads = Vec::new();
        for (name, model) in NAMES.iter().zip(self.named) {
            let channel = self.world.hub.channel(name);
            assert_eq!(channel.is_some(), model.is_some(), "{what}: channel {name}");
            let (Some(channel), Some(index)) = (channel, model) else {
                continue;
            };
            let (channel, model) = (channel.borrow(), &self.channels[index]);
            assert_eq!(
                channel.next_write(),
                model.next_write,
                "{what}: head of {name}"
            );
            let mut held: Vec<_> = channel
                .held()
                .map(|s| s.borrow())
                .map(|s| (s.seq(), s.bytes(), s.is_closed(), s.publishers))
                .collect();
            let of_model = |&s: &usize| {
                (
                    self.segments[s].seq,
                    self.segments[s].bytes.len() as u64,
                    self.segments[s].is_closed,
                    self.segments[s].publishers,
                )
            };
            let mut expected: Vec<_> = model.slots.iter().flatten().map(of_model).collect();
            held.sort_unstable();
            expected.sort_unstable();
            assert_eq!(held, expected, "{what}: segments of {name}");
            heads.resize(heads.len().max(index + 1), 0);
            heads[index] = model.next_write;
        }
        let went_back = self
            .heads
            .iter()
            .zip(&heads)
            .any(|(&before, &now)| now < before && now > 0);
        assert!(!went_back || self.new_epoch, "{what}: a head went back");
        self.heads = heads;
        for client in 0..CLIENTS {
            if let Job::Read { .. } = self.clients[client].job {
                self.check_reader(client, what);
            }
        }
        self.check_parked(what);
    }

    fn check_reader(&mut self, client: usize, what: &str) {
        let Client {
            peer,
            job:
                Job::Read {
                    segment,
                    latest,
                    http11,
                    stalled,
                    relieved,
                },
        } = self.clients[client]
        else {
            return;
        };
        let what = format!("{what}; reader {client}");
        let segment = &self.segments[segment];
        let peer_state = &self.world.peers[peer];
        let Some(answer) = self.world.responses(peer).pop() else {
            assert!(
                stalled || (segment.bytes.is_empty() && !segment.is_closed),
                "{what}: should have an answer"
            );
            if peer_state.over {
                assert!(!segment.is_held, "{what}: cut");
                self.clients[client].job = Job::Idle;
            }
            return;
        };
        assert_eq!(
            (answer.status, answer.seq()),
            (200, Some(&*segment.seq.to_string())),
            "{what}"
        );
        assert!(
            segment.bytes.starts_with(&answer.body),
            "{what}: bytes of another"
        );
        if segment.bytes.is_empty() {
            assert!(segment.is_closed, "{what}: an answer to nothing");
        } else {
            let differs = (latest != segment.seq).then(|| latest.to_string());
            assert_eq!(answer.latest(), differs.as_deref(), "{what}");
            assert_eq!(
                answer.field("Transfer-Encoding").is_some(),
                http11,
                "{what}"
            );
        }
        if answer.is_complete {
            assert!(
                segment.is_closed && segment.bytes == answer.body,
                "{what}: a clean end that is short"
            );
            assert!(http11 || peer_state.finished, "{what}");
            self.clients[client].job = Job::Idle;
        } else if peer_state.over {
            assert!(
                !segment.is_held && (relieved || stalled),
                "{what}: cut, and was not slow"
            );
            self.clients[client].job = Job::Idle;
        } else if !stalled {
            assert!(!segment.is_closed, "{what}: no end of a closed segment");
            assert_eq!(
                segment.bytes.len(),
                answer.body.len(),
                "{what}: bytes are withheld"
            );
        }
    }

    /// Nobody sleeps through a change: who is neither writing nor about to be looked at waits for a segment that has nothing new.
    fn check_parked(&self, what: &str) {
        for (i, peer) in self
            .world
            .peers
            .iter()
            .enumerate()
            .filter(|(_, peer)| !peer.over && !peer.writing)
        {
            assert!(!peer.is_ready(), "{what}: the world is not at rest");
            match &peer.conn.phase {
                Phase::Subscribe(subscribe) => {
                    let segment = subscribe.segment.borrow();
                    assert!(
                        !segment.is_closed() && !subscribe.delivery.is_pending(&segment),
                        "{what}: {i} sleeps on"
                    );
                }
                Phase::Publish(publish) => {
                    let (started, segment) = (
                        publish.publisher.started,
                        publish.publisher.segment.borrow(),
                    );
                    assert!(started || !segment.is_closed(), "{what}: {i} sleeps on");
                }
                _ => {}
            }
        }
    }
}
