//! A gateway that pays, over a socket of its own.

#![allow(dead_code)] // each test uses a part of it

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use control::store::Store;
use control::ticket::book;
use control::ticket::float::Funds;
use control::ticket::sender::{self, LocalKey, PaymentSession};
use control::ticket::wire::{PriceInfo, TicketParams, put_bytes};
use control::ticket::{Address, Signature, Wei};

/// Of bytes.
pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// One connection, kept alive.
pub(crate) struct Client(TcpStream);

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        Self::try_connect(addr).unwrap()
    }

    /// An error when nobody is there.
    pub(crate) fn try_connect(addr: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self(stream))
    }

    /// Sends a POST; panics when no answer comes.
    pub(crate) fn ask(&mut self, path: &str, headers: &str, body: &str) -> Answer {
        self.try_ask(path, headers, body).unwrap()
    }

    /// Sends a POST; an error when the connection breaks first.
    pub(crate) fn try_ask(
        &mut self,
        path: &str,
        headers: &str,
        body: &str,
    ) -> std::io::Result<Answer> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        // A server that refuses early may have closed; what it said is still to be read.
        let sent = self.0.write_all(request.as_bytes());
        self.read().or_else(|error| sent.and(Err(error)))
    }

    fn read(&mut self) -> std::io::Result<Answer> {
        let mut bytes = Vec::new();
        let head_end = loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.more(&mut bytes)?;
        };
        let head = String::from_utf8_lossy(&bytes[..head_end]).to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length
            .and_then(|length| length.trim().parse().ok())
            .unwrap_or(0);
        while bytes.len() < head_end + length {
            self.more(&mut bytes)?;
        }
        Ok(Answer {
            status: head
                .split(' ')
                .nth(1)
                .and_then(|status| status.parse().ok())
                .unwrap_or(0),
            body: bytes[head_end..head_end + length].to_vec(),
        })
    }

    fn more(&mut self, bytes: &mut Vec<u8>) -> std::io::Result<()> {
        let mut chunk = [0; 16 << 10];
        match self.0.read(&mut chunk)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => {
                bytes.extend_from_slice(&chunk[..n]);
                Ok(())
            }
        }
    }

    pub(crate) fn pay(&mut self, payment: &[u8], gateway: &Gateway) -> Answer {
        self.try_pay(payment, gateway).unwrap()
    }

    /// An error when the connection breaks first.
    pub(crate) fn try_pay(&mut self, payment: &[u8], gateway: &Gateway) -> std::io::Result<Answer> {
        self.try_ask("/payment", &gateway.headers(payment), "")
    }

    pub(crate) fn pay_with_body(&mut self, payment: &[u8], gateway: &Gateway) -> Answer {
        self.ask("/payment", &gateway.headers(payment), "ignored")
    }
}

/// A sender with one stream.
pub(crate) struct Gateway {
    key: LocalKey,
    stream: String,
    session: Option<PaymentSession>,
}

impl Gateway {
    pub(crate) fn new(key: u8, stream: &str) -> Self {
        Self {
            key: LocalKey::new([key; 32]).unwrap(),
            stream: stream.to_owned(),
            session: None,
        }
    }

    pub(crate) fn address(&self) -> Address {
        self.key.address()
    }

    /// Asks for parameters, and goes on under them.
    pub(crate) fn refresh(&mut self, client: &mut Client) {
        self.try_refresh(client).unwrap();
    }

    /// An error when the connection breaks first.
    pub(crate) fn try_refresh(&mut self, client: &mut Client) -> std::io::Result<()> {
        let sender = self.key.address().checksummed();
        let sig = self.key.sign_text(sender.as_bytes()).to_bytes();
        let sig: String = sig.iter().map(|byte| format!("{byte:02x}")).collect();
        let body = format!(
            "{{\"sender\":\"{sender}\",\"manifest_id\":\"{}\",\"sig\":\"{sig}\"}}",
            self.stream
        );
        let answer = client.try_ask("/refresh-payment", "", &body)?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(json["manifest_id"], self.stream.as_str());
        assert!(json["payment_url"].as_str().unwrap().ends_with("/payment"));
        let info = STANDARD
            .decode(json["payment_params"].as_str().unwrap())
            .unwrap();
        let params = TicketParams::parse(field(&info, 2).expect("ticket params")).unwrap();
        self.accept(params);
        Ok(())
    }

    /// Tickets that it may still make under the parameters that it has.
    pub(crate) fn left(&self) -> u32 {
        self.session.as_ref().map_or(0, PaymentSession::left)
    }

    fn accept(&mut self, params: TicketParams) {
        let own = Funds {
            deposit: Wei::MAX,
            reserve: Wei::MAX,
            ..Funds::default()
        };
        let limits = sender::Limits {
            ticket_ev_max: Wei::MAX,
            total_ev_max: Wei::MAX,
            deposit_multiplier: 1,
        };
        let accepted = sender::accept(&params, 1, (0, 0), &own, &limits).unwrap();
        let price = PriceInfo {
            price_per_unit: 1_200,
            pixels_per_unit: 1,
        };
        self.session = Some(PaymentSession::new(self.key.address(), accepted, price));
    }

    /// The next tickets.
    pub(crate) fn payment(&mut self, tickets: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let session = self.session.as_mut().expect("it was quoted");
        session
            .tickets(tickets)
            .unwrap()
            .write_signed(&self.key, &mut bytes);
        bytes
    }

    /// Tickets that somebody else signed, and whose nonces are used all the same.
    pub(crate) fn forged(&mut self, tickets: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let thief = LocalKey::new([0x77; 32]).unwrap();
        let unsigned = self
            .session
            .as_mut()
            .expect("it was quoted")
            .tickets(tickets)
            .unwrap();
        let signed: Vec<(u32, Signature)> = unsigned
            .tickets()
            .iter()
            .map(|(nonce, digest)| (*nonce, thief.sign(digest)))
            .collect();
        unsigned.write(&signed, &mut bytes);
        bytes
    }

    /// What so many tickets are worth, in parts.
    pub(crate) fn credit(&self, tickets: u64) -> String {
        let value = self
            .session
            .as_ref()
            .expect("it was quoted")
            .accepted()
            .value();
        value.times(tickets).unwrap().parts().to_string()
    }

    pub(crate) fn purpose(&self) -> String {
        let mut bytes = Vec::new();
        put_bytes(&mut bytes, 1, self.stream.as_bytes());
        format!("Livepeer-Segment: {}\r\n", base64(&bytes))
    }

    pub(crate) fn headers(&self, payment: &[u8]) -> String {
        format!(
            "Livepeer-Payment: {}\r\n{}",
            base64(payment),
            self.purpose()
        )
    }

    /// The parameters in an answer to a payment.
    pub(crate) fn offer_of(&self, answer: &Answer) -> Option<TicketParams> {
        TicketParams::parse(field(field(&answer.body, 16)?, 2)?).ok()
    }
}

/// An embedded message, by its number; other fields before it are skipped.
fn field(message: &[u8], number: u64) -> Option<&[u8]> {
    fn varint(bytes: &mut &[u8]) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = bytes.split_first()?;
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
    let mut rest = message;
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let value = varint(&mut rest)?;
        if tag & 7 == 2 {
            let (bytes, after) = rest.split_at_checked(usize::try_from(value).ok()?)?;
            if tag >> 3 == number {
                return Some(bytes);
            }
            rest = after;
        }
    }
    None
}

/// What the node has recorded: sender, account, credit in parts.
pub(crate) fn ledger(dir: &Path) -> Vec<(Address, String, String)> {
    let book = Store::look(dir)
        .unwrap()
        .book(book::Limits::default())
        .unwrap();
    let rows = book.accounts().map(|(_, account)| {
        (
            account.sender,
            account.name.to_string(),
            account.credit.parts().to_string(),
        )
    });
    rows.collect()
}
