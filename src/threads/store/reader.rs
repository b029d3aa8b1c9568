//! Reads records: lists calls by what is known of them, newest first, and shows one with what was said in it.
//!
//! Runs in: whichever threads may wait for the database: the admin server's blocking ones, the command line. Owns as many
//! connections as threads have asked at one time, each made when it is needed and again when it is lost. Never writes.
//! Invariant: a page is as long as was asked for at most, and its cursor leads to what is older than all of it.

use std::time::Duration;

use parking_lot::Mutex;

use super::database::{Database, StoreError, Value};
use super::place::{DatabasePlace, StorePlace};
use super::stopper::Stopper;
use super::{postgres, rows, sqlite};
use crate::base::{Problem, RecordId, Words};
use crate::call::{CallDetail, CallRecord};

/// Calls on a page.
pub const PAGE_CALLS_MAX: usize = 500;
/// Calls on a page where nobody says how many.
pub(super) const PAGE_CALLS: usize = 50;

/// What Postgres may take for a statement: whoever asked has gone by then.
const STATEMENT_WITHIN: Duration = Duration::from_secs(5);
/// Connections that are kept for the next question.
const KEPT_MAX: usize = 4;

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
    /// What was wrong.
    pub problems: Option<Problems>,
    /// Offered at this millisecond since 1970 or later.
    pub from_ms: Option<u64>,
    /// Offered before this millisecond since 1970.
    pub to_ms: Option<u64>,
    /// Found in the number that was called, the caller's, the UUID or the transcript, whatever the letter case.
    pub q: Option<String>,
    /// How many calls; 50 for `None`, never more than [`PAGE_CALLS_MAX`].
    pub limit: Option<usize>,
    /// Only calls older than this one: the cursor of the page before.
    pub before: Option<RecordId>,
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

/// A part of a list, the newest call first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CallPage {
    /// The calls.
    pub calls: Vec<CallRecord>,
    /// [`CallFilter::before`] of the next page, if there is one.
    pub next: Option<RecordId>,
}

/// See the head of this file.
pub struct Reader {
    place: StorePlace,
    /// Those on which nothing is being asked.
    idle: Mutex<Vec<Box<dyn Database>>>,
}

impl Reader {
    /// A reader of the records that are kept there. Connects when it is first asked.
    pub fn new(place: StorePlace) -> Self {
        Self { place, idle: Mutex::default() }
    }

    /// The calls that fit, newest first.
    ///
    /// # Errors
    /// [`StoreError::Away`] where there is no database to ask, with the remedy.
    pub fn list(&self, filter: &CallFilter) -> Result<CallPage, StoreError> {
        self.list_unless(&Stopper::default(), filter)
    }

    /// A call by the id of its record or by the switch's UUID, of which the newest call counts; `None` if there is none.
    ///
    /// # Errors
    /// As [`Reader::list`].
    pub fn show(&self, name: &str) -> Result<Option<CallDetail>, StoreError> {
        self.show_unless(&Stopper::default(), name)
    }

    /// As [`Reader::list`], unless `stopper` ends the question.
    ///
    /// # Errors
    /// As [`Reader::list`], and that the question was ended.
    pub fn list_unless(&self, stopper: &Stopper, filter: &CallFilter) -> Result<CallPage, StoreError> {
        let (sql, values, limit) = statement(filter);
        let found = self.ask(stopper, |database| database.query(&sql, &values))?;
        let mut calls = found.into_iter().map(rows::record).collect::<Result<Vec<_>, _>>()?;
        let more = calls.len() > limit;
        calls.truncate(limit);
        let next = calls.last().filter(|_| more).and_then(|call| RecordId::parse(&call.id));
        Ok(CallPage { calls, next })
    }

    /// As [`Reader::show`], unless `stopper` ends the question.
    ///
    /// # Errors
    /// As [`Reader::list_unless`].
    pub fn show_unless(&self, stopper: &Stopper, name: &str) -> Result<Option<CallDetail>, StoreError> {
        self.ask(stopper, |database| rows::detail(database, name))
    }

    /// Asks, and connects before that where there is no connection, or the one there was has been lost.
    fn ask<T>(
        &self,
        stopper: &Stopper,
        question: impl Fn(&mut dyn Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let asked = |database: &mut Box<dyn Database>| {
            stopper.during(database.interrupt(), || match stopper.is_stopped() {
                true => Err(StoreError::Away("nobody waits for the answer any more".to_owned())),
                false => question(database.as_mut()),
            })
        };
        let kept = self.idle.lock().pop();
        if let Some(mut database) = kept {
            let answer = asked(&mut database);
            if !matches!(answer, Err(StoreError::Away(_))) {
                self.keep(database);
                return answer;
            }
            if stopper.is_stopped() {
                return answer;
            }
        }
        let mut database: Box<dyn Database> = match &self.place.database {
            DatabasePlace::Off => {
                return Err(StoreError::Away("no records are kept: store.url is \"none\"".to_owned()));
            }
            DatabasePlace::Sqlite(path) => Box::new(sqlite::Sqlite::read(path)?),
            DatabasePlace::Postgres(url) => Box::new(postgres::Postgres::connect(url)?),
        };
        database.limit(STATEMENT_WITHIN)?;
        let answer = asked(&mut database);
        if !matches!(answer, Err(StoreError::Away(_))) {
            self.keep(database);
        }
        answer
    }

    fn keep(&self, database: Box<dyn Database>) {
        let mut idle = self.idle.lock();
        if idle.len() < KEPT_MAX {
            idle.push(database);
        }
    }
}

/// The query of a page, with one call more than the page holds, and how many that are.
fn statement(filter: &CallFilter) -> (String, Vec<Value>, usize) {
    let mut values = Vec::new();
    let mut conditions = Vec::new();
    // A condition without a place for a value is asked for in any case.
    let mut ask = |condition: &str, value: Option<String>| match value {
        Some(value) => {
            values.push(Value::Text(value));
            conditions.push(condition.replace('?', &format!("${}", values.len())));
        }
        None if condition.contains('?') => {}
        None => conditions.push(condition.to_owned()),
    };
    let at = |ms: u64| RecordId::new(ms, 0).to_string();
    ask("did = ?", filter.did.clone());
    ask("caller = ?", filter.caller.clone());
    ask("agent = ?", filter.agent.clone());
    ask("outcome = ?", filter.outcome.clone());
    // An id begins with the time of the offer.
    ask("id >= ?", filter.from_ms.map(at));
    ask("id < ?", filter.to_ms.map(at));
    ask("id < ?", filter.before.map(|id| id.to_string()));
    match filter.problems {
        None => {}
        Some(Problems::Any) => ask("problems <> ''", None),
        Some(Problems::None) => ask("problems = ''", None),
        // The words are one text; the first condition has an index.
        Some(Problems::This(problem)) => {
            ask("problems <> '' AND ' ' || problems || ' ' LIKE ?", Some(format!("% {} %", problem.label())));
        }
    }
    ask("search LIKE ? ESCAPE '!'", filter.q.as_deref().map(rows::pattern));
    let limit = filter.limit.unwrap_or(PAGE_CALLS).clamp(1, PAGE_CALLS_MAX);
    let all =
        if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    let sql = format!("SELECT {} FROM calls{all} ORDER BY id DESC LIMIT {}", rows::columns(), limit + 1);
    (sql, values, limit)
}
