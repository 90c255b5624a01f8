//! One question and its answer, waited for: to create a channel, to delete it, to ask for a status, or for ticket parameters.
//!
//! Never within a window: it blocks.

use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::http::{Part, Responses};
use crate::net::{Dialer, Event, Net, Token};
use crate::target::Target;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The head's fields in order, names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body, up to [`BODY_BYTES_MAX`].
    pub body: Vec<u8>,
}

impl Answer {
    /// The first field of this name, in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }

    /// The body as text, for messages; what is not text shows as such.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }
}

/// Asks once, on a connection of its own, and waits at most `timeout` for the whole answer.
///
/// # Errors
/// There is no connection, no answer in time, none that is HTTP, or one that is too long.
pub fn ask(
    target: &Target,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    timeout: Duration,
) -> Result<Answer, Failure> {
    let once = || {
        let mut asker = Asker::new(target)?;
        asker.connection = "Connection: close\r\n";
        asker.exchange(method, path, headers, body, timeout)
    };
    once().map_err(|why| why.during(format_args!("{method} {}{path}", target.url)))
}

/// Asks one question after another, on one connection for as long as the server keeps it.
pub struct Asker {
    target: Target,
    dialer: Dialer,
    net: Net,
    /// A connection whose last answer was complete.
    kept: Option<Token>,
    connection: &'static str,
    was_repeated: bool,
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
            dialer: Dialer::new(target)?,
            net: Net::new()?,
            kept: None,
            connection: "",
            was_repeated: false,
            events: Vec::new(),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Asks, and waits at most `timeout` for the whole answer. A server may close a kept connection just as a question is on its way;
    /// then it is asked once more, so this is for questions that may come twice.
    ///
    /// # Errors
    /// As [`ask`]'s.
    pub fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        timeout: Duration,
    ) -> Result<Answer, Failure> {
        let is_reused = self.kept.is_some();
        let mut answer = self.exchange(method, path, headers, body, timeout);
        self.was_repeated = is_reused && answer.is_err();
        if self.was_repeated {
            answer = self.exchange(method, path, headers, body, timeout);
        }
        answer.map_err(|why| why.during(format_args!("{method} {}{path}", self.target.url)))
    }

    /// Whether the last question was asked twice.
    pub fn was_repeated(&self) -> bool {
        self.was_repeated
    }

    fn exchange(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        timeout: Duration,
    ) -> Result<Answer, Failure> {
        let token = match self.kept.take() {
            Some(token) => token,
            None => self.net.connect(&self.dialer)?,
        };
        let head = self.head(method, path, headers, body.len());
        let sent = self.net.send(token, &[head.as_bytes(), body]);
        let answer = sent
            .map_err(Failure::from)
            .and_then(|()| self.read(token, method == "HEAD", timeout));
        match answer {
            Ok((_, true)) => self.kept = Some(token),
            Ok((_, false)) | Err(_) => self.net.close(token),
        }
        answer.map(|(answer, _)| answer)
    }

    /// The answer, and whether its connection may carry another question.
    fn read(
        &mut self,
        token: Token,
        has_no_body: bool,
        timeout: Duration,
    ) -> Result<(Answer, bool), Failure> {
        let deadline = Instant::now() + timeout;
        let mut reading = Reading::default();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::new(format!("no answer within {timeout:?}")));
            }
            let left_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
            self.net
                .wait(&mut self.events, Some(left_ms.saturating_add(1)))?;
            for event in &self.events {
                if event.writable {
                    self.net.flush(token)?;
                }
                if event.readable
                    && let Some(count) = self.net.read(token, &mut self.buffer)?
                    && let Some(answer) =
                        reading.handle_bytes(&self.buffer[..count], has_no_body)?
                {
                    let is_kept = reading.is_keep_alive && self.connection.is_empty() && count > 0;
                    return Ok((answer, is_kept));
                }
            }
        }
    }

    fn head(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body_bytes: usize,
    ) -> String {
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{}{}",
            self.target.authority(),
            self.target.tag,
            self.connection
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if body_bytes > 0 || !matches!(method, "GET" | "HEAD" | "DELETE") {
            head.push_str(&format!("Content-Length: {body_bytes}\r\n"));
        }
        head.push_str("\r\n");
        head
    }
}

struct Reading {
    responses: Responses,
    status: u16,
    is_keep_alive: bool,
    body: Vec<u8>,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            responses: Responses::with_fields(),
            status: 0,
            is_keep_alive: false,
            body: Vec::new(),
        }
    }
}

impl Reading {
    /// Takes bytes, or by none of them the connection's end; gives the answer when it is complete.
    fn handle_bytes(
        &mut self,
        mut input: &[u8],
        has_no_body: bool,
    ) -> Result<Option<Answer>, Failure> {
        let is_end = input.is_empty();
        loop {
            let part = if is_end {
                self.responses.handle_end()
            } else {
                self.responses.handle_bytes(&mut input)
            };
            match part.map_err(|error| Failure::new(error.to_string()))? {
                Some(Part::Head(head)) => {
                    self.status = head.status;
                    self.is_keep_alive = head.is_keep_alive;
                    if has_no_body {
                        return Ok(Some(self.answer()));
                    }
                }
                Some(Part::Body(more)) => {
                    if self.body.len() + more.len() > BODY_BYTES_MAX {
                        return Err(Failure::new("the answer is longer than 1 MiB"));
                    }
                    self.body.extend_from_slice(more);
                }
                Some(Part::End) => return Ok(Some(self.answer())),
                None if is_end => return Err(Failure::new("closed without an answer")),
                None => return Ok(None),
            }
        }
    }

    fn answer(&mut self) -> Answer {
        Answer {
            status: self.status,
            fields: self.responses.take_fields(),
            body: std::mem::take(&mut self.body),
        }
    }
}

/// The longest body that is taken.
pub const BODY_BYTES_MAX: usize = 1 << 20;
const READ_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::target::Trust;

    /// Asks a server that says `reply` and, after `pause`, is gone; gives what was asked, too.
    fn ask_one(reply: &'static [u8], pause: Duration) -> (Result<Answer, Failure>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            let mut buffer = [0; 1_024];
            while !asked.ends_with(b"\r\n\r\nhello") {
                let count = stream.read(&mut buffer).unwrap();
                asked.extend_from_slice(&buffer[..count]);
            }
            stream.write_all(reply).unwrap();
            thread::sleep(pause);
            String::from_utf8(asked).unwrap()
        });
        let target = Target::resolve(&url, Trust::Anyone, "X-Tag: 1\r\n".to_owned()).unwrap();
        let answer = ask(
            &target,
            "POST",
            "/a",
            &[("Expect-Content", "b")],
            b"hello",
            TIMEOUT,
        );
        (answer, server.join().unwrap())
    }

    #[test]
    fn a_question_carries_its_fields_and_an_answer_all_of_its_own() {
        let reply = b"HTTP/1.0 470 \r\nLp-Trickle-Latest: 9\r\nX-A: b\r\n\r\nno such entry";
        let (answer, asked) = ask_one(reply, Duration::ZERO);
        let answer = answer.unwrap();
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (470, "no such entry")
        );
        assert_eq!(answer.field("lp-trickle-latest"), Some("9"));
        for line in [
            "POST /a HTTP/1.1",
            "X-Tag: 1",
            "Expect-Content: b",
            "Content-Length: 5",
        ] {
            assert!(asked.contains(&format!("{line}\r\n")), "{asked}");
        }
    }

    #[test]
    fn no_answer_is_a_failure_that_says_so() {
        for (reply, pause, want) in [
            (&b""[..], Duration::ZERO, "closed without an answer"),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
                Duration::ZERO,
                "within a response",
            ),
            (b"HTTP/1.1 200", TIMEOUT + TIMEOUT / 2, "no answer within"),
            (b"SSH-2.0\r\n", Duration::ZERO, "no status line"),
        ] {
            let error = ask_one(reply, pause).0.unwrap_err().to_string();
            assert!(error.contains(want) && error.contains("/a"), "{error}");
        }
    }

    #[test]
    fn a_kept_connection_is_used_again_and_one_that_was_closed_is_replaced() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            // Two questions on the first connection, which is closed then without a word; the others on the second.
            let mut questions = Vec::new();
            for answers in [2, 1] {
                let (mut stream, _) = listener.accept().unwrap();
                for _ in 0..answers {
                    let (mut asked, mut buffer) = (Vec::new(), [0; 1_024]);
                    while !asked.ends_with(b"\r\n\r\n") {
                        let count = stream.read(&mut buffer).unwrap();
                        asked.extend_from_slice(&buffer[..count]);
                    }
                    questions.push(String::from_utf8(asked).unwrap());
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
                        .unwrap();
                }
            }
            questions
        });
        let target = Target::resolve(&url, Trust::Anyone, String::new()).unwrap();
        let mut asker = Asker::new(&target).unwrap();
        for path in ["/a", "/b", "/c"] {
            let answer = asker.ask("GET", path, &[], b"", TIMEOUT).unwrap();
            assert_eq!((answer.status, answer.text().as_str()), (200, "hi"));
        }
        let questions = server.join().unwrap();
        assert!(
            questions[2].starts_with("GET /c ") && !questions[0].contains("close"),
            "{questions:?}"
        );
        let why = asker.ask("GET", "/d", &[], b"", TIMEOUT).unwrap_err();
        assert!(why.to_string().contains("GET http"), "{why}");
    }

    const TIMEOUT: Duration = Duration::from_secs(2);
}
