//! Conformance cases 1–14: where a GET parks, what is missing, how a segment and a channel end.

use crate::support::{BEAT, End, for_each_world};

#[test]
fn case_01_get_minus_one_on_a_new_channel_parks_on_0() {
    for_each_world(|world| {
        let name = world.channel();
        let mut reader = world.get(&name, -1);
        reader.assert_silent(BEAT);
        let mut publisher = world.post(&name, 0);
        reader.assert_silent(BEAT);
        publisher.chunk("x");
        reader
            .head()
            .is(200)
            .seq(0)
            .has("Lp-Trickle-Latest", None)
            .has("Content-Type", Some("video/MP2T"));
        assert_eq!(reader.payload(1), b"x");
        publisher.finish().head.is(200).seq(0);
        assert_eq!(reader.rest(), b"");
    });
}

#[test]
fn case_02_get_minus_two_on_a_new_channel_is_get_0() {
    for_each_world(|world| {
        let name = world.channel();
        let mut reader = world.get(&name, -2);
        reader.assert_silent(BEAT);
        world.publish(&name, 0, "zero").head.is(200);
        assert_eq!(reader.response().head.is(200).seq(0).status, 200);
    });
}

#[test]
fn case_03_a_new_channel_parks_0_and_1_at_once() {
    for_each_world(|world| {
        let name = world.channel();
        let (mut zero, mut one) = (world.get(&name, 0), world.get(&name, 1));
        zero.assert_silent(BEAT);
        one.assert_silent(BEAT);
        world.publish(&name, 0, "zero").head.is(200);
        assert_eq!(zero.response().text(), "zero");
        one.assert_silent(BEAT);
        world.publish(&name, 1, "one").head.is(200);
        assert_eq!(one.response().text(), "one");
    });
}

#[test]
fn case_04_get_2_on_a_new_channel_is_missing() {
    for_each_world(|world| {
        let name = world.channel();
        world.get(&name, 2).response().is_missing(0, 2);
    });
}

#[test]
fn case_05_while_0_is_written_get_minus_one_parks_on_1() {
    for_each_world(|world| {
        let name = world.channel();
        let mut zero = world.post(&name, 0);
        zero.chunk("bytes");
        let mut reader = world.get(&name, 0);
        reader.head().is(200);
        let mut next = world.get(&name, -1);
        next.assert_silent(BEAT);
        world.publish(&name, 1, "one").head.is(200);
        let response = next.response();
        response.head.is(200).seq(1);
        assert_eq!(response.text(), "one");
        zero.finish().head.is(200);
    });
}

#[test]
fn case_06_while_0_is_written_get_minus_two_streams_it_from_its_first_byte() {
    for_each_world(|world| {
        let name = world.channel();
        let mut zero = world.post(&name, 0);
        zero.chunk("first ");
        assert_eq!(world.get(&name, 0).head().is(200).status, 200);
        let mut reader = world.get(&name, -2);
        reader.head().is(200).seq(0);
        assert_eq!(reader.payload(6), b"first ");
        zero.chunk("second");
        assert_eq!(reader.payload(6), b"second");
        zero.finish();
        assert_eq!(reader.rest(), b"");
    });
}

#[test]
fn case_07_while_0_is_written_2_is_missing_and_latest_is_1() {
    for_each_world(|world| {
        let name = world.channel();
        let mut zero = world.post(&name, 0);
        zero.chunk("bytes");
        world.get(&name, 0).head();
        world.get(&name, 2).response().is_missing(1, 2);
    });
}

#[test]
fn case_08_a_preconnect_does_not_move_the_head() {
    for_each_world(|world| {
        let name = world.channel();
        let mut zero = world.post(&name, 0);
        zero.chunk("bytes");
        world.get(&name, 0).head();
        let _one = world.post(&name, 1);
        world.get(&name, 2).response().is_missing(1, 2);
        assert_eq!(world.next(&name), 1);
    });
}

#[test]
fn case_09_an_evicted_segment_is_missing() {
    for_each_world(|world| {
        let name = world.channel();
        world.publish_upto(&name, 7);
        world.get(&name, 0).response().is_missing(7, 0);
        world.get(&name, 1).response().is_missing(7, 1);
    });
}

#[test]
fn case_10_five_complete_segments_are_kept_and_carry_latest() {
    for_each_world(|world| {
        let name = world.channel();
        world.publish_upto(&name, 7);
        for seq in 2..7 {
            let response = world.get(&name, seq).response();
            response.head.is(200).seq(seq).latest(7).closed(false);
            assert_eq!(response.text(), format!("segment {seq}"));
        }
    });
}

#[test]
fn case_11_an_empty_segment_is_delivered_as_such() {
    for_each_world(|world| {
        for chunked in [false, true] {
            let name = world.channel();
            world.publish(&name, 0, "zero");
            let mut reader = world.get(&name, 1);
            reader.assert_silent(BEAT);
            let answer = if chunked {
                world.post(&name, 1).finish()
            } else {
                world.publish(&name, 1, "")
            };
            answer.head.is(200).seq(1).closes().closed(false);
            assert_eq!(answer.body, b"");
            let response = reader.response();
            response
                .head
                .is(200)
                .seq(1)
                .latest(2)
                .closed(false)
                .has("Content-Type", None);
            assert_eq!(response.body, b"");
            assert_eq!(world.next(&name), 2);
        }
    });
}

#[test]
fn case_12_delete_channel_while_a_post_is_parked() {
    for_each_world(|world| {
        let name = world.channel();
        world.publish(&name, 0, "zero");
        let mut publisher = world.post(&name, 1);
        let mut reader = world.get(&name, 1);
        reader.assert_silent(BEAT);
        world.delete(&name).head.is(200);
        let answer = publisher.response();
        answer.head.is(200).seq(1).closed(true).closes();
        assert_eq!(publisher.end(), End::Clean);
        let response = reader.response();
        response.head.is(200).seq(1).closed(true);
        assert_eq!(response.body, b"");
    });
}

#[test]
fn case_13_delete_channel_while_a_post_is_in_mid_body() {
    for_each_world(|world| {
        let name = world.channel();
        let mut publisher = world.post(&name, 0);
        publisher.chunk("so far");
        let mut reader = world.get(&name, 0);
        reader.head().is(200);
        assert_eq!(reader.payload(6), b"so far");
        world.delete(&name).head.is(200);
        assert_eq!(reader.rest(), b"");
        publisher.chunk("consumed and gone");
        publisher.assert_silent(BEAT);
        publisher.finish().head.is(200).seq(0).closed(false);
        world
            .get(&name, 0)
            .response()
            .is_error(404, "Stream not found");
    });
}

#[test]
fn case_14_the_second_delete_says_invalid_stream() {
    for_each_world(|world| {
        let name = world.channel();
        let response = world.delete(&name);
        response.head.is(200);
        assert_eq!(response.body, b"");
        world.delete(&name).is_error(400, "Invalid stream");
    });
}
