-- The one thread that hears the events of mod_audio_stream for all calls: has chunks heard without a gap, silences the
-- caller's ear on barge-in, carries out the relay's orders, reports digits and what the caller does not hear, tells
-- start_audio_stream.lua how its stream fares.
--
-- Runs in: a thread of its own for as long as FreeSWITCH runs, started by lua.conf.xml (startup-script), by
-- start_audio_stream.lua when it is missing, or by hand:
--   fs_cli -x "luarun tandem_events.lua"        a second start says that the first one runs, and ends
--   fs_cli -x "luarun tandem_events.lua stop"   ends it, before a new version of this file is started
-- reloadxml does not touch it. Owns what is known of each call; what is heard is tandem_playback.lua's.
-- Never blocks but on its queue: no command here waits for the network or for a channel.
-- Invariant: events are handled in the order of the queue, so a chunk that stands behind a barge-in belongs to the new
-- turn; one that does not is dropped.

local tandem = dofile(freeswitch.getGlobalVariable("script_dir") .. "/tandem.lua")
local api = freeswitch.API()

-- Behind by more than a chunk's lead the callers hear holes.
local LAG_MS_MAX = 100
-- One line about lag, or about one kind of trouble, in this time.
local LOG_PAUSE_MS = 10000
local LIFE_SIGN_EVERY_MS = 1000
local POP_MS = 100
-- What is due for calls is looked at so often, at most.
local LOOK_EVERY_MS = 5
-- Orders remembered of one call.
local ORDERS_MAX = 1000

-- UUID -> { turn, chunk, orders, order_count, leaves, after, and what tandem_playback.lua knows of it }
local calls = {}
local waiting = {} -- UUID -> its call, when something is due for it
local lag = { worst_ms = 0, events = 0, logged_ms = 0 }
local troubles = {} -- kind -> { count, logged_ms }

-- Logs a trouble with its count, at most one line for each kind in LOG_PAUSE_MS.
local function trouble(now_ms, kind, text)
  local known = troubles[kind] or { count = 0, logged_ms = -LOG_PAUSE_MS }
  troubles[kind] = known
  known.count = known.count + 1
  if now_ms - known.logged_ms >= LOG_PAUSE_MS then
    tandem.log("WARNING", string.format("%s (%d times so far)", text, known.count))
    known.logged_ms = now_ms
  end
end

local playback = dofile(freeswitch.getGlobalVariable("script_dir") .. "/tandem_playback.lua")(tandem, api, trouble)

local function call_of(uuid)
  local call = calls[uuid]
  if not call then
    call = { turn = 0, chunk = -1, orders = {}, order_count = 0 }
    calls[uuid] = call
  end
  return call
end

local function set_stream(uuid, state)
  tandem.command(api, "uuid_setvar", uuid, "tandem_stream", state)
end

-- Has `act` done when the caller has heard what was written, behind what waits for that already. Returns whether that is
-- now.
local function after_speech(call, uuid, now_ms, act)
  local heard_ms = playback.heard_at_ms(call)
  if not call.after and heard_ms <= now_ms then
    act()
    return true
  end
  call.after = call.after or { at_ms = heard_ms }
  table.insert(call.after, act)
  waiting[uuid] = call
  return false
end

-- Does what is due; gives in how many ms more is due, `most` at most.
local function look_at_waiting(now_ms, most)
  for uuid, call in pairs(waiting) do
    if call.after and now_ms >= call.after.at_ms then
      local acts = call.after
      call.after = nil
      for _, act in ipairs(acts) do act() end
    end
    local due_ms = playback.look(call, uuid, now_ms)
    if call.after then due_ms = math.min(due_ms or call.after.at_ms, call.after.at_ms) end
    if due_ms then most = math.min(most, due_ms - now_ms) else waiting[uuid] = nil end
  end
  return math.max(1, math.ceil(most))
end

-- The module ---------------------------------------------------------------------------------------------------------

-- Words that stand in the file of every build that plays binary messages or empties its queue by itself.
local WORDS_OF_PLAYERS = { "clearAudio", "STREAM_PLAYBACK", "STREAM_SAMPLE_RATE", "WRITE_REPLACE" }

-- Whether this machine's mod_audio_stream is certain to be the open build, which makes files and plays nothing itself.
-- No event and no answer of it tells: binary messages are ignored without a word.
local function is_open_build()
  local file = io.open((freeswitch.getGlobalVariable("mod_dir") or "") .. "/mod_audio_stream.so", "rb")
  if not file then return false end
  local code = file:read("*a") or ""
  file:close()
  for _, word in ipairs(WORDS_OF_PLAYERS) do
    if code:find(word, 1, true) then return false end
  end
  return code:find("_%d.tmp%s", 1, true) ~= nil
end

local open_build = is_open_build()

-- Says to log and relay that what the relay sends by this `kind` of playback is not heard.
local function say_module_plays_nothing(uuid, kind, now_ms)
  trouble(now_ms, "module", uuid .. ": the caller hears nothing: this build of mod_audio_stream plays nothing by itself, and "
    .. "tandem_playback in vars_tandem.xml is " .. kind .. "; with file our script plays")
  tandem.send(api, uuid, '{"type":"tandem","event":"unplayed","turn":0,"why":"module"}')
end

-- Events -------------------------------------------------------------------------------------------------------------

local function on_connect(uuid, event, now_ms)
  local before = calls[uuid]
  calls[uuid], waiting[uuid] = nil, nil
  local call = call_of(uuid)
  if before then playback.carry_on(before, call) end
  set_stream(uuid, "connected")
  tandem.send(api, uuid, string.format('{"type":"tandem","event":"hello","version":%d}', tandem.VERSION))
  local kind = event:getHeader("variable_tandem_playback")
  if kind == "file" then
    playback.learn(call, event)
    if not call.phase_ms then playback.probe(call, uuid, now_ms) end
    waiting[uuid] = call
  elseif kind == "binary" and open_build then
    say_module_plays_nothing(uuid, kind, now_ms)
  end
end

local function on_end(uuid, event, word, now_ms)
  local body = tandem.read_object(event:getBody()) or {}
  local message = type(body.message) == "table" and body.message or {}
  local state = string.format("%s_%.0f", word, tandem.whole(message.code) or 0)
  local call = calls[uuid]
  -- The last words are heard to their end before the dialplan goes on.
  if not call or state ~= "closed_1000" then return set_stream(uuid, state) end
  after_speech(call, uuid, now_ms, function() set_stream(uuid, state) end)
end

local function on_play(uuid, event, now_ms)
  local play = tandem.read_object(event:getBody())
  local file, rate = play and play.file, play and tandem.whole(play.sampleRate)
  if not tandem.check.file(file, uuid) or not rate or rate < 8000 or rate > 48000 then
    trouble(now_ms, "file", uuid .. ": not played, because it is no file of this call (temp_dir, freeswitch -temp, may "
      .. "have only letters, digits and . _ - /): " .. tandem.quoted(file))
    return
  end
  local call = call_of(uuid)
  local turn, chunk = tandem.whole(play.turn) or call.turn, tandem.whole(play.chunk)
  if turn < call.turn or call.leaves then return os.remove(file) end -- overtaken by a barge-in, a hang-up or transfer
  if turn > call.turn then call.turn, call.chunk = turn, -1 end
  if chunk then
    if chunk <= call.chunk then
      trouble(now_ms, "order", uuid .. ": a chunk came twice or behind a later one, and is left out")
      return os.remove(file)
    end
    call.chunk = chunk
  end
  if not call.file then playback.learn(call, event) end
  playback.chunk(call, uuid, file, rate, play.last == true, now_ms)
  if call.file then waiting[uuid] = call end
end

-- A module that makes a file where it was to play does not play.
local function on_unwanted_file(uuid, event, now_ms)
  local play, call = tandem.read_object(event:getBody()), call_of(uuid)
  if call.unplayed or not play or not play.file then return end
  call.unplayed = "module"
  say_module_plays_nothing(uuid, event:getHeader("variable_tandem_playback") or "not set", now_ms)
end

local function on_message(uuid, event, plays_files, now_ms)
  local message = tandem.read_object(event:getBody())
  if not message then return end
  if message.type == "clearAudio" and plays_files then
    local call = call_of(uuid)
    local turn = tandem.whole(message.turn) or call.turn + 1
    -- What is said before a hang-up or transfer is heard to its end.
    if not call.leaves then playback.stop(call, uuid, now_ms) end
    if turn > call.turn then call.turn, call.chunk = turn, -1 end
  elseif message.type == "tandem" and message.order ~= nil then
    local call = call_of(uuid)
    call.order_count = call.order_count + 1
    if call.order_count > ORDERS_MAX then
      tandem.log("ERR", uuid .. ": more than " .. ORDERS_MAX .. " orders for one call: this one is left out")
      return
    end
    if message.order == "break" then playback.stop(call, uuid, now_ms) end
    tandem.carry_out(api, uuid, message, call.orders, function(act)
      call.leaves = true
      return after_speech(call, uuid, now_ms, function()
        call.leaves = act()
        if call.leaves then playback.stop(call, uuid, now_ms) end
      end)
    end)
  end
end

local function watch_lag(event, now_ms)
  local at = tonumber(event:getHeader("Event-Date-Timestamp"))
  if not at then return end
  local behind_ms = now_ms - at / 1000
  if behind_ms <= LAG_MS_MAX then return end
  lag.events = lag.events + 1
  lag.worst_ms = math.max(lag.worst_ms, behind_ms)
  if now_ms - lag.logged_ms < LOG_PAUSE_MS then return end
  tandem.log("WARNING", string.format("tandem_events.lua is behind: %d events late, by up to %.0f ms; callers hear holes. "
    .. "A longer lead (playback.file_lead_ms of the relay) or fewer calls on this machine help", lag.events, lag.worst_ms))
  lag.events, lag.worst_ms, lag.logged_ms = 0, 0, now_ms
end

local PREFIX = "mod_audio_stream::"

local function handle(event, now_ms)
  local name, uuid = event:getHeader("Event-Name"), event:getHeader("Unique-ID")
  if not tandem.check.uuid(uuid) then return end
  if name == "CHANNEL_HANGUP_COMPLETE" then
    if calls[uuid] then playback.forget(calls[uuid]) end
    calls[uuid], waiting[uuid] = nil, nil
  elseif name == "CHANNEL_UNHOLD" then
    -- While it held, the channel read nothing: what it would read now is of then, and everything behind it would stay late.
    if calls[uuid] then playback.stop(calls[uuid], uuid, now_ms) end
  elseif name == "MEDIA_BUG_STOP" then
    local call, at_us = calls[uuid], tonumber(event:getHeader("Event-Date-Timestamp"))
    if call and at_us then playback.ended(call, uuid, event:getHeader("Media-Bug-Target"), at_us / 1000, now_ms) end
  elseif name == "DTMF" then
    local digit = event:getHeader("DTMF-Digit")
    if calls[uuid] and tandem.check.digit(digit) then
      tandem.send(api, uuid, '{"type":"tandem","event":"dtmf","digit":"' .. digit .. '"}')
    end
  elseif name == "CUSTOM" and event:getHeader("variable_tandem_script") == "1" then
    local kind = (event:getHeader("Event-Subclass") or ""):sub(#PREFIX + 1)
    local plays_files = event:getHeader("variable_tandem_playback") == "file"
    if kind == "play" then
      if plays_files then
        watch_lag(event, now_ms)
        on_play(uuid, event, now_ms)
      else
        on_unwanted_file(uuid, event, now_ms)
      end
    elseif kind == "json" then
      on_message(uuid, event, plays_files, now_ms)
    elseif kind == "connect" then
      on_connect(uuid, event, now_ms)
    elseif kind == "disconnect" then
      on_end(uuid, event, "closed", now_ms)
    elseif kind == "error" then
      on_end(uuid, event, "error", now_ms)
    end
  end
end

-- One at a time ------------------------------------------------------------------------------------------------------

local own_id = tostring(api:executeString("create_uuid")):gsub("%s+$", "")

local function give_life_sign(now_ms)
  freeswitch.setGlobalVariable(tandem.LIFE_SIGN, string.format("%s %.0f", own_id, now_ms))
end

-- The queue of events, when this thread is the one; nil when another one is. Two that start in the same moment both write
-- their id; the later one stays. The queue fills from before the first life sign: whoever sees that sign is heard.
local function take_place()
  local other, age_ms = tandem.life_sign(api)
  if other and age_ms < tandem.LIFE_SIGN_MS_MAX then
    tandem.log("NOTICE", "tandem_events.lua runs already (" .. other .. "); luarun tandem_events.lua stop ends it")
    return nil
  end
  local consumer = freeswitch.EventConsumer()
  for _, kind in ipairs({ "connect", "disconnect", "error", "json", "play" }) do
    consumer:bind("CUSTOM", PREFIX .. kind)
  end
  consumer:bind("DTMF")
  consumer:bind("CHANNEL_UNHOLD")
  consumer:bind("MEDIA_BUG_STOP")
  consumer:bind("CHANNEL_HANGUP_COMPLETE")
  consumer:bind("SHUTDOWN")
  give_life_sign(tandem.now_ms(api))
  freeswitch.msleep(200)
  return tandem.life_sign(api) == own_id and consumer or nil
end

local function run(consumer)
  tandem.log("NOTICE", "tandem_events.lua runs (" .. own_id .. ")")
  local removed = playback.remove_leftovers()
  if removed > 0 then tandem.log("NOTICE", removed .. " files of calls that are over were left behind, and are removed") end
  local life_sign_ms = tandem.now_ms(api)
  local looked_ms, due_in_ms = 0, POP_MS
  while true do
    local event = consumer:pop(0) or consumer:pop(1, due_in_ms)
    local now_ms = tandem.now_ms(api)
    if event then
      if event:getHeader("Event-Name") == "SHUTDOWN" then return "FreeSWITCH ends" end
      local fine, problem = pcall(handle, event, now_ms)
      if not fine then trouble(now_ms, "fault", "an event could not be handled: " .. tostring(problem)) end
    end
    if now_ms - looked_ms >= LOOK_EVERY_MS or now_ms < looked_ms then
      looked_ms = now_ms
      local fine, due = pcall(look_at_waiting, now_ms, POP_MS)
      if not fine then trouble(now_ms, "fault", "what was due could not be done: " .. tostring(due)) end
      due_in_ms = fine and due or POP_MS
    end
    if now_ms - life_sign_ms >= LIFE_SIGN_EVERY_MS or now_ms < life_sign_ms then
      if tandem.life_sign(api) ~= own_id then return "another one, or nobody, has taken its place" end
      give_life_sign(now_ms)
      life_sign_ms = now_ms
    end
  end
end

if argv and argv[1] == "stop" then
  freeswitch.setGlobalVariable(tandem.LIFE_SIGN, "stop")
else
  local consumer = take_place()
  if consumer then
    local reason = run(consumer)
    tandem.log("NOTICE", "tandem_events.lua ends: " .. reason)
    if tandem.life_sign(api) == own_id then freeswitch.setGlobalVariable(tandem.LIFE_SIGN, "ended") end
  end
end
