//! HTTP/1.1 responses, taken apart as they arrive.
//!
//! Written for the generator alone and shared with no server, so that a fault in one is not hidden by the same fault in the
//! other. It is strict: what is not plainly right is an error with the line that was wrong.

use std::fmt;

/// A response's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Status code.
    pub status: u16,
    /// Whether the connection can carry another request.
    pub is_keep_alive: bool,
    /// `Lp-Trickle-Seq`, when there is one.
    pub seq: Option<i64>,
    /// `Lp-Trickle-Latest`, when there is one.
    pub latest: Option<i64>,
    /// Whether `Lp-Trickle-Closed` is there.
    pub is_closed: bool,
}

/// What the bytes said.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// The head of the final response; provisional ones are passed over.
    Head(Head),
    /// More of the body.
    Body(&'a [u8]),
    /// The response is complete. The parser awaits the next one.
    End,
}

/// Why bytes are not a response.
#[derive(Debug)]
pub struct Malformed {
    what: &'static str,
    line: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {:?}", self.what, self.line)
    }
}

impl std::error::Error for Malformed {}

/// The state of one connection's responses, named for what it awaits.
#[derive(Debug, Default)]
pub struct Responses {
    expect: Expect,
    line: Vec<u8>,
    head: Option<PartialHead>,
    /// Of the head that was last begun, when somebody asks for them.
    fields: Option<Vec<(String, String)>>,
    fields_bytes: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Expect {
    #[default]
    HeadLine,
    Body(u64),
    /// A body that ends with the connection.
    Rest,
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    TrailerLine,
    End,
}

#[derive(Debug)]
struct PartialHead {
    head: Head,
    length: Option<u64>,
    is_chunked: bool,
}

impl Responses {
    /// Responses whose heads are kept with all their fields, for [`Self::take_fields`].
    pub fn with_fields() -> Self {
        Self {
            fields: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// The fields of the last head, names in lower case. Empty unless they are kept.
    pub fn take_fields(&mut self) -> Vec<(String, String)> {
        self.fields.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes what it can from the front of `input` and says what it was; `None` when it needs more.
    ///
    /// # Errors
    /// The bytes are not a response of HTTP/1.1 or 1.0; the connection is of no further use.
    pub fn handle_bytes<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<Part<'a>>, Malformed> {
        loop {
            match self.expect {
                Expect::HeadLine => {
                    let Some(line) = self.take_line(input)? else {
                        return Ok(None);
                    };
                    if let Some(head) = self.handle_head_line(&line)? {
                        return Ok(Some(Part::Head(head)));
                    }
                }
                Expect::Body(0) | Expect::End => {
                    self.expect = Expect::HeadLine;
                    return Ok(Some(Part::End));
                }
                Expect::Body(left) => {
                    let Some(body) = take(input, left) else {
                        return Ok(None);
                    };
                    self.expect = Expect::Body(left - body.len() as u64);
                    return Ok(Some(Part::Body(body)));
                }
                Expect::Rest => return Ok(take(input, u64::MAX).map(Part::Body)),
                Expect::ChunkSize => {
                    let Some(size) = self.take_line_as(input, chunk_size)? else {
                        return Ok(None);
                    };
                    self.expect = if size == 0 {
                        Expect::TrailerLine
                    } else {
                        Expect::Chunk(size)
                    };
                }
                Expect::Chunk(left) => {
                    let Some(body) = take(input, left) else {
                        return Ok(None);
                    };
                    let left = left - body.len() as u64;
                    self.expect = if left == 0 {
                        Expect::ChunkEnd
                    } else {
                        Expect::Chunk(left)
                    };
                    return Ok(Some(Part::Body(body)));
                }
                Expect::ChunkEnd => {
                    let Some(line) = self.take_line(input)? else {
                        return Ok(None);
                    };
                    if !line.is_empty() {
                        return Err(malformed("a chunk is longer than its size", &line));
                    }
                    self.expect = Expect::ChunkSize;
                }
                Expect::TrailerLine => {
                    let Some(line) = self.take_line(input)? else {
                        return Ok(None);
                    };
                    if line.is_empty() {
                        self.expect = Expect::End;
                    }
                }
            }
        }
    }

    /// The connection has ended. [`Part::End`] when that was the end of a body; `None` between two responses.
    ///
    /// # Errors
    /// It was within a response.
    pub fn handle_end(&mut self) -> Result<Option<Part<'static>>, Malformed> {
        if matches!(self.expect, Expect::Rest | Expect::Body(0) | Expect::End) {
            self.expect = Expect::HeadLine;
            return Ok(Some(Part::End));
        }
        if self.is_within() {
            return Err(malformed(
                "the connection ended within a response",
                &String::from_utf8_lossy(&self.line),
            ));
        }
        Ok(None)
    }

    /// Whether a response was begun and not ended.
    pub fn is_within(&self) -> bool {
        self.expect != Expect::HeadLine || self.head.is_some() || !self.line.is_empty()
    }

    /// Handles a line of a head; gives the head at its end.
    fn handle_head_line(&mut self, line: &str) -> Result<Option<Head>, Malformed> {
        let Some(partial) = &mut self.head else {
            let mut words = line.split(' ');
            let (is_keep_alive, status) = match (words.next(), words.next()) {
                (Some("HTTP/1.1"), Some(code)) => (true, code.parse().ok()),
                (Some("HTTP/1.0"), Some(code)) => (false, code.parse().ok()),
                _ => (false, None),
            };
            let status = status.ok_or_else(|| malformed("no status line", line))?;
            if let Some(fields) = &mut self.fields {
                fields.clear();
                self.fields_bytes = 0;
            }
            let head = Head {
                status,
                is_keep_alive,
                seq: None,
                latest: None,
                is_closed: false,
            };
            self.head = Some(PartialHead {
                head,
                length: None,
                is_chunked: false,
            });
            return Ok(None);
        };
        if !line.is_empty() {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| malformed("no colon", line))?;
            partial
                .handle_field(name, value.trim())
                .map_err(|what| malformed(what, line))?;
            if let Some(fields) = &mut self.fields {
                self.fields_bytes += line.len();
                if self.fields_bytes > FIELDS_BYTES_MAX {
                    return Err(malformed("a head without an end", name));
                }
                fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            return Ok(None);
        }
        let Some(PartialHead {
            head,
            length,
            is_chunked,
        }) = self.head.take()
        else {
            return Ok(None);
        };
        if (100..200).contains(&head.status) {
            return Ok(None);
        }
        self.expect = match (is_chunked, length) {
            (true, _) => Expect::ChunkSize,
            (false, Some(length)) => Expect::Body(length),
            (false, None) if matches!(head.status, 204 | 304) => Expect::End,
            (false, None) if !head.is_keep_alive => Expect::Rest,
            (false, None) => {
                return Err(malformed(
                    "neither a length nor chunks",
                    &head.status.to_string(),
                ));
            }
        };
        Ok(Some(head))
    }

    /// A line without its end; `None` while it has none.
    fn take_line(&mut self, input: &mut &[u8]) -> Result<Option<String>, Malformed> {
        self.take_line_as(input, |line| Ok(line.to_owned()))
    }

    /// What `parse` makes of a line without its end; `None` while it has none. A line that comes in one piece, as nearly all do, is
    /// not copied.
    fn take_line_as<T>(
        &mut self,
        input: &mut &[u8],
        parse: impl FnOnce(&str) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        let end = input.iter().position(|&byte| byte == b'\n');
        let (taken, rest) = input.split_at(end.map_or(input.len(), |end| end + 1));
        *input = rest;
        if end.is_some_and(|end| end < LINE_BYTES_MAX) && self.line.is_empty() {
            return whole_line(taken).and_then(parse).map(Some);
        }
        self.line.extend_from_slice(taken);
        if self.line.len() > LINE_BYTES_MAX {
            return Err(malformed(
                "a line without an end",
                &String::from_utf8_lossy(&self.line[..80]),
            ));
        }
        if end.is_none() {
            return Ok(None);
        }
        let parsed = whole_line(&self.line).and_then(parse)?;
        self.line.clear();
        Ok(Some(parsed))
    }
}

/// The number of a chunk-size line, whatever extensions follow it.
fn chunk_size(line: &str) -> Result<u64, Malformed> {
    let digits = line.split(';').next().unwrap_or("").trim();
    u64::from_str_radix(digits, 16).map_err(|_| malformed("no chunk size", line))
}

/// The text of a line, without its end.
fn whole_line(bytes: &[u8]) -> Result<&str, Malformed> {
    let wrong = |what| {
        malformed(
            what,
            &String::from_utf8_lossy(&bytes[..bytes.len().min(80)]),
        )
    };
    let line = bytes
        .strip_suffix(b"\r\n")
        .ok_or_else(|| wrong("no CR before LF"))?;
    std::str::from_utf8(line).map_err(|_| wrong("a line that is not text"))
}

impl PartialHead {
    fn handle_field(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        match name.to_ascii_lowercase().as_str() {
            "content-length" => self.length = Some(value.parse().map_err(|_| "not a length")?),
            "transfer-encoding" => self.is_chunked = value.eq_ignore_ascii_case("chunked"),
            "connection" => {
                for option in value.split(',').map(str::trim) {
                    if option.eq_ignore_ascii_case("close") {
                        self.head.is_keep_alive = false;
                    } else if option.eq_ignore_ascii_case("keep-alive") {
                        self.head.is_keep_alive = true;
                    }
                }
            }
            "lp-trickle-seq" => self.head.seq = Some(value.parse().map_err(|_| "not a number")?),
            "lp-trickle-latest" => {
                self.head.latest = Some(value.parse().map_err(|_| "not a number")?);
            }
            "lp-trickle-closed" => self.head.is_closed = true,
            _ => {}
        }
        Ok(())
    }
}

fn take<'a>(input: &mut &'a [u8], limit: u64) -> Option<&'a [u8]> {
    let count = input
        .len()
        .min(usize::try_from(limit).unwrap_or(usize::MAX));
    let (taken, rest) = input.split_at(count);
    *input = rest;
    (count > 0).then_some(taken)
}

fn malformed(what: &'static str, line: &str) -> Malformed {
    Malformed {
        what,
        line: line.to_owned(),
    }
}

const LINE_BYTES_MAX: usize = 8 << 10;
const FIELDS_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// What a stream says, with body parts joined, when it comes `step` bytes at a time.
    fn parse(bytes: &[u8], step: usize) -> Result<Vec<(u16, Vec<u8>)>, Malformed> {
        let (mut responses, mut all) = (Responses::default(), Vec::new());
        let (mut status, mut body) = (0, Vec::new());
        for mut part in bytes.chunks(step) {
            while let Some(part) = responses.handle_bytes(&mut part)? {
                match part {
                    Part::Head(head) => status = head.status,
                    Part::Body(more) => body.extend_from_slice(more),
                    Part::End => all.push((status, std::mem::take(&mut body))),
                }
            }
        }
        assert!(!responses.is_within());
        Ok(all)
    }

    #[test]
    fn any_cut_gives_the_same_responses() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            5\r\nhello\r\n1;x=y\r\n,\r\nA\r\n worldwide\r\n0\r\nTrailer: 1\r\n\r\n\
            HTTP/1.1 470 \r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        for step in 1..bytes.len() {
            let got = parse(bytes, step).unwrap();
            let want = vec![
                (200, b"hello, worldwide".to_vec()),
                (470, b"abc".to_vec()),
                (200, Vec::new()),
            ];
            assert_eq!(got, want, "step {step}");
        }
    }

    #[test]
    fn a_head_says_what_trickle_needs() {
        let mut bytes: &[u8] =
            b"HTTP/1.1 200 OK\r\nLp-Trickle-Seq: 7\r\nLp-Trickle-Latest: 9\r\nLP-TRICKLE-CLOSED: terminated\r\n\
            Connection: close\r\nContent-Length: 0\r\n\r\n";
        let head = Responses::default().handle_bytes(&mut bytes).unwrap();
        assert_eq!(
            head,
            Some(Part::Head(Head {
                status: 200,
                is_keep_alive: false,
                seq: Some(7),
                latest: Some(9),
                is_closed: true
            }))
        );
    }

    #[test]
    fn a_body_may_end_with_its_connection() {
        for head in [
            "HTTP/1.0 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nConnection: keep-me, close\r\n\r\n",
        ] {
            let mut responses = Responses::with_fields();
            let bytes = [head, "all of it"].concat();
            let (mut input, mut body) = (bytes.as_bytes(), Vec::new());
            while let Some(part) = responses.handle_bytes(&mut input).unwrap() {
                match part {
                    Part::Head(head) => assert!(!head.is_keep_alive && head.status == 200),
                    Part::Body(more) => body.extend_from_slice(more),
                    Part::End => panic!("it has not ended"),
                }
            }
            assert_eq!(body, b"all of it");
            assert_eq!(responses.handle_end().unwrap(), Some(Part::End));
            assert_eq!(responses.handle_end().unwrap(), None);
            assert_eq!(
                responses.take_fields().len(),
                usize::from(head.contains("keep"))
            );
        }
        let mut responses = Responses::default();
        let mut cut: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab";
        while responses.handle_bytes(&mut cut).unwrap().is_some() {}
        assert!(responses.handle_end().is_err());
    }

    #[test]
    fn what_is_wrong_is_quoted() {
        for (bytes, want) in [
            ("SSH-2.0-x\r\n", "no status line in \"SSH-2.0-x\""),
            ("HTTP/1.1 200 OK\r\n\r\n", "neither a length nor chunks"),
            ("HTTP/1.1 200 OK\nA: b\n\n", "no CR before LF"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                "no chunk size in \"zz\"",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
                "longer than its size",
            ),
        ] {
            let error = parse(bytes.as_bytes(), 7).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
