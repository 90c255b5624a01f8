//! The sending half: whatever the socket takes, a reader gets the same bytes.

use alloc::vec;
use core::mem::take;

use proptest::prelude::*;

use super::*;

#[test]
fn a_short_whole_segment_is_one_write() {
    let mut world = World::with_channel();
    world.publish("a/0", "{\"status\":\"ok\"}");
    let reader = world.connect();
    let peer = &mut world.peers[reader];
    let Step::Request(request) =
        peer.conn
            .handle_bytes(BASE, b"GET /t/a/0 HTTP/1.1\r\n\r\n", Millis(0))
    else {
        panic!()
    };
    peer.conn.begin(&mut world.hub, *request, Millis(0));
    let wire = peer.conn.with_output(|slices| slices.concat()).unwrap();
    assert!(
        wire.ends_with(b"\r\n\r\nf\r\n{\"status\":\"ok\"}\r\n0\r\n\r\n"),
        "head, payload and end together"
    );
    assert_eq!(peer.conn.advance(wire.len(), Millis(0)), 15);
    assert!(!peer.conn.has_output() && peer.conn.is_between_requests());
}

#[test]
fn spans_at_hand_are_one_chunk() {
    let mut world = World::with_channel();
    let publisher = world.post("a/0");
    for i in 0..100 {
        world.chunk(publisher, format!("{i},"));
    }
    let reader = world.get("a/0");
    assert_eq!(
        (world.answer(reader).chunks, world.answer(reader).body.len()),
        (1, 290)
    );
    world.chunk(publisher, "live");
    world.end(publisher);
    let answer = world.answer(reader);
    assert_eq!((answer.chunks, answer.is_complete), (2, true));
}

#[test]
fn a_chunk_has_a_bound() {
    let mut world = World::with_channel();
    world.publish("a/0", vec![7; (2 << 20) + 5]);
    let reader = world.get("a/0");
    let answer = world.answer(reader);
    assert_eq!(
        (answer.chunks, answer.body.len(), answer.is_complete),
        (3, (2 << 20) + 5, true)
    );
}

#[test]
fn http_1_0_readers_get_plain_bytes_and_an_end() {
    for rest in ["", "def"] {
        let mut world = World::with_channel();
        let (publisher, reader, late) = (world.post("a/0"), world.connect(), world.connect());
        world.send(reader, "GET /t/a/0 HTTP/1.0\r\n\r\n");
        world.chunk(publisher, "abc");
        assert_eq!(world.body(reader), "abc");
        // The last bytes and the end may come together or apart.
        world.send(
            publisher,
            if rest.is_empty() {
                "0\r\n\r\n".into()
            } else {
                format!("3\r\n{rest}\r\n0\r\n\r\n")
            },
        );
        world.send(late, "GET /t/a/0 HTTP/1.0\r\n\r\n");
        for peer in [reader, late] {
            let answer = world.answer(peer);
            assert_eq!(
                (answer.field("Transfer-Encoding"), answer.says_goodbye()),
                (None, true)
            );
            assert_eq!(
                (world.body(peer), answer.is_complete),
                (format!("abc{rest}"), true)
            );
            assert!(world.peers[peer].finished, "closing is how it ends");
        }
        world.pass(2_000);
        assert!(world.peers[reader].over);
    }
}

#[test]
fn a_reader_that_wants_to_close_is_obeyed() {
    let mut world = World::with_channel();
    world.publish("a/0", "abc");
    let reader = world.connect();
    world.request(reader, "GET", "a/0", "Connection: close\r\n");
    assert!(
        world.answer(reader).is_complete
            && world.answer(reader).says_goodbye()
            && world.peers[reader].finished
    );
}

#[test]
fn late_joiners_get_everything_from_the_start() {
    let mut world = World::with_channel();
    let (publisher, mut readers, mut all) = (world.post("a/0"), Vec::new(), String::new());
    for i in 0..20 {
        readers.push(world.get("a/0"));
        let payload = format!("<{i}>");
        world.chunk(publisher, &payload);
        all.push_str(&payload);
        assert!(
            readers.iter().all(|&reader| world.body(reader) == all),
            "and each byte as it comes"
        );
    }
    world.end(publisher);
    assert!(
        readers
            .iter()
            .all(|&reader| world.answer(reader).is_complete)
    );
}

#[test]
fn a_slow_reader_delays_nobody() {
    let mut world = World::with_channel();
    let (publisher, slow, fast) = (world.post("a/0"), world.get("a/0"), world.get("a/0"));
    world.set_room(slow, 0);
    for _ in 0..100 {
        world.chunk(publisher, "0123456789");
    }
    world.end(publisher);
    assert_eq!(world.answer(publisher).status, 200);
    assert_eq!(
        (
            world.answer(fast).body.len(),
            world.answer(fast).is_complete
        ),
        (1_000, true)
    );
    world.set_room(slow, usize::MAX);
    assert_eq!(
        (
            world.answer(slow).body.len(),
            world.answer(slow).is_complete
        ),
        (1_000, true)
    );
}

/// A channel whose segment 0 left its slot while `reader` had read 400 bytes of the answer.
fn laggard(world: &mut World) -> usize {
    world.publish("a/0", "0123456789".repeat(100));
    let reader = world.connect();
    world.set_room(reader, 400);
    world.request(reader, "GET", "a/0", "");
    reader
}

#[test]
fn memory_taken_back_cuts_its_readers() {
    let mut world = World::with_channel();
    let reader = laggard(&mut world);
    assert!(!world.hub.relieve(), "the segment is in its place");
    for seq in 1..6 {
        world.publish(&format!("a/{seq}"), "x");
    }
    assert!(world.hub.relieve() && !world.hub.relieve());
    world.set_room(reader, usize::MAX);
    assert!(world.peers[reader].over && !world.peers[reader].finished);
    assert!(
        !world.answer(reader).is_complete,
        "no clean end for a body that is short"
    );
    assert_eq!(world.hub.stats().cut, 1);
}

#[test]
fn the_memory_of_a_deleted_channel_can_be_taken_back() {
    let mut world = World::with_channel();
    let reader = laggard(&mut world);
    let others: Vec<_> = (1..4)
        .map(|seq| world.publish(&format!("a/{seq}"), "x"))
        .collect();
    assert!(others.iter().all(|&peer| world.answer(peer).status == 200));
    let unread = Rc::downgrade(world.hub.channel("a").unwrap().borrow().segment(1).unwrap());
    assert_eq!(world.delete("a").status, 200);
    assert!(
        unread
            .upgrade()
            .is_none_or(|segment| segment.borrow().spans().is_empty()),
        "nobody reads it"
    );
    assert!(world.hub.relieve(), "one reads it, slowly");
    world.set_room(reader, usize::MAX);
    assert!(world.peers[reader].over && !world.answer(reader).is_complete);
}

#[test]
fn a_segment_at_its_bound_ends_cleanly() {
    let mut world = World::with(HubConfig {
        segment_bytes_max: 10,
        autocreate: true,
        ..HubConfig::default()
    });
    let publisher = world.post("a/0");
    let reader = world.get("a/0");
    world.chunk(publisher, "01234567");
    world.chunk(publisher, "89x");
    assert_eq!(
        (
            world.answer(publisher).status,
            world.answer(publisher).says_goodbye()
        ),
        (413, true)
    );
    assert_eq!(
        (
            world.body(reader).as_str(),
            world.answer(reader).is_complete
        ),
        ("01234567", true)
    );
    assert_eq!((world.hub.stats().capped, world.next_write("a")), (1, 1));
    let first_too_long = world.publish("a/1", "0123456789x");
    assert_eq!(
        (world.answer(first_too_long).status, world.next_write("a")),
        (413, 2)
    );
}

#[test]
fn without_pages_a_publisher_is_turned_away() {
    let mut world = World::with_channel();
    let (writing, parked) = (world.post("a/0"), world.post("a/1"));
    let (reader, next) = (world.get("a/0"), world.get("a/1"));
    world.chunk(writing, "abc");
    world.pages = 0;
    world.chunk(writing, "def");
    assert_eq!(
        (
            world.answer(writing).status,
            world.answer(writing).says_goodbye()
        ),
        (507, true)
    );
    assert_eq!(
        (
            world.body(reader).as_str(),
            world.answer(reader).is_complete
        ),
        ("abc", true)
    );
    world.chunk(parked, "def");
    assert_eq!(
        (world.answer(parked).status, world.answer(next).seq()),
        (507, Some("1"))
    );
    assert!(world.answer(next).body.is_empty());
    // The first bytes that came with the head need a page as well.
    let client = world.connect();
    world.send(
        client,
        "POST /t/a/2 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
    );
    assert_eq!(
        (world.answer(client).status, world.next_write("a")),
        (507, 3)
    );
    world.pages = 9;
    let client = world.publish("a/3", "x");
    assert_eq!(world.answer(client).status, 200);
}

/// What a publisher does between two writes of the reader's socket.
#[derive(Debug, Clone)]
enum Event {
    Append(usize),
    Room(usize),
    Close,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_partial_write_yields_the_same_bytes(
        events in proptest::collection::vec(
            prop_oneof![
                6 => (1usize..600).prop_map(Event::Append),
                6 => (1usize..400).prop_map(Event::Room),
                1 => Just(Event::Append(5_000)),
                1 => Just(Event::Close),
            ],
            1..120,
        ),
        bite in prop_oneof![Just(1usize), 1usize..20, Just(usize::MAX)],
        http11 in any::<bool>(),
    ) {
        let mut world = World::with_channel();
        (world.bite, world.rng) = (bite, Rng(events.len() as u64));
        let (reader, publisher) = (world.connect(), world.post("a/0"));
        world.set_room(reader, 0);
        world.send(reader, format!("GET /t/a/0 HTTP/1.{}\r\n\r\n", u8::from(http11)));
        let (mut expected, mut closed) = (Vec::new(), false);
        for event in events {
            match event {
                Event::Append(_) if closed => {}
                Event::Append(len) => {
                    let payload: Vec<u8> = (0..len).map(|_| world.rng.next().to_le_bytes()[0]).collect();
                    world.chunk(publisher, &payload);
                    expected.extend(payload);
                }
                Event::Room(n) => {
                    let room = world.peers[reader].room;
                    world.set_room(reader, room + n);
                }
                Event::Close if closed => {}
                Event::Close => {
                    world.end(publisher);
                    closed = true;
                }
            }
            if let Some(answer) = world.responses(reader).pop() {
                prop_assert!(expected.starts_with(&answer.body));
                prop_assert!(!answer.is_complete || (closed && expected == answer.body));
            }
        }
        world.set_room(reader, usize::MAX);
        if !closed && !expected.is_empty() {
            prop_assert_eq!(&world.answer(reader).body, &expected);
        }
        if !closed {
            world.end(publisher);
        }
        let answer = world.answer(reader);
        prop_assert_eq!(&answer.body, &expected);
        prop_assert!(answer.is_complete);
        let received = take(&mut world.peers[reader].received);
        if http11 && !expected.is_empty() {
            prop_assert!(received.ends_with(b"\r\n0\r\n\r\n"));
        }
        // The connection is as good as new, or at its end.
        prop_assert_eq!(world.peers[reader].finished, !http11);
        prop_assert!(!world.peers[reader].conn.has_output());
    }
}
