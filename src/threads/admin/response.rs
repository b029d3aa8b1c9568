//! What a request is answered with, and the fields of its body.
//!
//! Runs in: the admin thread. Owns nothing.
//! Invariant: an answer that is no success has a JSON body with `error`, in words for an operator.

use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use crate::base::command::Unfit;

const JSON: &str = "application/json";

/// See the head of this file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

impl Response {
    /// This value.
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::written(status, format!("{body}\n"))
    }

    /// This JSON.
    pub(super) fn written(status: u16, body: String) -> Self {
        Self { status, content_type: JSON, body }
    }

    /// Nothing more to say (204).
    pub(super) fn empty() -> Self {
        Self { status: 204, content_type: JSON, body: String::new() }
    }

    /// Why there is nothing else.
    pub(super) fn error(status: u16, why: &str) -> Self {
        Self::json(status, &json!({"error": why}))
    }

    /// That what was asked for was not done, and why.
    pub(super) fn not_done(status: u16, why: &str) -> Self {
        Self::json(status, &json!({"done": false, "error": why}))
    }
}

impl IntoResponse for Response {
    fn into_response(self) -> axum::response::Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status == StatusCode::NO_CONTENT {
            return status.into_response();
        }
        (status, [(CONTENT_TYPE, HeaderValue::from_static(self.content_type))], self.body).into_response()
    }
}

/// Longest text that the model is told or asked to say, in bytes.
const WORDS_BYTES_MAX: usize = 4096;

/// A request that is not as it should be, and what is wrong with it.
pub(super) struct Wrong(pub(super) String);

impl From<Unfit> for Wrong {
    fn from(unfit: Unfit) -> Self {
        Self(unfit.to_string())
    }
}

impl IntoResponse for Wrong {
    fn into_response(self) -> axum::response::Response {
        Response::not_done(422, &self.0).into_response()
    }
}

/// The JSON object of a body; an empty body is an empty object.
pub(super) struct Body(Map<String, Value>);

impl Body {
    /// Reads it.
    ///
    /// # Errors
    /// That it is no JSON object.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Wrong> {
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(Map::new()));
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(object)) => Ok(Self(object)),
            _ => Err(Wrong("the body is no JSON object".into())),
        }
    }

    /// The field `name` as it is, unless it is missing or null.
    pub(super) fn field(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// The field `name`, words for the model.
    ///
    /// # Errors
    /// That it is missing, no text, empty or too long.
    pub(super) fn words(&self, name: &str) -> Result<String, Wrong> {
        let field = self.field(name).ok_or_else(|| Wrong(format!("{name} is missing")))?;
        let text =
            field.as_str().ok_or_else(|| Wrong(format!("{name} is no text: write it in quotation marks")))?;
        match text.trim() {
            text if (1..=WORDS_BYTES_MAX).contains(&text.len()) => Ok(text.to_owned()),
            text => {
                Err(Wrong(format!("{name} has {} bytes: 1 to {WORDS_BYTES_MAX} can be said", text.len())))
            }
        }
    }

    /// The field `name`, true or false; false if it is not there.
    ///
    /// # Errors
    /// That it is neither.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Wrong> {
        let flag = self.field(name).map_or(Some(false), Value::as_bool);
        flag.ok_or_else(|| Wrong(format!("{name} is {}: true or false", self.0[name])))
    }

    /// A value made of the field `name`, if it is there.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn optional<T>(
        &self,
        name: &str,
        new: fn(&str) -> Result<T, Unfit>,
    ) -> Result<Option<T>, Wrong> {
        match self.field(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(new(text)?)),
            Some(_) => Err(Wrong(format!("{name} is no text: write it in quotation marks"))),
        }
    }

    /// A value made of the field `name`.
    ///
    /// # Errors
    /// That it is missing, or what is wrong with it.
    pub(super) fn required<T>(&self, name: &str, new: fn(&str) -> Result<T, Unfit>) -> Result<T, Wrong> {
        self.optional(name, new)?.ok_or_else(|| Wrong(format!("{name} is missing")))
    }
}
