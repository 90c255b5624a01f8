//! A live stream into a node: the built-in clip, a group of pictures a segment, round and round.

#![allow(dead_code)] // each test uses a part of it

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use engine::offline::{self, Index};

const CLIP: &[u8] = include_bytes!("../../assets/clip.ts");

/// What is published where.
pub(crate) struct Stream {
    node: SocketAddr,
    manifest_id: String,
    seq: u64,
    rounds: i64,
    bytes: Vec<u8>,
    index: Index,
    /// Frames of the groups that are still to come in this round.
    groups: Vec<std::ops::Range<usize>>,
}

impl Stream {
    pub(crate) fn new(node: SocketAddr, manifest_id: &str) -> Self {
        let index = offline::index(CLIP);
        let mut stream = Self {
            node,
            manifest_id: manifest_id.to_owned(),
            seq: 0,
            rounds: 0,
            bytes: CLIP.to_vec(),
            groups: Vec::new(),
            index,
        };
        stream.groups = stream.cut();
        stream
    }

    fn cut(&self) -> Vec<std::ops::Range<usize>> {
        let frames = &self.index.frames;
        let keys: Vec<usize> = (0..frames.len()).filter(|n| frames[*n].key).collect();
        let end = |n: usize| keys.get(n + 1).copied().unwrap_or(frames.len());
        (0..keys.len()).rev().map(|n| keys[n]..end(n)).collect()
    }

    /// Publishes the next segment; the status that it is answered with.
    pub(crate) fn segment(&mut self) -> u16 {
        if self.groups.is_empty() {
            self.rounds += 1;
            let frames = &offline::index(CLIP).frames;
            let ticks = frames.last().unwrap().pts - frames[0].pts + 3_000;
            self.bytes = offline::shifted(CLIP, self.rounds * ticks).unwrap();
            self.index = offline::index(&self.bytes);
            self.groups = self.cut();
        }
        let group = self.groups.pop().unwrap();
        let from = self.index.frames[group.start].offset;
        let to = match self.index.frames.get(group.end) {
            Some(frame) => frame.offset,
            None => self.bytes.len(),
        };
        // The tables are at the clip's beginning; every segment stands alone.
        let head = &self.bytes[..self.index.frames[0].offset];
        let body = match from {
            0 => self.bytes[from..to].to_vec(),
            _ => [head, &self.bytes[from..to]].concat(),
        };
        let path = format!("/ai/trickle/{}/{}", self.manifest_id, self.seq);
        self.seq += 1;
        post(self.node, &path, &body)
    }
}

fn post(node: SocketAddr, path: &str, body: &[u8]) -> u16 {
    let mut socket = TcpStream::connect(node).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    // Who refuses early may have closed; what it said is still to be read.
    drop(
        socket
            .write_all(head.as_bytes())
            .and_then(|()| socket.write_all(body)),
    );
    let mut answer = Vec::new();
    drop(socket.read_to_end(&mut answer));
    let text = String::from_utf8_lossy(&answer);
    let last = text.split("HTTP/1.1 ").last().unwrap_or_default();
    last.split(' ')
        .next()
        .unwrap_or_default()
        .parse()
        .unwrap_or(0)
}

/// Collects what is said on an events channel, until it is gone.
pub(crate) fn events(node: SocketAddr, manifest_id: &str) -> std::thread::JoinHandle<Vec<String>> {
    let name = format!("{manifest_id}-events");
    std::thread::spawn(move || {
        let mut seen = Vec::new();
        for seq in 0.. {
            let Ok(mut socket) = TcpStream::connect(node) else {
                return seen;
            };
            drop(socket.set_read_timeout(Some(Duration::from_secs(60))));
            let head = format!(
                "GET /ai/trickle/{name}/{seq} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            );
            drop(socket.write_all(head.as_bytes()));
            let mut answer = String::new();
            drop(socket.read_to_string(&mut answer));
            if !answer.starts_with("HTTP/1.1 200") {
                return seen;
            }
            seen.push(answer);
        }
        seen
    })
}
