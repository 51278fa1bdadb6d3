// A photo comes by the file dialog, the camera, dropped, or pasted; and goes to the service.
import { announce, show, tell } from "./answer.js";

const MIB = 2 ** 20;

async function send(file) {
  const most = Number(document.querySelector("#upload").dataset.mostBytes);
  if (file.size > most) {
    tell(`This photo has ${(file.size / MIB).toFixed(1)} MiB; up to ${most / MIB} MiB can be taken. Save it smaller.`);
    return;
  }
  const preview = new Image();
  preview.className = "preview";
  preview.alt = "";
  preview.src = URL.createObjectURL(file);
  preview.onerror = () => preview.remove(); // A browser cannot draw all that the service can read.
  document.querySelector("#drop").append(preview);
  announce("Looking at your photo");
  const body = new FormData();
  body.append("image", file);
  await show(`/${location.search}`, { body, push: true });
  URL.revokeObjectURL(preview.src);
  preview.remove();
}

document.addEventListener("change", (event) => {
  if (event.target.type !== "file" || !event.target.files.length) return;
  send(event.target.files[0]);
  event.target.value = ""; // So that the same file can be chosen again.
});

document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
  if (file) send(file);
});

const brings = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragover", (event) => {
  if (!brings(event)) return;
  event.preventDefault();
  document.body.classList.add("dragged");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragged");
});
document.addEventListener("drop", (event) => {
  if (!brings(event)) return;
  event.preventDefault();
  document.body.classList.remove("dragged");
  if (event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
});
