//! Bounds in time: heads that are never finished, and connections that ask nothing.

use std::time::Instant;

use crate::support::{End, for_each_world_with, ms};

#[test]
fn a_head_that_is_not_finished_in_time_is_408() {
    for_each_world_with(
        |config| config.limits.head = ms(800),
        |world| {
            let mut client = world.send("GET /ai/trickle/x");
            let began = Instant::now();
            client.response().head.is(408).closes();
            assert!(
                began.elapsed() > ms(700) && began.elapsed() < ms(3000),
                "{:?}",
                began.elapsed()
            );
            assert_eq!(client.end(), End::Clean);
        },
    );
}

#[test]
fn slowloris_is_ended_and_costs_others_nothing() {
    for_each_world_with(
        |config| config.limits.head = ms(1000),
        |world| {
            let mut lorises: Vec<_> = (0..100).map(|_| world.connect()).collect();
            let began = Instant::now();
            for byte in b"GET /ai/trickle/x/0 HTTP/1.1\r\nX-Slow: aaaaaaaaaaaa"
                .iter()
                .take(30)
            {
                for loris in &mut lorises {
                    let _ = loris.try_send([*byte]);
                }
                world.assert_serves();
                std::thread::sleep(ms(50));
                if began.elapsed() > ms(2500) {
                    break;
                }
            }
            for loris in &mut lorises {
                assert_ne!(loris.end_within(ms(4000)), End::Open);
            }
        },
    );
}

#[test]
fn a_connection_between_requests_is_closed_after_its_time_and_a_parked_one_is_not() {
    for_each_world_with(
        |config| config.limits.keep_alive = ms(1000),
        |world| {
            let name = world.channel();
            let mut idle = world.send(format!(
                "GET /ai/trickle/{name}/next HTTP/1.1\r\nHost: x\r\n\r\n"
            ));
            assert_eq!(idle.response().text(), "0");
            let mut silent = world.connect();
            let mut reader = world.get(&name, 0);
            let mut publisher = world.post(&name, 0);
            assert_eq!(idle.end_within(ms(3000)), End::Clean);
            assert_ne!(silent.end_within(ms(3000)), End::Open);
            reader.assert_silent(ms(1000));
            publisher.chunk("x");
            publisher.finish().head.is(200);
            assert_eq!(reader.response().text(), "x");
        },
    );
}
