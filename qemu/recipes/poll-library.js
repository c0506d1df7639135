// poll() that really waits, for QEMU's main loop on Emscripten.
//
// An Emscripten JS library, linked after xterm-pty's emscripten-pty.js. Emscripten's own poll()
// never waits, so the main loop would spin and keep the page's thread busy with proxied calls.
// xterm-pty's waits for a key and for nothing else, so timers and other threads would be starved.
// Here the calling thread sleeps until the terminal has input, until something is written to a
// pipe (how QEMU's threads wake each other), or until the time is up.
//
// How: a counter in shared memory goes up with each such event. A thread reads the counter, looks
// at its descriptors, and sleeps only if the counter is still the same: no wake-up can be lost.
// Waking a thread too often is harmless, it looks again.

addToLibrary({
  // Runs on the page's thread, but for `counter`: every thread keeps the index it was told.
  $POLL__deps: ['$FS', '$PIPEFS', '$PTY', '$TTY', 'malloc'],
  $POLL__postset: () => addAtInit('POLL.init();'),
  $POLL: {
    counter: 0,
    init() {
      POLL.counter = _malloc(4) >>> 2;
      Atomics.store(HEAP32, POLL.counter, 0);
      PTY.onReadable(POLL.wake);
      const write = PIPEFS.stream_ops.write;
      PIPEFS.stream_ops.write = (...call) => {
        const written = write(...call);
        POLL.wake();
        return written;
      };
      TTY.stream_ops.poll = () =>
        (PTY.readable ? {{{ cDefs.POLLIN }}} : 0) | (PTY.writable ? {{{ cDefs.POLLOUT }}} : 0);
    },
    wake() {
      Atomics.add(HEAP32, POLL.counter, 1);
      Atomics.notify(HEAP32, POLL.counter);
    },
  },

  $pollCounter__deps: ['$POLL'],
  $pollCounter__proxy: 'sync',
  $pollCounter__sig: 'i',
  $pollCounter: () => POLL.counter,

  // xterm-pty has renamed Emscripten's function, which looks once and is proxied to the page's
  // thread, to xterm_pty_old_poll. This one runs on the thread that calls.
  __syscall_poll__deps: ['$xterm_pty_old_poll', '$pollCounter'],
  __syscall_poll__sig: 'ipii',
  __syscall_poll: (fds, nfds, timeout) => {
    const counter = POLL.counter ||= pollCounter();
    const end = timeout < 0 ? Infinity : performance.now() + timeout;
    for (;;) {
      const before = Atomics.load(HEAP32, counter);
      const ready = xterm_pty_old_poll(fds, nfds, 0);
      const left = end - performance.now();
      if (ready !== 0 || left <= 0) return ready;
      Atomics.wait(HEAP32, counter, before, left);
    }
  },
});

Object.assign(LibraryManager.library, {
  // xterm-pty moves the original's signature away with it; without one a 64-bit pointer is a BigInt.
  fd_read__sig: 'iippp',

  // The terminal is the guest's raw console: the signals it could raise have no meaning for QEMU.
  $PTY__deps: [],
  $PTY__postset: '',
});
