// Pointing at a place of the query lights the places of the result that the network finds like it.
let dialog = null, grid = null, cosines = null, at = 0;
const read = () => {
  dialog = element.querySelector('dialog[data-places]');
  if (!dialog) return;
  grid = dialog.dataset.grid.split(' ').map(Number);
  cosines = Uint8Array.from(atob(dialog.dataset.places), (letter) => letter.charCodeAt(0));
};
const over = (layers, draw) => {
  const image = layers.querySelector('img'), canvas = layers.querySelector('canvas');
  canvas.style.width = image.clientWidth + 'px';
  canvas.style.height = image.clientHeight + 'px';
  draw(canvas);
};
const cell = (canvas, rows, columns, alpha) => {
  canvas.width = columns;
  canvas.height = rows;
  const ink = canvas.getContext('2d'), pixels = ink.createImageData(columns, rows);
  for (let n = 0; n < rows * columns; n += 1) pixels.data.set([255, 196, 0, alpha(n)], 4 * n);
  ink.putImageData(pixels, 0, 0);
};
const show = () => {
  const [rows, columns, toRows, toColumns] = grid, size = toRows * toColumns;
  const row = cosines.subarray(at * size, (at + 1) * size);
  const low = Math.min(...row), high = Math.max(...row);
  const [query, result] = dialog.querySelectorAll('.m-layers');
  dialog.classList.add('m-pointing');
  over(query, (canvas) => cell(canvas, rows, columns, (n) => (n === at ? 200 : 0)));
  over(result, (canvas) => cell(canvas, toRows, toColumns, (n) => 225 * ((row[n] - low) / (high - low || 1)) ** 2));
  const best = row.indexOf(high), place = (n, wide, tall) =>
    `row ${Math.floor(n / wide) + 1} of ${tall}, column ${n % wide + 1} of ${wide}`;
  dialog.querySelector('.m-said').textContent = `This place of the query (${place(at, columns, rows)}) is most like `
    + `${place(best, toColumns, toRows)} of the result: cosine ${(high / 127.5 - 1).toFixed(2)}.`;
};
const hide = () => {
  if (!dialog) return;
  dialog.classList.remove('m-pointing');
  dialog.querySelector('.m-said').textContent = '';
};
const point = (event) => {
  const layers = dialog && event.target.closest('.m-layers');
  if (!layers || layers !== dialog.querySelector('.m-layers')) return false;
  const box = layers.querySelector('img').getBoundingClientRect(), [rows, columns] = grid;
  const x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height;
  if (x < 0 || y < 0 || x >= 1 || y >= 1) return false;
  at = Math.floor(y * rows) * columns + Math.floor(x * columns);
  show();
  return true;
};
element.addEventListener('pointermove', (event) => { if (event.pointerType === 'mouse' && !point(event)) hide(); });
element.addEventListener('pointerdown', (event) => { if (event.pointerType !== 'mouse' && !point(event)) hide(); });
element.addEventListener('focusin', (event) => { if (event.target.matches('.m-layers[tabindex]')) show(); });
element.addEventListener('focusout', (event) => { if (event.target.matches('.m-layers[tabindex]')) hide(); });
element.addEventListener('keydown', (event) => {
  if (!event.target.matches('.m-layers[tabindex]')) return;
  const [rows, columns] = grid;
  const step = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key];
  if (!step) return;
  event.preventDefault();
  const y = Math.floor(at / columns) + step[0], x = at % columns + step[1];
  if (y >= 0 && y < rows && x >= 0 && x < columns) { at = y * columns + x; show(); }
});
watch('value', () => { at = 0; read(); });
read();
