//! What happened when, as a document has it, as samples.
//!
//! What must always hold: the last stretch of time, which is rarely whole, is left out.

use serde_json::Value;

/// One direction of one job.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    pub(crate) every_s: f64,
    pub(crate) ios: Vec<f64>,
    pub(crate) bytes: Vec<f64>,
    /// Its times count from the intended start.
    pub(crate) is_response: bool,
    /// For each stretch: cell and count.
    cells: Vec<Vec<(usize, f64)>>,
    scale: Cells,
}

/// Where cells begin.
#[derive(Clone, Copy, Debug)]
struct Cells {
    first_ns: f64,
    per_octave: f64,
}

impl Cells {
    fn begin_ns(self, cell: usize) -> f64 {
        if cell == 0 {
            return 0.0;
        }
        let octave = ((cell - 1) as f64 / self.per_octave).floor();
        let part = (cell - 1) as f64 - octave * self.per_octave;
        self.first_ns * octave.exp2() * (1.0 + part / self.per_octave)
    }
}

impl Timeline {
    /// Of the `index`-th timeline of a document.
    pub(crate) fn read(document: &Value, job: &str, direction: &str) -> Option<Timeline> {
        let own = &document["isotherm"];
        let all = own["timelines"].as_array()?;
        let line = all.iter().find(|line| line["job"] == job)?;
        let way = line.get(direction)?;
        let numbers = |values: &Value| -> Vec<f64> {
            values.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
        };
        // From the intended start, where it is told: what a user waited.
        let from_intended = way["rt_cells"].as_array();
        let cells = from_intended.or(way["cells"].as_array())?.iter().map(|column| {
            let flat = numbers(column);
            flat.chunks_exact(2).map(|pair| (pair[0] as usize, pair[1])).collect()
        });
        let mut timeline = Timeline {
            every_s: line["every_ms"].as_f64()? / 1e3,
            is_response: from_intended.is_some(),
            ios: numbers(&way["ios"]),
            bytes: numbers(&way["bytes"]),
            cells: cells.collect(),
            scale: Cells {
                first_ns: own["cells"]["first_ns"].as_f64()?,
                per_octave: own["cells"]["per_octave"].as_f64()?,
            },
        };
        if timeline.len() > 1 {
            timeline.ios.pop();
            timeline.bytes.pop();
            timeline.cells.pop();
        }
        Some(timeline)
    }

    pub(crate) fn len(&self) -> usize {
        self.ios.len().min(self.cells.len())
    }

    /// I/Os a second of these stretches.
    pub(crate) fn iops(&self, stretches: &[usize]) -> f64 {
        let sum: f64 = stretches.iter().map(|at| self.ios[*at]).sum();
        sum / (stretches.len() as f64 * self.every_s)
    }

    /// The time within which `share` of the requests of these stretches were done, in
    /// nanoseconds: within a cell as if they lay evenly.
    pub(crate) fn quantile_ns(&self, stretches: &[usize], share: f64) -> f64 {
        let mut counts: Vec<f64> = Vec::new();
        for (cell, count) in stretches.iter().flat_map(|at| &self.cells[*at]) {
            if counts.len() <= *cell {
                counts.resize(cell + 1, 0.0);
            }
            counts[*cell] += count;
        }
        let wanted = counts.iter().sum::<f64>() * share;
        let mut sum = 0.0;
        for (cell, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            if sum + count >= wanted {
                let (from, to) = (self.scale.begin_ns(cell), self.scale.begin_ns(cell + 1));
                return from + (to - from) * ((wanted - sum) / count).clamp(0.0, 1.0);
            }
            sum += count;
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantiles_lie_within_their_cell() {
        let document = json!({"isotherm": {
            "cells": {"first_ns": 256, "per_octave": 8},
            "timelines": [{"job": "a", "every_ms": 500, "read": {
                "ios": [10, 30, 1], "bytes": [10, 30, 1], "cells": [[9, 10], [9, 10, 17, 20], [1, 1]]
            }}]
        }});
        let line = Timeline::read(&document, "a", "read").unwrap();
        assert_eq!((line.len(), line.iops(&[0, 1])), (2, 40.0));
        // Cell 9 is 512 to 576 ns, cell 17 is 1024 to 1152.
        assert_eq!(line.quantile_ns(&[0], 0.5), 544.0);
        assert_eq!(line.quantile_ns(&[1], 1.0), 1152.0);
        assert!(Timeline::read(&document, "a", "write").is_none());
        assert!(!line.is_response);
    }

    #[test]
    fn times_from_the_intended_start_count_where_they_are_told() {
        let document = json!({"isotherm": {
            "cells": {"first_ns": 256, "per_octave": 8},
            "timelines": [{"job": "a", "every_ms": 500, "read": {
                "ios": [10, 1], "bytes": [10, 1], "cells": [[9, 10], []], "rt_cells": [[17, 10], []]
            }}]
        }});
        let line = Timeline::read(&document, "a", "read").unwrap();
        assert_eq!((line.is_response, line.quantile_ns(&[0], 1.0)), (true, 1152.0));
    }
}
