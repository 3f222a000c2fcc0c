// The address bar shows the link that restores the answer.
watch('value', () => {
  const answer = element.querySelector('[data-address]');
  if (answer) window.history.replaceState(window.history.state, '', '?' + answer.dataset.address);
});
