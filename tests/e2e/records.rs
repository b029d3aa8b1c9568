//! Records of calls: kept, found and shown, the same in SQLite and in a real Postgres; a database that is killed or locked
//! in the middle of a hundred calls.
//!
//! Runs in: the test's thread, beside the store's threads or a relay with its simulator. Invariant: what was said is there
//! once, whatever becomes of the database.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tandem::base::Problem;
use tandem::base::RecordId;
use tandem::call::record::{CallEvent, RecordingFile, TranscriptTurn, rfc3339};
use tandem::call::transcript::Speaker;
use tandem::call::{CallDetail, CallRecord, Ending};
use tandem::config::{Secret, VerdictConfig};
use tandem::sync::Clock;
use tandem::telemetry::Counters;
use tandem::threads::store::{
    By, CallFilter, DatabasePlace, Problems, Reader, RecordDoor, Sort, StorePlace, StoreState, StoreStatus,
    store,
};
use tandem_loadtest::callgen::Options;
use tandem_loadtest::sim::Voice;

use crate::harness::model::speaking;
use crate::harness::postgres::Postgres;
use crate::harness::process::command;
use crate::harness::{Model, PATIENCE, Relay, generate, in_company};

/// A directory that is removed with its content.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tandem-records-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn sqlite(&self) -> StorePlace {
        StorePlace { database: DatabasePlace::Sqlite(self.path("calls.db")), spool: self.path("spool") }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The store's threads.
struct Running {
    door: RecordDoor,
    status: Arc<StoreStatus>,
    counters: Arc<Counters>,
    threads: [JoinHandle<()>; 2],
}

impl Running {
    fn start(place: &StorePlace, retention: Option<Duration>) -> Self {
        let (status, counters) = (Arc::new(StoreStatus::default()), Arc::new(Counters::new()));
        let (door, store, writer) =
            store(place, retention, VerdictConfig::default(), &status, &counters, Clock::new())
                .expect("records are kept");
        let threads = [
            std::thread::spawn(move || store.run().expect("it ends well")),
            std::thread::spawn(move || writer.run().expect("it ends well")),
        ];
        Self { door, status, counters, threads }
    }

    /// Hands records over and ends, as a relay does. Returns what was counted.
    fn keep(mut self, calls: &[CallDetail]) -> Arc<Counters> {
        calls.iter().for_each(|call| self.door.send(Box::new(call.clone())));
        self.door.finish(PATIENCE);
        self.threads.into_iter().for_each(|thread| thread.join().expect("it lives"));
        self.counters
    }
}

/// Waits for what another thread does.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not seen: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The call that was offered at this second since 1970, with a turn of each side.
fn call(second: u64) -> CallDetail {
    let id = RecordId::new(second * 1_000, u128::from(second));
    let record = CallRecord {
        id: id.to_string(),
        uuid: Some(format!("channel-{second}")),
        did: Some("2200405".into()),
        caller: Some(format!("+42077{second}")),
        agent: "shop".into(),
        leg: "mod_audio_stream".into(),
        peer: "127.0.0.1:40000".into(),
        offered_at: rfc3339(second * 1_000),
        ended_at: rfc3339(second * 1_000 + 1_500),
        duration_s: 1.5,
        ended_by: "caller".into(),
        outcome: "hangup".into(),
        reason: "the switch hung up".into(),
        verdict: Some("good".into()),
        problems: Some(Vec::new()),
        prompt_tokens: u64::MAX >> 1,
        ..CallRecord::default()
    };
    let turn = |speaker, start_ms, text: &str| TranscriptTurn {
        speaker,
        start_ms,
        end_ms: start_ms + 900,
        text: text.to_owned(),
        interrupted: speaker == Speaker::Model,
        heard_text: text.chars().take(5).collect(),
    };
    CallDetail {
        record,
        transcript: vec![
            turn(Speaker::Caller, 100, &format!("Kolik stojí PŘÍŠTÍ lístek, 100 % _{second}?")),
            turn(Speaker::Model, 1_000, "Sto korun."),
        ],
        events: vec![
            CallEvent { at_ms: 5, kind: "answered".into(), detail: None },
            CallEvent { at_ms: 900, kind: "tool".into(), detail: Some("price_of".into()) },
        ],
    }
}

fn calls(seconds: impl Iterator<Item = u64>) -> Vec<CallDetail> {
    seconds.map(call).collect()
}

fn listed(reader: &Reader, filter: CallFilter) -> Vec<u64> {
    let page = reader.list(&filter).expect("the database is there");
    page.calls.iter().filter_map(|call| Some(RecordId::parse(&call.id)?.unix_ms() / 1_000)).collect()
}

// ---- the same for both databases -------------------------------------------------------------------------------------

fn a_call_is_shown_as_it_was_kept_by_its_id_and_by_its_uuid(place: &StorePlace) {
    let mut kept = call(1_000);
    kept.record.recording =
        Some(RecordingFile { file: "a.wav".into(), format: "wav".into(), seconds: 1.25, bytes: 80_044 });
    (kept.record.cost, kept.record.answer_ms_p50) = (Some(0.125), Some(700));
    let mut again = call(1_001);
    again.record.uuid = kept.record.uuid.clone();
    again.transcript[0].text = "zero \0 byte".into();
    let counters = Running::start(place, None).keep(&[kept.clone(), again.clone()]);
    assert_eq!(counters.records_written.get(), 2);
    let reader = Reader::new(place.clone());
    assert_eq!(reader.show(&kept.record.id.to_uppercase()), Ok(Some(kept)));
    let newest = reader.show("channel-1000").expect("there").expect("found");
    assert_eq!(newest.record.id, again.record.id, "of several calls of a UUID the newest");
    assert_eq!(newest.transcript[0].text, "zero \u{fffd} byte", "Postgres keeps no NUL");
    assert_eq!(reader.show("nobody"), Ok(None));
}

fn calls_are_found_by_what_is_known_of_them_and_listed_page_by_page(place: &StorePlace) {
    let mut kept = calls(1..=7);
    kept[2].record.did = Some("2200499".into());
    kept[3].record.outcome = "model_silent".into();
    kept[4].record.agent = "100%".into();
    kept[5].record.problems = Some(vec!["slow_answer".into(), "tool_failed".into()]);
    kept[6].record.problems = Some(vec!["tool_failed".into()]);
    Running::start(place, None).keep(&kept);
    let reader = Reader::new(place.clone());
    let some = |text: &str| Some(text.to_owned());
    let filter = CallFilter::default;
    assert_eq!(listed(&reader, filter()), [7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(listed(&reader, CallFilter { did: some("2200499"), ..filter() }), [3]);
    assert_eq!(listed(&reader, CallFilter { caller: some("+420776"), ..filter() }), [6]);
    assert_eq!(listed(&reader, CallFilter { outcome: some("model_silent"), ..filter() }), [4]);
    assert_eq!(listed(&reader, CallFilter { agent: some("100%"), ..filter() }), [5]);
    for (problems, expected) in [
        (Problems::Any, &[7, 6][..]),
        (Problems::None, &[5, 4, 3, 2, 1]),
        (Problems::This(Problem::SlowAnswer), &[6]),
        (Problems::This(Problem::ToolFailed), &[7, 6]),
        (Problems::This(Problem::Cost), &[]),
    ] {
        let found = listed(&reader, CallFilter { problems: Some(problems), q: some("korun"), ..filter() });
        assert_eq!(found, expected, "{problems:?}");
    }
    let window = CallFilter { from_ms: Some(2_000), to_ms: Some(4_000), ..filter() };
    assert_eq!(listed(&reader, window), [3, 2], "from is included, to is not");
    for (q, expected) in [
        ("příští LÍSTEK", &[7, 6, 5, 4, 3, 2, 1][..]),
        ("100 % _5", &[5]),
        ("channel-2", &[2]),
        ("22004_9", &[]),
        ("+420777", &[7]),
        ("'; DROP TABLE calls; --", &[]),
    ] {
        assert_eq!(listed(&reader, CallFilter { q: some(q), ..filter() }), expected, "{q}");
    }
    for (ending, expected) in
        [(Ending::Model, &[4][..]), (Ending::Usual, &[7, 6, 5, 3, 2, 1]), (Ending::Abnormal, &[])]
    {
        assert_eq!(listed(&reader, CallFilter { ending: Some(ending), ..filter() }), expected, "{ending:?}");
    }
    let mut before = None;
    let mut pages = Vec::new();
    loop {
        let page = reader.list(&CallFilter { limit: Some(3), before, ..filter() }).expect("there");
        pages.push(page.calls.len());
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(pages, [3, 3, 1]);
}

fn what_was_delivered_and_not_forgotten_is_there_once(place: &StorePlace, directory: &Directory) {
    let nowhere = StorePlace {
        database: DatabasePlace::Sqlite("/dev/null/calls.db".into()),
        spool: place.spool.clone(),
    };
    let counters = Running::start(&nowhere, None).keep(&calls(1..=40));
    assert_eq!((counters.records_spooled.get(), counters.records_failed.get()), (40, 0));
    // As if the process had been killed between the delivery and the removal of the file.
    let copy = directory.path("copy");
    std::fs::rename(&place.spool, &copy).expect("a spool");
    for written in [40, 0] {
        std::fs::create_dir_all(&place.spool).expect("a directory");
        for file in std::fs::read_dir(&copy).expect("files").flatten() {
            std::fs::copy(file.path(), place.spool.join(file.file_name())).expect("a copy");
        }
        let counters = Running::start(place, None).keep(&[]);
        assert_eq!((counters.records_written.get(), counters.records_failed.get()), (written, 0));
        assert_eq!(std::fs::read_dir(&place.spool).expect("the spool").count(), 0, "nothing is left");
    }
    let reader = Reader::new(place.clone());
    assert_eq!(listed(&reader, CallFilter::default()), (1..=40).rev().collect::<Vec<_>>());
    assert_eq!(reader.show(&call(7).record.id), Ok(Some(call(7))));
}

fn what_is_older_than_the_retention_is_deleted_with_what_was_said(place: &StorePlace) {
    let now_s = Clock::new().unix_seconds();
    let old: Vec<u64> = (1..=450).collect();
    Running::start(place, None).keep(&calls(old.into_iter().chain([now_s - 60])));
    let running = Running::start(place, Some(Duration::from_secs(3_600)));
    let reader = Reader::new(place.clone());
    until("the old calls are gone", || {
        (listed(&reader, CallFilter { limit: Some(500), ..CallFilter::default() }) == [now_s - 60])
            .then_some(())
    });
    assert_eq!(reader.show(&call(7).record.id), Ok(None));
    running.keep(&[]);
}

fn calls_are_sorted_by_a_column_page_by_page_and_compared(place: &StorePlace) {
    let mut kept = calls(1..=10);
    for (number, call) in (1_u64..).zip(&mut kept) {
        let record = &mut call.record;
        record.agent = if number <= 3 { "shop" } else { "desk" }.into();
        record.answer_ms_p50 = (number != 5).then_some(number * 100);
        (record.prompt_tokens, record.response_tokens) = (number, 1);
        (record.caller_talk_s, record.agent_talk_s) = (1.0, 3.0);
        (record.cost, record.cost_currency) = (Some(0.25), Some("USD".into()));
        record.problems = Some(if number % 2 == 0 { vec!["gaps".into()] } else { Vec::new() });
    }
    kept[0].record.cost_currency = Some("EUR".into());
    Running::start(place, None).keep(&kept);
    let reader = Reader::new(place.clone());
    let sorted = |sort: &str| {
        let sort = Some(Sort::parse(sort).expect("a column"));
        let mut filter = CallFilter { sort, limit: Some(4), ..CallFilter::default() };
        let mut found = Vec::new();
        loop {
            found.extend(listed(&reader, filter.clone()));
            filter.before = reader.list(&filter).expect("there").next;
            if filter.before.is_none() {
                return found;
            }
        }
    };
    assert_eq!(sorted("-answer_ms_p50"), [10, 9, 8, 7, 6, 4, 3, 2, 1, 5], "what is unknown comes last");
    assert_eq!(sorted("answer_ms_p50"), [1, 2, 3, 4, 6, 7, 8, 9, 10, 5]);
    assert_eq!(sorted("-agent"), [3, 2, 1, 10, 9, 8, 7, 6, 5, 4], "equal ones the newest first");

    let all = reader.report(&CallFilter::default(), By::All).expect("there");
    assert_eq!((all.len(), all[0].calls, all[0].cost), (1, 10, None), "a sum of two currencies says nothing");
    let agents = reader.report(&CallFilter::default(), By::Agent).expect("there");
    let [desk, shop] = &agents[..] else { panic!("{agents:?}") };
    assert_eq!((desk.name.as_deref(), desk.calls, desk.with_problems), (Some("desk"), 7, 4));
    // Of 4, 6, 7, 8, 9 and 10 the third and the sixth.
    assert_eq!((desk.answer_ms_p50, desk.answer_ms_p90), (Some(700), Some(1_000)));
    assert_eq!((desk.prompt_tokens, desk.response_tokens), (49, 7));
    assert_eq!((desk.cost, desk.cost_currency.as_deref()), (Some(1.75), Some("USD")));
    assert_eq!((desk.agent_talk_share, desk.duration_s_mean), (Some(0.75), 1.5));
    assert_eq!((shop.calls, shop.answer_ms_p50, shop.answer_ms_p90), (3, Some(200), Some(300)));
    let good = CallFilter { problems: Some(Problems::None), ..CallFilter::default() };
    assert_eq!(reader.report(&good, By::Problems).expect("there")[0].calls, 5);
    assert_eq!(reader.report(&CallFilter { to_ms: Some(1), ..good }, By::Agent), Ok(Vec::new()));
}

fn what_nobody_has_judged_is_judged(place: &StorePlace) {
    let mut unjudged = calls(1..=450);
    for call in &mut unjudged {
        (call.record.verdict, call.record.problems) = (None, None);
        call.record.tools_failed = u64::from(call.record.id == unjudged_id(7));
    }
    Running::start(place, None).keep(&unjudged);
    let running = Running::start(place, None);
    let reader = Reader::new(place.clone());
    until("all are judged", || {
        let good = CallFilter { problems: Some(Problems::None), limit: Some(500), ..CallFilter::default() };
        (listed(&reader, good).len() == 449).then_some(())
    });
    let bad = CallFilter { problems: Some(Problems::Any), ..CallFilter::default() };
    let bad = reader.list(&bad).expect("there").calls;
    assert_eq!(bad.len(), 1);
    assert_eq!(bad[0].verdict.as_deref(), Some("tool failed"));
    assert_eq!(bad[0].problems.as_deref(), Some(&["tool_failed".to_owned()][..]));
    running.keep(&[]);
}

fn unjudged_id(second: u64) -> String {
    RecordId::new(second * 1_000, u128::from(second)).to_string()
}

/// Everything above on one database after another, which `place` makes.
fn all_of_it(directory: &Directory, mut place: impl FnMut(&str) -> StorePlace) {
    a_call_is_shown_as_it_was_kept_by_its_id_and_by_its_uuid(&place("shown"));
    calls_are_found_by_what_is_known_of_them_and_listed_page_by_page(&place("listed"));
    what_was_delivered_and_not_forgotten_is_there_once(&place("once"), directory);
    what_is_older_than_the_retention_is_deleted_with_what_was_said(&place("retention"));
    what_nobody_has_judged_is_judged(&place("judged"));
    calls_are_sorted_by_a_column_page_by_page_and_compared(&place("sorted"));
}

#[test]
fn records_are_kept_found_and_deleted_in_sqlite() {
    let _turn = in_company();
    let directory = Directory::new();
    all_of_it(&directory, |name| StorePlace {
        database: DatabasePlace::Sqlite(directory.path(&format!("{name}/calls.db"))),
        spool: directory.path(&format!("spool-{name}")),
    });
}

#[test]
fn records_are_kept_found_and_deleted_in_postgres() {
    let _turn = in_company();
    let (directory, postgres) = (Directory::new(), Postgres::start());
    all_of_it(&directory, |name| {
        postgres.create(name);
        StorePlace {
            database: DatabasePlace::Postgres(Secret::new(postgres.url(name))),
            spool: directory.path(&format!("spool-{name}")),
        }
    });
}

// ---- a database that is away -----------------------------------------------------------------------------------------

const CALLS: u32 = 100;

/// A hundred calls of a second, each greeted. When a fifth of them has ended the database goes away; it is there again when
/// most have ended.
fn every_call_and_turn_is_there_once(
    place: &StorePlace,
    url: &str,
    goes_away: impl FnOnce(),
    comes_back: impl FnOnce(),
) {
    let model = Model::start(speaking(Voice::Answer));
    let spool = format!("store.spool_directory={}", place.spool.display());
    let sets = ["agent.transcript=true", "agent.greeting=Hello", &spool];
    let mut relay = Relay::start_at(&model.url(), &sets, &[("TANDEM_STORE_URL", url)]);
    let options = Options { calls: CALLS, seconds: 1.0, ramp_per_s: 35.0, idle: true, ..Options::default() };
    let options = Options { url: relay.url("/call"), ..options };
    std::thread::scope(|scope| {
        let generated = scope.spawn(|| generate(&relay, vec![options]));
        relay.nth_line(&[": ended by "], CALLS as usize / 5);
        goes_away();
        relay.line(&["the database takes no records"]);
        relay.nth_line(&[": ended by "], CALLS as usize * 4 / 5);
        comes_back();
        for (_, report) in generated.join().expect("the generator") {
            assert_eq!(report.calls_failed, 0, "{:?}", report.failures);
        }
    });
    relay.nth_line(&[": ended by "], CALLS as usize);
    relay.line(&["the database is back"]);
    relay.signal(Signal::TERM);
    assert_eq!(relay.ended().code(), Some(0));
    let said_in_log = relay.log().lines().filter(|line| line.contains(" s model: ")).count();
    assert!(said_in_log >= CALLS as usize / 2, "most calls were greeted: {said_in_log}");

    let reader = Reader::new(place.clone());
    let page = reader.list(&CallFilter { limit: Some(500), ..CallFilter::default() }).expect("there");
    let mut uuids: Vec<_> = page.calls.iter().map(|call| call.uuid.clone().expect("known")).collect();
    uuids.sort();
    uuids.dedup();
    assert_eq!((page.calls.len(), uuids.len()), (CALLS as usize, CALLS as usize));
    let details: Vec<CallDetail> =
        page.calls.iter().map(|call| reader.show(&call.id).expect("there").expect("found")).collect();
    let said = details.iter().map(|call| call.transcript.len()).sum::<usize>();
    assert_eq!(said, said_in_log, "what was said in all calls, and in the log");
    for call in &details {
        assert_eq!(call.events.iter().filter(|event| event.kind == "answered").count(), 1);
        assert!(call.record.answered_at.is_some() && call.record.duration_s > 0.9, "{:?}", call.record);
        assert_eq!((call.record.ended_by.as_str(), call.record.outcome.as_str()), ("caller", "hangup"));
    }
    at_the_command_line(url, &page.calls[0].id, CALLS as usize);
}

/// What `tandem calls` says of the same records.
fn at_the_command_line(url: &str, id: &str, count: usize) {
    let tandem = |arguments: &[&str]| {
        let output = command(arguments, &[("TANDEM_STORE_URL", url)]).output().expect("the binary");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let list: serde_json::Value =
        serde_json::from_str(&tandem(&["calls", "--limit=500", "--json"])).expect("JSON");
    assert_eq!(list["calls"].as_array().map(Vec::len), Some(count));
    let table = tandem(&["calls", "--limit", "3", "--outcome", "hangup"]);
    assert_eq!(table.lines().count(), 5, "a head, three calls and where to go on: {table}");
    assert!(table.contains(id) && table.contains("--before"), "{table}");
    let shown = tandem(&["calls", "show", id]);
    assert!(shown.contains("what was said") && shown.contains("answered"), "{shown}");
    let json: serde_json::Value =
        serde_json::from_str(&tandem(&["calls", "show", id, "--json"])).expect("JSON");
    assert_eq!(json["id"], id);
}

#[test]
fn a_postgres_killed_in_the_middle_of_a_hundred_calls_has_every_call_and_turn_once() {
    let _turn = in_company();
    let (directory, postgres) = (Directory::new(), Postgres::start());
    let url = postgres.url("postgres");
    let place = StorePlace {
        database: DatabasePlace::Postgres(Secret::new(url.clone())),
        spool: directory.path("spool"),
    };
    every_call_and_turn_is_there_once(&place, &url, || postgres.kill(), || postgres.begin());
}

#[test]
fn a_sqlite_file_locked_in_the_middle_of_a_hundred_calls_has_every_call_and_turn_once() {
    let _turn = in_company();
    let directory = Directory::new();
    let place = directory.sqlite();
    let file = directory.path("calls.db");
    let url = format!("sqlite:{}", file.display());
    let other = std::cell::OnceCell::new();
    let other = || other.get_or_init(|| rusqlite::Connection::open(Path::new(&file)).expect("the file"));
    let say = |sql: &str| until(sql, || other().execute_batch(sql).ok());
    every_call_and_turn_is_there_once(&place, &url, || say("BEGIN EXCLUSIVE"), || say("COMMIT"));
}

#[test]
fn a_store_that_cannot_be_reached_says_so_and_never_its_password() {
    let _turn = in_company();
    let directory = Directory::new();
    let url = "postgres://tandem:geheim@127.0.0.1:1/calls";
    let place =
        StorePlace { database: DatabasePlace::Postgres(Secret::new(url)), spool: directory.path("spool") };
    let running = Running::start(&place, None);
    let state = until("spooling", || match running.status.get() {
        StoreState::Spooling { why, .. } => Some(why),
        _ => None,
    });
    assert!(!state.is_empty() && !state.contains("geheim"), "{state}");
    let counters = running.keep(&calls(1..=3));
    assert_eq!(counters.records_spooled.get(), 3);
    let output = command(&["calls"], &[("DATABASE_URL", url), ("TANDEM_STORE_URL", "")]).output();
    let output = output.expect("the binary");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("onnect") && !errors.contains("geheim"), "{errors}");
}
