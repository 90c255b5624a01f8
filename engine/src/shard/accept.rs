//! New connections: every shard listens on the same ports, and the kernel spreads them.
//!
//! There may be a second port for trickle alone. A connection remembers by which it came, to its end and onto other shards.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::or;
use rustls::ServerConnection;

use super::Shard;
use super::conn::serve;
use super::net::{Listener, sleep, spawn_task, yield_if_needed};
use super::tls::Tls;
use super::wire::{Arrival, Entrance};

/// How long to wait when the process is out of descriptors or memory before trying again.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Accepts until the shard stops.
pub(crate) async fn run(shard: Rc<Shard>, listener: Listener, entrance: Entrance) {
    let tls = match entrance {
        Entrance::Public => shard.config.tls.clone(),
        Entrance::Trickle => (shard.config.trickle_listen.as_ref()).and_then(|at| at.tls.clone()),
    };
    while let Some(accepted) = or(async { Some(listener.accept().await) }, shard.stopped()).await {
        match accepted {
            Ok(stream) => {
                stream.tune();
                let tls = match &tls {
                    None => None,
                    Some(config) => match ServerConnection::new(Arc::clone(config)) {
                        Ok(session) => Some(Tls::new(session)),
                        Err(_) => continue,
                    },
                };
                shard.counters.add(|c| &mut c.accepted, 1);
                admit(
                    &shard,
                    Arrival {
                        stream,
                        tls,
                        unread: Vec::new(),
                        entrance,
                    },
                );
                yield_if_needed().await;
            }
            Err(error) => {
                tracing::warn!(shard = shard.index, %error, "cannot accept");
                sleep(EXHAUSTED).await;
            }
        }
    }
}

/// Serves a connection if the shard has room; else closes it.
pub(crate) fn admit(shard: &Rc<Shard>, arrival: Arrival) {
    if shard.connections.get() >= shard.config.limits.connections || shard.stopping.get() {
        shard.counters.add(|c| &mut c.refused, 1);
        return;
    }
    shard.connections.set(shard.connections.get() + 1);
    let shard = shard.clone();
    spawn_task(async move {
        serve(shard.clone(), arrival).await;
        shard.connections.set(shard.connections.get() - 1);
    });
}
