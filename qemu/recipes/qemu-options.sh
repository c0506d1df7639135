# Sourced by both QEMU builds: what must be the same in them, the machine's devices above all.
QEMU_OPTIONS=(
  --target-list=x86_64-softmmu
  --without-default-features
  --enable-system
  --enable-tcg
  --without-default-devices
  --with-devices-x86_64=thaw
  --static
  --disable-debug-info
  --disable-docs
  --disable-download
  --disable-install-blobs
  --disable-tools
  --disable-werror
  --python=/usr/bin/python3
)
