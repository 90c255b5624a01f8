//! A small trickle server on threads that block: enough to test the load with, and simple before it is fast.
//!
//! It knows explicit creation, publishing in chunks, subscribing from the first byte on, and deletion. It keeps every
//! segment for ever, and a thread a connection.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// What a server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vice {
    /// Nothing.
    None,
    /// Flips a bit in the eighth chunk of a segment.
    Flips,
    /// Leaves the eighth chunk of a segment out.
    Skips,
    /// Knows no channel that was not there before.
    CreatesNothing,
    /// Drops a subscriber after seven chunks of a segment.
    Hangs,
}

/// Chunks by channel and number of the segment; an empty chunk ends it.
type Segments = HashMap<(String, u64), Vec<Arc<Vec<u8>>>>;

#[derive(Clone)]
struct Server {
    state: Arc<(Mutex<Segments>, Condvar)>,
    vice: Vice,
}

/// Serves until the process ends; gives the address.
pub(crate) fn trickle(vice: Vice) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = Server {
        state: Arc::default(),
        vice,
    };
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let server = server.clone();
            // A connection that breaks is the client's business.
            thread::spawn(move || server.serve(&stream));
        }
    });
    addr
}

impl Server {
    fn serve(&self, stream: &TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        let mut writer = stream;
        loop {
            let mut request = String::new();
            if reader.read_line(&mut request)? == 0 {
                return Ok(());
            }
            let mut header = String::new();
            while header != "\r\n" {
                header.clear();
                reader.read_line(&mut header)?;
            }
            let mut words = request.split(' ');
            let (method, path) = (words.next().unwrap(), words.next().unwrap());
            let segment = path
                .rsplit_once('/')
                .and_then(|(name, seq)| Some((name.to_owned(), seq.parse().ok()?)));
            match (method, segment) {
                ("POST", Some(key)) => {
                    self.publish(&mut reader, key)?;
                    write!(
                        writer,
                        "HTTP/1.1 200 OK\r\nLp-Trickle-Seq: 0\r\nContent-Length: 0\r\n\r\n"
                    )?;
                }
                ("GET", Some(key)) => self.subscribe(&mut writer, key)?,
                _ if self.vice == Vice::CreatesNothing => {
                    write!(
                        writer,
                        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
                    )?;
                }
                _ => write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?,
            }
        }
    }

    fn publish(&self, reader: &mut impl BufRead, key: (String, u64)) -> Result<()> {
        let (segments, changed) = &*self.state;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk)?;
            chunk.truncate(size);
            let mut segments = segments.lock().unwrap();
            segments
                .entry(key.clone())
                .or_default()
                .push(Arc::new(chunk));
            changed.notify_all();
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn subscribe(&self, writer: &mut impl Write, key: (String, u64)) -> Result<()> {
        let mut at = 0;
        loop {
            let mut chunk = self.wait_for(&key, at);
            if at == 0 {
                write!(
                    writer,
                    "HTTP/1.1 200 OK\r\nLp-Trickle-Seq: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
                    key.1
                )?;
            }
            match self.vice {
                Vice::Flips if at == 7 => Arc::make_mut(&mut chunk)[100] ^= 1,
                Vice::Hangs if at == 7 => return Err(std::io::ErrorKind::BrokenPipe.into()),
                _ => {}
            }
            if !(self.vice == Vice::Skips && at == 7) {
                write!(writer, "{:x}\r\n", chunk.len())?;
                writer.write_all(&chunk)?;
                writer.write_all(b"\r\n")?;
            }
            if chunk.is_empty() {
                return Ok(());
            }
            at += 1;
        }
    }

    fn wait_for(&self, key: &(String, u64), at: usize) -> Arc<Vec<u8>> {
        let (segments, changed) = &*self.state;
        let mut segments = segments.lock().unwrap();
        loop {
            if let Some(chunk) = segments.get(key).and_then(|chunks| chunks.get(at)) {
                return chunk.clone();
            }
            segments = changed.wait(segments).unwrap();
        }
    }
}
