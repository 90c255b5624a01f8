//! Amounts as text: a decimal, exactly, and the currency it is in.

use std::fmt;

use ruint::aliases::U256;

use super::rate::Rate;

/// What is wrong with an amount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadAmount {
    /// Not a decimal number.
    Text,
    /// Below 0.
    Negative,
    /// More digits than 256 bits hold.
    Digits,
    /// Not wei and not ether; the currency, shortened.
    Currency(String),
}

impl fmt::Display for BadAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("not a number"),
            Self::Negative => f.write_str("negative, and a price is not"),
            Self::Digits => f.write_str("more digits than can be held exactly"),
            Self::Currency(name) => write!(
                f,
                "the currency {name:?} needs a price feed of a chain, which this node does not read yet; give the price in wei"
            ),
        }
    }
}

impl std::error::Error for BadAmount {}

/// A number as JSON writes it.
pub(super) fn decimal(text: &str) -> Result<Rate, BadAmount> {
    let (is_negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, power(exponent)?),
        None => (text, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return Err(BadAmount::Text),
        None => (mantissa, ""),
    };
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
        return Err(BadAmount::Text);
    }
    let fraction = fraction.trim_end_matches('0');
    let value =
        U256::from_str_radix(&format!("{whole}{fraction}"), 10).map_err(|_| BadAmount::Digits)?;
    if value.is_zero() {
        return Ok(Rate::FREE);
    }
    if is_negative {
        return Err(BadAmount::Negative);
    }
    let places = i64::try_from(fraction.len()).map_err(|_| BadAmount::Digits)?;
    let shift = exponent - places;
    let scale = U256::from(10)
        .checked_pow(U256::from(shift.unsigned_abs()))
        .ok_or(BadAmount::Digits)?;
    if shift < 0 {
        return Ok(Rate::reduced(value, scale));
    }
    let value = value.checked_mul(scale).ok_or(BadAmount::Digits)?;
    Ok(Rate::reduced(value, U256::ONE))
}

/// What stands behind the `e`.
fn power(text: &str) -> Result<i64, BadAmount> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadAmount::Text);
    }
    let power: i32 = text.parse().map_err(|_| BadAmount::Digits)?;
    Ok(power.into())
}

/// An amount of a currency, in wei.
pub(super) fn in_wei(amount: Rate, currency: &str) -> Result<Rate, BadAmount> {
    match currency.to_ascii_lowercase().as_str() {
        "" | "wei" => Ok(amount),
        "eth" => amount.of_ether().ok_or(BadAmount::Digits),
        _ => Err(BadAmount::Currency(shortened(currency))),
    }
}

/// For messages: what somebody wrote, at most 64 characters of it.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

const SHOWN_CHARS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        for (text, rate) in [
            ("0", "0/1"),
            ("-0", "0/1"),
            ("0.000", "0/1"),
            ("1200", "1200/1"),
            ("0.5", "1/2"),
            ("12.50", "25/2"),
            ("1e12", "1000000000000/1"),
            ("1.5E+3", "1500/1"),
            ("25e-1", "5/2"),
            ("0.1", "1/10"),
            // What a float makes 0.30000000000000004.
            ("0.3", "3/10"),
            ("9007199254740993", "9007199254740993/1"),
        ] {
            assert_eq!(decimal(text).unwrap().to_string(), rate, "{text}");
        }
        let long = format!("0.{}1{}", "0".repeat(70), "0".repeat(200));
        assert!(!decimal(&long).unwrap().is_free());
    }

    #[test]
    fn what_is_no_price_is_refused() {
        for text in [
            "", "-", ".", "1.", ".5", "1,5", "0x10", "1e", "e5", "1e+", "+1", " 1", "NaN", "1/3",
            "--1", "1e1e1", "1.2.3", "٣",
        ] {
            assert_eq!(decimal(text), Err(BadAmount::Text), "{text:?}");
        }
        assert_eq!(decimal("-0.1"), Err(BadAmount::Negative));
        for text in ["1e78", "1e-78", "1e999999999999", "1e2147483647"] {
            assert_eq!(decimal(text), Err(BadAmount::Digits), "{text}");
        }
        assert_eq!(decimal(&"9".repeat(78)), Err(BadAmount::Digits));
    }

    #[test]
    fn wei_and_ether_are_understood_and_no_other_currency() {
        let half = decimal("0.5").unwrap();
        let in_wei = |currency| in_wei(half, currency).map(|rate| rate.to_string());
        for currency in ["", "wei", "WEI"] {
            assert_eq!(in_wei(currency), Ok("1/2".to_owned()));
        }
        assert_eq!(in_wei("ETH"), Ok("500000000000000000/1".to_owned()));
        assert_eq!(
            in_wei("USD").unwrap_err().to_string(),
            "the currency \"USD\" needs a price feed of a chain, which this node does not read yet; give the price in wei"
        );
    }
}
