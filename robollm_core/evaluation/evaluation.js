"use strict";
// Sorting and filtering; without it everything is there, in the order of the report.
(() => {
  const order = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  const compare = (a, b, numeric) =>
    numeric ? Number(a.dataset.sort) - Number(b.dataset.sort) : order.compare(a.textContent, b.textContent);

  // what has no value stands last, whichever way the rest is sorted
  const empty = (cell, numeric) => (numeric ? !("sort" in cell.dataset) : cell.textContent.trim() === "–");

  function sort(table, index) {
    const heads = [...table.tHead.rows[0].cells];
    const up = heads[index].getAttribute("aria-sort") !== "ascending";
    for (const head of heads) head.removeAttribute("aria-sort");
    heads[index].setAttribute("aria-sort", up ? "ascending" : "descending");
    const numeric = heads[index].classList.contains("number");
    const rows = [...table.tBodies[0].rows];
    const full = rows.filter((row) => !empty(row.cells[index], numeric));
    const bare = rows.filter((row) => empty(row.cells[index], numeric));
    full.sort((a, b) => (up ? 1 : -1) * compare(a.cells[index], b.cells[index], numeric));
    table.tBodies[0].append(...full, ...bare);
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => sort(table, index));
    });
  }

  function filter(controls, things, fits) {
    const text = controls.querySelector("input[type=search]");
    const told = controls.querySelector("output");
    const update = () => {
      const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const thing of things) {
        const content = thing.textContent.toLowerCase();
        thing.hidden = !(fits(thing) && words.every((word) => content.includes(word)));
        shown += thing.hidden ? 0 : 1;
      }
      told.value = `${shown} of ${things.length}`;
    };
    controls.hidden = false;
    controls.addEventListener("input", update);
    update();
  }

  for (const controls of document.querySelectorAll(".controls[data-for]")) {
    const place = document.getElementById(controls.dataset.for);
    const table = place.matches("table");
    const kind = () => controls.querySelector("input[type=radio]:checked")?.value ?? "";
    filter(
      controls,
      [...(table ? place.tBodies[0].rows : place.children)],
      (thing) => table || kind() === "" || thing.dataset.group === kind(),
    );
  }

  // what scrolls sideways can be reached with the keyboard
  function reach() {
    for (const place of document.querySelectorAll(".scroll, .plot")) {
      if (place.scrollWidth > place.clientWidth) {
        place.tabIndex = 0;
        place.setAttribute("role", "group");
      } else {
        place.removeAttribute("tabindex");
        place.removeAttribute("role");
      }
    }
  }
  addEventListener("resize", reach);
  reach();

  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const one of folded) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of folded) one.open = false;
  });
})();
