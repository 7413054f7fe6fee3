# The one door: `make test` is what CI runs and what the README names.
.PHONY: test
test:
	cargo test --workspace
