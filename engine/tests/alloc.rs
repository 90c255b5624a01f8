//! No allocation a chunk: a long segment to eight subscribers, and what the engine allocated meanwhile.
//!
//! The clients live in a process of their own, so whatever is allocated in this one while they talk, the engine allocated.

mod support;

use std::alloc::System;
use std::net::SocketAddr;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::child::{self, Child};
use support::{Client, World, noise, world};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const WARM_UP: usize = 1_000;
const CHUNKS: usize = 5_000;
const CHUNK_BYTES: usize = 1_000;
/// Allocations a chunk and subscriber: far from one.
const EACH_MAX: f64 = 0.05;
/// Allocations a chunk that is waited for: what the runtime makes to wait for a socket, and nothing that grows.
const WAIT_MAX: f64 = 16.0;

#[test]
fn a_chunk_costs_no_allocation() {
    if child::part().is_some() {
        return;
    }
    let world = World::plain(|_| {});
    // The publisher's socket is waited for before each chunk, and the runtime allocates to wait. That is the same however many
    // subscribers there are; so the difference is what a chunk to a subscriber costs.
    let (few, many) = (
        allocations(&world, 6, false),
        allocations(&world, 22, false),
    );
    let each = (many - few) / (CHUNKS * 16) as f64;
    println!(
        "{CHUNKS} chunks one by one: {:.2} allocations a chunk to 6 subscribers, {:.2} to 22",
        few / CHUNKS as f64,
        many / CHUNKS as f64
    );
    println!("a chunk and subscriber: {each:.4} allocations");
    assert!(
        each < EACH_MAX,
        "{each:.4} allocations a chunk and subscriber"
    );
    assert!(few / (CHUNKS as f64) < WAIT_MAX);
    // In a burst there is little to wait for.
    let burst = allocations(&world, 8, true) / (CHUNKS * 8) as f64;
    println!(
        "{CHUNKS} chunks at once to 8 subscribers: {burst:.4} allocations a chunk and subscriber"
    );
    assert!(
        burst < EACH_MAX,
        "{burst:.4} allocations a chunk and subscriber"
    );
}

/// What the engine allocates while a long segment goes on by [`CHUNKS`] chunks.
fn allocations(world: &World, subscribers: usize, burst: bool) -> f64 {
    let name = world.channel();
    let mut child = Child::spawn(
        "child_streams",
        &format!("{} {name} {subscribers} {burst}", world.addr),
    );
    assert_eq!(child.hear(), "warm");
    let before = world.metrics();
    let region = Region::new(COUNTED);
    child.tell("go");
    assert_eq!(child.hear(), "done");
    let made = region.change();
    let after = world.metrics();
    assert_eq!(
        after.bytes_out - before.bytes_out,
        (CHUNKS * subscribers * CHUNK_BYTES) as u64
    );
    child.finish();
    (made.allocations + made.reallocations) as f64
}

/// The other process: one publisher and its subscribers.
#[test]
fn child_streams() {
    let Some(part) = child::part() else { return };
    let words: Vec<_> = part.split(' ').collect();
    let [addr, name, subscribers, burst] = words[..] else {
        panic!("{part}")
    };
    let addr: SocketAddr = addr.parse().expect("an address");
    let connect = |text: String| {
        let mut client = Client::connect(addr, None);
        client.send(text);
        client
    };
    let mut readers: Vec<_> = (0..subscribers.parse().expect("a number"))
        .map(|_| connect(world::get(name, 0)))
        .collect();
    let mut publisher = connect(format!(
        "{}Transfer-Encoding: chunked\r\n\r\n",
        world::line("POST", name, 0)
    ));
    let chunk = noise(1, CHUNK_BYTES);
    for n in 0..WARM_UP {
        publisher.chunk(&chunk);
        for reader in &mut readers {
            if n == 0 {
                reader.head().is(200);
            }
            assert_eq!(reader.payload(CHUNK_BYTES), chunk);
        }
    }
    child::say("warm");
    child::listen();
    if burst == "true" {
        std::thread::scope(|scope| {
            for reader in &mut readers {
                scope.spawn(|| {
                    (0..CHUNKS).for_each(|_| assert_eq!(reader.payload(CHUNK_BYTES), chunk))
                });
            }
            (0..CHUNKS).for_each(|_| publisher.chunk(&chunk));
        });
    } else {
        for _ in 0..CHUNKS {
            publisher.chunk(&chunk);
            for reader in &mut readers {
                assert_eq!(reader.payload(CHUNK_BYTES), chunk);
            }
        }
    }
    child::say("done");
    while child::listen().is_some() {}
}
