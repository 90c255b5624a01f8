//! What the data plane tells the control plane.

/// Something that happened on the data plane.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Report {
    /// One whole segment arrived on a session's control channel.
    ControlMessage {
        /// The session.
        manifest_id: String,
        /// The segment's body, at most 1 MiB; usually a JSON object.
        bytes: Vec<u8>,
    },
    /// The first input frame of a session was found.
    FirstInput {
        /// The session.
        manifest_id: String,
        /// What arrived, for people: codec, size, audio.
        description: String,
    },
    /// The first output frame of a session was published.
    FirstOutput {
        /// The session.
        manifest_id: String,
    },
    /// How a session is doing; sent about once a second while it lives.
    Progress {
        /// The session.
        manifest_id: String,
        /// Totals since the session began.
        stats: SessionStats,
    },
    /// Something went wrong in a session that goes on.
    Trouble {
        /// The session.
        manifest_id: String,
        /// What went wrong.
        message: String,
    },
    /// A session has ended, its output is complete and its media channels are closed.
    ///
    /// The events channel is left open so that the control plane can say goodbye on it; it deletes it.
    SessionEnded {
        /// The session.
        manifest_id: String,
        /// Why.
        cause: EndCause,
        /// Totals since the session began.
        stats: SessionStats,
    },
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndCause {
    /// The input channel was closed by its publisher, or deleted.
    InputEnded,
    /// No input arrived for too long.
    InputIdle,
    /// The input cannot be processed; the text says why.
    BadInput(String),
    /// The control plane asked for it.
    Closed,
    /// The lane failed; the text says how.
    Failed(String),
    /// The node is stopping.
    Draining,
}

/// Totals of one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionStats {
    /// Input segments that have begun: their first byte was seen.
    pub segments_in: u64,
    /// Video frames found in the input.
    pub frames_in: u64,
    /// Video frames published.
    pub frames_out: u64,
    /// Frames given up because the session was late.
    pub frames_dropped: u64,
    /// Access units the decoder refused.
    pub decode_errors: u64,
    /// Audio packets passed through.
    pub audio_packets: u64,
    /// Transport packets that were garbage or out of order.
    pub damaged_packets: u64,
    /// Input bytes.
    pub bytes_in: u64,
    /// Output bytes.
    pub bytes_out: u64,
    /// Unix time of the newest input, 0 if none.
    pub last_input_ms: u64,
    /// Unix time of the newest output, 0 if none.
    pub last_output_ms: u64,
    /// Where the time of a frame goes, in the order of [`Stage::ALL`].
    pub stages: [StageLatency; Stage::ALL.len()],
}

impl SessionStats {
    /// The latency of one stage.
    pub fn stage(&self, stage: Stage) -> StageLatency {
        self.stages[stage as usize]
    }
}

/// The stages of a frame's way through a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// From the frame's last byte off the socket to a whole access unit.
    Demux = 0,
    /// Waiting for the lane.
    QueueIn = 1,
    /// Decoding.
    Decode = 2,
    /// Filtering.
    Process = 3,
    /// Encoding.
    Encode = 4,
    /// Waiting for the shard.
    QueueOut = 5,
    /// Multiplexing and publishing.
    Mux = 6,
    /// From the frame's last byte off the socket to its first byte published.
    Total = 7,
}

impl Stage {
    /// Every stage, in the order a frame meets them.
    pub const ALL: [Self; 8] = [
        Self::Demux,
        Self::QueueIn,
        Self::Decode,
        Self::Process,
        Self::Encode,
        Self::QueueOut,
        Self::Mux,
        Self::Total,
    ];

    /// A short name for tables and JSON keys.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Demux => "demux",
            Self::QueueIn => "queue_in",
            Self::Decode => "decode",
            Self::Process => "filter",
            Self::Encode => "encode",
            Self::QueueOut => "queue_out",
            Self::Mux => "mux",
            Self::Total => "total",
        }
    }
}

/// A latency distribution in four numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StageLatency {
    /// How many frames were measured.
    pub count: u64,
    /// The median.
    pub p50_us: u64,
    /// The 99th percentile.
    pub p99_us: u64,
    /// The worst.
    pub max_us: u64,
}
