//! Requests that crash, deadlock or cheat go-livepeer's orchestrator, and what is answered here: each is a test by its name. After each the node
//! still answers.
//!
//! Those of the trickle server alone are in `engine/tests/conformance/weaknesses.rs`, those of tickets in `engine/ticket/tests/weaknesses.rs`, those
//! of the webhook in `control/src/orchestrator/auth/tests.rs`.

#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/node.rs"]
mod node;
#[path = "support/peer.rs"]
mod peer;
#[path = "support/stream.rs"]
mod stream;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use control::gateway::client::{Connection, request};
use control::proto::Message;
use control::proto::net::{AuthToken, OrchestratorInfo};
use control::ticket::wire::PriceInfo;
use gateway::{Answer, Client};
use node::Node;
use peer::{Peer, Purse, headers};
use serde_json::Value;
use stream::Stream;

const PAID: [&str; 16] = [
    "--service-addr",
    "http://127.0.0.1:0",
    "--network",
    "memory",
    "--price-per-unit",
    "1",
    "--ticket-ev",
    "30000000",
    "--live-payment-interval",
    "1",
    "--payment-grace",
    "1",
    "--lanes",
    "1",
    "--lane-percent",
    "1000",
];
const MODEL: &str = "noop";

/// A node, a gateway that was greeted, and its purse.
struct World {
    node: Node,
    peer: Peer,
    purse: Purse,
    client: Client,
}

impl World {
    fn new(name: &str) -> Self {
        let node = Node::start(&format!("weak-{name}"), &PAID);
        let peer = Peer::new(5, node.addr);
        let purse = peer.purse(&peer.greet(Some(MODEL)).unwrap());
        let client = Client::connect(node.addr);
        Self {
            node,
            peer,
            purse,
            client,
        }
    }

    fn start(&mut self, headers: &str, body: &str) -> Answer {
        self.client = Client::connect(self.node.addr);
        self.client.ask("/live-video-to-video", headers, body)
    }

    /// Pays for a session with tickets, and gives its id.
    fn session(&mut self, tickets: u32) -> String {
        let payment = self.purse.payment(tickets);
        let headers = self.purse.headers(&payment, "35_noop");
        let answer = self.start(&headers, "{}");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let json: Value = serde_json::from_slice(&answer.body).unwrap();
        json["manifest_id"].as_str().unwrap().to_owned()
    }

    fn refused(&mut self, headers: &str, status: u16, text: &str) {
        let answer = self.start(headers, "{}");
        assert_eq!(
            (answer.status, answer.text().trim()),
            (status, text),
            "headers: {headers}"
        );
        self.lives();
    }

    fn lives(&self) {
        let greeted = self.peer.greet(Some(MODEL));
        assert!(greeted.is_ok(), "{greeted:?}");
    }
}

fn raw(node: &Node, request: &str) -> String {
    let mut socket = TcpStream::connect(node.addr).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    drop(socket.read_to_string(&mut answer));
    answer
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

// === the core wire's list ===

/// 2: ends the process there, by one call of anybody.
#[test]
fn a_session_is_ended_without_a_token() {
    let world = World::new("end");
    let end = |token: AuthToken| {
        let outcome = world
            .peer
            .call(async |mut connection: Connection| connection.end_session(token).await);
        outcome.map_err(|error| error.to_string())
    };
    let ours = world.purse.token.clone();
    assert_eq!(end(ours.clone()), Ok(()));
    // One with nothing in it. That there is none at all is asked in `grpc.rs`, and in `control/src/orchestrator/handshake.rs`.
    let nothing = world.peer.call(async |mut connection: Connection| {
        connection.end_session(AuthToken::default()).await
    });
    assert_eq!(
        nothing.unwrap_err().to_string(),
        "refused: Invalid auth token"
    );
    let forged = AuthToken {
        session_id: "deadbeef".to_owned(),
        ..ours
    };
    assert_eq!(end(forged).unwrap_err(), "refused: Invalid auth token");
    world.lives();
}

/// 3, and 22 of the live list: a payment without parameters pins the price at nothing, and the work is free.
#[test]
fn work_is_asked_for_and_nothing_paid() {
    let mut world = World::new("free");
    let creds = world.purse.creds("35_noop");
    let short = "Insufficient balance";
    let nothing = world.purse.forged(|_| ());
    world.refused(&headers(&nothing, &creds), 400, short);
    // With a price of its own that says free, and with none.
    let free = PriceInfo {
        price_per_unit: 0,
        pixels_per_unit: 1,
    };
    let free = world
        .purse
        .forged(|payment| payment.expected_price = Some(free));
    world.refused(&headers(&free, &creds), 400, short);
    let silent = world.purse.forged(|payment| payment.expected_price = None);
    world.refused(&headers(&silent, &creds), 400, short);
    // No payment at all, so nobody who signed.
    let only_creds = headers(&[], &creds)
        .split_once("\r\n")
        .unwrap()
        .1
        .to_owned();
    world.refused(&only_creds, 403, "ErrSegSig");
    world.refused(
        "",
        403,
        "no Livepeer-Segment header: segment credentials in base64",
    );
}

/// 3: the gateway names the price, and the orchestrator believes it.
#[test]
fn the_payer_names_a_lower_price() {
    let mut world = World::new("cheap");
    let tickets = world.purse.payment(2);
    let payment = control::proto::net::Payment::decode(&tickets[..]).unwrap();
    let creds = world.purse.creds("35_noop");
    for (wei, pixels, text) in [
        (
            1,
            2,
            "TicketParams expired: builtin/passthrough costs 1/1 wei a pixel, and they are for 1/2",
        ),
        (
            0,
            1,
            "TicketParams expired: builtin/passthrough costs 1/1 wei a pixel, and they are for 0/1",
        ),
        // Dearer than we said: not ours.
        (2, 1, "invalid recipientRand for ticket recipientRandHash"),
    ] {
        let mut changed = payment.clone();
        let price = changed.expected_price.as_mut().unwrap();
        (price.price_per_unit, price.pixels_per_unit) = (wei, pixels);
        world.refused(&headers(&changed.encode_to_vec(), &creds), 400, text);
    }
}

/// 4, and 23 of the live list: panics in the debit, when the work is done.
#[test]
fn a_price_has_no_denominator() {
    let mut world = World::new("denominator");
    let tickets = world.purse.payment(1);
    let payment = control::proto::net::Payment::decode(&tickets[..]).unwrap();
    let creds = world.purse.creds("35_noop");
    for (price, why) in [
        (Some((1, 0)), "pixels per unit is 0"),
        (Some((0, 0)), "pixels per unit is 0"),
        (Some((-1, 1)), "a price is not negative"),
        (None, "pixels per unit is 0"),
    ] {
        let mut changed = payment.clone();
        changed.expected_price = price.map(|(wei, pixels)| control::proto::net::PriceInfo {
            price_per_unit: wei,
            pixels_per_unit: pixels,
            ..Default::default()
        });
        let text = format!("invalid expected price sent with payment err={why}");
        world.refused(&headers(&changed.encode_to_vec(), &creds), 400, &text);
    }
}

/// Tickets without what they were made under: a nil that is looked into.
#[test]
fn tickets_come_without_parameters_or_expiration() {
    let mut world = World::new("params");
    let tickets = world.purse.payment(1);
    let payment = control::proto::net::Payment::decode(&tickets[..]).unwrap();
    let creds = world.purse.creds("35_noop");
    let mut bare = payment.clone();
    bare.ticket_params = None;
    world.refused(
        &headers(&bare.encode_to_vec(), &creds),
        400,
        "invalid ticket: no ticket params sent with payment",
    );
    let mut timeless = payment;
    timeless.expiration_params = None;
    world.refused(
        &headers(&timeless.encode_to_vec(), &creds),
        400,
        "invalid ticket: no expiration params sent with payment",
    );
}

/// 7: whoever knows a sender and a session is given a fresh and valid token for it.
#[test]
fn a_payment_is_refreshed_without_proof() {
    let mut world = World::new("refresh");
    let id = world.session(2);
    let sender = world.peer.address().checksummed();
    let ask = |client: &mut Client, manifest_id: &str, sig: &str| {
        let body =
            format!(r#"{{"sender":"{sender}","manifest_id":"{manifest_id}","sig":"{sig}"}}"#);
        let answer = client.ask("/refresh-payment", "", &body);
        let json: Value = serde_json::from_slice(&answer.body).unwrap();
        (answer.status, json)
    };
    // An account that is not there.
    let (status, json) = ask(&mut world.client, "deadbeef", "");
    assert_eq!(status, 409);
    assert_eq!(
        json["error"]["message"],
        "fixed price not found for session"
    );
    // One that is: parameters, which only the sender can use, and a token that is worth nothing.
    let (status, json) = ask(&mut world.client, &id, "");
    assert_eq!(status, 200, "{json}");
    let info = STANDARD.decode(json["payment_params"].as_str().unwrap());
    let info = OrchestratorInfo::decode(&info.unwrap()[..]).unwrap();
    let token = info.auth_token.clone().unwrap();
    assert_eq!((token.session_id.as_str(), token.token.len()), (&*id, 0));
    let ended = world
        .peer
        .call(async |mut connection: Connection| connection.end_session(token.clone()).await);
    assert!(ended.is_err(), "nobody's session is ended by it");
    let mut stolen = Peer::new(6, world.node.addr).purse(&info);
    let payment = stolen.payment(1);
    let answer = world
        .client
        .ask("/payment", &stolen.headers(&payment, &id), "");
    assert_eq!(answer.status, 400, "{}", answer.text());
    // A proof that does not hold.
    let (status, json) = ask(&mut world.client, &id, "0x1234");
    assert_eq!(status, 403, "{json}");
    // The sender's own.
    let sig = world.peer.key.sign_text(sender.as_bytes()).to_bytes();
    let sig: String = sig.iter().map(|byte| format!("{byte:02x}")).collect();
    let (status, json) = ask(&mut world.client, &id, &sig);
    assert_eq!(status, 200, "{json}");
    let info = STANDARD.decode(json["payment_params"].as_str().unwrap());
    let info = OrchestratorInfo::decode(&info.unwrap()[..]).unwrap();
    assert_eq!(info.auth_token.unwrap().token.len(), 32);
    world.lives();
}

/// 8: a handshake's signature can be shown by whoever has seen it, and must buy nothing.
#[test]
fn a_handshake_is_replayed() {
    let mut world = World::new("replay");
    let seen = request(Some(&world.peer.key), None, false);
    let thief = Peer::new(6, world.node.addr);
    let info = thief.call(async |mut connection: Connection| connection.orchestrator(seen).await);
    let info = info.unwrap();
    // Parameters and a token for somebody else: he cannot sign the credentials.
    let mut purse = thief.purse(&info);
    let payment = purse.payment(1);
    let mut creds = purse.creds("35_noop");
    world.refused(&headers(&payment, &creds), 403, "invalid auth token");
    let mut as_victim = control::proto::net::Payment::decode(&payment[..]).unwrap();
    as_victim.sender = world.peer.address().0.to_vec();
    creds.sig.clear();
    world.refused(
        &headers(&as_victim.encode_to_vec(), &creds),
        403,
        "ErrSegSig",
    );
}

/// Credentials that say nothing, or too much.
#[test]
fn credentials_are_rubbish() {
    let mut world = World::new("creds");
    let payment = world.purse.payment(1);
    let good = world.purse.creds("35_noop");
    let change = |change: fn(&mut control::proto::net::SegData)| {
        let mut creds = good.clone();
        change(&mut creds);
        creds
    };
    let payment_line = headers(&payment, &good);
    let payment_line = payment_line.split_once("\r\n").unwrap().0;
    for (segment, text) in [
        ("%%%".to_owned(), "ErrSegEncoding"),
        (STANDARD.encode([0xff]), "protobuf unmarshal error"),
    ] {
        let answer = world.start(
            &format!("{payment_line}\r\nLivepeer-Segment: {segment}\r\n"),
            "{}",
        );
        assert_eq!(answer.status, 403);
        assert!(answer.text().starts_with(text), "{}", answer.text());
    }
    let cases = [
        (
            change(|creds| creds.auth_token = None),
            "missing auth token",
        ),
        (
            change(|creds| creds.auth_token = Some(AuthToken::default())),
            "invalid auth token",
        ),
        (change(|creds| creds.sig.clear()), "ErrSegSig"),
        (change(|creds| creds.seq = i64::MIN), "ErrSegSig"),
        (change(|creds| creds.duration = -1), "invalid duration"),
        (
            change(|creds| {
                // Bit 4,000: a word that a peer without it must not grow to.
                let words = vec![u64::MAX; 63];
                creds.capabilities = Some(control::proto::net::Capabilities {
                    bitstring: words,
                    ..Default::default()
                });
            }),
            "incompatible capabilities",
        ),
    ];
    for (creds, text) in cases {
        world.refused(&headers(&payment, &creds), 403, text);
    }
}

/// 23: a set of bits with words that the node has not.
#[test]
fn a_job_asks_for_capabilities_far_away() {
    let world = World::new("bits");
    for words in [vec![0, 0, 1 << 40], vec![u64::MAX; 10_000]] {
        let job = control::proto::net::Capabilities {
            bitstring: words.clone(),
            mandatories: words,
            ..Default::default()
        };
        let asked = request(Some(&world.peer.key), Some(job), false);
        let info = world
            .peer
            .call(async |mut connection: Connection| connection.orchestrator(asked).await);
        assert!(info.is_ok(), "{info:?}");
    }
    world.lives();
}

/// 40: connections that say nothing, or say it slowly, hold up nobody, though there are more than there are places for.
#[test]
fn clients_dawdle() {
    let world = World::new("slow");
    let sockets: Vec<_> = (0..1_400)
        .map(|n| {
            let mut socket = TcpStream::connect(world.node.addr).unwrap();
            let begun: &[u8] = match n % 4 {
                0 => b"",
                1 => b"GET /healthz HTTP/1.1\r\nHo",
                2 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                _ => b"POST /live-video-to-video HTTP/1.1\r\nContent-Length: 9\r\n\r\n{",
            };
            socket.write_all(begun).unwrap();
            socket
        })
        .collect();
    // So many in a moment may fill the queue for that moment, and the next one is answered 503; not for longer.
    let began = Instant::now();
    while let Err(why) = world.peer.greet(Some(MODEL)) {
        assert!(began.elapsed() < Duration::from_secs(10), "{why}");
        sleep(Duration::from_millis(50));
    }
    world.lives();
    drop(sockets);
}

/// 56: credit, prices and tokens end with the process. That they do not is in `handshake.rs` and `payments.rs`; here a running session's account.
#[test]
fn prepaid_credit_outlives_a_crash() {
    let mut world = World::new("restart");
    let id = world.session(9);
    world.node.crash_and_start("weak-restart", &PAID);
    let peer = Peer::new(5, world.node.addr);
    let mut purse = peer.purse(&peer.greet(Some(MODEL)).unwrap());
    purse.token = world.purse.token.clone();
    // The account is there, at its price: it can be refreshed.
    let body = format!(
        r#"{{"sender":"{}","manifest_id":"{id}"}}"#,
        peer.address().checksummed()
    );
    let answer = Client::connect(world.node.addr).ask("/refresh-payment", "", &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

// === the live list ===

/// 1: unauthenticated, and the channel is locked up, then the whole server.
#[test]
fn a_segment_before_the_first_is_deleted() {
    let mut world = World::new("delete");
    let id = world.session(4);
    for seq in ["-1", "-2", "-9223372036854775808", "99999999999999999999"] {
        let answer = raw(
            &world.node,
            &format!(
                "DELETE /ai/trickle/{id}/{seq} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            ),
        );
        assert_eq!(status(&answer), "400", "{seq}: {answer}");
    }
    let mut stream = Stream::new(world.node.addr, &id);
    assert_eq!(stream.segment(), 200, "the channel goes on");
    world.lives();
}

/// 2: panics under a lock.
#[test]
fn segments_of_impossible_numbers_are_posted_and_read() {
    let mut world = World::new("seq");
    let id = world.session(4);
    for (method, seq) in [("POST", "-2"), ("GET", "-3"), ("GET", "x"), ("POST", "1e3")] {
        let answer = raw(
            &world.node,
            &format!(
                "{method} /ai/trickle/{id}/{seq} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            ),
        );
        assert_eq!(status(&answer), "400", "{method} {seq}: {answer}");
    }
    let mut stream = Stream::new(world.node.addr, &id);
    assert_eq!(stream.segment(), 200);
}

/// 19 and 21: a null is looked into, and rubbish is answered 200 with nothing.
#[test]
fn a_model_is_null_and_a_body_is_rubbish() {
    let mut world = World::new("null");
    let payment = world.purse.payment(2);
    let headers = world.purse.headers(&payment, "35_noop");
    let answer = world.start(
        &headers,
        r#"{"model_id":null,"params":null,"stream_id":null}"#,
    );
    assert_eq!(answer.status, 200, "the default model: {}", answer.text());
    for body in [
        "",
        "null",
        "[]",
        "{",
        r#"{"model_id":7}"#,
        r#"{"model_id":"no/such"}"#,
    ] {
        let answer = world.start(&headers, body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        assert!(!answer.body.is_empty());
    }
}

/// 24: a stream of one endless segment, or of none, is free.
#[test]
fn a_segment_never_ends() {
    let mut world = World::new("endless");
    let id = world.session(2);
    let clip = include_bytes!("../assets/clip.ts");
    let mut socket = TcpStream::connect(world.node.addr).unwrap();
    let head = format!(
        "POST /ai/trickle/{id}/0 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    // Two tickets are good for 2.2 s; an endless segment is charged after six intervals, and one second later it is over.
    let began = Instant::now();
    let path = format!("/live-video-to-video/{id}/status");
    let is_there = |node: &Node| {
        let ask = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        status(&raw(node, &ask)) == "200"
    };
    for piece in clip.chunks(188 * 10) {
        let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        if socket.write_all(&chunk).is_err() || !is_there(&world.node) {
            break;
        }
        sleep(Duration::from_millis(150));
    }
    let lived = began.elapsed();
    assert!(!is_there(&world.node), "it ends unpaid");
    assert!((6..35).contains(&lived.as_secs()), "{lived:?}");
}

/// 10: whoever guesses a name may end, feed or watch a stream; names have 128 bits here.
#[test]
fn names_of_channels_are_guessed() {
    let mut world = World::new("names");
    let id = world.session(2);
    assert_eq!(id.len(), 32);
    assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()));
}

/// 33 of what must stay allowed: one failed payment ends nothing while the balance is positive.
#[test]
fn a_payment_fails_in_mid_stream() {
    let mut world = World::new("failed");
    let id = world.session(6);
    let mut stream = Stream::new(world.node.addr, &id);
    let good = world.purse.payment(1);
    for _ in 0..4 {
        assert_eq!(stream.segment(), 200);
        let mut spoilt = good.clone();
        let last = spoilt.len() - 20;
        spoilt[last] ^= 1;
        let headers = world.purse.headers(&spoilt, &id);
        let answer = world.client.ask("/payment", &headers, "");
        assert!(answer.status >= 400, "{}", answer.text());
        sleep(Duration::from_millis(400));
    }
    assert_eq!(stream.segment(), 200);
    let headers = world.purse.headers(&good, &id);
    assert_eq!(world.client.ask("/payment", &headers, "").status, 200);
}
