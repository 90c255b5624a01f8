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
