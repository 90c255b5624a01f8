//! What a question came to, as Markdown: notes, tables, and verdicts that quote their numbers.

use std::fmt::{self, Write as _};

/// The answer to one question.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// What did it, with what, a line each.
    pub notes: Vec<String>,
    /// The figures.
    pub tables: Vec<Table>,
    /// What they are worth.
    pub verdicts: Vec<Verdict>,
}

/// Figures, a row a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// Whether a promise is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is; the numbers.
    Pass(String),
    /// It is not; the numbers.
    Fail(String),
    /// Nobody can tell here; why.
    NotJudged(String),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// What the question needs is not here.
    Absent(String),
    /// It is here and could not be measured.
    Failed(String),
}

impl Report {
    /// Whether a promise was judged and is not kept.
    pub fn has_failed(&self) -> bool {
        let failed = |verdict: &Verdict| matches!(verdict, Verdict::Fail(_));
        self.verdicts.iter().any(failed)
    }
}

impl Table {
    /// A table with these columns.
    pub fn new(head: impl Into<Vec<&'static str>>) -> Self {
        Self {
            head: head.into(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. What is missing at its end is left empty.
    pub fn row(&mut self, cells: impl Into<Vec<String>>) {
        let mut cells = cells.into();
        cells.resize(self.head.len(), String::new());
        self.rows.push(cells);
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl Verdict {
    /// Whether `value` reaches `least`.
    pub fn at_least(what: &str, value: f64, least: f64, unit: &str) -> Self {
        let text = format!("{what}: {value:.1} {unit}, promised at least {least:.1} {unit}");
        Self::of(value >= least, text)
    }

    /// Whether `value` stays under `most`.
    pub fn under(what: &str, value: f64, most: f64, unit: &str) -> Self {
        let text = format!("{what}: {value:.1} {unit}, promised under {most:.1} {unit}");
        Self::of(value < most, text)
    }

    /// One or the other.
    pub fn of(is_kept: bool, text: String) -> Self {
        if is_kept {
            Self::Pass(text)
        } else {
            Self::Fail(text)
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(f, "- {}", one_line(note))?;
        }
        for table in &self.tables {
            write!(f, "\n{table}")?;
        }
        if !self.verdicts.is_empty() {
            writeln!(f)?;
        }
        for verdict in &self.verdicts {
            writeln!(f, "- {verdict}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::new();
        let mut write = |cells: &mut dyn Iterator<Item = &str>| {
            line.clear();
            for cell in cells {
                // A bar within a cell would end it.
                let cell = one_line(cell).replace('|', "\\|");
                let _ = write!(line, "| {cell} ");
            }
            writeln!(f, "{line}|")
        };
        write(&mut self.head.iter().copied())?;
        write(&mut self.head.iter().map(|_| "---"))?;
        for row in &self.rows {
            write(&mut row.iter().map(String::as_str))?;
        }
        Ok(())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match self {
            Self::Pass(text) => ("PASS", text),
            Self::Fail(text) => ("FAIL", text),
            Self::NotJudged(text) => ("not judged", text),
        };
        write!(f, "**{word}** {}", one_line(text))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(what) => write!(f, "absent: {}", one_line(what)),
            Self::Failed(why) => write!(f, "not measured: {}", one_line(why)),
        }
    }
}

/// What a library says may have line breaks.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A rate, with as many digits as it deserves.
pub fn rate(a_second: f64) -> String {
    if a_second < 100.0 {
        format!("{a_second:.1}")
    } else {
        format!("{a_second:.0}")
    }
}

/// Decibels; equal pictures have no finite answer.
pub fn db(value: f64) -> String {
    if value >= kernels::psnr::EQUAL_DB {
        "∞ (identical)".to_owned()
    } else {
        format!("{value:.1}")
    }
}

/// Where a ratio of two rates is not one, as when nothing was measured below the line, it is nothing.
pub fn percent(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0 && part.is_finite()).then(|| part / whole * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_markdown_whatever_a_library_says() {
        let mut table = Table::new(["clip", "what"]);
        assert!(table.is_empty());
        table.row(["a".to_owned(), "x | y\nz".to_owned()]);
        table.row(["b".to_owned()]);
        assert_eq!(table.len(), 2);
        let report = Report {
            notes: vec!["by\nhand".to_owned()],
            tables: vec![table],
            verdicts: vec![
                Verdict::at_least("lane", 90.0, 90.0, "%"),
                Verdict::under("back", 1000.0, 1000.0, "ms"),
                Verdict::NotJudged("the CPU has no engine".to_owned()),
            ],
        };
        let expected = "\
- by hand

| clip | what |
| --- | --- |
| a | x \\| y z |
| b |  |

- **PASS** lane: 90.0 %, promised at least 90.0 %
- **FAIL** back: 1000.0 ms, promised under 1000.0 ms
- **not judged** the CPU has no engine
";
        assert_eq!(report.to_string(), expected);
        assert!(report.has_failed());
        assert!(!Report::default().has_failed());
    }

    #[test]
    fn numbers_as_people_read_them() {
        assert_eq!((rate(9.96), rate(1234.5)), ("10.0".into(), "1234".into()));
        assert_eq!(
            (db(127.0), db(51.26)),
            ("∞ (identical)".into(), "51.3".into())
        );
        assert_eq!(percent(45.0, 50.0), Some(90.0));
        assert_eq!(percent(45.0, 0.0), None);
        assert_eq!(percent(f64::NAN, 1.0), None);
    }

    #[test]
    fn trouble_is_one_line() {
        let absent = Trouble::Absent("no driver\n(not found)".to_owned());
        assert_eq!(absent.to_string(), "absent: no driver (not found)");
        let failed = Trouble::Failed("lost".to_owned());
        assert_eq!(failed.to_string(), "not measured: lost");
    }
}
