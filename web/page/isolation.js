// For web servers that cannot send the isolation headers: a service worker that adds them.

const TRIED = "thaw-isolation-tried";

/**
 * Isolates the page if the server did not. Returns whether to go on: false when the page is about
 * to be reloaded, this time through the service worker. Tried once, so it cannot loop.
 */
export async function isolate() {
  try {
    if (crossOriginIsolated) {
      sessionStorage.removeItem(TRIED);
      return true;
    }
    if (!isSecureContext || !navigator.serviceWorker || sessionStorage.getItem(TRIED)) {
      return true;
    }
    await navigator.serviceWorker.register("isolation-worker.js");
    await navigator.serviceWorker.ready;
    sessionStorage.setItem(TRIED, "yes");
  } catch {
    return true; // storage or workers are blocked: checkBrowser says what the server has to send
  }
  location.reload();
  return false;
}
