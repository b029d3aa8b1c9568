//! A source file as `tests/tidy.rs` looks at it: its words with their lines, comments and texts taken out.
//!
//! Runs in: `cargo test --test tidy`. Owns the walk over the project's files. Knows no rule.
//! Invariant: a word inside a comment or a text is never taken for code (the compiler's own tokens are used).

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A word or sign of the code.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub text: String,
    pub line: usize,
    /// It stands in a `#[cfg(test)]` item.
    pub in_test: bool,
    /// How many modules it is inside, counted from the root of the crate.
    depth: usize,
}

/// One file.
pub(crate) struct Source {
    /// From the project's root on, with `/`.
    pub path: String,
    pub text: String,
    pub tokens: Vec<Token>,
    test_lines: usize,
}

/// Where the project lies.
pub(crate) fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).expect("cargo says where the package is")
}

/// Every file of the project, build results and what others have installed left out, in the order of their paths.
pub(crate) fn files() -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    collect(&root(), "", &mut found);
    found.sort();
    found
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<(String, PathBuf)>) {
    for entry in
        fs::read_dir(folder).expect("a readable folder").map(|entry| entry.expect("a readable entry"))
    {
        let name = entry.file_name().into_string().expect("a name in UTF-8");
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().expect("a kind of file");
        let not_ours = name == ".git" || name == "target" || name == "node_modules" || name == "__pycache__";
        if not_ours || (kind.is_dir() && name.starts_with('.') && name != ".github") {
            continue;
        }
        if kind.is_dir() {
            collect(&entry.path(), &format!("{path}/"), found);
        } else {
            found.push((path, entry.path()));
        }
    }
}

/// Every Rust file of the project.
pub(crate) fn rust_files() -> Vec<Source> {
    files()
        .into_iter()
        .filter(|(name, _)| name.ends_with(".rs"))
        .map(|(name, path)| Source::new(&name, fs::read_to_string(&path).expect("a readable file in UTF-8")))
        .collect()
}

impl Source {
    pub(crate) fn new(path: &str, text: String) -> Self {
        let stream = TokenStream::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut source = Self { path: path.to_owned(), text, tokens: Vec::new(), test_lines: 0 };
        // A file of its own for the tests of another.
        let in_test = path.ends_with("_tests.rs") || path.ends_with("/tests.rs");
        source.flatten(stream, in_test, source.own_depth());
        if in_test {
            source.test_lines = source.text.lines().count();
        }
        source
    }

    /// How deep the file's module is: 0 for `src/lib.rs`, 2 for `src/dsp/fir.rs`.
    fn own_depth(&self) -> usize {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path).trim_end_matches(".rs");
        match inside {
            "lib" | "main" => 0,
            _ => inside.split('/').filter(|name| *name != "mod").count(),
        }
    }

    /// The module that the file is, from below the crate's root on: `dsp::fir` for `src/dsp/fir.rs`; none outside src/.
    pub(crate) fn module(&self) -> Option<String> {
        let path = self.path.strip_prefix("src/")?.trim_end_matches(".rs");
        Some(path.trim_end_matches("/mod").replace('/', "::"))
    }

    /// Lines that are not those of tests.
    pub(crate) fn lines_without_tests(&self) -> usize {
        self.text.lines().count() - self.test_lines
    }

    fn flatten(&mut self, stream: TokenStream, in_test: bool, depth: usize) {
        let trees: Vec<_> = stream.into_iter().collect();
        let mut test_from = None;
        for (at, tree) in trees.iter().enumerate() {
            let line = tree.span().start().line;
            if !in_test && test_from.is_none() && begins_test(&trees[at..]) {
                test_from = Some(line);
            }
            let testing = in_test || test_from.is_some();
            let mut push =
                |text: String, line| self.tokens.push(Token { text, line, in_test: testing, depth });
            let mut item_ends = false;
            match tree {
                TokenTree::Group(group) => {
                    let (open, close) = match group.delimiter() {
                        Delimiter::Parenthesis => ("(", ")"),
                        Delimiter::Brace => ("{", "}"),
                        Delimiter::Bracket => ("[", "]"),
                        Delimiter::None => ("", ""),
                    };
                    push(open.to_owned(), group.span_open().start().line);
                    let is_module = at >= 2
                        && group.delimiter() == Delimiter::Brace
                        && matches!(&trees[at - 2], TokenTree::Ident(word) if word == "mod");
                    self.flatten(group.stream(), testing, depth + usize::from(is_module));
                    let line = group.span_close().end().line;
                    self.tokens.push(Token { text: close.to_owned(), line, in_test: testing, depth });
                    item_ends = group.delimiter() == Delimiter::Brace;
                }
                TokenTree::Punct(sign) => {
                    push(sign.as_char().to_string(), line);
                    item_ends = sign.as_char() == ';';
                }
                TokenTree::Ident(word) => push(word.to_string(), line),
                TokenTree::Literal(literal) => push(literal.to_string(), line),
            }
            if item_ends && let Some(from) = test_from.take() {
                self.test_lines += tree.span().end().line + 1 - from;
            }
        }
    }

    /// The places where these words of Rust stand one after another; the delimiters in `words` must be complete.
    pub(crate) fn find(&self, words: &str) -> Vec<&Token> {
        let wanted = Self::new("pattern.rs", words.to_owned()).tokens;
        let same = |window: &&[Token]| window.iter().zip(&wanted).all(|(is, wanted)| is.text == wanted.text);
        self.tokens.windows(wanted.len()).filter(same).map(|window| &window[0]).collect()
    }

    /// The modules that the file names by `crate::`, `super::` or the crate's own name, from below the crate's root on and two
    /// names deep at most, each with its line: `call::model` for `use super::super::call::model::Tokens`.
    pub(crate) fn modules_named(&self) -> Vec<(String, usize)> {
        let own = self.module().unwrap_or_default();
        let own: Vec<&str> = own.split("::").collect();
        let mut named = Vec::new();
        for at in 0..self.tokens.len() {
            let within_path = at >= 2 && self.word(at - 1) == ":" && self.word(at - 2) == ":";
            if within_path {
                continue;
            }
            let mut next = at;
            let mut climbed = 0;
            while self.word(next) == "super" && self.word(next + 1) == ":" {
                climbed += 1;
                next += 3;
            }
            // What stands above an inline module is the file's own.
            let above = self.tokens[at].depth.saturating_sub(climbed);
            if ["crate", "tandem"].contains(&self.word(at)) && self.word(at + 1) == ":" {
                self.paths(at + 3, &[], &mut named);
            } else if climbed > 0 && above <= own.len() {
                self.paths(next, &own[..above], &mut named);
            }
        }
        named
    }

    fn word(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| token.text.as_str())
    }

    /// The paths that begin at this word, behind these names.
    fn paths(&self, at: usize, before: &[&str], named: &mut Vec<(String, usize)>) {
        let names = [before, &[self.word(at)]].concat();
        if before.len() >= 2 || self.word(at) != "{" && self.word(at + 1) != ":" {
            let path = if before.len() >= 2 { before } else { names.as_slice() };
            named.push((path[..path.len().min(2)].join("::"), self.tokens[at].line));
        } else if self.word(at) != "{" {
            self.paths(at + 3, &names, named);
        } else {
            let mut nesting = 0;
            for item in at..self.tokens.len() {
                match self.word(item) {
                    "{" => nesting += 1,
                    "}" => nesting -= 1,
                    _ => {}
                }
                if nesting == 0 {
                    return;
                }
                if nesting == 1 && ["{", ","].contains(&self.word(item)) && self.word(item + 1) != "}" {
                    self.paths(item + 1, before, named);
                }
            }
        }
    }
}

/// Whether an item for tests begins here: `#[cfg(test)]`.
fn begins_test(trees: &[TokenTree]) -> bool {
    let [TokenTree::Punct(sign), TokenTree::Group(attribute), ..] = trees else { return false };
    sign.as_char() == '#' && attribute.stream().to_string().replace(' ', "") == "cfg(test)"
}
