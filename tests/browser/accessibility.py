"""What axe-core finds wrong with a page for people who use a keyboard, a screen reader or little contrast."""

from pathlib import Path
from typing import Any

from playwright.async_api import Page

AXE = Path(__file__).parents[2] / "clients" / "javascript" / "node_modules" / "axe-core" / "axe.min.js"
GRAVE = ("serious", "critical")

# Colours that are on their way from one to the other are nobody's choice: they are judged where they end.
STILL = """() => {
  for (const animation of document.getAnimations()) {
    if (animation.effect.getComputedTiming().endTime < Infinity) animation.finish();
    else animation.cancel();
  }
}"""


async def assert_accessible(page: Page) -> None:
    """Assert that axe-core finds nothing serious or critical in the page as it stands."""
    await page.evaluate(STILL)
    # The page's policy lets no other script in, but what a test evaluates is not the page's.
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE.read_text(encoding="utf-8"))
    found = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    faults = [describe(violation) for violation in found["violations"] if violation["impact"] in GRAVE]
    assert not faults, "\n".join(faults)


def describe(violation: dict[str, Any]) -> str:
    """A rule that was broken, and where."""
    places = [
        f"  {' '.join(map(str, node['target']))}: {node['failureSummary']}" for node in violation["nodes"]
    ]
    return "\n".join([f"{violation['impact']}: {violation['help']} ({violation['id']})", *places])
