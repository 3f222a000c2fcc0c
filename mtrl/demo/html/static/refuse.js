// What is no single picture is refused here, beside the picture: on the way Gradio would say it in raw words.
const said = element.querySelector('[role=alert]');
const words = (files) => files.length > 1 ? 'One picture at a time, please.'
  : files.length && !files[0].type.startsWith('image/') ? `${files[0].name} is not a picture.` : '';
const check = (event) => {
  if (!element.closest('.column')?.contains(event.target)) return;
  const files = event.dataTransfer?.files ?? event.target.files;
  if (!files?.length) return;
  said.textContent = words([...files]);
  said.hidden = !said.textContent;
  if (said.hidden) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  if (event.type === 'change') event.target.value = '';
  else event.target.dispatchEvent(new DragEvent('dragleave', {bubbles: true}));
};
for (const name of ['drop', 'change']) window.addEventListener(name, check, {capture: true});
