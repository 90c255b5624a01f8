//! Hostile and broken streams: what is lost is said, and what is held is bounded.

mod common;

use common::{demux, drain, fixture, open_pes, packet, picture, units, video_tables, write};
use media::{Demux, Event, Mux, Ticks, Track, Unit, demux::Config, mux};
use proptest::prelude::*;

const SMALL: Config = Config {
    unit_bytes_max: 10_000,
    pending_bytes_max: 15_000,
    queued_bytes_max: 50_000,
    spare_bytes_max: 30_000,
    tracks_max: 4,
};

/// What [`SMALL`] adds up to: the queue may go over by one unit, whose capacity may be twice its bytes.
const SMALL_BYTES_MAX: usize = 15_000 + 50_000 + 20_000 + 30_000 + 1000;

#[test]
fn a_lost_packet_costs_its_unit_and_says_so() {
    let (mut demux, mut continuity) = (Demux::new(Config::default()), 0);
    demux.push(&video_tables());
    let mut packets = open_pes(0x100, 1, &picture(1000, 1), &mut continuity);
    packets.remove(2);
    packets.extend(open_pes(0x100, 2, &picture(1000, 2), &mut continuity));
    packets.iter().for_each(|packet| demux.push(packet));
    demux.flush();
    let units = units(drain(&mut demux));
    assert_eq!(units.len(), 2);
    assert!(units[0].damaged && picture(1000, 1).starts_with(&units[0].data));
    assert!(units[1].discontinuity && !units[1].damaged && units[1].data == picture(1000, 2));
    assert_eq!(demux.stats().discontinuities, 1);
}

#[test]
fn duplicates_scrambled_marked_and_null_packets_change_nothing() {
    let (mut demux, mut continuity) = (Demux::new(Config::default()), 0);
    demux.push(&video_tables());
    for packet in open_pes(0x100, 1, &picture(1000, 1), &mut continuity) {
        demux.push(&packet);
        demux.push(&packet);
        for (at, bits) in [(1, 0x80), (3, 0x80)] {
            let mut other = packet.clone();
            other[at] |= bits;
            demux.push(&other);
        }
        demux.push(&common::packet(0x1fff, false, 3, 0, &[0; 184]));
    }
    demux.flush();
    let units = units(drain(&mut demux));
    assert!(units.len() == 1 && units[0].data == picture(1000, 1) && !units[0].damaged);
    let stats = demux.stats();
    assert_eq!(
        (
            stats.duplicates,
            stats.scrambled,
            stats.damaged,
            stats.discontinuities
        ),
        (6, 6, 6, 0)
    );
}

#[test]
fn an_announced_discontinuity_is_passed_on_and_costs_nothing() {
    let (mut demux, mut continuity) = (Demux::new(Config::default()), 0);
    demux.push(&video_tables());
    open_pes(0x100, 1, &picture(50, 1), &mut continuity)
        .iter()
        .for_each(|packet| demux.push(packet));
    continuity = 9;
    let mut packets = open_pes(0x100, 2, &picture(50, 2), &mut continuity);
    packets[0][5] |= 0x80;
    demux.push(&packets[0]);
    demux.flush();
    let units = units(drain(&mut demux));
    assert!(!units[0].damaged && !units[0].discontinuity && units[1].discontinuity);
    assert_eq!(demux.stats().discontinuities, 0);
}

#[test]
fn a_unit_that_grows_too_large_is_dropped_whole() {
    let (mut demux, mut continuity) = (Demux::new(SMALL), 0);
    demux.push(&video_tables());
    open_pes(0x100, 1, &picture(20_000, 1), &mut continuity)
        .iter()
        .for_each(|packet| demux.push(packet));
    open_pes(0x100, 2, &picture(1000, 2), &mut continuity)
        .iter()
        .for_each(|packet| demux.push(packet));
    demux.flush();
    let units = units(drain(&mut demux));
    assert!(units.len() == 1 && units[0].pts == Some(Ticks(2)) && units[0].discontinuity);
    assert_eq!(demux.stats().oversize_units, 1);
}

#[test]
fn units_that_nobody_polls_are_bounded_and_a_program_is_never_lost() {
    let mut mux = Mux::new(mux::Config::default(), &[Track::h264(0x100)]).unwrap();
    let (mut demux, mut out) = (Demux::new(SMALL), Vec::new());
    mux.tables(&mut out);
    for n in 0..200 {
        write(&mut mux, 0, Ticks(n), &picture(2000, 1), &mut out);
    }
    mux.set_tracks(&[Track::h264(0x100), Track::aac(0x101)])
        .unwrap();
    mux.tables(&mut out);
    demux.push(&out);
    assert!(demux.buffered_bytes() <= SMALL_BYTES_MAX);
    assert!(demux.stats().dropped_units > 100);
    let events = drain(&mut demux);
    assert!(matches!(events.last(), Some(Event::Program(program)) if program.tracks.len() == 2));
    out.clear();
    write(&mut mux, 0, Ticks(1000), &picture(100, 2), &mut out);
    demux.push(&out);
    assert!(
        units(drain(&mut demux))[0].discontinuity,
        "what was dropped is said"
    );
}

#[test]
fn buffers_that_are_given_back_are_used_again() {
    let stream = fixture("bframes-aac.ts");
    let mut demux = Demux::new(Config::default());
    let mut known = Vec::new();
    for lap in 0..4 {
        for piece in stream.chunks(1316) {
            demux.push(piece);
            while let Some(event) = demux.poll() {
                if let Event::Unit(Unit { data, .. }) = event {
                    let buffer = (data.as_ptr(), data.capacity());
                    assert!(
                        lap < 3 || known.contains(&buffer),
                        "a new buffer, or one that had to grow"
                    );
                    known.push(buffer);
                    demux.recycle(data);
                }
            }
        }
        demux.flush();
        while let Some(event) = demux.poll() {
            if let Event::Unit(unit) = event {
                known.push((unit.data.as_ptr(), unit.data.capacity()));
                demux.recycle(unit.data);
            }
        }
    }
}

/// Packets that look real enough to reach every corner.
fn hostile_packet() -> impl Strategy<Value = Vec<u8>> {
    let pid = prop_oneof![
        Just(0u16),
        Just(0x1000),
        Just(0x100),
        Just(0x101),
        Just(0x1fff),
        any::<u16>()
    ];
    let payload = prop_oneof![
        proptest::collection::vec(any::<u8>(), 184),
        (
            any::<u16>(),
            any::<u8>(),
            proptest::collection::vec(any::<u8>(), 184)
        )
            .prop_map(|(length, rest, mut payload)| {
                payload[..4].copy_from_slice(&[0, 0, 1, 0xe0]);
                payload[4..6].copy_from_slice(&(length % 2000).to_be_bytes());
                payload[6] = 0x80;
                payload[8] = rest % 20;
                payload
            }),
    ];
    (pid, any::<bool>(), 0u8..16, 0usize..184, payload).prop_map(
        |(pid, starts, continuity, stuffing, payload)| {
            packet(
                pid & 0x1fff,
                starts,
                continuity,
                stuffing,
                &payload[stuffing..],
            )
        },
    )
}

fn run(stream: &[u8], pieces: &[usize]) -> (Vec<Event>, usize) {
    let (mut demux, mut events, mut held) = (Demux::new(SMALL), Vec::new(), 0);
    let mut rest = stream;
    for piece in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at((*piece).min(rest.len()));
        demux.push(now);
        held = held.max(demux.buffered_bytes());
        events.extend(drain(&mut demux));
        rest = later;
    }
    demux.flush();
    held = held.max(demux.buffered_bytes());
    events.extend(drain(&mut demux));
    (events, held)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_bytes_are_survived(stream in proptest::collection::vec(any::<u8>(), 0..5000), piece in 1usize..1000) {
        let (_, held) = run(&stream, &[piece]);
        prop_assert!(held <= SMALL_BYTES_MAX);
    }

    #[test]
    fn hostile_packets_are_survived_however_they_are_cut(
        packets in proptest::collection::vec(prop_oneof![8 => hostile_packet(), 1 => Just(video_tables())], 0..120),
        pieces in proptest::collection::vec(1usize..700, 1..20),
    ) {
        let stream = [&video_tables()[..], &packets.concat()].concat();
        // A push of 700 bytes cannot fill the queue, so nothing is dropped and the events must agree.
        let (events, held) = run(&stream, &pieces);
        prop_assert!(held <= SMALL_BYTES_MAX);
        prop_assert_eq!(events, run(&stream, &[188]).0);
    }

    #[test]
    fn a_real_stream_is_followed_through_damage(
        hits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0usize..400), 0..12),
        piece in 1usize..3000,
    ) {
        let mut stream = fixture("bframes-aac.ts");
        for (at, byte, cut_bytes) in hits {
            let at = at.index(stream.len());
            stream[at] = byte;
            let end = (at + cut_bytes).min(stream.len());
            stream.drain(at + 1..end.max(at + 1));
        }
        let whole = demux(&stream, stream.len().max(1));
        prop_assert_eq!(demux(&stream, piece), whole);
    }

    #[test]
    fn units_come_back_as_they_were_sent(
        sizes in proptest::collection::vec((any::<bool>(), prop_oneof![0usize..600, 65_400usize..65_700, 0usize..70_000]), 1..12),
        start in prop_oneof![Just(0u64), Just((1u64 << 33) - 9000), 0u64..1 << 33],
        segment in 1usize..5,
    ) {
        let mut mux = Mux::new(mux::Config::default(), &[Track::h264(0x100), Track::aac(0x101)]).unwrap();
        let mut sent = Vec::new();
        let mut out = Vec::new();
        for (n, (is_video, bytes)) in sizes.into_iter().enumerate() {
            if n % segment == 0 {
                mux.tables(&mut out);
            }
            let dts = Ticks(start as i64 + n as i64 * 3003);
            let pts = dts + Ticks((n as i64 % 3) * 3003);
            let data = if is_video { picture(bytes, n as u8) } else { vec![n as u8; bytes] };
            let (a, b) = data.split_at(bytes.min(data.len()) / 2);
            let unit = mux::Unit { pts: Some(pts), dts: Some(dts), random_access: n == 0, data: &[a, &[], b] };
            mux.unit(usize::from(!is_video), unit, &mut out).unwrap();
            sent.push((usize::from(!is_video), pts, Some(dts).filter(|dts| *dts != pts), data));
        }
        prop_assert_eq!(out.len() % 188, 0);
        let (events, stats) = demux(&out, 1316);
        let mut got: Vec<_> = units(events)
            .into_iter()
            .map(|unit| (usize::from(unit.codec.is_audio()), unit.pts.unwrap(), unit.dts, unit.data))
            .collect();
        // Units longer than a length can say end with the next one, so another track may overtake them.
        sent.sort_by_key(|(track, pts, dts, _)| (*track, dts.unwrap_or(*pts)));
        got.sort_by_key(|(track, pts, dts, _)| (*track, dts.unwrap_or(*pts)));
        prop_assert_eq!(got, sent);
        prop_assert_eq!((stats.discontinuities, stats.damaged, stats.late_tails), (0, 0, 0));
    }

    #[test]
    fn garbage_between_packets_costs_at_most_the_unit_it_hits(
        at in 3usize..60,
        garbage in proptest::collection::vec(any::<u8>(), 1..600),
    ) {
        let mut mux = Mux::new(mux::Config::default(), &[Track::h264(0x100)]).unwrap();
        let mut out = Vec::new();
        mux.tables(&mut out);
        let count = 20;
        for n in 0..count {
            write(&mut mux, 0, Ticks(n * 3000), &picture(700, n as u8), &mut out);
        }
        // What looks like packets is taken for packets: keep sync bytes out of the garbage.
        let garbage: Vec<u8> = garbage.into_iter().map(|byte| if byte == 0x47 { 0x48 } else { byte }).collect();
        let at = at * 188;
        let stream = [&out[..at], &garbage, &out[at..]].concat();
        let (events, stats) = demux(&stream, 1000);
        let whole = units(events).iter().filter(|unit| !unit.damaged && unit.data.len() == 700).count();
        prop_assert!(whole >= count as usize - 1, "{whole}");
        prop_assert_eq!(stats.skipped_bytes, garbage.len() as u64);
    }
}

/// Every length modulo the payload of a packet, for a track with a clock and for one without.
#[test]
fn every_length_fills_its_packets() {
    let mut mux = Mux::new(
        mux::Config::default(),
        &[Track::h264(0x100), Track::aac(0x101)],
    )
    .unwrap();
    let mut out = Vec::new();
    mux.tables(&mut out);
    let sent: Vec<_> = (0..400)
        .map(|bytes| {
            (
                bytes % 2,
                if bytes % 2 == 0 {
                    picture(bytes, 1)
                } else {
                    vec![2; bytes]
                },
            )
        })
        .collect();
    for (n, (track, data)) in sent.iter().enumerate() {
        write(&mut mux, *track, Ticks(n as i64), data, &mut out);
    }
    for (n, (track, data)) in sent.iter().enumerate() {
        write(
            &mut mux,
            1 - *track,
            Ticks(1000 + n as i64),
            &picture(data.len(), 3),
            &mut out,
        );
    }
    let (events, stats) = demux(&out, 4096);
    let units = units(events);
    assert_eq!(units.len(), 800);
    for (unit, (_, data)) in units.iter().zip(&sent) {
        assert_eq!(unit.data, *data);
    }
    assert_eq!((stats.discontinuities, stats.skipped_bytes), (0, 0));
}
