// On a phone the answer lies below what was touched: scroll to it when it changes.
watch('value', () => {
  if (window.innerWidth < 768) element.scrollIntoView({behavior: 'smooth', block: 'start'});
});
