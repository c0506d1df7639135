set -eu
export EM_CACHE=/deps/emcache EM_FROZEN_CACHE=1
"$EMSCRIPTEN/emcc" -O3 -pthread -sMEMORY64=2 /src/hello.c -o /out/hello.js
"$EM_NODE_JS" /out/hello.js > /out/said
