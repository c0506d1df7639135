#!/bin/bash
# QEMU for WebAssembly, as an ES module with its .wasm.
# /src/tree (patched source), /src/xterm-pty.tgz, /deps/{emcache,zlib,libffi,pcre2,glib}
# -> /out/qemu-system-x86_64.js, /out/qemu-system-x86_64.wasm
set -euo pipefail
. /src/recipe/wasm-env.sh
. /src/recipe/qemu-options.sh

python3 /src/recipe/unpack.py /src/xterm-pty.tgz xterm-pty

# What patches/0005 links the emulator with, on top of what configure's checks use.
cat > emulator-link-args <<'END'
--oformat=js
-O3
-sASYNCIFY=1
-sASYNCIFY_IMPORTS=ffi_call_js
-sPROXY_TO_PTHREAD=1
-sINITIAL_MEMORY=2300MB
-sSTACK_SIZE=1MB
-sALLOW_TABLE_GROWTH=1
-sFORCE_FILESYSTEM=1
-sEXIT_RUNTIME=1
-sMODULARIZE=1
-sEXPORT_ES6=1
-sENVIRONMENT=web,worker,node
-sEXPORTED_RUNTIME_METHODS=addFunction,removeFunction,TTY,FS
--js-library=xterm-pty/emscripten-pty.js
--js-library=/src/recipe/poll-library.js
END

# emcc doesn't expand a response file inside a response file, and QEMU names two of them.
export MESON_RSP_THRESHOLD=1000000
/src/tree/configure --cc="$CC" --cxx="$CXX" --host-cc=gcc --enable-tcg-interpreter \
  --with-coroutine=wasm "${QEMU_OPTIONS[@]}" \
  -Dc_args="-pthread -Wno-experimental -I/deps/zlib/include" -Dc_link_args="$LDFLAGS"
ninja -j"$(nproc)" qemu-system-x86_64.js
cp qemu-system-x86_64.js qemu-system-x86_64.wasm /out/
