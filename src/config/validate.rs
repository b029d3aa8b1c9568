//! Checks that need more than one key, or the files that keys name.
//!
//! Runs in: the main thread, at start, after every key was read without an error. Owns the reading of
//! `instructions_file` and `admin.token_file`. Never changes any other value. Invariant: a warning never stops the start, a problem
//! always does.

use std::fs::File;
use std::path::PathBuf;

use ipnet::IpNet;

use super::agent::AgentConfig;
use super::base_url::is_near_address;
use super::listing::Loaded;
use super::problem::{Origin, Problem, nearest};
use super::setters::header_secret;
use crate::base::BuiltIn;
use crate::base::model_options::Behavior;

/// Model speech as it waits: 24 kHz, 16 bits.
const MODEL_SPEECH_BYTES_PER_SECOND: u64 = 48_000;

/// A token shorter than this can be guessed over the network.
const TOKEN_CHARACTERS_WANTED: usize = 16;

/// System instructions longer than this exceed the model's context of 131,072 tokens at about four bytes a token.
const INSTRUCTIONS_BYTES_MAX: u64 = 512 * 1024;

/// Adds to `problems` what cannot work, and to the warnings what probably was not meant; reads the instructions file.
pub(super) fn check(loaded: &mut Loaded, problems: &mut Vec<Problem>) {
    read_admin_token(loaded, problems);
    check_listen(loaded, problems);
    check_files(loaded, problems);
    read_all_instructions(loaded, problems);
    check_tables(loaded, problems);
    check_media(loaded, problems);
    check_control(loaded, problems);
    check_credentials(loaded, problems);
    if loaded.config.credentials.is_empty()
        && loaded.config.gemini.api_key.is_none()
        && !loaded.config.gemini.base_url.is_loopback()
    {
        loaded.warnings.push(
            "gemini.api_key is not set, so Gemini will refuse every call: set the environment variable GEMINI_API_KEY"
                .into(),
        );
    }
}

/// Reads the token of `admin.token_file`, unless `admin.token` is set, which wins: it may be what an operator has had before.
fn read_admin_token(loaded: &mut Loaded, problems: &mut Vec<Problem>) {
    let admin = &mut loaded.config.admin;
    let Some(path) = admin.token_file.clone().filter(|_| admin.token.is_none()) else { return };
    let wrong = match std::fs::read_to_string(&path) {
        Ok(text) if text.trim().is_empty() => {
            "is empty: write a token into it, for example with `openssl rand -hex 32`".to_owned()
        }
        Ok(text) => match header_secret(text.trim()) {
            Ok(token) => {
                admin.token = Some(token);
                return;
            }
            Err(wrong) => format!("holds no token (it {wrong}): write letters and digits on one line"),
        },
        Err(error) => format!(
            "cannot be read ({error}): correct the path, or read it as root or as a member of the file's group"
        ),
    };
    let name = "admin.token_file";
    let text = format!("{name} = {:?} {wrong}", path.display().to_string());
    problems.push(Problem::at(loaded.origin(name), text));
}

fn check_credentials(loaded: &mut Loaded, problems: &mut Vec<Problem>) {
    let config = &loaded.config;
    for credential in &config.credentials {
        let heading = format!("[credentials.{}]", credential.name);
        if let Some(lack) = credential.lack(config.gemini.base_url.is_loopback()) {
            problems.push(Problem::at(loaded.origin(&heading), format!("{heading} {lack}")));
        }
        loaded.warnings.extend(credential.excess().map(|excess| format!("{heading} {excess}")));
    }
    if !config.credentials.is_empty() && config.gemini.api_key.is_some() {
        loaded.warnings.push("gemini.api_key is not used, because there are [credentials.NAME]".into());
    }
}

fn check_listen(loaded: &mut Loaded, problems: &mut Vec<Problem>) {
    let listen = &loaded.config.listen;
    for (is_set, present, missing) in [
        (listen.tls_certificate.is_some(), "listen.tls_certificate", "listen.tls_key"),
        (listen.tls_key.is_some(), "listen.tls_key", "listen.tls_certificate"),
    ] {
        if is_set && !listen.has_tls() {
            problems.push(Problem::at(
                loaded.origin(present),
                format!("{present} is set but {missing} is not: set both for TLS, or neither"),
            ));
        }
    }
    if listen.tls_required && !listen.has_tls() {
        problems.push(Problem::at(
            loaded.origin("listen.tls_required"),
            "listen.tls_required = true and there is no certificate, so nobody could connect: set listen.tls_certificate \
             and listen.tls_key"
                .to_owned(),
        ));
    }
    if listen.tls_required && listen.audiosocket_port.is_some() {
        loaded.warnings.push(
            "listen.audiosocket_port is of no use with listen.tls_required: AudioSocket has no TLS and is refused; use \
             chan_websocket"
                .into(),
        );
    }
    if listen.max_calls_burst_per_address < listen.max_calls_per_second_per_address
        && loaded.origin("listen.max_calls_burst_per_address") != Origin::Default
    {
        loaded.warnings.push(format!(
            "listen.max_calls_burst_per_address = {} is less than listen.max_calls_per_second_per_address = {}: calls \
             that arrive together are refused although the rate allows them",
            listen.max_calls_burst_per_address, listen.max_calls_per_second_per_address
        ));
    }
    let token_characters = listen.token.as_ref().map(|token| token.expose().len());
    if token_characters.is_some_and(|characters| characters < TOKEN_CHARACTERS_WANTED) {
        loaded.warnings.push(format!(
            "listen.token is shorter than {TOKEN_CHARACTERS_WANTED} characters and could be guessed: use for example \
             the output of `openssl rand -hex 16`"
        ));
    }
    let is_far =
        |network: &IpNet| !is_near_address(network.network()) || !is_near_address(network.broadcast());
    if token_characters.is_some() && !listen.tls_required && listen.allow.iter().any(is_far) {
        loaded.warnings.push(
            "listen.allow lets addresses beyond private networks in, from where listen.token and the speech may come in \
             clear: set listen.tls_required"
                .into(),
        );
    }
    let open_to_all = listen.allow.iter().any(|network| network.prefix_len() == 0);
    if open_to_all && token_characters.is_none() {
        loaded.warnings.push(
            "listen.allow lets every address in and listen.token is not set: whoever finds the port can place calls \
             at your cost; set listen.token or narrow listen.allow"
                .into(),
        );
    }
}

/// Opens every file that will be needed, so that `--check` finds what would otherwise fail at the first call.
fn check_files(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let config = &loaded.config;
    let named: [(&str, &Option<PathBuf>); 5] = [
        ("admin.tls_certificate", &config.admin.tls_certificate),
        ("admin.tls_key", &config.admin.tls_key),
        ("listen.tls_certificate", &config.listen.tls_certificate),
        ("listen.tls_key", &config.listen.tls_key),
        ("gemini.ca_file", &config.gemini.ca_file),
    ];
    for (name, path) in named {
        let Some(path) = path else { continue };
        if let Err(error) = File::open(path) {
            problems.push(Problem::at(
                loaded.origin(name),
                format!(
                    "{name} = {:?} cannot be opened ({error}): correct the path or the file's permissions",
                    path.display().to_string()
                ),
            ));
        }
    }
}

fn read_all_instructions(loaded: &mut Loaded, problems: &mut Vec<Problem>) {
    let mut agent = loaded.config.agent.clone();
    read_instructions("agent", &mut agent, loaded, problems);
    loaded.config.agent = agent;
    let mut agents = std::mem::take(&mut loaded.config.agents);
    for (name, agent) in &mut agents {
        // What the default agent's file is wrong with was said already.
        let inherits = loaded.origin(&format!("agents.{name}.instructions_file")) == Origin::Default;
        let said = if inherits { &mut Vec::new() } else { &mut *problems };
        read_instructions(&format!("agents.{name}"), agent, loaded, said);
    }
    loaded.config.agents = agents;
}

/// Reads the instructions of the agent whose keys begin with `section`, if a file holds them.
fn read_instructions(section: &str, agent: &mut AgentConfig, loaded: &Loaded, problems: &mut Vec<Problem>) {
    let Some(path) = agent.instructions_file.clone() else { return };
    let name = format!("{section}.instructions_file");
    let origin = loaded.origin(&name);
    if agent.instructions.is_some() {
        let other = loaded.origin(&format!("{section}.instructions"));
        problems.push(Problem::at(
            origin,
            format!("{name} and {section}.instructions ({other}) are both set: keep one"),
        ));
        return;
    }
    let shown = path.display().to_string();
    let too_long = std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() > INSTRUCTIONS_BYTES_MAX);
    let wrong = if too_long {
        format!("is longer than {INSTRUCTIONS_BYTES_MAX} bytes, more than the model can hold: shorten it")
    } else {
        match std::fs::read_to_string(&path) {
            Ok(text) if text.trim().is_empty() => {
                "is empty: write the instructions or remove the key".to_owned()
            }
            Ok(text) => {
                agent.instructions = Some(text);
                return;
            }
            Err(error) => format!("cannot be read ({error}): correct the path or the file"),
        }
    };
    problems.push(Problem::at(origin, format!("{name} = {shown:?} {wrong}")));
}

/// What agents, tools and routes name has to be there, and to be complete.
fn check_tables(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let config = &loaded.config;
    let tools = || config.tools.iter().map(|tool| tool.name.as_str());
    let agents = std::iter::once(("agent".to_owned(), &config.agent))
        .chain(config.agents.iter().map(|(name, agent)| (format!("agents.{name}"), agent)));
    for (section, agent) in agents {
        let key = format!("{section}.tools");
        // An agent that inherits the list inherits its problems too.
        if section != "agent" && loaded.origin(&key) == Origin::Default {
            continue;
        }
        for tool in agent.tools.iter().filter(|tool| !tools().any(|known| known == *tool)) {
            let text = format!("{key} names {tool:?}, {}", absent(tool, "[tools.", tools()));
            problems.push(Problem::at(loaded.origin(&key), text));
        }
        for (at, tool) in agent.tools.iter().enumerate() {
            // Once is enough to say, however often it is there.
            if agent.tools[..at].iter().filter(|before| *before == tool).count() == 1 {
                let text = format!(
                    "{key} names {tool:?} twice, and the model refuses two tools of one name: name it once"
                );
                problems.push(Problem::at(loaded.origin(&key), text));
            }
        }
    }
    for tool in &config.tools {
        let name = &tool.name;
        let place = loaded.origin(&format!("[tools.{name}]"));
        for (missing, key) in [(tool.url.is_empty(), "url"), (tool.description.is_none(), "description")] {
            if missing {
                problems.push(Problem::at(place.clone(), format!("tools.{name} has no {key}: set it")));
            }
        }
        if !name.starts_with(|first: char| first.is_ascii_lowercase()) || BuiltIn::named(name).is_some() {
            let text = format!(
                "[tools.{name}] has no fitting name: write one that begins with a letter and is none of {}, which are \
                 built in",
                BuiltIn::ALL.map(BuiltIn::label).join(", ")
            );
            problems.push(Problem::at(place.clone(), text));
        }
        if tool.hold_uplink && tool.behavior == Some(Behavior::NonBlocking) {
            problems.push(Problem::at(
                loaded.origin(&format!("tools.{name}.hold_uplink")),
                format!(
                    "tools.{name}.hold_uplink = true keeps the caller's speech back while the model waits, and with \
                     behavior = \"non_blocking\" it does not wait: keep one"
                ),
            ));
        }
        if tool.scheduling.is_some() && tool.behavior == Some(Behavior::Blocking) {
            problems.push(Problem::at(
                loaded.origin(&format!("tools.{name}.scheduling")),
                format!(
                    "tools.{name}.scheduling says what becomes of a result that the model does not wait for, and behavior = \"blocking\" \
                     makes it one that it waits for: keep one"
                ),
            ));
        }
        for (is_set, present, other) in [
            (tool.header.is_some() && tool.header_env.is_none(), "header", "header_env"),
            (tool.header_env.is_some() && tool.header.is_none(), "header_env", "header"),
        ] {
            if is_set {
                problems.push(Problem::at(
                    loaded.origin(&format!("tools.{name}.{present}")),
                    format!("tools.{name}.{present} is set but {other} is not: set both, or neither"),
                ));
            }
        }
    }
    for price in config.prices.iter().filter(|price| price.model.is_empty()) {
        let heading = format!("[prices.{}]", price.name);
        let text = format!("{heading} has no model: set it to the name of the model whose tokens cost this");
        problems.push(Problem::at(loaded.origin(&heading), text));
    }
    for route in &config.routes.0 {
        let wrong = match (&route.agent, &route.refuse) {
            (Some(_), Some(_)) => "the route has both agent and refuse: keep one".to_owned(),
            (None, None) => {
                "the route says neither who answers nor that nobody does: set agent or refuse".to_owned()
            }
            (Some(agent), None) if config.agent_named(agent).is_none() => {
                format!("the route's agent is {agent:?}, {}", absent(agent, "[agents.", config.agent_names()))
            }
            _ => continue,
        };
        problems.push(Problem::at(route.place.clone(), wrong));
    }
}

/// What to say of a name that stands for nothing.
fn absent<'a>(name: &str, heading: &str, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(name, known) {
        Some(nearest) => format!("which is not there: did you mean {nearest:?}?"),
        None => format!("which is not there: write {heading}{name}] or another name"),
    }
}

fn check_control(loaded: &mut Loaded, problems: &mut Vec<Problem>) {
    let (admin, esl) = (&loaded.config.admin, &loaded.config.esl);
    if let Some(address) = admin.listen.filter(|address| !address.ip().is_loopback())
        && admin.token.is_none()
    {
        problems.push(Problem::at(
            loaded.origin("admin.listen"),
            format!(
                "admin.listen = \"{address}\" is reachable from other machines and admin.token is not set: set \
                 admin.token, for example to the output of `openssl rand -hex 16`, or listen on 127.0.0.1"
            ),
        ));
    }
    if let Some(address) = admin.listen.filter(|address| {
        !address.ip().is_unspecified() && !is_near_address(address.ip()) && admin.tls_certificate.is_none()
    }) {
        loaded.warnings.push(format!(
            "admin.listen = \"{address}\" is beyond private networks and speaks no TLS, so that requests from beyond them are \
             refused: set admin.tls_certificate and admin.tls_key"
        ));
    }
    for (path, present, other, missing) in [
        (&admin.tls_certificate, "admin.tls_certificate", &admin.tls_key, "admin.tls_key"),
        (&admin.tls_key, "admin.tls_key", &admin.tls_certificate, "admin.tls_certificate"),
    ] {
        if path.is_some() && other.is_none() {
            problems.push(Problem::at(
                loaded.origin(present),
                format!("{present} is set but {missing} is not: set both for TLS, or neither"),
            ));
        }
    }
    let token_characters = admin.token.as_ref().map(|token| token.expose().len());
    if token_characters.is_some_and(|characters| characters < TOKEN_CHARACTERS_WANTED) {
        loaded.warnings.push(format!(
            "admin.token is shorter than {TOKEN_CHARACTERS_WANTED} characters and could be guessed: use for example \
             the output of `openssl rand -hex 16`"
        ));
    }
    if admin.haproxy_agent_listen.is_some() && admin.listen.is_none() {
        let why = "admin.haproxy_agent_listen is set and admin.listen is not: it is served beside the admin server, set admin.listen";
        loaded.warnings.push(why.into());
    }
    if loaded.config.asterisk.media_url.is_some() && admin.listen.is_none() {
        loaded.warnings.push(
            "asterisk.media_url is set and admin.listen is not: the relay connects to Asterisk when POST /api/connect asks \
             for it, set admin.listen"
                .into(),
        );
    }
    if esl.dial_string.is_some() && esl.host.is_none() {
        loaded.warnings.push(
            "esl.dial_string is set and esl.host is not: outbound calls need the event socket, set esl.host"
                .into(),
        );
    }
}

fn check_media(loaded: &mut Loaded, problems: &mut Vec<Problem>) {
    let config = &loaded.config;
    let one_call_bytes = config.limits.model_speech.as_secs() * MODEL_SPEECH_BYTES_PER_SECOND;
    if one_call_bytes > config.limits.shard_speech_bytes as u64 {
        problems.push(Problem::at(
            loaded.origin("limits.model_speech_seconds"),
            format!(
                "limits.model_speech_seconds = {} is {} MiB for one call, more than limits.shard_speech_mib = {} for \
                 all of them: lower the first or raise the second",
                config.limits.model_speech.as_secs(),
                one_call_bytes.div_ceil(1 << 20),
                config.limits.shard_speech_bytes >> 20
            ),
        ));
    }
    if config.playback.chunk_ms > config.playback.lead_ms.max(20) {
        loaded.warnings.push(format!(
            "playback.chunk_ms = {} is longer than playback.lead_ms = {}: what a barge-in cannot take back grows to \
             the chunk",
            config.playback.chunk_ms, config.playback.lead_ms
        ));
    }
}
