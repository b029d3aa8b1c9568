//! What every end-to-end test uses: the relay as a process, the model as a simulator, a switch's leg as a socket.
//!
//! Runs in: the tests' threads. Owns the turn-taking of tests ([`alone`]). Never judges: the tests do.
//! Invariant: whatever is started here is ended when its value is dropped, also after a failed assertion.

pub(crate) mod admin;
pub(crate) mod asterisk;
pub(crate) mod audio_line;
pub(crate) mod event_socket;
pub(crate) mod haproxy;
pub(crate) mod leg;
pub(crate) mod model;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod recording;
pub(crate) mod relay;

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Name};
use tandem::dsp::resample::Resampler;
use tandem_loadtest::callgen::{Options, Report};
use tandem_loadtest::sim::TlsPem;

pub(crate) use asterisk::Asterisk;
pub(crate) use audio_line::AudioLine;
pub(crate) use haproxy::Haproxy;
pub(crate) use leg::{Leg, Told};
pub(crate) use model::Model;
pub(crate) use relay::Relay;

/// No test waits longer for anything. Far more than a loaded machine needs: it only bounds a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The key with which relays of tests go to the simulator. Looks like Google's, so that it is redacted like one.
pub(crate) const KEY: &str = "AIzaSyE2e-simulated_0123456789abcdefghij";

static TURNS: RwLock<()> = RwLock::new(());

/// For tests that measure or need the whole machine: no other test runs while the guard lives.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    TURNS.write().unwrap_or_else(PoisonError::into_inner)
}

/// For tests that do not mind company.
pub(crate) fn in_company() -> RwLockReadGuard<'static, ()> {
    TURNS.read().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the call generator with each of `runs` at the same time, against `relay`.
pub(crate) fn generate(relay: &Relay, runs: Vec<Options>) -> Vec<(Options, Report)> {
    let threads: Vec<_> = runs
        .into_iter()
        .map(|mut options| {
            if options.url.is_empty() {
                options.url = relay.url("/call");
            }
            let named = options.clone();
            (named, std::thread::spawn(move || tandem_loadtest::callgen::run(options)))
        })
        .collect();
    threads
        .into_iter()
        .map(|(options, thread)| {
            let report = thread.join().expect("the generator's thread lives");
            (options, report.expect("the options are right"))
        })
        .collect()
}

/// Noise that no resampler, gap or repetition leaves as it was: never 0, different for each seed.
pub(crate) fn noise(seed: u64, samples: usize) -> Vec<i16> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..samples)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % 12_000) as i16 - 6_000
        })
        .map(|sample| if sample == 0 { 1 } else { sample })
        .collect()
}

/// What `resampler` makes of the whole of `samples`.
pub(crate) fn resampled(mut resampler: Resampler, samples: &[i16]) -> Vec<i16> {
    let mut output =
        vec![0; (samples.len() * resampler.to().hz() as usize).div_ceil(resampler.from().hz() as usize)];
    let progress = resampler.process(samples, &mut output);
    assert_eq!(progress.consumed, samples.len());
    output.truncate(progress.produced);
    output
}

/// Audio at 16 kHz without its whole frames of silence, some of which the relay fills in while a switch sends nothing.
pub(crate) fn without_silence(samples: &[i16]) -> Vec<i16> {
    let frames = samples.chunks(320).filter(|frame| frame.iter().any(|sample| *sample != 0));
    frames.flatten().copied().collect()
}

/// A new certificate, its own authority, for localhost and 127.0.0.1, valid for a day.
pub(crate) fn certificate() -> TlsPem {
    let make = || -> Result<TlsPem, ErrorStack> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
        let mut name = X509Name::builder()?;
        name.append_entry_by_text("CN", "localhost")?;
        let name = name.build();
        let mut certificate = X509::builder()?;
        certificate.set_version(2)?;
        certificate.set_serial_number(BigNum::from_u32(1)?.to_asn1_integer()?.as_ref())?;
        certificate.set_subject_name(&name)?;
        certificate.set_issuer_name(&name)?;
        certificate.set_pubkey(&key)?;
        certificate.set_not_before(Asn1Time::days_from_now(0)?.as_ref())?;
        certificate.set_not_after(Asn1Time::days_from_now(1)?.as_ref())?;
        certificate.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        let names = SubjectAlternativeName::new()
            .dns("localhost")
            .ip("127.0.0.1")
            .build(&certificate.x509v3_context(None, None))?;
        certificate.append_extension(names)?;
        certificate.sign(&key, MessageDigest::sha256())?;
        Ok(TlsPem { certificate: certificate.build().to_pem()?, key: key.private_key_to_pem_pkcs8()? })
    };
    make().expect("OpenSSL makes a certificate")
}

/// A certificate for localhost and 127.0.0.1 in files, as an operator has it.
pub(crate) struct Files {
    /// The certificate, which is its own authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// What is in the two files.
    pub pem: TlsPem,
}

impl Files {
    /// Makes a certificate and writes it to files with this name in them.
    pub(crate) fn write(name: &str) -> Self {
        let pem = certificate();
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let certificate = directory.join(format!("e2e-{name}-certificate.pem"));
        let key = directory.join(format!("e2e-{name}-key.pem"));
        std::fs::write(&certificate, &pem.certificate).expect("a writable directory");
        std::fs::write(&key, &pem.key).expect("a writable directory");
        Self { certificate, key, pem }
    }
}
