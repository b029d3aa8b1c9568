//! Which calls somebody asks for, in which order, and the SQL that finds them.
//!
//! Runs in: anywhere: pure. Owns nothing. Never puts a value into a statement's text: columns are named by constants.
//! Invariant: the SQL is the same for SQLite and Postgres, and a page's cursor leads to what is behind all of it.

use std::fmt;

use super::database::Value;
use super::rows;
use crate::base::{Problem, RecordId, Words};
use crate::call::verdict::Ending;

/// Calls on a page.
pub const PAGE_CALLS_MAX: usize = 500;
/// Calls on a page where nobody says how many.
pub(super) const PAGE_CALLS: usize = 50;
/// Rows behind which a sorted list does not go on: whoever wants more of it asks for less at once.
const SORTED_ROWS_MAX: usize = 10_000;

/// Which calls. What is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallFilter {
    /// The number that was called, exactly.
    pub did: Option<String>,
    /// The caller's number, exactly.
    pub caller: Option<String>,
    /// The agent's name.
    pub agent: Option<String>,
    /// The outcome's word.
    pub outcome: Option<String>,
    /// What kind of end it was.
    pub ending: Option<Ending>,
    /// What was wrong.
    pub problems: Option<Problems>,
    /// Offered at this millisecond since 1970 or later.
    pub from_ms: Option<u64>,
    /// Offered before this millisecond since 1970.
    pub to_ms: Option<u64>,
    /// Found in the number that was called, the caller's, the agent's name, the UUID or the transcript, whatever the letter case.
    pub q: Option<String>,
    /// The order; the newest first for `None`.
    pub sort: Option<Sort>,
    /// How many calls; 50 for `None`, never more than [`PAGE_CALLS_MAX`].
    pub limit: Option<usize>,
    /// Only calls behind these: the cursor of the page before.
    pub before: Option<Cursor>,
}

/// Which calls by what was wrong with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problems {
    /// Anything was.
    Any,
    /// Nothing was.
    None,
    /// This was, whatever else.
    This(Problem),
}

impl Problems {
    /// As it is asked for: `any`, `none` or the word of a problem.
    ///
    /// # Errors
    /// The words that are known.
    pub fn parse(word: &str) -> Result<Self, String> {
        match word {
            "any" => Ok(Self::Any),
            "none" => Ok(Self::None),
            _ => Problem::from_name(word)
                .map(Self::This)
                .ok_or_else(|| format!("{word:.40?}: any, none and {} are known", Problem::WORDS.join(", "))),
        }
    }
}

/// An order by one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort {
    column: &'static str,
    descending: bool,
}

/// What a list is sorted by: columns of which each tells something beside the others.
const SORTED_BY: &[&str] = &[
    "caller",
    "did",
    "agent",
    "duration_s",
    "turns",
    "answer_ms_p50",
    "answer_ms_max",
    "outcome",
    "verdict",
    "cost",
    "barge_ins",
    "tools_failed",
];

impl Sort {
    /// As it is asked for: the name of a column, with `-` before it for the largest first.
    ///
    /// # Errors
    /// The columns that are known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
        let column = SORTED_BY.iter().find(|column| **column == name);
        let column = column.ok_or_else(|| {
            format!("{text:.40?}: {} are known, with - before it for the largest first", SORTED_BY.join(", "))
        })?;
        Ok(Self { column, descending })
    }
}

/// Where the next page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// Behind this call, the newest first.
    Call(RecordId),
    /// Behind so many rows of a sorted list.
    Rows(usize),
}

impl Cursor {
    /// As its own [`fmt::Display`] wrote it.
    pub fn parse(text: &str) -> Option<Self> {
        let rows = || text.parse().ok().filter(|rows| *rows <= SORTED_ROWS_MAX).map(Self::Rows);
        RecordId::parse(text).map(Self::Call).or_else(rows)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(id) => write!(f, "{id}"),
            Self::Rows(rows) => write!(f, "{rows}"),
        }
    }
}

impl CallFilter {
    /// How many calls a page has.
    pub(super) fn page(&self) -> usize {
        self.limit.unwrap_or(PAGE_CALLS).clamp(1, PAGE_CALLS_MAX)
    }

    /// The cursor behind a page whose last call is that one, if there are more.
    pub(super) fn next(&self, last: &str) -> Option<Cursor> {
        if self.sort.is_none() {
            return RecordId::parse(last).map(Cursor::Call);
        }
        Some(self.rows() + self.page()).filter(|rows| *rows <= SORTED_ROWS_MAX).map(Cursor::Rows)
    }

    fn rows(&self) -> usize {
        match self.before {
            Some(Cursor::Rows(rows)) => rows,
            _ => 0,
        }
    }

    /// The condition of all that is asked for, with ` WHERE ` before it, and its values.
    pub(super) fn condition(&self) -> (String, Vec<Value>) {
        let mut values = Vec::new();
        let mut conditions = Vec::new();
        let mut ask = |condition: &str, value: Option<String>| {
            if let Some(value) = value {
                values.push(Value::Text(value));
                conditions.push(condition.replace('?', &format!("${}", values.len())));
            }
        };
        let at = |ms: u64| RecordId::new(ms, 0).to_string();
        ask("did = ?", self.did.clone());
        ask("caller = ?", self.caller.clone());
        ask("agent = ?", self.agent.clone());
        ask("outcome = ?", self.outcome.clone());
        // An id begins with the time of the offer.
        ask("id >= ?", self.from_ms.map(at));
        ask("id < ?", self.to_ms.map(at));
        let before = self.before.filter(|cursor| matches!(cursor, Cursor::Call(_)));
        ask("id < ?", before.map(|cursor| cursor.to_string()));
        if let Some(Problems::This(problem)) = self.problems {
            ask("' ' || problems || ' ' LIKE ?", Some(format!("% {} %", problem.label())));
        }
        ask("search LIKE ? ESCAPE '!'", self.q.as_deref().map(rows::pattern));
        match self.problems {
            None => {}
            // One of a problem is one with any, for which there is an index.
            Some(Problems::Any | Problems::This(_)) => conditions.push("problems <> ''".to_owned()),
            Some(Problems::None) => conditions.push("problems = ''".to_owned()),
        }
        conditions.extend(self.ending.map(ending));
        let all = conditions.join(" AND ");
        (if all.is_empty() { all } else { format!(" WHERE {all}") }, values)
    }

    /// The query of a page, with one call more than the page holds.
    pub(super) fn statement(&self) -> (String, Vec<Value>) {
        let (all, values) = self.condition();
        let order = match self.sort {
            None => "id DESC".to_owned(),
            // What is unknown comes last, in both databases and both directions.
            Some(Sort { column, descending }) => {
                format!("{column} IS NULL, {column}{}, id DESC", if descending { " DESC" } else { "" })
            }
        };
        let (columns, limit, rows) = (rows::columns(), self.page() + 1, self.rows());
        let sql = format!("SELECT {columns} FROM calls{all} ORDER BY {order} LIMIT {limit} OFFSET {rows}");
        (sql, values)
    }
}

/// The condition of a kind of end. The words are ours.
fn ending(ending: Ending) -> String {
    let list = |endings: &[Ending]| {
        let words = endings.iter().flat_map(|ending| ending.outcomes());
        words.map(|word| format!("'{word}'")).collect::<Vec<_>>().join(", ")
    };
    match ending {
        Ending::Abnormal => format!("outcome NOT IN ({})", list(&Ending::ALL)),
        known => format!("outcome IN ({})", list(&[known])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        for cursor in [Cursor::Call(RecordId::new(1_000, 7)), Cursor::Rows(50)] {
            assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        }
        assert_eq!(Cursor::parse("10001"), None);
        assert_eq!(Cursor::parse("yesterday"), None);
    }

    #[test]
    fn only_columns_of_the_list_come_into_an_order() {
        assert!(SORTED_BY.iter().all(|column| rows::columns().split(", ").any(|known| known == *column)));
        let wrong = Sort::parse("id; DROP TABLE calls").unwrap_err();
        assert!(wrong.contains("duration_s"), "{wrong}");
        let filter = CallFilter { sort: Sort::parse("-cost").ok(), ..CallFilter::default() };
        assert!(
            filter.statement().0.ends_with("ORDER BY cost IS NULL, cost DESC, id DESC LIMIT 51 OFFSET 0")
        );
    }
}
