//! Every bound of this crate that is not a matter of configuration.
//!
//! What one demuxer may hold at most, with the defaults of [`demux::Config`](crate::demux::Config):
//!
//! ```text
//! units being assembled    8 MiB of payload, up to 16 MiB of capacity   pending_bytes_max (Vec grows by doubling)
//! units not yet polled    16 MiB of capacity, and one unit over         queued_bytes_max
//! spare buffers            8 MiB of capacity                            spare_bytes_max
//! sections and packets     8 KiB                                        SECTION_BYTES_MAX, twice with its last copy; search window
//! ```

/// Bytes of one transport packet (13818-1 2.4.3.2).
pub const PACKET_BYTES: usize = 188;

/// Bytes of a transport packet after its four-byte header.
pub const PACKET_PAYLOAD_BYTES_MAX: usize = PACKET_BYTES - 4;

/// Bytes of a PAT or PMT section, header and CRC included (13818-1 2.4.4.4, 2.4.4.9). A longer one is skipped.
pub const SECTION_BYTES_MAX: usize = 1024;

/// Bytes of a PES header: nine fixed and what an eight-bit length can say (13818-1 2.4.3.6).
pub const PES_HEADER_BYTES_MAX: usize = 9 + 255;

/// What `PES_packet_length` can say at most; a longer packet says 0.
pub const PES_LENGTH_MAX: usize = 0xffff;

/// Sync bytes in a row, 188 bytes apart, that end a search for packets.
pub const SYNC_RUN: usize = 3;

/// Bytes kept while searching: a run of sync bytes can be judged from any offset inside the first packet.
pub const SYNC_WINDOW_BYTES: usize = PACKET_BYTES * (SYNC_RUN + 1);

/// Units in a row that must end in a stuffed packet before such a packet is taken as an end.
pub const TAIL_STREAK: u8 = 4;

/// Packets in a unit that make it count for a whole streak; a key frame has more.
pub const TAIL_LONG_PACKETS: u16 = 24;

/// Width or height that a sequence parameter set may claim, in samples. Level 6.2 allows 16 888 (H.264 A.3.1).
pub const PICTURE_SIDE_MAX: u32 = 16_888;

const _: () = {
    assert!(
        SYNC_WINDOW_BYTES > PACKET_BYTES * (SYNC_RUN - 1),
        "a whole run must fit the window"
    );
    assert!(
        SECTION_BYTES_MAX >= 3 + 1021,
        "section_length is at most 1021 in a PAT or PMT"
    );
    assert!(
        PES_HEADER_BYTES_MAX < 2 * PACKET_PAYLOAD_BYTES_MAX,
        "a header is whole after a few packets"
    );
};
