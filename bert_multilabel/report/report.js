"use strict";

// A click on a column's header sorts the rows by it, once more the other way round; what has no value stays last.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const header = button.closest("th");
    const descending = header.getAttribute("aria-sort") !== "descending";
    for (const other of header.parentElement.children) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const body = header.closest("table").tBodies[0];
    const isText = header.dataset.type === "text";
    const valueOf = (row) => row.cells[header.cellIndex].dataset.value;
    const compare = (one, other) => {
      if (one === "" || other === "") return (one === "") - (other === "");
      return (isText ? other.localeCompare(one) : other - one) * (descending ? 1 : -1);
    };
    body.append(...[...body.rows].sort((one, other) => compare(valueOf(one), valueOf(other))));
  });
}

// A label that is chosen, in the list or by its name in the table, shows its charts.
const chooser = document.getElementById("chooser");
const show = () => {
  const parts = document.getElementById(`label-${chooser.value}`).content.cloneNode(true);
  for (const part of [...parts.children]) document.getElementById(part.dataset.place).replaceChildren(...part.childNodes);
};
chooser.addEventListener("change", show);
chooser.disabled = false;
show(); // what a browser restores on going back
for (const button of document.querySelectorAll("button[data-label]")) {
  button.addEventListener("click", () => {
    chooser.value = button.dataset.label;
    show();
    document.getElementById("label").scrollIntoView();
  });
}
