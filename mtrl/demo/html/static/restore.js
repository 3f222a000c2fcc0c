// A link with ?tab=...&example=... is answered as if that example had been clicked.
const asked = new URLSearchParams(window.location.search);
if (asked.get('example') && (asked.get('tab') || 'retrieve') === TAB)
  setTimeout(() => trigger('click', {image: asked.get('example')}), 0);
