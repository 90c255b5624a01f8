//! Weakness 10: names can be guessed, so a channel may have an owner whose token its deletion needs.

use crate::support::{Response, World, for_each_world_with};

fn refused(answer: &Response) {
    answer.is_error(
        403,
        "Forbidden: this channel can only be deleted by its owner",
    );
}

fn delete_with(world: &World, name: &str, token: &str) -> Response {
    world.ask(format!(
        "DELETE /ai/trickle/{name} HTTP/1.1\r\nHost: x\r\nLp-Trickle-Token: {token}\r\n\r\n"
    ))
}

#[test]
fn weakness_10_an_owned_channel_is_deleted_with_its_token_only() {
    for_each_world_with(
        |config| config.trickle.owner_delete = true,
        |world| {
            for with_field in [false, true] {
                let name = world.fresh_name();
                world.create(&name, "video/MP2T", Some("s3cret"));
                refused(&world.delete(&name));
                refused(&world.delete(&format!("{name}~s3cre")));
                refused(&world.delete(&format!("{name}~s3cret1")));
                refused(&delete_with(world, &name, "S3cret"));
                world.publish(&name, 0, "still there").head.is(200);
                if with_field {
                    delete_with(world, &name, "s3cret").head.is(200);
                } else {
                    world.delete(&format!("{name}~s3cret")).head.is(200);
                }
                world
                    .delete(&format!("{name}~s3cret"))
                    .is_error(400, "Invalid stream");
            }
        },
    );
}

#[test]
fn a_channel_without_owner_is_anyones_to_delete() {
    for_each_world_with(
        |config| config.trickle.owner_delete = true,
        |world| {
            let name = world.channel();
            world.delete(&name).head.is(200);
            let name = world.channel();
            world.delete(&format!("{name}~whatever")).head.is(200);
        },
    );
}

#[test]
fn without_the_option_stock_peers_delete_as_ever() {
    for_each_world_with(
        |_| {},
        |world| {
            let name = world.fresh_name();
            world.create(&name, "video/MP2T", Some("s3cret"));
            world.delete(&name).head.is(200);
        },
    );
}

#[test]
fn a_token_in_the_url_names_the_same_channel_for_every_request() {
    for_each_world_with(
        |config| config.trickle.owner_delete = true,
        |world| {
            let name = world.name_on(world.shards - 1);
            world.create(&name, "video/MP2T", Some("t0k"));
            let mut reader = world.get(&format!("{name}~t0k"), 0);
            world.publish(&format!("{name}~t0k"), 0, "x").head.is(200);
            assert_eq!(reader.response().text(), "x");
            assert_eq!(world.next(&format!("{name}~t0k")), 1);
            assert_eq!(world.read(&name, 0), b"x");
            world.delete(&format!("{name}~t0k/0")).head.is(200);
            // A wrong token opens what needs none: only deletion asks for it.
            assert_eq!(world.read(&format!("{name}~wrong"), 0), b"x");
        },
    );
}

#[test]
fn who_creates_a_channel_with_a_token_owns_it() {
    for_each_world_with(
        |config| {
            config.trickle.owner_delete = true;
            config.trickle.autocreate = true;
        },
        |world| {
            let by_publish = world.fresh_name();
            world
                .publish(&format!("{by_publish}~mine"), 0, "x")
                .head
                .is(200);
            refused(&world.delete(&by_publish));
            // A later publisher does not become the owner.
            world
                .publish(&format!("{by_publish}~yours"), 1, "x")
                .head
                .is(200);
            refused(&world.delete(&format!("{by_publish}~yours")));
            world.delete(&format!("{by_publish}~mine")).head.is(200);

            let by_create = world.fresh_name();
            world.ask(format!("POST /ai/trickle/{by_create} HTTP/1.1\r\nHost: x\r\nLp-Trickle-Token: mine\r\n\r\n")).head.is(200);
            refused(&world.delete(&by_create));
            delete_with(world, &by_create, "mine").head.is(200);
        },
    );
}
