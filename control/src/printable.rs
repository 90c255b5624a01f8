//! What a peer wrote, fit to be shown: it may neither steer a terminal, nor end a line, nor fill a screen.

/// The first `chars_max` characters, with a mark where there were more. What is no visible character becomes U+FFFD.
#[must_use]
pub fn printable(text: &str, chars_max: usize) -> String {
    let mut chars = text.chars();
    let mut shown: String = chars
        .by_ref()
        .take(chars_max)
        .map(|c| if is_visible(c) { c } else { '\u{fffd}' })
        .collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Neither a control character nor one that turns the direction of what follows or has no width.
fn is_visible(c: char) -> bool {
    let is_trick = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !c.is_control() && !is_trick
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_steers_a_terminal() {
        assert_eq!(
            printable("grüße, builtin/edges", 99),
            "grüße, builtin/edges"
        );
        assert_eq!(printable("a\x1b[2J\r\nb\u{202e}c", 99), "a�[2J��b�c");
        assert_eq!(printable("abcdef", 3), "abc…");
        assert_eq!(printable("abc", 3), "abc");
        assert_eq!(printable("", 0), "");
    }
}
