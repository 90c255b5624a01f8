//! What one transport packet says (13818-1 2.4.3.2 to 2.4.3.5).
//!
//! Invariant: a packet whose adaptation field does not fit it is refused whole, so no later step sees a length that lies.

use super::sync::RawPacket;
use crate::limits::PACKET_BYTES;

/// A packet, its payload borrowed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'a> {
    pub(super) pid: u16,
    /// `transport_error_indicator`: someone on the way knows that bits are wrong.
    pub(super) is_damaged: bool,
    /// `payload_unit_start_indicator`.
    pub(super) starts_unit: bool,
    pub(super) is_scrambled: bool,
    pub(super) continuity: u8,
    /// `discontinuity_indicator`.
    pub(super) is_discontinuous: bool,
    /// `random_access_indicator`.
    pub(super) is_random_access: bool,
    /// Whether the adaptation field is longer than what its flags announce: the sender had too little to fill the packet.
    pub(super) is_stuffed: bool,
    /// `None` when the packet is adaptation field only, or reserved.
    pub(super) payload: Option<&'a [u8]>,
}

impl<'a> Packet<'a> {
    pub(super) fn parse(raw: &'a RawPacket) -> Option<Packet<'a>> {
        let mut packet = Packet {
            pid: u16::from(raw[1] & 0x1f) << 8 | u16::from(raw[2]),
            is_damaged: raw[1] & 0x80 != 0,
            starts_unit: raw[1] & 0x40 != 0,
            is_scrambled: raw[3] & 0xc0 != 0,
            continuity: raw[3] & 0xf,
            is_discontinuous: false,
            is_random_access: false,
            is_stuffed: false,
            payload: None,
        };
        let (has_adaptation, has_payload) = (raw[3] & 0x20 != 0, raw[3] & 0x10 != 0);
        let mut payload_at = 4;
        if has_adaptation {
            payload_at = 5 + usize::from(raw[4]);
            let adaptation = raw.get(5..payload_at)?;
            packet.is_stuffed = has_stuffing(adaptation);
            if let Some(&flags) = adaptation.first() {
                packet.is_discontinuous = flags & 0x80 != 0;
                packet.is_random_access = flags & 0x40 != 0;
            }
        }
        if has_payload {
            packet.payload = Some(&raw[payload_at..PACKET_BYTES]);
        }
        Some(packet)
    }
}

/// Whether bytes follow the fields that the flags announce. An empty field is itself one byte of stuffing.
fn has_stuffing(adaptation: &[u8]) -> bool {
    let Some(&flags) = adaptation.first() else {
        return true;
    };
    let mut fields = 1;
    for (flag, bytes) in [(0x10, 6), (0x08, 6), (0x04, 1)] {
        if flags & flag != 0 {
            fields += bytes;
        }
    }
    // transport_private_data, then adaptation_field_extension: a length byte and as many more.
    for flag in [0x02, 0x01] {
        if flags & flag != 0 {
            let Some(&length) = adaptation.get(fields) else {
                return false;
            };
            fields += 1 + usize::from(length);
        }
    }
    adaptation.len() > fields
}

/// PID of packets that mean nothing.
pub(super) const PID_NULL: u16 = 0x1fff;
/// PID of the program association table.
pub(super) const PID_PAT: u16 = 0;
/// The first PID that is free for tracks and PMTs (table 2-3).
pub(super) const PID_FREE_FIRST: u16 = 0x10;

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(head: &[u8]) -> RawPacket {
        let mut raw = [0xff; PACKET_BYTES];
        raw[..head.len()].copy_from_slice(head);
        raw
    }

    #[test]
    fn adaptation_fields_and_stuffing() {
        let plain = raw(&[0x47, 0x41, 0x00, 0x1a]);
        let packet = Packet::parse(&plain).unwrap();
        assert_eq!(
            (packet.pid, packet.continuity, packet.starts_unit),
            (0x100, 10, true)
        );
        assert_eq!(packet.payload.unwrap().len(), 184);
        assert!(!packet.is_stuffed);

        let empty = raw(&[0x47, 0x01, 0x00, 0x30, 0]);
        let packet = Packet::parse(&empty).unwrap();
        assert!(packet.is_stuffed && packet.payload.unwrap().len() == 183);

        let clock = raw(&[0x47, 0x01, 0x00, 0x30, 7, 0x50]);
        let packet = Packet::parse(&clock).unwrap();
        assert!(
            !packet.is_stuffed && packet.is_random_access && packet.payload.unwrap().len() == 176
        );

        let private = raw(&[0x47, 0x01, 0x00, 0x30, 5, 0x02, 2, 0, 0, 0xff]);
        assert!(Packet::parse(&private).unwrap().is_stuffed);
        let lying = raw(&[0x47, 0x01, 0x00, 0x30, 5, 0x02, 200, 0, 0, 0xff]);
        assert!(!Packet::parse(&lying).unwrap().is_stuffed);
    }

    #[test]
    fn lengths_that_do_not_fit() {
        assert!(Packet::parse(&raw(&[0x47, 0x01, 0x00, 0x30, 184])).is_none());
        let full = raw(&[0x47, 0x01, 0x00, 0x30, 183, 0]);
        assert_eq!(Packet::parse(&full).unwrap().payload, Some(&[][..]));
        let reserved = raw(&[0x47, 0x01, 0x00, 0x00, 184]);
        assert_eq!(Packet::parse(&reserved).unwrap().payload, None);
    }
}
