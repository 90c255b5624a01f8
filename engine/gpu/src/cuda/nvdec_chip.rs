//! The chip's side of one stream: the decoder object, the pictures that it is at work on, and their way out.
//!
//! ```text
//!   decode callback: decode_picture(index)     pending: | 3 | 5 | 0 |      decoded, or being decoded
//!   collect:         await, map                held:    | m | m |          mapped; the copy out is in the stream
//!                    copy in the stream        ready:   | S | S | S |      surfaces of ours
//!   next collect:    the copy is done: unmap
//! ```
//!
//! Invariants worth naming:
//!
//! - At most [`IN_FLIGHT_MAX`] pictures are pending and [`OUTPUTS`] mapped. A picture is fetched before its slot is decoded into
//!   again, whenever the parser chooses to.
//! - Every map is unmapped, in order, after the copy out of it is done; before the decoder object goes, all are.
//! - Waits end: a picture is asked for its status until it is decoded or [`Ground::wait_max`] is over, and only then mapped.
//!   Mapping itself waits inside the driver, with no deadline, for what is not decoded yet. That is never so for H.264 and H.265;
//!   VP9 and AV1 have no status to ask for, and there nothing but the watchdog of the lane sees a chip that hangs. The same goes
//!   for `decode_picture`, which waits when many pictures are queued: the first bound is what keeps it from that.
//! - When the context is lost no handle is given back: see `context`.
//!
//! Device time: events around the copy measure post-processing alone. The engine has a clock of its own which no event reads; its
//! share of use is what NVML says.
#![allow(unsafe_code, reason = "the library is a C library")]

use std::collections::VecDeque;
use std::ffi::{c_int, c_short, c_void};
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use kernels::{Matrix, Range};
use nvidia_video_codec_sdk::sys::cuviddec::{
    CUVIDDECODECREATEINFO, CUVIDGETDECODESTATUS, CUVIDPICPARAMS, CUVIDPROCPARAMS, CUvideodecoder,
    cudaVideoChromaFormat, cudaVideoCreateFlags, cudaVideoDeinterlaceMode, cudaVideoSurfaceFormat,
};

use super::calls::Status;
use super::nvcuvid::{NOT_SUPPORTED, Nvcuvid, codec_type, decode_status};
use crate::backend::Codec;
use crate::check::{Limits, code};
use crate::decode::{Error, Feature};
use crate::fault::Fault;

/// Pictures that the chip may have before the oldest is fetched. Two keep an engine busy; a lane submits one a session at a time.
pub(super) const IN_FLIGHT_MAX: usize = 4;

/// Pictures that are mapped at once: one that is copied and one before it.
pub(super) const OUTPUTS: usize = 2;

/// Decode surfaces beyond those that the stream needs, so that the next picture need not wait for the last to be fetched.
const SURFACES_SPARE: u32 = 1;

/// Decode surfaces that a stream may need: 16 references, the current picture, and what parsers add.
const SURFACES_MAX: u32 = 24;

/// How long a status is asked for without sleeping, and how long a sleep is: a picture takes the chip one to some milliseconds.
const ASK: Duration = Duration::from_micros(20);
const SLEEP: Duration = Duration::from_micros(100);

/// What a decoder asks of the device beside its decoding engine.
pub(super) trait Ground {
    /// Where pictures go.
    type Surface: 'static;
    /// When a copy is done.
    type Mark;

    /// Makes the context current.
    fn enter(&self) -> Result<(), Fault>;
    /// What a status means.
    fn check(&self, call: &'static str, status: Status) -> Result<(), Fault>;
    /// Remembers a fault when it is a loss.
    fn note(&self, fault: Fault);
    fn is_lost(&self) -> bool;
    /// The stream that post-processing and copies are put into.
    fn stream(&self) -> *mut c_void;
    /// Puts a copy of a mapped picture into the stream.
    fn copy(&self, from: &Mapped) -> Result<(Self::Surface, Self::Mark), Fault>;
    /// Waits until a copy is done, with a deadline.
    fn wait(&self, mark: &Self::Mark) -> Result<(), Fault>;
    /// How long a picture may take.
    fn wait_max(&self) -> Duration;
    /// Bytes that went to the device.
    fn count(&self, bytes: u64);
}

/// A picture that is mapped, and what of it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    /// Of the first luma byte.
    pub(super) address: u64,
    /// Bytes from a row to the next, luma and chroma alike.
    pub(super) pitch: u32,
    /// Rows of luma before the chroma rows.
    pub(super) rows: u32,
    pub(super) look: Look,
}

/// How a picture is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) range: Range,
    pub(super) matrix: Matrix,
}

/// What the driver's parser says of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) chroma: u32,
    /// Of luma and of chroma.
    pub(super) depths: [u8; 2],
    pub(super) width: u32,
    pub(super) height: u32,
    /// Left, top, right and bottom of what is shown.
    pub(super) area: [i32; 4],
    /// Decode surfaces that the stream needs.
    pub(super) surfaces: u32,
    pub(super) full_range: bool,
    /// `matrix_coefficients`.
    pub(super) matrix: u8,
}

/// A picture that came out.
pub(super) struct Fetched<S> {
    pub(super) surface: S,
    pub(super) pts: i64,
    pub(super) key: bool,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// The unit that the parser is reading.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Current {
    pub(super) pts: i64,
    pub(super) key: bool,
    /// Pictures that it gave, decoded or shown, whichever the codec goes by.
    pub(super) pictures: u32,
}

pub(super) struct Chip<G: Ground> {
    api: &'static Nvcuvid,
    pub(super) ground: G,
    codec: Codec,
    limits: Limits,
    engine: Option<Engine>,
    look: Look,
    pub(super) current: Current,
    pending: VecDeque<Pending>,
    held: VecDeque<Held<G::Mark>>,
    pub(super) ready: Vec<Fetched<G::Surface>>,
    /// The first damage that was seen and not told.
    damage: Option<i32>,
    /// A damaged picture was dropped, and with it what is made from it, up to the next key picture.
    pub(super) skipping: bool,
    /// Whether this chip tells the status of this codec's pictures.
    has_status: bool,
}

struct Engine {
    raw: CUvideodecoder,
    shape: Shape,
}

/// What a decoder object is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    width: u32,
    height: u32,
    depth: u8,
    surfaces: u32,
}

#[derive(Clone, Copy)]
struct Pending {
    index: c_int,
    pts: i64,
    key: bool,
    look: Look,
}

struct Held<M> {
    address: u64,
    /// `None` when there was no copy.
    mark: Option<M>,
}

// === impl Chip ===

impl<G: Ground> Chip<G> {
    pub(super) fn new(api: &'static Nvcuvid, ground: G, codec: Codec, limits: Limits) -> Self {
        Self {
            api,
            ground,
            codec,
            limits,
            engine: None,
            look: Look::default(),
            current: Current::default(),
            pending: VecDeque::with_capacity(IN_FLIGHT_MAX),
            held: VecDeque::with_capacity(OUTPUTS),
            ready: Vec::new(),
            damage: None,
            skipping: false,
            has_status: true,
        }
    }

    /// Whether pictures come out in the order of the stream, to be put in order by us; else the parser says which is shown. A
    /// frame of VP9 or AV1 may be decoded and never shown, or shown twice, and those streams are in the order of the screen.
    pub(super) fn goes_by_decoding(&self) -> bool {
        matches!(self.codec, Codec::H264 | Codec::H265)
    }

    /// A sequence begins. Gives the number of decode surfaces.
    pub(super) fn sequence(&mut self, format: &Format) -> Result<u32, Error> {
        let shape = self.admit(format)?;
        let look = look(format);
        if self
            .engine
            .as_ref()
            .is_none_or(|engine| engine.shape != shape)
        {
            // What the old one decoded is fetched before it goes.
            while let Some(pending) = self.pending.pop_front() {
                self.fetch(pending)?;
            }
            self.close()?;
            self.engine = Some(self.create(shape)?);
        }
        self.look = look;
        Ok(shape.surfaces)
    }

    /// The parser has read a picture: hands it to the engine.
    ///
    /// # Safety
    /// `picture` is what the parser handed to its callback, and this is within that callback.
    pub(super) unsafe fn decode(&mut self, picture: *mut CUVIDPICPARAMS) -> Result<(), Error> {
        // SAFETY: the caller promises a structure that is whole; a field is copied out.
        let index = unsafe { (*picture).CurrPicIdx };
        // SAFETY: as above.
        let bytes = unsafe { (*picture).nBitstreamDataLen };
        let Some((raw, surfaces)) = self.engine.as_ref().map(|e| (e.raw, e.shape.surfaces)) else {
            return Err(damaged(code::MISSING));
        };
        if u32::try_from(index).map_or(true, |index| index >= surfaces) {
            return Err(damaged(code::RULE));
        }
        self.make_room(index)?;
        // SAFETY: the decoder object lives; the structure is the parser's own and goes through untouched.
        let status = unsafe { (self.api.decode_picture)(raw, picture) };
        self.ground.check("cuvidDecodePicture", status)?;
        self.ground.count(u64::from(bytes));
        if self.goes_by_decoding() {
            let (pts, key) = (self.current.pts, self.current.key);
            self.queue(index, pts, key)?;
        }
        Ok(())
    }

    /// The parser shows a picture.
    pub(super) fn show(&mut self, index: c_int, pts: i64) -> Result<(), Error> {
        let surfaces = self.engine.as_ref().map_or(0, |e| e.shape.surfaces);
        if u32::try_from(index).map_or(true, |index| index >= surfaces) {
            return Err(damaged(code::RULE));
        }
        self.make_room(-1)?;
        let key = self.current.key;
        self.queue(index, pts, key)
    }

    /// Fetches every pending picture.
    pub(super) fn collect(&mut self) -> Result<(), Error> {
        while let Some(pending) = self.pending.pop_front() {
            self.fetch(pending)?;
        }
        self.damage.take().map_or(Ok(()), |code| Err(damaged(code)))
    }

    /// Forgets what has not come out.
    pub(super) fn forget(&mut self) {
        self.pending.clear();
        self.ready.clear();
        self.damage = None;
        self.skipping = false;
    }

    fn queue(&mut self, index: c_int, pts: i64, key: bool) -> Result<(), Error> {
        self.current.pictures += 1;
        if self.current.pictures > 1 {
            // One unit, one picture: the second would have the first's time.
            return Err(damaged(code::RULE));
        }
        self.pending.push_back(Pending {
            index,
            pts,
            key,
            look: self.look,
        });
        Ok(())
    }

    /// Fetches pictures until the slot is free and one more may be pending.
    fn make_room(&mut self, index: c_int) -> Result<(), Fault> {
        while self.pending.len() >= IN_FLIGHT_MAX || self.pending.iter().any(|p| p.index == index) {
            let Some(pending) = self.pending.pop_front() else {
                break;
            };
            self.fetch(pending)?;
        }
        Ok(())
    }

    /// Brings one picture out. A damaged one is noted and dropped.
    fn fetch(&mut self, pending: Pending) -> Result<(), Fault> {
        if self.skipping && !pending.key {
            return Ok(());
        }
        let Some(engine) = &self.engine else {
            return Ok(());
        };
        let (raw, shape) = (engine.raw, engine.shape);
        let known = self.await_decoded(raw, pending.index)?;
        if !self.is_whole(known) {
            return Ok(());
        }
        self.release(OUTPUTS - 1)?;
        let (address, pitch) = self.map(raw, pending.index)?;
        self.held.push_back(Held {
            address,
            mark: None,
        });
        if known == Some(decode_status::INVALID) {
            // Mapping has waited for it: now it is known.
            let known = self.status(raw, pending.index)?;
            if !self.is_whole(known) {
                return Ok(());
            }
        }
        let mapped = Mapped {
            address,
            pitch,
            rows: shape.target().1,
            look: pending.look,
        };
        let (surface, mark) = self.ground.copy(&mapped)?;
        if let Some(held) = self.held.back_mut() {
            held.mark = Some(mark);
        }
        self.skipping = false;
        self.ready.push(Fetched {
            surface,
            pts: pending.pts,
            key: pending.key,
            width: pending.look.width as usize,
            height: pending.look.height as usize,
        });
        Ok(())
    }

    /// Whether a picture is good as far as is known; what follows one that is not is skipped.
    fn is_whole(&mut self, known: Option<u32>) -> bool {
        match known {
            Some(status) if status >= decode_status::ERROR => {
                self.damage.get_or_insert(status as i32);
                self.skipping = true;
                false
            }
            _ => true,
        }
    }

    /// Asks for a picture's status until it is decoded. `None` where there is no status.
    fn await_decoded(&mut self, raw: CUvideodecoder, index: c_int) -> Result<Option<u32>, Fault> {
        let (since, limit) = (Instant::now(), self.ground.wait_max());
        loop {
            let known = self.status(raw, index)?;
            if known != Some(decode_status::IN_PROGRESS) {
                return Ok(known);
            }
            let waited = since.elapsed();
            if waited >= limit {
                let fault = Fault::Stuck {
                    call: "NVDEC",
                    waited_ms: u32::try_from(waited.as_millis()).unwrap_or(u32::MAX),
                };
                self.ground.note(fault);
                return Err(fault);
            }
            if waited < ASK {
                std::hint::spin_loop();
            } else {
                std::thread::sleep(SLEEP);
            }
        }
    }

    fn status(&mut self, raw: CUvideodecoder, index: c_int) -> Result<Option<u32>, Fault> {
        if !self.has_status {
            return Ok(None);
        }
        let mut status = MaybeUninit::<CUVIDGETDECODESTATUS>::zeroed();
        // SAFETY: the decoder object lives, the index is below its number of surfaces, and it writes one structure.
        match unsafe { (self.api.get_decode_status)(raw, index, status.as_mut_ptr()) } {
            NOT_SUPPORTED => {
                self.has_status = false;
                return Ok(None);
            }
            asked => self.ground.check("cuvidGetDecodeStatus", asked)?,
        }
        // SAFETY: all of it was written, as zeros at least; the enum comes first and is read as the unsigned int that it is.
        Ok(Some(unsafe { status.as_ptr().cast::<u32>().read() }))
    }

    fn map(&self, raw: CUvideodecoder, index: c_int) -> Result<(u64, u32), Fault> {
        let mut how = CUVIDPROCPARAMS {
            progressive_frame: 1,
            output_stream: self.ground.stream().cast(),
            ..CUVIDPROCPARAMS::default()
        };
        let (mut address, mut pitch) = (0, 0);
        // SAFETY: the decoder object lives, the index is below its number of surfaces, fewer than `ulNumOutputSurfaces` are
        // mapped, the stream is of the same context, and it writes two numbers to places that are those.
        let mapped =
            unsafe { (self.api.map_video_frame)(raw, index, &mut address, &mut pitch, &mut how) };
        self.ground.check("cuvidMapVideoFrame64", mapped)?;
        Ok((address, pitch))
    }

    /// Unmaps the oldest until no more than so many are mapped, each when its copy is done.
    fn release(&mut self, left: usize) -> Result<(), Fault> {
        while self.held.len() > left {
            let (Some(held), Some(engine)) = (self.held.front(), &self.engine) else {
                return Ok(());
            };
            if let Some(mark) = &held.mark {
                self.ground.wait(mark)?;
            }
            let address = held.address;
            // SAFETY: the decoder object lives, the address came from mapping it, and this is its only unmapping.
            let status = unsafe { (self.api.unmap_video_frame)(engine.raw, address) };
            self.held.pop_front();
            self.ground.check("cuvidUnmapVideoFrame64", status)?;
        }
        Ok(())
    }

    /// Destroys the decoder object, when there is one.
    fn close(&mut self) -> Result<(), Fault> {
        let released = self.release(0);
        let Some(engine) = self.engine.take() else {
            return released;
        };
        self.held.clear();
        if self.ground.is_lost() {
            return released;
        }
        // SAFETY: the handle came from cuvidCreateDecoder and this is its only end; nothing of it is mapped but what failed to
        // unmap, and that address is not used again.
        let status = unsafe { (self.api.destroy_decoder)(engine.raw) };
        released.and(self.ground.check("cuvidDestroyDecoder", status))
    }

    /// What the chip and the limits have to say about a sequence.
    fn admit(&self, format: &Format) -> Result<Shape, Error> {
        let depth = format.depths[0].max(format.depths[1]);
        if format.chroma != 1 {
            let chroma = u8::try_from(format.chroma).unwrap_or(u8::MAX);
            return Err(Error::Unsupported(Feature::Chroma(chroma)));
        }
        if format.depths[0] != format.depths[1] || depth > self.limits.bits_max {
            return Err(Error::Unsupported(Feature::BitDepth(depth)));
        }
        let (width, height) = (format.width as usize, format.height as usize);
        let most = |side: usize| side.next_multiple_of(64);
        if width > most(self.limits.width_max) || height > most(self.limits.height_max) {
            return Err(Error::TooLarge { width, height });
        }
        let caps = match self.api.caps(self.codec, depth) {
            Ok(caps) => caps,
            Err(status) => {
                self.ground.check("cuvidGetDecoderCaps", status)?;
                return Err(damaged(code::RULE));
            }
        };
        if !caps.is_supported {
            return Err(Error::Unsupported(Feature::Codec(self.codec)));
        }
        if !caps.gives_nv12 {
            return Err(Error::Unsupported(Feature::BitDepth(depth)));
        }
        let macroblocks = u64::from(format.width) * u64::from(format.height) / 256;
        if format.width > caps.width.1
            || format.height > caps.height.1
            || macroblocks > u64::from(caps.macroblocks_max)
        {
            return Err(Error::TooLarge { width, height });
        }
        if format.width < caps.width.0 || format.height < caps.height.0 {
            return Err(Error::Device(Fault::Failed {
                call: "NVDEC",
                name: "pictures smaller than the chip decodes",
            }));
        }
        let [left, top, right, bottom] = format.area;
        let inside = 0 <= left
            && left < right
            && 0 <= top
            && top < bottom
            && i64::from(right) <= i64::from(format.width)
            && i64::from(bottom) <= i64::from(format.height);
        if !inside || format.surfaces == 0 || format.surfaces > SURFACES_MAX {
            return Err(damaged(code::RULE));
        }
        Ok(Shape {
            width: format.width,
            height: format.height,
            depth,
            surfaces: format.surfaces + SURFACES_SPARE,
        })
    }

    fn create(&self, shape: Shape) -> Result<Engine, Fault> {
        let mut how = create_info(self.codec, shape);
        let mut raw: CUvideodecoder = std::ptr::null_mut();
        // SAFETY: it reads one structure and writes one handle, to places that are those.
        let status = unsafe { (self.api.create_decoder)(&mut raw, &mut how) };
        self.ground.check("cuvidCreateDecoder", status)?;
        Ok(Engine { raw, shape })
    }
}

impl<G: Ground> Drop for Chip<G> {
    fn drop(&mut self) {
        if self.ground.is_lost() || self.ground.enter().is_err() {
            return;
        }
        // There is nobody to tell; whoever calls the device next is told.
        let _ = self.close();
    }
}

// === impl Shape ===

impl Shape {
    /// What the chip gives: the coded picture, each side even.
    fn target(self) -> (u32, u32) {
        (
            self.width.next_multiple_of(2),
            self.height.next_multiple_of(2),
        )
    }
}

/// A decoder object for whole coded pictures as 8-bit NV12. Cropping is the copy's, which costs nothing; scaling is nobody's.
fn create_info(codec: Codec, shape: Shape) -> CUVIDDECODECREATEINFO {
    let (target_width, target_height) = shape.target();
    let mut info = CUVIDDECODECREATEINFO {
        ulWidth: shape.width.into(),
        ulHeight: shape.height.into(),
        ulMaxWidth: shape.width.into(),
        ulMaxHeight: shape.height.into(),
        ulNumDecodeSurfaces: shape.surfaces.into(),
        CodecType: codec_type(codec),
        ChromaFormat: cudaVideoChromaFormat::cudaVideoChromaFormat_420,
        ulCreationFlags: cudaVideoCreateFlags::cudaVideoCreate_PreferCUVID as u64,
        bitDepthMinus8: u64::from(shape.depth - 8),
        OutputFormat: cudaVideoSurfaceFormat::cudaVideoSurfaceFormat_NV12,
        DeinterlaceMode: cudaVideoDeinterlaceMode::cudaVideoDeinterlaceMode_Weave,
        ulTargetWidth: target_width.into(),
        ulTargetHeight: target_height.into(),
        ulNumOutputSurfaces: OUTPUTS as u64,
        ..CUVIDDECODECREATEINFO::default()
    };
    // The chip's sides are below 2^15.
    info.display_area.right = c_short::try_from(shape.width).unwrap_or(c_short::MAX);
    info.display_area.bottom = c_short::try_from(shape.height).unwrap_or(c_short::MAX);
    info
}

/// What is shown of pictures of a format whose area lies inside.
fn look(format: &Format) -> Look {
    let [left, top, right, bottom] = format.area.map(|side| side.max(0) as u32);
    Look {
        left,
        top,
        width: right - left,
        height: bottom - top,
        range: if format.full_range {
            Range::Full
        } else {
            Range::Limited
        },
        matrix: matrix(format.matrix),
    }
}

/// ITU-T H.273 table 4, where all four codecs take it from.
fn matrix(code: u8) -> Matrix {
    match code {
        1 => Matrix::Bt709,
        5 | 6 => Matrix::Bt601,
        9 => Matrix::Bt2020,
        _ => Matrix::Unspecified,
    }
}

pub(super) fn damaged(code: i32) -> Error {
    Error::Damaged { code }
}
