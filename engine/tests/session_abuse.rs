//! One node, a live session and a relayed stream on it, and everybody else doing their worst.
//!
//! The same streams are measured first in peace and then under abuse, in one run. The bounds are for a debug build on a busy
//! machine with two cores, on which the abusers run as well; the figures are printed.

mod session_support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use link::{Answer, Command, EndCause, Filter};
use session_support::{Clip, Live, World, ms, noise, quantile};

const PEACE: Duration = Duration::from_millis(3_500);
const ABUSE: Duration = Duration::from_millis(5_500);
const BEAT: Duration = Duration::from_millis(33);

const CHUNK: usize = 16 << 10;
const CHUNKS_A_SEGMENT: u64 = 30;
const IDLE_CONNECTIONS: usize = 2_000;
const STOPPED_READERS: usize = 8;
const PAGE_BYTES: usize = 64 << 20;

/// In a debug build, with the abusers on the same cores, and on a machine that may do other things: what is asserted is that
/// nobody waits for the abusers. How long it takes is printed.
const RELAY_P99_MAX: Duration = Duration::from_millis(500);
const SESSION_P99_MAX: Duration = Duration::from_millis(1_000);

/// When each piece was sent, and how long it took.
type Latencies = Vec<(Instant, Duration)>;

#[test]
fn others_do_not_stutter_when_some_abuse_the_node() {
    raise_the_open_files_limit();
    let world = World::own(|config| {
        config.lanes = 2;
        config.trickle.autocreate = true;
        config.limits.page_bytes = PAGE_BYTES;
        config.limits.connections = 8_192;
    });
    let began = Instant::now();
    let abuse_at = began + PEACE;
    let (stop, done) = (AtomicBool::new(false), Done::default());
    let mut live = Live::open(&world, Filter::Edges { gain_percent: 100 });
    let session_out = format!("{}-out", live.id);
    let clip = Clip::mill(9);
    let (relayed, session, noisy) = std::thread::scope(|scope| {
        let relay = scope.spawn(|| relay(&world, began, &stop));
        scope.spawn(|| {
            std::thread::sleep(abuse_at.saturating_duration_since(Instant::now()));
            abuse(&world, &session_out, &stop, &done);
        });
        let noisy = scope.spawn(|| {
            std::thread::sleep(abuse_at.saturating_duration_since(Instant::now()));
            noisy_session(&world, &stop)
        });
        live.play_paced(&clip, BEAT);
        std::thread::sleep((abuse_at + ABUSE).saturating_duration_since(Instant::now()));
        stop.store(true, Ordering::Relaxed);
        let session = live.end();
        (
            relay.join().expect("the relay"),
            session,
            noisy.join().expect("the noise"),
        )
    });

    session.assert_whole(&clip);
    let frames: Latencies = session.latencies().collect();
    // The first frames show how the stream is cut; they are no part of either side.
    let peace = |&(at, _): &(Instant, Duration)| at > began + ms(1_000) && at < abuse_at;
    let abused = |&(at, _): &(Instant, Duration)| at >= abuse_at;
    let line = |name: &str, all: &Latencies| {
        let of = |side: &dyn Fn(&(Instant, Duration)) -> bool, q| {
            quantile(all.iter().filter(|one| side(one)).map(|one| one.1), q)
        };
        let (calm, hard) = (
            (of(&peace, 0.5), of(&peace, 0.99)),
            (of(&abused, 0.5), of(&abused, 0.99)),
        );
        println!(
            "{name}: in peace p50 {:.2?} p99 {:.2?}; under abuse p50 {:.2?} p99 {:.2?}",
            calm.0, calm.1, hard.0, hard.1
        );
        hard.1
    };
    let relay_p99 = line("relay 16 KiB x 30/s", &relayed);
    let session_p99 = line("session 640x360 x 30/s", &frames);
    println!("abuse: {done:?}");
    let metrics = world.handle.metrics();
    println!(
        "pages: peak {} KiB of {} KiB; resident {} KiB, clients included; connections accepted {}, bad requests {}, readers cut {}",
        metrics.page_bytes_peak >> 10,
        PAGE_BYTES >> 10,
        resident_bytes() >> 10,
        metrics.accepted,
        metrics.bad_requests,
        metrics.readers_cut,
    );
    assert!(
        matches!(noisy, EndCause::InputEnded | EndCause::BadInput(_)),
        "{noisy:?}"
    );
    world.assert_sound();
    assert!(metrics.page_bytes_peak <= PAGE_BYTES as u64);
    assert!(relay_p99 < RELAY_P99_MAX, "relay: {relay_p99:?}");
    assert!(session_p99 < SESSION_P99_MAX, "session: {session_p99:?}");
}

// === what is measured ===

/// Publishes a stream of chunks that say when they left, and reads it back.
fn relay(world: &World, epoch: Instant, stop: &AtomicBool) -> Latencies {
    let create = Command::CreateChannel {
        name: "relay".to_owned(),
        mime: "application/octet-stream".to_owned(),
        owner_token: None,
    };
    assert_eq!(world.command(create), Ok(Answer::Done));
    let segments = AtomicU64::new(0);
    let all = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut chunk = noise(1, CHUNK);
            let mut due = Instant::now();
            let mut next = world.post("relay", 0);
            for seq in 0.. {
                let mut segment = next;
                // The next one is opened in advance, as stock publishers do.
                next = world.post("relay", seq + 1);
                segments.store(seq + 1, Ordering::Relaxed);
                for _ in 0..CHUNKS_A_SEGMENT {
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    due += BEAT;
                    let now = u64::try_from(epoch.elapsed().as_nanos()).expect("a short test");
                    chunk[..8].copy_from_slice(&now.to_le_bytes());
                    segment.chunk(&chunk);
                }
                segment.finish().head.is(200);
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            world.delete("relay").head.is(200);
        });
        let get = |seq: u64| {
            world.send(format!(
                "GET /ai/trickle/relay/{seq} HTTP/1.1\r\nHost: x\r\n\r\n"
            ))
        };
        let mut segment = get(0);
        for seq in 0.. {
            let head = segment.head();
            if head.get("Content-Type").is_none() {
                assert!(head.get("Lp-Trickle-Closed").is_some(), "{}", head.text);
                break;
            }
            let next = get(seq + 1);
            for _ in 0..CHUNKS_A_SEGMENT {
                let chunk = segment.payload(CHUNK);
                let sent = u64::from_le_bytes(chunk[..8].try_into().expect("eight bytes"));
                let sent = epoch + Duration::from_nanos(sent);
                all.lock().expect("no panic").push((sent, sent.elapsed()));
            }
            assert_eq!(segment.rest(), b"");
            segment = next;
        }
    });
    all.into_inner().expect("no panic")
}

// === abuse ===

/// What was done.
#[derive(Debug, Default)]
struct Done {
    noise_bytes_on_the_port: AtomicU64,
    noise_bytes_published: AtomicU64,
    header_bytes: AtomicU64,
    publishers_vanished: AtomicU64,
    idle_connections: AtomicU64,
    stopped_readers: AtomicU64,
}

fn abuse(world: &World, session_out: &str, stop: &AtomicBool, done: &Done) {
    let is_over = || stop.load(Ordering::Relaxed);
    let connect = || TcpStream::connect(world.addr).expect("the node accepts");
    let garbage = &noise(42, 1 << 20);
    let piece =
        |n: u64| &garbage[(n as usize * 4_099) % (garbage.len() - (64 << 10))..][..64 << 10];
    std::thread::scope(|scope| {
        // Random bytes on the port.
        for worker in 0..4 {
            scope.spawn(move || {
                for n in 0.. {
                    let mut stream = connect();
                    let sent = stream.write_all(piece(n * 4 + worker)).is_ok();
                    done.noise_bytes_on_the_port
                        .fetch_add(if sent { 64 << 10 } else { 0 }, Ordering::Relaxed);
                    drain(&mut stream);
                    if is_over() {
                        return;
                    }
                    std::thread::sleep(ms(8));
                }
            });
        }
        // Random bytes as bodies: framed well on one channel, not framed at all on the other.
        scope.spawn(move || {
            for n in 0.. {
                let mut stream = connect();
                let bytes = piece(n);
                let framing = match n % 2 {
                    0 => format!("Content-Length: {}", bytes.len()),
                    _ => "Transfer-Encoding: chunked".to_owned(),
                };
                let head = format!("POST /ai/trickle/noise-{}/{n} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{framing}\r\n\r\n", n % 2);
                let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(bytes)).is_ok();
                done.noise_bytes_published.fetch_add(if sent { bytes.len() as u64 } else { 0 }, Ordering::Relaxed);
                drain(&mut stream);
                if is_over() {
                    return;
                }
                std::thread::sleep(ms(8));
            }
        });
        // Heads that never end: fast ones that reach the bound, and slow ones.
        scope.spawn(move || {
            let field = format!("X-Filler: {}\r\n", "f".repeat(480));
            while !is_over() {
                let mut stream = connect();
                let mut sent = stream
                    .write_all(b"GET /ai/trickle/relay/0 HTTP/1.1\r\n")
                    .is_ok();
                for _ in 0..100 {
                    sent = sent && stream.write_all(field.as_bytes()).is_ok();
                    done.header_bytes
                        .fetch_add(if sent { field.len() as u64 } else { 0 }, Ordering::Relaxed);
                }
                drain(&mut stream);
                std::thread::sleep(ms(20));
            }
        });
        scope.spawn(move || {
            let mut streams: Vec<TcpStream> = (0..32).map(|_| connect()).collect();
            while !is_over() {
                for stream in &mut streams {
                    let sent = stream.write_all(b"X: ").is_ok();
                    done.header_bytes
                        .fetch_add(if sent { 3 } else { 0 }, Ordering::Relaxed);
                }
                std::thread::sleep(ms(50));
            }
        });
        // Connections that say nothing.
        scope.spawn(move || {
            let mut streams = Vec::new();
            while streams.len() < IDLE_CONNECTIONS && !is_over() {
                streams.push(connect());
                done.idle_connections
                    .store(streams.len() as u64, Ordering::Relaxed);
                if streams.len() % 20 == 0 {
                    std::thread::sleep(ms(10));
                }
            }
            while !is_over() {
                std::thread::sleep(ms(50));
            }
        });
        // Readers of the measured channels that stop reading.
        scope.spawn(move || {
            let readers: Vec<TcpStream> = (0..STOPPED_READERS)
                .map(|n| {
                    let mut stream = connect();
                    rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 4 << 10)
                        .expect("a small buffer");
                    let name = if n % 2 == 0 { "relay" } else { session_out };
                    let head = format!("GET /ai/trickle/{name}/-2 HTTP/1.1\r\nHost: x\r\n\r\n");
                    stream.write_all(head.as_bytes()).expect("it is sent");
                    stream
                })
                .collect();
            done.stopped_readers
                .store(readers.len() as u64, Ordering::Relaxed);
            while !is_over() {
                std::thread::sleep(ms(50));
            }
        });
        // Publishers that vanish in the middle of a segment.
        scope.spawn(move || {
            for n in 0.. {
                let mut client = world.connect();
                client.send(format!("POST /ai/trickle/vanish-{}/{n} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", n % 7));
                client.chunk(&piece(n)[..8 << 10]);
                client.send("4000\r\nnot all of it");
                client.reset();
                done.publishers_vanished.fetch_add(1, Ordering::Relaxed);
                if is_over() {
                    return;
                }
                std::thread::sleep(ms(10));
            }
        });
    });
}

/// Reads what comes until the other side has had enough, a moment at most.
fn drain(stream: &mut TcpStream) {
    let _ = stream.set_read_timeout(Some(ms(30)));
    let mut bytes = [0; 4 << 10];
    while stream.read(&mut bytes).is_ok_and(|n| n > 0) {}
}

/// A live session that is fed with random bytes.
fn noisy_session(world: &World, stop: &AtomicBool) -> EndCause {
    let mut live = Live::open(world, Filter::Edges { gain_percent: 100 });
    let mut segment = live.segment();
    for n in 0.. {
        segment.chunk(noise(n, 16 << 10));
        if stop.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep(BEAT);
    }
    segment.finish().head.is(200);
    world.delete(&live.id).head.is(200);
    let ended = live.ended();
    assert_eq!(ended.stats.frames_out, 0);
    ended.cause
}

// === the machine ===

fn raise_the_open_files_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("the soft limit can rise to the hard one");
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages: usize = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .expect("a number");
    // What every machine we run on has.
    pages * 4096
}
