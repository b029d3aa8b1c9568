-- tandem_events.lua: playback, barge-in, files, digits, and being the only one.

local Switch = require("switch")
local help = require("help")
local equal, holds = help.equal, help.holds

local function test_gapless()
  for _, case in ipairs({ { 40, 2 }, { 100, 1 }, { 200, 1 } }) do
    local switch, channel = help.call({ api_us = 200 })
    local sent_ms = switch:elapsed_ms()
    help.speak(switch, channel, 1, 3000, case[1], case[2])
    switch:run(4000)
    local packets, holes, longest_ms = help.speech(channel)
    equal(packets, 150, case[1] .. " ms chunks: packets")
    equal(holes, 0, case[1] .. " ms chunks: holes (longest " .. longest_ms .. " ms)")
    local first_ms
    for _, packet in ipairs(channel.heard) do
      first_ms = first_ms or (packet.what ~= "silence" and packet.at_ms)
    end
    holds(first_ms - sent_ms <= 60, "first packet after " .. (first_ms - sent_ms) .. " ms")
  end
end

local function test_many_calls()
  local switch, first = help.call({ api_us = 20 })
  local channels = { first }
  for number = 2, 50 do
    channels[number] = help.another_call(switch, { uuid = string.format("call-%d", number) })
  end
  switch:run(1000)
  -- The whole minute on one Lua; the others show that they play at all.
  local seconds = _VERSION == "Lua 5.4" and 60 or 5
  for _, channel in ipairs(channels) do help.speak(switch, channel, 1, seconds * 1000, 100, 1) end
  switch:run((seconds + 1) * 1000)
  for number, channel in ipairs(channels) do
    local packets, holes = help.speech(channel)
    equal(packets, seconds * 50, "packets of call " .. number)
    equal(holes, 0, "holes of call " .. number)
  end
  equal(switch:logged("is behind"), 0, "complaints about lag")
end

local function test_acknowledged_once()
  local switch, channel = help.call({})
  help.speak(switch, channel, 4, 1000, 100, 1)
  switch:run(1500)
  help.speak(switch, channel, 5, 1000, 100, 1)
  switch:run(1500)
  local texts = help.texts(channel)
  equal(table.concat(texts, " "), '{"type":"tandem","event":"hello","version":1} '
    .. '{"type":"tandem","event":"playing","turn":4} {"type":"tandem","event":"playing","turn":5}', "texts")
  for _, text in ipairs(texts) do holds(not text:find(" "), "a space in " .. text) end
end

local function test_barge_in()
  local switch, channel = help.call({ api_us = 200 })
  help.speak(switch, channel, 1, 5000, 100, 1)
  switch:run(2030)
  local cleared_ms = switch:elapsed_ms()
  switch:relay_says(channel, '{"type":"clearAudio","turn":2}')
  switch:run(500)
  local packets, _, _, last_ms = help.speech(channel)
  holds(last_ms - cleared_ms <= 40, "the old turn is heard " .. (last_ms - cleared_ms) .. " ms after the clear")
  -- The relay of this test goes on sending the old turn: nothing of it is heard, and the new turn is at once.
  switch:run(1000)
  equal((help.speech(channel)), packets, "packets of the old turn")
  local new = help.speak(switch, channel, 2, 300, 100, 1)
  switch:run(1000)
  equal((help.speech(channel)), packets + 15, "packets with the new turn")
  equal(channel.heard[#channel.heard].what, "silence", "end")
  holds(#new == 3, "chunks of the new turn")
end

local function test_clear_leaves_other_playbacks_alone()
  for _, playback in ipairs({ "binary", "json" }) do
    local switch, channel = help.call({ playback = playback })
    switch:relay_says(channel, '{"type":"clearAudio"}')
    switch:relay_speaks(channel, 100, '"turn":1')
    switch:run(500)
    equal(switch:count_commands("uuid_break"), 0, playback .. ": breaks")
    equal(switch:count_commands("json"), 0, playback .. ": plays")
  end
end

local function test_streams_of_others()
  local switch, channel = help.call({})
  channel.variables.tandem_script = nil
  switch:relay_speaks(channel, 100, '"turn":1')
  switch:relay_says(channel, '{"type":"tandem","order":"hangup","id":1}')
  switch:relay_says(channel, '{"type":"clearAudio","turn":2}')
  switch:run(500)
  equal(switch:count_commands("json") + switch:count_commands("uuid_break"), 0, "commands")
  equal(channel.state, "execute", "state")
end

local function test_a_digit_does_not_cut_speech()
  local switch, channel = help.call({})
  help.speak(switch, channel, 1, 2000, 100, 1)
  switch:run(500)
  switch:type_digit(channel, "*")
  switch:type_digit(channel, "5")
  switch:run(2500)
  local packets, holes = help.speech(channel)
  equal(packets, 100, "packets")
  equal(holes, 0, "holes")
  local texts = help.texts(channel)
  equal(texts[3], '{"type":"tandem","event":"dtmf","digit":"*"}', "text")
  equal(texts[4], '{"type":"tandem","event":"dtmf","digit":"5"}', "text")
end

local function test_digits_in_silence()
  for _, playback in ipairs({ "file", "binary", "json" }) do
    local switch, channel = help.call({ playback = playback })
    for digit in ("0123456789*#A"):gmatch(".") do switch:type_digit(channel, digit) end
    switch:run(1000)
    equal(#help.texts(channel), 14, playback .. ": texts")
    equal(help.last_text(channel), '{"type":"tandem","event":"dtmf","digit":"A"}', playback)
  end
end

local function test_files_are_deleted()
  local switch, channel = help.call({})
  local files = help.speak(switch, channel, 1, 3000, 100, 1)
  switch:run(20000)
  equal(#switch.deleted, 0, "deleted within 20 s")
  switch:run(20000)
  equal(#switch.deleted, 30, "deleted within 40 s")
  for _, file in ipairs(files) do holds(not switch.files[file], file .. " is still there") end
  equal((help.speech(channel)), 150, "packets")
end

local function test_files_after_a_barge_in_are_deleted()
  local switch, channel = help.call({})
  help.speak(switch, channel, 1, 3000, 100, 10)
  switch:run(500)
  switch:relay_says(channel, '{"type":"clearAudio","turn":2}')
  switch:run(40000)
  equal(next(switch.files), nil, "a file that is left")
end

local function test_names_come_again_after_a_restart()
  local switch, channel = help.call({})
  help.speak(switch, channel, 1, 1000, 100, 1)
  switch:run(29000)
  switch:relay_closes(channel, 1001)
  switch:run(500)
  equal(#channel.streams, 2, "streams")
  -- The new stream's first chunks have the names of files whose time is up in a second.
  help.speak(switch, channel, 7, 4000, 100, 1)
  switch:run(5000)
  local packets, holes = help.speech(channel)
  equal(packets, 250, "packets")
  equal(holes, 1, "holes: the pause between the two answers")
  equal(switch:logged("Error opening"), 0, "files that were gone")
end

local function test_turns_after_a_restart()
  local switch, channel = help.call({})
  help.speak(switch, channel, 9, 500, 100, 1)
  switch:run(1000)
  switch:connection_drops(channel)
  switch:run(1000)
  help.speak(switch, channel, 1, 500, 100, 1)
  switch:run(1000)
  equal((help.speech(channel)), 50, "packets: the new stream's turns begin at 1 again")
end

local function test_hostile_files()
  local switch, channel = help.call({})
  local stream_files = {
    "/etc/passwd", "/tmp/" .. help.UUID .. "_0.tmp.r8;x", "/tmp/../" .. help.UUID .. "_0.tmp.r8",
    "/tmp/${system(id)}/" .. help.UUID .. "_0.tmp.r8", help.UUID .. "_0.tmp.r8", "/tmp/" .. help.UUID .. "_0.tmp.r8@@1",
    "/tmp/" .. help.UUID .. "_x.tmp.r8", "/tmp/other_0.tmp.r8", "/tmp/a b/" .. help.UUID .. "_0.tmp.r8",
    "tone_stream://%(2000,4000,440,480)", "/tmp/" .. help.UUID .. "_0.tmp.r8\\n", "/tmp/'" .. help.UUID .. "_0.tmp.r8",
  }
  for _, file in ipairs(stream_files) do
    switch:stream_event(channel, "play", '{"audioDataType":"raw","turn":1,"file":"' .. file .. '"}')
  end
  switch:stream_event(channel, "play", '{"audioDataType":"raw","turn":1}')
  switch:stream_event(channel, "play", '{"file":5}')
  switch:stream_event(channel, "play", "no JSON")
  switch:run(60000)
  equal(switch:count_commands("json"), 0, "plays")
  equal(#switch.deleted, 0, "deletions")
  holds(switch:logged("no file of this call", "WARNING") >= 1, "not said")
  holds(switch:logged("no file of this call", "WARNING") <= 2, "said for each of them")
end

local function test_the_last_file_counts()
  local switch, channel = help.call({})
  local file = "/dev/shm/" .. help.UUID .. "_0.tmp.r8"
  switch.files[file] = { ms = 100 }
  switch:stream_event(channel, "play", '{"file":"/etc/passwd","turn":1,"file":"' .. file:gsub("/", "\\/") .. '"}')
  switch:run(500)
  equal((help.speech(channel)), 5, "packets")
end

local function test_lag_is_said()
  -- Each command takes 8 ms here: 20 calls with 10 chunks a second ask for 1.6 s of work a second.
  local switch, first = help.call({ api_us = 8000 })
  local channels = { first }
  for number = 2, 20 do channels[number] = help.another_call(switch, { uuid = "call-" .. number }) end
  switch:run(3000)
  for _, channel in ipairs(channels) do help.speak(switch, channel, 1, 20000, 100, 1) end
  switch:run(25000)
  local lines = switch:logged("is behind", "WARNING")
  holds(lines >= 2 and lines <= 4, lines .. " lines in 25 s")
end

local function test_started_twice()
  local switch, channel = help.call({})
  local second = switch:start_script("tandem_events.lua")
  switch:run(1000)
  holds(second.ended and not second.failed, "the second one goes on")
  equal(switch:logged("runs already", "NOTICE"), 1, "line in the log")
  help.speak(switch, channel, 1, 1000, 100, 1)
  switch:run(2000)
  equal(switch:count_commands("json"), 10, "plays")
end

local function test_started_twice_at_once()
  local switch = Switch.new({ scripts = help.SCRIPTS })
  switch.globals.tandem_playback = "file"
  for _ = 1, 3 do switch:start_script("tandem_events.lua") end
  switch:run(2000)
  local running = 0
  for _, task in ipairs(switch.tasks) do running = running + (task.ended and 0 or 1) end
  equal(running, 1, "threads")
end

local function test_stop_and_start()
  local switch, channel = help.call({})
  switch:start_script("tandem_events.lua stop")
  switch:run(1500)
  holds(not help.events_thread(switch), "it still runs")
  switch:start_script("tandem_events.lua")
  switch:run(1000)
  holds(help.events_thread(switch), "it does not run again")
  help.speak(switch, channel, 1, 1000, 100, 1)
  switch:run(2000)
  equal((help.speech(channel)), 50, "packets of a call that was there before")
end

local function test_started_by_a_call()
  local switch, channel = help.call({ without_events = true })
  switch:run(1000)
  holds(help.events_thread(switch), "it does not run")
  equal(channel.stream.state, "open", "stream")
  equal(help.texts(channel)[1], '{"type":"tandem","event":"hello","version":1}', "first text")
  equal(channel.variables.tandem_stream, "connected", "state")
end

local function test_a_call_in_its_first_moment()
  -- The connection is there before the thread is sure that it is the only one.
  local switch = Switch.new({ scripts = help.SCRIPTS, connect_us = 1000, event_us = 500 })
  switch.globals.tandem_playback = "file"
  switch:start_script("tandem_events.lua")
  switch:run(1)
  local channel = help.another_call(switch, {})
  switch:run(1000)
  equal(channel.variables.tandem_stream, "connected", "state")
  equal(#channel.streams, 1, "streams")
end

local function test_a_dead_thread_is_replaced()
  local switch = Switch.new({ scripts = help.SCRIPTS })
  switch.globals.tandem_playback = "file"
  switch.globals.tandem_events = "00000000-dead 1000"
  local channel = help.another_call(switch, {})
  switch:run(2000)
  equal(channel.stream.state, "open", "stream")
  equal(channel.variables.tandem_stream, "connected", "state")
end

local function test_reloadxml()
  local switch, channel = help.call({})
  -- reloadxml sets the variables of vars.xml anew and leaves the others.
  switch.globals.tandem_playback = "file"
  switch:fire("RELOADXML")
  help.speak(switch, channel, 1, 1000, 100, 1)
  switch:run(2000)
  equal((help.speech(channel)), 50, "packets")
  holds(help.events_thread(switch), "the thread has ended")
end

local function test_shutdown()
  local switch = help.call({})
  switch:fire("SHUTDOWN")
  switch:run(200)
  holds(not help.events_thread(switch), "the thread goes on")
  equal(switch:logged("FreeSWITCH ends", "NOTICE"), 1, "line in the log")
end

local function test_a_fault_does_not_end_it()
  local switch, channel = help.call({})
  local execute = switch.execute
  switch.execute = function(self, line)
    if line:find("^json") then error("no memory") end
    return execute(self, line)
  end
  help.speak(switch, channel, 1, 500, 100, 1)
  switch:run(1000)
  switch.execute = execute
  help.speak(switch, channel, 2, 500, 100, 1)
  switch:run(1000)
  equal((help.speech(channel)), 25, "packets after the fault")
  equal(switch:logged("could not be handled"), 1, "lines in the log")
end

local function test_texts_of_any_kind()
  local switch, channel = help.call({})
  local before = #switch.commands
  for _, text in ipairs({
    "", "{", "}", "null", "[]", "5", '"text"', "{}", '{"type":5}', '{"type":"tandem"}', '{"type":"tandem","order":5}',
    '{"type":"streamAudio","data":{"audioData":"' .. ("A"):rep(100000) .. '"}}', ("["):rep(3000),
    '{"type":"clearAudio"', '{"type":"clearaudio"}', "{'type':'clearAudio'}", '{"a":"\\ud800"}', '{"a":"\\q"}',
    '{"type":"tandem","order":"hangup"}', '{"type":"tandem","order":"hangup","id":-1}', "\0", '{"a":1e999}',
    '{"type":"tandem","order":"hangup","id":1.5}', '{"type":"tandem","order":"hangup","id":"1"}', "{}{}",
  }) do
    switch:relay_says(channel, text)
  end
  switch:run(900)
  equal(#switch.commands, before, "commands")
  equal(switch:logged("could not be handled"), 0, "faults")
  equal(channel.state, "execute", "state")
end

local function test_forgets_calls()
  local switch, first = help.call({})
  local before_kib
  for round = 1, 2000 do
    local channel = switch:new_channel({ uuid = "short-" .. round })
    channel.variables.tandem_script, channel.variables.tandem_playback = "1", "file"
    switch:execute("uuid_audio_stream " .. channel.uuid .. " start ws://127.0.0.1:9094/ mono 16k")
    switch:run(100)
    switch:relay_speaks(channel, 20, '"turn":1,"chunk":0')
    switch:relay_says(channel, '{"type":"tandem","order":"break","id":1}')
    switch:run(40)
    switch:hang_up(channel, "NORMAL_CLEARING")
    switch:run(20)
    switch.channels[channel.uuid] = nil
    switch.log, switch.commands, switch.deleted, first.heard = {}, {}, {}, {}
    if round == 1000 then
      collectgarbage()
      before_kib = collectgarbage("count")
    end
  end
  collectgarbage()
  local grown_kib = collectgarbage("count") - before_kib
  holds(grown_kib < 50, string.format("1000 calls later it holds %.0f KiB more", grown_kib))
end

return {
  { "speech in chunks is heard without a hole, soon", test_gapless },
  { "fifty calls play for a minute without a hole or a lost chunk", test_many_calls },
  { "the first chunk of a turn is acknowledged, once", test_acknowledged_once },
  { "a barge-in silences the old turn at once, and the new one is heard", test_barge_in },
  { "clearAudio is left to the module where it plays itself", test_clear_leaves_other_playbacks_alone },
  { "streams that are not ours are left alone", test_streams_of_others },
  { "a digit is reported and does not cut the speech", test_a_digit_does_not_cut_speech },
  { "digits are reported in silence, with every playback", test_digits_in_silence },
  { "files are deleted after they were heard", test_files_are_deleted },
  { "files that a barge-in has thrown out are deleted too", test_files_after_a_barge_in_are_deleted },
  { "after a restart names come again, and nothing new is deleted", test_names_come_again_after_a_restart },
  { "after a restart turns may begin anew", test_turns_after_a_restart },
  { "only files of this call are played", test_hostile_files },
  { "of two file keys the module's, the last, counts", test_the_last_file_counts },
  { "it says when it lags, and does not flood the log", test_lag_is_said },
  { "a second start ends itself", test_started_twice },
  { "of several started in one moment one stays", test_started_twice_at_once },
  { "it can be stopped and started during calls", test_stop_and_start },
  { "a call starts it when it is missing", test_started_by_a_call },
  { "a call that comes as it starts is not lost", test_a_call_in_its_first_moment },
  { "a life sign that is old does not count", test_a_dead_thread_is_replaced },
  { "reloadxml does not disturb it", test_reloadxml },
  { "it ends with FreeSWITCH", test_shutdown },
  { "a fault in one event does not end it", test_a_fault_does_not_end_it },
  { "texts of any kind do nothing", test_texts_of_any_kind },
  { "it forgets calls that are over", test_forgets_calls },
}
