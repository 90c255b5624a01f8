//! Idle channels are swept, busy ones are not.

use crate::support::{eventually, for_each_world_with, ms};

#[test]
fn the_idle_time_is_not_shortened() {
    assert!(engine::TrickleConfig::default().idle >= ms(300_000));
}

#[test]
fn case_23_a_channel_with_subscribers_only_is_swept() {
    for_each_world_with(
        |config| config.trickle.idle = ms(1000),
        |world| {
            let name = world.channel();
            let mut reader = world.get(&name, 0);
            let mut publisher = world.post(&name, 1);
            let answer = reader.response();
            answer.head.is(200).seq(0).closed(true);
            assert_eq!(answer.body, b"");
            publisher
                .response()
                .head
                .is(200)
                .seq(1)
                .closed(true)
                .closes();
            reader.send(format!(
                "GET /ai/trickle/{name}/0 HTTP/1.1\r\nHost: x\r\n\r\n"
            ));
            reader.response().is_error(404, "Stream not found");
        },
    );
}

#[test]
fn a_name_with_an_underscore_is_never_swept() {
    for_each_world_with(
        |config| config.trickle.idle = ms(500),
        |world| {
            let kept = format!("_{}", world.fresh_name());
            world.create(&kept, "application/json", None);
            let mut reader = world.get(&kept, 0);
            reader.assert_silent(ms(2500));
            world.publish(&kept, 0, "x").head.is(200);
            assert_eq!(reader.response().text(), "x");
        },
    );
}

#[test]
fn weakness_08_a_long_segment_keeps_its_channel_alive() {
    for_each_world_with(
        |config| config.trickle.idle = ms(1000),
        |world| {
            let name = world.channel();
            let mut publisher = world.post(&name, 0);
            let mut reader = world.get(&name, 0);
            publisher.chunk("x");
            reader.head().is(200);
            for _ in 0..10 {
                std::thread::sleep(ms(250));
                publisher.chunk("x");
            }
            publisher.finish().head.is(200).seq(0).closed(false);
            assert_eq!(reader.rest(), b"x".repeat(11));
            assert_eq!(world.next(&name), 1);
            eventually("swept at last", || {
                world.get(&name, "next").response().head.status == 404
            });
        },
    );
}

#[test]
fn readers_that_receive_keep_their_channel_alive() {
    for_each_world_with(
        |config| config.trickle.idle = ms(1000),
        |world| {
            let name = world.channel();
            world.publish(&name, 0, "x").head.is(200);
            for _ in 0..12 {
                std::thread::sleep(ms(250));
                assert_eq!(world.read(&name, 0), b"x");
            }
        },
    );
}
