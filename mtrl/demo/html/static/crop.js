// A box over the query: dragged with mouse or finger, moved with the arrow keys, resized with Shift and the arrows; or
// that of a person who was found in it, by a button.
let box = null, start = null;
const area = () => element.querySelector('.m-crop');
const button = () => element.querySelector('[data-crop]');
const draw = () => {
  const frame = area()?.querySelector('.m-box');
  if (!frame) return;
  area().classList.toggle('m-cropping', !!box);
  frame.hidden = !box;
  button().textContent = box ? 'Search with this part' : 'Cut out a person';
  element.querySelector('[data-uncrop]').hidden = !box;
  if (!box) return;
  const [left, top, right, bottom] = box.map((value) => 100 * value);
  Object.assign(frame.style, {left: left + '%', top: top + '%', width: right - left + '%', height: bottom - top + '%'});
  const said = box.map((value) => Math.round(100 * value));
  frame.setAttribute('aria-label', `Box from ${said[0]} to ${said[2]} per cent across and ${said[1]} to ${said[3]} down.`);
};
const at = (event) => {
  const edge = area().querySelector('img').getBoundingClientRect();
  return [(event.clientX - edge.left) / edge.width, (event.clientY - edge.top) / edge.height]
    .map((value) => Math.min(1, Math.max(0, value)));
};
const stop = () => { box = start = null; draw(); };
element.addEventListener('click', (event) => {
  const found = event.target.closest('[data-box]');
  if (found) { trigger('edit', {box: JSON.parse(found.dataset.box), of: found.dataset.of}); stop(); return; }
  if (event.target.closest('[data-uncrop]')) { stop(); button().focus(); }
  if (!event.target.closest('[data-crop]')) return;
  if (box) { trigger('edit', {box}); stop(); }
  else { box = [0.2, 0.05, 0.8, 0.95]; draw(); area().querySelector('.m-box').focus(); }
});
element.addEventListener('pointerdown', (event) => {
  if (!box || !event.target.closest('.m-crop')) return;
  event.preventDefault();
  start = at(event);
  area().setPointerCapture(event.pointerId);
});
element.addEventListener('pointermove', (event) => {
  if (!start || !box) return;
  const end = at(event);
  const wanted = [0, 1].map((n) => Math.min(start[n], end[n])).concat([0, 1].map((n) => Math.max(start[n], end[n])));
  if (wanted[2] - wanted[0] > 0.02 && wanted[3] - wanted[1] > 0.02) { box = wanted; draw(); }
});
element.addEventListener('pointerup', () => { start = null; });
element.addEventListener('keydown', (event) => {
  if (!box || !event.target.closest('.m-crop')) return;
  if (event.key === 'Enter') { event.preventDefault(); button().click(); return; }
  if (event.key === 'Escape') { stop(); button().focus(); return; }
  const step = {ArrowLeft: [-0.02, 0], ArrowRight: [0.02, 0], ArrowUp: [0, -0.02], ArrowDown: [0, 0.02]}[event.key];
  if (!step) return;
  event.preventDefault();
  const moved = event.shiftKey ? [box[0], box[1], box[2] + step[0], box[3] + step[1]]
    : box.map((value, n) => value + step[n % 2]);
  if (moved.every((value) => value >= -1e-9 && value <= 1 + 1e-9) && moved[2] - moved[0] > 0.04
      && moved[3] - moved[1] > 0.04) { box = moved; draw(); }
});
watch('value', () => { box = start = null; });
