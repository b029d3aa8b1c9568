//! Tests of the server message decoder, beside it but in a file of their own for their length.
//!
//! Runs in: `cargo test`.

use super::*;
use ::base64::Engine;
use ::base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

type Heard = Vec<(SampleRate, Vec<i16>)>;

/// Decodes, and puts neighbouring blocks of one rate together.
fn decode_all(text: &[u8]) -> (Result<ServerMessage<'_>, ServerDecodeError>, Heard) {
    let mut heard: Heard = Vec::new();
    let result = decode(text, |rate, block| match heard.last_mut() {
        Some((last, samples)) if *last == rate => samples.extend_from_slice(block),
        _ => heard.push((rate, block.to_vec())),
    });
    (result, heard)
}

fn message(text: &str) -> ServerMessage<'_> {
    decode(text.as_bytes(), |_, _| panic!("no audio expected")).expect(text)
}

fn pcm(samples: &[i16]) -> String {
    STANDARD.encode(samples.iter().flat_map(|sample| sample.to_le_bytes()).collect::<Vec<u8>>())
}

#[test]
fn setup_complete_with_and_without_a_session_id() {
    assert!(message(r#"{"setupComplete":{}}"#).setup_complete);
    assert!(message("{\n  \"setupComplete\": {\n    \"sessionId\": \"s-1\"\n  }\n}\n").setup_complete);
}

#[test]
fn an_empty_message_says_nothing() {
    assert_eq!(message("{}"), ServerMessage::default());
    assert_eq!(message(r#"{"serverContent":{}}"#), ServerMessage::default());
    assert_eq!(message(r#"{"serverContent":null,"toolCall":null,"goAway":null}"#), ServerMessage::default());
}

#[test]
fn bundled_fields_are_all_reported_in_any_order() {
    let audio = pcm(&[1, -2, 3]);
    let fields = [
        format!(
            r#""modelTurn":{{"role":"model","parts":[{{"inlineData":{{"data":"{audio}","mimeType":"audio/pcm;rate=24000"}}}}]}}"#
        ),
        r#""turnComplete":true"#.to_owned(),
        r#""generationComplete":true"#.to_owned(),
        r#""interrupted":true"#.to_owned(),
        r#""outputTranscription":{"text":" ahoj","finished":true,"languageCode":"cs"}"#.to_owned(),
        r#""inputTranscription":{"text":"yes"}"#.to_owned(),
        r#""turnCompleteReason":"NEED_MORE_INPUT""#.to_owned(),
        r#""interactionStatus":"IDLE""#.to_owned(),
        r#""waitingForInput":true"#.to_owned(),
        r#""groundingMetadata":{"a":[1,{"b":"c"}]}"#.to_owned(),
    ];
    let mut first: Option<String> = None;
    for rotation in 0..fields.len() {
        let mut order = fields.clone();
        order.rotate_left(rotation);
        let text = format!(
            r#"{{"usageMetadata":{{"promptTokenCount":7,"totalTokenCount":"12"}},"serverContent":{{{}}}}}"#,
            order.join(",")
        );
        let (result, heard) = decode_all(text.as_bytes());
        let said = result.unwrap();
        assert_eq!(heard, [(SampleRate::Hz24000, vec![1, -2, 3])]);
        assert_eq!(said.audio_samples, 3);
        assert!(said.turn_complete && said.generation_complete && said.interrupted && said.waiting_for_input);
        assert_eq!(said.turn_complete_reason, Some(TurnCompleteReason::NeedMoreInput));
        assert_eq!(said.interaction_status, Some(InteractionStatus::Idle));
        assert_eq!(said.output_transcription.as_deref(), Some(" ahoj"));
        assert_eq!(said.input_transcription.as_deref(), Some("yes"));
        let usage = Usage { prompt_tokens: Some(7), total_tokens: Some(12), ..Usage::default() };
        assert_eq!(said.usage, Some(usage));
        let shown = format!("{said:?}");
        assert_eq!(*first.get_or_insert(shown.clone()), shown);
    }
}

#[test]
fn several_parts_keep_their_order_and_thoughts_are_not_spoken() {
    let (a, b, c) = (pcm(&[1, 2]), pcm(&[3]), pcm(&[99]));
    let text = format!(
        r#"{{"serverContent":{{"modelTurn":{{"parts":[
            {{"text":"Hello "}},
            {{"inlineData":{{"mimeType":"audio/pcm;rate=24000","data":"{a}"}}}},
            {{"inlineData":{{"mimeType":"audio/pcm","data":"{c}"}},"thought":true}},
            {{"text":"I wonder","thought":true}},
            {{"inlineData":{{"data":"{b}"}},"text":"you"}},
            {{"executableCode":{{"code":"x"}}}},
            null,
            {{}}]}}}}}}"#
    );
    let (result, heard) = decode_all(text.as_bytes());
    let said = result.unwrap();
    assert_eq!(heard, [(SampleRate::Hz24000, vec![1, 2, 3])]);
    assert!(said.has_text);
}

#[test]
fn an_odd_byte_does_not_shift_the_next_part() {
    let odd = STANDARD.encode([1, 0, 2]);
    let text = format!(
        r#"{{"serverContent":{{"modelTurn":{{"parts":[{{"inlineData":{{"data":"{odd}"}}}},{{"inlineData":{{"data":"{odd}"}}}}]}}}}}}"#
    );
    let (result, heard) = decode_all(text.as_bytes());
    assert_eq!(heard, [(SampleRate::Hz24000, vec![1, 1])]);
    assert_eq!(result.unwrap().audio_samples, 2);
}

#[test]
fn the_rate_is_read_from_the_mime_type() {
    assert_eq!(audio_rate("audio/pcm"), Ok(SampleRate::Hz24000));
    assert_eq!(audio_rate("audio/pcm;rate=16000"), Ok(SampleRate::Hz16000));
    assert_eq!(audio_rate("Audio/PCM ; codec=s16 ; Rate = \"48000\""), Ok(SampleRate::Hz48000));
    for rate in ["audio/pcm;rate=22050", "audio/pcm;rate=", "audio/pcm;rate=-1", "audio/pcm;rate=99999999999"]
    {
        assert_eq!(audio_rate(rate), Err(AudioError::UnsupportedRate(rate.to_owned())));
    }
    for kind in ["audio/L16;rate=24000", "audio/opus", "image/png", ""] {
        assert_eq!(audio_rate(kind), Err(AudioError::UnsupportedType(kind.to_owned())));
    }
}

#[test]
fn audio_that_cannot_be_played_is_named() {
    let good = pcm(&[5]);
    for (kind, text) in [("audio/opus", "AAAA"), ("audio/pcm;rate=44100", "AAAA"), ("audio/pcm", "A*AA")] {
        let text = format!(
            r#"{{"serverContent":{{"modelTurn":{{"parts":[{{"inlineData":{{"data":"{good}"}}}},
                {{"inlineData":{{"mimeType":"{kind}","data":"{text}"}}}},
                {{"inlineData":{{"data":"{good}"}}}}]}}}}}}"#
        );
        let (result, heard) = decode_all(text.as_bytes());
        assert_eq!(heard, [(SampleRate::Hz24000, vec![5])], "{kind}");
        let Err(error @ ServerDecodeError::Audio(_)) = result else { panic!("{kind}: {result:?}") };
        match kind {
            "audio/pcm" => assert!(error.to_string().contains("byte 0x2a at offset 1"), "{error}"),
            _ => assert!(error.to_string().contains(kind), "{error}"),
        }
    }
}

#[test]
fn escaped_url_safe_and_broken_base64_lines_decode_alike() {
    let samples: Vec<i16> = (0..2000).map(|n| (n * 37) as i16).collect();
    let plain = pcm(&samples);
    let spellings = [
        plain.clone(),
        plain.replace('/', r"\/"),
        plain.replace('+', r"\u002b"),
        plain.replace('/', "_").replace('+', "-").trim_end_matches('=').to_owned(),
        plain
            .as_bytes()
            .chunks(76)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect::<Vec<_>>()
            .join(r"\n"),
    ];
    for spelling in spellings {
        let text = format!(
            r#"{{"server_content":{{"model_turn":{{"parts":[{{"inline_data":{{"mime_type":"audio\/pcm;rate=24000","data":"{spelling}"}}}}]}}}}}}"#
        );
        let (result, heard) = decode_all(text.as_bytes());
        assert_eq!(result.unwrap().audio_samples, samples.len());
        assert_eq!(heard, [(SampleRate::Hz24000, samples.clone())]);
    }
}

#[test]
fn texts_are_borrowed_from_the_message() {
    let said = message(
        r#"{"serverContent":{"outputTranscription":{"text":"plain"},"inputTranscription":{"text":"a\nb"}}}"#,
    );
    assert!(matches!(said.output_transcription.unwrap(), Cow::Borrowed("plain")));
    assert!(matches!(said.input_transcription.unwrap(), Cow::Owned(_)));
}

#[test]
fn tool_calls_and_their_cancellation() {
    let said = message(
        r#"{"toolCall":{"functionCalls":[{"id":"f1","name":"hang_up","args":{"why":"bye","n":2}},{"name":"x"}]},
            "toolCallCancellation":{"ids":["f0","f9"]}}"#,
    );
    assert_eq!(said.tool_calls.len(), 2);
    assert_eq!(said.tool_calls[0].id.as_deref(), Some("f1"));
    assert_eq!(said.tool_calls[0].args, serde_json::json!({"why": "bye", "n": 2}));
    assert_eq!((said.tool_calls[1].name.as_ref(), &said.tool_calls[1].args), ("x", &serde_json::Value::Null));
    assert_eq!(said.cancelled_tool_calls, ["f0", "f9"]);
}

#[test]
fn go_away_is_noticed_even_when_its_time_cannot_be_read() {
    let time_left = |text| message(text).go_away.expect("goAway").time_left;
    assert_eq!(time_left(r#"{"goAway":{"timeLeft":"9.5s"}}"#), Some(Duration::from_millis(9500)));
    assert_eq!(time_left(r#"{"goAway":{"timeLeft":{"seconds":5}}}"#), None);
    assert_eq!(time_left(r#"{"goAway":{"timeLeft":[1,[2]]}}"#), None);
    assert_eq!(time_left(r#"{"goAway":{}}"#), None);
}

#[test]
fn durations_are_read_exactly_or_not_at_all() {
    assert_eq!(parse_duration("50s"), Some(Duration::from_secs(50)));
    assert_eq!(parse_duration("0.000000001s"), Some(Duration::from_nanos(1)));
    assert_eq!(parse_duration("-1.5s"), Some(Duration::ZERO));
    for text in
        ["", "s", "5", "5m", ".5s", "5.s", "1e3s", "1.0000000001s", "99999999999999999999s", "+1s", "--1s"]
    {
        assert_eq!(parse_duration(text), None, "{text}");
    }
}

#[test]
fn an_empty_resumption_update_means_not_now() {
    assert_eq!(message(r#"{"sessionResumptionUpdate":{}}"#).resumption, Some(ResumptionUpdate::default()));
    let update = message(
        r#"{"sessionResumptionUpdate":{"newHandle":"h","resumable":true,"lastConsumedClientMessageIndex":"12"}}"#,
    );
    let update = update.resumption.unwrap();
    assert_eq!((update.new_handle.as_deref(), update.resumable), (Some("h"), true));
}

#[test]
fn usage_counts_of_either_service_and_of_any_type() {
    let usage = |text| message(text).usage.expect("usage");
    let vertex =
        usage(r#"{"usageMetadata":{"candidatesTokenCount":4,"totalTokenCount":9,"trafficType":"X"}}"#);
    assert_eq!((vertex.response_tokens, vertex.total_tokens), (Some(4), Some(9)));
    let odd =
        usage(r#"{"usageMetadata":{"promptTokenCount":-1,"responseTokenCount":1.5,"totalTokenCount":{}}}"#);
    assert_eq!(odd, Usage::default());
    let billed = usage(
        r#"{"usageMetadata":{"promptTokenCount":1000,"responseTokenCount":100,"thoughtsTokenCount":900,
            "toolUsePromptTokenCount":"50","totalTokenCount":2050,
            "promptTokensDetails":[{"modality":"TEXT","tokenCount":700},{"modality":"AUDIO","tokenCount":300}],
            "response_tokens_details":[{"modality":"AUDIO","token_count":100}]}}"#,
    );
    let tokens = billed.tokens();
    assert_eq!((tokens.input_text, tokens.input_audio), (750, 300));
    assert_eq!((tokens.output_text, tokens.output_audio, tokens.thoughts), (0, 100, 900));
}

#[test]
fn a_call_of_a_tool_is_read_from_the_turn_as_from_a_message_of_its_own() {
    let call = r#"{"id":"f1","name":"book","args":{"day":"2026-12-01"}}"#;
    let own = format!(r#"{{"toolCall":{{"functionCalls":[{call}]}}}}"#);
    let own = message(&own);
    for part in ["functionCall", "function_call"] {
        let parts = format!(r#"[{{"text":"Let me see."}},{{"{part}":{call}}}]"#);
        let turn = format!(r#"{{"serverContent":{{"modelTurn":{{"parts":{parts}}}}}}}"#);
        let turn = message(&turn);
        assert_eq!(turn.tool_calls, own.tool_calls, "{part}");
    }
    let many = vec![format!(r#"{{"functionCall":{call}}}"#); 65].join(",");
    let text = format!(r#"{{"serverContent":{{"modelTurn":{{"parts":[{many}]}}}}}}"#);
    assert!(decode(text.as_bytes(), |_, _| {}).is_err());
}

#[test]
fn unknown_fields_are_skipped_at_every_level() {
    let said = message(
        r#"{"newThing":{"deep":[[[{}]]]},"voiceActivity":{"type":"ACTIVITY_START"},
            "serverContent":{"x":1,"modelTurn":{"y":[],"role":"model","parts":[{"z":null}]},"turnComplete":true},
            "setupComplete":{"w":1},"goAway":{"v":2}}"#,
    );
    assert!(said.turn_complete && said.setup_complete && said.go_away.is_some());
}

#[test]
fn values_not_known_yet_are_kept_as_text() {
    let said = message(r#"{"serverContent":{"turnCompleteReason":"NEW","interactionStatus":"ODD"}}"#);
    assert_eq!(said.turn_complete_reason, Some(TurnCompleteReason::Other("NEW".into())));
    assert_eq!(said.interaction_status, Some(InteractionStatus::Other("ODD".into())));
}

#[test]
fn what_is_not_a_message_is_refused_with_its_place() {
    for text in ["", "[]", "null", "7", r#""x""#, "{", "{} {}", r#"{"serverContent":[]}"#, r#"{"goAway":7}"#]
    {
        let (result, _) = decode_all(text.as_bytes());
        let Err(error @ ServerDecodeError::Json(_)) = result else { panic!("{text}: {result:?}") };
        assert!(error.to_string().contains("line"), "{text}: {error}");
    }
    let long = format!(r#"{{"goAway":"{}"}}"#, "x\u{7}".repeat(5000));
    let (result, _) = decode_all(long.as_bytes());
    assert!(result.unwrap_err().to_string().len() < 200);
}

#[test]
fn deep_nesting_is_an_error_not_a_stack_overflow() {
    let skipped = format!(r#"{{"unknown":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let _ = decode_all(skipped.as_bytes());
    let args = "{\"a\":".repeat(100_000);
    let text = format!(r#"{{"toolCall":{{"functionCalls":[{{"args":{args}"#);
    let (result, _) = decode_all(text.as_bytes());
    assert!(matches!(result, Err(ServerDecodeError::Json(_))));
}

/// JSON built of the names that the decoder knows, with values of any type.
fn plausible_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        prop_oneof![
            Just("9.5s"),
            Just("audio/pcm;rate=24000"),
            Just("AQIDBAU="),
            Just("IDLE"),
            Just("\u{1F600}\n")
        ]
        .prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
    ];
    let name = prop::sample::select(vec![
        "serverContent",
        "modelTurn",
        "parts",
        "inlineData",
        "mimeType",
        "data",
        "text",
        "thought",
        "turnComplete",
        "interrupted",
        "toolCall",
        "functionCalls",
        "id",
        "name",
        "args",
        "goAway",
        "timeLeft",
        "usageMetadata",
        "totalTokenCount",
        "sessionResumptionUpdate",
        "newHandle",
        "resumable",
        "outputTranscription",
        "zzz",
    ]);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::vec((name.clone(), inner), 0..5).prop_map(|entries| {
                serde_json::Value::Object(
                    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
                )
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (result, heard) = decode_all(&bytes);
        if let Ok(said) = result {
            prop_assert_eq!(said.audio_samples, heard.iter().map(|(_, samples)| samples.len()).sum::<usize>());
        }
    }

    #[test]
    fn plausible_messages_read_the_same_printed_either_way(value in plausible_json()) {
        let (compact, pretty) = (serde_json::to_vec(&value).unwrap(), serde_json::to_vec_pretty(&value).unwrap());
        let ((first, heard_first), (second, heard_second)) = (decode_all(&compact), decode_all(&pretty));
        prop_assert_eq!(&heard_first, &heard_second);
        match (first, second) {
            (Ok(first), Ok(second)) => {
                prop_assert_eq!(first.audio_samples, heard_first.iter().map(|(_, samples)| samples.len()).sum::<usize>());
                prop_assert_eq!(first, second);
            }
            (Err(_), Err(_)) => {}
            (first, second) => prop_assert!(false, "{first:?} but {second:?}"),
        }
    }

    #[test]
    fn a_cut_message_is_refused_but_never_panics(cut in 0_usize..200) {
        let text = br#"{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"audio/pcm;rate=24000","data":"AQIDBAUGBwg="}}]},"turnComplete":true},"usageMetadata":{"totalTokenCount":3}}"#;
        prop_assume!(cut < text.len());
        let (result, _) = decode_all(&text[..cut]);
        prop_assert!(matches!(result, Err(ServerDecodeError::Json(_))));
    }
}

#[test]
fn lists_without_end_are_refused_before_they_are_read() {
    let list = |length: usize| vec!["{}"; length].join(",");
    let calls = |n| format!(r#"{{"toolCall":{{"functionCalls":[{}]}}}}"#, list(n));
    let ids = |n| format!(r#"{{"toolCallCancellation":{{"ids":[{}]}}}}"#, vec![r#""i""#; n].join(","));
    let parts = |n| format!(r#"{{"serverContent":{{"modelTurn":{{"parts":[{}]}}}}}}"#, list(n));
    let arguments = |bytes: usize| {
        format!(r#"{{"toolCall":{{"functionCalls":[{{"args":["{}"]}}]}}}}"#, "a".repeat(bytes - 4))
    };
    for (good, bad) in [
        (calls(64), calls(65)),
        (ids(64), ids(65)),
        (parts(1024), parts(1025)),
        (arguments(65_536), arguments(65_537)),
    ] {
        assert!(decode(good.as_bytes(), |_, _| {}).is_ok(), "{good}");
        assert!(decode(bad.as_bytes(), |_, _| {}).is_err(), "{bad}");
    }
}
