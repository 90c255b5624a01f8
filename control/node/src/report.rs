//! What a start looks like: a table of two columns, bold and dim in a terminal, plain anywhere else.

/// How to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// With bold and dim.
    Terminal,
    /// Text only.
    Plain,
}

impl Style {
    /// Colours for a terminal, unless the user wants none (<https://no-color.org>).
    pub(crate) fn of(is_terminal: bool) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match is_terminal && !unwanted {
            true => Self::Terminal,
            false => Self::Plain,
        }
    }

    /// What a line is about.
    pub(crate) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// What names a value.
    pub(crate) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        match self {
            Self::Terminal => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

/// A table under a title.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    title: String,
    rows: Vec<(&'static str, String)>,
}

impl Report {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. A row with an empty name goes on with the one before.
    pub(crate) fn row(&mut self, name: &'static str, text: impl Into<String>) -> &mut Self {
        self.rows.push((name, text.into()));
        self
    }

    /// Adds a row that has as many lines as there are.
    pub(crate) fn rows(&mut self, name: &'static str, lines: &[String]) {
        for (n, line) in lines.iter().enumerate() {
            self.row(if n == 0 { name } else { "" }, line.as_str());
        }
    }

    pub(crate) fn render(&self, style: Style) -> String {
        let width = self
            .rows
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or(0);
        let mut text = format!("{}\n\n", style.bold(&self.title));
        for (name, value) in &self.rows {
            // Padded before it is coloured: escape codes have no width.
            let name = style.dim(&format!("{name:<width$}"));
            text.push_str(&format!("  {name}  {value}\n"));
        }
        text.push('\n');
        text
    }
}

/// Bytes for people: whole units where they are whole.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = UNITS.iter().find(|(_, shift)| count >> shift > 0);
    match unit {
        Some((name, shift)) if count.is_multiple_of(1 << shift) => {
            format!("{} {name}", count >> shift)
        }
        Some((name, shift)) => format!("{:.1} {name}", count as f64 / (1_u64 << shift) as f64),
        None => format!("{count} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_plain_when_piped() {
        let mut report = Report::new("millstream");
        report
            .row("service", "https://x")
            .row("", "more")
            .row("a", "b");
        assert_eq!(
            report.render(Style::Plain),
            "millstream\n\n  service  https://x\n           more\n  a        b\n\n"
        );
        let coloured = report.render(Style::Terminal);
        assert!(coloured.contains("\x1b[1mmillstream\x1b[0m"));
        assert!(coloured.contains("\x1b[2ma      \x1b[0m  b"));
    }

    #[test]
    fn bytes_are_readable() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(64 << 10), "64 KiB");
        assert_eq!(bytes(300_000_000), "286.1 MiB");
        assert_eq!(bytes(3 << 30), "3 GiB");
        assert_eq!(bytes(u64::MAX), "17179869184.0 GiB");
    }
}
