-- A stand-in for FreeSWITCH with mod_audio_stream: the Lua API that our scripts use, in virtual time.
--
-- It behaves as FreeSWITCH 1.10.12 and the open build of mod_audio_stream were measured, or as their source says where
-- a line names a function: start answers before the connection exists; after a disconnect the module keeps its place
-- on the channel until stop; files are numbered from 0 for each stream and deleted at its end; events carry the
-- channel's variables, those of DTMF do not; digits raise events only when somebody takes them; a queue that is full
-- loses events; a displaced file is read packet by packet, what is read is what stands there at that moment, at its end
-- the file is let go (MEDIA_BUG_STOP), and the channel's packets keep their grid of 20 ms.
-- Scripts run as coroutines; nothing sleeps for real, so an hour of calls takes seconds and every run is the same.

local Switch = {}
Switch.__index = Switch

local QUEUE_EVENTS_MAX = 5000 -- EventConsumer's default

-- options: scripts (their folder), api_us (what each API command takes), connect_us, event_us (from fire to queue)
function Switch.new(options)
  local switch = setmetatable({
    now_us = 1790000000000000, sequence = 0, timers = {}, timer_count = 0, tasks = {}, globals = {}, channels = {},
    consumers = {}, log = {}, commands = {}, files = {}, deleted = {}, uuid_count = 0, written_bytes = 0,
    scripts = options.scripts, api_us = options.api_us or 0, connect_us = options.connect_us or 20000,
    event_us = options.event_us or 2000,
  }, Switch)
  switch.started_us = switch.now_us
  switch.globals.script_dir, switch.globals.temp_dir = options.scripts, "/dev/shm"
  return switch
end

function Switch:elapsed_ms() return (self.now_us - self.started_us) / 1000 end

-- Time ---------------------------------------------------------------------------------------------------------------

local function is_sooner(one, other)
  return one.at_us < other.at_us or (one.at_us == other.at_us and one.number < other.number)
end

-- `timers` is a binary heap: the next one is the first.
function Switch:after(us, action)
  self.timer_count = self.timer_count + 1
  local timer, heap = { at_us = self.now_us + us, number = self.timer_count, action = action }, self.timers
  local place = #heap + 1
  while place > 1 and is_sooner(timer, heap[math.floor(place / 2)]) do
    heap[place] = heap[math.floor(place / 2)]
    place = math.floor(place / 2)
  end
  heap[place] = timer
end

local function take_next(heap)
  local first, last = heap[1], table.remove(heap)
  if #heap == 0 then return first end
  local place = 1
  while true do
    local child = 2 * place
    if child > #heap then break end
    if child < #heap and is_sooner(heap[child + 1], heap[child]) then child = child + 1 end
    if not is_sooner(heap[child], last) then break end
    heap[place] = heap[child]
    place = child
  end
  heap[place] = last
  return first
end

local function resume(switch, task)
  switch.running = task
  local fine, problem = coroutine.resume(task.thread)
  switch.running = nil
  if not fine then
    task.failed = tostring(problem)
    switch.log[#switch.log + 1] = { level = "ERR", text = task.name .. ": " .. task.failed }
  end
  if coroutine.status(task.thread) == "dead" then
    task.ended = true
    if task.on_end then task.on_end() end
  end
end

-- Gives up the processor for so long; for code that runs as a task.
function Switch:pause(us)
  local task = assert(self.running, "only a script can wait")
  self:after(us, function() resume(self, task) end)
  coroutine.yield()
end

-- Lets `ms` of virtual time pass.
function Switch:run(ms) self:run_until(self.now_us + ms * 1000) end

function Switch:run_until(until_us)
  while self.timers[1] and self.timers[1].at_us <= until_us do
    local timer = take_next(self.timers)
    self.now_us = timer.at_us
    timer.action()
  end
  self.now_us = until_us
end

-- Scripts ------------------------------------------------------------------------------------------------------------

function Switch:start_script(line, channel)
  local words = {}
  for word in line:gmatch("%S+") do words[#words + 1] = word end
  local name = table.remove(words, 1)
  local argv = { [0] = name, table.unpack(words) }
  local environment = setmetatable({ argv = argv }, { __index = _G })
  environment.freeswitch = self:freeswitch_table()
  environment.session = channel and self:session(channel, environment)
  environment.os = setmetatable({ remove = function(path) return self:remove_file(path) end }, { __index = os })
  environment.io = {
    open = function(path, mode) return self:open_file(path, mode) end,
    popen = function(line) return self:list_files(line) end,
  }
  environment.dofile = function(path) return assert(loadfile(path, "t", environment))() end
  local code = assert(loadfile(self.scripts .. "/" .. name, "t", environment))
  local task = { name = name, thread = coroutine.create(code), environment = environment }
  self.tasks[#self.tasks + 1] = task
  self:after(0, function() resume(self, task) end)
  return task
end

function Switch:freeswitch_table()
  local switch = self
  return {
    consoleLog = function(level, text) switch.log[#switch.log + 1] = { level = level:upper(), text = text } end,
    msleep = function(ms) switch:pause(ms * 1000) end,
    getGlobalVariable = function(name) return switch.globals[name] end,
    setGlobalVariable = function(name, value) switch.globals[name] = value ~= "" and value or nil end,
    API = function()
      return {
        executeString = function(_, line) return switch:execute(line) end,
        getTime = function() return string.format("%.0f", math.floor(switch.now_us / 1000)) end,
      }
    end,
    EventConsumer = function(name, subclass)
      local consumer = { bindings = {}, queue = {}, lost = 0 }
      switch.consumers[#switch.consumers + 1] = consumer
      function consumer.bind(_, event_name, event_subclass)
        consumer.bindings[#consumer.bindings + 1] = { name = event_name, subclass = event_subclass }
        return 1
      end
      function consumer.pop(_, block, timeout_ms)
        if #consumer.queue == 0 and block == 1 then
          local task, woken = switch.running, false
          local function wake()
            if not woken then
              woken = true
              consumer.wake = nil
              resume(switch, task)
            end
          end
          consumer.wake = wake
          if (timeout_ms or 0) > 0 then switch:after(timeout_ms * 1000, wake) end
          coroutine.yield()
        end
        return table.remove(consumer.queue, 1)
      end
      if name then consumer:bind(name, subclass) end
      return consumer
    end,
  }
end

-- Events -------------------------------------------------------------------------------------------------------------

function Switch:fire(name, subclass, channel, body, extra)
  self.sequence = self.sequence + 1
  local headers = {
    ["Event-Name"] = name, ["Event-Subclass"] = subclass, ["Event-Sequence"] = tostring(self.sequence),
    ["Event-Date-Timestamp"] = string.format("%.0f", self.now_us),
  }
  if channel then
    headers["Unique-ID"] = channel.uuid
    if name == "CUSTOM" or name == "CHANNEL_HANGUP_COMPLETE" then -- switch_channel_event_set_extended_data
      for variable, value in pairs(channel.variables) do headers["variable_" .. variable] = value end
    end
  end
  for header, value in pairs(extra or {}) do headers[header] = value end
  local event = {
    getHeader = function(_, header) return headers[header] end,
    getBody = function() return body end,
    getType = function() return name end,
  }
  self:after(self.event_us, function()
    for _, consumer in ipairs(self.consumers) do
      for _, binding in ipairs(consumer.bindings) do
        if binding.name == name and (not binding.subclass or binding.subclass == subclass) then
          if #consumer.queue >= QUEUE_EVENTS_MAX then
            consumer.lost = consumer.lost + 1
          else
            consumer.queue[#consumer.queue + 1] = event
            if consumer.wake then self:after(0, consumer.wake) end
          end
          break
        end
      end
    end
  end)
end

-- Channels -----------------------------------------------------------------------------------------------------------

function Switch:new_channel(fields)
  local channel = {
    uuid = fields.uuid, variables = {}, profile = {
      destination_number = fields.did or "5551212", caller_id_number = fields.caller or "15557654321",
    },
    state = "execute", digits = {}, heard = {}, executed = {}, sent_digits = "", streams = {}, displaced = {},
    tick_us = (fields.tick_ms or 20) * 1000,
    -- What the relay does with the n-th connection: "accept", "refuse", "hang" (no answer, error after 1 s) or "last word"
    -- (the upgrade, and 1008 right behind it).
    relay = fields.relay or function() return "accept" end,
  }
  self.channels[fields.uuid] = channel
  return channel
end

function Switch:hang_up(channel, cause)
  if channel.state == "hangup" then return end
  channel.state, channel.cause = "hangup", cause
  self:close_stream(channel)
  self:fire("CHANNEL_HANGUP_COMPLETE", nil, channel)
end

function Switch:transfer(channel, destination, dialplan, context)
  channel.state = "routing"
  channel.transferred = destination .. " " .. (dialplan or "XML") .. " " .. (context or "default")
end

local function is_ready(channel) return channel.state == "execute" end

function Switch:type_digit(channel, digit) channel.digits[#channel.digits + 1] = digit end

local function take_digit(switch, channel) -- switch_channel_dequeue_dtmf
  local digit = table.remove(channel.digits, 1)
  if digit then switch:fire("DTMF", nil, channel, nil, { ["DTMF-Digit"] = digit }) end
  return digit
end

-- Takes `displaced` from the channel (switch_core_media_bug_prune, or uuid_displace stop).
local function let_go(switch, channel, displaced)
  for place, one in ipairs(channel.displaced) do
    if one == displaced then table.remove(channel.displaced, place) end
  end
  switch:fire("MEDIA_BUG_STOP", nil, channel, nil, {
    ["Media-Bug-Function"] = "displace", ["Media-Bug-Target"] = displaced.path,
  })
end

-- The loudest byte that stands in `file` from `from` on, `bytes` of it: 0 where nothing was written.
local function loudest(file, from, bytes)
  local found = 0
  for place = #file.written, 1, -1 do
    local piece = file.written[place]
    if piece.at + #piece.text > from and piece.at < from + bytes then
      local first = math.max(1, from - piece.at + 1)
      for at = first, math.min(#piece.text, from + bytes - piece.at), 40 do
        found = math.max(found, piece.text:byte(at))
      end
    elseif piece.at + #piece.text <= from and place < #file.written - 30 then
      break
    end
  end
  return found
end

-- One packet to the caller: silence, and what is displaced into it (write_displace_callback with `mux`).
local function write_packet(switch, channel)
  local what, ended = "silence", {}
  for _, displaced in ipairs(channel.displaced) do
    local bytes = math.floor(displaced.rate * channel.tick_us / 1000000) * 2
    if displaced.at >= displaced.file.bytes then
      ended[#ended + 1] = displaced
    else
      local byte = loudest(displaced.file, displaced.at, bytes)
      if byte > 0 then what = byte end
      displaced.at = displaced.at + bytes
    end
  end
  channel.heard[#channel.heard + 1] = { at_ms = switch:elapsed_ms(), what = what }
  for _, displaced in ipairs(ended) do let_go(switch, channel, displaced) end
end

function Switch:session(channel, environment)
  local switch, session, callback = self, {}, nil
  function session.get_uuid() return channel.uuid end
  function session.ready() return is_ready(channel) end
  function session.getVariable(_, name) -- switch_channel_get_variable_dup: channel, caller profile, global
    return channel.variables[name] or channel.profile[name] or switch.globals[name]
  end
  function session.setVariable(_, name, value) channel.variables[name] = value ~= "" and value or nil end
  function session.execute(_, app, argument) channel.executed[#channel.executed + 1] = { app = app, arg = argument } end
  function session.setAutoHangup(_, value) channel.auto_hangup = value end
  function session.setInputCallback(_, name) callback = name end
  function session.unsetInputCallback() callback = nil end
  function session.hangup(_, cause) switch:hang_up(channel, cause or "NORMAL_CLEARING") end
  function session.transfer(_, destination, dialplan, context)
    switch:transfer(channel, destination, dialplan, context)
    return 1
  end
  function session.sleep(_, ms) -- switch_ivr_sleep
    local done_us = switch.now_us + ms * 1000
    while true do
      if not is_ready(channel) then return 0 end
      if channel.break_flag then
        channel.break_flag = false
        return 0
      end
      if switch.now_us >= done_us then return 1 end
      if callback and is_ready(channel) then
        local digit = take_digit(switch, channel)
        if digit then environment[callback](session, "dtmf", { digit = digit, duration = 2000 }) end
      end
      if is_ready(channel) then
        -- The channel's timer keeps its grid, whatever its script has done meanwhile.
        channel.next_us = math.max(channel.next_us or 0, switch.now_us - 10 * channel.tick_us)
        if channel.next_us > switch.now_us then switch:pause(channel.next_us - switch.now_us) end
        channel.next_us = channel.next_us + channel.tick_us
        if is_ready(channel) and channel.variables.send_silence_when_idle and not channel.holds then
          write_packet(switch, channel)
        end
      end
    end
  end
  return session
end

-- mod_audio_stream ---------------------------------------------------------------------------------------------------

function Switch:remove_file(path)
  self.deleted[#self.deleted + 1] = path
  if not self.files[path] then return nil, path .. ": No such file or directory", 2 end
  self.files[path] = nil
  return true
end

-- A file keeps what was written piece by piece; its bytes that nobody wrote are zeros.
function Switch:open_file(path, mode)
  local file = self.files[path]
  if path == (self.globals.mod_dir or "") .. "/mod_audio_stream.so" and self.module then
    file = { written = { { at = 0, text = self.module } } }
  end
  if mode:sub(1, 1) == "w" then
    if self.full then return nil, path .. ": No space left on device", 28 end
    file = { written = {}, bytes = 0 }
    self.files[path] = file
  elseif not file then
    return nil, path .. ": No such file or directory", 2
  end
  local switch, handle, at = self, {}, 0
  self.open_files = (self.open_files or 0) + 1
  function handle.setvbuf() return true end
  function handle.seek(_, whence, offset)
    assert(whence == "set")
    at = offset
    return at
  end
  function handle.read()
    local text = {}
    for _, piece in ipairs(file.written) do text[#text + 1] = piece.text end
    return table.concat(text)
  end
  function handle.write(_, text)
    assert(not handle.is_closed, "written after its close")
    if text ~= "" then file.written[#file.written + 1] = { at = at, text = text } end
    at = at + #text
    file.bytes = math.max(file.bytes, at)
    switch.written_bytes = switch.written_bytes + #text
    return handle
  end
  function handle.close()
    assert(not handle.is_closed, "closed twice")
    handle.is_closed, switch.open_files = true, switch.open_files - 1
    return true
  end
  return handle
end

-- ls of a folder
function Switch:list_files(line)
  local folder = assert(line:match("^ls %-U '([^']*)'$"), line)
  local names = {}
  for path in pairs(self.files) do
    if path:match("^(.*)/[^/]*$") == folder then names[#names + 1] = path:match("([^/]*)$") end
  end
  table.sort(names)
  local place = 0
  return {
    lines = function()
      return function()
        place = place + 1
        return names[place]
      end
    end,
    close = function() return true end,
  }
end

function Switch:close_stream(channel)
  local stream = channel.stream
  if not stream then return false end
  channel.stream = nil
  stream.state = "closed"
  if stream.close then stream.close() end
  stream.closed_ms = self:elapsed_ms()
  for _, file in ipairs(stream.files) do self.files[file] = nil end -- those that nobody has removed
  return true
end

function Switch:stream_event(channel, kind, body)
  self:fire("CUSTOM", "mod_audio_stream::" .. kind, channel, body)
end

local function start_stream(switch, channel, url, mix, rate, metadata)
  if channel.stream then return "-ERR Operation Failed\n" end
  local host_and_port, rest = url:match("^wss?://([A-Za-z0-9.:-]+)(.*)$")
  if not host_and_port or #url > 4096 or (rest ~= "" and rest:sub(1, 1) ~= "/") then return "-ERR Operation Failed\n" end
  local hertz = rate == "8k" and 8000 or rate == "16k" and 16000 or tonumber(rate) or 0
  if hertz == 0 or hertz % 8000 ~= 0 then return "-ERR Operation Failed\n" end
  if mix ~= "mono" and mix ~= "mixed" and mix ~= "stereo" then return "" end
  local stream = {
    state = "connecting", url = url, mix = mix, rate = rate, metadata = metadata, files = {}, texts = {},
    started_ms = switch:elapsed_ms(), variables = {},
  }
  for name, value in pairs(channel.variables) do stream.variables[name] = value end
  channel.stream = stream
  channel.streams[#channel.streams + 1] = stream
  if switch.connect then -- a real connection: tests/lua/live.lua
    switch.connect(channel, stream)
    return "+OK Success\n"
  end
  local outcome = channel.relay(#channel.streams)
  switch:after(outcome == "hang" and 1000000 or switch.connect_us, function()
    if stream.state ~= "connecting" then return end
    if outcome == "accept" or outcome == "last word" then
      stream.state = "open"
      switch:stream_event(channel, "connect", '{"status":"connected"}')
      if outcome == "last word" then switch:relay_closes(channel, 1008) end
    else
      local code, text = 6, "WebSocket upgrade failed"
      if outcome == "hang" then code, text = 10, "Timeout" end
      switch:close_stream(channel)
      switch:stream_event(channel, "error", string.format('{"status":"error","message":{"code":%d,"error":"%s"}}', code,
        text))
    end
  end)
  return "+OK Success\n"
end

-- The relay closes the connection; the module keeps its place on the channel.
function Switch:relay_closes(channel, code)
  channel.stream.state = "disconnected"
  self:stream_event(channel, "disconnect", string.format(
    '{"status":"disconnected","message":{"code":%d,"reason":"bye"}}', code))
end

-- The connection is lost without a close.
function Switch:connection_drops(channel)
  self:close_stream(channel)
  self:stream_event(channel, "error",
    '{"status":"error","message":{"code":1,"error":"Connection reset by peer (system error 104)"}}')
end

-- A text of the relay that is not streamAudio.
function Switch:relay_says(channel, text)
  if channel.stream and channel.stream.state == "open" then self:stream_event(channel, "json", text) end
end

-- A streamAudio message of the relay: `ms` of audio whose bytes are all `byte` (1 without one); `extra` is what stands in
-- `data` besides, as JSON members.
function Switch:relay_speaks(channel, ms, extra, byte)
  local stream = channel.stream
  if not stream or stream.state ~= "open" then return nil end
  local file = string.format("%s/%s_%d.tmp.r8", self.temp_dir or "/dev/shm", channel.uuid, #stream.files)
  stream.files[#stream.files + 1] = file
  local text = string.char(byte or 1):rep(math.floor(ms * 8) * 2)
  self.files[file] = { written = { { at = 0, text = text } }, bytes = #text }
  self:stream_event(channel, "play", string.format('{"audioDataType":"raw","sampleRate":8000%s%s,"file":"%s"}',
    extra and "," or "", extra or "", file:gsub("/", "\\/")))
  return file
end

-- API ----------------------------------------------------------------------------------------------------------------

-- switch_separate_string: at most `max` fields, single quotes group one
local function separate(line, max)
  local fields, at = {}, 1
  while at <= #line do
    at = line:find("[^ ]", at)
    if not at then break end
    if #fields == max - 1 then
      fields[#fields + 1] = line:sub(at)
      break
    end
    local quoted, after = line:match("^'([^']*)'()", at)
    local field, next_at = line:match("^([^ ]+)()", at)
    fields[#fields + 1] = quoted or field
    at = quoted and after or next_at
  end
  return fields
end

local COMMANDS = {}

function COMMANDS.uuid_exists(switch, uuid)
  local channel = switch.channels[uuid]
  return channel and channel.state ~= "hangup" and "true" or "false"
end

function COMMANDS.create_uuid(switch)
  switch.uuid_count = switch.uuid_count + 1
  return string.format("00000000-0000-4000-8000-%012d", switch.uuid_count)
end

function COMMANDS.luarun(switch, line)
  switch:start_script(line)
  return "+OK\n"
end

local function located(switch, uuid)
  local channel = switch.channels[uuid]
  if channel and channel.state ~= "hangup" then return channel end
  return nil
end

function COMMANDS.uuid_setvar(switch, line)
  local fields = separate(line, 3)
  local channel = located(switch, fields[1])
  if not channel then return "-ERR No such channel!\n" end
  channel.variables[fields[2]] = fields[3]
  return "+OK\n"
end

function COMMANDS.uuid_break(switch, line)
  local fields = separate(line, 2)
  local channel = located(switch, fields[1])
  if not channel then return "-ERR No such channel!\n" end
  channel.break_flag = true
  return "+OK\n"
end

function COMMANDS.uuid_kill(switch, line)
  local fields = separate(line, 2)
  local channel = located(switch, fields[1])
  if not channel then return "-ERR No such channel!\n" end
  switch:hang_up(channel, fields[2] or "NORMAL_CLEARING")
  return "+OK\n"
end

function COMMANDS.uuid_transfer(switch, line)
  local fields = separate(line, 5)
  local channel = located(switch, fields[1])
  if not channel then return "-ERR No such channel!\n" end
  switch:transfer(channel, fields[2], fields[3], fields[4])
  return "+OK\n"
end

function COMMANDS.uuid_send_dtmf(switch, line)
  local fields = separate(line, 2)
  local channel = located(switch, fields[1])
  if not channel then return "-ERR Cannot locate session!\n" end
  channel.sent_digits = channel.sent_digits .. fields[2]
  return "+OK " .. fields[1] .. " sent DTMF " .. fields[2] .. ".\n"
end

-- session_displace_function
function COMMANDS.uuid_displace(switch, line)
  local fields = separate(line, 5)
  local channel, path = located(switch, fields[1]), fields[3]
  if not channel then return "-ERR Cannot locate session!\n" end
  local known
  for _, displaced in ipairs(channel.displaced) do
    if displaced.path == path then known = displaced end
  end
  if fields[2] == "stop" then
    if not known then return "-ERR Cannot stop displace session!\n" end
    let_go(switch, channel, known)
    return "+OK Success\n"
  end
  assert(fields[2] == "start" and fields[4] == "0" and fields[5] == "mux", line)
  local file = switch.files[path]
  if known or not file or switch.without_sndfile then return "-ERR Cannot displace session!\n" end
  local header = file.written[1].text
  assert(header:sub(1, 4) == "RIFF" and header:sub(9, 16) == "WAVEfmt ", "no WAV file")
  local rate = header:byte(25) + 256 * header:byte(26)
  channel.displaced[#channel.displaced + 1] = { path = path, file = file, rate = rate, at = 44 }
  return "+OK Success\n"
end

function COMMANDS.uuid_audio_stream(switch, line)
  local fields = separate(line, 6)
  local channel = located(switch, fields[1])
  local verb = fields[2]
  if not channel then return "-ERR Operation Failed\n" end
  if verb == "start" then
    if #fields < 4 then return "-USAGE: <uuid> start\n" end
    return start_stream(switch, channel, fields[3], fields[4], fields[5] or "8000", fields[6] or "")
  elseif verb == "stop" then
    return switch:close_stream(channel) and "+OK Success\n" or "-ERR Operation Failed\n"
  elseif verb == "send_text" then
    if not channel.stream then return "-ERR Operation Failed\n" end
    if channel.stream.state == "open" then -- after a disconnect it is lost, with +OK all the same
      table.insert(channel.stream.texts, (separate(line, 7))[3])
      if channel.stream.send_text then channel.stream.send_text((separate(line, 7))[3]) end
    end
    return "+OK Success\n"
  end
  return "-ERR Operation Failed\n"
end

function Switch:execute(line)
  self.commands[#self.commands + 1] = line
  if self.api_us > 0 and self.running then self:pause(self.api_us) end
  local name, rest = line:match("^(%S+) ?(.*)$")
  if self.without_module and name == "uuid_audio_stream" then name = "nothing" end
  local command = COMMANDS[name]
  if not command then return "-ERR " .. tostring(name) .. " Command not found!\n" end
  return command(self, rest)
end

-- What tests ask -------------------------------------------------------------------------------------------------------

-- Lines of the log at this level or, without a level, all.
function Switch:logged(pattern, level)
  local count = 0
  for _, line in ipairs(self.log) do
    if (not level or line.level == level) and line.text:find(pattern) then count = count + 1 end
  end
  return count
end

-- API commands that begin with this text.
function Switch:count_commands(beginning)
  local count = 0
  for _, line in ipairs(self.commands) do
    if line:sub(1, #beginning) == beginning then count = count + 1 end
  end
  return count
end

return Switch
