//! Allowances 1–12: what peers do with HTTP and TLS, and must be let do.

use std::time::Duration;

use crate::support::{BEAT, Client, End, eventually, for_each_world, ms, noise, tls};

#[test]
fn allowance_01_self_signed_tls_without_a_server_name() {
    for_each_world(|world| {
        let name = world.channel();
        world.publish(&name, 0, "x").head.is(200);
        // Peers that offer both protocols are content with the one that is spoken first.
        if world.tls.is_some() {
            let config = tls::client(&[b"http/1.1"]);
            let mut client = Client::connect(world.addr, Some(&config));
            client.send(format!(
                "GET /ai/trickle/{name}/0 HTTP/1.1\r\nHost: x\r\n\r\n"
            ));
            assert_eq!(client.response().text(), "x");
            assert_eq!(
                client
                    .session()
                    .and_then(|tls| tls.alpn_protocol().map(<[u8]>::to_vec))
                    .as_deref(),
                Some(&b"http/1.1"[..])
            );
        }
    });
}

#[test]
fn allowance_02_a_socket_that_is_silent_for_long_is_let_be() {
    let limits = engine::Limits::default();
    assert!(
        limits.keep_alive >= Duration::from_secs(300) && limits.head >= Duration::from_secs(300)
    );
    for_each_world(|world| {
        let name = world.channel();
        let mut client = world.connect();
        if world.tls.is_some() {
            // Shake hands now, speak later, as aiohttp does.
            client.send("");
        }
        client.assert_silent(ms(2500));
        client.send(format!(
            "POST /ai/trickle/{name}/0 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nlate"
        ));
        client.response().head.is(200).seq(0);
        assert_eq!(world.read(&name, 0), b"late");
    });
}

#[test]
fn allowance_03_a_body_may_be_silent_and_then_slow() {
    for_each_world(|world| {
        let name = world.channel();
        let mut publisher = world.post(&name, 0);
        publisher.assert_silent(ms(1000));
        for byte in b"slow" {
            publisher.send(format!("1\r\n{}\r\n", *byte as char));
            std::thread::sleep(ms(300));
        }
        publisher.finish().head.is(200).seq(0);
        assert_eq!(world.read(&name, 0), b"slow");
    });
}

#[test]
fn allowance_04_a_get_may_wait_long_for_its_head() {
    for_each_world(|world| {
        let name = world.channel();
        let mut reader = world.get(&name, 0);
        reader.assert_silent(ms(2500));
        world.publish(&name, 0, "x");
        assert_eq!(reader.response().text(), "x");
    });
}

#[test]
fn allowance_05_a_connection_a_request() {
    for_each_world(|world| {
        let name = world.channel();
        for seq in 0..6 {
            let mut publisher = world.send(format!(
                "POST /ai/trickle/{name}/{seq} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            ));
            publisher.chunk("x");
            publisher.finish().head.is(200).seq(seq).closes();
            assert_eq!(publisher.end(), End::Clean);
            let mut reader = world.send(format!(
                "GET /ai/trickle/{name}/{seq} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            ));
            reader.head().is(200).closes();
            assert_eq!(reader.rest(), b"x");
            assert_eq!(reader.end(), End::Clean);
        }
    });
}

#[test]
fn allowance_05_tls_sessions_resume_across_shards() {
    for_each_world(|world| {
        let Some(config) = &world.tls else { return };
        let name = world.channel();
        let mut resumed = 0;
        for _ in 0..6 {
            let mut client = Client::connect(world.addr, Some(config));
            client.send(format!(
                "GET /ai/trickle/{name}/next HTTP/1.1\r\nHost: x\r\n\r\n"
            ));
            assert_eq!(client.response().text(), "0");
            let kind = client
                .session()
                .and_then(|session| session.handshake_kind());
            resumed += usize::from(kind == Some(rustls::HandshakeKind::Resumed));
        }
        assert!(resumed >= 4, "{resumed} of 6 handshakes were resumed");
    });
}

#[test]
fn allowance_06_clients_that_leave_are_forgotten_and_hurt_nobody() {
    for_each_world(|world| {
        let name = world.channel();
        let mut publisher = world.post(&name, 0);
        let mut stays = world.get(&name, 0);
        for round in 0..4 {
            let mut parked = world.get(&name, 1);
            parked.assert_silent(ms(50));
            if round % 2 == 0 {
                parked.vanish()
            } else {
                parked.reset()
            }
        }
        publisher.chunk("one ");
        for round in 0..4 {
            let mut leaves = world.get(&name, 0);
            leaves.head().is(200);
            assert_eq!(leaves.payload(4), b"one ");
            if round % 2 == 0 {
                leaves.vanish()
            } else {
                leaves.reset()
            }
        }
        publisher.chunk("two");
        publisher.finish().head.is(200);
        stays.head().is(200);
        assert_eq!(stays.rest(), b"one two");
        world.publish(&name, 1, "next").head.is(200);
        assert_eq!(world.read(&name, 1), b"next");
    });
}

#[test]
fn allowance_07_expect_100_continue_is_answered_at_once_on_post_and_never_on_get() {
    for_each_world(|world| {
        let name = world.channel();
        let mut publisher = world.post(&name, 0);
        assert_eq!(publisher.continues, 1);
        publisher.chunk("x");
        publisher.finish().head.is(200);
        assert_eq!(publisher.continues, 1);
        let mut sized = world.send(format!("POST /ai/trickle/{name}/1 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"));
        sized.await_continue();
        sized.send("y");
        sized.response().head.is(200).seq(1);
        let mut reader = world.send(format!(
            "GET /ai/trickle/{name}/2 HTTP/1.1\r\nExpect: 100-continue\r\n\r\n"
        ));
        reader.assert_silent(BEAT);
        world.publish(&name, 2, "z");
        assert_eq!(reader.response().text(), "z");
        assert_eq!(reader.continues, 0);
    });
}

#[test]
fn allowance_08_any_framing_in_and_live_framing_out() {
    for_each_world(|world| {
        let name = world.channel();
        let body = noise(8, 100_000);
        world.publish(&name, 0, &body).head.is(200);
        let mut chunked = world.post(&name, 1);
        for piece in body.chunks(777) {
            chunked.chunk(piece);
        }
        chunked.finish().head.is(200);
        // Chunk extensions and trailers are legal; chunk lines may be split anywhere.
        let mut odd = world.post(&name, 2);
        for piece in [
            "5;a=\"b\"\r",
            "\nhel",
            "lo\r\n",
            "00",
            "1\r\n!\r",
            "\n0\r\nX-T",
            "railer: 1\r\n\r",
            "\n",
        ] {
            odd.send(piece);
            std::thread::sleep(ms(20));
        }
        odd.response().head.is(200).seq(2);
        for (seq, expected) in [(0, &body[..]), (1, &body), (2, b"hello!")] {
            let mut reader = world.send(format!("GET /ai/trickle/{name}/{seq} HTTP/1.1\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n\r\n"));
            reader
                .head()
                .is(200)
                .has("Content-Length", None)
                .has("Content-Encoding", None)
                .has("Transfer-Encoding", Some("chunked"));
            assert_eq!(reader.rest(), expected);
        }
    });
}

#[test]
fn allowance_09_field_names_are_read_in_any_case() {
    for_each_world(|world| {
        let name = world.channel();
        let mut zero = world.post(&name, 0);
        zero.chunk("x");
        let mut reader = world.get(&name, 0);
        reader.head().is(200);
        assert_eq!(reader.payload(1), b"x");
        zero.vanish();
        let answer = world.ask(format!("POST /ai/trickle/{name}/1 HTTP/1.1\r\nHOST: x\r\ncontent-LENGTH: 1\r\nLP-TRICKLE-RESET: yes\r\n\r\ny"));
        answer.head.is(200).seq(1);
        assert_eq!(reader.rest(), b"");
    });
}

#[test]
fn allowance_09_an_early_answer_survives_the_body_that_is_still_being_sent() {
    for_each_world(|world| {
        let mut client = world.send(
            "POST /ai/trickle/nobody/0 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        let piece = noise(9, 64 << 10);
        for _ in 0..64 {
            client.chunk(&piece);
        }
        client
            .response()
            .is_error(404, "Stream not found")
            .head
            .closes();
        assert_eq!(client.end(), End::Clean);
    });
}

#[test]
fn allowance_10_status_470_has_a_reason() {
    for_each_world(|world| {
        let name = world.channel();
        let head = world.get(&name, 9).response().head;
        let line = head.text.lines().next().unwrap_or_default();
        assert!(
            line.starts_with("HTTP/1.1 470 ") && line.len() > "HTTP/1.1 470 ".len(),
            "{line:?}"
        );
    });
}

#[test]
fn allowance_11_paths_are_folded_not_redirected() {
    for_each_world(|world| {
        let name = world.channel();
        world.publish(&name, 0, "x");
        for target in [
            format!("//ai//trickle///{name}//0"),
            format!("/ai/trickle/{name}/0/"),
            format!("/ai/trickle/{name}/0?token=1&x=//"),
            format!("http://somewhere:8935/ai/trickle/{name}/0"),
            format!("/ai/trickle/{}/0", name.replace('-', "%2D")),
        ] {
            let answer = world.ask(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
            answer.head.is(200).seq(0);
            assert_eq!(answer.text(), "x", "{target}");
        }
        let answer = world.ask(format!(
            "POST //ai/trickle//{name}//1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\ny"
        ));
        answer.head.is(200).seq(1);
        world
            .ask(format!(
                "POST /ai/trickle/{name}/ HTTP/1.1\r\nHost: x\r\n\r\n"
            ))
            .head
            .is(200);
    });
}

#[test]
fn allowance_12_signs_and_leading_zeros_in_numbers() {
    for_each_world(|world| {
        let name = world.channel();
        world.publish(&name, "+0", "zero").head.is(200).seq(0);
        world.publish(&name, "0001", "one").head.is(200).seq(1);
        assert_eq!(world.read(&name, "-0"), b"zero");
        assert_eq!(world.read(&name, "+000000001"), b"one");
        assert_eq!(world.read(&name, "-02"), b"one");
        world.delete(&format!("{name}/+01")).head.is(200);
    });
}

#[test]
fn an_answer_waits_for_the_rest_of_a_body_it_does_not_want() {
    for_each_world(|world| {
        let name = world.channel();
        // A create with a body, then another request on the same connection.
        let mut client = world.send(format!("POST /ai/trickle/{name} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nun"));
        client.head().is(200);
        client.send(format!(
            "read\r\n0\r\n\r\nGET /ai/trickle/{name}/next HTTP/1.1\r\nHost: x\r\n\r\n"
        ));
        drop(client);
        let mut client = world.send(format!(
            "POST /ai/trickle/{name} HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nunread"
        ));
        client.response().head.is(200);
        client.send(format!(
            "GET /ai/trickle/{name}/next HTTP/1.1\r\nHost: x\r\n\r\n"
        ));
        assert_eq!(client.response().text(), "0");
    });
}

#[test]
fn connections_are_counted_out_again() {
    for_each_world(|world| {
        let name = world.channel();
        let clients: Vec<_> = (0..8).map(|seq| world.get(&name, seq % 2)).collect();
        eventually("connected", || world.metrics().connections >= 8);
        drop(clients);
        world.delete(&name).head.is(200);
        // Strangers come and go in this world, so only the trend can be told here; `bounds` counts to zero.
        assert!(world.metrics().accepted >= 9);
    });
}
