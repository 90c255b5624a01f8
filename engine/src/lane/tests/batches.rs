//! How batches form, and what sessions owe each other.

use super::*;

#[test]
fn batches_form_across_sessions_and_are_bounded() {
    let rig = Rig::start(&stub(3, ms(2)), 1, |_| {});
    let mut clients: Vec<_> = (0..5).map(|_| rig.client()).collect();
    for client in &mut clients {
        client.send(20);
    }
    for client in &clients {
        client.assert_whole();
    }
    let metrics = rig.metrics(0);
    println!("{:?} of 1, 2, up to 4, ...", metrics.batch_sizes);
    assert_eq!(metrics.frames, 100);
    assert_eq!(metrics.batch_sizes.iter().sum::<u64>(), metrics.batches);
    assert!(metrics.batch_sizes[2] > 10, "threes were made");
    assert_eq!(metrics.batch_sizes[3..], [0; 3], "and nothing larger");
    let calls = rig.faults.calls(gpu::stub::Point::Process);
    assert_eq!(calls, metrics.batches, "a batch is one call");
    assert!(metrics.device_process_ns > 0 && metrics.queue_ns > 0);
}

#[test]
fn a_device_that_wants_no_batches_gets_none() {
    let rig = Rig::start(&stub(1, ms(1)), 1, |_| {});
    let mut clients: Vec<_> = (0..3).map(|_| rig.client()).collect();
    for client in &mut clients {
        client.send(10);
    }
    for client in &clients {
        client.assert_whole();
    }
    assert_eq!(rig.metrics(0).batch_sizes, [30, 0, 0, 0, 0, 0]);
}

#[test]
fn a_batch_waits_for_a_session_whose_next_unit_is_due() {
    let stub = Stub::new(Settings {
        batching: Batching {
            units_max: 2,
            wait: ms(25),
        },
        ..Settings::default()
    });
    let rig = Rig::start(&stub, 1, |_| {});
    let (mut early, mut late) = (rig.client(), rig.client());
    let mut due = Instant::now();
    let mut beat = |time| {
        due += ms(time);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    };
    for _ in 0..25 {
        early.send(1);
        beat(8);
        late.send(1);
        beat(32);
    }
    early.assert_whole();
    late.assert_whole();
    let sizes = rig.metrics(0).batch_sizes;
    println!("{sizes:?} of 1, 2, ...");
    assert!(sizes[1] >= 8, "they were done together: {sizes:?}");
}

#[test]
fn nobody_is_waited_for_who_has_no_rhythm() {
    let stub = Stub::new(Settings {
        batching: Batching {
            units_max: 2,
            wait: Duration::from_secs(5),
        },
        ..Settings::default()
    });
    let rig = Rig::start(&stub, 1, |_| {});
    let (mut alone, _silent) = (rig.client(), rig.client());
    let began = Instant::now();
    alone.send(1);
    alone.assert_whole();
    assert!(began.elapsed() < Duration::from_secs(4));
}

/// What a long queue costs the others is its one unit a turn.
#[test]
fn a_long_queue_delays_only_its_own_session() {
    for units_max in [1, 4] {
        let rig = Rig::start(&stub(units_max, ms(2)), 1, |_| {});
        let (mut greedy, mut modest) = (rig.client(), rig.client());
        let (mut much, mut little) = (Seen::default(), Seen::default());
        greedy.send(100);
        greedy.see(&mut much, |seen| seen.frames.len() >= 3);
        for n in 1..=5 {
            modest.send(1);
            modest.see(&mut little, |seen| seen.frames.len() == n);
        }
        let done = much.frames.len();
        assert!(done < 50, "the queue was still long: {done}");
        greedy.see(&mut much, |seen| seen.frames.len() == 100);
        let mut between: Vec<_> = little
            .times
            .iter()
            .map(|&(queued, encoded)| {
                let is_between = |at: &Instant| (queued..encoded).contains(at);
                let others = much.times.iter().map(|(_, encoded)| encoded);
                others.filter(|at| is_between(at)).count()
            })
            .collect();
        between.sort_unstable();
        println!("{between:?} of the other's frames went first");
        // One is under way, one may have its turn first. The median, since the test's thread may be held up between stamp and ring.
        assert!(between[2] <= 3, "{between:?}");
    }
}

#[test]
fn a_late_session_gives_up_its_own_frames_and_keeps_the_newest() {
    let rig = Rig::start(&stub(2, ms(12)), 1, |_| {});
    let (late, mut calm) = (rig.client(), rig.client());
    // Five seconds of video at once, whose clock says that all of it was due long ago: 36 ms and more a picture.
    let long_ago = Instant::now()
        .checked_sub(Duration::from_secs(10))
        .expect("uptime");
    for n in 0..60 {
        let now = Instant::now();
        let clip = clip();
        let unit = Unit {
            codec: Codec::H264,
            data: clip[n % clip.len()].clone(),
            pts: late.pts(n),
            key: n % clip.len() == 0,
            stamps: Stamps::found(long_ago, now, 0),
        };
        late.place.push(unit).expect("the ring has room");
    }
    late.place.ring();
    for _ in 0..10 {
        calm.send(1);
        std::thread::sleep(ms(40));
    }
    let mut seen = Seen::default();
    late.see(&mut seen, |seen| seen.frames.len() + seen.dropped == 60);
    assert!(seen.dropped >= 50, "{seen:?}");
    assert_eq!(
        seen.frames.last(),
        Some(&59),
        "nothing newer than the newest"
    );
    assert_eq!(rig.metrics(0).shed, seen.dropped as u64);
    calm.assert_whole();
}

#[test]
fn what_is_held_back_comes_out_at_a_flush() {
    let rig = Rig::start(&stub(4, ms(0)), 1, |_| {});
    let mut client = rig.client();
    client.send(5);
    assert!(client.place.flush());
    let mut seen = Seen::default();
    client.see(&mut seen, |seen| seen.flushed == 1);
    assert_eq!(seen.frames, [0, 1, 2, 3, 4]);
    // And once more, before a first unit.
    let idle = rig.client();
    assert!(idle.place.flush());
    idle.see(&mut Seen::default(), |seen| seen.flushed == 1);
}

#[test]
fn a_session_may_change_its_step_between_two_frames() {
    let rig = Rig::start(&stub(2, ms(0)), 1, |_| {});
    let mut client = rig.client();
    let mut seen = Seen::default();
    client.send(3);
    client.see(&mut seen, |seen| seen.frames.len() == 3);
    let processed = rig.faults.calls(gpu::stub::Point::Process);
    assert_eq!(processed, 3);
    assert!(client.place.set_step(Step::default()));
    client.send(3);
    client.see(&mut seen, |seen| seen.frames.len() == 6);
    let processed = rig.faults.calls(gpu::stub::Point::Process);
    assert_eq!(processed, 3, "what passes through is not processed");
}

#[test]
fn a_codec_that_the_device_lacks_is_named() {
    let rig = Rig::start(&stub(2, ms(0)), 1, |_| {});
    let mut client = rig.client();
    assert!(client.place.decodes(Codec::H264) && !client.place.decodes(Codec::H265));
    client.send_as(Codec::H265);
    let mut seen = Seen::default();
    client.see(&mut seen, |seen| seen.bad_input.is_some());
    let why = seen.bad_input.expect("it was waited for");
    assert_eq!(why, "H.265 video: this device decodes H.264 only");
}

#[test]
fn a_stream_may_change_its_codec() {
    let stub = Stub::new(Settings {
        decodes: vec![Codec::H264, Codec::H265],
        ..Settings::default()
    });
    let rig = Rig::start(&stub, 1, |_| {});
    let mut client = rig.client();
    for codec in [Codec::H264, Codec::H264, Codec::H265, Codec::H265] {
        client.send_as(codec);
    }
    // The stub holds back what it does not read, as a decoder does that reorders.
    assert!(client.place.flush());
    client.assert_whole();
    assert_eq!(rig.report(0).decodes, ["H.264", "H.265"]);
}
