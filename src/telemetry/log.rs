//! The log: one line for each event on standard error, in local time, without our secrets and with nothing invisible.
//!
//! `2026-11-22T15:40:36.123+01:00 INFO  tandem::threads::accept call 17: leg connected`
//!
//! Levels: error, a call or the process cannot go on and somebody should act; warn, degraded; info, the life of
//! processes and calls; debug, single messages; trace, everything. Speech and transcripts are what callers
//! said in private: nothing of them above debug.
//!
//! Runs in: whichever thread logs; never dsp, and on telephony and gemini never for each frame. Owns the format of a
//! line. Reads the wall clock, which nothing but the log does here. Invariant: one event is one line, whatever a peer
//! put into it; what a peer wrote stands in quotation marks ([`Quoted`](crate::base::Quoted)), and no character of a line is
//! invisible.

use std::io::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use log::{LevelFilter, SetLoggerError};

use super::redact::redact;
use crate::base::visible::visible;

/// Starts logging at `level` and above. `RUST_LOG` is honoured and wins, for example `info,tandem::net=debug`. The time
/// zone is that of `TZ`, else of the machine; an unknown one is reported and replaced by UTC.
///
/// # Errors
/// When something in the process has started a log before.
pub fn init(level: LevelFilter) -> Result<(), SetLoggerError> {
    let zone = TimeZone::try_system();
    let zone_in_use = zone.as_ref().cloned().unwrap_or(TimeZone::UTC);
    // Without RUST_LOG the level alone decides, which can be set anew while the process runs.
    let filtered = if has_filter() { level } else { LevelFilter::Trace };
    env_logger::Builder::new()
        .filter_level(filtered)
        .parse_env(env_logger::Env::new().filter("RUST_LOG").write_style("RUST_LOG_STYLE"))
        .format(move |line, record| {
            let style = line.default_level_style(record.level());
            let message = record.args().to_string();
            writeln!(
                line,
                "{} {style}{:<5}{style:#} {} {}",
                timestamp(Timestamp::now(), &zone_in_use),
                record.level(),
                record.target(),
                visible(&redact(&message))
            )
        })
        .try_init()?;
    set_level(level);
    if let Err(error) = zone {
        log::warn!(
            "times are in UTC, because the time zone is not known ({error}): set TZ, for example Europe/Berlin"
        );
    }
    Ok(())
}

/// Logs at `level` and above from now on, unless `RUST_LOG` decides.
pub fn set_level(level: LevelFilter) {
    if !has_filter() {
        log::set_max_level(level);
    }
}

fn has_filter() -> bool {
    std::env::var_os("RUST_LOG").is_some_and(|filter| !filter.is_empty())
}

/// A moment as the log writes it: ISO 8601 local time with milliseconds and the offset from UTC.
pub fn timestamp(moment: Timestamp, zone: &TimeZone) -> String {
    moment.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
}

/// Logs about one call, with its id in front, so that one `grep "call 17:"` shows its whole life:
/// `call_log!(info, id, "leg connected from {peer}")`. Nothing is formatted when the level is off.
#[macro_export]
macro_rules! call_log {
    ($level:ident, $id:expr, $($message:tt)+) => {
        ::log::$level!("call {}: {}", $id, ::std::format_args!($($message)+))
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment() -> Timestamp {
        "2026-11-22T14:40:36.1239Z".parse().unwrap()
    }

    #[test]
    fn a_time_is_local_with_milliseconds_and_offset() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(timestamp(moment(), &berlin), "2026-11-22T15:40:36.123+01:00");
        assert_eq!(
            timestamp("2026-07-01T00:00:00Z".parse().unwrap(), &berlin),
            "2026-07-01T02:00:00.000+02:00"
        );
        assert_eq!(timestamp(moment(), &TimeZone::UTC), "2026-11-22T14:40:36.123+00:00");
    }

    /// The offset in force is read once in a process, so the other zones are tried in processes of their own: this test
    /// starts itself again with `TZ` set.
    #[test]
    fn the_time_zone_is_that_of_tz() {
        const EXPECTED: &str = "TANDEM_TEST_EXPECTED_TIME";
        if let Ok(expected) = std::env::var(EXPECTED) {
            assert_eq!(timestamp(moment(), &TimeZone::try_system().unwrap()), expected);
            return;
        }
        for (zone, expected) in [
            ("Asia/Kolkata", "2026-11-22T20:10:36.123+05:30"),
            ("America/New_York", "2026-11-22T09:40:36.123-05:00"),
            ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-11-22T15:40:36.123+01:00"),
            ("UTC", "2026-11-22T14:40:36.123+00:00"),
        ] {
            let run = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "telemetry::log::tests::the_time_zone_is_that_of_tz"])
                .env("TZ", zone)
                .env(EXPECTED, expected)
                .output()
                .unwrap();
            let output = String::from_utf8_lossy(&run.stdout);
            assert!(run.status.success() && output.contains("1 passed"), "{zone}: {output}");
        }
    }

    /// What this process logs goes to its standard error, so the line is looked at from outside: this test starts itself
    /// again to write it.
    #[test]
    fn a_line_has_time_level_target_and_message_without_our_secrets_and_anything_invisible() {
        const CHILD: &str = "TANDEM_TEST_LOG_CHILD";
        if std::env::var_os(CHILD).is_some() {
            init(LevelFilter::Info).unwrap();
            super::super::redact::conceal(["own-secret-4711"]);
            assert!(init(LevelFilter::Info).is_err(), "a second log is refused");
            let peer = "10.0.0.1";
            call_log!(
                info,
                17,
                "leg connected from {peer}\nERROR \u{202e}forged, key=abc {}",
                "own-secret-4711"
            );
            log::debug!("not at this level");
            log::debug!(target: "chosen", "let through by RUST_LOG");
            return;
        }
        let run = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("telemetry::log::tests::a_line_has_time_level_target_and_message_without_our_secrets_and_anything_invisible")
            .env(CHILD, "1")
            .env("TZ", "Asia/Kolkata")
            .env("RUST_LOG", "chosen=debug")
            .output()
            .unwrap();
        let output = String::from_utf8(run.stderr).unwrap();
        let lines: Vec<&str> = output.lines().collect();
        assert!(run.status.success() && lines.len() == 2, "{output}");
        let (time, rest) = lines[0].split_once(' ').unwrap();
        assert!(time.ends_with("+05:30") && time.len() == "2026-11-22T15:40:36.123+01:00".len(), "{time}");
        assert_eq!(
            rest,
            r"INFO  tandem::telemetry::log::tests call 17: leg connected from 10.0.0.1\nERROR \u{202e}forged, key=abc (redacted)"
        );
        assert!(lines[1].ends_with("DEBUG chosen let through by RUST_LOG"), "{}", lines[1]);
    }
}
