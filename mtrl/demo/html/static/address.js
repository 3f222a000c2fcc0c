// The address bar says what the page shows: a link restores it, and Back returns to it. Until an address is restored,
// or the visitor does something, answers take no step: they are to what was asked before, or to a part of its settings.
const steps = ['example', 'direction', 'gallery', 'model', 'second'], details = ['k', 'threshold'];
let pending = false;
for (const name of ['pointerdown', 'keydown', 'drop', 'change'])
  window.addEventListener(name, () => { pending = false; }, {capture: true});
for (const name of ['pointerdown', 'keydown'])
  window.addEventListener(name, () => { window.mtrlTouched = true; }, {capture: true, once: true});
const now = () => new URLSearchParams(window.location.search);
const shown = () => element.querySelector('[data-address]')?.dataset.address ?? '';
const restore = () => { pending = true; trigger('undo', {address: window.location.search, shown: shown()}); };
watch('value', () => {
  // An answer that restores an address takes no step of its own; the address may name what is not there any more.
  const asked = element.querySelector('[data-asked]')?.dataset.asked;
  if (asked !== undefined && asked !== window.location.search) return restore();  // Back or Forward came meanwhile
  if (asked !== undefined) pending = false;
  if (pending || !element.querySelector('[data-address]')) return;
  const wanted = new URLSearchParams(shown()), before = now();
  if (before.has('tab')) wanted.set('tab', before.get('tab'));
  const changed = (key) => wanted.get(key) !== before.get(key);
  const address = wanted.size ? '?' + wanted : window.location.pathname;
  if (asked === undefined && steps.some(changed)) window.history.pushState(null, '', address);
  else if ([...steps, ...details].some(changed)) window.history.replaceState(null, '', address);
});
window.addEventListener('popstate', restore);
if ([...steps, ...details].some((key) => now().has(key))) setTimeout(restore, 0);
