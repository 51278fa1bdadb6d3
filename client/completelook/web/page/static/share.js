// Sharing: the scene is kept for good, and its address, which holds all that was chosen, is handed on.
import { announce } from "./answer.js";

async function share(button) {
  const kept = await fetch(`/v1/scenes/${button.dataset.scene}`, { method: "PUT" });
  const told = document.querySelector("#link-told");
  const address = document.querySelector("#address");
  address.value = location.href;
  if (!kept.ok) {
    told.textContent = "The photo could not be kept: the link works for as long as the service remembers it.";
  } else {
    told.textContent = await copied(location.href) ? "Copied. Whoever opens it sees your photo and this answer." : "Copy it: whoever opens it sees your photo and this answer.";
  }
  document.querySelector("#link").showModal();
  address.select();
  announce(told.textContent);
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // Not over plain HTTP from another machine, and not where it is denied.
    return false;
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("#share");
  if (button) share(button);
});
