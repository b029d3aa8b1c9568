//! The house rules, kept by reading the source: floors, who may start threads, read clocks, own rings and sockets.
//!
//! Runs in: `cargo test --test tidy`. Owns the rules and their few exceptions, each with its reason. Changes no file.
//! Invariant: a rule that finds nothing in the made-up files below, which break them all, fails itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use source::{Source, Token, files, root, rust_files};

#[path = "tidy/source.rs"]
mod source;

/// Lines of a file, its tests left out.
const LINES_MAX: usize = 450;

/// A breach of a rule.
struct Breach {
    line: usize,
    what: String,
}

impl Breach {
    fn at(token: &Token) -> Self {
        Self { line: token.line, what: token.text.clone() }
    }
}

/// One rule about single files.
struct Rule {
    /// What it asks, and what to do instead.
    law: &'static str,
    /// The breaches in a file.
    breaches: fn(&Source) -> Vec<Breach>,
}

const RULES: &[Rule] = &[
    Rule {
        law: "a module imports only modules of floors below its own (src/lib.rs, \"Floors\"): move what both need down, \
              or hand it in as an argument",
        breaches: imports_from_other_floors,
    },
    Rule {
        law: "codec::gemini is for src/codec/provider.rs and src/threads/gemini/ only: what a call knows of a model is \
              call::model, and what others need of how a provider speaks is a method of codec::Provider",
        breaches: |source| {
            let allowed = ["src/codec/gemini/", "src/codec/provider.rs", "src/threads/gemini/"];
            if !source.path.starts_with("src/") || allowed.iter().any(|place| source.path.starts_with(place))
            {
                return Vec::new();
            }
            let named = source.modules_named().into_iter().filter(|(path, _)| path == "codec::gemini");
            named.map(|(what, line)| Breach { line, what }).collect()
        },
    },
    Rule {
        law: "threads are started in src/server.rs and in the dial pool only: ask server.rs for one",
        breaches: |source| {
            let allowed = ["src/server.rs", "src/server/", "src/threads/dial.rs"];
            words(source, &["thread::spawn", "thread::Builder", "thread::scope"], &allowed)
        },
    },
    Rule {
        law: "ring buffers are made in src/sync/ only: use sync::rings::call_rings or sync::rings::ring",
        breaches: |source| words(source, &["RingBuffer"], &["src/sync/"]),
    },
    Rule {
        // The time of a log line is nobody's input, so virtual time loses nothing by it.
        law: "the clock is read in src/sync/clock.rs only (and for the log's own time stamps): take the time as an \
              argument",
        breaches: |source| {
            let readings = [
                "Instant::now",
                "SystemTime::now",
                "Timestamp::now",
                "Zoned::now",
                "UNIX_EPOCH",
                ".elapsed()",
            ];
            words(source, &readings, &["src/sync/clock.rs", "src/telemetry/log.rs"])
        },
    },
    Rule {
        // A doorbell holds the waker of a poll, which makes no poll of sync/. server.rs makes the polls, because a
        // thread's doorbell has to exist before the thread does.
        law: "sockets and mio are for src/net/ and src/threads/ only",
        breaches: |source| {
            let mut found =
                words(source, &["mio"], &["src/net/", "src/threads/", "src/sync/doorbell.rs", "src/server"]);
            let sockets = [
                "socket2",
                "SourceFd",
                "TcpStream",
                "TcpListener",
                "UdpSocket",
                "UnixStream",
                "UnixListener",
            ];
            found.extend(words(source, &sockets, &["src/net/", "src/threads/"]));
            found
        },
    },
    Rule {
        law: "what says of itself that it is pure, and all of src/call/, takes no lock, reads no clock, zone, environment or file, \
              and opens no socket: hand it in as an argument, or say what the file does",
        breaches: |source| {
            let head = source.text.lines().take_while(|line| line.starts_with("//!"));
            let says =
                head.flat_map(|line| line.split(|c: char| !c.is_alphanumeric())).any(|word| word == "pure");
            if !says && !source.path.starts_with("src/call/") {
                return Vec::new();
            }
            let impure = [
                "parking_lot",
                "Mutex",
                "RwLock",
                "Condvar",
                "Clock",
                "TimeZone::system",
                "env::var",
                "env::vars",
                "fs",
                "net::TcpStream",
                "net::UdpSocket",
                "mio",
            ];
            words(source, &impure, &[])
        },
    },
    Rule {
        law: "SQL is for src/threads/store/ only: ask its Reader",
        breaches: |source| words(source, &["rusqlite", "postgres::"], &["src/threads/store/"]),
    },
    Rule {
        law: "only threads wait: a machine, codec or filter that sleeps cannot be run in virtual time",
        breaches: |source| words(source, &["sleep", "park", "park_timeout"], &["src/threads/"]),
    },
    Rule {
        law: "a test beside the code does not sleep: wait for a fact, or hand the time in",
        breaches: |source| {
            // The slow server, to which a deadline is held, is played by the test itself.
            let in_src = source.path.starts_with("src/") && source.path != "src/net/dial.rs";
            let sleeps = source.find("sleep").into_iter().filter(|token| in_src && token.in_test);
            sleeps.map(Breach::at).collect()
        },
    },
    Rule {
        law: "a media thread reads the clock once a pass: hand `now` on",
        breaches: |source| {
            let threads = ["src/threads/dsp.rs", "src/threads/telephony/mod.rs", "src/threads/gemini/mod.rs"];
            if !threads.contains(&source.path.as_str()) {
                return Vec::new();
            }
            source
                .find("clock.now()")
                .into_iter()
                .filter(|token| !token.in_test)
                .skip(1)
                .map(Breach::at)
                .collect()
        },
    },
    Rule {
        law: "what runs for every frame takes no lock, logs nothing and formats nothing",
        breaches: |source| {
            if !PER_FRAME.iter().any(|place| source.path.starts_with(place)) {
                return Vec::new();
            }
            let wasteful = [
                "Mutex",
                "RwLock",
                "Condvar",
                "log::",
                "format!",
                "println!",
                "eprintln!",
                "dbg!",
                "trace!",
                "debug!",
                "info!",
                "warn!",
                "error!",
            ];
            words(source, &wasteful, &[])
        },
    },
    Rule {
        law: "nothing unsafe, unfinished, unused or ignored stays",
        breaches: |source| {
            ["unsafe", "todo!", "unimplemented!", "dbg!", "dead_code", "#[ignore]"]
                .iter()
                .flat_map(|words| source.find(words))
                // Attributes as `#[ignore = "reason"]`.
                .chain(
                    source
                        .tokens
                        .windows(3)
                        .filter(|w| w[0].text == "[" && w[1].text == "ignore")
                        .map(|w| &w[1]),
                )
                .map(Breach::at)
                .collect()
        },
    },
    Rule {
        law: "every file begins with a `//!` head; in src/ and loadtest/src/ it has a line `Runs in:`, save in \
              files of tests",
        breaches: |source| {
            let head: Vec<_> = source.text.lines().take_while(|line| line.starts_with("//!")).collect();
            let in_src = (source.path.starts_with("src/") || source.path.starts_with("loadtest/src/"))
                && source.lines_without_tests() > 0;
            let missing = if head.is_empty() {
                "no head"
            } else if in_src && !head.iter().any(|line| line.starts_with("//! Runs in:")) {
                "no `Runs in:`"
            } else {
                return Vec::new();
            };
            vec![Breach { line: 1, what: missing.into() }]
        },
    },
    Rule {
        law: "a file is short: split it where it does two things",
        breaches: |source| {
            let is_code = source.path.starts_with("src/") || source.path.starts_with("loadtest/src/");
            let lines = source.lines_without_tests();
            let what = format!("{lines} lines without tests, {LINES_MAX} are allowed");
            if is_code && lines > LINES_MAX { vec![Breach { line: LINES_MAX, what }] } else { Vec::new() }
        },
    },
];

/// What runs for every frame of every call. Not among them: `dsp/fir.rs`, whose tables are made at the start.
const PER_FRAME: &[&str] = &[
    "src/base/frame.rs",
    "src/codec/mod_audio_stream/playback.rs",
    "src/codec/mod_audio_stream/uplink.rs",
    "src/codec/audiosocket.rs",
    "src/codec/base64.rs",
    "src/codec/gemini/client.rs",
    "src/codec/gemini/parse.rs",
    "src/dsp/level.rs",
    "src/dsp/playout.rs",
    "src/dsp/resample.rs",
    "src/dsp/uplink.rs",
    "src/sync/",
    "src/telemetry/histogram.rs",
    "src/threads/dsp.rs",
    "src/threads/gemini/model_side.rs",
    "src/threads/gemini/speech.rs",
    "src/threads/telephony/",
];

/// Where these words stand in src/, outside the allowed places and outside tests.
fn words(source: &Source, words: &[&str], allowed: &[&str]) -> Vec<Breach> {
    if !source.path.starts_with("src/") || allowed.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    let found =
        words.iter().flat_map(|words| source.find(words).into_iter().map(move |token| (words, token)));
    found
        .filter(|(_, token)| !token.in_test)
        .map(|(words, token)| Breach { line: token.line, what: (*words).to_owned() })
        .collect()
}

/// The floors as the table in `src/lib.rs` states them: module to floor.
fn floors() -> BTreeMap<String, u32> {
    let text = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | "));
    let cells = rows.filter_map(|row| row.split_once(" | "));
    let floors = cells.filter_map(|(floor, rest)| Some((floor.trim().parse::<u32>().ok()?, rest)));
    floors
        .flat_map(|(floor, rest)| {
            let modules = rest.split(" | ").next().unwrap_or_default().split(", ");
            modules.map(move |module| (module.trim_matches(['[', ']', '`']).to_owned(), floor))
        })
        .collect()
}

fn imports_from_other_floors(source: &Source) -> Vec<Breach> {
    let Some(module) = source.module().filter(|module| *module != "lib") else { return Vec::new() };
    let floors = floors();
    // The module with a floor that a path leads into: `call::model` has one of its own, the rest of `call` another.
    let floor_of = |path: &str| {
        let within = |name: &str| {
            path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        floors.iter().filter(|(name, _)| within(name)).max_by_key(|(name, _)| name.len())
    };
    let mut breaches = Vec::new();
    for (path, line) in source.modules_named() {
        let what = match (floor_of(&module), floor_of(&path)) {
            _ if ["self", "*"].contains(&path.as_str()) => continue,
            // The binary stands above all floors.
            (_, Some(_)) if module == "main" => continue,
            (Some(own), Some(other)) if own == other || other.1 < own.1 => continue,
            (Some((own, own_floor)), Some((other, floor))) => {
                format!("{own} (floor {own_floor}) names {other} (floor {floor})")
            }
            (None, _) => format!("{module} has no floor"),
            (_, None) => format!("{path} has no floor"),
        };
        breaches.push(Breach { line, what });
    }
    breaches
}

fn all_breaches(sources: &[Source], rule: &Rule) -> Vec<String> {
    let in_file = |source: &Source| {
        let breaches = (rule.breaches)(source).into_iter();
        breaches.map(|breach| format!("{}:{}: {}", source.path, breach.line, breach.what)).collect::<Vec<_>>()
    };
    sources.iter().flat_map(in_file).collect()
}

#[test]
fn every_source_file_keeps_the_house_rules() {
    let sources = rust_files();
    let mut report = String::new();
    for rule in RULES {
        let breaches = all_breaches(&sources, rule);
        if !breaches.is_empty() {
            report += &format!("\n{}:\n  {}\n", rule.law, breaches.join("\n  "));
        }
    }
    assert!(report.is_empty(), "{report}");
}

#[test]
fn files_that_break_the_rules_are_caught() {
    let long = "//! Long.\n//!\n//! Runs in: nowhere.\n".to_owned() + &"fn f() {}\n".repeat(LINES_MAX);
    let made_up = [
        (
            "src/dsp/bad.rs",
            "use crate::{base::Frame, codec::base64}; fn f() { crate::threads::company(1) }",
            0,
        ),
        ("src/dsp/deep/bad.rs", "mod inner { use super::super::super::super::sync; }", 0),
        ("src/base/bad.rs", "use super::super::telemetry;", 0),
        ("src/call/model/bad.rs", "use super::super::machine::Machine;", 0),
        ("src/codec/bad.rs", "use crate::call::{leg::CallFields, Fact};", 0),
        ("src/threads/control/bad.rs", "use crate::{base::Frame, codec::{esl, gemini::client}};", 1),
        ("src/call/bad.rs", "fn f() { std::thread::spawn(|| ()); }", 2),
        ("src/dsp/bad.rs", "use rtrb::RingBuffer;", 3),
        ("src/call/bad.rs", "fn f() { let a = std::time::Instant::now(); a.elapsed(); }", 4),
        ("src/call/bad.rs", "use mio::Poll; use std::net::TcpStream;", 5),
        ("src/call/bad.rs", "use parking_lot::Mutex;", 6),
        ("src/codec/bad.rs", "//! Bad.\n//!\n//! Runs in: tests: pure.\nfn f() { std::fs::read(x) }", 6),
        ("src/threads/admin/bad.rs", "fn f() { rusqlite::Connection::open(\"x\"); }", 7),
        ("src/codec/bad.rs", "fn f() { thread::sleep(d) }", 8),
        ("src/codec/bad.rs", "#[cfg(test)] mod tests { fn f() { thread::sleep(d) } }", 9),
        ("src/threads/dsp.rs", "fn f() { a.clock.now(); b.clock.now(); }", 10),
        ("src/threads/telephony/leg.rs", "fn f() { log::info!(\"x\"); }", 11),
        ("tests/bad.rs", "#[allow(dead_code)] fn f() { unsafe { todo!() } }", 12),
        ("tests/bad.rs", "#[ignore = \"slow\"] fn f() {}", 12),
        ("tests/bad.rs", "fn f() {}", 13),
        ("src/call/bad.rs", "//! A head.\nfn f() {}", 13),
        ("src/call/bad.rs", &long, 14),
    ];
    for (path, text, rule) in &made_up {
        let breaches = (RULES[*rule].breaches)(&Source::new(path, (*text).to_owned()));
        assert!(!breaches.is_empty(), "{path}: {text:.80}: not seen as a breach of: {}", RULES[*rule].law);
    }
    let broken: BTreeSet<_> = made_up.iter().map(|(_, _, rule)| *rule).collect();
    assert_eq!(broken.len(), RULES.len(), "every rule is tried");
}

#[test]
fn files_that_keep_the_rules_are_left_alone() {
    let head = "//! A head that says unsafe, todo! and Instant::now.\n//!\n//! Runs in: tests.\n";
    let made_up = [
        ("src/codec/good.rs", "use crate::base::Frame; use crate::codec::base64; use super::esl;"),
        ("src/codec/good.rs", "use crate::call::{leg::CallFields, model};"),
        (
            "src/codec/good.rs",
            "/// TcpStream, RingBuffer.\nfn f() -> &'static str { \"unsafe mio thread::spawn\" }",
        ),
        (
            "src/codec/good.rs",
            "#[cfg(test)] mod tests { fn f() { std::thread::scope(|s| ()); Instant::now(); } }",
        ),
        ("src/threads/good.rs", "use crate::{call, net::stream}; use mio::Poll; fn f() { thread::sleep(d) }"),
        ("src/call/good.rs", &"#[cfg(test)]\nmod tests {\nfn f() {\n}\n}\n".repeat(LINES_MAX)),
        ("src/codec/good/tests.rs", "fn f() {}"),
        ("src/main.rs", "use tandem::{cli, server, telemetry};"),
        (
            "tests/good.rs",
            "fn f() { std::thread::spawn(|| std::thread::sleep(d)); Instant::now(); ignore(1); }",
        ),
    ];
    for (path, text) in made_up {
        let source = Source::new(path, format!("{head}{text}"));
        for rule in RULES {
            let breaches = (rule.breaches)(&source);
            assert!(breaches.is_empty(), "{path}: {text:.80}: line {}: {}", breaches[0].line, rule.law);
        }
    }
}

#[test]
fn every_module_has_a_floor_in_the_crate_map() {
    let floors = floors();
    let text = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    let modules: BTreeSet<_> =
        text.lines().filter_map(|line| Some(line.strip_prefix("pub mod ")?.trim_end_matches(';'))).collect();
    // A module within one of them may have a floor of its own.
    let mapped: BTreeSet<_> = floors.keys().map(String::as_str).filter(|name| !name.contains("::")).collect();
    assert_eq!(modules, mapped, "the modules of src/lib.rs and those of its table");
}

#[test]
fn no_file_names_a_place_on_the_machine_it_was_written_on() {
    // Put together here, so that this file does not name them.
    let places = ["work", "tmp/wt", "root", "Users"].map(|folder| format!("/{folder}/"));
    let mut breaches = Vec::new();
    for (name, path) in files() {
        let Ok(text) = fs::read_to_string(path) else { continue };
        for (number, line) in text.lines().enumerate() {
            let names_place = |place: &String| {
                // Not the middle of a longer path or of a URL.
                let mut found = line.match_indices(place.as_str());
                found
                    .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-~".contains(c)))
            };
            if places.iter().any(names_place) {
                breaches.push(format!("{name}:{}: {line:.120}", number + 1));
            }
        }
    }
    assert!(
        breaches.is_empty(),
        "a clone lies elsewhere: use a path relative to the project\n{}",
        breaches.join("\n")
    );
}

#[test]
fn every_make_target_that_a_text_names_exists() {
    let Ok(makefile) = fs::read_to_string(root().join("Makefile")) else { return };
    let targets: BTreeSet<_> =
        makefile.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
    let mut breaches = Vec::new();
    for (name, path) in files() {
        if !name.ends_with(".md") {
            continue;
        }
        let text = fs::read_to_string(path).expect("a readable text");
        for (number, line) in text.lines().enumerate() {
            let commands =
                line.split("`make ").skip(1).chain(line.trim_start_matches("$ ").strip_prefix("make "));
            for command in commands {
                let target: String =
                    command.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
                let is_prose =
                    line.starts_with("make ") && ["sure", "it", "the", "a"].contains(&target.as_str());
                if !target.is_empty() && !is_prose && !targets.contains(target.as_str()) {
                    breaches.push(format!("{name}:{}: make {target}", number + 1));
                }
            }
        }
    }
    assert!(breaches.is_empty(), "the Makefile has no such target\n{}", breaches.join("\n"));
}

#[test]
fn every_dependency_is_used_and_has_its_reason_in_the_list() {
    let list = fs::read_to_string(root().join("docs/dependencies.md")).expect("docs/dependencies.md");
    let reasons: BTreeSet<_> = list
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect();
    let sources = rust_files();
    let mut listed = BTreeSet::new();
    let mut breaches = Vec::new();
    for folder in ["", "loadtest/"] {
        let manifest = format!("{folder}Cargo.toml");
        let text = fs::read_to_string(root().join(&manifest)).expect("a manifest");
        let table: toml::Table = text.parse().expect("TOML");
        // Where the code of each kind of dependency may stand.
        let kinds: [(&str, &[&str]); 3] = [
            ("dependencies", &["src/"]),
            ("dev-dependencies", &["src/", "tests/", "benches/", "examples/"]),
            ("build-dependencies", &["build.rs"]),
        ];
        for (kind, places) in kinds {
            for name in
                table.get(kind).and_then(toml::Value::as_table).into_iter().flatten().map(|(name, _)| name)
            {
                listed.insert(name.clone());
                if !reasons.contains(name) {
                    breaches.push(format!("{manifest}: {name} has no line in docs/dependencies.md"));
                }
                let path = format!("{}::", name.replace('-', "_"));
                let used = sources.iter().any(|source| {
                    let inside = source.path.strip_prefix(folder).unwrap_or("none");
                    places.iter().any(|place| inside.starts_with(place)) && !source.find(&path).is_empty()
                });
                if !used {
                    breaches.push(format!("{manifest}: {name} is used nowhere: take it out"));
                }
            }
        }
    }
    breaches.extend(
        reasons.difference(&listed).map(|name| format!("docs/dependencies.md: {name} is no dependency")),
    );
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn every_file_and_test_that_a_text_names_exists() {
    let files = files();
    let exists = |path: &str| {
        let path = path.trim_end_matches('/');
        files.iter().any(|(name, _)| {
            name == path || name.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
        })
    };
    let words: BTreeSet<_> =
        rust_files().into_iter().flat_map(|source| source.tokens).map(|token| token.text).collect();
    let mut breaches = Vec::new();
    for (name, path) in files.iter().filter(|(name, _)| name.ends_with(".md")) {
        // Code blocks hold commands and what they print.
        let text = fs::read_to_string(path).expect("a readable text");
        let text: String = text.split("```").step_by(2).collect::<Vec<_>>().join("");
        for word in text.split('`').skip(1).step_by(2) {
            let folder = ["src/", "tests/", "benches/", "examples/", "docs/", "deploy/", "loadtest/"]
                .iter()
                .any(|folder| word.starts_with(folder));
            let is_path = folder && !word.contains(['*', '<', ' ', '{']);
            // Names of metrics are held to the code by a test of their own.
            let is_test = word.matches('_').count() >= 4
                && !word.starts_with("tandem_")
                && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if (is_path && !exists(word)) || (is_test && !words.contains(word)) {
                breaches.push(format!("{name}: {word}"));
            }
        }
    }
    assert!(breaches.is_empty(), "no such file, folder or function\n{}", breaches.join("\n"));
}
