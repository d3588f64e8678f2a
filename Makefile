VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME ?= 10s
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: build test race slow interop safety lint fuzz static systemd boot

build:
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bundlewatch ./cmd/bundlewatch

test:
	go test ./...

race:
	go test -race $(TESTFLAGS) ./...

# What takes minutes or gigabytes.
slow:
	BUNDLEWATCH_SLOW=1 go test -count=1 -timeout 20m $(TESTFLAGS) ./internal/bundle ./internal/tidy ./test/...

# Loads bundles with real PyTorch; see test/interop/run.sh for what it needs and installs.
interop:
	test/interop/run.sh

# Gives hostile files to the binary under strace; see test/safety/run.sh for what it needs and installs.
safety:
	test/safety/run.sh

lint:
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go run $(STATICCHECK) ./...
	@if command -v golangci-lint >/dev/null; then echo golangci-lint run; golangci-lint run; \
	else echo "golangci-lint is not installed: .golangci.yml was not looked at"; fi

# Every fuzz target for FUZZTIME, two at a time.
fuzz:
	.ci/fuzz $(FUZZTIME)

# The binary runs on any Linux: no libc, no dynamic linker.
static: build
	@if ldd bundlewatch >/dev/null 2>&1; then echo "bundlewatch is linked dynamically:"; ldd bundlewatch; exit 1; fi
	@echo "bundlewatch is linked statically"

systemd:
	test/systemd/verify.sh

# Runs the service under a real systemd; see test/systemd/boot.sh for what it needs and installs.
boot:
	test/systemd/boot.sh
