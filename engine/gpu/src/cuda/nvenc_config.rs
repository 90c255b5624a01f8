//! How an NVENC session is configured: for the least delay, at the quality that [`Config`] promises.
//!
//! | what | why |
//! |---|---|
//! | tuning for ultra low latency, preset P3 | P1 to P7 trade speed for quality; the third of seven keeps most of the speed of the first. To be measured on each card |
//! | I and P pictures, one reference step | a picture can be shown as soon as it is decoded, and is coded when it comes |
//! | endless groups of pictures | key pictures are asked for one by one, so that exactly those are keys that should be |
//! | constant bitrate, a buffer of one picture | no picture is much larger than the line carries in its time |
//! | a coarsest quantiser | the promise: where the bitrate does not suffice, bits are spent; it wins over the buffer |
//! | parameter sets before every key picture | a reader may join there |
//!
//! The driver fills in a preset first and this goes on top. Whatever has an enum's type is set here, whatever the preset said:
//! before that a structure of the driver's is not a value of its Rust type, as a newer driver may write what the type lacks.
#![allow(unsafe_code, reason = "the driver's structures are filled in by it")]

use std::mem::MaybeUninit;

use kernels::{Matrix, Range};
use nvidia_video_codec_sdk::sys::nvEncodeAPI as sys;

use crate::backend::Codec;
use crate::encode::Config;

/// The finest quantiser: below it, bits buy nothing that is seen. As on the CPU.
pub(super) const QP_MIN: u8 = 12;
/// The coarsest that there is.
pub(super) const QP_MAX: u8 = 51;

pub(super) const TUNING: sys::NV_ENC_TUNING_INFO =
    sys::NV_ENC_TUNING_INFO::NV_ENC_TUNING_INFO_ULTRA_LOW_LATENCY;
pub(super) const PRESET: sys::GUID = sys::NV_ENC_PRESET_P3_GUID;

/// What a stream is of; another shape is another stream, which begins with a key picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Even, as 4:2:0 has it: an odd picture is encoded without its last column or row.
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) range: Range,
    pub(super) matrix: Matrix,
}

/// The driver's name of a codec; `None` for what is not encoded here.
pub(super) fn guid(codec: Codec) -> Option<sys::GUID> {
    match codec {
        Codec::H264 => Some(sys::NV_ENC_CODEC_H264_GUID),
        Codec::H265 => Some(sys::NV_ENC_CODEC_HEVC_GUID),
        _ => None,
    }
}

/// A structure for the driver to fill a preset into.
pub(super) fn blank_preset() -> MaybeUninit<sys::NV_ENC_PRESET_CONFIG> {
    let mut preset = MaybeUninit::<sys::NV_ENC_PRESET_CONFIG>::zeroed();
    let at = preset.as_mut_ptr();
    // SAFETY: a number is written to a field of memory that is ours; nothing is read.
    unsafe { (*at).version = sys::NV_ENC_PRESET_CONFIG_VER };
    // SAFETY: as above.
    unsafe { (*at).presetCfg.version = sys::NV_ENC_CONFIG_VER };
    preset
}

/// The configuration of a stream, on top of what the driver's preset is.
pub(super) fn configure(
    mut preset: MaybeUninit<sys::NV_ENC_PRESET_CONFIG>,
    codec: Codec,
    config: &Config,
    shape: Shape,
) -> Box<sys::NV_ENC_CONFIG> {
    // SAFETY: a field of memory that is ours; only its place is taken.
    let at = unsafe { &raw mut (*preset.as_mut_ptr()).presetCfg };
    set_enums(at, codec);
    // SAFETY: `blank_preset` made every byte a zero at least, and all fields of enum types have values now; the union has
    // none that it must.
    let mut out = Box::new(unsafe { at.read() });
    out.version = sys::NV_ENC_CONFIG_VER;
    out.gopLength = sys::NVENC_INFINITE_GOPLENGTH;
    out.frameIntervalP = 1;
    out.monoChromeEncoding = 0;
    rate(&mut out.rcParams, config, shape);
    match codec {
        Codec::H265 => {
            out.profileGUID = sys::NV_ENC_HEVC_PROFILE_MAIN_GUID;
            // SAFETY: the fields of enum types were set, and every other pattern of bits is a value.
            let hevc = unsafe { &mut out.encodeCodecConfig.hevcConfig };
            hevc.idrPeriod = sys::NVENC_INFINITE_GOPLENGTH;
            hevc.set_repeatSPSPPS(1);
            hevc.set_disableSPSPPS(0);
            hevc.set_outputAUD(0);
            hevc.set_outputBufferingPeriodSEI(0);
            hevc.set_outputPictureTimingSEI(0);
            hevc.set_enableIntraRefresh(0);
            hevc.set_enableLTR(0);
            hevc.set_chromaFormatIDC(1);
            hevc.set_pixelBitDepthMinus8(0);
            (hevc.sliceMode, hevc.sliceModeData) = (0, 0);
            usability(&mut hevc.hevcVUIParameters, shape);
        }
        _ => {
            out.profileGUID = sys::NV_ENC_H264_PROFILE_HIGH_GUID;
            // SAFETY: as above.
            let h264 = unsafe { &mut out.encodeCodecConfig.h264Config };
            h264.idrPeriod = sys::NVENC_INFINITE_GOPLENGTH;
            h264.set_repeatSPSPPS(1);
            h264.set_disableSPSPPS(0);
            h264.set_outputAUD(0);
            h264.set_outputBufferingPeriodSEI(0);
            h264.set_outputPictureTimingSEI(0);
            h264.set_enableIntraRefresh(0);
            h264.set_enableLTR(0);
            h264.chromaFormatIDC = 1;
            (h264.sliceMode, h264.sliceModeData) = (0, 0);
            usability(&mut h264.h264VUIParameters, shape);
        }
    }
    out
}

/// What a session is started with. The configuration must live until the driver has read it.
pub(super) fn initialize(
    codec: sys::GUID,
    config: &Config,
    shape: Shape,
    stream: &mut sys::NV_ENC_CONFIG,
) -> sys::NV_ENC_INITIALIZE_PARAMS {
    let (width, height) = (shape.width as u32, shape.height as u32);
    sys::NV_ENC_INITIALIZE_PARAMS {
        version: sys::NV_ENC_INITIALIZE_PARAMS_VER,
        encodeGUID: codec,
        presetGUID: PRESET,
        encodeWidth: width,
        encodeHeight: height,
        darWidth: width,
        darHeight: height,
        frameRateNum: config.fps_num,
        frameRateDen: config.fps_den,
        // Events of completion are of another system.
        enableEncodeAsync: 0,
        enablePTD: 1,
        encodeConfig: stream,
        maxEncodeWidth: width,
        maxEncodeHeight: height,
        tuningInfo: TUNING,
        ..Default::default()
    }
}

/// Bits that the line carries in one picture's time, and the quantisers.
fn rate(to: &mut sys::NV_ENC_RC_PARAMS, config: &Config, shape: Shape) {
    let target = config.target_bps(shape.width, shape.height);
    let (num, den) = (
        u64::from(config.fps_num.max(1)),
        u64::from(config.fps_den.max(1)),
    );
    let picture = u32::try_from(u64::from(target) * den / num).unwrap_or(u32::MAX);
    let qp = |qp: u8| sys::NV_ENC_QP {
        qpInterP: qp.into(),
        qpInterB: qp.into(),
        qpIntra: qp.into(),
    };
    to.version = sys::NV_ENC_RC_PARAMS_VER;
    to.averageBitRate = target;
    to.maxBitRate = target;
    to.vbvBufferSize = picture.max(1);
    to.vbvInitialDelay = picture.max(1);
    to.set_enableMinQP(1);
    to.set_enableMaxQP(1);
    to.minQP = qp(QP_MIN);
    to.maxQP = qp(config.qp_max);
    // Nothing that looks ahead or puts pictures in another order.
    to.set_enableLookahead(0);
    to.set_enableTemporalAQ(0);
    to.set_enableNonRefP(0);
    to.set_zeroReorderDelay(1);
    to.lookaheadDepth = 0;
}

/// What the stream says of its colours, and that it is in the order of the screen.
fn usability(to: &mut sys::NV_ENC_CONFIG_H264_VUI_PARAMETERS, shape: Shape) {
    use sys::NV_ENC_VUI_COLOR_PRIMARIES as Primaries;
    use sys::NV_ENC_VUI_MATRIX_COEFFS as Coefficients;
    use sys::NV_ENC_VUI_TRANSFER_CHARACTERISTIC as Transfer;
    let full = shape.range == Range::Full;
    let known = match shape.matrix {
        Matrix::Unspecified => None,
        Matrix::Bt601 => Some((
            Primaries::NV_ENC_VUI_COLOR_PRIMARIES_SMPTE170M,
            Transfer::NV_ENC_VUI_TRANSFER_CHARACTERISTIC_SMPTE170M,
            Coefficients::NV_ENC_VUI_MATRIX_COEFFS_SMPTE170M,
        )),
        Matrix::Bt709 => Some((
            Primaries::NV_ENC_VUI_COLOR_PRIMARIES_BT709,
            Transfer::NV_ENC_VUI_TRANSFER_CHARACTERISTIC_BT709,
            Coefficients::NV_ENC_VUI_MATRIX_COEFFS_BT709,
        )),
        Matrix::Bt2020 => Some((
            Primaries::NV_ENC_VUI_COLOR_PRIMARIES_BT2020,
            Transfer::NV_ENC_VUI_TRANSFER_CHARACTERISTIC_BT2020_10,
            Coefficients::NV_ENC_VUI_MATRIX_COEFFS_BT2020_NCL,
        )),
    };
    to.videoSignalTypePresentFlag = u32::from(full || known.is_some());
    to.videoFormat = sys::NV_ENC_VUI_VIDEO_FORMAT::NV_ENC_VUI_VIDEO_FORMAT_UNSPECIFIED;
    to.videoFullRangeFlag = u32::from(full);
    to.colourDescriptionPresentFlag = u32::from(known.is_some());
    (
        to.colourPrimaries,
        to.transferCharacteristics,
        to.colourMatrix,
    ) = known.unwrap_or((
        Primaries::NV_ENC_VUI_COLOR_PRIMARIES_UNSPECIFIED,
        Transfer::NV_ENC_VUI_TRANSFER_CHARACTERISTIC_UNSPECIFIED,
        Coefficients::NV_ENC_VUI_MATRIX_COEFFS_UNSPECIFIED,
    ));
    to.bitstreamRestrictionFlag = 1;
}

/// Gives every field of an enum's type a value: one of ours, or "as the driver likes".
fn set_enums(at: *mut sys::NV_ENC_CONFIG, codec: Codec) {
    macro_rules! set {
        ($($field:ident).+ = $value:expr) => {
            // SAFETY: `at` is a structure of ours; a value is written to a field of it, and nothing is read.
            unsafe { (*at).$($field).+ = $value }
        };
    }
    macro_rules! set_usability {
        ($codec:ident . $vui:ident) => {
            set!(encodeCodecConfig.$codec.$vui.videoFormat = sys::NV_ENC_VUI_VIDEO_FORMAT::NV_ENC_VUI_VIDEO_FORMAT_UNSPECIFIED);
            set!(encodeCodecConfig.$codec.$vui.colourPrimaries = sys::NV_ENC_VUI_COLOR_PRIMARIES::NV_ENC_VUI_COLOR_PRIMARIES_UNSPECIFIED);
            set!(encodeCodecConfig.$codec.$vui.transferCharacteristics = sys::NV_ENC_VUI_TRANSFER_CHARACTERISTIC::NV_ENC_VUI_TRANSFER_CHARACTERISTIC_UNSPECIFIED);
            set!(encodeCodecConfig.$codec.$vui.colourMatrix = sys::NV_ENC_VUI_MATRIX_COEFFS::NV_ENC_VUI_MATRIX_COEFFS_UNSPECIFIED);
            set!(encodeCodecConfig.$codec.useBFramesAsRef = sys::NV_ENC_BFRAME_REF_MODE::NV_ENC_BFRAME_REF_MODE_DISABLED);
            set!(encodeCodecConfig.$codec.numRefL0 = sys::NV_ENC_NUM_REF_FRAMES::NV_ENC_NUM_REF_FRAMES_AUTOSELECT);
            set!(encodeCodecConfig.$codec.numRefL1 = sys::NV_ENC_NUM_REF_FRAMES::NV_ENC_NUM_REF_FRAMES_AUTOSELECT);
        };
    }
    set!(
        frameFieldMode = sys::NV_ENC_PARAMS_FRAME_FIELD_MODE::NV_ENC_PARAMS_FRAME_FIELD_MODE_FRAME
    );
    set!(mvPrecision = sys::NV_ENC_MV_PRECISION::NV_ENC_MV_PRECISION_DEFAULT);
    set!(rcParams.rateControlMode = sys::NV_ENC_PARAMS_RC_MODE::NV_ENC_PARAMS_RC_CBR);
    set!(rcParams.qpMapMode = sys::NV_ENC_QP_MAP_MODE::NV_ENC_QP_MAP_DISABLED);
    set!(rcParams.multiPass = sys::NV_ENC_MULTI_PASS::NV_ENC_MULTI_PASS_DISABLED);
    match codec {
        Codec::H265 => {
            set!(
                encodeCodecConfig.hevcConfig.minCUSize =
                    sys::NV_ENC_HEVC_CUSIZE::NV_ENC_HEVC_CUSIZE_AUTOSELECT
            );
            set!(
                encodeCodecConfig.hevcConfig.maxCUSize =
                    sys::NV_ENC_HEVC_CUSIZE::NV_ENC_HEVC_CUSIZE_AUTOSELECT
            );
            set_usability!(hevcConfig.hevcVUIParameters);
        }
        _ => {
            set!(encodeCodecConfig.h264Config.adaptiveTransformMode = sys::NV_ENC_H264_ADAPTIVE_TRANSFORM_MODE::NV_ENC_H264_ADAPTIVE_TRANSFORM_AUTOSELECT);
            set!(
                encodeCodecConfig.h264Config.fmoMode =
                    sys::NV_ENC_H264_FMO_MODE::NV_ENC_H264_FMO_AUTOSELECT
            );
            set!(
                encodeCodecConfig.h264Config.bdirectMode =
                    sys::NV_ENC_H264_BDIRECT_MODE::NV_ENC_H264_BDIRECT_MODE_AUTOSELECT
            );
            set!(encodeCodecConfig.h264Config.entropyCodingMode = sys::NV_ENC_H264_ENTROPY_CODING_MODE::NV_ENC_H264_ENTROPY_CODING_MODE_AUTOSELECT);
            set!(
                encodeCodecConfig.h264Config.stereoMode =
                    sys::NV_ENC_STEREO_PACKING_MODE::NV_ENC_STEREO_PACKING_MODE_NONE
            );
            set_usability!(h264Config.h264VUIParameters);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        width: 1280,
        height: 720,
        range: Range::Limited,
        matrix: Matrix::Bt709,
    };

    /// A preset as a driver of the future might fill it in: every bit set.
    fn wild() -> MaybeUninit<sys::NV_ENC_PRESET_CONFIG> {
        let mut preset = blank_preset();
        // SAFETY: bytes are written to memory that is ours.
        unsafe { preset.as_mut_ptr().write_bytes(0xff, 1) };
        preset
    }

    #[test]
    fn a_stream_has_the_least_delay_and_keeps_the_promise_of_quality() {
        for preset in [blank_preset(), wild()] {
            let config = Config {
                fps_num: 30_000,
                fps_den: 1001,
                bitrate_bps: Some(3_000_000),
                qp_max: 31,
                key_interval: 60,
            };
            let out = configure(preset, Codec::H264, &config, SHAPE);
            assert_eq!(out.version, 0xf108_000c);
            assert_eq!((out.gopLength, out.frameIntervalP), (u32::MAX, 1));
            assert_eq!(
                out.profileGUID.Data1,
                sys::NV_ENC_H264_PROFILE_HIGH_GUID.Data1
            );
            let rate = &out.rcParams;
            assert_eq!(
                rate.rateControlMode,
                sys::NV_ENC_PARAMS_RC_MODE::NV_ENC_PARAMS_RC_CBR
            );
            assert_eq!(
                (rate.averageBitRate, rate.maxBitRate),
                (3_000_000, 3_000_000)
            );
            assert_eq!(
                (rate.vbvBufferSize, rate.vbvInitialDelay),
                (100_100, 100_100)
            );
            assert_eq!((rate.enableMinQP(), rate.enableMaxQP()), (1, 1));
            assert_eq!((rate.minQP.qpIntra, rate.minQP.qpInterP), (12, 12));
            assert_eq!((rate.maxQP.qpIntra, rate.maxQP.qpInterP), (31, 31));
            assert_eq!((rate.enableLookahead(), rate.lookaheadDepth), (0, 0));
            assert_eq!((rate.zeroReorderDelay(), rate.enableTemporalAQ()), (1, 0));
            // SAFETY: the variant that was configured.
            let h264 = unsafe { &out.encodeCodecConfig.h264Config };
            assert_eq!(
                (h264.idrPeriod, h264.repeatSPSPPS(), h264.disableSPSPPS()),
                (u32::MAX, 1, 0)
            );
            assert_eq!(
                (h264.chromaFormatIDC, h264.sliceMode, h264.sliceModeData),
                (1, 0, 0)
            );
            assert_eq!(
                (
                    h264.outputAUD(),
                    h264.outputPictureTimingSEI(),
                    h264.enableLTR()
                ),
                (0, 0, 0)
            );
            let vui = &h264.h264VUIParameters;
            assert_eq!(
                (vui.videoSignalTypePresentFlag, vui.videoFullRangeFlag),
                (1, 0)
            );
            assert_eq!(
                (
                    vui.colourPrimaries as u32,
                    vui.transferCharacteristics as u32,
                    vui.colourMatrix as u32
                ),
                (1, 1, 1)
            );
            assert_eq!(
                (
                    vui.colourDescriptionPresentFlag,
                    vui.bitstreamRestrictionFlag
                ),
                (1, 1)
            );
        }
    }

    #[test]
    fn colours_of_h265_and_of_nothing_known() {
        let vui = |codec, range, matrix| {
            let shape = Shape {
                range,
                matrix,
                ..SHAPE
            };
            let out = configure(wild(), codec, &Config::default(), shape);
            let coded = &out.encodeCodecConfig;
            let vui = if codec == Codec::H265 {
                // SAFETY: the variant that was configured.
                unsafe { coded.hevcConfig.hevcVUIParameters }
            } else {
                // SAFETY: as above.
                unsafe { coded.h264Config.h264VUIParameters }
            };
            (
                vui.videoSignalTypePresentFlag,
                vui.videoFullRangeFlag,
                vui.colourDescriptionPresentFlag,
                vui.colourMatrix as u32,
            )
        };
        assert_eq!(
            vui(Codec::H265, Range::Limited, Matrix::Unspecified),
            (0, 0, 0, 2)
        );
        assert_eq!(
            vui(Codec::H265, Range::Full, Matrix::Unspecified),
            (1, 1, 0, 2)
        );
        assert_eq!(
            vui(Codec::H265, Range::Limited, Matrix::Bt601),
            (1, 0, 1, 6)
        );
        assert_eq!(vui(Codec::H264, Range::Full, Matrix::Bt2020), (1, 1, 1, 9));
        let out = configure(wild(), Codec::H265, &Config::default(), SHAPE);
        assert_eq!(
            out.profileGUID.Data1,
            sys::NV_ENC_HEVC_PROFILE_MAIN_GUID.Data1
        );
        // SAFETY: the variant that was configured.
        let hevc = unsafe { &out.encodeCodecConfig.hevcConfig };
        assert_eq!(
            (
                hevc.idrPeriod,
                hevc.repeatSPSPPS(),
                hevc.chromaFormatIDC(),
                hevc.pixelBitDepthMinus8()
            ),
            (u32::MAX, 1, 1, 0)
        );
    }

    #[test]
    fn what_a_session_is_started_with() {
        let config = Config {
            fps_num: 60,
            fps_den: 1,
            ..Config::default()
        };
        let mut stream = configure(blank_preset(), Codec::H264, &config, SHAPE);
        // An eighth of a bit a pixel; a sixtieth of that a picture.
        assert_eq!(stream.rcParams.averageBitRate, 1280 * 720 * 60 / 8);
        assert_eq!(stream.rcParams.vbvBufferSize, 1280 * 720 / 8);
        let how = initialize(sys::NV_ENC_CODEC_H264_GUID, &config, SHAPE, &mut stream);
        assert_eq!(
            (
                how.encodeWidth,
                how.encodeHeight,
                how.darWidth,
                how.darHeight
            ),
            (1280, 720, 1280, 720)
        );
        assert_eq!(
            (
                how.frameRateNum,
                how.frameRateDen,
                how.enablePTD,
                how.enableEncodeAsync
            ),
            (60, 1, 1, 0)
        );
        assert_eq!(how.tuningInfo as u32, 3);
        assert_eq!(how.presetGUID.Data1, 0x3685_0110);
        assert!(std::ptr::eq(how.encodeConfig, &*stream));
        assert_eq!(
            (guid(Codec::Vp9).is_none(), guid(Codec::Av1).is_none()),
            (true, true)
        );
    }
}
