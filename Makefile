# make build    the program, ./vitrine
# make test     everything that a change must pass; installs what it needs
# make demo     two machines backed up, changed, mounted and read
# make bench    the corpus, side by side with other programs; BENCH=first,mount picks parts
# make soak     the tests again, the long way
# make vet lint deps clean

SHELL       := /bin/bash -eo pipefail
GO          ?= go
CACHE       := $(CURDIR)/.cache
STATICCHECK := v0.8.2
# Where goroutines meet; the parsers of guests have none.
RACE        := ./backup/... ./fs ./fs/disk/... ./fs/guest ./fs/mount ./fs/raw ./fs/vhdx/... ./repo/...
COUNT       := $(GO) run ./integration/count

.PHONY: build test vet lint demo bench soak clean deps

build:
	$(GO) build -trimpath -o vitrine ./cmd/vitrine

test: deps vet lint
	$(GO) test -json ./... | $(COUNT)
	$(GO) test -json -tags cgofuse ./fs/... | $(COUNT)
	$(GO) test -json -race -short $(RACE) | $(COUNT)

vet:
	$(GO) vet ./...
	$(GO) vet -tags cgofuse ./...
	CGO_ENABLED=0 GOOS=windows GOARCH=amd64 $(GO) vet ./...
	CGO_ENABLED=0 GOOS=windows GOARCH=arm64 $(GO) vet ./...

lint: $(CACHE)/staticcheck-$(STATICCHECK)
	@wrong=$$(gofmt -l backup cmd fs integration repo); test -z "$$wrong" || { echo "not gofmt: $$wrong"; exit 1; }
	$< ./...
	CGO_ENABLED=0 GOOS=windows GOARCH=amd64 $< ./...

$(CACHE)/staticcheck-$(STATICCHECK):
	GOBIN=$(CACHE) $(GO) install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK)
	mv $(CACHE)/staticcheck $@

demo: deps build
	$(GO) run ./integration/demo

bench: deps build
	$(GO) run ./integration/bench $(BENCH)

soak: deps
	VITRINE_SOAK=1 $(GO) test -json -timeout 4h ./... | $(COUNT)

deps:
	@integration/deps.sh

clean:
	rm -rf vitrine vitrine.exe $(CACHE)
