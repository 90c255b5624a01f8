//! How a session is doing, for everybody who asks: its events, the status route, the log.

use link::{Process, SessionStats};

use super::state::{Rates, State};

/// How a session is doing, for everybody who asks.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) model_id: String,
    pub(super) stream_id: String,
    pub(super) gateway_request_id: String,
    /// What is done to its frames.
    pub(super) process: Process,
    pub(super) started_ms: u64,
    pub(super) state: State,
    pub(super) state_since_ms: u64,
    pub(super) stats: SessionStats,
    pub(super) rates: Rates,
    /// 0 until parameters were changed.
    pub(super) params_since_ms: u64,
    pub(super) last_error: Option<String>,
    /// 0 while there was none.
    pub(super) last_error_ms: u64,
    /// What it has cost, when it is paid for.
    pub(super) bill: Option<BillView>,
}

/// How a session's bill stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BillView {
    pub(super) sender: String,
    /// Wei for pixels.
    pub(super) price: String,
    pub(super) charged_pixels: u64,
    /// Whole wei, rounded down; `None` before the first charge.
    pub(super) balance_wei: Option<String>,
}

impl View {
    pub(super) fn new(model_id: String, process: Process, now_ms: u64) -> Self {
        Self {
            model_id,
            stream_id: String::new(),
            gateway_request_id: String::new(),
            process,
            started_ms: now_ms,
            state: State::Loading,
            state_since_ms: now_ms,
            stats: SessionStats::default(),
            rates: Rates::default(),
            params_since_ms: 0,
            last_error: None,
            last_error_ms: 0,
            bill: None,
        }
    }
}
