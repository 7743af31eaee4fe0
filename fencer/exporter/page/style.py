# SPDX-License-Identifier: Apache-2.0
"""The page's style sheet: light and dark, phone and desk. No state is shown by colour alone; there is always a word."""

from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --paper: #fbfbf9; --card: #fff; --ink: #1c2024; --soft: #586069; --line: #dcdfe3;
  --good: #0b6b34; --good-bg: #e4f4e9; --warn: #7a4b00; --warn-bg: #fdf0d5; --bad: #a81515; --bad-bg: #fde7e5;
  --idle-bg: #eceff2; --link: #0b57a4; }
@media (prefers-color-scheme: dark) { :root { --paper: #121518; --card: #1a1e22; --ink: #e7eaed; --soft: #a3adb7;
  --line: #343b42; --good: #7ddc9b; --good-bg: #14331f; --warn: #f3c164; --warn-bg: #3a2b0c; --bad: #ff9c94;
  --bad-bg: #45191a; --idle-bg: #272d33; --link: #8ec1ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.125rem; margin: 0 0 .5rem; }
header p, footer, .soft { color: var(--soft); font-size: .875rem; margin: .25rem 0 0; }
section { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: 1rem;
  margin: 1rem 0 0; }
.verdict { border-width: 0 0 0 .375rem; border-color: currentColor; }
.verdict h2 { font-size: 1.375rem; line-height: 1.25; }
.verdict p, .verdict ul { color: var(--ink); margin: .25rem 0 0; padding: 0; list-style: none; }
.verdict li { padding: .5rem 0; border-top: 1px solid var(--line); }
.verdict li:first-child { border: 0; }
.verdict .mark { background: none; padding: 0; }
.verdict.good { background: var(--good-bg); color: var(--good); }
.verdict.warn { background: var(--warn-bg); color: var(--warn); }
.verdict.bad { background: var(--bad-bg); color: var(--bad); }
.verdict.idle { background: var(--idle-bg); color: var(--ink); }
.mark { display: inline-block; border-radius: .25rem; padding: 0 .375rem; font-size: .875rem; font-weight: 600;
  white-space: nowrap; background: var(--idle-bg); }
.mark.good { background: var(--good-bg); color: var(--good); }
.mark.warn { background: var(--warn-bg); color: var(--warn); }
.mark.bad { background: var(--bad-bg); color: var(--bad); }
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid var(--link); }
table { border-collapse: collapse; width: 100%; overflow-wrap: normal; }
th, td { text-align: left; vertical-align: top; padding: .5rem .75rem .5rem 0; border-top: 1px solid var(--line); }
thead th { border: 0; color: var(--soft); font-size: .875rem; font-weight: 600; }
tbody th { font-weight: 600; }
td, th, li, dd { unicode-bidi: isolate; }
code { font: .8125rem/1.4 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
pre { overflow-x: auto; margin: .5rem 0; padding: .5rem; background: var(--idle-bg); border-radius: .25rem; }
pre code { overflow-wrap: normal; }
h2[id], h3[id] { margin: 1.5rem 0 .5rem; }
.wwid { display: block; color: var(--soft); max-width: 11rem; }
.paths { list-style: none; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem .75rem; }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .25rem 1rem; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; }
meter { width: 10rem; max-width: 100%; height: 1rem; vertical-align: middle; }
.line { list-style: none; margin: 0; padding: 0 0 0 1rem; border-left: 2px solid var(--line); }
.line > li { padding: 0 0 1rem; position: relative; }
.line > li::before { content: ""; position: absolute; left: -1.375rem; top: .5rem; width: .625rem; height: .625rem;
  border-radius: 50%; background: var(--soft); }
.line > li.good::before { background: var(--good); }
.line > li.warn::before { background: var(--warn); }
.line > li.bad::before { background: var(--bad); }
.line p { margin: 0; }
summary { cursor: pointer; color: var(--link); padding: .25rem 0; }
details ol { margin: 0; padding-left: 1.5rem; font-size: .875rem; }
a { color: var(--link); }
.old { opacity: .8; }
@media (max-width: 30rem) { body { padding: .75rem; } section { padding: .75rem; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; }
  thead { display: none; }
  tbody, table { display: block; }
  tbody tr { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .25rem .75rem;
    padding: .5rem 0; border-top: 1px solid var(--line); }
  tbody tr:first-child { border: 0; padding-top: 0; }
  tbody th, tbody td { display: block; border: 0; padding: 0; }
  tbody th, td.wide { grid-column: 1 / -1; }
  td[data-of]::before { content: attr(data-of); display: block; color: var(--soft); font-size: .875rem; }
  .wwid { max-width: none; } }
@media (prefers-reduced-motion: no-preference) { html { scroll-behavior: smooth; } }
"""
