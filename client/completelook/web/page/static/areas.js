// Areas of the photo that alone count, or do not count: drawn on it, or moved by the arrow keys.
import { announce, refresh } from "./answer.js";

const STEP = 0.02;
const LEAST = 0.02; // of the photo's side; a tap is no area
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const MEANS = { focus: "Look here", ignore: "Ignore this" };
const within = (value, least, most) => Math.min(Math.max(value, least), most);
let tool = null;
let waiting = 0;

const photo = () => document.querySelector("#stage .photo");
const boxOf = (area) => area.querySelector("input").value.split(",").map(Number);

function setBox(area, box) {
  area.querySelector("input").value = box.map((each) => Number(each.toFixed(4))).join(",");
  layOut(area);
}

function layOut(area) {
  const [left, top, right, bottom] = boxOf(area).map((each) => each * 100);
  Object.assign(area.style, {
    left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%`,
  });
  const [from, to, above, below] = [left, right, top, bottom].map(Math.round);
  const where = `${from} to ${to} percent across, ${above} to ${below} percent down`;
  area.setAttribute("aria-label", `${MEANS[area.dataset.kind]}: ${where}`);
}

function added(kind, box) {
  const area = document.querySelector("#area").content.firstElementChild.cloneNode(true);
  area.dataset.kind = kind;
  area.querySelector("input").name = kind;
  document.querySelector("#areas").append(area);
  setBox(area, box);
  return area;
}

function choose(chosen) {
  tool = chosen;
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
  }
  photo()?.classList.toggle("is-drawing", tool !== null);
  document.querySelector("#stage")?.classList.toggle("uses-tool", tool !== null);
}

function takeAway(area) {
  const button = document.querySelector(`[data-tool=${area.dataset.kind}]`);
  area.remove();
  button.focus({ preventScroll: true });
  refresh();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-tool]");
  const remove = event.target.closest(".remove");
  if (remove) takeAway(remove.closest(".area"));
  if (!button) return;
  if (event.detail) {
    choose(button.dataset.tool === tool ? null : button.dataset.tool);
  } else { // Pressed by a key.
    added(button.dataset.tool, [0.3, 0.3, 0.7, 0.7]).focus();
    refresh();
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") choose(null);
  const area = event.target.closest?.(".area");
  if (!area) return;
  if (event.key === "Delete" || event.key === "Backspace") takeAway(area);
  const [across, down] = ARROWS[event.key] ?? [];
  if (across === undefined) return;
  event.preventDefault();
  const [left, top, right, bottom] = boxOf(area);
  if (event.shiftKey) {
    setBox(area, [
      left, top, within(right + across * STEP, left + STEP, 1), within(bottom + down * STEP, top + STEP, 1),
    ]);
  } else {
    const x = within(across * STEP, -left, 1 - right);
    const y = within(down * STEP, -top, 1 - bottom);
    setBox(area, [left + x, top + y, right + x, bottom + y]);
  }
  announce(area.getAttribute("aria-label"));
  clearTimeout(waiting);
  waiting = setTimeout(refresh, 150);
});

document.addEventListener("pointerdown", (event) => {
  const under = event.target.closest?.("#stage .photo");
  if (!tool || !under || event.button || event.target.closest(".remove")) return;
  event.preventDefault();
  const edges = under.getBoundingClientRect();
  const at = ({ clientX, clientY }) => [
    within((clientX - edges.left) / edges.width, 0, 1), within((clientY - edges.top) / edges.height, 0, 1),
  ];
  const [x0, y0] = at(event);
  const area = added(tool, [x0, y0, x0, y0]);
  const move = (moved) => {
    const [x, y] = at(moved);
    setBox(area, [Math.min(x0, x), Math.min(y0, y), Math.max(x0, x), Math.max(y0, y)]);
  };
  const end = (ended) => {
    removeEventListener("pointermove", move);
    removeEventListener("pointerup", end);
    removeEventListener("pointercancel", end);
    const [left, top, right, bottom] = boxOf(area);
    if (ended.type === "pointercancel" || right - left < LEAST || bottom - top < LEAST) area.remove();
    else refresh();
  };
  addEventListener("pointermove", move);
  addEventListener("pointerup", end);
  addEventListener("pointercancel", end);
});

function drawAll() {
  document.querySelectorAll("#areas .area").forEach(layOut);
  choose(tool);
}

document.addEventListener("answer", drawAll);
drawAll();
