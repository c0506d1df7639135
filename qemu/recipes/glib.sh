#!/bin/bash
# GLib for WebAssembly: glib, gmodule and gthread, which is what QEMU uses.
# /src/glib.tar.xz, /src/patches, /deps/pcre2 -> /out/prefix, for /deps/glib
set -euo pipefail
. /src/recipe/wasm-env.sh

python3 /src/recipe/unpack.py /src/glib.tar.xz glib
for patch in /src/patches/*.patch; do
  patch -d glib -p1 --fuzz=0 --input="$patch"
done
list() { printf "'%s', " "$@"; }
cat > cross.ini <<END
[binaries]
c = [$(list $CC)]
cpp = [$(list $CXX)]
ar = 'emar'
ranlib = 'emranlib'
strip = 'emstrip'
pkg-config = 'pkgconf'
[host_machine]
system = 'emscripten'
cpu_family = 'wasm64'
cpu = 'wasm64'
endian = 'little'
END
meson setup out glib --cross-file=cross.ini --prefix=/deps/glib --libdir=lib \
  --default-library=static --buildtype=release --wrap-mode=nodownload \
  -Dglib_assert=false -Dglib_checks=false -Dglib_debug=disabled -Dintrospection=disabled \
  -Dlibelf=disabled -Dlibmount=disabled -Dman-pages=disabled -Dnls=disabled \
  -Dselinux=disabled -Dsysprof=disabled -Dtests=false -Dxattr=false
ninja -C out -j"$(nproc)"
DESTDIR=/build/stage ninja -C out install
publish glib
