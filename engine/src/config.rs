//! What the engine is started with: plain, checked values. No environment, no files.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::Limits;

/// Everything the engine needs to know before it starts.
#[derive(Clone)]
pub struct Config {
    /// Where every shard listens (`SO_REUSEPORT`). Port 0 picks one, the same for all shards.
    pub listen: SocketAddr,
    /// TLS for the port, or cleartext. ALPN is read from it: `h2` leaves through the door.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Where every shard listens for trickle alone, beside the port for all.
    pub trickle_listen: Option<TrickleListen>,
    /// The CPUs that run a shard each. Never empty.
    pub cores: Vec<usize>,
    /// How many media lanes run beside the shards. At least one.
    pub lanes: usize,
    /// What they run on.
    pub device: Device,
    /// The models that sessions may ask for, beside the built-in filters.
    pub models: Vec<gpu::model::Model>,
    /// The trickle protocol's settings.
    pub trickle: TrickleConfig,
    /// Every bound.
    pub limits: Limits,
}

/// A second address: what is not under the trickle base is answered 404 there, whatever it is, and never reaches the control plane.
#[derive(Clone)]
pub struct TrickleListen {
    /// The address, and not one that [`Config::listen`] takes in. Port 0 picks one, the same for all shards.
    pub addr: SocketAddr,
    /// TLS for it, or cleartext. Its ALPN is HTTP/1.1 and nothing else, whatever is read here.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl TrickleListen {
    /// The same with the one protocol that is spoken there: a client that was let to choose HTTP/2 would be lost.
    pub(crate) fn speaking_http1(self) -> Self {
        let tls = self.tls.map(|tls| {
            let mut config = rustls::ServerConfig::clone(&tls);
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Arc::new(config)
        });
        Self { tls, ..self }
    }
}

/// Whether a connection to one address could come in at the other. The kernel would not object: shards share their ports, too.
#[must_use]
pub fn is_same_place(a: SocketAddr, b: SocketAddr) -> bool {
    let is_same_ip = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && is_same_ip
}

/// What lanes decode, process and encode with.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Device {
    /// The CPU.
    #[default]
    Cpu,
    /// A CUDA device, by its ordinal.
    Cuda(u32),
    /// The stub of the tests.
    Stub(gpu::stub::Stub),
}

/// How the trickle server behaves.
#[derive(Debug, Clone)]
pub struct TrickleConfig {
    /// The path under which channels live. Begins and ends with a slash.
    pub base: String,
    /// Whether the first publish, or a POST on its name, creates a channel that does not exist.
    pub autocreate: bool,
    /// Whether a channel that has an owner token can only be deleted with it.
    pub owner_delete: bool,
    /// Whether channels that come and go are announced on the channel `_changes`.
    pub changefeed: bool,
    /// How long a channel may be without any activity before it is swept away.
    pub idle: Duration,
    /// How long the segment of a publisher that vanished stays open for it to come back.
    pub abort_grace: Duration,
}

impl Default for TrickleConfig {
    fn default() -> Self {
        Self {
            base: "/ai/trickle/".to_owned(),
            autocreate: false,
            owner_delete: false,
            changefeed: false,
            idle: Duration::from_secs(300),
            abort_grace: Duration::from_secs(4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_addresses_are_one_place_when_a_client_of_one_could_come_in_at_the_other() {
        for (a, b, expected) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("10.0.0.1:1", "[::]:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("10.0.0.1:1", "10.0.0.2:1", false),
            // The system picks two that differ.
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(is_same_place(a, b), expected, "{a} {b}");
            assert_eq!(is_same_place(b, a), expected, "{b} {a}");
        }
    }
}
