//! A trickle server that keeps all it gets and errs by script: enough of one for the generator, on a thread a connection.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use loadgen::chunk::Header;

use super::http::{Reading, Request, Wire, answer, self_signed, wire};

/// What is done to a chunk, when the first of that number comes, of whichever channel.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// From it on nothing is passed on for so long; then all of it.
    Pause(Duration),
    /// It is not passed on.
    Drop,
    /// It is passed on twice.
    Duplicate,
    /// The one after it is passed on first.
    Swap,
    /// Its last byte is changed.
    Flip,
    /// Half of it is passed on, and nothing more of its segment.
    Cut,
    /// The connection that it came on is closed.
    AbortPost,
    /// The connections of all who read its segment are closed, once.
    AbortReaders,
    /// Its channel is closed and forgotten.
    CloseChannel,
}

/// By what the server errs.
#[derive(Debug, Default)]
pub struct Script {
    /// By number of a chunk.
    pub faults: HashMap<u64, Fault>,
    /// `GET 3` is answered so, once a client that asks.
    pub answers: HashMap<&'static str, (u16, usize)>,
    /// Channels are not created.
    pub is_closed: bool,
}

/// A running server.
pub struct Faulty {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    script: Script,
    channels: HashMap<String, Channel>,
    paused_until: Option<Instant>,
    /// Channels that were deleted by a client.
    deleted: usize,
}

#[derive(Default)]
struct Channel {
    segments: BTreeMap<i64, Segment>,
    next: i64,
}

#[derive(Default)]
struct Segment {
    bytes: Vec<u8>,
    is_ended: bool,
    is_cut: bool,
    held: Option<Vec<u8>>,
    /// Readers that began before this many aborts are closed.
    aborts: usize,
}

impl Faulty {
    /// Starts one on a port of its own.
    pub fn start(script: Script, is_tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let scheme = if is_tls { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().expect("an address"));
        let tls = is_tls.then(self_signed);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                script,
                ..State::default()
            }),
            changed: Condvar::new(),
        });
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, tls) = (Arc::clone(&served), tls.clone());
                thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                    stream.set_nodelay(true).expect("no delay");
                    let socket = stream.try_clone().expect("a descriptor");
                    let mut wire = wire(stream, tls);
                    // A client may go as it likes.
                    let _ = shared.serve(&mut *wire, &socket);
                    let _ = socket.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        Self { url, shared }
    }

    /// Channels that there are, and those that a client deleted.
    pub fn channels(&self) -> (usize, usize) {
        let state = self.shared.lock();
        (state.channels.len(), state.deleted)
    }

    /// A channel that is there already, and has got as far as `next`.
    pub fn add_channel(&self, name: &str, next: i64) {
        self.shared.lock().channels.insert(
            name.to_owned(),
            Channel {
                next,
                ..Channel::default()
            },
        );
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panicked with it")
    }

    fn serve(&self, wire: &mut dyn Wire, socket: &TcpStream) -> io::Result<()> {
        let mut reading = Reading::new();
        while let Some(request) = reading.request(wire)? {
            let path = request.path.strip_prefix("/ai/trickle/").unwrap_or("?");
            let (name, entry) = match path.split_once('/') {
                Some((name, entry)) => (name.to_owned(), Some(entry.to_owned())),
                None => (path.to_owned(), None),
            };
            if let Some(status) = self.scripted(&request, entry.as_deref()) {
                let next = self.lock().channels.get(&name).map_or(0, |c| c.next);
                answer(wire, status, &format!("Lp-Trickle-Latest: {next}\r\n"))?;
                if request.is_chunked {
                    return Ok(());
                }
                continue;
            }
            let seq = entry.as_deref().and_then(|entry| entry.parse().ok());
            match (request.method.as_str(), seq, entry.as_deref()) {
                ("POST", None, None) => self.create(wire, name)?,
                ("DELETE", None, None) => {
                    let mut state = self.lock();
                    let was_there = state.channels.remove(&name).is_some();
                    state.deleted += usize::from(was_there);
                    drop(state);
                    answer(wire, if was_there { 200 } else { 400 }, "")?;
                }
                ("DELETE", Some(seq), _) => {
                    if let Some(segment) = self.lock().segment(&name, seq) {
                        segment.is_ended = true;
                    }
                    self.changed.notify_all();
                    answer(wire, 200, "")?;
                }
                ("GET", None, Some("next")) => {
                    let next = self.lock().channels.get(&name).map(|c| c.next);
                    match next {
                        Some(next) => answer(wire, 200, &format!("Lp-Trickle-Latest: {next}\r\n"))?,
                        None => answer(wire, 404, "")?,
                    }
                }
                ("POST", Some(seq), _) => {
                    if !self.publish(wire, &mut reading, socket, &name, seq)? {
                        return Ok(());
                    }
                }
                ("GET", Some(seq), _) => self.subscribe(wire, &name, seq)?,
                _ => answer(wire, 400, "")?,
            }
            if request.is_last {
                return Ok(());
            }
        }
        Ok(())
    }

    fn scripted(&self, request: &Request, entry: Option<&str>) -> Option<u16> {
        let key = format!("{} {}", request.method, entry?);
        let mut state = self.lock();
        let (status, left) = state.script.answers.get_mut(key.as_str())?;
        *left = left.checked_sub(1)?;
        Some(*status)
    }

    fn create(&self, wire: &mut dyn Wire, name: String) -> io::Result<()> {
        let mut state = self.lock();
        let status = if state.script.is_closed {
            404
        } else {
            state.channels.entry(name).or_default();
            200
        };
        drop(state);
        answer(wire, status, "")
    }

    /// Whether the connection goes on.
    fn publish(
        &self,
        wire: &mut dyn Wire,
        reading: &mut Reading,
        socket: &TcpStream,
        name: &str,
        seq: i64,
    ) -> io::Result<bool> {
        match self.lock().channels.get_mut(name) {
            Some(channel) => {
                channel.segments.entry(seq).or_default();
            }
            None => {
                answer(wire, 404, "Connection: close\r\n")?;
                return Ok(false);
            }
        }
        while let Some(chunk) = reading.chunk(wire)? {
            let number = Header::parse(&chunk).map(|header| header.number);
            let mut state = self.lock();
            let fault = number.and_then(|number| state.script.faults.remove(&number));
            if let Some(Fault::Pause(time)) = fault {
                state.paused_until = Some(Instant::now() + time);
            }
            while let Some(left) = state
                .paused_until
                .map(|until| until.saturating_duration_since(Instant::now()))
                .filter(|left| !left.is_zero())
            {
                state = self
                    .changed
                    .wait_timeout(state, left)
                    .expect("no thread panicked with it")
                    .0;
            }
            let is_going_on = state.pass_on(name, seq, chunk, fault);
            drop(state);
            self.changed.notify_all();
            if !is_going_on {
                socket.shutdown(std::net::Shutdown::Both)?;
                return Ok(false);
            }
        }
        let mut state = self.lock();
        if let Some(channel) = state.channels.get_mut(name) {
            channel.next = channel.next.max(seq + 1);
        }
        if let Some(segment) = state.segment(name, seq) {
            segment.is_ended = true;
        }
        drop(state);
        self.changed.notify_all();
        answer(wire, 200, &format!("Lp-Trickle-Seq: {seq}\r\n"))?;
        Ok(true)
    }

    fn subscribe(&self, wire: &mut dyn Wire, name: &str, seq: i64) -> io::Result<()> {
        let mut state = self.lock();
        let Some(channel) = state.channels.get_mut(name) else {
            drop(state);
            return answer(wire, 404, "");
        };
        let seq = match seq {
            -1 => channel.next,
            -2 => (channel.next - 1).max(0),
            seq => seq,
        };
        let is_next = seq == channel.next || (seq, channel.next) == (1, 0);
        if !is_next && !channel.segments.contains_key(&seq) {
            let latest = channel.next;
            drop(state);
            return answer(wire, 470, &format!("Lp-Trickle-Latest: {latest}\r\n"));
        }
        let aborts = channel.segments.entry(seq).or_default().aborts;
        let (mut at, mut has_head) = (0, false);
        loop {
            let Some(segment) = state.segment(name, seq) else {
                drop(state);
                if has_head {
                    wire.write_all(b"0\r\n\r\n")?;
                    return wire.flush();
                }
                return answer(wire, 200, "Lp-Trickle-Closed: terminated\r\n");
            };
            if segment.aborts > aborts {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let more = segment.bytes[at..].to_vec();
            let is_ended = segment.is_ended;
            if more.is_empty() && !is_ended {
                let (waited, timeout) = self
                    .changed
                    .wait_timeout(state, PATIENCE)
                    .expect("no thread panicked with it");
                if timeout.timed_out() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                state = waited;
                continue;
            }
            drop(state);
            at += more.len();
            let mut out = Vec::new();
            if !std::mem::replace(&mut has_head, true) {
                out.extend_from_slice(
                    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nLp-Trickle-Seq: {seq}\r\n\r\n")
                        .as_bytes(),
                );
            }
            if more.is_empty() {
                out.extend_from_slice(b"0\r\n\r\n");
            } else {
                out.extend_from_slice(format!("{:x}\r\n", more.len()).as_bytes());
                out.extend_from_slice(&more);
                out.extend_from_slice(b"\r\n");
            }
            wire.write_all(&out)?;
            wire.flush()?;
            if more.is_empty() {
                return Ok(());
            }
            state = self.lock();
        }
    }
}

impl State {
    fn segment(&mut self, name: &str, seq: i64) -> Option<&mut Segment> {
        self.channels.get_mut(name)?.segments.get_mut(&seq)
    }

    /// Whether the publisher's connection goes on.
    fn pass_on(&mut self, name: &str, seq: i64, mut chunk: Vec<u8>, fault: Option<Fault>) -> bool {
        if let Some(Fault::CloseChannel) = fault {
            self.channels.remove(name);
        }
        let Some(channel) = self.channels.get_mut(name) else {
            return true;
        };
        channel.next = channel.next.max(seq + 1);
        let segment = channel.segments.entry(seq).or_default();
        if segment.is_cut {
            return true;
        }
        let held = segment.held.take();
        match fault {
            Some(Fault::Drop) => chunk.clear(),
            Some(Fault::Duplicate) => chunk.extend_from_within(..),
            Some(Fault::Flip) => {
                if let Some(last) = chunk.last_mut() {
                    *last ^= 0x10;
                }
            }
            Some(Fault::Cut) => {
                chunk.truncate(chunk.len() / 2);
                segment.is_cut = true;
            }
            Some(Fault::Swap) => segment.held = Some(std::mem::take(&mut chunk)),
            Some(Fault::AbortPost) => return false,
            Some(Fault::AbortReaders) => segment.aborts += 1,
            Some(Fault::Pause(_) | Fault::CloseChannel) | None => {}
        }
        segment.bytes.append(&mut chunk);
        segment.bytes.extend(held.unwrap_or_default());
        true
    }
}

/// No test takes so long.
const PATIENCE: Duration = Duration::from_secs(30);
