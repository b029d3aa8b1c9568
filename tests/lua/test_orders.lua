-- The relay's orders: carried out once, reported, and checked.

local help = require("help")
local equal, holds = help.equal, help.holds

local function order(switch, channel, members)
  switch:relay_says(channel, '{"type":"tandem",' .. members .. "}")
  switch:run(60)
end

local function test_hangup()
  for _, playback in ipairs({ "file", "binary", "json" }) do
    local switch, channel = help.call({ playback = playback })
    local texts = help.texts(channel)
    order(switch, channel, '"order":"hangup","id":3,"cause":"USER_BUSY"')
    equal(channel.cause, "USER_BUSY", playback .. ": cause")
    equal(texts[#texts], '{"type":"tandem","event":"done","id":3}', playback .. ": report")
  end
  local switch, channel = help.call({})
  order(switch, channel, '"order":"hangup","id":3')
  equal(channel.cause, "NORMAL_CLEARING", "cause when none is given")
end

local function test_transfer()
  for members, expected in pairs({
    ['"to":"2000"'] = "2000 XML default",
    ['"to":"+420 x"'] = false,
    ['"to":"*98","dialplan":"XML","context":"public"'] = "*98 XML public",
  }) do
    local switch, channel, task = help.call({ playback = "binary" })
    local texts = help.texts(channel)
    order(switch, channel, '"order":"transfer","id":4,' .. members)
    switch:run(500)
    if expected then
      equal(channel.transferred, expected, members)
      equal(texts[#texts], '{"type":"tandem","event":"done","id":4}', members)
      holds(task.ended and not task.failed, members .. ": the script goes on")
      holds(channel.stream == nil, members .. ": the relay still hears the caller")
      equal(channel.variables.tandem_script, nil, members)
      equal(channel.variables.send_silence_when_idle, nil, members)
    else
      equal(channel.transferred, nil, members)
    end
  end
end

local function test_transfer_during_speech()
  local switch, channel, task = help.call({})
  help.speak(switch, channel, 1, 5000, 100, 1)
  switch:run(1010)
  local at_ms = switch:elapsed_ms()
  order(switch, channel, '"order":"transfer","id":4,"to":"2000"')
  switch:run(3000)
  equal(channel.transferred, "2000 XML default", "transfer")
  local _, _, _, last_ms = help.speech(channel)
  holds(last_ms - at_ms <= 210, "speech goes on for " .. (last_ms - at_ms) .. " ms: more than the two chunks queued")
  holds(task.ended, "the script goes on")
end

local function test_last_words()
  -- The relay orders as soon as it has handed over its last chunk, and closes as soon as it hears "done".
  for order_members, ended in pairs({
    ['"order":"hangup","id":1,"cause":"NORMAL_CLEARING"'] = "hangup",
    ['"order":"transfer","id":1,"to":"2000"'] = "routing",
  }) do
    for _, disturbance in ipairs({ "nothing", "a barge-in", "the close", "late chunks" }) do
      local switch, channel = help.call({})
      for chunk = 1, 4 do switch:relay_speaks(channel, 100, '"turn":1,"chunk":' .. chunk) end
      switch:relay_says(channel, '{"type":"tandem",' .. order_members .. "}")
      switch:run(30)
      if disturbance == "a barge-in" then
        switch:relay_says(channel, '{"type":"clearAudio","turn":2}')
      elseif disturbance == "the close" then
        switch:relay_closes(channel, 1000)
      elseif disturbance == "late chunks" then
        switch:relay_speaks(channel, 5000, '"turn":2,"chunk":1')
      end
      switch:run(2000)
      local what = ended .. " with " .. disturbance
      equal((help.speech(channel)), 20, what .. ": packets")
      equal(channel.state, ended, what)
      equal(channel.transferred, ended == "routing" and "2000 XML default" or nil, what)
      equal(help.texts(channel, 1)[3], '{"type":"tandem","event":"done","id":1}', what)
    end
  end
end

local function test_dtmf_break_set()
  local switch, channel = help.call({})
  order(switch, channel, '"order":"dtmf","id":5,"digits":"123#wA"')
  equal(channel.sent_digits, "123#wA", "digits")
  equal(help.last_text(channel), '{"type":"tandem","event":"done","id":5}', "report")
  help.speak(switch, channel, 1, 1000, 100, 10)
  switch:run(200)
  order(switch, channel, '"order":"break","id":6')
  local packets = help.speech(channel)
  switch:run(1000)
  equal((help.speech(channel)), packets, "packets after the break")
  equal(help.last_text(channel), '{"type":"tandem","event":"done","id":6}', "report")
  order(switch, channel, '"order":"set","id":7,"name":"tandem_result","value":"booked for 10:30, table 4"')
  equal(channel.variables.tandem_result, "booked for 10:30, table 4", "variable")
  equal(help.last_text(channel), '{"type":"tandem","event":"done","id":7}', "report")
end

local function test_the_allow_list()
  local switch, channel = help.call({ globals = { tandem_variables = "crm_ticket, hold_music" } })
  order(switch, channel, '"order":"set","id":1,"name":"crm_ticket","value":"4711"')
  equal(channel.variables.crm_ticket, "4711", "a listed variable")
  for id, name in ipairs({ "crm", "ticket", "execute_on_answer", "api_hangup_hook", "crm_ticket, hold_music" }) do
    order(switch, channel, string.format('"order":"set","id":%d,"name":"%s","value":"x"', id + 1, name))
    equal(channel.variables[name], nil, name)
    holds(help.last_text(channel):find('"event":"failed"', 1, true), name .. ": " .. help.last_text(channel))
  end
  for id, name in ipairs({ "tandem_script", "tandem_playback", "tandem_stream", "tandem_token", "tandem_agent" }) do
    local before = channel.variables[name]
    order(switch, channel, string.format('"order":"set","id":%d,"name":"%s","value":"x"', id + 20, name))
    equal(channel.variables[name], before, name)
    equal(help.last_text(channel), '{"type":"tandem","event":"failed","id":' .. (id + 20)
      .. ',"why":"name_not_allowed"}', name)
  end
end

local function test_contexts()
  local switch, channel = help.call({ globals = {
    tandem_transfer_contexts = "office", tandem_transfer_context = "office",
  } })
  order(switch, channel, '"order":"transfer","id":1,"to":"2000","context":"default"')
  equal(help.last_text(channel), '{"type":"tandem","event":"failed","id":1,"why":"context_not_allowed"}', "report")
  equal(channel.transferred, nil, "transfer")
  order(switch, channel, '"order":"transfer","id":2,"to":"2000"')
  equal(channel.transferred, "2000 XML office", "transfer")
end

local function test_once()
  local switch, channel = help.call({})
  for _ = 1, 3 do order(switch, channel, '"order":"dtmf","id":5,"digits":"1"') end
  equal(channel.sent_digits, "1", "digits")
  local reports = 0
  for _, text in ipairs(help.texts(channel)) do
    reports = reports + (text == '{"type":"tandem","event":"done","id":5}' and 1 or 0)
  end
  equal(reports, 3, "reports")
  order(switch, channel, '"order":"dtmf","id":6,"digits":"x"')
  order(switch, channel, '"order":"dtmf","id":6,"digits":"2"')
  equal(channel.sent_digits, "1", "digits: an id that failed stays failed")
end

local function test_unknown()
  local switch, channel = help.call({})
  order(switch, channel, '"order":"explode","id":9')
  equal(help.last_text(channel), '{"type":"tandem","event":"failed","id":9,"why":"unknown_order"}', "report")
  order(switch, channel, '"order":"hangup","id":10,"cause":"BYE-BYE"')
  equal(help.last_text(channel), '{"type":"tandem","event":"failed","id":10,"why":"bad_cause"}', "report")
  equal(channel.state, "execute", "state")
end

local function test_the_switch_refuses()
  local switch, channel = help.call({})
  local execute = switch.execute
  switch.execute = function(self, line)
    if line:find("^uuid_send_dtmf") then return "-ERR Operation failed\n" end
    return execute(self, line)
  end
  order(switch, channel, '"order":"dtmf","id":1,"digits":"1"')
  equal(help.last_text(channel), '{"type":"tandem","event":"failed","id":1,"why":"switch_refused"}', "report")
end

local function test_a_flood()
  local switch, channel = help.call({})
  for id = 1, 1200 do switch:relay_says(channel, '{"type":"tandem","order":"dtmf","id":' .. id .. ',"digits":"1"}') end
  switch:run(2000)
  equal(#channel.sent_digits, 1000, "orders carried out")
end

-- What may break out of a command, a dial string, a JSON text or a log line; each with and without a harmless beginning.
local HOSTILE = {
  "${", "${system(id)}", "$${password}", "$", "'", '\\"', "`id`", "\\n", "\\r\\n", "\\u0000", "\\u000a", "\\\\", ",", ";",
  "|", "&", "<", ">", "(", ")", "[", "]", "{", "}", "!", "?", "%", "^", "~", "=", "\\t", " ", "\\u00e9", "-both", "-bleg",
  "2000 inline", "park:,hangup:", "sofia/gateway/x/1900", "user/1000", "loopback/x", "{api_on_answer=x}", "[x=y]",
  "..\\/..\\/", "\\u2028", "\\ud83d\\ude00",
}

local function test_hostile_strings()
  local places = {
    { '"order":"hangup","cause":"%s"', "uuid_kill" },
    { '"order":"transfer","to":"%s"', "uuid_transfer" },
    { '"order":"transfer","to":"2000","context":"%s"', "uuid_transfer" },
    { '"order":"transfer","to":"2000","dialplan":"%s"', "uuid_transfer" },
    { '"order":"dtmf","digits":"%s"', "uuid_send_dtmf" },
    { '"order":"set","name":"%s","value":"x"', "uuid_setvar" },
    { '"order":"set","name":"tandem_%s","value":"x"', "uuid_setvar" },
    { '"order":"set","name":"tandem_result","value":"%s"', "uuid_setvar" },
    { '"order":"%s"', "x" },
  }
  local harmless = { -- what these places may have, beside the others' sets
    ["uuid_setvar value"] = { [","] = true, [";"] = true, [" "] = true, ["-both"] = true, ["-bleg"] = true,
      ["2000 inline"] = true, ["park:,hangup:"] = true, ["sofia/gateway/x/1900"] = true, ["user/1000"] = true,
      ["loopback/x"] = true, ["..\\/..\\/"] = true },
    ["uuid_setvar name"] = { ["-both"] = true, ["-bleg"] = true },
  }
  local switch, channel = help.call({ globals = { tandem_variables = "", tandem_transfer_contexts = "default" } })
  local id = 0
  for _, place in ipairs(places) do
    local kind = place[2]
    if place[1]:find('"value":"%%s"') then kind = kind .. " value" end
    if place[1]:find('"tandem_%%s"') then kind = kind .. " name" end
    for _, hostile in ipairs(HOSTILE) do
      for _, prefix in ipairs({ "", "2000" }) do
        local allowed = harmless[kind] and harmless[kind][hostile]
        -- A minus at the beginning is what makes these two hostile.
        if prefix ~= "" and hostile:sub(1, 1) == "-" and place[1]:find('"to":"%%s"') then allowed = true end
        if not allowed then
          id = id + 1
          local first = #switch.commands + 1
          order(switch, channel, '"id":' .. id .. "," .. place[1]:gsub("%%s", function() return prefix .. hostile end))
          for number = first, #switch.commands do
            local line = switch.commands[number]
            holds(line:find("^uuid_audio_stream " .. help.UUID:gsub("%-", "%%-") .. " send_text [^ ]+$"),
              place[1] .. " with " .. prefix .. hostile .. ": " .. line)
          end
          local report = help.last_text(channel) or ""
          holds(report:find('^{"type":"tandem","event":"failed","id":' .. id .. ',"why":"[A-Za-z0-9_.-]+"}$'),
            place[1] .. " with " .. prefix .. hostile .. ": reported as " .. report)
          if id % 900 == 0 then switch:connection_drops(channel) switch:run(3000) end
        end
      end
    end
  end
  holds(id > 700, "only " .. id .. " were tried")
  equal(channel.state, "execute", "state")
  equal(channel.sent_digits, "", "digits")
  for _, line in ipairs(switch.log) do
    holds(not line.text:sub(1, -2):find("[%c]"), "a control character in the log: " .. line.text)
  end
end

local function test_too_long()
  local switch, channel = help.call({})
  for id, members in ipairs({
    '"order":"hangup","cause":"' .. ("A"):rep(41) .. '"', '"order":"transfer","to":"' .. ("1"):rep(65) .. '"',
    '"order":"dtmf","digits":"' .. ("1"):rep(33) .. '"', '"order":"dtmf","digits":""', '"order":"transfer","to":""',
    '"order":"set","name":"tandem_x","value":"' .. ("a"):rep(257) .. '"', '"order":"transfer"', '"order":"dtmf"',
    '"order":"set","name":"tandem_' .. ("x"):rep(64) .. '","value":"x"', '"order":"set","name":"tandem_x"',
    '"order":"hangup","cause":5', '"order":"transfer","to":2000', '"order":"transfer","to":["2000"]',
    '"order":"transfer","to":"2000","context":{}', '"order":"transfer","to":"2000","dialplan":5',
  }) do
    order(switch, channel, '"id":' .. id .. "," .. members)
    holds((help.last_text(channel) or ""):find('"event":"failed","id":' .. id .. ","), members)
  end
  equal(channel.state, "execute", "state")
end

return {
  { "hang up with a cause, reported before the stream is gone", test_hangup },
  { "transfer, and the relay hears the caller no longer", test_transfer },
  { "a transfer waits for the chunks that are queued, not for the end of the speech", test_transfer_during_speech },
  { "last words are heard to their end before a hang-up or transfer, whatever comes", test_last_words },
  { "digits are sent, a break silences, a variable is set", test_dtmf_break_set },
  { "only listed variables can be set, never those of the scripts", test_the_allow_list },
  { "a transfer goes only to listed contexts", test_contexts },
  { "an order is carried out once and reported as often as it comes", test_once },
  { "what is unknown or wrong is reported as failed", test_unknown },
  { "what the switch refuses is reported as failed", test_the_switch_refuses },
  { "a flood of orders has an end", test_a_flood },
  { "hostile texts reach no command", test_hostile_strings },
  { "texts that are too long or of the wrong kind reach no command", test_too_long },
}
