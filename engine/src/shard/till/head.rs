//! From the head of a request to a payment.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ticket::received::Parsed;
use ticket::wire::Purpose;
use ticket::{Blank, Received, SessionId};

const PATH: &str = "/payment";
/// Header fields a request may have.
const FIELDS_MAX: usize = 64;
/// The longest purpose that is looked at, in base64. A segment's credentials with all their profiles are far shorter.
const PURPOSE_BYTES_MAX: usize = 16 << 10;

/// What a head asks for.
pub(super) enum Request {
    /// Something that is not the till's.
    Elsewhere,
    /// Nothing that can be answered as asked: this is answered, and the connection ends.
    Refused(u16, &'static str),
    /// A payment.
    Payment {
        order: Order,
        keep_alive: bool,
        head_bytes: usize,
    },
}

/// What is to be done about a payment.
pub(super) enum Order {
    /// It is to be checked. The auth token that came with it is put where the caller said.
    Pay(Received),
    /// It is answered with this.
    Bad(u16, String),
}

/// Whether these first bytes begin a payment, as far as they go.
pub(crate) fn is_payment(bytes: &[u8]) -> bool {
    let line = b"POST /payment ";
    bytes.len() >= line.len() && bytes.starts_with(line)
}

/// Reads a head; `None` until it is whole. `spare` gives memory for the payment, `token` takes the auth token that comes with it.
pub(super) fn parse(
    bytes: &[u8],
    spare: impl FnOnce() -> Blank,
    token: &mut Vec<u8>,
) -> Option<Request> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let head_bytes = match head.parse(bytes) {
        Ok(httparse::Status::Complete(n)) => n,
        Ok(httparse::Status::Partial) => {
            // The door's HTTP server has an answer for everything; whoever is not paying goes there at once.
            let is_other = head.version.is_some() && !is_ours(&head);
            return is_other.then_some(Request::Elsewhere);
        }
        Err(httparse::Error::TooManyHeaders) => {
            return Some(Request::Refused(431, "Request header too large"));
        }
        Err(_) => return Some(Request::Refused(400, "Bad Request")),
    };
    if !is_ours(&head) {
        return Some(Request::Elsewhere);
    }
    let field = |name: &str| {
        head.headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    };
    // A body is for the door to take apart.
    let has_body = field("transfer-encoding").is_some()
        || field("content-length").is_some_and(|length| length.trim_ascii() != b"0");
    if has_body {
        return Some(Request::Elsewhere);
    }
    let says = |word: &str| {
        let text = field("connection")
            .and_then(|value| std::str::from_utf8(value).ok())
            .unwrap_or_default();
        text.split(',')
            .any(|option| option.trim().eq_ignore_ascii_case(word))
    };
    let keep_alive = match head.version {
        Some(1) => !says("close"),
        _ => says("keep-alive"),
    };
    let fields = (field("livepeer-payment"), field("livepeer-segment"));
    // What pays nothing asks for an offer, which is the control plane's to make.
    Some(match order(fields, spare, token) {
        Some(order) => Request::Payment {
            order,
            keep_alive,
            head_bytes,
        },
        None => Request::Elsewhere,
    })
}

/// The length of a head that is the till's, and the payment that is to be checked, if it has one.
pub(crate) fn read(bytes: &[u8]) -> Option<(usize, Option<Received>)> {
    match parse(bytes, Blank::default, &mut Vec::new())? {
        Request::Elsewhere | Request::Refused(..) => None,
        Request::Payment {
            order, head_bytes, ..
        } => match order {
            Order::Pay(payment) => Some((head_bytes, Some(payment))),
            Order::Bad(..) => Some((head_bytes, None)),
        },
    }
}

fn is_ours(head: &httparse::Request<'_, '_>) -> bool {
    head.method == Some("POST") && head.path == Some(PATH)
}

/// Of the two header fields. `None` when they are well formed and pay nothing.
fn order(
    (payment, purpose): (Option<&[u8]>, Option<&[u8]>),
    spare: impl FnOnce() -> Blank,
    token: &mut Vec<u8>,
) -> Option<Order> {
    let bad = |status, text| Some(Order::Bad(status, text));
    let Some(payment) = payment else {
        return bad(
            402,
            "no Livepeer-Payment header: a payment in base64".to_owned(),
        );
    };
    let mut blank = spare();
    let bytes = blank.bytes();
    bytes.clear();
    if let Err(error) = STANDARD.decode_vec(payment.trim_ascii(), bytes) {
        return bad(402, format!("Livepeer-Payment is not base64: {error}"));
    }
    let (session, account) = match purpose_of(purpose, token) {
        Ok(both) => both,
        Err(text) => return bad(403, text),
    };
    match Received::parse(blank, session, account) {
        Parsed::Payment(payment) => Some(Order::Pay(payment)),
        Parsed::Nothing(_) => None,
        Parsed::Refused(_, fault) => bad(fault.status(), fault.to_string()),
    }
}

/// The session that parameters must have been offered for, and the account that is credited.
fn purpose_of(
    header: Option<&[u8]>,
    token: &mut Vec<u8>,
) -> Result<(SessionId, SessionId), String> {
    let header = header.ok_or("no Livepeer-Segment header: what the payment is for, in base64")?;
    if header.len() > PURPOSE_BYTES_MAX {
        return Err("Livepeer-Segment is too long".to_owned());
    }
    let bytes = STANDARD
        .decode(header.trim_ascii())
        .map_err(|error| format!("Livepeer-Segment is not base64: {error}"))?;
    let purpose =
        Purpose::parse(&bytes).map_err(|how| format!("invalid segment credentials: {how}"))?;
    token.clear();
    token.extend_from_slice(purpose.auth_token);
    purpose.ids().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Option<Request> {
        parse(head.as_bytes(), Blank::default, &mut Vec::new())
    }

    #[test]
    fn a_payment_is_known_by_its_first_line() {
        assert!(is_payment(b"POST /payment HTTP/1.1\r\n"));
        for other in [
            "POST /payments HTTP/1.1",
            "GET /payment HTTP/1.1",
            "POST /pay",
            "POST /live-video-to-video HTTP/1.1",
        ] {
            assert!(!is_payment(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn what_is_not_a_payment_without_a_body_leaves() {
        for head in [
            "GET /healthz HTTP/1.1\r\n\r\n",
            "GET /healthz HTTP/1.1\r\nHost",
            "POST /payment HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            "POST /payment HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            // Well formed, and no ticket in it.
            "POST /payment HTTP/1.1\r\nlivepeer-payment: EgA=\r\nLIVEPEER-SEGMENT: CgFh\r\n\r\n",
        ] {
            assert!(matches!(read(head), Some(Request::Elsewhere)), "{head}");
        }
        assert!(
            read("POST /payment HTTP/1.1\r\nLivepeer-Pay").is_none(),
            "not whole yet"
        );
        assert!(matches!(
            read("POST /payment HTTP/1.1\r\n: x\r\n\r\n"),
            Some(Request::Refused(400, _))
        ));
    }

    #[test]
    fn bad_headers_are_told_what_is_wrong_with_them() {
        for (fields, expected) in [
            ("", (402, "no Livepeer-Payment header")),
            (
                "Livepeer-Payment: *\r\n",
                (402, "Livepeer-Payment is not base64"),
            ),
            (
                "Livepeer-Payment: EgA=\r\n",
                (403, "no Livepeer-Segment header"),
            ),
            (
                "Livepeer-Payment: EgA=\r\nLivepeer-Segment: ?\r\n",
                (403, "Livepeer-Segment is not base64"),
            ),
            (
                "Livepeer-Payment: EgA=\r\nLivepeer-Segment: /w==\r\n",
                (403, "invalid segment credentials"),
            ),
            (
                "Livepeer-Payment: EgA=\r\nLivepeer-Segment: EAE=\r\n",
                (403, "invalid manifest id"),
            ),
            (
                "Livepeer-Payment: /w==\r\nLivepeer-Segment: CgFh\r\n",
                (402, "invalid payment"),
            ),
            // A ticket, and nothing that it was made under.
            (
                "Livepeer-Payment: IgA=\r\nLivepeer-Segment: CgFh\r\n",
                (400, "invalid ticket: no ticket params"),
            ),
        ] {
            let head = format!("POST /payment HTTP/1.1\r\n{fields}\r\n");
            match read(&head) {
                Some(Request::Payment {
                    order: Order::Bad(status, text),
                    keep_alive: true,
                    head_bytes,
                }) => {
                    assert_eq!((status, &text[..expected.1.len()]), expected);
                    assert_eq!(head_bytes, head.len());
                }
                _ => panic!("{fields}"),
            }
        }
        let closing = "POST /payment HTTP/1.1\r\nconnection: Close\r\n\r\n";
        assert!(matches!(
            read(closing),
            Some(Request::Payment {
                keep_alive: false,
                ..
            })
        ));
    }
}
