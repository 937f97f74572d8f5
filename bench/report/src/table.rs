//! The tables of the page.
//!
//! What must always hold: a cell names the place of its number in the document (a JSON pointer,
//! RFC 6901) and its value as it stands there; what is shown is that value with fewer digits.

use std::fmt::Write as _;

use serde_json::Value;

use crate::compare::{Comparison, Verdict};
use crate::outliers::Outlier;
use crate::{directions, told};

/// How a number is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unit {
    Count,
    PerSecond,
    BytesPerSecond,
    Nanoseconds,
}

/// A column: where its number stands in a direction, and what it says, in one sentence.
struct Column {
    title: &'static str,
    path: &'static str,
    unit: Unit,
    says: &'static str,
}

const COLUMNS: [Column; 13] = [
    Column {
        title: "IOPS",
        path: "/iops",
        unit: Unit::PerSecond,
        says: "Requests completed without error in a second, over the whole measured time.",
    },
    Column {
        title: "bandwidth",
        path: "/bw_bytes",
        unit: Unit::BytesPerSecond,
        says: "Bytes that those requests carried in a second; 1 MB is 1,000,000 bytes.",
    },
    Column {
        title: "requests",
        path: "/total_ios",
        unit: Unit::Count,
        says: "How many requests all other numbers of the row are made of.",
    },
    Column {
        title: "mean",
        path: "/LAT/mean",
        unit: Unit::Nanoseconds,
        says: "The mean latency, from sending a request to its completion.",
    },
    Column {
        title: "p50",
        path: "/LAT/percentile/50.000000",
        unit: Unit::Nanoseconds,
        says: "Half of the requests took no longer than this.",
    },
    Column {
        title: "p99",
        path: "/LAT/percentile/99.000000",
        unit: Unit::Nanoseconds,
        says: "99 of 100 requests took no longer than this.",
    },
    Column {
        title: "p99.9",
        path: "/LAT/percentile/99.900000",
        unit: Unit::Nanoseconds,
        says: "999 of 1000 requests took no longer than this; with fewer than some 10,000 requests \
               it rests on a handful of them.",
    },
    Column {
        title: "max",
        path: "/LAT/max",
        unit: Unit::Nanoseconds,
        says: "The slowest request.",
    },
    Column {
        title: "rt p50",
        path: "/rt_ns/percentile/50.000000",
        unit: Unit::Nanoseconds,
        says: "As p50, but from the moment at which a request was to be sent by the offered rate.",
    },
    Column {
        title: "rt p99",
        path: "/rt_ns/percentile/99.000000",
        unit: Unit::Nanoseconds,
        says: "As p99, but from the moment at which a request was to be sent by the offered rate: \
               what a user would have waited, queueing included.",
    },
    Column {
        title: "late",
        path: "/late_ios",
        unit: Unit::Count,
        says: "Requests that were sent more than 1 ms after their time, because those before them \
               were not done.",
    },
    Column {
        title: "unsent",
        path: "/unsent_ios",
        unit: Unit::Count,
        says: "Requests whose time came before the end and that were never sent.",
    },
    Column {
        title: "failed",
        path: "/failed_ios",
        unit: Unit::Count,
        says: "Requests that failed; they have no time in the percentiles.",
    },
];

/// What a row is headed with, then its cells.
struct Rows<'a> {
    document: usize,
    heads: Vec<String>,
    at: String,
    way: &'a Value,
    marked: bool,
}

/// The results of all documents, a row for each job and direction.
pub(crate) fn results(documents: &[(String, Value)]) -> String {
    let mut rows = Vec::new();
    for (number, (label, document)) in documents.iter().enumerate() {
        for (index, job) in document["jobs"].as_array().into_iter().flatten().enumerate() {
            for (word, way) in directions(job) {
                let name = job["jobname"].as_str().unwrap_or("?");
                rows.push(Rows {
                    document: number,
                    heads: vec![label.clone(), name.to_owned(), word.to_owned()],
                    at: format!("/jobs/{index}/{word}"),
                    way,
                    marked: false,
                });
            }
        }
    }
    if rows.is_empty() {
        return "<p>Nothing was measured.</p>".to_owned();
    }
    table(&["run", "job", "direction"], &rows)
}

/// The disks of a document, those that stand out and then the slowest first.
pub(crate) fn disks(number: usize, document: &Value, outliers: &[Outlier]) -> Option<String> {
    let disks = document["per_disk"].as_array().filter(|disks| disks.len() > 1)?;
    let mut rows = Vec::new();
    for (index, disk) in disks.iter().enumerate() {
        for (word, way) in directions(disk) {
            let p99 = told(way).and_then(|(_, family)| family["percentile"]["99.000000"].as_f64());
            let text = |key: &str| disk[key].as_str().unwrap_or("").to_owned();
            let marked = outliers.iter().any(|one| one.index == index && one.direction == word);
            let heads = vec![index.to_string(), text("name"), text("jobname"), word.to_owned()];
            let at = format!("/per_disk/{index}/{word}");
            rows.push((p99.unwrap_or(0.0), Rows { document: number, heads, at, way, marked }));
        }
    }
    rows.sort_by(|(a, x), (b, y)| y.marked.cmp(&x.marked).then(b.total_cmp(a)));
    let rows: Vec<Rows<'_>> = rows.into_iter().map(|(_, row)| row).collect();
    Some(table(&["number", "disk", "job", "direction"], &rows))
}

/// Where a number stands in its document, and the number; none where a row has none.
type Cell<'a> = Option<(String, &'a Value)>;

fn table(heads: &[&str], rows: &[Rows<'_>]) -> String {
    let shown: Vec<(&Column, Vec<Cell<'_>>)> = COLUMNS
        .iter()
        .map(|column| (column, rows.iter().map(|row| find(row, column)).collect::<Vec<_>>()))
        .filter(|(_, cells)| cells.iter().any(Option::is_some))
        .collect();
    let mut out = String::from("<div class=\"wide\"><table><thead><tr>");
    for head in heads {
        let _ = write!(out, "<th>{head}</th>");
    }
    for (column, _) in &shown {
        let _ = write!(out, "<th title=\"{}\">{}</th>", escape(column.says), column.title);
    }
    out.push_str("</tr></thead><tbody>\n");
    for (index, row) in rows.iter().enumerate() {
        out.push_str(if row.marked { "<tr class=\"marked\">" } else { "<tr>" });
        for head in &row.heads {
            let _ = write!(out, "<th>{}</th>", escape(head));
        }
        for (column, cells) in &shown {
            match &cells[index] {
                Some((path, value)) => {
                    let shown = show(value.as_f64().unwrap_or(0.0), column.unit);
                    let _ = write!(
                        out,
                        "<td data-document=\"{}\" data-path=\"{}\" data-value=\"{value}\">{shown}</td>",
                        row.document,
                        escape(path),
                    );
                }
                None => out.push_str("<td>–</td>"),
            }
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>");
    out
}

/// Where the number of a column stands, and what it is.
fn find<'a>(row: &Rows<'a>, column: &Column) -> Option<(String, &'a Value)> {
    let family = told(row.way).map_or("lat_ns", |(name, _)| name);
    let path = column.path.replace("LAT", family);
    let value = row.way.pointer(&path).filter(|value| value.is_number())?;
    Some((format!("{}{path}", row.at), value))
}

/// What each number says.
pub(crate) fn sentences() -> String {
    let mut out = String::from("<dl>");
    for column in &COLUMNS {
        let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", column.title, escape(column.says));
    }
    out.push_str("</dl>");
    out
}

/// Two runs side by side.
pub(crate) fn comparison(rows: &[Comparison]) -> String {
    let mut out = String::from(
        "<div class=\"wide\"><table><thead><tr><th>job</th><th>direction</th><th>number</th>\
         <th>A</th><th>B</th><th>B / A</th><th>95 % interval</th><th>verdict</th>\
         <th>made of</th></tr></thead><tbody>\n",
    );
    for row in rows {
        let unit = if row.metric == "IOPS" { Unit::PerSecond } else { Unit::Nanoseconds };
        let class = match row.verdict {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            _ => "open",
        };
        let (ratio, ends) = match row.ratio {
            Some(ratio) => {
                (format!("{:.3}", ratio.estimate), format!("{:.3} to {:.3}", ratio.low, ratio.high))
            }
            None => ("–".to_owned(), "–".to_owned()),
        };
        let _ = writeln!(
            out,
            "<tr><th>{}</th><th>{}</th><th>{}</th><td>{}</td><td>{}</td><td>{ratio}</td>\
             <td>{ends}</td><td class=\"{class}\">{}</td><td>{}</td></tr>",
            escape(&row.job),
            row.direction,
            row.metric.split(',').next().unwrap_or_default(),
            show(row.a, unit),
            show(row.b, unit),
            row.verdict.word(),
            escape(&row.ground),
        );
    }
    out.push_str("</tbody></table></div>");
    out
}

fn show(value: f64, unit: Unit) -> String {
    let (value, unit) = match unit {
        Unit::Count => return format!("{value:.0}"),
        Unit::PerSecond => match value {
            v if v >= 1e6 => (v / 1e6, "M"),
            v if v >= 1e4 => (v / 1e3, "k"),
            v => (v, ""),
        },
        Unit::BytesPerSecond => match value {
            v if v >= 1e9 => (v / 1e9, " GB/s"),
            v if v >= 1e6 => (v / 1e6, " MB/s"),
            v => (v / 1e3, " kB/s"),
        },
        Unit::Nanoseconds => match value {
            v if v >= 1e9 => (v / 1e9, " s"),
            v if v >= 1e6 => (v / 1e6, " ms"),
            v if v >= 1e3 => (v / 1e3, " µs"),
            v => (v, " ns"),
        },
    };
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}{unit}")
}

/// Text as it may stand in HTML.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        let cases = [
            (show(1_234_567.0, Unit::Nanoseconds), "1.23 ms"),
            (show(950.0, Unit::Nanoseconds), "950 ns"),
            (show(123_456.0, Unit::PerSecond), "123k"),
            (show(120.4, Unit::PerSecond), "120"),
            (show(4096.0, Unit::BytesPerSecond), "4.10 kB/s"),
        ];
        for (shown, expected) in cases {
            assert_eq!(shown, expected);
        }
        assert_eq!(escape("<a&\"b\">"), "&lt;a&amp;&quot;b&quot;&gt;");
    }
}
