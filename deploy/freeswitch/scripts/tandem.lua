-- What start_audio_stream.lua and tandem_events.lua share: settings, checks, JSON, and the relay's orders.
--
-- Runs in: the call's thread (start_audio_stream.lua) and the one global thread (tandem_events.lua); loaded by dofile.
-- Owns the character sets that a text must pass before it reaches an API command. Never calls the switch by itself
-- while it is loaded. Runs on Lua 5.2 to 5.4.
-- Invariant: no text of the relay, the caller or the carrier stands in an API command unless a function of
-- `tandem.check` has passed it.

local tandem = {}

-- The version of the messages between script and relay.
tandem.VERSION = 2
-- The global variable with the life sign of tandem_events.lua: "<id> <milliseconds>".
tandem.LIFE_SIGN = "tandem_events"
-- Older than this, the thread is taken for dead.
tandem.LIFE_SIGN_MS_MAX = 3000
-- Close codes with which the relay has said its last word on a call: another attempt would get the same answer. Every
-- other code and every error may pass (docs/control.md).
tandem.final_closes = { [1003] = true, [1008] = true, [1009] = true, [1010] = true }
-- Longest message of the relay that is looked at. Orders have 100 to 500 bytes; what the module could not decode
-- comes here whole and may have megabytes.
local MESSAGE_BYTES_MAX = 4096
local JSON_DEPTH_MAX = 4

-- Log -------------------------------------------------------------------------------------------------------------

-- Writes a line to FreeSWITCH's log: level DEBUG, INFO, NOTICE, WARNING or ERR.
function tandem.log(level, text)
  freeswitch.consoleLog(level, "tandem: " .. text .. "\n")
end

-- A text of somebody else, made fit for a log line.
function tandem.quoted(text)
  text = tostring(text)
  local short = text:sub(1, 80):gsub("[^ -~]", "?")
  return '"' .. short .. (#text > 80 and '…"' or '"')
end

-- Settings: global variables, set in vars_tandem.xml, read anew each time so that reloadxml takes effect --------------

-- The setting `name`, or `default` when it is unset or empty.
function tandem.setting(name, default)
  local value = freeswitch.getGlobalVariable(name)
  if value == nil or value == "" then return default end
  return value
end

-- The setting `name` as a number from `low` to `high`; anything else is `default`, with a line in the log.
function tandem.number_setting(name, default, low, high)
  local text = tandem.setting(name)
  if text == nil then return default end
  local number = tonumber(text)
  if number and number >= low and number <= high then return number end
  tandem.log("WARNING", string.format("vars_tandem.xml: %s is %s; it must be a number from %d to %d; %d is used",
    name, tandem.quoted(text), low, high, default))
  return default
end

-- Whether the setting `name`, a list separated by commas or spaces, has `wanted` in it.
function tandem.setting_lists(name, default, wanted)
  for word in tandem.setting(name, default):gmatch("[^,%s]+") do
    if word == wanted then return true end
  end
  return false
end

-- Checks -------------------------------------------------------------------------------------------------------------

local function only(text, set, low, high)
  return type(text) == "string" and #text >= low and #text <= high and text:find("^[" .. set .. "]*$") ~= nil
end

-- Each answers whether a text has only the characters that its place may have. %w and the like depend on the locale,
-- so the sets are spelled out.
tandem.check = {
  -- A channel's UUID. SIP profiles may use the Call-ID instead (inbound-use-callid-as-uuid).
  uuid = function(text) return only(text, "A-Za-z0-9@._-", 1, 128) and text:sub(1, 1) ~= "-" end,
  cause = function(text) return only(text, "A-Z_", 1, 40) end,
  -- Where a call may be transferred to. A leading minus would be read as an option of uuid_transfer.
  destination = function(text)
    return only(text, "A-Za-z0-9+*#_.@-", 1, 64) and text:sub(1, 1) ~= "-"
  end,
  name = function(text) return only(text, "A-Za-z0-9_-", 1, 64) end,
  digits = function(text) return only(text, "0-9A-D*#wW", 1, 32) end,
  digit = function(text) return only(text, "0-9A-Da-d*#", 1, 1) end,
  value = function(text) return only(text, "A-Za-z0-9 _.,:;+@/-", 0, 256) end,
  -- What the module wrote for this call: <temp_dir>/<uuid>_<number>.tmp.<type>, and nothing else.
  file = function(text, uuid)
    if not only(text, "A-Za-z0-9@._/-", 1, 512) or text:sub(1, 1) ~= "/" then return false end
    if text:find("..", 1, true) or text:find("@@", 1, true) then return false end
    local name = text:match("([^/]+)$")
    if not name or name:sub(1, #uuid) ~= uuid then return false end
    return name:sub(#uuid + 1):find("^_%d+%.tmp%.[a-z0-9]+$") ~= nil
  end,
  -- A folder whose files such names may have.
  folder = function(text)
    return only(text, "A-Za-z0-9._/-", 2, 256) and text:sub(1, 1) == "/" and not text:find("..", 1, true)
  end,
  url = function(text)
    if not only(text, "A-Za-z0-9:/?&=%%._~+-", 6, 2048) then return false end
    local host, port, rest = text:match("^wss?://([A-Za-z0-9.-]+)(:?%d*)(.*)$")
    if not host or (port ~= "" and not port:find("^:%d+$")) then return false end
    return rest == "" or rest:sub(1, 1) == "/" or rest:sub(1, 1) == "?"
  end,
}

-- Texts for URLs and messages ----------------------------------------------------------------------------------------

-- Percent-encoded for a query (RFC 3986: everything but the unreserved characters).
function tandem.percent_encoded(text)
  return (tostring(text):gsub("[^A-Za-z0-9._~-]", function(byte) return string.format("%%%02X", byte:byte()) end))
end

-- The characters of a telephone number or SIP user that are safe in JSON and in one field of uuid_audio_stream.
function tandem.plain(text)
  return (tostring(text):gsub("[^A-Za-z0-9+*#_.@:-]", ""):sub(1, 128))
end

-- JSON: reads any text, gives tables for objects and lists; nil and a reason when it is no JSON ----------------------

local ESCAPES = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

local read_value

local function skip(text, at) return text:find("[^ \t\r\n]", at) or #text + 1 end

local function read_string(text, at) -- at: the opening quote
  local parts, from = {}, at + 1
  while true do
    local stop = text:find('["\\]', from)
    if not stop then error("a text without an end", 0) end
    parts[#parts + 1] = text:sub(from, stop - 1)
    if text:sub(stop, stop) == '"' then return table.concat(parts), stop + 1 end
    local letter = text:sub(stop + 1, stop + 1)
    if letter == "u" then
      local code = tonumber(text:match("^%x%x%x%x", stop + 2) or error("a wrong \\u", 0), 16)
      parts[#parts + 1] = code < 128 and string.char(code) or "?" -- nothing of ours goes beyond ASCII
      from = stop + 6
    else
      parts[#parts + 1] = ESCAPES[letter] or error("a wrong escape", 0)
      from = stop + 2
    end
  end
end

local function read_members(text, at, depth, closing, read_member)
  if depth > JSON_DEPTH_MAX then error("nested too deeply", 0) end
  local result = {}
  at = skip(text, at + 1)
  if text:sub(at, at) == closing then return result, at + 1 end
  while true do
    at = skip(text, read_member(result, at))
    local mark = text:sub(at, at)
    if mark == closing then return result, at + 1 end
    if mark ~= "," then error("a comma is missing", 0) end
    at = skip(text, at + 1)
  end
end

function read_value(text, at, depth)
  at = skip(text, at)
  local first = text:sub(at, at)
  if first == "{" then
    return read_members(text, at, depth + 1, "}", function(result, here)
      if text:sub(here, here) ~= '"' then error("a name is missing", 0) end
      local name, after = read_string(text, here)
      after = skip(text, after)
      if text:sub(after, after) ~= ":" then error("a colon is missing", 0) end
      result[name], after = read_value(text, after + 1, depth + 1) -- a name that stands twice: the last one counts
      return after
    end)
  elseif first == "[" then
    return read_members(text, at, depth + 1, "]", function(result, here)
      local value, after = read_value(text, here, depth + 1)
      result[#result + 1] = value
      return after
    end)
  elseif first == '"' then
    return read_string(text, at)
  end
  local word = text:match("^[A-Za-z0-9.+-]+", at) or error("a value is missing", 0)
  if word == "true" then return true, at + #word end
  if word == "false" then return false, at + #word end
  if word == "null" then return nil, at + #word end
  if not word:find("^-?%d+%.?%d*[eE]?[+-]?%d*$") then error("an unknown word", 0) end
  return tonumber(word) or error("a wrong number", 0), at + #word
end

-- The object that `text` is, or nil. Never raises an error.
function tandem.read_object(text)
  if type(text) ~= "string" or #text > MESSAGE_BYTES_MAX then return nil end
  local fine, value, after = pcall(read_value, text, 1, 0)
  if not fine or type(value) ~= "table" or skip(text, after) <= #text then return nil end
  return value
end

-- A whole number from 0 to 2^53, or nil. 5.2 knows no integers, so 3.0 and 3 are the same.
function tandem.whole(value)
  if type(value) ~= "number" or value < 0 or value > 9007199254740992 or value % 1 ~= 0 then return nil end
  return value
end

-- The switch ---------------------------------------------------------------------------------------------------------

-- Runs an API command; whether it answered +OK, and what it answered.
function tandem.command(api, ...)
  local line = table.concat({ ... }, " ")
  local answer = tostring(api:executeString(line) or "")
  return answer:sub(1, 3) == "+OK", answer
end

-- Milliseconds since 1970, of the switch's clock.
function tandem.now_ms(api)
  return tonumber(api:getTime()) or 0
end

-- Sends a text to the relay. It must be one field without spaces: the module drops what follows the first.
function tandem.send(api, uuid, text)
  return tandem.command(api, "uuid_audio_stream", uuid, "send_text", text)
end

-- The id and the age in ms of tandem_events.lua's last life sign; nil when there is none.
function tandem.life_sign(api)
  local id, at = tandem.setting(tandem.LIFE_SIGN, ""):match("^(%S+) (%d+)$")
  if not id then return nil end
  return id, tandem.now_ms(api) - tonumber(at)
end

-- Whether tandem_events.lua runs.
function tandem.events_run(api)
  local id, age_ms = tandem.life_sign(api)
  return id ~= nil and age_ms < tandem.LIFE_SIGN_MS_MAX
end

-- Orders -------------------------------------------------------------------------------------------------------------

-- Variables of ours that steer these scripts: an order must not change them.
local OWN_VARIABLES = {
  tandem_script = true, tandem_playback = true, tandem_stream = true, tandem_agent = true, tandem_token = true,
  tandem_fell_back = true,
}

-- Each takes an order; gives how the API command for a UUID is spelled, and whether it ends the script's part in the call;
-- or nil and why not.
local ORDERS = {
  hangup = function(order)
    local cause = order.cause or "NORMAL_CLEARING"
    if not tandem.check.cause(cause) then return nil, "bad_cause" end
    return function(uuid) return { "uuid_kill", uuid, cause } end, true
  end,
  transfer = function(order)
    local context = order.context or tandem.setting("tandem_transfer_context", "default")
    if not tandem.check.destination(order.to) then return nil, "bad_destination" end
    -- The inline dialplan would run applications.
    if order.dialplan ~= nil and order.dialplan ~= "XML" then return nil, "dialplan_not_allowed" end
    if not tandem.check.name(context) then return nil, "bad_context" end
    if not tandem.setting_lists("tandem_transfer_contexts", "default,public", context) then
      return nil, "context_not_allowed"
    end
    return function(uuid) return { "uuid_transfer", uuid, order.to, "XML", context } end, true
  end,
  dtmf = function(order)
    if not tandem.check.digits(order.digits) then return nil, "bad_digits" end
    return function(uuid) return { "uuid_send_dtmf", uuid, order.digits } end
  end,
  ["break"] = function()
    return function(uuid) return { "uuid_break", uuid, "all" } end
  end,
  set = function(order)
    if not tandem.check.name(order.name) then return nil, "bad_name" end
    if OWN_VARIABLES[order.name] then return nil, "name_not_allowed" end
    if order.name:sub(1, 7) ~= "tandem_" and not tandem.setting_lists("tandem_variables", "", order.name) then
      return nil, "name_not_allowed"
    end
    if not tandem.check.value(order.value) then return nil, "bad_value" end
    return function(uuid) return { "uuid_setvar", uuid, order.name, order.value } end
  end,
}

-- Carries out an order of the relay for the call `uuid` and reports it. `known` is the call's table of ids that were
-- carried out before: an id is carried out once, asked again it is only reported again. What ends the script's part in
-- the call is given to `leave`, which does it when the goodbye was heard to its end, and answers whether that is now; if it
-- has to wait, it is reported as done before, because the relay may close the stream meanwhile.
function tandem.carry_out(api, uuid, order, known, leave)
  local id = tandem.whole(order.id)
  if not id then
    tandem.log("WARNING", uuid .. ": an order without a number (id) is left out: " .. tandem.quoted(order.order))
    return
  end
  local function report(text)
    known[id] = text
    tandem.send(api, uuid, text)
  end
  local done = string.format('{"type":"tandem","event":"done","id":%.0f}', id)
  local function failed(why)
    tandem.log("WARNING", string.format("%s: order %.0f, %s, is not carried out: %s", uuid, id,
      tandem.quoted(order.order), why))
    report(string.format('{"type":"tandem","event":"failed","id":%.0f,"why":"%s"}', id, why))
    return false
  end
  if known[id] then
    tandem.send(api, uuid, known[id])
    return
  end
  local prepare = type(order.order) == "string" and ORDERS[order.order]
  if not prepare then return failed("unknown_order") end
  local fields, leaves = prepare(order)
  if not fields then return failed(leaves) end
  local function exists() return tostring(api:executeString("uuid_exists " .. uuid)) == "true" end
  local function act()
    if order.order == "hangup" and not known[id] then
      -- A channel that was hung up has no stream that could carry the report, so it goes first.
      if not exists() then return failed("no_such_call") end
      report(done)
    end
    local fine, answer = tandem.command(api, table.unpack(fields(uuid)))
    if not fine then
      tandem.log("WARNING", string.format("%s: the switch answered %s", uuid, tandem.quoted(answer)))
      if order.order == "hangup" then return false end
      return failed(answer:find("[Cc]hannel!", 1) and "no_such_call" or "switch_refused")
    end
    if not known[id] then report(done) end
    return true
  end
  if not leaves then
    act()
  elseif not exists() then
    failed("no_such_call")
  elseif not leave(act) then
    report(done)
  end
end

return tandem
