"""A relay between mod_audio_stream and Gemini Live as tutorials have it: two tasks a call, JSON and base64, no pacing.

Usage: relay.py HOST:PORT UPSTREAM, where UPSTREAM is ws://HOST:PORT of the model. See README.md.
"""

import asyncio
import base64
import json
import sys
import warnings
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

MODEL_PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent?key=simulated"
MODEL_IN_HZ = 16_000
MODEL_OUT_HZ = 24_000
BYTES_PER_SAMPLE = 2

SETUP = {
    "setup": {
        "model": "models/gemini-2.5-flash-native-audio-preview-12-2025",
        "generationConfig": {"responseModalities": ["AUDIO"]},
    }
}


class Resampler:
    """audioop.ratecv with the state that it needs from one piece to the next."""

    def __init__(self, from_hz, to_hz):
        self.from_hz, self.to_hz, self.state = from_hz, to_hz, None

    def __call__(self, samples):
        if self.from_hz == self.to_hz:
            return samples
        samples, self.state = audioop.ratecv(
            samples, BYTES_PER_SAMPLE, 1, self.from_hz, self.to_hz, self.state
        )
        return samples


async def caller_to_model(leg, model, leg_hz):
    resample = Resampler(leg_hz, MODEL_IN_HZ)
    async for message in leg:
        if isinstance(message, str):
            continue  # the metadata
        data = base64.b64encode(resample(message)).decode()
        audio = {"mimeType": f"audio/pcm;rate={MODEL_IN_HZ}", "data": data}
        await model.send(json.dumps({"realtimeInput": {"audio": audio}}))


async def model_to_caller(leg, model, leg_hz):
    resample = Resampler(MODEL_OUT_HZ, leg_hz)
    async for message in model:
        content = json.loads(message).get("serverContent", {})
        if content.get("interrupted"):
            await leg.send(json.dumps({"type": "clearAudio"}))
        for part in content.get("modelTurn", {}).get("parts", []):
            if inline := part.get("inlineData"):
                await leg.send(resample(base64.b64decode(inline["data"])))


async def call(leg, upstream):
    query = parse_qs(urlsplit(leg.request.path).query)
    leg_hz = int(query.get("rate", ["16000"])[0])
    async with connect(upstream + MODEL_PATH, max_size=None, compression=None) as model:
        await model.send(json.dumps(SETUP))
        await model.recv()
        ways = [
            asyncio.create_task(caller_to_model(leg, model, leg_hz)),
            asyncio.create_task(model_to_caller(leg, model, leg_hz)),
        ]
        done, others = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in others:
            way.cancel()
        for way in done:
            if not isinstance(way.exception(), (ConnectionClosed, type(None))):
                raise way.exception()


async def main(listen, upstream):
    host, _, port = listen.rpartition(":")
    async with serve(lambda leg: call(leg, upstream), host, int(port), compression=None) as server:
        name = server.sockets[0].getsockname()
        print(f"naive relay listening on {name[0]}:{name[1]}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
