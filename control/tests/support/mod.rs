//! A data plane made of a script, and a node around it.

#![allow(dead_code)] // each test file uses its own part

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use control::orchestrator::{self, Config, Handle, Inbox};
use control::world::World;
use link::{
    Answer, Command, Control, EndCause, Engine, Refusal, Reply, Report, SessionStats, StreamKind,
    Visitor,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

/// Unix time when a test begins.
pub(crate) const EPOCH_MS: u64 = 1_700_000_000_000;

/// Time that follows tokio's, and chance that counts.
pub(crate) struct TestWorld {
    begin: Instant,
    counter: AtomicU64,
}

impl World for TestWorld {
    fn unix_ms(&self) -> u64 {
        EPOCH_MS + self.begin.elapsed().as_millis() as u64
    }

    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        let count = self.counter.fetch_add(1, Ordering::Relaxed) as u8;
        bytes.fill(count);
        Ok(())
    }
}

/// What the scripted engine does with a command.
pub(crate) enum Act {
    Answer(Result<Answer, Refusal>),
    /// Keeps the reply; `answer_held` sends it.
    Hold,
}

type Script = Box<dyn Fn(&Command) -> Act + Send + Sync>;
type Connect = Box<dyn Fn() -> io::Result<OwnedFd> + Send + Sync>;

type Charging = Box<dyn Fn(&link::Charge) -> link::Charged + Send + Sync>;
type Paying = Box<dyn Fn(ticket::Received, link::PaymentReply) + Send + Sync>;

pub(crate) struct FakeEngine {
    pub(crate) log: Mutex<Vec<(Instant, Command)>>,
    held: Mutex<Vec<Reply>>,
    script: Mutex<Script>,
    connect: Mutex<Connect>,
    pub(crate) charges: Mutex<Vec<link::Charge>>,
    charging: Mutex<Charging>,
    paying: Mutex<Paying>,
}

impl FakeEngine {
    fn new() -> Self {
        Self {
            log: Mutex::new(Vec::new()),
            held: Mutex::new(Vec::new()),
            script: Mutex::new(Box::new(|_| Act::Answer(Ok(Answer::Done)))),
            connect: Mutex::new(Box::new(|| Err(io::ErrorKind::ConnectionRefused.into()))),
            charges: Mutex::default(),
            charging: Mutex::new(Box::new(|_| Err(link::NotCharged::NoAccount))),
            paying: Mutex::new(Box::new(|_, reply| drop(reply))),
        }
    }

    /// What becomes of charges.
    pub(crate) fn on_charge(
        &self,
        charging: impl Fn(&link::Charge) -> link::Charged + Send + Sync + 'static,
    ) {
        *self.charging.lock().unwrap() = Box::new(charging);
    }

    /// What becomes of payments.
    pub(crate) fn on_pay(
        &self,
        paying: impl Fn(ticket::Received, link::PaymentReply) + Send + Sync + 'static,
    ) {
        *self.paying.lock().unwrap() = Box::new(paying);
    }

    pub(crate) fn script(&self, script: impl Fn(&Command) -> Act + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    pub(crate) fn on_connect(
        &self,
        connect: impl Fn() -> io::Result<OwnedFd> + Send + Sync + 'static,
    ) {
        *self.connect.lock().unwrap() = Box::new(connect);
    }

    pub(crate) fn answer_held(&self, outcome: Result<Answer, Refusal>) {
        self.held
            .lock()
            .unwrap()
            .drain(..)
            .for_each(|reply| reply.send(outcome.clone()));
    }

    /// Every command so far as one word and its channel or session.
    pub(crate) fn words(&self) -> Vec<String> {
        let word = |command: &Command| match command {
            Command::OpenSession(open) => format!("open {}", open.manifest_id),
            Command::SetProcess { process, .. } => format!("set {process:?}"),
            Command::CloseSession { manifest_id } => format!("close {manifest_id}"),
            Command::DeleteChannel { name } => format!("delete {name}"),
            Command::Publish { name, .. } => format!("publish {name}"),
            other => format!("{other:?}"),
        };
        self.log
            .lock()
            .unwrap()
            .iter()
            .map(|(_, command)| word(command))
            .collect()
    }

    pub(crate) fn count(&self, word: &str) -> usize {
        self.words()
            .iter()
            .filter(|known| known.starts_with(word))
            .count()
    }

    /// Every event published so far, with the time since `EPOCH_MS` being in it where the event has one.
    pub(crate) fn events(&self) -> Vec<String> {
        let log = self.log.lock().unwrap();
        log.iter()
            .filter_map(|(_, command)| match command {
                Command::Publish { bytes, .. } => Some(String::from_utf8(bytes.clone()).unwrap()),
                _ => None,
            })
            .collect()
    }
}

impl Engine for FakeEngine {
    fn submit(&self, command: Command, reply: Reply) {
        let act = (self.script.lock().unwrap())(&command);
        self.log.lock().unwrap().push((Instant::now(), command));
        match act {
            Act::Answer(outcome) => reply.send(outcome),
            Act::Hold => self.held.lock().unwrap().push(reply),
        }
    }

    fn connect(&self) -> io::Result<OwnedFd> {
        (self.connect.lock().unwrap())()
    }

    fn charge(&self, charge: link::Charge, reply: link::ChargeReply) {
        let charged = (self.charging.lock().unwrap())(&charge);
        self.charges.lock().unwrap().push(charge);
        reply.send(charged);
    }

    fn pay(&self, payment: ticket::Received, _source: u64, reply: link::PaymentReply) {
        (self.paying.lock().unwrap())(payment, reply);
    }
}

pub(crate) struct Node {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) engine: Arc<FakeEngine>,
    pub(crate) handle: Handle,
    pub(crate) task: tokio::task::JoinHandle<()>,
}

pub(crate) fn node(config: Config) -> Node {
    let world = TestWorld {
        begin: Instant::now(),
        counter: AtomicU64::new(0xa0),
    };
    let (inbox, orchestrator) = orchestrator::new(config, Arc::new(world));
    let engine = Arc::new(FakeEngine::new());
    let handle = orchestrator.handle();
    let url = "https://node.example:8935".to_owned();
    let task = tokio::spawn(orchestrator.run(Arc::clone(&engine) as Arc<dyn Engine>, url.into()));
    Node {
        inbox: Arc::new(inbox),
        engine,
        handle,
        task,
    }
}

impl Node {
    /// A client's end of a connection that the data plane hands over.
    pub(crate) fn connect_with(&self, prefix: &[u8]) -> UnixStream {
        let (near, far) = StdUnixStream::pair().unwrap();
        let visitor = Visitor {
            stream: near.into(),
            kind: StreamKind::Unix,
            prefix: prefix.to_vec(),
            peer: None,
            tls: false,
        };
        self.inbox.visit(visitor).unwrap();
        far.set_nonblocking(true).unwrap();
        UnixStream::from_std(far).unwrap()
    }

    /// One request on a connection of its own; the whole answer.
    pub(crate) async fn raw(&self, request: &str) -> String {
        // The first bytes always come read already.
        let split = request.len().min(5);
        let mut stream = self.connect_with(&request.as_bytes()[..split]);
        stream
            .write_all(&request.as_bytes()[split..])
            .await
            .unwrap();
        let mut answer = Vec::new();
        timeout(Duration::from_secs(60), stream.read_to_end(&mut answer))
            .await
            .unwrap()
            .unwrap();
        without_date(&String::from_utf8(answer).unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        self.raw(&format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ))
        .await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> String {
        let len = body.len();
        self.raw(&format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n{body}"
        ))
        .await
    }

    /// Starts a session and returns its id.
    pub(crate) async fn start(&self, body: &str) -> String {
        let answer = self.post("/live-video-to-video", body).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let id = answer.split("\"manifest_id\":\"").nth(1).unwrap();
        id[..id.find('"').unwrap()].to_owned()
    }

    pub(crate) fn progress(&self, id: &str, stats: SessionStats) {
        self.inbox.report(Report::Progress {
            manifest_id: id.to_owned(),
            stats,
        });
    }

    pub(crate) fn end(&self, id: &str, cause: EndCause) {
        self.inbox.report(Report::SessionEnded {
            manifest_id: id.to_owned(),
            cause,
            stats: SessionStats {
                frames_in: 90,
                frames_out: 90,
                ..SessionStats::default()
            },
        });
    }

    pub(crate) fn control(&self, id: &str, message: &str) {
        self.inbox.report(Report::ControlMessage {
            manifest_id: id.to_owned(),
            bytes: message.into(),
        });
    }

    /// Waits until `met`, or fails after a long time.
    pub(crate) async fn until(&self, what: &str, met: impl Fn(&FakeEngine) -> bool) {
        for _ in 0..10_000 {
            if met(&self.engine) {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("never: {what}; {:#?}", self.engine.words());
    }
}

fn without_date(answer: &str) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let head: Vec<_> = head
        .split("\r\n")
        .filter(|line| !line.starts_with("Date: "))
        .collect();
    format!("{}\r\n\r\n{body}", head.join("\r\n"))
}
