//! Every bound of the data plane, in one place, checking each other at compile time.
//!
//! Full is a normal day. What each bound answers when it is reached:
//!
//! | bound | answer |
//! |---|---|
//! | `connections` | the socket is accepted and closed; counted |
//! | `channels` | 503 `Too many channels` |
//! | `head_bytes` | 431 `Request header too large`, connection closed |
//! | `segment_bytes`, `channel_bytes` | the segment ends cleanly for its readers; the publisher reads 413 |
//! | `pages` | first the readers that hold evicted segments are cut; then the segment ends cleanly and its publisher reads 507 |
//! | `sessions`, `lane_percent`, device memory | 503 `insufficient capacity` |
//! | `lane_call` | the lane is called stuck, gets no new sessions, and those on it end |

use std::time::Duration;

/// The bytes of a large page: what one read may fill.
pub const PAGE_BYTES: usize = handoff::page::LARGE;
/// The bytes of a small page: the first page of a segment, so that a short JSON segment costs little.
pub const SMALL_PAGE_BYTES: usize = handoff::page::SMALL;
/// The bytes of one shard's scratch buffer, into which request heads and TLS records are read.
pub const SCRATCH_BYTES: usize = 32 << 10;
/// The longest request head.
pub const HEAD_BYTES: usize = 16 << 10;
/// The longest channel name.
pub const NAME_BYTES: usize = trickle::name::NAME_BYTES_MAX;
/// The longest control message and local publish.
pub const MESSAGE_BYTES: usize = 1 << 20;

const _: () = {
    assert!(
        SMALL_PAGE_BYTES < PAGE_BYTES,
        "the small page is the small one"
    );
    assert!(
        HEAD_BYTES <= SCRATCH_BYTES,
        "a whole head fits into one read"
    );
    assert!(
        NAME_BYTES * 2 < HEAD_BYTES,
        "a longest name, percent-encoded or not, fits into a head"
    );
};

/// The bounds that an operator may set; all are a shard's own share, so nothing is counted across cores.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections on one shard.
    pub connections: usize,
    /// Channels on one shard.
    pub channels: usize,
    /// Bytes of one segment.
    pub segment_bytes: u64,
    /// Bytes a channel may hold over all its segments.
    pub channel_bytes: u64,
    /// Bytes in pages on one shard, large and small together.
    pub page_bytes: usize,
    /// Live sessions on one shard; the control plane bounds the node's. What a lane has time and memory for binds first.
    pub sessions: usize,
    /// How much of a lane's time its sessions may be projected to take, in hundredths. A lane without sessions takes one whatever
    /// is projected.
    pub lane_percent: u32,
    /// How long a lane may measure what a picture costs when it starts; zero for not at all, and a session is then taken to need a
    /// quarter of a lane until sessions have been measured.
    pub lane_calibration: Duration,
    /// How long a lane may be in one device call before it is called stuck.
    pub lane_call: Duration,
    /// How long a reader of an evicted segment may make no progress before it is cut.
    pub lag: Duration,
    /// How long a session may be without input before it ends.
    pub session_idle: Duration,
    /// How long a connection may sit between two requests.
    pub keep_alive: Duration,
    /// How long a connection may take to send a whole request head, from its first byte.
    pub head: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 32_768,
            channels: 4_096,
            // go-livepeer's own bound for a media segment: 300 s at 8 Mbit/s.
            segment_bytes: 300_000_000,
            channel_bytes: 600_000_000,
            page_bytes: 1 << 30,
            sessions: 256,
            lane_percent: 85,
            lane_calibration: Duration::from_millis(60),
            lane_call: Duration::from_secs(10),
            lag: Duration::from_secs(10),
            session_idle: Duration::from_secs(60),
            keep_alive: Duration::from_secs(600),
            head: Duration::from_secs(300),
        }
    }
}
