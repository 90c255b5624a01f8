//! One live session: opened, fed, watched, ended.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use link::{Answer, Command, EndCause, Filter, OpenSession, Process, Report, SessionStats, Stage};

use super::clip::{PACKET, pid};
use super::watch::Seen;
use super::{Client, Clip, PATIENCE, Stream, Watcher, World, ms};

/// Frames that a decoder and a demuxer may hold back until the input ends.
const HELD_MAX: usize = 5;

/// A running session.
pub(crate) struct Live<'w> {
    pub(crate) world: &'w World,
    pub(crate) id: String,
    pub(crate) watcher: Watcher,
    /// The segment that comes next.
    pub(crate) seq: u64,
    frames: usize,
    sent: BTreeMap<u64, Instant>,
}

/// A session that has ended.
pub(crate) struct Ended {
    pub(crate) cause: EndCause,
    pub(crate) stats: SessionStats,
    pub(crate) seen: Seen,
    sent: BTreeMap<u64, Instant>,
}

impl<'w> Live<'w> {
    pub(crate) fn open(world: &'w World, filter: Filter) -> Self {
        let id = world.fresh_name();
        let opened = world.command(open(&id, filter));
        assert_eq!(opened, Ok(Answer::Done));
        let watcher = Watcher::start(world.addr, &format!("{id}-out"));
        Self {
            world,
            id,
            watcher,
            seq: 0,
            frames: 0,
            sent: BTreeMap::new(),
        }
    }

    /// Begins the next segment.
    pub(crate) fn segment(&mut self) -> Client {
        self.seq += 1;
        self.world.post(&self.id, self.seq - 1)
    }

    /// Publishes pieces as one segment, a chunk each.
    pub(crate) fn publish<'a>(&mut self, pieces: impl IntoIterator<Item = &'a [u8]>) {
        let mut segment = self.segment();
        for piece in pieces {
            segment.chunk(piece);
        }
        segment.finish().head.is(200);
    }

    /// Publishes a clip, a segment a key frame and a chunk a frame; `pace` is the time from frame to frame.
    pub(crate) fn play_paced(&mut self, clip: &Clip, pace: Duration) {
        let mut due = Instant::now();
        for frames in clip.segments() {
            let mut segment = self.segment();
            for n in frames {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                due += pace;
                segment.chunk(clip.frame(n));
                self.note(clip.frames[n].pts);
            }
            segment.finish().head.is(200);
        }
    }

    /// Publishes a clip as fast as it is taken.
    pub(crate) fn play(&mut self, clip: &Clip) {
        self.play_paced(clip, Duration::ZERO);
    }

    /// A frame was sent just now.
    pub(crate) fn note(&mut self, pts: i64) {
        self.frames += 1;
        self.sent
            .insert(pts as u64 & ((1 << 33) - 1), Instant::now());
    }

    pub(crate) fn set(&self, filter: Filter) {
        let command = Command::SetProcess {
            manifest_id: self.id.clone(),
            process: Process::Filter(filter),
        };
        assert_eq!(self.world.command(command), Ok(Answer::Done));
    }

    /// Waits until what was played has come back, but for what is held back; then ends the input.
    pub(crate) fn end(self) -> Ended {
        let most = self.frames.saturating_sub(HELD_MAX);
        if !self
            .watcher
            .wait_within(PATIENCE / 2, |seen| seen.frames() >= most)
        {
            println!(
                "{}: only {} of {} frames came before the end",
                self.id,
                self.watcher.seen().frames(),
                self.frames
            );
        }
        self.world.delete(&self.id).head.is(200);
        self.ended()
    }

    /// Waits until nothing more comes, then ends the input.
    pub(crate) fn end_settled(self) -> Ended {
        self.watcher.settle(ms(700));
        self.world.delete(&self.id).head.is(200);
        self.ended()
    }

    /// Waits for the end that must come.
    pub(crate) fn ended(self) -> Ended {
        self.ended_within(PATIENCE)
    }

    pub(crate) fn ended_within(self, patience: Duration) -> Ended {
        let found = self.world.reports.find(patience, |report| match report {
            Report::SessionEnded {
                manifest_id,
                cause,
                stats,
            } if *manifest_id == self.id => Some((cause.clone(), stats.clone())),
            _ => None,
        });
        let (cause, stats) = found.expect("the session ends in time");
        let seen = self.watcher.finish();
        for suffix in ["", "-out", "-control"] {
            assert!(
                self.world.is_gone(&format!("{}{suffix}", self.id)),
                "{}{suffix} is closed",
                self.id
            );
        }
        let events = format!("{}-events", self.id);
        assert!(
            !self.world.is_gone(&events),
            "the events channel is left to the control plane"
        );
        assert_eq!(
            self.world.command(Command::DeleteChannel { name: events }),
            Ok(Answer::Done)
        );
        self.world.assert_sound();
        Ended {
            cause,
            stats,
            seen,
            sent: self.sent,
        }
    }

    /// Troubles reported so far.
    pub(crate) fn troubles(&self) -> Vec<String> {
        self.world.reports.all(|report| match report {
            Report::Trouble {
                manifest_id,
                message,
            } if *manifest_id == self.id => Some(message.clone()),
            _ => None,
        })
    }
}

/// The command that opens a session.
pub(crate) fn open(id: &str, filter: Filter) -> Command {
    Command::OpenSession(OpenSession {
        manifest_id: id.to_owned(),
        process: Process::Filter(filter),
        owner_token: None,
    })
}

impl Ended {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.seen
            .chunks()
            .flat_map(|chunk| &chunk.bytes)
            .copied()
            .collect()
    }

    pub(crate) fn stream(&self) -> Stream {
        let segments: Vec<Vec<u8>> = self
            .seen
            .segments
            .iter()
            .map(|segment| segment.bytes())
            .collect();
        Stream::of(segments.iter().map(|segment| &segment[..]))
    }

    /// Every frame and every sound of `input` came back, in step, in segments that stand alone.
    #[track_caller]
    pub(crate) fn assert_whole(&self, input: &Clip) {
        assert_eq!(self.cause, EndCause::InputEnded);
        self.assert_segments_stand_alone();
        let (before, after) = (input.stream(), self.stream());
        assert_eq!(after.pts(), before.pts(), "presentation times");
        assert_eq!(after.audio.len(), before.audio.len(), "audio packets");
        for (n, (before, after)) in before.audio.iter().zip(&after.audio).enumerate() {
            assert_eq!(after, before, "audio packet {n}");
        }
        assert_eq!(after.step(), before.step(), "sound against picture");
        let stats = &self.stats;
        let frames = before.video.len() as u64;
        assert_eq!(
            (stats.frames_in, stats.frames_out, stats.frames_dropped),
            (frames, frames, 0)
        );
        assert_eq!(
            (stats.decode_errors, stats.audio_packets),
            (0, before.audio.len() as u64)
        );
        assert_eq!(stats.bytes_out, self.bytes().len() as u64, "output bytes");
        assert!(stats.last_input_ms > 0 && stats.last_output_ms > 0);
    }

    /// Each segment begins with a PAT, a PMT and a key frame, and ends cleanly; none is missing.
    #[track_caller]
    pub(crate) fn assert_segments_stand_alone(&self) {
        for (n, segment) in self.seen.segments.iter().enumerate() {
            assert_eq!(segment.seq, n as u64, "segments follow each other");
            assert!(segment.ended, "segment {n} ends");
            let bytes = segment.bytes();
            assert_eq!(bytes.len() % PACKET, 0, "segment {n} is whole packets");
            let mut packets = bytes.chunks(PACKET).map(pid);
            assert_eq!(
                packets.next(),
                Some((0, true)),
                "segment {n} begins with a PAT"
            );
            let stream = Stream::of([&bytes[..]]);
            let (pmt, begins) = packets.next().expect("a second packet");
            assert!(
                begins
                    && stream.programs[0]
                        .tracks
                        .iter()
                        .all(|track| track.pid != pmt),
                "then a PMT"
            );
            let video = stream.programs[0].video().expect("a video track").pid;
            assert_eq!(packets.next(), Some((video, true)), "then a picture");
            assert!(stream.video[0].key, "which is a key frame");
        }
    }

    /// Latency from a frame's last byte sent to its first byte back.
    pub(crate) fn latency(&self, quantile: f64) -> Duration {
        super::quantile(self.latencies().map(|(_, latency)| latency), quantile)
    }

    /// When each frame was sent, and how long it took to come back.
    pub(crate) fn latencies(&self) -> impl Iterator<Item = (Instant, Duration)> {
        self.seen.chunks().flat_map(|chunk| {
            let sent = chunk.frames.iter().filter_map(|pts| self.sent.get(pts));
            sent.map(|&sent| (sent, chunk.at.saturating_duration_since(sent)))
        })
    }

    /// Where the time went, in a line.
    pub(crate) fn stages(&self) -> String {
        let stage = |stage: Stage| {
            let latency = self.stats.stage(stage);
            format!("{} {}/{}", stage.name(), latency.p50_us, latency.p99_us)
        };
        format!("us p50/p99: {}", Stage::ALL.map(stage).join("  "))
    }
}
