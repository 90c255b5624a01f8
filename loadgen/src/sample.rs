//! To be written: the sampler of the server's process and of the GPUs. (Contract below; bodies to be filled.)

use crate::measure::Interval;
use crate::outcome::{Figure, GpuUse, ServerUse};

/// Watches a server's process.
#[derive(Debug, Default)]
pub struct Sampler {}

impl Sampler {
    /// What the process has used until now.
    pub fn sample(&mut self) -> Sample {
        Sample::default()
    }

    /// What was used between the first sample and the last; `None` when the server could not be watched.
    pub fn conclude(&self, _samples: &[Sample]) -> Option<ServerUse> {
        None
    }
}

/// One look at the server and the GPUs.
#[derive(Debug, Clone, Default)]
pub struct Sample {}

impl Sample {
    /// CPU seconds a second since an earlier look.
    pub fn cpu_share_since(&self, _before: &Self) -> Option<f64> {
        None
    }

    /// Resident memory.
    pub fn rss_mib(&self) -> Option<f64> {
        None
    }

    /// The GPUs.
    pub fn gpus(&self) -> Vec<GpuUse> {
        Vec::new()
    }
}

/// Cost per unit: CPU s/GiB of payload received, µs a result, context switches a result.
pub fn costs(
    _server: &ServerUse,
    _total: &Interval,
    _operation: &str,
    _window_s: f64,
) -> Vec<Figure> {
    Vec::new()
}
