//! H.264 and H.265 byte streams (H.264 annex B, H.265 annex B): NAL units, access units, and what an SPS says.
//!
//! Slices are never decoded; only enough of a NAL unit is read to say what it is.
//!
//! | question                         | answer                                        |
//! |----------------------------------|-----------------------------------------------|
//! | where are the NAL units?         | [`nals`]                                      |
//! | may a decoder start here?        | [`is_random_access`]                          |
//! | does the unit open with an AUD?  | [`has_aud`]                                   |
//! | does a PES hold several pictures?| [`split_access_units`]                        |
//! | how large, how many B-frames?    | [`find_sps`], [`Sps`]                         |

mod access_unit;
mod bits;
mod nal;
mod sps;
mod vui;

pub use access_unit::{AccessUnits, has_aud, is_random_access, split_access_units};
pub use nal::{Nal, Nals, h264, hevc, nals};
pub use sps::{Sps, SpsError, find_sps};
pub use vui::{Colour, Reorder, Timing, Vui};
