//! `isotherm ca`: the cluster's own certificate authority.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use isotherm_host::HostClock;
use isotherm_seam::Clock;
use isotherm_transport::Ca;

use crate::cluster::folder::{CERT_DAYS, issue, read_ca, write_ca};

/// Makes and renews the certificates by which nodes and frontends know each other.
///
/// A folder holds the authority: roots.pem, which everybody needs, and key.pem, which nobody else
/// may have.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  isotherm ca init --dir ca
  isotherm ca issue --dir ca node7 --ip 10.0.0.7 --out node7
  isotherm ca rotate --dir ca               the old key stays trusted, new certificates use the new one
  isotherm ca rotate --dir ca --forget      ends that, when every certificate was issued anew")]
pub(crate) struct CaCommand {
    #[command(subcommand)]
    verb: CaVerb,
}

#[derive(clap::Subcommand)]
enum CaVerb {
    /// Makes a new authority
    Init {
        /// Its folder
        #[arg(long, value_name = "FOLDER")]
        dir: PathBuf,
    },
    /// Makes a certificate and its key
    Issue {
        /// The authority's folder
        #[arg(long, value_name = "FOLDER")]
        dir: PathBuf,
        /// The name of the node, as its file and the cluster map say it
        name: String,
        /// An address of it; may be repeated
        #[arg(long, value_name = "IP")]
        ip: Vec<IpAddr>,
        /// Days for which it holds
        #[arg(long, value_name = "N", default_value_t = CERT_DAYS)]
        days: u32,
        /// The folder that gets cert.pem and key.pem
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
    },
    /// Makes a new key for the authority; the old one stays trusted
    Rotate {
        /// Its folder
        #[arg(long, value_name = "FOLDER")]
        dir: PathBuf,
        /// No new key: trust only the present one from now on
        #[arg(long)]
        forget: bool,
    },
}

impl CaCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let now = HostClock::new().wall();
        match self.verb {
            CaVerb::Init { dir } => {
                ensure!(
                    !dir.join("key.pem").exists(),
                    "{}: there is an authority already: `isotherm ca rotate` gives it a new key",
                    dir.display()
                );
                write_ca(&dir, &Ca::create("isotherm", now)?)?;
            }
            CaVerb::Issue { dir, name, ip, days, out } => {
                issue(&read_ca(&dir)?, &out, &name, &ip, days, now)?;
            }
            CaVerb::Rotate { dir, forget: false } => write_ca(&dir, &read_ca(&dir)?.rotate(now)?)?,
            CaVerb::Rotate { dir, forget: true } => {
                let mut ca = read_ca(&dir)?;
                ca.forget_older();
                write_ca(&dir, &ca)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
