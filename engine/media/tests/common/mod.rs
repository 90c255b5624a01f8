//! What the integration tests share.
#![allow(dead_code, reason = "each test binary uses its own part of this file")]

use std::{fs, path::PathBuf};

use media::{Demux, Event, Mux, Program, Ticks, Unit, demux, mux};

/// A file of `tests/data`.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Everything that a demuxer makes of a stream that is pushed in pieces of `piece_bytes` and then flushed.
pub(crate) fn demux(stream: &[u8], piece_bytes: usize) -> (Vec<Event>, demux::Stats) {
    let mut demux = Demux::new(demux::Config::default());
    let mut events = Vec::new();
    for piece in stream.chunks(piece_bytes.max(1)) {
        demux.push(piece);
        events.extend(drain(&mut demux));
    }
    demux.flush();
    events.extend(drain(&mut demux));
    (events, demux.stats())
}

/// What is ready now.
pub(crate) fn drain(demux: &mut Demux) -> Vec<Event> {
    std::iter::from_fn(|| demux.poll()).collect()
}

pub(crate) fn units(events: Vec<Event>) -> Vec<Unit> {
    events
        .into_iter()
        .filter_map(|event| {
            if let Event::Unit(unit) = event {
                Some(unit)
            } else {
                None
            }
        })
        .collect()
}

pub(crate) fn programs(events: &[Event]) -> Vec<&Program> {
    events
        .iter()
        .filter_map(|event| {
            if let Event::Program(program) = event {
                Some(program)
            } else {
                None
            }
        })
        .collect()
}

/// Writes one unit without a second timestamp.
pub(crate) fn write(mux: &mut Mux, track: usize, pts: Ticks, data: &[u8], out: &mut Vec<u8>) {
    mux.unit(
        track,
        mux::Unit {
            pts: Some(pts),
            dts: None,
            random_access: false,
            data: &[data],
        },
        out,
    )
    .unwrap();
}

/// Pictures that begin with a delimiter and are `bytes` long in all, at least seven.
pub(crate) fn picture(bytes: usize, mark: u8) -> Vec<u8> {
    let mut picture = vec![0, 0, 0, 1, 9, 0xf0];
    picture.resize(bytes.max(7), mark);
    picture
}

/// A packet with payload: `stuffing` bytes of adaptation field are added before it.
pub(crate) fn packet(
    pid: u16,
    starts_unit: bool,
    continuity: u8,
    stuffing: usize,
    payload: &[u8],
) -> Vec<u8> {
    assert_eq!(payload.len() + stuffing, 184);
    let control = if stuffing > 0 { 0x30 } else { 0x10 };
    let start = if starts_unit { 0x40 } else { 0 };
    let mut packet = vec![
        0x47,
        start | (pid >> 8) as u8,
        pid as u8,
        control | continuity & 0xf,
    ];
    if stuffing > 0 {
        packet.push(stuffing as u8 - 1);
    }
    if stuffing > 1 {
        packet.push(0);
        packet.resize(4 + stuffing, 0xff);
    }
    packet.extend_from_slice(payload);
    packet
}

/// The header of a video PES that does not state its length.
pub(crate) fn open_header(pts: u32) -> Vec<u8> {
    let mut header = vec![0, 0, 1, 0xe0, 0, 0, 0x80, 0x80, 5];
    let (high, middle, low) = (pts >> 30, pts >> 15 & 0x7fff, pts & 0x7fff);
    header.push(0x21 | (high << 1) as u8);
    header.extend_from_slice(&((middle << 1 | 1) as u16).to_be_bytes());
    header.extend_from_slice(&((low << 1 | 1) as u16).to_be_bytes());
    header
}

/// A video PES of unknown length as packets, the last one stuffed if need be; `continuity` runs on.
pub(crate) fn open_pes(pid: u16, pts: u32, payload: &[u8], continuity: &mut u8) -> Vec<Vec<u8>> {
    let whole = [&open_header(pts)[..], payload].concat();
    let mut packets = Vec::new();
    for (index, chunk) in whole.chunks(184).enumerate() {
        packets.push(packet(
            pid,
            index == 0,
            *continuity,
            184 - chunk.len(),
            chunk,
        ));
        *continuity = continuity.wrapping_add(1);
    }
    packets
}

/// Tables that announce one H.264 track with PID 0x100.
pub(crate) fn video_tables() -> Vec<u8> {
    let mut out = Vec::new();
    Mux::new(mux::Config::default(), &[media::Track::h264(0x100)])
        .unwrap()
        .tables(&mut out);
    out
}
