//! What a key is: its name, its type and range, where it may be written, and which field of which structure it fills.
//!
//! Runs in: anywhere: pure; when configuration is read. Owns the types of the registry; the keys themselves are in
//! `keys.rs` and the files beside it. Never reads a file. Invariant: a value is checked and stored in one step, so nothing
//! unchecked reaches the [configuration](super::Config).

use super::value::Value;

/// One setting, which fills a field of `T`: of [`super::Config`], or of one agent, tool, credential or route. The lists
/// are [`super::KEYS`], [`super::AGENT_KEYS`] and so on; parsing, `--check`, the sample file and the documentation are
/// made from them.
#[derive(Debug)]
pub struct Key<T: 'static> {
    /// Section and name with a dot between, as in `--set listen.port=9094`; the name alone where the section has a name
    /// of its own, as in `[tools.NAME]`.
    pub name: &'static str,
    /// The default as TOML; empty where the key is not set by default.
    pub default: &'static str,
    /// For a key without a default: a value to show in the sample file, as TOML.
    pub example: &'static str,
    /// Environment variables with a conventional name, strongest first. `TANDEM_SECTION_KEY` works beside them.
    pub environment: &'static [&'static str],
    /// What it does, in a sentence or two.
    pub summary: &'static str,
    /// Type, range and field.
    pub kind: Kind<T>,
}

// Written out, since derived they would ask the same of T, of which a key holds nothing.
impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

/// The type of a key, with its range and the field it fills.
#[derive(Debug)]
pub enum Kind<T: 'static> {
    /// A whole number.
    Integer {
        /// Least value.
        min: u64,
        /// Greatest value.
        max: u64,
        /// The value is a multiple of this.
        multiple_of: u64,
        /// What 0 means, where it has a meaning of its own; it is then allowed below `min`.
        zero: Option<&'static str>,
        /// Stores it.
        set: fn(&mut T, u64),
    },
    /// A number with a fraction, or nothing.
    Number {
        /// Least value.
        min: f64,
        /// Greatest value.
        max: f64,
        /// Stores it.
        set: fn(&mut T, Option<f64>),
    },
    /// True or false.
    Switch {
        /// Stores it.
        set: fn(&mut T, bool),
    },
    /// One of a few words (or integers, as a rate is); letter case does not matter.
    Choice {
        /// The words.
        choices: &'static [&'static str],
        /// Stores the word with this position in `choices`.
        set: fn(&mut T, usize),
    },
    /// Text of some form; empty means not set.
    Text {
        /// What to write, as the end of "write …".
        form: &'static str,
        /// Checks and stores it; the error completes "KEY = VALUE …".
        set: fn(&mut T, Option<&str>) -> Result<(), String>,
    },
    /// Several texts: an array in the file, separated by commas elsewhere.
    List {
        /// What to write, as the end of "write …".
        form: &'static str,
        /// Checks and stores it; the error completes "KEY = VALUE …".
        set: fn(&mut T, &[String]) -> Result<(), String>,
    },
    /// Text that is never printed; empty means not set.
    Secret {
        /// What to write, as the end of "write …".
        form: &'static str,
        /// Checks and stores it; the error completes "KEY …" and does not quote the value.
        set: fn(&mut T, Option<&str>) -> Result<(), String>,
    },
}

impl<T> Clone for Kind<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Kind<T> {}

pub(super) const fn integer<T>(min: u64, max: u64, set: fn(&mut T, u64)) -> Kind<T> {
    Kind::Integer { min, max, multiple_of: 1, zero: None, set }
}

pub(super) const fn stepped<T>(min: u64, max: u64, multiple_of: u64, set: fn(&mut T, u64)) -> Kind<T> {
    Kind::Integer { min, max, multiple_of, zero: None, set }
}

pub(super) const fn integer_or_zero<T>(
    min: u64,
    max: u64,
    zero: &'static str,
    set: fn(&mut T, u64),
) -> Kind<T> {
    Kind::Integer { min, max, multiple_of: 1, zero: Some(zero), set }
}

pub(super) const fn text<T>(
    form: &'static str,
    set: fn(&mut T, Option<&str>) -> Result<(), String>,
) -> Kind<T> {
    Kind::Text { form, set }
}

/// How a value that was not set is shown.
pub(super) const NOT_SET: &str = "(not set)";

impl<T> Key<T> {
    /// A key without environment variables of its own; `default` is TOML, or empty.
    pub(super) const fn new(
        name: &'static str,
        default: &'static str,
        kind: Kind<T>,
        summary: &'static str,
    ) -> Self {
        Self { name, default, example: "", environment: &[], summary, kind }
    }

    /// Adds environment variables with a conventional name.
    pub(super) const fn environment(mut self, variables: &'static [&'static str]) -> Self {
        self.environment = variables;
        self
    }

    /// Adds the value shown in the sample file.
    pub(super) const fn example(mut self, toml: &'static str) -> Self {
        self.example = toml;
        self
    }

    /// The part of the name before the dot.
    pub fn section(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(section, _)| section)
    }

    /// The part of the name after the dot.
    pub fn field(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, field)| field)
    }

    /// The environment variable that every key has: `listen.port` is `TANDEM_LISTEN_PORT`.
    pub fn own_variable(&self) -> String {
        format!("TANDEM_{}", self.name.replace('.', "_").to_ascii_uppercase())
    }

    /// Every environment variable of this key, weakest first, so that the last one set wins.
    pub fn variables_weakest_first(&self) -> Vec<String> {
        let conventional = self.environment.iter().rev().map(|&name| name.to_owned());
        conventional.chain([self.own_variable()]).collect()
    }

    /// Whether the value must never be printed.
    pub fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret { .. })
    }

    /// What may be written, as the end of "write …".
    pub fn expectation(&self) -> String {
        match self.kind {
            Kind::Integer { min, max, multiple_of, zero, .. } => {
                let steps =
                    if multiple_of > 1 { format!(" in steps of {multiple_of}") } else { String::new() };
                match zero {
                    Some(meaning) if min == 0 => format!("an integer from 0 to {max}{steps} (0: {meaning})"),
                    Some(meaning) => format!("an integer from {min} to {max}{steps}, or 0: {meaning}"),
                    None => format!("an integer from {min} to {max}{steps}"),
                }
            }
            Kind::Number { min, max, .. } => format!("a number from {min} to {max}"),
            Kind::Switch { .. } => "true or false".into(),
            Kind::Choice { choices, .. } => format!("one of {}", choices.join(", ")),
            Kind::Text { form, .. } | Kind::List { form, .. } | Kind::Secret { form, .. } => form.into(),
        }
    }

    /// Checks `value` and stores it in `target`. Returns the value as it is shown. `name` is the whole name of the key in
    /// errors, which for `[agents.sales]` is more than the key knows.
    ///
    /// # Errors
    /// A sentence that names the key, the value (unless secret) and what to write instead.
    pub(super) fn apply(&self, name: &str, target: &mut T, value: &Value) -> Result<String, String> {
        self.store(target, value).map_err(|wrong| {
            let shown = if self.is_secret() {
                " (value not shown)".to_owned()
            } else {
                format!(" = {}", written(value))
            };
            format!("{name}{shown} {wrong}: write {}", self.expectation())
        })
    }

    fn store(&self, target: &mut T, value: &Value) -> Result<String, String> {
        match self.kind {
            Kind::Integer { min, max, multiple_of, zero, set } => {
                let integer = integer_of(value)?;
                let zero_meant = zero.is_some() && integer == 0;
                let Some(fits) =
                    u64::try_from(integer).ok().filter(|v| zero_meant || (min..=max).contains(v))
                else {
                    return Err("is out of range".into());
                };
                if fits % multiple_of != 0 {
                    return Err(format!("is not a multiple of {multiple_of}"));
                }
                set(target, fits);
                Ok(fits.to_string())
            }
            Kind::Number { min, max, set } => {
                if value.is_empty() {
                    set(target, None);
                    return Ok(NOT_SET.into());
                }
                let number = number_of(value)?;
                if !(min..=max).contains(&number) {
                    return Err("is out of range".into());
                }
                set(target, Some(number));
                Ok(Value::Float(number).render())
            }
            Kind::Switch { set } => {
                let switch = switch_of(value)?;
                set(target, switch);
                Ok(switch.to_string())
            }
            Kind::Choice { choices, set } => {
                let word = match value {
                    Value::Untyped(text) | Value::Text(text) => text.trim().to_owned(),
                    Value::Integer(integer) => integer.to_string(),
                    other => return Err(format!("is {}", other.type_name())),
                };
                let position = choices.iter().position(|choice| choice.eq_ignore_ascii_case(&word));
                let position = position.ok_or("is none of the choices")?;
                set(target, position);
                Ok(choice_as_toml(choices[position]))
            }
            Kind::Text { set, .. } => {
                let text = text_of(value)?;
                set(target, text)?;
                Ok(text.map_or(NOT_SET.into(), super::value::quote))
            }
            Kind::List { set, .. } => {
                let items = match value {
                    Value::List(items) => items.clone(),
                    Value::Untyped(text) => text
                        .split(',')
                        .map(str::trim)
                        .filter(|item| !item.is_empty())
                        .map(str::to_owned)
                        .collect(),
                    other => return Err(format!("is {}, not an array of strings", other.type_name())),
                };
                set(target, &items)?;
                Ok(Value::List(items).render())
            }
            Kind::Secret { set, .. } => {
                let text = text_of(value)?;
                set(target, text)?;
                Ok(if text.is_some() { "(set)" } else { NOT_SET }.into())
            }
        }
    }
}

/// A default as the registry has it.
pub(super) fn default_value(toml: &str) -> Result<Value, String> {
    let parsed = toml::de::DeValue::parse(toml).map_err(|error| error.message().to_owned())?;
    Ok(Value::from_toml(parsed.get_ref()))
}

/// A choice as TOML: an integer where it looks like one, else a string.
fn choice_as_toml(choice: &str) -> String {
    if choice.bytes().all(|byte| byte.is_ascii_digit()) { choice.into() } else { super::value::quote(choice) }
}

/// A value as an error quotes it: short enough for a line, and a URL without its user, query and fragment, because that
/// is where people put keys.
fn written(value: &Value) -> String {
    let rendered = value.render();
    let Some((scheme, rest)) = rendered.split_once("://") else {
        return super::listing::shortened(&rendered);
    };
    let place = rest.split(['?', '#']).next().unwrap_or(rest);
    let cut = if place.len() < rest.len() { "…\"" } else { "" };
    let place = place.rsplit_once('@').map_or(place.to_owned(), |(_, host)| format!("…@{host}"));
    super::listing::shortened(&format!("{scheme}://{place}{cut}"))
}

fn integer_of(value: &Value) -> Result<i128, String> {
    match value {
        Value::Integer(integer) => Ok(*integer),
        Value::Untyped(text) => text.trim().parse().map_err(|_| "is not an integer".to_owned()),
        Value::Text(text) if text.trim().parse::<i128>().is_ok() => {
            Err("is a string, not an integer; leave out the quotation marks".into())
        }
        other => Err(format!("is {}, not an integer", other.type_name())),
    }
}

fn number_of(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(float) => Ok(*float),
        Value::Integer(integer) => Ok(*integer as f64),
        Value::Untyped(text) => text.trim().parse().map_err(|_| "is not a number".to_owned()),
        other => Err(format!("is {}, not a number", other.type_name())),
    }
}

fn switch_of(value: &Value) -> Result<bool, String> {
    match value {
        Value::Boolean(switch) => Ok(*switch),
        Value::Untyped(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("is neither true nor false".into()),
        },
        other => Err(format!("is {}, not a boolean", other.type_name())),
    }
}

fn text_of(value: &Value) -> Result<Option<&str>, String> {
    match value {
        Value::Untyped(text) | Value::Text(text) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        other => Err(format!("is {}, not a string", other.type_name())),
    }
}
