"use strict";
// The table of sites: rows open, are searched, filtered, ordered and folded. Without this script every row is there,
// the address of a site opens it, and the box below the table unfolds it: the style sheet does that.
{
  document.documentElement.classList.add("js");
  const table = document.getElementById("site-table");
  const body = table.tBodies[0];
  const search = document.getElementById("search");
  const filter = document.getElementById("filter");
  const order = document.getElementById("order");
  const openAll = document.getElementById("open-all");
  const found = document.getElementById("found");
  const showAll = document.getElementById("show-all");
  const shownAtFirst = Number(table.dataset.folded);

  const sites = [...body.querySelectorAll("tr.site")].map((row) => {
    const detail = row.nextElementSibling;
    const text = (row.textContent + " " + detail.querySelector("dl").textContent).toLowerCase();
    return { row, detail, link: row.querySelector("th a"), text };
  });
  const columns = new Map();

  // Which sites are shown, and in which order

  function valueOf(site, name) {
    const cell = site.row.cells[columns.get(name).cell];
    return cell.dataset.v ?? cell.textContent.replaceAll(",", "").trim();
  }

  function ordered(chosen) {
    const [name, direction] = chosen.split("|");
    if (!columns.has(name)) return sites;
    const turn = direction === "down" ? -1 : 1;
    const compare = columns.get(name).numeric
      ? (a, b) => a - b
      : (a, b) => a.localeCompare(b, "en", { numeric: true });
    return [...sites].sort((a, b) => turn * compare(valueOf(a, name), valueOf(b, name)));
  }

  function isFound(site) {
    const words = search.value.toLowerCase().split(/\s+/);
    const wanted = filter.value === "" || site.row.classList.contains(filter.value);
    return wanted && words.every((word) => site.text.includes(word));
  }

  function show() {
    let count = 0;
    for (const site of ordered(order.value)) {
      const hidden = !isFound(site);
      if (!hidden) count += 1;
      site.row.hidden = site.detail.hidden = hidden;
      site.row.classList.toggle("beyond", !hidden && count > shownAtFirst);
      body.append(site.row, site.detail);
    }
    for (const [name, { head }] of columns) {
      const [chosen, direction] = order.value.split("|");
      if (chosen === name) head.ariaSort = direction === "down" ? "descending" : "ascending";
      else head.ariaSort = null;
    }
    if (showAll) showAll.closest("label").hidden = count <= shownAtFirst;
    found.textContent = count === sites.length ? "" : `${count} of ${sites.length} sites`;
    sayWhatOpens();
  }

  for (const head of table.tHead.querySelectorAll("[data-cell]")) {
    const { cell, order: name, numeric } = head.dataset;
    columns.set(name, { head, cell, numeric: numeric !== undefined });
    const [up, down] = numeric === undefined ? ["from A", "from Z"] : ["smallest first", "largest first"];
    order.append(new Option(`${name}, ${up}`, name + "|up"), new Option(`${name}, ${down}`, name + "|down"));

    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.append(button);
    button.addEventListener("click", () => {
      const first = numeric === undefined ? "up" : "down";
      const other = first === "up" ? "down" : "up";
      order.value = name + "|" + (order.value === name + "|" + first ? other : first);
      show();
    });
  }
  search.addEventListener("input", show);
  filter.addEventListener("change", show);
  order.addEventListener("change", show);

  // Opening

  const isOpen = (site) => site.row.classList.contains("open");
  const visible = () => sites.filter((site) => site.row.offsetParent !== null);

  function setOpen(site, open) {
    site.row.classList.toggle("open", open);
    site.link.ariaExpanded = String(open);
  }

  function sayWhatOpens() {
    openAll.textContent = visible().every(isOpen) ? "Close all" : "Open all shown";
  }

  function setAddress(site) {
    try {
      history.replaceState(null, "", "#" + site.row.id);
    } catch {
      // A preview in a sandbox has no address of its own.
    }
  }

  function openAddressed() {
    const site = sites.find((one) => one.row.id === location.hash.slice(1));
    if (!site) return;
    if (site.row.hidden) {
      search.value = filter.value = "";
      show();
    }
    if (site.row.classList.contains("beyond")) showAll.checked = true;
    setOpen(site, true);
    sayWhatOpens();
    site.row.scrollIntoView();
  }

  for (const site of sites) {
    setOpen(site, false);
    site.link.addEventListener("click", (event) => {
      event.preventDefault();
      setOpen(site, !isOpen(site));
      if (isOpen(site)) setAddress(site);
      sayWhatOpens();
    });
  }
  openAll.addEventListener("click", () => {
    const open = !visible().every(isOpen);
    for (const site of visible()) setOpen(site, open);
    sayWhatOpens();
  });
  showAll?.addEventListener("change", sayWhatOpens);
  addEventListener("hashchange", openAddressed);
  addEventListener("click", (event) => {
    // A link to the site that the page is at already: the address stays, so nothing else tells of it.
    const link = event.target.closest("a[href^='#']");
    if (link && !body.contains(link) && link.hash === location.hash) openAddressed();
  });
  show();
  openAddressed();
}
