//! H.264 by one of two libraries, as the stream's parameter set asks.
//!
//! A library is shown the NAL units that it needs and no others, parameter sets only after they have been found
//! to be within the limits, and access units one at a time and whole, so each gives its picture in the same call.
//! Reordering for display is ours (`reorder`), by timestamp; `in_order` has the reason.
//!
//! ```text
//!              parameter set refused: every unit is that error
//!                 |
//!   AwaitingKey --+-- IDR --> Decoding -- damage --> AwaitingKey
//! ```
//!
//! After damage the library is thrown away and made anew, for two reasons: what it holds of a broken access unit
//! would take the next key picture down with it, and after some errors it forgets its parameter sets without a word.
//! The latest sets are kept here for streams that send them once. A stream that changes to what the other library
//! reads is such a new beginning as well.

use kernels::{Frame, Matrix, Range};

use super::library::{Kind, Library};
use super::refused;
use crate::backend::Unavailable;
use crate::decode::{Config, Decode, Decoded, Error, Unit};
use crate::nal;
use crate::reorder::Reorder;
use crate::sps::Sps;

/// openh264's own limit (`MAX_ACCESS_UNIT_CAPACITY`): beyond it, it resets itself.
const UNIT_BYTES_MAX: usize = 7_077_888;

/// Slices in one access unit: openh264 keeps a header of some kilobytes for each. A 4K picture of one slice a
/// macroblock row has 135.
const SLICES_MAX: usize = 1024;

/// Parameter sets that are kept: a stream has one SPS and a few PPS of some tens of bytes each.
const SETS_BYTES_MAX: usize = 16 << 10;

/// Spare frames that are kept: as many as reordering can hold, and one in the caller's hands.
const SPARE_MAX: usize = 18;

pub(super) struct Decoder {
    config: Config,
    library: Library,
    /// The library that the latest parameter set asks for.
    kind: Kind,
    reorder: Reorder<Frame>,
    spare: Vec<Frame>,
    /// Pictures that can be shown and have not been collected.
    ready: Vec<Decoded<Frame>>,
    /// The unit as the library is to see it.
    input: Vec<u8>,
    has_slices: bool,
    /// The latest parameter sets, as the library is to see them.
    sets: Vec<u8>,
    /// The library is new and has seen none.
    sets_unseen: bool,
    awaiting_key: bool,
    /// Why the latest parameter set was refused.
    refusal: Option<Error>,
    range: Range,
    matrix: Matrix,
}

// === impl Decoder ===

impl Decoder {
    pub(super) fn new(config: Config) -> Result<Self, Unavailable> {
        Ok(Self {
            config,
            library: Library::new(Kind::default()).map_err(refused)?,
            kind: Kind::default(),
            reorder: Reorder::new(),
            spare: Vec::with_capacity(SPARE_MAX),
            ready: Vec::new(),
            input: Vec::new(),
            has_slices: false,
            sets: Vec::new(),
            sets_unseen: true,
            awaiting_key: true,
            refusal: None,
            range: Range::default(),
            matrix: Matrix::default(),
        })
    }

    /// Copies what the library is to see into `input`. `Ok(true)` is a key picture, `Ok(false)` another or none.
    fn select(&mut self, data: &[u8]) -> Result<bool, Error> {
        let bytes_max = self.config.unit_bytes_max.min(UNIT_BYTES_MAX);
        within("access unit in bytes", data.len(), bytes_max)?;
        self.input.clear();
        let (mut slices, mut key) = (0, false);
        let mut has_sets = false;
        for unit in nal::units(data) {
            match nal::kind(unit) {
                nal::SPS => {
                    has_sets = true;
                    self.admit(unit);
                }
                nal::PPS if self.refusal.is_none() => self.keep_set(|set| {
                    set.extend([0, 0, 1]);
                    set.extend(unit);
                }),
                nal::SLICE | nal::SLICE_IDR => {
                    if let Some(refusal) = self.refusal {
                        return Err(refusal);
                    }
                    slices += 1;
                    within("slices in an access unit", slices, SLICES_MAX)?;
                    key |= nal::kind(unit) == nal::SLICE_IDR;
                    self.input.extend([0, 0, 1]);
                    self.input.extend(unit);
                }
                _ => {}
            }
        }
        // Once a unit, however many parameter sets of both kinds it holds.
        if self.library.kind() != self.kind {
            self.renew();
        }
        if self.sets_unseen && !has_sets {
            self.input.splice(..0, self.sets.iter().copied());
        }
        // Until they are fed, which an error prevents.
        self.sets_unseen |= has_sets;
        self.has_slices = slices > 0;
        match slices {
            0 => self.refusal.map_or(Ok(false), Err),
            _ if self.awaiting_key && !key => Err(Error::AwaitingKey),
            _ => Ok(key),
        }
    }

    /// Adds a parameter set to the input, and to what is kept.
    fn keep_set(&mut self, write: impl Fn(&mut Vec<u8>)) {
        write(&mut self.input);
        if self.sets.len() < SETS_BYTES_MAX {
            write(&mut self.sets);
        }
    }

    /// Makes the library anew and awaits a key picture.
    fn renew(&mut self) {
        self.awaiting_key = true;
        self.replace();
    }

    /// Makes the library anew. Should that fail, the old one goes on as well as it can.
    fn replace(&mut self) {
        if let Ok(library) = Library::new(self.kind) {
            self.library = library;
            self.sets_unseen = true;
        }
    }

    /// Passes a parameter set on if it is within the limits, and remembers why if it is not.
    fn admit(&mut self, unit: &[u8]) {
        const UNREADABLE: i32 = -1;
        self.sets.clear();
        let Some(sps) = Sps::parse(unit) else {
            self.refusal = Some(Error::Damaged { code: UNREADABLE });
            return;
        };
        let kind = self.choose(&sps);
        self.refusal = kind.err();
        if let Ok(kind) = kind {
            self.kind = kind;
            self.reorder.set_depth(sps.reorder);
            self.range = if sps.full_range {
                Range::Full
            } else {
                Range::Limited
            };
            self.matrix = matrix(sps.matrix);
            self.keep_set(|set| kind.write_sps(unit, sps.profile, set));
        }
    }

    fn choose(&self, sps: &Sps) -> Result<Kind, Error> {
        let kind = Kind::of(sps).map_err(Error::Unsupported)?;
        // Memory is spent on whole macroblocks, whatever cropping then hides.
        let width_max = self.config.width_max.next_multiple_of(16);
        let height_max = self.config.height_max.next_multiple_of(16);
        if sps.coded_width > width_max || sps.coded_height > height_max {
            return Err(Error::TooLarge {
                width: sps.coded_width,
                height: sps.coded_height,
            });
        }
        Ok(kind)
    }

    /// Takes a picture and makes ready what can now be shown.
    fn keep(&mut self, mut frame: Frame, pts: i64, key: bool) {
        frame.range = self.range;
        frame.matrix = self.matrix;
        let ready = &mut self.ready;
        let late = self
            .reorder
            .push(pts, frame, key, |pts, frame| ready.push(shown(pts, frame)));
        if let Some(frame) = late {
            self.recycle(frame);
        }
    }
}

impl Decode<Frame> for Decoder {
    /// The picture is decoded when this returns.
    fn submit(&mut self, unit: Unit<'_>) -> Result<(), Error> {
        let mut key = match self.select(unit.data) {
            Ok(key) => key,
            Err(error) => {
                self.awaiting_key = true;
                return Err(error);
            }
        };
        if self.input.is_empty() {
            return Ok(());
        }
        let opens = key;
        let spare = &mut self.spare;
        let (code, pictures) = self
            .library
            .decode(&self.input, self.has_slices, unit.pts, spare);
        for (pts, frame) in pictures.into_iter().flatten() {
            self.keep(frame, pts, key);
            key = false;
        }
        self.sets_unseen = false;
        if code != 0 {
            self.renew();
            return Err(Error::Damaged { code });
        }
        if self.library.is_spent() {
            self.replace();
        }
        self.awaiting_key &= !opens;
        Ok(())
    }

    fn collect(&mut self, out: &mut Vec<Decoded<Frame>>) -> Result<(), Error> {
        out.append(&mut self.ready);
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<Decoded<Frame>>) -> Result<(), Error> {
        out.append(&mut self.ready);
        self.reorder.drain(|pts, frame| out.push(shown(pts, frame)));
        Ok(())
    }

    fn reset(&mut self) {
        let spare = &mut self.spare;
        spare.extend(self.ready.drain(..).map(|picture| picture.surface));
        self.reorder.restart(|frame| spare.push(frame));
        spare.truncate(SPARE_MAX);
        self.awaiting_key = true;
    }

    fn recycle(&mut self, surface: Frame) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(surface);
        }
    }
}

fn within(what: &'static str, value: usize, limit: usize) -> Result<(), Error> {
    if value > limit {
        return Err(Error::UnitTooLarge { what, value, limit });
    }
    Ok(())
}

fn shown(pts: i64, surface: Frame) -> Decoded<Frame> {
    let (width, height) = (surface.width(), surface.height());
    Decoded {
        surface,
        pts,
        width,
        height,
    }
}

/// ITU-T H.264 table E-5.
fn matrix(code: u8) -> Matrix {
    match code {
        1 => Matrix::Bt709,
        5 | 6 => Matrix::Bt601,
        9 => Matrix::Bt2020,
        _ => Matrix::Unspecified,
    }
}
