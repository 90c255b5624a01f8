//! The load against servers that do right and servers that do wrong: what it counts is what they did.

mod support;

use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use benches::load::{Failure, Moment, Plan, Tally, Target};
use support::Vice;

/// Two publishers with three subscribers each; 20 chunks of warm-up and 60 measured, in segments of 20.
fn plan(target: Target, addr: SocketAddr) -> Plan {
    Plan {
        target,
        addr,
        base: "/ai/trickle/".into(),
        publishers: 2,
        subscribers_each: 3,
        chunk_bytes: 3_000,
        chunks_per_second: 50,
        warmup: Duration::from_millis(400),
        window: Duration::from_millis(1_200),
        segment: Duration::from_millis(400),
    }
}

fn run_trickle(vice: Vice) -> Result<Tally, Failure> {
    plan(Target::Trickle, support::trickle(vice)).run(|_| {})
}

fn floor() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || benches::floor::serve(&listener));
    addr
}

fn assert_all_came(tally: &Tally) {
    assert_eq!(tally.expected(), 2 * 3 * 60);
    assert!(tally.is_sound(), "{tally:?}");
    assert_eq!(tally.last_ns.len(), 2 * 3 * 60);
    assert_eq!(tally.lateness_ns.len(), 2 * 60);
    assert!(tally.first_ns.max() <= tally.last_ns.max());
    assert!(tally.last_ns.min() > 0);
    // What was on its way when the window opened or closed may fall on either side of its edge.
    let (whole, edge) = (2 * 3 * 60 * 3_000_u64, 2 * 3 * 3_000);
    assert!(
        tally.window_bytes.abs_diff(whole) <= 4 * edge,
        "{}",
        tally.window_bytes
    );
}

#[test]
fn the_floor_delivers_every_chunk_once() {
    let mut moments = Vec::new();
    let tally = plan(Target::Floor, floor())
        .run(|moment| moments.push(moment))
        .unwrap();
    assert_all_came(&tally);
    assert_eq!(moments, [Moment::WindowStart, Moment::WindowEnd]);
}

#[test]
fn the_floor_drops_a_peer_that_says_nonsense_and_serves_the_others() {
    use std::io::{Read, Write};
    let addr = floor();
    let mut stranger = std::net::TcpStream::connect(addr).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let end = stranger.read(&mut [0; 16]);
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert_all_came(&plan(Target::Floor, addr).run(|_| {}).unwrap());
}

#[test]
fn a_trickle_server_delivers_every_chunk_once() {
    assert_all_came(&run_trickle(Vice::None).unwrap());
}

#[test]
fn a_wrong_byte_is_seen() {
    let tally = run_trickle(Vice::Flips).unwrap();
    // Four segments a publisher, a chunk each; three of the four are in the window.
    assert_eq!((tally.corrupted, tally.missing()), (2 * 3 * 4, 2 * 3 * 3));
    assert_eq!((tally.duplicates, tally.truncated), (0, 0));
}

#[test]
fn a_missing_chunk_is_seen() {
    let tally = run_trickle(Vice::Skips).unwrap();
    assert_eq!((tally.missing(), tally.corrupted), (2 * 3 * 3, 0));
}

#[test]
fn a_channel_that_cannot_be_made_says_which_flag_is_missing() {
    let failure = run_trickle(Vice::CreatesNothing).unwrap_err().to_string();
    assert!(
        failure.contains("404") && failure.contains("--trickle-autocreate"),
        "{failure}"
    );
}

#[test]
fn a_dropped_subscriber_ends_the_run_with_its_request() {
    let failure = run_trickle(Vice::Hangs).unwrap_err().to_string();
    assert!(
        failure.contains("/0 of subscriber") && failure.contains("before the segment's end"),
        "{failure}"
    );
}
