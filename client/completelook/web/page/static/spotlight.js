// The spotlight: what in the photo speaks for a product stays bright, the rest goes dark.

const GRID = 14;
const DARKEST = 190; // of 255
const NINTHS = [
  "at the upper left", "at the top", "at the upper right", "on the left", "in the middle", "on the right",
  "at the lower left", "at the bottom", "at the lower right",
];
let held = null; // the card that was pressed, lit until another is

function light(card) {
  const canvas = document.querySelector("#spotlight");
  if (!card || !canvas) return dark();
  const map = Uint8Array.from(atob(card.dataset.map), (each) => each.charCodeAt(0)); // [196]
  const shade = new ImageData(GRID, GRID);
  // By the root: what speaks a quarter as loud as the loudest is half as bright, and can be seen.
  map.forEach((value, region) => { shade.data[4 * region + 3] = DARKEST * (1 - Math.sqrt(value / 255)); });
  const small = new OffscreenCanvas(GRID, GRID);
  small.getContext("2d").putImageData(shade, 0, 0);
  const drawn = canvas.getContext("2d");
  drawn.clearRect(0, 0, canvas.width, canvas.height);
  drawn.imageSmoothingQuality = "high";
  drawn.drawImage(small, 0, 0, canvas.width, canvas.height);
  canvas.parentElement.classList.add("is-lit");
  const told = document.querySelector("#lit");
  told.textContent = `What speaks for ${card.dataset.name}: ${brightest(map)}`;
  told.hidden = false;
}

function dark() {
  document.querySelector(".is-lit")?.classList.remove("is-lit");
  const told = document.querySelector("#lit");
  if (told) told.hidden = true;
}

/** In words, which ninth of the photo says most. */
function brightest(map) {
  const sums = Array(9).fill(0);
  map.forEach((value, region) => {
    const [row, column] = [Math.floor(region / GRID), region % GRID];
    sums[3 * Math.floor((3 * row) / GRID) + Math.floor((3 * column) / GRID)] += value;
  });
  const most = Math.max(...sums);
  if (!most) return "nothing in the photo";
  return `above all what is ${NINTHS[sums.indexOf(most)]}`;
}

function hold(card) {
  held?.classList.remove("is-shown");
  held = card === held ? null : card;
  held?.classList.add("is-shown");
  light(held);
}

const cardAt = (event) => event.target.closest?.(".card");

document.addEventListener("pointerover", (event) => {
  if (event.pointerType === "mouse") light(cardAt(event) ?? held);
});
document.addEventListener("focusin", (event) => light(cardAt(event) ?? held));
document.addEventListener("focusout", () => light(held));
document.addEventListener("click", (event) => {
  if (event.target.closest(".show")) hold(cardAt(event));
});
document.addEventListener("answer", () => {
  const again = held && document.getElementById(held.id);
  held = null;
  if (again) hold(again);
  else dark();
});
