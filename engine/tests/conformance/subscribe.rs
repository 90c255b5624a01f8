//! Subscribing as section 1.4 of the protocol has it, and the allowances that subscribers need.

use crate::support::{BEAT, End, for_each_world, ms, noise};

#[test]
fn latest_is_told_only_when_it_is_not_this_segment() {
    for_each_world(|world| {
        let name = world.channel();
        world.publish_upto(&name, 2);
        let mut live = world.get(&name, 2);
        live.assert_silent(BEAT);
        world.publish(&name, 2, "x");
        live.response()
            .head
            .is(200)
            .seq(2)
            .has("Lp-Trickle-Latest", None);
        world.get(&name, 0).response().head.is(200).seq(0).latest(3);
    });
}

#[test]
fn allowance_13_no_head_before_the_first_byte() {
    for_each_world(|world| {
        let name = world.channel();
        world.publish(&name, 0, "zero");
        let mut reader = world.get(&name, 1);
        let mut publisher = world.post(&name, 1);
        reader.assert_silent(BEAT);
        publisher.send("5\r\n");
        reader.assert_silent(BEAT);
        publisher.send("h");
        reader.head().is(200).seq(1);
        assert_eq!(reader.payload(1), b"h");
        publisher.send("ello\r\n");
        assert_eq!(reader.payload(4), b"ello");
        publisher.finish().head.is(200);
        assert_eq!(reader.rest(), b"");
    });
}

#[test]
fn allowance_18_a_late_reader_gets_the_segment_from_its_first_byte() {
    for_each_world(|world| {
        let name = world.channel();
        let mut publisher = world.post(&name, 0);
        let early = noise(18, 300_000);
        for piece in early.chunks(30_000) {
            publisher.chunk(piece);
        }
        let mut reader = world.get(&name, -2);
        reader.head().is(200).seq(0);
        assert_eq!(reader.payload(early.len()), early);
        publisher.chunk("live");
        assert_eq!(reader.payload(4), b"live");
        publisher.finish();
        assert_eq!(reader.rest(), b"");
    });
}

#[test]
fn allowance_18_a_reader_four_segments_behind_loses_nothing() {
    for_each_world(|world| {
        let name = world.channel();
        for seq in 0..5 {
            world.publish(&name, seq, noise(seq, 200_000)).head.is(200);
        }
        for seq in 0..8u64 {
            let answer = world.get(&name, seq).response();
            answer.head.is(200).seq(seq as i64);
            assert_eq!(answer.body, noise(seq, 200_000));
            world
                .publish(&name, seq + 5, noise(seq + 5, 200_000))
                .head
                .is(200);
        }
    });
}

#[test]
fn allowance_19_a_reader_of_an_evicted_segment_gets_all_of_it_and_a_clean_end() {
    for_each_world(|world| {
        let name = world.channel();
        let body = noise(19, 6 << 20);
        let mut publisher = world.post(&name, 0);
        let mut reader = world.get(&name, 0);
        publisher.chunk(&body);
        publisher.finish().head.is(200);
        // More than the socket holds is still to be sent when its slot is taken.
        for seq in 1..7 {
            world.publish(&name, seq, "x").head.is(200);
        }
        world.get(&name, 0).response().is_missing(7, 0);
        reader.head().is(200).seq(0);
        for piece in body.chunks(1 << 20) {
            assert_eq!(reader.payload(piece.len()), piece);
            std::thread::sleep(ms(20));
        }
        assert_eq!(reader.rest(), b"");
    });
}

#[test]
fn allowance_21_a_small_body_reaches_a_waiting_reader_in_one_chunk() {
    for_each_world(|world| {
        let name = world.channel();
        let mut reader = world.connect();
        for (seq, len) in [2, 100, 4_000, 5_000, 20_000, 30_000, 32_000]
            .into_iter()
            .enumerate()
        {
            reader.send(format!(
                "GET /ai/trickle/{name}/{seq} HTTP/1.1\r\nHost: x\r\n\r\n"
            ));
            reader.assert_silent(ms(50));
            let body = noise(21, len);
            world.publish(&name, seq, &body).head.is(200);
            reader.head().is(200);
            assert_eq!(reader.next_chunk().map(|chunk| chunk.len()), Some(len));
            assert_eq!(reader.next_chunk(), None);
        }
    });
}

#[test]
fn allowance_21_what_is_buffered_comes_in_one_chunk() {
    for_each_world(|world| {
        let name = world.channel();
        let mut publisher = world.post(&name, 0);
        for piece in noise(21, 32_000).chunks(1000) {
            publisher.chunk(piece);
        }
        publisher.finish().head.is(200);
        let mut reader = world.get(&name, 0);
        reader.head().is(200);
        assert_eq!(reader.next_chunk(), Some(noise(21, 32_000)));
        assert_eq!(reader.next_chunk(), None);
    });
}

#[test]
fn allowance_21_a_small_segment_leaves_in_one_write() {
    for_each_world(|world| {
        let name = world.channel();
        world.publish(&name, 0, "{\"keep\":\"alive\"}").head.is(200);
        let raw = String::from_utf8(world.get(&name, 0).raw()).expect("text");
        assert!(
            raw.starts_with("HTTP/1.1 200 OK\r\n")
                && raw.ends_with("\r\n\r\n10\r\n{\"keep\":\"alive\"}\r\n0\r\n\r\n"),
            "{raw:?}"
        );
    });
}

#[test]
fn allowance_23_any_number_of_readers_before_there_is_a_publisher() {
    for_each_world(|world| {
        let name = world.channel();
        let mut readers: Vec<_> = (0..20)
            .map(|i| world.get(&name, [-1, -2, 0][i % 3]))
            .collect();
        readers[19].assert_silent(BEAT);
        let mut publisher = world.post(&name, 0);
        publisher.chunk("to ");
        for reader in &mut readers {
            reader.head().is(200).seq(0);
        }
        publisher.chunk("all");
        publisher.finish().head.is(200);
        for reader in &mut readers {
            assert_eq!(reader.rest(), b"to all");
        }
    });
}

#[test]
fn allowance_25_old_parked_requests_do_not_block_a_teardown() {
    for_each_world(|world| {
        let name = world.channel();
        world.publish(&name, 0, "zero");
        let mut parked: Vec<_> = (0..5).map(|_| world.get(&name, 1)).collect();
        let mut posts: Vec<_> = (1..4).map(|seq| world.post(&name, seq)).collect();
        parked[4].assert_silent(BEAT);
        world.delete(&name).head.is(200);
        for (seq, post) in posts.iter_mut().enumerate() {
            post.response()
                .head
                .is(200)
                .seq(seq as i64 + 1)
                .closed(true)
                .closes();
        }
        for reader in &mut parked {
            let answer = reader.response();
            answer.head.is(200).seq(1).closed(true);
            // A subscriber's connection survives, and its next question is answered.
            reader.send(format!(
                "GET /ai/trickle/{name}/2 HTTP/1.1\r\nHost: x\r\n\r\n"
            ));
            reader.response().is_error(404, "Stream not found");
        }
        // The name is free at once.
        world.create(&name, "application/json", None);
        assert_eq!(world.next(&name), 0);
    });
}

#[test]
fn allowance_24_either_end_may_delete() {
    for_each_world(|world| {
        let name = world.channel();
        let mut publisher = world.post(&name, 0);
        publisher.chunk("x");
        world.get(&name, 0).head().is(200);
        publisher.finish().head.is(200);
        publisher.send(format!(
            "DELETE /ai/trickle/{name} HTTP/1.1\r\nHost: x\r\n\r\n"
        ));
        publisher.response().head.is(200);
        world.delete(&name).is_error(400, "Invalid stream");
    });
}

#[test]
fn a_large_segment_reaches_many_readers_whole() {
    for_each_world(|world| {
        let name = world.channel();
        let body = noise(7, 3 << 20);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..6)
                .map(|_| {
                    let mut reader = world.get(&name, 0);
                    scope.spawn(move || reader.response().body)
                })
                .collect();
            world.publish(&name, 0, &body).head.is(200);
            for reader in readers {
                assert!(reader.join().expect("a reader") == body);
            }
        });
    });
}

#[test]
fn a_reader_that_half_closes_is_gone() {
    for_each_world(|world| {
        let name = world.channel();
        let mut reader = world.get(&name, 0);
        reader.assert_silent(BEAT);
        reader
            .tcp()
            .shutdown(std::net::Shutdown::Write)
            .expect("a half close");
        assert_ne!(reader.end(), End::Open);
    });
}
