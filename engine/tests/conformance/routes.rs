//! Every route with every answer: status, fields, text.

use crate::support::{BEAT, for_each_world};

#[test]
fn create_of_a_channel_that_is_there_is_200_and_keeps_its_content_type() {
    for_each_world(|world| {
        let name = world.channel();
        let answer = world.ask(format!("POST /ai/trickle/{name} HTTP/1.1\r\nHost: x\r\nExpect-Content: video/mp4\r\nContent-Length: 0\r\n\r\n"));
        answer.head.is(200);
        assert_eq!(answer.body, b"");
        world.publish(&name, 0, "x");
        world
            .get(&name, 0)
            .response()
            .head
            .has("Content-Type", Some("video/MP2T"));
    });
}

#[test]
fn create_without_autocreate_is_404() {
    for_each_world(|world| {
        world
            .ask("POST /ai/trickle/nobody HTTP/1.1\r\nHost: x\r\n\r\n")
            .is_error(404, "Stream not found");
    });
}

#[test]
fn publish_without_a_channel_is_404_and_closes() {
    for_each_world(|world| {
        let mut client = world.send(
            "POST /ai/trickle/nobody/0 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        let answer = client.response();
        answer.is_error(404, "Stream not found").head.closes();
        assert_eq!(client.end(), crate::support::End::Clean);
    });
}

#[test]
fn get_and_next_without_a_channel_are_404_and_keep_the_connection() {
    for_each_world(|world| {
        let mut client = world.connect();
        for what in ["0", "-1", "-2", "next"] {
            client.send(format!(
                "GET /ai/trickle/nobody/{what} HTTP/1.1\r\nHost: x\r\n\r\n"
            ));
            client
                .response()
                .is_error(404, "Stream not found")
                .head
                .has("Connection", None);
        }
    });
}

#[test]
fn publish_of_a_bad_number_is_400() {
    for_each_world(|world| {
        let name = world.channel();
        for bad in ["abc", "-2", "-7", "next", "9223372036854775807"] {
            world.publish(&name, bad, "").is_error(400, "Invalid idx");
        }
    });
}

#[test]
fn next_tells_the_head_in_digits_alone() {
    for_each_world(|world| {
        let name = world.channel();
        let mut client = world.connect();
        for n in 0..12 {
            client.send(format!(
                "GET /ai/trickle/{name}/next HTTP/1.1\r\nHost: x\r\n\r\n"
            ));
            let answer = client.response();
            answer.head.is(200).latest(n).closed(false);
            assert_eq!(answer.text(), n.to_string());
            world.publish(&name, n, "x");
        }
    });
}

#[test]
fn delete_of_a_segment_closes_it_and_leaves_the_head() {
    for_each_world(|world| {
        let name = world.channel();
        let mut publisher = world.post(&name, 0);
        publisher.chunk("kept");
        let mut reader = world.get(&name, 0);
        reader.head().is(200);
        let answer = world.delete(&format!("{name}/0"));
        answer.head.is(200);
        assert_eq!(answer.body, b"");
        assert_eq!(reader.rest(), b"kept");
        assert_eq!(world.next(&name), 1);
        publisher.chunk("lost");
        publisher.finish().head.is(200).seq(0).closed(false);
        assert_eq!(world.read(&name, 0), b"kept");
    });
}

#[test]
fn delete_of_a_parked_segment_moves_the_head_past_it() {
    for_each_world(|world| {
        let name = world.channel();
        let mut publisher = world.post(&name, 0);
        world.delete(&format!("{name}/0")).head.is(200);
        publisher
            .response()
            .head
            .is(200)
            .seq(0)
            .closed(false)
            .closes();
        assert_eq!(world.next(&name), 1);
        let answer = world.get(&name, 0).response();
        answer.head.is(200).seq(0).latest(1).closed(false);
        assert_eq!(answer.body, b"");
    });
}

#[test]
fn other_methods_on_a_known_path_are_405() {
    for_each_world(|world| {
        let name = world.channel();
        for (line, allow) in [
            (format!("GET /ai/trickle/{name}"), "DELETE, POST"),
            (format!("HEAD /ai/trickle/{name}"), "DELETE, POST"),
            (format!("PUT /ai/trickle/{name}"), "DELETE, POST"),
            (
                format!("PUT /ai/trickle/{name}/0"),
                "DELETE, GET, HEAD, POST",
            ),
            (
                format!("PATCH /ai/trickle/{name}/0"),
                "DELETE, GET, HEAD, POST",
            ),
            (
                format!("OPTIONS /ai/trickle/{name}/0"),
                "DELETE, GET, HEAD, POST",
            ),
        ] {
            let mut client = world.send(format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n"));
            client.head().is(405).has("Allow", Some(allow));
        }
    });
}

#[test]
fn under_the_base_path_what_is_no_route_is_404() {
    for_each_world(|world| {
        for path in ["", "a/0/1", "a/b/c"] {
            world
                .ask(format!(
                    "GET /ai/trickle/{path} HTTP/1.1\r\nHost: x\r\n\r\n"
                ))
                .head
                .is(404);
        }
    });
}

#[test]
fn what_is_not_trickle_leaves_through_the_door_with_every_byte() {
    for_each_world(|world| {
        for head in [
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST /live-video-to-video HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        ] {
            let answer = world.ask(head);
            answer.head.is(200);
            assert!(
                answer.head.text.starts_with("HTTP/1.1 200 Visitor\r\n"),
                "{}",
                answer.head.text
            );
            assert_eq!(answer.text(), head);
        }
        // A cleartext HTTP/2 connection, and a head that comes in two pieces.
        let mut preface = world.send("PRI * HTTP/2.0\r\n");
        assert_eq!(preface.response().text(), "PRI * HTTP/2.0\r\n");
        let mut halves = world.send("GET /metr");
        halves.assert_silent(BEAT);
        halves.send("ics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(
            halves.response().text(),
            "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
        );
    });
}

#[test]
fn a_visitor_may_come_after_trickle_on_the_same_connection() {
    for_each_world(|world| {
        let name = world.channel();
        let mut client = world.send(format!(
            "GET /ai/trickle/{name}/next HTTP/1.1\r\nHost: x\r\n\r\n"
        ));
        assert_eq!(client.response().text(), "0");
        client.send("GET /after HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(
            client.response().text(),
            "GET /after HTTP/1.1\r\nHost: x\r\n\r\n"
        );
    });
}

#[test]
fn a_connection_may_change_channels_and_shards_between_requests() {
    for_each_world(|world| {
        let names: Vec<_> = (0..world.shards)
            .map(|shard| world.channel_on(shard))
            .collect();
        let mut client = world.connect();
        for seq in 0..4 {
            for name in &names {
                client.send(format!("POST /ai/trickle/{name}/{seq} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"));
                client
                    .response()
                    .head
                    .is(200)
                    .seq(seq)
                    .has("Connection", None);
                client.send(format!(
                    "GET /ai/trickle/{name}/{seq} HTTP/1.1\r\nHost: x\r\n\r\n"
                ));
                assert_eq!(client.response().text(), "hi");
            }
        }
    });
}
