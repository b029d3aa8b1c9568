//! The command line: from the arguments to what is to be done.
//!
//! Runs in: the main thread, at start. Owns the options and the texts of `--help`, `--version` and `--check`. Never
//! starts the relay, logs or exits: `main` does, with what [`prepare`] gives it.
//! Invariant: what comes back is either a configuration that passed every check, or an [`Exit`] that says why not.

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use argh::{EarlyExit, FromArgs};

use crate::agents;
use crate::config::{self, FileChoice, Installation, KEYS, Loaded, Sources};
use crate::telemetry::log::for_journal;
use crate::telemetry::{conceal, redact};

pub mod bench;
pub mod call;
pub mod calls;
mod doctor;
pub mod drain;
pub mod install;
mod relay;
pub mod report;
pub mod route;

pub use doctor::Options as DoctorOptions;

/// Exit status for arguments or configuration that cannot work. Trying again does not help, which
/// `RestartPreventExitStatus=2` tells systemd.
pub const STATUS_WRONG_USE: u8 = 2;

/// What is left to do when arguments and configuration are read.
pub enum Task {
    /// Run the relay; the configuration is read anew from the sources on SIGHUP.
    Run(Box<Loaded>, Sources),
    /// Look for what is wrong; the doctor reads the configuration itself, to say what is wrong with it.
    Doctor(Sources, DoctorOptions),
}

/// What to print before ending, and the exit status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// For standard output.
    pub output: String,
    /// For standard error.
    pub errors: String,
    /// The exit status of the process.
    pub status: u8,
}

impl Exit {
    /// Prints the texts. A closed pipe, as in `tandem --check | head`, is not an error; a full disk is.
    pub fn print(&self) -> ExitCode {
        let mut standard_output = std::io::stdout();
        let printed =
            standard_output.write_all(self.output.as_bytes()).and_then(|()| standard_output.flush());
        let errors = if self.status == 0 { self.errors.clone() } else { for_journal(&self.errors) };
        let _ = std::io::stderr().write_all(errors.as_bytes());
        match printed {
            Err(problem) if problem.kind() != ErrorKind::BrokenPipe && self.status == 0 => {
                let _ = writeln!(std::io::stderr(), "tandem: the output cannot be written: {problem}");
                ExitCode::FAILURE
            }
            _ => ExitCode::from(self.status),
        }
    }

    fn success(output: String) -> Self {
        Self { output, errors: String::new(), status: 0 }
    }

    fn failure(why: impl std::fmt::Display) -> Self {
        Self { output: String::new(), errors: format!("tandem: {why}\n"), status: 1 }
    }

    /// Arguments or configuration cannot work; what is wrong, with its remedy.
    pub fn wrong_use(errors: String) -> Self {
        Self { output: String::new(), errors, status: STATUS_WRONG_USE }
    }
}

/// Tandem: a voice media relay between a telephone switch and Gemini Live. Without options it runs the relay.
#[derive(FromArgs, Debug)]
#[argh(help_triggers("-h", "--help"))]
struct Arguments {
    /// configuration file (TOML); without it tandem.toml in the working directory, else /etc/tandem/tandem.toml where there is one
    #[argh(option, arg_name = "file")]
    config: Option<PathBuf>,

    /// set one key, which wins over file and environment, as in --set listen.port=9094; can be repeated
    #[argh(option, arg_name = "key=value")]
    set: Vec<String>,

    /// check the configuration, print every key with its value and origin, and end
    #[argh(switch)]
    check: bool,

    /// print the version and end
    #[argh(switch, short = 'V')]
    version: bool,

    #[argh(subcommand)]
    subcommand: Option<Subcommand>,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one of it, at the start")]
enum Subcommand {
    Bench(bench::Options),
    Call(call::Options),
    Calls(calls::Options),
    Report(report::Options),
    Doctor(DoctorOptions),
    Drain(drain::Options),
    Freeswitch(Freeswitch),
    Route(route::Options),
}

/// Help with FreeSWITCH: tandem freeswitch install --to DIR
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "freeswitch", help_triggers("-h", "--help"))]
struct Freeswitch {
    #[argh(subcommand)]
    command: FreeswitchCommand,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum FreeswitchCommand {
    Install(install::Options),
}

/// The words that make subcommands.
const SUBCOMMANDS: [&str; 7] = ["bench", "call", "calls", "doctor", "drain", "freeswitch", "route"];
/// Options that are followed by a value.
const OPTIONS_WITH_VALUE: [&str; 17] = [
    "--config",
    "--set",
    "--to",
    "--agent",
    "--from",
    "--freeswitch",
    "--scripts",
    "--caller",
    "--did",
    "--outcome",
    "--search",
    "--limit",
    "--before",
    "--max",
    "--seconds-per-step",
    "--write",
    "--within",
];

/// Reads the arguments (without the program's name).
///
/// # Errors
/// An [`Exit`]: of status 0 for `--help`, else with what is wrong.
fn parse(
    arguments: &[OsString],
    environment: Vec<(OsString, OsString)>,
) -> Result<(Arguments, Sources), Exit> {
    let mut texts = Vec::with_capacity(arguments.len());
    for argument in arguments {
        match argument.to_str() {
            Some(text) => texts.push(text),
            None => return Err(usage_error(&format!("the argument {argument:?} is not UTF-8 text"))),
        }
    }
    if texts.first() == Some(&"help") {
        texts.remove(0);
        texts.push("--help");
    }
    let split = split_values(&texts);
    let arguments = Arguments::from_args(&["tandem"], &split).map_err(|exit| match exit {
        // The settings are the relay's, so the help of a subcommand ends without them.
        EarlyExit { output, status: Ok(()) } if SUBCOMMANDS.iter().any(|name| split.contains(name)) => {
            Exit::success(format!("{}\n", output.trim_end()))
        }
        EarlyExit { output, status: Ok(()) } => {
            Exit::success(format!("{}\n\n{}", output.trim_end(), help_of_settings()))
        }
        EarlyExit { output, status: Err(()) } => {
            let meant = meant(output.trim_end(), &split).unwrap_or_default();
            usage_error(&format!("{}{meant}", output.trim_end()))
        }
    })?;
    let file = arguments.config.clone().map_or(FileChoice::Usual, FileChoice::Named);
    let installation = Some(Installation::of_machine(&environment));
    let sources = Sources { file, environment, sets: arguments.set.clone(), installation };
    Ok((arguments, sources))
}

/// Reads arguments and configuration.
///
/// # Errors
/// An [`Exit`]: of status 0 for `--help`, `--version` and a `--check` without problems, else of status
/// [`STATUS_WRONG_USE`] with all that is wrong.
pub fn prepare(arguments: &[OsString], environment: Vec<(OsString, OsString)>) -> Result<Task, Exit> {
    let (arguments, sources) = parse(arguments, environment)?;
    if arguments.version {
        return Err(Exit::success(format!("tandem {}\n", env!("CARGO_PKG_VERSION"))));
    }
    match arguments.subcommand {
        Some(Subcommand::Bench(options)) => Err(bench::run(&options, &arguments.set)),
        Some(Subcommand::Call(options)) => Err(answered(config::load(&sources), |loaded| {
            concealed(call::run(&options, &loaded.config), &loaded.config)
        })),
        Some(Subcommand::Calls(options)) => Err(answered(config::load(&sources), |loaded| {
            concealed(calls::run(&options, &loaded.config), &loaded.config)
        })),
        Some(Subcommand::Report(options)) => Err(answered(config::load(&sources), |loaded| {
            concealed(report::run(&options, &loaded.config), &loaded.config)
        })),
        Some(Subcommand::Drain(options)) => Err(answered(config::load(&sources), |loaded| {
            concealed(drain::run(&options, &loaded.config), &loaded.config)
        })),
        Some(Subcommand::Freeswitch(Freeswitch { command: FreeswitchCommand::Install(options) })) => {
            let done = install::run(&options, &mut std::io::stdin().lock(), &mut std::io::stdout().lock());
            Err(done.map_or_else(Exit::failure, |()| Exit::success(String::new())))
        }
        Some(Subcommand::Doctor(options)) => Ok(Task::Doctor(sources, options)),
        Some(Subcommand::Route(options)) => {
            Err(answered(agents::load(&sources), |loaded| route::run(&options, &loaded.config)))
        }
        None if arguments.check => Err(answered(agents::load(&sources), |loaded| {
            let errors = loaded.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
            Exit { output: loaded.to_string(), errors, status: 0 }
        })),
        None => match agents::load(&sources) {
            Ok(loaded) => Ok(Task::Run(Box::new(loaded), sources)),
            Err(problems) => Err(configuration_error(&problems)),
        },
    }
}

/// What is answered with the configuration, behind the files that it was found in; or that it cannot work.
fn answered(loaded: Result<Loaded, config::Problems>, answer: impl FnOnce(&Loaded) -> Exit) -> Exit {
    match loaded {
        Ok(loaded) => {
            let exit = answer(&loaded);
            Exit { errors: format!("{}{}", loaded.files(), exit.errors), ..exit }
        }
        Err(problems) => configuration_error(&problems),
    }
}

/// The end of a sentence that says what was probably meant by an argument that nobody knows, among what the help of the command
/// that it stands behind names.
fn meant(wrong: &str, arguments: &[&str]) -> Option<String> {
    let unknown = wrong.strip_prefix("Unrecognized argument: ").filter(|name| !name.contains('\n'))?;
    if KEYS.iter().any(|key| unknown.strip_prefix("--") == Some(key.name)) {
        return Some(format!(": did you mean --set {}=VALUE?", unknown.trim_start_matches('-')));
    }
    let before = arguments.iter().take_while(|argument| **argument != unknown);
    let mut commands: Vec<&str> = before.copied().filter(|argument| !argument.starts_with('-')).collect();
    let help = loop {
        let asked: Vec<&str> = commands.iter().copied().chain(["--help"]).collect();
        match Arguments::from_args(&["tandem"], &asked) {
            Err(EarlyExit { output, status: Ok(()) }) => break output,
            // A word that is none of a command: the number of a call, or the value of an option.
            _ => commands.pop()?,
        };
    };
    // The lists of options and of commands have the name at the beginning of a line, behind two blanks and a short one.
    let entries = help.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = entries.filter_map(|line| line.split([' ', ',']).find(|word| word.len() > 2));
    let names: Vec<&str> = names.filter(|name| name.starts_with("--") == unknown.starts_with("--")).collect();
    config::nearest(unknown, names.into_iter()).map(|name| format!(": did you mean {name}?"))
}

/// `--name=value` as `--name`, `value`, because argh reads only the latter. The value of an option and what follows `--`
/// stay as they are.
fn split_values<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let mut split = Vec::with_capacity(arguments.len() + 1);
    let mut remaining = arguments.iter().copied();
    while let Some(argument) = remaining.next() {
        if argument == "--" {
            split.push(argument);
            split.extend(remaining.by_ref());
        } else if let Some((name, value)) =
            argument.split_once('=').filter(|(name, _)| name.starts_with("--"))
        {
            split.extend([name, value]);
        } else {
            split.push(argument);
            if OPTIONS_WITH_VALUE.contains(&argument) {
                split.extend(remaining.next());
            }
        }
    }
    split
}

fn usage_error(what: &str) -> Exit {
    Exit::wrong_use(format!("tandem: {}\ntandem --help lists the options.\n", redact(what)))
}

/// The answer of a command that talks with others, without the secrets of the configuration in what went wrong.
fn concealed(exit: Exit, config: &config::Config) -> Exit {
    conceal(config.secrets().iter().map(String::as_str));
    Exit { errors: redact(&exit.errors).into_owned(), ..exit }
}

fn configuration_error(problems: &config::Problems) -> Exit {
    let count = problems.0.len();
    let plural = if count == 1 { "" } else { "s" };
    Exit::wrong_use(format!("tandem: {count} problem{plural} in the configuration:\n{problems}\n"))
}

/// The part of `--help` that is made from the registry of keys.
fn help_of_settings() -> String {
    let mut help = String::from("Environment:\n");
    let mut line = |variable: &str, meaning: &str| help.push_str(&format!("  {variable:<28}  {meaning}\n"));
    for key in KEYS {
        for (position, variable) in key.environment.iter().enumerate() {
            let otherwise = if position > 0 { ", when the one above is not set" } else { "" };
            line(variable, &format!("{}{otherwise}", key.name));
        }
    }
    line("TANDEM_SECTION_KEY", "any key: TANDEM_LISTEN_PORT is listen.port");
    line("TANDEM_CONFIG", "configuration file, when --config is not given");
    line("TANDEM_ROOT", "where etc/tandem of an installed relay is looked for, when not in /");
    line("RUST_LOG", "log levels by module, as in info,tandem::net=debug");
    line("TZ", "time zone of the log, as in Europe/Berlin");
    help.push_str(
        "\nConfiguration: defaults, then the file, then the environment, then --set; the later wins.\n\
         tandem --check shows what is in force, docs/configuration.md explains every key, deploy/tandem.toml is a\n\
         sample file.\n",
    );
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(texts: &[&str]) -> Vec<OsString> {
        texts.iter().map(OsString::from).collect()
    }

    fn exit(texts: &[&str]) -> Exit {
        prepare(&arguments(texts), Vec::new()).err().expect("the process goes on")
    }

    #[test]
    fn a_value_may_follow_an_equals_sign() {
        let split = |texts: &[&'static str]| split_values(texts).join(" | ");
        assert_eq!(
            split(&["--set=listen.port=1", "--config=a=b.toml"]),
            "--set | listen.port=1 | --config | a=b.toml"
        );
        assert_eq!(split(&["--set", "listen.port=1", "--check"]), "--set | listen.port=1 | --check");
        assert_eq!(split(&["--set", "--odd=value", "--check"]), "--set | --odd=value | --check");
        assert_eq!(split(&["--", "--set=a"]), "-- | --set=a");
        assert_eq!(split(&["--config"]), "--config");
    }

    #[test]
    fn without_options_the_relay_runs() {
        let (arguments, sources) = parse(&[], vec![("A".into(), "b".into())]).unwrap();
        assert!(!arguments.version && !arguments.check && arguments.subcommand.is_none());
        assert_eq!((sources.file, sources.environment.len(), sources.sets.len()), (FileChoice::Usual, 1, 0));
    }

    #[test]
    fn file_and_sets_reach_the_configuration() {
        let texts = ["--config", "a.toml", "--set=leg.rate=8000", "--set", "agent.greeting=a=b", "--check"];
        let Ok((Arguments { check: true, .. }, sources)) = parse(&arguments(&texts), Vec::new()) else {
            panic!("not a check")
        };
        assert_eq!(sources.file, FileChoice::Named("a.toml".into()));
        assert_eq!(sources.sets, ["leg.rate=8000", "agent.greeting=a=b"]);
    }

    #[test]
    fn the_version_is_printed_on_standard_output() {
        let expected = format!("tandem {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(exit(&["--version"]), Exit::success(expected));
    }

    #[test]
    fn help_names_options_variables_and_where_the_documentation_is() {
        for flag in ["--help", "-h"] {
            let exit = exit(&[flag]);
            assert_eq!((exit.status, exit.errors.as_str()), (0, ""));
            for expected in [
                "--config",
                "--set",
                "--check",
                "--version",
                "GEMINI_API_KEY",
                "AUDIO_SOCKET_HOST",
                "TANDEM_CONFIG",
                "RUST_LOG",
                "TZ",
                "docs/configuration.md",
            ] {
                assert!(exit.output.contains(expected), "{expected} is not in:\n{}", exit.output);
            }
        }
    }

    #[test]
    fn a_wrong_option_says_where_the_right_ones_are() {
        let exit = exit(&["--prot=1"]);
        assert_eq!((exit.status, exit.output.as_str()), (STATUS_WRONG_USE, ""));
        assert!(exit.errors.contains("Unrecognized argument: --prot"), "{}", exit.errors);
        assert!(exit.errors.ends_with("tandem --help lists the options.\n"), "{}", exit.errors);
    }

    #[test]
    fn what_is_mistyped_is_answered_with_what_was_probably_meant() {
        for (typed, meant) in [
            (&["docter"][..], ": docter: did you mean doctor?"),
            (&["--chekc"], ": --chekc: did you mean --check?"),
            (&["--listen.port=1"], ": --listen.port: did you mean --set listen.port=VALUE?"),
            (&["calls", "--serch=x"], ": --serch: did you mean --search?"),
            (&["calls", "shwo"], ": shwo: did you mean show?"),
            (&["calls", "show", "ID", "--jsn"], ": --jsn: did you mean --json?"),
            (&["freeswitch", "instal"], ": instal: did you mean install?"),
            (&["nothing-like-it"], ": nothing-like-it\n"),
        ] {
            let exit = exit(typed);
            assert!(exit.status == STATUS_WRONG_USE && exit.errors.contains(meant), "{}", exit.errors);
        }
    }

    #[test]
    fn help_and_the_version_are_asked_for_in_the_usual_ways() {
        assert_eq!(exit(&["help"]), exit(&["--help"]));
        assert_eq!(exit(&["help", "calls"]), exit(&["calls", "--help"]));
        assert_eq!(exit(&["help", "calls", "show"]), exit(&["calls", "show", "--help"]));
        assert_eq!(exit(&["-V"]), exit(&["--version"]));
    }

    #[test]
    fn a_key_among_wrong_arguments_is_not_repeated() {
        let key = "AIzaSyA1234567890abcdefghij_klmno-pq";
        for texts in
            [vec![key], vec!["--set", "gemini.api_key", key], vec!["--set", "gemini.api_key", "=", key]]
        {
            let exit = exit(&texts);
            assert_eq!(exit.status, STATUS_WRONG_USE);
            assert!(!exit.errors.contains(key), "{}", exit.errors);
        }
    }

    #[test]
    fn an_argument_that_is_not_text_is_refused() {
        use std::os::unix::ffi::OsStringExt;
        let exit = parse(&[OsString::from_vec(vec![b'-', 0xff])], Vec::new()).unwrap_err();
        assert!(exit.errors.contains("is not UTF-8 text"), "{}", exit.errors);
    }
}
