//! A value as somebody wrote it, in TOML or as plain text, before its key says what it must be.
//!
//! Runs in: anywhere: pure; at start only. Owns the written value. Never knows about keys.
//! Invariant: rendering gives valid TOML, and reading that again gives the same value.

use toml::de::DeValue;

use crate::base::visible::is_invisible;

/// A value with the type its source gave it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Text without a type: from the environment or an argument. A key of any type may read it.
    Untyped(String),
    /// A TOML string.
    Text(String),
    /// A TOML integer.
    Integer(i128),
    /// A TOML float.
    Float(f64),
    /// A TOML boolean.
    Boolean(bool),
    /// A TOML array of strings.
    List(Vec<String>),
    /// Anything no key takes, by the name of its type.
    Foreign(&'static str),
}

impl Value {
    /// Takes a value out of parsed TOML.
    pub(super) fn from_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(integer) => match i128::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(integer) => Self::Integer(integer),
                Err(_) => Self::Foreign("an integer too large to read"),
            },
            DeValue::Float(float) => match float.as_str().parse() {
                Ok(float) => Self::Float(float),
                Err(_) => Self::Foreign("a number that cannot be read"),
            },
            DeValue::Boolean(boolean) => Self::Boolean(*boolean),
            DeValue::Array(array) => {
                let texts: Option<Vec<String>> =
                    array.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect();
                texts.map_or(Self::Foreign("an array of something other than strings"), Self::List)
            }
            DeValue::Table(_) => Self::Foreign("a table"),
            DeValue::Datetime(_) => Self::Foreign("a date"),
        }
    }

    /// The value as TOML. Untyped text comes out as a string.
    pub(super) fn render(&self) -> String {
        match self {
            Self::Untyped(text) | Self::Text(text) => quote(text),
            Self::Integer(integer) => integer.to_string(),
            // `{:?}` keeps the `.0` that makes it a float in TOML.
            Self::Float(float) => format!("{float:?}"),
            Self::Boolean(boolean) => boolean.to_string(),
            Self::List(items) => {
                let quoted: Vec<String> = items.iter().map(|item| quote(item)).collect();
                format!("[{}]", quoted.join(", "))
            }
            Self::Foreign(name) => format!("({name})"),
        }
    }

    /// The name of the type, for an error.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Untyped(_) => "text",
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::List(_) => "an array",
            Self::Foreign(name) => name,
        }
    }

    /// Whether nobody may see it where it is the value of a secret key.
    pub(super) fn is_hidden(&self) -> bool {
        match self {
            Self::Untyped(text) | Self::Text(text) => super::registry::is_hidden(text),
            _ => true,
        }
    }

    /// Whether this is text with nothing in it, which for an optional key means "not set".
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Untyped(text) | Self::Text(text) if text.is_empty())
    }
}

/// A TOML basic string (TOML 1.0, "String"), with everything but printable characters escaped.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            hidden if is_invisible(hidden) && u32::from(hidden) > 0xFFFF => {
                quoted.push_str(&format!("\\U{:08X}", u32::from(hidden)));
            }
            hidden if is_invisible(hidden) => quoted.push_str(&format!("\\u{:04X}", u32::from(hidden))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rendered_reads_back_as_the_same_value() {
        for toml in
            ["9094", "-3", "1.0", "0.7", "true", r#""a \"b\" \\ c""#, r#"["a", "b"]"#, r#""line\n\u007F""#]
        {
            let parsed = DeValue::parse(toml).unwrap();
            let value = Value::from_toml(parsed.get_ref());
            let rendered = value.render();
            assert_eq!(rendered, toml);
            assert_eq!(Value::from_toml(DeValue::parse(&rendered).unwrap().get_ref()), value);
        }
    }

    #[test]
    fn integers_may_be_written_with_underscores_and_in_other_bases() {
        assert_eq!(Value::from_toml(DeValue::parse("9_094").unwrap().get_ref()), Value::Integer(9094));
        assert_eq!(Value::from_toml(DeValue::parse("0x10").unwrap().get_ref()), Value::Integer(16));
    }
}
