//! The processes of a measurement: relay and simulator with what they need, and the relays beside them.
//!
//! Runs in: the `density` and `soak` binaries. Owns nothing: what is started is given away.
//! Invariant: every process's output has a file of its own name among the logs.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;
use crate::processes::{Process, StartError, start_sim, start_tandem};

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The relay.
    pub tandem: PathBuf,
    /// The simulator.
    pub gemini_sim: PathBuf,
    /// The null relay.
    pub null_relay: PathBuf,
    /// A Python that has what the naive relay needs, and that relay.
    pub python: PathBuf,
    /// See [`Self::python`].
    pub naive_relay: PathBuf,
    /// Where the processes' output goes.
    pub logs: PathBuf,
    /// More settings of the relay, `key=value`.
    pub settings: Vec<String>,
}

impl Programs {
    /// Makes the folder for the output.
    pub(crate) fn make_folder(&self) -> Result<(), StartError> {
        let what = || format!("cannot make {}", self.logs.display());
        std::fs::create_dir_all(&self.logs).map_err(|source| StartError { what: what(), source })
    }
}

/// A relay and what it needs, until dropped.
pub(crate) struct Relay {
    /// What is measured.
    pub(crate) process: Process,
    /// Where calls go.
    pub(crate) url: String,
    /// Not measured, but needed.
    _others: Vec<Process>,
}

/// The simulator that a relay talks to.
pub(crate) struct Sim<'a> {
    /// What the model says.
    pub(crate) voice: &'a str,
    /// By TLS, with a certificate of its own.
    pub(crate) is_tls: bool,
}

impl Sim<'_> {
    /// Returns each chunk at once.
    pub(crate) const ECHO: Sim<'static> = Sim { voice: "echo", is_tls: false };
}

impl Relay {
    /// This relay with more `settings`; `name` is that of its logs.
    pub(crate) fn tandem(
        programs: &Programs,
        name: &str,
        sim: &Sim<'_>,
        settings: &[&str],
    ) -> Result<Self, Error> {
        let log = |what: &str| programs.logs.join(format!("{what}-{name}.log"));
        let mut arguments = vec!["--voice", sim.voice];
        let mut all: Vec<String> = vec![
            // A generator is one address, and makes all calls of a step at once.
            "listen.max_calls_per_second_per_address=100000".to_owned(),
            "listen.max_calls_burst_per_address=100000".to_owned(),
            // What is too much is to be seen in the figures.
            "listen.refuse_when_overloaded=false".to_owned(),
        ];
        let pem = sim.is_tls.then(|| certificate(&programs.logs)).transpose()?;
        let pem: Vec<String> = pem.iter().flatten().map(|path| path.to_string_lossy().into_owned()).collect();
        if let [certificate, key] = pem.as_slice() {
            arguments.extend(["--tls-cert", certificate, "--tls-key", key]);
            all.push(format!("gemini.ca_file={certificate}"));
        }
        all.extend(settings.iter().map(|setting| (*setting).to_owned()));
        all.extend(programs.settings.iter().cloned());
        let (sim, addr) = start_sim(&programs.gemini_sim, &arguments, &log("gemini-sim"))?;
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let (process, url) = start_tandem(&programs.tandem, &addr, &all, &log("tandem"))?;
        Ok(Self { process, url, _others: vec![sim] })
    }

    /// The null relay.
    pub(crate) fn null(programs: &Programs) -> Result<Self, Error> {
        let log = |name: &str| programs.logs.join(name);
        let (sim, upstream) = start_sim(&programs.gemini_sim, &["--floor"], &log("gemini-sim-floor.log"))?;
        let mut command = Command::new(&programs.null_relay);
        command.args(["--listen", "127.0.0.1:0", "--upstream", &upstream]);
        let process = Process::start(command, &log("null-relay.log"))?;
        let addr = process.wait_for("null-relay listening on ")?;
        Ok(Self { process, url: format!("ws://{addr}/"), _others: vec![sim] })
    }

    /// The naive relay.
    pub(crate) fn naive(programs: &Programs) -> Result<Self, Error> {
        let log = |name: &str| programs.logs.join(name);
        if !programs.python.exists() {
            let what = format!(
                "{} is missing: make target/baseline/installed (or --python with one that has loadtest/baselines/requirements.txt)",
                programs.python.display()
            );
            return Err(StartError { what, source: std::io::ErrorKind::NotFound.into() }.into());
        }
        let (sim, addr) =
            start_sim(&programs.gemini_sim, &["--voice", "echo"], &log("gemini-sim-naive.log"))?;
        let mut command = Command::new(&programs.python);
        command.arg(&programs.naive_relay).args(["127.0.0.1:0", &format!("ws://{addr}")]);
        let process = Process::start(command, &log("naive-relay.log"))?;
        let addr = process.wait_for("naive relay listening on ")?;
        Ok(Self { process, url: format!("ws://{addr}/"), _others: vec![sim] })
    }
}

/// Processors of this machine.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

/// A certificate for 127.0.0.1 that lives for a day, and its key, made anew in `folder`.
fn certificate(folder: &Path) -> Result<[PathBuf; 2], StartError> {
    let [certificate, key] = ["simulator-cert.pem", "simulator-key.pem"].map(|name| folder.join(name));
    let mut command = Command::new("openssl");
    command
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "1",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    let fail = |said: String| {
        move |source| StartError { what: format!("openssl makes no certificate{said}"), source }
    };
    let output = command.output().map_err(fail(String::new()))?;
    if !output.status.success() {
        let said = format!(": {}", String::from_utf8_lossy(&output.stderr).trim());
        return Err(fail(said)(std::io::ErrorKind::Other.into()));
    }
    Ok([certificate, key])
}
