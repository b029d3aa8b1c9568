//! Configuration seen from outside: precedence, origins, the text of every error, secrets, and the two generated files.
//!
//! Runs in: `cargo test`. Owns a directory of its own for each test. Never touches the process's environment.
//! `UPDATE_EXPECT=1 cargo test --test config` writes `deploy/tandem.toml` and the tables of `docs/configuration.md` anew.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tandem::base::{Mix, PlaybackFormat, SampleRate};
use tandem::cli;
use tandem::config::routes::{Decision, decide};
use tandem::config::{self, Config, FileChoice, KEYS, Kind, Loaded, Origin, SECTIONS, Sources, Table};

/// A directory that is removed with its content.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let unique =
            format!("tandem-config-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(unique);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn sources(environment: &[(&str, &str)], sets: &[&str]) -> Sources {
    Sources {
        file: FileChoice::None,
        environment: environment.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        sets: sets.iter().map(|set| (*set).to_owned()).collect(),
        installation: None,
    }
}

fn from_file(text: &str) -> Result<Loaded, String> {
    let directory = Directory::new();
    let path = directory.write("tandem.toml", text);
    // The variable of the sample's tool.
    let environment = vec![("WEATHER_TOKEN".into(), "Bearer NeverPrintThis".into())];
    let loaded = config::load(&Sources { file: FileChoice::Named(path), environment, ..Sources::default() });
    // The directory differs from run to run; the rest of the text is what is tested.
    loaded.map_err(|problems| problems.to_string().replace(&format!("{}/", directory.0.display()), ""))
}

fn from_sets(sets: &[&str]) -> Result<Loaded, String> {
    config::load(&sources(&[], sets)).map_err(|problems| problems.to_string())
}

fn from_environment(environment: &[(&str, &str)]) -> Result<Loaded, String> {
    config::load(&sources(environment, &[])).map_err(|problems| problems.to_string())
}

fn error_of(result: Result<Loaded, String>) -> String {
    result.map(|loaded| loaded.to_string()).expect_err("this configuration is wrong and was taken")
}

// ---- values ----------------------------------------------------------------------------------------------------------

#[test]
fn without_any_source_the_documented_defaults_run() {
    let config = Config::default();
    assert_eq!(config.listen.host, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    assert_eq!(config.listen.port, 9094);
    assert_eq!(config.listen.handshake_timeout, Duration::from_secs(3));
    assert!(config.listen.token.is_none() && !config.listen.has_tls());
    assert_eq!((config.leg.rate, config.leg.mix), (SampleRate::Hz16000, Mix::Mono));
    assert_eq!(config.leg.playback, PlaybackFormat::Binary);
    assert_eq!((config.playback.lead_ms, config.playback.chunk_ms, config.uplink.chunk_ms), (60, 20, 20));
    assert_eq!(config.uplink.stream_end_after, Some(Duration::from_secs(2)));
    assert_eq!(config.limits.shard_speech_bytes, 512 << 20);
    assert_eq!(config.gemini.base_url.to_string(), "wss://generativelanguage.googleapis.com");
    assert_eq!(config.agent.model, "gemini-3.8-live");
    assert!(config.agent.voice.is_none() && config.agent.temperature.is_none());
    assert_eq!(config.drain.timeout, Duration::from_secs(30));
    assert_eq!(config.log.level, log::LevelFilter::Info);
}

#[test]
fn arguments_win_over_environment_over_file_over_defaults() {
    let directory = Directory::new();
    let path = directory.write(
        "tandem.toml",
        "[listen]\nport = 1001\nmax_calls = 1002\n[leg]\nmix = \"stereo\"\n[threads]\nshards = 3\n",
    );
    let loaded = config::load(&Sources {
        file: FileChoice::Named(path.clone()),
        environment: vec![
            ("FREESWITCH_AUDIO_SOCKET_PORT".into(), "2001".into()),
            ("TANDEM_LISTEN_MAX_CALLS".into(), "2002".into()),
        ],
        sets: vec!["listen.port=3001".into()],
        installation: None,
    })
    .unwrap();
    let listen = &loaded.config.listen;
    assert_eq!((listen.port, listen.max_calls, loaded.config.threads.shards), (3001, 2002, 3));
    assert_eq!(loaded.config.leg.mix, Mix::Stereo);
    assert_eq!(loaded.origin("listen.port"), Origin::Argument);
    assert_eq!(
        loaded.origin("listen.max_calls"),
        Origin::Environment { variable: "TANDEM_LISTEN_MAX_CALLS".into() }
    );
    assert_eq!(loaded.origin("leg.mix"), Origin::File { path: path.clone(), line: 5 });
    assert_eq!(loaded.origin("threads.shards"), Origin::File { path, line: 7 });
    assert_eq!(loaded.origin("leg.rate"), Origin::Default);
}

#[test]
fn of_several_variables_the_most_specific_wins_and_an_empty_one_is_not_set() {
    let key = |environment: &[(&str, &str)]| {
        from_environment(environment).unwrap().config.gemini.api_key.unwrap().expose().to_owned()
    };
    assert_eq!(key(&[("GOOGLE_API_KEY", "google")]), "google");
    assert_eq!(key(&[("GOOGLE_API_KEY", "google"), ("GEMINI_API_KEY", "gemini")]), "gemini");
    assert_eq!(key(&[("GOOGLE_API_KEY", "google"), ("GEMINI_API_KEY", "")]), "google");
    assert_eq!(key(&[("GEMINI_API_KEY", "gemini"), ("TANDEM_GEMINI_API_KEY", "own")]), "own");
}

#[test]
fn the_last_of_repeated_sets_wins_and_an_empty_value_unsets_an_optional_key() {
    let loaded =
        from_sets(&["agent.voice=Puck", "agent.voice=Kore", "agent.temperature=1", "agent.temperature="]);
    let agent = loaded.unwrap().config.agent;
    assert_eq!(agent.voice.as_deref(), Some("Kore"));
    assert_eq!(agent.temperature, None);
}

#[test]
fn a_set_value_may_contain_an_equals_sign() {
    let agent = from_sets(&["agent.greeting=Say: 1+1=2"]).unwrap().config.agent;
    assert_eq!(agent.greeting.as_deref(), Some("Say: 1+1=2"));
}

#[test]
fn zero_means_never_where_the_key_says_so() {
    let config = from_sets(&["uplink.stream_end_after_ms=0", "log.stats_seconds=0"]).unwrap().config;
    assert_eq!((config.uplink.stream_end_after, config.log.stats_interval), (None, None));
}

#[test]
fn lists_are_arrays_in_the_file_and_separated_by_commas_elsewhere() {
    let file = from_file("listen.allow = [\"10.0.0.0/8\", \"192.0.2.7\"]").unwrap();
    let argument = from_sets(&["listen.allow=10.0.0.0/8, 192.0.2.7"]).unwrap();
    assert_eq!(file.config.listen.allow, argument.config.listen.allow);
    assert!(file.config.listen.allows("192.0.2.7".parse().unwrap()));
    assert!(!file.config.listen.allows("192.0.2.8".parse().unwrap()));
}

#[test]
fn the_instructions_file_becomes_the_instructions() {
    let directory = Directory::new();
    let path = directory.write("instructions.txt", "Be brief.\nBe kind.\n");
    let loaded = from_sets(&[&format!("agent.instructions_file={}", path.display())]).unwrap();
    assert_eq!(loaded.config.agent.instructions.as_deref(), Some("Be brief.\nBe kind.\n"));
}

#[test]
fn a_file_that_was_named_must_exist() {
    let absent = Sources { file: FileChoice::Named("/nonexistent/t.toml".into()), ..Sources::default() };
    let text = config::load(&absent).unwrap_err().to_string();
    assert_eq!(
        text,
        "the configuration file /nonexistent/t.toml cannot be read (No such file or directory (os error 2)): correct \
         --config or TANDEM_CONFIG, or leave it out to run on defaults and environment"
    );
}

#[test]
fn the_environment_can_name_the_file() {
    let directory = Directory::new();
    let path = directory.write("other.toml", "[listen]\nport = 7\n");
    let environment = vec![("TANDEM_CONFIG".into(), path.into_os_string())];
    let loaded = config::load(&Sources { environment, ..Sources::default() }).unwrap();
    assert_eq!(loaded.config.listen.port, 7);
}

// ---- the installation ------------------------------------------------------------------------------------------------

/// An installed relay below a directory of its own.
struct Installed(Directory);

impl Installed {
    fn new(configuration: &str, environment: &str) -> Self {
        let directory = Directory::new();
        for place in ["etc/tandem", "var/lib/tandem"] {
            fs::create_dir_all(directory.0.join(place)).unwrap();
        }
        directory.write("etc/tandem/tandem.toml", configuration);
        directory.write("etc/tandem/tandem.env", environment);
        Self(directory)
    }

    fn root(&self) -> &str {
        self.0.0.to_str().expect("UTF-8")
    }

    /// As [`cli::prepare`] reads it for a command that is given this environment.
    fn check(&self, environment: &[(&str, &str)]) -> cli::Exit {
        let environment: Vec<_> = [("TANDEM_ROOT", self.root())].iter().chain(environment).copied().collect();
        let exit = check(&["--check"], &environment);
        let plain = |text: &str| text.replace(&format!("{}/", self.root()), "/");
        cli::Exit { output: plain(&exit.output), errors: plain(&exit.errors), ..exit }
    }
}

/// The line of a key in the list of `--check`, with single blanks.
fn line_of(exit: &cli::Exit, key: &str) -> String {
    let line = exit.output.lines().find(|line| line.split(' ').next() == Some(key));
    line.unwrap_or_else(|| panic!("{key} is not in {}", exit.output))
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_command_finds_the_configuration_and_environment_of_the_installed_relay_and_says_so() {
    let installed =
        Installed::new("[listen]\nport = 7\n", "# the key\nGEMINI_API_KEY='AIzaX'\nTANDEM_LEG_RATE=8000\n");
    let exit = installed.check(&[("TANDEM_LEG_RATE", "16000")]);
    assert_eq!(
        exit.errors,
        "tandem: /etc/tandem/tandem.toml was read\ntandem: /etc/tandem/tandem.env was read\n"
    );
    assert_eq!(line_of(&exit, "listen.port"), "listen.port 7 /etc/tandem/tandem.toml:2");
    assert_eq!(line_of(&exit, "gemini.api_key"), "gemini.api_key (set) /etc/tandem/tandem.env:2");
    assert_eq!(line_of(&exit, "leg.rate"), "leg.rate 16000 environment TANDEM_LEG_RATE", "the process wins");
}

#[test]
fn the_service_itself_has_its_environment_from_systemd_alone() {
    let installed = Installed::new("", "TANDEM_LEG_RATE=8000\n");
    let exit = installed.check(&[("NOTIFY_SOCKET", "/run/systemd/notify"), ("GEMINI_API_KEY", "x")]);
    assert_eq!(exit.errors, "tandem: /etc/tandem/tandem.toml was read\n");
    assert_eq!(line_of(&exit, "leg.rate"), "leg.rate 16000 default");
}

#[test]
fn another_file_that_is_named_leaves_the_installation_alone() {
    let installed = Installed::new("[listen]\nport = 7\n", "TANDEM_LEG_RATE=8000\n");
    let own = installed.0.write("own.toml", "[listen]\nport = 8\n");
    let exit = installed.check(&[("TANDEM_CONFIG", own.to_str().unwrap()), ("GEMINI_API_KEY", "x")]);
    assert_eq!((exit.errors.as_str(), exit.status), ("", 0));
    assert_eq!(line_of(&exit, "listen.port"), "listen.port 8 /own.toml:2");
    assert_eq!(line_of(&exit, "leg.rate"), "leg.rate 16000 default");
    assert_eq!(line_of(&exit, "store.url"), "store.url (not set) default");
    // Its own file by its name is the installation.
    let named = installed.0.0.join("etc/tandem/../tandem/tandem.toml");
    let exit = installed.check(&[("TANDEM_CONFIG", named.to_str().unwrap()), ("GEMINI_API_KEY", "x")]);
    assert_eq!(line_of(&exit, "leg.rate"), "leg.rate 8000 /etc/tandem/tandem.env:1");
}

#[test]
fn what_the_service_keeps_is_found_where_systemd_has_it_keep_it() {
    let installed = Installed::new("", "GEMINI_API_KEY=x\n");
    let exit = installed.check(&[]);
    for (key, place) in [
        ("store.url", "sqlite:ROOT/var/lib/tandem/tandem.db"),
        ("store.spool_directory", "ROOT/var/lib/tandem/tandem-spool"),
        ("recording.directory", "ROOT/var/lib/tandem/recordings"),
    ] {
        let line =
            line_of(&exit, key).replace(installed.root(), "ROOT").replace("sqlite:/var", "sqlite:ROOT/var");
        let line = line.replace("\"/var", "\"ROOT/var");
        assert_eq!(line, format!("{key} \"{place}\" state of the service"));
    }
    let exit = installed.check(&[("STATE_DIRECTORY", "/srv/tandem")]);
    assert_eq!(line_of(&exit, "store.url"), "store.url (not set) default", "STATE_DIRECTORY decides");
    let written = Installed::new("[store]\nurl = \"sqlite:/data/calls.db\"\n", "GEMINI_API_KEY=x\n");
    let exit = written.check(&[]);
    assert_eq!(line_of(&exit, "store.url"), "store.url \"sqlite:/data/calls.db\" /etc/tandem/tandem.toml:2");
    assert_eq!(line_of(&exit, "store.spool_directory"), "store.spool_directory (not set) default");
}

#[test]
fn what_systemd_passes_over_in_the_environment_is_named_with_its_line() {
    let installed =
        Installed::new("", "export GEMINI_API_KEY=AIzaX\nTANDEM_LISTEN_PROT=1\nTANDEM_LEG_RATE=9\n");
    let exit = installed.check(&[]);
    assert_eq!(exit.status, cli::STATUS_WRONG_USE);
    assert!(exit.errors.contains("/etc/tandem/tandem.env:3: leg.rate = \"9\" is none of"), "{}", exit.errors);
    installed.0.write("etc/tandem/tandem.env", "export GEMINI_API_KEY=AIzaX\nTANDEM_LISTEN_PROT=1\n");
    let exit = installed.check(&[]);
    for expected in [
        "tandem: /etc/tandem/tandem.env:1: systemd knows no export: write NAME=VALUE without it; the line is passed over\n",
        "warning: /etc/tandem/tandem.env:2: TANDEM_LISTEN_PROT is no setting and is ignored: did you mean TANDEM_LISTEN_PORT?\n",
    ] {
        assert!(exit.errors.contains(expected), "{}", exit.errors);
    }
    assert!(!exit.errors.contains("AIza"), "{}", exit.errors);
}

#[test]
fn an_installation_without_its_environment_or_none_at_all_is_no_error() {
    let installed = Installed::new("", "");
    fs::remove_file(installed.0.0.join("etc/tandem/tandem.env")).unwrap();
    let exit = installed.check(&[("GEMINI_API_KEY", "x")]);
    assert_eq!(exit.errors, "tandem: /etc/tandem/tandem.toml was read\n");
    // A directory of that name cannot be read by anybody, as the package's file by another account.
    fs::create_dir(installed.0.0.join("etc/tandem/tandem.env")).unwrap();
    let exit = installed.check(&[("GEMINI_API_KEY", "x")]);
    let unread = "tandem: /etc/tandem/tandem.env cannot be read (Is a directory (os error 21)), so what it gives the service is not \
                  seen here: be root for that\n";
    assert!(exit.errors.ends_with(unread) && exit.status == 0, "{}", exit.errors);
    let none = check(&["--check"], &[("GEMINI_API_KEY", "x")]);
    assert_eq!((none.errors.as_str(), none.status), ("", 0));
}

// ---- errors ----------------------------------------------------------------------------------------------------------

#[test]
fn unknown_keys_are_named_with_line_and_nearest_key() {
    let text =
        error_of(from_file("[listen]\nport = 1\n\n[agent]\nmodle = \"x\"\n[lisen]\nport = 2\n[gemni]\n"));
    assert_eq!(
        text,
        "tandem.toml:5: unknown key agent.modle: did you mean agent.model?\n\
         tandem.toml:7: unknown key lisen.port: did you mean listen.port?\n\
         tandem.toml:8: unknown section [gemni]: did you mean [gemini]?"
    );
    assert_eq!(
        error_of(from_file("GEMINI_API_KEY = \"x\"")),
        "tandem.toml:1: unknown key GEMINI_API_KEY: did you mean gemini.api_key?"
    );
    assert_eq!(
        error_of(from_sets(&["listen.prot=1"])),
        "--set: unknown key listen.prot: did you mean listen.port?"
    );
    assert_eq!(
        error_of(from_file("weather = \"fine\"")),
        "tandem.toml:1: unknown key weather: docs/configuration.md lists the keys, and so does tandem --check"
    );
}

#[test]
fn values_of_the_wrong_type_are_named_with_place_and_remedy() {
    for (file, expected) in [
        (
            "[listen]\nport = \"9094\"",
            "tandem.toml:2: listen.port = \"9094\" is a string, not an integer; leave out the quotation marks: write an \
             integer from 0 to 65535 (0: any free port)",
        ),
        (
            "listen.port = 1.5",
            "tandem.toml:1: listen.port = 1.5 is a float, not an integer: write an integer from 0 to 65535 (0: any free \
             port)",
        ),
        (
            "listen.allow = \"10.0.0.0/8\"",
            "tandem.toml:1: listen.allow = \"10.0.0.0/8\" is a string, not an array of strings: write networks such as \
             \"10.0.0.0/8\" or addresses (separated by commas outside the file)",
        ),
        (
            "agent.input_transcription = \"yes\"",
            "tandem.toml:1: agent.input_transcription = \"yes\" is a string, not a boolean: write true or false",
        ),
        (
            "agent.temperature = \"warm\"",
            "tandem.toml:1: agent.temperature = \"warm\" is a string, not a number: write a number from 0 to 2",
        ),
        (
            "agent.voice = 3",
            "tandem.toml:1: agent.voice = 3 is an integer, not a string: write a voice such as \"Puck\"",
        ),
        ("leg.mix = true", "tandem.toml:1: leg.mix = true is a boolean: write one of mono, mixed, stereo"),
        ("listen = 3", "tandem.toml:1: listen is a section: write [listen] and its keys below"),
    ] {
        assert_eq!(error_of(from_file(file)), expected);
    }
}

#[test]
fn values_out_of_range_are_named_with_place_and_remedy() {
    for (set, expected) in [
        (
            "listen.port=70000",
            "listen.port = \"70000\" is out of range: write an integer from 0 to 65535 (0: any free port)",
        ),
        (
            "listen.port=-1",
            "listen.port = \"-1\" is out of range: write an integer from 0 to 65535 (0: any free port)",
        ),
        (
            "listen.port=http",
            "listen.port = \"http\" is not an integer: write an integer from 0 to 65535 (0: any free port)",
        ),
        (
            "playback.lead_ms=201",
            "playback.lead_ms = \"201\" is out of range: write an integer from 0 to 200",
        ),
        (
            "uplink.chunk_ms=30",
            "uplink.chunk_ms = \"30\" is not a multiple of 20: write an integer from 20 to 100 in steps of 20",
        ),
        (
            "uplink.stream_end_after_ms=50",
            "uplink.stream_end_after_ms = \"50\" is out of range: write an integer from 100 to 600000, or 0: never",
        ),
        (
            "leg.rate=11025",
            "leg.rate = \"11025\" is none of the choices: write one of 8000, 16000, 24000, 32000, 48000",
        ),
        ("agent.temperature=NaN", "agent.temperature = \"NaN\" is out of range: write a number from 0 to 2"),
        ("agent.model=", "agent.model = \"\" is empty: write a model name such as \"gemini-3.8-live\""),
        ("agent.voice=Puck!", "agent.voice = \"Puck!\" contains '!': write a voice such as \"Puck\""),
        (
            "listen.host=everywhere",
            "listen.host = \"everywhere\" is not an IP address: write an IP address such as \"0.0.0.0\", \"127.0.0.1\" or \"::\"",
        ),
        (
            "listen.allow=10.0.0.0/8,10.0.0.0/40",
            "listen.allow = \"10.0.0.0/8,10.0.0.0/40\" contains \"10.0.0.0/40\", which is no network: write networks such as \"10.0.0.0/8\" or addresses (separated by commas outside the file)",
        ),
        (
            "gemini.base_url=ws://192.0.2.1",
            "gemini.base_url = \"ws://192.0.2.1\" would send the key and the speech unencrypted: ws:// is for loopback addresses only: write wss://HOST[:PORT][/PREFIX], or ws:// with a loopback address such as ws://127.0.0.1:8080",
        ),
        ("listen.port", "listen.port has no value: write --set key=value"),
        ("9094", "has no =: write --set key=value"),
    ] {
        assert_eq!(error_of(from_sets(&[set])), format!("--set: {expected}"));
    }
    assert_eq!(
        error_of(from_environment(&[("FREESWITCH_AUDIO_SOCKET_PORT", "x")])),
        "environment FREESWITCH_AUDIO_SOCKET_PORT: listen.port = \"x\" is not an integer: write an integer from 0 to \
         65535 (0: any free port)"
    );
}

#[test]
fn errors_of_all_sources_are_reported_together_and_overridden_values_are_checked_too() {
    let directory = Directory::new();
    let path = directory.write("tandem.toml", "[listen]\nport = 70000\nprot = 1\n");
    let problems = config::load(&Sources {
        file: FileChoice::Named(path),
        environment: vec![("TANDEM_LEG_RATE".into(), "1".into())],
        sets: vec!["listen.port=1".into(), "leg.mix=loud".into()],
        installation: None,
    })
    .unwrap_err();
    assert_eq!(problems.0.len(), 4, "{problems}");
}

#[test]
fn toml_errors_name_the_line_and_quote_nothing_of_it() {
    let text = error_of(from_file("[gemini]\napi_key = \"AIzaSecret\nx = = 2\n"));
    assert!(text.starts_with("tandem.toml:2: not TOML: "), "{text}");
    assert!(text.contains("tandem.toml:3: not TOML: "), "{text}");
    assert!(!text.contains("AIza"), "{text}");
    let text = error_of(from_file("[listen]\nport = 1\nport = 2\n"));
    assert!(text.starts_with("tandem.toml:3: not TOML: duplicate key"), "{text}");
}

#[test]
fn keys_that_contradict_each_other_are_an_error() {
    let directory = Directory::new();
    let pem = directory.write("a.pem", "x").display().to_string();
    assert_eq!(
        error_of(from_sets(&[&format!("listen.tls_key={pem}")])),
        "--set: listen.tls_key is set but listen.tls_certificate is not: set both for TLS, or neither"
    );
    assert_eq!(
        error_of(from_sets(&[&format!("listen.tls_certificate={pem}")])),
        "--set: listen.tls_certificate is set but listen.tls_key is not: set both for TLS, or neither"
    );
    assert!(
        from_sets(&[&format!("listen.tls_certificate={pem}"), &format!("listen.tls_key={pem}")])
            .unwrap()
            .config
            .listen
            .has_tls()
    );
    assert_eq!(
        error_of(from_sets(&["agent.instructions=a", &format!("agent.instructions_file={pem}")])),
        "--set: agent.instructions_file and agent.instructions (--set) are both set: keep one"
    );
    assert_eq!(
        error_of(from_sets(&["limits.model_speech_seconds=3600", "limits.shard_speech_mib=64"])),
        "--set: limits.model_speech_seconds = 3600 is 165 MiB for one call, more than limits.shard_speech_mib = 64 for \
         all of them: lower the first or raise the second"
    );
}

#[test]
fn files_that_cannot_be_read_are_found_at_start() {
    assert_eq!(
        error_of(from_sets(&["gemini.ca_file=/nonexistent/ca.pem"])),
        "--set: gemini.ca_file = \"/nonexistent/ca.pem\" cannot be opened (No such file or directory (os error 2)): \
         correct the path or the file's permissions"
    );
    assert_eq!(
        error_of(from_sets(&["agent.instructions_file=/nonexistent/i.txt"])),
        "--set: agent.instructions_file = \"/nonexistent/i.txt\" cannot be read (No such file or directory (os error \
         2)): correct the path or the file"
    );
    let directory = Directory::new();
    let blank = directory.write("blank.txt", " \n").display().to_string();
    assert!(error_of(from_sets(&[&format!("agent.instructions_file={blank}")])).contains("is empty"));
    let long = directory.write("long.txt", &"x".repeat(600_000)).display().to_string();
    assert!(
        error_of(from_sets(&[&format!("agent.instructions_file={long}")]))
            .contains("is longer than 524288 bytes")
    );
}

// ---- the command line ------------------------------------------------------------------------------------------------

fn check(arguments: &[&str], environment: &[(&str, &str)]) -> cli::Exit {
    let arguments: Vec<_> = arguments.iter().map(Into::into).collect();
    // What is installed on this machine is none of the test's.
    let elsewhere = std::iter::once(&("TANDEM_ROOT", "/nonexistent"))
        .filter(|(name, _)| environment.iter().all(|(named, _)| named != name));
    let environment = elsewhere.chain(environment).map(|(name, value)| (name.into(), value.into())).collect();
    cli::prepare(&arguments, environment).err().expect("--check ends the process")
}

#[test]
fn check_prints_the_configuration_and_ends_with_status_0() {
    let directory = Directory::new();
    let file = directory.write("t.toml", "[leg]\nrate = 8000\n").display().to_string();
    let exit = check(&["--check", "--config", &file], &[("GEMINI_API_KEY", "abc")]);
    assert_eq!((exit.status, exit.errors.as_str()), (0, ""));
    assert_eq!(exit.output.lines().count(), KEYS.len());
    assert!(exit.output.contains(&format!("{file}:2")), "{}", exit.output);
    let exit = check(&["--check", "--config", &file], &[]);
    assert!(
        exit.status == 0 && exit.errors.starts_with("warning: gemini.api_key is not set"),
        "{}",
        exit.errors
    );
}

#[test]
fn wrong_configuration_ends_with_status_2_and_all_errors_with_and_without_check() {
    let directory = Directory::new();
    let file = directory.write("t.toml", "[leg]\nrate = 1\n").display().to_string();
    for more in [&["--check"][..], &[]] {
        let mut arguments = vec!["--config", &file, "--set=leg.mix=loud"];
        arguments.extend(more);
        let exit = check(&arguments, &[]);
        assert_eq!((exit.status, exit.output.as_str()), (2, ""));
        assert_eq!(
            exit.errors,
            format!(
                "tandem: 2 problems in the configuration:\n\
                 {file}:2: leg.rate = 1 is none of the choices: write one of 8000, 16000, 24000, 32000, 48000\n\
                 --set: leg.mix = \"loud\" is none of the choices: write one of mono, mixed, stereo\n"
            )
        );
    }
}

// ---- warnings --------------------------------------------------------------------------------------------------------

fn warnings(sets: &[&str], environment: &[(&str, &str)]) -> String {
    config::load(&sources(environment, sets)).unwrap().warnings.join("\n")
}

#[test]
fn the_density_profile_makes_messages_longer_where_nobody_has_said_otherwise() {
    let chunks = |sets: &[&str]| {
        let loaded = from_sets(sets).expect("a good configuration");
        let origins = ["playback.chunk_ms", "uplink.chunk_ms"].map(|key| loaded.origin(key).to_string());
        (loaded.config.playback.chunk_ms, loaded.config.uplink.chunk_ms, origins)
    };
    let from = |playback: &str, uplink: &str| [playback.to_owned(), uplink.to_owned()];
    assert_eq!(chunks(&["media.profile=latency"]), (20, 20, from("default", "default")));
    assert_eq!(chunks(&["media.profile=density"]), (40, 40, from("media.profile", "media.profile")));
    for sets in
        [["media.profile=density", "uplink.chunk_ms=20"], ["uplink.chunk_ms=20", "media.profile=density"]]
    {
        assert_eq!(chunks(&sets), (40, 20, from("media.profile", "--set")));
    }
    let error = from_sets(&["media.profile=fast"]).expect_err("no such profile").to_string();
    assert!(
        error.contains("media.profile") && error.contains("latency") && error.contains("density"),
        "{error}"
    );
}

#[test]
fn what_was_probably_not_meant_is_warned_of() {
    let key = [("GEMINI_API_KEY", "k")];
    assert_eq!(warnings(&[], &key), "");
    assert!(warnings(&[], &[]).contains("gemini.api_key is not set"));
    assert_eq!(warnings(&["gemini.base_url=ws://127.0.0.1:1"], &[]), "", "a simulator needs no key");
    let mut environment = key.to_vec();
    environment.push(("TANDEM_TOKEN", "short"));
    assert!(warnings(&[], &environment).contains("listen.token is shorter than 16 characters"));
    assert!(warnings(&["listen.allow=0.0.0.0/0"], &key).contains("listen.token is not set"));
    assert!(warnings(&["playback.chunk_ms=100"], &key).contains("playback.chunk_ms = 100 is longer"));
    assert!(
        warnings(&["listen.max_calls_burst_per_address=5"], &key).contains("arrive together are refused")
    );
    environment[1] = ("TANDEM_LISTEN_PROT", "1");
    assert!(warnings(&[], &environment).contains(
        "environment TANDEM_LISTEN_PROT is no setting and is ignored: did you mean TANDEM_LISTEN_PORT?"
    ));
    let of_a_table = [("TANDEM_CREDENTIALS_FIRST_API_KEY", "k")];
    assert_eq!(warnings(&["credentials.first.max_sessions=3"], &of_a_table), "", "--set has begun the table");
}

#[test]
fn an_admin_server_that_other_machines_reach_needs_a_token() {
    let problem = error_of(from_sets(&["admin.listen=0.0.0.0:9095"]));
    assert!(problem.contains("admin.token is not set: set admin.token"), "{problem}");
    let both = ["admin.listen=0.0.0.0:9095", "admin.token=sixteen-letters-and-more"];
    assert!(from_sets(&both).is_ok());
    assert_eq!(from_sets(&["admin.listen="]).unwrap().config.admin.listen, None);
}

#[test]
fn what_would_reach_a_switch_is_checked_at_the_start() {
    for (set, expected) in [
        ("agent.transfer_destinations=2000,${evil}", "the destination holds '$'"),
        ("control.variables=hold music", "the variable name holds ' '"),
        ("esl.dial_string=user/2000", "does not hold {to} once"),
        ("esl.dial_string=user/{to} &park", "holds white space"),
        ("esl.answered_application=park", "is not of the form NAME(ARGUMENTS)"),
        ("esl.answered_application=lua(a.lua 'x')", "holds a quote"),
    ] {
        let problem = error_of(from_sets(&[set]));
        assert!(problem.contains(expected), "{set}: {problem}");
    }
}

#[test]
fn a_secret_in_a_file_that_everyone_can_read_is_warned_of() {
    let directory = Directory::new();
    let path = directory.write("tandem.toml", "gemini.api_key = \"abc\"");
    let warnings = |path: &Path| {
        config::load(&Sources { file: FileChoice::Named(path.into()), ..Sources::default() })
            .unwrap()
            .warnings
    };
    assert!(warnings(&path).is_empty());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(warnings(&path)[0].contains("chmod o-r"));
}

// ---- secrets ---------------------------------------------------------------------------------------------------------

#[test]
fn a_secret_is_never_printed() {
    const SECRET: &str = "AIzaSyNeverPrintThis";
    let loaded = config::load(&sources(
        &[("GEMINI_API_KEY", SECRET)],
        &[&format!("listen.token={SECRET}"), "gemini.base_url=ws://127.0.0.1:9"],
    ))
    .unwrap();
    assert_eq!(loaded.config.gemini.api_key.as_ref().unwrap().expose(), SECRET);
    let printed = format!("{loaded} {loaded:?} {:?} {}", loaded.config, loaded.warnings.join(" "));
    assert!(!printed.contains(SECRET), "{printed}");
    assert!(printed.contains("(set)"));
    assert!(loaded.warnings[0].contains("process list"), "--set shows the token to every user");

    for wrong in [
        from_sets(&[&format!("gemini.api_key={SECRET} ")]),
        from_sets(&[&format!("gemini.api_key={SECRET}\n")]),
        from_sets(&[&format!("gemini.api_key={SECRET}ä")]),
        from_sets(&[&format!("gemini.apikey={SECRET}")]),
        from_sets(&[SECRET]),
        from_sets(&[&format!("gemini.base_url=wss://a.example?key={SECRET}")]),
        from_sets(&[&format!("gemini.base_url=wss://{SECRET}@a.example")]),
        from_file(&format!("[gemini]\napi_key = [\"{SECRET}\"]")),
        from_file(&format!("[gemini]\napikey = \"{SECRET}\"")),
        from_environment(&[("GEMINI_API_KEY", &format!("{SECRET}\n"))]),
    ] {
        let text = error_of(wrong);
        assert!(!text.contains(SECRET), "{text}");
    }
    assert_eq!(
        error_of(from_environment(&[("GEMINI_API_KEY", "abc\n")])),
        "environment GEMINI_API_KEY: gemini.api_key (value not shown) contains white space or a line break (often the \
         last character of a file it was read from): write the key alone, as Google AI Studio shows it"
    );
}

// ---- agents, tools, credentials and routes ---------------------------------------------------------------------------

const SEVERAL: &str = r#"
[agent]
model = "gemini-3.8-live"
voice = "Puck"
instructions = "Be brief."

[agents.shop]
voice = "Kore"
tools = ["weather"]

[agents.plain]

[tools.weather]
description = "The weather."
url = "https://tools.example/weather"

[credentials.second]
api_key = "AIzaNeverPrintThis"
max_sessions = 3

[credentials.first]
api_key = "AIzaNorThis"

[[routes]]
did = "22004XX"
caller = "00*"
agent = "shop"

[[routes]]
did = "22004*"
refuse = "closed today"
"#;

#[test]
fn an_agent_is_as_the_default_agent_but_for_what_it_sets() {
    let config = from_file(SEVERAL).unwrap().config;
    let (shop, plain) = (&config.agents["shop"], &config.agents["plain"]);
    assert_eq!((shop.voice.as_deref(), shop.instructions.as_deref()), (Some("Kore"), Some("Be brief.")));
    assert_eq!((plain.voice.as_deref(), plain.tools.len(), shop.tools.len()), (Some("Puck"), 0, 1));
    assert_eq!(config.agent_names().collect::<Vec<_>>(), ["default", "plain", "shop"]);
    assert!(config.agent_named("default").is_some() && config.agent_named("shoppe").is_none());
}

#[test]
fn the_default_agent_is_inherited_from_every_source_and_an_empty_value_unsets_what_is() {
    let directory = Directory::new();
    let path = directory.write("t.toml", "[agents.a]\nvoice = \"\"\n[agents.b]\n[agent]\nvoice = \"Puck\"\n");
    let loaded = config::load(&Sources {
        file: FileChoice::Named(path),
        environment: vec![("TANDEM_AGENTS_B_LANGUAGE".into(), "cs-CZ".into())],
        sets: vec!["agent.greeting=Hello.".into(), "agents.b.temperature=1".into()],
        installation: None,
    })
    .unwrap();
    let (a, b) = (&loaded.config.agents["a"], &loaded.config.agents["b"]);
    assert_eq!((a.voice.as_deref(), a.greeting.as_deref()), (None, Some("Hello.")));
    assert_eq!((b.voice.as_deref(), b.language.as_deref()), (Some("Puck"), Some("cs-CZ")));
    assert_eq!((a.temperature, b.temperature), (None, Some(1.0)));
    assert_eq!(loaded.origin("agents.b.temperature"), Origin::Argument);
    assert!(
        loaded.warnings.iter().all(|warning| !warning.contains("TANDEM_AGENTS")),
        "{:?}",
        loaded.warnings
    );
}

#[test]
fn an_agents_own_instructions_are_instead_of_the_default_agents() {
    let directory = Directory::new();
    let path = directory.write("i.txt", "From the file.").display().to_string();
    let text =
        format!("agent.instructions = \"Of all.\"\n[agents.a]\ninstructions_file = \"{path}\"\n[agents.b]");
    let agents = from_file(&text).unwrap().config.agents;
    assert_eq!(agents["a"].instructions.as_deref(), Some("From the file."));
    assert_eq!(agents["b"].instructions.as_deref(), Some("Of all."));
    let text =
        format!("agent.instructions_file = \"{path}\"\n[agents.a]\ninstructions = \"Own.\"\n[agents.b]");
    let agents = from_file(&text).unwrap().config.agents;
    assert_eq!(agents["a"].instructions.as_deref(), Some("Own."));
    assert_eq!(agents["b"].instructions.as_deref(), Some("From the file."));
}

#[test]
fn a_credential_that_cannot_work_is_named_with_what_it_lacks() {
    let wrong = |text: &str| from_file(&format!("[credentials.one]\n{text}")).unwrap_err().to_string();
    let no_key = wrong("");
    assert!(
        no_key.contains("[credentials.one] has no api_key") && no_key.contains("tandem.toml:1"),
        "{no_key}"
    );
    for text in ["", "token_file = \"/t\"\nmetadata = true"] {
        let sources = wrong(&format!("kind = \"vertex\"\nproject = \"p\"\n{text}"));
        assert!(sources.contains("needs one source of tokens"), "{sources}");
    }
    assert!(wrong("kind = \"vertex\"\nmetadata = true").contains("needs a project"));
    let loaded = from_file("[credentials.one]\napi_key = \"k\"\nproject = \"p\"").unwrap();
    assert!(
        loaded.warnings.iter().any(|warning| warning.contains("kind = \"vertex\"")),
        "{:?}",
        loaded.warnings
    );
    let near =
        from_file("[gemini]\nbase_url = \"ws://127.0.0.1:1\"\n[credentials.one]\nmax_sessions = 1").unwrap();
    assert_eq!(near.config.credentials.len(), 1, "a simulator needs no key");
}

#[test]
fn credentials_tools_and_routes_keep_the_order_of_the_file_and_are_listed_with_their_lines() {
    let loaded = from_file(SEVERAL).unwrap();
    let names: Vec<&str> = loaded.config.credentials.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["second", "first"]);
    assert_eq!(loaded.config.credentials[0].max_sessions, Some(3));
    let listing = loaded.to_string();
    let line = |name: &str| listing.lines().find(|line| line.starts_with(name)).expect(name).to_owned();
    assert!(line("[agents.plain]").ends_with("tandem.toml:11"), "{listing}");
    assert!(line("agents.shop.voice").contains("\"Kore\"") && line("agents.shop.voice").ends_with(":8"));
    assert!(line("credentials.second.api_key").contains("(set)") && !listing.contains("AIza"), "{listing}");
    assert!(line("routes.2.refuse").contains("\"closed today\""), "{listing}");
}

#[test]
fn what_is_wrong_in_a_table_is_named_with_line_and_remedy() {
    for (file, expected) in [
        (
            "[agents.shop]\nvioce = \"Kore\"",
            "tandem.toml:2: unknown key agents.shop.vioce: did you mean voice?",
        ),
        (
            "[agents.shop]\ntemperature = 3",
            "tandem.toml:2: agents.shop.temperature = 3 is out of range: write a number from 0 to 2",
        ),
        (
            "[agents.Shop]",
            "tandem.toml:1: [agents.Shop] has no fitting name: write 1 to 64 of the characters a-z, 0-9, _ and -",
        ),
        (
            "[agents.default]",
            "tandem.toml:1: [agents.default]: the default agent is [agent], write its keys there",
        ),
        (
            "[agents]\nvoice = \"Kore\"",
            "tandem.toml:2: agents.voice is not a table: write [agents.NAME] and its keys below",
        ),
        (
            "[routes]\ndid = \"1\"",
            "tandem.toml:1: routes is not a list of tables: write [[routes]] above each route",
        ),
        (
            "[[routes]]\ndid = \"1\"\n[[routes]]\ndid = \"_2XX\"\nagent=\"default\"",
            "tandem.toml:4: routes.2.did = \"_2XX\" begins with _ as patterns of Asterisk do: leave it out: write a number; X or ? stands for any digit, and * at its end for anything that follows, or nothing",
        ),
        ("[[route]]\ndid = \"1\"", "tandem.toml:1: unknown key route: did you mean [[routes]]?"),
        (
            "[agent.shop]\nvoice = \"Kore\"",
            "tandem.toml:1: unknown key agent.shop: did you mean [agents.shop]?",
        ),
    ] {
        assert_eq!(error_of(from_file(file)), expected);
    }
}

#[test]
fn what_names_something_that_is_not_there_is_an_error() {
    for (file, expected) in [
        (
            "[agents.shop]\ntools = [\"whether\"]\n[tools.weather]\ndescription = \"x\"\nurl = \"http://127.0.0.1/\"",
            "tandem.toml:2: agents.shop.tools names \"whether\", which is not there: did you mean \"weather\"?",
        ),
        (
            "[[routes]]\ndid = \"1\"\nagent = \"shop\"",
            "tandem.toml:1: the route's agent is \"shop\", which is not there: write [agents.shop] or another name",
        ),
        (
            "[[routes]]\ndid = \"1\"",
            "tandem.toml:1: the route says neither who answers nor that nobody does: set agent or refuse",
        ),
        (
            "[[routes]]\nagent = \"default\"\nrefuse = \"no\"",
            "tandem.toml:1: the route has both agent and refuse: keep one",
        ),
        ("[tools.a]\ndescription = \"x\"", "tandem.toml:1: tools.a has no url: set it"),
        (
            "[tools.a]\ndescription = \"x\"\nurl = \"http://127.0.0.1/\"\nheader = \"X-Key\"",
            "tandem.toml:4: tools.a.header is set but header_env is not: set both, or neither",
        ),
    ] {
        assert_eq!(error_of(from_file(file)), expected);
    }
}

#[test]
fn a_tool_that_cannot_work_or_would_leak_is_refused_before_a_call_needs_it() {
    let tool = |more: &str| {
        let url = if more.contains("url =") { "" } else { "url = \"https://tools.example/a\"\n" };
        error_of(from_file(&format!("[tools.a]\ndescription = \"x\"\n{url}{more}")))
    };
    for (more, expected) in [
        ("url = \"http://tools.example/a\"", "http:// is for loopback and private addresses"),
        ("url = \"http://8.8.8.8/a\"", "http:// is for loopback and private addresses"),
        ("url = \"https://user:word@tools.example/a\"", "holds a user, a password or a fragment"),
        ("url = \"ftp://tools.example/a\"", "begins with neither https:// nor http://"),
        ("url = \"https://tools.example:0/\"", "has a port that is not one of 1 to 65535"),
        ("parameters = '{\"type\": \"array\"}'", "it needs \"type\": \"object\""),
        ("parameters = '{\"type\": \"object\", \"pattern\": \"x\"}'", "the keyword \"pattern\""),
        ("header = \"X-Key\"\nheader_env = \"NOT_THERE\"", "the environment variable NOT_THERE is not set"),
        ("behavior = \"non_blocking\"\nhold_uplink = true", "it does not wait: keep one"),
        ("behavior = \"blocking\"\nscheduling = \"silent\"", "it waits for: keep one"),
    ] {
        let error = tool(more);
        assert!(error.contains(expected), "{more}: {error}");
    }
    let named =
        |name: &str| from_file(&format!("[tools.{name}]\ndescription = \"x\"\nurl = \"https://a.example/\""));
    for name in ["send_dtmf", "end_call", "1st"] {
        assert!(error_of(named(name)).contains("no fitting name"), "{name}");
    }
    for near in ["http://127.0.0.1:8000/a", "http://[::1]/a?b=c", "http://10.1.2.3/", "http://localhost/"] {
        let file = format!("[tools.a]\ndescription = \"x\"\nurl = \"{near}\"");
        assert_eq!(from_file(&file).expect(near).config.tools[0].url, near);
    }
}

#[test]
fn a_tools_secret_comes_from_the_environment_and_is_never_printed() {
    let file = "[tools.a]\ndescription = \"x\"\nurl = \"https://a.example/\"\nheader = \"Authorization\"\n\
                header_env = \"WEATHER_TOKEN\"";
    let loaded = from_file(file).expect("a good file");
    let secret = loaded.config.tools[0].header_value.as_ref().expect("a secret");
    assert_eq!(secret.expose(), "Bearer NeverPrintThis");
    assert!(!format!("{loaded} {:?}", loaded.config).contains("NeverPrintThis"));
}

#[test]
fn of_one_table_no_more_than_a_thousand_are_taken() {
    let routes = "[[routes]]\nagent = \"default\"\n".repeat(1_001);
    assert_eq!(
        error_of(from_file(&routes)),
        "tandem.toml:2001: more than 1000 of [[routes]]: no more are taken"
    );
}

/// As the relay reads it: with its agents held against their models, files and variables.
fn usable(text: &str) -> Result<Loaded, String> {
    let directory = Directory::new();
    let path = directory.write("tandem.toml", text);
    let sources = Sources { file: FileChoice::Named(path), ..Sources::default() };
    let loaded = tandem::agents::load(&sources);
    loaded.map_err(|problems| problems.to_string().replace(&format!("{}/", directory.0.display()), ""))
}

#[test]
fn what_a_model_refuses_is_named_with_the_model() {
    assert_eq!(
        error_of(usable("[agent]\nthinking_level = \"low\"")),
        "tandem.toml:2: agent.thinking_level: the model gemini-3.8-live does not take a thinking setting: change the key or \
         the model"
    );
    assert_eq!(
        error_of(usable("[agents.deep]\nmodel = \"gemini-3.8-live-extended-thinking\"")),
        "agents.deep.thinking_level: the model gemini-3.8-live-extended-thinking needs thinking_level (low, medium, high) or \
         thinking_budget: change the key or the model"
    );
    for level in ["minimal", "xhigh"] {
        let text =
            format!("[agent]\nmodel = \"gemini-3.8-live-extended-thinking\"\nthinking_level = \"{level}\"");
        assert_eq!(
            error_of(usable(&text)),
            "tandem.toml:3: agent.thinking_level: the model gemini-3.8-live-extended-thinking does not take this thinking_level, \
             it takes thinking_level (low, medium, high) or thinking_budget: change the key or the model"
        );
    }
    let older =
        "[agent]\nmodel = \"gemini-2.5-flash-native-audio-preview-12-2025\"\nthinking_level = \"low\"";
    assert!(error_of(usable(older)).contains("it takes thinking_budget"), "{}", error_of(usable(older)));
    let both = "[agent]\nmodel = \"gemini-3.8-live-extended-thinking\"\nthinking_level = \"low\"\nthinking_budget = 100";
    assert!(error_of(usable(both)).contains("are both set"));
    let warnings = |text: &str| usable(text).unwrap().warnings.join("\n");
    let unknown = warnings("[agent]\nmodel = \"gemini-9-live\"\naffective_dialog = true");
    assert!(unknown.contains("gemini-9-live is not one of those that Tandem knows"), "{unknown}");
    let ignored = warnings("[agent]\nmodel = \"gemini-3.1-flash-live-preview\"\nsilence_duration_ms = 500");
    assert!(ignored.contains("ignores the length of silence"), "{ignored}");
}

/// A tool of this name, complete.
fn tool(name: &str, more: &str) -> String {
    format!("[tools.{name}]\ndescription = \"d\"\nurl = \"http://127.0.0.1/\"\n{more}\n")
}

#[test]
fn what_a_model_refuses_of_tools_is_found_before_a_call() {
    let twice =
        format!("agent.tools = [\"book\", \"lookup\", \"book\"]\n{}{}", tool("book", ""), tool("lookup", ""));
    assert_eq!(
        error_of(usable(&twice)),
        "tandem.toml:1: agent.tools names \"book\" twice, and the model refuses two tools of one name: name it once"
    );
    for built_in in ["end_call", "transfer_call", "send_dtmf", "get_call_info", "pause_recording"] {
        let error = error_of(usable(&tool(built_in, "")));
        assert!(
            error.starts_with(&format!("tandem.toml:1: [tools.{built_in}] has no fitting name")),
            "{error}"
        );
    }
    let of_model = |model: &str, more: &str| {
        let thinking = if model.ends_with("thinking") { "thinking_level = \"low\"\n" } else { "" };
        usable(&format!("[agent]\nmodel = \"{model}\"\n{thinking}tools = [\"book\"]\n{}", tool("book", more)))
    };
    let warnings = |model: &str, more: &str| of_model(model, more).unwrap().warnings.join("\n");
    let scheduling = "scheduling = \"interrupt\"";
    let refused = warnings("gemini-3.8-live-extended-thinking", scheduling);
    assert!(
        refused.contains(
            "agent.tools: the model gemini-3.8-live-extended-thinking refuses scheduling, so that of tools.book is not sent to it"
        ),
        "{refused}"
    );
    assert!(
        warnings("gemini-9-live", scheduling).contains("gemini-9-live is not one of those that Tandem knows")
    );
    assert!(!warnings("gemini-3.8-live", scheduling).contains("tools.book"));
    assert!(
        !warnings("gemini-3.8-live-extended-thinking", "behavior = \"non_blocking\"").contains("tools.book")
    );
    let reference = r##"parameters = '{"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"type": "string"}}}'"##;
    let error = error_of(of_model("gemini-3.8-live-extended-thinking", reference));
    assert!(error.contains("takes no $ref in tools.book.parameters"), "{error}");
    assert!(of_model("gemini-3.8-live", reference).is_ok());
}

#[test]
fn variables_of_an_agents_own_are_names_that_nothing_else_has() {
    let texts = "instructions = \"{customer}, {tier}\"\ngreeting = \"Greet {customer}.\"";
    let of = |variables: &str| usable(&format!("[agent]\nvariables = {variables}\n{texts}"));
    let agent = of(r#"["customer", "tier=gold, or = silver"]"#).unwrap().config.agent;
    let [customer, tier] = &agent.variables[..] else { panic!("{:?}", agent.variables) };
    assert_eq!((customer.name.as_str(), customer.default.as_deref()), ("customer", None));
    assert_eq!((tier.name.as_str(), tier.default.as_deref()), ("tier", Some("gold, or = silver")));
    let error = error_of(of(r#"["customers", "tier"]"#));
    assert!(error.contains("{customer} is no variable: did you mean {customers}?"), "{error}");
    for (wrong, why) in [
        ("Customer", "a name has 2 to 32"),
        ("a1", "a name has 2 to 32"),
        ("", "a name has 2 to 32"),
        ("a_", "a name has 2 to 32"),
        ("caller", "which every agent has"),
        ("customer\", \"tier\", \"customer", "twice"),
        ("customer\", \"tier\", \"called_number", "a field of its own"),
        ("customer\", \"tier\", \"token", "a field of its own"),
    ] {
        let error = error_of(of(&format!("[\"{wrong}\"]")));
        assert!(error.contains(why), "{wrong}: {error}");
    }
}

#[test]
fn hints_for_a_transcript_are_checked_and_need_one() {
    let hints = "transcription_languages = [\"cs-CZ\"]\ntranscription_vocabulary = [\"Škoda Octavia\"]";
    let loaded = usable(&format!("[agent]\ntranscript = true\n{hints}")).unwrap();
    assert_eq!(loaded.config.agent.transcription_vocabulary, ["Škoda Octavia"]);
    assert!(!loaded.warnings.iter().any(|warning| warning.contains("hints")), "{:?}", loaded.warnings);
    let warnings = usable(&format!("[agent]\n{hints}")).unwrap().warnings.join("\n");
    assert!(warnings.contains("agent.transcription_languages: there is no transcript"), "{warnings}");
    for (wrong, why) in [
        ("transcription_languages = [\"cs CZ\"]", "transcription_languages"),
        ("transcription_vocabulary = [\"\"]", "an empty word"),
        ("transcription_vocabulary = [\"a\\nb\"]", "more than one line"),
    ] {
        let error = error_of(usable(&format!("[agent]\n{wrong}")));
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_variable_that_does_not_exist_is_named_with_the_nearest() {
    assert_eq!(
        error_of(usable("[agents.shop]\ngreeting = \"Greet {callr}, \\\"{{name}}\\\".\"")),
        "tandem.toml:2: agents.shop.greeting: {callr} is no variable: did you mean {caller}? If the switch says it, name \
         it in variables. To have the word in braces, double them: {{callr}}"
    );
    assert!(usable("agent.instructions = \"Say {\\\"a\\\": {}} to {caller}.\"").is_ok());
}

#[test]
fn a_sound_is_a_wav_file_that_can_be_played() {
    let directory = Directory::new();
    let wav = |name: &str, channels: u16, rate: u32, samples: usize| {
        let path = directory.0.join(name);
        let sample_format = hound::SampleFormat::Int;
        let spec = hound::WavSpec { channels, sample_rate: rate, bits_per_sample: 16, sample_format };
        let mut file = hound::WavWriter::create(&path, spec).unwrap();
        (0..samples).for_each(|n| file.write_sample(n as i16).unwrap());
        file.finalize().unwrap();
        path.display().to_string()
    };
    let problem = |path: &str| error_of(usable(&format!("agent.greeting_sound = \"{path}\"")));
    let good = wav("good.wav", 1, 16_000, 1_600);
    assert!(usable(&format!("agent.greeting_sound = \"{good}\"\nagent.fallback_sound = \"{good}\"")).is_ok());
    assert!(problem(&wav("stereo.wav", 2, 16_000, 1_600)).contains("2 channels"));
    assert!(problem(&wav("odd.wav", 1, 11_025, 1_600)).contains("11025 Hz"));
    assert!(problem(&wav("empty.wav", 1, 8_000, 0)).contains("holds no sound"));
    assert!(problem("/nonexistent/a.wav").contains("cannot be read"));
    let long = wav("long.wav", 1, 8_000, 8_000 * 3 + 1);
    assert!(usable(&format!("agent.fallback_sound = \"{long}\"\nagent.earcon = \"{good}\"")).is_ok());
    let answers_wait = error_of(usable(&format!("[agents.shop]\nearcon = \"{long}\"")));
    assert!(answers_wait.contains("is longer than 3 seconds"), "{answers_wait}");
    let text = directory.write("text.wav", "RIFF and so on").display().to_string();
    assert!(problem(&text).contains("is no WAV file that can be read"));
}

#[test]
fn tandem_route_says_who_answers_and_why() {
    let directory = Directory::new();
    let text = "[agents.shop]\n[[routes]]\ndid = \"22004*\"\ncaller = \"7*\"\nname = \"ours\"\nagent = \"shop\"\n\
                [[routes]]\ndid = \"22004*\"\nrefuse = \"closed today\"\n";
    let file = directory.write("t.toml", text).display().to_string();
    let ask = |arguments: &[&str]| check(&[&["--config", &file, "route"], arguments].concat(), &[]);
    let exit = ask(&["2200405", "--caller", "777"]);
    let expected =
        format!("2200405: agent shop (route \"ours\" at {file}:2, did = \"22004*\", caller = \"7*\")\n");
    assert_eq!((exit.status, exit.output), (0, expected));
    let exit = ask(&["2200405"]);
    let expected = format!("2200405: refused: closed today (route at {file}:7, did = \"22004*\")\n");
    assert_eq!((exit.status, exit.output), (1, expected));
    assert_eq!(ask(&["1", "--caller=+777"]).output, "1: agent default (no route fits)\n");
    assert_eq!(check(&["route", "1"], &[]).output, "1: agent default (there are no routes)\n");
    assert_eq!(ask(&[]).status, cli::STATUS_WRONG_USE);
}

#[test]
fn the_example_of_the_page_on_agents_is_a_configuration() {
    let page = fs::read_to_string(project_file("docs/agents.md")).unwrap();
    let (_, example) = page.split_once("```toml\n").expect("an example");
    let (example, _) = example.split_once("```").expect("its end");
    let loaded = usable(example).unwrap();
    assert_eq!(loaded.config.agent_names().collect::<Vec<_>>(), ["default", "night", "shop"]);
    let ask = |number: &str| match decide(&loaded.config.routes, Some(number), None) {
        Decision::Agent { name, .. } => name.to_owned(),
        Decision::Refuse { reason, .. } => format!("!{reason}"),
    };
    assert_eq!((ask("2200405").as_str(), ask("2200499").as_str()), ("shop", "night"));
    assert_eq!((ask("0900111").as_str(), ask("5").as_str()), ("!not in service", "default"));
}

// ---- the registry, the sample and the documentation ------------------------------------------------------------------

#[test]
fn names_and_variables_are_unique_and_every_key_has_a_known_section_and_a_text() {
    let mut names: Vec<String> = KEYS.iter().map(|key| key.name.to_owned()).collect();
    names.extend(KEYS.iter().flat_map(|key| key.variables_weakest_first()));
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
    for key in KEYS {
        assert!(SECTIONS.iter().any(|(section, _)| *section == key.section()), "{}", key.name);
        assert!(key.summary.ends_with('.') && !key.field().contains('.'), "{}", key.name);
        assert!(key.default.is_empty() != key.example.is_empty(), "{}: a default or an example", key.name);
    }
}

/// A value of the key that is not its default.
fn another_value(key: &config::Key<Config>) -> String {
    match key.kind {
        Kind::Integer { min, max, .. } => if key.default == max.to_string() { min } else { max }.to_string(),
        Kind::Number { max, .. } => max.to_string(),
        Kind::Switch => if key.default == "true" { "false" } else { "true" }.into(),
        Kind::Choice { choices, .. } => {
            let other = choices.iter().find(|choice| !key.default.contains(**choice));
            (*other.expect("a choice has two words")).to_owned()
        }
        Kind::List { .. } if !matches!(key.name, "listen.allow" | "listen.proxy_from") => "other".into(),
        Kind::List { .. } => "192.0.2.0/24".into(),
        Kind::Secret { .. } if key.name == "store.url" => "none".into(),
        Kind::Secret { .. } => "a-secret-of-some-length".into(),
        Kind::Text { .. } if key.name == "listen.host" => "192.0.2.1".into(),
        Kind::Text { .. } if ["gemini.base_url", "asterisk.media_url"].contains(&key.name) => {
            "ws://127.0.0.1:1".into()
        }
        Kind::Text { .. } if matches!(key.name, "admin.listen" | "admin.haproxy_agent_listen") => {
            "127.0.0.1:1".into()
        }
        Kind::Text { .. } if key.name == "agent.digits_terminator" => "*".into(),
        Kind::Text { .. } if key.name == "threads.cores" => "0".into(),
        Kind::Text { .. } if key.name == "esl.dial_string" => "user/{to}".into(),
        Kind::Text { .. } if key.name == "esl.answered_application" => "park()".into(),
        Kind::Text { .. } => "other".into(),
    }
}

/// The fields of a configuration as `section.field` with their values, taken from its `Debug` text.
fn fields(config: &Config) -> BTreeMap<String, String> {
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let (mut section, mut field) = ("", "");
    let text = format!("{config:#?}");
    for line in text.lines() {
        let inner = line.trim_start();
        let name = inner.split_once(':').map(|(name, _)| name);
        match (line.len() - inner.len(), name) {
            (4, Some(name)) => (section, field) = (name, ""),
            (8, Some(name)) => field = name,
            _ => {}
        }
        if !field.is_empty() {
            fields.entry(format!("{section}.{field}")).or_default().push_str(inner);
        }
    }
    fields
}

#[test]
fn every_key_fills_a_field_of_its_own_in_its_own_section() {
    let directory = Directory::new();
    let [before, after] = ["before", "after"].map(|name| directory.write(name, name).display().to_string());
    let mut filled: BTreeMap<String, &str> = BTreeMap::new();
    for key in KEYS {
        let is_file = key.name.ends_with("_file")
            || (key.name.contains(".tls_") && matches!(key.kind, Kind::Text { .. }));
        let value = if is_file { after.clone() } else { another_value(key) };
        // What some keys need beside them to be allowed.
        let beside = match key.section() {
            "listen" => vec![format!("listen.tls_key={before}"), format!("listen.tls_certificate={before}")],
            "agent" => vec!["tools.other.url=http://127.0.0.1/".into(), "tools.other.description=x".into()],
            "admin" => vec![format!("admin.tls_key={before}"), format!("admin.tls_certificate={before}")],
            "limits" => vec!["limits.shard_speech_mib=1024".to_owned()],
            _ => Vec::new(),
        };
        let load = |sets: &[String]| {
            let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
            from_sets(&sets).unwrap_or_else(|problems| panic!("{}: {problems}", key.name))
        };
        let without = fields(&load(&beside).config);
        let loaded = load(&[beside, vec![format!("{}={value}", key.name)]].concat());
        assert_eq!(loaded.origin(key.name), Origin::Argument);
        let with = fields(&loaded.config);
        let mut changed: Vec<&String> =
            with.keys().filter(|field| with.get(*field) != without.get(*field)).collect();
        if key.name == "agent.instructions_file" {
            changed.retain(|field| *field != "agent.instructions");
        }
        if key.name == "media.profile" {
            changed.retain(|field| *field == "media.profile");
        }
        if key.name == "admin.token_file" {
            changed.retain(|field| *field != "admin.token");
        }
        let [changed] = changed[..] else { panic!("{} changes {changed:?}", key.name) };
        assert!(changed.starts_with(&format!("{}.", key.section())), "{} changes {changed}", key.name);
        let other = filled.insert(changed.clone(), key.name);
        assert_eq!(other, None, "{} changes {changed} too", key.name);
    }
    assert_eq!(filled.len(), fields(&Config::default()).len(), "a field that no key fills");
}

#[test]
fn the_token_of_the_admin_server_may_stand_in_a_file_of_its_own() {
    let directory = Directory::new();
    let file = directory.write("admin-token", "a-token-of-some-length\n").display().to_string();
    let token = |sets: &[&str]| {
        let loaded = from_sets(sets).map_err(|problems| problems.to_string())?;
        Ok::<_, String>(loaded.config.admin.token.map(|token| token.expose().to_owned()))
    };
    let of_file = format!("admin.token_file={file}");
    assert_eq!(token(&[&of_file]), Ok(Some("a-token-of-some-length".to_owned())));
    assert_eq!(
        token(&[&of_file, "admin.token=another-token-here"]),
        Ok(Some("another-token-here".to_owned()))
    );
    assert!(token(&[&of_file, "admin.listen=0.0.0.0:9095"]).is_ok(), "it counts as a token");
    for (name, text, wrong) in [("empty", "\n", "is empty"), ("two", "a b\nc", "holds no token")] {
        let file = directory.write(name, text).display().to_string();
        let problem = token(&[&format!("admin.token_file={file}")]).expect_err("refused");
        assert!(problem.contains("admin.token_file") && problem.contains(wrong), "{problem}");
    }
    assert!(token(&["admin.token_file=/nowhere/token"]).expect_err("refused").contains("cannot be read"));
}

#[test]
fn the_check_listing_has_every_key_with_value_and_origin_aligned() {
    let loaded = config::load(&sources(&[("GEMINI_API_KEY", "abc")], &["leg.rate=8000"])).unwrap();
    let listing = loaded.to_string();
    assert_eq!(listing.lines().count(), KEYS.len());
    let line = |name: &str| listing.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let words = |name: &str| line(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    assert_eq!(words("leg.rate "), "leg.rate 8000 --set");
    assert_eq!(words("gemini.api_key "), "gemini.api_key (set) environment GEMINI_API_KEY");
    assert_eq!(words("agent.voice "), "agent.voice (not set) default");
    assert_eq!(words("leg.mix "), "leg.mix \"mono\" default");
    let column =
        |line: &str, text: &str| line.chars().count() - line.split(text).last().unwrap().chars().count();
    assert_eq!(
        column(&line("leg.rate "), "8000  ") - "8000  ".len(),
        column(&line("agent.voice "), "(not set)  ") - "(not set)  ".len()
    );
}

fn project_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Compares a file of the project with what it should be, or writes it when asked to.
fn assert_generated(path: &str, expected: &str) {
    let file = project_file(path);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&file, expected).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap();
    assert!(found == expected, "{path} is out of date: UPDATE_EXPECT=1 cargo test --test config");
}

#[test]
fn the_sample_file_is_the_generated_one() {
    assert_generated("deploy/tandem.toml", &config::sample_file());
}

#[test]
fn the_sample_file_as_it_is_changes_nothing() {
    let loaded = from_file(&config::sample_file()).unwrap();
    assert!(loaded.settings.iter().all(|setting| setting.origin == Origin::Default));
}

#[test]
fn the_sample_file_uncommented_sets_every_key_and_its_defaults_are_the_defaults() {
    let of_tables = Table::ALL.iter().flat_map(|table| table.fields()).map(|(field, _)| field);
    let names: Vec<String> =
        KEYS.iter().map(|key| key.field()).chain(of_tables).map(|field| format!("# {field} = ")).collect();
    // The files of the examples do not exist, instructions come from one place only, and so does what becomes of a call.
    let on_paper = [
        "listen.tls_certificate",
        "listen.tls_key",
        "admin.tls_certificate",
        "admin.tls_key",
        "gemini.ca_file",
        "agent.instructions_file",
        "[routes].refuse",
    ];
    let mut section = "";
    let sample = config::sample_file();
    let mut uncommented = String::new();
    for line in sample.lines() {
        let heading = line.strip_prefix("# [").or(line.strip_prefix('[')).and_then(|l| l.strip_suffix(']'));
        section = heading.unwrap_or(section);
        let is_key =
            heading.is_some() && line.starts_with('#') || names.iter().any(|name| line.starts_with(name));
        let field = line.trim_start_matches("# ").split(" = ").next().unwrap_or_default();
        let live = is_key && !on_paper.contains(&format!("{section}.{field}").as_str());
        uncommented.push_str(if live { &line[2..] } else { line });
        uncommented.push('\n');
    }
    let loaded = from_file(&uncommented).unwrap();
    let defaults = from_sets(&[]).unwrap();
    for (key, (setting, default)) in KEYS.iter().zip(loaded.settings.iter().zip(&defaults.settings)) {
        assert_eq!(setting.name, key.name);
        if !on_paper.contains(&key.name) {
            assert_ne!(setting.origin, Origin::Default, "{} is not in the sample", key.name);
        }
        if !key.default.is_empty() {
            assert_eq!(setting.shown, default.shown);
        }
    }
    let config = &loaded.config;
    let rows = (config.agents.len(), config.routes.0.len(), config.tools.len(), config.credentials.len());
    assert_eq!(rows, (1, 1, 1, 1));
    for table in [Table::Tools, Table::Credentials] {
        for (field, _) in table.fields() {
            let suffix = format!(".{field}");
            let is_it = |name: &str| name.starts_with(table.word()) && name.ends_with(&suffix);
            assert!(loaded.settings.iter().any(|s| is_it(&s.name)), "{} {field}", table.word());
        }
    }
}

#[test]
fn the_documentation_holds_the_generated_tables() {
    const BEGIN: &str = "<!-- Generated from the registry of keys; a test keeps it true. -->\n";
    const END: &str = "<!-- End of the generated part. -->\n";
    let path = "docs/configuration.md";
    let found = fs::read_to_string(project_file(path)).unwrap();
    let (before, rest) = found.split_once(BEGIN).expect("the mark where the tables begin");
    let (_, after) = rest.split_once(END).expect("the mark where the tables end");
    assert_generated(path, &format!("{before}{BEGIN}\n{}{END}{after}", config::markdown_tables()));
}

#[test]
fn the_documentation_names_no_key_that_does_not_exist() {
    let text = fs::read_to_string(project_file("docs/configuration.md")).unwrap();
    let quoted = text.split('`').skip(1).step_by(2);
    for word in quoted {
        let Some((section, field)) = word.split_once('.') else { continue };
        let is_word = field.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if is_word && SECTIONS.iter().any(|(name, _)| *name == section) {
            assert!(KEYS.iter().any(|key| key.name == word), "docs/configuration.md names {word}");
        }
    }
}

#[test]
fn the_listing_shows_networks_whole_and_the_beginning_of_long_instructions() {
    let loaded = from_sets(&[&format!("agent.instructions={}", "word ".repeat(1_000))]).unwrap();
    let listing = loaded.to_string();
    assert!(listing.contains("\"fe80::/10\"]  default"), "{listing}");
    assert!(listing.contains("… (5002 characters)  --set"), "{listing}");
    assert!(listing.lines().all(|line| line.chars().count() < 250));
}

/// The working directory belongs to the whole process, so this test starts itself again in another one.
#[test]
fn without_a_name_the_file_in_the_working_directory_is_read_if_there_is_one() {
    const EXPECTED: &str = "TANDEM_TEST_EXPECTED_PORT";
    if let Ok(expected) = std::env::var(EXPECTED) {
        let port = config::load(&Sources::default()).unwrap().config.listen.port;
        assert_eq!(port.to_string(), expected);
        return;
    }
    let directory = Directory::new();
    let run = |expected: &str| {
        let run = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "without_a_name_the_file_in_the_working_directory_is_read_if_there_is_one"])
            .current_dir(&directory.0)
            .env(EXPECTED, expected)
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && output.contains("1 passed"), "{expected}: {output}");
    };
    run("9094");
    directory.write("tandem.toml", "listen.port = 77\n");
    run("77");
}
