//! `tandem calls`: finds calls in the records and shows one with what was said in it.
//!
//! Runs in: the main thread. Owns the words and columns of the answer. Never asks the running relay: it reads the database,
//! which works while the relay runs and when it does not. Invariant: text of a caller or a model reaches the terminal
//! with nothing invisible in it, as JSON too.

use std::io::{ErrorKind, Write};

use argh::FromArgs;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde_json::json;

use super::Exit;
use crate::base::Words;
use crate::base::visible::{visible, visible_json};
use crate::call::transcript::Speaker;
use crate::call::{CallDetail, CallRecord, ExportFormat};
use crate::config::Config;
use crate::threads::store::{
    CallFilter, CallPage, Cursor, PAGE_CALLS_MAX, Problems, Reader, Sort, StorePlace,
};

/// List calls that have ended, the newest first; tandem calls show ID prints one with its transcript. Reads the database of
/// store.url.
#[derive(FromArgs, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "calls", help_triggers("-h", "--help"))]
pub struct Options {
    /// the number that was called
    #[argh(option, arg_name = "number")]
    did: Option<String>,

    /// the caller's number
    #[argh(option, arg_name = "number")]
    caller: Option<String>,

    /// the agent who answered
    #[argh(option, arg_name = "name")]
    agent: Option<String>,

    /// the outcome's word, such as hangup
    #[argh(option, arg_name = "word")]
    outcome: Option<String>,

    /// only calls with which something was wrong
    #[argh(switch)]
    problems: bool,

    /// only calls with which this was wrong, such as slow_answer
    #[argh(option, arg_name = "word")]
    problem: Option<String>,

    /// calls from this time on: 2026-11-23, 2026-11-23T14:30 or with an offset
    #[argh(option, arg_name = "time")]
    from: Option<String>,

    /// calls before this time; a day alone is included
    #[argh(option, arg_name = "time")]
    to: Option<String>,

    /// a text in the numbers, the UUID or the transcript
    #[argh(option, arg_name = "text")]
    search: Option<String>,

    /// the order: a column such as duration_s, with - before it for the largest first
    #[argh(option, arg_name = "column")]
    sort: Option<String>,

    /// how many calls, 50 if not said
    #[argh(option, arg_name = "n")]
    limit: Option<usize>,

    /// calls older than the one with this id, as the end of a list says
    #[argh(option, arg_name = "id")]
    before: Option<String>,

    /// print JSON, as the API gives it
    #[argh(switch)]
    json: bool,

    #[argh(subcommand)]
    command: Option<CallsCommand>,
}

#[derive(FromArgs, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand)]
enum CallsCommand {
    Show(ShowOptions),
    Export(ExportOptions),
}

/// Print a call with its transcript and what happened in it.
#[derive(FromArgs, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "show", help_triggers("-h", "--help"))]
struct ShowOptions {
    /// the call's id, or the UUID of its channel
    #[argh(positional)]
    id: String,

    /// print JSON, as the API gives it
    #[argh(switch)]
    json: bool,
}

/// Write the calls that fit to standard output: tandem calls --problems export csv. All of them, the newest first.
#[derive(FromArgs, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "export", help_triggers("-h", "--help"))]
struct ExportOptions {
    /// csv, or jsonl: a record a line as the API has it
    #[argh(positional)]
    format: String,
}

/// The answer.
pub(super) fn run(options: &Options, config: &Config) -> Exit {
    let reader = Reader::new(StorePlace::configured(&config.store));
    let answer = match &options.command {
        Some(CallsCommand::Show(show)) => shown(&reader, show),
        Some(CallsCommand::Export(export)) => exported(&reader, options, export),
        None => listed(&reader, options),
    };
    answer.map_or_else(Exit::failure, Exit::success)
}

fn filter(options: &Options) -> Result<CallFilter, String> {
    let before = options.before.as_ref().map(|id| {
        let wrong = || format!("--before {id} is no id of a call: copy it from the end of the list before");
        Cursor::parse(id).ok_or_else(wrong)
    });
    let before = before.transpose()?;
    let filter = CallFilter {
        sort: options.sort.as_deref().map(Sort::parse).transpose().map_err(|why| format!("--sort {why}"))?,
        ending: None,
        did: options.did.clone(),
        caller: options.caller.clone(),
        agent: options.agent.clone(),
        outcome: options.outcome.clone(),
        problems: wanted(options)?,
        from_ms: options.from.as_deref().map(|time| moment("--from", time, false)).transpose()?,
        to_ms: options.to.as_deref().map(|time| moment("--to", time, true)).transpose()?,
        q: options.search.clone(),
        limit: options.limit,
        before,
    };
    Ok(filter)
}

fn listed(reader: &Reader, options: &Options) -> Result<String, String> {
    let page = reader.list(&filter(options)?).map_err(|error| error.to_string())?;
    if options.json {
        let next = page.next.map(|id| id.to_string());
        return Ok(printed_json(&json!({"calls": page.calls, "next": next})));
    }
    Ok(table(&page))
}

/// Written page by page, because all calls together may be more than the memory.
fn exported(reader: &Reader, options: &Options, export: &ExportOptions) -> Result<String, String> {
    let format = ExportFormat::from_name(&export.format)
        .ok_or_else(|| format!("{}: {} are known", export.format, ExportFormat::WORDS.join(" and ")))?;
    let mut filter = filter(options)?;
    let mut left = options.limit.unwrap_or(usize::MAX);
    let mut output = std::io::stdout().lock();
    let mut text = format.head();
    while left > 0 {
        filter.limit = Some(left.min(PAGE_CALLS_MAX));
        let page = reader.list(&filter).map_err(|error| error.to_string())?;
        page.calls.iter().for_each(|call| text.push_str(&format.line(call)));
        match output.write_all(text.as_bytes()) {
            // Nobody reads on, as in `tandem calls export csv | head`.
            Err(problem) if problem.kind() == ErrorKind::BrokenPipe => break,
            written => written.map_err(|problem| format!("the output cannot be written: {problem}"))?,
        }
        text.clear();
        left -= page.calls.len();
        filter.before = page.next;
        if filter.before.is_none() {
            break;
        }
    }
    Ok(String::new())
}

fn wanted(options: &Options) -> Result<Option<Problems>, String> {
    match &options.problem {
        Some(word) => Problems::parse(word).map(Some).map_err(|why| format!("--problem {why}")),
        None => Ok(options.problems.then_some(Problems::Any)),
    }
}

fn shown(reader: &Reader, options: &ShowOptions) -> Result<String, String> {
    match reader.show(&options.id).map_err(|error| error.to_string())? {
        None => Err(format!("there is no call {}: tandem calls lists them", options.id)),
        Some(call) if options.json => Ok(printed_json(&json!(call))),
        Some(call) => Ok(described(&call)),
    }
}

/// A time as somebody wrote it, in milliseconds since 1970; where TZ says that we are, if it names no offset. A day alone is
/// its beginning, or its end.
pub(super) fn moment(option: &str, text: &str, end: bool) -> Result<u64, String> {
    let wrong =
        || format!("{option} {text} is no time: write 2026-11-23, 2026-11-23T14:30 or 2026-11-23T14:30Z");
    let timestamp = match text.parse::<Timestamp>() {
        Ok(timestamp) => timestamp,
        Err(_) => {
            let local: DateTime = text.parse().map_err(|_| wrong())?;
            let day_alone = text.len() <= "2026-11-23".len();
            let local = if end && day_alone { local.checked_add(Span::new().days(1)) } else { Ok(local) };
            let zoned = local.and_then(|local| local.to_zoned(TimeZone::system()));
            zoned.map_err(|_| wrong())?.timestamp()
        }
    };
    u64::try_from(timestamp.as_millisecond()).map_err(|_| wrong())
}

fn table(page: &CallPage) -> String {
    if page.calls.is_empty() {
        return "no calls\n".to_owned();
    }
    let head =
        ["offered", "id", "caller", "did", "agent", "length", "turns", "ended by", "outcome", "verdict"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(page.calls.iter().map(|call| {
        [
            local(&call.offered_at),
            printable(&call.id),
            known(&call.caller),
            known(&call.did),
            printable(&call.agent),
            minutes(call.duration_s),
            call.turns.to_string(),
            printable(&call.ended_by),
            printable(&call.outcome),
            known(&call.verdict),
        ]
    }));
    let mut table = aligned(&rows, |column| matches!(column, 5 | 6));
    if let Some(next) = page.next {
        table.push_str(&format!("older calls: the same with --before {next}\n"));
    }
    table
}

/// Rows as columns of equal width, some of them with their text at the right.
pub(super) fn aligned<const N: usize>(rows: &[[String; N]], right: impl Fn(usize) -> bool) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let mut table = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| match right(column) {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            })
            .collect();
        table.push_str(cells.join("  ").trim_end());
        table.push('\n');
    }
    table
}

fn described(call: &CallDetail) -> String {
    let record = &call.record;
    let mut text = String::new();
    for (what, value) in facts(record) {
        text.push_str(&format!("{:<18}{value}\n", format!("{what}:")));
    }
    text.push_str("\nwhat was said:\n");
    if call.transcript.is_empty() {
        text.push_str("  (nothing, or it was not kept: agent.transcript)\n");
    }
    for turn in &call.transcript {
        let who = match turn.speaker {
            Speaker::Caller => "caller",
            Speaker::Model => "agent",
        };
        let at = minutes(turn.start_ms as f64 / 1000.0);
        text.push_str(&format!("  {at:>6} {who:>6}: {}\n", printable(&turn.heard_text)));
        if turn.interrupted && turn.heard_text != turn.text {
            let unheard = turn.text.strip_prefix(&turn.heard_text).unwrap_or(&turn.text);
            text.push_str(&format!("{:>16} interrupted; not heard: {}\n", "", printable(unheard.trim())));
        }
    }
    text.push_str("\nwhat happened:\n");
    for event in &call.events {
        let at = minutes(event.at_ms as f64 / 1000.0);
        let detail =
            event.detail.as_deref().map_or(String::new(), |detail| format!(": {}", printable(detail)));
        text.push_str(&format!("  {at:>6} {}{detail}\n", printable(&event.kind)));
    }
    text
}

fn facts(record: &CallRecord) -> Vec<(&'static str, String)> {
    let cost = match (record.cost, &record.cost_currency) {
        (Some(cost), Some(currency)) => format!(", about {cost:.4} {currency}"),
        _ => String::new(),
    };
    let answers = match (record.answer_ms_p50, record.answer_ms_max) {
        (Some(p50), Some(max)) => format!("half of them within {p50} ms, all within {max} ms"),
        _ => "none measured".to_owned(),
    };
    let mut facts = vec![
        ("id", printable(&record.id)),
        ("uuid", known(&record.uuid)),
        ("caller", known(&record.caller)),
        ("did", known(&record.did)),
        ("agent", printable(&record.agent)),
        ("model", known(&record.model)),
        ("credential", known(&record.credential)),
        ("leg", format!("{} from {}", printable(&record.leg), printable(&record.peer))),
        ("offered", local(&record.offered_at)),
        ("answered", record.answered_at.as_deref().map_or("never".to_owned(), local)),
        ("ended", format!("{} after {}", local(&record.ended_at), minutes(record.duration_s))),
        ("by", printable(&format!("{} ({}): {}", record.ended_by, record.outcome, record.reason))),
        ("verdict", known(&record.verdict)),
        ("talk", format!("caller {:.1} s, agent {:.1} s", record.caller_talk_s, record.agent_talk_s)),
        ("turns", format!("{}, interrupted {} times", record.turns, record.barge_ins)),
        ("answers", answers),
        ("tokens", format!("{} in, {} out{cost}", record.prompt_tokens, record.response_tokens)),
    ];
    let recording = record.recording.as_ref();
    facts.extend(
        recording.map(|file| ("recording", format!("{} ({:.1} s)", printable(&file.file), file.seconds))),
    );
    facts
}

pub(super) fn known(text: &Option<String>) -> String {
    text.as_deref().map_or("-".to_owned(), printable)
}

/// What a caller or a model wrote, on one line and unable to steer a terminal.
fn printable(text: &str) -> String {
    visible(text).into_owned()
}

/// JSON as the API has it, with what is invisible escaped, since a terminal may be where it goes.
pub(super) fn printed_json(value: &serde_json::Value) -> String {
    visible_json(&format!("{value:#}\n")).into_owned()
}

/// A record's time where TZ says that we are.
fn local(rfc3339: &str) -> String {
    match rfc3339.parse::<Timestamp>() {
        Ok(moment) => moment.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => printable(rfc3339),
    }
}

pub(super) fn minutes(seconds: f64) -> String {
    let whole = seconds as u64;
    format!("{}:{:02}", whole / 60, whole % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::record::CallEvent;

    #[test]
    fn a_time_may_be_a_day_and_has_to_be_one() {
        let day = 24 * 3_600_000;
        let [from, to] = [false, true].map(|end| moment("--to", "2026-11-23", end).unwrap());
        assert_eq!(to - from, day);
        assert_eq!(moment("--to", "2026-11-23T00:00:01Z", true), Ok(1_795_392_001_000));
        assert!(moment("--from", "yesterday", false).unwrap_err().contains("--from yesterday is no time"));
    }

    #[test]
    fn what_a_caller_says_of_himself_cannot_steer_the_terminal() {
        let caller = "\u{1b}[2Jeve\n\u{202e}\u{9b}31m\u{e0041}\u{200b}";
        let record = CallRecord {
            caller: Some(caller.into()),
            reason: caller.into(),
            peer: caller.into(),
            ..CallRecord::default()
        };
        let detail = CallDetail {
            record: record.clone(),
            transcript: Vec::new(),
            events: vec![CallEvent { at_ms: 1, kind: caller.into(), detail: Some(caller.into()) }],
        };
        let json = printed_json(&json!(detail));
        let table = table(&CallPage { calls: vec![record], next: None });
        assert_eq!(table.lines().count(), 2);
        assert!(table.contains(r"\u{1b}[2Jeve\n\u{202e}\u{9b}31m\u{e0041}\u{200b}"), "{table}");
        for printed in [table, described(&detail), json] {
            let hidden: Vec<char> = printed
                .chars()
                .filter(|&one| one != '\n' && crate::base::visible::is_invisible(one))
                .collect();
            assert!(hidden.is_empty(), "{hidden:?} in {printed}");
        }
    }
}
