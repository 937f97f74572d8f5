//! A small plot of curves, written as SVG.
//!
//! What must always hold: every axis names its unit, every curve its name; the same data gives
//! the same bytes, so that a picture changes only when the model does.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 646.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 396.0;

/// Told apart with any eyesight (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// One axis.
pub(crate) struct Axis {
    /// What it shows, with the unit.
    pub(crate) label: &'static str,
    /// Where it begins and ends.
    pub(crate) range: (f64, f64),
    /// Where it is marked.
    pub(crate) ticks: Vec<f64>,
    /// Powers rather than multiples.
    pub(crate) log: bool,
}

impl Axis {
    /// Marked every `step`.
    pub(crate) fn linear(label: &'static str, range: (f64, f64), step: f64) -> Axis {
        let count = ((range.1 - range.0) / step).round() as u32;
        let ticks = (0..=count).map(|i| range.0 + f64::from(i) * step).collect();
        Axis { label, range, ticks, log: false }
    }

    /// Marked at `ticks`, with equal factors equally far apart.
    pub(crate) fn log(label: &'static str, ticks: &[f64]) -> Axis {
        let range = (ticks[0], ticks[ticks.len() - 1]);
        Axis { label, range, ticks: ticks.to_vec(), log: true }
    }

    /// From 0 to 1 along the axis.
    fn share(&self, value: f64) -> f64 {
        let (from, to) = self.range;
        if self.log { (value / from).ln() / (to / from).ln() } else { (value - from) / (to - from) }
    }
}

/// How points are drawn.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Style {
    /// Joined.
    Line,
    /// Joined, each with a dot.
    Dotted,
    /// Joined by dashes.
    Dashed,
    /// Each by itself: what others have published.
    Marks,
}

struct Curve {
    name: String,
    style: Style,
    points: Vec<(f64, f64)>,
}

/// A plot.
pub(crate) struct Plot {
    title: &'static str,
    x: Axis,
    y: Axis,
    curves: Vec<Curve>,
    spans: Vec<(f64, f64, f64)>,
    spans_name: &'static str,
}

impl Plot {
    /// An empty one.
    pub(crate) fn new(title: &'static str, x: Axis, y: Axis) -> Plot {
        Plot { title, x, y, curves: Vec::new(), spans: Vec::new(), spans_name: "" }
    }

    /// Adds a curve.
    pub(crate) fn curve(&mut self, name: impl Into<String>, style: Style, points: Vec<(f64, f64)>) {
        self.curves.push(Curve { name: name.into(), style, points });
    }

    /// Adds published ranges: at x, from y to y.
    pub(crate) fn ranges(&mut self, name: &'static str, spans: &[(f64, f64, f64)]) {
        self.spans = spans.to_vec();
        self.spans_name = name;
    }

    /// As SVG.
    pub(crate) fn svg(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"Helvetica, Arial, sans-serif\" \
             font-size=\"13\" fill=\"#222\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <clipPath id=\"area\"><rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{}\" height=\"{}\"/></clipPath>\n\
             <text x=\"{LEFT}\" y=\"30\" font-size=\"17\" font-weight=\"bold\">{}</text>",
            RIGHT - LEFT,
            BOTTOM - TOP,
            self.title
        );
        self.grid(&mut out);
        for &(x, from, to) in &self.spans {
            let (x, top, bottom) = (self.px(x), self.py(to), self.py(from));
            let _ = writeln!(
                out,
                "<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"18\" height=\"{:.1}\" rx=\"3\" \
                 fill=\"#999\" fill-opacity=\"0.45\"/>",
                x - 9.0,
                bottom - top
            );
        }
        let mut marks = 0;
        for (i, curve) in self.curves.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            let legend_y = TOP + 12.0 + 24.0 * i as f64;
            if curve.style == Style::Marks {
                for &(x, y) in &curve.points {
                    mark(&mut out, self.px(x), self.py(y), colour, marks);
                }
                mark(&mut out, RIGHT + 28.0, legend_y - 4.0, colour, marks);
                marks += 1;
            } else {
                self.line(&mut out, curve, colour);
                let dash = dash(curve.style);
                let _ = writeln!(
                    out,
                    "<line x1=\"{}\" y1=\"{1:.1}\" x2=\"{2}\" y2=\"{1:.1}\" stroke=\"{colour}\" \
                     stroke-width=\"2.5\"{dash}/>",
                    RIGHT + 16.0,
                    legend_y - 4.0,
                    RIGHT + 40.0,
                );
            }
            let _ = writeln!(
                out,
                "<text x=\"{}\" y=\"{legend_y:.1}\">{}</text>",
                RIGHT + 48.0,
                curve.name
            );
        }
        if !self.spans.is_empty() {
            let y = TOP + 12.0 + 24.0 * self.curves.len() as f64;
            let _ = writeln!(
                out,
                "<rect x=\"{}\" y=\"{:.1}\" width=\"18\" height=\"14\" rx=\"3\" fill=\"#999\" \
                 fill-opacity=\"0.45\"/>\n<text x=\"{}\" y=\"{y:.1}\">{}</text>",
                RIGHT + 19.0,
                y - 11.0,
                RIGHT + 48.0,
                self.spans_name
            );
        }
        out.push_str("</svg>\n");
        out
    }

    fn grid(&self, out: &mut String) {
        for &tick in &self.x.ticks {
            let x = self.px(tick);
            let _ = writeln!(
                out,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\" stroke=\"#e4e4e4\"/>\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                BOTTOM + 19.0,
                number(tick)
            );
        }
        for &tick in &self.y.ticks {
            let y = self.py(tick);
            let _ = writeln!(
                out,
                "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e4e4e4\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 4.5,
                number(tick)
            );
        }
        let (middle_x, middle_y) = ((LEFT + RIGHT) / 2.0, (TOP + BOTTOM) / 2.0);
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {TOP} V{BOTTOM} H{RIGHT}\" fill=\"none\" stroke=\"#444\"/>\n\
             <text x=\"{middle_x}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(22 {middle_y}) rotate(-90)\" \
             text-anchor=\"middle\">{}</text>",
            BOTTOM + 44.0,
            self.x.label,
            self.y.label
        );
    }

    fn line(&self, out: &mut String, curve: &Curve, colour: &str) {
        let path: Vec<String> = curve
            .points
            .iter()
            .map(|&(x, y)| format!("{:.1},{:.1}", self.px(x), self.py(y)))
            .collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" clip-path=\"url(#area)\" fill=\"none\" stroke=\"{colour}\" \
             stroke-width=\"2.2\" stroke-linejoin=\"round\"{}/>",
            path.join(" "),
            dash(curve.style)
        );
        if curve.style == Style::Dotted {
            for &(x, y) in &curve.points {
                let (x, y) = (self.px(x), self.py(y));
                let _ = writeln!(
                    out,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.4\" fill=\"{colour}\"/>"
                );
            }
        }
    }

    fn px(&self, x: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * self.x.share(x)
    }

    fn py(&self, y: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * self.y.share(y)
    }
}

fn dash(style: Style) -> &'static str {
    if style == Style::Dashed { " stroke-dasharray=\"7 5\"" } else { "" }
}

/// The shapes differ as well as the colours.
fn mark(out: &mut String, x: f64, y: f64, colour: &str, shape: usize) {
    let path = match shape % 4 {
        0 => "M-6 0 L0 -6 L6 0 L0 6 Z",
        1 => "M-5 -5 H5 V5 H-5 Z",
        2 => "M-6 5 L0 -6 L6 5 Z",
        _ => "M-6 -5 L0 6 L6 -5 Z",
    };
    let _ = writeln!(
        out,
        "<path d=\"{path}\" transform=\"translate({x:.1} {y:.1})\" fill=\"{colour}\" \
         stroke=\"#fff\"/>"
    );
}

/// Without a tail of zeros.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
