//! Judges records that nobody has judged: those of versions without verdicts, and of relays that died.
//!
//! Runs in: the database thread, when it has nothing to write. Owns nothing. Never judges a record again.
//! Invariant: one transaction is short, so that a record that comes meanwhile does not wait.

use super::database::{Database, StoreError, Value, transaction};
use super::rows;
use crate::call::verdict::judge;
use crate::config::VerdictConfig;

/// Records in one transaction.
pub(super) const JUDGED_AT_ONCE: usize = 200;

/// Judges some of them, the newest first. Returns how many.
///
/// # Errors
/// What the database says.
pub(super) fn judge_some(database: &mut dyn Database, limits: &VerdictConfig) -> Result<usize, StoreError> {
    let sql = format!(
        "SELECT {} FROM calls WHERE problems IS NULL ORDER BY id DESC LIMIT {JUDGED_AT_ONCE}",
        rows::columns()
    );
    let found = database.query(&sql, &[])?;
    let mut records = found.into_iter().map(rows::record).collect::<Result<Vec<_>, _>>()?;
    if records.is_empty() {
        return Ok(0);
    }
    transaction(database, |database| {
        for record in &mut records {
            judge(record, limits);
            let problems = record.problems.take().unwrap_or_default().join(" ");
            let verdict = record.verdict.take().unwrap_or_default();
            let values = [problems, verdict, std::mem::take(&mut record.id)].map(Value::Text);
            database.execute("UPDATE calls SET problems = $1, verdict = $2 WHERE id = $3", &values)?;
        }
        Ok(records.len())
    })
}
