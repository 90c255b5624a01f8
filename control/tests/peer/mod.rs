//! Orchestrators for a client to meet, on this machine: gRPC over HTTP/2, plain or TLS, each with its own answer.

#![allow(dead_code)] // each test file uses its own part

use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use control::capability::{LiveModel, Offer};
use control::tls::{self, SelfSigned};
use control::world::System;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use proto::net;
use proto::net::orchestrator_server::{Orchestrator, OrchestratorServer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Response, Status};

/// What a peer answers.
pub(crate) enum Reply {
    Info(Box<net::OrchestratorInfo>),
    Refuse(&'static str),
    Silence,
}

/// How it is reached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Plain,
    /// With these protocols to choose from.
    Tls(&'static [&'static [u8]]),
}

pub(crate) const H2: Over = Over::Tls(&[b"h2", b"http/1.1"]);

/// An orchestrator that runs until it is dropped.
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    over: Over,
    heard: Arc<Mutex<Vec<net::OrchestratorRequest>>>,
    task: JoinHandle<()>,
}

impl Peer {
    pub(crate) async fn start(over: Over, reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let heard = Arc::default();
        let script = Arc::new(Script {
            reply,
            heard: Arc::clone(&heard),
        });
        let acceptor = match over {
            Over::Plain => None,
            Over::Tls(protocols) => Some(acceptor(protocols)),
        };
        let task = tokio::spawn(accept(listener, acceptor, script));
        Self {
            addr,
            over,
            heard,
            task,
        }
    }

    /// Where it is, as one would write it.
    pub(crate) fn url(&self) -> String {
        match self.over {
            Over::Plain => format!("http://{}", self.addr),
            Over::Tls(_) => format!("https://{}", self.addr),
        }
    }

    /// What it was asked.
    pub(crate) fn heard(&self) -> Vec<net::OrchestratorRequest> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An orchestrator with one model, three places of it free and one taken, that is paid.
pub(crate) fn info(model: &str, version: &str) -> net::OrchestratorInfo {
    let models = [LiveModel {
        id: model.to_owned(),
        warm: true,
        idle: 3,
        in_use: 1,
    }];
    let models = &models;
    net::OrchestratorInfo {
        transcoder: "https://video.example.net:8935".to_owned(),
        address: vec![0x11; 20],
        price_info: Some(net::PriceInfo {
            price_per_unit: 2_400,
            pixels_per_unit: 14,
            ..Default::default()
        }),
        ticket_params: Some(net::TicketParams {
            recipient: vec![0x22; 20],
            // 10^15 wei, won half of the time.
            face_value: 1_000_000_000_000_000_u64.to_be_bytes()[1..].to_vec(),
            win_prob: vec![0x80; 32],
            ..Default::default()
        }),
        capabilities: Some(Offer { models, version }.capabilities()),
        auth_token: Some(net::AuthToken {
            token: vec![1; 32],
            session_id: "deadbeef".to_owned(),
            expiration: 1_700_000_000,
        }),
        ..Default::default()
    }
}

pub(crate) fn answers(info: net::OrchestratorInfo) -> Reply {
    Reply::Info(Box::new(info))
}

fn acceptor(protocols: &[&[u8]]) -> TlsAcceptor {
    let cert = SelfSigned::generate("video.example.net", &System).unwrap();
    let mut config = tls::server_config(cert.cert_pem.as_bytes(), cert.key_pem.as_bytes()).unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, script: Arc<Script>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, script) = (acceptor.clone(), Arc::clone(&script));
        tokio::spawn(async move {
            match acceptor {
                None => serve(stream, script).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, script).await;
                    }
                }
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, script: Arc<Script>) {
    let service = TowerToHyperService::new(OrchestratorServer::from_arc(script));
    let connection =
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
    // How a client leaves is its own affair.
    drop(connection.await);
}

struct Script {
    reply: Reply,
    heard: Arc<Mutex<Vec<net::OrchestratorRequest>>>,
}

#[tonic::async_trait]
impl Orchestrator for Script {
    async fn get_orchestrator(
        &self,
        request: Request<net::OrchestratorRequest>,
    ) -> Result<Response<net::OrchestratorInfo>, Status> {
        self.heard.lock().unwrap().push(request.into_inner());
        match &self.reply {
            Reply::Info(info) => Ok(Response::new((**info).clone())),
            Reply::Refuse(text) => Err(Status::unknown(*text)),
            Reply::Silence => pending().await,
        }
    }

    async fn end_transcoding_session(
        &self,
        request: Request<net::EndTranscodingSessionRequest>,
    ) -> Result<Response<net::EndTranscodingSessionResponse>, Status> {
        match request.into_inner().auth_token {
            Some(token) if token.session_id == "deadbeef" => {
                Ok(Response::new(net::EndTranscodingSessionResponse {}))
            }
            _ => Err(Status::unknown("Invalid auth token")),
        }
    }

    /// Sends back what came, backwards: a signature is not what is tested here.
    async fn ping(
        &self,
        request: Request<net::PingPong>,
    ) -> Result<Response<net::PingPong>, Status> {
        let mut value = request.into_inner().value;
        value.reverse();
        Ok(Response::new(net::PingPong { value }))
    }
}
