//! `tandem report`: agents, numbers, models or credentials side by side for a time.
//!
//! Runs in: the main thread. Owns the columns of the answer. Never asks the running relay: it reads the database.
//! Invariant: as in [`super::calls`].

use argh::FromArgs;
use serde_json::json;

use super::Exit;
use super::calls::{aligned, known, minutes, moment, printed_json};
use crate::base::Words;
use crate::config::Config;
use crate::threads::store::{By, CallFilter, Reader, ReportLine, StorePlace};

/// Compare agents, numbers, models or credentials by the calls that have ended. Reads the database of store.url.
#[derive(FromArgs, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "report", help_triggers("-h", "--help"))]
pub struct Options {
    /// what is compared: agent (if not said), did, model, credential, problems or all
    #[argh(option, arg_name = "what")]
    by: Option<String>,

    /// calls from this time on: 2026-11-23, 2026-11-23T14:30 or with an offset
    #[argh(option, arg_name = "time")]
    from: Option<String>,

    /// calls before this time; a day alone is included
    #[argh(option, arg_name = "time")]
    to: Option<String>,

    /// print JSON, as the API gives it
    #[argh(switch)]
    json: bool,
}

/// The answer.
pub(super) fn run(options: &Options, config: &Config) -> Exit {
    let reader = Reader::new(StorePlace::configured(&config.store));
    compared(&reader, options).map_or_else(Exit::failure, Exit::success)
}

fn compared(reader: &Reader, options: &Options) -> Result<String, String> {
    let word = options.by.as_deref().unwrap_or(By::Agent.label());
    let by = By::from_name(word).ok_or_else(|| format!("--by {word}: {} are known", By::WORDS.join(", ")))?;
    let filter = CallFilter {
        from_ms: options.from.as_deref().map(|time| moment("--from", time, false)).transpose()?,
        to_ms: options.to.as_deref().map(|time| moment("--to", time, true)).transpose()?,
        ..CallFilter::default()
    };
    let lines = reader.report(&filter, by).map_err(|error| error.to_string())?;
    if options.json {
        return Ok(printed_json(&json!({"by": by.label(), "lines": lines})));
    }
    if lines.is_empty() {
        return Ok("no calls\n".to_owned());
    }
    let head = [
        by.label(),
        "calls",
        "problems",
        "answer p50",
        "p90",
        "length",
        "agent talks",
        "barge-ins",
        "tools",
        "failed",
        "tokens in",
        "out",
        "cost",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(lines.iter().map(row));
    Ok(aligned(&rows, |column| column > 0))
}

fn row(line: &ReportLine) -> [String; 13] {
    let ms = |ms: Option<u64>| ms.map_or("-".to_owned(), |ms| format!("{ms} ms"));
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    [
        known(&line.name),
        line.calls.to_string(),
        format!("{} ({})", line.with_problems, percent(line.with_problems as f64 / line.calls.max(1) as f64)),
        ms(line.answer_ms_p50),
        ms(line.answer_ms_p90),
        minutes(line.duration_s_mean),
        line.agent_talk_share.map_or("-".to_owned(), percent),
        line.barge_ins.to_string(),
        line.tools_called.to_string(),
        line.tools_failed.to_string(),
        line.prompt_tokens.to_string(),
        line.response_tokens.to_string(),
        match (line.cost, &line.cost_currency) {
            (Some(cost), Some(currency)) => format!("{cost:.2} {currency}"),
            _ => "-".to_owned(),
        },
    ]
}
