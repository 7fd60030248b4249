/** Lets elements glide from where they were to where a change puts them (first, last, invert, play). */

const still = matchMedia("(prefers-reduced-motion: reduce)");
const GLIDE = { duration: 520, easing: "cubic-bezier(0.3, 0.8, 0.2, 1)" };

/**
 * Return a function that takes changes; those of one frame are made together.
 *
 * @param {() => Element[]} elements  which may move
 */
export function mover(elements) {
  let waiting = [];
  const make = () => {
    const changes = waiting;
    waiting = [];
    glide(elements, () => changes.forEach((change) => change()));
  };
  return (change) => {
    if (document.hidden) return change(); // no frames there, and nobody to see them
    if (waiting.push(change) === 1) requestAnimationFrame(make);
  };
}

function glide(elements, change) {
  const before = new Map(elements().map((element) => [element, element.getBoundingClientRect()]));
  const focused = document.activeElement;
  change();
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
  if (still.matches) return;
  for (const element of before.keys()) for (const running of element.getAnimations()) {
    if (running.id === "glide") running.cancel();
  }
  for (const element of elements()) play(element, before.get(element), element.getBoundingClientRect());
}

function play(element, from, to) {
  if (!from) return start(element, [{ opacity: 0, scale: 0.9 }, { opacity: 1, scale: 1 }]);
  const [x, y] = [from.left - to.left, from.top - to.top];
  if (!x && !y) return;
  const far = Math.abs(x) > to.width / 2;
  if (far) element.classList.add("flying");
  start(element, [{ translate: `${x}px ${y}px` }, { translate: "0 0" }]).onfinish = () => {
    element.classList.remove("flying");
  };
}

function start(element, frames) {
  const animation = element.animate(frames, GLIDE);
  animation.id = "glide";
  return animation;
}
