//! Whole calls: every rate, both ways of playback, who speaks first, what is known of the caller, a model that is slow,
//! refuses or breaks off.
//!
//! Runs in: the test's thread beside relay and simulator. Invariant: no sample is lost or heard twice on a good link.

use rustix::process::Signal;
use tandem::base::SampleRate;
use tandem_loadtest::callgen::{self, Audio, Expect, Mix, Options, Playback};
use tandem_loadtest::sim::{Framing, SimConfig, Voice, What};

use crate::harness::model::speaking;
use crate::harness::{Leg, Model, Relay, Told, generate, in_company, noise, without_silence};

/// Both ways of playback, with the channels that go with each in these tests.
const WAYS: [(Playback, Mix); 2] = [(Playback::Binary, Mix::Mono), (Playback::Json, Mix::Stereo)];

#[test]
fn an_echo_call_at_every_rate_gets_every_frame_back_once_and_in_order() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    let mut runs = Vec::new();
    for rate in SampleRate::ALL {
        for (playback, mix) in WAYS {
            runs.push(Options { rate, playback, mix, seconds: 3.0, ..Options::default() });
        }
    }
    for (options, report) in generate(&relay, runs) {
        let name =
            format!("{} {:?} {:?}: {:?}", options.rate, options.playback, options.mix, report.failures);
        assert_eq!((report.calls_good, report.lost_frames), (1, 0), "{name}");
        assert_eq!(
            (report.repeated_frames, report.reordered_frames, report.foreign_frames),
            (0, 0, 0),
            "{name}"
        );
        assert_eq!(report.marked_frames_sent, 125, "{name}");
    }
}

#[test]
fn of_twice_as_many_calls_as_are_admitted_exactly_the_cap_is_served_on_every_leg() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &["listen.max_calls=8"]);
    let legs = callgen::Leg::list("mod_audio_stream,audio_fork,audiosocket,chan_websocket", Playback::Binary);
    let legs = legs.expect("they exist");
    // The first hang up long after the last has asked.
    let runs = vec![Options { legs, calls: 16, seconds: 4.0, ..Options::default() }];
    for (_, report) in generate(&relay, runs) {
        let name = format!("{:?} {:?}", report.failures, report.refusals);
        assert_eq!((report.calls_good, report.calls_refused, report.calls_failed), (8, 8, 0), "{name}");
        assert_eq!((report.lost_frames, report.refusal_ms.count), (0, 8), "{name}");
        assert!(report.refusals.keys().any(|why| why.starts_with("HTTP 503")), "{name}");
    }
}

#[test]
fn a_call_that_is_hung_up_is_one_line_in_the_log_and_no_lost_leg() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let stream = callgen::Leg::ModAudioStream(Playback::Binary);
    let legs = [stream, callgen::Leg::AudioFork, callgen::Leg::AudioSocket, callgen::Leg::ChanWebSocket];
    let relay = Relay::start_at(&model.url(), &[], &[("RUST_LOG", "tandem=info")]);
    relay.line(&["admin server: "]);
    let before = relay.log().lines().count();
    let options = Options { calls: 8, seconds: 1.0, legs: legs.into(), ..Options::default() };
    let (_, report) = generate(&relay, vec![options]).remove(0);
    assert_eq!(report.calls_good, 8, "{:?}", report.failures);
    relay.nth_line(&[": ended by caller (hangup)"], 8);
    relay.signal(Signal::USR1);
    let counters = relay.line(&["counters: "]);
    assert!(!counters.contains("tandem_legs_lost_total"), "{counters}");
    let log = relay.log();
    let more: Vec<&str> = log.lines().skip(before).filter(|line| !line.contains("counters: ")).collect();
    assert_eq!(more.len(), 8, "{more:#?}");
}

#[test]
fn a_parrot_repeats_the_caller_at_every_rate() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Parrot));
    let relay = Relay::start(&model, &[]);
    let runs = SampleRate::ALL.into_iter().enumerate().map(|(n, rate)| {
        let (playback, mix) = WAYS[n % 2];
        let (audio, expect) = (Audio::Speech, Expect::Parrot);
        Options { rate, playback, mix, audio, expect, seconds: 4.0, ..Options::default() }
    });
    for (options, report) in generate(&relay, runs.collect()) {
        let name = format!("{} {:?}: {:?}", options.rate, options.playback, report.failures);
        assert_eq!((report.calls_good, report.answers), (1, 1), "{name}");
        assert!(report.correlation_min > 0.9, "{name}: {}", report.correlation_min);
    }
}

#[test]
fn a_model_is_understood_however_its_messages_are_written() {
    let _turn = in_company();
    let text = Framing { text: true, ..Framing::default() };
    let pretty_text = Framing { text: true, pretty: true, ..Framing::default() };
    let fragments = Framing { fragment: true, pretty: true, ..Framing::default() };
    for (framing, faults) in [
        (text, &["unknown-fields@turn", "ping@turn.mid"][..]),
        (pretty_text, &["bundle@turn"]),
        (fragments, &["huge:300000@turn", "unknown-fields@setup"]),
    ] {
        let faults = faults.iter().map(|fault| fault.parse().expect("a fault")).collect();
        let model = Model::start(SimConfig { framing, faults, ..speaking(Voice::Parrot) });
        let relay = Relay::start(&model, &["agent.output_transcription=true"]);
        let (audio, expect) = (Audio::Speech, Expect::Parrot);
        let runs = vec![Options { audio, expect, seconds: 4.0, ..Options::default() }];
        for (_, report) in generate(&relay, runs) {
            let name = format!("{framing:?}: {:?}", report.failures);
            assert_eq!((report.calls_good, report.answers), (1, 1), "{name}");
        }
    }
}

#[test]
fn with_a_greeting_the_model_speaks_first() {
    let _turn = in_company();
    let said = noise(1, 24_000);
    let model = Model::start(SimConfig { answer: Some(said.clone()), ..speaking(Voice::Answer) });
    let relay = Relay::start(&model, &["agent.greeting=Greet the caller, please."]);
    let leg = Leg::call(&relay, "/?rate=24000&uuid=greeted");
    let text = model.event(1, "the greeting", |what| match what {
        What::Text(text) => Some(text.clone()),
        _ => None,
    });
    assert_eq!(text, "Greet the caller, please.");
    // At the model's own rate nothing is resampled, so the caller hears exactly what was said.
    assert!(leg.hear(said.len())[..said.len()] == said[..], "another audio than the model's");
    assert_eq!(leg.hang_up().0, 1000);
    let end = relay.end_of("greeted");
    assert!(end.contains("ended by caller (hangup)") && end.contains("turns 1"), "{end}");
}

#[test]
fn the_url_counts_more_than_headers_and_headers_more_than_metadata() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Parrot));
    let relay = Relay::start(&model, &[]);
    let headers = [("X-UUID", "from-header"), ("X-DID", "222"), ("X-Agent", "header-agent")];
    let leg = Leg::call_with(&relay, "/call?uuid=from-url", &headers);
    leg.text(r#"{"uuid":"from-metadata","did":"333","caller":"444","agent":"metadata-agent"}"#);
    relay.line(&["caller=444"]);
    leg.hang_up();
    let end = relay.end_of("from-url");
    assert!(end.contains(r#"uuid="from-url" did="222" caller="444" agent="header-agent""#), "{end}");
}

#[test]
fn metadata_may_be_missing_late_or_garbled() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    let spoken = noise(2, 16_000);

    let missing = Leg::call(&relay, "/");
    missing.audio(&spoken, 320);
    model.heard(1, spoken.len());
    missing.hang_up();
    assert!(relay.end_of("caller unknown").contains("ended by caller (hangup)"));

    let garbled = Leg::call(&relay, "/?uuid=garbled");
    for text in [r#"{"uuid":"half"#, "plain words", "", r#"[1,2]"#, r#"{"rate":"fast","mix":7}"#] {
        garbled.text(text);
    }
    garbled.audio(&spoken, 320);
    model.heard(2, spoken.len());
    garbled.hang_up();
    assert!(relay.end_of("uuid=garbled").contains("ended by caller (hangup)"));

    let late = Leg::call(&relay, "/");
    late.audio(&spoken, 320);
    model.heard(3, spoken.len());
    late.text(r#"{"event":"start","uuid":"late","caller":"1001","called":"5000"}"#);
    relay.line(&["uuid=late"]);
    late.hang_up();
    let end = relay.end_of("uuid=late");
    assert!(end.contains(r#"uuid="late" did="5000" caller="1001""#), "{end}");
    for session in 1..=3 {
        assert!(without_silence(&model.audio(session)) == spoken, "session {session} heard something else");
    }
}

#[test]
fn a_rate_named_only_in_late_metadata_holds_from_then_on_both_ways() {
    let _turn = in_company();
    let model = Model::start(SimConfig { answer: Some(noise(3, 12_000)), ..speaking(Voice::Answer) });
    let relay = Relay::start(&model, &[]);
    // Nothing in the URL, and messages of 100 ms, whose length tells no rate: taken for the default, 16 kHz.
    let leg = Leg::call(&relay, "/");
    leg.audio(&noise(4, 1_600), 800);
    model.heard(1, 1_600);
    leg.text(r#"{"uuid":"eight","rate":8000}"#);
    relay.line(&["uuid=eight"]);
    // Half a second at 8 kHz, loud enough to be speech: 8,000 samples at 16 kHz.
    leg.audio(&noise(5, 4_000), 800);
    model.heard(1, 1_600 + 8_000);
    let heard = leg.hear(4_000);
    leg.hang_up();
    relay.end_of("uuid=eight");
    // The answer lasts half a second: 4,000 samples at 8 kHz, and the rest of the last frame.
    assert!((4_000..4_320).contains(&heard.len()), "{} samples", heard.len());
    let told = leg.told();
    let lengths: Vec<_> = told.iter().map(|(_, told)| told.samples().len()).filter(|n| *n > 0).collect();
    assert!(lengths.iter().all(|length| *length == 160), "20 ms at 8 kHz: {lengths:?}");
}

#[test]
fn while_the_model_is_set_up_the_callers_first_words_are_kept() {
    let _turn = in_company();
    let faults = vec!["delay:1500@setup".parse().expect("a fault")];
    let model = Model::start(SimConfig { faults, ..speaking(Voice::Parrot) });
    let relay = Relay::start(&model, &[]);
    let leg = Leg::call(&relay, "/?uuid=patient");
    // Of more than two seconds, pauses would be left out, and to the relay noise is a pause.
    let spoken = noise(6, 24_000);
    leg.audio(&spoken, 320);
    model.heard(1, spoken.len());
    // The simulator would have closed with 1007 on audio before its setupComplete; and the order of events says so too.
    model.until("setupComplete before the first audio", |events| {
        let place = |wanted: fn(&What) -> bool| events.iter().position(|event| wanted(&event.what));
        let complete = place(|what| *what == What::SetupComplete)?;
        assert!(complete < place(|what| matches!(what, What::Audio { .. }))?);
        Some(())
    });
    leg.hang_up();
    assert!(without_silence(&model.audio(1)) == spoken, "the first words are not complete");
    let end = relay.end_of("uuid=patient");
    assert!(end.contains("dropped 0.0 s"), "{end}");
}

#[test]
fn without_patience_a_link_that_is_refused_or_breaks_ends_the_call_with_1008_and_its_cause() {
    let _turn = in_company();
    let faults = [
        "close:1011:Internal error encountered.@300ms#1",
        "drop@300ms#2",
        "reset@300ms#3",
        "silence@setup#4",
        "close:1008:The operation was aborted.@300ms#5",
        "close:4321:so be it@300ms#6",
        "http:404@upgrade#7",
        "http:429@upgrade#8",
    ];
    let faults = faults.iter().map(|fault| fault.parse().expect("a fault")).collect();
    let model = Model::start(SimConfig { faults, ..speaking(Voice::Parrot) });
    let relay = Relay::start(&model, &["gemini.setup_timeout_ms=1000", "session.give_up_seconds=0"]);
    // A relay of its own, because a credential without quota is left alone for a while.
    let no_quota = Relay::start(&model, &["session.give_up_seconds=0"]);
    let wrong_model = Relay::start(&model, &["agent.model=models/no-such-model"]);
    let wrong_key = Relay::start_at(&model.url(), &[], &[("GEMINI_API_KEY", "AIzaSyWrong")]);
    for (relay, call, by, label, words) in [
        (&relay, "closed", "model", "internal", "Internal error encountered."),
        (&relay, "dropped", "network", "dropped", "without a closing handshake"),
        (&relay, "reset", "network", "dropped", "reset"),
        (&relay, "never-set-up", "model", "setup_timeout", "gemini.setup_timeout_ms"),
        (&relay, "aborted", "model", "aborted", "The operation was aborted."),
        (&relay, "so-be-it", "model", "other", "so be it"),
        (&relay, "wrong-address", "model", "wrong_endpoint", "GEMINI_BASE_URL"),
        (&no_quota, "quota", "model", "quota", "429"),
        (&wrong_model, "wrong-model", "model", "model_not_found", "no-such-model"),
        (&wrong_key, "wrong-key", "model", "bad_key", "check GEMINI_API_KEY"),
    ] {
        let leg = Leg::call(relay, &format!("/?uuid={call}"));
        leg.audio(&noise(7, 3_200), 320);
        assert_eq!(leg.closed(), (1008, label.to_owned()), "{call}");
        let end = relay.end_of(&format!("uuid={call}"));
        assert!(end.contains(&format!("ended by {by} ({label})")), "{end}");
        assert!(end.contains(words), "{words:?} is not in: {end}");
        assert!(end.contains(" WARN "), "a failure is a warning: {end}");
    }
}

#[test]
fn a_switch_that_goes_without_a_goodbye_ends_its_call() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Parrot));
    let relay = Relay::start(&model, &["leg.detached_ms=100"]);
    let leg = Leg::call(&relay, "/?uuid=torn");
    model.ready(1);
    leg.drop_connection();
    relay.line(&["the leg was lost"]);
    let end = relay.end_of("uuid=torn");
    assert!(end.contains("ended by network (leg_dropped)"), "{end}");
    // The link is closed in order, and the model knows that nobody listens.
    model.audio(1);
}

#[test]
fn a_minute_that_arrives_in_a_burst_is_played_whole_and_at_its_own_pace() {
    /// A minute is too long for a test of this kind; the rest of it is proved in virtual time.
    const HEARD: usize = 24_000 * 10;
    let _turn = in_company();
    let said = noise(8, 24_000 * 60);
    let config = SimConfig { burst: 0.0, chunk_ms: 100, ..speaking(Voice::Answer) };
    let model = Model::start(SimConfig { answer: Some(said.clone()), ..config });
    let relay = Relay::start(&model, &["agent.greeting=Read the terms and conditions."]);
    let leg = Leg::call(&relay, "/?rate=24000&uuid=patience");
    let heard = leg.hear(HEARD);
    let told = leg.told();
    leg.hang_up();
    assert!(heard[..HEARD] == said[..HEARD], "not the first 10 s of what was said");
    let arrivals: Vec<_> =
        told.iter().filter(|(_, told)| !told.samples().is_empty()).map(|(at, _)| *at).collect();
    let took = arrivals[arrivals.len() - 1].duration_since(arrivals[0]);
    assert!(took.as_millis() >= 9_000, "10 s of speech were handed over within {took:?}");
    assert!(!told.iter().any(|(_, told)| told.is_clear()), "nothing was cancelled");
    let end = relay.end_of("uuid=patience");
    // All of it had arrived and was kept.
    assert!(end.contains("model's 60.0 s") && end.contains("underruns 0"), "{end}");
}

#[test]
fn json_playback_says_type_rate_and_audio() {
    let _turn = in_company();
    let said = noise(9, 12_000);
    let model = Model::start(SimConfig { answer: Some(said.clone()), ..speaking(Voice::Answer) });
    let relay = Relay::start(&model, &["agent.greeting=Hello."]);
    // Named only in the metadata.
    let leg = Leg::call(&relay, "/?rate=24000");
    leg.text(r#"{"playback":"json"}"#);
    assert!(leg.hear(said.len())[..said.len()] == said[..], "another audio than the model's");
    let told = leg.told();
    let audio: Vec<_> = told.iter().filter(|(_, told)| !told.samples().is_empty()).collect();
    assert!(audio.iter().all(|(_, told)| matches!(told, Told::Json(24_000, _))), "{:?}", audio.first());
}

#[test]
fn what_a_caller_writes_of_himself_neither_forges_a_field_nor_hides_in_the_log() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    // Quotation marks, spaces and equals signs are what a name may have; the rest it may not, and is told of.
    let leg =
        Leg::call(&relay, "/?uuid=forged&caller=x%22%20did%3D%22666%22%20agent%3Dsales&agent=%E2%80%AEeno");
    leg.text("{\"did\":\"7\\u202e8\\n2026-11-30T00:00:00.000+00:00 ERROR tandem forged\"}");
    let noted = relay.line(&["agent in the call's URL ignored"]);
    assert!(noted.contains(r#""\u{202e}eno""#), "{noted}");
    assert_eq!(leg.hang_up().0, 1000);
    let end = relay.end_of("uuid=forged");
    assert!(end.contains(r#"uuid="forged" caller="x\" did=\"666\" agent=sales""#), "{end}");
    for line in relay.log().lines() {
        let hidden: Vec<char> =
            line.chars().filter(|&one| tandem::base::visible::is_invisible(one)).collect();
        assert!(hidden.is_empty(), "{hidden:?} in {line:?}");
        assert!(!line.contains(r#" did="666""#) && !line.starts_with("2026-11-30T00:00:00.000"), "{line}");
    }
}
