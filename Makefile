# The one door. `make test` is what CI runs and what the README names; it fetches what it needs.
#
#   make check              format, lints, docs, licences, counts         2 minutes
#   make test               everything that must pass before a change     8 minutes
#   make client             the TypeScript client, built anew into the chat  5 seconds
#   make counts             instructions of the cores, against a record   20 seconds
#   make counts-record      writes that record anew                       20 seconds
#   make shape              what the source looks like, in numbers        1 second
#   make throughput         GB/s of the WebSocket codec                   20 seconds
#   make conformance        Autobahn (quick) and Durable Streams          5 minutes
#   make conformance-full   Autobahn with all 517 cases                   15 minutes
#   make bench              figures of this machine into docs/benchmarks  9 minutes
#   make fuzz               each fuzz target for 30 s                     5 minutes
.PHONY: check test client counts counts-record shape throughput conformance conformance-full bench fuzz

check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check licenses bans sources; \
	else echo "skipped: licences and sources, since cargo-deny is not installed (cargo install --locked cargo-deny)"; fi
	tests/counts
	node tests/shape.mjs --check >/dev/null

test:
	cargo fmt --all --check
	cargo test --workspace
	cargo build
	tests/run

# The binary carries it, and cargo alone has to build the binary, so it is committed; a test compares it.
client:
	tests/npm-ci clients/typescript
	npm --prefix clients/typescript run --silent build
	sed '/^\/\/# sourceMappingURL=/d' clients/typescript/dist/index.js >examples/chat/everwire.js

counts:
	tests/counts

counts-record:
	tests/counts record

shape:
	node tests/shape.mjs

throughput:
	tests/counts throughput

conformance:
	cargo build --release
	EVERWIRE_BIN=$(CURDIR)/target/release/everwire tests/durable-streams/run
	EVERWIRE_BIN=$(CURDIR)/target/release/everwire tests/autobahn/run

conformance-full:
	cargo build --release
	EVERWIRE_BIN=$(CURDIR)/target/release/everwire tests/durable-streams/run
	EVERWIRE_BIN=$(CURDIR)/target/release/everwire tests/autobahn/run --full

bench:
	cargo build --release -p everwire -p everwire-bench
	target/release/everwire-bench run --server target/release/everwire --markdown docs/benchmarks.md

fuzz:
	fuzz/run 30
