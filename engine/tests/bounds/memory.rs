//! Pages are all the payload memory there is: what happens when they run out, and who pays.
//! Weakness 11, unbounded memory, is mended by these.

use crate::support::{Client, End, World, eventually, for_each_world_with, ms, noise};

/// More than the sockets of both ends ever hold.
const STUCK_BYTES: usize = 14 << 20;

/// A reader that has begun segment 0 and reads no more. Its receive buffer is small.
fn stuck_reader(world: &World, name: &str) -> Client {
    let mut reader = world.connect();
    rustix::net::sockopt::set_socket_recv_buffer_size(reader.tcp(), 32 << 10)
        .expect("a small buffer");
    reader.send(format!(
        "GET /ai/trickle/{name}/0 HTTP/1.1\r\nHost: x\r\n\r\n"
    ));
    reader
}

/// Reads on to the end, which must be a broken one: never a short body that looks whole.
fn assert_cut(mut reader: Client) {
    reader.head().is(200);
    let mut last = Vec::new();
    let mut total = 0;
    loop {
        let bytes = reader.raw();
        if bytes.is_empty() {
            break;
        }
        total += bytes.len();
        last.extend_from_slice(&bytes);
        last.drain(..last.len().saturating_sub(8));
    }
    assert_ne!(reader.end_within(ms(10)), End::Open);
    assert!(total < STUCK_BYTES, "{total} bytes: it was not cut at all");
    assert!(
        !last.ends_with(b"0\r\n\r\n"),
        "a short body must not end cleanly"
    );
}

#[test]
fn weakness_11_when_pages_run_out_the_segment_ends_cleanly_and_its_publisher_reads_507() {
    const PAGE_BYTES: usize = 4 << 20;
    for_each_world_with(
        |config| config.limits.page_bytes = PAGE_BYTES,
        |world| {
            let name = world.channel();
            let mut publisher = world.post(&name, 0);
            let mut reader = world.get(&name, 0);
            let piece = noise(11, 64 << 10);
            let wire = [format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat();
            for _ in 0..100 {
                if publisher.try_send(&wire).is_err() {
                    break;
                }
            }
            reader.head().is(200);
            let got = reader.rest();
            assert!(
                got.len() > PAGE_BYTES / 2 && got.len() <= PAGE_BYTES,
                "{} bytes",
                got.len()
            );
            publisher.response().head.is(507).seq(0).closes();
            assert_eq!(publisher.end(), End::Clean);
            let metrics = world.metrics();
            assert!(metrics.page_bytes_peak as usize <= PAGE_BYTES * world.shards);
            assert_eq!(metrics.segments_capped, 1);
            // Nothing is lost for good.
            world.delete(&name).head.is(200);
            eventually("pages are back", || world.metrics().page_bytes == 0);
            world.assert_serves();
        },
    );
}

#[test]
fn a_laggard_is_cut_when_its_evicted_segment_holds_the_last_pages() {
    const PAGE_BYTES: usize = 20 << 20;
    for_each_world_with(
        |config| {
            config.limits.page_bytes = PAGE_BYTES;
            config.limits.lag = ms(60_000);
        },
        |world| {
            let name = world.channel();
            let stuck = stuck_reader(world, &name);
            world.publish(&name, 0, noise(1, STUCK_BYTES)).head.is(200);
            for seq in 1..5 {
                world.publish(&name, seq, "x").head.is(200);
            }
            assert_eq!(
                world.metrics().readers_cut,
                0,
                "nobody is cut while there is room"
            );
            // Evicts 0, and needs its memory.
            let mut reader = world.get(&name, 5);
            world
                .publish(&name, 5, noise(5, STUCK_BYTES))
                .head
                .is(200)
                .seq(5);
            assert!(
                reader.response().body == noise(5, STUCK_BYTES),
                "a neighbour lost nothing"
            );
            assert_eq!(world.metrics().readers_cut, 1);
            assert_cut(stuck);
            assert!(world.metrics().page_bytes_peak as usize <= PAGE_BYTES * world.shards);
            world.assert_serves();
        },
    );
}

#[test]
fn a_laggard_without_progress_is_cut_only_after_its_segment_has_left_the_window() {
    for_each_world_with(
        |config| config.limits.lag = ms(1000),
        |world| {
            let name = world.channel();
            let stuck = stuck_reader(world, &name);
            world.publish(&name, 0, noise(1, STUCK_BYTES)).head.is(200);
            eventually("only the stuck reader is left", || {
                world.metrics().connections == 1
            });
            // Held: it may take all the time it wants.
            std::thread::sleep(ms(2500));
            assert_eq!(world.metrics().connections, 1);
            for seq in 1..6 {
                world.publish(&name, seq, "x").head.is(200);
            }
            eventually("cut", || world.metrics().connections == 0);
            assert_cut(stuck);
            eventually("its pages are back", || {
                world.metrics().page_bytes < 1 << 20
            });
        },
    );
}

#[test]
fn a_slow_reader_that_makes_progress_is_not_cut() {
    for_each_world_with(
        |config| config.limits.lag = ms(1000),
        |world| {
            let name = world.channel();
            let mut slow = stuck_reader(world, &name);
            let body = noise(1, STUCK_BYTES);
            world.publish(&name, 0, &body).head.is(200);
            for seq in 1..6 {
                world.publish(&name, seq, "x").head.is(200);
            }
            slow.head().is(200);
            for piece in body.chunks(2 << 20) {
                assert!(slow.payload(piece.len()) == piece);
                std::thread::sleep(ms(300));
            }
            assert_eq!(slow.rest(), b"");
        },
    );
}
