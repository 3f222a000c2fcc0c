// The map of embeddings answers to mouse, finger and keyboard.
const one = (selector) => element.querySelector(selector);
let spots = [], at = -1, person = '', hidden = new Set(), touched = false;
const read = () => {
  spots = [...element.querySelectorAll('.m-spot')].map((node) => ({node, x: +node.dataset.x, y: +node.dataset.y,
    kind: node.dataset.kind, person: node.dataset.person, origin: +node.dataset.origin}));
  at = -1;
  if (spots.length) { fade(); focusable(0); }
};
const shown = (s) => !hidden.has(s.kind) && (!person || s.person === person);
const fade = () => {
  spots.forEach((s) => {
    s.node.classList.toggle('m-off', hidden.has(s.kind));
    s.node.classList.toggle('m-faint', !!person && s.person !== person);
  });
  const lines = !person ? '' : spots.filter((s) => shown(s) && s.origin >= 0 && shown(spots[s.origin])).map((s) => {
    const o = spots[s.origin];
    return `<line x1="${o.x}" y1="${o.y}" x2="${s.x}" y2="${s.y}"/>`;
  }).join('');
  one('.m-links').innerHTML = lines;
  one('.m-map select').value = person;
};
const focusable = (index) => spots.forEach((s, n) => s.node.setAttribute('tabindex', n === index ? '0' : '-1'));
const show = (index) => {
  at = index;
  const node = spots[index].node, sheet = one('.m-peek img'), tile = one('.m-peek').dataset;
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
const go = () => { if (at >= 0) trigger('click', {picture: spots[at].node.dataset.picture}); };
const nearest = (event, reach) => {
  const box = one('.m-plane > svg').getBoundingClientRect(), scale = 640 / box.width;
  const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
  let best = -1, least = (reach * scale) ** 2;
  spots.forEach((s, n) => {
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
  else if (event.target.closest('.m-only')) { person = at < 0 || person ? '' : spots[at].person; fade(); }
  else if (event.target.closest('.m-plane > svg')) {
    const index = nearest(event, touched ? 26 : 14);
    if (index >= 0) { show(index); focusable(index); if (!touched) go(); }
  }
});
element.addEventListener('change', (event) => {
  if (event.target.matches('.m-map select')) { person = event.target.value; fade(); }
});
element.addEventListener('focusin', (event) => {
  const index = spots.findIndex((s) => s.node === event.target);
  if (index >= 0 && index !== at) show(index);
});
element.addEventListener('keydown', (event) => {
  if (!event.target.closest('.m-spot')) return;
  const way = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); go(); return; }
  if (!way) return;
  event.preventDefault();
  const here = spots[at];
  let best = -1, least = Infinity;
  spots.forEach((s, n) => {
    const dx = s.x - here.x, dy = s.y - here.y, ahead = dx * way[0] + dy * way[1];
    const aside = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
    const cost = ahead + 2 * aside;
    if (n !== at && shown(s) && ahead > 0.01 && cost < least) { least = cost; best = n; }
  });
  if (best >= 0) { show(best); focusable(best); spots[best].node.focus(); }
});
watch('value', read);
read();
