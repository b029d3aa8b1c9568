//! `tandem freeswitch install` on a FreeSWITCH in a temporary folder: what it shows, writes, keeps and refuses.
//!
//! Runs in: `cargo test --test freeswitch_install`. Owns the made-up installations. Starts the real binary.
//! Invariant: no test writes outside its own folder.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const VARS: &str = "<include>\n  <X-PRE-PROCESS cmd=\"set\" data=\"default_password=x\"/>\n</include>\n";
const LUA_CONF: &str = "<configuration name=\"lua.conf\">\n  <settings>\n    \
    <!--<param name=\"startup-script\" value=\"tandem_events.lua\"/>-->\n  </settings>\n</configuration>\n";
const MODULES: &str = "<configuration name=\"modules.conf\">\n  <modules>\n    <load module=\"mod_lua\"/>\n    \
    <!-- <load module=\"mod_curl\"/> -->\n  </modules>\n</configuration>\n";

/// A FreeSWITCH as a source build leaves it: `conf/` and `scripts/` side by side.
struct Installation {
    folder: PathBuf,
}

impl Installation {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("install-{name}"));
        let _ = fs::remove_dir_all(&folder);
        let installation = Self { folder };
        installation.put("conf/vars.xml", VARS);
        installation.put("conf/autoload_configs/lua.conf.xml", LUA_CONF);
        installation.put("conf/autoload_configs/modules.conf.xml", MODULES);
        fs::create_dir_all(installation.folder.join("scripts")).expect("a folder");
        installation
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_else(|problem| panic!("{name}: {problem}"))
    }

    /// Every file with its text.
    fn files(&self) -> BTreeMap<PathBuf, String> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let text = fs::read(&path).expect("a file");
                    files.insert(path, String::from_utf8_lossy(&text).into_owned());
                }
            }
        }
        files
    }

    fn install(&self, options: &[&str], answer: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tandem"))
            .args(["freeswitch", "install", "--to"])
            .arg(&self.folder)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        // It may have ended before it asks.
        let _ = child.stdin.take().expect("its input").write_all(answer.as_bytes());
        child.wait_with_output().expect("its output")
    }
}

fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_dry_run_shows_everything_and_writes_nothing() {
    let installation = Installation::new("dry");
    let before = installation.files();
    let output = installation.install(&["--dry-run", "--yes"], "");
    assert!(output.status.success(), "{}", printed(&output));
    assert_eq!(installation.files(), before);
    for expected in [
        "start_audio_stream.lua (",
        "tandem_events.lua (",
        "00_tandem.xml (",
        "+  <X-PRE-PROCESS cmd=\"include\" data=\"vars_tandem.xml\"/>",
        "+    <param name=\"startup-script\" value=\"tandem_events.lua\"/>",
        "+    <load module=\"mod_curl\"/>",
        "+    <load module=\"mod_audio_stream\"/>",
        "Nothing was written",
    ] {
        assert!(printed(&output).contains(expected), "{expected} is not in:\n{}", printed(&output));
    }
    assert!(!printed(&output).contains("+    <load module=\"mod_lua\"/>"), "mod_lua is loaded already");
}

#[test]
fn yes_writes_the_files_and_a_second_time_there_is_nothing_to_do() {
    let installation = Installation::new("yes");
    let output = installation.install(&["--yes"], "");
    assert!(output.status.success(), "{}", printed(&output));
    for name in [
        "conf/vars_tandem.xml",
        "conf/dialplan/public/00_tandem.xml",
        "conf/dialplan/default/00_tandem.xml",
        "conf/ivr_menus/tandem_ivr.xml",
        "scripts/tandem.lua",
        "scripts/tandem_events.lua",
        "scripts/start_audio_stream.lua",
        "scripts/audio_socket_client.lua",
    ] {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("deploy/freeswitch")
            .join(name.strip_prefix("conf/").unwrap_or(name));
        assert_eq!(installation.text(name), fs::read_to_string(source).expect("the source"), "{name}");
    }
    let line = "  <X-PRE-PROCESS cmd=\"include\" data=\"vars_tandem.xml\"/>\n</include>";
    assert_eq!(installation.text("conf/vars.xml"), VARS.replace("</include>", line));
    assert_eq!(installation.text("conf/vars.xml.bak"), VARS);
    assert_eq!(installation.text("conf/autoload_configs/lua.conf.xml.bak"), LUA_CONF);
    assert!(printed(&output).contains("kept as it was:"), "{}", printed(&output));

    let before = installation.files();
    let output = installation.install(&["--yes"], "");
    assert!(
        output.status.success() && printed(&output).contains("nothing is to be done"),
        "{}",
        printed(&output)
    );
    assert_eq!(installation.files(), before);
}

#[test]
fn settings_of_the_operator_survive_an_update() {
    let installation = Installation::new("update");
    installation.install(&["--yes"], "");
    let own = installation
        .text("conf/vars_tandem.xml")
        .replace("tandem_ai_numbers=9094", "tandem_ai_numbers=15551234567")
        .lines()
        .filter(|line| !line.contains("data=\"tandem_variables="))
        .fold(String::new(), |text, line| text + line + "\n");
    installation.put("conf/vars_tandem.xml", &own);
    installation.put("scripts/tandem_events.lua", "-- an older version\n");
    installation.put("scripts/tandem_events.lua.bak", "-- an even older one\n");
    let output = installation.install(&["--yes"], "");
    assert!(output.status.success(), "{}", printed(&output));
    let settings = installation.text("conf/vars_tandem.xml");
    assert!(
        settings.contains("tandem_ai_numbers=15551234567") && settings.contains("data=\"tandem_variables=\"")
    );
    assert_eq!(installation.text("conf/vars_tandem.xml.bak"), own);
    assert_eq!(installation.text("scripts/tandem_events.lua.bak"), "-- an even older one\n");
    assert_eq!(installation.text("scripts/tandem_events.lua.bak.1"), "-- an older version\n");
    assert!(printed(&output).contains("--- an older version"), "the diff:\n{}", printed(&output));
}

#[test]
fn without_yes_it_asks() {
    let installation = Installation::new("asks");
    let before = installation.files();
    for answer in ["", "\n", "n\n", "yes please\n"] {
        let output = installation.install(&[], answer);
        assert_eq!(output.status.code(), Some(1), "{answer:?}: {}", printed(&output));
        assert!(printed(&output).contains("nothing was written; --yes writes without asking"), "{answer:?}");
        assert_eq!(installation.files(), before, "{answer:?}");
    }
    let output = installation.install(&[], "y\n");
    assert!(output.status.success(), "{}", printed(&output));
    assert!(installation.folder.join("scripts/tandem.lua").is_file());
}

#[test]
fn the_configuration_folder_itself_may_be_named_and_the_scripts_may_be_elsewhere() {
    let installation = Installation::new("elsewhere");
    let scripts = installation.folder.join("other");
    fs::create_dir_all(&scripts).expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_tandem"))
        .args(["freeswitch", "install", "--yes", "--to"])
        .arg(installation.folder.join("conf"))
        .arg("--scripts")
        .arg(&scripts)
        .output()
        .expect("the binary");
    assert!(output.status.success(), "{}", printed(&output));
    assert!(scripts.join("tandem.lua").is_file());
    assert!(installation.folder.join("conf/vars_tandem.xml").is_file());
}

#[test]
fn what_cannot_be_installed_is_said_before_anything_is_written() {
    let installation = Installation::new("wrong");
    installation.put("conf/autoload_configs/modules.conf.xml", "<configuration/>\n");
    let before = installation.files();
    let output = installation.install(&["--yes"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        printed(&output).contains("there is no </modules> in it; add by hand: <load module=\"mod_lua\"/>"),
        "{}",
        printed(&output)
    );
    assert_eq!(installation.files(), before);

    fs::write(installation.folder.join("conf/vars.xml"), b"<include>\xff</include>").expect("a file");
    assert!(printed(&installation.install(&["--yes"], "")).contains("it is not UTF-8 text"));
    fs::remove_file(installation.folder.join("conf/vars.xml")).expect("a file");
    assert!(
        printed(&installation.install(&["--yes"], ""))
            .contains("name the folder of FreeSWITCH's configuration")
    );
    installation.put("conf/vars.xml", VARS);
    fs::remove_dir_all(installation.folder.join("scripts")).expect("a folder");
    assert!(printed(&installation.install(&["--yes"], "")).contains("name it by --scripts"));
    assert!(!installation.folder.join("conf/vars_tandem.xml").exists());
}

#[test]
fn a_trimmed_installation_gets_a_lua_configuration_and_no_list_of_modules() {
    let installation = Installation::new("trimmed");
    fs::remove_dir_all(installation.folder.join("conf/autoload_configs")).expect("a folder");
    let output = installation.install(&["--yes"], "");
    assert!(output.status.success(), "{}", printed(&output));
    assert!(installation.text("conf/autoload_configs/lua.conf.xml").contains("tandem_events.lua"));
    assert!(!installation.folder.join("conf/autoload_configs/modules.conf.xml").exists());
}
