// Asking for an answer, and putting it where the last one was.

const form = document.querySelector("#state");
const status = document.querySelector("#status");
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let asking = null;

/** The address of the form as it stands, with what the button adds that was pressed. */
export function stateUrl(button = null) {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form, button)) {
    if (value.trim()) query.append(name, value);
  }
  return `/?${query}`;
}

/** Ask again: something in the form has changed. */
export const refresh = () => show(stateUrl());

/** Say something to those who do not see the page. */
export function announce(text) {
  status.textContent = text;
}

/**
 * Show the page at an address, or that a posted body leads to. What is asked for meanwhile takes the
 * place of what is not yet there. With `push` the last answer stays one step back in the history;
 * without `keep` the address is the browser's own and stays.
 */
export async function show(url, { body, push = false, keep = true } = {}) {
  asking?.abort();
  const mine = (asking = new AbortController());
  document.querySelector("#answer").setAttribute("aria-busy", "true");
  try {
    const response = await fetch(url, { method: body ? "POST" : "GET", body, signal: mine.signal });
    const page = await pageOf(response);
    const problem = page.querySelector("#problem .problem");
    if (problem && keep) {
      tell(problem.textContent.trim());
      return;
    }
    const query = page.querySelector("#state").dataset.query;
    if (keep) history[push ? "pushState" : "replaceState"](null, "", query ? `/?${query}` : "/");
    put(page, !keep);
  } catch (error) {
    if (!mine.signal.aborted) tell(error instanceof TypeError ? "There is no answer: is the network there?" : error.message);
  } finally {
    if (asking === mine) document.querySelector("#answer").removeAttribute("aria-busy");
  }
}

/** Say on the page what went wrong. */
export function tell(text) {
  const place = document.querySelector("#problem");
  const line = document.createElement("p");
  line.className = "problem";
  line.setAttribute("role", "alert");
  line.innerHTML = '<svg><use href="#i-alert"/></svg><span></span>';
  line.lastElementChild.textContent = text;
  place.replaceChildren(line);
  place.scrollIntoView({ block: "nearest" });
}

async function pageOf(response) {
  const text = await response.text();
  if (response.headers.get("Content-Type")?.startsWith("text/html")) {
    return new DOMParser().parseFromString(text, "text/html");
  }
  const isProblem = response.headers.get("Content-Type")?.includes("json");
  throw new Error(isProblem ? JSON.parse(text).detail : "The service cannot answer now: try again later.");
}

function put(page, whole) {
  const focused = document.activeElement?.id;
  const places = new Map(cards().map((card) => [card.id, card.getBoundingClientRect()]));
  const open = cards().filter((card) => card.querySelector("details")?.open).map((card) => card.id);
  document.title = page.title;
  if (whole || sceneOf(document) !== sceneOf(page)) {
    document.querySelector("main").replaceWith(page.querySelector("main"));
    document.querySelector(".actions").replaceWith(page.querySelector(".actions"));
    scrollTo(0, 0);
  } else {
    for (const old of document.querySelectorAll("[data-live]")) replace(old.id, page);
  }
  for (const id of open) document.getElementById(id)?.querySelector("details")?.setAttribute("open", "");
  if (focused && !document.activeElement?.id) {
    (document.getElementById(focused) ?? document.querySelector("#answer")).focus({ preventScroll: true });
  }
  if (!calm.matches) glide(places);
  announce(page.querySelector("#status").textContent);
  document.dispatchEvent(new Event("answer"));
}

function replace(id, page) {
  document.getElementById(id).replaceWith(page.getElementById(id));
}

const cards = () => [...document.querySelectorAll(".card")];
const sceneOf = (page) => page.querySelector("#state [name=scene]")?.value;

/** Let cards glide from where they were, so that the eye follows what moved. */
function glide(places) {
  for (const card of cards()) {
    const to = card.getBoundingClientRect();
    const from = places.get(card.id);
    if (!from) card.animate([{ opacity: 0 }, { opacity: 1 }], 250);
    else if (from.x !== to.x || from.y !== to.y) {
      const start = `translate(${from.x - to.x}px, ${from.y - to.y}px)`;
      card.animate([{ transform: start }, { transform: "none" }], { duration: 350, easing: "ease" });
    }
  }
}
