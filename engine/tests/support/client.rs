//! A blocking HTTP/1.1 client that hides nothing: heads are sent as text, and an end is told from a reset.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// How long a client waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection.
pub(crate) struct Client {
    io: Io,
    /// Received and not yet looked at.
    inbox: Vec<u8>,
    /// Payload taken out of chunks and not yet asked for.
    payload: Vec<u8>,
    framing: Framing,
    /// Provisional responses seen.
    pub(crate) continues: usize,
}

enum Io {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// How the body being read is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Chunked,
    Sized(usize),
    ToEnd,
    Over,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The server said goodbye: FIN, and under TLS its alert before that.
    Clean,
    /// FIN without TLS's goodbye.
    Truncated,
    /// RST.
    Reset,
    /// It has not ended.
    Open,
}

enum Fill {
    Bytes,
    End(End),
}

/// A response head.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// The status line and fields as they came.
    pub(crate) text: String,
}

/// A whole response.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Client {
    /// Connects; with `tls`, shakes hands when the first byte is sent or asked for.
    pub(crate) fn connect(addr: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Self {
        let tcp = TcpStream::connect(addr).expect("the server listens");
        tcp.set_nodelay(true).expect("nodelay");
        tcp.set_write_timeout(Some(PATIENCE))
            .expect("a write timeout");
        let io = match tls {
            None => Io::Plain(tcp),
            Some(config) => {
                // By address, so that no server name is sent.
                let session =
                    ClientConnection::new(config.clone(), addr.ip().into()).expect("a session");
                Io::Tls(Box::new(StreamOwned::new(session, tcp)))
            }
        };
        Self {
            io,
            inbox: Vec::new(),
            payload: Vec::new(),
            framing: Framing::Over,
            continues: 0,
        }
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        match &self.io {
            Io::Plain(tcp) => tcp,
            Io::Tls(tls) => &tls.sock,
        }
    }

    /// The TLS session, if there is one.
    pub(crate) fn session(&self) -> Option<&ClientConnection> {
        match &self.io {
            Io::Plain(_) => None,
            Io::Tls(tls) => Some(&tls.conn),
        }
    }

    // === sending ===

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the server reads");
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        match &mut self.io {
            Io::Plain(tcp) => tcp.write_all(bytes.as_ref()),
            Io::Tls(tls) => tls.write_all(bytes.as_ref()).and_then(|()| tls.flush()),
        }
    }

    /// Sends one chunk of a chunked body, in one write.
    pub(crate) fn chunk(&mut self, payload: impl AsRef<[u8]>) {
        let payload = payload.as_ref();
        let mut wire = format!("{:x}\r\n", payload.len()).into_bytes();
        wire.extend_from_slice(payload);
        wire.extend_from_slice(b"\r\n");
        self.send(wire);
    }

    /// Ends a chunked body.
    pub(crate) fn end_chunks(&mut self) {
        self.send("0\r\n\r\n");
    }

    /// Ends a chunked body and reads the answer.
    pub(crate) fn finish(&mut self) -> Response {
        self.end_chunks();
        self.response()
    }

    /// Vanishes with FIN, without TLS's goodbye.
    pub(crate) fn vanish(self) {
        let _ = self.tcp().shutdown(Shutdown::Both);
    }

    /// Vanishes with RST.
    pub(crate) fn reset(self) {
        rustix::net::sockopt::set_socket_linger(self.tcp(), Some(Duration::ZERO))
            .expect("linger 0");
    }

    // === receiving ===

    /// Reads the final response head; provisional ones before it are counted.
    pub(crate) fn head(&mut self) -> Head {
        self.head_within(PATIENCE).expect("a response head in time")
    }

    /// As [`Client::head`], or `None` when it does not come in time.
    pub(crate) fn head_within(&mut self, time: Duration) -> Option<Head> {
        let until = Instant::now() + time;
        loop {
            let head = self.any_head(until)?;
            if head.status == 100 {
                assert_eq!(
                    head.text, "HTTP/1.1 100 Continue\r\n\r\n",
                    "a provisional response carries nothing"
                );
                self.continues += 1;
                continue;
            }
            self.framing = match head.get("Content-Length") {
                Some(len) => Framing::Sized(len.parse().expect("a length")),
                None if head.get("Transfer-Encoding") == Some("chunked") => Framing::Chunked,
                None => Framing::ToEnd,
            };
            return Some(head);
        }
    }

    /// Waits for a `100 Continue` and nothing else: the server has taken the request.
    pub(crate) fn await_continue(&mut self) {
        self.await_continue_within(PATIENCE);
    }

    /// As [`Client::await_continue`], for one that is not due at once.
    pub(crate) fn await_continue_within(&mut self, time: Duration) {
        let head = self
            .any_head(Instant::now() + time)
            .expect("a provisional response");
        assert_eq!(head.status, 100, "{head:?}");
        self.continues += 1;
    }

    fn any_head(&mut self, until: Instant) -> Option<Head> {
        loop {
            if let Some(at) = self.inbox.windows(4).position(|w| w == b"\r\n\r\n") {
                let text: Vec<u8> = self.inbox.drain(..at + 4).collect();
                return Some(Head::parse(
                    String::from_utf8(text).expect("a head is text"),
                ));
            }
            match self.fill(until) {
                Fill::Bytes => {}
                Fill::End(End::Open) => return None,
                Fill::End(end) => panic!(
                    "the connection ended ({end:?}) before a head; had {:?}",
                    self.inbox
                ),
            }
        }
    }

    /// Reads one whole response.
    pub(crate) fn response(&mut self) -> Response {
        let head = self.head();
        let body = self.rest();
        Response { head, body }
    }

    /// Reads the next chunk as the server cut it, or `None` at the clean end of the body.
    pub(crate) fn next_chunk(&mut self) -> Option<Vec<u8>> {
        assert_eq!(self.framing, Framing::Chunked);
        let line = self.line();
        let size = usize::from_str_radix(&line, 16)
            .unwrap_or_else(|_| panic!("a chunk size line: {line:?}"));
        let chunk = self.exactly(size);
        assert_eq!(self.line(), "", "a chunk ends with CR LF");
        if size == 0 {
            self.framing = Framing::Over;
            return None;
        }
        Some(chunk)
    }

    /// Reads `n` bytes of payload, however they are chunked.
    pub(crate) fn payload(&mut self, n: usize) -> Vec<u8> {
        while self.payload.len() < n {
            match self.framing {
                Framing::Chunked => match self.next_chunk() {
                    Some(chunk) => self.payload.extend_from_slice(&chunk),
                    None => panic!("the body ended after {} of {n} bytes", self.payload.len()),
                },
                _ => {
                    let missing = n - self.payload.len();
                    let bytes = self.exactly(missing);
                    self.payload.extend_from_slice(&bytes);
                }
            }
        }
        self.payload.drain(..n).collect()
    }

    /// Reads the body to its clean end. A truncated one panics.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut body = std::mem::take(&mut self.payload);
        match self.framing {
            Framing::Chunked => {
                while let Some(chunk) = self.next_chunk() {
                    body.extend_from_slice(&chunk);
                }
            }
            Framing::Sized(n) => body.extend_from_slice(&self.exactly(n)),
            Framing::ToEnd => {
                assert_eq!(self.end(), End::Clean);
                body.append(&mut self.inbox);
            }
            Framing::Over => {}
        }
        self.framing = Framing::Over;
        body
    }

    /// Reads whatever is at hand or comes next, raw. Empty at the end.
    pub(crate) fn raw(&mut self) -> Vec<u8> {
        if self.inbox.is_empty() {
            let _ = self.fill(Instant::now() + PATIENCE);
        }
        std::mem::take(&mut self.inbox)
    }

    /// Nothing comes for a while, and the connection stays up.
    #[track_caller]
    pub(crate) fn assert_silent(&mut self, time: Duration) {
        assert!(
            self.inbox.is_empty(),
            "unexpected: {:?}",
            String::from_utf8_lossy(&self.inbox)
        );
        match self.fill(Instant::now() + time) {
            Fill::End(End::Open) => {}
            Fill::End(end) => panic!("expected silence, the connection ended: {end:?}"),
            Fill::Bytes => panic!(
                "expected silence, got {:?}",
                String::from_utf8_lossy(&self.inbox)
            ),
        }
    }

    /// Reads until the connection ends, and says how it did.
    pub(crate) fn end(&mut self) -> End {
        self.end_within(PATIENCE)
    }

    /// Reads until the connection ends or the time is up.
    pub(crate) fn end_within(&mut self, time: Duration) -> End {
        let until = Instant::now() + time;
        loop {
            if let Fill::End(end) = self.fill(until) {
                return end;
            }
        }
    }

    fn line(&mut self) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.inbox.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.inbox.drain(..at + 2).collect();
                return String::from_utf8_lossy(&line[..at]).into_owned();
            }
            self.more(until);
        }
    }

    fn exactly(&mut self, n: usize) -> Vec<u8> {
        let until = Instant::now() + PATIENCE;
        while self.inbox.len() < n {
            self.more(until);
        }
        self.inbox.drain(..n).collect()
    }

    fn more(&mut self, until: Instant) {
        if let Fill::End(end) = self.fill(until) {
            panic!(
                "the body stopped short: {end:?}, {} bytes at hand",
                self.inbox.len()
            );
        }
    }

    fn fill(&mut self, until: Instant) -> Fill {
        let mut bytes = [0; 64 << 10];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            self.tcp()
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))
                .expect("a read timeout");
            let outcome = match &mut self.io {
                Io::Plain(tcp) => tcp.read(&mut bytes),
                Io::Tls(tls) => tls.read(&mut bytes),
            };
            return match outcome {
                Ok(0) => Fill::End(End::Clean),
                Ok(n) => {
                    self.inbox.extend_from_slice(&bytes[..n]);
                    Fill::Bytes
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    ErrorKind::WouldBlock | ErrorKind::TimedOut if Instant::now() < until => {
                        continue;
                    }
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => Fill::End(End::Open),
                    ErrorKind::UnexpectedEof => Fill::End(End::Truncated),
                    ErrorKind::ConnectionReset
                    | ErrorKind::BrokenPipe
                    | ErrorKind::ConnectionAborted => Fill::End(End::Reset),
                    _ => panic!("{error}"),
                },
            };
        }
    }
}

impl Head {
    fn parse(text: String) -> Self {
        let status = text
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok());
        Self {
            status: status.unwrap_or_else(|| panic!("a status line: {text:?}")),
            text,
        }
    }

    /// A field by its exact name, in the case that peers were promised.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.text
            .split("\r\n")
            .skip(1)
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Asserts one field's value, or with `None` its absence in any case.
    #[track_caller]
    pub(crate) fn has(&self, name: &str, value: Option<&str>) -> &Self {
        assert_eq!(self.get(name), value, "{name} in {}", self.text);
        if value.is_none() {
            let like = format!("\r\n{}:", name.to_ascii_lowercase());
            assert!(
                !self.text.to_ascii_lowercase().contains(&like),
                "{name} in {}",
                self.text
            );
        }
        self
    }

    /// Asserts the status.
    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Asserts `Lp-Trickle-Seq`.
    #[track_caller]
    pub(crate) fn seq(&self, seq: i64) -> &Self {
        self.has("Lp-Trickle-Seq", Some(&seq.to_string()))
    }

    /// Asserts `Lp-Trickle-Latest`.
    #[track_caller]
    pub(crate) fn latest(&self, latest: u64) -> &Self {
        self.has("Lp-Trickle-Latest", Some(&latest.to_string()))
    }

    /// Asserts whether the channel is said to be over.
    #[track_caller]
    pub(crate) fn closed(&self, closed: bool) -> &Self {
        self.has("Lp-Trickle-Closed", closed.then_some("terminated"))
    }

    /// Asserts `Connection: close`.
    #[track_caller]
    pub(crate) fn closes(&self) -> &Self {
        self.has("Connection", Some("close"))
    }
}

impl Response {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Asserts an answer in the form of Go's `http.Error`.
    #[track_caller]
    pub(crate) fn is_error(&self, status: u16, message: &str) -> &Self {
        self.head
            .is(status)
            .has("Content-Type", Some("text/plain; charset=utf-8"))
            .has("X-Content-Type-Options", Some("nosniff"));
        assert_eq!(self.text(), format!("{message}\n"));
        self
    }

    /// Asserts 470 with the head as `latest` and the number as it was asked for.
    #[track_caller]
    pub(crate) fn is_missing(&self, latest: u64, seq: i64) -> &Self {
        self.head.is(470).latest(latest).seq(seq).closed(false);
        assert_eq!(self.text(), "Entry not found");
        self
    }
}
