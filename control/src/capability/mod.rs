//! What a node can do and what a job needs, as both ends of the wire say it: `proto::net::Capabilities`.
//!
//! ```text
//!   orchestrator   Offer { live models, version } ─▶ net::Capabilities ─┐
//!                                                                       ├─▶ compatible(job, peer) ─▶ Ok, or why not
//!   gateway        Job { capability, model, versions } ─▶ net::Capabilities ─┘
//! ```
//!
//! Invariants:
//! - Nothing here asks the world for anything, and no message of a peer makes it panic or grow: what bits are read is bounded.
//! - Numbers and names are go-livepeer's. A number that has no name is kept and shown as the number.
//! - [`compatible`] does not commute: a job is held against a peer.

mod bits;
mod compatible;
mod offer;
mod version;

use std::fmt;

use crate::printable::printable;

pub use bits::Bits;
pub use compatible::{Incompatible, compatible};
pub use offer::{Job, LiveModel, Offer};
pub use version::{VersionFault, parse as parse_version};

/// Something that a node can do, by its number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(pub u32);

impl Capability {
    /// H.264, both ways.
    pub const H264: Self = Self(0);
    /// MPEG-TS as a container.
    pub const MPEG_TS: Self = Self(1);
    /// MP4 as a container.
    pub const MP4: Self = Self(2);
    /// Frame rates with a denominator.
    pub const FRACTIONAL_FRAMERATES: Self = Self(3);
    /// Results are fetched from the node itself.
    pub const STORAGE_DIRECT: Self = Self(4);
    /// Results go to S3.
    pub const STORAGE_S3: Self = Self(5);
    /// Results go to Google's store.
    pub const STORAGE_GCS: Self = Self(6);
    /// H.264's Baseline profile.
    pub const H264_BASELINE: Self = Self(7);
    /// H.264's Main profile.
    pub const H264_MAIN: Self = Self(8);
    /// H.264's High profile.
    pub const H264_HIGH: Self = Self(9);
    /// H.264's Constrained High profile.
    pub const H264_CONSTRAINED_HIGH: Self = Self(10);
    /// A distance between key frames.
    pub const GOP: Self = Self(11);
    /// Sessions have tokens. Every job asks for it.
    pub const AUTH_TOKEN: Self = Self(12);
    /// MPEG-7 video signatures.
    pub const MPEG7_SIGNATURE: Self = Self(14);
    /// HEVC as input.
    pub const HEVC_DECODE: Self = Self(15);
    /// HEVC as output.
    pub const HEVC_ENCODE: Self = Self(16);
    /// VP8 as input.
    pub const VP8_DECODE: Self = Self(17);
    /// VP9 as input.
    pub const VP9_DECODE: Self = Self(18);
    /// VP8 as output.
    pub const VP8_ENCODE: Self = Self(19);
    /// VP9 as output.
    pub const VP9_ENCODE: Self = Self(20);
    /// H.264 4:4:4 as input.
    pub const H264_DECODE_444_8_BIT: Self = Self(21);
    /// H.264 4:2:2 as input.
    pub const H264_DECODE_422_8_BIT: Self = Self(22);
    /// H.264 4:4:4 with ten bits as input.
    pub const H264_DECODE_444_10_BIT: Self = Self(23);
    /// H.264 4:2:2 with ten bits as input.
    pub const H264_DECODE_422_10_BIT: Self = Self(24);
    /// H.264 4:2:0 with ten bits as input.
    pub const H264_DECODE_420_10_BIT: Self = Self(25);
    /// Parts of a segment.
    pub const SEGMENT_SLICING: Self = Self(26);
    /// Pipeline `text-to-image`.
    pub const TEXT_TO_IMAGE: Self = Self(27);
    /// Pipeline `image-to-image`.
    pub const IMAGE_TO_IMAGE: Self = Self(28);
    /// Pipeline `image-to-video`.
    pub const IMAGE_TO_VIDEO: Self = Self(29);
    /// Pipeline `upscale`.
    pub const UPSCALE: Self = Self(30);
    /// Pipeline `audio-to-text`.
    pub const AUDIO_TO_TEXT: Self = Self(31);
    /// Pipeline `segment-anything-2`.
    pub const SEGMENT_ANYTHING_2: Self = Self(32);
    /// Pipeline `llm`.
    pub const LLM: Self = Self(33);
    /// Pipeline `image-to-text`.
    pub const IMAGE_TO_TEXT: Self = Self(34);
    /// Pipeline `live-video-to-video`.
    pub const LIVE_VIDEO_TO_VIDEO: Self = Self(35);
    /// Pipeline `text-to-speech`.
    pub const TEXT_TO_SPEECH: Self = Self(36);
    /// A container that its operator brought.
    pub const BYOC: Self = Self(37);

    /// What every node has, and every AI job asks for.
    pub const DEFAULT: [Self; 15] = [
        Self::H264,
        Self::MPEG_TS,
        Self::MP4,
        Self::FRACTIONAL_FRAMERATES,
        Self::STORAGE_DIRECT,
        Self::STORAGE_S3,
        Self::STORAGE_GCS,
        Self::H264_BASELINE,
        Self::H264_MAIN,
        Self::H264_HIGH,
        Self::H264_CONSTRAINED_HIGH,
        Self::GOP,
        Self::AUTH_TOKEN,
        Self::MPEG7_SIGNATURE,
        Self::SEGMENT_SLICING,
    ];

    /// What a node has when its devices or models allow it. Neither encoding VP8 or VP9 nor `live-video-to-video` is among them:
    /// the one nobody offers, the other comes with its models.
    pub const OPTIONAL: [Self; 17] = [
        Self::HEVC_DECODE,
        Self::HEVC_ENCODE,
        Self::VP8_DECODE,
        Self::VP9_DECODE,
        Self::H264_DECODE_444_8_BIT,
        Self::H264_DECODE_422_8_BIT,
        Self::H264_DECODE_444_10_BIT,
        Self::H264_DECODE_422_10_BIT,
        Self::H264_DECODE_420_10_BIT,
        Self::TEXT_TO_IMAGE,
        Self::IMAGE_TO_IMAGE,
        Self::IMAGE_TO_VIDEO,
        Self::UPSCALE,
        Self::AUDIO_TO_TEXT,
        Self::SEGMENT_ANYTHING_2,
        Self::IMAGE_TO_TEXT,
        Self::TEXT_TO_SPEECH,
    ];

    /// What a node has that is too old to say.
    pub const LEGACY: [Self; 12] = [
        Self::H264,
        Self::MPEG_TS,
        Self::MP4,
        Self::FRACTIONAL_FRAMERATES,
        Self::STORAGE_DIRECT,
        Self::STORAGE_S3,
        Self::STORAGE_GCS,
        Self::H264_BASELINE,
        Self::H264_MAIN,
        Self::H264_HIGH,
        Self::H264_CONSTRAINED_HIGH,
        Self::GOP,
    ];

    /// What go-livepeer calls it. 13 is out of use and has no name.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        let index = usize::try_from(self.0).ok()?;
        NAMES
            .get(index)
            .copied()
            .filter(|name: &&str| !name.is_empty())
    }

    /// What does the work of this pipeline: the name, with capitals and spaces taken back.
    ///
    /// As with go-livepeer any name can be asked for, not only those of pipelines; and `byoc`, which has no capital, cannot.
    #[must_use]
    pub fn of_pipeline(pipeline: &str) -> Option<Self> {
        let mut rest = pipeline.chars();
        let first = rest.next()?.to_ascii_uppercase();
        let is_it = |name: &str| {
            let mut letters = name.chars();
            letters.next() == Some(first)
                && letters.eq(rest
                    .clone()
                    .map(|letter| if letter == '-' { ' ' } else { letter }))
        };
        let found = NAMES.iter().position(|name| is_it(name))?;
        u32::try_from(found).ok().map(Self)
    }

    /// The pipeline that it does the work of; `None` for what is no pipeline.
    #[must_use]
    pub fn pipeline(self) -> Option<String> {
        let is_pipeline = (Self::TEXT_TO_IMAGE..=Self::TEXT_TO_SPEECH).contains(&self);
        self.name()
            .filter(|_| is_pipeline)
            .map(|name| name.to_ascii_lowercase().replace(' ', "-"))
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "capability {}", self.0),
        }
    }
}

/// A model's name, fit to be shown.
fn printable_model(id: &str) -> String {
    printable(id, MODEL_SHOWN_CHARS)
}

const MODEL_SHOWN_CHARS: usize = 100;

/// By number.
const NAMES: [&str; 38] = [
    "H.264",
    "MPEGTS",
    "MP4",
    "Fractional framerates",
    "Storage direct",
    "Storage S3",
    "Storage GCS",
    "H264 Baseline profile",
    "H264 Main profile",
    "H264 High profile",
    "H264 Constrained, Contained High profile",
    "GOP",
    "Auth token",
    "",
    "MPEG7 signature",
    "HEVC decode",
    "HEVC encode",
    "VP8 decode",
    "VP9 decode",
    "VP8 encode",
    "VP9 encode",
    "H264 Decode YUV444 8-bit",
    "H264 Decode YUV422 8-bit",
    "H264 Decode YUV444 10-bit",
    "H264 Decode YUV422 10-bit",
    "H264 Decode YUV420 10-bit",
    "Segment slicing",
    "Text to image",
    "Image to image",
    "Image to video",
    "Upscale",
    "Audio to text",
    "Segment anything 2",
    "Llm",
    "Image to text",
    "Live video to video",
    "Text to speech",
    "byoc",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_names_of_go_livepeer() {
        assert_eq!(Capability::H264.to_string(), "H.264");
        assert_eq!(
            Capability::H264_CONSTRAINED_HIGH.to_string(),
            "H264 Constrained, Contained High profile"
        );
        assert_eq!(Capability::AUTH_TOKEN.to_string(), "Auth token");
        assert_eq!(Capability::SEGMENT_SLICING.to_string(), "Segment slicing");
        assert_eq!(
            Capability::LIVE_VIDEO_TO_VIDEO.to_string(),
            "Live video to video"
        );
        assert_eq!(Capability::BYOC.to_string(), "byoc");
        for nameless in [13, 38, u32::MAX] {
            assert_eq!(Capability(nameless).name(), None);
            assert_eq!(
                Capability(nameless).to_string(),
                format!("capability {nameless}")
            );
        }
    }

    #[test]
    fn pipelines_and_capabilities_go_both_ways() {
        for (pipeline, capability) in [
            ("text-to-image", Capability::TEXT_TO_IMAGE),
            ("upscale", Capability::UPSCALE),
            ("segment-anything-2", Capability::SEGMENT_ANYTHING_2),
            ("llm", Capability::LLM),
            ("live-video-to-video", Capability::LIVE_VIDEO_TO_VIDEO),
            ("text-to-speech", Capability::TEXT_TO_SPEECH),
        ] {
            assert_eq!(Capability::of_pipeline(pipeline), Some(capability));
            assert_eq!(capability.pipeline().as_deref(), Some(pipeline));
        }
        for number in 27..=36 {
            let pipeline = Capability(number).pipeline().unwrap();
            assert_eq!(
                Capability::of_pipeline(&pipeline),
                Some(Capability(number)),
                "{pipeline}"
            );
        }
        for unknown in [
            "",
            "-",
            "byoc",
            "LIVE-video-to-video",
            "live-video-to-video ",
            "é",
        ] {
            assert_eq!(Capability::of_pipeline(unknown), None, "{unknown}");
        }
        assert_eq!(
            Capability::of_pipeline("auth-token"),
            Some(Capability::AUTH_TOKEN)
        );
        assert_eq!(Capability::AUTH_TOKEN.pipeline(), None);
        assert_eq!(Capability::BYOC.pipeline(), None);
    }

    #[test]
    fn the_sets_are_go_livepeers() {
        let words = |set: &[Capability]| set.iter().copied().collect::<Bits>().words().to_vec();
        assert_eq!(words(&Capability::DEFAULT), [0x0400_5fff]);
        assert_eq!(words(&Capability::LEGACY), [0x0fff]);
        assert_eq!(words(&Capability::OPTIONAL), [0x0015_fbe7_8000]);
    }
}
