//! As much of a server's HTTP/1.1 as the scripted servers need: heads, chunked bodies, and TLS below.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A connection of a client's.
pub trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// Wraps a socket in TLS, or not.
pub fn wire(stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> Box<dyn Wire> {
    match tls {
        None => Box::new(stream),
        Some(config) => {
            let connection = ServerConnection::new(config).expect("a configuration");
            Box::new(StreamOwned::new(connection, stream))
        }
    }
}

/// A configuration with a certificate of its own.
pub fn self_signed() -> Arc<ServerConfig> {
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a key");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .expect("a certificate");
    Arc::new(config)
}

/// What a client asks.
#[derive(Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
    pub is_chunked: bool,
    pub is_last: bool,
}

impl Request {
    /// The value of a field, its name in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        fields.find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }
}

/// Reads a connection, line by line and chunk by chunk.
pub struct Reading {
    buffer: Vec<u8>,
    at: usize,
}

impl Reading {
    pub fn new() -> Self {
        Self {
            buffer: Vec::new(),
            at: 0,
        }
    }

    /// The next request's head; `None` when the client is gone.
    pub fn request(&mut self, wire: &mut dyn Wire) -> io::Result<Option<Request>> {
        let Ok(first) = self.line(wire) else {
            return Ok(None);
        };
        let mut words = first.split(' ').map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            return Err(io::Error::other(format!("no request: {first:?}")));
        };
        let mut fields = Vec::new();
        loop {
            let line = self.line(wire)?;
            if let Some((name, value)) = line.split_once(':') {
                fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            if line.is_empty() {
                let has = |name: &str, front: &str| {
                    let mut fields = fields.iter();
                    fields.any(|(key, value)| {
                        key == name && value.to_ascii_lowercase().starts_with(front)
                    })
                };
                assert!(
                    has("x-loadgen", "test") || has("user-agent", "loadgen/"),
                    "{method} {path} carries no tag"
                );
                return Ok(Some(Request {
                    is_chunked: has("transfer-encoding", "chunked"),
                    is_last: has("connection", "close"),
                    method,
                    path,
                    fields,
                }));
            }
        }
    }

    /// A body of a known length.
    pub fn body(&mut self, wire: &mut dyn Wire, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() - self.at < length {
            self.more(wire)?;
        }
        let body = self.buffer[self.at..self.at + length].to_vec();
        self.at += length;
        Ok(body)
    }

    /// The next HTTP chunk; `None` at the body's end.
    pub fn chunk(&mut self, wire: &mut dyn Wire) -> io::Result<Option<Vec<u8>>> {
        let line = self.line(wire)?;
        let size = usize::from_str_radix(&line, 16).map_err(io::Error::other)?;
        while self.buffer.len() - self.at < size + 2 {
            self.more(wire)?;
        }
        let chunk = self.buffer[self.at..self.at + size].to_vec();
        self.at += size + 2;
        Ok((size > 0).then_some(chunk))
    }

    fn line(&mut self, wire: &mut dyn Wire) -> io::Result<String> {
        loop {
            let unread = &self.buffer[self.at..];
            if let Some(end) = unread.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&unread[..end]).into_owned();
                self.at += end + 2;
                return Ok(line);
            }
            self.more(wire)?;
        }
    }

    fn more(&mut self, wire: &mut dyn Wire) -> io::Result<()> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let mut room = [0; 65_536];
        match wire.read(&mut room)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.buffer.extend_from_slice(&room[..count]);
                Ok(())
            }
        }
    }
}

/// Answers with an empty body.
pub fn answer(wire: &mut dyn Wire, status: u16, fields: &str) -> io::Result<()> {
    answer_with(wire, status, fields, b"")
}

/// Answers.
pub fn answer_with(wire: &mut dyn Wire, status: u16, fields: &str, body: &[u8]) -> io::Result<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{fields}\r\n");
    wire.write_all(&[head.as_bytes(), body].concat())?;
    wire.flush()
}
