//! Charts as SVG. Every figure in them stands in a table beside them.

use std::fmt::Write as _;

use super::OUTCOMES;
use super::time::Timeline;
use crate::audit::text::html;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 26.0;

/// A chart that is being drawn.
struct Canvas {
    svg: String,
    /// The value at the top.
    top: f64,
    /// The room of a column.
    step: f64,
}

impl Canvas {
    fn new(id: &str, title: &str, columns: usize, top: f64) -> Self {
        let mut svg = String::new();
        // Writing to a String does not fail, here and below.
        let _ = write!(
            svg,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{id}\"><title id=\"{id}\">{}</title>",
            html(title)
        );
        #[expect(clippy::cast_precision_loss, reason = "a few dozen columns")]
        let step = (WIDTH - LEFT - RIGHT) / columns.max(1) as f64;
        Self { svg, top: top.max(1.0), step }
    }

    fn y(&self, value: f64) -> f64 {
        TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - value / self.top)
    }

    fn x(&self, column: usize) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a few dozen columns")]
        let column = column as f64;
        LEFT + column * self.step
    }

    fn grid(&mut self, values: &[f64], class: &str) {
        for value in values {
            let y = self.y(*value);
            let _ = write!(
                self.svg,
                "<line class=\"{class}\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text class=\"tick end\" x=\"{}\" y=\"{:.1}\">{value}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0
            );
        }
    }

    fn bar(&mut self, column: usize, (from, to): (f64, f64), class: &str, title: &str) {
        let (x, y) = (self.x(column) + self.step * 0.1, self.y(to));
        let (width, height) = (self.step * 0.8, self.y(from) - y);
        let _ = write!(
            self.svg,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"><title>{}</title></rect>",
            html(title)
        );
    }

    /// The first, the middle and the last time, under their columns.
    fn times(&mut self, times: &[String]) {
        let last = times.len().saturating_sub(1);
        let mut places = vec![(0, "start")];
        if times.len() >= 5 {
            places.push((last / 2, "middle"));
        }
        if last > 0 {
            places.push((last, "end"));
        }
        for (at, anchor) in places {
            let Some(time) = times.get(at) else { continue };
            let x = match anchor {
                "start" => LEFT,
                "end" => WIDTH - RIGHT,
                _ => self.x(at) + self.step / 2.0,
            };
            let y = HEIGHT - 8.0;
            let _ = write!(
                self.svg,
                "<text class=\"tick {anchor}\" x=\"{x:.1}\" y=\"{y}\">{}</text>",
                html(time)
            );
        }
    }

    fn end(mut self) -> String {
        self.svg.push_str("</svg>");
        self.svg
    }
}

/// Decisions by outcome over time, stacked.
pub(super) fn outcomes(timeline: &Timeline) -> String {
    let columns = timeline.columns();
    let totals = columns.iter().map(|(_, column)| column.outcomes.iter().sum::<u64>());
    let top = ceiling(totals.max().unwrap_or(0));
    let title = format!("Decisions by outcome, each column {}", timeline.width());
    let mut canvas = Canvas::new("chart-outcomes", &title, columns.len(), number(top));
    let half = if top.is_multiple_of(2) { vec![number(top / 2)] } else { Vec::new() };
    canvas.grid(&[vec![0.0], half, vec![number(top)]].concat(), "grid");
    let times: Vec<String> =
        columns.iter().map(|(time, _)| time.format(timeline.format()).to_string()).collect();
    for (at, ((_, column), time)) in columns.iter().zip(&times).enumerate() {
        let mut below = 0;
        for (name, count) in OUTCOMES.iter().zip(column.outcomes).filter(|(_, count)| *count > 0) {
            let ends = (number(below), number(below + count));
            let class = format!("o-{}", name.to_lowercase());
            canvas.bar(at, ends, &class, &format!("{time}: {count} {name}"));
            below += count;
        }
    }
    canvas.times(&times);
    canvas.end()
}

/// The highest and the average score over time.
pub(super) fn risk(timeline: &Timeline) -> String {
    let columns = timeline.columns();
    let title = format!("Risk of 100, highest and average, each column {}", timeline.width());
    let mut canvas = Canvas::new("chart-risk", &title, columns.len(), 100.0);
    canvas.grid(&[0.0, 100.0], "grid");
    let times: Vec<String> =
        columns.iter().map(|(time, _)| time.format(timeline.format()).to_string()).collect();
    for (at, ((_, column), time)) in columns.iter().zip(&times).enumerate() {
        if column.scored == 0 {
            continue;
        }
        let highest = number(column.risk_max);
        let average = number(column.risk_sum) / number(column.scored);
        let title = format!("{time}: highest {highest}, average {average:.1}");
        canvas.bar(at, (0.0, highest), "risk-max", &title);
        canvas.bar(at, ((average - 1.0).max(0.0), average + 1.0), "risk-mean", &title);
    }
    // Over the columns, or they could not be seen.
    canvas.grid(&[50.0, 70.0], "grid mark");
    canvas.times(&times);
    canvas.end()
}

/// Names and their figures as bars.
pub(super) fn bars(id: &str, title: &str, rows: &[(String, u64)]) -> String {
    const ROW: f64 = 26.0;
    let height = number(rows.len() as u64) * ROW + 4.0;
    let mut svg = String::new();
    let _ = write!(
        svg,
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"{id}\"><title id=\"{id}\">{}</title>",
        html(title)
    );
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    for (at, (name, count)) in rows.iter().enumerate() {
        let y = number(at as u64) * ROW + 2.0;
        let width = (WIDTH - 60.0) * number(*count) / number(most);
        let short: String = name.chars().take(80).collect();
        let _ = write!(
            svg,
            "<rect class=\"track\" x=\"0\" y=\"{y}\" width=\"{}\" height=\"20\" rx=\"3\"/><rect class=\"bar\" x=\"0\" y=\"{y}\" width=\"{width:.1}\" height=\"20\" rx=\"3\"/><text class=\"label\" x=\"8\" y=\"{}\">{}</text><text class=\"tick end\" x=\"{WIDTH}\" y=\"{}\">{count}</text>",
            WIDTH - 60.0,
            y + 14.5,
            html(&short),
            y + 14.5
        );
    }
    svg.push_str("</svg>");
    svg
}

/// A round number that is not less, nor more than it must be.
fn ceiling(value: u64) -> u64 {
    let mut power = 1_u64;
    while power.saturating_mul(10) < value {
        power = power.saturating_mul(10);
    }
    // From 10 on in tenths of the power.
    let (unit, factors) = if power < 10 {
        (power, [1, 2, 4, 6, 8, 10])
    } else {
        (power / 10, [12, 20, 30, 40, 60, 100])
    };
    factors.into_iter().map(|f| unit.saturating_mul(f)).find(|top| *top >= value).unwrap_or(value)
}

#[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
fn number(value: u64) -> f64 {
    value as f64
}
