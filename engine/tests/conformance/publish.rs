//! Publishing as section 1.3 of the protocol has it, and the allowances that publishers need.

use crate::support::{BEAT, End, for_each_world, noise};

#[test]
fn chunks_are_seen_as_they_arrive() {
    for_each_world(|world| {
        let name = world.channel();
        let mut reader = world.get(&name, 0);
        let mut publisher = world.post(&name, 0);
        for n in 0..50 {
            let piece = noise(n, 1 + usize::try_from(n).unwrap_or(0) * 997);
            publisher.chunk(&piece);
            if n == 0 {
                reader.head().is(200).seq(0);
            }
            assert_eq!(
                reader.payload(piece.len()),
                piece,
                "chunk {n} before the next is sent"
            );
        }
        publisher.finish().head.is(200).seq(0);
        assert_eq!(reader.rest(), b"");
    });
}

#[test]
fn a_sized_body_is_seen_as_it_arrives_too() {
    for_each_world(|world| {
        let name = world.channel();
        let mut reader = world.get(&name, 0);
        let mut publisher = world.send(format!(
            "POST /ai/trickle/{name}/0 HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf"
        ));
        reader.head().is(200);
        assert_eq!(reader.payload(4), b"half");
        publisher.send("half");
        publisher.response().head.is(200).seq(0);
        assert_eq!(reader.rest(), b"half");
    });
}

#[test]
fn after_its_first_byte_a_post_is_never_interrupted() {
    for_each_world(|world| {
        let name = world.channel();
        let mut publisher = world.post(&name, 0);
        publisher.chunk("kept");
        world.get(&name, 0).head().is(200);
        // Its slot is taken by another.
        world.publish(&name, 5, "five").head.is(200);
        for _ in 0..20 {
            publisher.chunk(noise(1, 32 << 10));
        }
        publisher.assert_silent(BEAT);
        publisher
            .finish()
            .head
            .is(200)
            .seq(0)
            .closed(false)
            .has("Connection", None);
        world.get(&name, 0).response().is_missing(6, 0);
    });
}

#[test]
fn allowance_14_three_preconnected_posts_wait_together() {
    for_each_world(|world| {
        let name = world.channel();
        let mut publishers: Vec<_> = (0..3).map(|seq| world.post(&name, seq)).collect();
        let mut readers: Vec<_> = (0..2).map(|seq| world.get(&name, seq)).collect();
        for publisher in &mut publishers {
            publisher.assert_silent(BEAT);
        }
        for (seq, publisher) in publishers.iter_mut().enumerate() {
            publisher.chunk(format!("segment {seq}"));
            publisher
                .finish()
                .head
                .is(200)
                .seq(seq as i64)
                .has("Connection", None);
        }
        for (seq, reader) in readers.iter_mut().enumerate() {
            assert_eq!(reader.response().text(), format!("segment {seq}"));
        }
        assert_eq!(world.read(&name, 2), b"segment 2");
    });
}

#[test]
fn allowance_15_preconnects_may_arrive_out_of_order() {
    for_each_world(|world| {
        let name = world.channel();
        let mut one = world.post(&name, 1);
        let mut zero = world.post(&name, 0);
        let mut reader = world.get(&name, 0);
        zero.chunk("zero");
        reader.head().is(200).seq(0);
        assert_eq!(reader.payload(4), b"zero");
        one.chunk("one");
        let mut next = world.get(&name, 1);
        next.head().is(200).seq(1);
        assert_eq!(next.payload(3), b"one");
        zero.chunk(" goes on");
        assert_eq!(reader.payload(8), b" goes on");
        zero.finish().head.is(200);
        one.finish().head.is(200);
        assert_eq!(reader.rest(), b"");
        assert_eq!(next.rest(), b"");
    });
}

#[test]
fn allowance_16_posts_to_one_number_append() {
    for_each_world(|world| {
        let name = world.channel();
        let mut reader = world.get(&name, 0);
        let (mut a, mut b) = (world.post(&name, 0), world.post(&name, 0));
        a.chunk("a1 ");
        reader.head().is(200);
        assert_eq!(reader.payload(3), b"a1 ");
        b.chunk("b1 ");
        assert_eq!(reader.payload(3), b"b1 ");
        a.chunk("a2 ");
        assert_eq!(reader.payload(3), b"a2 ");
        a.finish().head.is(200).seq(0);
        reader.assert_silent(BEAT);
        b.chunk("b2");
        b.finish().head.is(200).seq(0);
        assert_eq!(reader.rest(), b"b2");
    });
}

#[test]
fn a_second_post_that_never_speaks_does_not_hold_the_segment() {
    for_each_world(|world| {
        let name = world.channel();
        let mut silent = world.post(&name, 0);
        let mut reader = world.get(&name, 0);
        world.publish(&name, 0, "whole").head.is(200).seq(0);
        assert_eq!(reader.response().text(), "whole");
        silent.response().head.is(200).seq(0).closes();
        assert_eq!(silent.end(), End::Clean);
    });
}

#[test]
fn allowance_20_an_empty_segment_among_full_ones_is_delivered() {
    for_each_world(|world| {
        let name = world.channel();
        world.publish(&name, 0, "zero");
        world.publish(&name, 1, "").head.is(200).seq(1).closes();
        world.publish(&name, 2, "two");
        for (seq, expected) in [(0, "zero"), (1, ""), (2, "two")] {
            let answer = world.get(&name, seq).response();
            answer.head.is(200).seq(seq).latest(3);
            assert_eq!(answer.text(), expected);
        }
    });
}

#[test]
fn allowance_22_the_publishers_content_type_does_not_matter() {
    for_each_world(|world| {
        let name = world.channel();
        for (seq, mime) in ["video/mp2t", "video/mp4", "application/json"]
            .into_iter()
            .enumerate()
        {
            world
                .ask(format!("POST /ai/trickle/{name}/{seq} HTTP/1.1\r\nContent-Type: {mime}\r\nContent-Length: 1\r\n\r\nx"))
                .head
                .is(200);
            world
                .get(&name, seq)
                .response()
                .head
                .has("Content-Type", Some("video/MP2T"));
        }
    });
}

#[test]
fn broken_chunk_framing_is_400_and_leaves_the_segment_to_be_continued() {
    for_each_world(|world| {
        let name = world.channel();
        let mut publisher = world.post(&name, 0);
        publisher.chunk("good");
        let mut reader = world.get(&name, 0);
        reader.head().is(200);
        assert_eq!(reader.payload(4), b"good");
        publisher.send("zzz\r\n");
        publisher.response().head.is(400).closes();
        assert_eq!(publisher.end(), End::Clean);
        reader.assert_silent(BEAT);
        world.publish(&name, 0, " again").head.is(200);
        assert_eq!(reader.rest(), b" again");
    });
}

#[test]
fn many_segments_flow_through_one_connection() {
    for_each_world(|world| {
        let name = world.channel();
        let mut publisher = world.connect();
        let mut reader = world.connect();
        for seq in 0..40 {
            reader.send(format!(
                "GET /ai/trickle/{name}/{seq} HTTP/1.1\r\nHost: x\r\n\r\n"
            ));
            let body = noise(seq, 5000);
            let mut wire = format!(
                "POST /ai/trickle/{name}/{seq} HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n"
            )
            .into_bytes();
            wire.extend_from_slice(&body);
            publisher.send(wire);
            publisher
                .response()
                .head
                .is(200)
                .seq(seq as i64)
                .has("Connection", None);
            let answer = reader.response();
            answer.head.is(200).seq(seq as i64);
            assert_eq!(answer.body, body);
        }
    });
}
