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

    use serde_json::{Value, json};

    use super::*;
    use crate::call::CallRecord;
    use crate::call::record::FieldKind;

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

    /// The schemas that hold a record say of each of its fields what the record's declaration says.
    #[test]
    fn the_document_describes_each_field_of_a_record() {
        let mut document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
        for schema in ["CallRecord", "CallDetail"] {
            let schema = &mut document["components"]["schemas"][schema];
            for field in CallRecord::FIELDS {
                let kind = match field.kind {
                    FieldKind::Text => "string",
                    FieldKind::Words => "array",
                    FieldKind::Integer => "integer",
                    FieldKind::Real => "number",
                    FieldKind::Switch => "boolean",
                };
                let property = &mut schema["properties"][field.name];
                property["type"] = if field.optional { json!([kind, "null"]) } else { json!(kind) };
                property["description"] = field.summary.trim().trim_end_matches('.').into();
                if field.kind == FieldKind::Words {
                    property["items"] = json!({"type": "string"});
                }
                if field.kind == FieldKind::Integer {
                    property["minimum"] = json!(0);
                }
                let required = schema["required"].as_array_mut().expect("what is required");
                if required.iter().all(|name| name != field.name) {
                    required.push(field.name.into());
                }
            }
        }
        let expected = document;
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            let text = serde_json::to_string_pretty(&expected).expect("JSON");
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json"), text + "\n").unwrap();
        } else {
            let found: Value = serde_json::from_str(DOCUMENT).expect("JSON");
            assert!(
                found == expected,
                "docs/openapi.json is out of date: UPDATE_EXPECT=1 cargo test --lib openapi"
            );
        }
    }
}
