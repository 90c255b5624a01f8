//! Quantities as people write them, and ranges of them.
//!
//! | kind | written | means |
//! |---|---|---|
//! | time | `2s`, `500ms`, `200us`, `1m`, a bare number is seconds | [`Duration`] |
//! | size | `16384`, `16k`, `16KiB`, `1M` | bytes; k and M are 1,024 and 1,048,576 |
//! | share | `2%`, `0.02` | a part of a whole, at most all of it |
//! | range | `4k..64k`, or one value | each stream draws its own, uniformly, from the run's seed |

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// Parses a time.
///
/// # Errors
/// Says what it should look like.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit.trim() {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "us" | "µs" => 1e-6,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        _ => return Err(format!("{text:?} is not a time; write 2s, 500ms or 1m")),
    };
    number
        .parse::<f64>()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number * scale).ok())
        .filter(|time| time.as_secs() <= DURATION_SECONDS_MAX)
        .ok_or_else(|| format!("{text:?} is not a time; write 2s, 500ms or 1m"))
}

/// Parses a size in bytes.
///
/// # Errors
/// Says what it should look like.
pub fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "k" | "K" | "KiB" | "kib" => 10,
        "M" | "MiB" | "m" => 20,
        "G" | "GiB" => 30,
        _ => return Err(format!("{text:?} is not a size; write 16384, 16k or 1M")),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| format!("{text:?} is not a size; write 16384, 16k or 1M"))
}

/// A time that reads as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time(pub Duration);

impl Time {
    /// In nanoseconds.
    pub fn ns(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        duration(text).map(Self)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A size that reads as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        size(text).map(Self)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A part of a whole: `2%` or `0.02`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Share(pub f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (number, scale) = match text.strip_suffix('%') {
            Some(number) => (number.trim_end(), 0.01),
            None => (text, 1.0),
        };
        number
            .parse::<f64>()
            .ok()
            .map(|number| number * scale)
            .filter(|share| (0.0..=1.0).contains(share))
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a share; write 5% or 0.05"))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded, since 0.07 of something is 7.000000000000001 % of it.
        write!(f, "{} %", (self.0 * 1e8).round() / 1e6)
    }
}

/// A value, or a range from which each stream draws its own. Both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span<T> {
    /// The least.
    pub min: T,
    /// The most.
    pub max: T,
}

impl<T: Copy> From<T> for Span<T> {
    fn from(value: T) -> Self {
        Self {
            min: value,
            max: value,
        }
    }
}

impl Span<u32> {
    /// One of them, each as likely as the others.
    pub fn draw(self, rng: &mut fastrand::Rng) -> u32 {
        rng.u32(self.min..=self.max)
    }
}

impl Span<Size> {
    /// One of them, each as likely as the others, in bytes.
    pub fn draw(self, rng: &mut fastrand::Rng) -> u64 {
        rng.u64(self.min.0..=self.max.0)
    }
}

impl Span<Time> {
    /// One of them, in nanoseconds.
    pub fn draw_ns(self, rng: &mut fastrand::Rng) -> u64 {
        rng.u64(self.min.ns()..=self.max.ns())
    }
}

impl<T: FromStr<Err: fmt::Display> + PartialOrd + Copy> FromStr for Span<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |text: &str| {
            text.trim()
                .parse::<T>()
                .map_err(|error| format!("{text:?}: {error}"))
        };
        let span = match text.split_once("..") {
            Some((min, max)) => Self {
                min: parse(min)?,
                max: parse(max)?,
            },
            None => parse(text)?.into(),
        };
        if span.min > span.max {
            return Err(format!("{text:?} is backwards; write the lesser end first"));
        }
        Ok(span)
    }
}

impl<T: fmt::Display + PartialEq> fmt::Display for Span<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            self.min.fmt(f)
        } else {
            write!(f, "{}..{}", self.min, self.max)
        }
    }
}

/// What is written as a string, or as a bare number, in a file.
struct Written<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Written<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quantity, such as 5, \"16k\", \"2s\" or \"4k..64k\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

macro_rules! written_as_text {
    ($($type:ty),+) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Written(std::marker::PhantomData))
            }
        }
    )+};
}

written_as_text!(Time, Size, Share, Span<u32>, Span<Size>, Span<Time>);

/// A day: nothing here runs, or waits, for longer.
const DURATION_SECONDS_MAX: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_read_as_people_write_them() {
        for (text, want_ns) in [
            ("2s", 2_000_000_000),
            ("500ms", 500_000_000),
            ("200us", 200_000),
            ("1.5", 1_500_000_000),
            ("1m", 60_000_000_000),
        ] {
            assert_eq!(text.parse::<Time>().unwrap().ns(), want_ns, "{text}");
        }
        for (text, want) in [("16384", 16_384), ("16k", 16_384), ("1MiB", 1 << 20)] {
            assert_eq!(text.parse::<Size>().unwrap().0, want, "{text}");
        }
        for (text, want) in [("2%", 0.02), ("0.1 %", 0.001), ("0.5", 0.5)] {
            assert_eq!(text.parse::<Share>().unwrap().0, want, "{text}");
            let again = text.parse::<Share>().unwrap().to_string();
            assert_eq!(again.parse::<Share>().unwrap().0, want, "{again}");
        }
        for wrong in ["", "5", "-1%", "101%", "nan", "inf"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
        for wrong in ["", "2 parsecs", "-1s", "1e99h"] {
            assert!(wrong.parse::<Time>().is_err(), "{wrong}");
        }
        for wrong in ["", "1.5k", "7 stone", "99999999999G"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_range_keeps_to_its_ends() {
        let span: Span<Size> = "4k..5k".parse().unwrap();
        let mut rng = fastrand::Rng::with_seed(7);
        let drawn: Vec<u64> = (0..1_000).map(|_| span.draw(&mut rng)).collect();
        assert!(drawn.iter().all(|&size| (4_096..=5_120).contains(&size)));
        assert!(drawn.iter().any(|&size| size != drawn[0]));
        assert!(
            "5k..4k"
                .parse::<Span<Size>>()
                .unwrap_err()
                .contains("backwards")
        );
        assert_eq!("3".parse::<Span<u32>>().unwrap(), 3.into());
    }

    #[test]
    fn a_file_may_write_numbers_or_text() {
        #[derive(Deserialize)]
        struct File {
            a: Span<u32>,
            b: Span<Size>,
            c: Time,
        }
        let file: File = toml::from_str("a = 5\nb = \"4k..8k\"\nc = 1.5").unwrap();
        assert_eq!(
            (file.a.max, file.b.max.0, file.c.ns()),
            (5, 8_192, 1_500_000_000)
        );
    }
}
