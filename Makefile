# Tandem. `make demo` shows real calls, `make test` proves them; `make help` lists the rest.

CARGO ?= cargo
RELEASE := target/release
VENV := target/venv
SDK_NODE := target/sdk-node

.PHONY: help demo run test check bench density legs faults figures sdk api dialplan doc clean prerequisites-build prerequisites-test

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 14

prerequisites-build:
	@tests/prerequisites.sh build

prerequisites-test:
	@tests/prerequisites.sh test

demo: prerequisites-build ## real speech through the whole relay on the bundled simulator: no key, no switch
	@$(CARGO) build --release --locked --package tandem --bins --package tandem-loadtest
	@$(RELEASE)/demo

run: prerequisites-build ## the relay for real: needs GEMINI_API_KEY
	@$(CARGO) build --release --locked --package tandem --bins
	@$(RELEASE)/tandem

test: prerequisites-test ## every test: Rust, Lua, FreeSWITCH's files, Google's SDKs against the simulator and the relay
	$(CARGO) test --workspace --locked
	$(MAKE) --no-print-directory dialplan
	$(MAKE) --no-print-directory sdk
	$(MAKE) --no-print-directory api

sdk: $(VENV)/installed $(SDK_NODE)/installed
	# As the Rust tests are built, features included, so that nothing is built a second time.
	$(CARGO) test --locked --workspace --no-run
	$(VENV)/bin/python -m pytest -q tests/sdk
	SDK_NODE=$(SDK_NODE) node --test tests/sdk/

api: $(VENV)/installed ## the admin server as its clients see it: promtool, schemathesis, events; programs are built
	$(CARGO) test --locked --workspace --no-run
	$(VENV)/bin/python -m pytest -q tests/admin

dialplan: $(VENV)/installed ## where FreeSWITCH's dialplan leads calls, and the compose files
	$(VENV)/bin/python -m pytest -q tests/freeswitch

$(VENV)/installed: tests/sdk/requirements.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r tests/sdk/requirements.txt
	@touch $@

$(SDK_NODE)/installed: tests/sdk/package.json tests/sdk/package-lock.json
	@mkdir -p $(SDK_NODE)
	cp tests/sdk/package.json tests/sdk/package-lock.json $(SDK_NODE)/
	npm ci --prefix $(SDK_NODE) --ignore-scripts --no-audit --no-fund --silent
	@touch $@

check: prerequisites-build ## formatting, clippy and documentation without warnings
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

bench: prerequisites-build ## codecs, resamplers, rings, one call's frame: ratios against a baseline run beside them
	$(CARGO) bench --locked

density: prerequisites-build ## CPU against the null relay, memory of an idle call, latency: target/density.json
	@$(CARGO) build --release --locked --package tandem --bins --package tandem-loadtest
	@$(RELEASE)/density

legs: prerequisites-build ## every leg and playback: round trip, jitter, underruns, barge-in at the ear: target/legs.json
	@$(CARGO) build --release --locked --package tandem --bins --package tandem-loadtest
	@$(RELEASE)/legs

faults: prerequisites-build ## everything the Gemini side does to a call, at every moment, on every leg: target/faults.json
	@$(CARGO) build --release --locked --package tandem --bins --package tandem-loadtest
	@$(RELEASE)/faults

figures: prerequisites-build ## the resampler's audio figures: target/resampler.json and the picture in docs
	$(CARGO) run --release --locked --example resampler_figures

doc: ## the code's documentation
	$(CARGO) doc --workspace --no-deps --locked

clean: ## remove everything that was built
	$(CARGO) clean
