//! What a server says when it refuses, as classes of errors: in its own words, and within bounds, since they are its own.

use std::collections::HashSet;

/// The classes that a worker has met.
#[derive(Debug, Default)]
pub(crate) struct Refusals(HashSet<String>);

impl Refusals {
    /// The class of what was said about a request of this kind, and whether it is the first of it.
    pub(crate) fn class(&mut self, kind: &str, said: &str) -> (String, bool) {
        let words = said
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(WORDS_MAX);
        let class = format!("{kind}: {}", words.collect::<String>().trim());
        if self.0.contains(&class) {
            return (class, false);
        }
        if self.0.len() >= CLASSES_MAX {
            return (format!("{kind}: others"), false);
        }
        self.0.insert(class.clone());
        (class, true)
    }
}

const WORDS_MAX: usize = 120;
const CLASSES_MAX: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_classes_within_bounds() {
        let mut refusals = Refusals::default();
        let mut class = |said: &str| refusals.class("grpc", said);
        assert_eq!(class("no\nroom\r"), ("grpc: no room".to_owned(), true));
        assert_eq!(class("no\troom"), ("grpc: no room".to_owned(), false));
        assert!(class(&"x".repeat(9_999)).0.len() <= 126);
        for n in 0..1_000 {
            class(&format!("{n}"));
        }
        assert_eq!(class("another"), ("grpc: others".to_owned(), false));
    }
}
