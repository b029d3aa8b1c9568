//! `tandem freeswitch install`: puts the files of `deploy/freeswitch/` into a FreeSWITCH, after showing what changes.
//!
//! Runs in: the main thread, instead of the relay. Owns the list of files and the lines that FreeSWITCH's own files
//! need. Never overwrites a file without keeping it beside as `.bak`, never touches a setting that is there already.
//! Invariant: everything that is going to be written is worked out and checked before the first byte is written, so a
//! problem found on the way leaves the installation as it was.

use argh::FromArgs;
use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::{fs, iter};

use similar::TextDiff;

use crate::threads::private_file;

/// Files of ours that FreeSWITCH finds by itself, below its configuration folder.
const CONFIGURATION: [(&str, &str); 3] = [
    ("dialplan/public/00_tandem.xml", include_str!("../../deploy/freeswitch/dialplan/public/00_tandem.xml")),
    (
        "dialplan/default/00_tandem.xml",
        include_str!("../../deploy/freeswitch/dialplan/default/00_tandem.xml"),
    ),
    ("ivr_menus/tandem_ivr.xml", include_str!("../../deploy/freeswitch/ivr_menus/tandem_ivr.xml")),
];

const SCRIPTS: [(&str, &str); 5] = [
    ("tandem.lua", include_str!("../../deploy/freeswitch/scripts/tandem.lua")),
    ("tandem_events.lua", include_str!("../../deploy/freeswitch/scripts/tandem_events.lua")),
    ("tandem_playback.lua", include_str!("../../deploy/freeswitch/scripts/tandem_playback.lua")),
    ("start_audio_stream.lua", include_str!("../../deploy/freeswitch/scripts/start_audio_stream.lua")),
    ("audio_socket_client.lua", include_str!("../../deploy/freeswitch/scripts/audio_socket_client.lua")),
];

const SETTINGS: &str = include_str!("../../deploy/freeswitch/vars_tandem.xml");
const LUA_CONF: &str = include_str!("../../deploy/freeswitch/autoload_configs/lua.conf.xml");

/// Lines that files of FreeSWITCH's own need: the file, what is looked for, the line, and before which tag it goes.
const LINES: [(&str, &str, &str, &str); 5] = [
    ("vars.xml", "vars_tandem.xml", r#"<X-PRE-PROCESS cmd="include" data="vars_tandem.xml"/>"#, "</include>"),
    (
        "autoload_configs/lua.conf.xml",
        "tandem_events.lua",
        r#"<param name="startup-script" value="tandem_events.lua"/>"#,
        "</settings>",
    ),
    ("autoload_configs/modules.conf.xml", "\"mod_lua\"", r#"<load module="mod_lua"/>"#, "</modules>"),
    ("autoload_configs/modules.conf.xml", "\"mod_curl\"", r#"<load module="mod_curl"/>"#, "</modules>"),
    (
        "autoload_configs/modules.conf.xml",
        "\"mod_audio_stream\"",
        r#"<load module="mod_audio_stream"/>"#,
        "</modules>",
    ),
];

const BACKUPS_MAX: usize = 100;

/// Put the dialplan, settings and scripts into a FreeSWITCH. Shows what changes, then asks; keeps what it replaces.
#[derive(FromArgs, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "install", help_triggers("-h", "--help"))]
pub struct Options {
    /// folder of FreeSWITCH or of its configuration, as in --to /etc/freeswitch
    #[argh(option, arg_name = "folder")]
    pub to: PathBuf,

    /// folder of FreeSWITCH's scripts, when it is not beside its configuration
    #[argh(option, arg_name = "folder")]
    pub scripts: Option<PathBuf>,

    /// write without asking
    #[argh(switch)]
    pub yes: bool,

    /// show what would change and write nothing
    #[argh(switch)]
    pub dry_run: bool,
}

/// A file as it is and as it is going to be.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    path: PathBuf,
    before: Option<String>,
    after: String,
}

/// Shows what changes, asks, and writes.
///
/// # Errors
/// What is wrong, in the operator's words; nothing has been written then, unless the text says so.
pub fn run(options: &Options, input: &mut dyn BufRead, output: &mut dyn Write) -> Result<(), String> {
    let changes = plan(options)?;
    let mut say = |text: &str| output.write_all(text.as_bytes()).and_then(|()| output.flush());
    let failed = |problem: io::Error| format!("the terminal cannot be written to: {problem}");
    if changes.is_empty() {
        return say("All files and lines are in place already; nothing is to be done.\n").map_err(failed);
    }
    say(&shown(&changes)).map_err(failed)?;
    if options.dry_run {
        return say("\nNothing was written (--dry-run).\n").map_err(failed);
    }
    if !options.yes {
        say("\nWrite this? [y/N] ").map_err(failed)?;
        let mut answer = String::new();
        input.read_line(&mut answer).map_err(|problem| format!("no answer can be read: {problem}"))?;
        if !["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) {
            let hint = if io::stdin().is_terminal() { "" } else { "; --yes writes without asking" };
            return Err(format!("nothing was written{hint}"));
        }
    }
    let mut backups = String::new();
    for change in &changes {
        if let Some(backup) = write(change)? {
            let _ = writeln!(backups, "kept as it was: {}", backup.display());
        }
    }
    say(&format!("\n{backups}{NEXT_STEPS}")).map_err(failed)
}

const NEXT_STEPS: &str = "Installed. What is left to do:
  1. vars_tandem.xml: audio_stream_url, your numbers, and tandem_playback as your build of mod_audio_stream needs it
  2. fs_cli -x reloadxml
  3. fs_cli -x \"load mod_audio_stream\"; fs_cli -x \"load mod_curl\"; fs_cli -x \"luarun tandem_events.lua\"
     (a restart of FreeSWITCH does the same; after an update first: fs_cli -x \"luarun tandem_events.lua stop\")
  4. dial 9094 from a telephone that is registered there
docs/freeswitch.md goes through all of it.
";

fn plan(options: &Options) -> Result<Vec<Change>, String> {
    let configuration = configuration_folder(&options.to)?;
    let scripts = match &options.scripts {
        Some(folder) if folder.is_dir() => folder.clone(),
        Some(folder) => return Err(format!("--scripts: {} is no folder", folder.display())),
        None => scripts_folder(&configuration)?,
    };
    let mut changes = Vec::new();
    let settings = configuration.join("vars_tandem.xml");
    let before = existing(&settings)?;
    let after = before.as_deref().map_or_else(|| Ok(SETTINGS.to_owned()), with_missing_settings);
    changes.push(Change { after: after.map_err(|why| in_file(&settings, &why))?, path: settings, before });
    let files = CONFIGURATION.iter().map(|(name, text)| (configuration.join(name), text));
    for (path, text) in files.chain(SCRIPTS.iter().map(|(name, text)| (scripts.join(name), text))) {
        let before = existing(&path)?;
        changes.push(Change { path, before, after: (*text).to_owned() });
    }
    for (name, wanted, line, tag) in LINES {
        let path = configuration.join(name);
        // Several lines may go into one file.
        let position = changes.iter().position(|change| change.path == path);
        let before = position.map_or_else(|| existing(&path), |at| Ok(Some(changes[at].after.clone())))?;
        let after = match &before {
            Some(text) => with_line(text, wanted, line, tag).map_err(|why| in_file(&path, &why))?,
            None if name == "autoload_configs/lua.conf.xml" => LUA_CONF.to_owned(),
            None => continue, // a trimmed installation loads its modules elsewhere; vars.xml was looked for before
        };
        match position {
            Some(at) => changes[at].after = after,
            None => changes.push(Change { path, before, after }),
        }
    }
    changes.retain(|change| change.before.as_ref() != Some(&change.after));
    Ok(changes)
}

fn in_file(path: &Path, why: &str) -> String {
    format!("{}: {why}", path.display())
}

fn configuration_folder(to: &Path) -> Result<PathBuf, String> {
    let folders = [to.to_owned(), to.join("conf")];
    folders.into_iter().find(|folder| folder.join("vars.xml").is_file()).ok_or_else(|| {
        format!(
            "--to: neither {0}/vars.xml nor {0}/conf/vars.xml is there: name the folder of FreeSWITCH's \
             configuration, usually /etc/freeswitch or /usr/local/freeswitch/conf \
             (fs_cli -x \"global_getvar conf_dir\" prints it)",
            to.display()
        )
    })
}

fn scripts_folder(configuration: &Path) -> Result<PathBuf, String> {
    let beside = configuration.parent().map(|folder| folder.join("scripts"));
    let packaged = (configuration == Path::new("/etc/freeswitch"))
        .then(|| PathBuf::from("/usr/share/freeswitch/scripts"));
    // Built from source with --prefix: etc/freeswitch and share/freeswitch.
    let prefixed = configuration.ancestors().nth(2).map(|folder| folder.join("share/freeswitch/scripts"));
    let places = [Some(configuration.join("scripts")), beside, prefixed, packaged];
    places.into_iter().flatten().find(|folder| folder.is_dir()).ok_or_else(|| {
        "FreeSWITCH's folder of scripts is not where it usually is: name it by --scripts \
         (fs_cli -x \"global_getvar script_dir\" prints it; make it if it is not there)"
            .to_owned()
    })
}

/// The text of a file; `None` when there is none.
fn existing(path: &Path) -> Result<Option<String>, String> {
    match fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(in_file(path, "it is not UTF-8 text and cannot be added to; convert it first")),
        },
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(problem) => Err(in_file(path, &format!("it cannot be read: {problem}"))),
    }
}

/// The same text with spaces in place of comments, so that every other byte keeps its place.
fn without_comments(text: &str) -> String {
    let mut bare = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find("<!--") {
        let length = rest[begin..].find("-->").map_or(rest.len() - begin, |end| end + 3);
        bare.push_str(&rest[..begin]);
        bare.extend(iter::repeat_n(' ', length));
        rest = &rest[begin + length..];
    }
    bare.push_str(rest);
    bare
}

/// The text with `line` before its last `tag`, unless `wanted` stands in it outside of comments.
fn with_line(text: &str, wanted: &str, line: &str, tag: &str) -> Result<String, String> {
    let bare = without_comments(text);
    if bare.contains(wanted) {
        return Ok(text.to_owned());
    }
    let at = bare.rfind(tag).ok_or_else(|| format!("there is no {tag} in it; add by hand: {line}"))?;
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let begin = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let indent: String = text[begin..at].chars().take_while(|c| [' ', '\t'].contains(c)).collect();
    // What stands before the tag on its line stays there: FreeSWITCH wants its instructions on lines of their own.
    let (at, lead) = if text[begin..at].trim().is_empty() { (begin, "") } else { (at, end) };
    Ok(format!("{}{lead}{indent}  {line}{end}{}", &text[..at], &text[at..]))
}

/// The operator's settings with those of ours that are not among them: what is there stays as it is.
fn with_missing_settings(text: &str) -> Result<String, String> {
    let name_of = |line: &str| Some(line.split_once("data=\"")?.1.split_once('=')?.0.trim().to_owned());
    let bare = without_comments(text);
    let present: Vec<_> = bare.lines().filter_map(name_of).collect();
    let missing = SETTINGS.lines().filter(|line| name_of(line).is_some_and(|name| !present.contains(&name)));
    missing.map(str::trim).try_fold(text.to_owned(), |text, line| with_line(&text, line, line, "</include>"))
}

/// What is going to be written: new files by name, changes as a unified diff.
fn shown(changes: &[Change]) -> String {
    let mut text = String::new();
    for Change { path, before, after } in changes {
        let path = path.display();
        match before {
            None => {
                let _ = writeln!(text, "new: {path} ({} lines)", after.lines().count());
            }
            Some(before) => {
                let diff = TextDiff::from_lines(before, after);
                let name = path.to_string();
                let _ = writeln!(text, "{}", diff.unified_diff().context_radius(3).header(&name, &name));
            }
        }
    }
    text
}

/// Writes a file and keeps what was there; says where.
fn write(change: &Change) -> Result<Option<PathBuf>, String> {
    let path = &change.path;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|problem| stopped(folder, &problem))?;
    }
    let backup = match change.before {
        None => None,
        Some(_) => {
            let backup = free_backup_name(path)?;
            keep(path, &backup).map_err(|problem| stopped(&backup, &problem))?;
            Some(backup)
        }
    };
    // The folder may be another user's, who could have put links into it.
    private_file::overwrite(path, change.after.as_bytes()).map_err(|problem| stopped(path, &problem))?;
    Ok(backup)
}

/// Copies a file with its rights to one that is not there yet.
fn keep(path: &Path, backup: &Path) -> io::Result<()> {
    let mut from = fs::File::open(path)?;
    let rights = from.metadata()?.permissions();
    let mut to = private_file::create(backup, 0o600)?;
    io::copy(&mut from, &mut to)?;
    to.set_permissions(rights)
}

fn stopped(path: &Path, problem: &io::Error) -> String {
    format!(
        "{} cannot be written: {problem}. What was shown before it is written; run this again when the cause is gone",
        path.display()
    )
}

/// `FILE.bak`, or with a number behind it: no backup is overwritten, and FreeSWITCH includes `*.xml` only.
fn free_backup_name(path: &Path) -> Result<PathBuf, String> {
    let name = |number: usize| {
        let mut name = path.as_os_str().to_owned();
        name.push(if number == 0 { ".bak".to_owned() } else { format!(".bak.{number}") });
        PathBuf::from(name)
    };
    (0..BACKUPS_MAX)
        .map(name)
        .find(|backup| fs::symlink_metadata(backup).is_err())
        .ok_or_else(|| in_file(path, "there are too many backups of it; remove some"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LUA_CONF_OF_FREESWITCH: &str = "<configuration name=\"lua.conf\">\n  <settings>\n\n    \
        <!-- <param name=\"startup-script\" value=\"tandem_events.lua\"/> </settings> -->\n  </settings>\n</configuration>\n";

    #[test]
    fn a_line_goes_before_the_last_tag_that_is_no_comment() {
        let line = LINES[1].2;
        let after = with_line(LUA_CONF_OF_FREESWITCH, "tandem_events.lua", line, "</settings>").unwrap();
        let expected =
            LUA_CONF_OF_FREESWITCH.replace("-->\n  </settings>", &format!("-->\n    {line}\n  </settings>"));
        assert_eq!(after, expected);
        assert_eq!(with_line(&after, "tandem_events.lua", line, "</settings>").unwrap(), after, "twice");
    }

    #[test]
    fn a_line_gets_the_line_end_of_its_file_and_a_line_of_its_own() {
        let seen = with_line("<include>\r\n  <a/>\r\n</include>\r\n", "x", "<x/>", "</include>").unwrap();
        assert_eq!(seen, "<include>\r\n  <a/>\r\n  <x/>\r\n</include>\r\n");
        let seen = with_line("<include><a/></include>", "x", "<x/>", "</include>").unwrap();
        assert_eq!(seen, "<include><a/>\n  <x/>\n</include>");
    }

    #[test]
    fn a_file_without_the_tag_names_the_line_to_add() {
        let why = with_line("<!-- </include> -->", "x", "<x/>", "</include>").unwrap_err();
        assert_eq!(why, "there is no </include> in it; add by hand: <x/>");
    }

    #[test]
    fn comments_become_spaces_and_an_open_one_hides_the_rest() {
        assert_eq!(without_comments("a<!-- b -->c<!--d"), format!("a{}c{}", " ".repeat(10), " ".repeat(5)));
    }

    #[test]
    fn settings_of_the_operator_stay_and_missing_ones_are_added() {
        let own = SETTINGS
            .replace("tandem_ai_numbers=9094", "tandem_ai_numbers=15551234567")
            .lines()
            .filter(|line| !line.contains("data=\"tandem_variables="))
            .fold(String::new(), |text, line| text + line + "\n");
        let after = with_missing_settings(&own).unwrap();
        assert!(after.contains("tandem_ai_numbers=15551234567") && !after.contains("tandem_ai_numbers=9094"));
        assert_eq!(after.matches("data=\"tandem_variables=\"").count(), 1);
        assert_eq!(with_missing_settings(SETTINGS).unwrap(), SETTINGS);
    }
}
