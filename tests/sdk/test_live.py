"""Google's Python SDK (google-genai) holds sessions with gemini-sim: only what the SDK accepts counts."""

import asyncio
import json
import pathlib
import re
import subprocess
import sys

import pytest
from conftest import speech
from google import genai
from google.genai import errors, types

MODEL = "gemini-3.8-live"
SILENCE_20_MS = bytes(640)
LONGEST_TEST_S = 30
# Bytes of the half second that the simulator answers with: 24 kHz, 16 bit.
SHORT = 24000


def client(url, api_key="some-key", version="v1beta", **more):
    return genai.Client(api_key=api_key, http_options={"base_url": url, "api_version": version}, **more)


def run(test):
    """Runs an async test under one deadline."""

    async def bounded():
        async with asyncio.timeout(LONGEST_TEST_S):
            await test

    asyncio.run(bounded())


async def say(session, pcm, chunk=640, silence_s=0.8):
    """Speaks faster than real time, which the server's detector does not mind, and is then silent."""
    for at in range(0, len(pcm), chunk):
        await send(session, pcm[at : at + chunk])
    for _ in range(int(silence_s * 50)):
        await send(session, SILENCE_20_MS)


async def send(session, pcm):
    await session.send_realtime_input(audio=types.Blob(data=pcm, mime_type="audio/pcm;rate=16000"))


class Turn:
    """What one turn brought."""

    def __init__(self):
        self.audio = b""
        self.chunks = 0
        self.heard = ""
        self.said = ""
        self.order = []
        self.usage = None
        self.interrupted = False
        self.messages = []

    def take(self, message):
        self.messages.append(message)
        content = message.server_content
        self.usage = message.usage_metadata or self.usage
        if message.tool_call:
            self.order.append("tool_call")
        if not content:
            return
        if message.data:
            assert content.model_turn.parts[0].inline_data.mime_type == "audio/pcm;rate=24000"
            self.audio += message.data
            self.chunks += 1
            self.order.append("audio")
        if content.input_transcription:
            self.heard += content.input_transcription.text
        if content.output_transcription:
            self.said += content.output_transcription.text
        for name in ("interrupted", "generation_complete", "turn_complete"):
            if getattr(content, name):
                self.order.append(name)
        self.interrupted |= bool(content.interrupted)


async def turn(session):
    result = Turn()
    async for message in session.receive():
        result.take(message)
    return result


async def until(session, found):
    """Receives across turns until a message satisfies `found`."""
    while True:
        async for message in session.receive():
            if found(message):
                return message


def test_a_spoken_question_is_answered_with_audio_transcriptions_and_usage(simulator):
    async def test():
        config = {
            "response_modalities": ["AUDIO"],
            "system_instruction": "Be brief.",
            "speech_config": {"voice_config": {"prebuilt_voice_config": {"voice_name": "Puck"}}},
            "input_audio_transcription": {},
            "output_audio_transcription": {},
            "realtime_input_config": {"automatic_activity_detection": {"silence_duration_ms": 300}},
            "context_window_compression": {"trigger_tokens": 10000, "sliding_window": {"target_tokens": 5000}},
        }
        url = simulator("--voice", "answer", "--burst", "20", answer=None)
        async with client(url).aio.live.connect(model=MODEL, config=config) as session:
            assert session.session_id == "sim-1"
            await say(session, speech("question.wav"))
            answer = await turn(session)
        # 3.7 s at 24 kHz, 40 ms a chunk.
        assert abs(len(answer.audio) / 48000 - 3.69) < 0.01
        assert answer.chunks == 93
        assert answer.order[-2:] == ["generation_complete", "turn_complete"]
        assert answer.said == "It is open until nine o'clock this evening. Anything else?"
        assert re.fullmatch(r"The caller spoke for 3\.\d\d seconds\.", answer.heard)
        assert answer.usage.response_token_count == int(3.69 * 25)
        assert answer.usage.total_token_count > answer.usage.prompt_token_count > 0
        assert answer.usage.prompt_tokens_details[0].modality == types.MediaModality.AUDIO

    run(test())


def test_the_parrot_repeats_what_it_heard(simulator):
    async def test():
        async with client(simulator("--burst", "0")).aio.live.connect(model=MODEL) as session:
            await say(session, speech("question.wav"))
            answer = await turn(session)
        said = len(speech("question.wav")) / 32000
        assert abs(len(answer.audio) / 48000 - said) < 0.4
        assert max(answer.audio[1::2]) > 10

    run(test())


def test_the_echo_returns_each_chunk_at_once(simulator):
    async def test():
        async with client(simulator("--voice", "echo")).aio.live.connect(model=MODEL) as session:
            receiver = session.receive()
            for _ in range(50):
                await send(session, bytes([0, 40]) * 320)
                message = await anext(receiver)
                assert len(message.data) == 960

    run(test())


@pytest.mark.parametrize("framing", ["--text-frames", "--pretty", "--fragment"])
def test_every_framing_is_understood(simulator, framing):
    async def test():
        url = simulator("--voice", "answer", "--burst", "0", framing)
        async with client(url).aio.live.connect(model=MODEL) as session:
            await session.send_realtime_input(text="Hello")
            assert len((await turn(session)).audio) == SHORT

    run(test())


def test_text_and_client_content_are_answered(simulator):
    async def test():
        async with client(simulator("--burst", "20")).aio.live.connect(model=MODEL) as session:
            await session.send_realtime_input(text="Greet the caller.")
            assert len((await turn(session)).audio) == SHORT
            # Without turn_complete the model waits; with it, it answers once.
            greeting = types.Content(role="user", parts=[types.Part(text="The caller is Ada.")])
            await session.send_client_content(turns=greeting, turn_complete=False)
            await session.send_client_content(turns=greeting)
            assert len((await turn(session)).audio) == SHORT

    run(test())


def test_history_is_seeded_without_an_answer(simulator):
    async def test():
        config = {"history_config": {"initial_history_in_client_content": True}}
        url = simulator("--voice", "answer", "--burst", "20")
        async with client(url).aio.live.connect(model=MODEL, config=config) as session:
            await session.send_client_content(turns={"role": "user", "parts": [{"text": "Earlier."}]})
            await session.send_realtime_input(text="Now")
            await turn(session)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await turn(session)

    run(test())


def test_speech_interrupts_the_model_and_is_answered(simulator):
    async def test():
        url = simulator("--voice", "answer", "--burst", "1", answer=None)
        async with client(url).aio.live.connect(model=MODEL) as session:
            await session.send_realtime_input(text="Tell me something long.")
            receiver = session.receive()
            for _ in range(10):
                await anext(receiver)
            await say(session, speech("question.wav"))
            first = Turn()
            async for message in receiver:
                first.take(message)
            assert first.order[-2:] == ["interrupted", "turn_complete"]
            assert "generation_complete" not in first.order
            second = await turn(session)
            assert not second.interrupted and len(second.audio) > 100_000

    run(test())


def test_no_interruption_means_that_the_model_finishes_first(simulator):
    async def test():
        config = {"realtime_input_config": {"activity_handling": "NO_INTERRUPTION"}}
        url = simulator("--voice", "answer", "--burst", "4")
        async with client(url).aio.live.connect(model=MODEL, config=config) as session:
            await session.send_realtime_input(text="Tell me something.")
            await say(session, speech("question.wav"))
            first, second = await turn(session), await turn(session)
            assert len(first.audio) == len(second.audio) == SHORT
            assert not first.interrupted and not second.interrupted

    run(test())


def test_the_client_may_say_when_the_caller_speaks(simulator):
    async def test():
        config = {"realtime_input_config": {"automatic_activity_detection": {"disabled": True}}}
        async with client(simulator("--burst", "20")).aio.live.connect(model=MODEL, config=config) as session:
            await session.send_realtime_input(activity_start=types.ActivityStart())
            for _ in range(50):
                await send(session, SILENCE_20_MS)
            await session.send_realtime_input(activity_end=types.ActivityEnd())
            assert abs(len((await turn(session)).audio) / 48000 - 1.0) < 0.2

    run(test())


def test_audio_stream_end_commits_what_was_said(simulator):
    async def test():
        async with client(simulator("--burst", "20")).aio.live.connect(model=MODEL) as session:
            await say(session, speech("question.wav"), silence_s=0)
            await session.send_realtime_input(audio_stream_end=True)
            assert len((await turn(session)).audio) > 100_000

    run(test())


TOOLS = [
    {
        "function_declarations": [
            {
                "name": "look_up",
                "description": "Looks opening hours up.",
                "parameters": {"type": "OBJECT", "properties": {"place": {"type": "STRING"}}},
            }
        ]
    }
]


def test_a_tool_is_called_and_its_result_awaited(simulator):
    async def test():
        url = simulator("--voice", "answer", "--burst", "20", "--fault", 'tool:look_up:{"place":"pharmacy"}@turn1')
        async with client(url).aio.live.connect(model=MODEL, config={"tools": TOOLS}) as session:
            await session.send_realtime_input(text="When does it close?")
            result = Turn()
            async for message in session.receive():
                result.take(message)
                if message.tool_call:
                    (call,) = message.tool_call.function_calls
                    assert (call.name, call.args) == ("look_up", {"place": "pharmacy"})
                    await session.send_tool_response(
                        function_responses=types.FunctionResponse(id=call.id, name=call.name, response={"output": "9"})
                    )
            assert result.order[0] == "tool_call" and result.order[1] == "audio"

    run(test())


def test_an_interruption_cancels_the_tool_call(simulator):
    async def test():
        url = simulator("--voice", "answer", "--burst", "20", "--tool-call", "look_up@1")
        async with client(url).aio.live.connect(model=MODEL, config={"tools": TOOLS}) as session:
            await session.send_realtime_input(text="When does it close?")
            call = (await until(session, lambda message: message.tool_call)).tool_call.function_calls[0]
            await say(session, speech("question.wav"))
            cancelled = await until(session, lambda message: message.tool_call_cancellation)
            assert cancelled.tool_call_cancellation.ids == [call.id]
            assert (await turn(session)).order == ["interrupted", "turn_complete"]
            assert len((await turn(session)).audio) == SHORT

    run(test())


def non_blocking(behavior="NON_BLOCKING"):
    (tool,) = TOOLS
    (declaration,) = tool["function_declarations"]
    return [{"function_declarations": [{**declaration, "behavior": behavior}]}]


@pytest.mark.parametrize(
    ("scheduling", "order"),
    [
        ("WHEN_IDLE", ["audio", "generation_complete", "turn_complete"]),
        ("INTERRUPT", ["interrupted", "turn_complete"]),
    ],
)
def test_a_tool_that_does_not_block_is_spoken_of_when_its_response_says(simulator, scheduling, order):
    async def test():
        url = simulator("--voice", "answer", "--burst", "1", "--tool-call", "look_up@1")
        config = {"tools": non_blocking()}
        async with client(url).aio.live.connect(model=MODEL, config=config) as session:
            await session.send_realtime_input(text="When does it close?")
            call = (await until(session, lambda message: message.tool_call)).tool_call.function_calls[0]
            # The turn goes on meanwhile.
            await until(session, lambda message: message.data)
            await session.send_tool_response(
                function_responses=types.FunctionResponse(
                    id=call.id, name=call.name, response={"output": "9"}, scheduling=scheduling
                )
            )
            # What was under way ends, or is cut off; then the simulator speaks of the result.
            ended = await turn(session)
            assert [name for name in ended.order if name != "audio"] == [name for name in order if name != "audio"]
            assert len((await turn(session)).audio) == SHORT

    run(test())


def test_a_silent_response_is_not_spoken_of_and_blocking_functions_have_no_scheduling(simulator):
    async def test():
        url = simulator("--voice", "answer", "--burst", "20", "--tool-call", "look_up@1")
        for behavior in ("NON_BLOCKING", "BLOCKING"):
            config = {"tools": non_blocking(behavior)}
            async with client(url).aio.live.connect(model=MODEL, config=config) as session:
                await session.send_realtime_input(text="When does it close?")
                call = (await until(session, lambda message: message.tool_call)).tool_call.function_calls[0]
                response = types.FunctionResponse(
                    id=call.id, name=call.name, response={"output": "9"}, scheduling="SILENT"
                )
                await session.send_tool_response(function_responses=response)
                if behavior == "BLOCKING":
                    with pytest.raises(errors.APIError) as refused:
                        await turn(session)
                    assert refused.value.code == 1007
                    continue
                await turn(session)
                await session.send_realtime_input(text="And now?")
                # The next turn is the answer to this, not to the response: there is none behind it.
                assert len((await turn(session)).audio) == SHORT

    run(test())


def test_a_resumed_session_goes_on_counting_and_one_that_was_forgotten_begins_again(simulator):
    async def test():
        for flags, goes_on in [((), True), (("--fault", "forget@resume"), False)]:
            url = simulator("--voice", "answer", "--burst", "20", *flags)
            live = client(url).aio.live
            compression = {"trigger_tokens": 10000, "sliding_window": {"target_tokens": 5000}}
            config = {"session_resumption": {}, "context_window_compression": compression}
            async with live.connect(model=MODEL, config=config) as session:
                await session.send_realtime_input(text="Remember me. " * 100)
                before = (await turn(session)).usage.prompt_token_count
                message = await until(session, lambda message: handle_of(message))
            config["session_resumption"] = {"handle": handle_of(message)}
            async with live.connect(model=MODEL, config=config) as session:
                await session.send_realtime_input(text="Who am I?")
                assert ((await turn(session)).usage.prompt_token_count > before) == goes_on

    def handle_of(message):
        update = message.session_resumption_update
        return update and update.resumable and update.new_handle

    run(test())


def test_a_swallowed_utterance_is_answered_once_the_client_commits_it(simulator):
    async def test():
        url = simulator("--voice", "answer", "--burst", "20", "--fault", "swallow:5000@setup")
        async with client(url).aio.live.connect(model=MODEL) as session:
            await say(session, speech("question.wav"))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await turn(session)
        async with client(url).aio.live.connect(model=MODEL) as session:
            await say(session, speech("question.wav"))
            await session.send_realtime_input(audio_stream_end=True)
            assert len((await turn(session)).audio) == SHORT

    run(test())


def test_one_session_too_many_for_a_key_is_refused(simulator):
    async def test():
        live = client(simulator("--sessions-per-key", "1")).aio.live
        async with live.connect(model=MODEL):
            with pytest.raises(errors.APIError) as refused:
                async with live.connect(model=MODEL):
                    pass
            assert refused.value.code == 1011 and "exceeded your current quota" in str(refused.value)

    run(test())


def test_a_session_is_resumed_by_its_handle_once_the_old_socket_is_closed(simulator):
    async def test():
        url = simulator("--voice", "answer", "--burst", "20")
        live = client(url).aio.live
        async with live.connect(model=MODEL, config={"session_resumption": {}}) as session:
            await session.send_realtime_input(text="Remember me.")
            await turn(session)
            update = (await until(session, resumable)).session_resumption_update
            again = {"session_resumption": {"handle": update.new_handle}}
            with pytest.raises(errors.APIError) as refused:
                async with live.connect(model=MODEL, config=again):
                    pass
            assert refused.value.code == 1011
        async with live.connect(model=MODEL, config=again) as session:
            assert session.session_id == "sim-1"
            newer = (await until(session, resumable)).session_resumption_update
            assert newer.new_handle != update.new_handle
        with pytest.raises(errors.APIError) as refused:
            async with live.connect(model=MODEL, config={"session_resumption": {"handle": "made-up"}}):
                pass
        assert refused.value.code == 1007

    def resumable(message):
        update = message.session_resumption_update
        return update and update.resumable and update.new_handle

    run(test())


def test_go_away_comes_before_the_close(simulator):
    async def test():
        async with client(simulator("--fault", "go-away:500@100ms")).aio.live.connect(model=MODEL) as session:
            message = await until(session, lambda message: message.go_away)
            assert message.go_away.time_left == "0.5s"
            with pytest.raises(errors.APIError) as closed:
                await turn(session)
            assert closed.value.code == 1008

    run(test())


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        ({"api_key": "wrong"}, 1007, "API key not valid"),
        ({"model": "gemini-0.1-live"}, 1008, "not found"),
        ({"config": {"response_modalities": ["TEXT"]}}, 1007, "response modalities"),
        ({"config": {"thinking_config": {"thinking_budget": 0}}}, 1007, "hinking"),
        ({"config": {"enable_affective_dialog": True}}, 1007, "affective"),
        ({"config": {"proactivity": {"proactive_audio": False}}}, 1007, "proactivity"),
        ({"config": {"speech_config": {"language_code": "en-US", "voice_config": {"voice": "Nobody"}}}}, 1007, "Nobody"),
        ({"model": "gemini-3.8-live-extended-thinking"}, 1007, "thinking_level"),
    ],
)
def test_what_the_service_refuses_is_refused_with_its_code(simulator, more, code, words):
    async def test():
        url = simulator("--api-key", "right")
        live = client(url, api_key=more.get("api_key", "right")).aio.live
        with pytest.raises(errors.APIError) as refused:
            async with live.connect(model=more.get("model", MODEL), config=more.get("config")):
                pass
        assert refused.value.code == code
        assert words in str(refused.value)

    run(test())


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        ({"media": types.Blob(data=b"\0\0", mime_type="audio/pcm")}, 1007, "media_chunks is deprecated"),
        ({"activity_start": types.ActivityStart()}, 1007, "Explicit activity control"),
    ],
)
def test_what_a_session_refuses_is_refused_with_its_code(simulator, message, code, words):
    async def test():
        async with client(simulator()).aio.live.connect(model=MODEL) as session:
            await session.send_realtime_input(**message)
            with pytest.raises(errors.APIError) as closed:
                await turn(session)
        assert closed.value.code == code
        assert words in str(closed.value)

    run(test())


def test_bundled_fields_empty_turns_and_unknown_fields_are_survived(simulator):
    async def test():
        url = simulator(
            *("--voice", "answer", "--burst", "0", "--fault", "bundle@turn1", "--fault", "empty-turn@turn2"),
            *("--fault", "unknown-fields@turn3", "--fault", "ping@turn3", "--fault", "huge:900000@turn3"),
        )
        config = {"output_audio_transcription": {}}
        async with client(url).aio.live.connect(model=MODEL, config=config) as session:
            await session.send_realtime_input(text="One")
            bundled = await turn(session)
            last = bundled.messages[-1]
            assert last.data and last.server_content.turn_complete and last.server_content.output_transcription.text
            assert len(bundled.audio) == SHORT
            await session.send_realtime_input(text="Two")
            assert (await turn(session)).order == ["generation_complete", "turn_complete"]
            await session.send_realtime_input(text="Three")
            assert len((await turn(session)).audio) == SHORT

    run(test())


def test_scripted_ends_look_like_what_they_are(simulator, tmp_path):
    async def test():
        script = tmp_path / "script.json"
        faults = [
            "http:429@upgrade#1",
            "close:1011:You exceeded your current quota@setup#2",
            "drop@turn1.mid#3",
            "delay:700@setup#4",
        ]
        script.write_text(json.dumps({"faults": faults}))
        live = client(simulator("--voice", "answer", "--script", str(script))).aio.live
        with pytest.raises(Exception, match="429"):
            async with live.connect(model=MODEL):
                pass
        with pytest.raises(errors.APIError) as closed:
            async with live.connect(model=MODEL):
                pass
        assert closed.value.code == 1011 and "quota" in str(closed.value)
        async with live.connect(model=MODEL) as session:
            await session.send_realtime_input(text="Hello")
            with pytest.raises(errors.APIError) as closed:
                await turn(session)
            assert closed.value.code == 1006
        before = asyncio.get_running_loop().time()
        async with live.connect(model=MODEL):
            assert asyncio.get_running_loop().time() - before >= 0.7

    run(test())


def test_every_endpoint_and_credential_is_accepted(simulator):
    async def test():
        url = simulator("--api-key", "right")
        for version in ("v1", "v1alpha", "v1beta"):
            async with client(url, api_key="right", version=version).aio.live.connect(model=MODEL):
                pass
        with pytest.warns(errors.ExperimentalWarning):
            async with client(url, api_key="auth_tokens/abc", version="v1alpha").aio.live.connect(model=MODEL):
                pass

    run(test())


def test_vertex_ai_in_express_mode(simulator):
    async def test():
        vertex = client(simulator("--api-key", "right"), api_key="right", version="v1beta1", vertexai=True)
        name = "projects/p/locations/us-central1/publishers/google/models/gemini-live-2.5-flash-native-audio"
        config = {"session_resumption": {"transparent": True}}
        async with vertex.aio.live.connect(model=name, config=config) as session:
            await session.send_client_content(turns={"role": "user", "parts": [{"text": "Hello"}]})
            answer = await turn(session)
            assert len(answer.audio) == SHORT
            # The Vertex API's candidatesTokenCount.
            assert answer.usage.response_token_count > 0
            update = await until(session, lambda message: (message.session_resumption_update or Nothing).new_handle)
            assert update.session_resumption_update.last_consumed_client_message_index == 1

    run(test())


class Nothing:
    new_handle = None


def test_the_record_holds_every_message_and_passes_the_sdks_own_types(simulator, tmp_path):
    record = tmp_path / "record.jsonl"

    async def test():
        config = {
            "tools": TOOLS,
            "session_resumption": {},
            "input_audio_transcription": {},
            "realtime_input_config": {"automatic_activity_detection": {"silence_duration_ms": 300}},
        }
        url = simulator("--voice", "answer", "--burst", "20", "--record", str(record), "--tool-call", "look_up@1")
        async with client(url).aio.live.connect(model=MODEL, config=config) as session:
            await session.send_client_content(turns={"role": "user", "parts": [{"text": "Hello"}]})
            call = (await until(session, lambda message: message.tool_call)).tool_call.function_calls[0]
            answer = types.FunctionResponse(id=call.id, name=call.name, response={"output": "9"})
            await session.send_tool_response(function_responses=answer)
            await turn(session)
            await say(session, speech("question.wav")[:6400], silence_s=0)
            await session.send_realtime_input(audio_stream_end=True)
            await turn(session)

    run(test())
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    kinds = [next(iter(line["message"])) for line in lines]
    assert kinds == ["setup", "client_content", "tool_response"] + ["realtime_input"] * 11
    assert {line["session"] for line in lines} == {1}
    assert strict(record).returncode == 0


WRONG = [
    ({"setup": {"model": "m", "generationConfig": {"speech": {}}}}, "setup.generationConfig.speech"),
    ({"setup": {"model": "m", "realtimeInputConfig": {"disabled": True}}}, "setup.realtimeInputConfig.disabled"),
    ({"setup": {"model": 3}}, "setup.model"),
    ({"setup": {"systemInstruction": "Be brief"}}, "setup.systemInstruction"),
    ({"setup": {"tools": [{"functionDeclarations": [{"nam": "x"}]}]}}, "functionDeclarations.0.nam"),
    ({"setup": {"generationConfig": {"responseModalities": ["SMELL"]}}}, "SMELL"),
    ({"setup": {"outputAudioTranscription": True}}, "setup.outputAudioTranscription"),
    ({"realtimeInput": {"audio": {"mime": "audio/pcm"}}}, "realtimeInput.audio.mime"),
    ({"realtimeInput": {"audio": {"mimeType": "audio/pcm", "data": "%"}}}, "realtimeInput.audio.data"),
    ({"realtimeInput": {"audioStreamEnd": "true"}}, "realtimeInput.audioStreamEnd"),
    ({"realtimeInput": {"activityStart": True}}, "realtimeInput.activityStart"),
    ({"clientContent": {"turns": [{"text": "hi"}]}}, "clientContent.turns.0.text"),
    ({"toolResponse": {"functionResponses": [{"id": 7}]}}, "toolResponse.functionResponses.0.id"),
    ({"config": {}}, "config"),
    ({}, "exactly one"),
    ("not an object", "message"),
]


def test_the_strict_check_names_line_and_field(tmp_path):
    record = tmp_path / "record.jsonl"
    fine = {"realtimeInput": {"text": "fine"}}
    messages = [part for message, _ in WRONG for part in (fine, message)]
    record.write_text("".join(json.dumps({"session": 1, "message": message}) + "\n" for message in messages))
    result = strict(record)
    assert result.returncode == 1
    for number, (message, place) in enumerate(WRONG):
        line = f"line {2 * number + 2}: "
        faults = [fault for fault in result.stdout.splitlines() if fault.startswith(line)]
        assert any(place in fault for fault in faults), f"{message}: {faults}"
    good = {f"line {2 * number + 1}" for number in range(len(WRONG))}
    assert not good & {fault.partition(":")[0] for fault in result.stdout.splitlines()}


def strict(record):
    script = pathlib.Path(__file__).with_name("strict_types.py")
    return subprocess.run([sys.executable, script, record], capture_output=True, text=True, check=False)
