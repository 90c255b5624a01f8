//! H.264 by openh264: constrained Baseline, so neither reordering nor delay.
//!
//! The quantiser follows the bitrate but never beyond `qp_max`: where the bitrate does not suffice for the promised
//! quality, the bits are spent, and no picture is skipped.
//!
//! H.264 in 4:2:0 has even sizes. A picture of odd width or height is encoded without its last column or row.

use std::collections::VecDeque;

use kernels::{Frame, Matrix, Range};
use openh264::Timestamp;
use openh264::encoder::{
    BitRate, Complexity, Encoder as Library, EncoderConfig, FrameRate, FrameType, IntraFramePeriod,
    QpRange, RateControlMode, UsageType, VuiConfig,
};
use openh264::formats::YUVSource;

use super::openh264_raw as raw;
use crate::backend::Unavailable;
use crate::encode::{Config, Encode, Encoded, Error};

/// The smallest side that the library encodes.
const SIDE_MIN: usize = 16;
/// The largest sides, in either orientation.
pub(super) const SIDES_MAX: (usize, usize) = (3840, 2160);
/// The finest quantiser: below it, bits buy nothing that is seen.
const QP_MIN: u8 = 12;
const QP_MAX: u8 = 51;

pub(super) struct Encoder {
    config: Config,
    /// Access units that have not been collected.
    done: VecDeque<(Encoded, Vec<u8>)>,
    /// The library, once it knows what to encode.
    running: Option<Running>,
}

struct Running {
    library: Library,
    shape: Shape,
    first_pts: i64,
}

/// What a stream is of; another shape is another stream, which begins with a key picture.
#[derive(Clone, Copy, PartialEq)]
struct Shape {
    width: usize,
    height: usize,
    range: Range,
    matrix: Matrix,
}

// === impl Encoder ===

impl Encoder {
    pub(super) fn new(config: Config) -> Result<Self, Unavailable> {
        if config.fps_num == 0 || config.fps_den == 0 {
            return Err(Unavailable::Config("a frame rate has no zero in it"));
        }
        if !(QP_MIN..=QP_MAX).contains(&config.qp_max) {
            return Err(Unavailable::Config("the coarsest quantiser is 12 to 51"));
        }
        Ok(Self {
            config,
            done: VecDeque::new(),
            running: None,
        })
    }

    fn start(&self, shape: Shape, first_pts: i64) -> Result<Running, Error> {
        let Config {
            fps_num, fps_den, ..
        } = self.config;
        let target = self.config.target_bps(shape.width, shape.height);
        let config = EncoderConfig::new()
            .usage_type(UsageType::CameraVideoRealTime)
            .complexity(Complexity::Low)
            .num_threads(1)
            .skip_frames(false)
            .scene_change_detect(false)
            .background_detection(false)
            .rate_control_mode(RateControlMode::Bitrate)
            .bitrate(BitRate::from_bps(target))
            .qp(QpRange::new(QP_MIN, self.config.qp_max))
            .max_frame_rate(FrameRate::from_hz(fps_num as f32 / fps_den as f32))
            .intra_frame_period(IntraFramePeriod::from_num_frames(self.config.key_interval));
        let config = match vui(shape) {
            Some(vui) => config.vui(vui),
            None => config,
        };
        Ok(Running {
            library: raw::encoder(config).map_err(failed)?,
            shape,
            first_pts,
        })
    }
}

impl Encode<Frame> for Encoder {
    /// The picture is encoded when this returns.
    fn submit(&mut self, surface: &Frame, pts: i64, force_key: bool) -> Result<(), Error> {
        const TICKS_PER_MS: u64 = 90;
        let shape = Shape::of(surface)?;
        let mut running = match self.running.take() {
            Some(running) if running.shape == shape => running,
            _ => self.start(shape, pts)?,
        };
        if force_key {
            running.library.force_intra_frame();
        }
        let since = pts.saturating_sub(running.first_pts).max(0) as u64;
        let at = Timestamp::from_millis(since / TICKS_PER_MS);
        let source = Source { surface, shape };
        let coded = running.library.encode_at(&source, at).map_err(failed)?;
        let key = match coded.frame_type() {
            FrameType::IDR => true,
            FrameType::I | FrameType::P | FrameType::IPMixed => false,
            FrameType::Skip | FrameType::Invalid => {
                return Err(Error::Failed("no picture came out".into()));
            }
        };
        let mut unit = Vec::new();
        coded.write_vec(&mut unit);
        let bytes = unit.len();
        self.done.push_back((Encoded { key, bytes }, unit));
        // Only now: an error leaves nothing running, so the next picture starts anew, with a key.
        self.running = Some(running);
        Ok(())
    }

    fn collect(&mut self, out: &mut Vec<u8>) -> Result<Encoded, Error> {
        let (encoded, mut unit) = self.done.pop_front().expect("a picture was submitted");
        if out.is_empty() {
            std::mem::swap(out, &mut unit);
        } else {
            out.append(&mut unit);
        }
        Ok(encoded)
    }
}

impl Shape {
    fn of(surface: &Frame) -> Result<Self, Error> {
        let (width, height) = (surface.width(), surface.height());
        let refuse = |why| Err(Error::Size { width, height, why });
        if width.min(height) < SIDE_MIN {
            return refuse("each side is at least 16");
        }
        if width.max(height) > SIDES_MAX.0 || width.min(height) > SIDES_MAX.1 {
            return refuse("at most 3840x2160 or 2160x3840");
        }
        Ok(Self {
            width: width & !1,
            height: height & !1,
            range: surface.range,
            matrix: surface.matrix,
        })
    }
}

/// A frame as the library reads it, its last odd column and row left out.
struct Source<'a> {
    surface: &'a Frame,
    shape: Shape,
}

impl YUVSource for Source<'_> {
    fn dimensions(&self) -> (usize, usize) {
        (self.shape.width, self.shape.height)
    }

    fn strides(&self) -> (usize, usize, usize) {
        let [y, u, v] = self.surface.planes().map(|plane| plane.stride());
        (y, u, v)
    }

    fn y(&self) -> &[u8] {
        self.surface.y().bytes()
    }

    fn u(&self) -> &[u8] {
        self.surface.u().bytes()
    }

    fn v(&self) -> &[u8] {
        self.surface.v().bytes()
    }
}

/// What the stream says of its colours; nothing when there is nothing to say.
fn vui(shape: Shape) -> Option<VuiConfig> {
    use openh264::encoder::{ColorPrimaries, MatrixCoefficients, TransferCharacteristics};
    let vui = match (shape.matrix, shape.range) {
        (Matrix::Unspecified, Range::Limited) => return None,
        (Matrix::Unspecified, Range::Full) => VuiConfig::bt709()
            .color_primaries(ColorPrimaries::Unspecified)
            .transfer_characteristics(TransferCharacteristics::Unspecified)
            .matrix_coefficients(MatrixCoefficients::Unspecified),
        (Matrix::Bt601, _) => VuiConfig::bt601(),
        (Matrix::Bt709, _) => VuiConfig::bt709(),
        (Matrix::Bt2020, _) => VuiConfig::bt2020(),
    };
    Some(vui.full_range(shape.range == Range::Full))
}

fn failed(error: openh264::Error) -> Error {
    Error::Failed(format!("openh264 code {}", error.native_code()))
}
