//! A test call through the switch: a loopback channel dials a number of the AI, says a second of tone into it and listens.
//!
//! Runs in: the main thread. Owns one call in the switch for some seconds, with a channel name of its own; it is hung up
//! whatever happens. Never dials anybody outside: the loopback runs the dialplan of the number, and leaves no CDR.
//! Invariant: the caller is `tandem-doctor`, as in the call without the switch, so that it is recognised in logs and records;
//! and it never goes on to the fallback, whose prompt would be taken for the agent.

use std::time::Duration;

use super::Examination;
use super::call::Heard;
use super::door::host_and_port;
use crate::base::command::{ChannelName, Destination};
use crate::net::ear::{Ear, EarHeard};
use crate::net::probe::{EventSocket, EventSocketProblem};
use crate::sync::random;

const CHECK: &str = "call by switch";
/// How long is listened: longer than the script tries, and than a model thinks.
const LISTENING: Duration = Duration::from_secs(12);
/// How long the module may take to connect; it gives up after a second.
const CONNECTING: Duration = Duration::from_secs(3);
/// Where the dialplan of `deploy/` has the numbers.
const CONTEXT: &str = "public";

/// What became of the call.
enum Outcome {
    /// It was connected, and this was heard.
    Heard(EarHeard),
    /// The switch did not connect it, for this cause.
    Refused(String),
    /// The module does not listen in.
    Deaf(String),
}

impl Examination<'_> {
    /// Calls a number of the AI in the switch, where that can be asked. `url` is where the switch finds this machine.
    pub(super) fn call_by_switch(&mut self, direct: Heard, url: Option<&str>) {
        if !self.options.call {
            return self.report.skip(CHECK, "not made: --no-call");
        }
        let host = url.and_then(|url| host_and_port(url).ok()).map(|(host, _)| host);
        let Some(host) = host.filter(|_| direct != Heard::NotMade) else {
            return self.report.skip(CHECK, "needs the running relay, and a call that it takes");
        };
        let Some(mut socket) = self.switch_socket() else {
            return self.report.skip(CHECK, "needs the event socket");
        };
        match self.try_call(&mut socket, direct, &host) {
            Ok(()) => {}
            Err(EventSocketProblem::Io(error)) => self.report.warn(
                CHECK,
                format!("the event socket did not answer: {error}"),
                "fs_cli -x status shows whether the switch is overloaded",
            ),
            Err(problem) => self.report.warn(CHECK, format!("{problem:?}"), "the switch's log may say more"),
        }
    }

    fn try_call(
        &mut self,
        socket: &mut EventSocket,
        direct: Heard,
        host: &str,
    ) -> Result<(), EventSocketProblem> {
        if socket.api("module_exists mod_loopback")? != "true" {
            self.report.skip(CHECK, "needs mod_loopback: fs_cli -x 'load mod_loopback'");
            return Ok(());
        }
        let numbers = socket.api("global_getvar tandem_ai_numbers")?;
        let Some(number) = plain_number(&numbers) else {
            let why = format!("tandem_ai_numbers of vars_tandem.xml names no plain number: {numbers:?}");
            self.report.skip(CHECK, why);
            return Ok(());
        };
        let channel = ChannelName::random(random::bits128());
        let answer = socket.api(&originate(&channel, &number))?;
        let outcome = match answer.strip_prefix("+OK") {
            Some(_) => self.listen(socket, &channel, host),
            None => Ok(Outcome::Refused(answer.trim_start_matches("-ERR ").to_owned())),
        };
        // Whatever came of it: the line is not left open.
        let ended = socket.api(&format!("uuid_kill {channel}"));
        let outcome = outcome?;
        ended?;
        let playback = socket.api("global_getvar tandem_playback")?;
        self.judge_call_by_switch(&number, outcome, direct, &playback);
        Ok(())
    }

    /// Has the module send what the caller hears to an ear of ours.
    fn listen(
        &self,
        socket: &mut EventSocket,
        channel: &ChannelName,
        host: &str,
    ) -> Result<Outcome, EventSocketProblem> {
        let ear = Ear::open(&channel.to_string(), self.clock)?;
        let port = ear.port()?;
        let url = format!("ws://{host}:{port}/{channel}");
        let answer = socket.api(&format!("uuid_audio_stream {channel} start {url} mono 8k"))?;
        if !answer.starts_with("+OK") {
            let gone = socket.api(&format!("uuid_exists {channel}"))? == "false";
            let ended = Outcome::Heard(EarHeard::Ended(Duration::ZERO));
            return Ok(if gone { ended } else { Outcome::Deaf(answer) });
        }
        let heard = ear.listen(CONNECTING, LISTENING);
        socket.api(&format!("uuid_audio_stream {channel} stop"))?;
        Ok(Outcome::Heard(heard))
    }

    fn judge_call_by_switch(&mut self, number: &str, outcome: Outcome, direct: Heard, playback: &str) {
        match outcome {
            Outcome::Heard(EarHeard::Speech(after)) => self.report.good(
                CHECK,
                format!("{number} in context {CONTEXT}: the agent was heard through the switch within {} ms", after.as_millis()),
            ),
            Outcome::Heard(EarHeard::Silence) if direct == Heard::Nothing => self.report.warn(
                CHECK,
                format!("{number} in context {CONTEXT}: held for {} s, and nothing was heard, as without the switch", LISTENING.as_secs()),
                "a model may leave a tone unanswered: set agent.greeting, or call and speak",
            ),
            Outcome::Heard(EarHeard::Silence) => self.report.bad(
                CHECK,
                format!(
                    "{number} in context {CONTEXT}: nothing was heard through the switch in {} s, and without it the agent speaks",
                    LISTENING.as_secs()
                ),
                match playback {
                    "file" => {
                        "see the switch's log for lines with tandem: (fs_cli -x 'console loglevel notice'); does \
                         tandem_events.lua run (fs_cli -x 'global_getvar tandem_events' moves), is mod_sndfile loaded?"
                    }
                    _ => {
                        "the build of mod_audio_stream does not play what tandem_playback says: set tandem_playback=file in \
                         vars_tandem.xml for the open build, then fs_cli -x reloadxml"
                    }
                },
            ),
            Outcome::Heard(EarHeard::Ended(after)) => self.report.bad(
                CHECK,
                format!("{number} in context {CONTEXT}: the dialplan ended the call after {} ms", after.as_millis()),
                "the switch's log says why in lines with tandem: (fs_cli -x 'console loglevel notice', then tandem doctor again)",
            ),
            Outcome::Heard(EarHeard::NotReached) => self.report.skip(
                CHECK,
                format!("{number} in context {CONTEXT}: answered; what it says cannot be heard here, because the switch does not reach a free port of this machine"),
            ),
            Outcome::Deaf(answer) => self.report.skip(
                CHECK,
                format!("{number} in context {CONTEXT}: answered; mod_audio_stream does not listen in: {answer}"),
            ),
            Outcome::Refused(cause) => self.report.bad(
                CHECK,
                format!("{number} in context {CONTEXT}: the switch did not connect the call: {cause}"),
                "does the dialplan answer it? fs_cli -x 'xml_locate dialplan context name public', and tandem_ai_numbers in vars_tandem.xml",
            ),
        }
    }
}

/// The first of the numbers that is one, and no pattern.
fn plain_number(numbers: &str) -> Option<String> {
    let plain = |number: &&str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number = numbers.split('|').find(plain)?;
    Destination::new(number).ok().map(|number| number.to_string())
}

/// The command that dials the number by a loopback, which says a second of tone and stays. Without a CDR of either end, and
/// without the script's way to the fallback.
fn originate(channel: &ChannelName, number: &str) -> String {
    format!(
        "originate {{origination_uuid={channel},originate_timeout=4,ignore_early_media=true,process_cdr=false,\
         tandem_fell_back=true,loopback_export='process_cdr,tandem_fell_back',loopback_bowout=false,\
         origination_caller_id_number=tandem-doctor,origination_caller_id_name=tandem-doctor}}loopback/{number}/{CONTEXT} \
         'm:^:playback:tone_stream://%(1000,0,440)^park' inline"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_not_dialled() {
        assert_eq!(plain_number("9094").as_deref(), Some("9094"));
        assert_eq!(plain_number("1555123[0-9]{4}|2200405|9094").as_deref(), Some("2200405"));
        for none in ["", "-ERR", "1555123[0-9]{4}", "+420123", "_undef_"] {
            assert_eq!(plain_number(none), None, "{none}");
        }
    }

    #[test]
    fn the_call_is_one_command_that_ends_in_no_cdr() {
        let line = originate(&ChannelName::new("u-1").unwrap(), "9094");
        assert!(line.starts_with("originate {origination_uuid=u-1,") && !line.contains('\n'), "{line}");
        for part in [
            "process_cdr=false",
            "}loopback/9094/public 'm:^:playback:tone_stream://%(1000,0,440)^park' inline",
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }
}
