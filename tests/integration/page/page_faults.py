"""Break the bundle, the server and the browser in every way the page claims to explain.

Runs where web/recipes/verify.py runs (the browser toolchain, no network), on a bundle whose QEMU
is fake_guest.c. Inputs: /src/recipe/{verify,server}.py and this file, /deps/bundle. Output:
/out/report with a line per case. Fails if a message is not the one a person needs.
"""

import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, "/src/recipe")

import server
from verify import CheckFailed, Page, browser

PROMPT = "~ # "
ISOLATION = dict(server.HEADERS)
NO_MEMORY = """
  WebAssembly.Memory = class { constructor() { throw new RangeError("could not allocate memory") } }
"""


@contextmanager
def site(change: Callable[[Path], object], isolated: bool = True) -> Iterator[int]:
    """The port of a server of a changed copy of the bundle."""
    root = Path("/build/site")
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree("/deps/bundle", root, copy_function=shutil.copyfile)  # writable
    change(root)
    server.HEADERS.clear()
    server.HEADERS.update(ISOLATION if isolated else {"Cache-Control": "no-cache"})
    with server.bind(root, 0) as bound:
        threading.Thread(target=bound.serve_forever, daemon=True).start()
        try:
            yield bound.server_port
        finally:
            bound.shutdown()


def unchanged(root: Path) -> None:
    """The bundle as it is."""


def without(name: str) -> Callable[[Path], object]:
    return lambda root: (root / name).unlink()


def cut(root: Path) -> None:
    with (root / "pack.data").open("r+b") as file:
        file.truncate(1000)


def garble(root: Path) -> None:
    file = root / "qemu-system-x86_64.wasm"
    file.write_bytes(b"not wasm" + bytes(file.stat().st_size - 8))


def explains(page: Page, words: str) -> None:
    """The page ends in an error that has these words."""
    page.wait(20, "error", lambda: page.state == "error")
    shown = str(page.script("return document.body.innerText"))
    if words not in shown:
        raise CheckFailed(f"expected {words!r} on the page, found:\n{shown}")


def missing_files(page: Page) -> None:
    for name in (
        "qemu-system-x86_64.wasm",
        "qemu-system-x86_64.js",
        "pack.data",
        "load.js",
        "machine.json",
        "terminal.js",
        "vendor/xterm.js",
        "vendor/xterm-pty.js",
    ):
        with site(without(name)) as port:
            page.driver.get(f"http://127.0.0.1:{port}/")
            explains(page, f"{name} is missing: the server answered 404")
    with site(without("main.js")) as port:
        page.driver.get(f"http://127.0.0.1:{port}/")
        explains(page, "main.js is missing")


def damaged_files(page: Page) -> None:
    with site(cut) as port:
        page.driver.get(f"http://127.0.0.1:{port}/")
        explains(page, "pack.data is not the file that belongs here")
    with site(garble) as port:
        page.driver.get(f"http://127.0.0.1:{port}/")
        explains(page, "This browser cannot run this build of QEMU")


def no_isolation(page: Page) -> None:
    with site(without("isolation-worker.js"), isolated=False) as port:
        page.driver.get(f"http://127.0.0.1:{port}/")
        explains(page, "Cross-Origin-Embedder-Policy: require-corp")
    with site(unchanged) as port:
        page.driver.get(f"http://insecure.test:{port}/")
        explains(page, "Open this page over https")


def isolates_itself(page: Page) -> None:
    with site(unchanged, isolated=False) as port:
        page.driver.get(f"http://127.0.0.1:{port}/")
        page.wait(20, "reload", lambda: bool(page.script("return crossOriginIsolated")))
        page.wait_until_running()
        page.driver.get(f"http://127.0.0.1:{port}/")  # and again, now that the worker is there
        page.wait_until_running()


def memory_refused(page: Page) -> None:
    added = page.driver.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": NO_MEMORY}
    )
    with site(unchanged) as port:
        page.driver.get(f"http://127.0.0.1:{port}/")
        explains(page, "The browser refused the memory")
    page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def qemu_stops(page: Page) -> None:
    with site(unchanged) as port:
        for command, words in (("exit", "QEMU has ended, with status 3"), ("crash", "crashed")):
            page.driver.get(f"http://127.0.0.1:{port}/")
            page.wait_until_running()
            page.type(command)
            explains(page, words)


def cold_boot(page: Page) -> None:
    with site(unchanged) as port:
        page.driver.get(f"http://127.0.0.1:{port}/?cold")
        page.wait_until_running()
        if "Linux version" not in page.text():
            raise CheckFailed(f"?cold did not boot: {page.text()!r}")


def one_prompt(page: Page) -> None:
    """After a resume there is one prompt, at the top, and what is typed has an effect."""
    with site(unchanged) as port:
        page.driver.get(f"http://127.0.0.1:{port}/")
        page.wait_until_running()
        if page.text() != PROMPT.strip():
            raise CheckFailed(f"more than a prompt: {page.text()!r}")
        if page.run("cat /pack/vm.state") != "state":
            raise CheckFailed("the pack is not in the machine's /pack/")


CASES = (
    one_prompt,
    cold_boot,
    missing_files,
    damaged_files,
    memory_refused,
    qemu_stops,
    isolates_itself,
    no_isolation,
)


def main() -> None:
    with browser("--host-resolver-rules=MAP insecure.test 127.0.0.1") as driver:
        page = Page(driver, PROMPT)
        failed = []
        for case in CASES:
            try:
                case(page)
            except CheckFailed as error:
                failed.append(case.__name__)
                print(f"FAILED  {case.__name__}: {error}")
                for entry in driver.get_log("browser"):
                    print(f"        {entry['level']}: {entry['message']}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    Path("/out/report").write_text("".join(f"ok {case.__name__}\n" for case in CASES))


if __name__ == "__main__":
    main()
