//! The publisher: a clip, frame by frame, when each is due, a segment a group of pictures.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use engine::offline::{self, Index};

use super::clip::{Clip, ticks_to_time};
use super::http::{Answer, Target};
use super::meter::Meter;

/// A segment is cut at the first key frame after this long.
const SEGMENT_TICKS: i64 = 90_000;
/// Time stamps on the wire have 33 bits.
const PTS_MASK: i64 = (1 << 33) - 1;

/// Publishes for `length`; returns what was sent.
pub(super) fn start(
    target: &Target,
    path: &str,
    clip: Clip,
    length: Duration,
    meter: Arc<Meter>,
    stop: Arc<AtomicBool>,
) -> JoinHandle<Result<Vec<u8>, String>> {
    let (target, path) = (target.clone(), path.to_owned());
    spawn(move || {
        let mut publisher = Publisher {
            segment: None,
            next: None,
            seq: 0,
            segment_dts: 0,
            sent: Vec::new(),
            target,
            path,
            meter,
            stop,
        };
        publisher
            .play(&clip, length)
            .and_then(|()| publisher.end())
            .map_err(|error| error.to_string())?;
        Ok(publisher.sent)
    })
}

struct Publisher {
    target: Target,
    path: String,
    meter: Arc<Meter>,
    stop: Arc<AtomicBool>,
    /// The segment being written, and the one after it, opened in advance as stock peers do.
    segment: Option<TcpStream>,
    next: Option<TcpStream>,
    seq: u64,
    segment_dts: i64,
    sent: Vec<u8>,
}

impl Publisher {
    fn play(&mut self, clip: &Clip, length: Duration) -> io::Result<()> {
        let began = Instant::now();
        let (mut bytes, mut index, mut shift) = (clip.bytes.clone(), clip.index.clone(), 0);
        let first_dts = index.frames[0].dts;
        loop {
            if !self.play_once(&bytes, &index, began, first_dts, length)? {
                return Ok(());
            }
            shift += clip.ticks();
            bytes = offline::shifted(&clip.bytes, shift)
                .map_err(io::Error::other)?
                .into();
            index = Arc::new(offline::index(&bytes));
        }
    }

    /// False when the time is over.
    fn play_once(
        &mut self,
        bytes: &[u8],
        index: &Index,
        began: Instant,
        first_dts: i64,
        length: Duration,
    ) -> io::Result<bool> {
        for (n, frame) in index.frames.iter().enumerate() {
            let due = ticks_to_time(frame.dts - first_dts);
            if due >= length || self.stop.load(Ordering::Acquire) {
                return Ok(false);
            }
            sleep((began + due).saturating_duration_since(Instant::now()));
            let begin = if n == 0 { 0 } else { frame.offset };
            let end = index
                .frames
                .get(n + 1)
                .map_or(bytes.len(), |next| next.offset);
            if self.segment.is_none()
                || (frame.key && frame.dts - self.segment_dts >= SEGMENT_TICKS)
            {
                self.begin_segment(frame.dts)?;
            }
            self.write(&bytes[begin..end])?;
            let pts = u64::try_from(frame.pts & PTS_MASK).unwrap_or(0);
            self.meter.sent(pts, Instant::now());
        }
        Ok(true)
    }

    fn open(&self, seq: u64) -> io::Result<TcpStream> {
        let mut stream = self.target.connect()?;
        let path = &self.path;
        write!(
            stream,
            "POST {path}/{seq} HTTP/1.1\r\nHost: demo\r\nContent-Type: video/mp2t\r\nTransfer-Encoding: chunked\r\n\r\n"
        )?;
        Ok(stream)
    }

    fn begin_segment(&mut self, dts: i64) -> io::Result<()> {
        let ended = self.segment.take();
        let next = match self.next.take() {
            Some(next) => next,
            None => self.open(self.seq)?,
        };
        self.segment = Some(next);
        self.segment_dts = dts;
        self.seq += 1;
        self.next = Some(self.open(self.seq)?);
        ended.map_or(Ok(()), finish)
    }

    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        let Some(stream) = &mut self.segment else {
            return Ok(());
        };
        let mut chunk = format!("{:x}\r\n", frame.len()).into_bytes();
        chunk.extend_from_slice(frame);
        chunk.extend_from_slice(b"\r\n");
        stream.write_all(&chunk)?;
        self.sent.extend_from_slice(frame);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        if let Some(segment) = self.segment.take() {
            finish(segment)?;
        }
        // The segment opened in advance will not come.
        self.next = None;
        let answer = self.target.ask("DELETE", &self.path, "")?;
        match answer.status {
            200 => Ok(()),
            status => Err(io::Error::other(format!(
                "DELETE of the input was answered {status}"
            ))),
        }
    }
}

fn finish(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(b"0\r\n\r\n")?;
    let answer = Answer::read(stream)?;
    match answer.status {
        200 => Ok(()),
        status => Err(io::Error::other(format!("a segment was answered {status}"))),
    }
}
