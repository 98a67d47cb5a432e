# The commands of daily work. `make` alone lists them.

# For trying it out on one's own machine; anybody who reads this file knows it.
DEVELOPMENT_SECRET := development-secret
# The settings of `make run`, which the commands read too.
SETTINGS := inbox.env

.PHONY: help run test postgres instances lint bench fuzz dist deb up down logs

help: ## list the commands
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 8

run: $(SETTINGS) ## build and run it here: 127.0.0.1:8000, settings in inbox.env, messages in inbox.db
	@sed -n 's|^LISTEN_ADDR=\(.*\)|The page will be at http://\1/inbox|p' $(SETTINGS)
	WEBHOOK_INBOX_SETTINGS=$(SETTINGS) cargo run --release --locked

# Written once; from then on it is the user's.
$(SETTINGS):
	@umask 077 && printf '%s\n' '# Written by `make run`. docs/configuration.md has all settings.' \
	    WEBHOOK_SECRET=$(DEVELOPMENT_SECRET) LISTEN_ADDR=127.0.0.1:8000 DATABASE_URL=sqlite:///./inbox.db > $@
	@echo 'The settings are in $@. For development, WEBHOOK_SECRET is: $(DEVELOPMENT_SECRET)' >&2

# Many tests wait for a time-out of the service, so there are more of them at once than cores.
test: ## run all tests
	cargo test --locked -- --test-threads=$$((3 * $$(nproc)))

# The same tests on PostgreSQL, which they start themselves, without those about SQLite's files.
postgres: ## run the tests on PostgreSQL
	INBOX_TEST_ENGINE=postgres cargo test --locked --features postgres --test it -- \
	    --exact $$(sed 's/^/--skip /' tests/data/sqlite_only.txt)

# Without those of what one process does, says or remembers.
instances: ## run the tests with two instances on PostgreSQL, each request at random to either
	INBOX_TEST_ENGINE=instances cargo test --locked --features postgres --test it -- \
	    $$(sed 's/^/--skip /' tests/data/sqlite_only.txt tests/data/one_instance.txt)

lint: ## check formatting and run clippy; any warning is an error
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	cargo clippy --all-targets --locked --features postgres -- -D warnings

bench: ## run the benchmarks
	cargo bench --locked

# What the compiler adds so that libFuzzer sees which branches an input takes. Stable Rust can do that much; the sanitizers
# of nightly look for what safe Rust does not have.
FUZZ_FLAGS = --cfg fuzzing -C codegen-units=1 -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
    -C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
    -C llvm-args=-sanitizer-coverage-trace-compares
# Of each target.
FUZZ_SECONDS := 60

fuzz: ## feed the parsers inputs that reach ever more of their code, FUZZ_SECONDS for each; needs a C++ compiler
	RUSTFLAGS="$(FUZZ_FLAGS)" cargo build --release --locked --manifest-path fuzz/Cargo.toml --target $(HOST) \
	    --target-dir target/fuzz
	@set -e; for seeds in fuzz/seeds/*; do target=$${seeds##*/}; log=target/fuzz/$$target.log; \
	    mkdir -p target/fuzz/inputs/$$target; \
	    target/fuzz/$(HOST)/release/$$target -max_total_time=$(FUZZ_SECONDS) -max_len=2000 -timeout=10 -print_final_stats=1 \
	        -artifact_prefix=target/fuzz/$$target- target/fuzz/inputs/$$target $$seeds > $$log 2>&1 \
	        || { tail -50 $$log; exit 1; }; \
	    echo "$$target: $$(sed -n 's/^stat::number_of_executed_units: *//p' $$log) inputs"; done

# Built for the machine that it runs on. A release for another is made there, or in an image of that architecture.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
RELEASE = webhook-inbox-$(VERSION)-$(firstword $(subst -, ,$(HOST)))-linux
# The date of everything in the tarball, so that the same commit makes the same bytes.
DATE = $(shell git log -1 --format=%ct)
BINARY_BYTES_MAX := 6000000
POSTGRES_BINARY_BYTES_MAX := 8500000
# Where the sources lay when they were compiled is nobody's business, and would make every machine's binary another.
DIST_FLAGS = -C target-feature=+crt-static \
    --remap-path-prefix=$(CURDIR)=. --remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}=cargo

dist: ## build the static binaries, with and without PostgreSQL, and a release of them in target/dist
	rm -rf target/dist && mkdir -p target/dist/$(RELEASE)
	RUSTFLAGS="$(DIST_FLAGS)" cargo build --release --locked --target $(HOST) --features postgres
	cp target/$(HOST)/release/webhook-inbox target/dist/$(RELEASE)/webhook-inbox-postgres
	RUSTFLAGS="$(DIST_FLAGS)" cargo build --release --locked --target $(HOST)
	cp -R target/$(HOST)/release/webhook-inbox deploy docs README.md CHANGELOG.md SECURITY.md LICENSE target/dist/$(RELEASE)
	python3 release/third_party.py $(HOST) target/dist/$(RELEASE)
	python3 release/from_help.py target/$(HOST)/release/webhook-inbox target/dist/$(RELEASE)
	chmod -R u=rwX,go=rX target/dist/$(RELEASE)
	cd target/dist/$(RELEASE) && find . -type f ! -name SHA256SUMS | LC_ALL=C sort | xargs sha256sum > SHA256SUMS
	cd target/dist && tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@$(DATE) -cf - $(RELEASE) \
	    | gzip -9n > $(RELEASE).tar.gz && sha256sum $(RELEASE).tar.gz > $(RELEASE).tar.gz.sha256
	@cd target/dist/$(RELEASE) && \
	for bound in webhook-inbox:$(BINARY_BYTES_MAX) webhook-inbox-postgres:$(POSTGRES_BINARY_BYTES_MAX); do \
	    binary=$${bound%:*}; max=$${bound#*:}; bytes=$$(stat -c %s $$binary); echo "$$binary has $$bytes bytes"; \
	    [ $$bytes -lt $$max ] || { echo "that is more than $$max" >&2; exit 1; }; \
	done

deb: dist ## pack that release into a package for Debian and Ubuntu, in target/dist; needs dpkg-deb
	SOURCE_DATE_EPOCH=$(DATE) release/deb/build.sh target/dist/$(RELEASE) $(VERSION) \
	    target/dist/webhook-inbox_$(VERSION)_$$(dpkg --print-architecture).deb

up: ## build the image and start the container; needs WEBHOOK_SECRET
	docker compose up --build --detach

# Compose reads the whole file, secret included, even to stop; what it is does not matter then.
down: ## stop and remove the container; the volume with the messages stays
	WEBHOOK_SECRET="$${WEBHOOK_SECRET:-unused}" docker compose down

logs: ## follow the container's log
	WEBHOOK_SECRET="$${WEBHOOK_SECRET:-unused}" docker compose logs --follow
