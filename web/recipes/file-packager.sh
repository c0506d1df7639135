#!/bin/bash
# Take Emscripten's file packager out of its toolchain: Python alone runs it then.
# -> /out/emscripten
set -euo pipefail

mkdir -p /out/emscripten/src
cd "${EMSCRIPTEN:?is not set: the toolchain has to name the directory of emcc}"
cp -r tools emscripten-version.txt /out/emscripten/
cp src/settings*.js /out/emscripten/src/
find /out/emscripten -name __pycache__ -prune -exec rm -r {} +
# It asks where the compilers are, and calls none.
printf '%s = "/none"\n' LLVM_ROOT BINARYEN_ROOT NODE_JS > /out/emscripten/.emscripten
