// The tiles and the handle work without the server; a choice stays when another image comes.
let wanted = '';
const apply = () => {
  const tiles = [...element.querySelectorAll('button[data-tile]')];
  if (!tiles.length) return;
  const tile = tiles.find((t) => t.dataset.tile === wanted) || tiles.find((t) => 'first' in t.dataset) || tiles[0];
  tiles.forEach((t) => t.setAttribute('aria-pressed', String(t === tile)));
  const after = element.querySelector('.m-slide .m-after');
  after.src = tile.querySelector('img').src;
  after.alt = tile.querySelector('img').alt;
  element.querySelector('.m-tag-after').textContent = tile.dataset.tile;
  element.querySelectorAll('[data-note]').forEach((n) => { n.hidden = n.dataset.note !== tile.dataset.tile; });
  element.querySelectorAll('[data-row]').forEach((n) => {
    n.classList.toggle('m-on', n.dataset.row === tile.dataset.tile);
  });
};
element.addEventListener('click', (event) => {
  const tile = event.target.closest('button[data-tile]');
  if (tile) { wanted = tile.dataset.tile; apply(); }
});
element.addEventListener('input', (event) => {
  if (event.target.matches('.m-cut'))
    event.target.parentElement.style.setProperty('--cut', event.target.value + '%');
});
watch('value', apply);
apply();
