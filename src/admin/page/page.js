// Replaces the content with a new one every five seconds; says so when there is none to be had.
"use strict";
const lost = document.getElementById("lost");
async function refresh() {
  if (document.hidden || !document.getSelection().isCollapsed) return; // nobody looks, or somebody copies
  try {
    const answer = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(4000) });
    if (!answer.ok) throw new Error(answer.statusText);
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.getElementById("content").replaceWith(next.getElementById("content"));
    lost.hidden = true;
  } catch {
    lost.hidden = false;
  }
}
setInterval(refresh, 5000);
document.addEventListener("visibilitychange", refresh);
