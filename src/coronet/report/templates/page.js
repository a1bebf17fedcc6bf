for (const head of document.querySelectorAll("th[data-sort]")) {
  head.addEventListener("click", () => {
    const body = head.closest("table").tBodies[0];
    const column = [...head.parentNode.children].indexOf(head);
    const falling = head.getAttribute("aria-sort") !== "descending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const order = (one, two) => {
      const [a, b] = [key(one), key(two)];
      const numeric = a !== "" && b !== "" && !isNaN(a) && !isNaN(b);
      return numeric ? a - b : a.localeCompare(b);
    };
    const rows = [...body.rows].sort(order);
    if (falling) rows.reverse();
    body.append(...rows);
  });
}
