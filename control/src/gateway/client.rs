//! One connection to an orchestrator, and what is asked over it.
//!
//! Invariants:
//! - It speaks HTTP/2 or it is none: over TLS the other end must have chosen `h2`, in the clear it is assumed to speak it.
//! - Connecting and every call have a deadline, which the caller sets. Dropping the future ends what it did at once.
//! - The connection's tasks are its own and end with it.
//! - No message is read beyond [`MESSAGE_BYTES_MAX`], and none that is compressed.

use std::error::Error as _;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use proto::net;
use proto::net::orchestrator_client::OrchestratorClient;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use ticket::Address;
use ticket::sender::LocalKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::Code;
use tower_service::Service;

use super::target::Target;
use crate::printable::printable;

/// The most that a message may be, either way: what go-livepeer's peers take, too.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// The most that headers and trailers may be; a refusal's text is one.
const HEADERS_BYTES_MAX: u32 = 16 << 10;
const SHOWN_CHARS: usize = 300;

/// How long an orchestrator is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Until there is a connection, TLS included.
    pub connect: Duration,
    /// Until there is a whole answer, for each call.
    pub call: Duration,
}

impl Default for Deadlines {
    /// go-livepeer's.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            call: Duration::from_secs(8),
        }
    }
}

/// Why there is no answer. What an orchestrator said is fit to be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failed {
    /// TLS has no such names.
    #[error("`{0}` is no name that TLS can ask for")]
    Name(String),
    /// Nobody is there.
    #[error("no connection: {0}")]
    Connect(#[source] io::Error),
    /// It takes too long to connect.
    #[error("no connection within {} s", .0.as_secs_f64())]
    ConnectDeadline(Duration),
    /// Somebody is there, and it is not TLS that he speaks.
    #[error("no TLS: {0}")]
    Tls(#[source] io::Error),
    /// It speaks TLS, and not HTTP/2.
    #[error("the server does not speak HTTP/2: it did not choose h2 when TLS offered it")]
    NoHttp2,
    /// The connection broke, or what came over it is not HTTP/2.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// It takes too long to answer.
    #[error("no answer within {} s", .0.as_secs_f64())]
    CallDeadline(Duration),
    /// The orchestrator says no. The text is its own, and others match it.
    #[error("refused: {0}")]
    Refused(String),
    /// There is an answer, and it is none that an orchestrator gives.
    #[error("{code}: {message}")]
    Status {
        /// What it comes down to in gRPC's terms.
        code: Code,
        /// What it says.
        message: String,
    },
}

impl Failed {
    fn of_http(error: &hyper::Error) -> Self {
        Self::Connection(printable(&with_sources(error), SHOWN_CHARS))
    }

    /// A status with a source was made on this side, of what happened to the connection.
    fn of_status(status: &tonic::Status) -> Self {
        let message = printable(status.message(), SHOWN_CHARS);
        match (status.source(), status.code()) {
            (Some(source), _) => Self::Connection(printable(&with_sources(source), SHOWN_CHARS)),
            (None, Code::Unknown) => Self::Refused(message),
            (None, code) => Self::Status { code, message },
        }
    }
}

/// The errors of hyper say what broke, and their sources how.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// The request for an orchestrator's parameters, signed by `key`; without one, that of a gateway that is off-chain and signs nothing.
///
/// What is signed is the address alone: whoever has seen the signature can show it again, so it buys nothing.
#[must_use]
pub fn request(
    key: Option<&LocalKey>,
    job: Option<net::Capabilities>,
    ignore_capacity_check: bool,
) -> net::OrchestratorRequest {
    let address = key.map_or(Address::ZERO, LocalKey::address);
    let sign = |key: &LocalKey| key.sign_text(address.checksummed().as_bytes()).to_bytes();
    net::OrchestratorRequest {
        address: address.0.to_vec(),
        sig: key.map(|key| sign(key).to_vec()).unwrap_or_default(),
        capabilities: job,
        ignore_capacity_check,
    }
}

/// See the module.
pub struct Connection {
    client: OrchestratorClient<Channel>,
    _ending: Ending,
    took: Duration,
    call_deadline: Duration,
}

impl Connection {
    /// Connects. `tls` is used where the target is `https`; its ALPN has to offer `h2`, as [`trusting`](super::trusting) does.
    ///
    /// # Errors
    /// Nobody is there in time, or he speaks something else.
    pub async fn open(
        target: &Target,
        tls: &Arc<ClientConfig>,
        deadlines: Deadlines,
    ) -> Result<Self, Failed> {
        let began = Instant::now();
        let ending = Ending::default();
        let tasks = ending.0.clone();
        let connecting = async {
            let stream = TcpStream::connect((target.host(), target.port()))
                .await
                .map_err(Failed::Connect)?;
            // Calls are small and waited for; where the option is not to be had, they are a little slower.
            drop(stream.set_nodelay(true));
            match target.is_tls() {
                true => handshake(secure(stream, target, tls).await?, tasks).await,
                false => handshake(stream, tasks).await,
            }
        };
        let sender = timeout(deadlines.connect, connecting)
            .await
            .unwrap_or(Err(Failed::ConnectDeadline(deadlines.connect)))?;
        let origin: Uri = target
            .to_string()
            .parse()
            .map_err(|_| Failed::Name(target.host().to_owned()))?;
        let client = OrchestratorClient::with_origin(Channel(sender), origin)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self {
            client,
            _ending: ending,
            took: began.elapsed(),
            call_deadline: deadlines.call,
        })
    }

    /// How long it took to connect.
    #[must_use]
    pub const fn took(&self) -> Duration {
        self.took
    }

    /// Asks what it can do, at which price, and under which parameters it takes tickets.
    ///
    /// # Errors
    /// There is no answer in time, or the answer is no.
    pub async fn orchestrator(
        &mut self,
        request: net::OrchestratorRequest,
    ) -> Result<net::OrchestratorInfo, Failed> {
        let deadline = self.call_deadline;
        within(deadline, self.client.get_orchestrator(request)).await
    }

    /// Has it sign `value`.
    ///
    /// # Errors
    /// There is no answer in time, or the answer is no.
    pub async fn ping(&mut self, value: Vec<u8>) -> Result<Vec<u8>, Failed> {
        let deadline = self.call_deadline;
        let pong = within(deadline, self.client.ping(net::PingPong { value })).await?;
        Ok(pong.value)
    }

    /// Ends the session that `token` stands for.
    ///
    /// # Errors
    /// There is no answer in time, or the answer is no.
    pub async fn end_session(&mut self, token: net::AuthToken) -> Result<(), Failed> {
        let deadline = self.call_deadline;
        let request = net::EndTranscodingSessionRequest {
            auth_token: Some(token),
        };
        within(deadline, self.client.end_transcoding_session(request)).await?;
        Ok(())
    }
}

async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Failed> {
    match timeout(deadline, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(Failed::of_status(&status)),
        Err(_) => Err(Failed::CallDeadline(deadline)),
    }
}

async fn secure(
    stream: TcpStream,
    target: &Target,
    config: &Arc<ClientConfig>,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failed> {
    let name = ServerName::try_from(target.host().to_owned())
        .map_err(|_| Failed::Name(target.host().to_owned()))?;
    let stream = TlsConnector::from(Arc::clone(config))
        .connect(name, stream)
        .await
        .map_err(Failed::Tls)?;
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Ok(stream),
        _ => Err(Failed::NoHttp2),
    }
}

type Sender = http2::SendRequest<tonic::body::Body>;

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    tasks: Tasks,
) -> Result<Sender, Failed> {
    let (sender, connection) = http2::Builder::new(tasks.clone())
        .max_header_list_size(HEADERS_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Failed::of_http(&error))?;
    tasks.execute(async move {
        // Whoever has a call on it is told by that call.
        drop(connection.await);
    });
    Ok(sender)
}

/// hyper's sender, as tonic asks for it.
struct Channel(Sender);

impl Service<Request<tonic::body::Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// What runs for one connection.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

/// Ends them when it is dropped. They hold `Tasks` themselves, so that its own end would never come.
#[derive(Default)]
struct Ending(Tasks);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.lock().abort_all();
    }
}

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, future: F) {
        let mut tasks = self.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(future);
    }
}
