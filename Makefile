# Both of these work on a fresh clone:
#   make demo    a whole stack, five phone calls to it, what happened
#   make test    every check and test, on the real servers
.DEFAULT_GOAL := help

.PHONY: help setup browser servers bench-100 bench-phone bench-media bench-peers bench-conversation demo up test check unit go-test format proto wheel clean

VENV := .venv/bin
# go.sum has what livekit's modules need; the proxy does not list them, so Go must not ask.
GO_OPTIONS := -mod=mod -tags nolibopusfile

help: ## what there is
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what is missing, into .venv and .cache
	@scripts/setup

browser: ## also install Chromium and Prometheus, which only tests use
	@scripts/setup browser

servers: setup ## find livekit-server and livekit-sip, or build them once
	@$(VENV)/python -m trunkline.stack

demo: setup ## five phone calls at once to a stack of their own, turn by turn
	@$(VENV)/trunkline demo

up: setup ## keep a stack running in the foreground
	@$(VENV)/trunkline up

check: setup ## format, lint, types, import rules
	$(VENV)/ruff format --check --quiet src tests scripts
	$(VENV)/ruff check --quiet src tests scripts
	$(VENV)/mypy
	$(VENV)/lint-imports

unit: setup ## the fast tests
	$(VENV)/pytest -q tests/unit

go-test: ## tests of the Go module; needs libopus-dev
	cd media-engine && go vet $(GO_OPTIONS) ./... && go test $(GO_OPTIONS) ./...

bench-100: servers ## 100 calls at once and everything that carries them here, against limits; about six minutes
	$(VENV)/python -m benchmarks.hundred --judge

bench-phone: servers ## how many phone calls over SIP at once keep the limits here; up to eight minutes
	$(VENV)/python -m benchmarks.hundred --phone

bench-media: servers ## what the media engines cost and how long the road is, against limits; about nine minutes
	$(VENV)/python -m benchmarks.media --limits

bench-conversation: servers ## how long a caller waits, barge-in, failover, against limits; about twelve minutes
	$(VENV)/python -m benchmarks.conversation

bench-peers: servers ## trunkline beside plain Pipecat and LiveKit Agents under the same calls; about 12 minutes
	@benchmarks/peers/install
	$(VENV)/python benchmarks/peers/run.py --json runs/peers.json

test: setup browser servers check go-test ## every check and test; what .ci/run calls
	TRUNKLINE_REQUIRE_SERVERS=1 $(VENV)/pytest -q

format: setup ## put the code in order
	$(VENV)/ruff format --quiet src tests scripts
	$(VENV)/ruff check --fix --quiet src tests scripts

proto: ## generate the engine's messages again, for Go and Python; needs protoc-gen-go and grpcio-tools 1.76
	cd media-engine && go generate ./internal/mediapb
	python3 -m grpc_tools.protoc -Imedia-engine --python_out=src/trunkline/media/pb --pyi_out=src/trunkline/media/pb media.proto

wheel: setup ## a wheel for this platform with the media engine inside, in dist/
	@$(VENV)/python scripts/build_wheel.py

clean: ## remove what was installed, built and recorded here
	rm -rf .venv .cache .trunkline runs
