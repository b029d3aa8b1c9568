//! The switch's files, where they can be seen from here: variables, dialplan, scripts.
//!
//! Runs in: the main thread. Reads the directory that `--freeswitch` names, or the usual one. Changes nothing.
//! Invariant: a directory that is not there is no fault: the switch may be in a container.

use std::fs;
use std::path::{Path, PathBuf};

use super::Examination;

/// Where packages and source installations keep the configuration.
const USUAL: [&str; 3] =
    ["/etc/freeswitch", "/usr/local/freeswitch/conf", "/usr/local/freeswitch/etc/freeswitch"];
/// Where scripts may be, seen from the configuration's directory.
const SCRIPTS: [&str; 5] = [
    "scripts",
    "../scripts",
    // Built from source with --prefix: etc/freeswitch and share/freeswitch.
    "../../share/freeswitch/scripts",
    "/usr/share/freeswitch/scripts",
    "/usr/local/freeswitch/scripts",
];
/// Files of XML that are looked through, and how deep; a configuration has some hundred.
const FILES_MAX: usize = 5_000;
const DEPTH_MAX: usize = 6;

impl Examination<'_> {
    fn configuration_directory(&self) -> Option<PathBuf> {
        match &self.options.freeswitch {
            Some(path) => Some(path.clone()),
            None => USUAL.iter().map(PathBuf::from).find(|path| path.is_dir()),
        }
    }

    /// `audio_stream_url` as the files set it.
    pub(super) fn url_in_files(&self) -> Option<String> {
        let directory = self.configuration_directory()?;
        xml_files(&directory).iter().find_map(|path| {
            let text = fs::read_to_string(path).ok()?;
            let value = text.split("audio_stream_url=").nth(1)?;
            value.split('"').next().map(str::to_owned)
        })
    }

    /// Variables, dialplan and scripts in place.
    pub(super) fn files(&mut self) {
        let Some(directory) = self.configuration_directory() else {
            return self.report.skip(
                "files",
                "FreeSWITCH's configuration is not visible from here: --freeswitch DIR names it",
            );
        };
        let place = directory.display().to_string();
        if !directory.is_dir() {
            return self.report.bad(
                "files",
                format!("{place} is not a directory"),
                "name FreeSWITCH's configuration directory, as in --freeswitch /etc/freeswitch",
            );
        }
        let texts: Vec<(PathBuf, String)> = xml_files(&directory)
            .into_iter()
            .filter_map(|path| fs::read_to_string(&path).ok().map(|text| (path, text)))
            .collect();
        let install = format!("tandem freeswitch install --to {place}");
        let holds = |words: &str| {
            texts.iter().find(|(_, text)| without_comments(text).contains(words)).map(|(path, _)| path)
        };
        match holds("audio_stream_url=") {
            Some(path) => {
                self.report.good("variables", format!("audio_stream_url is set in {}", path.display()))
            }
            None => self.report.bad(
                "variables",
                format!("no file below {place} sets audio_stream_url"),
                install.clone(),
            ),
        }
        match holds("start_audio_stream.lua") {
            Some(path) => self
                .report
                .good("dialplan", format!("{} answers with start_audio_stream.lua", path.display())),
            None => self.report.bad(
                "dialplan",
                format!("no extension below {place} runs start_audio_stream.lua"),
                install.clone(),
            ),
        }
        for script in ["start_audio_stream.lua", "tandem_events.lua"] {
            match SCRIPTS.iter().map(|at| directory.join(at).join(script)).find(|path| path.is_file()) {
                Some(path) => self.report.good("scripts", path.display().to_string()),
                None => self.report.bad(
                    "scripts",
                    format!("{script} is in no usual directory of scripts"),
                    format!("{install}, with --scripts where fs_cli -x 'global_getvar script_dir' says another one"),
                ),
            }
        }
        match holds("tandem_events.lua") {
            Some(_) => self.report.good("scripts", "tandem_events.lua starts with the switch"),
            None => self.report.warn(
                "scripts",
                "tandem_events.lua does not start with the switch: playback by files stays silent",
                "startup-script in lua.conf.xml, or fs_cli -x 'luarun tandem_events.lua'",
            ),
        }
    }
}

/// Without `<!-- … -->`, so that what is commented out does not count.
fn without_comments(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<!--") {
        kept.push_str(before);
        rest = after.split_once("-->").map_or("", |(_, behind)| behind);
    }
    kept.push_str(rest);
    kept
}

fn xml_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![(directory.to_owned(), 0)];
    while let Some((directory, depth)) = directories.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            if found.len() >= FILES_MAX {
                return found;
            }
            if path.is_dir() && depth < DEPTH_MAX {
                directories.push((path, depth + 1));
            } else if path.extension().is_some_and(|extension| extension == "xml") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_commented_out_does_not_count() {
        assert_eq!(without_comments("a<!-- b -->c<!--d"), "ac");
        assert_eq!(without_comments("a"), "a");
    }
}
