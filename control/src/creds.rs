//! Segment credentials: what a gateway says of a segment or a payment, and signs in part.
//!
//! ```text
//!   signed: manifest id ‖ seq, 32 bytes ‖ hash, 32 bytes ‖ for each profile, 8 hexadecimal digits of the keccak256 of its name
//! ```
//!
//! Neither what the job needs nor the auth token, sizes, storage or duration are under the signature: that is the wire, and nobody should take
//! them for the sender's word. Both roles use this: an orchestrator reads, a gateway writes.

use std::fmt;

use proto::Message;
use proto::net::{SegData, VideoProfile};
use ticket::Hash;
use ticket::keccak::keccak256;

/// The longest segment, in milliseconds.
const DURATION_MS_MAX: i32 = 300_000;
/// Profiles that one segment may ask for; the transcoder of go-livepeer makes ten.
const PROFILES_MAX: usize = 64;

/// Credentials that were read, and say nothing that cannot be.
#[derive(Debug, Clone, PartialEq)]
pub struct Creds(SegData);

/// Why there are none, in go-livepeer's words where it has any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredsFault {
    /// Not base64.
    Encoding,
    /// Not the message.
    Malformed(String),
    /// A duration that no segment has.
    Duration,
    /// More profiles than anybody makes.
    Profiles,
}

impl fmt::Display for CredsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encoding => f.write_str("ErrSegEncoding"),
            Self::Malformed(how) => write!(f, "protobuf unmarshal error: {how}"),
            Self::Duration => f.write_str("invalid duration"),
            Self::Profiles => write!(f, "more than {PROFILES_MAX} profiles"),
        }
    }
}

impl std::error::Error for CredsFault {}

impl Creds {
    /// Of the message's bytes.
    ///
    /// # Errors
    /// See [`CredsFault`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CredsFault> {
        let data =
            SegData::decode(bytes).map_err(|error| CredsFault::Malformed(error.to_string()))?;
        if !(0..=DURATION_MS_MAX).contains(&data.duration) {
            return Err(CredsFault::Duration);
        }
        if profiles(&data).len() > PROFILES_MAX {
            return Err(CredsFault::Profiles);
        }
        Ok(Self(data))
    }

    /// What they say.
    #[must_use]
    pub const fn data(&self) -> &SegData {
        &self.0
    }

    /// What the signature is over.
    #[must_use]
    pub fn flatten(&self) -> Vec<u8> {
        flatten(&self.0)
    }
}

/// What the signature of credentials is over.
#[must_use]
pub fn flatten(data: &SegData) -> Vec<u8> {
    let mut flat = data.manifest_id.clone();
    flat.extend_from_slice(&[0; 24]);
    flat.extend_from_slice(&data.seq.unsigned_abs().to_be_bytes());
    flat.extend_from_slice(&Hash::from_wire(&data.hash).0);
    for profile in profiles(data) {
        let hash = keccak256(name(profile).as_bytes());
        flat.extend_from_slice(hex::encode(&hash[..4]).as_bytes());
    }
    flat
}

/// The profiles that count: the newest list that is filled.
#[must_use]
pub fn profiles(data: &SegData) -> &[VideoProfile] {
    let lists = [
        &data.full_profiles3,
        &data.full_profiles2,
        &data.full_profiles,
    ];
    let filled = lists.into_iter().find(|list| !list.is_empty());
    filled.map_or(&[], Vec::as_slice)
}

/// A receiver's name for a profile that has none.
fn name(profile: &VideoProfile) -> String {
    match profile.name.is_empty() {
        false => profile.name.clone(),
        true => format!(
            "net_{}x{}_{}",
            profile.width, profile.height, profile.bitrate
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> VideoProfile {
        VideoProfile {
            name: name.to_owned(),
            ..VideoProfile::default()
        }
    }

    #[test]
    fn what_is_signed_is_gos_byte_for_byte() {
        // The vector: manifest "movie", seq 7, two presets.
        let hash = keccak256(b"segment-bytes");
        assert_eq!(
            hex::encode(hash),
            "5fe7452c698fde6fe0496780c2076883d5d2712f16c3838c54b0dd89c9902cd5"
        );
        let data = SegData {
            manifest_id: b"movie".to_vec(),
            seq: 7,
            hash: hash.to_vec(),
            full_profiles: vec![named("P240p30fps16x9"), named("P360p30fps16x9")],
            ..SegData::default()
        };
        let flat = flatten(&data);
        let expected = format!(
            "6d6f766965{}07{}{}",
            "00".repeat(31),
            hex::encode(hash),
            hex::encode("c0a6517a93c717e7")
        );
        assert_eq!((flat.len(), hex::encode(&flat)), (85, expected));
        assert_eq!(
            hex::encode(keccak256(&flat)),
            "4b923d152c08bf3b5b85ad8a209d4ca7995ed9d5932ed67ce50207f665f3c0f8"
        );
    }

    #[test]
    fn the_newest_list_counts_and_a_nameless_profile_has_the_receivers_name() {
        let nameless = VideoProfile {
            width: 640,
            height: 360,
            bitrate: 1_000,
            ..VideoProfile::default()
        };
        let data = SegData {
            full_profiles: vec![named("old")],
            full_profiles3: vec![nameless],
            ..SegData::default()
        };
        let digits = hex::encode(&keccak256(b"net_640x360_1000")[..4]);
        assert!(flatten(&data).ends_with(digits.as_bytes()));
        assert_eq!(profiles(&SegData::default()), &[]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let parse = |data: &SegData| Creds::parse(&data.encode_to_vec()).map(drop);
        assert_eq!(parse(&SegData::default()), Ok(()));
        for duration in [-1, 300_001, i32::MIN] {
            let data = SegData {
                duration,
                ..SegData::default()
            };
            assert_eq!(parse(&data), Err(CredsFault::Duration));
        }
        let data = SegData {
            full_profiles2: vec![VideoProfile::default(); 65],
            ..SegData::default()
        };
        assert_eq!(parse(&data), Err(CredsFault::Profiles));
        assert!(matches!(
            Creds::parse(&[0xff]),
            Err(CredsFault::Malformed(_))
        ));
        // The absolute value, and of too long a hash the last bytes.
        let data = SegData {
            seq: i64::MIN,
            hash: vec![9; 40],
            ..SegData::default()
        };
        assert_eq!(flatten(&data).len(), 64);
    }
}
