//! The engine's parts, one by one and without the world: what each does in a round, for whoever measures.
//!
//! ```text
//!   UNITS ──▶ Unit::build ──▶ Body ──┬── time                  ◀── criterion (benches/units.rs): nanoseconds, with their spread
//!                                    └── counted_by_callgrind  ◀── icount: instructions, the same number every time
//! ```
//!
//! A *round* is a fixed amount of work: so many *operations* (a head, a chunk, a delivery, a packet, a frame). Before a round
//! the body is put into the state that the round begins in, and that is not measured.
//!
//! Invariants:
//! - Criterion and the instruction counter run the same code, through the same call.
//! - Every round does the same work, and says how much it did: one that did less is a panic and not a good figure.
//! - No unit opens a file, a socket or a thread, and none asks for the time; its input is built in. So a binary that was
//!   carried to another machine measures the same there. What needs two threads is in [`hop::Pair`].

use std::hint::black_box;
use std::time::{Duration, Instant};

pub mod clip;
mod codec;
mod fanout;
mod filters;
pub mod hop;
mod http;
mod tickets;
mod ts;

use engine::VerifierChoice;
use kernels::{Filter, Frame};

/// Something that can be measured.
#[derive(Debug, Clone, Copy)]
pub struct Unit {
    /// Its name: group, slash, the rest.
    pub name: &'static str,
    /// What one operation is.
    pub operation: &'static str,
    /// Whether its instructions are worth counting: they are ours, and the same every time.
    pub is_counted: bool,
    /// Makes it ready.
    pub build: fn() -> Box<dyn Body>,
}

/// How much a round is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// Operations.
    pub operations: u64,
    /// Bytes that are read or written in all of them; `None` where payload is handed on by name and not looked at.
    pub bytes: Option<u64>,
}

/// The work of a unit.
pub trait Body {
    /// How much a round is; the same for every round.
    fn round(&self) -> Round;

    /// Goes to where a round begins. Not measured.
    fn prepare(&mut self) {}

    /// Does a round. Returns how many operations it did, found from the results.
    fn run(&mut self) -> u64;
}

/// All units, in the order in which a byte meets them.
pub const UNITS: &[Unit] = &[
    counted("http/head-post", "head", || Box::new(http::Heads::post())),
    counted("http/head-get", "head", || Box::new(http::Heads::get())),
    counted("http/body", "chunk", || Box::new(http::Chunks::new())),
    counted("fanout/1", "delivery", || Box::new(fanout::FanOut::new(1))),
    counted("fanout/5", "delivery", || Box::new(fanout::FanOut::new(5))),
    counted("fanout/50", "delivery", || {
        Box::new(fanout::FanOut::new(50))
    }),
    counted("fanout/200", "delivery", || {
        Box::new(fanout::FanOut::new(200))
    }),
    counted("hop/push-pop", "item", || Box::new(hop::PushPop::new())),
    counted("ts/demux", "packet", || Box::new(ts::Demuxing::new())),
    counted("ts/split", "access unit", || Box::new(ts::Splitting::new())),
    counted("ts/mux", "packet", || Box::new(ts::Muxing::new())),
    counted("filter/grayscale/360p", "frame", || {
        filters::at_360p(GRAYSCALE)
    }),
    counted("filter/edges/360p", "frame", || filters::at_360p(EDGES)),
    counted("filter/blur/360p", "frame", || filters::at_360p(BLUR)),
    counted("filter/pixelate/360p", "frame", || {
        filters::at_360p(PIXELATE)
    }),
    counted("filter/invert/360p", "frame", || filters::at_360p(INVERT)),
    counted("filter/grayscale/720p", "frame", || {
        filters::at_720p(GRAYSCALE)
    }),
    counted("filter/edges/720p", "frame", || filters::at_720p(EDGES)),
    counted("filter/blur/720p", "frame", || filters::at_720p(BLUR)),
    counted("filter/pixelate/720p", "frame", || {
        filters::at_720p(PIXELATE)
    }),
    counted("filter/invert/720p", "frame", || filters::at_720p(INVERT)),
    counted("ticket/decode/1", "ticket", || {
        Box::new(tickets::Decoding::new(1))
    }),
    counted("ticket/decode/100", "ticket", || {
        Box::new(tickets::Decoding::new(100))
    }),
    counted("ticket/open/plain", "payment", || {
        Box::new(tickets::Opening::new(VerifierChoice::Known))
    }),
    timed("ticket/open/vector", "payment", || {
        Box::new(tickets::Opening::new(VerifierChoice::Vector))
    }),
    counted("ticket/hash/plain", "ticket", || {
        Box::new(tickets::Hashing::plain())
    }),
    timed("ticket/hash/vector", "ticket", || {
        Box::new(tickets::Hashing::vector())
    }),
    timed("ticket/verify/reference", "ticket", || {
        Box::new(tickets::Verifying::new(VerifierChoice::Reference))
    }),
    counted("ticket/verify/known", "ticket", || {
        Box::new(tickets::Verifying::new(VerifierChoice::Known))
    }),
    timed("ticket/verify/vector", "ticket", || {
        Box::new(tickets::Verifying::new(VerifierChoice::Vector))
    }),
    counted("ticket/win/plain", "ticket", || {
        Box::new(tickets::Drawing::new(VerifierChoice::Known))
    }),
    timed("ticket/win/vector", "ticket", || {
        Box::new(tickets::Drawing::new(VerifierChoice::Vector))
    }),
    counted("ticket/nonce", "ticket", || {
        Box::new(tickets::Counting::default())
    }),
    counted("ticket/credit", "ticket", || {
        Box::new(tickets::Crediting::new())
    }),
    timed("ticket/batch/reference", "ticket", || {
        Box::new(tickets::Whole::new(VerifierChoice::Reference))
    }),
    counted("ticket/batch/known", "ticket", || {
        Box::new(tickets::Whole::new(VerifierChoice::Known))
    }),
    timed("ticket/batch/vector", "ticket", || {
        Box::new(tickets::Whole::new(VerifierChoice::Vector))
    }),
    timed("codec/decode/360p", "frame", || {
        Box::new(codec::Decoding::new())
    }),
    timed("codec/encode/360p", "frame", || {
        Box::new(codec::Encoding::new())
    }),
];

const fn counted(
    name: &'static str,
    operation: &'static str,
    build: fn() -> Box<dyn Body>,
) -> Unit {
    Unit {
        name,
        operation,
        is_counted: true,
        build,
    }
}

/// Most of its instructions are a foreign library's, chosen by what the CPU can do, and valgrind shows it another CPU.
const fn timed(name: &'static str, operation: &'static str, build: fn() -> Box<dyn Body>) -> Unit {
    Unit {
        name,
        operation,
        is_counted: false,
        build,
    }
}

/// The filters as a session has them when it names no parameter.
const GRAYSCALE: Filter = Filter::Grayscale {
    amount_percent: 100,
};
const EDGES: Filter = Filter::Edges { gain_percent: 100 };
const BLUR: Filter = Filter::Blur { radius_px: 4 };
const PIXELATE: Filter = Filter::Pixelate { block_px: 16 };
const INVERT: Filter = Filter::Invert {
    amount_percent: 100,
};

/// Bytes of a picture's three planes.
fn bytes_of(frame: &Frame) -> u64 {
    let planes = frame.planes();
    planes
        .iter()
        .map(|plane| (plane.width() * plane.height()) as u64)
        .sum()
}

/// How long `operations` operations take. Whole rounds are run, and the share of them taken.
///
/// # Panics
/// When a round did not do its work.
pub fn time(body: &mut dyn Body, operations: u64) -> Duration {
    let each = body.round().operations;
    let rounds = operations.div_ceil(each);
    let mut spent = Duration::ZERO;
    for _ in 0..rounds {
        body.prepare();
        let start = Instant::now();
        let done = black_box(body.run());
        spent += start.elapsed();
        assert_eq!(done, each, "a round did not do its work");
    }
    spent.mul_f64(operations as f64 / (rounds * each) as f64)
}

/// Does one round for valgrind, which counts from the entry of this very function to its end, and finds it by its name.
///
/// # Panics
/// When the round did not do its work; that is looked at in here, so that the call of the round is not a jump.
#[inline(never)]
pub fn counted_by_callgrind(body: &mut dyn Body, operations: u64) {
    let done = black_box(black_box(body).run());
    assert_eq!(done, operations, "a round did not do its work");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_unit_does_the_work_it_says_twice() {
        for unit in UNITS {
            let mut body = (unit.build)();
            let round = body.round();
            assert!(
                round.operations > 0 && round.bytes != Some(0),
                "{}",
                unit.name
            );
            for _ in 0..2 {
                body.prepare();
                assert_eq!(body.run(), round.operations, "{}", unit.name);
            }
            assert_eq!(body.round(), round, "{}", unit.name);
        }
    }

    #[test]
    fn names_are_unique_and_in_a_group() {
        let names: BTreeSet<_> = UNITS.iter().map(|unit| unit.name).collect();
        assert_eq!(names.len(), UNITS.len());
        assert!(names.iter().all(|name| name.contains('/')));
    }

    /// Counts its rounds.
    struct Clockwork {
        prepared: u64,
        run: u64,
    }

    impl Body for Clockwork {
        fn round(&self) -> Round {
            Round {
                operations: 10,
                bytes: None,
            }
        }

        fn prepare(&mut self) {
            self.prepared += 1;
        }

        fn run(&mut self) -> u64 {
            self.run += 1;
            10
        }
    }

    #[test]
    fn whole_rounds_are_run_and_each_is_prepared() {
        let mut body = Clockwork {
            prepared: 0,
            run: 0,
        };
        time(&mut body, 21);
        assert_eq!((body.prepared, body.run), (3, 3));
        counted_by_callgrind(&mut body, 10);
        assert_eq!((body.prepared, body.run), (3, 4));
    }

    #[test]
    #[should_panic(expected = "did not do its work")]
    fn a_round_that_did_less_is_no_figure() {
        let mut body = Clockwork {
            prepared: 0,
            run: 0,
        };
        counted_by_callgrind(&mut body, 11);
    }
}
