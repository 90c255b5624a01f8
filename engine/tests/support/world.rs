//! Running engines: {cleartext, TLS} × {one shard, two}.
//!
//! Executors pin memory, and the limit on that is small on many machines: at most [`EXECUTORS_MAX`] live at once in a process.

use std::fmt::Display;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, mpsc};

use engine::{Config, Engine, Handle, Limits, Metrics, TrickleConfig};
use link::{Answer, Command, Control, Engine as _, Reply, Report, StreamKind, Visitor};
use rustls::ClientConfig;

use super::{Client, Response, ms, tls};

/// Executors alive at once.
const EXECUTORS_MAX: usize = 8;

/// The four shapes: whether under TLS, and how many shards.
const SHAPES: [(bool, usize, &str); 4] = [
    (false, 1, "plain-1"),
    (false, 2, "plain-2"),
    (true, 1, "tls-1"),
    (true, 2, "tls-2"),
];

/// A running engine and all that is needed to talk to it.
pub(crate) struct World {
    pub(crate) handle: Handle,
    pub(crate) addr: SocketAddr,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) shards: usize,
    pub(crate) label: &'static str,
    stopped: AtomicBool,
    _permits: Permits,
}

/// Runs `test` in all four shapes at once, on engines that the whole binary shares. Channels do not create themselves there.
pub(crate) fn for_each_world(test: impl Fn(&World) + Sync) {
    static SHARED: [OnceLock<World>; 4] = [const { OnceLock::new() }; 4];
    in_each_shape(|index| {
        let world = SHARED[index]
            .get_or_init(|| World::start(index, &|config| config.trickle.abort_grace = ms(1500)));
        test(world);
        assert_eq!(world.handle.metrics().panics, 0);
    });
}

/// Runs `test` in all four shapes, each on an engine of its own that `set` has configured.
pub(crate) fn for_each_world_with(set: impl Fn(&mut Config) + Sync, test: impl Fn(&World) + Sync) {
    in_each_shape(|index| {
        let world = World::start(index, &set);
        test(&world);
        if !world.stopped.load(Ordering::Relaxed) {
            assert_eq!(world.metrics().panics, 0);
        }
    });
}

fn in_each_shape(run: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..SHAPES.len())
            .map(|index| {
                std::thread::Builder::new()
                    .name(SHAPES[index].2.to_owned())
                    .spawn_scoped(scope, move || run(index))
                    .expect("a thread")
            })
            .collect();
        let failed: Vec<_> = threads
            .into_iter()
            .zip(SHAPES)
            .filter_map(|(thread, shape)| thread.join().is_err().then_some(shape.2))
            .collect();
        assert!(failed.is_empty(), "failed in {failed:?}");
    });
}

impl World {
    fn start(index: usize, set: &dyn Fn(&mut Config)) -> Self {
        let (tls, shards, label) = SHAPES[index];
        Self::new(tls, shards, label, set)
    }

    /// One engine in cleartext on one shard.
    pub(crate) fn plain(set: impl Fn(&mut Config)) -> Self {
        Self::start(0, &set)
    }

    /// One engine in cleartext on two shards.
    pub(crate) fn plain_on_two(set: impl Fn(&mut Config)) -> Self {
        Self::start(1, &set)
    }

    /// One engine under TLS on one shard.
    pub(crate) fn tls(set: impl Fn(&mut Config)) -> Self {
        Self::start(2, &set)
    }

    fn new(with_tls: bool, shards: usize, label: &'static str, set: &dyn Fn(&mut Config)) -> Self {
        let permits = Permits::take(shards);
        let mut config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: with_tls.then(tls::server),
            trickle_listen: None,
            cores: (0..shards).collect(),
            lanes: 1,
            device: engine::Device::Cpu,
            models: Vec::new(),
            trickle: TrickleConfig::default(),
            limits: Limits {
                // No session comes onto these lanes.
                lane_calibration: std::time::Duration::ZERO,
                ..Limits::default()
            },
        };
        set(&mut config);
        let handle = Engine::start(config, Arc::new(Door)).expect("the engine starts");
        let addr = handle.local_addr();
        Self {
            handle,
            addr,
            tls: with_tls.then(|| tls::client(&[])),
            shards,
            label,
            stopped: AtomicBool::new(false),
            _permits: permits,
        }
    }

    pub(crate) fn metrics(&self) -> Metrics {
        self.handle.metrics()
    }

    /// Stops the engine under its clients.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.handle.stop();
    }

    // === channels ===

    /// A name that no other test has.
    pub(crate) fn fresh_name(&self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        format!("{}-{:04}", self.label, NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// A name whose channel lives on that shard.
    pub(crate) fn name_on(&self, shard: usize) -> String {
        loop {
            let name = self.fresh_name();
            if trickle::Home::of(&name).shard(self.shards) == shard {
                return name;
            }
        }
    }

    /// A new channel, made as the control plane makes them.
    pub(crate) fn channel(&self) -> String {
        let name = self.fresh_name();
        self.create(&name, "video/MP2T", None);
        name
    }

    /// A new channel on that shard.
    pub(crate) fn channel_on(&self, shard: usize) -> String {
        let name = self.name_on(shard);
        self.create(&name, "video/MP2T", None);
        name
    }

    pub(crate) fn create(&self, name: &str, mime: &str, owner_token: Option<&str>) {
        let (to, answer) = mpsc::channel();
        let command = Command::CreateChannel {
            name: name.to_owned(),
            mime: mime.to_owned(),
            owner_token: owner_token.map(str::to_owned),
        };
        self.handle
            .submit(command, Reply::new(move |outcome| drop(to.send(outcome))));
        let answer = answer.recv_timeout(ms(5000)).expect("the engine answers");
        assert!(
            matches!(answer, Ok(Answer::Done | Answer::Already)),
            "{answer:?}"
        );
    }

    // === requests ===

    /// A connection that has sent nothing.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.addr, self.tls.as_ref())
    }

    /// Sends `text` on a connection of its own.
    pub(crate) fn send(&self, text: impl AsRef<[u8]>) -> Client {
        let mut client = self.connect();
        client.send(text);
        client
    }

    /// Sends `text` and reads one response.
    pub(crate) fn ask(&self, text: impl AsRef<[u8]>) -> Response {
        self.send(text).response()
    }

    /// Asks for a segment; does not wait for the answer.
    pub(crate) fn get(&self, name: &str, seq: impl Display) -> Client {
        self.send(get(name, seq))
    }

    /// Begins a chunked publish, and waits until the server has admitted it.
    pub(crate) fn post(&self, name: &str, seq: impl Display) -> Client {
        self.post_with(name, seq, "")
    }

    /// As [`World::post`], with more fields.
    pub(crate) fn post_with(&self, name: &str, seq: impl Display, fields: &str) -> Client {
        let mut client = self.send(format!(
            "{}Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n{fields}\r\n",
            line("POST", name, seq)
        ));
        client.await_continue();
        client
    }

    /// Publishes a whole segment.
    pub(crate) fn publish(
        &self,
        name: &str,
        seq: impl Display,
        body: impl AsRef<[u8]>,
    ) -> Response {
        let body = body.as_ref();
        let mut text = format!(
            "{}Content-Length: {}\r\n\r\n",
            line("POST", name, seq),
            body.len()
        )
        .into_bytes();
        text.extend_from_slice(body);
        self.ask(text)
    }

    /// Publishes segments `0..n`; segment `i` says so.
    pub(crate) fn publish_upto(&self, name: &str, n: u64) {
        for seq in 0..n {
            self.publish(name, seq, format!("segment {seq}"))
                .head
                .is(200)
                .seq(seq as i64);
        }
    }

    /// Reads a whole segment that must be there.
    #[track_caller]
    pub(crate) fn read(&self, name: &str, seq: impl Display) -> Vec<u8> {
        let response = self.get(name, seq).response();
        response.head.is(200);
        response.body
    }

    /// The write head.
    #[track_caller]
    pub(crate) fn next(&self, name: &str) -> u64 {
        let response = self.get(name, "next").response();
        response
            .head
            .is(200)
            .has("Lp-Trickle-Latest", Some(&response.text()));
        response.text().parse().expect("a number")
    }

    /// Deletes a channel, or with `name/seq` a segment.
    pub(crate) fn delete(&self, path: &str) -> Response {
        self.ask(format!(
            "DELETE /ai/trickle/{path} HTTP/1.1\r\nHost: x\r\n\r\n"
        ))
    }

    /// A publisher and its reader still get through, on every shard.
    #[track_caller]
    pub(crate) fn assert_serves(&self) {
        for shard in 0..self.shards {
            let name = self.channel_on(shard);
            let mut reader = self.get(&name, 0);
            let mut publisher = self.post(&name, 0);
            publisher.chunk("alive");
            reader.head().is(200).seq(0);
            assert_eq!(reader.payload(5), b"alive");
            publisher.finish().head.is(200).seq(0);
            assert_eq!(reader.rest(), b"");
            self.delete(&name).head.is(200);
        }
        assert_eq!(self.metrics().panics, 0);
    }
}

/// A request line and its first field.
pub(crate) fn line(method: &str, name: &str, seq: impl Display) -> String {
    format!("{method} /ai/trickle/{name}/{seq} HTTP/1.1\r\nHost: x\r\n")
}

/// A subscribe request.
pub(crate) fn get(name: &str, seq: impl Display) -> String {
    format!("{}\r\n", line("GET", name, seq))
}

/// The control plane's stand-in: answers every visitor with what it brought.
struct Door;

impl Control for Door {
    fn report(&self, _: Report) {}

    fn visit(&self, visitor: Visitor) -> Result<(), Visitor> {
        use std::io::Write as _;
        let Visitor {
            stream,
            kind,
            prefix,
            ..
        } = visitor;
        let answer = format!(
            "HTTP/1.1 200 Visitor\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            prefix.len()
        );
        let wire = [answer.as_bytes(), &prefix].concat();
        let _ = match kind {
            StreamKind::Tcp => std::net::TcpStream::from(stream).write_all(&wire),
            StreamKind::Unix => std::os::unix::net::UnixStream::from(stream).write_all(&wire),
        };
        Ok(())
    }
}

/// A share of the executors that may live at once.
struct Permits(usize);

static IN_USE: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

impl Permits {
    fn take(n: usize) -> Self {
        let in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut in_use = FREED
            .wait_while(in_use, |in_use| *in_use + n > EXECUTORS_MAX)
            .unwrap_or_else(PoisonError::into_inner);
        *in_use += n;
        Self(n)
    }
}

impl Drop for Permits {
    fn drop(&mut self) {
        *IN_USE.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
        FREED.notify_all();
    }
}
