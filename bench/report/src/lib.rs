//! One page that shows a run, or two side by side.
//!
//! [`read`] takes the text of a document of `isotherm bench`, `isotherm load` or fio itself; [`page`] makes an
//! HTML page of one or more. The page is one file, asks nothing of any network, and holds the
//! documents that it was made of.
//!
//! What must always hold: every number on the page is one of a document, or is derived from one
//! as the sentence beside it says; nothing is said of two runs without an interval.
//!
//! ```text
//! document --> tables (here, so that they are there without scripts)
//!          --> outliers among disks, intervals of a comparison (here)
//!          --> charts (page.js: heat map, percentiles, rates, disks)
//! ```

mod compare;
mod outliers;
mod page;
mod resample;
mod table;
mod timeline;

use serde_json::Value;

pub use compare::{Comparison, Verdict, compare};
pub use outliers::{Outlier, outliers};
pub use page::page;

/// Why no page can be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The text is no JSON.
    #[error("it is not JSON: {0}")]
    NotJson(serde_json::Error),
    /// There is no document in it.
    #[error("there is no document in it")]
    Empty,
    /// It is JSON, and not of a run.
    #[error("it is no document of isotherm bench, isotherm load or fio: it has no jobs")]
    NoJobs,
    /// A page of nothing.
    #[error("no document was given")]
    NoDocument,
}

/// Reads the text of a document. Of several, as fio writes them with --status-interval, the last
/// is that of the whole run.
pub fn read(text: &str) -> Result<Value, ReportError> {
    let mut last = None;
    for document in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        last = Some(document.map_err(ReportError::NotJson)?);
    }
    let document = last.ok_or(ReportError::Empty)?;
    if document["jobs"].is_array() { Ok(document) } else { Err(ReportError::NoJobs) }
}

/// The directions of a job in which anything was done.
fn directions(job: &Value) -> impl Iterator<Item = (&'static str, &Value)> {
    let ways = ["read", "write", "trim", "delete", "mixed"].map(|word| (word, &job[word]));
    ways.into_iter().filter(|(_, way)| way["total_ios"].as_u64().unwrap_or(0) > 0)
}

/// The family of latencies of a direction that has percentiles.
fn told(way: &Value) -> Option<(&'static str, &Value)> {
    ["lat_ns", "clat_ns"]
        .into_iter()
        .map(|name| (name, &way[name]))
        .find(|(_, family)| family["percentile"].is_object())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_several_documents_counts() {
        let two = "{\"jobs\": [1]}\n{\"jobs\": [2]}\n";
        assert_eq!(read(two).unwrap()["jobs"][0], 2);
        assert!(matches!(read(""), Err(ReportError::Empty)));
        assert!(matches!(read("{}"), Err(ReportError::NoJobs)));
        assert!(matches!(read("{"), Err(ReportError::NotJson(_))));
    }
}
