//! The muxer alone: clock, delimiters, stuffing, tables.

use super::*;
use crate::ts::packet::Packet;

fn packets(out: &[u8]) -> Vec<Packet<'_>> {
    out.as_chunks::<PACKET_BYTES>()
        .0
        .iter()
        .map(|raw| Packet::parse(raw).unwrap())
        .collect()
}

/// The base of the PCR of a packet.
fn pcr(out: &[u8]) -> Option<i64> {
    let has_pcr = out[3] & 0x20 != 0 && out[4] >= 7 && out[5] & 0x10 != 0;
    let field = || {
        out[6..12]
            .iter()
            .fold(0i64, |field, &byte| field << 8 | i64::from(byte))
    };
    has_pcr.then(|| field() >> 15)
}

fn write(mux: &mut Mux, track: usize, dts: i64, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let unit = Unit {
        pts: Some(Ticks(dts)),
        dts: None,
        random_access: false,
        data: &[data],
    };
    mux.unit(track, unit, &mut out).unwrap();
    out
}

fn mux() -> Mux {
    Mux::new(Config::default(), &[Track::h264(0x100), Track::aac(0x101)]).unwrap()
}

#[test]
fn the_clock_leads_and_never_runs_backwards() {
    let mut mux = mux();
    assert_eq!(pcr(&write(&mut mux, 0, 90_000, &[1; 500])), Some(81_000));
    assert_eq!(
        pcr(&write(&mut mux, 1, 90_000, &[1; 500])),
        None,
        "only one track carries it"
    );
    assert_eq!(pcr(&write(&mut mux, 0, 87_000, &[1; 500])), Some(81_000));
    assert_eq!(pcr(&write(&mut mux, 0, 93_000, &[1; 500])), Some(84_000));
    assert!(!packets(&write(&mut mux, 0, 96_000, &[1; 500]))[0].is_discontinuous);
    let restart = write(&mut mux, 0, 3000, &[1; 500]);
    assert!(packets(&restart)[0].is_discontinuous);
    assert_eq!(
        pcr(&restart),
        Some((1 << 33) - 6000),
        "before zero is the end of the lap before"
    );
}

#[test]
fn without_pictures_sound_carries_the_clock() {
    let mut mux = Mux::new(Config::default(), &[Track::opus(0x101, 1)]).unwrap();
    assert_eq!(pcr(&write(&mut mux, 0, 90_000, &[1; 50])), Some(81_000));
}

#[test]
fn a_picture_gets_the_delimiter_it_lacks() {
    let mut mux = Mux::new(
        Config::default(),
        &[Track::h264(0x100), Track::new(0x101, 0x24, Vec::new())],
    )
    .unwrap();
    let payload = |out: &[u8]| packets(out)[0].payload.unwrap()[14..].to_vec();
    let bare = b"\0\0\0\x01\x65\x88";
    assert_eq!(
        payload(&write(&mut mux, 0, 0, bare)),
        b"\0\0\0\x01\x09\xf0\0\0\0\x01\x65\x88"
    );
    let marked = b"\0\0\x01\x09\x10\0\0\x01\x41\x9a";
    assert_eq!(payload(&write(&mut mux, 0, 0, marked)), marked);
    assert_eq!(
        payload(&write(&mut mux, 1, 0, b"\0\0\x01\x26\x01")),
        b"\0\0\0\x01\x46\x01\x50\0\0\x01\x26\x01"
    );
    // In pieces, and without a timestamp: the rest of a unit is left alone.
    let (mut out, pieces) = (Vec::new(), [&marked[..2], &marked[2..4], &marked[4..]]);
    mux.unit(
        0,
        Unit {
            pts: Some(Ticks(0)),
            dts: None,
            random_access: false,
            data: &pieces,
        },
        &mut out,
    )
    .unwrap();
    assert_eq!(payload(&out), marked);
    out.clear();
    mux.unit(
        0,
        Unit {
            pts: None,
            dts: None,
            random_access: false,
            data: &[bare],
        },
        &mut out,
    )
    .unwrap();
    assert_eq!(packets(&out)[0].payload.unwrap()[9..], bare[..]);
}

#[test]
fn stuffing_is_in_the_last_packet_alone() {
    let mut mux = mux();
    for bytes in 0..800 {
        for track in [0, 1] {
            let out = write(&mut mux, track, bytes as i64, &vec![0xaa; bytes]);
            let packets = packets(&out);
            let (last, before) = packets.split_last().unwrap();
            assert!(
                before
                    .iter()
                    .all(|packet| !packet.is_stuffed && !packet.payload.unwrap().is_empty())
            );
            assert!(!last.payload.unwrap().is_empty());
            assert!(
                packets
                    .windows(2)
                    .all(|pair| pair[1].continuity == (pair[0].continuity + 1) & 0xf)
            );
        }
    }
}

#[test]
fn tracks_change_with_a_new_version() {
    let mut mux = mux();
    write(&mut mux, 1, 0, &[1; 10]);
    mux.set_tracks(&[Track::aac(0x101), Track::h264(0x102)])
        .unwrap();
    assert_eq!((mux.program.version, mux.program.pcr_pid), (1, 0x102));
    assert_eq!(
        packets(&write(&mut mux, 0, 0, &[1; 10]))[0].continuity,
        1,
        "the counter stays with its PID"
    );
    let fresh = write(&mut mux, 1, 0, &[1; 10]);
    assert!(
        packets(&fresh)[0].is_discontinuous
            && !packets(&write(&mut mux, 1, 0, &[1; 10]))[0].is_discontinuous
    );
    let same = mux.program.tracks.clone();
    mux.set_tracks(&same).unwrap();
    assert_eq!(mux.program.version, 1);
}

#[test]
fn tracks_that_cannot_be_announced() {
    let new = |tracks: &[Track]| Mux::new(Config::default(), tracks).map(|_| ());
    assert_eq!(new(&[Track::aac(0x1fff)]), Err(Error::BadPid(0x1fff)));
    assert_eq!(
        new(&[Track::aac(0x100), Track::h264(0x100)]),
        Err(Error::PidTwice(0x100))
    );
    assert_eq!(
        new(&[Track::new(0x100, 6, vec![0; 1010])]),
        Err(Error::TooManyTracks)
    );
    assert_eq!(
        Mux::new(
            Config {
                program_number: 0,
                ..Config::default()
            },
            &[]
        )
        .err(),
        Some(Error::BadProgramNumber)
    );
    let mut moved = Mux::new(
        Config::default(),
        &[Track::h264(0x1000), Track::aac(0x1001)],
    )
    .unwrap();
    assert_eq!(moved.place.pmt_pid, 0x1002);
    assert_eq!(moved.set_tracks(&[Track::aac(0)]), Err(Error::BadPid(0)));
    assert_eq!(moved.tracks().len(), 2, "the old ones stay");
    let unit = Unit {
        pts: None,
        dts: None,
        random_access: false,
        data: &[],
    };
    assert_eq!(
        moved.unit(2, unit, &mut Vec::new()),
        Err(Error::NoSuchTrack(2))
    );
}
