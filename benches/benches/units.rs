//! What each part of the engine costs by itself: the time of one operation, with its spread.
//!
//! `cargo bench -p benches --bench units -- filter` measures those whose name has that in it. The units are those of
//! `benches::units`, whose instructions `icount` counts.

use benches::units::{self, UNITS, Unit};
use criterion::{Criterion, Throughput};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for unit in UNITS {
        measure(&mut criterion, unit);
    }
    criterion.final_summary();
}

/// One unit: the time of an operation, operations a second, and bytes where any are touched.
fn measure(criterion: &mut Criterion, unit: &Unit) {
    let mut body = (unit.build)();
    let round = body.round();
    let mut group = criterion.benchmark_group(unit.name);
    group.throughput(match round.bytes {
        Some(bytes) => Throughput::ElementsAndBytes {
            elements: 1,
            bytes: bytes / round.operations,
        },
        None => Throughput::Elements(1),
    });
    group.bench_function(unit.operation, |bencher| {
        bencher.iter_custom(|operations| units::time(&mut *body, operations));
    });
    group.finish();
}
