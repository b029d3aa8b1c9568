-- The stand-in in real time, its calls connected with a real relay: lua5.4 tests/lua/live.lua RELAY_URL PORT PLAYBACK
--
-- Places one call, whose UUID is live-call, and talks with its test over 127.0.0.1:PORT. It writes lines: `command LINE`
-- for each API command, `heard N` (packets of speech so far, twice a second), `end STATE WHAT`; it takes lines:
-- `digit D`, `drop` (the connection breaks), `hang up`. It acts as the open build of mod_audio_stream: the handshake
-- has no spaces behind its colons, streamAudio becomes files and events, binary is ignored.

package.path = "tests/lua/?.lua;" .. package.path

local socket = require("socket")
local Switch = require("switch")
local help = require("help")

local relay_url, port, playback = arg[1], tonumber(arg[2]), arg[3]
local test = assert(socket.connect("127.0.0.1", port))
test:settimeout(0)
local function tell(text)
  test:settimeout(5)
  test:send(text .. "\n")
  test:settimeout(0)
end

local function now_us() return math.floor(socket.gettime() * 1000000) end

local switch = Switch.new({ scripts = help.SCRIPTS, event_us = 1000 })
switch.now_us, switch.started_us = now_us(), now_us()
switch.globals.tandem_playback = playback
switch.globals.tandem_fallback_extension = "tandem_ivr"
switch.globals.tandem_give_up_seconds = "3"
local execute = switch.execute
switch.execute = function(self, line)
  tell("command " .. line)
  return execute(self, line)
end

-- The WebSocket (RFC 6455) as the module speaks it: frames of ours are masked, by a key of zeros.
local SILENCE = ("\0"):rep(320) -- 20 ms at 8 kHz

local function frame(kind, payload)
  local length = #payload < 126 and string.char(0x80 + #payload)
    or string.char(0xfe, math.floor(#payload / 256), #payload % 256)
  return string.char(0x80 + kind) .. length .. "\0\0\0\0" .. payload
end

local function connect(channel, stream)
  local host, relay_port, target = stream.url:match("^ws://([^:/]+):(%d+)(.*)$")
  local connection, pending, open = socket.tcp(), "", false
  connection:settimeout(1)
  if not connection:connect(host, tonumber(relay_port)) then
    switch:after(1000, function()
      if switch:close_stream(channel) then
        switch:stream_event(channel, "error", '{"status":"error","message":{"code":6,"error":"Connection refused"}}')
      end
    end)
    return
  end
  connection:setoption("tcp-nodelay", true)
  connection:send("GET " .. target .. " HTTP/1.1\r\nHost:" .. host .. ":" .. relay_port
    .. "\r\nUpgrade:websocket\r\nConnection:upgrade\r\nSec-WebSocket-Key:dGhlIHNhbXBsZSBub25jZQ==\r\n"
    .. "Sec-WebSocket-Version:13\r\nOrigin:http://" .. host .. ":" .. relay_port .. "\r\n\r\n")

  local function send(kind, payload)
    connection:settimeout(1)
    connection:send(frame(kind, payload))
  end
  function stream.send_text(text) send(1, text) end
  function stream.close()
    send(8, "\3\232") -- 1000
    connection:close()
    stream.socket = nil
  end
  stream.socket = connection

  local function speak()
    if stream.state ~= "open" then return end
    send(2, SILENCE)
    switch:after(20000, speak)
  end

  local function take(kind, payload)
    if kind == 1 then
      local members, audio = payload:match('^{"type":"streamAudio","data":{(.*),"audioData":"([^"]*)"}}$')
      if not members then
        switch:relay_says(channel, payload)
      else
        local hertz = tonumber(members:match('"sampleRate":(%d+)'))
        local bytes = math.floor(#audio:gsub("=", "") * 3 / 4)
        switch:relay_speaks(channel, bytes / 2 / hertz * 1000, members:match('"turn".*$'))
      end
    elseif kind == 8 then
      connection:close()
      stream.socket, stream.close = nil, nil
      switch:relay_closes(channel, #payload >= 2 and payload:byte(1) * 256 + payload:byte(2) or 1005)
    elseif kind == 9 then
      send(10, payload)
    end
  end

  function stream.receive()
    connection:settimeout(0)
    local whole, reason, part = connection:receive(65536)
    pending = pending .. (whole or part or "")
    if not open then
      local head, rest = pending:match("^(.-\r\n\r\n)(.*)$")
      if head and not head:find("^HTTP/1.1 101") then -- the module tells nobody which status it was
        connection:close()
        stream.socket, stream.close = nil, nil
        switch:close_stream(channel)
        switch:stream_event(channel, "error",
          '{"status":"error","message":{"code":6,"error":"WebSocket upgrade failed"}}')
        return
      elseif head then
        open, pending = true, rest
        stream.state = "open"
        switch:stream_event(channel, "connect", '{"status":"connected"}')
        send(1, stream.metadata)
        speak()
      end
    end
    while open and stream.socket and #pending >= 2 do
      local first, length = pending:byte(1, 2)
      local begin = 3
      if length == 126 and #pending >= 4 then
        length, begin = pending:byte(3) * 256 + pending:byte(4), 5
      elseif length >= 126 then
        assert(length == 126, "a message of 64 KiB or more") -- chunks have 2 to 7 KiB
        break
      end
      if #pending < begin + length - 1 then break end
      local payload = pending:sub(begin, begin + length - 1)
      pending = pending:sub(begin + length)
      take(first % 16, payload)
    end
    if reason == "closed" and stream.socket then
      connection:close()
      stream.socket, stream.close = nil, nil
      switch:connection_drops(channel)
    end
  end

  function stream.drop()
    connection:setoption("linger", { on = true, timeout = 0 })
    connection:close()
    stream.socket, stream.close = nil, nil
    switch:connection_drops(channel)
  end
end
switch.connect = connect

switch:start_script("tandem_events.lua")
local channel, task = help.another_call(switch, {
  uuid = "live-call", line = "start_audio_stream.lua " .. relay_url .. " mono 8k",
})

local told_us, partial = 0, ""
while not (channel.state ~= "execute" and task.ended) do
  switch:run_until(now_us())
  local stream = channel.stream
  local sockets = { test, stream and stream.socket }
  local timer = switch.timers[1]
  local pause = timer and math.max(0, (timer.at_us - now_us()) / 1000000) or 0.01
  local ready = socket.select(sockets, nil, math.min(pause, 0.01))
  if stream and stream.socket and ready[stream.socket] then stream.receive() end
  local line, reason, part = test:receive("*l", partial)
  partial = line and "" or part -- a line may come in pieces
  if line == "drop" then
    channel.stream.drop()
  elseif line == "hang up" then
    switch:hang_up(channel, "NORMAL_CLEARING")
  elseif line then
    switch:type_digit(channel, line:match("^digit (.)$"))
  elseif reason == "closed" then
    return
  end
  if now_us() - told_us > 500000 then
    told_us = now_us()
    tell("heard " .. (help.speech(channel)))
  end
end
switch:run_until(now_us())
local packets, holes, longest_ms = help.speech(channel)
tell(string.format("speech %d packets, %d holes, longest %.0f ms", packets, holes, longest_ms))
for _, entry in ipairs(switch.log) do
  if entry.level == "ERR" or entry.level == "WARNING" then io.stderr:write(entry.text) end
end
tell("end " .. channel.state .. " " .. tostring(channel.transferred or channel.cause))
