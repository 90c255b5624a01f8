//! A generator that gets no CPU fails its own run, and says that it was the one to blame.
//!
//! In a file of its own, since it takes a CPU away from whatever runs beside it.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use loadgen::pin;
use loadgen::trickle::{Options, Trickle};

use support::faulty::{Faulty, Script};
use support::{carry_out, carry_out_on, target};

#[test]
fn a_starved_generator_is_not_believed() {
    let server = Faulty::start(Script::default(), false);
    let light = load(&server, "chunk_size = 500\nrate = 20\nsubscribers = 1");
    let outcome = carry_out(&light, Duration::from_secs(2)).expect("an outcome");
    assert!(outcome.verdict.is_valid, "{:?}", outcome.verdict);

    // Ten thousand system calls a second, and as many chunks to be checked, with a thirty-third of a CPU.
    let heavy = load(&server, "chunk_size = 32\nrate = 10000\nsubscribers = 1");
    let cpu = first_cpu();
    let hogs = Hogs::start(cpu, 32);
    let outcome =
        carry_out_on(&heavy, Duration::from_secs(1), vec![cpu], 10.0).expect("an outcome");
    drop(hogs);
    assert!(!outcome.verdict.is_valid, "{:?}", outcome.own.lateness);
    let reasons = outcome.verdict.reasons.join("; ");
    assert!(
        reasons.contains("the generator was the bottleneck"),
        "{reasons}"
    );
    assert!(reasons.contains("late at p99"), "{reasons}");
    println!("{:.0} ms late at p99", outcome.own.lateness.p99_ms);
}

fn load(server: &Faulty, options: &str) -> Trickle {
    let options: Options = toml::from_str(options).expect("options");
    Trickle::resolve(&options, target(&server.url), 1).expect("a load")
}

/// The first CPU that this process may use.
fn first_cpu() -> usize {
    (0..1_024)
        .find(|&cpu| pin::while_on(cpu, || Ok(())).is_ok())
        .expect("some CPU")
}

/// Threads that use a CPU up, for as long as this lives.
struct Hogs {
    is_over: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Hogs {
    fn start(cpu: usize, count: usize) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let threads = (0..count)
            .map(|_| {
                let is_over = Arc::clone(&is_over);
                thread::spawn(move || {
                    pin::to(cpu).expect("it is one of ours");
                    while !is_over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                })
            })
            .collect();
        Self { is_over, threads }
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("it only spins");
        }
    }
}
