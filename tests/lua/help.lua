-- What the tests of the scripts share: a switch with one call, and assertions that say what they saw.

local Switch = require("switch")

local help = {}

help.UUID = "0a1b2c3d-1111-4222-8333-444455556666"
help.SCRIPTS = "deploy/freeswitch/scripts"

function help.equal(seen, expected, what)
  if seen ~= expected then
    error(string.format("%s: expected %s, saw %s", what or "value", tostring(expected), tostring(seen)), 2)
  end
end

function help.holds(fact, what)
  if not fact then error(what, 2) end
end

-- A switch whose events thread runs, and a call in start_audio_stream.lua for which a stream is up after 1 s.
-- options: playback, globals, line (of the dialplan), without_events, and those of Switch.new and new_channel.
function help.call(options)
  options = options or {}
  local switch = Switch.new({
    scripts = help.SCRIPTS, api_us = options.api_us, connect_us = options.connect_us, event_us = options.event_us,
  })
  switch.module, switch.without_sndfile = options.module, options.without_sndfile
  switch.globals.tandem_playback = options.playback or "file"
  for name, value in pairs(options.globals or {}) do switch.globals[name] = value end
  if not options.without_events then
    switch:start_script("tandem_events.lua")
    switch:run(500)
  end
  local channel, task = help.another_call(switch, options)
  switch:run(1000)
  return switch, channel, task
end

function help.another_call(switch, options)
  local channel = switch:new_channel({
    uuid = options.uuid or help.UUID, did = options.did, caller = options.caller, relay = options.relay,
    tick_ms = options.tick_ms,
  })
  for name, value in pairs(options.variables or {}) do channel.variables[name] = value end
  local task = switch:start_script(
    options.line or "start_audio_stream.lua ws://127.0.0.1:9094/ mono 16k", channel)
  task.on_end = function()
    -- The dialplan's next action: hangup.
    if channel.state == "execute" then switch:hang_up(channel, "NORMAL_CLEARING") end
  end
  return channel, task
end

-- The texts that the relay got on the present stream (or the n-th).
function help.texts(channel, number)
  local stream = number and channel.streams[number] or channel.streams[#channel.streams]
  return stream and stream.texts or {}
end

function help.last_text(channel) local texts = help.texts(channel) return texts[#texts] end

-- Speech in chunks of `chunk_ms`, in real time with `lead` chunks ahead, from now on; gives the files in order. `byte`:
-- what it is made of. `late_ms(chunk)`: so much later than its time.
function help.speak(switch, channel, turn, total_ms, chunk_ms, lead, byte, late_ms)
  local files, chunks = {}, total_ms / chunk_ms
  for chunk = 0, chunks - 1 do
    local at_ms = math.max(0, chunk - lead) * chunk_ms + (late_ms and late_ms(chunk) or 0)
    switch:after(at_ms * 1000, function()
      files[chunk + 1] = switch:relay_speaks(channel, chunk_ms, string.format('"turn":%d,"chunk":%d%s', turn, chunk,
        chunk == chunks - 1 and ',"last":true' or ""), byte)
    end)
  end
  return files
end

-- Packets of speech, holes between them above their length, the longest one in ms, and when the last one was heard.
function help.speech(channel)
  local packets, holes, longest_ms, last_ms, tick_ms = 0, 0, 0, nil, channel.tick_us / 1000
  for _, packet in ipairs(channel.heard) do
    if packet.what ~= "silence" then
      packets = packets + 1
      if last_ms and packet.at_ms - last_ms > tick_ms + 0.001 then
        holes = holes + 1
        longest_ms = math.max(longest_ms, packet.at_ms - last_ms - tick_ms)
      end
      last_ms = packet.at_ms
    end
  end
  return packets, holes, longest_ms, last_ms
end

function help.events_thread(switch)
  for _, task in ipairs(switch.tasks) do
    if task.name == "tandem_events.lua" and not task.ended then return task end
  end
  return nil
end

return help
