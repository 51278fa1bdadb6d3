// Picks: products that a person collects over many rooms. They stay in this browser.

const KEY = "completelook.picks";
const read = () => JSON.parse(localStorage.getItem(KEY) ?? "[]");
const isSame = (one, other) => one.scene === other.scene && one.id === other.id;
const scene = () => document.querySelector("#state [name=scene]")?.value;
const room = () => document.querySelector("#state [name=room]")?.value.trim() || "Unnamed";

function write(picks) {
  localStorage.setItem(KEY, JSON.stringify(picks));
  draw();
}

function toggle(card) {
  const pick = { ...JSON.parse(card.dataset.pick), scene: scene(), room: room(), link: location.href };
  const picks = read();
  const others = picks.filter((each) => !isSame(each, pick));
  write(others.length < picks.length ? others : [...picks, pick]);
}

function draw() {
  const picks = read();
  document.querySelector("#pick-count").textContent = picks.length;
  for (const button of document.querySelectorAll(".pick")) {
    const is = picks.some((each) => isSame(each, { scene: scene(), id: button.closest(".card").dataset.id }));
    button.setAttribute("aria-pressed", String(is));
    button.lastElementChild.textContent = is ? "Picked" : "Pick";
  }
  const rooms = Map.groupBy?.(picks, (each) => each.room) ?? new Map([["All", picks]]);
  document.querySelector("#picked").replaceChildren(...[...rooms].flatMap(([name, own]) => [
    made("h3", name), made("ul", own.map(line)),
  ]));
  document.querySelector("#no-picks").hidden = picks.length > 0;
  document.querySelector("#picks footer").hidden = picks.length === 0;
}

function line(pick) {
  const picture = made("img");
  picture.src = `${pick.picture}?side=160`;
  picture.alt = "";
  const remove = made("button", "Remove");
  remove.type = "button";
  remove.className = "plain";
  remove.setAttribute("aria-label", `Remove ${pick.name}`);
  remove.onclick = () => {
    write(read().filter((each) => !isSame(each, pick)));
    document.querySelector("#close-picks").focus();
  };
  return made("li", [picture, made("span", [pick.name, made("small", pick.price)]), remove]);
}

function made(tag, content = []) {
  const element = document.createElement(tag);
  element.append(...(Array.isArray(content) ? content : [content]));
  return element;
}

/** The picks as RFC 4180 has them, with the mark by which Excel knows UTF-8. */
export function asCsv(picks) {
  const own = ["room", "category", "id", "name", "price"];
  const columns = [...new Set(picks.flatMap((each) => Object.keys(each.columns)))];
  const rows = picks.map((each) => [
    ...own.map((name) => each[name]), ...columns.map((name) => each.columns[name] ?? ""), each.link,
  ]);
  // A spreadsheet runs a cell that begins so.
  const cell = (value) => `"${String(value).replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`;
  return "\ufeff" + [[...own, ...columns, "page"], ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

function save() {
  const link = made("a");
  link.href = URL.createObjectURL(new Blob([asCsv(read())], { type: "text/csv" }));
  link.download = "picks.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

document.addEventListener("click", (event) => {
  const pressed = (selector) => event.target.closest(selector);
  if (pressed(".pick")) toggle(pressed(".card"));
  if (pressed("#open-picks")) document.querySelector("#picks").showModal();
  if (pressed("#close-picks") || event.target.id === "picks") document.querySelector("#picks").close();
  if (pressed("#export")) save();
  if (pressed("#forget")) write([]);
});
document.addEventListener("answer", draw);
addEventListener("storage", draw); // Another tab picked something.
draw();
