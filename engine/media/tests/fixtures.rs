//! Real streams, made by ffmpeg, against what ffprobe said of them.

mod common;

use common::{demux, fixture, programs, units};
use media::{Codec, Event, Mux, Ticks, Unit, aac, demux::Stats, h26x, mux};

const FIXTURES: [&str; 9] = [
    "bframes-aac",
    "no-audio",
    "hevc",
    "offset-26h",
    "wrap",
    "opus",
    "mp3",
    "ac3",
    "pmt-change",
];

/// One line of ffprobe.
struct Packet {
    pts: Ticks,
    dts: Ticks,
    bytes: usize,
    is_key: bool,
}

fn expected(name: &str, kind: &str) -> Vec<Packet> {
    let text = String::from_utf8(fixture(&format!("{name}.csv"))).unwrap();
    let fields = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let number = |text: &str| text.parse().unwrap();
    fields
        .filter(|fields| fields[0] == kind)
        .map(|fields| Packet {
            pts: Ticks(number(fields[1])),
            dts: Ticks(number(fields[2])),
            bytes: number(fields[3]) as usize,
            is_key: fields[4].starts_with('K'),
        })
        .collect()
}

fn load(name: &str) -> (Vec<Event>, Stats) {
    demux(&fixture(&format!("{name}.ts")), 1000)
}

fn of(units: &[Unit], wanted: fn(Codec) -> bool) -> Vec<&Unit> {
    units.iter().filter(|unit| wanted(unit.codec)).collect()
}

#[test]
fn units_are_what_ffprobe_saw() {
    for name in FIXTURES.iter().filter(|name| **name != "pmt-change") {
        let (events, stats) = load(name);
        assert_eq!(programs(&events).len(), 1, "{name}");
        let units = units(events);
        let video = of(&units, Codec::is_video);
        let probed = expected(name, "video");
        assert_eq!(video.len(), probed.len(), "{name}");
        for (unit, packet) in video.iter().zip(&probed) {
            assert_eq!(unit.pts.unwrap().wire(), packet.pts.wire(), "{name}");
            assert_eq!(
                unit.decode_time().unwrap().wire(),
                packet.dts.wire(),
                "{name}"
            );
            assert_eq!(unit.random_access, packet.is_key, "{name}");
            // ffprobe's H.265 parser gives the first zero of a start code to the unit before it.
            let slack = usize::from(unit.codec == Codec::Hevc);
            assert!(unit.data.len().abs_diff(packet.bytes) <= slack, "{name}");
        }
        let bytes: usize = video.iter().map(|unit| unit.data.len()).sum();
        assert_eq!(
            bytes,
            probed.iter().map(|packet| packet.bytes).sum::<usize>(),
            "{name}"
        );
        let audio = of(&units, Codec::is_audio);
        let probed = expected(name, "audio");
        if let (Some(unit), Some(packet)) = (audio.first(), probed.first()) {
            assert_eq!(unit.pts.unwrap().wire(), packet.pts.wire(), "{name}");
        }
        if *name != "opus" {
            // ffprobe takes the control headers of Opus away.
            let bytes: usize = audio.iter().map(|unit| unit.data.len()).sum();
            assert_eq!(
                bytes,
                probed.iter().map(|packet| packet.bytes).sum::<usize>(),
                "{name}"
            );
        }
        assert!(
            units
                .iter()
                .all(|unit| !unit.damaged && !unit.continuation && !unit.discontinuity),
            "{name}"
        );
        let expected = Stats {
            packets: stats.packets,
            units: stats.units,
            early_units: stats.early_units,
            ..Stats::default()
        };
        assert_eq!(stats, expected, "{name}: nothing else to count");
        assert!(
            stats.early_units as usize > video.len() / 2,
            "{name}: ffmpeg's stuffing is learned"
        );
    }
}

#[test]
fn codecs_are_named() {
    let audio = [
        ("bframes-aac", Codec::AacAdts),
        ("opus", Codec::Opus),
        ("mp3", Codec::Mp3),
        ("ac3", Codec::Ac3),
    ];
    for (name, codec) in audio {
        let (events, _) = load(name);
        assert_eq!(programs(&events)[0].audio().unwrap().codec, codec);
        assert_eq!(programs(&events)[0].video().unwrap().codec, Codec::H264);
    }
    let (events, _) = load("hevc");
    assert_eq!(programs(&events)[0].video().unwrap().codec, Codec::Hevc);
    assert_eq!(programs(&load("no-audio").0)[0].audio(), None);
}

#[test]
fn cuts_do_not_matter() {
    for name in FIXTURES {
        let stream = fixture(&format!("{name}.ts"));
        let whole = demux(&stream, stream.len());
        for piece_bytes in [1, 7, 187, 188, 189, 1316, 4096] {
            assert_eq!(
                demux(&stream, piece_bytes),
                whole,
                "{name} in pieces of {piece_bytes}"
            );
        }
    }
}

#[test]
fn a_lap_ends_and_time_goes_on() {
    let units = units(load("wrap").0);
    for wanted in [Codec::is_video, Codec::is_audio] {
        let times: Vec<_> = of(&units, wanted)
            .iter()
            .map(|unit| unit.decode_time().unwrap())
            .collect();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(times[0] < Ticks(Ticks::LAP) && times[times.len() - 1] > Ticks(Ticks::LAP));
    }
    assert!(units.iter().any(|unit| unit.pts > Some(Ticks(Ticks::LAP))
        && unit.dts.is_some_and(|dts| dts < Ticks(Ticks::LAP))));
}

#[test]
fn tracks_come_and_go() {
    let (events, stats) = load("pmt-change");
    let pids: Vec<Vec<u16>> = programs(&events)
        .iter()
        .map(|program| program.tracks.iter().map(|track| track.pid).collect())
        .collect();
    assert_eq!(pids, [vec![0x100, 0x101], vec![0x140, 0x141], vec![0x140]]);
    let mut announced = Vec::new();
    for event in &events {
        match event {
            Event::Program(program) => {
                announced = program.tracks.iter().map(|track| track.pid).collect()
            }
            Event::Unit(unit) => assert!(announced.contains(&unit.pid)),
        }
    }
    let units = units(events);
    assert_eq!(of(&units, Codec::is_video).len(), 75);
    assert_eq!((stats.crc_errors, stats.late_tails), (0, 0));
    assert!(
        units.iter().all(|unit| !unit.damaged),
        "the last units of a part are whole"
    );
}

#[test]
fn through_the_muxer_and_back_nothing_changes() {
    for name in FIXTURES {
        let (before, _) = load(name);
        let (mut mux, mut out, mut track_pids) = (None::<Mux>, Vec::new(), Vec::new());
        for event in &before {
            match event {
                Event::Program(program) => {
                    track_pids = program.tracks.iter().map(|track| track.pid).collect();
                    match &mut mux {
                        Some(mux) => mux.set_tracks(&program.tracks).unwrap(),
                        None => {
                            mux = Some(Mux::new(mux::Config::default(), &program.tracks).unwrap())
                        }
                    }
                    mux.as_mut().unwrap().tables(&mut out);
                }
                Event::Unit(unit) => {
                    let track = track_pids.iter().position(|pid| *pid == unit.pid).unwrap();
                    let data: [&[u8]; 1] = [&unit.data];
                    let written = mux::Unit {
                        pts: unit.pts,
                        dts: unit.dts,
                        random_access: unit.random_access,
                        data: &data,
                    };
                    mux.as_mut()
                        .unwrap()
                        .unit(track, written, &mut out)
                        .unwrap();
                }
            }
        }
        let (after, stats) = demux(&out, 777);
        assert_eq!(
            (stats.discontinuities, stats.damaged, stats.early_units),
            (0, 0, 0),
            "{name}: lengths are stated"
        );
        let tracks = |events: &[Event]| {
            programs(events)
                .iter()
                .map(|program| program.tracks.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(tracks(&before), tracks(&after), "{name}");
        let plain = |events: Vec<Event>| {
            let mut units = units(events);
            units.iter_mut().for_each(|unit| {
                (unit.early, unit.at_its_end, unit.discontinuity) = (false, false, false);
            });
            units.sort_by_key(|unit| (unit.pid, unit.decode_time()));
            units
        };
        assert_eq!(plain(before), plain(after), "{name}");
    }
}

#[test]
fn frames_and_parameter_sets_are_inside() {
    let units = units(load("bframes-aac").0);
    let sps = units
        .iter()
        .find_map(|unit| h26x::find_sps(&unit.data))
        .unwrap();
    assert_eq!((sps.width, sps.height, sps.coded_height), (160, 90, 96));
    assert_eq!(
        (sps.profile_idc, sps.chroma_format_idc, sps.interlaced),
        (100, 1, false)
    );
    assert_eq!(sps.reorder_frames_max(), 2, "x264 states it");
    for unit in of(&units, Codec::is_video) {
        assert!(h26x::has_aud(unit.codec, &unit.data));
        assert_eq!(h26x::split_access_units(unit.codec, &unit.data).count(), 1);
    }
    let mut frames = 0;
    for unit in of(&units, Codec::is_audio) {
        let mut walk = aac::frames(&unit.data);
        frames += walk.by_ref().count();
        assert!(walk.rest().is_empty());
    }
    assert_eq!(frames, expected("bframes-aac", "audio").len());
    let no_reorder = of(&units, Codec::is_video)
        .iter()
        .all(|unit| unit.dts.is_none());
    assert!(!no_reorder, "this fixture has B-frames");
}

#[test]
fn pictures_packed_together_are_found_again() {
    for name in ["bframes-aac", "hevc"] {
        let units = units(load(name).0);
        let video = of(&units, Codec::is_video);
        let packed: Vec<u8> = video
            .iter()
            .flat_map(|unit| unit.data.iter().copied())
            .collect();
        let split: Vec<&[u8]> = h26x::split_access_units(video[0].codec, &packed).collect();
        assert_eq!(
            split,
            video.iter().map(|unit| &unit.data[..]).collect::<Vec<_>>(),
            "{name}"
        );
    }
}
