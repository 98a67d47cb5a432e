# Alpine's own C library is musl, so cargo's default there is a static binary, on every architecture that the image has.
# The full name, so that builders without a default registry find it too.
FROM docker.io/library/rust:1.95-alpine AS build
WORKDIR /build
COPY . .
# `postgres` for the binary with PostgreSQL in it.
ARG FEATURES=
# The caches outlive the step, the binary would not: hence the copy.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --features "$FEATURES" && cp target/release/webhook-inbox /webhook-inbox
# There is no mkdir and no chown in an image made from nothing.
RUN mkdir /empty

FROM scratch
COPY --from=build /webhook-inbox /webhook-inbox
# A new named volume takes over the owner of the directory that it covers.
COPY --from=build --chown=65532:65532 /empty /data
# The private socket between the gate and the workers.
COPY --from=build --chown=65532:65532 /empty /tmp
USER 65532:65532
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=6s --start-period=30s --retries=3 CMD ["/webhook-inbox", "health"]
ENTRYPOINT ["/webhook-inbox"]
