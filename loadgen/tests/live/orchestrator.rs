//! A small orchestrator for tests: sessions, trickle channels, and a pipeline that copies frames after a fixed delay, by a script.
//!
//! ```text
//!   POST segment ─▶ chunks, each with its time ─▶ [delay] ─▶ script: pass, drop, twice, … ─▶ GET segment
//! ```
//!
//! One thread a connection and one a session; everything waits on one condition. An HTTP chunk is a frame, since that is how the
//! generator writes them. Where sessions are to be paid, it takes payments as the crate `ticket` does, and refuses by a script. What a test asks about is the generator, so whatever it should not do makes a panic here.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use loadgen::tickets::Parts;
use proto::net::orchestrator_server;
use proto::net::{
    EndTranscodingSessionRequest, EndTranscodingSessionResponse, OrchestratorInfo,
    OrchestratorRequest, PingPong,
};
use ticket::Address;
use tonic::{Request as Call, Response as Reply, Status};

use crate::support::grpc;
use crate::support::payee::{self, Payee};

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Pass,
    Drop,
    Twice,
    /// It goes to another session as well.
    AlsoTo(usize),
    /// The session is over.
    End,
}

/// By session in the order of starts, and number of the frame.
pub(crate) type Script = fn(usize, usize) -> Action;

/// What becomes of a payment after a session's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pay {
    Take,
    /// It is credited, and answered without anything for the next.
    TakeBarely,
    Refuse(&'static str),
    /// It is credited, and its connection is closed without a word.
    TakeInSilence,
}

/// By number of the payment.
pub(crate) type PayScript = fn(usize) -> Pay;

#[derive(Clone)]
pub(crate) struct Orchestrator(Arc<Inner>);

struct Inner {
    url: String,
    delay: Duration,
    script: Script,
    sessions_max: usize,
    till: Option<Mutex<Till>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    channels: HashMap<String, Channel>,
    sessions: usize,
    deleted: Vec<String>,
}

#[derive(Default)]
struct Channel {
    segments: BTreeMap<i64, Segment>,
    next_write: i64,
    is_closed: bool,
}

#[derive(Default)]
struct Segment {
    chunks: Vec<(Instant, Vec<u8>)>,
    is_closed: bool,
}

/// What was paid.
struct Till {
    payee: Payee,
    script: PayScript,
    payments: usize,
    asked: usize,
}

impl Orchestrator {
    pub(crate) fn start(delay: Duration, sessions_max: usize, script: Script) -> Self {
        Self::serve_all(delay, sessions_max, script, None)
    }

    /// One that is paid: so much for a ticket.
    pub(crate) fn start_paid(script: Script, ticket_ev: u64, paying: PayScript) -> Self {
        let mut payee = Payee::new();
        payee.set_policy(ticket_ev, 8_000_000_000_000);
        let till = Till {
            payee,
            script: paying,
            payments: 0,
            asked: 0,
        };
        Self::serve_all(Duration::from_millis(5), 10, script, Some(Mutex::new(till)))
    }

    fn serve_all(
        delay: Duration,
        sessions_max: usize,
        script: Script,
        till: Option<Mutex<Till>>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = Self(Arc::new(Inner {
            url: format!("http://{}", listener.local_addr().unwrap()),
            delay,
            script,
            sessions_max,
            till,
            state: Mutex::default(),
            changed: Condvar::new(),
        }));
        let serving = ours.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let ours = serving.clone();
                thread::spawn(move || ours.serve(stream.unwrap()));
            }
        });
        ours
    }

    pub(crate) fn url(&self) -> &str {
        &self.0.url
    }

    /// Channels that were deleted, in order.
    pub(crate) fn deleted(&self) -> Vec<String> {
        self.state().deleted.clone()
    }

    /// Payments after sessions' starts, and how often somebody asked for terms.
    pub(crate) fn paid(&self) -> (usize, usize) {
        let till = self.till().unwrap();
        (till.payments, till.asked)
    }

    /// Every account: who pays, what for, and what is credited, in parts.
    pub(crate) fn accounts(&self) -> Vec<(Address, String, Parts)> {
        self.till().unwrap().payee.accounts()
    }

    fn till(&self) -> Option<MutexGuard<'_, Till>> {
        Some(self.0.till.as_ref()?.lock().unwrap())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// Waits until `look` gives something.
    fn wait<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut state = self.state();
        loop {
            if let Some(found) = look(&mut state) {
                return found;
            }
            state = self.0.changed.wait(state).unwrap();
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state());
        self.0.changed.notify_all();
        changed
    }

    /// One connection, until its end. Errors of the socket are the end, too: clients go when they like.
    fn serve(self, stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        if grpc::is_grpc(&stream, false).unwrap_or(false) {
            return grpc::serve(stream, None, Arc::new(self)).unwrap();
        }
        let mut input = BufReader::new(stream.try_clone().unwrap());
        let mut output = stream;
        while let Some(head) = read_head(&mut input) {
            let Head {
                line,
                is_chunked,
                length,
                ..
            } = &head;
            let mut words = line.split(' ');
            let (method, path) = (words.next().unwrap(), words.next().unwrap());
            let answered = match (method, path) {
                ("POST", "/live-video-to-video") => {
                    let mut body = vec![0; *length];
                    input.read_exact(&mut body).unwrap();
                    assert!(String::from_utf8(body).unwrap().contains("model_id"));
                    self.start_session(&head, &mut output)
                }
                ("POST", "/payment") => self.pay(&head, &mut output),
                ("POST", _) => {
                    assert!(*is_chunked);
                    self.post(path, &mut input, &mut output)
                }
                ("GET", _) => self.get(path, &mut output),
                ("DELETE", _) => self.delete(path, &mut output),
                _ => panic!("{line}"),
            };
            if answered.is_none() {
                return;
            }
        }
    }

    fn start_session(&self, head: &Head, output: &mut TcpStream) -> Option<()> {
        let session = self.change(|state| {
            (state.sessions < self.0.sessions_max).then(|| {
                let session = state.sessions;
                state.sessions += 1;
                state.channels.insert(name(session), Channel::default());
                state.channels.insert(out_name(session), Channel::default());
                session
            })
        });
        let Some(session) = session else {
            return reply(output, "503 Busy", "", "insufficient capacity\n");
        };
        if let Err(why) = self.open_account(head, session) {
            return reply(output, "400 No", "", &why);
        }
        let ours = self.clone();
        thread::spawn(move || ours.work(session));
        // One URL names another host, as orchestrators behind names do, and one is a path.
        let (port, input, out) = (
            self.0.url.rsplit_once(':').unwrap().1,
            name(session),
            out_name(session),
        );
        let body = format!(
            "{{\"manifest_id\":\"m{session}\",\"publish_url\":\"http://example.net:{port}/ai/trickle/{input}\",\
             \"subscribe_url\":\"/ai/trickle/{out}\",\"control_url\":\"\",\"events_url\":\"\"}}"
        );
        reply(
            output,
            "200 OK",
            "Content-Type: application/json\r\n",
            &body,
        )
    }

    fn open_account(&self, head: &Head, session: usize) -> Result<(), String> {
        let Some(mut till) = self.till() else {
            return Ok(());
        };
        assert_eq!(head.field("authorization"), "Livepeer-AI-Worker-1.0");
        let (payment, purpose) = (
            head.field("livepeer-payment"),
            head.field("livepeer-segment"),
        );
        let manifest = format!("m{session}");
        let (payment, creds) = payee::open(payment, purpose, Some(&manifest));
        assert!(creds.manifest_id.starts_with(b"35_builtin/"));
        assert_eq!(creds.capabilities.unwrap().bitstring[0] >> 35, 1);
        let tickets = payment.tickets();
        till.payee
            .credit(payment, tickets)
            .map_err(|why| why.to_string())
    }

    fn pay(&self, head: &Head, output: &mut TcpStream) -> Option<()> {
        let mut till = self.till().unwrap();
        let (payment, purpose) = (
            head.field("livepeer-payment"),
            head.field("livepeer-segment"),
        );
        let (payment, creds) = payee::open(payment, purpose, None);
        assert!(creds.manifest_id.starts_with(b"m"));
        let number = till.payments;
        till.payments += 1;
        let (sender, tickets) = (*payment.sender(), payment.tickets());
        let action = (till.script)(number);
        if let Pay::Refuse(words) = action {
            return reply(output, "400 No", "", &format!("{words}\n"));
        }
        if let Err(why) = till.payee.credit(payment, tickets) {
            return reply(output, "400 No", "", &format!("{why}\n"));
        }
        let body = match action {
            Pay::TakeInSilence => return None,
            Pay::TakeBarely => Vec::new(),
            _ => till.payee.result(sender, creds),
        };
        drop(till);
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        output.write_all(&[answer.as_bytes(), &body].concat()).ok()
    }

    fn post(
        &self,
        path: &str,
        input: &mut BufReader<TcpStream>,
        output: &mut TcpStream,
    ) -> Option<()> {
        let (channel, seq) = split(path);
        while let Some(chunk) = read_chunk(input)? {
            let is_there = self.change(|state| {
                let channel = state.channels.get_mut(channel)?;
                channel.write(seq, chunk);
                Some(())
            });
            if is_there.is_none() {
                reply(
                    output,
                    "404 Not Found",
                    "Connection: close\r\n",
                    "Stream not found\n",
                );
                return None;
            }
        }
        self.change(|state| {
            if let Some(channel) = state.channels.get_mut(channel) {
                channel.close(seq);
            }
        });
        let seq = format!("Lp-Trickle-Seq: {seq}\r\n");
        reply(output, "200 OK", &seq, "")
    }

    fn get(&self, path: &str, output: &mut TcpStream) -> Option<()> {
        let (channel, asked) = split(path);
        let mut wanted = asked;
        let begun = self.wait(|state| {
            let Some(channel) = state.channels.get(channel) else {
                return Some(None);
            };
            if wanted < 0 {
                wanted = channel.next_write;
            }
            let segment = channel.segments.get(&wanted);
            match segment.is_some_and(|it| it.is_closed || !it.chunks.is_empty()) {
                true => Some(Some(false)),
                false if channel.is_closed => Some(Some(true)),
                false => None,
            }
        });
        match begun {
            None => reply(output, "404 Not Found", "", "Stream not found\n"),
            Some(true) => {
                let fields =
                    format!("Lp-Trickle-Seq: {wanted}\r\nLp-Trickle-Closed: terminated\r\n");
                reply(output, "200 OK", &fields, "")
            }
            Some(false) => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nLp-Trickle-Seq: {wanted}\r\nTransfer-Encoding: chunked\r\n\r\n"
                );
                output.write_all(head.as_bytes()).ok()?;
                self.stream(channel, wanted, output)
            }
        }
    }

    fn stream(&self, channel: &str, seq: i64, output: &mut TcpStream) -> Option<()> {
        let mut sent = 0;
        loop {
            let (chunks, is_closed) = self.wait(|state| {
                let Some(channel) = state.channels.get(channel) else {
                    return Some((Vec::new(), true));
                };
                let segment = &channel.segments[&seq];
                let is_closed = segment.is_closed || channel.is_closed;
                let new: Vec<Vec<u8>> = segment.chunks[sent..]
                    .iter()
                    .map(|(_, chunk)| chunk.clone())
                    .collect();
                (is_closed || !new.is_empty()).then_some((new, is_closed))
            });
            sent += chunks.len();
            for chunk in chunks {
                let size = format!("{:x}\r\n", chunk.len());
                let parts = [size.as_bytes(), &chunk, b"\r\n"].concat();
                output.write_all(&parts).ok()?;
            }
            if is_closed {
                return output.write_all(b"0\r\n\r\n").ok();
            }
        }
    }

    fn delete(&self, path: &str, output: &mut TcpStream) -> Option<()> {
        let name = path.rsplit_once('/').unwrap().1;
        self.change(|state| {
            state.deleted.push(name.to_owned());
            for name in [name.to_owned(), format!("{name}-out")] {
                state.channels.remove(&name);
            }
        });
        reply(output, "200 OK", "", "")
    }

    /// The pipeline of a session: every frame of every segment, in order, `delay` after it came.
    fn work(&self, session: usize) {
        let (input, out) = (name(session), out_name(session));
        let (mut seq, mut at, mut frame) = (0, 0, 0);
        loop {
            let found = self.wait(|state| {
                let Some(channel) = state.channels.get(&input) else {
                    return Some(None);
                };
                let segment = channel.segments.get(&seq)?;
                match segment.chunks.get(at) {
                    Some(chunk) => Some(Some(Some(chunk.clone()))),
                    None => segment.is_closed.then_some(Some(None)),
                }
            });
            match found {
                None => return,
                Some(None) => {
                    self.change(|state| {
                        if let Some(channel) = state.channels.get_mut(&out) {
                            channel.close(seq);
                        }
                    });
                    (seq, at) = (seq + 1, 0);
                }
                Some(Some((came, chunk))) => {
                    thread::sleep((came + self.0.delay).saturating_duration_since(Instant::now()));
                    let action = (self.0.script)(session, frame);
                    self.change(|state| apply(action, state, session, seq, &chunk));
                    (at, frame) = (at + 1, frame + 1);
                }
            }
        }
    }
}

fn apply(action: Action, state: &mut State, session: usize, seq: i64, chunk: &[u8]) {
    let mut write = |session: usize, seq: Option<i64>| {
        if let Some(channel) = state.channels.get_mut(&out_name(session)) {
            let seq = seq.unwrap_or((channel.next_write - 1).max(0));
            channel.write(seq, chunk.to_vec());
        }
    };
    match action {
        Action::Pass => write(session, Some(seq)),
        Action::Drop => {}
        Action::Twice => {
            write(session, Some(seq));
            write(session, Some(seq));
        }
        Action::AlsoTo(other) => {
            write(session, Some(seq));
            write(other, None);
        }
        Action::End => {
            for name in [name(session), out_name(session)] {
                if let Some(channel) = state.channels.get_mut(&name) {
                    channel.is_closed = true;
                }
            }
            state.channels.remove(&name(session));
        }
    }
}

impl Channel {
    fn write(&mut self, seq: i64, chunk: Vec<u8>) {
        self.next_write = seq + 1;
        let segment = self.segments.entry(seq).or_default();
        segment.chunks.push((Instant::now(), chunk));
    }

    fn close(&mut self, seq: i64) {
        self.segments.entry(seq).or_default().is_closed = true;
    }
}

fn name(session: usize) -> String {
    format!("c{session}")
}

fn out_name(session: usize) -> String {
    format!("c{session}-out")
}

/// Channel and segment.
fn split(path: &str) -> (&str, i64) {
    let (rest, seq) = path.rsplit_once('/').unwrap();
    (rest.rsplit_once('/').unwrap().1, seq.parse().unwrap())
}

/// The request line, whether its body comes in chunks, and how long it is if not.
#[derive(Default)]
struct Head {
    line: String,
    is_chunked: bool,
    length: usize,
    /// Names in lower case.
    fields: HashMap<String, String>,
}

impl Head {
    fn field(&self, name: &str) -> &str {
        &self.fields[name]
    }
}

fn read_head(input: &mut BufReader<TcpStream>) -> Option<Head> {
    let mut head = Head {
        line: read_line(input)?,
        ..Head::default()
    };
    loop {
        let field = read_line(input)?;
        let Some((name, value)) = field.split_once(": ") else {
            return Some(head);
        };
        match name.to_ascii_lowercase().as_str() {
            "transfer-encoding" => head.is_chunked = value == "chunked",
            "content-length" => head.length = value.parse().unwrap(),
            name => drop(head.fields.insert(name.to_owned(), value.to_owned())),
        }
    }
}

/// `None`: the connection broke. `Some(None)`: it was the last.
fn read_chunk(input: &mut BufReader<TcpStream>) -> Option<Option<Vec<u8>>> {
    let line = read_line(input)?;
    let size = usize::from_str_radix(&line, 16).unwrap();
    let mut chunk = vec![0; size + 2];
    input.read_exact(&mut chunk).ok()?;
    assert!(chunk.ends_with(b"\r\n"));
    chunk.truncate(size);
    Some((size > 0).then_some(chunk))
}

fn read_line(input: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    match input.read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim_end().to_owned()),
    }
}

fn reply(output: &mut TcpStream, status: &str, fields: &str, body: &str) -> Option<()> {
    let length = body.len();
    let answer = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {length}\r\n\r\n{body}");
    output.write_all(answer.as_bytes()).ok()
}

#[tonic::async_trait]
impl orchestrator_server::Orchestrator for Orchestrator {
    async fn get_orchestrator(
        &self,
        call: Call<OrchestratorRequest>,
    ) -> Result<Reply<OrchestratorInfo>, Status> {
        let mut till = self.till().expect("it is to be paid");
        till.asked += 1;
        let answer = till.payee.answer(&call.into_inner());
        answer.map(Reply::new).map_err(Status::unknown)
    }

    async fn end_transcoding_session(
        &self,
        _: Call<EndTranscodingSessionRequest>,
    ) -> Result<Reply<EndTranscodingSessionResponse>, Status> {
        Err(Status::unimplemented("no sessions are transcoded"))
    }

    async fn ping(&self, _: Call<PingPong>) -> Result<Reply<PingPong>, Status> {
        Err(Status::unimplemented("nobody pings"))
    }
}
