//! What comes in comes out: every frame with its time, every sound with its bytes, in segments that stand alone.

use std::io::Write;
use std::process::{Command, Stdio};

use engine::model::{Model, Runtime, Source};
use engine::offline;
use link::{Answer, EndCause, Filter, Refusal, Report, StageLatency};
use media::Codec;

use crate::session_support::{Clip, Ended, Live, PATIENCE, World, ms};

const EDGES: Filter = Filter::Edges { gain_percent: 100 };

/// Plays a clip through a session and asserts that it comes back whole.
#[track_caller]
fn comes_back_whole(clip: &Clip, filter: Filter) -> Ended {
    let mut live = Live::open(World::shared(), filter);
    live.play(clip);
    let ended = live.end();
    ended.assert_whole(clip);
    ended
}

#[test]
fn passthrough_brings_every_frame_and_sound_back() {
    let clip = Clip::mill(4);
    let ended = comes_back_whole(&clip, Filter::Passthrough);
    assert!(mean_psnr(&clip, &ended, offline::Filter::Passthrough) > 30.0);
    plays_in_ffmpeg(&ended.bytes());
}

#[test]
fn edges_bring_every_frame_and_sound_back() {
    let clip = Clip::mill(4);
    let ended = comes_back_whole(&clip, EDGES);
    let db = mean_psnr(&clip, &ended, offline::Filter::Edges { gain_percent: 100 });
    println!("edges: {db:.1} dB against the filter on the decoded input");
    assert!(db > 30.0);
    plays_in_ffmpeg(&ended.bytes());
}

#[test]
fn a_model_takes_a_sessions_pictures_from_the_next_on() {
    let world = World::own(|config| {
        config.models = vec![Model::new(&Runtime::pure(), Source::built_in())];
    });
    let clip = Clip::no_audio();
    let mut live = Live::open(&world, Filter::Passthrough);
    let process = |id: &str| link::Command::SetProcess {
        manifest_id: live.id.clone(),
        process: link::Process::Model { id: id.to_owned() },
    };
    let unknown = world.command(process("onnx/sharpen"));
    assert_eq!(
        unknown,
        Err(Refusal::Invalid(
            "there is no model onnx/sharpen here".to_owned()
        ))
    );
    assert_eq!(world.command(process("onnx/denoise")), Ok(Answer::Done));
    live.play(&clip);
    let ended = live.end();
    // The clip came all at once, and in a debug build the library takes some pictures a second: what is late is given up.
    assert_eq!(ended.cause, EndCause::InputEnded);
    let stats = &ended.stats;
    assert_eq!(
        stats.frames_out + stats.frames_dropped,
        clip.frames.len() as u64
    );
    assert!(stats.frames_out > 0, "{stats:?}");
    // It takes out what it holds for noise and leaves the picture: near, and not the same.
    let db = mean_psnr(&clip, &ended, offline::Filter::Passthrough);
    println!("denoised: {db:.1} dB against the decoded input");
    assert!((20.0..45.0).contains(&db), "{db}");
}

#[test]
fn pictures_out_of_order_come_back_in_order() {
    let clip = Clip::b_frames();
    let stored: Vec<i64> = clip
        .stream()
        .video
        .iter()
        .map(|picture| picture.pts)
        .collect();
    assert!(!stored.is_sorted(), "the clip has B-frames");
    let ended = comes_back_whole(&clip, EDGES);
    let out: Vec<i64> = ended
        .stream()
        .video
        .iter()
        .map(|picture| picture.pts)
        .collect();
    assert!(out.is_sorted(), "the output has none");
    plays_in_ffmpeg(&ended.bytes());
}

#[test]
fn video_alone_comes_back() {
    let clip = Clip::no_audio();
    let ended = comes_back_whole(&clip, EDGES);
    assert_eq!(ended.stream().audio.len(), 0);
    plays_in_ffmpeg(&ended.bytes());
}

#[test]
fn clocks_that_start_at_26_hours_are_kept() {
    let clip = Clip::offset_26_hours();
    assert!(clip.stream().pts()[0] > 26 * 3600 * 90_000);
    plays_in_ffmpeg(&comes_back_whole(&clip, EDGES).bytes());
}

#[test]
fn clocks_that_wrap_are_kept() {
    let clip = Clip::wrap();
    let lap = |pts: &i64| pts.div_euclid(1 << 33);
    let pts = clip.stream().pts();
    assert_ne!(pts.first().map(lap), pts.last().map(lap), "the clip wraps");
    plays_in_ffmpeg(&comes_back_whole(&clip, EDGES).bytes());
}

#[test]
fn a_program_that_changes_is_followed() {
    let clip = Clip::pmt_change();
    assert_eq!(clip.stream().programs.len(), 3);
    let ended = comes_back_whole(&clip, EDGES);
    let tracks: Vec<usize> = ended
        .stream()
        .programs
        .iter()
        .map(|program| program.tracks.len())
        .collect();
    assert_eq!(tracks.first(), Some(&2), "video and sound");
    assert_eq!(tracks.last(), Some(&1), "the sound went away: {tracks:?}");
}

#[test]
fn opus_mp3_and_ac3_pass_through() {
    let clips = [
        (Codec::Opus, Clip::opus()),
        (Codec::Mp3, Clip::mp3()),
        (Codec::Ac3, Clip::ac3()),
    ];
    for (codec, clip) in clips {
        let ended = comes_back_whole(
            &clip,
            Filter::Invert {
                amount_percent: 100,
            },
        );
        assert!(
            ended
                .stream()
                .audio
                .iter()
                .all(|sound| sound.codec == codec)
        );
        plays_in_ffmpeg(&ended.bytes());
    }
}

#[test]
fn hevc_is_recognised_and_refused_in_words() {
    let mut live = Live::open(World::shared(), EDGES);
    live.publish([&Clip::hevc().bytes[..]]);
    let ended = live.ended();
    let EndCause::BadInput(why) = &ended.cause else {
        panic!("{:?}", ended.cause)
    };
    assert!(why.contains("Hevc") && why.contains("send H.264"), "{why}");
    assert_eq!(ended.seen.segments.len(), 0);
}

/// Frame after frame is sent only when the one before it has come back, so none can have waited for the segment's end.
#[test]
fn output_is_written_a_frame_at_a_time() {
    let clip = Clip::no_audio();
    let mut live = Live::open(World::shared(), EDGES);
    let mut at_once = 0;
    for frames in clip.segments() {
        let mut segment = live.segment();
        for n in frames {
            segment.chunk(clip.frame(n));
            live.note(clip.frames[n].pts);
            // Where a unit does not say how long it is, its end may show only when the next one begins.
            let patience = if at_once > 0 { ms(500) } else { ms(100) };
            if live.watcher.wait_within(patience, |seen| seen.frames() > n) {
                at_once += 1;
            }
            live.watcher.wait(
                "the frame before is back while its segment is open",
                |seen| seen.frames() >= n,
            );
        }
        segment.finish().head.is(200);
    }
    let ended = live.end();
    ended.assert_whole(&clip);
    println!(
        "{at_once} of {} frames came back before the next was sent",
        clip.frames.len()
    );
    assert!(at_once * 10 >= clip.frames.len() * 8);
    // Once, when it is learned where this sender's units end, two come out together.
    let chunks: Vec<usize> = ended
        .seen
        .chunks()
        .map(|chunk| chunk.frames.len())
        .collect();
    assert!(
        chunks.iter().all(|frames| (1..=2).contains(frames))
            && chunks.len() + 2 >= clip.frames.len(),
        "a chunk a frame: {chunks:?}"
    );
}

#[test]
fn the_stages_of_a_frame_add_up() {
    let clip = Clip::mill(2);
    let mut live = Live::open(World::shared(), EDGES);
    live.play_paced(&clip, ms(33));
    let ended = live.end();
    ended.assert_whole(&clip);
    println!("640x360 at 30 fps, {}", ended.stages());
    let (p50, p99) = (ended.latency(0.5), ended.latency(0.99));
    println!("from outside: p50 {p50:?} p99 {p99:?}");
    let (total, stages) = ended.stats.stages.split_last().expect("stages");
    // What a histogram's buckets may add.
    let rounded = |us: u64| us + us / 50 + 8;
    for stage in &ended.stats.stages {
        let count = clip.frames.len() as u64;
        assert_eq!(stage.count, count, "every frame is measured");
        let rises = [1, stage.p50_us, stage.p99_us, stage.max_us].is_sorted();
        assert!(rises, "{stage:?}");
        let is_part = stage.p50_us <= rounded(total.p50_us)
            && stage.p99_us <= rounded(total.p99_us)
            && stage.max_us <= rounded(total.max_us);
        assert!(is_part, "{stage:?} is no more than the whole, {total:?}");
    }
    // Each frame's stages sum to its total, so no total is above the sum of the worst, and most are below that of the p99s.
    let sum = |of: fn(&StageLatency) -> u64| stages.iter().map(|stage| rounded(of(stage))).sum();
    assert!(total.max_us <= sum(|stage| stage.max_us), "{stages:?}");
    assert!(total.p50_us <= sum(|stage| stage.p99_us), "{stages:?}");
    let medians: u64 = stages.iter().map(|stage| stage.p50_us).sum();
    println!("medians: {medians} us of {} us", total.p50_us);
}

#[test]
fn the_first_frames_are_reported_in_words() {
    let clip = Clip::b_frames();
    let mut live = Live::open(World::shared(), EDGES);
    let id = live.id.clone();
    live.play(&clip);
    let described = World::shared()
        .reports
        .find(PATIENCE, |report| match report {
            Report::FirstInput {
                manifest_id,
                description,
            } if *manifest_id == id => Some(description.clone()),
            _ => None,
        });
    assert_eq!(described.as_deref(), Some("H.264 160×90, with audio"));
    let first_output = World::shared()
        .reports
        .find(PATIENCE, |report| match report {
            Report::FirstOutput { manifest_id } if *manifest_id == id => Some(()),
            _ => None,
        });
    assert!(first_output.is_some());
    live.end().assert_whole(&clip);
}

/// How much the output's pictures are like what the filter makes of the input's.
fn mean_psnr(input: &Clip, output: &Ended, filter: offline::Filter) -> f64 {
    let mut expected = std::collections::BTreeMap::new();
    let damaged = offline::decode(&input.bytes, |pts, frame| {
        expected.insert(pts, offline::filter(filter, frame).expect("a filter"));
    });
    assert_eq!(damaged, Ok(0));
    let (mut sum, mut pictures) = (0.0, 0);
    let damaged = offline::decode(&output.bytes(), |pts, frame| {
        let expected = &expected[&pts];
        sum += offline::psnr(expected, frame).expect("the same size").y;
        pictures += 1;
    });
    assert_eq!(damaged, Ok(0), "the output decodes");
    assert!(pictures > 0);
    sum / pictures as f64
}

/// ffmpeg, where it is installed, finds nothing to complain about.
#[track_caller]
fn plays_in_ffmpeg(stream: &[u8]) {
    let spawned = Command::new("ffmpeg")
        .args([
            "-nostdin", "-v", "warning", "-f", "mpegts", "-i", "pipe:0", "-f", "null", "-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut ffmpeg) = spawned else {
        assert!(
            std::env::var_os("MILLSTREAM_REQUIRE_TOOLS").is_none(),
            "ffmpeg is not installed"
        );
        println!("SKIPPED: ffmpeg is not installed");
        return;
    };
    let mut stdin = ffmpeg.stdin.take().expect("its input");
    std::thread::scope(|scope| {
        scope.spawn(move || drop(stdin.write_all(stream)));
        let output = ffmpeg.wait_with_output().expect("ffmpeg ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "ffmpeg: {said}");
    });
}
