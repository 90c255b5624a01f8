//! What fails, whom it ends, and how the lane comes back.

use gpu::stub::{Point, Trouble};

use super::*;
use crate::lane::LaneState;

/// Whatever a fault is about alone ends at its session.
#[test]
fn a_fault_of_one_session_ends_that_session() {
    for (point, fault) in [
        (Point::Surface, FULL),
        (Point::Decoder, FULL),
        (Point::DecodeSubmit, FAILED),
        (Point::DecodeCollect, FAILED),
        (Point::EncodeSubmit, FULL),
        (Point::EncodeCollect, FAILED),
    ] {
        let rig = Rig::start(&stub(4, ms(1)), 1, |_| {});
        let mut clients: Vec<_> = (0..3).map(|_| rig.client()).collect();
        rig.faults.fail_when(point, 2, fault);
        let mut ended = 0;
        for client in &mut clients {
            client.send(10);
        }
        for client in &clients {
            let mut seen = Seen::default();
            client.see(&mut seen, |seen| {
                seen.frames.len() == 10 || seen.failed.is_some()
            });
            if let Some(why) = seen.failed {
                assert_eq!(why, fault.to_string(), "{point:?}");
                ended += 1;
            }
        }
        assert_eq!(ended, 1, "{point:?}");
        let metrics = rig.metrics(0);
        assert_eq!((metrics.failed_sessions, metrics.rebuilds), (1, 0));
    }
}

#[test]
fn a_panic_of_one_codec_ends_that_session() {
    for point in [
        Point::DecodeSubmit,
        Point::DecodeCollect,
        Point::EncodeSubmit,
        Point::EncodeCollect,
    ] {
        let rig = Rig::start(&stub(4, ms(0)), 1, |_| {});
        let (mut unlucky, mut other) = (rig.client(), rig.client());
        rig.faults.panic_next(point);
        unlucky.send(1);
        assert_eq!(unlucky.see_failure(), "the backend panicked", "{point:?}");
        other.send(10);
        other.assert_whole();
        assert_eq!(rig.metrics(0).panics, 1);
    }
}

/// A call that does all pictures at once does not say whose fault it was; the others' come out all the same.
#[test]
fn one_poisoned_picture_in_a_batch_ends_its_session_alone() {
    for trouble in [Trouble::Fail(FAILED), Trouble::Panic] {
        let rig = Rig::start(&stub(4, ms(3)), 1, |_| {});
        let mut clients: Vec<_> = (0..4).map(|_| rig.client()).collect();
        rig.faults.poison(clients[2].pts(5), trouble);
        for client in &mut clients {
            client.send(12);
        }
        let poisoned = clients.remove(2);
        let mut seen = Seen::default();
        poisoned.see(&mut seen, |seen| seen.failed.is_some());
        assert_eq!(seen.frames, [0, 1, 2, 3, 4], "{trouble:?}");
        for client in &clients {
            client.assert_whole();
        }
        let metrics = rig.metrics(0);
        assert!(metrics.batch_sizes[2] > 0, "there were batches");
        assert_eq!((metrics.failed_sessions, metrics.rebuilds), (1, 0));
    }
}

/// A fault that does not come again when each picture is done alone costs nobody anything.
#[test]
fn a_batch_that_fails_once_is_done_again_one_by_one() {
    let rig = Rig::start(&stub(4, ms(3)), 1, |_| {});
    let mut clients: Vec<_> = (0..4).map(|_| rig.client()).collect();
    for client in &mut clients {
        client.send(6);
    }
    clients[0].see(&mut Seen::default(), |seen| seen.spent >= 1);
    rig.faults.fail_next(Point::Process, FULL);
    let mut frames = 0;
    for client in &clients[1..] {
        frames += client.see_all().frames.len();
    }
    assert_eq!(frames, 18);
    assert_eq!(rig.metrics(0).failed_sessions, 0);
}

#[test]
fn a_lost_device_ends_the_sessions_of_its_lane_and_no_others() {
    for point in [
        Point::DecodeSubmit,
        Point::DecodeCollect,
        Point::Process,
        Point::EncodeSubmit,
        Point::EncodeCollect,
    ] {
        let rig = Rig::start(&stub(4, ms(1)), 2, |_| {});
        // Each goes where there is less to do.
        let mut here = vec![rig.client()];
        let mut there = rig.client();
        here.push(rig.client());
        there.send(5);
        let mut seen = Seen::default();
        there.see(&mut seen, |seen| seen.frames.len() == 5);
        rig.faults.fail_when(point, 3, LOST);
        for client in &mut here {
            client.send(10);
        }
        for client in &here {
            assert_eq!(
                client.see_failure(),
                "stub: device lost: stubLaunch failed with STUB_ERROR_ILLEGAL_ADDRESS",
                "{point:?}"
            );
        }
        let lost_at = Instant::now();
        drop(here);
        there.send(5);
        there.see(&mut seen, |seen| seen.frames.len() == 10);
        eventually("the lane is back", || {
            rig.report(0).state == LaneState::Ready
        });
        let mut again = rig.client();
        again.send(10);
        again.assert_whole();
        println!("{point:?}: frames again after {:.1?}", lost_at.elapsed());
        assert!(lost_at.elapsed() < Duration::from_secs(1), "{point:?}");
        let [lost, other] = [rig.metrics(0), rig.metrics(1)];
        assert_eq!((lost.rebuilds, lost.failed_sessions), (1, 2));
        assert!(lost.rebuild_ns > 0);
        assert_eq!((other.rebuilds, other.failed_sessions), (0, 0));
        assert!(
            lost.frames >= 10,
            "the newcomer was placed on the lane that is back"
        );
    }
}

/// A fault after which nothing is to be trusted is a loss, even when it calls itself otherwise.
#[test]
fn a_device_that_does_not_answer_is_a_lost_device() {
    let rig = Rig::start(&stub(2, ms(0)), 1, |_| {});
    let mut client = rig.client();
    let stuck = Fault::Stuck {
        call: "stubEventSynchronize",
        waited_ms: 2000,
    };
    rig.faults.fail_next(Point::EncodeCollect, stuck);
    client.send(1);
    let why = client.see_failure();
    assert!(why.contains("did not answer within 2000 ms"), "{why}");
    eventually("it was opened again", || rig.metrics(0).rebuilds == 1);
}

#[test]
fn a_device_that_cannot_be_opened_is_tried_until_it_can() {
    let stub = stub(2, ms(0));
    for nth in 1..=3 {
        stub.faults().fail_when(Point::Open, nth, FAILED);
    }
    let rig = Rig::start(&stub, 1, |_| {});
    let refused = rig.try_client().err();
    assert_eq!(refused, Some(Refusal::Full("the device is being rebuilt")));
    assert_eq!(
        rig.lanes.troubles(),
        ["lane 0 (stub): the device is being rebuilt"]
    );
    eventually("it is open", || rig.report(0).state == LaneState::Ready);
    let metrics = rig.metrics(0);
    assert_eq!((metrics.open_failures, metrics.rebuilds), (3, 1));
    assert!(
        metrics.rebuild_ns >= 350_000_000,
        "50, 100 and 200 ms of pauses"
    );
    assert!(rig.lanes.troubles().is_empty());
    let mut client = rig.client();
    client.send(3);
    client.assert_whole();
}

#[test]
fn a_lane_that_waits_for_its_device_can_be_stopped() {
    let stub = stub(2, ms(0));
    for nth in 1..=20 {
        stub.faults().fail_when(Point::Open, nth, FAILED);
    }
    let rig = Rig::start(&stub, 1, |_| {});
    let began = Instant::now();
    drop(rig);
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_lane_that_hangs_is_seen_and_gets_nothing_new() {
    let rig = Rig::start(&stub(2, ms(0)), 2, |limits| limits.lane_call = ms(400));
    let mut unlucky = rig.client();
    rig.faults.hang(Point::Process, ms(2500));
    unlucky.send(1);
    eventually("it is seen", || rig.lanes.stuck() == 1);
    assert_eq!(rig.report(0).state, LaneState::Stuck);
    assert!(unlucky.place.is_stuck().is_some());
    let troubles = rig.lanes.troubles();
    assert!(
        troubles[0].starts_with("lane 0 (stub) is stuck"),
        "{troubles:?}"
    );
    // By what there is to do, every other one of these would be placed there.
    let mut others: Vec<_> = (0..4).map(|_| rig.client()).collect();
    for other in &mut others {
        assert!(other.place.is_stuck().is_none());
        other.send(5);
        other.assert_whole();
    }
    assert_eq!(rig.metrics(0).frames, 0, "it still hangs");
    // When the call returns after all, the lane is as good as before.
    unlucky.assert_whole();
    eventually("it is no longer stuck", || rig.lanes.stuck() == 0);
}

#[test]
fn when_every_lane_hangs_the_refusal_says_so() {
    let rig = Rig::start(&stub(2, ms(0)), 1, |limits| limits.lane_call = ms(300));
    let mut unlucky = rig.client();
    rig.faults.hang(Point::DecodeSubmit, ms(1200));
    unlucky.send(1);
    eventually("it is seen", || rig.lanes.stuck() == 1);
    let refused = rig.try_client().err();
    assert_eq!(
        refused,
        Some(Refusal::Full("every lane is stuck in a device call"))
    );
    unlucky.assert_whole();
}

/// An encoder that is not to be had is known before any input has come.
#[test]
fn a_session_that_finds_no_encoder_is_told_at_once() {
    let rig = Rig::start(&stub(2, ms(0)), 1, |_| {});
    rig.faults.fail_next(Point::Encoder, FULL);
    let unlucky = rig.client();
    assert_eq!(unlucky.see_failure(), FULL.to_string());
    let mut next = rig.client();
    next.send(3);
    next.assert_whole();
}
