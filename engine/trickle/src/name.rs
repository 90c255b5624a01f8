//! Channel names: what is a legal one, which session it belongs to, and the owner's token.
//!
//! A name is one path segment. `name~token` is the same channel, shown by someone who holds its owner's token; stock
//! peers build on the URLs they were given, so a token in the URL travels with them unasked.

/// The longest legal name, in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// Separates a name from the owner's token.
pub const TOKEN_MARK: char = '~';

/// What the four channels of a session append to its manifest id; the data channel of BYOC sessions likewise.
const SUFFIXES: [&str; 4] = ["-out", "-control", "-events", "-data"];

/// Whether `name` may name a channel: 1 to 256 bytes of visible ASCII, no slash, no token mark.
pub fn is_legal(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'~' | b'?' | b'#' | b'%'))
}

/// Splits `name~token` into the name and the token.
pub fn split_token(segment: &str) -> (&str, Option<&str>) {
    match segment.split_once(TOKEN_MARK) {
        Some((name, token)) => (name, Some(token)),
        None => (segment, None),
    }
}

/// Compares an owner's token with what a request shows, in time that does not depend on where they differ.
pub fn token_matches(owner: &str, shown: Option<&str>) -> bool {
    let shown = shown.unwrap_or("");
    let differ = owner
        .bytes()
        .zip(shown.bytes())
        .fold(0u8, |acc, (a, b)| acc | (a ^ b));
    owner.len() == shown.len() && differ == 0
}

/// Where a channel lives: the channels of one session share a home, so that its pipeline never leaves the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Home(u64);

impl Home {
    /// The home of a channel, by its name without token.
    pub fn of(name: &str) -> Self {
        let session = SUFFIXES
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(name);
        // FNV-1a, 64 bits: spreads short names well, and every shard must agree on it.
        let hash = session
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        // FNV's low bits are its weak ones; fold the high half in.
        Self(hash ^ (hash >> 32))
    }

    /// The shard, of `shards`, that owns this home.
    #[allow(clippy::cast_possible_truncation)] // a remainder of `shards` fits where `shards` did
    pub const fn shard(self, shards: usize) -> usize {
        (self.0 % shards as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_one_home() {
        for suffix in SUFFIXES {
            let mut name = alloc::string::String::from("4f1c");
            name.push_str(suffix);
            assert_eq!(Home::of(&name), Home::of("4f1c"));
        }
        assert_ne!(Home::of("4f1c"), Home::of("4f1d"));
    }

    #[test]
    fn homes_spread_over_shards() {
        let mut counts = [0usize; 4];
        for i in 0..4000 {
            counts[Home::of(&alloc::format!("{i:08x}")).shard(4)] += 1;
        }
        assert!(
            counts.iter().all(|&n| (800..1200).contains(&n)),
            "{counts:?}"
        );
    }

    #[test]
    fn tokens_split_and_match() {
        assert_eq!(split_token("abc~t0k"), ("abc", Some("t0k")));
        assert_eq!(split_token("abc"), ("abc", None));
        assert!(token_matches("t0k", Some("t0k")));
        assert!(!token_matches("t0k", Some("t0K")));
        assert!(!token_matches("t0k", Some("t0k1")));
        assert!(!token_matches("t0k", None));
    }

    #[test]
    fn names_are_one_visible_segment() {
        assert!(is_legal("a-b_c.9"));
        for bad in ["", "a/b", "a b", "a~b", "a\u{e9}", "a%2f"] {
            assert!(!is_legal(bad), "{bad}");
        }
    }
}
