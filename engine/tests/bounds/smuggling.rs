//! One connection, several requests: pipelining works, and a body is never taken for a request.

use crate::support::{BEAT, End, for_each_world_with};

#[test]
fn ambiguous_framing_is_400_and_closes() {
    for_each_world_with(
        |_| {},
        |world| {
            let name = world.channel();
            let hidden = format!("DELETE /ai/trickle/{name} HTTP/1.1\r\nHost: x\r\n\r\n");
            for fields in [
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                "Content-Length: 0\r\nContent-Length: 5\r\n",
                "Content-Length: 0, 5\r\n",
                "Content-Length: +0\r\n",
                "Content-Length: -1\r\n",
                "Content-Length: 0x0\r\n",
                "Content-Length: 99999999999999999999\r\n",
                "Content-Length:\r\n",
                "Transfer-Encoding: chunked, identity\r\n",
                "Transfer-Encoding: gzip, chunked\r\n",
                "Transfer-Encoding: xchunked\r\n",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
                "Transfer-Encoding : chunked\r\n",
                "Content-Length: 0\r\n Transfer-Encoding: chunked\r\n",
                "Content-Length\x00: 5\r\n",
            ] {
                let mut client = world.send(format!(
                    "POST /ai/trickle/{name}/0 HTTP/1.1\r\nHost: x\r\n{fields}\r\n0\r\n\r\n{hidden}"
                ));
                client.head().is(400).closes();
                client.rest();
                assert_eq!(client.end(), End::Clean, "{fields:?}");
            }
            assert_eq!(world.next(&name), 0, "the channel is there and untouched");
        },
    );
}

#[test]
fn a_body_on_a_get_is_no_request() {
    for_each_world_with(
        |_| {},
        |world| {
            let (name, victim) = (world.channel(), world.channel());
            world.publish(&name, 0, "x").head.is(200);
            let hidden = format!("DELETE /ai/trickle/{victim} HTTP/1.1\r\nHost: x\r\n\r\n");
            for what in ["0", "next", "-1"] {
                for fields in [
                    format!("Content-Length: {}\r\n\r\n{hidden}", hidden.len()),
                    format!(
                        "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n",
                        hidden.len()
                    ),
                ] {
                    let mut client = world.send(format!(
                        "GET /ai/trickle/{name}/{what} HTTP/1.1\r\nHost: x\r\n{fields}"
                    ));
                    if what == "-1" {
                        client.assert_silent(BEAT);
                    } else {
                        client.response().head.is(200);
                        client.end_within(BEAT);
                    }
                }
            }
            assert_eq!(world.next(&victim), 0, "the victim was not deleted");
        },
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    for_each_world_with(
        |_| {},
        |world| {
            // On two shards the second channel lives elsewhere, so the connection moves with requests still unread.
            let (a, b) = (world.channel_on(0), world.channel_on(world.shards - 1));
            let mut wire = String::new();
            for seq in 0..5 {
                wire += &format!(
                    "POST /ai/trickle/{a}/{seq} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na{seq}"
                );
                wire += &format!(
                    "POST /ai/trickle/{b}/{seq} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nb{seq}\r\n0\r\n\r\n"
                );
                wire += &format!(
                    "GET /ai/trickle/{a}/{seq} HTTP/1.1\r\nHost: x\r\n\r\nGET /ai/trickle/{b}/{seq} HTTP/1.1\r\nHost: x\r\n\r\n"
                );
                wire += &format!("GET /ai/trickle/{a}/next HTTP/1.1\r\nHost: x\r\n\r\n");
            }
            for piece in [wire.len(), 100, 7] {
                let mut client = world.connect();
                for bytes in wire.as_bytes().chunks(piece) {
                    client.send(bytes);
                }
                for seq in 0..5 {
                    client.response().head.is(200).seq(seq);
                    client.response().head.is(200).seq(seq);
                    assert_eq!(client.response().text(), format!("a{seq}"));
                    assert_eq!(client.response().text(), format!("b{seq}"));
                    assert_eq!(client.response().text(), (seq + 1).to_string());
                }
                world.delete(&a).head.is(200);
                world.delete(&b).head.is(200);
                world.create(&a, "video/MP2T", None);
                world.create(&b, "video/MP2T", None);
            }
        },
    );
}

#[test]
fn a_request_behind_a_parked_get_waits_its_turn() {
    for_each_world_with(
        |_| {},
        |world| {
            let name = world.channel();
            let mut client = world.send(format!(
                "GET /ai/trickle/{name}/0 HTTP/1.1\r\nHost: x\r\n\r\nGET /ai/trickle/{name}/next HTTP/1.1\r\nHost: x\r\n\r\n"
            ));
            client.assert_silent(BEAT);
            world.publish(&name, 0, "first").head.is(200);
            assert_eq!(client.response().text(), "first");
            assert_eq!(client.response().text(), "1");
        },
    );
}

#[test]
fn what_follows_a_closing_answer_is_not_served() {
    for_each_world_with(
        |_| {},
        |world| {
            let name = world.channel();
            let mut client = world.send(format!(
                "GET /ai/trickle/{name}/next HTTP/1.1\r\nConnection: close\r\n\r\nDELETE /ai/trickle/{name} HTTP/1.1\r\nHost: x\r\n\r\n"
            ));
            client.response().head.is(200).closes();
            assert_eq!(client.end(), End::Clean);
            // The same behind a stale publish, whose body was not read.
            world.publish(&name, 0, "x").head.is(200);
            let hidden = format!("DELETE /ai/trickle/{name} HTTP/1.1\r\nHost: x\r\n\r\n");
            let mut stale = world.send(format!("POST /ai/trickle/{name}/0 HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len()));
            stale.response().head.is(200).closes();
            assert_eq!(stale.end(), End::Clean);
            assert_eq!(world.next(&name), 1);
        },
    );
}

#[test]
fn unknown_versions_and_broken_lines_are_refused() {
    for_each_world_with(
        |_| {},
        |world| {
            for (text, status) in [
                ("GET /ai/trickle/x/0 HTTP/3.0\r\n\r\n", 505),
                ("GET  /ai/trickle/x/0  HTTP/1.1\r\n\r\n", 400),
                ("GET /ai/trickle/x/0\r\n\r\n", 400),
                ("G\x01T /ai/trickle/x/0 HTTP/1.1\r\n\r\n", 400),
                ("GET /ai/trickle/x/0 HTTP/1.1\r\nno colon\r\n\r\n", 400),
            ] {
                let mut client = world.send(text);
                client.response().head.is(status).closes();
                assert_eq!(client.end(), End::Clean, "{text:?}");
            }
            world.assert_serves();
        },
    );
}
