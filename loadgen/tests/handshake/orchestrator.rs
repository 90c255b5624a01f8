//! An orchestrator for tests, as far as its terms go: it answers `GetOrchestrator` as the crate `ticket` does, and errs by script.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use proto::net::orchestrator_server;
use proto::net::{
    EndTranscodingSessionRequest, EndTranscodingSessionResponse, OrchestratorInfo,
    OrchestratorRequest, PingPong, TicketParams,
};
use rustls::ServerConfig;
use tonic::{Request as Call, Response as Reply, Status};

use crate::support::grpc;
use crate::support::http::self_signed;
use crate::support::payee::Payee;

/// What is done about a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action {
    /// It is answered.
    Serve,
    /// It is answered after so many milliseconds.
    Slow(u64),
    /// It is refused in these words.
    Refuse(&'static str),
    /// It is answered without what a gateway needs.
    Without(fn(&mut OrchestratorInfo)),
    /// It is answered with ticket params that others have, too.
    Repeat,
    /// It is not answered.
    Ignore,
    /// All connections break.
    Kill,
}

/// By number of a request, as they come.
pub(crate) type Script = fn(usize) -> Action;

/// A running orchestrator. Clones are one.
#[derive(Clone)]
pub(crate) struct Orchestrator {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    script: Script,
    payee: Mutex<Payee>,
    asked: Mutex<Vec<OrchestratorRequest>>,
    params: Mutex<Option<TicketParams>>,
    connections: AtomicUsize,
    sockets: Mutex<Option<Vec<TcpStream>>>,
}

impl Orchestrator {
    pub(crate) fn start(script: Script) -> Self {
        Self::serve(script, None)
    }

    pub(crate) fn start_tls(script: Script) -> Self {
        Self::serve(script, Some(self_signed()))
    }

    fn serve(script: Script, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            script,
            payee: Mutex::new(Payee::new()),
            asked: Mutex::default(),
            params: Mutex::default(),
            connections: AtomicUsize::new(0),
            sockets: Mutex::new(Some(Vec::new())),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                stream.set_nodelay(true).unwrap();
                match &mut *serving.sockets.lock().unwrap() {
                    Some(sockets) => sockets.push(stream.try_clone().unwrap()),
                    // It is dead, and its listener with it.
                    None => return,
                }
                serving.connections.fetch_add(1, Ordering::Relaxed);
                grpc::serve(stream, tls.as_deref(), Arc::clone(&serving)).unwrap();
            }
        });
        Self { url, shared }
    }

    /// Requests as they came.
    pub(crate) fn asked(&self) -> Vec<OrchestratorRequest> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// Connections that were made.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn answer(&self, request: &OrchestratorRequest) -> Result<OrchestratorInfo, Status> {
        if request.sig.is_empty() {
            assert_eq!(request.address, [0; 20]);
            let mut info = Payee::new().any_answer();
            (info.ticket_params, info.price_info) = (None, None);
            return Ok(info);
        }
        let answer = self.payee.lock().unwrap().answer(request);
        answer.map_err(Status::unknown)
    }
}

#[tonic::async_trait]
impl orchestrator_server::Orchestrator for Shared {
    async fn get_orchestrator(
        &self,
        call: Call<OrchestratorRequest>,
    ) -> Result<Reply<OrchestratorInfo>, Status> {
        let tags = ["x-loadgen", "user-agent"].map(|name| call.metadata().get(name));
        assert!(tags.iter().flatten().any(|tag| {
            let tag = tag.to_str().unwrap();
            tag == "test" || tag.starts_with("loadgen/")
        }));
        assert_eq!(call.metadata().get("grpc-timeout").unwrap(), "8S");
        let request = call.into_inner();
        let number = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(request.clone());
            asked.len() - 1
        };
        let mut info = self.answer(&request)?;
        match (self.script)(number) {
            Action::Serve => {}
            Action::Slow(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Action::Refuse(words) => return Err(Status::unknown(words)),
            Action::Without(change) => change(&mut info),
            Action::Repeat => {
                let mut params = self.params.lock().unwrap();
                let first = params.get_or_insert_with(|| info.ticket_params.clone().unwrap());
                info.ticket_params = Some(first.clone());
            }
            Action::Ignore => std::future::pending().await,
            Action::Kill => {
                for socket in self.sockets.lock().unwrap().take().into_iter().flatten() {
                    let _ = socket.shutdown(Shutdown::Both);
                }
            }
        }
        Ok(Reply::new(info))
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
