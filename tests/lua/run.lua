-- Runs the tests of deploy/freeswitch/scripts on the stand-in: lua5.4 tests/lua/run.lua [pattern of names]
-- From the project's root. Prints one line a failure; the exit status is 1 when there is one.

package.path = "tests/lua/?.lua;" .. package.path

local tests, failures, count = {}, 0, 0
for _, name in ipairs({ "test_calls", "test_events", "test_orders", "test_checks" }) do
  for _, test in ipairs(require(name)) do tests[#tests + 1] = test end
end
for _, test in ipairs(tests) do
  if not arg[1] or test[1]:find(arg[1]) then
    count = count + 1
    local begun = os.clock()
    local fine, problem = xpcall(test[2], debug.traceback)
    if os.getenv("TIMES") then print(string.format("%6.2f s  %s", os.clock() - begun, test[1])) end
    if not fine then
      failures = failures + 1
      print("FAILED: " .. test[1] .. "\n  " .. tostring(problem):gsub("\n", "\n  "))
    end
  end
end
print(string.format("%s: %d tests, %d failed", _VERSION, count, failures))
os.exit((failures == 0 and count > 0) and 0 or 1)
