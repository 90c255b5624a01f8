//! x
pub mod clip;
pub mod mark;
pub mod reader;
pub mod tally;
pub mod ts;
use crate::measure::Metric;
pub(crate) const FRAME: usize = 0;
pub(crate) const FRAME_WHOLE: usize = 1;
pub(crate) const INTERARRIVAL: usize = 2;
pub(crate) const JITTER: usize = 3;
const METRICS: &[Metric] = &[Metric {
    name: "",
    title: "",
}; 6];
