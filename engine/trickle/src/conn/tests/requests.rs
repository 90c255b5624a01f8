//! Requests and their answers: framing, pipelining, and the conformance cases that need no clock.

use super::*;

fn statuses(world: &World, peer: usize) -> Vec<u16> {
    world
        .responses(peer)
        .iter()
        .map(|response| response.status)
        .collect()
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let mut world = World::with_channel();
    world.bite = 1;
    let publisher = world.publish("a/0", "payload");
    let reader = world.get("a/-2");
    assert_eq!(
        (world.body(reader).as_str(), world.answer(publisher).status),
        ("payload", 200)
    );
    assert!(world.answer(reader).is_complete);
}

#[test]
fn blank_lines_before_a_request_are_skipped() {
    let mut world = World::with_channel();
    let client = world.connect();
    world.send(client, "\r\n\r\nGET /t/a/next HTTP/1.1\r\n\r\n\r\n");
    assert_eq!(world.body(client), "0");
}

#[test]
fn requests_may_be_pipelined() {
    let mut world = World::with_channel();
    for bite in [1, 7, 1_000] {
        world.bite = bite;
        let client = world.connect();
        let post =
            |seq: usize| format!("POST /t/a/{seq} HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody");
        let wire = [
            post(0),
            post(1),
            "GET /t/a/1 HTTP/1.1\r\n\r\nGET /t/a/next HTTP/1.1\r\n\r\n".into(),
            post(2),
        ]
        .concat();
        world.send(client, &wire);
        let responses = world.responses(client);
        assert_eq!(
            responses.iter().map(|r| r.status).collect::<Vec<_>>(),
            [200; 5]
        );
        assert_eq!(
            (&*responses[2].body, &*responses[3].body),
            (&b"body"[..], &b"2"[..])
        );
        assert_eq!(world.peers[client].conn.requests(), 5);
        assert_eq!(world.delete("a").status, 200);
        world
            .hub
            .create("a", "video/mp2t", None, Millis(0))
            .unwrap();
    }
}

#[test]
fn a_request_behind_a_parked_one_waits_its_turn() {
    let mut world = World::with_channel();
    let client = world.get("a/0");
    world.request(client, "GET", "a/next", "");
    assert!(world.is_parked(client));
    world.publish("a/0", "x");
    let responses = world.responses(client);
    assert_eq!(
        (responses.len(), &*responses[0].body, &*responses[1].body),
        (2, &b"x"[..], &b"1"[..])
    );
}

#[test]
fn a_flood_behind_a_parked_request_is_not_kept() {
    let mut world = World::with_channel();
    world.bite = 1_000;
    let client = world.get("a/0");
    world.send(client, "x".repeat(1_000_000));
    assert!(world.peers[client].sent.len() > 990_000);
}

#[test]
fn leftovers_of_a_chunked_body_are_the_next_request() {
    let mut world = World::with_channel();
    let client = world.post("a/0");
    world.send(
        client,
        "3\r\nabc\r\n0\r\nTrailer: x\r\n\r\nGET /t/a/0 HTTP/1.1\r\n\r\n",
    );
    let responses = world.responses(client);
    assert_eq!(
        (responses.len(), responses[0].seq(), &*responses[1].body),
        (2, Some("0"), &b"abc"[..])
    );
}

#[test]
fn a_broken_body_ends_its_publisher_alone() {
    let mut world = World::with_channel();
    let (publisher, reader) = (world.post("a/0"), world.get("a/0"));
    world.send(publisher, "3\r\nabc\r\nzz\r\n");
    assert_eq!(
        (world.answer(publisher).status, world.body(reader).as_str()),
        (400, "abc")
    );
    assert!(!world.answer(reader).is_complete);
    world.pass(4_000);
    assert!(world.answer(reader).is_complete);
}

#[test]
fn who_is_turned_away_need_not_send_its_body() {
    let mut world = World::with_channel();
    let publisher = world.connect();
    world.request(publisher, "POST", "a/0", "Content-Length: 1000000\r\n");
    assert_eq!(world.delete("a/0").status, 200);
    let answer = world.answer(publisher);
    assert_eq!(
        (
            answer.status,
            answer.seq(),
            answer.says_goodbye(),
            answer.says_closed()
        ),
        (200, Some("0"), true, false)
    );
    assert_eq!(world.next_write("a"), 1);
}

#[test]
fn expect_is_answered_at_once() {
    let mut world = World::with_channel();
    let publisher = world.connect();
    world.request(
        publisher,
        "POST",
        "a/0",
        "Content-Length: 3\r\nExpect: 100-continue\r\n",
    );
    assert_eq!(world.continues(publisher), 1);
    world.send(publisher, "abc");
    assert_eq!(statuses(&world, publisher), [100, 200]);

    let publisher = world.connect();
    world.request(
        publisher,
        "POST",
        "b/0",
        "Content-Length: 3\r\nExpect: 100-continue\r\n",
    );
    assert_eq!(statuses(&world, publisher), [404], "no word to go on");
}

#[test]
fn an_expected_body_that_is_not_wanted_ends_the_connection() {
    let mut world = World::with_channel();
    let client = world.connect();
    world.request(
        client,
        "POST",
        "a",
        "Content-Length: 3\r\nExpect: 100-continue\r\n",
    );
    let answer = world.answer(client);
    assert_eq!(
        (answer.status, answer.says_goodbye()),
        (200, true),
        "and the client is told so"
    );
    assert!(world.peers[client].finished);
}

#[test]
fn an_unwanted_body_is_read_away() {
    for bite in [1, 100, usize::MAX] {
        let mut world = World::with_channel();
        world.bite = bite;
        let client = world.connect();
        world.request(client, "POST", "a", "Content-Length: 9\r\n");
        world.send(client, "some bodyGET /t/a/next HTTP/1.1\r\n\r\n");
        world.send(client, "DELETE /t/a/0 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nGET /t/a/next HTTP/1.1\r\n\r\n");
        assert_eq!(statuses(&world, client), [200, 200, 400, 200]);
    }
}

#[test]
fn an_unwanted_body_is_read_away_within_a_bound() {
    let mut world = World::with_channel();
    let client = world.connect();
    world.request(client, "DELETE", "a", "Content-Length: 10000000\r\n");
    world.send(client, "x".repeat(64 << 10));
    world.send(client, "x".repeat(10));
    assert_eq!(world.answer(client).status, 200);
    assert!(world.peers[client].finished);
    world.pass(2_000);
    assert!(world.peers[client].over);
}

#[test]
fn head_is_get_without_a_body() {
    let mut world = World::with_channel();
    let client = world.connect();
    world.request(client, "HEAD", "a/next", "");
    let answer = world.answer(client);
    assert_eq!(
        (
            answer.status,
            answer.field("Content-Length"),
            answer.latest()
        ),
        (200, Some("1"), Some("0"))
    );

    let parked = world.connect();
    world.request(parked, "HEAD", "a/0", "");
    assert!(world.is_parked(parked));
    world.publish("a/0", "abc");
    assert_eq!(
        (
            world.answer(parked).status,
            world.answer(parked).field("Content-Type")
        ),
        (200, Some("video/mp2t"))
    );
    world.request(parked, "HEAD", "a/7", "");
    world.request(parked, "GET", "a/0", "");
    let responses = world.responses(parked);
    assert_eq!(
        (responses.len(), responses[1].status, &*responses[2].body),
        (3, 470, &b"abc"[..])
    );
}

#[test]
fn elsewhere_leaves_with_every_byte() {
    let mut world = World::new();
    world.bite = 5;
    let client = world.connect();
    world.send(client, "GET /status HTTP/1.1\r\n\r\nmore");
    let peer = &mut world.peers[client];
    assert!(peer.elsewhere && peer.received.is_empty());
    let mut all = peer.conn.take_unused();
    all.extend(&peer.sent);
    // The world closed the connection on leaving; nothing of what it had may be lost.
    assert_eq!(all, b"GET /status HTTP/1.1\r\n\r\nmore");
}

#[test]
fn what_cannot_be_read_is_refused() {
    for (head, status) in [
        (format!("GET /t/a/{} HTTP/1.1\r\n", "0".repeat(9_000)), 431),
        ("GET /t/a/0 HTTP/3.0\r\n\r\n".into(), 505),
        ("\u{1}\u{2}\r\n\r\n".into(), 400),
        (
            "POST /t/a/0 HTTP/1.1\r\nContent-Length: x\r\n\r\n".into(),
            400,
        ),
    ] {
        let mut world = World::with_channel();
        let client = world.connect();
        world.send(client, head);
        assert_eq!(
            (
                world.answer(client).status,
                world.answer(client).says_goodbye()
            ),
            (status, true)
        );
    }
}

// === the conformance cases ===

#[test]
fn a_reader_sees_no_head_before_the_first_byte() {
    let mut world = World::with_channel();
    let readers = [
        world.get("a/-1"),
        world.get("a/-2"),
        world.get("a/0"),
        world.get("a/1"),
    ];
    let publisher = world.post("a/0");
    assert!(readers.iter().all(|&reader| world.is_parked(reader)));
    world.chunk(publisher, "x");
    for reader in &readers[..3] {
        let answer = world.answer(*reader);
        assert_eq!(
            (answer.seq(), answer.latest(), answer.field("Content-Type")),
            (Some("0"), None, Some("video/mp2t"))
        );
        assert_eq!((&*answer.body, answer.is_complete), (&b"x"[..], false));
    }
    assert!(world.is_parked(readers[3]));
}

#[test]
fn what_is_not_there_is_470() {
    let mut world = World::with_channel();
    let ask = |world: &mut World, path: &str| {
        let reader = world.get(path);
        let answer = world.answer(reader);
        assert_eq!(
            (answer.status, &*answer.body),
            (470, &b"Entry not found"[..]),
            "{path}"
        );
        (
            answer.latest().unwrap().to_string(),
            answer.seq().unwrap().to_string(),
        )
    };
    assert_eq!(ask(&mut world, "a/2"), ("0".into(), "2".into()));
    let publisher = world.post("a/0");
    world.chunk(publisher, "x");
    assert_eq!(ask(&mut world, "a/2"), ("1".into(), "2".into()));
    let _preconnected = world.post("a/1");
    assert_eq!(
        ask(&mut world, "a/2"),
        ("1".into(), "2".into()),
        "a preconnect does not move the head"
    );
    let (next, current) = (world.get("a/-1"), world.get("a/-2"));
    assert!(world.is_parked(next));
    assert_eq!(world.answer(current).seq(), Some("0"));
    assert_eq!(world.answer(current).latest(), Some("1"));
}

#[test]
fn five_segments_are_held() {
    let mut world = World::with_channel();
    for seq in 0..7 {
        world.publish(&format!("a/{seq}"), format!("body {seq}"));
    }
    for seq in 0..2 {
        let reader = world.get(&format!("a/{seq}"));
        assert_eq!(
            (world.answer(reader).status, world.answer(reader).latest()),
            (470, Some("7"))
        );
    }
    for seq in 2..7 {
        let reader = world.get(&format!("a/{seq}"));
        assert_eq!(
            (world.body(reader), world.answer(reader).latest()),
            (format!("body {seq}"), Some("7"))
        );
        assert!(world.answer(reader).is_complete);
    }
}

#[test]
fn an_empty_segment_is_answered() {
    let mut world = World::with_channel();
    let (publisher, reader) = (world.post("a/3"), world.get("a/3"));
    world.end(publisher);
    let answer = world.answer(publisher);
    assert_eq!(
        (answer.status, answer.seq(), answer.says_goodbye()),
        (200, Some("3"), true)
    );
    let answer = world.answer(reader);
    assert_eq!(
        (
            answer.seq(),
            answer.latest(),
            answer.field("Content-Type"),
            answer.says_closed()
        ),
        (Some("3"), Some("4"), None, false)
    );
    assert!(answer.body.is_empty());
}

#[test]
fn deleting_a_channel_answers_all_who_wait() {
    let mut world = World::with_channel();
    let (publisher, reader) = (world.post("a/0"), world.get("a/0"));
    assert_eq!(world.delete("a").status, 200);
    let answer = world.answer(publisher);
    assert_eq!((answer.status, answer.seq()), (200, Some("0")));
    assert!(answer.says_closed() && answer.says_goodbye());
    let answer = world.answer(reader);
    assert!(answer.says_closed() && answer.body.is_empty() && answer.status == 200);
    let again = world.delete("a");
    assert_eq!(
        (again.status, &*again.body),
        (400, &b"Invalid stream\n"[..])
    );
}

#[test]
fn deleting_a_channel_lets_a_publisher_speak_out() {
    let mut world = World::with_channel();
    let (publisher, reader) = (world.post("a/0"), world.get("a/0"));
    world.chunk(publisher, "abc");
    assert_eq!(world.delete("a").status, 200);
    assert!(world.answer(reader).is_complete);
    world.chunk(publisher, "to nobody");
    world.end(publisher);
    let answer = world.answer(publisher);
    assert_eq!(
        (answer.status, answer.says_closed(), answer.says_goodbye()),
        (200, false, false)
    );
    assert_eq!(world.body(reader), "abc");
}

#[test]
fn a_reset_ends_what_a_crash_left_open() {
    let mut world = World::with_channel();
    let (crashed, reader) = (world.post("a/0"), world.get("a/0"));
    world.chunk(crashed, "abc");
    world.hang_up(crashed);
    let next = world.connect();
    world.request(
        next,
        "POST",
        "a/1",
        "Lp-Trickle-Reset: 1\r\nTransfer-Encoding: chunked\r\n",
    );
    assert!(world.answer(reader).is_complete);
}

#[test]
fn a_segment_is_not_published_twice() {
    let mut world = World::with_channel();
    for seq in 0..3 {
        world.publish(&format!("a/{seq}"), "first");
    }
    let again = world.post("a/1");
    let answer = world.answer(again);
    assert_eq!(
        (answer.status, answer.seq(), answer.says_goodbye()),
        (200, Some("1"), true)
    );
    assert_eq!(world.next_write("a"), 3, "the head does not go back");
}

#[test]
fn a_stale_publish_is_answered_and_evicts_nothing() {
    let mut world = World::with_channel();
    for seq in 0..7 {
        world.publish(&format!("a/{seq}"), "x");
    }
    let stale = world.publish("a/1", "old");
    assert_eq!(
        (world.answer(stale).status, world.answer(stale).seq()),
        (200, Some("1"))
    );
    let reader = world.get("a/6");
    assert_eq!(
        (world.body(reader).as_str(), world.next_write("a")),
        ("x", 7)
    );
}

#[test]
fn overwriting_a_slot_frees_those_who_wait_on_it() {
    let mut world = World::with_channel();
    let (reader, parked) = (world.get("a/0"), world.post("a/0"));
    let publisher = world.post("a/5");
    for peer in [reader, parked] {
        let answer = world.answer(peer);
        assert_eq!(
            (answer.status, answer.seq(), answer.says_closed()),
            (200, Some("0"), false)
        );
    }
    world.chunk(publisher, "x");
    assert_eq!(world.next_write("a"), 6);
}

#[test]
fn two_publishers_write_one_segment() {
    let mut world = World::with_channel();
    let (one, two, reader) = (world.post("a/0"), world.post("a/0"), world.get("a/0"));
    world.chunk(one, "a");
    world.chunk(two, "b");
    world.end(one);
    world.chunk(two, "c");
    assert_eq!(
        (
            world.body(reader).as_str(),
            world.answer(reader).is_complete
        ),
        ("abc", false)
    );
    world.end(two);
    assert!(world.answer(reader).is_complete);
}

#[test]
fn wrong_requests_get_go_livepeers_words() {
    let mut world = World::with_channel();
    let keep = world.connect();
    for (method, path, status, text) in [
        ("GET", "a/abc", 400, "Invalid idx\n"),
        ("POST", "a/-2", 400, "Invalid idx\n"),
        ("GET", "a/-3", 400, "Invalid idx\n"),
        ("DELETE", "a/-1", 400, "Invalid idx\n"),
        ("DELETE", "a/9", 400, "Nonexistent segment\n"),
        ("DELETE", "b/9", 404, "Stream not found\n"),
        ("GET", "b/0", 404, "Stream not found\n"),
        ("GET", "b/next", 404, "Stream not found\n"),
        ("POST", "b", 404, "Stream not found\n"),
        ("PUT", "a/0", 405, "Method Not Allowed\n"),
        ("GET", "a/0/0", 404, "404 page not found\n"),
    ] {
        world.peers[keep].received.clear();
        world.peers[keep].heads.clear();
        world.request(keep, method, path, "");
        let answer = world.answer(keep);
        assert_eq!(
            (answer.status, core::str::from_utf8(&answer.body).unwrap()),
            (status, text),
            "{method} {path}"
        );
        assert!(!answer.says_goodbye());
    }
    let publisher = world.post("b/0");
    assert!(
        world.answer(publisher).says_goodbye(),
        "wakes a preconnected publisher"
    );
}

#[test]
fn a_channel_is_made_on_request_if_so_configured() {
    let mut world = World::with(HubConfig {
        autocreate: true,
        ..HubConfig::default()
    });
    let client = world.connect();
    world.request(client, "POST", "a", "Expect-Content: text/x\r\n");
    world.request(client, "POST", "a", "Expect-Content: text/y\r\n");
    assert_eq!(statuses(&world, client), [200, 200]);
    assert_eq!(world.hub.channel("a").unwrap().borrow().mime(), "text/x");
    let publisher = world.connect();
    world.request(
        publisher,
        "POST",
        "b/0",
        "Content-Type: video/mp4\r\nContent-Length: 1\r\n",
    );
    world.send(publisher, "x");
    assert_eq!(world.hub.channel("b").unwrap().borrow().mime(), "video/mp4");
}
