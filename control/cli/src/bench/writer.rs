//! Where results go, and in which formats.
//!
//! What must always hold: standard output, or the file of `--output`, carries documents and
//! nothing else, each whole; a run always ends with one, also where it could not begin. If the
//! file can't be written to its end, the document goes to standard output.

use std::fs::File;
use std::io::Write;

use anyhow::Context;
use isotherm_load::{FORMATS, Report, Style, failed_document, json_text};
use isotherm_seam::Wall;
use serde_json::Value;

/// One way to write results.
#[derive(Clone, Copy)]
pub(super) struct Writer {
    pub(super) name: &'static str,
    write: How,
}

#[derive(Clone, Copy)]
enum How {
    /// A row of the runner's table.
    Plain(fn(&Report, &Style) -> String),
    /// A document in JSON, with bins or without, on lines of its own or on one.
    Json { bins: bool, one_line: bool },
    /// A page that shows itself.
    Html,
}

impl Writer {
    /// The way that is called so.
    pub(super) fn named(name: &str) -> Option<Writer> {
        if name == "html" {
            return Some(Writer { name: "html", write: How::Html });
        }
        let format = FORMATS.iter().find(|format| format.name == name)?;
        let write = match name {
            "json" => How::Json { bins: false, one_line: false },
            "json+" => How::Json { bins: true, one_line: false },
            "jsonl" => How::Json { bins: false, one_line: true },
            _ => How::Plain(format.write),
        };
        Some(Writer { name: format.name, write })
    }

    /// Where fio puts it among several.
    pub(super) fn turn(&self) -> usize {
        FORMATS.iter().position(|format| format.name == self.name).unwrap_or(FORMATS.len())
    }
}

/// What is written beside a report: under these keys of `isotherm` in a document, and as text.
#[derive(Default)]
pub(super) struct Beside {
    pub(super) keys: Vec<(&'static str, Value)>,
    pub(super) text: String,
}

/// Where documents go.
pub(super) struct Outlet {
    formats: Vec<Writer>,
    style: Style,
    file: Option<(String, File)>,
    /// The file could not be written to its end.
    broken: bool,
}

impl Outlet {
    /// Opens the file first: a run whose results can't be kept should not begin.
    pub(super) fn open(
        formats: Vec<Writer>,
        style: Style,
        path: Option<&str>,
    ) -> anyhow::Result<Outlet> {
        let file = path.map(|path| {
            let file =
                File::create(path).with_context(|| format!("can't write the results to {path}"))?;
            anyhow::Ok((path.to_owned(), file))
        });
        Ok(Outlet { formats, style, file: file.transpose()?, broken: false })
    }

    /// Writes the results in every format. Complaints that only a document would carry are also
    /// said.
    pub(super) fn write(&mut self, report: &Report, beside: &Beside) -> anyhow::Result<()> {
        let mut text = String::new();
        for format in &self.formats {
            match format.write {
                How::Plain(write) => {
                    text.push_str(&write(report, &self.style));
                    if format.name == "normal" {
                        text.push_str(&beside.text);
                    }
                }
                How::Json { bins, one_line } => {
                    text.push_str(&lines(&self.document(report, beside, bins), one_line));
                }
                How::Html => {
                    let document = self.document(report, beside, true);
                    text.push_str(&isotherm_report::page(&[("this run".into(), document)])?);
                }
            }
        }
        self.put(&text)
    }

    /// Ends a run that could not begin, for readers who wait for a document.
    pub(super) fn write_failure(&mut self, now: Wall, error: &str) -> anyhow::Result<()> {
        let document = failed_document(&self.style, now, error);
        let mut text = String::new();
        for format in &self.formats {
            match format.write {
                How::Plain(_) => {}
                How::Json { one_line, .. } => text.push_str(&lines(&document, one_line)),
                How::Html => {
                    let page = [("this run".into(), document.clone())];
                    text.push_str(&isotherm_report::page(&page)?);
                }
            }
        }
        self.put(&text)
    }

    /// Whether all results are where they were wanted.
    pub(super) fn is_whole(&self) -> bool {
        !self.broken
    }

    /// Whether complaints stand in what is written, for a person to read.
    pub(super) fn is_for_people(&self) -> bool {
        self.file.is_none() && self.formats.iter().any(|format| format.name == "normal")
    }

    fn document(&self, report: &Report, beside: &Beside, bins: bool) -> Value {
        let mut document = report.to_json(&self.style, bins);
        for (key, value) in &beside.keys {
            document["isotherm"][*key] = value.clone();
        }
        document
    }

    fn put(&mut self, text: &str) -> anyhow::Result<()> {
        let Some((path, file)) = &mut self.file else {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes())?;
            return Ok(out.flush()?);
        };
        if let Err(error) = file.write_all(text.as_bytes()).and_then(|()| file.flush()) {
            eprintln!("isotherm: can't write {path} ({error}): results go to standard output");
            self.file = None;
            self.broken = true;
            return self.put(text);
        }
        Ok(())
    }
}

fn lines(document: &Value, one_line: bool) -> String {
    if one_line { document.to_string() + "\n" } else { json_text(document) }
}
