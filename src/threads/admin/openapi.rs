//! `GET /api/openapi.json`: the description of every path, for programs that make clients of it.
//!
//! Runs in: the admin thread. Owns nothing.
//! Invariant: the document names every path that is served but the page's, and none that is not: a test below.

use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;

use super::routes::Routes;

const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

/// The paths of this file.
pub(super) fn routes() -> Routes {
    Routes::new().get("/api/openapi.json", || async {
        ([(CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_document_describes_what_is_served() {
        let document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
        let paths = document["paths"].as_object().expect("paths");
        let described: BTreeSet<_> = paths
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().expect("methods").keys();
                methods.filter(|name| *name != "parameters").map(|method| (method.clone(), path.clone()))
            })
            .collect();
        let (_, listed) = super::super::all_routes().into_parts();
        let is_page = |path: &str| path == "/" || path.starts_with("/assets/");
        let served: BTreeSet<_> = listed
            .into_iter()
            .filter(|(_, path)| !is_page(path))
            .map(|(method, path)| (method.to_owned(), path.to_owned()))
            .collect();
        assert_eq!(described, served, "docs/openapi.json and the routes of src/threads/admin/");
    }
}
