//! Sections become programs and back: the PAT (13818-1 2.4.4.3) and the PMT (2.4.4.8).
//!
//! Invariants:
//! - Sections that come in here have a valid CRC and at most [`SECTION_BYTES_MAX`] bytes; they may be hostile all the same.
//! - A table that is not yet in force (`current_next_indicator` 0) is not read.

use alloc::vec::Vec;

use super::{
    crc::crc32,
    packet::{PID_FREE_FIRST, PID_NULL},
};
use crate::{
    codec::{Program, Track},
    limits::SECTION_BYTES_MAX,
};

/// What a PAT section says of the program that we follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PmtPlace {
    pub(super) program_number: u16,
    pub(super) pmt_pid: u16,
}

/// The place of program `followed`, else of the first one, in a PAT. `None` when it has none, or is not a PAT.
///
/// A PAT of several sections replaces nothing with a program that is merely first in another section.
pub(super) fn parse_pat(section: &[u8], followed: Option<u16>) -> Option<PmtPlace> {
    let table = Table::parse(section, TABLE_PAT)?;
    let places = table.body.as_chunks::<4>().0.iter().map(|entry| PmtPlace {
        program_number: u16::from_be_bytes([entry[0], entry[1]]),
        pmt_pid: pid(entry[2], entry[3]),
    });
    let mut programs = places.filter(|place| place.program_number != 0 && is_free(place.pmt_pid));
    let first = programs.clone().next();
    match followed {
        Some(number) => programs
            .find(|place| place.program_number == number)
            .or(first.filter(|_| table.is_whole)),
        None => first,
    }
}

/// The program of a PMT section; `None` when it is not the PMT of `number`, not in force, or malformed.
///
/// Of tracks with the same PID the first counts; PIDs that no track may have are left out, as are tracks after `tracks_max`.
pub(super) fn parse_pmt(section: &[u8], number: u16, tracks_max: usize) -> Option<Program> {
    let table = Table::parse(section, TABLE_PMT)?;
    if table.id_extension != number {
        return None;
    }
    let (&[pcr_high, pcr_low, info_high, info_low], rest) = table.body.split_first_chunk::<4>()?;
    let mut rest = rest.get(length12(info_high, info_low)..)?;
    let mut tracks: Vec<Track> = Vec::new();
    while let Some((&[stream_type, high, low, info_high, info_low], tail)) =
        rest.split_first_chunk::<5>()
    {
        let (descriptors, tail) = tail.split_at_checked(length12(info_high, info_low))?;
        rest = tail;
        let pid = pid(high, low);
        if is_free(pid) && tracks.len() < tracks_max && tracks.iter().all(|track| track.pid != pid)
        {
            tracks.push(Track::new(pid, stream_type, descriptors.to_vec()));
        }
    }
    Some(Program {
        number,
        version: table.version,
        pcr_pid: pid(pcr_high, pcr_low),
        tracks,
    })
}

/// A PAT of one program.
pub(super) fn write_pat(transport_stream_id: u16, place: PmtPlace) -> Vec<u8> {
    let mut body = place.program_number.to_be_bytes().to_vec();
    body.extend_from_slice(&(0xe000 | place.pmt_pid).to_be_bytes());
    write_table(TABLE_PAT, transport_stream_id, 0, &body)
}

/// The PMT of `program`. The caller has checked that it fits: see [`pmt_bytes`].
pub(super) fn write_pmt(program: &Program) -> Vec<u8> {
    let mut body = (0xe000 | program.pcr_pid).to_be_bytes().to_vec();
    body.extend_from_slice(&0xf000u16.to_be_bytes());
    for track in &program.tracks {
        body.push(track.stream_type);
        body.extend_from_slice(&(0xe000 | track.pid).to_be_bytes());
        body.extend_from_slice(&(0xf000 | track.descriptors.len() as u16).to_be_bytes());
        body.extend_from_slice(&track.descriptors);
    }
    write_table(TABLE_PMT, program.number, program.version, &body)
}

/// Bytes of the PMT section of these tracks.
pub(super) fn pmt_bytes(tracks: &[Track]) -> usize {
    let entries: usize = tracks.iter().map(|track| 5 + track.descriptors.len()).sum();
    TABLE_HEADER_BYTES + 4 + entries + CRC_BYTES
}

/// Whether a track or a PMT may have this PID.
pub(super) const fn is_free(pid: u16) -> bool {
    PID_FREE_FIRST <= pid && pid < PID_NULL
}

/// The part that the PAT and the PMT share (2.4.4.11).
struct Table<'a> {
    id_extension: u16,
    version: u8,
    /// Whether this section is the only one of the table.
    is_whole: bool,
    body: &'a [u8],
}

impl<'a> Table<'a> {
    fn parse(section: &'a [u8], table_id: u8) -> Option<Table<'a>> {
        let (header, rest) = section.split_first_chunk::<TABLE_HEADER_BYTES>()?;
        let body = rest.get(..rest.len().checked_sub(CRC_BYTES)?)?;
        let is_current = header[5] & 1 == 1;
        if header[0] != table_id || header[1] & 0x80 == 0 || !is_current {
            return None;
        }
        Some(Table {
            id_extension: u16::from_be_bytes([header[3], header[4]]),
            version: header[5] >> 1 & 0x1f,
            is_whole: header[6] == 0 && header[7] == 0,
            body,
        })
    }
}

fn write_table(table_id: u8, id_extension: u16, version: u8, body: &[u8]) -> Vec<u8> {
    let section_bytes = TABLE_HEADER_BYTES + body.len() + CRC_BYTES;
    debug_assert!(section_bytes <= SECTION_BYTES_MAX);
    let mut section = Vec::with_capacity(section_bytes);
    section.push(table_id);
    section.extend_from_slice(&(0xb000 | (section_bytes - 3) as u16).to_be_bytes());
    section.extend_from_slice(&id_extension.to_be_bytes());
    section.extend_from_slice(&[0xc1 | version << 1, 0, 0]);
    section.extend_from_slice(body);
    section.extend_from_slice(&crc32(&section).to_be_bytes());
    section
}

fn pid(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high & 0x1f, low])
}

fn length12(high: u8, low: u8) -> usize {
    usize::from(u16::from_be_bytes([high & 0xf, low]))
}

const TABLE_PAT: u8 = 0;
const TABLE_PMT: u8 = 2;
const TABLE_HEADER_BYTES: usize = 8;
const CRC_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn tables_read_back() {
        let place = PmtPlace {
            program_number: 7,
            pmt_pid: 0x1000,
        };
        let pat = write_pat(1, place);
        assert_eq!(crc32(&pat), 0);
        assert_eq!(parse_pat(&pat, None), Some(place));
        assert_eq!(
            parse_pat(&pat, Some(9)),
            Some(place),
            "the program we followed is gone"
        );
        let program = Program {
            number: 7,
            version: 3,
            pcr_pid: 0x100,
            tracks: vec![Track::h264(0x100), Track::opus(0x101, 2)],
        };
        let pmt = write_pmt(&program);
        assert_eq!(pmt.len(), pmt_bytes(&program.tracks));
        assert_eq!(parse_pmt(&pmt, 7, 16), Some(program.clone()));
        assert_eq!(parse_pmt(&pmt, 8, 16), None);
        assert_eq!(parse_pmt(&pmt, 7, 1).unwrap().tracks.len(), 1);
        assert_eq!(parse_pmt(&pat, 7, 16), None);
    }

    #[test]
    fn a_program_is_followed_over_its_neighbours() {
        let body = [&[0, 0, 0xe0, 0x10][..], &[0, 1, 0xe1, 0], &[0, 2, 0xe2, 0]].concat();
        let pat = write_table(TABLE_PAT, 1, 0, &body);
        assert_eq!(
            parse_pat(&pat, None),
            Some(PmtPlace {
                program_number: 1,
                pmt_pid: 0x100
            }),
            "0 is the network"
        );
        assert_eq!(
            parse_pat(&pat, Some(2)),
            Some(PmtPlace {
                program_number: 2,
                pmt_pid: 0x200
            })
        );
    }

    #[test]
    fn a_table_for_later_is_not_read() {
        let mut pat = write_pat(
            1,
            PmtPlace {
                program_number: 7,
                pmt_pid: 0x1000,
            },
        );
        pat[5] &= !1;
        assert_eq!(parse_pat(&pat, None), None);
    }

    proptest! {
        #[test]
        fn any_section_is_answered(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            parse_pat(&write_table(TABLE_PAT, 1, 0, &body), Some(3));
            if let Some(program) = parse_pmt(&write_table(TABLE_PMT, 1, 0, &body), 1, 16) {
                prop_assert!(program.tracks.iter().all(|track| is_free(track.pid)));
            }
        }
    }
}
