//! Sessions on lanes whose device batches, fails, hangs and fills up: the stub, behind a whole engine.

#![forbid(unsafe_code)]

mod session_support;

use std::time::{Duration, Instant};

use engine::{Device, LaneState};
use gpu::stub::{Point, Settings, Stub};
use gpu::{Codec, Fault};
use link::{Answer, Command, EndCause, Engine as _, Filter, Refusal};
use session_support::live::open;
use session_support::{Clip, Live, World, eventually, ms};

const EDGES: Filter = Filter::Edges { gain_percent: 100 };

const LOST: Fault = Fault::Lost {
    call: "stubLaunch",
    name: "STUB_ERROR_ILLEGAL_ADDRESS",
};

#[test]
fn sessions_on_a_device_share_its_batches_and_lose_nothing() {
    let stub = Stub::new(Settings {
        call_time: ms(1),
        ..Settings::default()
    });
    let world = World::own(|config| config.device = Device::Stub(stub));
    // At a third of its pace, so that a busy machine keeps up with three; the codecs are real.
    let clip = Clip::mill(1);
    let mut all: Vec<_> = (0..3).map(|_| Live::open(&world, EDGES)).collect();
    std::thread::scope(|scope| {
        for live in &mut all {
            scope.spawn(|| live.play_paced(&clip, ms(100)));
        }
    });
    for live in all {
        let ended = live.end();
        println!("{}", ended.stages());
        ended.assert_whole(&clip);
    }
    let report = &world.handle.lanes()[0];
    println!(
        "{:?} of {:?}",
        report.metrics.batch_sizes,
        engine::BATCH_SIZES
    );
    assert_eq!(report.device, "stub");
    assert_eq!(report.metrics.frames, 3 * clip.frames.len() as u64);
    let together: u64 = report.metrics.batch_sizes[1..].iter().sum();
    assert!(together > 0, "some frames were done together");
    assert!(report.metrics.to_device_bytes > 0 && report.metrics.from_device_bytes > 0);
}

#[test]
fn a_device_that_decodes_h265_is_given_it_and_the_output_is_h264() {
    let stub = Stub::new(Settings {
        decodes: vec![Codec::H264, Codec::H265],
        ..Settings::default()
    });
    let world = World::own(|config| config.device = Device::Stub(stub));
    let clip = Clip::hevc();
    let mut live = Live::open(&world, EDGES);
    live.play(&clip);
    let ended = live.end();
    assert_eq!(ended.cause, EndCause::InputEnded);
    ended.assert_segments_stand_alone();
    let stream = ended.stream();
    let codec = stream.programs[0].video().expect("a video track").codec;
    assert_eq!(codec, media::Codec::H264);
    assert_eq!(stream.pts(), clip.stream().pts());
}

#[test]
fn a_lost_device_ends_the_sessions_of_one_lane_and_is_back_for_others() {
    let stub = Stub::default();
    let faults = stub.faults();
    let world = World::own(|config| {
        config.lanes = 2;
        config.device = Device::Stub(stub);
    });
    let clip = Clip::no_audio();
    // Each is placed where there is less to do.
    let mut here = Live::open(&world, EDGES);
    let mut there = Live::open(&world, EDGES);
    here.publish([clip.frame(0), clip.frame(1), clip.frame(2)]);
    here.watcher.wait("it works", |seen| seen.frames() >= 1);
    // Admitted before the fault: what is still in the encoder may meet it before another frame comes.
    let mut segment = here.segment();
    faults.fail_next(Point::EncodeCollect, LOST);
    segment.chunk(clip.frame(3));
    let EndCause::Failed(why) = here.ended().cause else {
        panic!("it fails")
    };
    assert_eq!(
        why,
        "stub: device lost: stubLaunch failed with STUB_ERROR_ILLEGAL_ADDRESS"
    );
    let lost_at = Instant::now();
    there.play(&clip);
    eventually("the lane is back", || {
        world.handle.lanes()[0].state == LaneState::Ready
    });
    assert!(lost_at.elapsed() < Duration::from_secs(5));
    let mut again = Live::open(&world, EDGES);
    again.play(&clip);
    again.end().assert_whole(&clip);
    there.end().assert_whole(&clip);
    let [lost, other] = &world.handle.lanes()[..] else {
        panic!("two lanes")
    };
    assert_eq!((lost.metrics.rebuilds, other.metrics.rebuilds), (1, 0));
    assert!(world.handle.health().is_empty());
}

#[test]
fn a_node_without_lane_time_says_so_and_has_room_again() {
    let world = World::own(|config| {
        config.device = Device::Stub(Stub::default());
        // Nothing is measured before the first session: each is taken to need a twelfth of the lane.
        config.limits.lane_percent = 20;
    });
    let first = Live::open(&world, EDGES);
    let second = Live::open(&world, EDGES);
    assert_eq!(
        world.command(open("third", EDGES)),
        Err(Refusal::Full("lane time"))
    );
    assert!(world.is_gone("third"), "a refusal leaves nothing behind");
    let close = Command::CloseSession {
        manifest_id: first.id.clone(),
    };
    assert_eq!(world.command(close), Ok(Answer::Done));
    assert_eq!(first.ended().cause, EndCause::Closed);
    let clip = Clip::no_audio();
    let mut third = Live::open(&world, EDGES);
    third.play(&clip);
    third.end().assert_whole(&clip);
    drop(second);
}

#[test]
fn a_lane_that_hangs_is_named_and_its_session_does_not_hang_with_it() {
    let stub = Stub::default();
    let faults = stub.faults();
    let world = World::own(|config| {
        config.device = Device::Stub(stub);
        config.limits.lane_call = ms(800);
    });
    let clip = Clip::no_audio();
    let mut live = Live::open(&world, EDGES);
    faults.hang(Point::Process, ms(4_000));
    live.publish([clip.frame(0), clip.frame(1), clip.frame(2)]);
    eventually("it is seen", || world.handle.metrics().lanes_stuck == 1);
    let health = world.handle.health();
    assert!(
        health[0].starts_with("lane 0 (stub) is stuck"),
        "{health:?}"
    );
    let began = Instant::now();
    let EndCause::Failed(why) = live.ended_within(ms(3_000)).cause else {
        panic!("it fails")
    };
    println!("after {:.1?}: {why}", began.elapsed());
    assert!(
        why.starts_with("stub: lane 0 has been in one device call for"),
        "{why}"
    );
    assert_eq!(
        world.command(open("another", EDGES)),
        Err(Refusal::Full("every lane is stuck in a device call"))
    );
    eventually("it came back", || world.handle.health().is_empty());
    let mut after = Live::open(&world, EDGES);
    after.play(&clip);
    after.end().assert_whole(&clip);
}

#[test]
fn a_device_that_is_not_there_is_no_start() {
    struct Nobody;
    impl link::Control for Nobody {
        fn report(&self, _: link::Report) {}
        fn visit(&self, visitor: link::Visitor) -> Result<(), link::Visitor> {
            Err(visitor)
        }
    }
    let config = engine::Config {
        listen: ([127, 0, 0, 1], 0).into(),
        tls: None,
        trickle_listen: None,
        cores: vec![0],
        lanes: 1,
        device: Device::Cuda(4_711),
        models: Vec::new(),
        trickle: engine::TrickleConfig::default(),
        limits: engine::Limits::default(),
    };
    let refused = engine::Engine::start(config, std::sync::Arc::new(Nobody));
    let why = refused.err().map(|error| error.0).unwrap_or_default();
    assert!(
        why == "cuda:4711: cuda refused: no CUDA driver (libcuda.so.1 not found)"
            || why.contains("there is no cuda:4711: the driver lists "),
        "{why}"
    );
}

#[test]
fn a_lane_that_hangs_does_not_keep_the_engine_from_stopping() {
    let stub = Stub::default();
    let faults = stub.faults();
    let world = World::own(|config| config.device = Device::Stub(stub));
    let clip = Clip::no_audio();
    let mut live = Live::open(&world, EDGES);
    faults.hang(Point::Process, Duration::from_secs(120));
    live.publish([clip.frame(0), clip.frame(1), clip.frame(2)]);
    eventually("it hangs", || {
        world.handle.lanes()[0]
            .in_call
            .is_some_and(|time| time > ms(200))
    });
    let began = Instant::now();
    world.handle.stop();
    println!("stopped after {:.1?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(12));
}
