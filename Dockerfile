# The operator's image: the program, linked statically, and the certificates of public authorities. No shell, no libc.
#
#     docker build --tag portcullis:0.1.0 .
#
# `make image` packs the last stage without Docker and without a registry, of a program that cargo has built here.

FROM docker.io/library/rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates musl-tools
WORKDIR /src
COPY . .
RUN target=$(uname -m)-unknown-linux-musl \
 && rustup target add "$target" \
 && cargo build --release --locked --package portcullis --target "$target" \
 && install -D "target/$target/release/portcullis" /out/portcullis \
 && install -D --mode=644 /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ca-certificates.crt

FROM scratch
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="portcullis" \
      org.opencontainers.image.description="A Kubernetes operator that decides on credentials, fetches them from 1Password Connect and records why" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /out/ /
# By number, which is how Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/portcullis"]
