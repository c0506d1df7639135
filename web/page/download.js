// Files of the bundle: fetched with progress, checked against the size they should have.

import { Problem } from "./problem.js";

const INCOMPLETE = "The site is incomplete: copy every file of the bundle to the server.";

/** The response for a file of the bundle. Throws a Problem that names the file if there is none. */
export async function request(name) {
  let response;
  try {
    response = await fetch(name, { cache: "no-cache" });
  } catch (error) {
    throw new Problem(
      `${name} could not be downloaded`,
      "Is the web server still running, and the network there? Then reload the page.",
      String(error),
    );
  }
  if (!response.ok) {
    const answer = `${response.status} ${response.statusText}`.trim();
    throw new Problem(`${name} is missing: the server answered ${answer}`, INCOMPLETE);
  }
  return response;
}

/**
 * A module of the bundle. Throws a Problem that names the file if it cannot be had, or one of the
 * files it imports.
 */
export async function module(name, imports = []) {
  const url = new URL(name, import.meta.url).href;
  try {
    return await import(url);
  } catch (error) {
    for (const file of [name, ...imports]) await request(file);
    throw new Problem(
      `${name} was downloaded but cannot be run`,
      "The web server must send it as text/javascript, and not replace it by another page.",
      String(error),
    );
  }
}

/** Runs a classic script of the bundle, which finds its settings in global variables. */
export async function script(name) {
  const element = document.createElement("script");
  element.src = name;
  try {
    await new Promise((resolve, reject) => {
      element.onload = resolve;
      element.onerror = reject;
      document.head.append(element);
    });
  } catch {
    await request(name);
    throw new Problem(`${name} was downloaded but cannot be run`, INCOMPLETE);
  }
}

/** Several files downloaded at once, with one progress. */
export class Downloads {
  /**
   * @param {Record<string, number>} sizes bytes of each file of the bundle
   * @param {(done: number, total: number) => void} report called as bytes arrive
   */
  constructor(sizes, report) {
    this.sizes = sizes;
    this.report = report;
    this.done = 0;
    this.total = 0;
    this.problem = null;
  }

  /** The bytes of a file. */
  async bytes(name) {
    const bytes = new Uint8Array(this.sizes[name]);
    let offset = 0;
    for await (const chunk of chunks(await this.stream(name))) {
      bytes.set(chunk, offset);
      offset += chunk.length;
    }
    return bytes;
  }

  /** A compiled WebAssembly file, compiled while it arrives, whatever type the server gives it. */
  async wasm(name) {
    const headers = { "Content-Type": "application/wasm" };
    const response = new Response(await this.stream(name), { headers });
    try {
      return await WebAssembly.compileStreaming(response);
    } catch (error) {
      throw this.problem ?? error; // a stream's own error does not come through the compiler
    }
  }

  async stream(name) {
    const size = this.sizes[name];
    this.total += size;
    const response = await request(name);
    let length = 0; // after decompression, if the server compresses
    const check = () => {
      if (length !== size) {
        this.problem = new Problem(
          `${name} is not the file that belongs here: ${size} bytes were expected`,
          "It was cut short, or is of another build: copy the whole bundle again, then reload.",
          `got ${length} bytes`,
        );
        throw this.problem;
      }
    };
    return response.body.pipeThrough(
      new TransformStream({
        transform: (chunk, controller) => {
          length += chunk.length;
          this.done += chunk.length;
          if (length > size) check();
          this.report(this.done, this.total);
          controller.enqueue(chunk);
        },
        flush: check,
      }),
    );
  }
}

/** The chunks of a stream; not every browser can iterate one itself. */
async function* chunks(stream) {
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}
