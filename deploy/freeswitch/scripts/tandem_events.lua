-- The one thread that hears the events of mod_audio_stream for all calls: plays chunks without a gap, breaks off on
-- barge-in, carries out the relay's orders, reports digits, tells start_audio_stream.lua how its stream fares.
--
-- Runs in: a thread of its own for as long as FreeSWITCH runs, started by lua.conf.xml (startup-script), by
-- start_audio_stream.lua when it is missing, or by hand:
--   fs_cli -x "luarun tandem_events.lua"        a second start says that the first one runs, and ends
--   fs_cli -x "luarun tandem_events.lua stop"   ends it, before a new version of this file is started
-- reloadxml does not touch it. Owns what is known of each call, and the chunks' files until they are deleted.
-- Never blocks but on its queue: no command here waits for the network or for a channel.
-- Invariant: events are handled in the order of the queue, so a chunk that stands behind a barge-in belongs to the new
-- turn; one that does not is dropped.

local tandem = dofile(freeswitch.getGlobalVariable("script_dir") .. "/tandem.lua")
local api = freeswitch.API()

-- A chunk is deleted this long after it was given to its channel. It is heard within a second; a barge-in empties the
-- queue without a word, so waiting for the end of each playback would leave files behind.
local FILE_KEPT_MS = 30000
-- Behind by more than a chunk's lead the callers hear holes.
local LAG_MS_MAX = 100
-- One line about lag, or about one kind of trouble, in this time.
local LOG_PAUSE_MS = 10000
local LIFE_SIGN_EVERY_MS = 1000
local POP_MS = 100
-- Orders remembered of one call.
local ORDERS_MAX = 1000

local calls = {} -- UUID -> { turn, chunk, acknowledged, orders, order_count, leaves }
local due = {} -- file -> time at which it is deleted
local deletions = { first = 1, last = 0 } -- { file, due_ms } in order of time
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

-- Files --------------------------------------------------------------------------------------------------------------

local function delete_later(file, now_ms)
  due[file] = now_ms + FILE_KEPT_MS
  deletions.last = deletions.last + 1
  deletions[deletions.last] = { file = file, due_ms = due[file] }
end

-- A new stream of a call numbers its files from 0 again, so names that wait here may be those of new files. The module
-- has deleted the old ones.
local function forget_files(uuid)
  for file in pairs(due) do
    if file:find(uuid, 1, true) then due[file] = nil end
  end
end

local function delete_due(now_ms)
  while deletions.first <= deletions.last do
    local entry = deletions[deletions.first]
    if entry.due_ms > now_ms then return end
    deletions[deletions.first] = nil
    deletions.first = deletions.first + 1
    if due[entry.file] == entry.due_ms then
      due[entry.file] = nil
      os.remove(entry.file) -- gone already when the call is over: no trouble
    end
  end
end

-- Events -------------------------------------------------------------------------------------------------------------

local function on_connect(uuid)
  calls[uuid] = nil
  call_of(uuid)
  forget_files(uuid)
  set_stream(uuid, "connected")
  tandem.send(api, uuid, string.format('{"type":"tandem","event":"hello","version":%d}', tandem.VERSION))
end

local function on_end(uuid, event, word)
  local body = tandem.read_object(event:getBody()) or {}
  local message = type(body.message) == "table" and body.message or {}
  set_stream(uuid, string.format("%s_%.0f", word, tandem.whole(message.code) or 0))
end

local function on_play(uuid, event, now_ms)
  local play = tandem.read_object(event:getBody())
  local file = play and play.file
  if not tandem.check.file(file, uuid) then
    trouble(now_ms, "file", uuid .. ": not played, because it is no file of this call (temp_dir, freeswitch -temp, may "
      .. "have only letters, digits and . _ - /): " .. tandem.quoted(file))
    return
  end
  delete_later(file, now_ms)
  local call = call_of(uuid)
  local turn, chunk = tandem.whole(play.turn) or call.turn, tandem.whole(play.chunk)
  if turn < call.turn or call.leaves then return end -- overtaken by a barge-in, or by a hang-up or transfer
  if turn > call.turn then call.turn, call.chunk = turn, -1 end
  if chunk then
    if chunk <= call.chunk then
      trouble(now_ms, "order", uuid .. ": a chunk came twice or behind a later one, and is left out")
      return
    end
    call.chunk = chunk
  end
  tandem.queue(api, uuid, "playback", file)
  if call.acknowledged ~= turn then
    call.acknowledged = turn
    tandem.send(api, uuid, string.format('{"type":"tandem","event":"playing","turn":%.0f}', turn))
  end
end

local function on_message(uuid, event, plays_files)
  local message = tandem.read_object(event:getBody())
  if not message then return end
  if message.type == "clearAudio" and plays_files then
    local call = call_of(uuid)
    local turn = tandem.whole(message.turn) or call.turn + 1
    if turn > call.turn then call.turn, call.chunk = turn, -1 end
    -- The break would throw out a hang-up or transfer that waits behind the last chunk.
    if not call.leaves then tandem.command(api, "uuid_break", uuid, "all") end
  elseif message.type == "tandem" and message.order ~= nil then
    local call = call_of(uuid)
    call.order_count = call.order_count + 1
    if call.order_count > ORDERS_MAX then
      tandem.log("ERR", uuid .. ": more than " .. ORDERS_MAX .. " orders for one call: this one is left out")
      return
    end
    if tandem.carry_out(api, uuid, message, call.orders, plays_files) then call.leaves = true end
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
    .. "Larger chunks (playback.file_chunk_ms of the relay) or fewer calls on this machine help", lag.events, lag.worst_ms))
  lag.events, lag.worst_ms, lag.logged_ms = 0, 0, now_ms
end

local PREFIX = "mod_audio_stream::"

local function handle(event, now_ms)
  local name, uuid = event:getHeader("Event-Name"), event:getHeader("Unique-ID")
  if not tandem.check.uuid(uuid) then return end
  if name == "CHANNEL_HANGUP_COMPLETE" then
    calls[uuid] = nil
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
      end
    elseif kind == "json" then
      on_message(uuid, event, plays_files)
    elseif kind == "connect" then
      on_connect(uuid)
    elseif kind == "disconnect" then
      on_end(uuid, event, "closed")
    elseif kind == "error" then
      on_end(uuid, event, "error")
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
  consumer:bind("CHANNEL_HANGUP_COMPLETE")
  consumer:bind("SHUTDOWN")
  give_life_sign(tandem.now_ms(api))
  freeswitch.msleep(200)
  return tandem.life_sign(api) == own_id and consumer or nil
end

local function run(consumer)
  tandem.log("NOTICE", "tandem_events.lua runs (" .. own_id .. ")")
  local life_sign_ms = tandem.now_ms(api)
  while true do
    local event = consumer:pop(0)
    if not event then
      -- Only with an empty queue: a connect that waits there makes names of old files names of new ones.
      delete_due(tandem.now_ms(api))
      event = consumer:pop(1, POP_MS)
    end
    local now_ms = tandem.now_ms(api)
    if event then
      if event:getHeader("Event-Name") == "SHUTDOWN" then return "FreeSWITCH ends" end
      local fine, problem = pcall(handle, event, now_ms)
      if not fine then trouble(now_ms, "fault", "an event could not be handled: " .. tostring(problem)) end
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
