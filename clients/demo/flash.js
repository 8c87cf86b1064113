/** What somebody else has changed lights up for a moment, in the colour of their branch. */

const FLASH_MS = 2_800;

/** `branch` is a branch's slug, `all` or `database`. */
export function flash(element, branch) {
  element.dataset.flash = branch;
  for (const animation of element.getAnimations()) animation.cancel();
  element.animate(
    [{ backgroundColor: "var(--flash)" }, { backgroundColor: "var(--flash)", offset: 0.45 }, { backgroundColor: "transparent" }],
    { duration: FLASH_MS, easing: "ease-out" },
  );
}
