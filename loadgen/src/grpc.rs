//! gRPC's unary calls over HTTP/2, as gateways make them: one message there, one message or a status back.
//!
//! ```text
//!   request    POST /package.Service/Method, te: trailers     body: 0 ‖ length (4 bytes) ‖ message
//!   answer     200, body as above, trailers: grpc-status 0    or grpc-status N, grpc-message: percent-coded text
//! ```

use std::fmt;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::h2::{Client, Head, Lost, Response};
use crate::net::{Dialer, Event, Net, Token};
use crate::target::Target;

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A message.
    Message(Vec<u8>),
    /// No message: the server says why. As [`Status`].
    Status(Status),
    /// It was no gRPC that answered, but HTTP with this status.
    Http(u16),
    /// It calls itself gRPC's and is not.
    Malformed(&'static str),
}

/// Why a server gives no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// gRPC's code, such as 2, unknown, or 14, unavailable.
    pub code: u32,
    /// In words.
    pub message: String,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.as_str() {
            "" => write!(f, "gRPC status {}", self.code),
            message => f.write_str(message),
        }
    }
}

/// The fields of a call's request. `timeout_s` is what the server is told, as gRPC's own clients do.
pub fn head(target: &Target, path: &str, timeout_s: u32) -> Head {
    let timeout = format!("{timeout_s}S");
    let tag: Vec<(String, &str)> = target
        .tag
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    let mut fields = vec![
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", timeout.as_str()),
    ];
    fields.extend(tag.iter().map(|(name, value)| (name.as_str(), *value)));
    Head::post(target.is_tls, &target.authority(), path, &fields)
}

/// The body of a call's request.
pub fn body(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], message].concat()
}

/// What a response says.
pub fn answer(response: Response) -> Answer {
    let is_grpc = |kind: &str| kind.starts_with("application/grpc");
    let code = response.field("grpc-status").map(str::parse::<u32>);
    match code {
        None if response.status != 200 || !response.field("content-type").is_some_and(is_grpc) => {
            Answer::Http(response.status)
        }
        None | Some(Err(_)) => Answer::Malformed("it has no status"),
        Some(Ok(0)) => message(response.body),
        Some(Ok(code)) => Answer::Status(Status {
            code,
            message: percent_decoded(response.field("grpc-message").unwrap_or_default()),
        }),
    }
}

fn message(mut body: Vec<u8>) -> Answer {
    let Some((&[flag, a, b, c, d], rest)) = body.split_first_chunk::<5>() else {
        return Answer::Malformed("it has no message");
    };
    if flag != 0 {
        return Answer::Malformed("its message is compressed, which was not asked for");
    }
    if u32::from_be_bytes([a, b, c, d]) as usize != rest.len() {
        return Answer::Malformed("its message has another length than it says");
    }
    Answer::Message(body.split_off(5))
}

/// `%20` and the like. What is no code stands for itself.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let coded = after
            .first_chunk::<2>()
            .filter(|digits| first == b'%' && digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(coded.unwrap_or(first));
        rest = if coded.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What an error of a call that was lost on a good connection is counted as.
pub fn class_of(lost: Lost) -> &'static str {
    match lost {
        Lost::Reset(_) => "stream-reset",
        Lost::GoneAway => "gone-away",
        Lost::TooLong => "too-long",
    }
}

/// Makes one call after another and waits for each, on one connection for as long as the server keeps it. Never within a window.
pub struct Asker {
    target: Target,
    dialer: Dialer,
    net: Net,
    kept: Option<(Token, Client)>,
    events: Vec<Event>,
    buffer: Vec<u8>,
}

impl Asker {
    /// Not connected yet.
    ///
    /// # Errors
    /// There are no descriptors, or the target's roots cannot be read.
    pub fn new(target: &Target) -> Result<Self, Failure> {
        Ok(Self {
            target: target.clone(),
            dialer: Dialer::h2(target)?,
            net: Net::new()?,
            kept: None,
            events: Vec::new(),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Calls, and waits at most `timeout`. A server may close a kept connection just as a call is on its way; then it is made once
    /// more, so this is for calls that may come twice.
    ///
    /// # Errors
    /// There is no connection, no answer in time, or no HTTP/2.
    pub fn call(
        &mut self,
        path: &str,
        message: &[u8],
        timeout: Duration,
    ) -> Result<Answer, Failure> {
        let is_reused = self.kept.is_some();
        let mut answer = self.exchange(path, message, timeout);
        if is_reused && answer.is_err() {
            answer = self.exchange(path, message, timeout);
        }
        answer.map_err(|why| why.during(format_args!("gRPC {}{path}", self.target.url)))
    }

    fn exchange(
        &mut self,
        path: &str,
        message: &[u8],
        timeout: Duration,
    ) -> Result<Answer, Failure> {
        let (token, mut client) = match self.kept.take() {
            Some(kept) => kept,
            None => (self.net.connect(&self.dialer)?, Client::new()),
        };
        let timeout_s = u32::try_from(timeout.as_secs().max(1)).unwrap_or(u32::MAX);
        let head = head(&self.target, path, timeout_s);
        let answer = self.converse(token, &mut client, &head, &body(message), timeout);
        match answer {
            Ok(_) if !client.is_ending() => self.kept = Some((token, client)),
            _ => self.net.close(token),
        }
        answer
    }

    fn converse(
        &mut self,
        token: Token,
        client: &mut Client,
        head: &Head,
        body: &[u8],
        timeout: Duration,
    ) -> Result<Answer, Failure> {
        let deadline = Instant::now() + timeout;
        let mut call = client.call(head, body);
        let mut answers = Vec::new();
        loop {
            let output = client.take_output();
            if !output.is_empty() {
                self.net.send(token, &[&output])?;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::new(format!("no answer within {timeout:?}")));
            }
            let left_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
            self.net
                .wait(&mut self.events, Some(left_ms.saturating_add(1)))?;
            for event in self.events.iter().filter(|event| event.token == token) {
                if event.writable {
                    self.net.flush(token)?;
                }
                let read = match event.readable {
                    true => self.net.read(token, &mut self.buffer)?,
                    false => None,
                };
                if self.net.is_open(token) && !self.net.has_agreed_on_h2(token) {
                    return Err(Failure::new(
                        "the server does not speak HTTP/2 (ALPN), and so no gRPC",
                    ));
                }
                match read {
                    Some(0) => return Err(Failure::new("closed without an answer")),
                    Some(count) => client
                        .handle_bytes(&self.buffer[..count], &mut answers)
                        .map_err(|why| Failure::new(why.to_string()))?,
                    None => {}
                }
            }
            // Where a peer had no room at first, it may have said since that it has.
            call = call.or_else(|| client.call(head, body));
            if let Some(answered) = answers.drain(..).find(|answer| Some(answer.call) == call) {
                return match answered.outcome {
                    Ok(response) => Ok(answer(response)),
                    Err(lost) => Err(Failure::new(format!(
                        "the call was lost: {}",
                        class_of(lost)
                    ))),
                };
            }
            if call.is_none() && client.is_ending() {
                return Err(Failure::new("the server takes no calls"));
            }
        }
    }
}

const READ_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, fields: &[(&str, &str)], body: &[u8]) -> Response {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Response {
            status,
            fields: fields.iter().map(own).collect(),
            body: body.to_vec(),
        }
    }

    #[test]
    fn an_answer_is_a_message_or_says_why_there_is_none() {
        let grpc = ("content-type", "application/grpc+proto");
        let ok = ("grpc-status", "0");
        assert_eq!(
            answer(response(200, &[grpc, ok], &body(b"hi"))),
            Answer::Message(b"hi".to_vec())
        );
        let refused = [
            grpc,
            ("grpc-status", "2"),
            ("grpc-message", "no%20room%3A 5% of%2"),
        ];
        let Answer::Status(status) = answer(response(200, &refused, b"")) else {
            panic!("a status");
        };
        assert_eq!(
            (status.code, status.to_string().as_str()),
            (2, "no room: 5% of%2")
        );
        let bare = Status {
            code: 14,
            message: String::new(),
        };
        assert_eq!(bare.to_string(), "gRPC status 14");
        assert_eq!(answer(response(404, &[], b"")), Answer::Http(404));
        assert_eq!(
            answer(response(200, &[("content-type", "text/html")], b"")),
            Answer::Http(200)
        );
        for (fields, bytes, want) in [
            (&[grpc][..], &b""[..], "no status"),
            (&[grpc, ("grpc-status", "x")], b"", "no status"),
            (&[grpc, ok], b"\0\0\0", "no message"),
            (&[grpc, ok], b"\x01\0\0\0\0", "compressed"),
            (&[grpc, ok], b"\0\0\0\0\x02x", "another length"),
        ] {
            let Answer::Malformed(why) = answer(response(200, fields, bytes)) else {
                panic!("{want}");
            };
            assert!(why.contains(want), "{why}");
        }
    }
}
