#!/bin/bash
# libffi for WebAssembly: QEMU's interpreter calls its helpers through it.
# /src/libffi.tar.gz -> /out/prefix, for /deps/libffi
set -euo pipefail
. /src/recipe/wasm-env.sh

python3 /src/recipe/unpack.py /src/libffi.tar.gz libffi
cd libffi
autoreconf -fi
./configure --host=wasm64-unknown-linux WASM64_MEMORY64=2 --prefix=/deps/libffi \
  --enable-static --disable-shared --disable-dependency-tracking --disable-builddir \
  --disable-multi-os-directory --disable-raw-api --disable-docs
make -j"$(nproc)" libffi.la
make install DESTDIR=/build/stage SUBDIRS=include
cd ..
publish libffi
