// The map of embeddings answers to mouse, finger and keyboard.
const one = (selector) => element.querySelector(selector);
let points = [], at = -1, person = '', hidden = new Set(), touched = false;
const read = () => {
  points = [...element.querySelectorAll('.m-point')].map((node) => ({node, x: +node.dataset.x, y: +node.dataset.y,
    kind: node.dataset.kind, person: node.dataset.person, origin: +node.dataset.origin}));
  at = -1;
  if (points.length) { fade(); focusable(0); }
};
const shown = (s) => !hidden.has(s.kind) && (!person || s.person === person);
const fade = () => {
  points.forEach((s) => {
    s.node.classList.toggle('m-off', hidden.has(s.kind));
    s.node.classList.toggle('m-faint', !!person && s.person !== person);
  });
  const lines = !person ? '' : points.filter((s) => shown(s) && s.origin >= 0 && shown(points[s.origin])).map((s) => {
    const o = points[s.origin];
    return `<line x1="${o.x}" y1="${o.y}" x2="${s.x}" y2="${s.y}"/>`;
  }).join('');
  one('.m-links').innerHTML = lines;
  one('.m-map select').value = person;
};
const focusable = (index) => points.forEach((s, n) => s.node.setAttribute('tabindex', n === index ? '0' : '-1'));
const show = (index) => {
  at = index;
  const node = points[index].node, sheet = one('.m-peek img'), tile = one('.m-peek').dataset;
  one('.m-ring').setAttribute('transform', node.getAttribute('transform'));
  const number = +node.dataset.n, columns = +tile.columns;
  sheet.style.left = -(number % columns) * tile.width + 'px';
  sheet.style.top = -Math.floor(number / columns) * tile.height + 'px';
  sheet.alt = node.getAttribute('aria-label');
  one('.m-peek').hidden = false;
  one('.m-what').textContent = node.getAttribute('aria-label');
  one('.m-chosen').hidden = false;
  one('.m-idle').hidden = true;
};
const go = () => { if (at >= 0) trigger('click', {image: points[at].node.dataset.image}); };
const nearest = (event, radius) => {
  const box = one('.m-plane > svg').getBoundingClientRect(), scale = 640 / box.width;
  const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
  let best = -1, least = (radius * scale) ** 2;
  points.forEach((s, n) => {
    const d = (s.x - x) ** 2 + (s.y - y) ** 2;
    if (shown(s) && d < least) { least = d; best = n; }
  });
  return best;
};
element.addEventListener('pointerdown', (event) => { touched = event.pointerType !== 'mouse'; });
element.addEventListener('pointermove', (event) => {
  if (event.pointerType !== 'mouse' || !event.target.closest('.m-plane > svg')) return;
  const index = nearest(event, 14);
  if (index >= 0 && index !== at) show(index);
});
element.addEventListener('click', (event) => {
  const key = event.target.closest('.m-key');
  if (key) {
    const kind = key.dataset.kind;
    if (!hidden.delete(kind)) hidden.add(kind);
    key.setAttribute('aria-pressed', String(!hidden.has(kind)));
    fade();
  } else if (event.target.closest('.m-go')) go();
  else if (event.target.closest('.m-only')) { person = at < 0 || person ? '' : points[at].person; fade(); }
  else if (event.target.closest('.m-plane > svg')) {
    const index = nearest(event, touched ? 26 : 14);
    if (index >= 0) { show(index); focusable(index); if (!touched) go(); }
  }
});
element.addEventListener('change', (event) => {
  if (event.target.matches('.m-map select')) { person = event.target.value; fade(); }
});
element.addEventListener('focusin', (event) => {
  const index = points.findIndex((s) => s.node === event.target);
  if (index >= 0 && index !== at) show(index);
});
element.addEventListener('keydown', (event) => {
  if (!event.target.closest('.m-point')) return;
  const direction = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); go(); return; }
  if (!direction) return;
  event.preventDefault();
  const here = points[at];
  let best = -1, least = Infinity;
  points.forEach((s, n) => {
    const dx = s.x - here.x, dy = s.y - here.y, ahead = dx * direction[0] + dy * direction[1];
    const aside = Math.abs(dx * direction[1]) + Math.abs(dy * direction[0]);
    const cost = ahead + 2 * aside;
    if (n !== at && shown(s) && ahead > 0.01 && cost < least) { least = cost; best = n; }
  });
  if (best >= 0) { show(best); focusable(best); points[best].node.focus(); }
});
watch('value', read);
read();
