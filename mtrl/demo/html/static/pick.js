// Buttons that hold an image report which one was clicked: to search with it, or to see it beside the query.
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-image], button[data-compare]');
  if (!button) return;
  if (button.dataset.compare !== undefined) trigger('select', {image: button.dataset.compare});
  else {
    element.querySelector('dialog[open]')?.close();
    trigger('click', {image: button.dataset.image});
  }
});
