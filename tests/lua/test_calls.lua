-- start_audio_stream.lua: the stream's start, its restarts, its end.

local help = require("help")
local equal, holds = help.equal, help.holds

local function test_the_url()
  local switch, channel = help.call({
    playback = "binary", did = "+1 555&did=x", caller = "O'Neil ${evil}", variables = { tandem_agent = "reception" },
  })
  equal(#channel.streams, 1, "streams")
  equal(channel.stream.state, "open", "state")
  equal(channel.stream.url, "ws://127.0.0.1:9094/?uuid=" .. help.UUID .. "&did=%2B1%20555%26did%3Dx"
    .. "&caller=O%27Neil%20%24%7Bevil%7D&playback=binary&rate=16k&mix=mono&script=1&agent=reception", "URL")
  equal(channel.stream.metadata, '{"uuid":"' .. help.UUID .. '","did":"+1555didx","caller":"ONeilevil"}', "metadata")
  equal(channel.stream.mix .. " " .. channel.stream.rate, "mono 16k", "mix and rate")
  equal(switch:logged("", "ERR"), 0, "errors in the log")
end

local function test_urls_without_a_path()
  for given, expected in pairs({
    ["ws://backend:9094"] = "ws://backend:9094/?uuid=",
    ["ws://backend:9094?x=1"] = "ws://backend:9094/?x=1&uuid=",
    ["wss://relay.example.com/calls?x=1"] = "wss://relay.example.com/calls?x=1&uuid=",
    ["wss://relay.example.com/calls"] = "wss://relay.example.com/calls?uuid=",
  }) do
    local _, channel = help.call({ line = "start_audio_stream.lua " .. given })
    equal(channel.stream.url:sub(1, #expected), expected, given)
    equal(channel.stream.state, "open", given)
  end
end

local function test_channel_variables()
  local _, channel = help.call({ playback = "json", globals = {
    tandem_token = "a-long-random-text", STREAM_TLS_CA_FILE = "/etc/ssl/relay.pem", STREAM_BUFFER_SIZE = "20",
  } })
  local seen = channel.stream.variables
  equal(seen.STREAM_EXTRA_HEADERS, '{"Authorization":"Bearer a-long-random-text"}', "header")
  equal(seen.STREAM_TLS_CA_FILE, "/etc/ssl/relay.pem", "CA")
  equal(seen.STREAM_BUFFER_SIZE, "20", "size")
  equal(seen.STREAM_PLAYBACK, "true", "playback of the 1.0.3 build")
  equal(seen.STREAM_SAMPLE_RATE, nil, "rate, which must be unset for JSON")
  equal(seen.STREAM_NO_RECONNECT, "true", "no reconnect by the module")
  equal(seen.send_silence_when_idle, "-1", "silence")
  equal(seen.tandem_playback, "json", "playback")
  holds(not channel.stream.url:find("a-long-random-text", 1, true), "the token stands in the URL")
end

local function test_no_token_stays_in_a_channel_variable()
  for _, globals in ipairs({
    { tandem_token = "a-long-random-text" },
    { STREAM_EXTRA_HEADERS = '{"Authorization":"Bearer a-long-random-text","X-A":"b"}' },
    { STREAM_EXTRA_HEADERS = '{"X-Tandem-Token":"a-long-random-text"}', tandem_token = "another" },
  }) do
    local _, channel = help.call({ globals = globals })
    holds(globals.STREAM_EXTRA_HEADERS or channel.stream.variables.STREAM_EXTRA_HEADERS, "it is sent")
    for name, value in pairs(channel.variables) do
      holds(not tostring(value):find("a-long-random-text", 1, true), name .. " keeps the token")
    end
  end
  -- What the operator put on the channel stays theirs.
  local own = '{"X-Tandem-Token":"other"}'
  local _, channel = help.call({ variables = { STREAM_EXTRA_HEADERS = own } })
  equal(channel.variables.STREAM_EXTRA_HEADERS, own, "the operator's own")
end

local function test_the_channel_wins()
  local headers = '{"X-Tandem-Token":"other"}'
  local _, channel = help.call({
    playback = "file", globals = { tandem_token = "a-long-random-text", STREAM_BUFFER_SIZE = "20" },
    variables = { STREAM_EXTRA_HEADERS = headers, STREAM_BUFFER_SIZE = "40", tandem_playback = "binary" },
  })
  equal(channel.stream.variables.STREAM_EXTRA_HEADERS, headers, "headers")
  equal(channel.stream.variables.STREAM_BUFFER_SIZE, "40", "size")
  equal(channel.stream.variables.STREAM_SAMPLE_RATE, "16000", "rate for binary")
  holds(channel.stream.url:find("playback=binary", 1, true), "playback of the channel")
end

local function test_nothing_is_executed()
  for _, playback in ipairs({ "file", "binary", "json" }) do
    local _, channel = help.call({ playback = playback })
    equal(#channel.executed, 0, playback .. ": applications")
    equal(channel.variables.playback_terminators, nil, playback)
  end
end

local function test_long_packets()
  for packet_ms, message_ms in pairs({ ["10"] = "", ["20"] = "", ["30"] = "60", ["40"] = "40", ["60"] = "60" }) do
    local _, channel = help.call({ variables = { rtp_use_codec_ptime = packet_ms } })
    equal(channel.stream.variables.STREAM_BUFFER_SIZE or "", message_ms, "packets of " .. packet_ms .. " ms")
  end
  local _, channel = help.call({ variables = { rtp_use_codec_ptime = "30" }, globals = { STREAM_BUFFER_SIZE = "120" } })
  equal(channel.stream.variables.STREAM_BUFFER_SIZE, "120", "what the operator has set")
end

local function test_a_token_that_breaks_out()
  for _, token in ipairs({ 'a"b', "a b", "a\\b", "a\nb", "a\0b" }) do
    local switch, channel = help.call({ globals = { tandem_token = token } })
    equal(channel.stream.variables.STREAM_EXTRA_HEADERS, nil, "headers")
    equal(switch:logged("tandem_token", "ERR"), 1, "line in the log")
  end
end

local function test_wrong_arguments()
  for line, word in pairs({
    [""] = "relay's address", ["http://127.0.0.1:9094/"] = "relay's address", ["ws://a b/"] = "second argument",
    ["ws://host_name/"] = "relay's address", ["ws://[::1]:9094/"] = "relay's address",
    ["ws://127.0.0.1:9094/ twin"] = "second argument", ["ws://127.0.0.1:9094/ mono 11025"] = "third argument",
    ["ws://127.0.0.1:9094/ mono 24k"] = "third argument",
  }) do
    local switch, channel = help.call({ line = "start_audio_stream.lua " .. line })
    equal(#channel.streams, 0, line)
    equal(channel.cause, "NORMAL_TEMPORARY_FAILURE", line)
    holds(switch:logged(word, "ERR") >= 1, line .. ": not said: " .. word)
  end
  local switch, channel = help.call({ playback = "tape" })
  equal(#channel.streams, 0, "streams")
  equal(switch:logged("file, binary or json", "ERR"), 1, "line in the log")
end

local function test_the_call_is_kept_open()
  local switch, channel, task = help.call({})
  switch:run(600000)
  equal(channel.state, "execute", "state")
  equal(#channel.streams, 1, "streams")
  holds(not task.ended, "the script has ended")
  holds(#channel.heard > 600 * 50 * 0.99, "RTP to the caller stops: " .. #channel.heard .. " packets in 600 s")
  equal(channel.auto_hangup, false, "automatic hang-up")
end

local function test_the_caller_hangs_up()
  local switch, channel, task = help.call({})
  switch:hang_up(channel, "NORMAL_CLEARING")
  switch:run(1000)
  holds(task.ended and not task.failed, "the script goes on: " .. tostring(task.failed))
  equal(switch:count_commands("uuid_audio_stream " .. help.UUID .. " stop"), 0, "stops of a dead channel")
end

local function test_the_relay_ends_the_conversation()
  local switch, channel = help.call({})
  switch:relay_closes(channel, 1000)
  switch:run(1000)
  equal(channel.state, "hangup", "state")
  equal(channel.cause, "NORMAL_CLEARING", "cause: that of the dialplan's hangup")
  equal(#channel.streams, 1, "streams")
end

local function test_last_words_before_a_close()
  local switch, channel = help.call({})
  for chunk = 1, 4 do switch:relay_speaks(channel, 100, '"turn":1,"chunk":' .. chunk) end
  switch:relay_closes(channel, 1000)
  switch:run(2000)
  equal((help.speech(channel)), 20, "packets")
  equal(channel.state, "hangup", "state")
end

local function test_restart_after_a_disconnect()
  local switch, channel = help.call({})
  switch:relay_closes(channel, 1001)
  switch:run(400)
  equal(#channel.streams, 2, "streams")
  equal(channel.stream.state, "open", "state")
  equal(channel.streams[2].url, channel.streams[1].url, "URL")
  holds(channel.streams[1].state == "closed", "the module was not told to stop first")
  equal(help.texts(channel)[1], '{"type":"tandem","event":"hello","version":2}', "first text")
  equal(channel.state, "execute", "state")
end

local function test_restart_after_an_error()
  local switch, channel = help.call({})
  switch:connection_drops(channel)
  switch:run(400)
  equal(#channel.streams, 2, "streams")
  equal(channel.stream.state, "open", "state")
end

local function test_refused_at_first()
  local switch, channel = help.call({ relay = function(number) return number < 4 and "refuse" or "accept" end })
  switch:run(3000)
  equal(#channel.streams, 4, "streams")
  equal(channel.stream.state, "open", "state")
  for number = 2, 4 do
    local pause_ms = channel.streams[number].started_ms - channel.streams[number - 1].started_ms
    holds(pause_ms >= 500, "attempts follow each other within " .. pause_ms .. " ms")
  end
end

-- The hosts of the streams so far, in their order.
local function hosts(channel)
  local names = {}
  for _, stream in ipairs(channel.streams) do names[#names + 1] = stream.url:match("^ws://(%w+)") end
  return table.concat(names, " ")
end

local LIST = "start_audio_stream.lua ws://b:9094/,ws://c:9094/,ws://a:9094/ mono 16k"
-- help.UUID begins at the last of three.
local function a_call_of_three(relay) return help.call({ line = LIST, relay = relay, globals = { tandem_fallback_extension = "x" } }) end

local function test_a_list_spreads_calls()
  local seen = {}
  for number = 1, 30 do
    local uuid = string.format("0a1b2c3d-1111-4222-8333-4444555566%02d", number)
    local _, channel = help.call({ line = LIST, uuid = uuid })
    equal(#channel.streams, 1, "streams")
    seen[hosts(channel)] = (seen[hosts(channel)] or 0) + 1
  end
  for _, host in ipairs({ "a", "b", "c" }) do holds((seen[host] or 0) >= 5, host .. " has " .. tostring(seen[host])) end
end

local function test_who_refuses_is_left_for_the_next_at_once()
  local switch, channel = a_call_of_three(function(number) return number < 3 and "refuse" or "accept" end)
  equal(hosts(channel), "a b c", "asked")
  equal(channel.stream.state, "open", "state")
  local took_ms = channel.streams[3].started_ms - channel.streams[1].started_ms
  holds(took_ms <= 500, "the third is asked after " .. took_ms .. " ms")
  -- Where nobody takes it there is a pause behind each round, and an end.
  switch, channel = a_call_of_three(function() return "refuse" end)
  switch:run(10000)
  holds(channel.transferred ~= nil, "given up")
  for number = 4, #channel.streams do
    local round_ms = channel.streams[number].started_ms - channel.streams[number - 3].started_ms
    holds(round_ms >= 500, "a round within " .. round_ms .. " ms")
  end
end

local function test_a_lost_connection_is_made_again_where_the_call_waits()
  local switch, channel = a_call_of_three(function(number) return number == 2 and "refuse" or "accept" end)
  switch:connection_drops(channel)
  switch:run(1000)
  equal(hosts(channel), "a a b", "that relay first, then another")
  equal(channel.stream.state, "open", "state")
  switch:relay_closes(channel, 1011)
  switch:run(400)
  equal(hosts(channel), "a a b b", "trouble that may pass")
end

local function test_who_sends_the_call_away_is_not_asked_again()
  local switch, channel = a_call_of_three()
  switch:relay_closes(channel, 1001)
  switch:run(400)
  equal(hosts(channel), "a b", "the next one")
  equal(channel.stream.state, "open", "state")
end

local FALLBACK = { tandem_fallback_extension = "tandem_ivr", tandem_fallback_context = "public" }

local function test_given_up()
  for outcome, globals in pairs({ refuse = FALLBACK, hang = FALLBACK }) do
    local switch, channel, task = help.call({ relay = function() return outcome end, globals = globals })
    local begun_ms = switch:elapsed_ms()
    switch:run(20000)
    equal(channel.transferred, "tandem_ivr XML public", outcome)
    holds(task.ended and not task.failed, outcome .. ": the script goes on")
    holds(channel.stream == nil, outcome .. ": a stream is left")
    equal(channel.variables.tandem_script, nil, outcome)
    equal(channel.variables.playback_terminators, nil, outcome)
    holds(#channel.streams >= 4, outcome .. ": only " .. #channel.streams .. " attempts")
    local last_ms = channel.streams[#channel.streams].started_ms - begun_ms
    holds(last_ms < 5500, outcome .. ": an attempt " .. last_ms .. " ms after the first")
  end
end

local function test_given_up_later()
  local switch, channel = help.call({ relay = function() return "refuse" end, globals = {
    tandem_fallback_extension = "2000", tandem_fallback_context = "default", tandem_give_up_seconds = "30",
  } })
  switch:run(25000)
  equal(channel.transferred, nil, "after 26 s")
  switch:run(6000)
  equal(channel.transferred, "2000 XML default", "after 32 s")
end

local function test_without_fallback()
  local switch, channel = help.call({ relay = function() return "refuse" end })
  switch:run(20000)
  equal(channel.transferred, nil, "transfer")
  equal(channel.cause, "NORMAL_TEMPORARY_FAILURE", "cause")
end

local function test_refused_by_policy()
  local switch, channel = help.call({ globals = FALLBACK })
  switch:relay_closes(channel, 1008)
  switch:run(500)
  equal(channel.transferred, "tandem_ivr XML public", "transfer")
  equal(#channel.streams, 1, "streams")
end

-- The same list in the relay: LegCloseCode::is_final.
local function test_last_words()
  for code, is_final in pairs({
    [1001] = false, [1002] = false, [1003] = true, [1007] = false, [1008] = true, [1009] = true, [1010] = true,
    [1011] = false, [1005] = false, [4000] = false,
  }) do
    local switch, channel = help.call({ globals = FALLBACK })
    local begun_ms = switch:elapsed_ms()
    switch:relay_closes(channel, code)
    switch:run(500)
    equal(channel.transferred, is_final and "tandem_ivr XML public" or nil, code)
    equal(#channel.streams, is_final and 1 or 2, code .. ": streams")
    holds(switch:elapsed_ms() - begun_ms <= 500, code .. ": late")
  end
end

local function test_refused_as_soon_as_it_is_connected()
  local switch = require("switch").new({ scripts = help.SCRIPTS })
  for name, value in pairs(FALLBACK) do switch.globals[name] = value end
  switch.globals.tandem_playback = "binary"
  switch:start_script("tandem_events.lua")
  switch:run(500)
  -- The close stands right behind the answer to the upgrade, and is read with it.
  local channel = help.another_call(switch, { relay = function() return "last word" end })
  switch:run(600)
  equal(channel.transferred, "tandem_ivr XML public", "transfer")
  equal(#channel.streams, 1, "streams")
end

local function test_no_circle()
  local switch, channel = help.call({
    relay = function() return "refuse" end, globals = FALLBACK, variables = { tandem_fell_back = "true" },
  })
  switch:run(20000)
  equal(channel.transferred, nil, "transfer")
  equal(channel.cause, "NORMAL_TEMPORARY_FAILURE", "cause")
end

local function test_flapping()
  local switch, channel = help.call({ globals = {
    tandem_fallback_extension = "tandem_ivr", tandem_restarts_max = "3",
  } })
  for _ = 1, 10 do
    if channel.stream and channel.stream.state == "open" then switch:relay_closes(channel, 1011) end
    switch:run(2000)
  end
  equal(#channel.streams, 4, "streams")
  equal(channel.transferred, "tandem_ivr XML public", "transfer")
end

local function test_steady_connections_are_forgiven()
  local switch, channel = help.call({ globals = { tandem_restarts_max = "1" } })
  for _ = 1, 5 do
    switch:relay_closes(channel, 1011)
    switch:run(31000)
  end
  equal(#channel.streams, 6, "streams")
  equal(channel.state, "execute", "state")
end

local function test_without_the_module()
  local switch = require("switch").new({ scripts = help.SCRIPTS })
  switch.globals.tandem_playback, switch.without_module = "binary", true
  for name, value in pairs(FALLBACK) do switch.globals[name] = value end
  switch:start_script("tandem_events.lua")
  switch:run(500)
  local channel = help.another_call(switch, {})
  switch:run(500)
  equal(channel.transferred, "tandem_ivr XML public", "transfer, at once")
  equal(switch:logged("is mod_audio_stream loaded", "ERR"), 1, "the remedy in the log")
end

local function test_wrong_settings()
  local switch, channel = help.call({ relay = function() return "refuse" end, globals = {
    tandem_give_up_seconds = "soon", tandem_restarts_max = "-1", tandem_fallback_extension = "a b ${x}",
  } })
  switch:run(20000)
  equal(switch:logged("tandem_give_up_seconds", "WARNING"), 1, "line about seconds")
  equal(switch:logged("tandem_restarts_max", "WARNING"), 1, "line about restarts")
  equal(switch:logged("tandem_fallback_extension", "ERR"), 1, "line about the extension")
  equal(channel.transferred, nil, "transfer")
  equal(channel.cause, "NORMAL_TEMPORARY_FAILURE", "cause")
end

return {
  { "the URL tells who calls whom, percent-encoded", test_the_url },
  { "a URL without a path gets the slash that the module wants", test_urls_without_a_path },
  { "headers, TLS and the module's switches are channel variables before the start", test_channel_variables },
  { "what the dialplan has set wins over vars_tandem.xml", test_the_channel_wins },
  { "the channel runs no application, and gets no jitter buffer", test_nothing_is_executed },
  { "of packets longer than 20 ms the relay hears all", test_long_packets },
  { "the token is on the channel only while the stream starts", test_no_token_stays_in_a_channel_variable },
  { "a token that would break out of its header is not sent", test_a_token_that_breaks_out },
  { "wrong arguments are said in words, and the call does not stay in silence", test_wrong_arguments },
  { "the call stays open with RTP flowing", test_the_call_is_kept_open },
  { "the script ends with the caller", test_the_caller_hangs_up },
  { "after close code 1000 the dialplan goes on", test_the_relay_ends_the_conversation },
  { "what the relay said before it closed is heard to its end", test_last_words_before_a_close },
  { "after a disconnect the stream starts again with the same UUID, after a stop", test_restart_after_a_disconnect },
  { "after an error the stream starts again", test_restart_after_an_error },
  { "a relay that refuses at first is asked again, not in a storm", test_refused_at_first },
  { "several relays are asked in turn, each call beginning at one of its own", test_a_list_spreads_calls },
  { "a relay that refuses is left for the next one at once", test_who_refuses_is_left_for_the_next_at_once },
  { "a lost connection is made again to the relay that has the call", test_a_lost_connection_is_made_again_where_the_call_waits },
  { "a relay that sends the call away is left for the next one", test_who_sends_the_call_away_is_not_asked_again },
  { "without a relay the call goes to the fallback extension", test_given_up },
  { "the time until giving up can be set", test_given_up_later },
  { "without a fallback extension the call ends with a cause", test_without_fallback },
  { "close code 1008 is not tried again", test_refused_by_policy },
  { "a last word leads to the fallback at once, what may pass is tried again", test_last_words },
  { "a refusal right behind the upgrade leads to the fallback at once", test_refused_as_soon_as_it_is_connected },
  { "a fallback that leads here again does not make a circle", test_no_circle },
  { "a connection that comes and goes is given up too", test_flapping },
  { "restarts are forgotten after a steady connection", test_steady_connections_are_forgiven },
  { "a missing module is named with its remedy, and not waited for", test_without_the_module },
  { "wrong settings are named, and defaults are used", test_wrong_settings },
}
