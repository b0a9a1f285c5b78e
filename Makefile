# What one does in this repository. `make` lists it.
# CARGO_TARGET_DIR is honoured, and PORTCULLIS_CACHE where the control plane, Helm and the Connect clients are kept.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# For the demo, from the command line or the environment.
export KEEP
# A part of the names of the tests to run: make it TESTS=schema::
TESTS ?=
# How long `make fuzz` fuzzes each target.
FUZZ_SECONDS ?= 30
# What `make bench` is to measure: make bench BENCH_ARGS="--requests 1000 --vaults 10"
BENCH_ARGS ?=

# Analysed as it is built, or all of Kubernetes would be compiled a second time.
GO_IN_CLUSTER := cd tests/cluster && CGO_ENABLED=0 go
GO_IN_CONFORMANCE := cd tests/connect/conformance/go && CGO_ENABLED=0 go
# All Go code of the repository. tests/helm names a tool and has no code.
GO_CODE := tests/cluster tests/connect/conformance/go

.PHONY: help
help: ## List what there is to make
	@sed -n 's/^\([a-z][a-z-]*\):[^#]*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: demo
demo: ## Show the operator at work on a control plane of its own; KEEP=1 leaves it up until Ctrl-C
	@tests/demo/run.sh

.PHONY: test
test: ## Check everything: format, clippy, unit and documentation tests, integration, conformance
	@$(MAKE) lint
	@$(MAKE) unit
	@$(MAKE) doc
	@$(MAKE) it
	@$(MAKE) conformance
	@echo '==> all passed'

.PHONY: lint
lint: ## Check format, clippy and the Go code
	@echo '==> format'
	@cargo fmt --all --check
	@cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
	@unformatted=$$("$$(go env GOROOT)/bin/gofmt" -l $(GO_CODE)); \
	if [[ -n $$unformatted ]]; then echo "not as gofmt has it; run make fmt: $$unformatted" >&2; exit 1; fi
	@echo '==> clippy'
	@cargo clippy --workspace --all-targets -- -D warnings
	@cargo clippy --workspace --all-targets --features otlp -- -D warnings
	@echo '==> go vet (the first time it compiles Kubernetes: some minutes)'
	@$(GO_IN_CLUSTER) vet -trimpath -buildvcs=false .
	@$(GO_IN_CONFORMANCE) vet -trimpath -buildvcs=false .

# Tests have every feature, so that one build serves them all; clippy also sees what is shipped without.
.PHONY: unit
unit: ## Run the tests that need nothing but Rust
	@echo '==> unit tests'
	@cargo test --workspace --features otlp --lib --bins --test http -- $(TESTS)

.PHONY: doc
doc: ## Run the tests in the documentation, those among them that must not compile
	@echo '==> documentation tests'
	@cargo test --workspace --features otlp --doc -- $(TESTS)

.PHONY: it
it: cluster helm ## Run the integration tests on a real control plane; TESTS=part-of-a-name
	@echo '==> integration tests'
	@# Most of a test is waiting, so that more of them run at once than there are cores.
	@cargo test --workspace --features otlp --test it -- --test-threads=6 $(TESTS)

.PHONY: e2e
e2e: cluster helm ## Install by Helm on a real node, as root, and mount a Secret in a pod
	@echo '==> end to end'
	@tests/images/build.sh >/dev/null
	@cargo test --test e2e -- --nocapture --test-threads=1

.PHONY: node
node: ## Start a node with the images on it, as root, until Ctrl-C; docs/try.md goes on from there
	@tests/cluster/node.sh

.PHONY: image
image: ## Pack the operator's image into target/images/portcullis.tar
	@tests/images/build.sh portcullis

.PHONY: conformance
conformance: ## Drive the development Connect server with the official 1Password clients
	@echo '==> conformance of the development Connect server'
	@tests/connect/conformance/run.sh

.PHONY: bench
bench: cluster ## Measure; BENCH_ARGS="--requests N --vaults V --keys K"
	@cargo run --release -p portcullis-bench -- $(BENCH_ARGS)

.PHONY: fuzz
fuzz: ## Fuzz what reads untrusted text, each target for FUZZ_SECONDS=30
	@tests/fuzz/run.sh $(FUZZ_SECONDS)

.PHONY: cluster
cluster: ## Build the control plane of the tests, unless it is there
	@tests/cluster/build.sh >/dev/null

.PHONY: helm
helm: ## Build Helm for the tests, unless it is there
	@tests/helm/build.sh >/dev/null

.PHONY: chart
chart: helm ## Write deploy/install.yaml, the values in docs/install.md and the golden renders anew from the chart
	@PORTCULLIS_RENEW=1 cargo test --test it -- chart::written

.PHONY: crds
crds: ## Write crds/ anew from src/api
	@program=$$(cargo build -p portcullis --bin portcullis --message-format=json-render-diagnostics \
	  | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'); \
	trap 'rm -f crds/.new' EXIT; \
	for kind in $$("$$program" crd | sed -n 's/^    kind: //p'); do \
	  "$$program" crd --kind "$$kind" >crds/.new; \
	  mv crds/.new "crds/$$(sed -n 's/^    plural: //p' crds/.new).yaml"; \
	done

.PHONY: fmt
fmt: ## Format all code
	@cargo fmt --all
	@cargo fmt --manifest-path tests/fuzz/Cargo.toml
	@"$$(go env GOROOT)/bin/gofmt" -w $(GO_CODE)

.PHONY: clean
clean: ## Remove what was built, but for the control plane and Helm in the cache
	@cargo clean
	@echo "the control plane stays in $$(tests/cluster/build.sh --path), Helm in $$(tests/helm/build.sh --path)"
