//! Channels that strangers make, and the feed that tells of them.

use crate::support::{BEAT, for_each_world_with};

#[test]
fn create_takes_its_content_type_from_expect_content() {
    for_each_world_with(
        |config| config.trickle.autocreate = true,
        |world| {
            let name = world.fresh_name();
            let create = |mime: &str| {
                world.ask(format!("POST /ai/trickle/{name} HTTP/1.1\r\nHost: x\r\nExpect-Content: {mime}\r\nContent-Length: 0\r\n\r\n"))
            };
            let answer = create("application/json");
            answer.head.is(200);
            assert_eq!(answer.body, b"");
            create("video/mp4").head.is(200);
            assert_eq!(world.next(&name), 0);
            world.ask(format!("POST /ai/trickle/{name}/0 HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}")).head.is(200);
            world
                .get(&name, 0)
                .response()
                .head
                .is(200)
                .has("Content-Type", Some("application/json"));
        },
    );
}

#[test]
fn the_first_publish_creates_with_its_own_content_type() {
    for_each_world_with(
        |config| config.trickle.autocreate = true,
        |world| {
            let name = world.fresh_name();
            world.ask(format!("POST /ai/trickle/{name}/0 HTTP/1.1\r\nContent-Type: video/mp2t\r\nContent-Length: 1\r\n\r\nx")).head.is(200).seq(0);
            world
                .get(&name, 0)
                .response()
                .head
                .is(200)
                .has("Content-Type", Some("video/mp2t"));
            let plain = world.fresh_name();
            world.publish(&plain, 3, "x").head.is(200).seq(3);
            world
                .get(&plain, 3)
                .response()
                .head
                .is(200)
                .has("Content-Type", Some("application/octet-stream"));
        },
    );
}

#[test]
fn a_get_never_creates() {
    for_each_world_with(
        |config| config.trickle.autocreate = true,
        |world| {
            let name = world.fresh_name();
            for seq in ["0", "-1", "-2", "next"] {
                world
                    .get(&name, seq)
                    .response()
                    .is_error(404, "Stream not found");
            }
            world.delete(&name).is_error(400, "Invalid stream");
        },
    );
}

#[test]
fn names_that_are_none_are_not_created() {
    for_each_world_with(
        |config| config.trickle.autocreate = true,
        |world| {
            let long = "n".repeat(257);
            for name in [long.as_str(), "a%20b", "%00", "caf%C3%A9", "a%7Fb"] {
                world
                    .publish(name, 0, "x")
                    .is_error(404, "Stream not found");
            }
            let longest = "n".repeat(256);
            world.publish(&longest, 0, "x").head.is(200);
            assert_eq!(world.read(&longest, 0), b"x");
        },
    );
}

#[test]
fn a_deleted_channel_starts_over_when_it_is_made_again() {
    for_each_world_with(
        |config| config.trickle.autocreate = true,
        |world| {
            let name = world.fresh_name();
            world.publish(&name, 7, "old").head.is(200);
            world.delete(&name).head.is(200);
            world.publish(&name, 0, "new").head.is(200).seq(0);
            assert_eq!(world.next(&name), 1);
            world.get(&name, 7).response().is_missing(1, 7);
        },
    );
}

#[test]
fn the_change_feed_tells_of_channels_that_come_and_go() {
    for_each_world_with(
        |config| {
            config.trickle.autocreate = true;
            config.trickle.changefeed = true;
        },
        |world| {
            let feed = |seq: u64| {
                let answer = world.get("_changes", seq).response();
                answer
                    .head
                    .is(200)
                    .seq(seq as i64)
                    .has("Content-Type", Some("application/json"));
                answer.text()
            };
            assert_eq!(feed(0), r#"{"added":["_changes"]}"#);
            let mut waiting = world.get("_changes", 1);
            waiting.assert_silent(BEAT);
            let name = world.fresh_name();
            world.publish(&name, 0, "x").head.is(200);
            assert_eq!(
                waiting.response().text(),
                format!(r#"{{"added":["{name}"]}}"#)
            );
            world.delete(&name).head.is(200);
            assert_eq!(feed(2), format!(r#"{{"removed":["{name}"]}}"#));
        },
    );
}

#[test]
fn without_the_option_there_is_no_change_feed() {
    for_each_world_with(
        |_| {},
        |world| {
            world
                .get("_changes", 0)
                .response()
                .is_error(404, "Stream not found");
        },
    );
}
