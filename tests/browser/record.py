"""A record's page in a pane as a test sees it, with leads to open and people to write to them."""

from dataclasses import dataclass

from playwright.async_api import Locator, Page, expect

from tests.browser.demo import Pane
from tests.stack import Stack

ANA, CARLA, VERA = "ana@demo.test", "carla@demo.test", "vera@demo.test"


@dataclass(frozen=True, slots=True)
class RecordPage:
    """The record that a pane shows."""

    pane: Pane

    @property
    def element(self) -> Locator:
        """All of it."""
        return self.pane.element.locator(".record")

    @property
    def title(self) -> Locator:
        """The record's name."""
        return self.element.get_by_role("heading", level=2)

    @property
    def note(self) -> Locator:
        """Why it cannot be written, or that it is gone."""
        return self.element.locator(".note")

    def field(self, name: str) -> Locator:
        """A field with everything about it."""
        return self.element.locator(f'[data-field="{name}"]')

    def input(self, name: str) -> Locator:
        """What a field is typed into."""
        return self.field(name).locator("input, select, textarea")

    def word(self, name: str) -> Locator:
        """The word about a field's state, or who has changed it."""
        return self.field(name).locator(".word")

    def below(self, name: str) -> Locator:
        """What else there is to say of a field."""
        return self.field(name).locator(".below")

    def version(self, number: int) -> Locator:
        """An entry of the history; the newest is 0."""
        return self.element.locator(".version").nth(number)


def make_lead(stack: Stack, **fields: str) -> str:
    """A lead of the South, which Ana, Carla and Rita may write; its id."""
    with stack.http(CARLA) as carla:
        answer = carla.post("/api/leads", json={"name": "Émile Bertrand", **fields}).raise_for_status()
    return str(answer.json()["id"])


def patch(stack: Stack, who: str, id_: str, **fields: str) -> None:
    """Somebody writes to a lead from elsewhere."""
    with stack.http(who) as http:
        http.patch(f"/api/leads/{id_}", json=fields).raise_for_status()


async def open_record(
    page: Page, stack: Stack, id_: str, *, left: str = ANA, right: str = CARLA
) -> tuple[RecordPage, RecordPage]:
    """The page as a shared link opens it: the record in both panes, Ana on the left, Carla on the right."""
    people = f"left.person={left}&right.person={right}"
    await page.goto(
        f"{stack.api_url}/?colleagues=off&{people}&left.record={id_}&right.record={id_}".replace("@", "%40")
    )
    shown = [RecordPage(Pane(page.locator(".pane").nth(side))) for side in (0, 1)]
    for each in shown:
        await expect(each.pane.element.locator(".line")).to_have_attribute("data-state", "live")
        await expect(each.title).to_have_text("Émile Bertrand")
        await expect(each.version(0)).to_be_visible()
    return shown[0], shown[1]
