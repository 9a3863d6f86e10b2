# self-scaling. `make` lists what can be done.

GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)

# Pinned, and run without becoming a dependency of the module.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Where the demonstration writes, and how long each fuzz target runs.
OUT ?= selfscale-demo
FUZZTIME ?= 10s
# Which benchmarks run.
BENCH ?= .
# Where screenshots of the web page go.
SHOTS ?= bin/page

.DEFAULT_GOAL := help
.PHONY: help test test-race test-minio test-prometheus test-oracle test-modules test-demo test-page load lint verify cluster cluster-down images images-twice e2e e2e-faults e2e-scale fuzz bench build demo generate clean

##@ Everyday

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## replay real usage with and without self-scaling, into OUT=selfscale-demo
	$(GO) run ./cmd/selfscale demo --out $(OUT)

build: ## build all binaries into bin/, kubectl's plugin among them
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...
	ln -sf selfscale bin/kubectl-selfscale

test: ## run the tests that need neither network nor server
	$(GO) test ./...

lint: ## check form: gofmt, vet, staticcheck, go.mod, import arrows
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt must leave these files as they are:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags minio,demo,e2e,load ./test/...
	$(GO) vet -tags prometheus ./controller/cluster/prometheus
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod tidy -diff
	$(GO) test -count=1 ./schemas -run 'Imports|Violations'

verify: lint test test-race ## what must pass before a commit is shared

##@ Slower checks

test-race: ## run the same tests under the race detector
	CGO_ENABLED=1 $(GO) test -race -timeout 60m ./...

test-minio: ## run the store's suite against a real MinIO server, built on first use
	$(GO) test -count=1 -timeout 30m -tags minio -v ./test/minio/...

test-prometheus: ## measure weeks through a real Prometheus server, Debian's
	PATH="$$($(GO) run ./test/cluster prometheus):$$PATH" $(GO) test -count=1 -tags prometheus -v -run '^TestServer' ./controller/cluster/prometheus

test-oracle: ## compare our HPA with Kubernetes' own (builds parts of Kubernetes)
	cd test/hpaoracle && $(GO) test -count=1 -timeout 30m ./...

test-modules: ## run the tests of the modules below this one that have their own go.mod
	@set -e; for mod in $$(git ls-files '*/go.mod' ':!test/cluster/tools'); do dir=$${mod%/go.mod}; \
		echo "# $$dir"; (cd $$dir && $(GO) test -count=1 -timeout 30m ./...); done

test-demo: ## run the demonstration and hold its figures to what is promised
	$(GO) test -count=1 -timeout 30m -tags demo -v ./test/demo

test-page: ## drive the web page in Chromium (installed if missing on Debian); screenshots go to SHOTS=bin/page
	@.ci/need chromium
	cd test/page && $(GO) test -count=1 -timeout 40m -tags page -v . -args -screenshots '$(abspath $(SHOTS))'

load: ## by hand: the REST interface's program under load, and without a store, for 15 minutes
	$(GO) test -count=1 -timeout 40m -tags load -v ./test/rest $(if $(LOAD),-args $(LOAD))

cluster: ## run a real Kubernetes of one node, with ARGO=v4.1.4 or v3.7.18 (Debian, root)
	@ARGO='$(ARGO)' $(GO) run ./test/cluster up

cluster-down: ## stop that cluster and remove all but its programs
	@$(GO) run ./test/cluster down

images: ## build the images without a registry, and import them into that cluster
	@$(GO) run ./test/cluster images

images-twice: ## build the images again, and fail unless they are the same
	@$(GO) run ./test/cluster reproduce

# The tests by hand take long, and break what the others need.
E2E := $(GO) test -count=1 -timeout 60m -parallel 6 -tags e2e -v ./test/e2e
BYHAND := ^Test(Faults|Scale)

e2e: ## run the tests on a real cluster: KUBECONFIG's, or that of make cluster
	@[ -n "$$KUBECONFIG" ] || $(MAKE) cluster
	ARGO='$(ARGO)' $(E2E) -skip '$(BYHAND)'

e2e-faults: ## by hand: kill each part of a run in its midst, on the cluster of make cluster
	@$(MAKE) cluster
	ARGO='$(ARGO)' $(E2E) -run '^TestFaults'

e2e-scale: ## by hand: a thousand components and ten thousand pods, simulated
	@$(MAKE) cluster
	KWOK="$$($(GO) run ./test/cluster kwok)" ARGO='$(ARGO)' $(E2E) -run '^TestScale'

fuzz: ## run every fuzz target for FUZZTIME=10s
	@GO='$(GO)' FUZZTIME='$(FUZZTIME)' ./.ci/fuzz

bench: ## run the benchmarks whose names match BENCH=.
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem ./...

##@ Upkeep

generate: ## make generated files again
	$(GO) generate ./...

clean: ## remove what make build and make demo wrote
	rm -rf bin selfscale-demo
