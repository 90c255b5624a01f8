//! Numbers as people read them, the same in every report.

/// `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// About three digits that mean something, without an exponent: `0.123`, `1.23`, `12.3`, `1,234`. `–` for what is no number.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let magnitude = value.abs();
    if magnitude >= 999.5 {
        return whole(value);
    }
    let decimals = match magnitude {
        0.0 => 0,
        m if m >= 99.95 => 0,
        m if m >= 9.995 => 1,
        m if m >= 0.9995 => 2,
        m if m >= 0.001 => 3,
        _ => 5,
    };
    format!("{value:.decimals$}")
}

/// To the next whole number: `-1,234`.
pub(super) fn whole(value: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
    let magnitude = grouped(value.abs().round() as u64);
    if value < 0.0 {
        format!("-{magnitude}")
    } else {
        magnitude
    }
}

/// A whole number as one, and anything else as [`number`] has it.
pub(super) fn plain(value: f64) -> String {
    if value.is_finite() && value.fract() == 0.0 {
        whole(value)
    } else {
        number(value)
    }
}

/// A rate or a count in at most six characters: `950`, `5.00k`, `1.25M`.
pub(super) fn short(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    for (scale, unit) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if value.abs() >= scale * 0.9995 {
            let scaled = value / scale;
            let decimals = if scaled >= 99.95 {
                0
            } else if scaled >= 9.995 {
                1
            } else {
                2
            };
            return format!("{scaled:.decimals$}{unit}");
        }
    }
    if value.fract().abs() < 1e-9 {
        format!("{value:.0}")
    } else {
        number(value)
    }
}

/// A part of something as a percentage: `85 %`.
pub(super) fn percent(share: f64) -> String {
    if share.is_finite() {
        format!("{:.0} %", share * 100.0)
    } else {
        "–".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (value, text) in [
            (0.0, "0"),
            (0.000_012, "0.00001"),
            (0.1234, "0.123"),
            (1.2345, "1.23"),
            (9.999, "10.0"),
            (99.97, "100"),
            (999.7, "1,000"),
            (1_234_567.0, "1,234,567"),
            (-1_234.0, "-1,234"),
            (f64::NAN, "–"),
            (f64::INFINITY, "–"),
        ] {
            assert_eq!(number(value), text);
        }
        for (value, text) in [
            (0.0, "0"),
            (950.0, "950"),
            (2.5, "2.50"),
            (5_000.0, "5.00k"),
            (20_040.0, "20.0k"),
            (999_990.0, "1.00M"),
            (1.25e9, "1.25G"),
        ] {
            assert_eq!(short(value), text);
        }
        assert_eq!((grouped(0), grouped(1_000)), ("0".into(), "1,000".into()));
        assert_eq!(percent(0.853), "85 %");
        assert_eq!((plain(30.0), plain(2.5)), ("30".into(), "2.50".into()));
        assert_eq!(plain(f64::NAN), "–");
    }
}
