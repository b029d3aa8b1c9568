//! Reads records: lists calls by what is known of them, newest first, and shows one with what was said in it.
//!
//! Runs in: whichever threads may wait for the database: the admin server's blocking ones, the command line. Owns as many
//! connections as threads have asked at one time, each made when it is needed and again when it is lost. Never writes.
//! Invariant: a page is as long as was asked for at most, and its cursor leads to what is older than all of it.

use std::time::Duration;

use parking_lot::Mutex;

use super::database::{Database, StoreError};
use super::filter::{CallFilter, Cursor};
use super::place::{DatabasePlace, StorePlace};
use super::report::{By, ReportLine, report};
use super::stopper::Stopper;
use super::{postgres, rows, sqlite};
use crate::call::{CallDetail, CallRecord};

/// What Postgres may take for a statement: whoever asked has gone by then.
const STATEMENT_WITHIN: Duration = Duration::from_secs(5);
/// Connections that are kept for the next question.
const KEPT_MAX: usize = 4;

/// A part of a list, the newest call first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CallPage {
    /// The calls.
    pub calls: Vec<CallRecord>,
    /// [`CallFilter::before`] of the next page, if there is one.
    pub next: Option<Cursor>,
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
        let ((sql, values), limit) = (filter.statement(), filter.page());
        let found = self.ask(stopper, |database| database.query(&sql, &values))?;
        let mut calls = found.into_iter().map(rows::record).collect::<Result<Vec<_>, _>>()?;
        let more = calls.len() > limit;
        calls.truncate(limit);
        let next = calls.last().filter(|_| more).and_then(|call| filter.next(&call.id));
        Ok(CallPage { calls, next })
    }

    /// The calls that fit, compared; the filter's page does not matter.
    ///
    /// # Errors
    /// As [`Reader::list`].
    pub fn report(&self, filter: &CallFilter, by: By) -> Result<Vec<ReportLine>, StoreError> {
        self.report_unless(&Stopper::default(), filter, by)
    }

    /// As [`Reader::report`], unless `stopper` ends the question.
    ///
    /// # Errors
    /// As [`Reader::list_unless`].
    pub fn report_unless(
        &self,
        stopper: &Stopper,
        filter: &CallFilter,
        by: By,
    ) -> Result<Vec<ReportLine>, StoreError> {
        self.ask(stopper, |database| report(database, filter, by))
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
