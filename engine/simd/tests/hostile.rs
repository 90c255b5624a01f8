//! Every verifier against the reference, on signatures that somebody made to break it.
//!
//! A forger who picks his own key picks the sums behind his signature too: any u1, u2 and key he likes, then the s and the digest
//! that lead there. So cases are made backwards from small numbers, powers of two, numbers near the order, and others, such that
//! points meet their likes and opposites within a sum; and forwards, from r, s, v and digests at every edge.
//!
//! `MILLSTREAM_CASES` is how many (a release build does a million in four minutes); `MILLSTREAM_SEED` where to begin.

#[path = "hostile/cases.rs"]
mod cases;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cases::{Case, Cases};
use ticket::address::Address;
use ticket::curve::Point;
use ticket::curve::sum::{Outcome, Task};
use ticket::curve::table::BaseTable;
use ticket::keccak::{Permute, State};
use ticket::layout::Digest;
use ticket::signature::Signature;
use ticket::verify::{Arithmetic, Claim, Known, Limits, Portable, Reference, Verifier};

const CASES: usize = 6_000;
const BATCH: usize = 200;

#[test]
fn every_verifier_gives_the_references_answer() {
    let cases: usize = setting("MILLSTREAM_CASES").unwrap_or(CASES);
    let seed = setting("MILLSTREAM_SEED").unwrap_or(0x6d69_6c6c);
    let mut source = Cases::new(seed);
    // Tables at once, and few of them, so that keys come and go.
    let limits = Limits {
        keys: 96,
        tables: 48,
        table_after: 1,
    };
    let sums = Arc::new(Sums::default());
    let watched = |sums: &Arc<Sums>| sums.clone();
    let mut portable = Known::new(Watched(Portable::default(), watched(&sums)), limits);
    let mut vector =
        simd::Vector::detect().map(|vector| Known::new(Watched(vector, watched(&sums)), limits));
    if let Err(missing) = &vector {
        println!("SKIPPED, the vector verifier: {missing}");
    }
    let mut told = Told::default();
    let mut done = 0;
    while done < cases {
        let batch: Vec<Case> = (0..BATCH).map(|_| source.next()).collect();
        compare(&mut portable, &batch, &mut told);
        if let Ok(vector) = &mut vector {
            compare(vector, &batch, &mut told);
        }
        done += BATCH;
    }
    println!("{done} cases from seed {seed:#x}: {told:?}, {sums:?}");
    // If these are few the cases are not what they are meant to be.
    assert!(
        told.genuine > done / 5 && told.forged > done / 5 && told.impossible > done / 50,
        "{told:?}"
    );
    let Sums { done, exceptional } = &*sums;
    let (done, exceptional) = (
        done.load(Ordering::Relaxed),
        exceptional.load(Ordering::Relaxed),
    );
    assert!(
        exceptional > done / 100,
        "of {done} sums {exceptional} met a point and its like"
    );
}

/// How many sums of table points were done, and how many of them had no answer.
#[derive(Debug, Default)]
struct Sums {
    done: AtomicUsize,
    exceptional: AtomicUsize,
}

/// Arithmetic whose sums are counted.
struct Watched<A>(A, Arc<Sums>);

impl<A: Permute> Permute for Watched<A> {
    fn permute(&mut self, states: &mut [State]) {
        self.0.permute(states);
    }
}

impl<A: Arithmetic> Arithmetic for Watched<A> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn sum(&mut self, base: &BaseTable, tasks: &[Task<'_>], outcomes: &mut Vec<Outcome>) {
        let before = outcomes.len();
        self.0.sum(base, tasks, outcomes);
        let exceptional = outcomes[before..]
            .iter()
            .filter(|outcome| **outcome == Outcome::Exceptional)
            .count();
        self.1.done.fetch_add(tasks.len(), Ordering::Relaxed);
        self.1.exceptional.fetch_add(exceptional, Ordering::Relaxed);
    }

    fn keys(
        &mut self,
        base: &BaseTable,
        signatures: &[(Digest, Signature)],
        keys: &mut Vec<Option<Point>>,
    ) {
        self.0.keys(base, signatures, keys);
    }
}

/// How many cases came out how.
#[derive(Debug, Default)]
struct Told {
    genuine: usize,
    forged: usize,
    impossible: usize,
}

fn compare<A: Arithmetic>(verifier: &mut Known<A>, batch: &[Case], told: &mut Told) {
    let expected: Vec<Option<Address>> = batch
        .iter()
        .map(|case| Reference::signer(&case.digest, &case.signature))
        .collect();
    let signatures: Vec<_> = batch
        .iter()
        .map(|case| (case.digest, case.signature))
        .collect();
    let mut found = Vec::new();
    verifier.recover(&signatures, &mut found);
    for ((case, expected), found) in batch.iter().zip(&expected).zip(&found) {
        assert_eq!(
            found,
            expected,
            "{}: recovered from {case:?}",
            verifier.name()
        );
    }
    let claims: Vec<Claim> = batch
        .iter()
        .map(|case| Claim {
            digest: case.digest,
            signature: case.signature,
            sender: case.sender,
        })
        .collect();
    let mut genuine = Vec::new();
    verifier.verify(&claims, &mut genuine);
    for ((case, expected), is_genuine) in batch.iter().zip(&expected).zip(&genuine) {
        assert_eq!(
            *is_genuine,
            *expected == Some(case.sender),
            "{}: verified {case:?}",
            verifier.name()
        );
        match expected {
            None => told.impossible += 1,
            Some(_) if *is_genuine => told.genuine += 1,
            Some(_) => told.forged += 1,
        }
    }
}

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}
