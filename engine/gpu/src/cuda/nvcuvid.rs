//! NVDEC's library, `libnvcuvid.so.1`, found at run time.
//!
//! The types are those of NVIDIA's headers as `nvidia-video-codec-sdk` has them; nothing of that crate is called. As in `calls`, a
//! status is a number and not a Rust enum, for a newer driver may have more of them than any header; and what the driver writes
//! into an enum's place is read as the number that it is.
#![allow(unsafe_code, reason = "the library is a C library")]

use std::ffi::{c_int, c_uint, c_ulonglong};
use std::sync::OnceLock;

use nvidia_video_codec_sdk::sys::cuviddec::{
    CUVIDDECODECAPS, CUVIDDECODECREATEINFO, CUVIDGETDECODESTATUS, CUVIDPICPARAMS, CUVIDPROCPARAMS,
    CUvideodecoder, cudaVideoChromaFormat, cudaVideoCodec,
};
use nvidia_video_codec_sdk::sys::nvcuvid::{
    CUVIDPARSERPARAMS, CUVIDSOURCEDATAPACKET, CUvideoparser,
};

use super::calls::Status;
use crate::backend::Codec;

/// The library's name, as the loader looks for it.
const LIBRARY: &str = "libnvcuvid.so.1";

/// A status that says that this chip or codec has no decode status (`CUDA_ERROR_NOT_SUPPORTED`).
pub(super) const NOT_SUPPORTED: Status = 801;

/// What `cuvidGetDecodeStatus` gives. 2 is success, and values between that and an error are reserved.
pub(super) mod decode_status {
    /// Nothing is known of this picture.
    pub(crate) const INVALID: u32 = 0;
    pub(crate) const IN_PROGRESS: u32 = 1;
    /// This and above: the picture is damaged, concealed or not.
    pub(crate) const ERROR: u32 = 8;
}

macro_rules! calls {
    ($($field:ident = $symbol:literal($($argument:ty),*);)*) => {
        /// The calls. Each is as unsafe as the C function that it is, and is about the context that is current.
        #[derive(Clone, Copy)]
        pub(super) struct Nvcuvid {
            $(pub(super) $field: unsafe extern "C" fn($($argument),*) -> Status,)*
        }

        impl Nvcuvid {
            fn look_up(library: &libloading::Library) -> Result<Self, &'static str> {
                Ok(Self {
                    $($field: {
                        // SAFETY: the types are those that NVIDIA's header gives the function of this name, except that the
                        // enum it returns is read as the unsigned int that it is.
                        let found = unsafe {
                            library.get::<unsafe extern "C" fn($($argument),*) -> Status>($symbol.as_bytes())
                        };
                        *found.map_err(|_| $symbol)?
                    },)*
                })
            }
        }
    };
}

calls! {
    get_decoder_caps = "cuvidGetDecoderCaps"(*mut CUVIDDECODECAPS);
    create_decoder = "cuvidCreateDecoder"(*mut CUvideodecoder, *mut CUVIDDECODECREATEINFO);
    destroy_decoder = "cuvidDestroyDecoder"(CUvideodecoder);
    decode_picture = "cuvidDecodePicture"(CUvideodecoder, *mut CUVIDPICPARAMS);
    get_decode_status = "cuvidGetDecodeStatus"(CUvideodecoder, c_int, *mut CUVIDGETDECODESTATUS);
    map_video_frame = "cuvidMapVideoFrame64"(
        CUvideodecoder, c_int, *mut c_ulonglong, *mut c_uint, *mut CUVIDPROCPARAMS
    );
    unmap_video_frame = "cuvidUnmapVideoFrame64"(CUvideodecoder, c_ulonglong);
    create_video_parser = "cuvidCreateVideoParser"(*mut CUvideoparser, *mut CUVIDPARSERPARAMS);
    parse_video_data = "cuvidParseVideoData"(CUvideoparser, *mut CUVIDSOURCEDATAPACKET);
    destroy_video_parser = "cuvidDestroyVideoParser"(CUvideoparser);
}

/// What a chip says of one codec at one depth, 4:2:0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Caps {
    pub(super) is_supported: bool,
    /// Whether pictures come out as 8-bit NV12.
    pub(super) gives_nv12: bool,
    pub(super) width: (u32, u32),
    pub(super) height: (u32, u32),
    pub(super) macroblocks_max: u32,
}

// === impl Nvcuvid ===

impl Nvcuvid {
    /// Finds the library. One that was found stays; one that was not is looked for again the next time.
    ///
    /// # Errors
    /// The reason in words: `no NVDEC library (libnvcuvid.so.1 not found)`.
    pub(super) fn load() -> Result<&'static Self, String> {
        static FOUND: OnceLock<Nvcuvid> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return Ok(found);
        }
        let library = open("NVDEC", LIBRARY)?;
        let calls = Self::look_up(&library)
            .map_err(|symbol| format!("{LIBRARY} is too old: it has no {symbol}"))?;
        // What was looked up in it is good for as long as it stays loaded.
        std::mem::forget(library);
        Ok(FOUND.get_or_init(|| calls))
    }

    /// What the chip of the current context says of a codec at a depth. The status is the driver's.
    pub(super) fn caps(&self, codec: Codec, bits: u8) -> Result<Caps, Status> {
        let mut caps = CUVIDDECODECAPS {
            eCodecType: codec_type(codec),
            eChromaFormat: cudaVideoChromaFormat::cudaVideoChromaFormat_420,
            nBitDepthMinus8: u32::from(bits.saturating_sub(8)),
            ..CUVIDDECODECAPS::default()
        };
        // SAFETY: it reads and writes one structure, which is one; the enums in it are only read.
        match unsafe { (self.get_decoder_caps)(&mut caps) } {
            0 => {}
            status => return Err(status),
        }
        const NV12: u16 = 1;
        Ok(Caps {
            is_supported: caps.bIsSupported != 0,
            gives_nv12: caps.nOutputFormatMask & NV12 != 0,
            width: (u32::from(caps.nMinWidth), caps.nMaxWidth),
            height: (u32::from(caps.nMinHeight), caps.nMaxHeight),
            macroblocks_max: caps.nMaxMBCount,
        })
    }
}

/// Opens a library of the driver, or says in words why it cannot be had.
pub(super) fn open(engine: &str, name: &str) -> Result<libloading::Library, String> {
    // SAFETY: opening a library of the driver runs its initialisers, which any process may.
    unsafe { libloading::Library::new(name) }.map_err(|error| {
        let reason = error.to_string();
        if reason.starts_with(name) && reason.contains("No such file") {
            format!("no {engine} library ({name} not found)")
        } else {
            format!("the {engine} library does not load: {reason}")
        }
    })
}

/// The codec's name in the driver's terms.
pub(super) fn codec_type(codec: Codec) -> cudaVideoCodec {
    match codec {
        Codec::H264 => cudaVideoCodec::cudaVideoCodec_H264,
        Codec::H265 => cudaVideoCodec::cudaVideoCodec_HEVC,
        Codec::Vp9 => cudaVideoCodec::cudaVideoCodec_VP9,
        Codec::Av1 => cudaVideoCodec::cudaVideoCodec_AV1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_the_library_is_told_its_name() {
        match Nvcuvid::load() {
            Ok(_) => println!("{LIBRARY} is here"),
            Err(reason) => assert_eq!(reason, "no NVDEC library (libnvcuvid.so.1 not found)"),
        }
        let reason = open("X", "libmillstream-has-no-such.so.9").unwrap_err();
        assert_eq!(
            reason,
            "no X library (libmillstream-has-no-such.so.9 not found)"
        );
    }

    /// The structures that go to the driver are as long as its headers make them on 64-bit Linux.
    #[test]
    fn structures_are_as_long_as_the_headers_say() {
        assert_eq!(size_of::<CUVIDDECODECAPS>(), 88);
        assert_eq!(size_of::<CUVIDDECODECREATEINFO>(), 176);
        assert_eq!(size_of::<CUVIDPROCPARAMS>(), 264);
        assert_eq!(size_of::<CUVIDGETDECODESTATUS>(), 192);
        assert_eq!(size_of::<CUVIDPARSERPARAMS>(), 136);
        assert_eq!(size_of::<CUVIDSOURCEDATAPACKET>(), 32);
    }
}
