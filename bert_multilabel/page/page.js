// A label is a button in the bars: the browser makes keys and screen readers work with it.
element.addEventListener("click", event => {
  const button = event.target.closest("button[data-label]");
  if (button) trigger("click", {label: button.dataset.label});
});
