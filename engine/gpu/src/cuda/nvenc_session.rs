//! One encoding session: its handle, its ring of inputs and outputs, and what is in flight.
//!
//! ```text
//!   submit:   surface --copy, cropped--> input k --register once, map--> encode --> output k
//!   collect:  lock output k: is it done? then the bytes, unlock, unmap input k           k = 0, 1, 2, 3, 0 ...
//! ```
//!
//! A picture is copied into an input of the session's own, one copy within the device. The surface is then free at once, and only
//! [`SLOTS`] addresses are ever registered, whatever the pool hands out.
//!
//! Order is the stream's: the session is told to take its input after what is in the backend's stream (`nvEncSetIOCudaStreams`), so
//! the copy needs no waiting for. An input is written again only after its output was locked.
//!
//! Waits end: an output is first locked without waiting, again and again until it is done or [`Ground::wait_max`] is over. Since the
//! header also says that such a lock may be given before the work is complete, it is then locked once more with waiting, which has
//! nothing left to wait for.
//!
//! When the context is lost no handle is given back: see `context`.
#![allow(unsafe_code, reason = "the library is a C library")]

use std::collections::VecDeque;
use std::ffi::{CStr, c_int, c_void};
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use nvidia_video_codec_sdk::sys::nvEncodeAPI as sys;

use super::nvenc_api::{Code, Nvenc, code, fault, session_fault};
use super::nvenc_config::{PRESET, Shape, TUNING, blank_preset, configure, initialize};
use crate::backend::Codec;
use crate::encode::Config;
use crate::fault::Fault;

/// Inputs and outputs of a session: the least that the header asks for without B pictures.
pub(super) const SLOTS: usize = 4;

/// How long the first sleep between two locks is, and the longest.
const SLEEP_MIN: Duration = Duration::from_micros(50);
const SLEEP_MAX: Duration = Duration::from_micros(500);

/// What an encoder asks of the device beside its encoding engine.
pub(super) trait Ground: Clone {
    /// Where pictures come from.
    type Surface: 'static;
    /// An input: one NV12 picture in device memory, its chroma rows right behind its luma rows.
    type Input;

    /// Makes the context current.
    fn enter(&self) -> Result<(), Fault>;
    /// The context, as the library takes it.
    fn device(&self) -> *mut c_void;
    /// The stream that copies are put into.
    fn stream(&self) -> *mut c_void;
    /// The fault, or the loss of the context that is behind it.
    fn told(&self, fault: Fault) -> Fault;
    fn is_lost(&self) -> bool;
    fn wait_max(&self) -> Duration;
    /// The shape of a picture as it is encoded; `None` when there is no picture.
    fn shape(&self, surface: &Self::Surface) -> Option<Shape>;
    fn input(&self, shape: Shape) -> Result<Self::Input, Fault>;
    /// Address and pitch of an input.
    fn place(&self, input: &Self::Input) -> (u64, u32);
    /// Puts a copy of the picture into the stream.
    fn copy(&self, from: &Self::Surface, to: &Self::Input, shape: Shape) -> Result<(), Fault>;
    /// Bytes that came from the device.
    fn count(&self, bytes: u64);
}

/// Bytes of one picture, and whether decoding can start with it.
pub(super) struct Coded {
    pub(super) bytes: Vec<u8>,
    pub(super) key: bool,
}

/// What the chip says of one codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) width: (u32, u32),
    pub(super) height: (u32, u32),
}

/// A handle of the library, open on a device.
pub(super) struct Session<G: Ground> {
    api: &'static Nvenc,
    ground: G,
    raw: *mut c_void,
}

/// A session that encodes pictures of one shape.
pub(super) struct Running<G: Ground> {
    session: Session<G>,
    pub(super) shape: Shape,
    slots: Vec<Slot<G::Input>>,
    /// Numbers of pictures so far.
    submitted: usize,
    in_flight: VecDeque<InFlight>,
    /// The library keeps its address.
    _stream: Box<*mut c_void>,
}

struct Slot<I> {
    input: I,
    registered: *mut c_void,
    output: *mut c_void,
}

struct InFlight {
    slot: usize,
    mapped: *mut c_void,
}

// === impl Session ===

impl<G: Ground> Session<G> {
    pub(super) fn open(api: &'static Nvenc, ground: &G) -> Result<Self, Fault> {
        let mut how = sys::NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS {
            version: sys::NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS_VER,
            deviceType: sys::NV_ENC_DEVICE_TYPE::NV_ENC_DEVICE_TYPE_CUDA,
            device: ground.device(),
            apiVersion: sys::NVENCAPI_VERSION,
            ..Default::default()
        };
        let mut raw = std::ptr::null_mut();
        // SAFETY: it reads one structure and writes one handle; the context lives as long as the ground.
        let status = unsafe { (api.open_session)(&mut how, &mut raw) };
        // From here on a handle goes back even when opening failed, as the header asks.
        let session = Self {
            api,
            ground: ground.clone(),
            raw,
        };
        match status {
            code::SUCCESS if !session.raw.is_null() => Ok(session),
            code::SUCCESS => Err(session_fault(code::NO_ENCODE_DEVICE)),
            other => Err(ground.told(session_fault(other))),
        }
    }

    /// The codecs that the chip encodes.
    pub(super) fn codecs(&self) -> Result<Vec<sys::GUID>, Fault> {
        /// More than there are codecs.
        const CODECS_MAX: u32 = 64;
        let mut count = 0;
        // SAFETY: the handle lives, and it writes one number.
        let asked = unsafe { (self.api.guid_count)(self.raw, &mut count) };
        self.check("nvEncGetEncodeGUIDCount", asked)?;
        let mut guids = vec![sys::GUID::default(); count.min(CODECS_MAX) as usize];
        if guids.is_empty() {
            return Ok(guids);
        }
        let mut given = 0;
        // SAFETY: the handle lives, and it writes at most as many as there is room for.
        let asked = unsafe {
            (self.api.guids)(self.raw, guids.as_mut_ptr(), guids.len() as u32, &mut given)
        };
        self.check("nvEncGetEncodeGUIDs", asked)?;
        guids.truncate(given as usize);
        Ok(guids)
    }

    pub(super) fn sizes(&self, codec: sys::GUID) -> Result<Sizes, Fault> {
        let ask = |which| self.capability(codec, which);
        Ok(Sizes {
            width: (
                ask(sys::NV_ENC_CAPS::NV_ENC_CAPS_WIDTH_MIN)?,
                ask(sys::NV_ENC_CAPS::NV_ENC_CAPS_WIDTH_MAX)?,
            ),
            height: (
                ask(sys::NV_ENC_CAPS::NV_ENC_CAPS_HEIGHT_MIN)?,
                ask(sys::NV_ENC_CAPS::NV_ENC_CAPS_HEIGHT_MAX)?,
            ),
        })
    }

    fn capability(&self, codec: sys::GUID, which: sys::NV_ENC_CAPS) -> Result<u32, Fault> {
        let mut how = sys::NV_ENC_CAPS_PARAM {
            version: sys::NV_ENC_CAPS_PARAM_VER,
            capsToQuery: which,
            reserved: [0; 62],
        };
        let mut value: c_int = 0;
        // SAFETY: the handle lives; it reads one structure and writes one number.
        let asked = unsafe { (self.api.caps)(self.raw, codec, &mut how, &mut value) };
        self.check("nvEncGetEncodeCaps", asked)?;
        Ok(value.max(0) as u32)
    }

    /// Starts encoding pictures of a shape.
    pub(super) fn start(
        self,
        codec: Codec,
        guid: sys::GUID,
        config: &Config,
        shape: Shape,
    ) -> Result<Running<G>, Fault> {
        let mut preset = blank_preset();
        // SAFETY: the handle lives, and it fills one structure of the version that it says.
        let asked =
            unsafe { (self.api.preset)(self.raw, guid, PRESET, TUNING, preset.as_mut_ptr()) };
        self.check("nvEncGetEncodePresetConfigEx", asked)?;
        let mut stream_config = configure(preset, codec, config, shape);
        let mut how = initialize(guid, config, shape, &mut stream_config);
        // SAFETY: the handle lives; the structure and the one behind it live until it returns.
        let asked = unsafe { (self.api.initialize)(self.raw, &mut how) };
        self.check("nvEncInitializeEncoder", asked)?;
        // The library takes the address of a stream's handle, and keeps it.
        let mut stream = Box::new(self.ground.stream());
        let at: *mut c_void = (&raw mut *stream).cast();
        // SAFETY: the handle lives; the address is good until the session is destroyed, as `Running` drops it last.
        let asked = unsafe { (self.api.set_streams)(self.raw, at, at) };
        self.check("nvEncSetIOCudaStreams", asked)?;
        let mut running = Running {
            session: self,
            shape,
            slots: Vec::with_capacity(SLOTS),
            submitted: 0,
            in_flight: VecDeque::with_capacity(SLOTS),
            _stream: stream,
        };
        for _ in 0..SLOTS {
            running.add_slot()?;
        }
        Ok(running)
    }

    fn check(&self, call: &'static str, status: Code) -> Result<(), Fault> {
        match status {
            code::SUCCESS => Ok(()),
            other => Err(self.ground.told(fault(call, other))),
        }
    }

    /// What the library says about the last failure, beside its status.
    pub(super) fn words(&self) -> String {
        // SAFETY: the handle lives.
        let text = unsafe { (self.api.last_error)(self.raw) };
        if text.is_null() {
            return String::new();
        }
        // SAFETY: the header calls it a null-terminated string, which is copied before the next call.
        let text = unsafe { CStr::from_ptr(text) };
        text.to_string_lossy().chars().take(200).collect()
    }
}

impl<G: Ground> Drop for Session<G> {
    fn drop(&mut self) {
        if self.raw.is_null() || self.ground.is_lost() || self.ground.enter().is_err() {
            return;
        }
        // SAFETY: the handle came from opening and this is its only end; what was made of it is gone (`Running`).
        let _ = unsafe { (self.api.destroy_encoder)(self.raw) };
    }
}

// === impl Running ===

impl<G: Ground> Running<G> {
    pub(super) fn words(&self) -> String {
        self.session.words()
    }

    pub(super) fn is_full(&self) -> bool {
        self.in_flight.len() >= SLOTS
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Hands a picture of this shape over. There is a free slot.
    pub(super) fn submit(
        &mut self,
        surface: &G::Surface,
        pts: i64,
        key: bool,
    ) -> Result<(), Fault> {
        let at = self.submitted % SLOTS;
        let (raw, api) = (self.session.raw, self.session.api);
        let slot = &self.slots[at];
        self.session.ground.copy(surface, &slot.input, self.shape)?;
        let mut how = MaybeUninit::new(sys::NV_ENC_MAP_INPUT_RESOURCE {
            version: sys::NV_ENC_MAP_INPUT_RESOURCE_VER,
            registeredResource: slot.registered,
            ..Default::default()
        });
        // SAFETY: the handle and the registration live; it fills one structure in place.
        let asked = unsafe { (api.map_input)(raw, how.as_mut_ptr()) };
        self.session.check("nvEncMapInputResource", asked)?;
        // SAFETY: the field was written by us or by the library; the enum beside it is not read.
        let mapped = unsafe { (*how.as_ptr()).mappedResource };
        let mut picture = self.picture(at, mapped, pts, key);
        let limit = self.session.ground.wait_max();
        let encoded = poll("nvEncEncodePicture", limit, code::ENCODER_BUSY, || {
            // SAFETY: the handle, the mapped input and the output live, and the output is neither in flight nor locked.
            unsafe { (api.encode_picture)(raw, &mut picture) }
        });
        let checked = encoded
            .map_err(|fault| self.session.ground.told(fault))
            .and_then(|status| self.session.check("nvEncEncodePicture", status));
        if let Err(fault) = checked {
            // It is in no output, so nothing is to be waited for.
            if !self.session.ground.is_lost() {
                let _ = self.unmap(mapped);
            }
            return Err(fault);
        }
        self.in_flight.push_back(InFlight { slot: at, mapped });
        self.submitted += 1;
        Ok(())
    }

    fn picture(
        &self,
        slot: usize,
        mapped: *mut c_void,
        pts: i64,
        key: bool,
    ) -> sys::NV_ENC_PIC_PARAMS {
        let mut picture = MaybeUninit::<sys::NV_ENC_PIC_PARAMS>::zeroed();
        let frame = sys::NV_ENC_PIC_STRUCT::NV_ENC_PIC_STRUCT_FRAME;
        // SAFETY: a value is written to a field of memory that is ours.
        unsafe { (*picture.as_mut_ptr()).pictureStruct = frame };
        // SAFETY: zeros are values of every other field.
        let mut picture = unsafe { picture.assume_init() };
        picture.version = sys::NV_ENC_PIC_PARAMS_VER;
        picture.inputWidth = self.shape.width as u32;
        picture.inputHeight = self.shape.height as u32;
        picture.inputPitch = self.session.ground.place(&self.slots[slot].input).1;
        picture.inputBuffer = mapped;
        picture.outputBitstream = self.slots[slot].output;
        picture.bufferFmt = sys::NV_ENC_BUFFER_FORMAT::NV_ENC_BUFFER_FORMAT_NV12;
        picture.frameIdx = self.submitted as u32;
        picture.inputTimeStamp = pts.max(0) as u64;
        if key {
            picture.encodePicFlags = sys::NV_ENC_PIC_FLAGS::NV_ENC_PIC_FLAG_FORCEIDR as u32
                | sys::NV_ENC_PIC_FLAGS::NV_ENC_PIC_FLAG_OUTPUT_SPSPPS as u32;
        }
        picture
    }

    /// Waits for the oldest picture in flight. There is one.
    pub(super) fn collect(&mut self) -> Result<Coded, Fault> {
        let Some(flight) = self.in_flight.front() else {
            return Err(Fault::Failed {
                call: "nvEncLockBitstream",
                name: "nothing is in flight",
            });
        };
        let output = self.slots[flight.slot].output;
        let limit = self.session.ground.wait_max();
        // Whether it is done, and then, with nothing left to wait for, what it is.
        let asked = poll("NVENC", limit, code::LOCK_BUSY, || {
            self.lock(output, true).0
        })
        .map_err(|fault| self.session.ground.told(fault))?;
        self.session.check("nvEncLockBitstream", asked)?;
        self.unlock(output)?;
        let (asked, locked) = self.lock(output, false);
        self.session.check("nvEncLockBitstream", asked)?;
        let coded = read(&locked);
        self.unlock(output)?;
        self.land()?;
        self.session.ground.count(coded.bytes.len() as u64);
        Ok(coded)
    }

    fn lock(
        &self,
        output: *mut c_void,
        do_not_wait: bool,
    ) -> (Code, MaybeUninit<sys::NV_ENC_LOCK_BITSTREAM>) {
        let mut how = MaybeUninit::<sys::NV_ENC_LOCK_BITSTREAM>::zeroed();
        let at = how.as_mut_ptr();
        // SAFETY: a number is written to a field of memory that is ours.
        unsafe { (*at).version = sys::NV_ENC_LOCK_BITSTREAM_VER };
        // SAFETY: as above.
        unsafe { (*at).outputBitstream = output };
        let flags = sys::_NV_ENC_LOCK_BITSTREAM::new_bitfield_1(u32::from(do_not_wait), 0, 0, 0);
        // SAFETY: as above.
        unsafe { (*at)._bitfield_1 = flags };
        // SAFETY: the handle and the output live, and it fills one structure in place.
        let status = unsafe { (self.session.api.lock_output)(self.session.raw, at) };
        (status, how)
    }

    fn unlock(&self, output: *mut c_void) -> Result<(), Fault> {
        // SAFETY: the handle and the output live, and it is locked.
        let asked = unsafe { (self.session.api.unlock_output)(self.session.raw, output) };
        self.session.check("nvEncUnlockBitstream", asked)
    }

    /// The oldest picture is no longer in flight.
    fn land(&mut self) -> Result<(), Fault> {
        match self.in_flight.pop_front() {
            Some(flight) => self.unmap(flight.mapped),
            None => Ok(()),
        }
    }

    fn unmap(&self, mapped: *mut c_void) -> Result<(), Fault> {
        // SAFETY: the handle lives, the input was mapped, its picture is encoded or failed to be, and this is its only
        // unmapping.
        let asked = unsafe { (self.session.api.unmap_input)(self.session.raw, mapped) };
        self.session.check("nvEncUnmapInputResource", asked)
    }

    fn add_slot(&mut self) -> Result<(), Fault> {
        let (raw, api) = (self.session.raw, self.session.api);
        let input = self.session.ground.input(self.shape)?;
        let (address, pitch) = self.session.ground.place(&input);
        let mut how = sys::NV_ENC_REGISTER_RESOURCE {
            version: sys::NV_ENC_REGISTER_RESOURCE_VER,
            resourceType: sys::NV_ENC_INPUT_RESOURCE_TYPE::NV_ENC_INPUT_RESOURCE_TYPE_CUDADEVICEPTR,
            width: self.shape.width as u32,
            height: self.shape.height as u32,
            pitch,
            resourceToRegister: std::ptr::without_provenance_mut(address as usize),
            bufferFormat: sys::NV_ENC_BUFFER_FORMAT::NV_ENC_BUFFER_FORMAT_NV12,
            bufferUsage: sys::NV_ENC_BUFFER_USAGE::NV_ENC_INPUT_IMAGE,
            ..Default::default()
        };
        // SAFETY: the handle lives; the address is a device picture of this size that lives until it is unregistered.
        let asked = unsafe { (api.register)(raw, &mut how) };
        self.session.check("nvEncRegisterResource", asked)?;
        let registered = how.registeredResource;
        let mut how = sys::NV_ENC_CREATE_BITSTREAM_BUFFER {
            version: sys::NV_ENC_CREATE_BITSTREAM_BUFFER_VER,
            ..Default::default()
        };
        // SAFETY: the handle lives, and it fills one structure in place.
        let asked = unsafe { (api.create_output)(raw, &mut how) };
        let output = match asked {
            code::SUCCESS => how.bitstreamBuffer,
            _ => std::ptr::null_mut(),
        };
        // Kept even so: what is registered is given back.
        self.slots.push(Slot {
            input,
            registered,
            output,
        });
        self.session.check("nvEncCreateBitstreamBuffer", asked)
    }

    /// Tells the engine that no more comes, so that it is done with every input.
    fn end(&mut self) {
        let mut picture = MaybeUninit::<sys::NV_ENC_PIC_PARAMS>::zeroed();
        let frame = sys::NV_ENC_PIC_STRUCT::NV_ENC_PIC_STRUCT_FRAME;
        // SAFETY: a value is written to a field of memory that is ours.
        unsafe { (*picture.as_mut_ptr()).pictureStruct = frame };
        // SAFETY: zeros are values of every other field.
        let mut picture = unsafe { picture.assume_init() };
        picture.version = sys::NV_ENC_PIC_PARAMS_VER;
        picture.encodePicFlags = sys::NV_ENC_PIC_FLAGS::NV_ENC_PIC_FLAG_EOS as u32;
        // SAFETY: the handle lives, and such a picture has neither input nor output.
        let _ = unsafe { (self.session.api.encode_picture)(self.session.raw, &mut picture) };
    }
}

impl<G: Ground> Drop for Running<G> {
    fn drop(&mut self) {
        let ground = &self.session.ground;
        if ground.is_lost() || ground.enter().is_err() {
            return;
        }
        // Errors have nobody to be told to; whoever calls the device next is told.
        while !self.in_flight.is_empty() {
            // Locking waits until the engine is done with the input, which another picture may be written to afterwards.
            let left = self.in_flight.len();
            if self.collect().is_err() && self.in_flight.len() == left {
                let _ = self.land();
            }
            if self.session.ground.is_lost() {
                return;
            }
        }
        self.end();
        let (raw, api) = (self.session.raw, self.session.api);
        for slot in self.slots.drain(..) {
            if !slot.output.is_null() {
                // SAFETY: the output was created on this handle, and this is its only end.
                let _ = unsafe { (api.destroy_output)(raw, slot.output) };
            }
            // SAFETY: the input was registered on this handle and is not mapped, and this is its only end.
            let _ = unsafe { (api.unregister)(raw, slot.registered) };
            drop(slot.input);
        }
    }
}

/// Copies what is locked.
fn read(locked: &MaybeUninit<sys::NV_ENC_LOCK_BITSTREAM>) -> Coded {
    const IDR: u32 = sys::NV_ENC_PIC_TYPE::NV_ENC_PIC_TYPE_IDR as u32;
    let at = locked.as_ptr();
    // SAFETY: the structure was zeroed and then filled; one number is read.
    let len = unsafe { (*at).bitstreamSizeInBytes } as usize;
    // SAFETY: as above.
    let base = unsafe { (*at).bitstreamBufferPtr }.cast::<u8>();
    // SAFETY: as above; the enum is read as the unsigned int that it is, and only its place is taken.
    let kind = unsafe { &raw const (*at).pictureType };
    // SAFETY: as above.
    let kind = unsafe { kind.cast::<u32>().read() };
    let bytes = if base.is_null() || len == 0 {
        Vec::new()
    } else {
        // SAFETY: the library says that so many bytes are there, until the output is unlocked.
        unsafe { std::slice::from_raw_parts(base, len) }.to_vec()
    };
    Coded {
        bytes,
        key: kind == IDR,
    }
}

/// Asks again and again while the answer is that it is busy, with sleeps that grow, until `limit` is over.
fn poll(
    what: &'static str,
    limit: Duration,
    busy: Code,
    mut ask: impl FnMut() -> Code,
) -> Result<Code, Fault> {
    let since = Instant::now();
    let mut sleep = SLEEP_MIN;
    loop {
        let status = ask();
        if status != busy {
            return Ok(status);
        }
        let waited = since.elapsed();
        if waited >= limit {
            return Err(Fault::Stuck {
                call: what,
                waited_ms: u32::try_from(waited.as_millis()).unwrap_or(u32::MAX),
            });
        }
        std::thread::sleep(sleep);
        sleep = (2 * sleep).min(SLEEP_MAX);
    }
}
