# One machine, no containers. `make demo` and `make test` do all the set-up; builds live outside the tree.
SHELL := /bin/bash
export CARGO_TARGET_DIR ?= $(HOME)/.cache/reeve/target
reeve := $(CARGO_TARGET_DIR)/debug/reeve

.PHONY: help setup build demo dev test chaos sim coverage bench alerts deny buf docs
.DEFAULT_GOAL := help

help: ## what can be made
	@awk -F ":.*## " "/^[a-z]+:.*## /{printf \"make %-10s %s\\n\", \$$1, \$$2}" $(MAKEFILE_LIST)

setup: ## install the missing Debian packages, or name them
	@scripts/setup.sh demo

build: setup ## the three programs, development profile
	@cargo build --locked --workspace --bins

demo: build ## a fleet, eight hospitals and a bad day, in under 90 s
	@cargo build --locked -p reeve-client --example clinic
	@$(reeve) demo --clinic $(CARGO_TARGET_DIR)/debug/examples/clinic

dev: build ## a whole fleet on this machine, until Ctrl-C
	@$(reeve) dev $(ARGS)

test: ## format, lints, every test, coverage
	@scripts/setup.sh test
	@scripts/test.sh $(ARGS)

coverage: test ## the same, then every line as HTML
	@scripts/coverage-html.sh "$(CARGO_TARGET_DIR)/profiles"

bench: ## the registry beside an etcd of this machine, as ratios, plots and flamegraphs; ARGS=--quick only looks whether it works
	@scripts/setup.sh bench
	@scripts/bench.sh $(ARGS)

chaos: build ## faults at random for MINUTES (10) from SEED; a round that fails says how to play it again
	@scripts/setup.sh test
	@MINUTES="$(MINUTES)" SEED="$(SEED)" cargo run --locked --quiet -p reeve-chaos --example chaos

sim: ## days in a simulation: SEEDS (1000) of them from SEED (1); one that goes wrong says how to play it again
	@SIM_SEEDS="$(or $(SEEDS),1000)" SIM_SEED="$(or $(SEED),1)" cargo test --locked --quiet --workspace --features reeve-registry/mutants --lib sim::seeds::whatever_happens -- --nocapture

deny: ## licences, sources and bans of what is linked
	@scripts/deny.sh

buf: ## lint the proto files
	@scripts/setup.sh ci
	@scripts/buf.sh

alerts: ## check the alerts and run their tests
	@scripts/alerts.sh

docs: ## the API documentation of every crate
	@cargo doc --locked --workspace --no-deps --features reeve-client/axum,reeve-client/metrics,reeve-client/mock,reeve-client/token
