//! HTTP/2 (RFC 9113), as far as a client of unary calls needs it: bytes in, answers out.
//!
//! ```text
//!   call ──▶ HEADERS, DATA(end) ──▶ out          in ──▶ frames ──▶ HEADERS, DATA, HEADERS(end) ──▶ Answer
//!                                                        └──▶ SETTINGS, PING, WINDOW_UPDATE: answered here
//! ```
//!
//! Written for the generator alone, as [`crate::http`] is, so that a fault of a server's library is not met by the same fault here.
//!
//! Invariants:
//! - Every call ends once: answered, or lost, or with its connection.
//! - A call is sent whole or not at all: where the peer's limits leave no room for it, [`Client::call`] says so and nothing is sent.
//! - What a peer can make us keep is bounded: a frame, a block of header fields, an answer of [`BODY_BYTES_MAX`] a call.

use std::collections::BTreeMap;
use std::fmt;

mod hpack;
mod huffman;

use hpack::Decoder;
pub use hpack::Head;

/// Numbers a call on its connection: the stream's id.
pub type CallId = u32;

/// The longest body that is taken.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// The bytes are not HTTP/2, or break its rules; the connection is of no further use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no HTTP/2: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Which call.
    pub call: CallId,
    /// What came.
    pub outcome: Result<Response, Lost>,
}

/// A whole response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Fields of head and trailers, in order, names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The last field of this name: a trailer wins over the head.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter().rev();
        fields.find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }
}

/// Why a call has no answer, though its connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The peer ended it, with this error code.
    Reset(u32),
    /// The peer takes no more calls, and did not take this one.
    GoneAway,
    /// Its answer is longer than [`BODY_BYTES_MAX`].
    TooLong,
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    out: Vec<u8>,
    /// A frame that has not come whole.
    input: Vec<u8>,
    decoder: Decoder,
    calls: BTreeMap<CallId, Response>,
    next: CallId,
    calls_max: usize,
    /// Bytes that the peer takes on the whole connection.
    room: i64,
    /// And of a call, when it begins.
    call_room: i64,
    frame_bytes_max: usize,
    /// Received, and not given back as room.
    taken: u32,
    block: Option<Block>,
    is_ending: bool,
}

/// Header fields that have not come whole.
#[derive(Debug)]
struct Block {
    call: CallId,
    bytes: Vec<u8>,
    is_last: bool,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// Begins a connection: what it says first is in [`Self::take_output`].
    pub fn new() -> Self {
        let mut out = PREFACE.to_vec();
        let settings = [
            (SETTING_PUSH, 0),
            (SETTING_CALL_ROOM, CALL_ROOM),
            (SETTING_FIELDS_BYTES, FIELDS_BYTES_MAX as u32),
        ];
        put_head(&mut out, settings.len() * 6, SETTINGS, 0, 0);
        for (name, value) in settings {
            out.extend_from_slice(&u16::to_be_bytes(name));
            out.extend_from_slice(&u32::to_be_bytes(value));
        }
        put_room(&mut out, ROOM - ROOM_FIRST);
        Self {
            out,
            input: Vec::new(),
            decoder: Decoder::new(),
            calls: BTreeMap::new(),
            next: 1,
            calls_max: CALLS_FIRST,
            room: i64::from(ROOM_FIRST),
            call_room: i64::from(ROOM_FIRST),
            frame_bytes_max: FRAME_BYTES,
            taken: 0,
            block: None,
            is_ending: false,
        }
    }

    /// Calls under way, the first that was sent first.
    pub fn calls(&self) -> impl ExactSizeIterator<Item = CallId> + '_ {
        self.calls.keys().copied()
    }

    /// Whether it takes no more calls, now or later.
    pub fn is_ending(&self) -> bool {
        self.is_ending || self.next >= CALL_LAST
    }

    /// Whether a call with so long a body can be sent now.
    pub fn has_room(&self, body_bytes: usize) -> bool {
        let bytes = i64::try_from(body_bytes).unwrap_or(i64::MAX);
        !self.is_ending()
            && self.calls.len() < self.calls_max
            && bytes <= self.room.min(self.call_room)
    }

    /// Sends a call. `None`: there is no room for it now.
    pub fn call(&mut self, head: &Head, body: &[u8]) -> Option<CallId> {
        if !self.has_room(body.len()) || head.bytes().len() > self.frame_bytes_max {
            return None;
        }
        let call = self.next;
        self.next += 2;
        put_head(
            &mut self.out,
            head.bytes().len(),
            HEADERS,
            END_HEADERS,
            call,
        );
        self.out.extend_from_slice(head.bytes());
        let mut parts = body.chunks(self.frame_bytes_max).peekable();
        if body.is_empty() {
            put_head(&mut self.out, 0, DATA, END_STREAM, call);
        }
        while let Some(part) = parts.next() {
            let flags = if parts.peek().is_none() {
                END_STREAM
            } else {
                0
            };
            put_head(&mut self.out, part.len(), DATA, flags, call);
            self.out.extend_from_slice(part);
        }
        self.room -= i64::try_from(body.len()).unwrap_or(i64::MAX);
        self.calls.insert(call, Response::default());
        Some(call)
    }

    /// Gives a call up; what comes of it is passed over.
    pub fn cancel(&mut self, call: CallId) {
        if self.calls.remove(&call).is_some() {
            put_head(&mut self.out, 4, RST_STREAM, 0, call);
            self.out.extend_from_slice(&CANCEL.to_be_bytes());
        }
    }

    /// What is to be sent.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Takes what came; `answers` gets what that brings to an end.
    ///
    /// # Errors
    /// The connection is of no further use; the calls under way have no answer.
    pub fn handle_bytes(
        &mut self,
        bytes: &[u8],
        answers: &mut Vec<Answer>,
    ) -> Result<(), Malformed> {
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(bytes);
        let mut rest = &input[..];
        while let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>() {
            let length =
                usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            if length > FRAME_BYTES {
                return Err(Malformed("a frame is longer than we take"));
            }
            let Some((payload, after)) = after.split_at_checked(length) else {
                break;
            };
            let call = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & CALL_LAST;
            self.handle_frame(head[3], head[4], call, payload, answers)?;
            rest = after;
        }
        self.input = rest.to_vec();
        Ok(())
    }

    fn handle_frame(
        &mut self,
        kind: u8,
        flags: u8,
        call: CallId,
        payload: &[u8],
        answers: &mut Vec<Answer>,
    ) -> Result<(), Malformed> {
        if self.block.is_some() && kind != CONTINUATION {
            return Err(Malformed("header fields are not continued"));
        }
        match kind {
            DATA => self.handle_data(flags, call, payload, answers),
            HEADERS => {
                let mut bytes = unpad(flags, payload)?;
                if flags & PRIORITISED != 0 {
                    bytes = bytes.get(5..).ok_or(Malformed("a priority is cut"))?;
                }
                self.block = Some(Block {
                    call,
                    bytes: bytes.to_vec(),
                    is_last: flags & END_STREAM != 0,
                });
                self.handle_block_end(flags, answers)
            }
            CONTINUATION => {
                match &mut self.block {
                    Some(block) if block.call == call => block.bytes.extend_from_slice(payload),
                    _ => return Err(Malformed("nothing is to be continued")),
                }
                self.handle_block_end(flags, answers)
            }
            RST_STREAM => {
                let code = u32_of(payload)?;
                self.lose(call, Lost::Reset(code), answers);
                Ok(())
            }
            SETTINGS if flags & ACK != 0 => Ok(()),
            SETTINGS => self.handle_settings(payload),
            PUSH_PROMISE => Err(Malformed("a push, which we do not take")),
            PING if flags & ACK != 0 => Ok(()),
            PING if payload.len() == 8 => {
                put_head(&mut self.out, 8, PING, ACK, 0);
                self.out.extend_from_slice(payload);
                Ok(())
            }
            PING => Err(Malformed("a ping has eight bytes")),
            GOAWAY => {
                let last = u32_of(payload.get(..4).unwrap_or_default())? & CALL_LAST;
                self.is_ending = true;
                for call in self.calls.split_off(&last.saturating_add(1)).into_keys() {
                    answers.push(Answer {
                        call,
                        outcome: Err(Lost::GoneAway),
                    });
                }
                Ok(())
            }
            WINDOW_UPDATE => {
                let more = i64::from(u32_of(payload)? & CALL_LAST);
                // A call's own window is of no interest: calls are sent whole.
                if call == 0 {
                    self.room += more;
                }
                match self.room > i64::from(CALL_LAST) {
                    true => Err(Malformed("there is more room than there can be")),
                    false => Ok(()),
                }
            }
            // Others are to be passed over, whatever they are.
            _ => Ok(()),
        }
    }

    fn handle_data(
        &mut self,
        flags: u8,
        call: CallId,
        payload: &[u8],
        answers: &mut Vec<Answer>,
    ) -> Result<(), Malformed> {
        // What is padding takes room too.
        self.taken += payload.len() as u32;
        if self.taken >= ROOM / 2 {
            put_room(&mut self.out, self.taken);
            self.taken = 0;
        }
        let bytes = unpad(flags, payload)?;
        let Some(response) = self.calls.get_mut(&call) else {
            return Ok(());
        };
        if response.status < 200 {
            return Err(Malformed("a body comes before its head"));
        }
        if response.body.len() + bytes.len() > BODY_BYTES_MAX {
            self.cancel(call);
            answers.push(Answer {
                call,
                outcome: Err(Lost::TooLong),
            });
            return Ok(());
        }
        response.body.extend_from_slice(bytes);
        if flags & END_STREAM != 0 {
            self.complete(call, answers);
        }
        Ok(())
    }

    fn handle_block_end(&mut self, flags: u8, answers: &mut Vec<Answer>) -> Result<(), Malformed> {
        let is_too_long = |block: &Block| block.bytes.len() > FIELDS_BYTES_MAX;
        if self.block.as_ref().is_some_and(is_too_long) {
            return Err(Malformed("there are more header fields than we take"));
        }
        if flags & END_HEADERS == 0 {
            return Ok(());
        }
        let Some(Block {
            call,
            bytes,
            is_last,
        }) = self.block.take()
        else {
            return Ok(());
        };
        // Also of calls that are given up: the decoder's table is one for all.
        let mut fields = Vec::new();
        let mut status = None;
        self.decoder.decode(&bytes, |name, value| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            match name {
                b":status" => status = text(value).parse::<u16>().ok(),
                _ => fields.push((text(name), text(value))),
            }
        })?;
        let Some(response) = self.calls.get_mut(&call) else {
            return Ok(());
        };
        match (response.status < 200, status) {
            // A provisional head is passed over.
            (true, Some(100..=199)) if !is_last => return Ok(()),
            (true, Some(status @ 200..=999)) => response.status = status,
            (true, _) => return Err(Malformed("a head has no status")),
            (false, _) if !is_last => return Err(Malformed("trailers are not the end")),
            (false, _) => {}
        }
        response.fields.append(&mut fields);
        if is_last {
            self.complete(call, answers);
        }
        Ok(())
    }

    fn handle_settings(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        if !payload.len().is_multiple_of(6) {
            return Err(Malformed("a setting has six bytes"));
        }
        for setting in payload.chunks_exact(6) {
            let value = u32_of(&setting[2..])?;
            match u16::from_be_bytes([setting[0], setting[1]]) {
                SETTING_CALLS => self.calls_max = (value as usize).min(CALLS_MAX),
                SETTING_CALL_ROOM if value > CALL_LAST => {
                    return Err(Malformed("there is more room than there can be"));
                }
                SETTING_CALL_ROOM => self.call_room = i64::from(value),
                SETTING_FRAME_BYTES if value < FRAME_BYTES as u32 => {
                    return Err(Malformed("frames are shorter than they may be"));
                }
                SETTING_FRAME_BYTES => self.frame_bytes_max = FRAME_BYTES,
                _ => {}
            }
        }
        put_head(&mut self.out, 0, SETTINGS, ACK, 0);
        Ok(())
    }

    fn complete(&mut self, call: CallId, answers: &mut Vec<Answer>) {
        if let Some(response) = self.calls.remove(&call) {
            answers.push(Answer {
                call,
                outcome: Ok(response),
            });
        }
    }

    fn lose(&mut self, call: CallId, why: Lost, answers: &mut Vec<Answer>) {
        if self.calls.remove(&call).is_some() {
            answers.push(Answer {
                call,
                outcome: Err(why),
            });
        }
    }
}

/// A frame's first nine bytes.
fn put_head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, call: CallId) {
    // What we send is below 2^24.
    let [_, length @ ..] = (length as u32).to_be_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&call.to_be_bytes());
}

/// More room for the peer, on the whole connection.
fn put_room(out: &mut Vec<u8>, more: u32) {
    put_head(out, 4, WINDOW_UPDATE, 0, 0);
    out.extend_from_slice(&more.to_be_bytes());
}

fn unpad(flags: u8, payload: &[u8]) -> Result<&[u8], Malformed> {
    if flags & PADDED == 0 {
        return Ok(payload);
    }
    let (&padding, rest) = payload.split_first().ok_or(TOO_MUCH_PADDING)?;
    let length = rest.len().checked_sub(usize::from(padding));
    Ok(&rest[..length.ok_or(TOO_MUCH_PADDING)?])
}

fn u32_of(bytes: &[u8]) -> Result<u32, Malformed> {
    let bytes = bytes
        .try_into()
        .map_err(|_| Malformed("a number has four bytes"))?;
    Ok(u32::from_be_bytes(bytes))
}

const TOO_MUCH_PADDING: Malformed = Malformed("there is more padding than frame");
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITISED: u8 = 0x20;
const SETTING_PUSH: u16 = 2;
const SETTING_CALLS: u16 = 3;
const SETTING_CALL_ROOM: u16 = 4;
const SETTING_FRAME_BYTES: u16 = 5;
const SETTING_FIELDS_BYTES: u16 = 6;
const CANCEL: u32 = 8;
const CALL_LAST: u32 = 0x7fff_ffff;
/// What each side takes until it says otherwise; no one may take less of a frame.
const FRAME_BYTES: usize = 16_384;
const ROOM_FIRST: u32 = 65_535;
/// What we take: of a call as much as its answer may have, and of the connection some of those.
const CALL_ROOM: u32 = BODY_BYTES_MAX as u32;
const ROOM: u32 = 16 << 20;
const FIELDS_BYTES_MAX: usize = 64 << 10;
/// Calls at a time, before the peer has said how many: few take less.
const CALLS_FIRST: usize = 100;
const CALLS_MAX: usize = 10_000;

#[cfg(test)]
mod tests;
