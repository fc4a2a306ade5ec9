"""How the page looks, and the few lines that sort its tables. No outside file, font or script."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fdfcfa; --panel: #ffffff; --ink: #1d1f21; --soft: #61656b; --faint: #8c9097;
  --rule: #e4e1dc; --hair: #efede9; --accent: #1f5f99; --warm: #b4551d; --ref: #c9a227;
  --band: #f5f3ef;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181b; --panel: #1b1e22; --ink: #e6e4e0; --soft: #a3a7ad; --faint: #7d828a;
    --rule: #33373d; --hair: #272b30; --accent: #7fb6ea; --warm: #ec9a62; --ref: #d9b94a;
    --band: #20242a;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue",
    "Liberation Sans", Arial, sans-serif;
}
main { max-width: 1320px; margin: 0 auto; padding: 40px 32px 64px; }
h1, h2, h3 { line-height: 1.2; font-weight: 600; letter-spacing: -0.01em; text-wrap: balance; }
h1 { font-size: 27px; margin: 0 0 6px; }
h2 { font-size: 22px; margin: 56px 0 4px; }
h3 { font-size: 15px; margin: 36px 0 4px; }
p { margin: 0 0 10px; max-width: 74ch; }
.lede { color: var(--soft); margin-bottom: 20px; }
.small, figcaption { color: var(--soft); font-size: 13px; max-width: 90ch; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
code { font-size: 0.92em; }
pre {
  margin: 8px 0 0; padding: 12px 14px; background: var(--band); border-radius: 4px;
  font-size: 12.5px; line-height: 1.55; white-space: pre-wrap; overflow-wrap: anywhere;
}
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 16px 0 0; font-size: 14px; }
a { color: var(--accent); text-underline-offset: 3px; text-decoration-thickness: 1px; }
.facts {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(168px, 1fr)); gap: 12px 24px;
  margin: 18px 0 0; padding: 14px 0; border: solid var(--rule); border-width: 1px 0;
}
.facts dt { color: var(--soft); font-size: 12px; }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.warn { border-left: 3px solid var(--warm); padding: 2px 0 2px 12px; margin: 16px 0; }
details { margin: 10px 0; }
summary { cursor: pointer; color: var(--soft); font-size: 13px; }
ul.plain {
  margin: 6px 0; padding-left: 18px; max-width: 90ch; font-size: 13px; color: var(--soft);
}
.read { columns: 2; column-gap: 40px; margin: 10px 0 0; font-size: 14px; max-width: 1100px; }
.read p { break-inside: avoid; }

.scroll { overflow-x: auto; margin: 12px 0 0; -webkit-overflow-scrolling: touch; }
table {
  border-collapse: separate; border-spacing: 0; font-size: 13px;
  font-variant-numeric: tabular-nums lining-nums;
}
th, td { padding: 3px 13px 3px 0; text-align: right; white-space: nowrap; vertical-align: middle; }
th:first-child, td:first-child {
  text-align: left; position: sticky; left: 0; background: var(--paper); z-index: 1;
}
td:first-child { padding-right: 16px; }
th:last-child, td:last-child { padding-right: 2px; }
thead th {
  color: var(--soft); font-weight: 500; vertical-align: bottom; padding-bottom: 6px;
  border-bottom: 1px solid var(--ink); line-height: 1.25;
}
thead button {
  all: unset; cursor: pointer; white-space: pre-line; border-radius: 2px;
}
thead button:hover { color: var(--ink); }
thead button:focus-visible, summary:focus-visible, a:focus-visible {
  outline: 2px solid var(--accent); outline-offset: 2px;
}
th[aria-sort] button { color: var(--accent); }
tbody td { border-bottom: 1px solid var(--hair); }
tbody tr:hover td { background: var(--band); }
tbody + tbody tr.group th { padding-top: 20px; }
tr.group th {
  text-align: left; font-weight: 600; color: var(--ink); border-bottom: 1px solid var(--rule);
  padding-top: 10px;
}
tr.group span { color: var(--soft); font-weight: 400; margin-left: 4px; }
.cell { display: inline-flex; align-items: center; gap: 8px; justify-content: flex-end; }
th .cell { align-items: flex-end; }
td .cell:has(.small) {
  display: inline-flex; flex-direction: column-reverse; align-items: flex-end; gap: 0;
  line-height: 1.15;
}
td.best { color: var(--accent); font-weight: 650; }
td .cell > span, th .cell > button { position: relative; min-width: 48px; text-align: right; }
td.best .cell > span::before { content: "\\2022"; position: absolute; left: -4px; }
td.best .cell:has(.small) > span::before { left: auto; right: 100%; margin-right: 3px; }
td .cell:has(.small) > span { min-width: 0; }
td.text { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 220px; }
td.none { color: var(--faint); }
.tag { color: var(--soft); font-size: 11.5px; }
table.heat td {
  text-align: center; padding: 4px 10px; min-width: 64px; border: 1px solid var(--paper);
}
table.heat td:first-child { text-align: left; min-width: 0; padding-left: 0; }
table.heat th { text-align: center; padding: 0 10px 6px; white-space: normal; }
table.heat th:first-child { text-align: left; padding-left: 0; }
table.heat td.t { background: color-mix(in srgb, var(--hue) calc(var(--t) * 70%), var(--paper)); }

svg { display: block; overflow: visible; }
svg text { font-size: 10.5px; fill: var(--soft); }
svg .t { font-size: 12.5px; font-weight: 600; fill: var(--ink); }
svg .c, svg .k { font-variant-numeric: tabular-nums; }
svg .e { text-anchor: end; } svg .m { text-anchor: middle; }
svg .on { fill: var(--ink); font-weight: 600; }
.axis { stroke: var(--faint); stroke-width: 1; opacity: 0.6; }
.grid { stroke: var(--hair); }
.ref { stroke: var(--ref); stroke-width: 1.4; }
.iv { stroke: var(--accent); stroke-width: 1.6; opacity: 0.6; }
.pt { fill: var(--accent); }
.size .iv, .random .iv, .ceiling .iv { stroke: var(--faint); }
.size .pt, .random .pt, .ceiling .pt, .pt.size { fill: var(--soft); }
.combination .iv, .learned .iv { stroke: var(--warm); }
.combination .pt, .learned .pt { fill: var(--warm); }
.pt.combination { fill: var(--paper); stroke: var(--warm); stroke-width: 2; }
.front { fill: none; stroke: var(--accent); stroke-width: 1; opacity: 0.45; }
.dots { stroke: var(--accent); stroke-width: 3; stroke-linecap: round; opacity: 0.42; fill: none; }
.base .dots { stroke: var(--soft); }
.pos { fill: var(--accent); } .neg { fill: var(--warm); } .none { fill: var(--hair); }
.many {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(208px, 1fr)); gap: 26px 28px;
  margin: 16px 0 0;
}
.many svg { width: 100%; height: auto; max-width: 300px; }
figure { margin: 12px 0 0; }
.wide > svg { max-width: 100%; height: auto; min-width: 640px; }
.fixed > svg { max-width: none; }
footer { margin-top: 64px; padding-top: 14px; border-top: 1px solid var(--rule); }
@media (max-width: 700px) {
  main { padding: 24px 16px 48px; }
  h1 { font-size: 23px; } h2 { font-size: 19px; }
  .read { columns: 1; }
  table.sort:not(.heat) tbody td:first-child {
    white-space: normal; overflow-wrap: anywhere; min-width: 104px; max-width: 104px;
  }
  .facts { grid-template-columns: repeat(auto-fill, minmax(136px, 1fr)); gap: 10px 16px; }
  .many { grid-template-columns: repeat(auto-fill, minmax(146px, 1fr)); gap: 18px 16px; }
  .many svg text { font-size: 13px; }
  .many svg .t { font-size: 15px; }
}
@media print { .scroll { overflow: visible; } thead button { pointer-events: none; } }
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sort")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const before = head.getAttribute("aria-sort");
    const first = head.dataset.first;
    const up = before ? before === "descending" : first === "up";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
      const value = (row) => row.cells[column].dataset.v;
      rows.sort((a, b) => {
        const x = value(a), y = value(b);
        if (x === "" || y === "") return (x === "") - (y === "");
        const order = column ? x - y : x.localeCompare(y);
        return up ? order : -order;
      });
      body.append(...rows);
    }
  }));
}
"""
