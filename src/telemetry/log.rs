//! The log: one line for each event on standard error, in local time, without our secrets and with nothing invisible.
//!
//! `2026-11-22T15:40:36.123+01:00 INFO  tandem::threads::accept call 17: leg connected`
//!
//! Where standard error is the journal, the priority of sd-daemon(3) stands before it, so that `journalctl -p err` finds what it
//! asks for; a panic is an error. With `log.format = "json"` a line is an object of the same.
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
use log::{Level, LevelFilter, SetLoggerError};

use super::redact::redact;
use crate::base::visible::{visible, visible_json};

/// Starts logging at `level` and above, panics included, as lines of text or as objects of JSON. `RUST_LOG` is honoured and wins, for example `info,tandem::net=debug`. The time
/// zone is that of `TZ`, else of the machine; an unknown one is reported and replaced by UTC.
///
/// # Errors
/// When something in the process has started a log before.
pub fn init(level: LevelFilter, as_objects: bool) -> Result<(), SetLoggerError> {
    let is_for_journal = is_journal();
    let zone = TimeZone::try_system();
    let zone_in_use = zone.as_ref().cloned().unwrap_or(TimeZone::UTC);
    // Without RUST_LOG the level alone decides, which can be set anew while the process runs.
    let filtered = if has_filter() { level } else { LevelFilter::Trace };
    env_logger::Builder::new()
        .filter_level(filtered)
        .parse_env(env_logger::Env::new().filter("RUST_LOG").write_style("RUST_LOG_STYLE"))
        .format(move |line, record| {
            let (level, target, message) = (record.level(), record.target(), record.args().to_string());
            let (time, message) = (timestamp(Timestamp::now(), &zone_in_use), redact(&message));
            if is_for_journal {
                write!(line, "<{}>", priority(level))?;
            }
            if as_objects {
                return writeln!(line, "{}", as_json(&time, level, target, &message));
            }
            let style = line.default_level_style(level);
            writeln!(line, "{time} {style}{level:<5}{style:#} {target} {}", visible(&message))
        })
        .try_init()?;
    set_level(level);
    log_panics();
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

/// The same text with the priority of an error before each line, where standard error is the journal.
pub(crate) fn for_journal(text: &str) -> String {
    if !is_journal() {
        return text.to_owned();
    }
    text.lines().map(|line| format!("<{}>{line}\n", priority(Level::Error))).collect()
}

/// Whether standard error leads into the journal, and nobody has turned it elsewhere (systemd.exec(5), `$JOURNAL_STREAM`).
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(std::io::stderr())
        .is_ok_and(|file| format!("{}:{}", file.st_dev, file.st_ino) == stream)
}

/// The priority that sd-daemon(3) has for a level.
const fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

fn as_json(time: &str, level: Level, target: &str, message: &str) -> String {
    let level = level.as_str().to_ascii_lowercase();
    let mut object = serde_json::json!({"time": time, "level": level, "target": target, "message": message});
    let call = message.strip_prefix("call ").and_then(|rest| rest.split_once(": ")?.0.parse::<u64>().ok());
    if let Some(call) = call {
        object["call"] = call.into();
    }
    visible_json(&object.to_string()).into_owned()
}

/// A panic is an error of the log, with its backtrace where `RUST_BACKTRACE` asks for one. The log that is off leaves it to
/// standard error as before.
fn log_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !log::log_enabled!(Level::Error) {
            return before(panic);
        }
        let thread = std::thread::current();
        let place = panic.location().map_or(String::new(), |location| format!(" at {location}"));
        let payload = panic.payload();
        let formatted = payload.downcast_ref::<String>().map(String::as_str);
        let why = formatted.or_else(|| payload.downcast_ref().copied()).unwrap_or("no reason given");
        log::error!("thread {:?} panicked{place}: {why}", thread.name().unwrap_or("unnamed"));
        let backtrace = std::backtrace::Backtrace::capture();
        if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
            backtrace.to_string().lines().for_each(|line| log::error!("{line}"));
        }
    }));
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
            init(LevelFilter::Info, false).unwrap();
            super::super::redact::conceal(["own-secret-4711"]);
            assert!(init(LevelFilter::Info, false).is_err(), "a second log is refused");
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

    /// Standard error is a file here that says of itself that it is the journal: this test starts itself again to write it.
    #[test]
    fn in_the_journal_lines_have_priorities_and_a_panic_is_an_error() {
        use std::os::unix::fs::MetadataExt;
        const CHILD: &str = "TANDEM_TEST_JOURNAL_CHILD";
        const NAME: &str =
            "telemetry::log::tests::in_the_journal_lines_have_priorities_and_a_panic_is_an_error";
        if let Ok(format) = std::env::var(CHILD) {
            init(LevelFilter::Debug, format == "json").unwrap();
            log::warn!(target: "t", "degraded");
            call_log!(info, 17, "\"said\"\n\u{202e}");
            log::debug!(target: "t", "a single message");
            let _ =
                std::thread::Builder::new().name("worker".into()).spawn(|| panic!("no way")).unwrap().join();
            return;
        }
        let path = std::env::temp_dir().join(format!("tandem-journal-{}", std::process::id()));
        let written = |format: &str, stream: Option<&str>| -> Vec<String> {
            let file = std::fs::File::create(&path).unwrap();
            let own = file.metadata().map(|file| format!("{}:{}", file.dev(), file.ino())).unwrap();
            let run = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--nocapture", NAME])
                .env(CHILD, format)
                .env("JOURNAL_STREAM", stream.unwrap_or(&own))
                .env("TZ", "UTC")
                .env_remove("RUST_LOG")
                .env_remove("RUST_BACKTRACE")
                .stdout(std::process::Stdio::null())
                .stderr(file)
                .status()
                .unwrap();
            assert!(run.success());
            std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect()
        };
        let text = written("text", None);
        let begins: Vec<&str> = text.iter().map(|line| &line[..3]).collect();
        assert_eq!(begins, ["<4>", "<6>", "<7>", "<3>"], "{text:?}");
        assert!(
            text[3].contains("ERROR") && text[3].contains("thread \"worker\" panicked at src/"),
            "{}",
            text[3]
        );
        assert!(text[3].ends_with(": no way"), "{}", text[3]);
        let elsewhere = written("text", Some("1:1"));
        assert!(
            elsewhere.iter().all(|line| line.starts_with("20")),
            "no prefix where it is not the journal: {elsewhere:?}"
        );
        let json = written("json", None);
        let object: serde_json::Value = serde_json::from_str(json[1].strip_prefix("<6>").unwrap()).unwrap();
        assert!(json[1].contains(r"\u202e"), "{}", json[1]);
        assert_eq!((&object["level"], &object["call"]), (&"info".into(), &17.into()));
        assert_eq!(object["message"], "call 17: \"said\"\n\u{202e}");
        assert!(object["time"].as_str().unwrap().ends_with("+00:00") && object["target"].is_string());
        std::fs::remove_file(&path).unwrap();
    }
}
