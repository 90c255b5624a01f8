//! Response heads, exactly as peers expect them.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

/// The status that says: the channel exists, the segment does not.
pub const SEGMENT_MISSING: u16 = 470;

/// Sent while a publisher is parked, and in answer to `Expect: 100-continue`.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A response head under construction.
#[derive(Debug)]
pub struct Head(String);

impl Head {
    /// Begins with the status line. Responses say HTTP/1.1 to HTTP/1.0 clients too (RFC 9110 section 2.5).
    pub fn new(status: u16) -> Self {
        let mut head = String::with_capacity(192);
        let _ = write!(head, "HTTP/1.1 {status} {}\r\n", reason(status));
        Self(head)
    }

    /// Adds a field. The value must hold no line break; ours are numbers, constants and checked content types.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl core::fmt::Display) -> Self {
        let _ = write!(self.0, "{name}: {value}\r\n");
        self
    }

    /// Adds a field if there is a value.
    #[must_use]
    pub fn field_if(self, name: &str, value: Option<impl core::fmt::Display>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    /// Ends the head and adds `body`, unless the request was a HEAD.
    #[must_use]
    pub fn with_body(self, body: &str, head_only: bool) -> Vec<u8> {
        let mut head = self.field("Content-Length", body.len()).0;
        head.push_str("\r\n");
        if !head_only {
            head.push_str(body);
        }
        head.into_bytes()
    }

    /// Ends the head; the body follows by other means.
    #[must_use]
    pub fn end(self) -> Vec<u8> {
        let mut head = self.0;
        head.push_str("\r\n");
        head.into_bytes()
    }
}

/// A text error in the form of Go's `http.Error`: the message with a line feed.
pub fn text_error(status: u16, message: &str) -> (Head, String) {
    let head = Head::new(status)
        .field("Content-Type", "text/plain; charset=utf-8")
        .field("X-Content-Type-Options", "nosniff");
    let mut body = String::from(message);
    body.push('\n');
    (head, body)
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        SEGMENT_MISSING => "Segment Missing",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "Status",
    }
}
