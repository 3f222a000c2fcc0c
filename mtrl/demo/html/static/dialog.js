// A comparison opens over the page when it arrives; Escape, the cross or a click beside it close it.
watch('value', () => {
  const dialog = element.querySelector('dialog');
  if (dialog && !dialog.open) dialog.showModal();
});
element.addEventListener('click', (event) => {
  if (event.target.tagName === 'DIALOG') event.target.close();
});
