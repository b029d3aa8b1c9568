# Tandem. `make demo` shows real calls, `make test` proves them; `make help` lists the rest.

CARGO ?= cargo
RELEASE := target/release
# How the demonstration is built; `dev` is what the tests have built already.
PROFILE ?= release
VENV := target/venv
SDK_NODE := target/sdk-node
BROWSER_NODE := target/browser-node
BASELINE := target/baseline
REAL_TIME := e2e e2e_hostile callgen simulator
RUST_TESTS := $(sort $(basename $(notdir $(wildcard tests/*.rs loadtest/tests/*.rs))) $(notdir $(patsubst %/main.rs,%,$(wildcard tests/*/main.rs))))
COMPUTING := $(filter-out $(REAL_TIME),$(RUST_TESTS))

.PHONY: help demo play run test real-time unit check bench counts density soak legs faults figures sdk api browser dialplan packaging prepare deb deb-test doc clean prerequisites-build prerequisites-test

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 14

prerequisites-build:
	@tests/prerequisites.sh build

prerequisites-test:
	@tests/prerequisites.sh test

demo: prerequisites-build ## real speech through the whole relay on the bundled simulator: no key, no switch
	@$(CARGO) $(if $(filter dev,$(PROFILE)),test --no-run,build --profile $(PROFILE) --bins) --locked --workspace
	@target/$(PROFILE:dev=debug)/demo

play: prerequisites-build ## speak with the relay in the browser, on the bundled simulator, until Ctrl-C: no key, no switch
	@$(CARGO) $(if $(filter dev,$(PROFILE)),test --no-run,build --profile $(PROFILE) --bins) --locked --workspace
	@target/$(PROFILE:dev=debug)/play

run: prerequisites-build ## the relay for real: needs GEMINI_API_KEY
	@test -n "$$GEMINI_API_KEY$$GOOGLE_API_KEY$$TANDEM_CONFIG" -o -e tandem.toml || \
	  { echo "no key for Gemini: GEMINI_API_KEY=… make run (https://aistudio.google.com/apikey), or without one: make play" >&2; exit 2; }
	@$(CARGO) build --release --locked --package tandem --bins
	@$(RELEASE)/tandem

test: prerequisites-test ## every test: Rust, Lua, FreeSWITCH's files, packages, alerts, Google's SDKs against simulator and relay, the page
	$(CARGO) test --workspace --locked --no-run
	# What speaks in real time on every leg has the machine to itself; the rest computes, or waits for browsers and clients.
	@python3 tests/run.py real-time -- unit browser sdk api packaging dialplan

real-time: ## the Rust tests that wait and measure in real time: the relay with every leg, hostile peers, generator, simulator
	$(CARGO) test --workspace --locked --no-fail-fast $(REAL_TIME:%=--test %)

unit: ## the Rust tests that compute: units, virtual time, house rules
	$(CARGO) test --workspace --locked --no-fail-fast --lib $(COMPUTING:%=--test %)

prepare: prerequisites-test $(VENV)/installed $(SDK_NODE)/installed $(BROWSER_NODE)/installed ## fetch what the tests need

sdk: $(VENV)/installed $(SDK_NODE)/installed
	# As the Rust tests are built, features included, so that nothing is built a second time.
	$(CARGO) test --locked --workspace --no-run
	$(VENV)/bin/python -m pytest -q tests/sdk
	SDK_NODE=$(SDK_NODE) node --test tests/sdk/

api: $(VENV)/installed ## the admin server as its clients see it: promtool, schemathesis, events; programs are built
	$(CARGO) test --locked --workspace --no-run
	$(VENV)/bin/python -m pytest -q tests/admin

browser: $(BROWSER_NODE)/installed ## the operator's page and the telephone in a real Chromium with a fake microphone
	# As the Rust tests are built, features included, so that nothing is built a second time.
	$(CARGO) test --locked --workspace --no-run
	BROWSER_NODE=$(BROWSER_NODE) node --test tests/browser/

dialplan: $(VENV)/installed ## where FreeSWITCH's dialplan leads calls, and the compose files
	$(VENV)/bin/python -m pytest -q tests/freeswitch

packaging: $(VENV)/installed ## the Debian package's contents, the systemd unit, alerts and dashboard
	# As the Rust tests are built, features included, so that nothing is built a second time.
	$(CARGO) test --locked --workspace --no-run
	$(VENV)/bin/python -m pytest -q tests/deploy

deb: prerequisites-build ## the Debian package: target/debian/tandem_VERSION_ARCHITECTURE.deb
	@$(CARGO) build --release --locked --package tandem --package tandem-loadtest --bin tandem --bin callgen --bin gemini-sim
	@deploy/debian/build.sh $(RELEASE)/tandem target/debian

deb-test: $(VENV)/installed ## the package in a Debian of its own (root, debootstrap): install, start, upgrade, purge
	$(CARGO) test --locked --workspace --no-run
	$(VENV)/bin/python -m pytest -q tests/deploy/debootstrap.py

$(VENV)/installed: tests/sdk/requirements.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r tests/sdk/requirements.txt
	@touch $@

$(BASELINE)/installed: loadtest/baselines/requirements.txt
	python3 -m venv $(BASELINE)
	$(BASELINE)/bin/pip install --quiet --disable-pip-version-check -r loadtest/baselines/requirements.txt
	@touch $@

$(SDK_NODE)/installed: tests/sdk/package.json tests/sdk/package-lock.json
	@mkdir -p $(SDK_NODE)
	cp tests/sdk/package.json tests/sdk/package-lock.json $(SDK_NODE)/
	npm ci --prefix $(SDK_NODE) --ignore-scripts --no-audit --no-fund --silent
	@touch $@

$(BROWSER_NODE)/installed: tests/browser/package.json tests/browser/package-lock.json
	@mkdir -p $(BROWSER_NODE)
	cp tests/browser/package.json tests/browser/package-lock.json $(BROWSER_NODE)/
	npm ci --prefix $(BROWSER_NODE) --ignore-scripts --no-audit --no-fund --silent
	@touch $@

check: prerequisites-build ## formatting, clippy and documentation without warnings
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --locked

bench: prerequisites-build ## codecs, resamplers, rings, one call's frame: ratios against a baseline run beside them
	$(CARGO) bench --locked

counts: prerequisites-build ## instructions that the pieces of a call's way take, counted by valgrind: no matter how busy the machine is
	@benches/counts.sh $$($(CARGO) bench --locked --no-run --bench counts 2>&1 | sed -n 's/.*(\(.*\)).*/\1/p')

density: prerequisites-build $(BASELINE)/installed ## CPU against the null relay, memory, latency, knee, shards, cap, a naive relay: target/density.json
	@$(CARGO) build --release --locked --package tandem --bins --package tandem-loadtest
	@$(RELEASE)/density

soak: prerequisites-build ## short calls for 20 minutes (MINUTES=60) at 60 % of the knee: target/soak.json
	@$(CARGO) build --release --locked --package tandem --bins --package tandem-loadtest
	@$(RELEASE)/soak --minutes $(or $(MINUTES),20) $(if $(CALLS),--calls $(CALLS))

legs: prerequisites-build ## every leg and playback: round trip, jitter, underruns, barge-in at the ear: target/legs.json
	@$(CARGO) build --release --locked --package tandem --bins --package tandem-loadtest
	@$(RELEASE)/legs

faults: prerequisites-build ## everything the Gemini side does to a call, at every moment, on every leg: target/faults.json
	@$(CARGO) build --release --locked --package tandem --bins --package tandem-loadtest
	@$(RELEASE)/faults

figures: prerequisites-build ## the resampler's audio figures: target/resampler.json and the picture in docs
	$(CARGO) run --release --locked --example resampler_figures

doc: ## the code's documentation
	$(CARGO) doc --workspace --no-deps --document-private-items --locked

clean: ## remove everything that was built
	$(CARGO) clean
