//! Codecs on the CPU for pictures on the device: what is done on chips that have no engine for it.
//!
//! ```text
//!   unit -> CPU decoder -> Frame -> pinned -> copy -> Surface       the copy is put into the stream when the picture is collected
//!   Surface -> copy -> pinned -> Frame -> CPU encoder -> unit       the copy at submit; the wait for it and the encoder at collect
//! ```
//!
//! The CPU's part runs on the thread that calls, so a lane of such a backend is as fast as one core is at it. An H100, H200 or
//! A100 decodes by itself and encodes like this.

use std::collections::VecDeque;

use kernels::Frame;

use super::shared::Shared;
use super::staging::Download;
use super::surface::Surface;
use crate::backend::{Backend, Codec, Unavailable};
use crate::cpu::Cpu;
use crate::decode::{self, Decode, Decoded, Unit};
use crate::encode::{self, Encode, Encoded};

/// Pictures that an encoder may have submitted and not collected. A lane collects in the same turn.
const IN_FLIGHT_MAX: usize = 8;

/// A decoder on the CPU whose pictures go to the device.
struct HostDecoder {
    shared: Shared,
    cpu: Box<dyn Decode<Frame>>,
    /// Pictures on their way from the CPU's decoder; empty between calls.
    frames: Vec<Decoded<Frame>>,
}

/// An encoder on the CPU whose pictures come from the device.
struct HostEncoder {
    shared: Shared,
    cpu: Box<dyn Encode<Frame>>,
    submitted: VecDeque<Submitted>,
    frame: Frame,
    /// The picture before the next to be submitted was not encoded, so that one is a key picture.
    owes_key_at_submit: bool,
    /// The same of the next to be collected.
    owes_key: bool,
}

struct Submitted {
    download: Download,
    pts: i64,
    force_key: bool,
}

/// A decoder on the CPU.
///
/// # Errors
/// When the CPU has none for this codec.
pub(super) fn decoder(
    shared: &Shared,
    codec: Codec,
    config: decode::Config,
) -> Result<Box<dyn Decode<Surface>>, Unavailable> {
    Ok(Box::new(HostDecoder {
        shared: shared.clone(),
        cpu: Cpu.decoder(codec, config)?,
        frames: Vec::new(),
    }))
}

/// An encoder on the CPU.
///
/// # Errors
/// When the CPU has none for this codec.
pub(super) fn encoder(
    shared: &Shared,
    codec: Codec,
    config: encode::Config,
) -> Result<Box<dyn Encode<Surface>>, Unavailable> {
    Ok(Box::new(HostEncoder {
        shared: shared.clone(),
        cpu: Cpu.encoder(codec, config)?,
        submitted: VecDeque::new(),
        frame: Frame::default(),
        owes_key_at_submit: false,
        owes_key: false,
    }))
}

// === impl HostDecoder ===

impl HostDecoder {
    /// Sends the pictures that the CPU's decoder gave on to the device. After a fault the rest is dropped: the decoder cannot go
    /// on.
    fn send(&mut self, out: &mut Vec<Decoded<Surface>>) -> Result<(), decode::Error> {
        let mut outcome = Ok(());
        for picture in self.frames.drain(..) {
            let mut surface = self.shared.surface();
            if outcome.is_ok() {
                outcome = self.shared.upload(&picture.surface, &mut surface);
            }
            // The frame was copied to pinned memory, so the CPU may have it back.
            self.cpu.recycle(picture.surface);
            if outcome.is_ok() {
                out.push(Decoded {
                    surface,
                    pts: picture.pts,
                    width: picture.width,
                    height: picture.height,
                });
            }
        }
        Ok(outcome?)
    }
}

impl Decode<Surface> for HostDecoder {
    fn submit(&mut self, unit: Unit<'_>) -> Result<(), decode::Error> {
        self.cpu.submit(unit)
    }

    fn collect(&mut self, out: &mut Vec<Decoded<Surface>>) -> Result<(), decode::Error> {
        let collected = self.cpu.collect(&mut self.frames);
        self.send(out)?;
        collected
    }

    fn flush(&mut self, out: &mut Vec<Decoded<Surface>>) -> Result<(), decode::Error> {
        let flushed = self.cpu.flush(&mut self.frames);
        self.send(out)?;
        flushed
    }

    fn reset(&mut self) {
        self.cpu.reset();
    }

    /// It goes back to the pool of all.
    fn recycle(&mut self, surface: Surface) {
        drop(surface);
    }
}

// === impl HostEncoder ===

impl Encode<Surface> for HostEncoder {
    fn submit(
        &mut self,
        surface: &Surface,
        pts: i64,
        force_key: bool,
    ) -> Result<(), encode::Error> {
        let force_key = force_key || std::mem::replace(&mut self.owes_key_at_submit, true);
        let (width, height) = (surface.width(), surface.height());
        if surface.is_empty() {
            let why = "there is no picture";
            return Err(encode::Error::Size { width, height, why });
        }
        if self.submitted.len() >= IN_FLIGHT_MAX {
            return Err(encode::Error::Failed(format!(
                "{IN_FLIGHT_MAX} pictures were submitted and none collected"
            )));
        }
        let download = self.shared.download(surface)?;
        self.submitted.push_back(Submitted {
            download,
            pts,
            force_key,
        });
        self.owes_key_at_submit = false;
        Ok(())
    }

    fn collect(&mut self, out: &mut Vec<u8>) -> Result<Encoded, encode::Error> {
        let next = self.submitted.pop_front().expect("a picture was submitted");
        let force_key = next.force_key || std::mem::replace(&mut self.owes_key, true);
        next.download.into_frame(&mut self.frame)?;
        let encoded = self.cpu.encode(&self.frame, next.pts, force_key, out)?;
        self.owes_key = false;
        Ok(encoded)
    }
}
