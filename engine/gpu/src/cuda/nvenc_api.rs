//! NVENC's library, `libnvidia-encode.so.1`, found at run time, and what its statuses mean.
//!
//! The library has one entry that fills a list of functions for the version of the interface that it is asked for, 12.1: any
//! driver from 530 on has that, and later ones keep it. As in `nvcuvid`, types are NVIDIA's by way of `nvidia-video-codec-sdk` and
//! a status is a number.
#![allow(unsafe_code, reason = "the library is a C library")]

use std::ffi::{c_char, c_int, c_void};
use std::sync::OnceLock;

use nvidia_video_codec_sdk::sys::nvEncodeAPI as sys;

use super::nvcuvid::open;
use crate::fault::Fault;

const LIBRARY: &str = "libnvidia-encode.so.1";

/// The version that is asked for, as the library packs it: four bits of minor below the major.
const VERSION: u32 = sys::NVENCAPI_MAJOR_VERSION << 4 | sys::NVENCAPI_MINOR_VERSION;

/// What a call gives back: 0 is success.
pub(super) type Code = u32;

/// The statuses that are more than a name.
pub(super) mod code {
    use super::Code;

    pub(crate) const SUCCESS: Code = 0;
    pub(crate) const NO_ENCODE_DEVICE: Code = 1;
    pub(crate) const UNSUPPORTED_DEVICE: Code = 2;
    pub(crate) const DEVICE_NOT_EXIST: Code = 5;
    pub(crate) const OUT_OF_MEMORY: Code = 10;
    pub(crate) const LOCK_BUSY: Code = 13;
    pub(crate) const ENCODER_BUSY: Code = 18;
    pub(crate) const INCOMPATIBLE_CLIENT_KEY: Code = 21;
}

macro_rules! calls {
    ($($field:ident = $slot:ident($($argument:ty),*);)*) => {
        /// The calls. Each is as unsafe as the C function that it is.
        #[derive(Clone, Copy)]
        pub(super) struct Nvenc {
            /// The newest version that the library speaks, as it packs it.
            pub(super) version: u32,
            $(pub(super) $field: unsafe extern "C" fn($($argument),*) -> Code,)*
            pub(super) last_error: unsafe extern "C" fn(*mut c_void) -> *const c_char,
        }

        impl Nvenc {
            /// Takes the calls out of a list that the library filled.
            fn of(list: &sys::NV_ENCODE_API_FUNCTION_LIST, version: u32) -> Result<Self, &'static str> {
                Ok(Self {
                    version,
                    $($field: {
                        let found = list.$slot.ok_or(stringify!($slot))?;
                        // SAFETY: the same function with its result read as the unsigned int that the enum is.
                        unsafe {
                            std::mem::transmute::<
                                unsafe extern "C" fn($($argument),*) -> sys::NVENCSTATUS,
                                unsafe extern "C" fn($($argument),*) -> Code,
                            >(found)
                        }
                    },)*
                    last_error: list.nvEncGetLastErrorString.ok_or("nvEncGetLastErrorString")?,
                })
            }
        }
    };
}

calls! {
    open_session = nvEncOpenEncodeSessionEx(*mut sys::NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS, *mut *mut c_void);
    guid_count = nvEncGetEncodeGUIDCount(*mut c_void, *mut u32);
    guids = nvEncGetEncodeGUIDs(*mut c_void, *mut sys::GUID, u32, *mut u32);
    caps = nvEncGetEncodeCaps(*mut c_void, sys::GUID, *mut sys::NV_ENC_CAPS_PARAM, *mut c_int);
    preset = nvEncGetEncodePresetConfigEx(
        *mut c_void, sys::GUID, sys::GUID, sys::NV_ENC_TUNING_INFO, *mut sys::NV_ENC_PRESET_CONFIG
    );
    initialize = nvEncInitializeEncoder(*mut c_void, *mut sys::NV_ENC_INITIALIZE_PARAMS);
    set_streams = nvEncSetIOCudaStreams(*mut c_void, *mut c_void, *mut c_void);
    create_output = nvEncCreateBitstreamBuffer(*mut c_void, *mut sys::NV_ENC_CREATE_BITSTREAM_BUFFER);
    destroy_output = nvEncDestroyBitstreamBuffer(*mut c_void, *mut c_void);
    register = nvEncRegisterResource(*mut c_void, *mut sys::NV_ENC_REGISTER_RESOURCE);
    unregister = nvEncUnregisterResource(*mut c_void, *mut c_void);
    map_input = nvEncMapInputResource(*mut c_void, *mut sys::NV_ENC_MAP_INPUT_RESOURCE);
    unmap_input = nvEncUnmapInputResource(*mut c_void, *mut c_void);
    encode_picture = nvEncEncodePicture(*mut c_void, *mut sys::NV_ENC_PIC_PARAMS);
    lock_output = nvEncLockBitstream(*mut c_void, *mut sys::NV_ENC_LOCK_BITSTREAM);
    unlock_output = nvEncUnlockBitstream(*mut c_void, *mut c_void);
    destroy_encoder = nvEncDestroyEncoder(*mut c_void);
}

// === impl Nvenc ===

impl Nvenc {
    /// Finds the library and asks it for version 12.1 of the interface. One that was found stays.
    ///
    /// # Errors
    /// The reason in words: `no NVENC library (libnvidia-encode.so.1 not found)`.
    pub(super) fn load() -> Result<&'static Self, String> {
        static FOUND: OnceLock<Nvenc> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return Ok(found);
        }
        let found = Self::find()?;
        Ok(FOUND.get_or_init(|| found))
    }

    fn find() -> Result<Self, String> {
        let library = open("NVENC", LIBRARY)?;
        let lacks = |symbol: &str| format!("{LIBRARY} is too old: it has no {symbol}");
        // SAFETY: the type is that which NVIDIA's header gives the function of this name, its result read as a number.
        let ask = unsafe {
            library
                .get::<unsafe extern "C" fn(*mut u32) -> Code>(b"NvEncodeAPIGetMaxSupportedVersion")
        };
        let ask = *ask.map_err(|_| lacks("NvEncodeAPIGetMaxSupportedVersion"))?;
        // SAFETY: as above.
        let make = unsafe {
            library.get::<unsafe extern "C" fn(*mut sys::NV_ENCODE_API_FUNCTION_LIST) -> Code>(
                b"NvEncodeAPICreateInstance",
            )
        };
        let make = *make.map_err(|_| lacks("NvEncodeAPICreateInstance"))?;
        // What was looked up in it is good for as long as it stays loaded.
        std::mem::forget(library);
        let mut version = 0;
        // SAFETY: it writes one number to a place that is one.
        let asked = unsafe { ask(&mut version) };
        is_new_enough(asked, version)?;
        let mut list = sys::NV_ENCODE_API_FUNCTION_LIST {
            version: sys::NV_ENCODE_API_FUNCTION_LIST_VER,
            ..Default::default()
        };
        // SAFETY: it fills one list of this version, which is one.
        match unsafe { make(&mut list) } {
            code::SUCCESS => {}
            other => return Err(format!("{LIBRARY} does not start ({})", name(other))),
        }
        Self::of(&list, version).map_err(lacks)
    }

    /// The newest version that the library speaks: `12.2`.
    pub(super) fn spoken(&self) -> String {
        spoken(self.version)
    }
}

fn spoken(version: u32) -> String {
    format!("{}.{}", version >> 4, version & 0xf)
}

fn is_new_enough(asked: Code, version: u32) -> Result<(), String> {
    if asked != code::SUCCESS {
        return Err(format!(
            "{LIBRARY} does not say its version ({})",
            name(asked)
        ));
    }
    if version < VERSION {
        return Err(format!(
            "{LIBRARY} is too old: it speaks version {} and {} is needed (driver 530 or later)",
            spoken(version),
            spoken(VERSION)
        ));
    }
    Ok(())
}

/// The header's name of a status.
pub(super) fn name(status: Code) -> &'static str {
    match status {
        code::SUCCESS => "NV_ENC_SUCCESS",
        code::NO_ENCODE_DEVICE => "NV_ENC_ERR_NO_ENCODE_DEVICE",
        code::UNSUPPORTED_DEVICE => "NV_ENC_ERR_UNSUPPORTED_DEVICE",
        3 => "NV_ENC_ERR_INVALID_ENCODERDEVICE",
        4 => "NV_ENC_ERR_INVALID_DEVICE",
        code::DEVICE_NOT_EXIST => "NV_ENC_ERR_DEVICE_NOT_EXIST",
        6 => "NV_ENC_ERR_INVALID_PTR",
        7 => "NV_ENC_ERR_INVALID_EVENT",
        8 => "NV_ENC_ERR_INVALID_PARAM",
        9 => "NV_ENC_ERR_INVALID_CALL",
        code::OUT_OF_MEMORY => "NV_ENC_ERR_OUT_OF_MEMORY",
        11 => "NV_ENC_ERR_ENCODER_NOT_INITIALIZED",
        12 => "NV_ENC_ERR_UNSUPPORTED_PARAM",
        code::LOCK_BUSY => "NV_ENC_ERR_LOCK_BUSY",
        14 => "NV_ENC_ERR_NOT_ENOUGH_BUFFER",
        15 => "NV_ENC_ERR_INVALID_VERSION",
        16 => "NV_ENC_ERR_MAP_FAILED",
        17 => "NV_ENC_ERR_NEED_MORE_INPUT",
        code::ENCODER_BUSY => "NV_ENC_ERR_ENCODER_BUSY",
        19 => "NV_ENC_ERR_EVENT_NOT_REGISTERD",
        20 => "NV_ENC_ERR_GENERIC",
        code::INCOMPATIBLE_CLIENT_KEY => "NV_ENC_ERR_INCOMPATIBLE_CLIENT_KEY",
        22 => "NV_ENC_ERR_UNIMPLEMENTED",
        23 => "NV_ENC_ERR_RESOURCE_REGISTER_FAILED",
        24 => "NV_ENC_ERR_RESOURCE_NOT_REGISTERED",
        25 => "NV_ENC_ERR_RESOURCE_NOT_MAPPED",
        26 => "NV_ENC_ERR_NEED_MORE_OUTPUT",
        _ => "a status of NVENC that this build has no name for",
    }
}

/// What a status other than success means for whoever asked. Whether the context lives, the context is to be asked.
pub(super) fn fault(call: &'static str, status: Code) -> Fault {
    let name = name(status);
    match status {
        code::DEVICE_NOT_EXIST => Fault::Lost { call, name },
        code::OUT_OF_MEMORY => Fault::Full { call, name },
        _ => Fault::Failed { call, name },
    }
}

/// What a status means when it is a session that was asked for. The two that a driver gives when there is none left say
/// something else in the header.
pub(super) fn session_fault(status: Code) -> Fault {
    let call = "nvEncOpenEncodeSessionEx";
    match status {
        code::OUT_OF_MEMORY => Fault::Full {
            call,
            name: "NV_ENC_ERR_OUT_OF_MEMORY: no memory, or no encoding session left; consumer cards allow a few in all \
                   processes together (8, by older drivers 3 or 5)",
        },
        code::INCOMPATIBLE_CLIENT_KEY => Fault::Full {
            call,
            name: "NV_ENC_ERR_INCOMPATIBLE_CLIENT_KEY: no encoding session left; consumer cards allow a few in all \
                   processes together (8, by older drivers 3 or 5)",
        },
        other => fault(call, other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_the_library_is_told_its_name() {
        match Nvenc::load() {
            Ok(found) => println!("{LIBRARY} speaks {}", found.spoken()),
            Err(reason) => assert_eq!(reason, "no NVENC library (libnvidia-encode.so.1 not found)"),
        }
    }

    #[test]
    fn a_driver_that_is_too_old_is_told_what_is_needed() {
        assert_eq!(VERSION, 0xc1);
        assert_eq!(is_new_enough(0, 0xc1), Ok(()));
        assert_eq!(is_new_enough(0, 0xd0), Ok(()));
        assert_eq!(
            is_new_enough(0, 0xb1).unwrap_err(),
            "libnvidia-encode.so.1 is too old: it speaks version 11.1 and 12.1 is needed (driver 530 or later)"
        );
        assert!(
            is_new_enough(20, 0)
                .unwrap_err()
                .contains("NV_ENC_ERR_GENERIC")
        );
    }

    #[test]
    fn a_list_with_a_hole_names_it() {
        let list = sys::NV_ENCODE_API_FUNCTION_LIST::default();
        assert_eq!(
            Nvenc::of(&list, VERSION).err(),
            Some("nvEncOpenEncodeSessionEx")
        );
    }

    #[test]
    fn statuses_have_the_headers_numbers_and_meanings() {
        use sys::NVENCSTATUS as Status;
        let named = [
            (
                Status::NV_ENC_ERR_NO_ENCODE_DEVICE,
                "NV_ENC_ERR_NO_ENCODE_DEVICE",
            ),
            (
                Status::NV_ENC_ERR_DEVICE_NOT_EXIST,
                "NV_ENC_ERR_DEVICE_NOT_EXIST",
            ),
            (Status::NV_ENC_ERR_OUT_OF_MEMORY, "NV_ENC_ERR_OUT_OF_MEMORY"),
            (Status::NV_ENC_ERR_LOCK_BUSY, "NV_ENC_ERR_LOCK_BUSY"),
            (Status::NV_ENC_ERR_ENCODER_BUSY, "NV_ENC_ERR_ENCODER_BUSY"),
            (
                Status::NV_ENC_ERR_INCOMPATIBLE_CLIENT_KEY,
                "NV_ENC_ERR_INCOMPATIBLE_CLIENT_KEY",
            ),
            (
                Status::NV_ENC_ERR_NEED_MORE_OUTPUT,
                "NV_ENC_ERR_NEED_MORE_OUTPUT",
            ),
        ];
        for (status, text) in named {
            assert_eq!(name(status as Code), text);
        }
        let all: std::collections::HashSet<_> = (0..28).map(name).collect();
        assert_eq!(all.len(), 28);
        assert!(fault("c", 5).is_lost());
        assert!(matches!(fault("c", 10), Fault::Full { .. }));
        assert!(
            (0..40)
                .filter(|status| ![5, 10].contains(status))
                .all(|s| matches!(fault("c", s), Fault::Failed { .. }))
        );
        for status in [10, 21] {
            let Fault::Full { name, .. } = session_fault(status) else {
                panic!("{status}");
            };
            assert!(name.contains("consumer cards"), "{name}");
        }
    }

    /// Versions and lengths as the C header makes them on 64-bit Linux.
    #[test]
    fn structures_are_as_long_and_versioned_as_the_headers_say() {
        assert_eq!(sys::NV_ENC_CONFIG_VER, 0xf108_000c);
        assert_eq!(sys::NV_ENC_INITIALIZE_PARAMS_VER, 0xf106_000c);
        assert_eq!(sys::NV_ENC_PIC_PARAMS_VER, 0xf106_000c);
        assert_eq!(sys::NV_ENC_LOCK_BITSTREAM_VER, 0xf101_000c);
        assert_eq!(sys::NV_ENC_PRESET_CONFIG_VER, 0xf104_000c);
        assert_eq!(sys::NV_ENC_REGISTER_RESOURCE_VER, 0x7104_000c);
        assert_eq!(sys::NV_ENC_MAP_INPUT_RESOURCE_VER, 0x7104_000c);
        assert_eq!(sys::NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS_VER, 0x7101_000c);
        assert_eq!(sys::NV_ENC_CREATE_BITSTREAM_BUFFER_VER, 0x7101_000c);
        assert_eq!(sys::NV_ENCODE_API_FUNCTION_LIST_VER, 0x7102_000c);
        assert_eq!(size_of::<sys::NV_ENC_CONFIG>(), 3584);
        assert_eq!(size_of::<sys::NV_ENC_INITIALIZE_PARAMS>(), 1808);
        assert_eq!(size_of::<sys::NV_ENC_PRESET_CONFIG>(), 5128);
        assert_eq!(size_of::<sys::NV_ENC_PIC_PARAMS>(), 3360);
        assert_eq!(size_of::<sys::NV_ENC_LOCK_BITSTREAM>(), 1552);
        assert_eq!(size_of::<sys::NV_ENC_REGISTER_RESOURCE>(), 1536);
        assert_eq!(size_of::<sys::NV_ENC_MAP_INPUT_RESOURCE>(), 1544);
        assert_eq!(size_of::<sys::NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS>(), 1552);
        assert_eq!(size_of::<sys::NV_ENC_CREATE_BITSTREAM_BUFFER>(), 776);
        assert_eq!(size_of::<sys::NV_ENC_CAPS_PARAM>(), 256);
        assert_eq!(size_of::<sys::NV_ENCODE_API_FUNCTION_LIST>(), 2552);
    }
}
