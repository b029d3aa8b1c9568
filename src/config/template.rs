//! Texts with variables of the call: `{caller}`, `{did}` and the like in instructions and greetings.
//!
//! Runs in: the main thread (checking) and the control thread, once per link (filling): pure. Owns the names of the
//! variables that every agent has; those that an agent adds are its own (`agent.variables`). Never lets a value bring in a variable: values are put in as they are, once.
//! Invariant: braces that hold anything but one lower-case word are text, so that JSON in instructions stays what it is.

/// A variable of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variable {
    /// The caller's number or name.
    Caller,
    /// The number that was called.
    Did,
    /// The switch's name of the call.
    Uuid,
    /// The agent's name.
    Agent,
    /// The day on which the call began, `2026-11-22`.
    Date,
    /// The time at which the call began, `15:04`.
    Time,
    /// The day of the week on which the call began, `Sunday`.
    Weekday,
}

impl Variable {
    /// Every variable with its name.
    pub(crate) const ALL: [(&'static str, Self); 7] = [
        ("caller", Self::Caller),
        ("did", Self::Did),
        ("uuid", Self::Uuid),
        ("agent", Self::Agent),
        ("date", Self::Date),
        ("time", Self::Time),
        ("weekday", Self::Weekday),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, variable)| *variable)
    }
}

/// A part of a text.
#[derive(Debug, PartialEq)]
enum Part<'a> {
    Text(&'a str),
    /// The word between braces, which may or may not be the name of a variable.
    Word(&'a str),
}

/// The words in braces that are no variables, nor among an agent's own, in the order of the text.
pub(crate) fn unknown_variables<'a>(text: &'a str, own: &[&str]) -> Vec<&'a str> {
    let words = parts(text).into_iter().filter_map(|part| match part {
        Part::Word(word) => Some(word),
        Part::Text(_) => None,
    });
    words.filter(|word| Variable::named(word).is_none() && !own.contains(word)).collect()
}

/// Whether the text has this variable.
pub(crate) fn uses(text: &str, name: &str) -> bool {
    parts(text).contains(&Part::Word(name))
}

/// The text with the values in their places, those of an agent's own variables by `own`. A word that is no variable stays
/// as it is.
pub(crate) fn filled(
    text: &str,
    value: impl Fn(Variable) -> String,
    own: impl Fn(&str) -> Option<String>,
) -> String {
    let mut filled = String::with_capacity(text.len());
    for part in parts(text) {
        match part {
            Part::Text(text) => filled.push_str(text),
            Part::Word(word) => match Variable::named(word) {
                Some(variable) => filled.push_str(&value(variable)),
                None => filled.push_str(&own(word).unwrap_or_else(|| format!("{{{word}}}"))),
            },
        }
    }
    filled
}

/// Takes a text apart: `{word}` is a word, `{{word}}` is the text `{word}`, everything else is text.
fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    let mut from = 0;
    while let Some(found) = rest[from..].find('{') {
        let open = from + found;
        let doubled = rest[open + 1..].starts_with('{');
        let inner = open + if doubled { 2 } else { 1 };
        let length = rest[inner..].find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(0);
        let (word, behind) = rest[inner..].split_at(length);
        let closing = if doubled { "}}" } else { "}" };
        if word.is_empty() || !behind.starts_with(closing) {
            from = open + 1;
            continue;
        }
        let end = inner + length + closing.len();
        if doubled {
            parts.push(Part::Text(&rest[..open]));
            parts.push(Part::Text(&rest[open + 1..end - 1]));
        } else {
            parts.push(Part::Text(&rest[..open]));
            parts.push(Part::Word(word));
        }
        rest = &rest[end..];
        from = 0;
    }
    parts.push(Part::Text(rest));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        filled(text, |variable| format!("<{variable:?}>"), |_| None)
    }

    #[test]
    fn words_in_braces_are_variables_and_doubled_braces_are_braces() {
        assert_eq!(shown("{caller} rang {did}."), "<Caller> rang <Did>.");
        assert_eq!(shown("Write {{caller}} for {caller}"), "Write {caller} for <Caller>");
        assert_eq!(shown("{{{caller}}}"), "{{caller}}");
        assert_eq!(shown("{caller"), "{caller");
        assert_eq!(shown("caller}"), "caller}");
        assert_eq!(shown("{{caller}"), "{<Caller>");
        assert_eq!(shown(""), "");
        assert_eq!(shown("ž{did}ž"), "ž<Did>ž");
    }

    #[test]
    fn other_braces_stay_what_they_are() {
        for text in [r#"{"a": {"b": {}}}"#, "{ caller }", "{Caller}", "{caller1}", "{}", "{{}}", "}{", "{{a}"]
        {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn a_word_that_is_no_variable_is_found_and_left() {
        assert_eq!(unknown_variables("{callr} {caller} {nummer} {{other}}", &[]), ["callr", "nummer"]);
        assert_eq!(unknown_variables("{callr} {customer}", &["customer"]), ["callr"]);
        assert_eq!(shown("{callr}"), "{callr}");
    }

    #[test]
    fn a_value_brings_in_no_variable() {
        let own = |_: &str| Some("{caller}".to_owned());
        assert_eq!(filled("{caller} {own}", |_| "{uuid}".to_owned(), own), "{uuid} {caller}");
    }
}
