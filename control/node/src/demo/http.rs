//! The little of HTTP that a gateway speaks to an orchestrator, blocking, over one socket a request.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

/// Longer than any answer takes, shorter than anyone's patience.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the orchestrator listens.
#[derive(Debug, Clone)]
pub(super) struct Target {
    addr: SocketAddr,
}

/// A session as the orchestrator described it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) manifest_id: String,
    pub(super) publish_path: String,
    pub(super) subscribe_path: String,
}

/// An answer whose body is still to be read.
pub(super) struct Answer {
    pub(super) status: u16,
    fields: Vec<(String, String)>,
    body: BufReader<TcpStream>,
}

impl Target {
    pub(super) fn new(addr: SocketAddr) -> Self {
        Self { addr }
    }

    pub(super) fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.addr, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Sends a whole request and reads the answer's head.
    pub(super) fn ask(&self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let mut stream = self.connect()?;
        let (host, length) = (self.addr, body.len());
        let content = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/json\r\n"
        };
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{content}Content-Length: {length}\r\n\r\n{body}"
        )?;
        Answer::read(stream)
    }
}

impl Answer {
    pub(super) fn read(stream: TcpStream) -> io::Result<Self> {
        let mut body = BufReader::with_capacity(64 << 10, stream);
        loop {
            let line = read_line(&mut body)?;
            let status = line
                .split(' ')
                .nth(1)
                .and_then(|status| status.parse().ok());
            let status: u16 = status.ok_or_else(|| bad(format!("not a status line: {line:?}")))?;
            let mut fields = Vec::new();
            loop {
                let line = read_line(&mut body)?;
                match line.split_once(':') {
                    Some((name, value)) => {
                        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()))
                    }
                    None => break,
                }
            }
            // Provisional answers come before the real one.
            if status >= 200 {
                return Ok(Self {
                    status,
                    fields,
                    body,
                });
            }
        }
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| &**value)
    }

    /// Reads the body piece by piece, as it comes.
    pub(super) fn each_piece(mut self, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        if self
            .field("transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
        {
            let mut piece = Vec::new();
            loop {
                let line = read_line(&mut self.body)?;
                let size = usize::from_str_radix(line.trim(), 16)
                    .map_err(|_| bad(format!("not a chunk size: {line:?}")))?;
                piece.resize(size + 2, 0);
                self.body.read_exact(&mut piece)?;
                if size == 0 {
                    return Ok(());
                }
                take(&piece[..size]);
            }
        }
        let length: u64 = self
            .field("content-length")
            .and_then(|length| length.parse().ok())
            .unwrap_or(u64::MAX);
        let mut piece = [0; 16 << 10];
        let mut body = self.body.take(length);
        loop {
            match body.read(&mut piece)? {
                0 => return Ok(()),
                n => take(&piece[..n]),
            }
        }
    }

    fn text(self) -> io::Result<String> {
        let mut text = Vec::new();
        self.each_piece(|piece| text.extend_from_slice(piece))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// Starts a live session.
pub(super) fn start_session(target: &Target, model: &str) -> Result<Session, String> {
    let request = json!({ "model_id": model, "params": {}, "gateway_request_id": "demo", "stream_id": "demo" });
    let answer = target
        .ask("POST", "/live-video-to-video", &request.to_string())
        .map_err(|error| error.to_string())?;
    let status = answer.status;
    let text = answer.text().map_err(|error| error.to_string())?;
    if status != 200 {
        return Err(format!("{status}: {}", text.trim()));
    }
    let body: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let path = |key: &str| {
        let url = body[key].as_str().unwrap_or("");
        // The URLs are absolute; only the path matters to someone who is connected already.
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        rest.find('/')
            .map(|slash| rest[slash..].to_owned())
            .ok_or_else(|| format!("no {key} in {text}"))
    };
    Ok(Session {
        manifest_id: body["manifest_id"].as_str().unwrap_or("").to_owned(),
        publish_path: path("publish_url")?,
        subscribe_path: path("subscribe_url")?,
    })
}

/// Reads a JSON resource.
pub(super) fn get_json(target: &Target, path: &str) -> Result<Value, String> {
    let answer = target
        .ask("GET", path, "")
        .map_err(|error| error.to_string())?;
    match answer.status {
        200 => serde_json::from_str(&answer.text().map_err(|error| error.to_string())?)
            .map_err(|error| error.to_string()),
        status => Err(format!("status {status}")),
    }
}

fn read_line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if from.take(16 << 10).read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.trim_end().len());
    Ok(line)
}

fn bad(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
