-- A hand test of the relay's AudioSocket side from inside FreeSWITCH: audio_socket_client.lua [UUID] [HOST] [PORT]
--
--   fs_cli -x "lua audio_socket_client.lua"                              a new UUID, 127.0.0.1, 9094
--   fs_cli -x "lua audio_socket_client.lua test-uuid 172.17.0.1 9094"    another address
--
-- What is no UUID, such as test-uuid, is a name for the test only: a new UUID is made. Connects, sends the UUID and one second of a tone in frames of 20 ms, then silence for three seconds, and says in
-- words what came back and how fast. Runs in: the thread of fs_cli's command, or any Lua, where its exit status is 1 when
-- it failed. It needs LuaSocket. Owns one connection. Never touches a call.

local RATE_HZ, FRAME_SAMPLES = 8000, 160
local TONE_FRAMES, SILENCE_FRAMES = 50, 150
local FRAME_SECONDS = 0.02
local KIND_HANGUP, KIND_UUID, KIND_DTMF, KIND_SLIN8 = 0x00, 0x01, 0x03, 0x10
-- Samples a second of the kinds of audio, 0x10 to 0x18.
local KIND_HZ = { 8000, 12000, 16000, 24000, 32000, 44100, 48000, 96000, 192000 }

local function say(text)
  if stream then
    stream:write(text .. "\n") -- fs_cli's answer
  elseif freeswitch then
    freeswitch.consoleLog("NOTICE", text .. "\n")
  else
    print(text)
  end
end

-- The end of a test that failed.
local function fail()
  if not freeswitch and not stream then os.exit(1) end
end

local arguments = argv or arg or {}
local uuid, host, port = arguments[1], arguments[2] or "127.0.0.1", tonumber(arguments[3] or 9094)

local loaded, socket = pcall(require, "socket")
if not loaded then
  local number = _VERSION:match("%d%.%d")
  say("LuaSocket is missing, which this test needs. Debian and Ubuntu: apt-get install lua-socket; others: luarocks "
    .. "--lua-version=" .. number .. " install luasocket. It must be for " .. _VERSION .. ", which this FreeSWITCH has.")
  say("When it is installed and not found: in lua.conf.xml, <param name=\"module-directory\" "
    .. "value=\"/usr/lib/x86_64-linux-gnu/lua/" .. number .. "/?.so\"/> and <param name=\"script-directory\" value=\""
    .. "/usr/share/lua/" .. number .. "/?.lua\"/>, then restart FreeSWITCH.")
  return fail()
end

-- The hex digits of a UUID, or nil where it is none.
local function digits_of(text)
  local digits = (text:gsub("-", ""))
  return #digits == 32 and digits:find("^%x+$") and digits or nil
end

-- A random UUID (RFC 9562 section 5.4). os.time alone would give those of one second the same.
local function new_uuid()
  if freeswitch then return (freeswitch.API():executeString("create_uuid"):gsub("%s+$", "")) end
  math.randomseed(math.floor(socket.gettime() * 1000000) % 2147483647)
  return (("xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx"):gsub("x", function()
    return string.format("%x", math.random(0, 15))
  end))
end

local hex = uuid and digits_of(uuid)
if not hex then
  local given = uuid
  uuid = new_uuid()
  hex = digits_of(uuid)
  if given then
    say('"' .. given:sub(1, 80):gsub("[^ -~]", "?") .. '" is no UUID (as 0a1b2c3d-1111-4222-8333-444455556666 is one), '
      .. "and AudioSocket carries nothing else: the test uses the new UUID " .. uuid .. ".")
  end
end
if not host:find("^[A-Za-z0-9.:-]+$") or not port or port < 1 or port > 65535 then
  say("The host must be a name or an address, and the port a number from 1 to 65535: audio_socket_client.lua UUID "
    .. "127.0.0.1 9094")
  return fail()
end

local function frame(kind, payload)
  return string.char(kind, math.floor(#payload / 256), #payload % 256) .. payload
end

-- 440 Hz at -12 dBFS, or silence: signed 16-bit little-endian.
local function audio(number, loudness)
  local bytes = {}
  for sample = 0, FRAME_SAMPLES - 1 do
    local at = (number * FRAME_SAMPLES + sample) / RATE_HZ
    local value = math.floor(loudness * math.sin(2 * math.pi * 440 * at) + 0.5) % 65536
    bytes[#bytes + 1] = string.char(value % 256, math.floor(value / 256))
  end
  return table.concat(bytes)
end

local function peak_of(payload)
  local peak = 0
  for at = 1, #payload - 1, 2 do
    local low, high = payload:byte(at, at + 1)
    local value = low + high * 256
    peak = math.max(peak, math.abs(value >= 32768 and value - 65536 or value))
  end
  return peak
end

local function in_db(peak)
  return peak == 0 and "silence" or string.format("%.0f dBFS", 20 * math.log(peak / 32768) / math.log(10))
end

local begun = socket.gettime()
local connection = socket.tcp()
connection:settimeout(3)
local connected, problem = connection:connect(host, port)
if not connected then
  say(string.format("No connection to %s port %d: %s.", host, port, problem))
  if problem == "connection refused" then
    say("Nothing listens there. Is the relay running? Does it listen on this address (listen.host, listen.port)? "
      .. "In containers the relay's address is its service's name or the host's, not 127.0.0.1.")
  else
    say("Nothing answers there. Is the address right? Does a firewall stand between?")
  end
  return fail()
end
local connected_ms = (socket.gettime() - begun) * 1000
say(string.format("Connected to %s port %d in %.1f ms.", host, port, connected_ms))
connection:setoption("tcp-nodelay", true)

local seen = {
  frames = 0, seconds = 0, bytes = 0, peak = 0, kinds = {}, digits = "", longest_ms = 0, wrong = nil, ended = nil,
}
local pending, begun_ms = "", socket.gettime() * 1000
local function now_ms() return socket.gettime() * 1000 - begun_ms end

local function take(kind, payload, at_ms)
  if kind == KIND_HANGUP then
    seen.ended = "with a hang-up frame"
  elseif kind == KIND_DTMF then
    seen.digits = seen.digits .. payload:gsub("[^0-9A-D*#]", "?")
  elseif kind >= KIND_SLIN8 and kind <= 0x18 then
    if seen.last_ms then seen.longest_ms = math.max(seen.longest_ms, at_ms - seen.last_ms) end
    seen.first_ms, seen.last_ms = seen.first_ms or at_ms, at_ms
    local peak = peak_of(payload)
    if peak > 300 and not seen.loud_ms then seen.loud_ms = at_ms end
    local hertz = KIND_HZ[kind - KIND_SLIN8 + 1]
    seen.frames, seen.bytes, seen.peak = seen.frames + 1, seen.bytes + #payload, math.max(seen.peak, peak)
    seen.seconds = seen.seconds + #payload / 2 / hertz
    seen.kinds[hertz] = true
  else
    seen.wrong = string.format("a frame of kind 0x%02x, which AudioSocket does not have", kind)
  end
end

local function receive()
  connection:settimeout(0)
  while not seen.ended do
    local whole, reason, part = connection:receive(8192)
    local bytes = whole or part or ""
    pending = pending .. bytes
    while #pending >= 3 do
      local kind, high, low = pending:byte(1, 3)
      local length = high * 256 + low
      if #pending < 3 + length then break end
      take(kind, pending:sub(4, 3 + length), now_ms())
      pending = pending:sub(4 + length)
    end
    if reason == "closed" then seen.ended = seen.ended or "by closing the connection without a hang-up frame" end
    if not whole then return end
  end
end

local function send(bytes) -- header and payload in one write
  connection:settimeout(1)
  local sent, reason = connection:send(bytes)
  if not sent then seen.ended = seen.ended or ("the connection is lost while sending: " .. tostring(reason)) end
end

send(frame(KIND_UUID, (hex:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))))
local next_at = socket.gettime()
for number = 0, TONE_FRAMES + SILENCE_FRAMES - 1 do
  if seen.ended then break end
  send(frame(KIND_SLIN8, audio(number, number < TONE_FRAMES and 8192 or 0)))
  next_at = next_at + FRAME_SECONDS
  local pause = next_at - socket.gettime()
  if pause > 0 then socket.sleep(pause) end
  receive()
end
local lasted_ms = now_ms()
connection:close()

say("Sent the UUID " .. uuid .. string.format(" and %.1f s of audio, the first second of it a tone.", lasted_ms / 1000))
if seen.frames == 0 then
  say("No audio came back.")
else
  local rates = {}
  for _, hertz in ipairs(KIND_HZ) do
    if seen.kinds[hertz] then rates[#rates + 1] = hertz .. " Hz" end
  end
  say(string.format("Audio came back: %d frames, %.2f s at %s, loudest %s.", seen.frames, seen.seconds,
    table.concat(rates, " and "), in_db(seen.peak)))
  say(string.format("The first frame came after %.0f ms%s; the longest time between two frames was %.0f ms.",
    seen.first_ms, seen.loud_ms and string.format(", the first sound after %.0f ms", seen.loud_ms) or "",
    seen.longest_ms))
end
if seen.digits ~= "" then say("Digits: " .. seen.digits) end
if seen.wrong then say("Wrong: it sent " .. seen.wrong .. ".") end
if seen.ended then
  say(string.format("The relay ended it after %.0f ms %s.", lasted_ms, seen.ended))
  if seen.frames == 0 and lasted_ms < 1000 then
    say("That is a refusal: its log says why (the address is not allowed, too many calls, an unknown UUID).")
  end
  fail()
elseif seen.frames > 0 then
  say("The connection stayed up to the end: the relay can be heard from here.")
else
  say("The connection stayed up: the relay is there and has said nothing. Its log says what the call lacks.")
end
