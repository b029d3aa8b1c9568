//! The environment: the process's own, and below it the file that systemd hands to the service (`EnvironmentFile=`).
//!
//! Runs in: the main thread, at start; pure. Owns the reading of such a file, by the rules of systemd.exec(5), so that both
//! understand it alike. Never quotes a line of it in an error, since that line may hold a secret.
//! Invariant: what the process has wins, and every variable knows where it was set.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::problem::{Origin, Problem};

/// A variable of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    value: OsString,
    line: usize,
}

/// A file of variables.
#[derive(Debug, Default)]
pub(super) struct EnvironmentFile {
    path: PathBuf,
    entries: Vec<Entry>,
}

/// See the head of this file.
pub(super) struct Variables<'a> {
    process: &'a [(OsString, OsString)],
    file: EnvironmentFile,
}

impl<'a> Variables<'a> {
    pub(super) fn new(process: &'a [(OsString, OsString)], file: EnvironmentFile) -> Self {
        Self { process, file }
    }

    /// What the variable holds and where that was written. An empty variable is what `docker run -e X=` or an unset shell
    /// variable leaves: not set.
    pub(super) fn get(&self, variable: &str) -> Option<(&OsStr, Origin)> {
        let process = self.process.iter().find(|(name, value)| name == variable && !value.is_empty());
        if let Some((_, value)) = process {
            return Some((value, Origin::Environment { variable: variable.to_owned() }));
        }
        let named = |entry: &&Entry| entry.name == variable;
        let entry = self.file.entries.iter().rev().find(named).filter(|entry| !entry.value.is_empty())?;
        Some((&entry.value, Origin::File { path: self.file.path.clone(), line: entry.line }))
    }

    /// The name of each variable, with where it was set.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, Origin)> {
        let process = self.process.iter().filter_map(|(name, _)| {
            let name = name.to_str()?;
            Some((name, Origin::Environment { variable: name.to_owned() }))
        });
        let file = self.file.entries.iter().map(|entry| {
            (entry.name.as_str(), Origin::File { path: self.file.path.clone(), line: entry.line })
        });
        process.chain(file)
    }
}

/// Where the reading of a file stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before a name.
    Line,
    Name,
    /// Behind `=`, or behind a quotation mark that closed.
    Value,
    Bare,
    BareEscape,
    Single,
    Double,
    DoubleEscape,
    Comment,
}

impl EnvironmentFile {
    /// Takes the text of the file apart. A line that systemd would pass over is passed over too, and becomes a problem, because
    /// whoever wrote it meant something by it.
    pub(super) fn read(path: PathBuf, text: &[u8], problems: &mut Vec<Problem>) -> Self {
        let mut reading = Reading {
            file: Self { path, entries: Vec::new() },
            problems,
            name: Vec::new(),
            value: Vec::new(),
            bare_end: 0,
            began: 1,
        };
        let (mut at, mut line) = (At::Line, 1);
        for &byte in text {
            let ends_line = matches!(byte, b'\n' | b'\r');
            at = reading.step(at, byte, ends_line, line);
            line += usize::from(byte == b'\n');
        }
        reading.end(at);
        reading.file
    }
}

/// A file half read.
struct Reading<'a> {
    file: EnvironmentFile,
    problems: &'a mut Vec<Problem>,
    name: Vec<u8>,
    value: Vec<u8>,
    /// As much of the value as is no blank behind a bare word.
    bare_end: usize,
    /// The line of the name.
    began: usize,
}

impl Reading<'_> {
    fn step(&mut self, at: At, byte: u8, ends_line: bool, line: usize) -> At {
        let is_blank = byte.is_ascii_whitespace();
        match at {
            At::Line if matches!(byte, b'#' | b';') => At::Comment,
            At::Line if is_blank => At::Line,
            At::Line => {
                (self.name, self.value, self.bare_end, self.began) = (vec![byte], Vec::new(), 0, line);
                At::Name
            }
            At::Name if ends_line => {
                self.wrong("has no =: write NAME=VALUE; it is passed over");
                At::Line
            }
            At::Name if byte == b'=' => At::Value,
            At::Name => {
                self.name.push(byte);
                At::Name
            }
            At::Value | At::Bare if ends_line => {
                self.keep();
                At::Line
            }
            At::Value if byte == b'\'' => At::Single,
            At::Value if byte == b'"' => At::Double,
            At::Value | At::Bare if byte == b'\\' => At::BareEscape,
            At::Value if is_blank => At::Value,
            At::Value | At::Bare => {
                self.value.push(byte);
                if !is_blank {
                    self.bare_end = self.value.len();
                }
                At::Bare
            }
            At::BareEscape => {
                if !ends_line {
                    self.value.push(byte);
                    self.bare_end = self.value.len();
                }
                At::Bare
            }
            At::Single if byte == b'\'' => self.closed(),
            At::Double if byte == b'"' => self.closed(),
            At::Double if byte == b'\\' => At::DoubleEscape,
            At::Single | At::Double => {
                self.value.push(byte);
                at
            }
            At::DoubleEscape => {
                if !matches!(byte, b'"' | b'\\' | b'`' | b'$' | b'\n') {
                    self.value.push(b'\\');
                }
                if byte != b'\n' {
                    self.value.push(byte);
                }
                At::Double
            }
            At::Comment => {
                if ends_line {
                    At::Line
                } else {
                    At::Comment
                }
            }
        }
    }

    /// What stood in quotation marks keeps its blanks.
    fn closed(&mut self) -> At {
        self.bare_end = self.value.len();
        At::Value
    }

    fn end(&mut self, at: At) {
        match at {
            At::Line | At::Comment => {}
            At::Name => self.wrong("has no =: write NAME=VALUE; it is passed over"),
            At::Value | At::Bare | At::BareEscape => self.keep(),
            At::Single | At::Double | At::DoubleEscape => {
                self.wrong(
                    "a quotation mark opens here and does not close: all that follows is part of the value",
                );
                self.bare_end = self.value.len();
                self.keep();
            }
        }
    }

    fn keep(&mut self) {
        self.value.truncate(self.bare_end);
        let name = String::from_utf8_lossy(self.name.trim_ascii_end()).into_owned();
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !first || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            let exported = name.starts_with("export ");
            return self.wrong(if exported {
                "systemd knows no export: write NAME=VALUE without it; the line is passed over"
            } else {
                "what stands before the = is no name of a variable (letters, digits and _): the line is passed over"
            });
        }
        use std::os::unix::ffi::OsStringExt;
        let value = OsString::from_vec(std::mem::take(&mut self.value));
        self.file.entries.push(Entry { name, value, line: self.began });
    }

    fn wrong(&mut self, what: &str) {
        let origin = Origin::File { path: self.file.path.clone(), line: self.began };
        self.problems.push(Problem::at(origin, what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<(String, String, usize)>, Vec<String>) {
        let mut problems = Vec::new();
        let file = EnvironmentFile::read("tandem.env".into(), text.as_bytes(), &mut problems);
        let entries = file
            .entries
            .into_iter()
            .map(|entry| (entry.name, entry.value.into_string().expect("UTF-8"), entry.line));
        (entries.collect(), problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_value_is_what_systemd_takes_it_for() {
        for (text, value) in [
            ("A=plain", "plain"),
            ("A=  two words \t\n", "two words"),
            ("A = b", "b"),
            ("A=\"in double \"\n", "in double "),
            ("A='in single $HOME \\n'", "in single $HOME \\n"),
            (r#"A="\"\\\$\`\n""#, "\"\\$`\\n"),
            (r"A=one\ \\two", r"one \two"),
            ("A=one\\\ntwo", "onetwo"),
            ("A=\"one\ntwo\"", "one\ntwo"),
            ("A='one' \"two\" three", "onetwothree"),
            ("A=one'two'", "one'two'"),
            ("A=b # no comment", "b # no comment"),
            ("A=b\r\n", "b"),
            ("A=", ""),
            ("A=\nB=c", ""),
        ] {
            let (entries, problems) = read(text);
            assert_eq!(entries[0], ("A".to_owned(), value.to_owned(), 1), "{text:?}");
            assert!(problems.is_empty(), "{problems:?} in {text:?}");
        }
    }

    #[test]
    fn comments_and_empty_lines_are_nothing_and_lines_are_counted() {
        let (entries, problems) = read("# A=1\n\n  ; B=2\n  C=3\nD='4\n5'\nE=6\n");
        let lines: Vec<_> = entries.iter().map(|(name, _, line)| (name.as_str(), *line)).collect();
        assert_eq!(lines, [("C", 4), ("D", 5), ("E", 7)]);
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn what_systemd_passes_over_is_named_by_its_line_and_never_quoted() {
        let (entries, problems) =
            read("AIzaSecret\nexport KEY=AIzaSecret\n4U=AIzaSecret\nA=1\nB=\"AIzaSecret");
        let names: Vec<_> = entries.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["A", "B"]);
        for (problem, (place, words)) in problems.iter().zip([
            ("tandem.env:1: ", "has no ="),
            ("tandem.env:2: ", "without it"),
            ("tandem.env:3: ", "no name of a variable"),
            ("tandem.env:5: ", "does not close"),
        ]) {
            assert!(problem.starts_with(place) && problem.contains(words), "{problem}");
            assert!(!problem.contains("AIza"), "{problem}");
        }
        assert_eq!(problems.len(), 4);
    }

    #[test]
    fn the_process_wins_over_the_file_and_of_two_lines_the_later() {
        let process = [("A".into(), "process".into()), ("C".into(), "".into())];
        let file = EnvironmentFile::read("tandem.env".into(), b"A=1\nB=2\nB=3\nC=4\n", &mut Vec::new());
        let variables = Variables::new(&process, file);
        let line = |line| Origin::File { path: "tandem.env".into(), line };
        assert_eq!(
            variables.get("A"),
            Some(("process".as_ref(), Origin::Environment { variable: "A".into() }))
        );
        assert_eq!(variables.get("B"), Some(("3".as_ref(), line(3))));
        assert_eq!(variables.get("C"), Some(("4".as_ref(), line(4))), "an empty variable is not set");
        assert_eq!(variables.get("D"), None);
    }
}
