//! From the bytes of a request head to what the client asks for.
//!
//! The routes are go-livepeer's: `{base}{name}` and `{base}{name}/{seq}`, doubled slashes folded, the query ignored. What
//! is not under the base path is not ours: [`Parsed::Elsewhere`] leaves the bytes as they are.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::http::Body;
use crate::hub::Seq;
use crate::name::{self, split_token};

/// Header fields a request may have.
const FIELDS_MAX: usize = 100;
/// The longest content type we keep.
const MIME_BYTES_MAX: usize = 256;
/// How a cleartext HTTP/2 connection begins (RFC 9113 section 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// What the bytes at hand amount to.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Not a whole head yet.
    Partial,
    /// A request, or another protocol, that is not trickle.
    Elsewhere,
    /// A trickle request; its head is `head_bytes` long.
    Trickle {
        /// The request.
        request: Request,
        /// Bytes of the head.
        head_bytes: usize,
    },
    /// Not HTTP that we can answer as asked: answer this status and close.
    Bad(u16, &'static str),
}

/// One trickle request.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked.
    pub action: Action,
    /// The channel, without token.
    pub name: Box<str>,
    /// The owner's token, if shown.
    pub token: Option<Box<str>>,
    /// The content type, for a channel that this request may create.
    pub mime: Box<str>,
    /// How the request body is framed.
    pub body: Body,
    /// Whether the connection may go on afterwards.
    pub keep_alive: bool,
    /// Whether the client understands chunked bodies and provisional responses.
    pub http11: bool,
    /// Whether the client waits for a `100 Continue`.
    pub expects_continue: bool,
    /// Whether lower segments are to be closed.
    pub reset: bool,
    /// HEAD: the response has no body.
    pub head_only: bool,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// POST `{name}`.
    Create,
    /// POST `{name}/{seq}`.
    Publish(Seq),
    /// GET `{name}/{seq}`.
    Subscribe(Seq),
    /// GET `{name}/next`.
    Next,
    /// DELETE `{name}/{seq}`.
    DeleteSegment(u64),
    /// DELETE `{name}`.
    DeleteChannel,
    /// A known path with a number that means nothing.
    BadSeq,
    /// A known path with a method it does not have; the text lists those it has.
    NotAllowed(&'static str),
    /// Under the base path, but no known path.
    UnknownPath,
}

/// Parses the head at the start of `bytes`. `base` begins and ends with a slash.
pub fn parse(base: &str, bytes: &[u8]) -> Parsed {
    if bytes.len() >= 3 && H2_PREFACE.starts_with(&bytes[..bytes.len().min(H2_PREFACE.len())]) {
        return if bytes.len() < H2_PREFACE.len() {
            Parsed::Partial
        } else {
            Parsed::Elsewhere
        };
    }
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let head_bytes = match head.parse(bytes) {
        Ok(httparse::Status::Complete(n)) => n,
        // The request line alone says whose it is, and others have longer heads than ours.
        Ok(httparse::Status::Partial) if head.version.is_some() && !is_ours(&head, base) => {
            return Parsed::Elsewhere;
        }
        Ok(httparse::Status::Partial) => return Parsed::Partial,
        Err(httparse::Error::TooManyHeaders) => {
            return Parsed::Bad(431, "Request header too large");
        }
        Err(httparse::Error::Version) => return Parsed::Bad(505, "HTTP version not supported"),
        Err(_) => return Parsed::Bad(400, "Bad Request"),
    };
    let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version) else {
        return Parsed::Bad(400, "Bad Request");
    };
    let path = clean_path(target);
    let Some(rest) = path.strip_prefix(base) else {
        return Parsed::Elsewhere;
    };
    match Fields::read(head.headers, version == 1) {
        Ok(fields) => Parsed::Trickle {
            request: fields.into_request(method, rest),
            head_bytes,
        },
        Err(why) => Parsed::Bad(400, why),
    }
}

fn is_ours(head: &httparse::Request<'_, '_>, base: &str) -> bool {
    head.path
        .is_some_and(|target| clean_path(target).starts_with(base))
}

/// The path of a request target: no scheme and authority, no query, slashes folded, percent escapes resolved.
fn clean_path(target: &str) -> String {
    let path = match target
        .strip_prefix("http://")
        .or_else(|| target.strip_prefix("https://"))
    {
        Some(rest) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => target,
    };
    let path = path.split(['?', '#']).next().unwrap_or("");
    let mut clean = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let mut ahead = bytes.clone();
                let hex = |b: Option<u8>| b.and_then(|b| (b as char).to_digit(16));
                match (hex(ahead.next()), hex(ahead.next())) {
                    (Some(high), Some(low)) => {
                        bytes = ahead;
                        u8::try_from(high << 4 | low).unwrap_or(b'%')
                    }
                    _ => byte,
                }
            }
            _ => byte,
        };
        if byte != b'/' || clean.last() != Some(&b'/') {
            clean.push(byte);
        }
    }
    String::from_utf8(clean).unwrap_or_default()
}

/// The fields that matter.
struct Fields {
    body: Body,
    keep_alive: bool,
    http11: bool,
    expects_continue: bool,
    reset: bool,
    mime: Option<Box<str>>,
    expect_content: Option<Box<str>>,
    token: Option<Box<str>>,
}

impl Fields {
    fn read(fields: &[httparse::Header<'_>], http11: bool) -> Result<Self, &'static str> {
        let mut read = Self {
            body: Body::Done,
            keep_alive: http11,
            http11,
            expects_continue: false,
            reset: false,
            mime: None,
            expect_content: None,
            token: None,
        };
        let (mut length, mut chunked) = (None, false);
        for field in fields {
            let value = core::str::from_utf8(field.value).unwrap_or("").trim();
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                let n = parse_length(value).ok_or("Bad Content-Length")?;
                if length.is_some_and(|other| other != n) {
                    return Err("Conflicting Content-Length");
                }
                length = Some(n);
            } else if is("transfer-encoding") {
                if !value.eq_ignore_ascii_case("chunked") || chunked {
                    return Err("Unsupported Transfer-Encoding");
                }
                chunked = true;
            } else if is("connection") {
                for option in value.split(',').map(str::trim) {
                    if option.eq_ignore_ascii_case("close") {
                        read.keep_alive = false;
                    }
                }
            } else if is("expect") {
                read.expects_continue = http11 && value.eq_ignore_ascii_case("100-continue");
            } else if is("lp-trickle-reset") {
                read.reset = !value.is_empty();
            } else if is("content-type") {
                read.mime = mime(value);
            } else if is("expect-content") {
                read.expect_content = mime(value);
            } else if is("lp-trickle-token") {
                read.token = name::is_legal(value).then(|| value.into());
            }
        }
        if chunked && length.is_some() {
            // RFC 9112 section 6.1: such a message is how requests are smuggled.
            return Err("Both Content-Length and Transfer-Encoding");
        }
        read.body = if chunked {
            Body::chunked()
        } else {
            Body::sized(length.unwrap_or(0))
        };
        Ok(read)
    }

    fn into_request(self, method: &str, rest: &str) -> Request {
        let rest = rest.trim_end_matches('/');
        let (segment, seq) = match rest.split_once('/') {
            Some((segment, seq)) => (segment, Some(seq)),
            None => (rest, None),
        };
        let (name, token) = split_token(segment);
        let action = action(method, name, seq);
        let mime = match action {
            Action::Create => self.expect_content,
            _ => self.mime,
        };
        Request {
            action,
            name: name.into(),
            token: token.map(Into::into).or(self.token),
            mime: mime.unwrap_or_else(|| "application/octet-stream".into()),
            body: self.body,
            keep_alive: self.keep_alive,
            http11: self.http11,
            expects_continue: self.expects_continue,
            reset: self.reset,
            head_only: method == "HEAD",
        }
    }
}

fn action(method: &str, name: &str, seq: Option<&str>) -> Action {
    match (method, seq) {
        _ if name.is_empty() => Action::UnknownPath,
        (_, Some(seq)) if seq.contains('/') => Action::UnknownPath,
        ("POST", None) => Action::Create,
        ("DELETE", None) => Action::DeleteChannel,
        (_, None) => Action::NotAllowed("DELETE, POST"),
        ("GET" | "HEAD", Some("next")) => Action::Next,
        ("POST", Some(seq)) => match parse_seq(seq) {
            // −2 is the write side of nothing; go-livepeer panics on it.
            Some(Seq::Current) | None => Action::BadSeq,
            Some(seq) => Action::Publish(seq),
        },
        ("GET" | "HEAD", Some(seq)) => parse_seq(seq).map_or(Action::BadSeq, Action::Subscribe),
        ("DELETE", Some(seq)) => match parse_seq(seq) {
            Some(Seq::At(n)) => Action::DeleteSegment(n),
            _ => Action::BadSeq,
        },
        _ => Action::NotAllowed("DELETE, GET, HEAD, POST"),
    }
}

/// A signed decimal; sign and leading zeros accepted. Negative numbers other than −1 and −2 mean nothing.
fn parse_seq(text: &str) -> Option<Seq> {
    match text.parse::<i64>().ok()? {
        -1 => Some(Seq::Next),
        -2 => Some(Seq::Current),
        // The head will be one more, and must be a number that a peer's signed 64 bits hold.
        i64::MAX => None,
        n => u64::try_from(n).ok().map(Seq::At),
    }
}

fn parse_length(value: &str) -> Option<u64> {
    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| value.parse().ok()).flatten()
}

fn mime(value: &str) -> Option<Box<str>> {
    let legal = !value.is_empty()
        && value.len() <= MIME_BYTES_MAX
        && value.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    legal.then(|| value.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(head: &str) -> Request {
        match parse("/ai/trickle/", head.as_bytes()) {
            Parsed::Trickle {
                request,
                head_bytes,
            } => {
                assert_eq!(head_bytes, head.len());
                request
            }
            other => panic!("{other:?}"),
        }
    }

    fn action_of(line: &str) -> Action {
        request(&alloc::format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n")).action
    }

    #[test]
    fn routes() {
        use Action::{
            BadSeq, Create, DeleteChannel, DeleteSegment, Next, NotAllowed, Publish, Subscribe,
            UnknownPath,
        };
        for (line, expected) in [
            ("POST /ai/trickle/a", Create),
            ("POST /ai/trickle/a/", Create),
            ("POST /ai/trickle/a/0", Publish(Seq::At(0))),
            ("POST /ai/trickle/a/-1", Publish(Seq::Next)),
            ("POST /ai/trickle/a/-2", BadSeq),
            ("POST /ai/trickle/a/next", BadSeq),
            ("GET /ai/trickle/a/-1", Subscribe(Seq::Next)),
            ("GET /ai/trickle/a/-2", Subscribe(Seq::Current)),
            ("GET /ai/trickle/a/-3", BadSeq),
            ("GET /ai/trickle/a/+007", Subscribe(Seq::At(7))),
            ("GET //ai///trickle//a/7?x=1", Subscribe(Seq::At(7))),
            ("GET http://h:1/ai/trickle/a/7", Subscribe(Seq::At(7))),
            ("GET /ai/trickle/a/abc", BadSeq),
            ("GET /ai/trickle/a/9223372036854775807", BadSeq),
            ("GET /ai/trickle/a/99999999999999999999", BadSeq),
            ("HEAD /ai/trickle/a/next", Next),
            ("DELETE /ai/trickle/a/3", DeleteSegment(3)),
            ("DELETE /ai/trickle/a/-1", BadSeq),
            ("DELETE /ai/trickle/a", DeleteChannel),
            ("PUT /ai/trickle/a", NotAllowed("DELETE, POST")),
            ("PUT /ai/trickle/a/1", NotAllowed("DELETE, GET, HEAD, POST")),
            ("GET /ai/trickle/a/1/2", UnknownPath),
            ("GET /ai/trickle/", UnknownPath),
        ] {
            assert_eq!(action_of(line), expected, "{line}");
        }
    }

    #[test]
    fn fields_are_read_in_any_case() {
        let request = request(
            "POST /ai/trickle/a~tok/1 HTTP/1.1\r\ncontent-TYPE: video/MP2T\r\nTRANSFER-encoding: Chunked\r\nconnection: foo, Close\r\n\
             lp-trickle-reset: 1\r\nexpect: 100-Continue\r\n\r\n",
        );
        assert_eq!(
            (&*request.name, request.token.as_deref(), &*request.mime),
            ("a", Some("tok"), "video/MP2T")
        );
        assert!(request.reset && request.expects_continue && !request.keep_alive && request.http11);
        assert_eq!(request.body, Body::chunked());
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "POST /live-video-to-video HTTP/1.1\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            assert_eq!(
                parse("/ai/trickle/", head.as_bytes()),
                Parsed::Elsewhere,
                "{head}"
            );
        }
        // Payments come in heads of many kilobytes; the first line is enough to let them go.
        for line in [
            "POST /payment HTTP/1.1\r\n",
            "GET http://x/y HTTP/1.1\r\nHo",
        ] {
            assert_eq!(parse("/ai/trickle/", line.as_bytes()), Parsed::Elsewhere);
        }
        for line in ["POST /payment", "GET //ai///trickle/x HTTP/1.1\r\nHo"] {
            assert_eq!(parse("/ai/trickle/", line.as_bytes()), Parsed::Partial);
        }
        assert_eq!(parse("/ai/trickle/", b"PRI * HT"), Parsed::Partial);
        assert_eq!(parse("/ai/trickle/", b"POST /ai/tr"), Parsed::Partial);
    }

    #[test]
    fn smuggling_is_refused() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 5,5\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            let head = alloc::format!("POST /ai/trickle/a/1 HTTP/1.1\r\n{fields}\r\n");
            assert!(
                matches!(parse("/ai/trickle/", head.as_bytes()), Parsed::Bad(400, _)),
                "{fields}"
            );
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse("/ai/trickle/", &bytes);
        }

        #[test]
        fn random_paths_never_panic(path in "[ -~]{0,80}", method in "(GET|POST|DELETE|HEAD|PUT)") {
            let _ = parse("/ai/trickle/", alloc::format!("{method} /ai/trickle/{path} HTTP/1.1\r\n\r\n").as_bytes());
        }
    }
}
