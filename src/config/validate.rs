//! Checks that need more than one key, or the files that keys name.
//!
//! Runs in: the main thread, at start, after every key was read without an error. Owns the reading of
//! `agent.instructions_file`. Never changes any other value. Invariant: a warning never stops the start, a problem
//! always does.

use std::fs::File;
use std::path::PathBuf;

use super::listing::Loaded;
use super::problem::{Origin, Problem};

/// Model speech as it waits: 24 kHz, 16 bits.
const MODEL_SPEECH_BYTES_PER_SECOND: u64 = 48_000;

/// A token shorter than this can be guessed over the network.
const TOKEN_CHARACTERS_WANTED: usize = 16;

/// System instructions longer than this exceed the model's context of 131,072 tokens at about four bytes a token.
const INSTRUCTIONS_BYTES_MAX: u64 = 512 * 1024;

/// Adds to `problems` what cannot work, and to the warnings what probably was not meant; reads the instructions file.
pub(super) fn check(loaded: &mut Loaded, problems: &mut Vec<Problem>) {
    check_listen(loaded, problems);
    check_files(loaded, problems);
    read_instructions(loaded, problems);
    check_media(loaded, problems);
    check_control(loaded, problems);
    if loaded.config.gemini.api_key.is_none() && !loaded.config.gemini.base_url.is_loopback() {
        loaded.warnings.push(
            "gemini.api_key is not set, so Gemini will refuse every call: set the environment variable GEMINI_API_KEY"
                .into(),
        );
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
    let named: [(&str, &Option<PathBuf>); 3] = [
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

fn read_instructions(loaded: &mut Loaded, problems: &mut Vec<Problem>) {
    let Some(path) = loaded.config.agent.instructions_file.clone() else { return };
    let origin = loaded.origin("agent.instructions_file");
    if loaded.config.agent.instructions.is_some() {
        problems.push(Problem::at(
            origin,
            format!(
                "agent.instructions_file and agent.instructions ({}) are both set: keep one",
                loaded.origin("agent.instructions")
            ),
        ));
        return;
    }
    let shown = path.display().to_string();
    let too_long = std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() > INSTRUCTIONS_BYTES_MAX);
    if too_long {
        problems.push(Problem::at(
            origin,
            format!(
                "agent.instructions_file = {shown:?} is longer than {INSTRUCTIONS_BYTES_MAX} bytes, more than the \
                 model can hold: shorten it"
            ),
        ));
        return;
    }
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim().is_empty() => problems.push(Problem::at(
            origin,
            format!("agent.instructions_file = {shown:?} is empty: write the instructions or remove the key"),
        )),
        Ok(text) => loaded.config.agent.instructions = Some(text),
        Err(error) => problems.push(Problem::at(
            origin,
            format!(
                "agent.instructions_file = {shown:?} cannot be read ({error}): correct the path or the file"
            ),
        )),
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
    let token_characters = admin.token.as_ref().map(|token| token.expose().len());
    if token_characters.is_some_and(|characters| characters < TOKEN_CHARACTERS_WANTED) {
        loaded.warnings.push(format!(
            "admin.token is shorter than {TOKEN_CHARACTERS_WANTED} characters and could be guessed: use for example \
             the output of `openssl rand -hex 16`"
        ));
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
