//! What arguments a tool takes: a JSON schema of an object, checked once, and arguments of the model held against it.
//!
//! Runs in: anywhere: pure. Owns the schema.
//! Never follows a reference out of the schema.
//! Invariant: a schema in hand describes an object, and holds no keyword but those that the Gemini API documents.

use serde_json::{Map, Value};

/// Longest schema, in bytes; real ones have some hundred.
pub const SCHEMA_BYTES_MAX: usize = 16 * 1024;
/// How deep a schema may be nested.
const DEPTH_MAX: usize = 16;
/// Longest name of an argument, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Keywords of JSON Schema that the API takes (its reference of `responseJsonSchema`, which is the same subset).
const KEYWORDS: [&str; 21] = [
    "$id",
    "$defs",
    "$ref",
    "$anchor",
    "type",
    "format",
    "title",
    "description",
    "enum",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
    "anyOf",
    "oneOf",
    "properties",
    "additionalProperties",
    "required",
    "propertyOrdering",
];

/// The parameters of one tool.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parameters {
    schema: Option<Value>,
}

impl Parameters {
    /// Reads a JSON schema.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that begins with its place.
    pub fn read(text: &str) -> Result<Self, String> {
        if text.len() > SCHEMA_BYTES_MAX {
            return Err(format!("is longer than {SCHEMA_BYTES_MAX} bytes"));
        }
        let schema: Value = serde_json::from_str(text).map_err(|error| format!("is no JSON ({error})"))?;
        if schema.get("type").and_then(Value::as_str) != Some("object") {
            return Err("is no schema of an object: it needs \"type\": \"object\"".into());
        }
        check_schema(&schema, 0)?;
        let names: Vec<&String> = properties(&schema).map(|(name, _)| name).collect();
        for name in &names {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(fits) {
                return Err(format!(
                    "names an argument {name:?}: A-Z a-z 0-9 _ are allowed, up to {NAME_BYTES_MAX}"
                ));
            }
        }
        if let Some(missing) = required(&schema).find(|name| !names.iter().any(|known| known == name)) {
            return Err(format!("requires {missing:?}, which is not among its properties"));
        }
        // The API refuses an object without properties.
        let schema = (!names.is_empty()).then_some(schema);
        Ok(Self { schema })
    }

    /// The schema, unless the tool takes no arguments.
    pub fn schema(&self) -> Option<&Value> {
        self.schema.as_ref()
    }

    /// Whether these arguments fit: no others than named, all that are required, each of its type and among its `enum`.
    /// What lies deeper is for the tool itself to check.
    ///
    /// # Errors
    /// What is wrong with them, for the model.
    pub fn check(&self, arguments: &Map<String, Value>) -> Result<(), String> {
        let nothing = Value::Null;
        let schema = self.schema.as_ref().unwrap_or(&nothing);
        for (name, argument) in arguments {
            let Some((_, property)) = properties(schema).find(|(known, _)| *known == name) else {
                return Err(format!("there is no argument {name:?}"));
            };
            if let Some(kind) = property.get("type").and_then(Value::as_str)
                && !is_of(argument, kind)
            {
                return Err(format!("the argument {name} has to be of type {kind}"));
            }
            if let Some(values) = property.get("enum").and_then(Value::as_array)
                && !values.contains(argument)
            {
                return Err(format!("the argument {name} has to be one of {}", property["enum"]));
            }
        }
        match required(schema).find(|name| !arguments.contains_key(*name)) {
            Some(missing) => Err(format!("the argument {missing} is missing")),
            None => Ok(()),
        }
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn is_of(argument: &Value, kind: &str) -> bool {
    match kind {
        "string" => argument.is_string(),
        "number" => argument.is_number(),
        // Models write 3.0 where they mean 3.
        "integer" => argument.as_f64().is_some_and(|number| number.fract() == 0.0),
        "boolean" => argument.is_boolean(),
        "array" => argument.is_array(),
        "object" => argument.is_object(),
        _ => argument.is_null(),
    }
}

/// Checks a schema and those within it.
fn check_schema(schema: &Value, depth: usize) -> Result<(), String> {
    let Some(keywords) = schema.as_object() else {
        return Err(format!("holds {schema} where a schema has to be"));
    };
    if depth > DEPTH_MAX {
        return Err(format!("is nested deeper than {DEPTH_MAX} schemas"));
    }
    for (keyword, value) in keywords {
        if !KEYWORDS.contains(&keyword.as_str()) {
            return Err(format!(
                "holds the keyword {keyword:?}, which the API does not take; it takes {}",
                KEYWORDS.join(", ")
            ));
        }
        let within: Vec<&Value> = match (keyword.as_str(), value) {
            ("properties" | "$defs", Value::Object(schemas)) => schemas.values().collect(),
            ("anyOf" | "oneOf" | "prefixItems", Value::Array(schemas)) => schemas.iter().collect(),
            ("items", schema) => vec![schema],
            ("additionalProperties", schema @ Value::Object(_)) => vec![schema],
            ("additionalProperties", Value::Bool(_)) => Vec::new(),
            ("required" | "propertyOrdering", Value::Array(names)) if names.iter().all(Value::is_string) => {
                Vec::new()
            }
            ("enum", Value::Array(values)) if !values.is_empty() => Vec::new(),
            ("type", Value::String(kind)) if is_type(kind) => Vec::new(),
            ("minItems" | "maxItems" | "minimum" | "maximum", Value::Number(_)) => Vec::new(),
            ("$id" | "$anchor" | "format" | "title" | "description", Value::String(_)) => Vec::new(),
            ("$ref", Value::String(to)) if to.starts_with('#') => Vec::new(),
            _ => return Err(format!("holds {keyword:?} with a value that it cannot have: {value}")),
        };
        within.into_iter().try_for_each(|schema| check_schema(schema, depth + 1))?;
    }
    Ok(())
}

fn is_type(word: &str) -> bool {
    ["string", "number", "integer", "boolean", "array", "object", "null"].contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const LOOKUP: &str = r#"{"type": "object", "required": ["day"], "properties": {
        "day": {"type": "string", "format": "date"}, "persons": {"type": "integer", "minimum": 1},
        "room": {"type": "string", "enum": ["red", "blue"]}, "tags": {"type": "array", "items": {"type": "string"}}}}"#;

    #[test]
    fn a_schema_that_the_api_would_refuse_is_refused_at_the_start() {
        for (text, why) in [
            ("{", "no JSON"),
            ("[]", "\"type\": \"object\""),
            (r#"{"type": "string"}"#, "\"type\": \"object\""),
            (r#"{"type": "object", "patternProperties": {}}"#, "\"patternProperties\""),
            (r#"{"type": "object", "properties": {"a": {"type": "text"}}}"#, "\"text\""),
            (r#"{"type": "object", "properties": {"a": 1}}"#, "where a schema has to be"),
            (r#"{"type": "object", "properties": {"a b": {"type": "string"}}}"#, "\"a b\""),
            (r#"{"type": "object", "properties": {}, "required": ["a"]}"#, "requires \"a\""),
            (r#"{"type": "object", "properties": {"a": {"$ref": "https://example.com"}}}"#, "$ref"),
            (r#"{"type": "object", "properties": {"a": {"enum": []}}}"#, "enum"),
        ] {
            let error = Parameters::read(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
        let deep = format!("{}{}", r#"{"type":"object","items":"#.repeat(40), "1") + &"}".repeat(40);
        assert!(Parameters::read(&deep).expect_err("deep").contains("deeper"));
        assert!(Parameters::read(&" ".repeat(SCHEMA_BYTES_MAX + 1)).expect_err("long").contains("longer"));
        assert!(Parameters::read(LOOKUP).expect("a schema").schema().is_some());
    }

    #[test]
    fn arguments_are_held_against_the_schema() {
        let parameters = Parameters::read(LOOKUP).expect("a schema");
        let check = |arguments: Value| parameters.check(arguments.as_object().expect("an object"));
        for fit in [
            json!({"day": "2026-12-01"}),
            json!({"day": "", "persons": 2.0, "room": "red"}),
            json!({"day": "", "tags": ["a"]}),
        ] {
            assert_eq!(check(fit.clone()), Ok(()), "{fit}");
        }
        for (unfit, why) in [
            (json!({}), "the argument day is missing"),
            (json!({"day": 1}), "the argument day has to be of type string"),
            (json!({"day": "", "persons": 1.5}), "the argument persons has to be of type integer"),
            (json!({"day": "", "room": "green"}), "the argument room has to be one of [\"red\",\"blue\"]"),
            (json!({"day": "", "admin": true}), "there is no argument \"admin\""),
        ] {
            assert_eq!(check(unfit), Err(why.to_owned()));
        }
    }

    #[test]
    fn a_tool_without_parameters_takes_no_arguments() {
        let empty = Parameters::read(r#"{"type": "object", "properties": {}}"#).expect("a schema");
        assert_eq!(empty, Parameters::default());
        assert_eq!(empty.check(&Map::new()), Ok(()));
        assert!(empty.check(json!({"a": 1}).as_object().expect("an object")).is_err());
    }
}
