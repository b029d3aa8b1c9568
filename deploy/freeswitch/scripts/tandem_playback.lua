-- What the caller hears of file playback: one file an answer, which FreeSWITCH reads frame by frame while it is written.
--
-- Runs in: the thread of tandem_events.lua; loaded by dofile, which gives a function that takes `tandem`, the API and a
-- function that says a trouble. Owns the files that are heard, and the module's files of chunks until they are read.
-- Never queues anything on the channel, and never blocks: files are on the machine itself (temp_dir, a tmpfs best).
-- Invariant: what is written behind the last chunk is heard behind it; what would come where FreeSWITCH has read
-- already is written where it will read next, and that silence is counted.
--
-- The file is as long as the longest answer and empty but for what was written: its silence is read, its end is not. It
-- is displaced into what the channel writes to the caller (uuid_displace … mux), so nothing is flushed or interrupted
-- of what the caller says. It loses its name as soon as FreeSWITCH has it open: whoever dies, nothing is left of it.

return function(tandem, api, trouble)
  local playback = {}

  -- Longest stretch of speech in one file; what is longer goes on in the next one, after at most two packets.
  local FILE_MS = 600000
  -- Silence that is played when a stream begins, to see whether it is: two packets.
  local PROBE_MS = 40
  local PROBE_MS_MAX = 2000
  -- How late this thread's own work may make a write.
  local GUARD_MS = 2
  -- From the end of an answer until its file is closed: a channel that writes late hears all of it.
  local TAIL_MS = 400
  -- The same where nobody says that it ends.
  local IDLE_MS = 5000
  -- After a refusal.
  local REFUSED_MS = 1000
  -- Gaps of one call are reported at most so often.
  local REPORT_MS = 1000
  -- A channel without RTP, and most with it.
  local PACKET_MS = 20
  local HEADER_BYTES = 44
  local serial = 0

  local function little_endian(number, bytes)
    local text = ""
    for _ = 1, bytes do
      text = text .. string.char(number % 256)
      number = math.floor(number / 256)
    end
    return text
  end

  -- A WAV file says its rate whatever that is; of the raw ones FreeSWITCH takes those of 24 kHz and more for other samples.
  local function header(rate, bytes)
    return "RIFF" .. little_endian(36 + bytes, 4) .. "WAVEfmt " .. little_endian(16, 4) .. little_endian(1, 2)
      .. little_endian(1, 2) .. little_endian(rate, 4) .. little_endian(rate * 2, 4) .. little_endian(2, 2)
      .. little_endian(16, 2) .. "data" .. little_endian(bytes, 4)
  end

  -- A file of silence in `folder`, open for writing; nil and why not.
  local function silent_file(folder, uuid, rate, ms)
    serial = serial + 1
    local path = string.format("%s/%s_%.0f-%d.tandem.wav", folder, uuid, tandem.now_ms(api), serial)
    local handle, problem = io.open(path, "w+b")
    if not handle then return nil, (problem:gsub("^.*: ", "")) end
    handle:setvbuf("no")
    local bytes = math.floor(rate * ms / 1000) * 2
    local fine = handle:write(header(rate, bytes)) and handle:seek("set", HEADER_BYTES + bytes - 2)
      and handle:write("\0\0")
    if not fine then
      handle:close()
      os.remove(path)
      return nil, "it is full"
    end
    return { path = path, handle = handle, rate = rate, bytes = bytes, written = 0 }
  end

  local function displace(uuid, file)
    local fine, answer = tandem.command(api, "uuid_displace", uuid, "start", file.path, "0", "mux")
    os.remove(file.path)
    return fine, answer
  end

  -- Says to log and relay, once for each reason and call, that the caller hears nothing of `turn`.
  local function unplayed(call, uuid, turn, now_ms, why, text)
    trouble(now_ms, why, uuid .. ": the caller hears nothing: " .. text)
    if call.unplayed == why then return end
    call.unplayed = why
    tandem.send(api, uuid, string.format('{"type":"tandem","event":"unplayed","turn":%.0f,"why":"%s"}', turn, why))
  end

  local REFUSED = "FreeSWITCH does not play the file (uuid_displace answered %s); is mod_sndfile loaded? (load mod_sndfile)"

  -- A first chunk that is shorter belongs to speech that comes in real time, with nothing ahead of what is heard.
  local AHEAD_MS = 60

  -- When the channel reads a file first that is displaced at `from_ms`: at its next tick. FreeSWITCH's clock moves with the
  -- same ticks, of 20 ms unless switch.conf.xml has 1ms-timer: while a tick is the present time, most of it is over, and
  -- channels have read. Whether this one had, a mark tells (playback.ended).
  local function first_read_ms(call, from_ms)
    local until_ms = ((call.phase_ms or from_ms) - from_ms) % call.tick_ms
    if until_ms < GUARD_MS then until_ms = until_ms + call.tick_ms end
    return from_ms + until_ms
  end

  -- Samples of the file that may have been read at `now_ms`: those of whole packets, each of which takes as many samples
  -- of the file as FreeSWITCH wants of its own rate, and resamples what is more.
  local function read_by(call, file, now_ms)
    local since_ms = now_ms - file.first_ms
    if since_ms < 0 then return 0 end
    local reads = math.floor(since_ms / (call.tick_ms * call.ratio)) + 1
    return math.floor(reads * call.tick_ms * call.ratio * file.rate / 1000)
  end

  local function report_gaps(call, uuid, now_ms)
    local gaps = call.gaps
    if not gaps or gaps.late == 0 then return end
    tandem.send(api, uuid, string.format('{"type":"tandem","event":"gaps","turn":%.0f,"late":%d,"ms":%.0f}', call.turn,
      gaps.late, gaps.ms))
    call.gaps = { late = 0, ms = 0, told_ms = now_ms }
  end

  local function count_gap(call, uuid, now_ms, ms)
    call.gaps = call.gaps or { late = 0, ms = 0, told_ms = -REPORT_MS }
    call.gaps.late, call.gaps.ms = call.gaps.late + 1, call.gaps.ms + ms
    if now_ms - call.gaps.told_ms >= REPORT_MS then report_gaps(call, uuid, now_ms) end
  end

  -- What is to be known of the channel, from the headers of any of its events.
  function playback.learn(call, event)
    call.tick_ms = tonumber(event:getHeader("variable_rtp_use_codec_ptime")) or PACKET_MS
    if call.tick_ms < 1 then call.tick_ms = PACKET_MS end
    call.channel_rate = tonumber(event:getHeader("Channel-Read-Codec-Rate")) or 8000
  end

  local function set_ratio(call, rate) call.ratio = math.max(1, math.ceil(call.channel_rate / rate)) end

  -- Plays two packets of silence: FreeSWITCH then says when it has read them (playback.ended), and so that it plays, and
  -- at which moment of each packet's time it reads.
  function playback.probe(call, uuid, now_ms)
    local folder = freeswitch.getGlobalVariable("temp_dir")
    if not tandem.check.folder(folder) then
      unplayed(call, uuid, 0, now_ms, "temp_dir", "the folder of FreeSWITCH's temporary files (freeswitch -temp) may have "
        .. "only letters, digits and . _ - /; it is " .. tandem.quoted(folder))
      return
    end
    local file, problem = silent_file(folder, uuid, 8000, math.max(PROBE_MS, 2 * call.tick_ms))
    if not file then
      unplayed(call, uuid, 0, now_ms, "temp_dir", "no file can be written in " .. folder .. ": " .. problem)
      return
    end
    file.handle:close()
    local fine, answer = displace(uuid, file)
    if not fine then
      unplayed(call, uuid, 0, now_ms, "refused", REFUSED:format(tandem.quoted(answer)))
      return
    end
    call.probe = { path = file.path, due_ms = now_ms + PROBE_MS_MAX }
  end

  local function start(call, uuid, folder, rate, now_ms)
    if call.refused_ms and now_ms - call.refused_ms < REFUSED_MS then return false end
    set_ratio(call, rate)
    local file, problem = silent_file(folder, uuid, rate, FILE_MS)
    if not file then
      call.refused_ms = now_ms
      unplayed(call, uuid, call.turn, now_ms, "temp_dir", "no file can be written in " .. folder .. ": " .. problem)
      return false
    end
    call.file = file
    return true
  end

  -- Writes `samples` behind what was written, as far as the file takes them; gives the rest, for the next one.
  local function write(file, samples)
    local room = file.bytes - file.written * 2
    local now = #samples > room and samples:sub(1, room) or samples
    file.handle:seek("set", HEADER_BYTES + file.written * 2)
    file.handle:write(now)
    file.written = file.written + #now / 2
    return samples:sub(#now + 1)
  end

  -- Displaces one packet of silence beside the call's new file: the channel reads both at once, and lets go of this one a
  -- packet later, which is an event, so that it is known when it has begun to read.
  local function mark_begin(call, uuid, folder)
    local mark = silent_file(folder, uuid, 8000, call.tick_ms)
    if not mark then return end
    mark.handle:close()
    if displace(uuid, mark) then call.file.mark = mark.path end
  end

  -- Begins to play what was written into the call's new file.
  local function begin(call, uuid)
    local file = call.file
    local before_ms = tandem.now_ms(api)
    file.first_ms = first_read_ms(call, before_ms)
    local fine, answer = displace(uuid, file)
    if fine then
      -- A packet more or less matters where nothing is ahead; a mark costs as much as the file.
      if file.written * 1000 / file.rate < AHEAD_MS then
        mark_begin(call, uuid, file.path:match("^(.*)/[^/]*$"))
      else
        file.first_ms = file.first_ms - call.tick_ms
      end
      call.refused_ms, call.unplayed = nil, nil
      if call.reported ~= call.turn then
        call.reported = call.turn
        tandem.send(api, uuid, string.format('{"type":"tandem","event":"playing","turn":%.0f}', call.turn))
      end
      return
    end
    file.handle:close()
    call.file, call.refused_ms = nil, before_ms
    unplayed(call, uuid, call.turn, before_ms, "refused", REFUSED:format(tandem.quoted(answer)))
  end

  local function take_chunk(path)
    local handle, problem = io.open(path, "rb")
    if not handle then return nil, problem end
    local samples = handle:read("*a") or ""
    handle:close()
    os.remove(path)
    return samples:sub(1, #samples - #samples % 2)
  end

  -- Plays the chunk in the file `path`, which is gone afterwards. `last`: the answer ends with it.
  function playback.chunk(call, uuid, path, rate, last, now_ms)
    local samples, problem = take_chunk(path)
    if not samples then
      unplayed(call, uuid, call.turn, now_ms, "chunk", "a chunk cannot be read: " .. tandem.quoted(problem))
      return
    end
    if call.file and call.file.rate ~= rate then playback.stop(call, uuid, now_ms) end
    if call.beyond then
      call.beyond, call.beyond_last = call.beyond .. samples, last
      return
    end
    local file = call.file
    if not file then
      if not start(call, uuid, path:match("^(.*)/[^/]*$"), rate, now_ms) then return end
      file = call.file
      write(file, samples)
      begin(call, uuid)
    else
      local read = read_by(call, file, tandem.now_ms(api) + GUARD_MS)
      if file.written < read then
        local gap = read - file.written
        if not file.last_ms then
          -- Late twice in one answer: it will be late again, so this time it gets a packet's time more.
          if file.late then gap = gap + math.floor(call.tick_ms * rate / 1000) end
          file.late = true
          count_gap(call, uuid, now_ms, gap * 1000 / rate)
        end
        file.written = math.min(file.written + gap, file.bytes / 2)
      end
      local rest = write(file, samples)
      if rest ~= "" then call.beyond, call.beyond_last = rest, last end
    end
    -- FreeSWITCH has been told where it ends; the file goes a little later.
    file.last_ms = last and not call.beyond and playback.heard_at_ms(call) or nil
  end

  -- When the caller will have heard everything that was written; 0 when nothing is being heard.
  function playback.heard_at_ms(call)
    local file = call.file
    if not file or not file.first_ms then return 0 end
    return file.first_ms + file.written * 1000 / file.rate + 2 * call.tick_ms
  end

  -- Silences the caller's ear at once.
  function playback.stop(call, uuid, now_ms)
    local file = call.file
    call.file, call.beyond = nil, nil
    if file then
      tandem.command(api, "uuid_displace", uuid, "stop", file.path)
      file.handle:close()
    end
    report_gaps(call, uuid, now_ms)
  end

  -- FreeSWITCH has let go of the file `path`: it was read to its end, or somebody has taken it from the channel.
  function playback.ended(call, uuid, path, at_ms, now_ms)
    if call.probe and call.probe.path == path then
      call.probe = nil
      call.phase_ms = at_ms
      return
    end
    local file = call.file
    if file and file.mark == path then
      -- Read before the tick that was taken for the first. A later one is that of a channel that lags and will catch up.
      if at_ms - call.tick_ms < file.first_ms - call.tick_ms / 2 then file.first_ms = at_ms - call.tick_ms end
      return
    end
    if not file or file.path ~= path then return end
    local rest, last = call.beyond, call.beyond_last
    playback.stop(call, uuid, now_ms)
    if rest and start(call, uuid, path:match("^(.*)/[^/]*$"), file.rate, now_ms) then
      write(call.file, rest)
      begin(call, uuid)
      if call.file and last then call.file.last_ms = playback.heard_at_ms(call) end
    end
  end

  -- Does what is due; gives when there is more to do, nil when there is not.
  function playback.look(call, uuid, now_ms)
    local due_ms
    if call.probe then
      if now_ms >= call.probe.due_ms then
        tandem.command(api, "uuid_displace", uuid, "stop", call.probe.path)
        call.probe = nil
        unplayed(call, uuid, 0, now_ms, "not_read", "FreeSWITCH writes nothing to this caller (a channel on hold, or without "
          .. "send_silence_when_idle)")
      else
        due_ms = call.probe.due_ms
      end
    end
    local file = call.file
    if file and file.first_ms then
      local end_ms = file.last_ms and file.last_ms + TAIL_MS or playback.heard_at_ms(call) + IDLE_MS
      if now_ms >= end_ms then
        playback.stop(call, uuid, now_ms)
      else
        due_ms = math.min(due_ms or end_ms, end_ms)
      end
    end
    return due_ms
  end

  -- Another stream of the same call: what the old one brought is heard to its end.
  function playback.carry_on(before, call)
    for _, name in ipairs({ "file", "phase_ms", "ratio", "tick_ms", "channel_rate" }) do call[name] = before[name] end
    if call.file then call.file.last_ms = playback.heard_at_ms(call) end
  end

  -- The call is over: FreeSWITCH has closed its end.
  function playback.forget(call)
    if call.file then call.file.handle:close() end
    call.file, call.probe, call.beyond = nil, nil, nil
  end

  -- Removes files that a FreeSWITCH or a thread that died has left in its folder for calls that are over: the module's
  -- chunks, and ours. Those of other calls belong to their module.
  function playback.remove_leftovers()
    local folder = freeswitch.getGlobalVariable("temp_dir")
    if not tandem.check.folder(folder) then return 0 end
    local list = io.popen("ls -U '" .. folder .. "'")
    if not list then return 0 end
    local alive, removed = {}, 0
    for name in list:lines() do
      local uuid = name:match("^(.+)_%d+%.tmp%.[a-z0-9]+$") or name:match("^(.+)_%d+%-%d+%.tandem%.wav$")
      if tandem.check.uuid(uuid) then
        if alive[uuid] == nil then alive[uuid] = tostring(api:executeString("uuid_exists " .. uuid)) ~= "false" end
        if not alive[uuid] and os.remove(folder .. "/" .. name) then removed = removed + 1 end
      end
    end
    list:close()
    return removed
  end

  return playback
end
