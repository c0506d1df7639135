#!/bin/bash
# zlib for WebAssembly. /src/zlib.tar.gz -> /out/prefix, for /deps/zlib
set -euo pipefail
. /src/recipe/wasm-env.sh

python3 /src/recipe/unpack.py /src/zlib.tar.gz zlib
cd zlib
./configure --static --prefix=/deps/zlib
make -j"$(nproc)" libz.a
make install DESTDIR=/build/stage
cd ..
publish zlib
