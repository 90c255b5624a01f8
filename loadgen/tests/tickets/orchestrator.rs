//! An orchestrator for tests, as far as payments go: it offers, checks and credits as the crate `ticket` does, and errs by script.
//!
//! A thread a connection, and one lock around the book: what was credited is known exactly, and in which order payments came.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use loadgen::tickets::Ledger;
use proto::net::orchestrator_server;
use proto::net::{
    EndTranscodingSessionRequest, EndTranscodingSessionResponse, OrchestratorInfo,
    OrchestratorRequest, PingPong,
};
use rustls::ServerConfig;
use ticket::received::Cursor;
use ticket::{Address, Refusal};
use tonic::{Request as Call, Response as Reply, Status};

use crate::support::grpc;
use crate::support::http::{Reading, Request, Wire, answer, answer_with, self_signed, wire};
use crate::support::payee::{self, Payee};

/// What is done about a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is checked and credited, and answered.
    Serve,
    /// Its connection is closed.
    DropBefore,
    /// It is checked and credited, and its connection is closed.
    DropAfter,
    /// It is answered 200, whatever it is; what is good of it is credited.
    Believe,
    /// It is answered 503.
    Busy,
    /// Half of its tickets are credited, and the sender's reserve is said to be too small for the others.
    Half,
}

/// By number of a payment, as they come.
pub(crate) type Script = fn(usize) -> Action;

/// A running orchestrator.
pub(crate) struct Orchestrator {
    pub(crate) url: String,
    shared: Arc<Shared>,
    listening: Arc<Mutex<Option<TcpListener>>>,
}

#[derive(Clone)]
struct Shared {
    script: Script,
    state: Arc<Mutex<State>>,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
}

struct State {
    payee: Payee,
    /// Payments as they came.
    came: Vec<(Address, u32)>,
    /// Answers by status.
    statuses: Vec<u16>,
}

impl State {
    fn new() -> Self {
        Self {
            payee: Payee::new(),
            came: Vec::new(),
            statuses: Vec::new(),
        }
    }
}

impl Orchestrator {
    pub(crate) fn start(script: Script) -> Self {
        Self::serve(Arc::new(Mutex::new(State::new())), script, None)
    }

    pub(crate) fn start_tls(script: Script) -> Self {
        let state = Arc::new(Mutex::new(State::new()));
        Self::serve(state, script, Some(self_signed()))
    }

    /// The same book behind another door, after this one was killed or not.
    pub(crate) fn restart(&self, script: Script) -> Self {
        Self::serve(Arc::clone(&self.shared.state), script, None)
    }

    fn serve(state: Arc<Mutex<State>>, script: Script, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            script,
            state,
            sockets: Arc::default(),
        });
        let (serving, accepting) = (Arc::clone(&shared), listener.try_clone().unwrap());
        let listening = Arc::new(Mutex::new(Some(listener)));
        let is_up = Arc::clone(&listening);
        thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                if is_up.lock().unwrap().is_none() {
                    return;
                }
                stream.set_nodelay(true).unwrap();
                let mut sockets = serving.sockets.lock().unwrap();
                sockets.push(stream.try_clone().unwrap());
                let (serving, tls) = (Arc::clone(&serving), tls.clone());
                thread::spawn(move || {
                    if grpc::is_grpc(&stream, tls.is_some()).unwrap_or(false) {
                        return grpc::serve(stream, tls.as_deref(), serving).unwrap();
                    }
                    let socket = stream.try_clone().unwrap();
                    let mut wire = wire(stream, tls);
                    // A client may go as it likes.
                    let _ = serving.attend(&mut *wire);
                    let _ = socket.shutdown(Shutdown::Both);
                });
            }
        });
        Self {
            url,
            shared,
            listening,
        }
    }

    /// As `kill -9` does it: every connection breaks, and no other is taken.
    pub(crate) fn kill(&self) {
        let addr = self.listening.lock().unwrap().take().unwrap().local_addr();
        // So that the one who accepts sees it.
        let _ = TcpStream::connect(addr.unwrap());
        for socket in self.shared.sockets.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Changes what is offered from now on.
    pub(crate) fn set_policy(&self, ticket_ev: u64, face_value_max: u64) {
        self.state().payee.set_policy(ticket_ev, face_value_max);
    }

    /// Tells of an L1 block: what was offered long before expires.
    pub(crate) fn see_block(&self, block: u64) {
        self.state().payee.see_block(block);
    }

    /// Payments that came: sender, and first nonce.
    pub(crate) fn came(&self) -> Vec<(Address, u32)> {
        self.state().came.clone()
    }

    /// Payments that were answered so.
    pub(crate) fn answered(&self, status: u16) -> u64 {
        let state = self.state();
        state.statuses.iter().filter(|it| **it == status).count() as u64
    }

    /// Tickets that are credited, over all accounts.
    pub(crate) fn credited(&self) -> u64 {
        self.state().payee.credited()
    }

    /// Accounts of the book that are not the ledger's to the last part, and accounts that only one of them has.
    pub(crate) fn differences(&self, ledger: &Ledger) -> Vec<String> {
        let book = self.state().payee.accounts();
        let mut differences = Vec::new();
        for (sender, name, credit) in &book {
            match ledger.account(*sender, name) {
                Some(ours) if ours.credit == *credit => {}
                ours => differences.push(format!("{sender} {name}: {credit} {ours:?}")),
            }
        }
        for ours in ledger.accounts().filter(|it| !it.credit.is_zero()) {
            let is_it = |(sender, name, _): &(Address, String, _)| {
                *sender == ours.sender && *name == ours.manifest_id
            };
            if !book.iter().any(is_it) {
                differences.push(format!("{ours:?} is in the ledger alone"));
            }
        }
        differences
    }
}

impl Shared {
    fn attend(&self, wire: &mut dyn Wire) -> io::Result<()> {
        let mut reading = Reading::new();
        while let Some(request) = reading.request(wire)? {
            let length = request.field("content-length").unwrap_or("0");
            let body = reading.body(wire, length.parse().unwrap())?;
            match (request.method.as_str(), request.path.as_str()) {
                ("POST", "/payment") => {
                    assert_eq!(body, b"");
                    if self.pay(wire, &request)?.is_none() {
                        return Ok(());
                    }
                }
                _ => answer(wire, 404, "")?,
            }
            if request.is_last {
                return Ok(());
            }
        }
        Ok(())
    }

    /// `None`: there is no answer, and no connection any more.
    fn pay(&self, wire: &mut dyn Wire, request: &Request) -> io::Result<Option<()>> {
        let field = |name| request.field(name).unwrap();
        let (payment, creds) =
            payee::open(field("livepeer-payment"), field("livepeer-segment"), None);
        let mut state = self.state.lock().unwrap();
        let number = state.came.len();
        let first = payment.slips(&mut Cursor::default()).next().unwrap().0;
        state.came.push((*payment.sender(), first));
        let action = (self.script)(number);
        let tickets = match action {
            Action::DropBefore | Action::Busy => 0,
            Action::Half => payment.tickets() / 2,
            _ => payment.tickets(),
        };
        let sender = *payment.sender();
        let verdict = state.payee.credit(payment, tickets);
        let (status, body) = match (action, verdict) {
            (Action::DropBefore | Action::DropAfter, _) => return Ok(None),
            (Action::Busy, _) => (503, format!("{}\n", Refusal::Busy).into_bytes()),
            (Action::Half, _) => (400, format!("{}\n", Refusal::Reserve).into_bytes()),
            (Action::Serve, Err(why)) => (why.status(), format!("{why}\n").into_bytes()),
            (Action::Serve, Ok(())) | (Action::Believe, _) => {
                (200, state.payee.result(sender, creds))
            }
        };
        state.statuses.push(status);
        drop(state);
        answer_with(wire, status, "", &body)?;
        Ok(Some(()))
    }
}

#[tonic::async_trait]
impl orchestrator_server::Orchestrator for Shared {
    async fn get_orchestrator(
        &self,
        call: Call<OrchestratorRequest>,
    ) -> Result<Reply<OrchestratorInfo>, Status> {
        let mut state = self.state.lock().unwrap();
        let answer = state.payee.answer(&call.into_inner());
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
