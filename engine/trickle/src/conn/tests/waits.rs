//! What happens when nothing happens: every wait and its end, to the millisecond.

use super::*;
use crate::conn::LINGER_MS;

#[test]
fn a_parked_publisher_hears_every_ten_seconds() {
    let mut world = World::with_channel();
    let publisher = world.post("a/0");
    world.pass(9_999);
    assert_eq!(world.continues(publisher), 0);
    world.pass(1);
    assert_eq!(world.continues(publisher), 1);
    world.pass(15_000);
    assert_eq!(world.continues(publisher), 2, "25 s");
    world.chunk(publisher, "x");
    world.pass(60_000);
    world.end(publisher);
    let responses = world.responses(publisher);
    assert_eq!(
        responses.iter().map(|r| r.status).collect::<Vec<_>>(),
        [100, 100, 200],
        "none after the first byte"
    );
    assert_eq!(
        (responses[2].seq(), responses[2].says_goodbye()),
        (Some("0"), false)
    );
}

#[test]
fn an_http_1_0_publisher_hears_nothing() {
    let mut world = World::with_channel();
    let publisher = world.connect();
    world.send(
        publisher,
        "POST /t/a/0 HTTP/1.0\r\nContent-Length: 3\r\n\r\n",
    );
    world.pass(35_000);
    assert!(world.is_parked(publisher));
    world.send(publisher, "abc");
    let answer = world.answer(publisher);
    assert_eq!((answer.status, answer.says_goodbye()), (200, true));
}

#[test]
fn provisional_responses_do_not_pile_up() {
    let mut world = World::with_channel();
    let publisher = world.post("a/0");
    world.set_room(publisher, 10);
    world.pass(200_000);
    world.set_room(publisher, usize::MAX);
    assert_eq!(world.continues(publisher), 1);
    world.publish("a/0", "bye");
    assert_eq!(world.responses(publisher).last().unwrap().status, 200);
}

#[test]
fn a_parked_reader_has_no_deadline() {
    let mut world = World::new();
    world
        .hub
        .create("_a", "video/mp2t", None, Millis(0))
        .unwrap(); // not swept
    let reader = world.get("_a/-1");
    assert_eq!(world.peers[reader].conn.deadline(), None);
    world.pass(86_400_000);
    assert!(world.is_parked(reader));
    world.publish("_a/0", "x");
    assert_eq!(world.body(reader), "x");
}

#[test]
fn an_abandoned_segment_closes_after_its_grace() {
    let mut world = World::with_channel();
    let (publisher, reader) = (world.post("a/0"), world.get("a/0"));
    world.chunk(publisher, "abc");
    world.hang_up(publisher);
    world.pass(3_999);
    assert!(!world.answer(reader).is_complete);
    world.pass(1);
    assert!(world.answer(reader).is_complete);
    assert_eq!(
        (world.body(reader).as_str(), world.hub.stats().aborts),
        ("abc", 1)
    );
}

#[test]
fn a_publisher_that_comes_back_goes_on() {
    let mut world = World::with_channel();
    let (first, reader) = (world.post("a/0"), world.get("a/0"));
    world.chunk(first, "abc");
    world.hang_up(first);
    world.pass(3_000);
    let second = world.post("a/0");
    world.pass(9_000);
    world.chunk(second, "def");
    assert!(
        !world.answer(reader).is_complete,
        "resumed: the grace is off"
    );
    world.end(second);
    assert!(world.answer(reader).is_complete);
    assert_eq!(
        (world.body(reader).as_str(), world.answer(second).status),
        ("abcdef", 200)
    );
}

#[test]
fn a_comeback_that_also_vanishes_restarts_the_grace() {
    let mut world = World::with_channel();
    let (first, reader) = (world.post("a/0"), world.get("a/0"));
    world.chunk(first, "abc");
    world.hang_up(first);
    let second = world.post("a/0"); // parks, and never sends
    world.pass(60_000);
    world.hang_up(second);
    world.pass(4_000);
    assert!(world.answer(reader).is_complete);
}

#[test]
fn the_last_of_two_publishers_to_vanish_starts_the_grace() {
    let mut world = World::with_channel();
    let (writing, parked, reader) = (world.post("a/0"), world.post("a/0"), world.get("a/0"));
    world.chunk(writing, "abc");
    world.hang_up(writing);
    world.pass(8_000);
    assert!(!world.answer(reader).is_complete, "the other may go on");
    world.hang_up(parked);
    world.pass(4_000);
    assert!(world.answer(reader).is_complete);
}

#[test]
fn an_abort_before_the_first_byte_leaves_readers_parked() {
    let mut world = World::with_channel();
    let (publisher, reader) = (world.post("a/0"), world.get("a/0"));
    world.hang_up(publisher);
    world.pass(100_000);
    assert!(world.is_parked(reader));
    world.publish("a/0", "late");
    assert_eq!(
        (world.body(reader).as_str(), world.hub.stats().aborts),
        ("late", 0)
    );
}

#[test]
fn an_idle_channel_is_swept() {
    let mut world = World::with_channel();
    let (parked, publisher) = (world.get("a/0"), world.post("a/0"));
    world.pass(300_999);
    assert!(world.is_parked(parked));
    world.pass(1);
    let answer = world.answer(parked);
    assert_eq!(
        (answer.status, answer.seq(), answer.says_closed()),
        (200, Some("0"), true)
    );
    assert!(answer.body.is_empty());
    let answer = world.responses(publisher).pop().unwrap();
    assert_eq!(
        (answer.status, answer.says_closed(), answer.says_goodbye()),
        (200, true, true)
    );
    let late = world.get("a/0");
    assert_eq!(
        (world.answer(late).status, world.hub.stats().swept),
        (404, 1)
    );
}

#[test]
fn payload_in_or_out_keeps_a_channel() {
    let mut world = World::with_channel();
    let publisher = world.post("a/0");
    world.chunk(publisher, "1");
    world.pass(299_000);
    world.chunk(publisher, "2");
    world.pass(299_000);
    let reader = world.get("a/0");
    assert_eq!(world.body(reader), "12");
    world.pass(299_000);
    assert_eq!(world.hub.len(), 1, "someone read it");
    world.pass(3_000);
    assert!(world.hub.is_empty());
}

#[test]
fn a_segment_that_was_silent_for_long_still_ends_cleanly() {
    let mut world = World::with_channel();
    let (publisher, reader) = (world.post("a/0"), world.get("a/0"));
    world.chunk(publisher, "abc");
    world.pass(20 * TIMING.lag_ms);
    assert_eq!(world.delete("a").status, 200);
    assert!(
        world.answer(reader).is_complete,
        "it was not the reader that was slow"
    );
}

#[test]
fn a_reader_that_stalls_is_cut_once_its_segment_has_gone() {
    let mut world = World::with_channel();
    world.publish("a/0", "0123456789".repeat(100));
    let reader = world.connect();
    world.set_room(reader, 300);
    world.request(reader, "GET", "a/0", "");
    world.pass(60_000);
    assert!(
        !world.peers[reader].over,
        "the segment is in its place; nobody is hurt"
    );
    for seq in 1..6 {
        world.publish(&format!("a/{seq}"), "x");
    }
    world.pass(2 * TIMING.lag_ms);
    assert!(world.peers[reader].over, "at most two lag times later");
    assert!(!world.answer(reader).is_complete && !world.peers[reader].finished);
}

#[test]
fn a_reader_that_creeps_is_not_cut() {
    let mut world = World::with_channel();
    world.publish("a/0", "0123456789".repeat(100));
    let reader = world.connect();
    world.set_room(reader, 300);
    world.request(reader, "GET", "a/0", "");
    assert_eq!(world.delete("a").status, 200);
    for _ in 0..99 {
        world.pass(TIMING.lag_ms - 1_000);
        world.set_room(reader, 10);
    }
    assert!(world.answer(reader).is_complete);
}

#[test]
fn an_answered_connection_lingers_and_goes() {
    let mut world = World::with_channel();
    let publisher = world.post("b/0");
    assert_eq!(world.answer(publisher).status, 404);
    assert!(world.peers[publisher].finished);
    world.send(publisher, [b'x'; 100_000]);
    world.pass(1_999);
    assert!(!world.peers[publisher].over && world.peers[publisher].sent.is_empty());
    world.pass(1);
    assert!(world.peers[publisher].over);
}

#[test]
fn a_lingering_connection_ends_with_its_client() {
    let mut world = World::with_channel();
    let publisher = world.post("b/0");
    world.hang_up(publisher);
    assert!(world.peers[publisher].over);
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    let mut world = World::with_channel();
    let client = world.connect();
    world.set_room(client, 20);
    world.send(client, "GET /t/a/next HTTP/1.0\r\n\r\n");
    world.hang_up(client);
    world.set_room(client, usize::MAX);
    assert!(world.answer(client).is_complete && world.peers[client].over);
}

#[test]
fn an_answer_that_is_not_read_is_given_up() {
    let mut world = World::with_channel();
    for fields in ["", "Connection: close\r\n"] {
        let client = world.connect();
        world.set_room(client, 10);
        world.request(client, "GET", "a/next", fields);
        world.pass(59_999);
        assert!(!world.peers[client].over);
        world.pass(1);
        assert!(world.peers[client].over);
    }
}

#[test]
fn keep_alive_has_an_end() {
    let mut world = World::new();
    let client = world.connect();
    world.pass(TIMING.keep_alive_ms - 1);
    world.request(client, "GET", "a/next", "");
    world.pass(TIMING.keep_alive_ms - 1);
    assert!(!world.peers[client].finished);
    world.pass(1);
    assert!(world.peers[client].finished);
    world.pass(LINGER_MS);
    assert!(world.peers[client].over);
}

#[test]
fn a_head_must_come_in_time() {
    let mut world = World::with_channel();
    let client = world.connect();
    world.pass(100_000);
    for byte in b"GET /t/a" {
        world.send(client, [*byte]);
        world.pass(1_000);
    }
    world.pass(1_999);
    assert!(world.is_parked(client));
    world.pass(1);
    assert_eq!(
        (
            world.answer(client).status,
            world.answer(client).says_goodbye()
        ),
        (408, true)
    );
    world.pass(2_000);
    assert!(world.peers[client].over);
}

#[test]
fn the_rest_of_a_pipelined_head_must_come_in_time() {
    let mut world = World::with_channel();
    let client = world.connect();
    world.send(client, "GET /t/a/next HTTP/1.1\r\n\r\nGET /t");
    world.pass(10_000);
    assert_eq!(
        world
            .responses(client)
            .iter()
            .map(|r| r.status)
            .collect::<Vec<_>>(),
        [200, 408]
    );
}
