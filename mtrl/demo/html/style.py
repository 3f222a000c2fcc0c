"""The page's look: three colours stand for visible, transition and infrared everywhere."""

from __future__ import annotations

CSS = """
:root { --vis: #0d7480; --tra: #7455c8; --inf: #c2410c; --ok: #15803d; --no: #b91c1c;
  --line: #d9dee5; --soft: #f4f6f8; --card: #ffffff; --ink: #16202c; --mute: #566375; --bar: #b6c0cd; --go: #6d3fd4; }
.dark { --vis: #43c6d2; --tra: #ab93f5; --inf: #fb8b4b; --ok: #4ade80; --no: #f87171;
  --line: #33415a; --soft: #121a2a; --card: #1c2739; --ink: #eef2f8; --mute: #a3b0c4; --bar: #50607c; --go: #7443dd; }
.gradio-container { max-width: 1280px !important; width: 100% !important; box-sizing: border-box; padding: 0 !important;
  margin: 0 auto !important; }
.gradio-container > .main { padding: 0 24px 24px !important; max-width: none !important; }
.gradio-container .html-container { padding: 0 !important; }
.gradio-container .m-scope * { margin-bottom: 0; }
.m-scope { color: var(--ink); font-size: 15px; line-height: 1.5; }
.m-scope h2 { font-size: 18px; line-height: 1.35; font-weight: 700; margin: 0 0 4px !important; color: var(--ink); }
.m-scope h3 { font-size: 13px; font-weight: 700; margin: 0; color: var(--ink); }
.m-scope p { margin: 0; }
.m-mute { color: var(--mute); font-size: 13.5px; }

.m-head { display: flex; flex-wrap: wrap; align-items: center; justify-content: space-between; gap: 14px 32px;
  padding: 24px 0 4px; }
.m-head h1 { font-size: 26px; line-height: 1.15; margin: 0 0 6px !important; font-weight: 700; letter-spacing: -.015em;
  color: var(--ink); }
.m-head p { color: var(--mute); max-width: 76ch; }
.m-chain { display: flex; align-items: center; font-size: 13px; font-weight: 700; }
.m-chain i { display: block; width: 34px; height: 3px; border-radius: 2px; margin: 0 8px; }
.m-chain i:nth-of-type(1) { background: linear-gradient(90deg, var(--vis), var(--tra)); }
.m-chain i:nth-of-type(2) { background: linear-gradient(90deg, var(--tra), var(--inf)); }
.m-v { color: var(--vis); } .m-t { color: var(--tra); } .m-i { color: var(--inf); }

.m-private { font-size: 12.5px; line-height: 1.45; } .m-private a { color: var(--tra); text-decoration: underline; }

.m-examples h3 { margin: 10px 0 6px !important; }
.m-thumbs { display: grid; grid-template-columns: repeat(6, minmax(0, 1fr)); gap: 6px; }
.m-thumbs button, .m-hit button { appearance: none; padding: 0; border: 0; background: none; cursor: pointer;
  display: block; width: 100%; border-radius: 7px; overflow: hidden; }
.m-thumbs img { width: 100%; aspect-ratio: 1/2; object-fit: cover; display: block; border-radius: 7px;
  border: 2px solid transparent; transition: border-color .12s, transform .12s; }
.m-thumbs button:hover img { border-color: var(--tra); transform: translateY(-1px); }
.m-thumbs button:focus-visible img, .m-hit button:focus-visible { outline: 3px solid var(--tra); outline-offset: 1px; }

.m-answer { background: var(--soft); border: 1px solid var(--line); border-radius: 14px; padding: 18px; }
.m-top { display: flex; gap: 20px; align-items: flex-start; flex-wrap: wrap; }
.m-pair { display: flex; gap: 8px; align-items: center; flex: none; }
.m-pair figure { margin: 0; }
.m-pair img { height: 176px; max-width: 200px; object-fit: contain; display: block; border-radius: 9px;
  background: #0002; }
.m-pair .m-arrow { color: var(--mute); font-size: 20px; }
figcaption { text-align: inherit; font-size: 12.5px; font-weight: 700; margin-top: 5px; line-height: 1.3; }
figcaption small { display: block; font-weight: 400; color: var(--mute); font-size: 12px; }
.m-say { flex: 1 1 280px; min-width: 0; }
.m-hint { margin-top: 10px !important; padding: 8px 12px; border-left: 3px solid var(--inf); background: var(--card);
  border-radius: 0 8px 8px 0; font-size: 13.5px; }
.m-error { box-shadow: inset 4px 0 0 var(--no), inset 0 0 0 1px var(--line); background: var(--card);
  border-radius: 10px; padding: 16px 18px 16px 22px; }
.m-empty { padding: 48px 18px; text-align: center; color: var(--mute); border: 1px dashed var(--line);
  border-radius: 14px; }

.m-hits { list-style: none; margin: 18px 0 0 !important; padding: 0 !important; display: grid; gap: 16px 12px;
  grid-template-columns: repeat(6, minmax(0, 1fr)); }
.m-hit { margin: 0; min-width: 0; position: relative; }
.m-hit button { border: 3px solid var(--line); border-radius: 10px; background: var(--card); }
.m-hit.right button { border-color: var(--ok); } .m-hit.wrong button { border-color: var(--no); }
.m-hit button:hover { filter: brightness(1.06); }
.m-hit img { width: 100%; aspect-ratio: 1/2; object-fit: cover; display: block; }
.m-rank { position: absolute; top: 8px; left: 8px; background: #0b1220cc; color: #fff; font-size: 12px;
  font-weight: 700; padding: 1px 7px; border-radius: 20px; pointer-events: none; }
.m-score { display: flex; justify-content: space-between; gap: 4px; font-size: 13px; font-weight: 700;
  margin-top: 6px; font-variant-numeric: tabular-nums; }
.right .m-mark { color: var(--ok); } .wrong .m-mark { color: var(--no); } .m-mark { color: var(--mute); }
.m-bar { height: 4px; border-radius: 2px; background: var(--line); margin: 4px 0 !important; position: relative; }
.m-bar b { display: block; height: 100%; border-radius: 2px; background: var(--tra); }
.m-bar u { position: absolute; top: -3px; width: 2px; height: 10px; background: var(--ink); }
.m-hit small { color: var(--mute); font-size: 12px; display: block; line-height: 1.3; }
.m-chips { display: flex; flex-wrap: wrap; gap: 6px; margin: 6px 0 8px !important; }
.m-chips span { background: var(--card); border: 1px solid var(--line); border-radius: 20px; padding: 1px 10px;
  font-size: 13px; color: var(--ink); }
.m-scale { display: flex; flex-wrap: wrap; gap: 2px 16px; color: var(--mute); font-size: 12.5px; }
.m-scale span { display: inline-flex; align-items: center; gap: 6px; }
.m-scale i { width: 12px; height: 12px; border-radius: 3px; } .m-scale .k-all { background: var(--bar); }
.m-scale .k-top { background: var(--tra); }
.m-scale .k-same { border: 1.5px solid var(--ok); background: color-mix(in srgb, var(--ok) 16%, transparent);
  box-sizing: border-box; }
.m-gone { display: grid; place-items: center; aspect-ratio: 1/2; width: 100%; color: var(--mute); font-size: 12px; }

.m-dialog { border: 1px solid var(--line); border-radius: 16px; background: var(--soft); padding: 20px;
  width: min(560px, calc(100vw - 24px)); max-height: calc(100vh - 24px); box-sizing: border-box; overflow: auto;
  position: fixed; inset: 0; margin: auto !important; }
.m-dialog::backdrop { background: #0b1220a8; }
.m-close { position: absolute; top: 12px; right: 12px; width: 36px; height: 36px; border: 0; border-radius: 50%;
  background: var(--card); color: var(--ink); font-size: 15px; cursor: pointer; }
.m-sides { display: grid; grid-template-columns: 1fr 1fr; gap: 16px; margin: 14px 0 !important; }
.m-sides figure { margin: 0; min-width: 0; }
.m-layers { position: relative; display: grid; place-items: center; background: var(--card); border-radius: 10px; }
.m-layers img { height: min(340px, 46vh); max-width: 100%; object-fit: contain; display: block; grid-area: 1/1;
  border-radius: 10px; }
.m-layers img + img { transition: opacity .2s; }
.m-dialog:has(.m-switch input:not(:checked)) .m-layers img + img { opacity: 0; }
.m-switch { display: flex; align-items: center; gap: 8px; font-size: 14px; color: var(--ink); cursor: pointer; }
.m-switch input { width: 18px; height: 18px; accent-color: var(--tra); margin: 0; appearance: auto !important;
  background: none !important; }
.m-actions { margin-top: 14px !important; }
.m-main { border: 0; border-radius: 10px; padding: 9px 16px; font-size: 15px; font-weight: 700; cursor: pointer;
  background: var(--go); color: #fff; width: 100%; }
.m-main:hover { filter: brightness(1.1); }
.m-dialog button:focus-visible, .m-switch input:focus-visible, .m-note a:focus-visible { outline: 3px solid var(--tra);
  outline-offset: 2px; }

.m-note { margin-top: 14px !important; }
.m-note a { color: var(--tra); text-decoration: underline; }
.m-spread { margin-top: 10px !important; }
.m-spread svg { display: block; width: 100%; height: auto; overflow: visible; }

.m-none { justify-content: center; text-align: center; color: var(--mute); font-size: 13px; border-radius: 10px; }
.m-num { font-variant-numeric: tabular-nums; font-weight: 700; text-align: right; }

.m-about { max-width: 860px; margin: 0 auto; }
.m-about ul { list-style: disc; } .m-about ol { list-style: decimal; }
.m-about ol, .m-about ul { padding-left: 22px; margin: 8px 0 12px !important; }
.m-about li { margin: 6px 0 !important; }
.m-about section { margin: 26px 0 !important; }
.m-figure { display: grid; grid-template-columns: 1fr 54px 1fr 54px 1fr; gap: 10px; align-items: center;
  background: var(--soft); border: 1px solid var(--line); border-radius: 14px; padding: 18px; }
.m-figure figure { margin: 0; text-align: center; }
.m-figure .m-imgs { display: flex; gap: 6px; justify-content: center; }
.m-figure img { width: calc(50% - 3px); max-width: 92px; border-radius: 7px; display: block; }
.m-hop { text-align: center; font-size: 12px; color: var(--mute); line-height: 1.25; }
.m-hop svg { width: 100%; height: auto; display: block; margin: 0 auto 4px; }
.m-facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 240px), 1fr)); gap: 10px;
  margin-top: 10px; }
.m-facts div { background: var(--soft); border: 1px solid var(--line); border-radius: 10px; padding: 10px 12px; }
.m-facts b { display: block; font-size: 17px; line-height: 1.3; } .m-facts span { color: var(--mute); font-size: 13px; }

footer[aria-label] > *:not(button):not(a) { display: none !important; }
button.selected { color: var(--tra) !important; }
@media (max-width: 1100px) { .m-hits { grid-template-columns: repeat(4, minmax(0, 1fr)); } }
@media (max-width: 640px) {
  .m-spread text { font-size: 23px; } .m-spread { margin-top: 18px !important; }
  .gradio-container > .main { padding: 0 12px 20px !important; }
  .m-head { padding: 16px 2px 8px; } .m-head h1 { font-size: 22px; }
  .m-answer { padding: 12px; border-radius: 12px; }
  .m-hits { grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 12px 8px; }
  .m-pair img { height: 150px; max-width: 42vw; } .m-pair { width: 100%; justify-content: center; }
  .m-figure { grid-template-columns: 1fr; }
  .m-hop svg { width: 44px; transform: rotate(90deg); margin: 18px auto 22px; }
}
@media (prefers-reduced-motion: reduce) { .m-thumbs img { transition: none; } }
"""

# Buttons drawn as HTML report which picture was clicked: to search with it, or to see it beside the query.
PICK = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-picture], button[data-compare]');
  if (!button) return;
  if (button.dataset.compare !== undefined) trigger('select', {picture: button.dataset.compare});
  else {
    element.querySelector('dialog[open]')?.close();
    trigger('click', {picture: button.dataset.picture});
  }
});
"""
# A link with ?tab=...&example=... is answered as if that example had been clicked.
RESTORE = """
const asked = new URLSearchParams(window.location.search);
if (asked.get('example') && (asked.get('tab') || 'retrieve') === TAB)
  setTimeout(() => trigger('click', {picture: asked.get('example')}), 0);
"""
# The answer on the page says which link restores it.
ADDRESS = """
watch('value', () => {
  const answer = element.querySelector('[data-address]');
  if (answer) window.history.replaceState(window.history.state, '', '?' + answer.dataset.address);
});
"""
# A comparison opens over the page when it arrives; Escape, the cross or a click beside it close it.
DIALOG = """
watch('value', () => {
  const dialog = element.querySelector('dialog');
  if (dialog && !dialog.open) dialog.showModal();
});
element.addEventListener('click', (event) => {
  if (event.target.tagName === 'DIALOG') event.target.close();
});
"""
# On a phone the answer lies below what was touched: bring it into view when it changes.
FOLLOW = """
watch('value', () => {
  if (window.innerWidth < 768) element.scrollIntoView({behavior: 'smooth', block: 'start'});
});
"""
