VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME ?= 10s
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Where to install, and below which directory for packagers.
PREFIX ?= /usr/local
DESTDIR ?=
BINARY ?= bundlewatch
# What makes the manual page and the completions: BINARY, unless that is for machines of another kind.
SELF ?= $(BINARY)

.PHONY: build install uninstall package test race slow crash soak interop safety lint fuzz static systemd boot mounts packages contrib page slurm registry store

build:
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bundlewatch ./cmd/bundlewatch

# What the binary itself writes, below $(PREFIX)/share.
PAGES = man/man1/bundlewatch.1 bash-completion/completions/bundlewatch zsh/site-functions/_bundlewatch \
  fish/vendor_completions.d/bundlewatch.fish

# The binary of `make build`, the units, and what they need. Writes nothing to /etc, starts nothing; see
# docs/operations.md for what to do next.
install:
	@test -x "$(BINARY)" || { echo "$(BINARY) is not there: run make build first"; exit 1; }
	install -D -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/bundlewatch
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/lib/systemd/user
	sed 's|/usr/bin/|$(PREFIX)/bin/|' systemd/bundlewatch.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/bundlewatch.service
	sed 's|/usr/bin/|$(PREFIX)/bin/|' systemd/bundlewatch-user.service >$(DESTDIR)$(PREFIX)/lib/systemd/user/bundlewatch-user.service
	chmod 644 $(DESTDIR)$(PREFIX)/lib/systemd/*/bundlewatch*.service
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib/sysusers.d systemd/sysusers.d/bundlewatch.conf
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib/tmpfiles.d systemd/tmpfiles.d/bundlewatch.conf
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib/sysctl.d systemd/sysctl.d/60-bundlewatch.conf
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/user-tmpfiles.d systemd/user-tmpfiles.d/bundlewatch.conf
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/bundlewatch/drop-ins systemd/drop-ins/*.conf
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/share/doc/bundlewatch/contrib/slurm contrib/slurm/*.sh
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/bundlewatch/contrib/kubernetes contrib/kubernetes/*
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/bundlewatch bundlewatch.toml README.md LICENSE
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/bundlewatch/docs docs/*.md
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/bundlewatch/contrib contrib/prometheus/rules.yml contrib/grafana/bundlewatch.json
	install -d $(patsubst %/,%,$(addprefix $(DESTDIR)$(PREFIX)/share/,$(dir $(PAGES))))
	$(abspath $(SELF)) man >$(DESTDIR)$(PREFIX)/share/man/man1/bundlewatch.1
	$(abspath $(SELF)) completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/bundlewatch
	$(abspath $(SELF)) completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_bundlewatch
	$(abspath $(SELF)) completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/bundlewatch.fish
	cd $(DESTDIR)$(PREFIX)/share && chmod 644 $(PAGES)

# Takes away what `install` put there; bundles, configs and drop-ins in /etc stay.
uninstall:
	cd $(DESTDIR)$(PREFIX) && rm -rf share/doc/bundlewatch && rm -f bin/bundlewatch lib/systemd/system/bundlewatch.service \
	  lib/systemd/user/bundlewatch-user.service lib/sysusers.d/bundlewatch.conf lib/tmpfiles.d/bundlewatch.conf \
	  lib/sysctl.d/60-bundlewatch.conf share/user-tmpfiles.d/bundlewatch.conf $(addprefix share/,$(PAGES))

# deb and rpm in dist/, with the list of what the binary is made of; see packaging/build.sh.
package:
	packaging/build.sh

test:
	go test ./...

race:
	go test -race $(TESTFLAGS) ./...

# What takes minutes or gigabytes.
slow:
	BUNDLEWATCH_SLOW=1 go test -count=1 -timeout 20m $(TESTFLAGS) ./internal/bundle ./internal/page ./internal/tidy ./test/...

# Ten trainers for SOAK against the daemon with the race detector; `slow` does it for a minute.
SOAK ?= 10m
soak:
	BUNDLEWATCH_SLOW=1 SOAK=$(SOAK) go test -count=1 -timeout 60m -v ./test/soak

# Interrupts the daemon and the moving of strays at every single system call, where `slow` takes every twelfth and every third.
# With BUNDLEWATCH_WRITE=1 it writes the table of docs/reliability.md.
crash:
	BUNDLEWATCH_SLOW=1 BUNDLEWATCH_STRIDE=1 go test -count=1 -timeout 40m $(TESTFLAGS) -run 'Every|Table' ./test/fault ./test/tidy

# Loads bundles with real PyTorch; see test/interop/run.sh for what it needs and installs.
interop:
	test/interop/run.sh

# Gives hostile files to the binary under strace; see test/safety/run.sh for what it needs and installs.
safety:
	test/safety/run.sh

# Looks at the status page with headless Chromium; see test/page/run.sh for what it needs and installs.
page:
	test/page/run.sh

lint:
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go run $(STATICCHECK) ./...
	@if command -v golangci-lint >/dev/null; then echo golangci-lint run; golangci-lint run; \
	else echo "golangci-lint is not installed: .golangci.yml was not looked at"; fi

# Every fuzz target for FUZZTIME, fourteen at a time.
fuzz:
	.ci/fuzz $(FUZZTIME)

# The binary runs on any Linux: no libc, no dynamic linker.
static: build
	@if ldd bundlewatch >/dev/null 2>&1; then echo "bundlewatch is linked dynamically:"; ldd bundlewatch; exit 1; fi
	@echo "bundlewatch is linked statically"

systemd:
	test/systemd/verify.sh

# Has promtool check the alert rules and the dashboard's queries; see test/contrib/run.sh.
contrib:
	test/contrib/run.sh

# Runs the service under a real systemd; see test/systemd/boot.sh for what it needs and installs.
boot:
	test/systemd/boot.sh

# Builds the packages and installs the deb under a real systemd; see test/systemd/package.sh for what it needs and installs.
packages:
	test/systemd/package.sh

# Watches FUSE mounts that come, go and hang; see test/mounts/run.sh for what it needs and installs.
mounts:
	test/mounts/run.sh

# Publishes to a real S3 server that is killed at random; see test/store/run.sh for what it needs and builds.
# make store STOREFLAGS=--all is the long form, on more servers.
store:
	test/store/run.sh $(STOREFLAGS)

# Pushes to a real registry and pulls with other people's clients; see test/registry/run.sh for what it needs and fetches.
registry:
	test/registry/run.sh

# Drains in the epilog of a real Slurm node on loopback; see test/slurm/run.sh for what it needs and installs.
slurm:
	test/slurm/run.sh
