//! Conformance cases 15–28: publishers that come back, gaps, evictions, and the plain things.
//! Case 22, a silent publisher, is in `idle`; case 23, a channel with subscribers only, in `bounds`.

use std::time::Instant;

use crate::support::{BEAT, End, eventually, for_each_world, ms, noise};

#[test]
fn case_15_an_aborted_segment_is_continued_by_the_same_number() {
    for_each_world(|world| {
        for vanish_with_reset in [false, true] {
            let name = world.channel();
            world.publish(&name, 0, "zero");
            let mut publisher = world.post(&name, 1);
            publisher.chunk("before ");
            let mut reader = world.get(&name, 1);
            reader.head().is(200).seq(1);
            assert_eq!(reader.payload(7), b"before ");
            if vanish_with_reset {
                publisher.reset()
            } else {
                publisher.vanish()
            }
            reader.assert_silent(BEAT);
            world.publish(&name, 1, "after").head.is(200).seq(1);
            assert_eq!(reader.rest(), b"after");
            assert_eq!(world.read(&name, 1), b"before after");
        }
    });
}

#[test]
fn case_16_a_reset_ends_the_readers_of_an_aborted_segment() {
    for_each_world(|world| {
        let name = world.channel();
        let mut publisher = world.post(&name, 0);
        publisher.chunk("rump");
        let mut reader = world.get(&name, 0);
        reader.head().is(200);
        assert_eq!(reader.payload(4), b"rump");
        publisher.vanish();
        let mut higher = world.post(&name, 2);
        let mut next = world.post_with(&name, 1, "Lp-Trickle-Reset: 1\r\n");
        assert_eq!(reader.rest(), b"");
        next.chunk("one");
        next.finish().head.is(200).seq(1).has("Connection", None);
        higher.chunk("two");
        higher.finish().head.is(200).seq(2).has("Connection", None);
        assert_eq!(world.read(&name, 2), b"two");
    });
}

#[test]
fn case_17_an_abandoned_segment_ends_after_the_grace_time() {
    for_each_world(|world| {
        let name = world.channel();
        let mut publisher = world.post(&name, 0);
        publisher.chunk("rump");
        let mut reader = world.get(&name, 0);
        reader.head().is(200);
        assert_eq!(reader.payload(4), b"rump");
        let began = Instant::now();
        publisher.vanish();
        assert_eq!(reader.rest(), b"");
        let waited = began.elapsed();
        assert!(
            waited >= ms(1400),
            "the publisher had no time to come back: {waited:?}"
        );
        assert!(waited < ms(5000), "{waited:?}");
    });
}

#[test]
fn case_17_an_abandoned_segment_ends_when_its_slot_is_reused_or_it_is_deleted() {
    for_each_world(|world| {
        for deleted in [false, true] {
            let name = world.channel();
            let mut publisher = world.post(&name, 0);
            publisher.chunk("rump");
            let mut reader = world.get(&name, 0);
            reader.head().is(200);
            assert_eq!(reader.payload(4), b"rump");
            publisher.vanish();
            reader.assert_silent(BEAT);
            if deleted {
                world.delete(&format!("{name}/0")).head.is(200);
            } else {
                let _fifth = world.post(&name, 5);
            }
            assert_eq!(reader.rest(), b"");
        }
    });
}

#[test]
fn case_18_a_complete_segment_is_not_written_again() {
    for_each_world(|world| {
        let name = world.channel();
        world.publish_upto(&name, 3);
        let answer = world.publish(&name, 2, "again");
        answer.head.is(200).seq(2).closes().closed(false);
        assert_eq!(world.read(&name, 2), b"segment 2");
        assert_eq!(world.next(&name), 3);
        // It is answered before its body is there.
        let mut late = world.send(format!(
            "POST /ai/trickle/{name}/2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        ));
        late.response().head.is(200).seq(2).closes();
        assert_eq!(late.end(), End::Clean);
    });
}

#[test]
fn case_19_a_gap_is_accepted_and_evicts_by_slot_only() {
    for_each_world(|world| {
        let name = world.channel();
        world.publish_upto(&name, 3);
        world.publish(&name, 100, "far").head.is(200).seq(100);
        assert_eq!(world.next(&name), 101);
        world.get(&name, 0).response().is_missing(101, 0);
        assert_eq!(world.read(&name, 1), b"segment 1");
        assert_eq!(world.read(&name, 2), b"segment 2");
        assert_eq!(world.read(&name, 100), b"far");
    });
}

#[test]
fn case_20_post_minus_one_takes_the_head() {
    for_each_world(|world| {
        let name = world.channel();
        for seq in 0..3 {
            world.publish(&name, -1, "x").head.is(200).seq(seq);
        }
        assert_eq!(world.next(&name), 3);
    });
}

#[test]
fn case_21_a_parked_get_ends_when_its_slot_is_taken() {
    for_each_world(|world| {
        let name = world.channel();
        world.publish_upto(&name, 2);
        let mut reader = world.get(&name, 2);
        reader.assert_silent(BEAT);
        let _far = world.post(&name, 7);
        let response = reader.response();
        response.head.is(200).seq(2).latest(2).closed(false);
        assert_eq!(response.body, b"");
    });
}

#[test]
fn case_24_a_number_that_is_none_is_an_invalid_idx() {
    for_each_world(|world| {
        let name = world.channel();
        for bad in [
            "abc",
            "1x",
            "-3",
            "9223372036854775807",
            "99999999999999999999",
            "%20",
            "1.0",
            "--1",
        ] {
            world
                .get(&name, bad)
                .response()
                .is_error(400, "Invalid idx");
        }
    });
}

#[test]
fn case_25_delete_of_a_number_that_is_not_held_says_so() {
    for_each_world(|world| {
        let name = world.channel();
        world.publish_upto(&name, 5);
        world
            .delete(&format!("{name}/9"))
            .is_error(400, "Nonexistent segment");
        world.delete(&format!("{name}/4")).head.is(200);
        world.delete("nobody/4").is_error(404, "Stream not found");
    });
}

#[test]
fn case_26_a_slow_reader_delays_nobody() {
    for_each_world(|world| {
        let (name, other) = (world.channel(), world.channel());
        // Both readers are asked for; one is never read while the segment is written.
        let (mut slow, mut quick) = (world.get(&name, 0), world.get(&name, 0));
        let mut neighbour = world.get(&other, 0);
        let mut publisher = world.post(&name, 0);
        let mut second = world.post(&other, 0);
        let piece = noise(26, 64 << 10);
        for _ in 0..200 {
            publisher.chunk(&piece);
            if quick.continues == 0 {
                quick.continues = 1;
                quick.head().is(200);
            }
            assert_eq!(quick.payload(piece.len()), piece);
        }
        second.chunk("still here");
        neighbour.head().is(200);
        assert_eq!(neighbour.payload(10), b"still here");
        publisher.finish().head.is(200);
        assert_eq!(quick.rest(), b"");
        slow.head().is(200);
        assert_eq!(
            slow.rest(),
            piece.repeat(200),
            "the slow reader loses nothing while its segment is held"
        );
    });
}

#[test]
fn case_27_http_1_0_and_content_length_work_the_same() {
    for_each_world(|world| {
        let name = world.channel();
        let mut old = world.send(format!("GET /ai/trickle/{name}/0 HTTP/1.0\r\n\r\n"));
        old.assert_silent(BEAT);
        let answer = world.ask(format!(
            "POST /ai/trickle/{name}/0 HTTP/1.0\r\nContent-Length: 4\r\n\r\nbody"
        ));
        answer.head.is(200).seq(0);
        old.head()
            .is(200)
            .seq(0)
            .has("Transfer-Encoding", None)
            .has("Content-Length", None)
            .closes();
        assert_eq!(
            old.rest(),
            b"body",
            "an HTTP/1.0 body ends with the connection"
        );
        assert_eq!(world.read(&name, 0), b"body");
    });
}

#[test]
fn case_28_head_of_next_is_get_without_its_body() {
    for_each_world(|world| {
        let name = world.channel();
        world.publish_upto(&name, 2);
        let mut client = world.send(format!(
            "HEAD /ai/trickle/{name}/next HTTP/1.1\r\nHost: x\r\n\r\n"
        ));
        client
            .head()
            .is(200)
            .latest(2)
            .has("Content-Length", Some("1"));
        client.assert_silent(BEAT);
        // No stray body byte: the next answer on the connection is in its place.
        client.send(format!(
            "GET /ai/trickle/{name}/next HTTP/1.1\r\nHost: x\r\n\r\n"
        ));
        assert_eq!(client.response().text(), "2");
        let mut segment = world.send(format!(
            "HEAD /ai/trickle/{name}/1 HTTP/1.1\r\nHost: x\r\n\r\n"
        ));
        segment
            .head()
            .is(200)
            .seq(1)
            .latest(2)
            .has("Content-Type", Some("video/MP2T"));
        segment.assert_silent(BEAT);
    });
}

#[test]
fn sockets_move_to_the_shard_that_owns_their_channel() {
    for_each_world(|world| {
        for shard in 0..world.shards {
            for _ in 0..8 {
                let name = world.channel_on(shard);
                let mut reader = world.get(&name, 0);
                world.publish(&name, 0, &name).head.is(200);
                assert_eq!(reader.response().text(), name);
            }
        }
        if world.shards > 1 {
            eventually("sockets moved", || world.metrics().moved > 0);
        } else {
            assert_eq!(world.metrics().moved, 0);
        }
    });
}
