"""Where calls go: the dialplan of deploy/freeswitch/ evaluated by frslint, with the settings as they are installed.

Run by `make dialplan`. frslint does not expand settings inside expressions, so that is done before, the way FreeSWITCH's
preprocessor does it: textually.
"""

import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "deploy" / "freeswitch"
FRSLINT = Path(sys.executable).with_name("frslint")
AI = ["answer", "sleep: 500", "lua: start_audio_stream.lua ws://127.0.0.1:9094/ mono 16k", "hangup"]
IVR = ["answer", "sleep: 500", "ivr: tandem_ivr", "hangup"]


def settings():
    text = (FILES / "vars_tandem.xml").read_text()
    told = dict(re.findall(r'<X-PRE-PROCESS cmd="set" data="([^="]+)=([^"]*)"/>', text))
    # What a command prints: the relay's token, which is not there.
    return told | {name: "none" for name in re.findall(r'<X-PRE-PROCESS cmd="exec-set" data="([^="]+)=', text)}


@pytest.fixture(scope="module")
def switch(tmp_path_factory):
    """A configuration with nothing but ours in it."""
    conf = tmp_path_factory.mktemp("conf")
    shutil.copytree(FILES, conf, dirs_exist_ok=True)
    for path in conf.rglob("*.xml"):
        text = path.read_text()
        for name, value in settings().items():
            text = text.replace("$${" + name + "}", value)
        path.write_text(text)
    include = '<X-PRE-PROCESS cmd="include" data="{}"/>\n'
    (conf / "vars.xml").write_text("<include>\n" + include.format("vars_tandem.xml") + "</include>\n")
    for context in ["public", "default"]:
        (conf / "dialplan" / f"{context}.xml").write_text(
            f'<include>\n<context name="{context}">\n' + include.format(f"{context}/*.xml") + "</context>\n</include>\n"
        )
    (conf / "autoload_configs" / "ivr.conf.xml").write_text(
        '<configuration name="ivr.conf">\n<menus>\n' + include.format("../ivr_menus/*.xml") + "</menus>\n</configuration>\n"
    )
    whole = conf / "freeswitch.xml"
    whole.write_text(
        '<document type="freeswitch/xml">\n' + include.format("vars.xml")
        + '<section name="configuration">\n' + include.format("autoload_configs/*.xml") + "</section>\n"
        + '<section name="dialplan">\n' + include.format("dialplan/*.xml") + "</section>\n</document>\n"
    )
    return whole


def actions(switch, number, context="public"):
    """What the dialplan does with a number: its applications with their data, in order."""
    run = subprocess.run(
        [FRSLINT, "debug", switch, number, "-c", context], capture_output=True, text=True, timeout=60, check=False
    )
    assert "-" * 60 in run.stdout, run.stdout + run.stderr
    lines = run.stdout.rsplit("-" * 60, 1)[1].splitlines()
    return [line for line in lines if line and "Condition match" not in line]


@pytest.mark.parametrize("number", ["9094", "+9094"])
def test_a_number_of_the_ai_goes_to_the_ai(switch, number):
    assert actions(switch, number) == AI


def test_a_number_of_the_ivr_goes_to_the_ivr(switch):
    assert actions(switch, "9095") == IVR


def test_with_a_relay_that_does_not_answer_the_ivr_takes_the_call(switch):
    # frslint has no mod_curl: its answer is that of a relay that is down.
    assert actions(switch, "9096")[-4:] == IVR


@pytest.mark.parametrize("number", ["909", "90944", "19094", "9094x", "", "none", "909|4"])
def test_other_numbers_are_left_to_the_rest_of_the_dialplan(switch, number):
    assert actions(switch, number) == []


def test_the_way_back_ends_in_the_ivr(switch):
    assert settings()["tandem_fallback_extension"] == "tandem_ivr"
    assert settings()["tandem_fallback_context"] == "public"
    assert actions(switch, "tandem_ivr") == ["answer", "ivr: tandem_ivr", "hangup"]


@pytest.mark.parametrize("number", ["9094", "9095", "9096", "tandem_ivr"])
def test_a_registered_telephone_reaches_the_same_numbers(switch, number):
    assert actions(switch, number, "default") == [f"transfer: {number} XML public"]


def test_frslint_finds_no_error(switch):
    run = subprocess.run([FRSLINT, "analyze", switch], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0 and "0 errors" in run.stdout, run.stdout


def test_the_ai_is_asked_for_and_its_answer_is_read():
    extensions = ET.parse(FILES / "dialplan" / "public" / "00_tandem.xml").getroot()
    both = extensions.find("extension[@name='Inbound_DID_AI_or_IVR']")
    number, caller, asked = both.findall("condition")
    for answer, admitted in [
        ('{"admit":true}', True), ('{ "admit" : true }', True), ('{"admit":false,"reason":"full"}', False), ("", False),
        ("-ERR no reply", False), ('{"reason":"\\"admit\\" true"}', False),
    ]:
        assert bool(re.search(asked.get("expression"), answer)) is admitted, answer
    # Digits only reach the request: what a caller names himself is not expanded.
    assert re.findall(r"(?<!\$)\$\{(\w+)\}", asked.get("field")) == ["tandem_did", "tandem_caller"]
    assert caller.get("break") == "never" and caller.get("expression") == r"^\+?([0-9]{1,20})$"
    in_data = [action.get("data") for action in asked.findall("action")]
    assert in_data == [None, "500", "start_audio_stream.lua $${audio_stream_url} mono 16k", None]
    assert "connect-timeout 1 timeout 2" in asked.get("field")
    assert number.find("action").get("inline") == "true" and caller.find("action").get("inline") == "true"
