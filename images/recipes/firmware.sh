#!/bin/bash
# Take firmware files out of unpacked packages.
# Usage: firmware.sh FILE...   Reads /deps/firmware/usr/share/, writes /out/FILE
set -euo pipefail

for file; do
    found=$(find /deps/firmware/usr/share/{seabios,qemu} -name "$file" -type f)
    if [ "$(grep -c . <<< "$found")" != 1 ]; then
        echo "firmware: $file: wanted once in the packages, found: ${found:-nowhere}" >&2
        echo "toolchains/firmware.yaml names the packages, machine.yaml the files" >&2
        exit 1
    fi
    install -m 644 "$found" /out/
done
