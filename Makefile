# The commands of daily work. `make` alone lists them.

# For trying it out on one's own machine; anybody who reads this file knows it.
DEVELOPMENT_SECRET := development-secret

.PHONY: help run test lint bench up down logs

help: ## list the commands
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 8

# The settings are taken in the shell and not by make, which would expand a `$` in a secret.
run: ## build and run it here: 127.0.0.1:8000, inbox.db in this directory
	@export DATABASE_URL="$${DATABASE_URL:-sqlite:///./inbox.db}" LISTEN_ADDR="$${LISTEN_ADDR:-127.0.0.1:8000}"; \
	if [ -z "$${WEBHOOK_SECRET:-}" ]; then \
	    export WEBHOOK_SECRET='$(DEVELOPMENT_SECRET)'; \
	    echo 'WEBHOOK_SECRET is not set. For development it is now: $(DEVELOPMENT_SECRET)' >&2; \
	fi; \
	exec cargo run --release --locked

test: ## run all tests
	cargo test --locked

lint: ## check formatting and run clippy; any warning is an error
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings

bench: ## run the benchmarks
	cargo bench --locked

up: ## build the image and start the container; needs WEBHOOK_SECRET
	docker compose up --build --detach

# Compose reads the whole file, secret included, even to stop; what it is does not matter then.
down: ## stop and remove the container; the volume with the messages stays
	WEBHOOK_SECRET="$${WEBHOOK_SECRET:-unused}" docker compose down

logs: ## follow the container's log
	WEBHOOK_SECRET="$${WEBHOOK_SECRET:-unused}" docker compose logs --follow
