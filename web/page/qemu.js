// QEMU as an Emscripten module: where it gets its files, its arguments and its terminal from.

import { Downloads, module, request, script } from "./download.js";
import { Problem } from "./problem.js";

const AFTER_THE_END = "What it said is in the terminal. Reload the page to start it again.";

/** What the bundle says of its machine; see web/recipes/bundle.py for the keys. */
export async function describe() {
  return (await request("machine.json")).json();
}

/**
 * Downloads QEMU and its pack, and starts it. Resolves when it runs.
 *
 * @param {object} machine from `describe`
 * @param {boolean} cold boot the kernel, instead of resuming the frozen machine
 * @param {object} slave the terminal
 * @param {(done: number, total: number) => void} progress called as bytes arrive
 * @param {() => void} starting called when everything is there
 * @param {(error: unknown) => void} stopped called if QEMU ends, whatever the reason
 */
export async function start(machine, { cold, slave, progress, starting, stopped }) {
  const downloads = new Downloads(machine.files, progress);
  const [program, pack, { default: initialize }] = await Promise.all([
    downloads.wasm(`${machine.qemu}.wasm`),
    downloads.bytes(machine.pack),
    module(`${machine.qemu}.js`),
  ]);
  starting();

  const settings = {
    arguments: cold ? machine.cold : machine.resume,
    pty: slave,
    print: (line) => console.log(line),
    printErr: (line) => console.warn(line),
    locateFile: (name) => new URL(name, import.meta.url).href,
    getPreloadedPackage: () => pack.buffer,
    instantiateWasm(imports, done) {
      WebAssembly.instantiate(program, imports).then((instance) => done(instance, program), stopped);
      return {};
    },
    onAbort: (why) => stopped(why),
    onExit: (status) =>
      stopped(new Problem(`QEMU has ended, with status ${status}`, AFTER_THE_END)),
  };
  // Emscripten's file packager wrote load.js as a classic script that adds to a global `Module`.
  globalThis.Module = settings;
  await script("load.js");
  await initialize(settings);
}
