"""The admin server as its clients see it: a call on the live board, events, metrics for promtool, the OpenAPI document
under schemathesis, the ways in and the way out."""

import asyncio
import base64
import json
import pathlib
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest
import websockets

from conftest import PATIENCE_S, ROOT, TOKEN

FRAME = bytes(640)


def ask(relay, path, body=None, token=TOKEN, **headers):
    """The status, the body (read as JSON where it is) and the headers of the answer; a body is posted."""
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(relay.admin + path, data, headers)
    try:
        answer = urllib.request.urlopen(request, timeout=PATIENCE_S)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        text = answer.read().decode()
        is_json = "json" in answer.headers.get("Content-Type", "")
        return answer.status, json.loads(text) if is_json else text, answer.headers


class Events:
    """The server-sent events of a relay, one after another."""

    def __init__(self, relay):
        request = urllib.request.Request(relay.admin + "/api/events", headers={"Authorization": f"Bearer {TOKEN}"})
        self.stream = urllib.request.urlopen(request, timeout=PATIENCE_S)

    def until(self, name, wanted=lambda data: True):
        """The first event of this name that is wanted."""
        for line in self.stream:
            if line.startswith(b"event: "):
                event = line.split(b": ", 1)[1].strip().decode()
            elif line.startswith(b"data: ") and event == name:
                data = json.loads(line.split(b": ", 1)[1])
                if wanted(data):
                    return data
        raise AssertionError(f"the stream ended without {name}")


async def talking(relay, uuid, act):
    """A call on which silence is sent while `act` runs in a thread."""
    async with websockets.connect(f"{relay.media}/?rate=16000&uuid={uuid}&did=100&caller=200") as leg:
        done = asyncio.create_task(asyncio.to_thread(act))
        while not done.done():
            await leg.send(FRAME)
            try:
                await asyncio.wait_for(leg.recv(), 0.02)
            except TimeoutError:
                pass
        return await done


def during_a_call(relay, uuid, act):
    return asyncio.run(asyncio.wait_for(talking(relay, uuid, act), 2 * PATIENCE_S))


def test_a_running_call_is_on_the_board_and_in_the_events_until_it_ends(relay):
    events = Events(relay)
    assert events.until("totals")["active"] == 0

    def look():
        calls = events.until("calls", lambda data: data["calls"] and data["calls"][0]["state"] == "live")["calls"]
        [call] = calls
        assert (call["uuid"], call["did"], call["caller"], call["agent"]) == ("board-1", "100", "200", "default")
        for name in (call["id"], "board-1"):
            status, shown, _ = ask(relay, f"/api/calls/{name}")
            assert (status, shown["live"], shown["id"]) == (200, True, call["id"])
            assert set(shown) == {*call, "live", "transcript"}
        status, listed, _ = ask(relay, "/api/calls?state=live&did=100")
        assert (status, [call["id"] for call in listed["calls"]]) == (200, [call["id"]])
        assert ask(relay, "/api/calls?state=live&did=101")[1]["calls"] == []
        status, said, _ = ask(relay, f"/api/calls/{call['id']}/say", {"text": "Good evening."})
        assert (status, said) == (200, {"done": True})
        assert ask(relay, f"/api/calls/{call['id']}/prompt", {"text": "The refund is booked."})[:2] == (200, {"done": True})
        assert ask(relay, f"/api/calls/{call['id']}/prompt", {"text": " "})[0] == 422
        events.until("calls", lambda data: data["calls"][0]["agent_speaking"])
        totals = events.until("totals", lambda data: data["active"] == 1)
        assert totals["calls_total"] >= 1
        assert totals["relay"]["refused"] == {} and totals["relay"]["credentials"][0]["usable"]
        assert ask(relay, f"/api/calls/{call['id']}/transfer", {"to": "2000"})[0] == 422, "its leg cannot"
        return call["id"]

    id = during_a_call(relay, "board-1", look)
    assert events.until("ended")["id"] == id
    assert events.until("calls", lambda data: not data["calls"]) == {"calls": []}
    assert not any("Good evening" in line for line in relay.lines if " DEBUG " not in line), "speech is not logged"


def test_a_page_gets_a_history(relay):
    status, history, _ = ask(relay, "/api/history")
    assert (status, history["interval_s"]) == (200, 10)
    assert {"at", "active", "lateness_ms_p99"} <= set(history["points"][0])


def test_ended_calls_are_judged_exported_and_compared(relay):
    during_a_call(relay, "judged-1", lambda: relay.found(r"the model is ready"))
    deadline = time.monotonic() + PATIENCE_S
    while not (calls := ask(relay, "/api/calls?q=judged-1")[1]["calls"]):
        assert time.monotonic() < deadline, "the record is never kept"
        time.sleep(0.1)
    assert calls[0]["verdict"] and isinstance(calls[0]["problems"], list)
    status, text, headers = ask(relay, "/api/calls/export?q=judged-1")
    assert (status, headers["Content-Type"].split(";")[0]) == (200, "text/csv")
    assert text.startswith("id,uuid,") and text.count("\n") == 2
    status, report, _ = ask(relay, "/api/report?by=agent&q=judged-1")
    assert (status, [(line["name"], line["calls"]) for line in report["lines"]]) == (200, [("default", 1)])
    for wrong in ("calls?sort=id", "calls?problems=many", "calls?ending=well", "calls/export?format=xml", "report?by=moon"):
        status, answer, _ = ask(relay, f"/api/{wrong}")
        assert status == 422 and "known" in answer["error"], wrong


def test_promtool_finds_nothing_wrong_with_the_metrics(relay):
    during_a_call(relay, "metrics-1", lambda: relay.found(r"the model is ready"))
    relay.found(r'ended by .*uuid="metrics-1"')
    status, text, headers = ask(relay, "/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    for line in ("tandem_build_info{version=", "tandem_calls_ended_total{outcome=", 'tandem_credential_usable{credential='):
        assert f"\n{line}" in text, text
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_who_may_ask(relay, start_relay):
    assert ask(relay, "/healthz", token=None)[:2] == (200, "ok\n")
    for path in ("/api/agents", "/metrics", "/readyz", "/api/openapi.json", "/nothing"):
        assert ask(relay, path, token=None)[0] == 401, path
        assert ask(relay, path, token="wrong")[0] == 401, path
    assert ask(relay, "/nothing")[0] == 404
    status, _, headers = ask(relay, "/api/login", {"token": TOKEN}, token=None)
    cookie = headers["Set-Cookie"]
    assert status == 204 and "HttpOnly" in cookie and "SameSite=Strict" in cookie and TOKEN not in cookie
    cookie = cookie.partition(";")[0]
    status, agents, headers = ask(relay, "/api/agents", token=None, Cookie=cookie)
    assert (status, agents["agents"][0]["name"]) == (200, "default")
    assert headers["Cache-Control"] == "no-store" and "default-src 'none'" in headers["Content-Security-Policy"]
    for wrong in (f"{cookie}0", cookie[:-1], f"tandem_token={base64.urlsafe_b64encode(TOKEN.encode()).decode()}"):
        assert ask(relay, "/api/agents", token=None, Cookie=wrong)[0] == 401, wrong
    assert ask(relay, "/api/login", {"token": "wrong"}, token=None)[0] == 401
    own = relay.admin
    for origin, status in ((own, 200), ("http://evil.example", 403), ("null", 403)):
        assert ask(relay, "/api/agents", Origin=origin)[0] == status, origin
    assert not any(TOKEN in line for line in relay.lines), "the token is not logged"
    open_relay = start_relay()
    port = open_relay.admin.rpartition(":")[2]
    for host, status in ((f"localhost:{port}", 200), ("127.0.0.1", 200), ("[::1]:1", 200), ("evil.example", 403)):
        assert ask(open_relay, "/api/agents", token=None, Host=host)[0] == status, host
    assert ask(open_relay, "/api/agents", token=None, Origin="http://evil.example", Host="localhost")[0] == 403


def test_a_browser_has_a_session_of_its_own_that_ends_with_logout(start_relay):
    relay = start_relay(TANDEM_ADMIN_TOKEN=TOKEN)
    port = relay.admin.rpartition(":")[2]
    cookies = []
    for _ in range(2):
        cookie = ask(relay, "/api/login", {"token": TOKEN}, token=None)[2]["Set-Cookie"]
        name, _, value = cookie.partition(";")[0].partition("=")
        assert name == f"tandem_session_{port}", "another server of the host has another cookie"
        assert len(value) == 64 and base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("=") not in cookie
        assert "Max-Age=43200" in cookie and "Path=/" in cookie and "HttpOnly" in cookie and "SameSite=Strict" in cookie
        cookies.append(f"{name}={value}")
    first, second = cookies
    assert first != second
    stream = urllib.request.urlopen(
        urllib.request.Request(relay.admin + "/api/events", headers={"Cookie": first}), timeout=PATIENCE_S)
    assert ask(relay, "/api/agents", token=None, Cookie=f"other=1; {first}")[0] == 200
    status, _, headers = ask(relay, "/api/logout", {}, token=None, Cookie=first)
    assert status == 204 and "Max-Age=0" in headers["Set-Cookie"]
    assert ask(relay, "/api/agents", token=None, Cookie=first)[0] == 401
    assert ask(relay, "/api/agents", token=None, Cookie=second)[0] == 200
    with stream:
        stream.read()  # The stream of events ends with the session in which it was opened.
    for line in relay.lines:
        assert TOKEN not in line and first.partition("=")[2] not in line, line


def test_who_guesses_is_slowed_down_counted_and_told(start_relay):
    relay = start_relay(TANDEM_ADMIN_TOKEN=TOKEN)
    cookie = ask(relay, "/api/login", {"token": TOKEN}, token=None)[2]["Set-Cookie"].partition(";")[0]
    answers, until = [], time.monotonic() + 6

    def guess(number):
        while time.monotonic() < until:
            answers.append(ask(relay, "/api/agents", token=f"guess-{number}-{len(answers)}")[0])

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while time.monotonic() < until - 1:
        # Neither whoever has signed in nor whoever asks for nothing is kept waiting by it.
        begun = time.monotonic()
        assert ask(relay, "/api/agents", token=None, Cookie=cookie)[0] == 200
        assert ask(relay, "/healthz", token=None)[0] == 200
        assert ask(relay, "/api/agents")[0] == 200, "the right token, while fewer guess than fill the places"
        assert time.monotonic() - begun < 1.5
        time.sleep(0.2)
    for thread in threads:
        thread.join()
    assert set(answers) == {401} and len(answers) < 80, len(answers)
    metrics = ask(relay, "/metrics")[1]
    assert f'tandem_admin_tokens_refused_total{{why="wrong"}} {len(answers)}' in metrics
    told = [line for line in relay.lines if "wrong token" in line]
    assert len(told) == 1 and " WARN " in told[0] and "127.0.0.1" in told[0], told


def test_who_did_what_is_in_the_log(start_relay):
    relay = start_relay(TANDEM_ADMIN_TOKEN=TOKEN)
    cookie = ask(relay, "/api/login", {"token": TOKEN}, token=None)[2]["Set-Cookie"].partition(";")[0]
    relay.found(r"INFO .*session 1 begins: signed in from 127\.0\.0\.1")
    for path in ("hangup", "transfer", "dtmf", "break", "variable", "say", "recording/pause"):
        ask(relay, f"/api/calls/nobody/{path}", {"to": "2000"})
        relay.found(rf'INFO .*admin: POST "/api/calls/nobody/{path}" from 127\.0\.0\.1 with the token: status \d+')
    for path, body in (("/api/originate", {"to": "1"}), ("/api/expect", {"uuid": "x-1"}), ("/api/telephone", {})):
        ask(relay, path, body, token=None, Cookie=cookie)
        relay.found(rf'INFO .*admin: POST "{path}" from 127\.0\.0\.1 in session 1: status \d+')
    for path in ("recording", "listen"):
        ask(relay, f"/api/calls/nobody/{path}", token=None, Cookie=cookie)
        relay.found(rf'INFO .*admin: GET "/api/calls/nobody/{path}" from 127\.0\.0\.1 in session 1: status 404')
    ask(relay, "/api/calls", token=None, Cookie=cookie)
    ask(relay, "/api/drain", {"seconds": 0})
    relay.found(r'INFO .*admin: POST "/api/drain" from 127\.0\.0\.1 with the token: status 202')
    assert not any('INFO' in line and '"/api/calls"' in line for line in relay.lines), "reading is not noted"


def test_limits_of_a_request_are_answers(relay):
    assert ask(relay, "/api/expect", {"uuid": "x", "did": "1" * 20_000})[0] == 413
    assert ask(relay, "/api/agents", **{"X-Long": "x" * 40_000})[0] == 431
    assert ask(relay, "/api/agents", {})[0] == 405


def test_the_document_is_kept_under_fuzzing(relay, tmp_path):
    run = subprocess.run(
        [
            pathlib.Path(sys.executable).with_name("schemathesis"), "run", ROOT / "docs/openapi.json", "--url", relay.admin,
            "--header", f"Authorization: Bearer {TOKEN}",
            # What a switch may be told is stricter than a schema says (docs/control.md).
            "--exclude-checks", "positive_data_acceptance",
            # The one ends the relay, the other never ends.
            "--exclude-path", "/api/drain", "--exclude-path", "/api/events",
            "--phases", "examples,coverage,fuzzing", "--max-examples", "20", "--request-timeout", "20",
            "--max-time", "30", "--seed", "1", "--generation-database", "none", "--no-color",
        ],  # fmt: skip
        # Where it keeps a cache of its own.
        cwd=tmp_path,
        capture_output=True, text=True, timeout=4 * PATIENCE_S)  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr


def test_drain_refuses_calls_lets_running_ones_finish_and_ends_the_process(start_relay):
    relay = start_relay(TANDEM_ADMIN_TOKEN=TOKEN)
    status, readiness, _ = ask(relay, "/readyz")
    assert (status, readiness["ready"]) == (200, True)
    assert set(readiness["checks"]) == {"credentials", "capacity", "store", "draining"}

    def drain():
        relay.found(r"the model is ready")
        assert ask(relay, "/api/drain", {"seconds": -1})[0] == 422
        status, answer, _ = ask(relay, "/api/drain", {"seconds": 60})
        assert (status, answer) == (202, {"draining": True, "moving": False, "calls": 1, "seconds": 60})
        status, readiness, _ = ask(relay, "/readyz")
        assert (status, readiness["ready"], readiness["checks"]["draining"]["ok"]) == (503, False, False)
        with pytest.raises(websockets.exceptions.InvalidStatus):
            asyncio.run(talking(relay, "late-1", lambda: None))

    during_a_call(relay, "drain-1", drain)
    assert relay.ended() == 0
