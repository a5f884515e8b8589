"use strict";
// The map: its tiles are moved to where they are for another measure. All places were worked out with the report.
{
  const data = JSON.parse(document.getElementById("treemap-data").textContent);
  const map = document.getElementById("treemap");
  const tools = document.getElementById("map-tools");
  const tiles = [...map.querySelectorAll(".tile")];
  const parts = [...map.querySelectorAll(".part")];
  const names = tiles.map((tile) => tile.title.slice(0, tile.title.lastIndexOf(": ")) || tile.textContent);
  const sides = ["left", "top", "width", "height"];

  function place(element, box) {
    sides.forEach((side, index) => (element.style[side] = box[index] + "%"));
  }

  function draw() {
    const [measure, side] = [...tools.querySelectorAll(":checked")].map((radio) => radio.value);
    const { counts, word, [side]: layout } = data[measure];
    tiles.forEach((tile, index) => {
      const [before, after] = counts[index];
      const share = side === "after" ? 1 : before ? Math.min(after / before, 1) : 0;
      place(tile, layout.tiles[index]);
      tile.classList.toggle("grows", after > before);
      tile.firstElementChild.style.height = 100 * share + "%";
      tile.title = `${names[index]}: ${before.toLocaleString("en")} → ${after.toLocaleString("en")} ${word}`;
    });
    parts.forEach((stage, index) => place(stage, layout.parts[index]));
  }

  tools.addEventListener("change", draw);
}
