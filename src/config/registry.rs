//! What a key is: its name, its type and range, where it may be written, and which field of which structure it fills.
//!
//! Runs in: anywhere: pure; when configuration is read. Owns the types of the registry; the keys themselves are declared
//! with their sections. Never reads a file. Invariant: a value is checked and stored in one step, so nothing
//! unchecked reaches the [configuration](super::Config).

use super::value::Value;

/// One setting, which fills a field of `T`: of [`super::Config`], or of one agent, tool, credential or route. Parsing,
/// `--check`, the sample file and the documentation are made from the lists of them.
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
    /// Type and range.
    pub kind: Kind,
    /// Stores a checked value; the error completes "KEY = VALUE …".
    pub(super) set: fn(&mut T, Checked) -> Result<(), String>,
}

// Written out, since derived they would ask the same of T, of which a key holds nothing.
impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

/// The type of a key, with its range.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
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
        /// How much one is of what the field counts: milliseconds where it is a duration.
        unit: u64,
    },
    /// A number with a fraction, or nothing.
    Number {
        /// Least value.
        min: f64,
        /// Greatest value.
        max: f64,
    },
    /// True or false.
    Switch,
    /// One of a few words (or integers, as a rate is); letter case does not matter.
    Choice {
        /// The words.
        choices: &'static [&'static str],
        /// Whether the word `default` stands for nothing.
        or_default: bool,
    },
    /// Text of some form; empty means not set.
    Text {
        /// What to write, as the end of "write …".
        form: &'static str,
    },
    /// Several texts: an array in the file, separated by commas elsewhere.
    List {
        /// What to write, as the end of "write …".
        form: &'static str,
    },
    /// Text that is never printed; empty means not set.
    Secret {
        /// What to write, as the end of "write …".
        form: &'static str,
    },
}

/// A value of the right type and within the range, on its way to its field.
pub(super) enum Checked {
    /// Empty, or a 0 or a word that stands for that.
    Nothing,
    Integer(u64),
    Number(f64),
    Switch(bool),
    /// The position among the choices.
    Choice(usize),
    Text(String),
    List(Vec<String>),
}

/// How a value that was not set is shown.
const NOT_SET: &str = "(not set)";

/// The choice that stands for nothing.
const DEFAULT: &str = "default";

impl<T> Key<T> {
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
            Kind::Number { min, max } => format!("a number from {min} to {max}"),
            Kind::Switch => "true or false".into(),
            Kind::Choice { choices, or_default } => {
                let default = or_default.then_some(DEFAULT).into_iter();
                let words: Vec<&str> = default.chain(choices.iter().copied()).collect();
                format!("one of {}", words.join(", "))
            }
            Kind::List { form } => format!("{form} (separated by commas outside the file)"),
            Kind::Text { form } | Kind::Secret { form } => form.into(),
        }
    }

    /// The key without what it fills.
    pub(super) fn described(&self) -> Key<()> {
        let Self { name, default, example, environment, summary, kind, .. } = *self;
        Key { name, default, example, environment, summary, kind, set: |(), _| Ok(()) }
    }

    /// The default as it is shown.
    pub(super) fn shown_default(&self) -> String {
        if self.default.is_empty() { NOT_SET.into() } else { self.kind.default(self.default).1 }
    }

    /// Checks `value` and stores it in `target`. Returns the value as it is shown. `name` is the whole name of the key in
    /// errors, which for `[agents.sales]` is more than the key knows.
    ///
    /// # Errors
    /// A sentence that names the key, the value (unless secret) and what to write instead.
    pub(super) fn apply(&self, name: &str, target: &mut T, value: &Value) -> Result<String, String> {
        let stored = self.kind.check(value).and_then(|(checked, shown)| {
            (self.set)(target, checked)?;
            Ok(shown)
        });
        stored.map_err(|wrong| {
            let shown = if self.is_secret() && value.is_hidden() {
                " (value not shown)".to_owned()
            } else {
                format!(" = {}", written(value))
            };
            format!("{name}{shown} {wrong}: write {}", self.expectation())
        })
    }
}

impl Kind {
    /// The default that a key declares.
    pub(super) fn default(self, toml: &str) -> (Checked, String) {
        let parsed = toml::de::DeValue::parse(toml).map_err(|error| error.message().to_owned());
        parsed
            .and_then(|parsed| self.check(&Value::from_toml(parsed.get_ref())))
            .expect("the defaults of all keys are read in every test of this module")
    }

    /// The value on its way to its field, and as it is shown.
    fn check(self, value: &Value) -> Result<(Checked, String), String> {
        Ok(match self {
            Self::Integer { min, max, multiple_of, zero, unit } => {
                let integer = integer_of(value)?;
                if zero.is_some() && integer == 0 {
                    return Ok((Checked::Nothing, "0".into()));
                }
                let fits = u64::try_from(integer).ok().filter(|integer| (min..=max).contains(integer));
                let fits = fits.ok_or("is out of range")?;
                if fits % multiple_of != 0 {
                    return Err(format!("is not a multiple of {multiple_of}"));
                }
                (Checked::Integer(fits * unit), fits.to_string())
            }
            Self::Number { .. } if value.is_empty() => (Checked::Nothing, NOT_SET.into()),
            Self::Number { min, max } => {
                let number = number_of(value)?;
                if !(min..=max).contains(&number) {
                    return Err("is out of range".into());
                }
                (Checked::Number(number), Value::Float(number).render())
            }
            Self::Switch => {
                let switch = switch_of(value)?;
                (Checked::Switch(switch), switch.to_string())
            }
            Self::Choice { choices, or_default } => {
                let word = match value {
                    Value::Untyped(text) | Value::Text(text) => text.trim().to_owned(),
                    Value::Integer(integer) => integer.to_string(),
                    other => return Err(format!("is {}", other.type_name())),
                };
                if or_default && word.eq_ignore_ascii_case(DEFAULT) {
                    return Ok((Checked::Nothing, choice_as_toml(DEFAULT)));
                }
                let position = choices.iter().position(|choice| choice.eq_ignore_ascii_case(&word));
                let position = position.ok_or("is none of the choices")?;
                (Checked::Choice(position), choice_as_toml(choices[position]))
            }
            Self::Text { .. } | Self::Secret { .. } => match text_of(value)? {
                None => (Checked::Nothing, NOT_SET.into()),
                Some(text) if matches!(self, Self::Secret { .. }) && is_hidden(text) => {
                    (Checked::Text(text.to_owned()), "(set)".into())
                }
                Some(text) => (Checked::Text(text.to_owned()), super::value::quote(text)),
            },
            Self::List { .. } => {
                let items: Vec<String> = match value {
                    Value::List(items) => items.clone(),
                    Value::Untyped(text) => {
                        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                        items.map(str::to_owned).collect()
                    }
                    other => return Err(format!("is {}, not an array of strings", other.type_name())),
                };
                let shown = Value::List(items.clone()).render();
                (Checked::List(items), shown)
            }
        })
    }
}

/// Whether what a secret key holds is a secret: the file of a database and the word for none are not.
pub(super) fn is_hidden(text: &str) -> bool {
    !text.is_empty() && text != "none" && !text.starts_with("sqlite:")
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
