#!/bin/bash
# PCRE2 for WebAssembly, the 8-bit library, which GLib needs.
# /src/pcre2.tar.gz -> /out/prefix, for /deps/pcre2
set -euo pipefail
. /src/recipe/wasm-env.sh

python3 /src/recipe/unpack.py /src/pcre2.tar.gz pcre2
cd pcre2
./configure --host=wasm64-unknown-linux --prefix=/deps/pcre2 --enable-static --disable-shared \
  --disable-dependency-tracking
make -j"$(nproc)" libpcre2-8.la
make install-libLTLIBRARIES install-includeHEADERS install-nodist_includeHEADERS \
  install-pkgconfigDATA lib_LTLIBRARIES=libpcre2-8.la DESTDIR=/build/stage
cd ..
publish pcre2
