//! Which shard owns a channel, and how a socket gets there.
//!
//! A socket moves with all that was read from it: the bytes of its request head and its TLS state. It moves before anything
//! was answered, so the owner sees the connection as if it had accepted it.

use std::os::fd::OwnedFd;

use super::net::Stream;
use super::tls::Tls;
use super::wire::{Arrival, Entrance, Wire};
use super::{Message, Shard, door};

/// A connection between two shards. If it is lost, its socket closes.
pub(crate) struct Migrant {
    fd: OwnedFd,
    tls: Option<Tls>,
    unread: Vec<u8>,
    entrance: Entrance,
}

impl Migrant {
    /// A private stream that was not accepted from a listener.
    pub(crate) fn private(fd: OwnedFd) -> Self {
        Self {
            fd,
            tls: None,
            unread: Vec::new(),
            entrance: Entrance::Public,
        }
    }

    /// Settles on the shard that runs this.
    pub(crate) fn settle(self) -> Arrival {
        Arrival {
            stream: Stream::adopt(self.fd),
            tls: self.tls,
            unread: self.unread,
            entrance: self.entrance,
        }
    }
}

/// Sends a connection to the shard that owns its channel.
pub(crate) fn send(shard: &Shard, to: usize, wire: Wire, unread: Vec<u8>, entrance: Entrance) {
    let Wire { stream, tls } = wire;
    let Ok(fd) = stream.release() else { return };
    shard.counters.add(|c| &mut c.moved, 1);
    let migrant = Migrant {
        fd,
        tls,
        unread,
        entrance,
    };
    if let Err(Message::Migrant(migrant)) = shard.peers[to].send(Message::Migrant(migrant)) {
        shard.counters.add(|c| &mut c.refused, 1);
        if migrant.tls.is_none() {
            door::refuse(&migrant.fd);
        }
    }
}
