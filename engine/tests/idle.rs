//! What an idle connection costs the engine: 10,000 of each kind at once, and the figure. Beside it, since it takes its time
//! too, what a publisher hears while it is idle.
//!
//! The clients live in a process of their own, so that only the engine's memory is measured: the growth of this process's
//! resident set (`/proc/self/statm`) over the number of connections. Each kind has an engine in a process of its own as well,
//! because an allocator keeps what it once had. The kernel's socket buffers are not in the figure.

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use support::child::{self, Child};
use support::{Client, World, eventually, ms, tls, world};

const PLAIN: usize = 10_000;
const TLS: usize = 1_000;
/// What a connection in cleartext may cost.
const KIB_MAX: f64 = 8.0;
/// What one may cost under TLS: rustls keeps keys and a session.
const TLS_KIB_MAX: f64 = 32.0;

#[test]
fn idle_connections_cost_a_few_kib() {
    if child::part().is_some() {
        return;
    }
    for (kind, what) in [
        ("idle", "idle keep-alive"),
        ("subscriber", "parked subscriber"),
        ("publisher", "parked publisher with its channel"),
    ] {
        for (tls, n, most) in [(false, PLAIN, KIB_MAX), (true, TLS, TLS_KIB_MAX)] {
            let mut engine = Child::spawn("child_measures", &format!("{kind} {tls} {n}"));
            let kib: f64 = engine.hear().parse().expect("a figure");
            engine.finish();
            let how = if tls { "under TLS" } else { "in cleartext" };
            println!("{what}, {n} {how}: {kib:.2} KiB each");
            assert!(kib < most, "{what} {how}: {kib:.2} KiB");
        }
    }
}

/// The engine's process: serves, and measures itself.
#[test]
fn child_measures() {
    let Some(part) = child::part() else { return };
    raise_descriptor_limit();
    let words: Vec<_> = part.split(' ').collect();
    let [kind, tls, n] = words[..] else {
        panic!("{part}")
    };
    let kib = measure(kind, tls == "true", n.parse().expect("a number"));
    child::say(&kib.to_string());
}

/// Holds `n` connections to a fresh engine and returns what each costs.
fn measure(kind: &str, tls: bool, n: usize) -> f64 {
    let set = |config: &mut engine::Config| config.limits.channels = 2 * PLAIN;
    let world = if tls {
        World::tls(set)
    } else {
        World::plain(set)
    };
    world.create("held", "video/MP2T", None);
    // A first round, so that what is made once is not counted: buffers of the allocator, tables, certificates.
    world.assert_serves();
    let before = resident_kib();
    if kind == "publisher" {
        (0..n).for_each(|i| world.create(&format!("held-{i}"), "video/MP2T", None));
    }
    let mut child = Child::spawn(
        "child_holds_connections",
        &format!("{} {kind} {tls} {n}", world.addr),
    );
    assert_eq!(child.hear(), "connected");
    eventually("all are here", || world.metrics().connections as usize >= n);
    std::thread::sleep(ms(300));
    let kib = (resident_kib() - before) / n as f64;
    // They are alive, not forgotten: one publish reaches every parked subscriber.
    if kind == "subscriber" {
        world.publish("held", 0, "wake up").head.is(200);
        child.tell("read");
        assert_eq!(child.hear(), "read");
    }
    world.assert_serves();
    child.finish();
    eventually("all are gone", || world.metrics().connections == 0);
    kib
}

/// The clients' process: opens connections, holds them, and reads from them when told.
#[test]
fn child_holds_connections() {
    let Some(part) = child::part() else { return };
    raise_descriptor_limit();
    let words: Vec<_> = part.split(' ').collect();
    let [addr, kind, with_tls, n] = words[..] else {
        panic!("{part}")
    };
    let addr: SocketAddr = addr.parse().expect("an address");
    let n: usize = n.parse().expect("a number");
    let config = (with_tls == "true").then(|| tls::client(&[]));
    let mut clients: Vec<_> = (0..n)
        .map(|i| {
            let mut client = Client::connect(addr, config.as_ref());
            match kind {
                "idle" => {
                    client.send(world::get("held", "next"));
                    client.response().head.is(200);
                }
                "subscriber" => client.send(world::get("held", 0)),
                _ => {
                    let line = world::line("POST", &format!("held-{i}"), 0);
                    client.send(format!(
                        "{line}Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
                    ));
                    client.await_continue();
                }
            }
            client
        })
        .collect();
    child::say("connected");
    while child::listen().is_some() {
        for client in &mut clients {
            assert_eq!(client.response().text(), "wake up");
        }
        child::say("read");
    }
}

#[test]
fn case_22_a_silent_post_hears_100_continue_every_ten_seconds() {
    if child::part().is_some() {
        return;
    }
    let world = World::plain(|_| {});
    let name = world.channel();
    let mut publisher = world.send(format!(
        "POST /ai/trickle/{name}/0 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    let mut reader = world.get(&name, 0);
    let began = Instant::now();
    for n in 1..=2u32 {
        publisher.await_continue_within(Duration::from_secs(15));
        let at = began.elapsed();
        assert!(
            at > ms(9_500) * n && at < ms(11_500) * n,
            "provisional response {n} after {at:?}"
        );
    }
    publisher.assert_silent(Duration::from_secs(4));
    publisher.chunk("at last");
    reader.head().is(200);
    assert_eq!(reader.continues, 0, "a GET hears nothing provisional");
    let answer = publisher.finish();
    answer.head.is(200).seq(0);
    assert_eq!(publisher.continues, 2);
    assert_eq!(reader.rest(), b"at last");
}

fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    assert!(
        most > PLAIN as u64 + 500,
        "this test needs {} descriptors, the hard limit is {most}: raise it (ulimit -Hn)",
        PLAIN + 500
    );
}

fn resident_kib() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect("resident pages");
    // The page size of every machine that io_uring engines run on today is 4 KiB, or this figure is too low.
    (pages * 4) as f64
}
