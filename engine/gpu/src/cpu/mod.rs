//! The CPU as a device: the backend that every build carries.
//!
//! H.264 by openh264 (Cisco's, built from source into the binary), except that streams which are not 8-bit 4:2:0 are
//! decoded by rust_h264. Filters by [`kernels::reference`]. A surface is a [`Frame`] in host memory. Everything runs
//! on the thread that calls, so a session costs one core at most.

mod decode;
mod encode;
mod library;
mod model;
mod openh264_raw;
mod process;
mod wide;

use kernels::Frame;

use std::time::Duration;

use crate::backend::{Backend, Batching, Codec, Open, Unavailable, Usage};
use crate::decode::{Config as DecodeConfig, Decode};
use crate::encode::{Config as EncodeConfig, Encode};
use crate::fault::Fault;
use crate::probe::{Ability, Device};
use crate::process::Process;

const NAME: &str = "cpu";

/// The CPU backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;

impl Open for Cpu {
    type Backend = Self;

    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn open(&self) -> Result<Self, Unavailable> {
        Ok(*self)
    }
}

impl Backend for Cpu {
    type Surface = Frame;

    fn name(&self) -> String {
        format!("{NAME} ({}, {})", version(), notes())
    }

    /// One at a time: a core does nothing faster for having more of it at hand, and the first would wait for the last.
    fn batching(&self) -> Batching {
        Batching {
            units_max: 1,
            wait: Duration::ZERO,
        }
    }

    fn surface(&self) -> Result<Frame, Fault> {
        Ok(Frame::default())
    }

    fn decoder(
        &self,
        codec: Codec,
        config: DecodeConfig,
    ) -> Result<Box<dyn Decode<Frame>>, Unavailable> {
        match codec {
            Codec::H264 => Ok(Box::new(decode::Decoder::new(config)?)),
            _ => Err(no_codec(codec, "decoder")),
        }
    }

    fn processor(&self) -> Result<Box<dyn Process<Frame>>, Unavailable> {
        Ok(Box::new(process::Processor::default()))
    }

    fn encoder(
        &self,
        codec: Codec,
        config: EncodeConfig,
    ) -> Result<Box<dyn Encode<Frame>>, Unavailable> {
        match codec {
            Codec::H264 => Ok(Box::new(encode::Encoder::new(config)?)),
            _ => Err(no_codec(codec, "encoder")),
        }
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }
}

/// The CPU as a probe shows it.
pub(crate) fn device() -> Device {
    let ability = |side: usize, bits_max| Ability {
        codec: Codec::H264,
        width_max: side as u32,
        height_max: side as u32,
        bits_max,
    };
    Device {
        id: NAME.to_owned(),
        name: version().to_owned(),
        compute: None,
        memory_total_bytes: None,
        memory_free_bytes: None,
        decode: vec![ability(kernels::frame::DIMENSION_MAX, 10)],
        encode: vec![ability(encode::SIDES_MAX.0, 8)],
        decode_engines: None,
        encode_engines: None,
        trouble: None,
        notes: vec![notes().to_owned(), wide()],
    }
}

/// The codec library and its version, as the start-up report shows it.
pub fn version() -> &'static str {
    openh264_raw::VERSION
}

/// What reads the streams that [`version`] does not, as the start-up report shows it.
pub fn wide() -> String {
    format!("4:2:2, 4:0:0 and 10 bits by {}, slower", wide::VERSION)
}

/// What is worth knowing about the speed of this build, as the start-up report shows it.
pub fn notes() -> &'static str {
    if cfg!(openh264_assembly) {
        "built with assembly"
    } else {
        "built without assembly, so 1.7 times slower to decode and 2.4 times slower to encode: install nasm and build again"
    }
}

fn no_codec(codec: Codec, step: &'static str) -> Unavailable {
    Unavailable::Codec {
        backend: NAME,
        codec,
        step,
    }
}

fn refused(error: openh264::Error) -> Unavailable {
    Unavailable::Refused {
        backend: NAME,
        reason: error.to_string(),
    }
}
