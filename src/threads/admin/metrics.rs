//! `GET /metrics`: what was counted, and how the relay stands now, in the text format of Prometheus.
//!
//! Runs in: the admin thread. Owns nothing. Never waits for another thread.
//! Invariant: docs/metrics.md names every metric, which a test below keeps true.

use std::sync::Arc;

use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;

use super::Admin;
use super::access::Asker;
use super::response::Response;
use super::routes::Routes;
use crate::telemetry::MetricKind;
use crate::telemetry::exposition::{self, Family, families};
use crate::threads::store::StoreState;

/// Hundredths of a second: the unit in which Linux tells every process its processor time, whatever the kernel's own.
const TICKS_PER_SECOND: f64 = 100.0;

/// The paths of this file.
pub(super) fn routes() -> Routes {
    Routes::new().get("/metrics", metrics)
}

/// Written on another thread, because it takes some milliseconds in which this one answers others.
async fn metrics(Asker { admin, peer }: Asker) -> axum::response::Response {
    let Some(place) = admin.metrics.take(peer) else {
        let why = "the metrics are being read already, as often as they may be at one time: try again";
        return Response::error(503, why).into_response();
    };
    let written = tokio::task::spawn_blocking(move || {
        let text = exposition::text(&all(&admin));
        drop(place);
        text
    });
    match written.await {
        Ok(text) => ([(CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response(),
        Err(_) => Response::error(503, "the relay is ending").into_response(),
    }
}

/// Every metric.
fn all(admin: &Admin) -> Vec<Family> {
    let mut all = families(&admin.relay.counters);
    all.extend(states(&admin.state()));
    all.extend(process());
    all
}

/// How the relay stands.
pub(super) struct RelayState {
    pub(super) calls_max: usize,
    pub(super) draining: bool,
    pub(super) began_s: f64,
    /// The sessions of each credential by its name, and whether it takes calls.
    pub(super) credentials: Vec<(Arc<str>, usize, bool)>,
    pub(super) store: StoreState,
    pub(super) streams: usize,
}

fn states(state: &RelayState) -> Vec<Family> {
    let by_name = |name, help| Family::new(name, help, MetricKind::Gauge, Some("credential"));
    let number = |is: bool| f64::from(u8::from(is));
    let credentials = &state.credentials;
    let (records, bytes) = match &state.store {
        StoreState::Spooling { records, bytes, .. } => (*records as f64, *bytes as f64),
        _ => (0.0, 0.0),
    };
    vec![
        Family::new(
            "tandem_build_info",
            "The version that runs; always 1.",
            MetricKind::Gauge,
            Some("version"),
        )
        .with(env!("CARGO_PKG_VERSION"), 1.0),
        Family::gauge(
            "tandem_max_calls",
            "Calls that may run at one time (listen.max_calls).",
            state.calls_max as f64,
        ),
        Family::gauge(
            "tandem_draining",
            "1 while no new call is taken because the relay is to end.",
            number(state.draining),
        ),
        credentials.iter().fold(
            by_name("tandem_credential_sessions", "Calls that hold a lease of a credential."),
            |family, (name, sessions, _)| family.with(name, *sessions as f64),
        ),
        credentials.iter().fold(
            by_name(
                "tandem_credential_usable",
                "1 while a credential takes calls, 0 while it is left alone.",
            ),
            |family, (name, _, usable)| family.with(name, number(*usable)),
        ),
        state_of_store(&state.store),
        Family::gauge(
            "tandem_store_spooled_records",
            "Records of calls that wait on disk for the database.",
            records,
        ),
        Family::gauge(
            "tandem_store_spooled_bytes",
            "Bytes of records that wait on disk for the database.",
            bytes,
        ),
        Family::gauge(
            "tandem_event_streams",
            "Streams of server-sent events that are open.",
            state.streams as f64,
        ),
        Family::gauge(
            "process_start_time_seconds",
            "When the process began, in seconds since 1970.",
            state.began_s,
        ),
    ]
}

/// The state of the store: 1 at the one that it is in.
fn state_of_store(state: &StoreState) -> Family {
    let help = "How the store of records fares: 1 at its state, 0 at the others (failing loses records).";
    let family = Family::new("tandem_store_state", help, MetricKind::Gauge, Some("state"));
    ["off", "ok", "spooling", "failing"]
        .into_iter()
        .fold(family, |family, label| family.with(label, f64::from(u8::from(state.label() == label))))
}

/// What Linux tells of the process, under the names that Prometheus' own libraries use. What cannot be read is 0.
fn process() -> Vec<Family> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let status = read("status");
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    // Behind the name in parentheses, which may hold spaces, utime and stime are the 12th and the 13th field.
    let stat = read("stat");
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    let ticks: f64 = fields.filter_map(|field| field.parse::<f64>().ok()).sum();
    let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    vec![
        Family::counter(
            "process_cpu_seconds_total",
            "Processor time of the process, user and system.",
            ticks / TICKS_PER_SECOND,
        ),
        Family::gauge(
            "process_resident_memory_bytes",
            "Memory of the process that is in RAM.",
            kib("VmRSS:").unwrap_or_default() * 1024.0,
        ),
        Family::gauge("process_open_fds", "File descriptors that are open.", files as f64),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Counters;

    const BEGIN: &str = "<!-- made by the test in src/threads/admin/metrics.rs -->\n";

    #[test]
    fn the_list_in_the_documentation_is_that_of_the_code() {
        let counters = Counters::new();
        counters.end_call("hangup");
        let state = RelayState {
            calls_max: 1,
            draining: false,
            began_s: 1.0,
            credentials: vec![("default".into(), 1, true)],
            store: StoreState::Off,
            streams: 0,
        };
        let all = families(&counters).into_iter().chain(states(&state)).chain(process());
        let mut table = "| name | type | label | what it is |\n| --- | --- | --- | --- |\n".to_owned();
        for family in all {
            let label = family.label.map_or(String::new(), |label| format!("`{label}`"));
            let (name, kind, help) = (family.name, family.kind.label(), family.help);
            table += &format!("| `{name}` | {kind} | {label} | {help} |\n");
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        let text = std::fs::read_to_string(path).expect("docs/metrics.md");
        let (before, rest) = text.split_once(BEGIN).expect("the mark in front of the list");
        let after = rest.split_once("\n\n").map_or("", |(_, after)| after);
        let expected = format!("{before}{BEGIN}{table}\n{after}");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(path, &expected).expect("a writable file");
        } else {
            assert_eq!(text, expected, "run this test with UPDATE_EXPECT=1");
        }
    }
}
