# netmap for every machine.  `make demo` shows it, `make test` proves it; both do all of their own set-up.

CONFIG ?= release

NODE ?= node
ASC_COMMON = --runtime stub --importMemory --sharedMemory --initialMemory 65536 --maximumMemory 65536 \
             --enable simd --enable threads --exportTable
ASC_release = -O3 --noAssert
ASC_debug   = --debug --sourceMap

.PHONY: all build demo test test-windows bench check types lint format layers clean

all: build

node_modules/.package-lock.json: package.json package-lock.json
	npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

build/config: FORCE
	@mkdir -p build
	@echo "$(CONFIG)" | cmp -s - $@ || echo "$(CONFIG)" > $@

build/dataplane.wasm: $(wildcard assembly/*.ts src/abi/*.ts) build/config node_modules/.package-lock.json
	npx --no-install asc assembly/index.ts -o $@ $(ASC_COMMON) $(ASC_$(CONFIG))

LOOKUPS = $(patsubst examples/lookup/wasm/%.ts,build/lookup/%.wasm,$(filter-out %/config.ts,$(wildcard examples/lookup/wasm/*.ts)))

build/lookup/%.wasm: examples/lookup/wasm/%.ts examples/lookup/wasm/config.ts node_modules/.package-lock.json
	npx --no-install asc $< -o $@ --runtime stub -O3 --noAssert

build/js/.stamp: $(shell find src apps test bench scripts examples -name '*.ts') tsconfig.json build/config node_modules/.package-lock.json
	rm -rf build/js
	npx --no-install tsc -p tsconfig.json
	@touch $@

build/include/netmap_abi.h: build/js/.stamp
	$(NODE) build/js/scripts/header.js $@

build: build/dataplane.wasm $(LOOKUPS) build/js/.stamp build/include/netmap_abi.h

.PHONY: FORCE
FORCE:

demo: build
	$(NODE) build/js/scripts/demo.js

test: build
	$(NODE) build/js/scripts/test.js

# Under Wine, which it installs where it may; says why where it cannot.
test-windows: build
	$(NODE) build/js/scripts/test-windows.js

bench: build
	$(NODE) build/js/bench/main.js

check: types lint format layers test

types: node_modules/.package-lock.json
	npx --no-install tsc -p tsconfig.json --noEmit

lint: node_modules/.package-lock.json
	npx --no-install biome lint --error-on-warnings

format: node_modules/.package-lock.json
	npx --no-install biome format

layers: build
	$(NODE) build/js/scripts/layers.js

clean:
	rm -rf build
