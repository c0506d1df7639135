"""Open the bundle in a real headless Chromium and demand that the machine lives.

Inputs   /src/recipe/server.py   serves the bundle, on loopback: there is no other network
         /deps/bundle            the site
         /src/machine.json       the checks: commands and what they must print
Outputs  /out/verdict.json       what was checked, always the same for the same bundle
         /out/screenshot.png

Measured times go to the log. If a check fails, so do the page's state, the terminal's text and the
browser's console, and nothing is written to verdict.json.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

START_TIMEOUT = 180.0  # seconds from opening the page to a prompt
COMMAND_TIMEOUT = 60.0  # seconds for the guest to answer a command
BOOT_MESSAGES = ("Linux version", "Booting", "SeaBIOS", "Command line:")
CLOCK_SECONDS = 10.0  # how long the guest's clock is watched
CLOCK_TOLERANCE = 0.2  # of the rate, which should be 1
# Prints the guest's clock every other second. Only the shell itself runs, so that each line is
# late by the same little, and differences are exact.
CLOCK_COMMAND = "for i in 1 2 3 4 5 6 7 8; do read t x </proc/uptime; echo t=$t; sleep 2; done"
CLOCK_WATCH = """
  window.clockSamples = [];
  const seen = new Set();
  setInterval(() => {
    for (const [line] of thaw.text().matchAll(/^t=\\d+\\.\\d+$/gm)) {
      if (seen.has(line)) continue;
      seen.add(line);
      clockSamples.push([performance.now() / 1000, Number(line.slice(2))]);
    }
  }, 20);
"""
# No GPU, no first-run pages, and no attempt to reach a network that is not there.
CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1000,700",
    "--user-data-dir=/tmp/profile",
)


class CheckFailed(Exception):
    """A demand that the bundle does not meet."""


class Page:
    """The open page, seen through WebDriver."""

    def __init__(self, driver: webdriver.Chrome, prompt: str) -> None:
        self.driver = driver
        self.prompt = prompt.rstrip()

    def script(self, text: str) -> Any:
        return self.driver.execute_script(text)

    @property
    def state(self) -> str:
        return str(self.script("return document.documentElement.dataset.state"))

    def text(self) -> str:
        return str(self.script("return globalThis.thaw ? thaw.text() : ''"))

    def wait(self, seconds: float, what: str, done: Callable[[], bool]) -> None:
        try:
            WebDriverWait(self.driver, seconds, poll_frequency=0.05).until(lambda _: done())
        except TimeoutException:
            raise CheckFailed(f"{what}: not within {seconds:.0f} s") from None

    def wait_until_running(self) -> None:
        self.wait(START_TIMEOUT, "prompt", lambda: self.state in ("running", "error"))
        if self.state == "error":
            problem = self.driver.find_element(By.ID, "problem").text
            raise CheckFailed(f"the page reports: {problem}")

    def type(self, command: str) -> None:
        """Press the keys of a command line, as a user would, into the terminal's own input."""
        terminal = self.driver.find_element(By.CSS_SELECTOR, ".xterm-helper-textarea")
        terminal.send_keys(command, Keys.ENTER)

    def run(self, command: str, seconds: float = COMMAND_TIMEOUT) -> str:
        """What a command prints: the lines between its echo and the next prompt."""
        # The guest's shell breaks long lines where it believes the screen ends.
        echo = re.compile("\n?".join(map(re.escape, f"{self.prompt} {command}")))
        before = len(echo.findall(self.text()))

        def answered() -> bool:
            text = self.text()
            return len(echo.findall(text)) > before and text.endswith("\n" + self.prompt)

        self.type(command)
        self.wait(seconds, f"answer to `{command}`", answered)
        return echo.split(self.text())[-1].removesuffix(self.prompt).strip("\n")


def check_commands(page: Page, machine: dict[str, Any]) -> list[str]:
    """Each check of the machine prints what it must; the names of the checks made."""
    names = []
    for check in machine["checks"]:
        start = time.monotonic()
        output = page.run(check["run"])
        if output != check["expect"]:
            raise CheckFailed(f"`{check['run']}` printed {output!r}, not {check['expect']!r}")
        print(f"`{check['run']}` answered in {time.monotonic() - start:.2f} s")
        names.append(f"`{check['run']}` prints {check['expect']!r}")
    return names


def check_no_boot(page: Page) -> None:
    found = [message for message in BOOT_MESSAGES if message in page.text()]
    if found:
        raise CheckFailed(f"the terminal shows boot messages ({', '.join(found)}): not a resume")


def check_clock(page: Page) -> None:
    """The guest's clock keeps time with the browser's."""
    page.script(CLOCK_WATCH)
    page.run(CLOCK_COMMAND, seconds=COMMAND_TIMEOUT + 10 * CLOCK_SECONDS)
    samples = page.script("return clockSamples")
    wall_start, guest_start = samples[0]
    later = [sample for sample in samples if sample[0] - wall_start >= CLOCK_SECONDS]
    if not later:
        raise CheckFailed(f"the guest's clock ran too fast to be measured: {samples}")
    wall, guest = later[0][0] - wall_start, later[0][1] - guest_start
    print(f"guest clock: {guest:.2f} s in {wall:.2f} s, rate {guest / wall:.3f}")
    if abs(guest / wall - 1) > CLOCK_TOLERANCE:
        raise CheckFailed(f"the guest's clock advanced {guest:.2f} s in {wall:.2f} s of real time")


def check_cold_boot(page: Page, url: str) -> None:
    """The same bundle also boots from the kernel, and then knows nothing of the snapshot."""
    page.driver.get(f"{url}?cold")
    page.wait_until_running()
    print(f"cold boot: {page.script('return performance.now()') / 1000:.1f} s to the prompt")
    if BOOT_MESSAGES[0] not in page.text():
        raise CheckFailed(f"?cold: no {BOOT_MESSAGES[0]!r} in the terminal: not a boot")
    left = page.run("ls /tmp")
    if left:
        raise CheckFailed(f"?cold: /tmp has {left!r}: not a machine that was just booted")


def verify(page: Page, url: str, machine: dict[str, Any]) -> list[str]:
    """Make every check, in order; the names of those that hold, which is all of them."""
    page.driver.get(url)
    page.wait_until_running()
    for mark in page.script("return performance.getEntriesByType('mark').map(m => m.toJSON())"):
        print(f"{mark['name'].removeprefix('thaw:')}: {mark['startTime'] / 1000:.2f} s after load")
    if not page.script("return crossOriginIsolated"):
        raise CheckFailed("the page is not cross-origin isolated")
    names = ["the page is cross-origin isolated", "the prompt answers"]
    names += check_commands(page, machine)
    page.driver.save_screenshot("/out/screenshot.png")
    check_clock(page)
    names.append("the guest's clock keeps time")
    check_no_boot(page)
    names.append("the terminal shows no boot messages")
    check_cold_boot(page, url)
    names.append("?cold boots from the kernel")
    return names


def report(page: Page, error: Exception) -> None:
    """Say what failed, and all there is to see of it."""
    print(f"verify: {error}", file=sys.stderr)
    try:
        print(f"page state: {page.state}\nterminal:\n{page.text()}\nconsole:", file=sys.stderr)
        for entry in page.driver.get_log("browser"):
            print(f"  {entry['level']}: {entry['message']}", file=sys.stderr)
        page.driver.save_screenshot("/out/screenshot.png")
    except WebDriverException as lost:
        print(f"and the browser no longer answers: {lost.msg}", file=sys.stderr)


def browser(*more_flags: str) -> webdriver.Chrome:
    """A new headless Chromium. Use it in a `with` statement, which ends it."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/lib/chromium/chromium"  # not the wrapper, which adds flags
    for flag in (*CHROMIUM_FLAGS, *more_flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = Service("/usr/bin/chromedriver", log_output=subprocess.DEVNULL)
    return webdriver.Chrome(options=options, service=service)


@contextmanager
def served(directory: str) -> Iterator[str]:
    """The URL of the directory, which is served as long as the context lasts."""
    command = [sys.executable, "/src/recipe/server.py", directory, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def main() -> None:
    machine = json.loads(Path("/src/machine.json").read_text())
    with served("/deps/bundle") as url, browser() as driver:
        page = Page(driver, machine["prompt"])
        try:
            names = verify(page, url, machine)
        except (CheckFailed, WebDriverException) as error:
            report(page, error)
            sys.exit(1)
    verdict = {"machine": machine["name"], "passed": names}
    Path("/out/verdict.json").write_text(json.dumps(verdict, indent=1) + "\n")
    print(*names, sep="\n")


if __name__ == "__main__":
    main()
