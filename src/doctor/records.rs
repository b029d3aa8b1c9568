//! The database of records: there, and readable with this configuration.
//!
//! Runs in: the main thread. Owns a connection of its own for one question. Writes nothing.
//! Invariant: calls do not depend on it, so nothing found here is worse than a warning, and no password is printed.

use super::Examination;
use crate::threads::store::{CallFilter, DatabasePlace, Reader, StorePlace};

impl Examination<'_> {
    /// Whether past calls can be read.
    pub(super) fn records(&mut self) {
        let check = "records";
        let place = StorePlace::configured(&self.config.store);
        let shown = place.database.to_string();
        match &place.database {
            DatabasePlace::Off => return self.report.skip(check, "store.url is none: no records are kept"),
            DatabasePlace::Sqlite(path) if !path.exists() => {
                let why = format!("{shown} is not there: the relay makes it, or it was started elsewhere");
                return self.report.skip(check, why);
            }
            _ => {}
        }
        if let Some(warning) = place.database.warning() {
            self.report.warn(check, warning, "docs/records.md says what each sslmode does");
        }
        match Reader::new(place).list(&CallFilter { limit: Some(1), ..CallFilter::default() }) {
            Ok(_) => self.report.good(check, format!("{shown} answers")),
            Err(problem) => self.report.warn(
                check,
                format!("{shown} cannot be read: {problem}"),
                "put store.url (DATABASE_URL) right; records wait on disk meanwhile, and a new database gets its tables \
                 when the relay starts",
            ),
        }
    }
}
