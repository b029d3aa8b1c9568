-- Connects a call with Tandem and keeps it up: start_audio_stream.lua URL[,URL...] [mono|mixed|stereo] [8k|16k]
--
-- Runs in: the call's own thread, from the dialplan after `answer` and `sleep`:
--   <action application="lua" data="start_audio_stream.lua $${audio_stream_url} mono 16k"/>
-- Owns the call's stream: its start, its restart after an error, its end, and the way out when nothing helps. Playing,
-- barge-in, the relay's orders and the caller's digits are tandem_events.lua's work, which hears of them at once. Never
-- plays anything itself: that would hold up the stream.
-- Invariant: when it ends, the call has no stream any more, whatever comes next in the dialplan.
--
-- Several URLs are several relays. Each call begins at one that its UUID chooses; a relay that refuses it, is not there, or sends
-- the call away is left for the next one at once. A connection that was lost is made again to the relay that it was with, where
-- the call waits, and then to the others.
--
-- Settings are global variables in vars_tandem.xml; channel variables that the dialplan may set before:
--   tandem_agent           the agent that answers this call
--   tandem_playback        file, binary or json, when this call differs from vars_tandem.xml
--   STREAM_...             as the module knows them; they win over vars_tandem.xml

local tandem = dofile(freeswitch.getGlobalVariable("script_dir") .. "/tandem.lua")
local api = freeswitch.API()

-- A state of the stream is noticed after at most this long.
local POLL_MS = 200
-- From an end to the next attempt.
local RESTART_PAUSE_MS = 500
-- The module itself gives up connecting after 1000 ms; without news for this long nobody hears its events.
local NEWS_MS_MAX = 5000
-- A connection that lasted this long makes earlier losses forgotten.
local STEADY_MS = 30000

-- Long enough for sleep to take up what is queued; it goes on until that is done.
local LAST_WORDS_MS = 60
-- Given to a report of tandem_events.lua before the stream is stopped behind it.
local REPORT_MS = 50

local MIXES = { mono = true, mixed = true, stereo = true }
local RATES = {
  ["8k"] = true, ["16k"] = true, ["8000"] = true, ["16000"] = true, ["24000"] = true, ["32000"] = true, ["48000"] = true,
}
local PLAYBACKS = { file = true, binary = true, json = true }
-- Variables of the module that vars_tandem.xml may set for all calls.
local STREAM_VARIABLES = {
  "STREAM_MESSAGE_DEFLATE", "STREAM_HEART_BEAT", "STREAM_SUPPRESS_LOG", "STREAM_BUFFER_SIZE",
  "STREAM_TLS_CA_FILE", "STREAM_TLS_CERT_FILE", "STREAM_TLS_KEY_FILE", "STREAM_TLS_DISABLE_HOSTNAME_VALIDATION",
}
-- What this script sets on the channel and takes back when it ends.
local BORROWED = { "send_silence_when_idle" }

local mix, rate = argv[2] or "mono", argv[3] or "16k"
local urls = {}
for url in (argv[1] or ""):gmatch("[^,]+") do urls[#urls + 1] = url end
local uuid = session:get_uuid()

local function variable(name)
  local value = session:getVariable(name)
  if value == nil or value == "" then return nil end
  return value
end

local function log(level, text) tandem.log(level, uuid .. ": " .. text) end

-- What is wrong with the arguments and settings, in an operator's words; nil when nothing is.
local function complaint(playback)
  if not tandem.check.uuid(uuid) then return "the call's UUID has characters that a command cannot carry" end
  local right = #urls > 0
  for _, url in ipairs(urls) do right = right and tandem.check.url(url) end
  if not right then
    return "the first argument must be the relay's address, as in ws://127.0.0.1:9094/, or several separated by commas "
      .. "(audio_stream_url in vars_tandem.xml); it is " .. tandem.quoted(argv[1])
  end
  if not MIXES[mix] then
    return "the second argument must be mono, mixed or stereo; it is " .. tandem.quoted(mix)
  end
  if not RATES[rate] then return "the third argument must be 8k or 16k; it is " .. tandem.quoted(rate) end
  if not PLAYBACKS[playback] then
    return "tandem_playback in vars_tandem.xml must be file, binary or json; it is " .. tandem.quoted(playback)
  end
  return nil
end

local function completed_url(url, playback)
  local fields = {
    { "uuid", uuid }, { "did", variable("destination_number") or "" }, { "caller", variable("caller_id_number") or "" },
    { "playback", playback }, { "rate", rate }, { "mix", mix }, { "script", "1" }, { "agent", variable("tandem_agent") },
  }
  local query = {}
  for _, field in ipairs(fields) do
    if field[2] then query[#query + 1] = field[1] .. "=" .. tandem.percent_encoded(field[2]:sub(1, 128)) end
  end
  local whole = url
  if not whole:find("?", 1, true) then
    if not whole:find("^wss?://[^/]+/") then whole = whole .. "/" end
    whole = whole .. "?"
  else
    whole = whole:gsub("^(wss?://[^/?]+)%?", "%1/?") -- the module wants a slash before the query
    if not whole:find("[?&]$") then whole = whole .. "&" end
  end
  return whole .. table.concat(query, "&")
end

-- One field: letters, digits and JSON's own marks, no space.
local function metadata()
  local fields = {}
  for _, field in ipairs({
    { "uuid", uuid }, { "did", variable("destination_number") }, { "caller", variable("caller_id_number") },
  }) do
    if field[2] then fields[#fields + 1] = '"' .. field[1] .. '":"' .. tandem.plain(field[2]) .. '"' end
  end
  return "{" .. table.concat(fields, ",") .. "}"
end

-- The header with the token, which is not in the URL because that stands in logs; nil where there is none, or where
-- channel or vars_tandem.xml have headers of their own, which the module finds by itself.
local function token_header()
  local token = tandem.setting("tandem_token")
  if not token or variable("STREAM_EXTRA_HEADERS") then return nil end
  if token:find('[^!-~]') or token:find('["\\]') then
    log("ERR", "tandem_token in vars_tandem.xml may have no spaces, quotes or backslashes: the stream starts without it")
    return nil
  end
  return '{"Authorization":"Bearer ' .. token .. '"}'
end

local function set_module_variables(playback)
  for _, name in ipairs(STREAM_VARIABLES) do
    local value = variable(name) or tandem.setting(name)
    if value then session:setVariable(name, value) end
  end
  -- The module resamples the first 20 ms of each packet and drops the rest, unless its messages hold whole packets.
  local packet_ms = tonumber(variable("rtp_use_codec_ptime")) or 20
  if packet_ms > 20 and not variable("STREAM_BUFFER_SIZE") then
    session:setVariable("STREAM_BUFFER_SIZE", string.format("%.0f", packet_ms % 20 == 0 and packet_ms or 2 * packet_ms))
  end
  -- Module versions up to 1.0.2 would connect again by themselves, beside this script.
  session:setVariable("STREAM_NO_RECONNECT", "true")
  if playback ~= "file" then session:setVariable("STREAM_PLAYBACK", "true") end
  if playback == "binary" then
    local hertz = rate:gsub("k$", "000")
    session:setVariable("STREAM_SAMPLE_RATE", hertz)
  end
end

-- Makes sleep take the digits that the caller types, so that FreeSWITCH raises their events.
function tandem_on_input() return "" end

local function start_events_thread()
  if tandem.events_run(api) then return end
  log("NOTICE", "tandem_events.lua does not run; it is started now (startup-script in lua.conf.xml starts it with "
    .. "FreeSWITCH)")
  api:executeString("luarun tandem_events.lua")
  for _ = 1, 20 do
    if tandem.events_run(api) or not session:ready() then break end
    session:sleep(50)
  end
end

-- The stream's state: starting, connected, closed_CODE or error_CODE, written by tandem_events.lua.
local function set_state(state) session:setVariable("tandem_stream", state) end

-- Losses are of connections; attempts that fail are bounded by the time until giving up. `at` is the relay's place in `urls`,
-- `tried` how many of them the present search for a connection has been at.
local stream = { losses = 0, at = 1, tried = 0 }

-- Where a call begins: spread evenly, and the same for a script that is started anew for it.
local function first_relay()
  local sum = 0
  for place = 1, #uuid do sum = sum + uuid:byte(place) end
  return sum % #urls + 1
end

-- Starts the stream; whether another attempt would help where this one fails.
local function start(playback)
  local whole_url = completed_url(urls[stream.at], playback)
  set_state("starting")
  stream.tried = stream.tried + 1
  stream.started_ms = tandem.now_ms(api)
  stream.connected_ms = nil
  -- The module reads it while it starts. Afterwards the token would stand in each event, CDR and dump of the channel.
  local header = token_header()
  if header then session:setVariable("STREAM_EXTRA_HEADERS", header) end
  local fine, answer = tandem.command(api, "uuid_audio_stream", uuid, "start", whole_url, mix, rate, metadata())
  if header then session:setVariable("STREAM_EXTRA_HEADERS", "") end
  if fine then return true end
  set_state("error_0")
  local is_missing = answer:find("not found", 1, true) ~= nil or answer == ""
  local hint = is_missing and "; is mod_audio_stream loaded? (load mod_audio_stream)" or ""
  log("ERR", "uuid_audio_stream start answered " .. tandem.quoted(answer) .. hint)
  return not is_missing
end

local function stop() tandem.command(api, "uuid_audio_stream", uuid, "stop") end

-- Looks at the stream; gives what the call shall do now: nil (go on), "end" or "fall back".
local function look(playback, give_up_ms, restarts_max)
  local now_ms, state = tandem.now_ms(api), variable("tandem_stream") or "starting"
  if state == "connected" then
    stream.connected_ms = stream.connected_ms or now_ms
    stream.lost_ms, stream.tried = nil, 0
    if now_ms - stream.connected_ms >= STEADY_MS then stream.losses = 0 end
    return nil
  elseif state == "closed_1000" then
    session:sleep(LAST_WORDS_MS) -- what is queued is played to its end, and a transfer behind it carried out
    if not session:ready() then return nil end
    log("INFO", "the relay has ended the conversation")
    return "end"
  elseif tandem.final_closes[tonumber(state:match("^closed_(%d+)$"))] then
    log("WARNING", "the relay refuses this call, or has given it up (close code " .. state:match("%d+") .. ")")
    return "fall back"
  elseif state == "starting" then
    if now_ms - stream.started_ms < NEWS_MS_MAX then return nil end
    log("ERR", "no news of the stream: tandem_events.lua does not run or is far behind")
    start_events_thread()
  end
  if not stream.lost_ms then
    if stream.connected_ms then stream.losses = stream.losses + 1 end
    stream.lost_ms = stream.connected_ms and now_ms or stream.started_ms
    log("WARNING", "the stream to the relay is lost (" .. state .. ")")
  end
  if not stream.next_ms then
    -- A relay whose connection was lost has the call; one that goes has sent it away.
    local stays = stream.connected_ms and state ~= "closed_1001"
    if not stays then stream.at = stream.at % #urls + 1 end
    local rests = not stream.connected_ms and stream.tried % #urls == 0
    stream.next_ms = rests and stream.started_ms + RESTART_PAUSE_MS or now_ms
  end
  if now_ms - stream.lost_ms >= give_up_ms or stream.losses > restarts_max then
    log("ERR", string.format("no connection to the relay for %.1f s, lost %d times: given up",
      (now_ms - stream.lost_ms) / 1000, stream.losses))
    return "fall back"
  end
  if now_ms < stream.next_ms then return nil end
  stream.next_ms = nil
  stop() -- after a disconnect the module keeps its place on the channel until it is told to stop
  return not start(playback) and "fall back" or nil
end

local function fall_back()
  local extension = tandem.setting("tandem_fallback_extension")
  local context = tandem.setting("tandem_fallback_context", "public")
  if extension and not (tandem.check.destination(extension) and tandem.check.name(context)) then
    log("ERR", "tandem_fallback_extension or tandem_fallback_context in vars_tandem.xml has a wrong character")
    extension = nil
  end
  if extension and not variable("tandem_fell_back") then
    log("NOTICE", "the call goes to " .. extension .. " in " .. context)
    session:setVariable("tandem_fell_back", "true")
    session:transfer(extension, "XML", context)
  else
    session:hangup("NORMAL_TEMPORARY_FAILURE")
  end
end

local function run()
  session:setAutoHangup(false) -- what follows in the dialplan decides
  local playback = variable("tandem_playback") or tandem.setting("tandem_playback", "binary")
  local wrong = complaint(playback)
  if wrong then
    log("ERR", wrong)
    return fall_back()
  end
  local before = {}
  for _, name in ipairs(BORROWED) do before[name] = variable(name) or "" end
  -- Without RTP to the caller there is no uplink of mixed and stereo, and builds that mix into it play nothing.
  session:setVariable("send_silence_when_idle", "-1")
  session:setVariable("tandem_playback", playback)
  session:setVariable("tandem_script", "1")
  set_module_variables(playback)
  session:setInputCallback("tandem_on_input")
  start_events_thread()

  local give_up_ms = tandem.number_setting("tandem_give_up_seconds", 5, 1, 600) * 1000
  local restarts_max = tandem.number_setting("tandem_restarts_max", 10, 0, 1000)
  stream.at = first_relay()
  local verdict
  if session:ready() and not start(playback) then verdict = "fall back" end
  while session:ready() and not verdict do
    session:sleep(POLL_MS)
    if session:ready() then verdict = look(playback, give_up_ms, restarts_max) end
  end

  -- Here the caller has hung up, an order has transferred the call, or the stream is over. After a transfer the report of
  -- tandem_events.lua is still on its way into the stream.
  if not verdict then freeswitch.msleep(REPORT_MS) end
  if tostring(api:executeString("uuid_exists " .. uuid)) == "true" then stop() end
  session:unsetInputCallback()
  session:setVariable("tandem_script", "")
  for _, name in ipairs(BORROWED) do session:setVariable(name, before[name]) end
  if verdict == "fall back" then fall_back() end
end

run()
