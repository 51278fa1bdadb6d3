// The page holds its state in one form. Whatever changes there asks for the same page again, at the
// address that the form makes, and puts the answer in place of the last one.
import { refresh, show, stateUrl } from "./answer.js";
import "./areas.js";
import "./photo.js";
import "./picks.js";
import "./share.js";
import "./spotlight.js";

const form = document.querySelector("#state");

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const button = event.submitter;
  show(stateUrl(button), { push: button?.name === "tab" });
});

form.addEventListener("change", (event) => {
  if (event.target.form === form && event.target.name) refresh();
});

form.addEventListener("input", (event) => {
  if (event.target.id === "budget") {
    document.querySelector("#sum").value = Number(event.target.value).toLocaleString("en");
  }
});

form.addEventListener("click", (event) => {
  if (!event.target.closest("#any")) return;
  for (const field of document.querySelectorAll("#controls input, #controls select")) field.value = "";
  refresh();
});

// Tabs as the ARIA practices have them: the arrow keys go from one to the next and open it.
form.addEventListener("keydown", (event) => {
  const tab = event.target.closest("[role=tab]");
  if (!tab) return;
  const tabs = [...tab.parentElement.children];
  const at = tabs.indexOf(tab);
  const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  const chosen = tabs.at(next % tabs.length);
  chosen.focus();
  chosen.click();
});

/** The open tab is in sight, however many there are. */
function revealTab() {
  const tab = document.querySelector("[role=tab][aria-selected=true]");
  const list = tab?.parentElement;
  if (list) list.scrollLeft = tab.offsetLeft - list.offsetLeft - (list.clientWidth - tab.offsetWidth) / 2;
}
document.addEventListener("answer", revealTab);
revealTab();

addEventListener("popstate", () => show(location.href, { keep: false }));
