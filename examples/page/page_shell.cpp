#include "page/page_shell.hpp"

#include "page/page_numbers.hpp"

namespace page {
namespace {

/// Colour slots: c0 blue, c1 orange, c2 green, c3 pink, c4 grey, c5 violet, c6 brown, c7 yellow. Neighbours differ in
/// lightness too, for readers who do not tell the hues apart.
constexpr std::string_view style = R"css(
:root {
  color-scheme: light dark;
  --page: #fcfbf8; --ink: #1d2126; --soft: #5c646d; --rule: #dedad0; --grid: #e8e5dc; --track: #eeebe3; --link: #1d57b8;
  --c0: #1f63d0; --c1: #c9690a; --c2: #0b8a72; --c3: #bb3a80; --c4: #6c747d; --c5: #7a4fc4; --c6: #855a38; --c7: #a08a00;
  --serif: Charter, "Bitstream Charter", "Iowan Old Style", "Source Serif Pro", "Noto Serif", Georgia, serif;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", "Helvetica Neue", Arial, sans-serif;
  --mono: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #15181c; --ink: #e8e6e1; --soft: #9aa2ab; --rule: #343a41; --grid: #262b31; --track: #24292f; --link: #8ab4f8;
    --c0: #6ea4ff; --c1: #f0a04b; --c2: #41c3a4; --c3: #f27db8; --c4: #99a1ab; --c5: #b394f5; --c6: #cd9c74; --c7: #d8c43f;
  }
}
.c0 { --c: var(--c0); } .c1 { --c: var(--c1); } .c2 { --c: var(--c2); } .c3 { --c: var(--c3); }
.c4 { --c: var(--c4); } .c5 { --c: var(--c5); } .c6 { --c: var(--c6); } .c7 { --c: var(--c7); }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 var(--sans); -webkit-text-size-adjust: 100%; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
a { color: var(--link); text-decoration-thickness: 1px; text-underline-offset: 2px; }
h1, h2 { font-family: var(--serif); font-weight: 600; line-height: 1.2; letter-spacing: -.01em; margin: 0; }
h1 { font-size: clamp(1.6rem, 5vw, 2.2rem); overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; }
.over { color: var(--soft); font-size: .8rem; letter-spacing: .08em; text-transform: uppercase; margin: 0 0 .5rem; }
.lead { max-width: 42rem; margin: .6rem 0 0; color: var(--soft); }
.lead b { color: var(--ink); font-weight: 600; }
.tiles { display: grid; grid-template-columns: repeat(3, 1fr); margin: 2rem 0 0; padding: 0; border-top: 2px solid var(--ink); }
.tiles div { padding: .9rem 1rem 1rem 0; border-bottom: 1px solid var(--rule); }
.tiles dt { font-size: .84rem; color: var(--soft); }
.tiles dd { margin: .1rem 0 0; }
.tiles .big { font: 600 1.75rem/1.2 var(--serif); letter-spacing: -.01em; font-variant-numeric: lining-nums; white-space: nowrap; }
.tiles .small { display: block; font-size: .84rem; color: var(--soft); }
section { margin-top: 2.75rem; }
figure { margin: 0; }
figure h2 { margin-bottom: .9rem; }
figcaption { max-width: 44rem; margin-top: .8rem; font-size: .88rem; line-height: 1.5; color: var(--soft); }
.pair { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 2.25rem 2.5rem; }
.pair h3 { font-size: .95rem; font-weight: 600; margin: 0 0 .5rem; }
.none { color: var(--soft); font-style: italic; margin: .5rem 0; }
.plot { padding-left: 3.2rem; font-size: .8rem; color: var(--soft); }
.plot.labelled { padding-right: 6.4rem; }
.y-name { margin: 0 0 .5rem -3.2rem; }
.x-name { margin-top: 1.9rem; text-align: right; }
.area { position: relative; border-bottom: 1px solid var(--soft); touch-action: pan-y; }
.area > svg:first-child { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
path { fill: none; vector-effect: non-scaling-stroke; stroke-linejoin: round; stroke-linecap: round; }
.grid { stroke: var(--grid); stroke-width: 1; }
.line { stroke: var(--c); stroke-width: 2; }
.faint { stroke-width: 1; opacity: .38; }
.broad { stroke-width: 5; opacity: .5; }
.point { stroke-width: 7; opacity: 1; }
.lead-out { stroke: var(--c); stroke-width: 1; stroke-dasharray: 1 5; opacity: .8; }
.tick-y { position: absolute; right: 100%; margin-right: .55rem; transform: translateY(50%); line-height: 1; white-space: nowrap; }
.tick-x { position: absolute; top: 100%; margin-top: .45rem; transform: translateX(-50%); line-height: 1; white-space: nowrap; }
.tick-y, .tick-x, td, .end, .read { font-variant-numeric: tabular-nums lining-nums; }
.leaders { position: absolute; left: 100%; top: 0; overflow: visible; }
.leaders path { stroke: var(--c); stroke-width: 1; opacity: .6; }
.end { position: absolute; left: 100%; width: 5.2rem; margin-left: 1.15rem; transform: translateY(-50%); line-height: 1; font-weight: 600;
  color: var(--c); overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.hair { position: absolute; top: 0; bottom: 0; width: 1px; background: var(--soft); opacity: .6; pointer-events: none; }
.read { position: absolute; top: 0; z-index: 2; padding: .35rem .6rem; background: var(--page); border: 1px solid var(--rule); border-radius: 3px; color: var(--ink);
  line-height: 1.45; white-space: pre; pointer-events: none; box-shadow: 0 2px 8px rgb(0 0 0 / .12); }
.bars { width: 100%; border-collapse: collapse; font-size: .86rem; }
.bars th { padding: .16rem .8rem .16rem 0; font-weight: 400; text-align: left; white-space: nowrap; max-width: 15rem; overflow: hidden; text-overflow: ellipsis; }
.bars .track { width: 100%; padding: .16rem 0; }
.bars .track div { position: relative; height: .85rem; }
.bars .value { padding: .16rem 0 .16rem .8rem; text-align: right; white-space: nowrap; }
.bars .note { padding: .16rem 0 .16rem .5rem; color: var(--soft); white-space: nowrap; }
.bars .group th { max-width: none; padding-top: .75rem; color: var(--soft); }
.bars .group:first-child th { padding-top: 0; }
.bars i { position: absolute; top: 0; bottom: 0; left: 0; }
.bars .full { background: var(--track); border-radius: 0 2px 2px 0; }
.bars .bar { background: var(--c); border-radius: 0 2px 2px 0; min-width: 2px; }
.bars .mark { width: 2px; margin-left: -1px; top: -2px; bottom: -2px; background: var(--ink); }
.intervals .track div { height: 1.5rem; }
.intervals th, .intervals .track, .intervals .value { padding-top: 0; padding-bottom: 0; }
.bars .rule { width: 1px; background: var(--grid); }
.bars .whisker { top: 50%; bottom: auto; height: 2px; margin-top: -1px; background: var(--c); opacity: .55; }
.bars .dot { top: 50%; bottom: auto; width: .7rem; height: .7rem; margin: -.35rem 0 0 -.35rem; border-radius: 50%; background: var(--c); box-shadow: 0 0 0 2px var(--page); }
.bars .ticks span { position: absolute; top: .3rem; transform: translateX(-50%); color: var(--soft); font-size: .8rem; line-height: 1; }
.bars tbody th, .bars tbody td { vertical-align: middle; }
.strips .track div { height: 1rem; }
.names th { font-family: var(--mono); font-size: .8rem; }
.strip { display: block; width: 100%; height: 100%; fill: var(--c); shape-rendering: crispEdges; background: var(--track); }
.ramp { display: inline-block; width: 5rem; height: .7rem; margin: 0 .4rem; vertical-align: -.05rem; background: linear-gradient(to right, color-mix(in srgb, var(--c) 10%, var(--page)), var(--c)); }
.key { display: inline-block; width: .7rem; height: .7rem; margin-right: .35rem; border-radius: 2px; background: var(--c); vertical-align: -.03rem; }
.key.tick { width: 2px; background: var(--ink); border-radius: 0; height: .9rem; vertical-align: -.12rem; margin-left: .2rem; }
.fill { fill: var(--c); stroke: none; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: 0 0 1rem; font-size: .84rem; color: var(--soft); }
.moment { position: absolute; top: -.4rem; bottom: 0; padding-left: .35rem; border-left: 1px dashed var(--ink); line-height: 1; color: var(--ink);
  white-space: nowrap; pointer-events: none; }
.moment.left { padding: 0 .35rem 0 0; border-left: 0; border-right: 1px dashed var(--ink); transform: translateX(-100%); }
.scroll { overflow-x: auto; }
.data { width: 100%; border-collapse: separate; border-spacing: 0; font-size: .88rem; border-top: 2px solid var(--ink); border-bottom: 1px solid var(--ink); }
.data th, .data td { padding: .5rem .9rem; text-align: right; vertical-align: top; white-space: nowrap; }
.data th:first-child, .data td:first-child { padding-left: 0; text-align: left; }
.data th:last-child, .data td:last-child { padding-right: 0; }
.data:not(.names) th:first-child { position: sticky; left: 0; background: var(--page); }
.data thead th { font-weight: 600; vertical-align: bottom; border-bottom: 1px solid var(--ink); white-space: normal; line-height: 1.3; }
.data thead th:first-child { z-index: 1; }
.data thead small, .data td small, .data tbody th small { display: block; color: var(--soft); font-weight: 400; font-size: .8rem; }
.data tbody th { font-weight: 600; }
.data tbody tr + tr > * { border-top: 1px solid var(--rule); }
.data.names tbody th { font-weight: 400; }
details { margin-top: 1.4rem; }
summary { cursor: pointer; color: var(--link); font-size: .92rem; }
details[open] summary { margin-bottom: .9rem; }
.options { columns: 2; column-gap: 2.5rem; margin: 0; border-top: 2px solid var(--ink); padding-top: .4rem; }
.options div { display: flex; gap: 1rem; justify-content: space-between; padding: .28rem 0; border-bottom: 1px solid var(--rule); break-inside: avoid; font: .84rem/1.5 var(--mono); }
.options dt { color: var(--soft); white-space: nowrap; }
.options dd { margin: 0; text-align: right; overflow-wrap: anywhere; }
footer { margin-top: 3rem; padding-top: .9rem; border-top: 1px solid var(--rule); font-size: .84rem; color: var(--soft); }
footer p { max-width: 46rem; margin: 0 0 .5rem; }
@media (max-width: 44rem) {
  main { padding: 1.5rem 1rem 3rem; }
  .tiles { grid-template-columns: repeat(2, 1fr); }
  .tiles .big { font-size: 1.4rem; }
  .pair, .options { display: block; columns: 1; }
  .pair > * + * { margin-top: 2rem; }
  .plot { padding-left: 2.6rem; }
  .y-name { margin-left: -2.6rem; }
  .plot.labelled { padding-right: 4.6rem; }
  .end { width: 3.5rem; }
  .bars th { max-width: 8.5rem; padding-right: .5rem; }
  .bars .value { padding-left: .5rem; }
  .bars tbody th, .bars tbody td { vertical-align: middle; }
.strips .track div { height: 1rem; }
.names th { font-size: .74rem; }
  .names .bars th { max-width: 11rem; }
  .strips .note { display: none; }
}
@media print { body { background: none; } details:not([open]) > * { display: block; } }
)css";

constexpr std::string_view script = R"js(
for (const area of document.querySelectorAll('[data-readings]')) {
  const readings = area.dataset.readings.split('\n\n').map(r => { const i = r.indexOf('|'); return [+r.slice(0, i), r.slice(i + 1)]; });
  const hair = document.createElement('div'), read = document.createElement('div');
  hair.className = 'hair'; read.className = 'read'; hair.hidden = read.hidden = true;
  area.append(hair, read);
  const show = event => {
    const box = area.getBoundingClientRect(), at = (event.clientX - box.left) / box.width;
    let best = readings[0];
    for (const r of readings) if (Math.abs(r[0] - at) < Math.abs(best[0] - at)) best = r;
    hair.hidden = read.hidden = false;
    hair.style.left = read.style.left = 100 * best[0] + '%';
    read.style.transform = best[0] > .5 ? 'translateX(calc(-100% - 8px))' : 'translateX(8px)';
    read.textContent = best[1];
  };
  area.addEventListener('pointermove', show);
  area.addEventListener('pointerdown', show);
  area.addEventListener('pointerleave', () => { hair.hidden = read.hidden = true; });
}
)js";

}  // namespace

std::string page_shell(std::string_view title, std::string_view body)
{
    std::string html =
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>";
    html += escape_html(title);
    html += "</title>\n<style>";
    html += style;
    html += "</style>\n</head>\n<body>\n<main>\n";
    html += body;
    html += "</main>\n<script>";
    html += script;
    return html + "</script>\n</body>\n</html>\n";
}

std::string figure_html(std::string_view heading, std::string_view content, std::string_view caption)
{
    std::string html = "<section><figure>\n<h2>" + escape_html(heading) + "</h2>\n";
    html += content;
    if (!caption.empty()) {
        html += "<figcaption>";
        html += caption;
        html += "</figcaption>\n";
    }
    return html + "</figure></section>\n";
}

}  // namespace page
