//! What it costs to reach another shard: two threads, each on a CPU of its own, and a ring each way.
//!
//! It needs two CPUs with nothing else on them. Where only one is allowed it says so and measures nothing.

use std::io;
use std::time::Duration;

use benches::pin;
use benches::units::hop::{Pair, Waiting};
use criterion::{Criterion, Throughput};
use rustix::thread::{CpuSet, sched_getaffinity};

fn main() -> io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
    let (Some(here), Some(there)) = (cpus.next(), cpus.next()) else {
        println!("absent: a second CPU; a hop between two threads on one is no hop");
        return Ok(());
    };
    pin::to(here)?;
    let mut criterion = Criterion::default().configure_from_args();
    for (waiting, name) in [(Waiting::Awake, "awake"), (Waiting::Asleep, "asleep")] {
        let pair = Pair::start(Some(there), waiting)?;
        let id = format!("hop/round-trip/{name}");
        measure(&mut criterion, &id, |count| pair.round_trips(count));
        let id = format!("hop/one-way/{name}");
        measure(&mut criterion, &id, |count| pair.one_way(count));
    }
    criterion.final_summary();
    Ok(())
}

/// One way of hopping: the time of an item, and items a second.
fn measure(criterion: &mut Criterion, id: &str, mut hops: impl FnMut(u64) -> io::Result<Duration>) {
    let mut group = criterion.benchmark_group(id);
    group.throughput(Throughput::Elements(1));
    group.bench_function("item", |bencher| {
        bencher.iter_custom(|count| hops(count).expect("the other thread answers"));
    });
    group.finish();
}
