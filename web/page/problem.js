// What can go wrong, in words a person can act on.

export class Problem extends Error {
  /**
   * @param {string} title what is wrong
   * @param {string} advice what to do about it
   * @param {string} detail what the browser said, if anything
   */
  constructor(title, advice, detail = "") {
    super(title);
    this.advice = advice;
    this.detail = detail;
  }
}

const SIXTY_FOUR_BIT =
  "Close other tabs and try again, or use a 64-bit browser on a machine with more memory.";

/** Throws a Problem if this browser, or the way the page is served, cannot run the machine. */
export function checkBrowser() {
  if (typeof WebAssembly !== "object" || !WebAssembly.compileStreaming) {
    throw new Problem(
      "This browser has no WebAssembly",
      "Use a current Chromium, Firefox or Safari; some locked-down modes switch WebAssembly off.",
    );
  }
  if (!isSecureContext) {
    throw new Problem(
      "Browsers share memory between threads only on secure pages",
      `Open this page over https, or on this machine as http://localhost. Now: ${location.origin}`,
    );
  }
  if (!crossOriginIsolated) {
    throw new Problem(
      "This page is not cross-origin isolated, so the browser withholds SharedArrayBuffer",
      "The web server must send these two headers with every file (scons serve does):",
      "Cross-Origin-Opener-Policy: same-origin\nCross-Origin-Embedder-Policy: require-corp",
    );
  }
  if (typeof SharedArrayBuffer !== "function") {
    throw new Problem(
      "This browser has no SharedArrayBuffer",
      "Use a current Chromium, Firefox or Safari.",
    );
  }
}

/** The Problem behind anything that was thrown while the machine was started or ran. */
export function explain(error) {
  if (error instanceof Problem) {
    return error;
  }
  const detail = String(error?.stack ?? error);
  if (error instanceof RangeError && /memory|allocat|array/i.test(error.message)) {
    return new Problem("The browser refused the memory for this machine", SIXTY_FOUR_BIT, detail);
  }
  if (error instanceof WebAssembly.CompileError || error instanceof WebAssembly.LinkError) {
    return new Problem(
      "This browser cannot run this build of QEMU",
      "Use a current browser; if it is one, the .wasm and .js files may not belong together.",
      detail,
    );
  }
  return new Problem(
    "The machine crashed",
    "What it said is in the terminal. Reload the page to start it again.",
    detail,
  );
}
