//! The handshake of a running node: who is answered what, at which price, and what a token is good for.

#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/node.rs"]
mod node;
#[path = "support/peer.rs"]
mod peer;
#[path = "support/stream.rs"]
mod stream;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use control::capability::{Capability, LiveModel};
use control::gateway::client::{Connection, Failed, request};
use control::proto::net::{OrchestratorInfo, OrchestratorRequest};
use control::ticket::signature::signer_of_text;
use gateway::{Answer, Client};
use node::Node;
use peer::{Peer, Purse};
use rustix::process::Signal;
use serde_json::Value;
use stream::Stream;

const OFFCHAIN: [&str; 4] = ["--service-addr", "http://127.0.0.1:0", "--lanes", "1"];
const PAID: [&str; 10] = [
    "--service-addr",
    "http://127.0.0.1:0",
    "--network",
    "memory",
    "--price-per-unit",
    "2",
    "--lanes",
    "1",
    "--lane-percent",
    "1000",
];
const NOT_SIGNED: &str = "refused: Invalid orchestrator request: orchestrator req sig check failed";
const CAPPED: &str = "refused: Invalid orchestrator request: OrchestratorCapped";

fn with<'a>(flags: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [flags, more].concat()
}

fn ask(peer: &Peer, request: OrchestratorRequest) -> Result<OrchestratorInfo, String> {
    peer.call(async |mut connection: Connection| connection.orchestrator(request).await)
        .map_err(|error| error.to_string())
}

fn price(info: &OrchestratorInfo) -> (i64, i64) {
    let price = info.price_info.as_ref().unwrap();
    (price.price_per_unit, price.pixels_per_unit)
}

fn start(client: &mut Client, purse: &mut Purse, model: &str, tickets: u32) -> Answer {
    let payment = match tickets {
        0 => purse.forged(|_| ()),
        tickets => purse.payment(tickets),
    };
    let headers = purse.headers(&payment, "35_model");
    let body = format!("{{\"model_id\":\"{model}\"}}");
    client.ask("/live-video-to-video", &headers, &body)
}

fn get(node: &Node, path: &str) -> String {
    node.http(&format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    ))
}

fn healthz(node: &Node) -> String {
    get(node, "/healthz")
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn off_chain_everybody_is_answered_and_nothing_costs() {
    let node = Node::start("greet-off", &with(&OFFCHAIN, &["--nodes", "b.example"]));
    assert!(node.report.contains("http://127.0.0.1:"), "{}", node.report);
    let peer = Peer::new(1, node.addr);
    let info = ask(&peer, request(None, None, false)).unwrap();
    assert_eq!(info.transcoder, format!("http://{}", node.addr));
    assert_eq!((info.ticket_params, info.price_info), (None, None));
    assert_eq!(info.address, [0; 20]);
    assert_eq!(info.nodes, ["https://b.example:8935"]);
    let capabilities = info.capabilities.unwrap();
    assert_eq!(capabilities.version, "0.9.1");
    // The default set, and bit 35.
    assert_eq!(capabilities.bitstring, [0x0400_5fff | 1 << 35]);
    assert_eq!(
        capabilities.capacities[&Capability::LIVE_VIDEO_TO_VIDEO.0],
        1
    );
    let models: Vec<_> = LiveModel::of(&capabilities).collect();
    let ids: Vec<_> = models.iter().map(|model| model.id.as_str()).collect();
    assert!(
        ids.contains(&"noop") && ids.contains(&"builtin/edges") && ids.contains(&"onnx/denoise")
    );
    assert!(
        models
            .iter()
            .all(|model| model.warm && model.idle > 0 && model.in_use == 0)
    );
    // A ping is signed by nobody.
    let pong = peer.call(async |mut connection: Connection| connection.ping(vec![1; 32]).await);
    assert!(pong.unwrap().is_empty());
}

#[test]
fn on_chain_a_gateway_signs_and_is_offered_tickets() {
    let node = Node::start("greet-on", &PAID);
    let peer = Peer::new(1, node.addr);
    let info = peer.greet(Some("noop")).unwrap();
    assert_eq!(price(&info), (2, 1));
    let params = info.ticket_params.as_ref().unwrap();
    assert_eq!(
        params.recipient, info.address,
        "the account that signs is paid"
    );
    assert_eq!(params.recipient_rand_hash.len(), 32);
    assert!(!params.face_value.is_empty() && !params.win_prob.is_empty());
    assert!(params.expiration_params.as_ref().unwrap().creation_round > 0);
    let again = peer.greet(Some("noop")).unwrap();
    assert_ne!(again.ticket_params, info.ticket_params, "chance in each");

    // Nobody, somebody else's signature, and rubbish.
    assert_eq!(
        ask(&peer, request(None, None, false)).unwrap_err(),
        NOT_SIGNED
    );
    let stranger = Peer::new(2, node.addr);
    let mut stolen = request(Some(&stranger.key), None, false);
    stolen.address = peer.address().0.to_vec();
    assert_eq!(ask(&peer, stolen).unwrap_err(), NOT_SIGNED);
    for sig in [vec![], vec![0; 65], vec![27; 4_000]] {
        let bad = OrchestratorRequest {
            sig,
            ..request(Some(&peer.key), None, false)
        };
        assert_eq!(ask(&peer, bad).unwrap_err(), NOT_SIGNED);
    }

    // A ping is signed by the account, and is short, so that nobody has a ticket signed.
    let pong = peer.call(async |mut connection: Connection| connection.ping(vec![7; 64]).await);
    let signer = signer_of_text(&[7; 64], &pong.unwrap()).unwrap();
    assert_eq!(signer.0.to_vec(), info.address);
    for length in [65, 168, 232] {
        let outcome =
            peer.call(async |mut connection: Connection| connection.ping(vec![7; length]).await);
        assert!(matches!(outcome, Err(Failed::Refused(_))), "{length} bytes");
    }
}

#[test]
fn whoever_is_full_or_drains_says_so_but_to_those_who_do_not_mind() {
    let flags = with(&OFFCHAIN, &["--max-sessions", "1", "--drain-timeout", "20"]);
    let mut node = Node::start("greet-full", &flags);
    let peer = Peer::new(1, node.addr);
    assert_eq!(peer.greet(Some("builtin/nothing")).unwrap_err(), CAPPED);
    let mut client = Client::connect(node.addr);
    let answer = client.ask(
        "/live-video-to-video",
        "",
        "{\"model_id\":\"builtin/edges\"}",
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json: Value = serde_json::from_slice(&answer.body).unwrap();
    let mut stream = Stream::new(node.addr, json["manifest_id"].as_str().unwrap());
    assert_eq!(stream.segment(), 200);
    for model in [None, Some("builtin/edges")] {
        assert_eq!(peer.greet(model).unwrap_err(), CAPPED);
    }
    let looking = request(Some(&peer.key), None, true);
    let info = ask(&peer, looking.clone()).unwrap();
    let capabilities = info.capabilities.unwrap();
    let edges = LiveModel::of(&capabilities).find(|model| model.id == "builtin/edges");
    let edges = edges.unwrap();
    assert_eq!((edges.idle, edges.in_use), (0, 1));
    assert_eq!(client.ask("/live-video-to-video", "", "{}").status, 503);

    // A node that drains lets the session go on, and takes no other.
    node.signal(Signal::TERM);
    until("it drains", || healthz(&node).contains("DRAINING"));
    for n in 0..3 {
        assert_eq!(stream.segment(), 200, "{n}: the session lives");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(peer.greet(Some("builtin/edges")).unwrap_err(), CAPPED);
    let refused = Client::connect(node.addr).ask("/live-video-to-video", "", "{}");
    assert_eq!(
        (refused.status, refused.text().trim()),
        (503, "insufficient capacity")
    );
    node.signal(Signal::TERM);
    assert_eq!(
        node.ended(Duration::from_secs(20)),
        Some(0),
        "at the second signal"
    );
}

#[test]
fn a_token_and_its_tickets_survive_a_crash_and_serve_nobody_else() {
    let mut node = Node::start("greet-crash", &PAID);
    let peer = Peer::new(1, node.addr);
    let mut purse = peer.purse(&peer.greet(Some("noop")).unwrap());
    node.crash_and_start("greet-crash", &PAID);
    let mut client = Client::connect(node.addr);

    // Somebody else shows the token.
    let thief = Peer::new(2, node.addr);
    let mut stolen = thief.purse(&thief.greet(Some("noop")).unwrap());
    stolen.token = purse.token.clone();
    let answer = start(&mut client, &mut stolen, "noop", 1);
    assert_eq!(
        (answer.status, answer.text().trim()),
        (403, "invalid auth token")
    );
    // Tickets for one session, shown in another.
    let again = Peer::new(1, node.addr);
    let other = again.purse(&again.greet(Some("noop")).unwrap());
    let payment = purse.payment(1);
    let headers = other.headers(&payment, "35_noop");
    let answer = client.ask("/live-video-to-video", &headers, "{}");
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(
        answer.text().starts_with("invalid recipientRand"),
        "{}",
        answer.text()
    );

    let answer = start(&mut client, &mut purse, "noop", 2);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn prices_are_by_sender_and_model_and_what_is_paid_must_be_enough() {
    let models = r#"[{"pipeline":"live-video-to-video","model_id":"builtin/edges","price_per_unit":5,"pixels_per_unit":2}]"#;
    let friend = Peer::new(3, ([127, 0, 0, 1], 1).into())
        .address()
        .to_string();
    let gateways = format!(
        r#"{{"gateways":[{{"ethaddress":"{friend}","priceperunit":1,"currency":"wei","pixelsperunit":3}}]}}"#
    );
    let flags = ["--ai-models", models, "--price-per-gateway", &gateways];
    let node = Node::start("greet-prices", &with(&PAID, &flags));
    let peer = Peer::new(1, node.addr);
    assert_eq!(price(&peer.greet(Some("builtin/edges")).unwrap()), (5, 2));
    let blur = peer.greet(Some("builtin/blur")).unwrap();
    assert_eq!(price(&blur), (2, 1));
    // A third is cut to thousandths, as where overhead is added.
    let friend = Peer::new(3, node.addr);
    assert_eq!(price(&friend.greet(Some("noop")).unwrap()), (333, 1_000));
    // Who only looks is shown the list.
    let looked = ask(&peer, request(Some(&peer.key), None, false)).unwrap();
    let list = &looked.capabilities_prices;
    assert_eq!(list.len(), 1);
    assert_eq!(
        (
            list[0].capability,
            list[0].constraint.as_str(),
            list[0].price_per_unit,
            list[0].pixels_per_unit
        ),
        (35, "builtin/edges", 5, 2)
    );

    // Parameters for cheap work pay for no dear work.
    let mut client = Client::connect(node.addr);
    let mut purse = peer.purse(&blur);
    let answer = start(&mut client, &mut purse, "builtin/edges", 2);
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.text().trim(),
        "TicketParams expired: builtin/edges costs 5/2 wei a pixel, and they are for 2/1"
    );
    // Nor once it runs.
    let answer = start(&mut client, &mut purse, "builtin/blur", 2);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json: Value = serde_json::from_slice(&answer.body).unwrap();
    let id = json["manifest_id"].as_str().unwrap();
    let events = stream::events(node.addr, id);
    let mut stream = Stream::new(node.addr, id);
    assert_eq!(stream.segment(), 200);
    let control = format!("/ai/trickle/{id}-control/0");
    assert_eq!(
        Client::connect(node.addr)
            .ask(&control, "", "{\"filter\":\"edges\"}")
            .status,
        200
    );
    let path = format!("/live-video-to-video/{id}/status");
    until("the switch is refused", || {
        get(&node, &path).contains("costs 5/2")
    });
    let gone = node.http(&format!(
        "DELETE /ai/trickle/{id} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    ));
    assert!(gone.starts_with("HTTP/1.1 200"), "{gone}");
    let said = events.join().unwrap().concat();
    assert!(
        said.contains("builtin/edges costs 5/2 wei a pixel, and this session is paid for at 2/1"),
        "{said}"
    );
}

#[test]
fn a_webhook_says_who_may_come_and_at_which_price() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/auth", listener.local_addr().unwrap());
    let friend = Peer::new(1, ([127, 0, 0, 1], 1).into())
        .address()
        .to_string();
    let known = friend.clone();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut asked = Vec::new();
            let mut chunk = [0; 4_096];
            while !asked.ends_with(b"}") {
                let n = socket.read(&mut chunk).unwrap_or(0);
                if n == 0 {
                    break;
                }
                asked.extend_from_slice(&chunk[..n]);
            }
            let asked = String::from_utf8_lossy(&asked).into_owned();
            let (status, body) = match asked.contains(&known) {
                true => (
                    "200 OK",
                    r#"{"priceInfo":{"pricePerUnit":9,"pixelsPerUnit":4}}"#,
                ),
                false => ("403 Forbidden", "not on the list"),
            };
            drop(write!(
                socket,
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            ));
        }
    });
    let node = Node::start("greet-hook", &with(&PAID, &["--auth-webhook-url", &url]));
    let peer = Peer::new(1, node.addr);
    // With capabilities as well: go-livepeer forgets the price then.
    let info = peer.greet(Some("builtin/edges")).unwrap();
    assert_eq!(price(&info), (9, 4));
    let stranger = Peer::new(2, node.addr).greet(Some("builtin/edges"));
    assert_eq!(
        stranger.unwrap_err(),
        "refused: authentication failed: not on the list"
    );
    let mut client = Client::connect(node.addr);
    let answer = start(&mut client, &mut peer.purse(&info), "builtin/edges", 1);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn a_node_that_cannot_be_reached_where_it_says_does_not_start() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let flags = [
        "--service-addr",
        &nowhere,
        "--http-addr",
        "http://127.0.0.1:0",
        "--lanes",
        "1",
    ];
    let run = |name: &str, flags: &[&str]| {
        let (mut command, dir) = Node::command(name, flags);
        let output = command.output().unwrap();
        drop(std::fs::remove_dir_all(dir));
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (status, said) = run("greet-nowhere", &flags);
    assert_eq!(status, Some(19), "{said}");
    assert!(
        said.contains(&format!("nobody can be reached at {nowhere}")),
        "{said}"
    );
    assert!(
        said.contains("--startup-availability-check=false"),
        "{said}"
    );
    // Told not to look, it starts.
    let unasked = with(&flags, &["--startup-availability-check=false"]);
    drop(Node::start("greet-unasked", &unasked));

    // Somebody else is there.
    let other = Node::start("greet-other", &PAID);
    let theirs = format!("http://{}", other.addr);
    let mut flags = PAID;
    flags[1] = &theirs;
    let (status, said) = run(
        "greet-else",
        &with(&flags, &["--http-addr", "http://127.0.0.1:0"]),
    );
    assert_eq!(status, Some(19), "{said}");
    assert!(said.contains("somebody else answers at"), "{said}");
}
