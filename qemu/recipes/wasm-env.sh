# Sourced by every recipe that compiles to WebAssembly: where Emscripten is, and the flags that
# all objects of one program must share.
#
# The toolchain says where it is: EMSCRIPTEN (the directory of emcc) and Emscripten's own
# EM_LLVM_ROOT, EM_BINARYEN_ROOT and EM_NODE_JS. So Debian's packages and an upstream emsdk serve
# the same recipes.
: "${EMSCRIPTEN:?is not set: the toolchain has to name the directory of emcc}"
export PATH=$EMSCRIPTEN:$PATH

# Its launchers run Python with -E, which ignores PYTHONPYCACHEPREFIX too: in a read-only toolchain
# each start would compile all of Emscripten anew, for five times what clang then needs.
printf '#!/bin/sh\nshift\nexec python3 "$@"\n' > /tmp/python-without-E
chmod +x /tmp/python-without-E
export EMSDK_PYTHON=/tmp/python-without-E

# The system libraries, built once (emcache.sh); an action that would need another one fails.
export EM_CACHE=/deps/emcache EM_FROZEN_CACHE=1

. /src/recipe/ccache.sh emcc
export CCACHE_COMPILERTYPE=clang
export CC="${CCACHE:+$CCACHE }emcc" CXX="${CCACHE:+$CCACHE }em++"
export AR=emar RANLIB=emranlib NM=emnm STRIP=emstrip

# 64-bit pointers, lowered to 32-bit addresses at link time: at most 4 GB, but every browser.
export CFLAGS="-O3 -pthread -DWASM_BIGINT -sMEMORY64=2 -Wno-experimental"
export CXXFLAGS=$CFLAGS
# What configure scripts link is never run: wasm-ld's word is enough, which is six times faster
# than making JavaScript and optimising. A real program is linked with flags of its own.
export LDFLAGS="-pthread -sMEMORY64=2 --oformat=bare -Wno-experimental"

# Only the target's libraries, never the toolchain's own for its programs.
PKG_CONFIG_LIBDIR=$(printf '%s:' /deps/*/lib/pkgconfig)
export PKG_CONFIG_LIBDIR

# publish NAME: what was installed with --prefix=/deps/NAME under DESTDIR=/build/stage is the
# result, less what only a person or libtool would read.
publish() {
  rm -rf "stage/deps/$1"/{bin,share} "stage/deps/$1"/lib/*.la
  mv "stage/deps/$1" /out/prefix
}
