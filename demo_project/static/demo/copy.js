/** Copies the lines of code beside a button, or of the element that the button names. */

const SHOWN_FOR = 2000;

if (navigator.clipboard) for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;
document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-copy]");
  if (button) copy(button);
});

async function copy(button) {
  const text = button.querySelector("[data-copy-text]");
  const code = button.closest("figure").querySelector("code");
  const done = await navigator.clipboard.writeText(code.textContent).then(
    () => true,
    () => false,
  );
  text.textContent = done ? "Copied" : "Not allowed";
  setTimeout(() => (text.textContent = "Copy"), SHOWN_FOR);
}
