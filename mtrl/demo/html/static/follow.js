// On a phone the answer lies below what was touched: scroll to it when it changes.
// What was wrong when the visitor last did something does not stay beside the answer; what went wrong since then does.
let before = [];
const note = () => {
  before = [...document.querySelectorAll('.toast-body, .m-refused:not([hidden])')].map((said) => [said, said.textContent]);
};
for (const name of ['pointerdown', 'keydown', 'drop', 'change', 'popstate'])
  window.addEventListener(name, note, {capture: true});
watch('value', () => {
  for (const [said, words] of before) {
    if (said.textContent !== words) continue;  // Gradio adds new errors to the old ones
    if (said.matches('.m-refused')) said.hidden = true;
    else said.querySelector('.toast-close')?.click();
  }
  before = [];
  if (window.innerWidth < 768) element.scrollIntoView({behavior: 'smooth', block: 'start'});
});
