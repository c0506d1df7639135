// The page: what it shows while the machine is loading, starting, running, or failing.
//
// For tests and for other pages there is a small stable interface: <html data-state> is one of
// loading, starting, running and error, and thaw.text() is what the terminal shows.

import { module } from "./download.js";
import { isolate } from "./isolation.js";
import { checkBrowser, explain } from "./problem.js";
import { describe, start } from "./qemu.js";

const MEGABYTE = 1e6;
const VENDOR = ["vendor/xterm.js", "vendor/xterm-pty.js", "vendor/addon-fit.js"];
const element = (id) => document.getElementById(id);
const cold = new URLSearchParams(location.search).has("cold");
const seconds = () => (performance.now() / 1000).toFixed(1);

function show(state, status) {
  const root = document.documentElement;
  if (root.dataset.state === "error") return; // the first error is the one that explains the rest
  if (root.dataset.state !== state) performance.mark(`thaw:${state}`);
  root.dataset.state = state;
  if (element("status").textContent !== status) element("status").textContent = status;
}

function fail(error) {
  if (document.documentElement.dataset.state === "error") return;
  const problem = explain(error);
  show("error", "Stopped");
  element("problem-title").textContent = problem.message;
  element("problem-advice").textContent = problem.advice;
  element("problem-detail").textContent = problem.detail;
  element("problem").hidden = false;
}

function progress(done, total) {
  element("progress").value = done / total;
  const megabytes = (bytes) => (bytes / MEGABYTE).toFixed(1);
  show("loading", `Downloading: ${megabytes(done)} of ${megabytes(total)} MB`);
}

/** The same machine the other way: from its kernel, or from its frozen state. */
function offerAlternative() {
  const link = element("alternative");
  link.href = cold ? "./" : "?cold";
  link.textContent = cold ? "Resume the frozen machine" : "Boot from the kernel instead";
  link.hidden = false;
}

async function run() {
  const machine = await describe();
  document.title = machine.title;
  element("title").textContent = machine.title;
  const { GuestConsole } = await module("terminal.js", VENDOR);
  const guest = new GuestConsole(element("terminal"));
  globalThis.thaw = { text: () => guest.text() };
  offerAlternative();
  await start(machine, {
    cold,
    slave: guest.slave,
    progress,
    starting: () => show("starting", cold ? "Booting the kernel" : "Resuming"),
    stopped: fail,
  });
  await (cold ? guest.prompt(machine.prompt) : guest.wake(machine.prompt));
  show("running", `Running: ${cold ? "booted" : "resumed"} in ${seconds()} s`);
  guest.terminal.focus();
}

addEventListener("error", (event) => fail(event.error ?? event.message));
addEventListener("unhandledrejection", (event) => fail(event.reason));
try {
  if (await isolate()) {
    checkBrowser();
    await run();
  }
} catch (error) {
  fail(error);
}
