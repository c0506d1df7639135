set -eu
export EM_CACHE="$EMSCRIPTEN/cache"
"$EMSCRIPTEN/emcc" /src/hello.c -O1 -o /out/hello.js
"$EM_NODE_JS" /out/hello.js > /out/said
