//! Calls counted and compared: by agent, number, model, credential or day, or all together.
//!
//! Runs in: whichever threads may wait for the database. Owns nothing. Never writes.
//! Invariant: the SQL is the same for SQLite and Postgres, and each call counts in one line.

use serde::Serialize;

use super::database::{Database, Row, StoreError, Value};
use super::filter::CallFilter;
use crate::base::words;

/// Lines of a report; calls of others are left out, of which there are the fewest.
const LINES_MAX: usize = 200;

words! {
    /// What a report compares.
    pub enum By {
        /// Nothing: all calls in one line.
        All = "all",
        /// Agents.
        Agent = "agent",
        /// Numbers that were called.
        Did = "did",
        /// Models.
        Model = "model",
        /// Credentials.
        Credential = "credential",
        /// What was wrong, each combination of it by itself.
        Problems = "problems",
    }
}

/// A line of a report.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ReportLine {
    /// The agent, the number and so on; null where calls have none.
    pub name: Option<String>,
    /// Calls.
    pub calls: u64,
    /// Those with which something was wrong.
    pub with_problems: u64,
    /// Of the calls that were answered, their medians of the answer latency: the median.
    pub answer_ms_p50: Option<u64>,
    /// And what nine of ten do not exceed.
    pub answer_ms_p90: Option<u64>,
    /// The mean length.
    pub duration_s_mean: f64,
    /// The agent's speech of all speech, from 0 to 1.
    pub agent_talk_share: Option<f64>,
    /// Interruptions by callers.
    pub barge_ins: u64,
    /// Turns of the agent.
    pub turns: u64,
    /// Calls of tools.
    pub tools_called: u64,
    /// Those of them that failed.
    pub tools_failed: u64,
    /// Billed tokens of the prompt side.
    pub prompt_tokens: u64,
    /// Billed tokens of the answer side.
    pub response_tokens: u64,
    /// What the calls with a price cost.
    pub cost: Option<f64>,
    /// The currency; null where there are several, whose sum says nothing.
    pub cost_currency: Option<String>,
}

/// Compares the calls that fit, the line with the most calls first.
///
/// # Errors
/// What the database says.
pub(super) fn report(
    database: &mut dyn Database,
    filter: &CallFilter,
    by: By,
) -> Result<Vec<ReportLine>, StoreError> {
    let (all, values) = filter.condition();
    let name = match by {
        By::All => "CAST('all' AS TEXT)",
        By::Agent => "agent",
        By::Did => "did",
        By::Model => "model",
        By::Credential => "credential",
        By::Problems => "problems",
    };
    let sum = |column: &str| format!("CAST(COALESCE(SUM({column}), 0) AS BIGINT)");
    let rank = |tenths: u64| {
        // The call at that place of the answered ones, counted from 1 and rounded up.
        format!("MAX(CASE WHEN place = (answered * {tenths} + 9) / 10 THEN answer_ms_p50 END)")
    };
    let counted = [
        "COUNT(*)".to_owned(),
        sum("CASE WHEN problems <> '' THEN 1 ELSE 0 END"),
        rank(5),
        rank(9),
        "AVG(duration_s)".to_owned(),
        "SUM(caller_talk_s)".to_owned(),
        "SUM(agent_talk_s)".to_owned(),
        sum("barge_ins"),
        sum("turns"),
        sum("tools_called"),
        sum("tools_failed"),
        sum("prompt_tokens"),
        sum("response_tokens"),
        "SUM(cost)".to_owned(),
        "MIN(cost_currency)".to_owned(),
        "MAX(cost_currency)".to_owned(),
    ]
    .join(", ");
    let sql = format!(
        "SELECT name, {counted} FROM (
            SELECT {name} AS name, problems, answer_ms_p50, duration_s, caller_talk_s, agent_talk_s, barge_ins, turns,
                tools_called, tools_failed, prompt_tokens, response_tokens, cost, cost_currency,
                ROW_NUMBER() OVER (PARTITION BY {name} ORDER BY answer_ms_p50 IS NULL, answer_ms_p50) AS place,
                COUNT(answer_ms_p50) OVER (PARTITION BY {name}) AS answered
            FROM calls{all}
        ) AS placed GROUP BY name ORDER BY 2 DESC, name LIMIT {LINES_MAX}"
    );
    Ok(database.query(&sql, &values)?.into_iter().map(line).collect())
}

fn line(row: Row) -> ReportLine {
    let mut values = row.into_iter();
    let mut next = || values.next().unwrap_or(Value::Null);
    let text = |value| match value {
        Value::Text(text) => Some(text),
        _ => None,
    };
    let whole = |value| match value {
        Value::Integer(number) => u64::try_from(number).ok(),
        _ => None,
    };
    let real = |value| match value {
        Value::Real(number) => Some(number),
        Value::Integer(number) => Some(number as f64),
        _ => None,
    };
    let mut line = ReportLine {
        name: text(next()),
        calls: whole(next()).unwrap_or_default(),
        with_problems: whole(next()).unwrap_or_default(),
        answer_ms_p50: whole(next()),
        answer_ms_p90: whole(next()),
        duration_s_mean: real(next()).unwrap_or_default(),
        ..ReportLine::default()
    };
    let (caller_s, agent_s) = (real(next()).unwrap_or_default(), real(next()).unwrap_or_default());
    line.agent_talk_share = Some(agent_s / (caller_s + agent_s)).filter(|share| share.is_finite());
    for field in [
        &mut line.barge_ins,
        &mut line.turns,
        &mut line.tools_called,
        &mut line.tools_failed,
        &mut line.prompt_tokens,
        &mut line.response_tokens,
    ] {
        *field = whole(next()).unwrap_or_default();
    }
    let (cost, least, most) = (real(next()), text(next()), text(next()));
    if least == most {
        (line.cost, line.cost_currency) = (cost, least);
    }
    line
}
