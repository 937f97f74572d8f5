//! `isotherm report`: a page that shows one run, or two side by side.
//!
//! What must always hold: the documents are read whole before anything is written; the page goes
//! to standard output or to the file that is named, and nothing else does.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use serde_json::Value;

/// Makes a page of the JSON of one run, or compares two.
///
/// The documents are those of `isotherm bench --output-format=json` (json+ and html hold the
/// same), or fio's own; of fio's there are percentiles, but nothing over time, and so no verdict.
#[derive(clap::Args)]
pub(crate) struct ReportCommand {
    /// The run to show.
    a: PathBuf,
    /// The run to compare it with.
    b: Option<PathBuf>,
    /// Where the page goes [standard output].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl ReportCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let documents: Vec<(String, Value)> = [Some(&self.a), self.b.as_ref()]
            .into_iter()
            .flatten()
            .map(|p| read(p))
            .collect::<anyhow::Result<_>>()?;
        let page = isotherm_report::page(&documents)?;
        match &self.output {
            None => std::io::stdout().lock().write_all(page.as_bytes())?,
            Some(path) => {
                let same =
                    |input: &PathBuf| fs::canonicalize(input).ok() == fs::canonicalize(path).ok();
                ensure!(
                    !path.exists()
                        || ![Some(&self.a), self.b.as_ref()].into_iter().flatten().any(same),
                    "{} is one of the documents",
                    path.display()
                );
                fs::write(path, page).with_context(|| format!("can't write {}", path.display()))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn read(path: &Path) -> anyhow::Result<(String, Value)> {
    let text =
        fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    let document =
        isotherm_report::read(&text).with_context(|| format!("can't use {}", path.display()))?;
    let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok((name, document))
}
