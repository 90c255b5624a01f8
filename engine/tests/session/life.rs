//! How a session begins, is told things, and ends.

use std::time::{Duration, Instant};

use engine::offline;
use link::{Answer, Command, EndCause, Filter, Process, Refusal, Report};

use crate::session_support::live::open;
use crate::session_support::{Clip, Live, PATIENCE, World, eventually, ms, noise};

const EDGES: Filter = Filter::Edges { gain_percent: 100 };

#[test]
fn two_sessions_at_once_both_complete() {
    let world = World::shared();
    let clips = [Clip::mill(2), Clip::b_frames()];
    let mut sessions = clips.each_ref().map(|_| Live::open(world, EDGES));
    std::thread::scope(|scope| {
        for (live, clip) in sessions.iter_mut().zip(&clips) {
            scope.spawn(|| live.play_paced(clip, ms(33)));
        }
    });
    for (live, clip) in sessions.into_iter().zip(&clips) {
        live.end().assert_whole(clip);
    }
}

#[test]
fn a_filter_changes_between_two_frames() {
    let world = World::shared();
    let clip = Clip::no_audio();
    let mut live = Live::open(world, Filter::Passthrough);
    let half = clip.frames.len() / 2;
    let mut segment = live.segment();
    for n in 0..clip.frames.len() {
        if n == half {
            // One frame may still be held for its end to show.
            live.watcher
                .wait("the first half is back", |seen| seen.frames() >= half - 1);
            live.set(Filter::Invert {
                amount_percent: 100,
            });
            std::thread::sleep(ms(100));
        }
        segment.chunk(clip.frame(n));
        live.note(clip.frames[n].pts);
    }
    segment.finish().head.is(200);
    let ended = live.end();
    ended.assert_whole(&clip);

    let like = |filter: offline::Filter| {
        let mut likeness = std::collections::BTreeMap::new();
        offline::decode(&clip.bytes, |pts, frame| {
            likeness.insert(pts, offline::filter(filter, frame).expect("a filter"));
        })
        .expect("the clip decodes");
        let mut db = Vec::new();
        offline::decode(&ended.bytes(), |pts, frame| {
            db.push(offline::psnr(&likeness[&pts], frame).expect("the size").y)
        })
        .expect("the output decodes");
        db
    };
    let plain = like(offline::Filter::Passthrough);
    let inverted = like(offline::Filter::Invert {
        amount_percent: 100,
    });
    let is_inverted: Vec<bool> = plain
        .iter()
        .zip(&inverted)
        .map(|(plain, inverted)| inverted > plain)
        .collect();
    let at = is_inverted.iter().position(|is| *is).expect("it changed");
    println!("the filter changed at frame {at} of {}", is_inverted.len());
    assert!(
        (half - 1..=half).contains(&at),
        "the frames before are as they were"
    );
    assert!(
        is_inverted[at..].iter().all(|is| *is),
        "those after are not"
    );
}

#[test]
fn segments_are_counted_when_they_begin() {
    let world = World::shared();
    let clip = Clip::mill(6);
    let mut live = Live::open(world, EDGES);
    let counted = |id: &str, wanted: u64| {
        let found = world.reports.find(PATIENCE, |report| match report {
            Report::Progress { manifest_id, stats } if manifest_id == id => {
                assert!(stats.segments_in <= wanted, "none is counted twice");
                (stats.segments_in == wanted).then_some(())
            }
            _ => None,
        });
        assert!(found.is_some(), "{wanted} segments are counted");
    };
    // A publisher that has asked for a segment has not begun it.
    let mut first = live.segment();
    std::thread::sleep(ms(1_200));
    counted(&live.id, 0);
    let frames = clip.segments();
    assert_eq!(frames.len(), 3);
    first.chunk(clip.frame(0));
    counted(&live.id, 1);
    frames[0]
        .clone()
        .skip(1)
        .for_each(|n| first.chunk(clip.frame(n)));
    first.finish().head.is(200);
    for frames in &frames[1..] {
        live.publish(frames.clone().map(|n| clip.frame(n)));
    }
    let ended = live.end_settled();
    let stats = &ended.stats;
    assert_eq!((stats.segments_in, stats.frames_in), (3, 180));
}

#[test]
fn a_control_message_is_reported_byte_for_byte() {
    let world = World::shared();
    let live = Live::open(world, EDGES);
    let control = format!("{}-control", live.id);
    let messages = [
        br#"{"keep":"alive"}"#.to_vec(),
        br#"{"filter":"blur","radius_px":7}"#.to_vec(),
        noise(5, 40_000),
        noise(6, 1 << 20),
    ];
    for (seq, message) in messages.iter().enumerate() {
        let mut post = world.post(&control, seq as u64);
        for piece in message.chunks(30_000) {
            post.chunk(piece);
        }
        post.finish().head.is(200);
    }
    let heard = || {
        world.reports.all(|report| match report {
            Report::ControlMessage { manifest_id, bytes } if *manifest_id == live.id => {
                Some(bytes.clone())
            }
            _ => None,
        })
    };
    eventually("every message is reported", || {
        heard().len() == messages.len()
    });
    assert!(heard() == messages, "the same bytes, in order");
    world.delete(&live.id).head.is(200);
    assert_eq!(live.ended().cause, EndCause::InputEnded);
}

#[test]
fn deleting_the_input_brings_out_what_is_held_back() {
    let clip = Clip::b_frames();
    let mut live = Live::open(World::shared(), EDGES);
    live.play(&clip);
    // The decoder holds back pictures that B-frames may precede.
    live.watcher.wait("most frames are back", |seen| {
        seen.frames() >= clip.frames.len() - 5
    });
    live.world.delete(&live.id).head.is(200);
    let ended = live.ended();
    ended.assert_whole(&clip);
    assert!(
        matches!(ended.seen.over, Some(200 | 404)),
        "{:?}",
        ended.seen.over
    );
}

#[test]
fn deleting_the_input_before_anything_came_ends_the_session() {
    let live = Live::open(World::shared(), EDGES);
    live.world.delete(&live.id).head.is(200);
    let ended = live.ended();
    assert_eq!(ended.cause, EndCause::InputEnded);
    assert_eq!((ended.stats.frames_in, ended.stats.frames_out), (0, 0));
}

#[test]
fn deleting_the_output_leaves_the_session_to_its_input() {
    let clip = Clip::no_audio();
    let mut live = Live::open(World::shared(), EDGES);
    live.world.delete(&format!("{}-out", live.id)).head.is(200);
    live.play(&clip);
    live.world.delete(&live.id).head.is(200);
    let ended = live.ended();
    assert_eq!(ended.cause, EndCause::InputEnded);
    assert_eq!(ended.stats.frames_in, clip.frames.len() as u64);
    assert_eq!(ended.stats.frames_out, 0, "nobody was there to read them");
}

#[test]
fn a_session_that_is_closed_flushes_and_ends() {
    let clip = Clip::no_audio();
    let mut live = Live::open(World::shared(), EDGES);
    let command = Command::CloseSession {
        manifest_id: live.id.clone(),
    };
    let mut segment = live.segment();
    for n in 0..10 {
        segment.chunk(clip.frame(n));
    }
    live.watcher.wait("frames come", |seen| seen.frames() >= 9);
    assert_eq!(live.world.command(command.clone()), Ok(Answer::Done));
    let world = live.world;
    let ended = live.ended();
    assert_eq!(ended.cause, EndCause::Closed);
    assert_eq!(
        (ended.stats.frames_in, ended.stats.frames_out),
        (10, 10),
        "what had come came back"
    );
    assert_eq!(world.command(command), Err(Refusal::Unknown), "it is gone");
    segment.end_chunks();
    segment.response().head.is(200);
}

#[test]
fn who_is_not_there_cannot_be_told() {
    let world = World::shared();
    let manifest_id = world.fresh_name();
    let process = Process::Filter(EDGES);
    let set = Command::SetProcess {
        manifest_id: manifest_id.clone(),
        process,
    };
    assert_eq!(world.command(set), Err(Refusal::Unknown));
    assert_eq!(
        world.command(Command::CloseSession { manifest_id }),
        Err(Refusal::Unknown)
    );
}

#[test]
fn opening_a_session_twice_changes_nothing() {
    let world = World::shared();
    let clip = Clip::no_audio();
    let mut live = Live::open(world, EDGES);
    assert_eq!(
        world.command(open(&live.id, Filter::Passthrough)),
        Ok(Answer::Already)
    );
    live.play(&clip);
    live.end().assert_whole(&clip);
}

#[test]
fn input_that_stops_coming_ends_the_session() {
    let world = World::own(|config| config.limits.session_idle = ms(1500));
    let clip = Clip::no_audio();
    let mut live = Live::open(&world, EDGES);
    live.play(&clip);
    let began = Instant::now();
    let ended = live.ended();
    assert_eq!(ended.cause, EndCause::InputIdle);
    let idle = began.elapsed();
    println!("idle for {idle:.1?}");
    assert!((ms(1200)..ms(6000)).contains(&idle), "{idle:?}");
    assert_eq!(
        ended.stats.frames_out,
        clip.frames.len() as u64,
        "what was held back came out"
    );
    ended.assert_segments_stand_alone();
    // One that never had any.
    assert_eq!(Live::open(&world, EDGES).ended().cause, EndCause::InputIdle);
}

#[test]
fn a_full_node_says_so_and_has_room_again() {
    let world = World::own(|config| config.limits.sessions = 2);
    let first = Live::open(&world, EDGES);
    let second = Live::open(&world, EDGES);
    assert_eq!(
        world.command(open("third", EDGES)),
        Err(Refusal::Full("sessions"))
    );
    assert!(world.is_gone("third"), "a refusal leaves nothing behind");
    assert_eq!(world.handle.metrics().sessions, 2);
    for live in [first, second] {
        let name = live.id.clone();
        assert_eq!(
            world.command(Command::CloseSession { manifest_id: name }),
            Ok(Answer::Done)
        );
        assert_eq!(live.ended().cause, EndCause::Closed);
    }
    assert_eq!(world.handle.metrics().sessions, 0);
    let clip = Clip::no_audio();
    let mut live = Live::open(&world, EDGES);
    live.play(&clip);
    live.end().assert_whole(&clip);
}

#[test]
fn a_node_without_room_for_channels_says_so() {
    let world = World::own(|config| config.limits.channels = 6);
    let live = Live::open(&world, EDGES);
    assert!(matches!(
        world.command(open("second", EDGES)),
        Err(Refusal::Full(_))
    ));
    for suffix in ["", "-out", "-control", "-events"] {
        assert!(
            world.is_gone(&format!("second{suffix}")),
            "a refusal leaves nothing behind"
        );
    }
    world.delete(&live.id).head.is(200);
    assert_eq!(live.ended().cause, EndCause::InputEnded);
}

#[test]
fn a_drain_lets_sessions_go_on_until_its_deadline() {
    let world = World::own(|_| {});
    let clip = Clip::no_audio();
    let mut live = Live::open(&world, EDGES);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let handle = world.handle.clone();
        let draining = scope.spawn(move || handle.drain(Duration::from_secs(2)));
        eventually("a new session is refused", || {
            let id = world.fresh_name();
            world.command(open(&id, EDGES)) == Err(Refusal::Draining)
        });
        live.play(&clip);
        live.watcher.wait("a running one goes on", |seen| {
            seen.frames() >= clip.frames.len() - 1
        });
        draining.join().expect("it drains");
    });
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "the session had its time"
    );
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(world.handle.metrics().sessions, 0);
    let ended = live.ended();
    assert_eq!(ended.cause, EndCause::Draining);
    assert_eq!(ended.stats.frames_out, clip.frames.len() as u64);
}

#[test]
fn progress_is_reported_about_once_a_second() {
    let clip = Clip::mill(4);
    let mut live = Live::open(World::shared(), Filter::Passthrough);
    live.play_paced(&clip, ms(33));
    let id = live.id.clone();
    let counts = World::shared().reports.all(|report| match report {
        Report::Progress { manifest_id, stats } if *manifest_id == id => Some(stats.frames_out),
        _ => None,
    });
    println!("frames out, second by second: {counts:?}");
    assert!((2..=5).contains(&counts.len()) && counts.is_sorted());
    assert!(live.troubles().is_empty(), "{:?}", live.troubles());
    live.end().assert_whole(&clip);
}
