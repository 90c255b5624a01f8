//! A line chart as SVG: grid, axes, lines, and at the end of each line its name.
//!
//! ```text
//!   y title
//!   10 ┤┈┈┈┈┈┈┈┈┈┈┈┈┈╱──── max        names stand at the ends of their lines, and are moved
//!    1 ┤┈┈┈┈╱────────┈──── p99        apart where the ends are close
//!      └────┬────┬────┬──
//!           10   20   30  x title
//! ```
//!
//! Invariants:
//! - A value that is none, or has no place on its axis, is a gap; a point between two gaps is a dot.
//! - No two names overlap.

use std::fmt::Write as _;

use super::escaped;
use super::scale::Axis;

/// A chart.
#[derive(Debug)]
pub(super) struct Chart {
    /// For those who do not see it.
    pub(super) title: String,
    pub(super) size: Size,
    pub(super) x: Axis,
    pub(super) y: Axis,
    /// A second vertical axis, on the right.
    pub(super) right: Option<Axis>,
    pub(super) lines: Vec<Line>,
    /// Where something happened, and what: a mark on the floor.
    pub(super) marks: Vec<(f64, String)>,
    /// What shows under the pointer, from x to x.
    pub(super) hovers: Vec<(f64, f64, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Whole,
    Half,
}

/// A line.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    /// Of the style sheet: `a` to `f`, `quiet`.
    pub(super) colour: &'static str,
    pub(super) is_dashed: bool,
    pub(super) is_right: bool,
    pub(super) points: Vec<(f64, f64)>,
}

impl Line {
    pub(super) fn new(
        name: impl Into<String>,
        colour: &'static str,
        points: Vec<(f64, f64)>,
    ) -> Self {
        Self {
            name: name.into(),
            colour,
            is_dashed: false,
            is_right: false,
            points,
        }
    }

    pub(super) fn dashed(mut self) -> Self {
        self.is_dashed = true;
        self
    }

    pub(super) fn on_the_right(mut self) -> Self {
        self.is_right = true;
        self
    }
}

/// The plane within the axes, in pixels.
#[derive(Debug, Clone, Copy)]
struct Plane {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

impl Chart {
    /// As SVG; empty when there is nothing to draw.
    pub(super) fn svg(&self) -> String {
        if self.lines.iter().all(|line| line.points.is_empty()) {
            return "<p class=\"none\">nothing was measured</p>\n".to_owned();
        }
        let (width, height) = match self.size {
            Size::Whole => (1_040.0, 320.0),
            Size::Half => (510.0, 260.0),
        };
        let left = 58.0;
        let names = if self.right.is_some() { 168.0 } else { 118.0 };
        let plane = Plane {
            left,
            top: TOP,
            width: width - left - names,
            height: height - TOP - 46.0,
        };
        let mut svg = format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">\n",
            escaped(&self.title)
        );
        self.axes(&mut svg, plane);
        for (x, what) in &self.marks {
            if let Some(x) = self.x.place(*x) {
                let (x, floor) = (plane.left + x * plane.width, plane.top + plane.height);
                let _ = writeln!(
                    svg,
                    "<path class=\"mark\" d=\"M{x:.1} {:.1}l-5 9h10z\"><title>{}</title></path>",
                    floor - 9.0,
                    escaped(what)
                );
            }
        }
        let mut ends = Vec::new();
        for line in &self.lines {
            if let Some(end) = self.line(&mut svg, plane, line) {
                ends.push((end, line));
            }
        }
        self.names(&mut svg, plane, ends);
        for (from, to, text) in &self.hovers {
            let (Some(from), Some(to)) = (self.x.place(*from), self.x.place(*to)) else {
                continue;
            };
            let _ = writeln!(
                svg,
                "<rect class=\"hover\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
                plane.left + from * plane.width,
                plane.top,
                (to - from) * plane.width,
                plane.height,
                escaped(text)
            );
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn axes(&self, svg: &mut String, plane: Plane) {
        let (right, floor) = (plane.left + plane.width, plane.top + plane.height);
        for (value, label) in &self.y.ticks {
            let Some(place) = self.y.place(*value) else {
                continue;
            };
            let y = floor - place * plane.height;
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{:.1} {y:.1}H{right:.1}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                plane.left,
                plane.left - 8.0,
                y + 4.0,
                escaped(label)
            );
        }
        if let Some(axis) = &self.right {
            for (value, label) in &axis.ticks {
                if let Some(place) = axis.place(*value) {
                    let y = floor - place * plane.height;
                    let _ = writeln!(
                        svg,
                        "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                        right + 8.0,
                        y + 4.0,
                        escaped(label)
                    );
                }
            }
            let _ = writeln!(
                svg,
                "<text class=\"axis\" x=\"{:.1}\" y=\"14\">{}</text>",
                right + 8.0,
                escaped(&axis.title)
            );
        }
        for (value, label) in &self.x.ticks {
            let Some(place) = self.x.place(*value) else {
                continue;
            };
            let x = plane.left + place * plane.width;
            let _ = writeln!(
                svg,
                "<path class=\"stub\" d=\"M{x:.1} {floor:.1}v5\"/><text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                floor + 18.0,
                escaped(label)
            );
        }
        let _ = writeln!(
            svg,
            "<path class=\"floor\" d=\"M{:.1} {floor:.1}H{right:.1}\"/>\
             <text class=\"axis\" x=\"{:.1}\" y=\"14\">{}</text>\
             <text class=\"axis\" x=\"{right:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            plane.left,
            0.0,
            escaped(&self.y.title),
            floor + 36.0,
            escaped(&self.x.title)
        );
    }

    /// Draws it, and says where it ends.
    fn line(&self, svg: &mut String, plane: Plane, line: &Line) -> Option<(f64, f64)> {
        let axis = match (&self.right, line.is_right) {
            (Some(right), true) => right,
            _ => &self.y,
        };
        let places: Vec<Option<(f64, f64)>> = line
            .points
            .iter()
            .map(|(x, y)| {
                let (x, y) = (self.x.place(*x)?, axis.place(*y)?);
                Some((
                    plane.left + x * plane.width,
                    plane.top + (1.0 - y) * plane.height,
                ))
            })
            .collect();
        let dash = if line.is_dashed { " dashed" } else { "" };
        for run in places.split(Option::is_none) {
            let run: Vec<(f64, f64)> = run.iter().copied().flatten().collect();
            match run.as_slice() {
                [] => {}
                [(x, y)] => {
                    let _ = writeln!(
                        svg,
                        "<circle class=\"dot {}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>",
                        line.colour
                    );
                }
                run => {
                    let points: Vec<String> =
                        run.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
                    let _ = writeln!(
                        svg,
                        "<polyline class=\"line {}{dash}\" points=\"{}\"/>",
                        line.colour,
                        points.join(" ")
                    );
                }
            }
        }
        places.into_iter().flatten().next_back()
    }

    fn names(&self, svg: &mut String, plane: Plane, mut ends: Vec<((f64, f64), &Line)>) {
        ends.sort_by(|a, b| a.0.1.total_cmp(&b.0.1));
        let wanted: Vec<f64> = ends.iter().map(|((_, y), _)| *y).collect();
        let placed = apart(&wanted, NAME_HEIGHT, plane.top, plane.top + plane.height);
        let edge = plane.left + plane.width;
        let gap = if self.right.is_some() { 58.0 } else { 14.0 };
        for (((x, y), line), at) in ends.into_iter().zip(placed) {
            let text_x = edge + gap;
            // A short tie, so that a name that was moved still belongs to its line.
            if self.right.is_none() || (y - at).abs() > 1.0 {
                let _ = writeln!(
                    svg,
                    "<path class=\"tie {}\" d=\"M{:.1} {y:.1}L{:.1} {at:.1}\"/>",
                    line.colour,
                    x + 2.0,
                    text_x - 3.0
                );
            }
            let _ = writeln!(
                svg,
                "<text class=\"name {}\" x=\"{text_x:.1}\" y=\"{:.1}\">{}</text>",
                line.colour,
                at + 4.0,
                escaped(&line.name)
            );
        }
    }
}

/// Places that are at least `gap` apart, within `top` and `bottom` where there is room, each as near to what was wanted as a pass down
/// and a pass up bring it. `wanted` rises.
fn apart(wanted: &[f64], gap: f64, top: f64, bottom: f64) -> Vec<f64> {
    let mut placed: Vec<f64> = wanted.to_vec();
    let mut floor = top;
    for place in &mut placed {
        *place = place.max(floor);
        floor = *place + gap;
    }
    let mut ceiling = bottom;
    for place in placed.iter_mut().rev() {
        *place = place.min(ceiling);
        ceiling = *place - gap;
    }
    placed
}

/// Room for the vertical axis's title.
const TOP: f64 = 32.0;
const NAME_HEIGHT: f64 = 15.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        Chart {
            title: "a < b".to_owned(),
            size: Size::Whole,
            x: Axis::linear("s", 0.0, 10.0),
            y: Axis::from_zero("ms", points.iter().map(|(_, y)| *y)),
            right: None,
            lines: vec![Line::new("p99", "a", points)],
            marks: vec![(3.0, "5 & more".to_owned())],
            hovers: vec![(0.0, 1.0, "x".to_owned())],
        }
    }

    #[test]
    fn points_fall_within_the_plane_in_their_order() {
        let svg = chart((0..=10).map(|n| (f64::from(n), f64::from(n))).collect()).svg();
        let points = svg
            .split("points=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        let points: Vec<(f64, f64)> = points
            .split(' ')
            .map(|point| {
                let (x, y) = point.split_once(',').unwrap();
                (x.parse().unwrap(), y.parse().unwrap())
            })
            .collect();
        assert_eq!(points.len(), 11);
        for pair in points.windows(2) {
            assert!(pair[0].0 < pair[1].0 && pair[0].1 > pair[1].1, "{pair:?}");
        }
        assert!(
            (points[0].0 - 58.0).abs() < 0.1 && (points[0].1 - 274.0).abs() < 0.1,
            "{points:?}"
        );
        assert!(svg.contains("a &lt; b") && svg.contains("5 &amp; more"));
    }

    #[test]
    fn gaps_are_gaps_and_lone_points_are_dots() {
        let svg = chart(vec![(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 2.0)]).svg();
        assert_eq!(svg.matches("<polyline").count(), 1);
        assert_eq!(svg.matches("<circle").count(), 1);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(chart(Vec::new()).svg().contains("nothing was measured"));
        let svg = chart(vec![(f64::NAN, f64::NAN)]).svg();
        assert!(!svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn names_are_moved_apart_and_stay_within() {
        let placed = apart(&[10.0, 11.0, 12.0, 99.0, 99.5], 15.0, 0.0, 100.0);
        assert_eq!(placed, [10.0, 25.0, 40.0, 85.0, 100.0]);
        assert!(apart(&[], 15.0, 0.0, 100.0).is_empty());
    }
}
