//! Who is let in.

use super::*;

#[test]
fn a_lane_is_full_at_its_ceiling_and_has_room_when_somebody_leaves() {
    // Nothing was measured: each is taken to need a twelfth.
    let rig = Rig::start(&stub(4, ms(0)), 1, |limits| limits.lane_percent = 25);
    let mut clients: Vec<_> = (0..3).map(|_| rig.client()).collect();
    assert_eq!(rig.report(0).utilisation_permille, 249);
    assert_eq!(rig.try_client().err(), Some(Refusal::Full("lane time")));
    assert_eq!(rig.report(0).sessions, 3, "a refusal leaves nothing behind");
    clients.pop();
    assert_eq!(rig.report(0).utilisation_permille, 166);
    drop(rig.client());
    clients.push(rig.client());
    assert_eq!(rig.try_client().err(), Some(Refusal::Full("lane time")));
}

#[test]
fn sessions_go_where_there_is_the_least_to_do() {
    let rig = Rig::start(&stub(4, ms(0)), 3, |limits| limits.lane_percent = 25);
    let clients: Vec<_> = (0..9).map(|_| rig.client()).collect();
    let sessions: Vec<_> = rig
        .lanes
        .reports()
        .iter()
        .map(|lane| lane.sessions)
        .collect();
    assert_eq!(sessions, [3, 3, 3]);
    assert_eq!(rig.try_client().err(), Some(Refusal::Full("lane time")));
    drop(clients);
}

/// What is measured takes the place of what was assumed: small pictures leave room, slow calls take it.
#[test]
fn room_follows_what_is_measured() {
    let rig = Rig::start(&stub(1, ms(3)), 1, |limits| limits.lane_percent = 85);
    let mut client = rig.client();
    let began = Instant::now();
    // 64x48 at twenty a second, a hundred and fiftieth of what was assumed, but 9 ms a picture: a far costlier pixel.
    for n in 1..=26 {
        client.send(1);
        std::thread::sleep((began + ms(50) * n).saturating_duration_since(Instant::now()));
    }
    client.assert_whole();
    let report = rig.report(0);
    println!(
        "{} ps a pixel, {} of 1000",
        report.metrics.cost_ps, report.utilisation_permille
    );
    assert!(
        report.metrics.cost_ps > 1_000_000,
        "6 ms for 3072 pixels at least"
    );
    // Twenty pictures a second of 6 ms and more, give or take a busy machine.
    assert!((80..3000).contains(&report.utilisation_permille));
    // Pixels that cost so much are not to be had by 640x480 at 30.
    assert_eq!(rig.try_client().err(), Some(Refusal::Full("lane time")));
}

#[test]
fn a_session_without_memory_for_it_is_refused_before_it_hurts_others() {
    let stub = Stub::new(Settings {
        surfaces_max: 40,
        surface_bytes: 1 << 20,
        ..Settings::default()
    });
    let rig = Rig::start(&stub, 1, |limits| limits.lane_calibration = ms(1));
    // A session takes eleven, and two and a half are left alone.
    let mut clients: Vec<_> = (0..3).map(|_| rig.client()).collect();
    assert_eq!(rig.try_client().err(), Some(Refusal::Full("device memory")));
    for client in &mut clients {
        client.send(5);
        client.assert_whole();
    }
    assert_eq!(stub.surfaces(), 33);
    assert_eq!(rig.try_client().err(), Some(Refusal::Full("device memory")));
    clients.pop();
    eventually("there is room again", || rig.try_client().is_ok());
}

#[test]
fn a_lane_that_was_calibrated_knows_its_price_before_the_first_session() {
    let rig = Rig::start(&stub(4, ms(2)), 1, |limits| {
        limits.lane_calibration = ms(60);
    });
    let metrics = rig.metrics(0);
    println!("{} ps a pixel", metrics.cost_ps);
    // 6 ms for 1280x720 at the least.
    assert!(metrics.cost_ps >= 6_000, "{}", metrics.cost_ps);
    assert_eq!(
        (metrics.frames, metrics.batches),
        (0, 0),
        "it is no session"
    );
    let mut client = rig.client();
    client.send(3);
    client.assert_whole();
}
