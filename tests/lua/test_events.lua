-- tandem_events.lua: playback, barge-in, files, digits, and being the only one.

local Switch = require("switch")
local help = require("help")
local equal, holds = help.equal, help.holds

local function first_speech_ms(channel)
  for _, packet in ipairs(channel.heard) do
    if packet.what ~= "silence" then return packet.at_ms end
  end
end

local function test_gapless()
  for _, case in ipairs({ { 20, 1 }, { 20, 2 }, { 40, 2 }, { 100, 1 }, { 200, 1 } }) do
    local switch, channel = help.call({ api_us = 200 })
    local sent_ms = switch:elapsed_ms()
    help.speak(switch, channel, 1, 3000, case[1], case[2])
    switch:run(4000)
    local packets, holes, longest_ms = help.speech(channel)
    equal(packets, 150, case[1] .. " ms chunks: packets")
    equal(holes, 0, case[1] .. " ms chunks: holes (longest " .. longest_ms .. " ms)")
    local first_ms = first_speech_ms(channel)
    holds(first_ms - sent_ms <= 25, "first packet after " .. (first_ms - sent_ms) .. " ms")
  end
end

-- Callers' packets of 10 to 60 ms, and an echo: each chunk of 20 ms comes when it is to be heard, at any moment of the tick.
local function test_packets_of_any_length_and_an_echo()
  for _, tick_ms in ipairs({ 10, 20, 30, 40, 60 }) do
    for _, moment_ms in ipairs({ 1, 7, 13, 18 }) do
      local switch, channel = help.call({ tick_ms = tick_ms, variables = { rtp_use_codec_ptime = tostring(tick_ms) } })
      switch:run(moment_ms)
      help.speak(switch, channel, 1, 2400, 20, 0)
      switch:run(3000)
      local what = tick_ms .. " ms, " .. moment_ms .. ": "
      local packets, holes = help.speech(channel)
      holds(packets * tick_ms >= 2400 and packets * tick_ms <= 2400 + 2 * tick_ms, what .. packets .. " packets")
      holds(holes <= 1, what .. holes .. " holes")
      local delay_ms = select(4, help.speech(channel)) + tick_ms - (switch:elapsed_ms() - 3000 + 2400 - 20)
      holds(delay_ms <= 20 + 3 * tick_ms + 5, what .. "the last chunk is heard to its end after " .. delay_ms .. " ms")
    end
  end
end

local function test_an_answer_longer_than_its_file()
  local switch, channel = help.call({})
  help.speak(switch, channel, 1, 1250000, 50, 4)
  switch:run(1252000)
  local packets, holes, longest_ms = help.speech(channel)
  equal(packets, 62500, "packets")
  holds(holes <= 2 and longest_ms <= 60, holes .. " holes where files end, the longest of " .. longest_ms .. " ms")
  equal(next(switch.files), nil, "a file that is left")
  equal(#channel.displaced, 0, "files on the channel")
end

local function test_late_chunks()
  local switch, channel = help.call({})
  -- The 10th chunk comes 250 ms late, and all behind it are in time again.
  help.speak(switch, channel, 3, 3000, 100, 1, 1, function(chunk) return chunk == 10 and 250 or 0 end)
  switch:run(4000)
  -- chunk 11 and 12 come before it: their numbers make the late one an old one, which is left out.
  equal(switch:logged("came twice or behind a later one", "WARNING"), 1, "a chunk behind later ones")
  local switch2, channel2 = help.call({})
  help.speak(switch2, channel2, 3, 3000, 100, 1, 1, function(chunk) return chunk >= 10 and 250 or 0 end)
  switch2:run(4000)
  local packets, holes, longest_ms = help.speech(channel2)
  equal(packets, 150, "packets: nothing is lost")
  equal(holes, 1, "holes")
  holds(longest_ms >= 120 and longest_ms <= 180, "the hole lasts " .. longest_ms .. " ms")
  local text = help.last_text(channel2)
  local late, ms = text:match('^{"type":"tandem","event":"gaps","turn":3,"late":(%d+),"ms":(%d+)}$')
  equal(late, "1", "late chunks, of " .. text)
  holds(math.abs(tonumber(ms) - longest_ms) <= 20, "told " .. ms .. " ms, heard " .. longest_ms)
end

local function test_gaps_are_told_once_a_second()
  local switch, channel = help.call({})
  help.speak(switch, channel, 1, 10000, 20, 0, 1, function(chunk) return chunk * 20 end)
  switch:run(22000)
  local reports, late = 0, 0
  for _, text in ipairs(help.texts(channel)) do
    local found = text:match('"event":"gaps","turn":1,"late":(%d+)')
    if found then reports, late = reports + 1, late + found end
  end
  holds(reports >= 5 and reports <= 21, reports .. " reports in 20 s")
  local _, holes = help.speech(channel)
  holds(math.abs(late - holes) <= 2, late .. " told, " .. holes .. " heard")
end

local function test_a_pause_between_answers_is_no_hole()
  local switch, channel = help.call({})
  -- Answers of one turn, whose chunks are counted on; the pauses are shorter and longer than a file is kept open.
  local chunk, at_ms = 0, 0
  for _, pause_ms in ipairs({ 60, 250, 390, 1500, 6000 }) do
    for number = 1, 4 do
      chunk = chunk + 1
      local members = string.format('"turn":1,"chunk":%d%s', chunk, number == 4 and ',"last":true' or "")
      switch:after((at_ms + math.max(0, number - 2) * 100) * 1000, function()
        switch:relay_speaks(channel, 100, members)
      end)
    end
    at_ms = at_ms + 400 + pause_ms
  end
  switch:run(at_ms + 1000)
  equal((help.speech(channel)), 100, "packets")
  for _, text in ipairs(help.texts(channel)) do holds(not text:find("gaps"), text) end
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
  equal(next(switch.files), nil, "a file that is left")
end

local function test_acknowledged_once()
  local switch, channel = help.call({})
  help.speak(switch, channel, 4, 1000, 100, 1)
  switch:run(1500)
  help.speak(switch, channel, 5, 1000, 100, 1)
  switch:run(1500)
  local texts = help.texts(channel)
  equal(table.concat(texts, " "), '{"type":"tandem","event":"hello","version":2} '
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
    equal(switch:count_commands("uuid_displace"), 0, playback .. ": plays")
  end
end

local function test_streams_of_others()
  local switch, channel = help.call({})
  switch:run(200)
  local before = switch:count_commands("uuid_displace")
  channel.variables.tandem_script = nil
  switch:relay_speaks(channel, 100, '"turn":1')
  switch:relay_says(channel, '{"type":"tandem","order":"hangup","id":1}')
  switch:relay_says(channel, '{"type":"clearAudio","turn":2}')
  switch:run(500)
  equal(switch:count_commands("uuid_displace") + switch:count_commands("uuid_break"), before, "commands")
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

local function test_no_file_is_left()
  local switch, channel = help.call({})
  help.speak(switch, channel, 1, 3000, 100, 1)
  switch:run(10)
  for _ = 1, 30 do
    switch:run(100)
    -- What has no name any more is gone whoever dies; a chunk has one until its event is handled.
    equal(next(switch.files), nil, "a file with a name")
  end
  switch:run(2000)
  equal(switch.open_files, 0, "open files")
  equal(#channel.displaced, 0, "files on the channel")
  holds(switch.written_bytes < 3000 * 16 + 2000, "written: " .. switch.written_bytes .. " bytes")
end

local function test_no_file_is_left_by_calls_that_end_in_speech()
  local switch, channel = help.call({})
  help.speak(switch, channel, 1, 5000, 100, 1)
  switch:run(1000)
  switch:hang_up(channel, "NORMAL_CLEARING")
  switch:run(5000)
  equal(next(switch.files), nil, "a file that is left")
  equal(switch.open_files, 0, "open files")
end

local function test_a_stream_that_starts_again_in_speech()
  local switch, channel = help.call({})
  help.speak(switch, channel, 1, 1000, 100, 2)
  switch:run(800)
  local heard = help.speech(channel)
  switch:connection_drops(channel)
  switch:run(1000)
  equal(#channel.streams, 2, "streams")
  holds((help.speech(channel)) > heard + 5, "what was written is not heard to its end")
  help.speak(switch, channel, 7, 1000, 100, 1)
  switch:run(2000)
  equal(#channel.streams, 2, "streams at the end")
  local _, _, _, last_ms = help.speech(channel)
  holds(last_ms > switch:elapsed_ms() - 1200, "the new stream is not heard: the last of it at " .. last_ms .. " of "
    .. switch:elapsed_ms())
  for _, text in ipairs(help.texts(channel)) do holds(not text:find("gaps"), "a pause of the stream is told as a hole") end
end

local function test_leftovers_are_removed()
  local switch = Switch.new({ scripts = help.SCRIPTS })
  local alive = switch:new_channel({ uuid = "alive" })
  local function leave(name) switch.files["/dev/shm/" .. name] = { written = {}, bytes = 0 } end
  for _, name in ipairs({
    "0a1b2c3d-1111-4222-8333-444455556666_0.tmp.r8", "dead_17.tmp.r16", "dead_1790000000000-4.tandem.wav",
    "alive_3.tmp.r8", "notes.txt", "dead_x.tmp.r8", "dead;id_1.tmp.r8", "a b_1.tmp.r8",
  }) do
    leave(name)
  end
  switch:start_script("tandem_events.lua")
  switch:run(1000)
  local left = {}
  for path in pairs(switch.files) do left[#left + 1] = path:match("[^/]*$") end
  table.sort(left)
  equal(table.concat(left, ", "), "a b_1.tmp.r8, alive_3.tmp.r8, dead;id_1.tmp.r8, dead_x.tmp.r8, notes.txt", "left")
  equal(switch:logged("3 files of calls that are over", "NOTICE"), 1, "line in the log")
  holds(alive.state == "execute")
end

local function test_refused()
  local switch, channel = help.call({ without_sndfile = true })
  switch:run(300)
  equal(help.last_text(channel), '{"type":"tandem","event":"unplayed","turn":0,"why":"refused"}', "told before any speech")
  equal(switch:logged("is mod_sndfile loaded", "WARNING"), 1, "line in the log")
  help.speak(switch, channel, 1, 3000, 100, 1)
  switch:run(4000)
  equal((help.speech(channel)), 0, "packets")
  for _, text in ipairs(help.texts(channel)) do holds(not text:find('"playing"'), "said to play: " .. text) end
  holds(switch:count_commands("uuid_displace") <= 6, switch:count_commands("uuid_displace") .. " attempts in 3 s")
  equal(next(switch.files), nil, "a file that is left")
  equal(switch.open_files, 0, "open files")
  -- It comes back with the module, within the call.
  switch.without_sndfile = false
  switch:run(1000)
  help.speak(switch, channel, 2, 1000, 100, 1)
  switch:run(2000)
  equal((help.speech(channel)), 50, "packets with the module")
  equal(help.last_text(channel), '{"type":"tandem","event":"playing","turn":2}', "report")
end

local function test_a_folder_that_is_full_or_has_a_wrong_name()
  local switch, channel = help.call({ globals = { temp_dir = "/var/my tmp" } })
  switch:run(300)
  equal(help.last_text(channel), '{"type":"tandem","event":"unplayed","turn":0,"why":"temp_dir"}', "wrong name")
  switch, channel = help.call({})
  switch:run(300)
  switch.full = true
  help.speak(switch, channel, 1, 1000, 100, 1)
  switch:run(2000)
  equal(help.last_text(channel), '{"type":"tandem","event":"unplayed","turn":1,"why":"temp_dir"}', "full")
  equal(switch:logged("No space left", "WARNING"), 1, "line in the log")
end

local function test_a_channel_that_gets_no_packets()
  local switch, channel = help.call({})
  channel.holds = true
  switch:connection_drops(channel)
  local other = help.another_call(switch, { uuid = "held" })
  other.holds = true
  switch:run(4000)
  equal(help.last_text(other), '{"type":"tandem","event":"unplayed","turn":0,"why":"not_read"}', "report")
  holds(switch:logged("writes nothing to this caller", "WARNING") >= 1, "not said")
end

local function test_a_caller_who_holds_the_line()
  local switch, channel = help.call({})
  help.speak(switch, channel, 1, 6000, 20, 0)
  switch:run(1000)
  channel.holds = true
  switch:run(2000)
  channel.holds = false
  switch:fire("CHANNEL_UNHOLD", nil, channel)
  switch:run(6000)
  local begun_ms = switch:elapsed_ms() - 9000
  local packets, _, _, last_ms = help.speech(channel)
  holds(last_ms - begun_ms <= 6040, "the end is heard " .. (last_ms - begun_ms - 5980) .. " ms after it was said")
  holds(packets >= 195 and packets <= 202, packets .. " packets of the 4 s that were not held")
end

local OPEN_BUILD = "\127ELF mod_audio_stream API loading.. %s%s%s_%d.tmp%s"

local function test_a_module_that_plays_nothing()
  for _, case in ipairs({
    { "binary", OPEN_BUILD, true }, { "binary", OPEN_BUILD .. " clearAudio", false }, { "binary", nil, false },
    { "file", OPEN_BUILD, false }, { "json", OPEN_BUILD, true },
  }) do
    local switch, channel = help.call({ playback = case[1], module = case[2], globals = { mod_dir = "/usr/lib/mod" } })
    switch:run(300)
    if case[1] == "json" then
      for _ = 1, 5 do switch:relay_speaks(channel, 100, '"turn":1') end
      switch:run(100)
    end
    local told = 0
    for _, text in ipairs(help.texts(channel)) do
      if text == '{"type":"tandem","event":"unplayed","turn":0,"why":"module"}' then told = told + 1 end
    end
    equal(told, case[3] and 1 or 0, case[1] .. " with " .. tostring(case[2]))
    equal(switch:logged("plays nothing by itself", "WARNING"), case[3] and 1 or 0, "lines in the log")
  end
end

local function test_a_file_that_is_taken_from_the_channel()
  local switch, channel = help.call({})
  help.speak(switch, channel, 1, 3000, 100, 1)
  switch:run(1000)
  switch:execute("uuid_displace " .. channel.uuid .. " stop " .. channel.displaced[1].path)
  switch:run(3000)
  local packets = help.speech(channel)
  holds(packets >= 138, packets .. " packets: the answer does not go on")
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
  switch:run(500)
  local before, deleted = switch:count_commands("uuid_displace"), #switch.deleted
  local stream_files = {
    "/etc/passwd", "/tmp/" .. help.UUID .. "_0.tmp.r8;x", "/tmp/../" .. help.UUID .. "_0.tmp.r8",
    "/tmp/${system(id)}/" .. help.UUID .. "_0.tmp.r8", help.UUID .. "_0.tmp.r8", "/tmp/" .. help.UUID .. "_0.tmp.r8@@1",
    "/tmp/" .. help.UUID .. "_x.tmp.r8", "/tmp/other_0.tmp.r8", "/tmp/a b/" .. help.UUID .. "_0.tmp.r8",
    "tone_stream://%(2000,4000,440,480)", "/tmp/" .. help.UUID .. "_0.tmp.r8\\n", "/tmp/'" .. help.UUID .. "_0.tmp.r8",
  }
  for _, file in ipairs(stream_files) do
    switch:stream_event(channel, "play", '{"audioDataType":"raw","sampleRate":8000,"turn":1,"file":"' .. file .. '"}')
  end
  switch:stream_event(channel, "play", '{"audioDataType":"raw","sampleRate":8000,"turn":1}')
  switch:stream_event(channel, "play", '{"file":5}')
  switch:stream_event(channel, "play", "no JSON")
  switch:run(60000)
  equal(switch:count_commands("uuid_displace"), before, "plays")
  equal(#switch.deleted, deleted, "deletions")
  holds(switch:logged("no file of this call", "WARNING") >= 1, "not said")
  holds(switch:logged("no file of this call", "WARNING") <= 2, "said for each of them")
end

local function test_the_last_file_counts()
  local switch, channel = help.call({})
  local file = "/dev/shm/" .. help.UUID .. "_0.tmp.r8"
  switch.files[file] = { written = { { at = 0, text = ("\1"):rep(1600) } }, bytes = 1600 }
  switch:stream_event(channel, "play", '{"file":"/etc/passwd","sampleRate":8000,"turn":1,"file":"' .. file:gsub("/", "\\/") .. '"}')
  switch:run(500)
  equal((help.speech(channel)), 5, "packets")
end

local function test_lag_is_said()
  -- Each command takes 40 ms here, and 20 callers interrupt twice a second: 3.2 s of work a second.
  local switch, first = help.call({ api_us = 40000 })
  local channels = { first }
  for number = 2, 20 do channels[number] = help.another_call(switch, { uuid = "call-" .. number }) end
  switch:run(5000)
  for _, channel in ipairs(channels) do
    for turn = 1, 40 do
      switch:after(turn * 500000, function()
        switch:relay_says(channel, '{"type":"clearAudio","turn":' .. turn .. "}")
        for chunk = 1, 2 do switch:relay_speaks(channel, 100, '"turn":' .. turn .. ',"chunk":' .. chunk) end
      end)
    end
  end
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
  equal((help.speech(channel)), 50, "packets")
  equal(switch:count_commands("uuid_displace"), 3, "a probe, a file, and its end")
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
  equal(help.texts(channel)[1], '{"type":"tandem","event":"hello","version":2}', "first text")
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
    if line:find("^uuid_displace") then error("no memory") end
    return execute(self, line)
  end
  help.speak(switch, channel, 1, 500, 100, 1)
  switch:run(1000)
  switch.execute = execute
  help.speak(switch, channel, 2, 500, 100, 1)
  switch:run(1000)
  equal((help.speech(channel)), 25, "packets after the fault")
  equal(switch:logged("could not be handled") + switch:logged("could not be done"), 1, "lines in the log")
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
      collectgarbage() -- what the first one has finished with
      before_kib = collectgarbage("count")
    end
  end
  collectgarbage()
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
  { "packets of any length, and an echo in real time", test_packets_of_any_length_and_an_echo },
  { "an answer longer than its file goes on in the next one", test_an_answer_longer_than_its_file },
  { "what comes late is heard whole, and the hole is told", test_late_chunks },
  { "holes are told once a second", test_gaps_are_told_once_a_second },
  { "a pause between two answers is no hole", test_a_pause_between_answers_is_no_hole },
  { "no file keeps its name, and none stays open", test_no_file_is_left },
  { "a call that ends in the middle of speech leaves nothing", test_no_file_is_left_by_calls_that_end_in_speech },
  { "a stream that starts again in the middle of speech cuts nothing off", test_a_stream_that_starts_again_in_speech },
  { "files that somebody who died left behind are removed, others not", test_leftovers_are_removed },
  { "a switch that cannot play is told to the relay before anything is said", test_refused },
  { "a folder for temporary files that cannot be used is told", test_a_folder_that_is_full_or_has_a_wrong_name },
  { "a channel that nothing is written to is told", test_a_channel_that_gets_no_packets },
  { "speech is in time again when a caller takes the line off hold", test_a_caller_who_holds_the_line },
  { "a build that cannot play what it is sent is told", test_a_module_that_plays_nothing },
  { "an answer whose file is taken from the channel goes on", test_a_file_that_is_taken_from_the_channel },
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
