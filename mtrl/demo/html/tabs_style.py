"""The look of the tabs Transition, Explore and Model; colours and type are those of `mtrl.demo.html.style`."""

from __future__ import annotations

TRANSITION = """
.m-compare { display: flex; gap: 24px; align-items: flex-start; }
.m-beside { flex: 1 1 0; min-width: 0; }
.m-beside h2, .m-bridge h2 { font-size: 16px; }
.m-bridge { margin-top: 20px !important; }
.m-slide { position: relative; max-width: 100%; flex: none; border-radius: 12px; overflow: hidden; background: #0002; }
.m-slide img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: fill; display: block; }
.m-slide .m-before { clip-path: inset(0 calc(100% - var(--cut)) 0 0); }
.m-slide .m-after { clip-path: inset(0 0 0 var(--cut)); }
.m-slide::after { content: ""; position: absolute; top: 0; bottom: 0; left: calc(var(--cut) - 1px); width: 2px;
  background: #fff; box-shadow: 0 0 4px #000a; pointer-events: none; }
.m-handle { position: absolute; left: var(--cut); top: 50%; width: 36px; height: 36px; margin: -18px 0 0 -18px;
  border-radius: 50%; background: #fff; color: #16202c; display: grid; place-items: center; font-size: 17px;
  box-shadow: 0 1px 6px #0008; pointer-events: none; z-index: 1; }
.m-cut { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize;
  touch-action: pan-y; appearance: none; -webkit-appearance: none; }
.m-cut::-webkit-slider-thumb { -webkit-appearance: none; width: 2px; height: 100%; }
.m-slide:has(.m-cut:focus-visible) { outline: 3px solid var(--tra); outline-offset: 2px; }
.m-tag { position: absolute; bottom: 8px; z-index: 1; font-size: 12px; font-weight: 700; color: #fff;
  background: #0b1220cc; border-radius: 20px; padding: 1px 9px; pointer-events: none; }
.m-tag-before { left: 8px; } .m-tag-after { right: 8px; }
.m-tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); gap: 12px;
  margin: 12px 0 !important; }
.m-tile { appearance: none; background: none; border: 2px solid transparent; border-radius: 12px; padding: 4px;
  cursor: pointer; text-align: center; font-size: 13px; font-weight: 700; min-width: 0; max-width: 140px; }
.m-tile img { width: 100%; display: block; border-radius: 8px; }
.m-tile span { display: block; margin-top: 4px; }
.m-tile[aria-pressed="true"] { border-color: var(--tra); background: var(--card); }
.m-tile:focus-visible { outline: 3px solid var(--tra); outline-offset: 1px; }
div.m-tile.m-none { display: flex; align-items: center; cursor: default; border: 1px dashed var(--mute);
  font-weight: 400; margin: 4px; padding: 8px; box-sizing: border-box; height: fit-content; }
.m-lanes { margin-top: 10px; }
.m-lane { display: grid; grid-template-columns: 118px minmax(0, 1fr) 44px; gap: 12px; align-items: center;
  padding: 5px 8px; border-radius: 8px; }
.m-lane > span { font-size: 13.5px; font-weight: 700; line-height: 1.25; }
.m-lane > span small { display: block; font-weight: 400; font-size: 12px; color: var(--mute); }
.m-lane > div { position: relative; height: 26px; border-radius: 6px; background: var(--card);
  border: 1px solid var(--line); }
.m-lane > em { font-style: normal; font-weight: 700; font-variant-numeric: tabular-nums; text-align: right;
  font-size: 14px; }
.m-lane i { position: absolute; top: 50%; width: 12px; height: 12px; margin: -6px 0 0 -6px; border-radius: 50%;
  border: 1.5px solid var(--card); box-sizing: border-box; }
.m-lane b { position: absolute; top: 1px; bottom: 1px; width: 3px; margin-left: -1.5px; border-radius: 2px; }
.m-lane u { position: absolute; top: 5px; bottom: 5px; background: var(--line); border-radius: 4px; }
.m-lane.m-on { background: color-mix(in srgb, var(--tra) 14%, transparent); }
.m-axis { padding-top: 0; } .m-axis > div { border: 0; background: none; height: 18px; }
.m-axis div span { position: absolute; transform: translateX(-50%); font-size: 12px; color: var(--mute); }
.m-notes { display: flex; flex-wrap: wrap; gap: 4px 18px; color: var(--mute); font-size: 13px;
  margin-top: 6px !important; }
.m-notes span { display: inline-flex; align-items: center; gap: 6px; }
.m-dot { width: 11px; height: 11px; border-radius: 50%; background: var(--mute); }
.m-band { width: 22px; height: 12px; border-radius: 3px; background: var(--line); }
@media (max-width: 640px) {
  .m-compare { flex-direction: column; align-items: stretch; gap: 16px; } .m-slide { margin: 0 auto; }
  .m-tiles { grid-template-columns: repeat(auto-fit, minmax(68px, 1fr)); gap: 4px; }
  .m-tile { padding: 2px; font-size: 12.5px; }
  .m-lane { grid-template-columns: 84px minmax(0, 1fr) 38px; gap: 8px; padding: 5px 2px; }
}
"""

EXPLORE = """
.m-section { margin-top: 28px !important; }
.m-keys { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; margin-bottom: 12px !important; }
.m-key { appearance: none; display: inline-flex; align-items: center; gap: 6px; border: 1px solid var(--line);
  background: var(--card); color: var(--ink); border-radius: 20px; padding: 4px 12px;
  font-size: 13.5px; cursor: pointer; }
.m-key svg { width: 14px; height: 14px; fill: var(--mute); }
.m-key circle { fill: none; stroke: var(--mute); stroke-width: 2.4; }
.m-key small { color: var(--mute); }
.m-key[aria-pressed="false"] { opacity: .5; text-decoration: line-through; }
.m-keys label { margin-left: auto; font-size: 13.5px; display: inline-flex; gap: 6px; align-items: center; }
.m-keys select { background: var(--card); color: var(--ink); border: 1px solid var(--line); border-radius: 8px;
  padding: 4px 26px 4px 8px; font-size: 13.5px; }
.m-key:focus-visible, .m-keys select:focus-visible, .m-aside button:focus-visible { outline: 3px solid var(--tra);
  outline-offset: 1px; }
.m-plane { display: grid; grid-template-columns: minmax(0, 640px) minmax(260px, 1fr); gap: 24px; align-items: start; }
.m-map { --lit: 42%; } .dark .m-map { --lit: 66%; }
.m-plane > svg { display: block; width: 100%; height: auto; background: var(--card); border: 1px solid var(--line);
  border-radius: 12px; box-sizing: border-box; cursor: crosshair; touch-action: pan-y; }
.m-spot { fill: hsl(var(--h) 62% var(--lit)); stroke: var(--card); stroke-width: 1; outline: none; }
.m-spot circle { fill: var(--card); stroke: hsl(var(--h) 62% var(--lit)); stroke-width: 2.4; }
.m-spot.m-off { display: none; } .m-spot.m-faint { opacity: .1; }
.m-links line { stroke: var(--mute); stroke-width: 1.4; }
.m-ring { fill: none; stroke: var(--ink); stroke-width: 2.4; pointer-events: none; }
.m-aside { display: grid; gap: 14px; font-size: 14px; }
.m-look { display: flex; gap: 14px; align-items: flex-start; min-height: 196px; }
.m-frame { flex: none; width: 96px; height: 192px; border-radius: 9px; overflow: hidden; border: 1px solid var(--line);
  background: var(--card); }
.m-peek { position: relative; overflow: hidden; transform: scale(2); transform-origin: 0 0; }
.m-peek img { position: absolute; max-width: none; }
.m-aside button { appearance: none; border: 1px solid var(--line); background: var(--card); color: var(--ink);
  border-radius: 8px; padding: 6px 12px; font-size: 13.5px; cursor: pointer; margin-top: 8px; }
.m-aside button.m-go { background: var(--tra); color: #fff; border-color: transparent; }
.dark .m-aside button.m-go { color: #16202c; }
.m-table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
.m-table th, .m-table td { padding: 6px 8px; text-align: right; border-bottom: 1px solid var(--line);
  font-weight: 400; }
.m-table thead th { color: var(--mute); font-size: 12.5px; } .m-table th:first-child { text-align: left; }
.m-table tbody th small { display: block; color: var(--mute); font-size: 12px; }
.m-table b { font-weight: 700; }
.m-wide { overflow-x: auto; margin-top: 12px; }
.m-panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); gap: 18px 28px; }
.m-panels figure { margin: 0; min-width: 0; } .m-panels figcaption { margin: 0 0 6px; font-size: 14px; }
.m-panels svg { display: block; width: 100%; max-width: 430px; height: auto; }
.m-form { align-items: end !important; }
.m-form button { align-self: end; min-width: 180px !important; height: 44px; white-space: nowrap; }
@media (max-width: 860px) { .m-plane { grid-template-columns: minmax(0, 1fr); } .m-keys label { margin-left: 0; } }
"""

MODEL = """
.m-chip { display: inline-block; border: 1px solid var(--tra); border-radius: 20px; padding: 3px 14px;
  font-size: 13.5px; }
.m-done { color: var(--ok); font-weight: 700; margin-top: 4px !important; }
.m-model { --lit: 42%; } .dark .m-model { --lit: 66%; }
.m-model .m-facts { grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); }
.m-model section { margin-top: 24px; } .m-model h3 { font-size: 15px; margin-bottom: 8px !important; }
.m-model ul { list-style: disc; padding-left: 22px; } .m-model li { margin: 5px 0 !important; }
.m-curves figcaption small { display: inline; margin-left: 8px; }
.m-curves i { width: 16px; height: 3px; border-radius: 2px; }
.m-card { margin-top: 24px; border-top: 1px solid var(--line); padding-top: 14px; }
.m-card summary { cursor: pointer; font-weight: 700; font-size: 15px; }
.m-card > div { max-width: 860px; overflow-wrap: anywhere; } .m-card h3, .m-card h4 { margin: 18px 0 6px !important; }
.m-card table { overflow-wrap: normal; }
.m-card p { margin: 8px 0 !important; } .m-card a { color: var(--tra); text-decoration: underline; }
.m-card pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px;
  overflow-x: auto; font-size: 12.5px; margin: 8px 0; } .m-card code { font-size: 12.5px; }
@media (max-width: 640px) {
  .tab-container button { padding-left: 9px !important; padding-right: 9px !important;
    font-size: 14px !important; }
}
"""

TABS_CSS = TRANSITION + EXPLORE + MODEL
