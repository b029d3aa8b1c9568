"""Checks recorded client messages against the types of Google's own SDK, with nothing extra allowed.

    python strict_types.py RECORD.jsonl

RECORD.jsonl is what `gemini-sim --record` writes. Exit status 0: every message passes. 1: one line on standard output
for each fault, naming line and field. 2: the file cannot be read.

The pydantic types of google-genai know both spellings and forbid extra fields. In three places they alone are not the
judge:
* `LiveClientSetup` omits `realtimeInputConfig`, which the SDK sends all the same: it is added here.
* Their enums take any string, with a warning: here the warning is a fault.
* Their scalars are lax ("true" for True): here they are strict, base64 excepted, which has its own check.
"""

import json
import sys
import warnings
from typing import Optional

import pydantic
from google.genai import types


class Setup(types.LiveClientSetup):
    """The setup as the SDK sends it."""

    realtime_input_config: Optional[types.RealtimeInputConfig] = None
    # The SDK's own `tools` and `systemInstruction` also take what only its callers pass in, such as Python functions
    # and bare strings.
    tools: Optional[list[types.Tool]] = None
    system_instruction: Optional[types.Content] = None


class ContextTools(types.LiveClientContextUpdateTools):
    """The tools of a context update on the wire."""

    tools: Optional[list[types.Tool]] = None


class ContextUpdate(types.LiveClientContextUpdate):
    """A context update on the wire."""

    system_instruction: Optional[types.Content] = None
    tools: Optional[ContextTools] = None


class ClientMessage(types.LiveClientMessage):
    """A client message on the wire."""

    setup: Optional[Setup] = None
    context_update: Optional[ContextUpdate] = None


def faults_of(message):
    """What is wrong with one message, as texts that begin with the field."""
    if not isinstance(message, dict):
        return ["message: not a JSON object"]
    if len(message) != 1:
        return [f"message: exactly one kind is allowed, not {len(message)}: {', '.join(message) or 'none'}"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            ClientMessage.model_validate_json(json.dumps(message))
        except pydantic.ValidationError as error:
            return [f"{dotted(fault['loc'])}: {fault['msg']}" for fault in error.errors()]
    found = [f"message: {warning.message}" for warning in caught]
    return found + list(scalar_faults(message, ClientMessage, ()))


def scalar_faults(value, kind, place):
    """Booleans, numbers and strings that only a lax reader takes for what the field wants."""
    fields = {}
    for name, field in kind.model_fields.items():
        fields[name] = fields[field.alias or name] = field
    for name, inner in value.items():
        wanted = [part for part in getattr(fields[name].annotation, "__args__", ()) if part is not type(None)]
        here = (*place, name)
        for option in wanted:
            of = getattr(option, "__args__", (None,))[0]
            if isinstance(option, type) and issubclass(option, pydantic.BaseModel) and isinstance(inner, dict):
                yield from scalar_faults(inner, option, here)
            elif isinstance(of, type) and issubclass(of, pydantic.BaseModel) and isinstance(inner, list):
                for number, item in enumerate(inner):
                    yield from scalar_faults(item, of, (*here, number))
            elif option is bool and not isinstance(inner, bool):
                yield f"{dotted(here)}: {inner!r} is not true or false"
            elif option is str and not isinstance(inner, str):
                yield f"{dotted(here)}: {inner!r} is not a string"


def dotted(place):
    return ".".join(map(str, place)) or "message"


def main(path):
    count = bad = 0
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                count += 1
                try:
                    found = faults_of(json.loads(line)["message"])
                except (ValueError, KeyError, TypeError) as error:
                    found = [f"message: not a recorded message: {error!r}"]
                for fault in found:
                    print(f"line {number}: {fault}")
                bad += bool(found)
    except OSError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{count} messages, {bad} refused by the SDK's types", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print("usage: strict_types.py RECORD.jsonl", file=sys.stderr)
        sys.exit(2)
    sys.exit(main(sys.argv[1]))
