//! The address for trickle alone: trickle is served there as anywhere, and nothing else is there.

use std::net::SocketAddr;
use std::sync::Arc;

use engine::{Config, TrickleListen};
use rustls::ClientConfig;

use crate::support::{Client, End, World, eventually, for_each_world_with, tls};

fn open(config: &mut Config) {
    config.trickle_listen = Some(TrickleListen {
        addr: SocketAddr::from(([127, 0, 0, 1], 0)),
        tls: config.tls.clone(),
    });
}

/// A connection to it.
fn second(world: &World) -> Client {
    let addr = world.handle.trickle_addr().expect("it listens there");
    assert_ne!(addr, world.addr);
    Client::connect(addr, world.tls.as_ref())
}

fn publish(client: &mut Client, name: &str, seq: u64, body: &str) {
    client.send(format!(
        "POST /ai/trickle/{name}/{seq} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    client.response().head.is(200);
}

fn read(client: &mut Client, name: &str, seq: u64) -> String {
    client.send(format!(
        "GET /ai/trickle/{name}/{seq} HTTP/1.1\r\nHost: x\r\n\r\n"
    ));
    let response = client.response();
    response.head.is(200);
    response.text()
}

#[test]
fn both_addresses_lead_to_the_same_channels() {
    for_each_world_with(open, |world| {
        // One connection each, from channel to channel and from shard to shard.
        let (mut here, mut there) = (second(world), world.connect());
        for shard in 0..world.shards {
            let name = world.channel_on(shard);
            publish(&mut here, &name, 0, "by the second");
            assert_eq!(read(&mut there, &name, 0), "by the second");
            publish(&mut there, &name, 1, "by the first");
            assert_eq!(read(&mut here, &name, 1), "by the first");
        }
        world.assert_serves();
    });
}

#[test]
fn nothing_else_is_there() {
    for_each_world_with(open, |world| {
        for request in [
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST /live-video-to-video HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
            "POST /payment HTTP/1.1\r\nHost: x\r\nLivepeer-Payment: AAAA\r\nContent-Length: 0\r\n\r\n",
            // Of a long head the first line is enough.
            "POST /payment HTTP/1.1\r\nHost: x\r\nLivepeer-Pay",
            "GET /ai/trick HTTP/1.1\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            let mut client = second(world);
            client.send(request);
            client
                .response()
                .is_error(404, "404 page not found")
                .head
                .closes();
            assert_eq!(client.end(), End::Clean, "{request}");
        }
        let metrics = world.metrics();
        assert_eq!((metrics.visitors, metrics.bad_requests), (0, 0));
        // The first address is what it was.
        let health = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(world.ask(health).text(), health);
        assert_eq!(world.metrics().visitors, 1);
        eventually("all connections are closed", || {
            world.metrics().connections == 0
        });
        world.assert_serves();
    });
}

#[test]
fn it_is_remembered_by_which_address_a_connection_came() {
    for_each_world_with(open, |world| {
        for shard in 0..world.shards {
            // It may have moved by now, and is served where its channel is.
            let name = world.channel_on(shard);
            let mut client = second(world);
            publish(&mut client, &name, 0, "x");
            client.send("GET /after HTTP/1.1\r\nHost: x\r\n\r\n");
            client.response().is_error(404, "404 page not found");
        }
        assert_eq!(world.metrics().visitors, 0);
    });
}

#[test]
fn its_tls_speaks_http_1_and_nothing_else() {
    let world = World::tls(open);
    let connect = |alpn: &[&[u8]]| {
        let config: Arc<ClientConfig> = tls::client(alpn);
        Client::connect(world.handle.trickle_addr().unwrap(), Some(&config))
    };
    let chosen = |client: &Client| {
        let tls = client.session().expect("TLS");
        tls.alpn_protocol().map(<[u8]>::to_vec)
    };
    let name = world.channel();
    for alpn in [&[&b"h2"[..], b"http/1.1"][..], &[b"http/1.1"], &[]] {
        let mut client = connect(alpn);
        publish(&mut client, &name, 0, "x");
        let expected = (!alpn.is_empty()).then(|| b"http/1.1".to_vec());
        assert_eq!(chosen(&client), expected);
    }
    let mut client = connect(&[b"h2"]);
    let sent = client.try_send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(sent.is_err(), "the handshake fails");
    // The first address lets a client choose.
    let mut client = Client::connect(world.addr, Some(&tls::client(&[b"h2", b"http/1.1"])));
    client.send("PRI * HTTP/2.0\r\n");
    assert_eq!(chosen(&client), Some(b"h2".to_vec()));
}

#[test]
fn each_address_has_tls_or_not_for_itself() {
    let world = World::tls(|config| {
        config.trickle_listen = Some(TrickleListen {
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
        });
    });
    let name = world.channel();
    let mut client = Client::connect(world.handle.trickle_addr().unwrap(), None);
    publish(&mut client, &name, 0, "in the clear");
    assert_eq!(world.read(&name, 0), b"in the clear");
}

#[test]
fn connections_are_counted_over_both() {
    let world = World::plain(|config| {
        open(config);
        config.limits.connections = 8;
    });
    let held: Vec<_> = (0..4)
        .flat_map(|_| [second(&world), world.connect()])
        .collect();
    eventually("all are there", || world.metrics().connections == 8);
    for mut one_more in [second(&world), world.connect()] {
        assert_ne!(one_more.end(), End::Open);
    }
    assert_eq!(world.metrics().refused, 2);
    drop(held);
    eventually("all are gone", || world.metrics().connections == 0);
    world.assert_serves();
}

#[test]
fn it_cannot_be_the_address_for_all() {
    let world = World::plain(|_| {});
    assert_eq!(world.handle.trickle_addr(), None);
    let config = Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 9)),
        tls: None,
        trickle_listen: Some(TrickleListen {
            addr: SocketAddr::from(([0, 0, 0, 0], 9)),
            tls: None,
        }),
        cores: vec![0],
        lanes: 1,
        device: engine::Device::Cpu,
        models: Vec::new(),
        trickle: engine::TrickleConfig::default(),
        limits: engine::Limits::default(),
    };
    let refused = engine::Engine::start(config, Arc::new(Nobody));
    assert_eq!(
        refused.err().map(|error| error.0).as_deref(),
        Some("trickle alone cannot be served on 0.0.0.0:9: all is on 127.0.0.1:9")
    );
}

struct Nobody;

impl link::Control for Nobody {
    fn report(&self, _: link::Report) {}

    fn visit(&self, visitor: link::Visitor) -> Result<(), link::Visitor> {
        Err(visitor)
    }
}
