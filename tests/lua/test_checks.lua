-- tandem.lua by itself: JSON, character sets, settings.

local help = require("help")
local equal, holds = help.equal, help.holds

local function load_module(globals)
  local logged = {}
  local environment = setmetatable({ freeswitch = {
    getGlobalVariable = function(name) return (globals or {})[name] end,
    consoleLog = function(level, text) logged[#logged + 1] = level .. " " .. text end,
  } }, { __index = _G })
  return assert(loadfile(help.SCRIPTS .. "/tandem.lua", "t", environment))(), logged
end

local function test_json()
  local tandem = load_module()
  local read = tandem.read_object
  local object = read(' {"a" : 1, "b":"x\\/y\\"\\\\\\n\\u0041\\u20ac", "c":[1,{"d":null}], "e":true,"f":-1.5e2} ')
  equal(object.a, 1, "number")
  equal(object.b, 'x/y"\\\nA?', "text")
  equal(#object.c, 2, "list")
  equal(object.e, true, "truth")
  equal(object.f, -150, "number")
  equal(read('{"a":1,"a":2}').a, 2, "a name that stands twice")
  equal(next(read("{}")), nil, "nothing")
  for _, text in ipairs({
    "", " ", "{", '{"a"}', '{"a":}', '{"a":1,}', "{a:1}", '{"a":1}x', '{"a":tru}', '{"a":0x10}', '{"a":nan}', '{"a":inf}',
    '{"a":1 "b":2}', '"a"', "1", "null", '{"a":"\\u12"}', '{"a":"\\', '{"a":"', ('{"a":'):rep(6) .. "1" .. ("}"):rep(6),
    "{" .. (" "):rep(5000) .. "}",
  }) do
    equal(read(text), nil, text:sub(1, 40))
  end
  equal(read(nil), nil, "nil")
  equal(read({}), nil, "a table")
  -- Any beginning of a text, and any text with one byte changed, is read or refused without an error.
  local whole = '{"type":"tandem","order":"set","id":7,"name":"tandem_result","value":"booked \\/ \\u0041","x":[1,{"y":null}]}'
  for length = 0, #whole do read(whole:sub(1, length)) end
  for place = 1, #whole do
    for _, byte in ipairs({ 0, 10, 34, 39, 44, 58, 91, 92, 93, 123, 125, 128, 255 }) do
      read(whole:sub(1, place - 1) .. string.char(byte) .. whole:sub(place + 1))
    end
  end
end

local function test_character_sets()
  local check = load_module().check
  -- For each set every byte is tried alone.
  local sets = {
    cause = "[A-Z_]", destination = "[A-Za-z0-9+*#_.@]", name = "[A-Za-z0-9_-]", digits = "[0-9A-D*#wW]",
    digit = "[0-9A-Da-d*#]", value = "[A-Za-z0-9 _.,:;+@/-]", uuid = "[A-Za-z0-9@._]",
  }
  for kind, set in pairs(sets) do
    for byte = 0, 255 do
      local text = string.char(byte)
      equal(check[kind](text), text:find("^" .. set .. "$") ~= nil, kind .. " with byte " .. byte)
      local longer = "A" .. text
      if kind ~= "digit" then
        local expected = longer:find("^" .. set .. set .. "$") ~= nil
          or (text == "-" and (kind == "destination" or kind == "uuid"))
        equal(check[kind](longer), expected, kind .. " with byte " .. byte .. " behind a letter")
      end
    end
    equal(check[kind](nil), false, kind)
    equal(check[kind](5), false, kind)
  end
  equal(check.value(""), true, "an empty value")
  equal(check.destination(("1"):rep(64)), true, "64 digits")
  equal(check.destination(("1"):rep(65)), false, "65 digits")
end

local function test_urls()
  local check = load_module().check
  for _, url in ipairs({ "ws://127.0.0.1:9094/", "ws://backend", "wss://a.example.com:443/x?y=1&z=%20", "ws://b:1?x" }) do
    holds(check.url(url), url)
  end
  for _, url in ipairs({
    "", "ws://", "http://x/", "ws://x y/", "ws://x/ y", "ws://u@x/", "ws://x_y/", "ws://[::1]/", "ws://x:/", "ws://x:y/",
    "ws://x/'", 'ws://x/"', "ws://x/${y}", "ws://x/\n", "ws://x/" .. ("y"):rep(2048), "ws://x#y",
  }) do
    holds(not check.url(url), url:sub(1, 60))
  end
end

local function test_settings()
  local tandem, logged = load_module({ a = "7", b = "x", c = "", d = "99", list = "one,two three" })
  equal(tandem.number_setting("a", 5, 1, 10), 7, "a number")
  equal(tandem.number_setting("b", 5, 1, 10), 5, "no number")
  equal(tandem.number_setting("c", 5, 1, 10), 5, "empty")
  equal(tandem.number_setting("d", 5, 1, 10), 5, "too large")
  equal(tandem.number_setting("e", 5, 1, 10), 5, "unset")
  equal(#logged, 2, "lines in the log")
  for word, expected in pairs({ one = true, two = true, three = true, on = false, [""] = false, ["one,two"] = false }) do
    equal(tandem.setting_lists("list", "", word), expected, word)
  end
end

return {
  { "JSON is read, and what is none is refused", test_json },
  { "each character set takes its bytes and no other", test_character_sets },
  { "addresses of the relay", test_urls },
  { "settings have defaults and limits", test_settings },
}
