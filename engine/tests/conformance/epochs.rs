//! The head never goes back, but for a publisher that starts over.

use crate::support::{BEAT, for_each_world};

#[test]
fn allowance_17_a_publisher_that_restarts_at_0_is_a_new_epoch() {
    for_each_world(|world| {
        let name = world.channel();
        world.publish_upto(&name, 9);
        let mut behind = world.get(&name, 9);
        behind.assert_silent(BEAT);
        world
            .publish(&name, 0, "anew")
            .head
            .is(200)
            .seq(0)
            .has("Connection", None);
        assert_eq!(world.next(&name), 1);
        assert_eq!(world.read(&name, 0), b"anew");
        assert_eq!(world.read(&name, -2), b"anew");
        world.get(&name, 8).response().is_missing(1, 8);
        // Who waited in the old epoch is told where the new one is.
        let answer = behind.response();
        answer.head.is(200).seq(9).closed(false);
        assert_eq!(answer.body, b"");
        let mut next = world.get(&name, 1);
        next.assert_silent(BEAT);
        world.publish(&name, 1, "and on").head.is(200);
        assert_eq!(next.response().text(), "and on");
    });
}

#[test]
fn a_late_post_of_0_beside_a_live_publisher_is_no_new_epoch() {
    for_each_world(|world| {
        let name = world.channel();
        world.publish_upto(&name, 8);
        let mut live = world.post(&name, 8);
        live.chunk("live ");
        let mut reader = world.get(&name, 8);
        reader.head().is(200);
        assert_eq!(reader.payload(5), b"live ");
        world
            .publish(&name, 0, "stale")
            .head
            .is(200)
            .seq(0)
            .closes();
        assert_eq!(world.next(&name), 9);
        live.chunk("on");
        live.finish().head.is(200);
        assert_eq!(reader.rest(), b"on");
        assert_eq!(world.read(&name, 5), b"segment 5");
    });
}

#[test]
fn a_reset_with_an_old_number_is_a_new_epoch() {
    for_each_world(|world| {
        let name = world.channel();
        world.publish(&name, 100, "old").head.is(200);
        let mut post = world.post_with(&name, 50, "Lp-Trickle-Reset: 1\r\n");
        assert_eq!(world.next(&name), 50);
        world.get(&name, 100).response().is_missing(50, 100);
        post.chunk("new");
        post.finish().head.is(200).seq(50);
        assert_eq!(world.read(&name, 50), b"new");
        assert_eq!(world.next(&name), 51);
    });
}

#[test]
fn an_old_number_after_the_publisher_was_long_gone_is_a_new_epoch() {
    for_each_world(|world| {
        let name = world.channel();
        world.publish(&name, 100, "old").head.is(200);
        world.publish(&name, 60, "too soon").head.is(200).closes();
        assert_eq!(world.next(&name), 101);
        std::thread::sleep(crate::support::ms(1800));
        world
            .publish(&name, 60, "new")
            .head
            .is(200)
            .seq(60)
            .has("Connection", None);
        assert_eq!(world.next(&name), 61);
        assert_eq!(world.read(&name, 60), b"new");
    });
}

#[test]
fn an_empty_reset_field_resets_nothing() {
    for_each_world(|world| {
        let name = world.channel();
        let mut zero = world.post(&name, 0);
        zero.chunk("x");
        let mut reader = world.get(&name, 0);
        reader.head().is(200);
        assert_eq!(reader.payload(1), b"x");
        let _one = world.post_with(&name, 1, "Lp-Trickle-Reset:\r\n");
        reader.assert_silent(BEAT);
        zero.chunk("y");
        assert_eq!(reader.payload(1), b"y");
        let _two = world.post_with(&name, 2, "Lp-Trickle-Reset: 0\r\n");
        assert_eq!(reader.rest(), b"");
    });
}

#[test]
fn a_post_that_waited_in_the_old_epoch_does_not_move_the_new_head() {
    for_each_world(|world| {
        let name = world.channel();
        world.publish_upto(&name, 8);
        let mut old = world.post(&name, 8);
        let mut anew = world.post_with(&name, 0, "Lp-Trickle-Reset: 1\r\n");
        old.response().head.is(200).seq(8).closes().closed(false);
        assert_eq!(world.next(&name), 0);
        anew.chunk("anew");
        anew.finish().head.is(200).seq(0);
        assert_eq!(world.next(&name), 1);
        assert_eq!(world.read(&name, -2), b"anew");
    });
}
