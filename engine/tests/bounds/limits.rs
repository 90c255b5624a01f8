//! Counted bounds: heads, channels, connections, bytes of a segment, bytes of a channel.

use crate::support::{End, eventually, for_each_world_with, noise};

#[test]
fn a_head_that_is_too_long_is_431() {
    for_each_world_with(
        |_| {},
        |world| {
            let mut client = world.send("GET /ai/trickle/x/0 HTTP/1.1\r\n");
            let field = format!("X-Padding: {}\r\n", "y".repeat(1000));
            for _ in 0..40 {
                if client.try_send(&field).is_err() {
                    break;
                }
            }
            client
                .response()
                .is_error(431, "Request header too large")
                .head
                .closes();
            assert_eq!(client.end(), End::Clean);

            let many = "A: b\r\n".repeat(120);
            world
                .ask(format!("GET /ai/trickle/x/0 HTTP/1.1\r\n{many}\r\n"))
                .is_error(431, "Request header too large");
            world.assert_serves();
        },
    );
}

#[test]
fn a_head_that_is_too_long_is_431_even_when_it_comes_whole() {
    for_each_world_with(
        |_| {},
        |world| {
            let padding = "y".repeat(20 << 10);
            let mut client = world.connect();
            client.send(format!(
                "GET /ai/trickle/x/0 HTTP/1.1\r\nX-Padding: {padding}\r\n\r\n"
            ));
            client.response().is_error(431, "Request header too large");
        },
    );
}

#[test]
fn a_head_of_some_kilobytes_is_served() {
    for_each_world_with(
        |_| {},
        |world| {
            let name = world.channel();
            let padding = "y".repeat(12 << 10);
            for split in [0, 1, 5000, 12_000] {
                let text =
                    format!("GET /ai/trickle/{name}/next HTTP/1.1\r\nX-Padding: {padding}\r\n\r\n");
                let mut client = world.send(&text[..split]);
                std::thread::sleep(crate::support::ms(50));
                client.send(&text[split..]);
                assert_eq!(client.response().text(), "0");
            }
        },
    );
}

#[test]
fn too_many_channels_is_503() {
    for_each_world_with(
        |config| {
            config.limits.channels = 3;
            config.trickle.autocreate = true;
        },
        |world| {
            let names: Vec<_> = (0..4).map(|_| world.name_on(0)).collect();
            for name in &names[..3] {
                world.publish(name, 0, "x").head.is(200);
            }
            world
                .publish(&names[3], 0, "x")
                .is_error(503, "Too many channels")
                .head
                .closes();
            world
                .ask(format!(
                    "POST /ai/trickle/{} HTTP/1.1\r\nHost: x\r\n\r\n",
                    names[3]
                ))
                .is_error(503, "Too many channels");
            assert_eq!(world.metrics().channels, 3);
            assert_eq!(world.read(&names[0], 0), b"x");
            world.delete(&names[0]).head.is(200);
            world.publish(&names[3], 0, "x").head.is(200);
        },
    );
}

#[test]
fn a_segment_that_is_too_long_ends_cleanly_and_its_publisher_reads_413() {
    for_each_world_with(
        |config| config.limits.segment_bytes = 100_000,
        |world| {
            let name = world.channel();
            let body = noise(1, 150_000);
            let mut reader = world.get(&name, 0);
            let mut publisher = world.post(&name, 0);
            for piece in body.chunks(10_000) {
                if publisher
                    .try_send(
                        [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat(),
                    )
                    .is_err()
                {
                    break;
                }
            }
            reader.head().is(200).seq(0);
            let got = reader.rest();
            assert!(
                !got.is_empty() && got.len() <= 100_000 && body.starts_with(&got),
                "{} bytes",
                got.len()
            );
            let answer = publisher.response();
            answer.head.is(413).seq(0).closes().closed(false);
            assert_eq!(publisher.end(), End::Clean);
            assert_eq!(world.metrics().segments_capped, 1);
            // The next segment is as good as any.
            world.publish(&name, 1, &body[..90_000]).head.is(200).seq(1);
            assert_eq!(world.read(&name, 1), &body[..90_000]);
        },
    );
}

#[test]
fn a_channel_that_holds_too_much_gives_up_its_oldest_segments() {
    for_each_world_with(
        |config| config.limits.channel_bytes = 250_000,
        |world| {
            let name = world.channel();
            for seq in 0..4 {
                world.publish(&name, seq, noise(seq, 100_000)).head.is(200);
            }
            world.get(&name, 0).response().is_missing(4, 0);
            world.get(&name, 1).response().is_missing(4, 1);
            assert_eq!(world.read(&name, 2), noise(2, 100_000));
            assert_eq!(world.read(&name, 3), noise(3, 100_000));
        },
    );
}

#[test]
fn a_channel_whose_open_segments_hold_too_much_caps_the_one_that_grows() {
    for_each_world_with(
        |config| config.limits.channel_bytes = 250_000,
        |world| {
            let name = world.channel();
            let mut publishers: Vec<_> = (0..4).map(|seq| world.post(&name, seq)).collect();
            for publisher in &mut publishers {
                publisher.chunk(noise(4, 100_000));
            }
            // None is complete, so none can be given up: whoever grows beyond the bound is told.
            eventually("capped", || world.metrics().segments_capped >= 2);
            let told = publishers
                .iter_mut()
                .map(|publisher| {
                    let _ = publisher.try_send("0\r\n\r\n");
                    publisher.response().head.status
                })
                .filter(|status| *status == 413)
                .count();
            assert_eq!(told, 2);
            let mut held = 0;
            for seq in 0..4 {
                let answer = world.get(&name, seq).response();
                held += if answer.head.status == 200 {
                    answer.body.len()
                } else {
                    0
                };
            }
            assert!(held <= 250_000, "{held} bytes held");
        },
    );
}

#[test]
fn connections_beyond_the_bound_are_closed_and_counted() {
    for_each_world_with(
        |config| config.limits.connections = 10,
        |world| {
            let name = world.channel();
            let mut clients: Vec<_> = (0..40 * world.shards).map(|_| world.connect()).collect();
            eventually("refused", || {
                world.metrics().refused as usize >= clients.len() - 10 * world.shards
            });
            let metrics = world.metrics();
            assert!(metrics.connections as usize <= 10 * world.shards);
            assert!(metrics.refused > 0);
            let mut open = 0;
            for client in &mut clients {
                if world.tls.is_some() {
                    // A handshake tells, without an idle wait.
                    open += usize::from(client.try_send("").is_ok());
                } else {
                    open += usize::from(client.end_within(crate::support::ms(5)) == End::Open);
                }
            }
            assert!(open <= 10 * world.shards, "{open} open");
            drop(clients);
            eventually("room again", || world.metrics().connections == 0);
            world.publish(&name, 0, "x").head.is(200);
            assert_eq!(world.read(&name, 0), b"x");
        },
    );
}

#[test]
fn connections_and_pages_are_counted_down_to_nothing() {
    for_each_world_with(
        |_| {},
        |world| {
            let name = world.channel();
            let mut publisher = world.post(&name, 0);
            publisher.chunk(noise(1, 300_000));
            let mut reader = world.get(&name, 0);
            reader.head().is(200);
            // The two have connections of their own: a head may be there before all of the segment is.
            eventually("all is held", || world.metrics().page_bytes >= 300_000);
            publisher.reset();
            drop(reader);
            let _parked = (0..20).map(|_| world.get(&name, 1)).collect::<Vec<_>>();
            world.delete(&name).head.is(200);
            drop(_parked);
            eventually("all gone", || {
                let metrics = world.metrics();
                (metrics.connections, metrics.page_bytes, metrics.channels) == (0, 0, 0)
            });
            assert!(world.metrics().page_bytes_peak >= 300_000);
        },
    );
}
