//! Frames written by hand, in whatever pieces they come: what the RFC allows is answered, and what it forbids ends the connection.

use proptest::prelude::*;

use super::*;

fn frame(kind: u8, flags: u8, call: CallId, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_head(&mut bytes, payload.len(), kind, flags, call);
    bytes.extend_from_slice(payload);
    bytes
}

fn head() -> Head {
    Head::post(false, "a:1", "/b", &[("te", "trailers")])
}

/// A client that has one call, number 1, under way, and has said what it had to.
fn calling() -> Client {
    let mut client = Client::new();
    assert_eq!(client.call(&head(), b"hello"), Some(1));
    let said = client.take_output();
    assert!(said.starts_with(PREFACE));
    assert!(said.ends_with(&frame(DATA, END_STREAM, 1, b"hello")));
    client
}

fn feed(client: &mut Client, bytes: &[u8]) -> Result<Vec<Answer>, Malformed> {
    let mut answers = Vec::new();
    client.handle_bytes(bytes, &mut answers).map(|()| answers)
}

fn answered(body: &[u8], fields: &[(&str, &str)]) -> Answer {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Answer {
        call: 1,
        outcome: Ok(Response {
            status: 200,
            fields: fields.iter().map(own).collect(),
            body: body.to_vec(),
        }),
    }
}

const OK: u8 = 0x88;
const TRAILER: &[u8] = b"\0\x01a\x01b";

#[test]
fn an_answer_comes_in_whatever_pieces() {
    let mut bytes = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 7]);
    bytes.extend(frame(HEADERS, END_HEADERS, 1, &[0x08, 3, b'1', b'0', b'3']));
    bytes.extend(frame(
        HEADERS,
        PADDED | PRIORITISED,
        1,
        &[2, 0, 0, 0, 0, 9, OK, 0, 0],
    ));
    bytes.extend(frame(CONTINUATION, END_HEADERS, 1, b"\0\x01x\x01y"));
    bytes.extend(frame(0xee, 0xff, 1, b"a kind of later times"));
    bytes.extend(frame(DATA, PADDED, 1, b"\x03heyxxx"));
    bytes.extend(frame(DATA, 0, 1, b", you"));
    bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, TRAILER));
    let want = answered(b"hey, you", &[("x", "y"), ("a", "b")]);
    for size in [1, 2, 9, 1_000] {
        let mut client = calling();
        let mut answers = Vec::new();
        for piece in bytes.chunks(size) {
            answers.extend(feed(&mut client, piece).unwrap());
        }
        assert_eq!(answers, std::slice::from_ref(&want));
        assert_eq!(client.calls().len(), 0);
        assert_eq!(client.take_output(), frame(SETTINGS, ACK, 0, b""));
        let fields = answers.remove(0).outcome.unwrap();
        assert_eq!((fields.field("a"), fields.field("b")), (Some("b"), None));
    }
}

#[test]
fn a_head_may_be_all() {
    let bytes = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[OK]);
    assert_eq!(feed(&mut calling(), &bytes).unwrap(), [answered(b"", &[])]);
}

#[test]
fn the_peers_limits_are_kept() {
    let mut client = calling();
    // Two calls at a time, each of at most four bytes.
    feed(
        &mut client,
        &frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 2, 0, 4, 0, 0, 0, 4]),
    )
    .unwrap();
    assert!(client.has_room(4) && !client.has_room(5));
    assert_eq!(client.call(&head(), b"hello"), None);
    assert_eq!(client.call(&head(), b"hell"), Some(3));
    assert_eq!(client.call(&head(), b""), None, "two are under way");
    client.cancel(1);
    let said = client.take_output();
    assert!(said.ends_with(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])));
    // What comes of it all the same is nobody's.
    let late = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[OK]);
    assert_eq!(feed(&mut client, &late).unwrap(), []);
    // The connection's own room: 65535, less nine.
    feed(&mut client, &frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])).unwrap();
    assert!(client.has_room(65_526) && !client.has_room(65_527));
    feed(&mut client, &frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 9])).unwrap();
    assert_eq!(client.call(&head(), &[7; 65_535]), Some(5));
    assert!(!client.has_room(1));
}

#[test]
fn a_ping_is_answered_and_room_is_given_back() {
    let mut client = calling();
    feed(&mut client, &frame(PING, 0, 0, b"12345678")).unwrap();
    assert_eq!(client.take_output(), frame(PING, ACK, 0, b"12345678"));
    // Of calls that nobody waits for, too.
    let data = frame(DATA, 0, 9, &[0; FRAME_BYTES]);
    for _ in 0..ROOM / 2 / FRAME_BYTES as u32 {
        feed(&mut client, &data).unwrap();
    }
    assert_eq!(
        client.take_output(),
        frame(WINDOW_UPDATE, 0, 0, &(ROOM / 2).to_be_bytes())
    );
}

#[test]
fn a_call_may_be_lost_and_the_others_go_on() {
    let mut client = calling();
    let (second, third) = (client.call(&head(), b""), client.call(&head(), b""));
    assert_eq!((second, third), (Some(3), Some(5)));
    let lost = |call, why| Answer {
        call,
        outcome: Err(why),
    };
    let reset = frame(RST_STREAM, 0, 3, &[0, 0, 0, 11]);
    assert_eq!(
        feed(&mut client, &reset).unwrap(),
        [lost(3, Lost::Reset(11))]
    );
    let goaway = frame(GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0, b'!']);
    assert_eq!(
        feed(&mut client, &goaway).unwrap(),
        [lost(5, Lost::GoneAway)]
    );
    assert!(client.is_ending() && client.call(&head(), b"").is_none());
    feed(&mut client, &frame(HEADERS, END_HEADERS, 1, &[OK])).unwrap();
    let data = frame(DATA, 0, 1, &[0; FRAME_BYTES]);
    for _ in 0..BODY_BYTES_MAX / FRAME_BYTES {
        assert_eq!(feed(&mut client, &data).unwrap(), []);
    }
    assert_eq!(feed(&mut client, &data).unwrap(), [lost(1, Lost::TooLong)]);
    assert_eq!(client.calls().len(), 0);
}

#[test]
fn what_breaks_the_rules_ends_the_connection() {
    for (bytes, want) in [
        (
            b"HTTP/1.1 400 Bad Request\r\n".to_vec(),
            "longer than we take",
        ),
        (frame(PUSH_PROMISE, 0, 1, b""), "push"),
        (frame(CONTINUATION, 0, 1, b""), "continued"),
        (
            [frame(HEADERS, 0, 1, b""), frame(DATA, 0, 1, b"")].concat(),
            "not continued",
        ),
        (frame(HEADERS, END_HEADERS, 1, TRAILER), "no status"),
        (frame(DATA, 0, 1, b"x"), "before its head"),
        (frame(DATA, PADDED, 1, &[9, 0]), "padding"),
        (frame(PING, 0, 0, b"1"), "eight bytes"),
        (frame(SETTINGS, 0, 0, b"1"), "six bytes"),
        (frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]), "shorter"),
        (
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            "more room",
        ),
        (frame(GOAWAY, 0, 0, b""), "four bytes"),
        (frame(HEADERS, END_HEADERS, 1, &[0xff]), "cut"),
    ] {
        let why = feed(&mut calling(), &bytes).unwrap_err().to_string();
        assert!(why.contains(want), "{want}: {why}");
    }
    let mut client = calling();
    feed(&mut client, &frame(HEADERS, 0, 1, &[])).unwrap();
    let more = frame(CONTINUATION, 0, 1, &[0; FRAME_BYTES]);
    let all = (0..5).try_for_each(|_| feed(&mut client, &more).map(drop));
    assert!(all.is_err(), "fields without end");
}

proptest! {
    #[test]
    fn any_frames_are_answered_or_refused(
        frames in proptest::collection::vec((0_u8..11, any::<u8>(), 0_u32..6, proptest::collection::vec(any::<u8>(), 0..40)), 0..20)
    ) {
        let mut client = calling();
        let mut answers = Vec::new();
        for (kind, flags, call, payload) in frames {
            if client.handle_bytes(&frame(kind, flags, call, &payload), &mut answers).is_err() {
                break;
            }
        }
        prop_assert!(answers.len() <= 1);
    }
}
