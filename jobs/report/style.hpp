// The report's style sheet: light, dark and print. Colours are Okabe and Ito's, which colour-blind readers
// tell apart.
#pragma once

namespace espalier::jobs {

constexpr const char* report_style =
    R"(:root { color-scheme: light dark; --page: #fff; --ink: #222; --dim: #666; --rule: #ddd; --head: #f4f4f4;
  --mark: #fff0b3; --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #cc79a7; --c4: #e69f00; --c5: #56b4e9;
  --c6: #7a5c00; --c7: #555; }
@media (prefers-color-scheme: dark) { :root { --page: #16181c; --ink: #e3e3e3; --dim: #9aa0a6; --rule: #34383f;
  --head: #1f2227; --mark: #574500; --c0: #4aa8e0; --c1: #f08a3c; --c2: #33c79b; --c3: #e39ac4; --c4: #f0b429;
  --c5: #8fd0f5; --c6: #c9a227; --c7: #aaa; } }
body { background: var(--page); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; margin: 2em auto;
  max-width: 1220px; padding: 0 1.2em; }
h1 { font-size: 1.5em; margin: 0 0 .4em; } h2 { font-size: 1.15em; margin: 1.8em 0 .6em; }
.legend { display: flex; flex-wrap: wrap; gap: .2em 1.6em; }
.swatch { width: 22px; height: 6px; margin-right: .5em; vertical-align: middle; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86em; }
th, td { border-bottom: 1px solid var(--rule); padding: .28em .8em .28em 0; text-align: left; vertical-align: top; }
thead th { background: var(--head); font-weight: 600; } tbody th { font-weight: 400; white-space: nowrap; }
th:first-child { padding-left: .5em; }
.figures td { font-variant-numeric: tabular-nums; white-space: nowrap; }
.comparison td { overflow-wrap: anywhere; max-width: 34em; }
mark { background: var(--mark); color: inherit; padding: 0 .25em; }
.bar { display: inline-block; height: .7em; background: currentColor; }
label { margin: 0 1.2em 0 .2em; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 1em; margin-top: .8em; }
figure { margin: 0; } figure svg { width: 100%; height: auto; }
figure text { font: 11px system-ui, sans-serif; fill: var(--dim); }
figure .title { font-size: 13px; font-weight: 600; fill: var(--ink); }
.grid { stroke: var(--rule); fill: none; }
.line { fill: none; stroke: currentColor; } .line circle { fill: currentColor; stroke: none; }
.bold { stroke-width: 1.8; } .faint { stroke-width: 1; opacity: .35; }
.c0 { color: var(--c0); } .c1 { color: var(--c1); } .c2 { color: var(--c2); } .c3 { color: var(--c3); }
.c4 { color: var(--c4); } .c5 { color: var(--c5); } .c6 { color: var(--c6); } .c7 { color: var(--c7); }
#steps:checked ~ .by-token, #tokens:checked ~ .by-step { display: none; }
footer { color: var(--dim); font-size: .8em; margin-top: 2em; }
@media print { body { margin: 0; max-width: none; font-size: 11px; } input, label { display: none; }
  .charts { display: grid !important; grid-template-columns: 1fr 1fr; } figure, tr { break-inside: avoid; }
  .scroll { overflow: visible; } .bar { print-color-adjust: exact; } }
)";

}  // namespace espalier::jobs
