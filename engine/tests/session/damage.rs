//! What is broken costs itself: a few frames, or its own session, never a neighbour.

use std::time::{Duration, Instant};

use link::{EndCause, Filter, Stage};

use crate::session_support::clip::{PACKET, pid};
use crate::session_support::{Chance, Clip, Live, World, ms, noise};

const EDGES: Filter = Filter::Edges { gain_percent: 100 };

#[test]
fn garbage_between_packets_costs_no_more_than_two_frames() {
    let clip = Clip::no_audio();
    for (seed, len) in [(1, 1), (2, 187), (3, 1000), (4, 5000)] {
        let mut live = Live::open(World::shared(), EDGES);
        for (n, mut segment) in clip.segment_bytes().into_iter().enumerate() {
            if n == 0 {
                let middle = segment.len() / PACKET / 2 * PACKET;
                segment.splice(middle..middle, noise(seed, len));
            }
            live.publish([&segment[..]]);
        }
        let ended = live.end_settled();
        assert_eq!(ended.cause, EndCause::InputEnded);
        let lost = clip.frames.len() - ended.stream().video.len();
        println!(
            "{len} bytes of garbage: {lost} frames lost, {} damaged packets",
            ended.stats.damaged_packets
        );
        assert!(lost <= 2, "{lost} frames lost");
        ended.assert_segments_stand_alone();
    }
}

#[test]
fn chunks_may_be_cut_anywhere() {
    let clip = Clip::b_frames();
    let mut live = Live::open(World::shared(), EDGES);
    let mut chance = Chance(7);
    for segment in clip.segment_bytes() {
        let mut rest = &segment[..];
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at((1 + chance.below(400)).min(rest.len()));
            pieces.push(piece);
            rest = tail;
        }
        live.publish(pieces);
    }
    live.end_settled().assert_whole(&clip);
}

/// Some publishers cut by size or by time, inside a frame and inside a packet; readers that join the pieces lose nothing.
#[test]
fn segments_may_be_cut_anywhere() {
    let clip = Clip::b_frames();
    let mut live = Live::open(World::shared(), EDGES);
    let mut chance = Chance(11);
    let (mut rest, mut cuts) = (&clip.bytes[..], 0);
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at((2000 + chance.below(2000)).min(rest.len()));
        live.publish([piece]);
        cuts += usize::from(!tail.is_empty());
        rest = tail;
        live.watcher.settle(ms(100));
    }
    println!("{cuts} cuts");
    live.end_settled().assert_whole(&clip);
}

/// A segment that lost its end costs a frame at that end, whatever follows.
#[test]
fn a_segment_that_is_cut_short_costs_one_frame() {
    let clip = Clip::no_audio();
    let mut live = Live::open(World::shared(), EDGES);
    let segments = clip.segment_bytes();
    live.publish([&segments[0][..segments[0].len() - 300]]);
    live.publish([&segments[1][..]]);
    let ended = live.end_settled();
    assert_eq!(ended.cause, EndCause::InputEnded);
    ended.assert_segments_stand_alone();
    let lost = clip.frames.len() - ended.stream().video.len();
    println!("{lost} frames lost");
    assert!(lost <= 1, "{lost} frames lost");
}

#[test]
fn noise_in_place_of_a_stream_ends_its_session_and_no_other() {
    let world = World::shared();
    let mut noisy = Live::open(world, EDGES);
    let mut calm = Live::open(world, EDGES);
    let clip = Clip::no_audio();
    let began = Instant::now();
    let noise_maker = std::thread::scope(|scope| {
        let publishing = scope.spawn(move || {
            let mut segment = noisy.segment();
            for n in 0..200 {
                if segment.try_send(chunk(&noise(n, 8 << 10))).is_err() {
                    break;
                }
                std::thread::sleep(ms(100));
                if noisy.world.is_gone(&noisy.id) {
                    break;
                }
            }
            (noisy.ended_within(Duration::from_secs(5)), began.elapsed())
        });
        calm.play_paced(&clip, ms(40));
        publishing.join().expect("the noise was published")
    });
    calm.end().assert_whole(&clip);
    let (ended, after) = noise_maker;
    let EndCause::BadInput(why) = &ended.cause else {
        panic!("{:?}", ended.cause)
    };
    println!("after {after:.1?}: {why}");
    assert_eq!(
        why,
        "no picture for 10 s: no H.264 video in MPEG-TS was found"
    );
    assert_eq!((ended.stats.frames_in, ended.stats.frames_out), (0, 0));
    assert!((ms(9_500)..ms(14_000)).contains(&after), "{after:?}");
}

#[test]
fn corrupted_pictures_do_not_reach_the_neighbour() {
    let world = World::shared();
    let clip = Clip::mill(4);
    let mut broken = Live::open(world, EDGES);
    let mut whole = Live::open(world, EDGES);
    let (broken, whole) = std::thread::scope(|scope| {
        let corrupting = scope.spawn(|| {
            let bad = corrupted(&clip);
            broken.play_paced(&bad, ms(33));
            broken.end_settled()
        });
        whole.play_paced(&clip, ms(33));
        let whole = whole.end();
        (
            corrupting
                .join()
                .expect("the corrupted stream was published"),
            whole,
        )
    });
    whole.assert_whole(&clip);
    println!(
        "beside corruption: p50 {:?} p99 {:?}; {}",
        whole.latency(0.5),
        whole.latency(0.99),
        whole.stages()
    );
    println!(
        "corrupted: {} frames in, {} out, {} decode errors, {:?}",
        broken.stats.frames_in, broken.stats.frames_out, broken.stats.decode_errors, broken.cause
    );
    assert_eq!(
        broken.cause,
        EndCause::InputEnded,
        "corruption alone ends nothing"
    );
    assert!(broken.stats.frames_out > 0 && broken.stats.decode_errors > 0);
    assert!(whole.stats.stage(Stage::Total).p99_us < 1_000_000);
}

#[test]
fn a_publisher_that_vanishes_and_returns_is_welcome() {
    let clip = Clip::no_audio();
    let mut live = Live::open(World::shared(), EDGES);
    let frames = clip.segments();
    let (first, second) = (frames[0].clone(), frames[1].clone());
    // It leaves in the middle of a packet, and comes back for the same segment with the rest.
    let mut segment = live.segment();
    let middle = first.len() / 2;
    for n in first.clone().take(middle) {
        segment.chunk(clip.frame(n));
    }
    let (part, rest) = clip.frame(middle).split_at(100);
    segment.chunk(part);
    live.watcher.wait("what came has been worked on", |seen| {
        seen.frames() >= middle - 1
    });
    segment.reset();
    std::thread::sleep(ms(300));
    let mut segment = live.world.post(&live.id, 0);
    segment.chunk(rest);
    for n in first.skip(middle + 1) {
        segment.chunk(clip.frame(n));
    }
    segment.finish().head.is(200);
    live.publish(second.map(|n| clip.frame(n)));
    live.watcher.wait("the frames are back", |seen| {
        seen.frames() >= clip.frames.len() - 1
    });
    let ended = live.end_settled();
    ended.assert_whole(&clip);
}

/// What a gateway does when a segment fails half way: it takes the rest back and goes on with the next.
#[test]
fn a_publisher_that_vanishes_and_gives_the_segment_up_is_welcome() {
    let clip = Clip::no_audio();
    let mut live = Live::open(World::shared(), EDGES);
    let kept = vanish_half_way(&mut live, &clip);
    let name = format!("{}/0", live.id);
    live.world.delete(&name).head.is(200);
    let second = clip.segments()[1].clone();
    live.publish(second.clone().map(|n| clip.frame(n)));
    live.watcher.wait("the second segment is back", |seen| {
        seen.frames() >= kept + second.len() - 1
    });
    let ended = live.end_settled();
    assert_eq!(ended.cause, EndCause::InputEnded);
    ended.assert_segments_stand_alone();
    let out = ended.stream().video.len();
    println!(
        "{out} frames came back of {kept} and a piece, and {}",
        second.len()
    );
    assert!((kept + second.len()..=kept + second.len() + 1).contains(&out));
}

/// Without a word, it is given its time to come back; then the session goes on without it.
#[test]
fn a_publisher_that_vanishes_for_good_costs_the_grace_it_is_given() {
    let world = World::own(|config| config.trickle.abort_grace = ms(500));
    let clip = Clip::no_audio();
    let mut live = Live::open(&world, EDGES);
    let kept = vanish_half_way(&mut live, &clip);
    std::thread::sleep(ms(1500));
    let second = clip.segments()[1].clone();
    live.publish(second.clone().map(|n| clip.frame(n)));
    live.watcher.wait("the second segment is back", |seen| {
        seen.frames() >= kept + second.len() - 1
    });
    let ended = live.end_settled();
    assert_eq!(ended.cause, EndCause::InputEnded);
    ended.assert_segments_stand_alone();
}

/// Publishes half of the first segment and a piece of a frame, then breaks the connection.
fn vanish_half_way(live: &mut Live<'_>, clip: &Clip) -> usize {
    let kept = clip.segments()[0].len() / 2;
    let mut segment = live.segment();
    for n in 0..kept {
        segment.chunk(clip.frame(n));
    }
    segment.chunk(&clip.frame(kept)[..100]);
    live.watcher.wait("what came has been worked on", |seen| {
        seen.frames() >= kept - 1
    });
    segment.reset();
    std::thread::sleep(ms(100));
    kept
}

/// Flips bytes inside the slices of every third picture, key frames apart.
fn corrupted(clip: &Clip) -> Clip {
    let mut bad = clip.clone();
    let video = clip.stream().programs[0].video().expect("video").pid;
    let mut chance = Chance(99);
    for n in (0..clip.frames.len()).filter(|n| n % 3 == 1 && !clip.frames[*n].key) {
        let end = clip
            .frames
            .get(n + 1)
            .map_or(clip.bytes.len(), |next| next.offset);
        for packet in bad.bytes[clip.frames[n].offset..end].chunks_mut(PACKET) {
            // The tail of a packet is payload, whatever stands before it.
            if pid(packet).0 == video {
                for _ in 0..8 {
                    packet[120 + chance.below(68)] ^= 1 << chance.below(8);
                }
            }
        }
    }
    bad
}

fn chunk(payload: &[u8]) -> Vec<u8> {
    let mut wire = format!("{:x}\r\n", payload.len()).into_bytes();
    wire.extend_from_slice(payload);
    wire.extend_from_slice(b"\r\n");
    wire
}
