//! One question and its answer, waited for: to create a channel, to delete it, to ask for a status.
//!
//! Never within a window: it blocks.

use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::http::{Part, Responses};
use crate::net::{Dialer, Net};
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
    exchange(target, method, path, headers, body, timeout)
        .map_err(|why| why.during(format_args!("{method} {}{path}", target.url)))
}

fn exchange(
    target: &Target,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    timeout: Duration,
) -> Result<Answer, Failure> {
    let deadline = Instant::now() + timeout;
    let mut net = Net::new()?;
    let token = net.connect(&Dialer::new(target)?)?;
    let head = head(target, method, path, headers, body.len());
    net.send(token, &[head.as_bytes(), body])?;
    let mut reading = Reading::default();
    let (mut events, mut buffer) = (Vec::new(), vec![0; READ_BYTES]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::new(format!("no answer within {timeout:?}")));
        }
        let left_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
        net.wait(&mut events, Some(left_ms.saturating_add(1)))?;
        for event in &events {
            if event.writable {
                net.flush(token)?;
            }
            if event.readable
                && let Some(count) = net.read(token, &mut buffer)?
                && let Some(answer) = reading.handle_bytes(&buffer[..count], method == "HEAD")?
            {
                return Ok(answer);
            }
        }
    }
}

fn head(
    target: &Target,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body_bytes: usize,
) -> String {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\n{}Connection: close\r\n",
        target.authority(),
        target.tag
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

struct Reading {
    responses: Responses,
    status: u16,
    body: Vec<u8>,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            responses: Responses::with_fields(),
            status: 0,
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

    const TIMEOUT: Duration = Duration::from_secs(2);
}
