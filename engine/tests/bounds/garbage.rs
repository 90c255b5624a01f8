//! Bytes that mean nothing, and peers that vanish. Afterwards every shard still serves and nothing has panicked.

use crate::support::{BEAT, Client, End, World, eventually, for_each_world_with, ms, noise};

#[test]
fn random_bytes_on_the_port() {
    for_each_world_with(
        |_| {},
        |world| {
            // 10 MB over the four worlds and 40 connections each.
            for seed in 0..40 {
                let mut client = Client::connect(world.addr, None);
                let mut bytes = noise(seed, 64 << 10);
                match seed % 4 {
                    1 => bytes.splice(0..0, *b"POST /ai/trickle/").for_each(drop),
                    2 => bytes
                        .splice(0..0, *b"GET /ai/trickle/x/0 HTTP/1.1\r\nA: ")
                        .for_each(drop),
                    3 => bytes.splice(0..5, *b"\x16\x03\x01\x40\x00").for_each(drop),
                    _ => {}
                }
                // It may be refused before all is sent.
                let _ = client.try_send(&bytes);
                let _ = client.tcp().shutdown(std::net::Shutdown::Write);
                assert_ne!(client.end_within(ms(5000)), End::Open, "seed {seed}");
            }
            if world.tls.is_some() {
                assert!(world.metrics().tls_failures > 0);
            } else {
                assert!(world.metrics().accepted >= 40);
            }
            world.assert_serves();
            eventually("all gone", || world.metrics().connections == 0);
        },
    );
}

#[test]
fn random_bytes_inside_tls() {
    let world = World::tls(|_| {});
    for seed in 0..20 {
        let mut client = world.connect();
        let _ = client.try_send(noise(seed, 50_000));
        assert_ne!(client.end_within(ms(5000)), End::Open);
    }
    world.assert_serves();
}

#[test]
fn random_bytes_as_a_body_are_carried_faithfully() {
    for_each_world_with(
        |_| {},
        |world| {
            let name = world.channel();
            let body = noise(5, 5 << 20);
            let mut readers: Vec<_> = (0..2).map(|_| world.get(&name, 0)).collect();
            std::thread::scope(|scope| {
                let bodies: Vec<_> = readers
                    .drain(..)
                    .map(|mut reader| scope.spawn(move || reader.response().body))
                    .collect();
                world.publish(&name, 0, &body).head.is(200).seq(0);
                for got in bodies {
                    assert!(got.join().expect("a reader") == body);
                }
            });
            let mut chunked = world.post(&name, 1);
            let mut at = 0;
            for n in 1u64.. {
                let len = usize::try_from(n * 7919 % 60_000 + 1)
                    .unwrap_or(1)
                    .min(body.len() - at);
                chunked.chunk(&body[at..at + len]);
                at += len;
                if at == body.len() {
                    break;
                }
            }
            chunked.finish().head.is(200).seq(1);
            assert!(world.read(&name, 1) == body);
        },
    );
}

#[test]
fn random_bytes_instead_of_chunks_are_400_and_harm_no_one() {
    for_each_world_with(
        |_| {},
        |world| {
            let name = world.channel();
            for seed in 0..30 {
                let mut publisher = world.post(&name, -1);
                publisher.chunk("x");
                let _ = publisher.try_send([b"\x00".as_slice(), &noise(seed, 100_000)].concat());
                publisher.response().head.is(400).closes();
                assert_eq!(publisher.end(), End::Clean);
            }
            eventually("counted", || world.metrics().aborts >= 30);
            world.assert_serves();
        },
    );
}

#[test]
fn heads_that_never_end() {
    for_each_world_with(
        |_| {},
        |world| {
            for filler in ["a", "A: b\r\n", "\r\n\r\n", "GET ", "\0"] {
                let mut client = world.connect();
                if filler != "\r\n\r\n" && filler != "GET " {
                    client.send("GET /ai/trickle/x/0 HTTP/1.1\r\n");
                }
                let filler = filler.repeat(2000);
                for _ in 0..50 {
                    if client.try_send(&filler).is_err() {
                        break;
                    }
                }
                let _ = client.tcp().shutdown(std::net::Shutdown::Write);
                assert_ne!(client.end_within(ms(5000)), End::Open);
            }
            world.assert_serves();
        },
    );
}

#[test]
fn publishers_that_vanish_anywhere() {
    for_each_world_with(
        |config| config.trickle.abort_grace = ms(500),
        |world| {
            // Cut a publish at every interesting place, with FIN and with RST.
            let full = "POST /ai/trickle/NAME/0 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                        5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n";
            let head = full.find("\r\n\r\n").unwrap_or(0) + 4;
            let cuts = [4, 30, head - 1, head, head + 1, head + 2, head + 3]
                .into_iter()
                .chain([head + 6, head + 8, head + 9, head + 10, full.len() - 3]);
            let mut cases = Vec::new();
            for (cut, with_reset) in cuts.flat_map(|cut| [(cut, false), (cut, true)]) {
                let name = world.channel();
                let reader = world.get(&name, 0);
                let at = cut + if cut > 22 { name.len() - 4 } else { 0 };
                let publisher = world.send(&full.replace("NAME", &name)[..at]);
                cases.push((cut, with_reset, name, reader, publisher));
            }
            std::thread::sleep(BEAT);
            let vanished: Vec<_> = cases
                .into_iter()
                .map(|(cut, with_reset, name, reader, publisher)| {
                    if with_reset {
                        publisher.reset();
                    } else {
                        publisher.vanish();
                    }
                    (cut, name, reader)
                })
                .collect();
            for (cut, name, mut reader) in vanished {
                if cut >= head + 4 {
                    reader.head().is(200).seq(0);
                    let body = reader.rest();
                    assert!(
                        !body.is_empty() && b"helloworld".starts_with(&body[..]),
                        "{body:?}"
                    );
                } else {
                    // No byte of the segment came: it waits on, for whoever comes next.
                    world.publish(&name, 0, "next").head.is(200);
                    assert_eq!(reader.response().text(), "next");
                }
            }
            world.assert_serves();
        },
    );
}

#[test]
fn a_flood_behind_a_parked_request_is_not_stored() {
    for_each_world_with(
        |_| {},
        |world| {
            let name = world.channel();
            let mut reader = world.get(&name, 0);
            reader
                .tcp()
                .set_write_timeout(Some(ms(500)))
                .expect("a write timeout");
            let mut sent = 0;
            while sent < 32 << 20 && reader.try_send([b'x'; 64 << 10]).is_ok() {
                sent += 64 << 10;
            }
            assert!(
                sent < 32 << 20,
                "the server swallowed {sent} bytes nobody asked for"
            );
            // It was cut, and nobody else noticed.
            world.publish(&name, 0, "answer").head.is(200);
            world.assert_serves();
        },
    );
}

#[test]
fn a_client_that_never_reads_its_answers() {
    for_each_world_with(
        |_| {},
        |world| {
            let name = world.channel();
            let mut client = world.connect();
            client
                .tcp()
                .set_write_timeout(Some(ms(500)))
                .expect("a write timeout");
            let request =
                format!("GET /ai/trickle/{name}/next HTTP/1.1\r\nHost: x\r\n\r\n").repeat(1000);
            let mut sent = 0;
            while sent < 64 << 20 && client.try_send(&request).is_ok() {
                sent += request.len();
            }
            assert!(
                sent < 64 << 20,
                "the server works for someone who does not listen"
            );
            world.assert_serves();
            drop(client);
            eventually("gone", || world.metrics().connections == 0);
        },
    );
}

#[test]
fn a_stop_ends_everyone_politely() {
    for_each_world_with(
        |_| {},
        |world| {
            let name = world.channel();
            let (mut reader, mut publisher) = (world.get(&name, 0), world.post(&name, 1));
            let mut idle = world.connect();
            idle.send("");
            reader.assert_silent(BEAT);
            world.stop();
            reader.response().head.is(200).seq(0).closed(true);
            publisher
                .response()
                .head
                .is(200)
                .seq(1)
                .closed(true)
                .closes();
            assert_ne!(idle.end(), End::Open);
        },
    );
}
