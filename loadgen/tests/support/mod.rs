//! What the tests of scenarios share: a run of a second or two, and a trickle server that errs by script.
#![allow(dead_code, unreachable_pub)] // each test binary uses its part

pub mod faulty;
pub mod grpc;
pub mod http;
pub mod payee;
pub mod python;

use std::time::Duration;

use loadgen::Failure;
use loadgen::conduct::{Lengths, OwnLimits, Plan, Scenario, Stop, conduct};
use loadgen::outcome::{Outcome, Repro};
use loadgen::sample::Sampler;
use loadgen::target::{Target, Trust};

/// A server as a scenario is told of it.
pub fn target(url: &str) -> Target {
    Target::resolve(url, Trust::Anyone, "X-Loadgen: test\r\n".to_owned()).expect("a URL")
}

/// A warm-up of 200 ms, a window, and a cool-down of 300 ms.
pub fn lengths(window: Duration) -> Lengths {
    Lengths {
        warmup: Duration::from_millis(200),
        window,
        cooldown: Duration::from_millis(300),
        drain: Duration::from_secs(3),
    }
}

/// Carries a scenario out on one thread that runs anywhere. Of its own lateness 250 ms are allowed: the machine may be busy.
pub fn carry_out(scenario: &dyn Scenario, window: Duration) -> Result<Outcome, Failure> {
    carry_out_on(scenario, window, Vec::new(), 250.0)
}

/// The same on a thread pinned to one of `cpus`, whose own lateness may be so much at p99.
pub fn carry_out_on(
    scenario: &dyn Scenario,
    window: Duration,
    cpus: Vec<usize>,
    lateness_p99_ms: f64,
) -> Result<Outcome, Failure> {
    let plan = Plan {
        lengths: lengths(window),
        threads: 1,
        cpus,
        is_busy_polling: false,
        own_limits: OwnLimits {
            lateness_p99_ms,
            cpu_share: 2.0,
        },
        sampler: Sampler::default(),
        repro: Repro::default(),
        sinks: Vec::new(),
        stop: Stop::default(),
    };
    conduct(scenario, plan)
}

/// The count of errors of a class.
pub fn errors(outcome: &Outcome, class: &str) -> u64 {
    outcome.counts.errors.get(class).copied().unwrap_or(0)
}
