//! How soon the end of a unit is known: by its length, by stuffing, by the next start, by a flush.

mod common;

use common::{drain, open_header, open_pes, packet, picture, units, video_tables, write};
use media::{Demux, Event, Mux, Ticks, Track, Unit, demux::Config, limits, mux};

/// A demuxer that knows one video track, and the continuity counter of that track.
fn demuxer() -> (Demux, u8) {
    let mut demux = Demux::new(Config::default());
    demux.push(&video_tables());
    assert!(matches!(drain(&mut demux)[..], [Event::Program(_)]));
    (demux, 0)
}

fn push(demux: &mut Demux, packets: &[Vec<u8>]) -> Vec<Unit> {
    packets.iter().for_each(|packet| demux.push(packet));
    units(drain(demux))
}

/// Teaches the demuxer that stuffing marks the end.
fn teach(demux: &mut Demux, continuity: &mut u8) {
    for n in 0..u32::from(limits::TAIL_STREAK) {
        let late = push(
            demux,
            &open_pes(0x100, n * 3000, &picture(400, 1), continuity),
        );
        assert_eq!(
            late.len(),
            usize::from(n > 0),
            "while learning, a unit waits for the next"
        );
        assert!(late.iter().all(|unit| !unit.early));
    }
    // The start of the next unit completes the last lesson, and a whole unit is there at once.
    let taught = push(
        demux,
        &open_pes(0x100, 100_000, &picture(400, 2), continuity),
    );
    assert_eq!(
        taught.iter().map(|unit| unit.early).collect::<Vec<_>>(),
        [false, true]
    );
}

#[test]
fn a_stuffed_packet_ends_a_unit_once_that_was_learned() {
    let (mut demux, mut continuity) = demuxer();
    teach(&mut demux, &mut continuity);
    for (n, bytes) in [7, 100, 169, 171, 400, 5000].into_iter().enumerate() {
        let data = picture(bytes, 3);
        let now = push(
            &mut demux,
            &open_pes(0x100, 200_000 + n as u32, &data, &mut continuity),
        );
        assert_eq!(now.len(), 1, "{bytes}");
        assert!(
            now[0].early && now[0].data == data && now[0].pts == Some(Ticks(200_000 + n as i64))
        );
    }
    // A unit that fills its packets exactly has no stuffing to tell: it waits, and harms nothing.
    let full = picture(184 * 2 - 14, 4);
    assert_eq!(
        push(
            &mut demux,
            &open_pes(0x100, 300_000, &full, &mut continuity)
        ),
        []
    );
    let both = push(
        &mut demux,
        &open_pes(0x100, 303_000, &picture(50, 5), &mut continuity),
    );
    assert_eq!(
        both.iter().map(|unit| unit.early).collect::<Vec<_>>(),
        [false, true]
    );
    assert_eq!(both[0].data, full);
}

#[test]
fn a_broken_promise_is_delivered_as_continuation_and_not_believed_again() {
    let (mut demux, mut continuity) = demuxer();
    teach(&mut demux, &mut continuity);
    let mut packets = open_pes(0x100, 200_000, &picture(400, 6), &mut continuity);
    packets.push(packet(0x100, false, continuity, 0, &[7; 184]));
    packets.push(packet(0x100, false, continuity + 1, 84, &[8; 100]));
    continuity += 2;
    let now = push(&mut demux, &packets);
    assert_eq!(now.len(), 1);
    let next = push(
        &mut demux,
        &open_pes(0x100, 203_000, &picture(400, 9), &mut continuity),
    );
    assert_eq!(
        next.len(),
        1,
        "the tail ends with the next start, and that one is not given out early"
    );
    assert!(next[0].continuation && !next[0].early && !next[0].random_access);
    assert_eq!(next[0].pts, Some(Ticks(200_000)));
    assert_eq!(next[0].data, [&[7; 184][..], &[8; 100]].concat());
    for n in 0..50 {
        let now = push(
            &mut demux,
            &open_pes(
                0x100,
                206_000 + n * 3000,
                &picture(400, 10),
                &mut continuity,
            ),
        );
        assert!(now.len() == 1 && !now[0].early);
    }
    assert_eq!(demux.stats().late_tails, 1);
}

#[test]
fn stuffing_in_the_middle_is_never_learned() {
    let (mut demux, mut continuity) = demuxer();
    for n in 0..40u32 {
        let data = picture(300, 1);
        let head = [&open_header(n * 3000)[..], &data[..86]].concat();
        let packets = [
            packet(0x100, true, continuity, 84, &head),
            packet(0x100, false, continuity + 1, 0, &data[86..270]),
            packet(0x100, false, continuity + 2, 154, &data[270..]),
        ];
        continuity = (continuity + 3) & 0xf;
        let now = push(&mut demux, &packets);
        assert!(now.iter().all(|unit| !unit.early && unit.data == data));
    }
    assert_eq!(demux.stats().late_tails, 0);
}

#[test]
fn a_stated_length_ends_a_unit_with_its_last_packet() {
    let mut mux = Mux::new(
        mux::Config::default(),
        &[Track::h264(0x100), Track::aac(0x101)],
    )
    .unwrap();
    let mut demux = Demux::new(Config::default());
    let mut out = Vec::new();
    mux.tables(&mut out);
    demux.push(&out);
    for bytes in [10, 183, 184, 185, 60_000] {
        out.clear();
        write(
            &mut mux,
            0,
            Ticks(bytes),
            &picture(bytes as usize, 1),
            &mut out,
        );
        demux.push(&out[..out.len() - 1]);
        assert_eq!(units(drain(&mut demux)), []);
        demux.push(&out[out.len() - 1..]);
        let now = units(drain(&mut demux));
        assert!(now.len() == 1 && !now[0].early && now[0].pts == Some(Ticks(bytes)));
    }
}

#[test]
fn a_length_that_lies_is_not_believed_again() {
    let (mut demux, mut continuity) = demuxer();
    let mut lie = |demux: &mut Demux, n: u32| {
        let mut packets = open_pes(0x100, n, &picture(500, n as u8), &mut continuity);
        packets[0][8..10].copy_from_slice(&200u16.to_be_bytes());
        push(demux, &packets)
    };
    assert_eq!(lie(&mut demux, 1).len(), 1);
    let tail = lie(&mut demux, 2);
    assert!(tail.len() == 1 && tail[0].continuation && tail[0].pts == Some(Ticks(1)));
    assert_eq!(
        lie(&mut demux, 3)[0].data,
        picture(500, 2),
        "from here on units are whole"
    );
    assert_eq!(demux.stats().late_tails, 1);
}

#[test]
fn a_flush_completes_what_is_pending() {
    let (mut demux, mut continuity) = demuxer();
    let data = picture(400, 1);
    assert_eq!(
        push(&mut demux, &open_pes(0x100, 1, &data, &mut continuity)),
        []
    );
    demux.flush();
    let now = units(drain(&mut demux));
    assert!(now.len() == 1 && now[0].data == data && !now[0].damaged);
    // The next segment has counters of its own, and is no discontinuity.
    let mut fresh = 9;
    push(&mut demux, &open_pes(0x100, 2, &data, &mut fresh));
    demux.flush();
    assert!(!units(drain(&mut demux))[0].discontinuity);
    // A unit cut by the end of the segment is damaged when its length says so.
    let mut out = Vec::new();
    let mut mux = Mux::new(mux::Config::default(), &[Track::h264(0x100)]).unwrap();
    write(&mut mux, 0, Ticks(3), &data, &mut out);
    demux.push(&out[..188]);
    demux.flush();
    let now = units(drain(&mut demux));
    assert!(now[0].damaged && data.starts_with(&now[0].data));
}

#[test]
fn a_header_may_be_cut_by_packets() {
    let (mut demux, mut continuity) = demuxer();
    let data = picture(90, 1);
    let whole = [&open_header(77)[..], &data].concat();
    let (a, b) = whole.split_at(5);
    let (b, c) = b.split_at(4);
    let packets = [
        packet(0x100, true, continuity, 184 - a.len(), a),
        packet(0x100, false, continuity + 1, 184 - b.len(), b),
        packet(0x100, false, continuity + 2, 184 - c.len(), c),
    ];
    continuity += 3;
    push(&mut demux, &packets);
    let now = push(&mut demux, &open_pes(0x100, 80, &data, &mut continuity));
    assert!(now.len() == 1 && now[0].data == data && now[0].pts == Some(Ticks(77)));
}
