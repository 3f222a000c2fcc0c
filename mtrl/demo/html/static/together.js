// The buttons that keep a picture for a query of several.
element.addEventListener('click', (event) => {
  if (event.target.closest('[data-keep]')) trigger('submit', {});
  if (event.target.closest('[data-forget]')) trigger('delete', {});
});
