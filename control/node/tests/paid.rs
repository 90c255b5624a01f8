//! Live sessions that are paid for, end to end: quoted, paid, charged to the wei, topped up, exhausted, closed.
//!
//! Prices are such that time is money one can watch: a second costs 27,648,000 wei, and a ticket is worth 30,000,000.

#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/node.rs"]
mod node;
#[path = "support/peer.rs"]
mod peer;
#[path = "support/stream.rs"]
mod stream;

use std::thread::sleep;
use std::time::{Duration, Instant};

use control::proto::Message;
use control::proto::net::PaymentResult;
use control::store::Store;
use control::ticket::{SessionId, Wei, book};
use gateway::Client;
use node::Node;
use peer::{Peer, Purse};
use serde_json::Value;
use stream::Stream;

const FLAGS: [&str; 16] = [
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
    "5",
    "--lanes",
    "1",
    "--lane-percent",
    "1000",
];
const MODEL: &str = "builtin/passthrough";
const PIXELS_PER_SECOND: u64 = 27_648_000;
const TICKET_WEI: u64 = 30_000_000;

/// A session that runs, and its payer.
struct Paid {
    node: Node,
    client: Client,
    purse: Purse,
    peer: Peer,
    manifest_id: String,
    stream: Stream,
    began: Instant,
    events: std::thread::JoinHandle<Vec<String>>,
}

impl Paid {
    /// Starts one with so many tickets.
    fn start(name: &str, tickets: u32) -> Self {
        let node = Node::start(name, &FLAGS);
        let peer = Peer::new(7, node.addr);
        let info = peer.greet(Some(MODEL)).unwrap();
        assert_eq!(info.transcoder, format!("http://{}", node.addr));
        let mut purse = peer.purse(&info);
        let mut client = Client::connect(node.addr);
        let payment = purse.payment(tickets);
        let headers = purse.headers(&payment, "35_builtin/passthrough");
        let body = format!("{{\"model_id\":\"{MODEL}\"}}");
        let answer = client.ask("/live-video-to-video", &headers, &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let json: Value = serde_json::from_slice(&answer.body).unwrap();
        let manifest_id = json["manifest_id"].as_str().unwrap().to_owned();
        Self {
            stream: Stream::new(node.addr, &manifest_id),
            events: stream::events(node.addr, &manifest_id),
            began: Instant::now(),
            node,
            client,
            purse,
            peer,
            manifest_id,
        }
    }

    /// Publishes a segment every half second, until `until` since the start, while that is taken.
    fn play(&mut self, until: Duration) -> bool {
        while self.began.elapsed() < until {
            if self.stream.segment() != 200 {
                return false;
            }
            sleep(Duration::from_millis(500));
        }
        true
    }

    /// Sends a payment, and takes the offer that comes back.
    fn pay(&mut self, payment: &[u8]) -> (u16, String) {
        let headers = self.purse.headers(payment, &self.manifest_id);
        let answer = self.client.ask("/payment", &headers, "");
        if answer.status == 200 {
            let result = PaymentResult::decode(&answer.body[..]).unwrap();
            // Written field by field on a shard, and as a general writer writes it.
            assert_eq!(result.encode_to_vec(), answer.body);
            let info = result.info.unwrap();
            assert_eq!(
                info.auth_token.as_ref(),
                Some(&self.purse.token),
                "stock gateways read it"
            );
            assert!(info.capabilities.is_some());
            self.purse.renew(&info);
        }
        (answer.status, answer.text())
    }

    /// How the session says that it stands.
    fn status(&self) -> Value {
        let path = format!("/live-video-to-video/{}/status", self.manifest_id);
        let answer = self.node.http(&format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(body).unwrap()
    }

    /// Credit and pixels as they are on disk.
    fn account(&self) -> book::Account {
        let store = Store::look(&self.node.dir).unwrap();
        let book = store.book(book::Limits::default()).unwrap();
        let name = SessionId::new(&self.manifest_id).unwrap();
        book.account(self.peer.address(), name).unwrap().clone()
    }

    fn delete(&mut self) {
        let path = format!("/ai/trickle/{}", self.manifest_id);
        let answer = self.node.http(&format!(
            "DELETE {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

#[test]
fn a_session_is_paid_topped_up_exhausted_and_closed() {
    let mut paid = Paid::start("live-paid", 3);
    assert!(paid.play(seconds(2.5)));
    let top_up = paid.purse.payment(2);
    assert_eq!(paid.pay(&top_up).0, 200);
    assert!(paid.play(seconds(4.5)), "paid for 5.4 s");
    let status = paid.status();
    let payment = &status["payment"];
    assert_eq!(payment["price"], "1/1");
    let charged = payment["charged_pixels"].as_u64().unwrap();
    let most = PIXELS_PER_SECOND * paid.began.elapsed().as_millis() as u64 / 1_000;
    assert!((PIXELS_PER_SECOND..most).contains(&charged), "{status}");
    // To the wei: the price is one wei a pixel.
    let balance: u64 = payment["balance_wei"].as_str().unwrap().parse().unwrap();
    assert_eq!(balance, 5 * TICKET_WEI - charged, "{status}");

    // Nothing more is paid: at 5.4 s the account is empty, and five seconds later it is over.
    assert!(!paid.play(seconds(40.0)), "the session ends");
    let lived = paid.began.elapsed();
    assert!(
        (seconds(9.0)..seconds(25.0)).contains(&lived),
        "{lived:?}: 5.4 s and 5 s of grace, looked at every second"
    );
    let account = paid.account();
    let events = paid.events.join().unwrap().concat();
    for text in [
        "payment overdue: the balance is -",
        "and the session ends in 5 s unless it is paid",
        "unpaid: the balance is -",
    ] {
        assert!(events.contains(text), "{text}: {events}");
    }
    for suffix in ["", "-out", "-control", "-events"] {
        let gone = paid.node.http(&format!(
            "GET /ai/trickle/{}{suffix}/next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            paid.manifest_id
        ));
        assert!(gone.starts_with("HTTP/1.1 404"), "{suffix}: {gone}");
    }
    // What is on disk agrees: so many tickets, and for each pixel a wei.
    assert_eq!(account.credit.floor_wei().to::<Wei>(), paid.purse.credit);
    assert_eq!(paid.purse.credit, Wei::from(5 * TICKET_WEI));
    let owed = account.pixels - u128::from(5 * TICKET_WEI);
    assert_eq!(account.balance().to_string(), format!("-{owed}"));
    let second = u128::from(PIXELS_PER_SECOND);
    assert!(
        (2 * second..20 * second).contains(&owed),
        "{owed}: the grace, and little more"
    );
}

#[test]
fn tickets_that_come_reordered_twice_and_late_stop_nothing() {
    let mut paid = Paid::start("live-late", 3);
    let mut sent = 3_u32;
    // Tickets of one offer, sent by twos from the last to the first, and each again.
    for round in 0..3 {
        assert!(paid.play(seconds(1.5 * f64::from(round + 1))));
        let mut payments: Vec<_> = (0..3).map(|_| paid.purse.payment(1)).collect();
        payments.reverse();
        sent += 3;
        let purse_before = paid.purse.params();
        for payment in &payments {
            let (status, text) = paid.pay(payment);
            assert_eq!(status, 200, "{text}");
            let (status, text) = paid.pay(payment);
            assert_eq!(status, 400);
            assert!(
                text.starts_with("invalid ticket senderNonce: already seen"),
                "{text}"
            );
        }
        assert_ne!(
            paid.purse.params(),
            purse_before,
            "each answer brings new ones"
        );
    }
    // Late: the account is below zero, and within the grace it is paid.
    let is_overdue = |paid: &Paid| {
        let balance = paid.status()["payment"]["balance_wei"].clone();
        balance.as_str().is_some_and(|wei| wei.starts_with('-'))
    };
    while !is_overdue(&paid) {
        assert_eq!(paid.stream.segment(), 200, "it lives");
        assert!(paid.began.elapsed() < seconds(60.0), "13 s are paid for");
        sleep(Duration::from_millis(400));
    }
    let late = paid.purse.payment(8);
    assert_eq!(paid.pay(&late).0, 200);
    sent += 8;
    // Longer than the grace had left.
    let on = paid.began.elapsed() + seconds(6.0);
    assert!(paid.play(on), "it goes on");
    paid.delete();
    sleep(seconds(3.0));
    let account = paid.account();
    assert_eq!(
        account.credit.floor_wei().to::<Wei>(),
        Wei::from(u64::from(sent) * TICKET_WEI),
        "each ticket once"
    );
    let lived = u128::from(PIXELS_PER_SECOND) * paid.began.elapsed().as_millis() / 1_000;
    assert!(account.pixels < lived, "no time is charged twice");
    let events = paid.events.join().unwrap().concat();
    assert!(events.contains("payment overdue"), "{events}");
    assert!(events.contains("payment received: "), "{events}");
    assert!(!events.contains("unpaid"), "{events}");
}
