//! An orchestrator that is paid, as a process: quoted, paid, killed, and paid on.

#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/node.rs"]
mod node;

use std::time::Duration;

use gateway::{Answer, Client, Gateway};
use node::Node;
use rustix::process::Signal;

const PAID: [&str; 10] = [
    "--service-addr",
    "http://127.0.0.1:0",
    "--network",
    "memory",
    "--eth-orch-addr",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "--price-per-unit",
    "1200",
    "--lanes",
    "1",
];

fn refused(answer: &Answer, text: &str) {
    assert_eq!(
        (answer.status, answer.text().starts_with(text)),
        (400, true),
        "{}",
        answer.text()
    );
}

#[test]
fn a_gateway_is_quoted_pays_and_goes_on_after_a_crash() {
    let mut node = Node::start("paid", &PAID);
    assert!(
        node.report
            .contains("payments   to 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed, signed for by 0x"),
        "{}",
        node.report
    );
    let mut client = Client::connect(node.addr);
    let mut gateway = Gateway::new(1, "stream-1");
    gateway.refresh(&mut client);
    let first = gateway.payment(1);
    let answer = client.pay(&first, &gateway);
    assert_eq!(answer.status, 200, "{}", answer.text());
    // The answer brings parameters for the next payment; those at hand are good for more, too.
    assert!(gateway.offer_of(&answer).is_some());
    let hundred = gateway.payment(100);
    assert_eq!(client.pay(&hundred, &gateway).status, 200);
    refused(
        &client.pay(&hundred, &gateway),
        "invalid ticket senderNonce: already seen",
    );
    // A payment with a body, or by another road, is answered by the control plane in the same words.
    let second = gateway.payment(2);
    assert_eq!(client.pay_with_body(&second, &gateway).status, 200);
    refused(
        &client.pay_with_body(&second, &gateway),
        "invalid ticket senderNonce: already seen",
    );
    let all = gateway.payment(497);
    assert_eq!(
        client.pay(&all, &gateway).status,
        200,
        "a head of 50 kilobytes"
    );

    node.crash_and_start("paid", &PAID);
    let mut client = Client::connect(node.addr);
    for old in [&first, &hundred, &second, &all] {
        refused(
            &client.pay(old, &gateway),
            "invalid ticket senderNonce: already seen",
        );
    }
    gateway.refresh(&mut client);
    let next = gateway.payment(3);
    assert_eq!(client.pay(&next, &gateway).status, 200);

    node.signal(Signal::TERM);
    assert_eq!(node.ended(Duration::from_secs(20)), Some(0));
    node.start_again("paid", &PAID);
    let mut client = Client::connect(node.addr);
    refused(
        &client.pay(&next, &gateway),
        "invalid ticket senderNonce: already seen",
    );
    let more = gateway.payment(7);
    assert_eq!(
        client.pay(&more, &gateway).status,
        200,
        "parameters outlive the process"
    );
    assert_eq!(
        gateway::ledger(&node.dir),
        [(
            gateway.address(),
            "stream-1".to_owned(),
            gateway.credit(610)
        )]
    );
}

#[test]
fn what_is_wrong_with_a_payment_is_said() {
    let node = Node::start("paid-wrong", &PAID);
    let mut client = Client::connect(node.addr);
    let mut gateway = Gateway::new(2, "stream-2");
    gateway.refresh(&mut client);
    refused(
        &client.pay(&gateway.forged(1), &gateway),
        "invalid ticket signature",
    );
    let elsewhere = Gateway::new(2, "stream-3");
    let payment = gateway.payment(1);
    refused(&client.pay(&payment, &elsewhere), "invalid recipientRand");
    for (status, text, headers) in [
        (402, "no Livepeer-Payment header", String::new()),
        (
            402,
            "Livepeer-Payment is not base64",
            "Livepeer-Payment: %\r\n".to_owned(),
        ),
        (
            402,
            "invalid payment",
            format!(
                "Livepeer-Payment: {}\r\n{}",
                gateway::base64(&[0xff]),
                gateway.purpose()
            ),
        ),
        (
            403,
            "no Livepeer-Segment header",
            format!("Livepeer-Payment: {}\r\n", gateway::base64(&payment)),
        ),
    ] {
        // By both roads: a connection that has left the shard does not come back to it.
        let answer = Client::connect(node.addr).ask("/payment", &headers, "");
        assert_eq!(
            (answer.status, answer.text().starts_with(text)),
            (status, true),
            "{}",
            answer.text()
        );
        let answer = client.ask("/payment", &headers, "x");
        assert_eq!(
            (answer.status, answer.text().starts_with(text)),
            (status, true),
            "{}",
            answer.text()
        );
    }
    let long = format!("Livepeer-Payment: {}\r\n", "A".repeat(200 << 10));
    assert_eq!(
        Client::connect(node.addr).ask("/payment", &long, "").status,
        431
    );
    for (body, text) in [
        ("[", "not {\"sender\", \"manifest_id\"}"),
        ("{}", "invalid sender"),
        (
            "{\"sender\":\"0x12\",\"manifest_id\":\"a\"}",
            "invalid sender: an address is 0x and 40",
        ),
        (
            "{\"sender\":\"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed\",\"manifest_id\":\"\"}",
            "missing manifest_id",
        ),
    ] {
        let answer = client.ask("/refresh-payment", "", body);
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let message = json["error"]["message"].as_str().unwrap();
        assert_eq!(
            (answer.status, message.starts_with(text)),
            (400, true),
            "{message}"
        );
    }
    // Nothing of all that was kept.
    assert_eq!(gateway::ledger(&node.dir), []);
    assert_eq!(
        client.pay(&payment, &gateway).status,
        200,
        "and the honest one is still good"
    );
}

#[test]
fn a_node_that_is_not_paid_says_so() {
    let node = Node::start("unpaid", &["--service-addr", "http://127.0.0.1:0"]);
    assert!(
        node.report
            .contains("payments   none are taken: the node is off-chain"),
        "{}",
        node.report
    );
    let mut client = Client::connect(node.addr);
    // A payment is answered as one of nothing: with an offer that has no money in it.
    let gateway = Gateway::new(1, "stream");
    let answer = client.pay(&[], &gateway);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(gateway.offer_of(&answer).is_none());
    let body = "{\"sender\":\"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed\",\"manifest_id\":\"a\"}";
    assert_eq!(client.ask("/refresh-payment", "", body).status, 409);
}

#[test]
fn two_nodes_do_not_share_a_record() {
    let node = Node::start("paid-twice", &PAID);
    let (mut command, _) = Node::command("paid-twice", &PAID);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(17), "{said}");
    assert!(
        said.contains("another node is running on the data directory")
            && said.contains("fix: stop the other node"),
        "{said}"
    );
    drop(node);
}
