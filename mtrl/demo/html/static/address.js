// The address bar says what the page shows: a link restores it, and Back returns to it.
const steps = ['example', 'direction', 'gallery', 'model', 'second'], details = ['k', 'threshold'];
for (const name of ['pointerdown', 'keydown'])
  window.addEventListener(name, () => { window.mtrlTouched = true; }, {capture: true, once: true});
const now = () => new URLSearchParams(window.location.search);
const shown = () => element.querySelector('[data-address]')?.dataset.address ?? '';
const restore = () => trigger('undo', {address: window.location.search, shown: shown()});
watch('value', () => {
  if (!element.querySelector('[data-address]')) return;
  // An answer that restores an address takes no step of its own; the address may name what is not there any more.
  const asked = element.querySelector('[data-asked]')?.dataset.asked;
  if (asked !== undefined && asked !== window.location.search) return restore();  // Back or Forward came meanwhile
  const wanted = new URLSearchParams(shown()), before = now();
  if (before.has('tab')) wanted.set('tab', before.get('tab'));
  const changed = (key) => wanted.get(key) !== before.get(key);
  const address = wanted.size ? '?' + wanted : window.location.pathname;
  if (asked === undefined && steps.some(changed)) window.history.pushState(null, '', address);
  else if ([...steps, ...details].some(changed)) window.history.replaceState(null, '', address);
});
window.addEventListener('popstate', restore);
if ([...steps, ...details].some((key) => now().has(key))) setTimeout(restore, 0);
