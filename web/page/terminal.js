// The terminal on the page, and the pseudo-terminal that QEMU's console is on.

import { FitAddon } from "./vendor/addon-fit.js";
import { Terminal } from "./vendor/xterm.js";
import { openpty, Termios } from "./vendor/xterm-pty.js";

const SCROLLBACK = 5000; // lines
const QUIET = 400; // ms without output: the guest has finished answering
const PATIENCE = 700; // ms until a newline that was read but not answered is sent again
const POLL = 50; // ms between looks at whether a newline was read

const THEME = {
  background: "#0d1117",
  foreground: "#e6edf3",
  cursor: "#7cc4ff",
  selectionBackground: "#264f78",
};

export class GuestConsole {
  /** @param {HTMLElement} element what the terminal is to fill */
  constructor(element) {
    this.terminal = new Terminal({
      cursorBlink: true,
      fontFamily: "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace",
      fontSize: 14,
      scrollback: SCROLLBACK,
      theme: THEME,
    });
    const { master, slave } = openpty();
    /** What QEMU reads and writes: the `pty` of its Emscripten module. */
    this.slave = slave;
    this.terminal.loadAddon(master);
    const fit = new FitAddon();
    this.terminal.loadAddon(fit);
    this.terminal.open(element);
    fit.fit();
    new ResizeObserver(() => fit.fit()).observe(element);
    makeRaw(slave);
  }

  /** Everything in the terminal, scrolled-off lines included, without trailing blanks. */
  text() {
    const buffer = this.terminal.buffer.active;
    const lines = [];
    for (let row = 0; row < buffer.length; row++) {
      const line = buffer.getLine(row);
      const wraps = buffer.getLine(row + 1)?.isWrapped;
      const text = line.translateToString(!wraps);
      if (line.isWrapped) lines[lines.length - 1] += text;
      else lines.push(text);
    }
    return lines.join("\n").trimEnd();
  }

  /** Whether the guest waits for a command: the cursor's line is the prompt, and nothing else. */
  atPrompt(prompt) {
    const buffer = this.terminal.buffer.active;
    const line = buffer.getLine(buffer.baseY + buffer.cursorY);
    return line?.translateToString(true).trimEnd() === prompt.trimEnd();
  }

  /** Resolves when the guest has printed its prompt. */
  async prompt(prompt) {
    while (!this.atPrompt(prompt)) await this.output();
  }

  /**
   * Wakes a guest that waits at its prompt since before it was frozen, and so prints nothing.
   *
   * A newline that QEMU reads before the frozen state is in place is lost, so it is repeated until
   * the guest answers, with more and more patience for a guest that is only slow. Prompts that came
   * of it, all but the last, are tidied away.
   */
  async wake(prompt) {
    for (let patience = PATIENCE; !this.atPrompt(prompt); patience *= 1.5) {
      this.terminal.input("\r", false);
      while (this.slave.readable) await pause(POLL);
      await Promise.race([this.prompt(prompt), pause(patience)]);
    }
    while (await Promise.race([this.output(), pause(QUIET).then(() => false)]));
    const lines = this.text().split("\n");
    if (lines.every((line) => ["", prompt.trimEnd()].includes(line.trimEnd()))) {
      this.terminal.clear(); // keeps the last line: one prompt, at the top
    }
  }

  /** Resolves, to true, when something has been written to the terminal. */
  output() {
    return new Promise((resolve) => {
      const subscription = this.terminal.onWriteParsed(() => {
        subscription.dispose();
        resolve(true);
      });
    });
  }
}

/** Keys go to the guest as they are: it is the guest that echoes, and that knows Ctrl-C. */
function makeRaw(slave) {
  const { iflag, oflag, cflag, lflag, cc } = slave.ioctl("TCGETS");
  slave.ioctl("TCSETS", new Termios(iflag & ~ICRNL_AND_IXON, oflag, cflag, lflag & ~COOKED, cc));
}
const ICRNL_AND_IXON = 0o400 | 0o2000;
const COOKED = 0o1 | 0o2 | 0o10 | 0o100000; // ISIG, ICANON, ECHO, IEXTEN

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
