//! The half of an orchestrator's port that speaks gRPC: the generated server of the crate `proto`, on hyper, as our own and no one
//! else's of the generator's code.

use std::io;
use std::net::TcpStream;
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use proto::net::orchestrator_server::{Orchestrator, OrchestratorServer};
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;

/// Whether what a client says first is the beginning of HTTP/2. Nothing is taken from the connection.
pub fn is_grpc(stream: &TcpStream, is_tls: bool) -> io::Result<bool> {
    let mut room = [0; 16_384];
    loop {
        let count = stream.peek(&mut room)?;
        let said = &room[..count];
        if !is_tls && count >= 3 || count == 0 {
            return Ok(said.starts_with(b"PRI"));
        }
        if is_tls {
            let mut acceptor = Acceptor::default();
            acceptor.read_tls(&mut &said[..])?;
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let hello = accepted.client_hello();
                    let mut offered = hello.alpn().into_iter().flatten();
                    return Ok(offered.any(|protocol| protocol == b"h2"));
                }
                Err((error, _)) => return Err(io::Error::other(error)),
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Serves a connection until its end, on threads of its own.
pub fn serve<S: Orchestrator>(
    stream: TcpStream,
    tls: Option<&ServerConfig>,
    service: Arc<S>,
) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let _within = RUNTIME.enter();
    let stream = tokio::net::TcpStream::from_std(stream)?;
    match tls {
        None => drop(RUNTIME.spawn(attend(stream, service))),
        Some(config) => {
            let mut config = config.clone();
            config.alpn_protocols = vec![b"h2".to_vec()];
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
            RUNTIME.spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    attend(stream, service).await;
                }
            });
        }
    }
    Ok(())
}

async fn attend<S: Orchestrator>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: Arc<S>,
) {
    let service = TowerToHyperService::new(OrchestratorServer::from_arc(service));
    // A client may go as it likes.
    let _ = http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
});
