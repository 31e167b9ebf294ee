"""The page in a real browser: it draws, obeys mouse and keyboard, and everyone can read it."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from tests.report.html import rich
from tests.report.html.conftest import SCREENSHOTS, Opened, opened, save

PHONE = {"width": 390, "height": 844}


def bars(page: Page) -> list[float]:
    """Where the bars of the float line begin, in pixels, from the left."""
    found: list[float] = page.evaluate(
        """() => {
            const drawn = [...document.querySelectorAll('#line-chart svg g.mark-rect')].at(-1);
            return [...drawn.querySelectorAll('path')].map((p) => p.getBoundingClientRect().left);
        }"""
    )
    return sorted(found)


def rows(page: Page) -> Locator:
    return page.locator("#line-rows")


def keep(page: Page, name: str, selector: str | None = None) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    if selector:
        page.locator(selector).screenshot(path=path)
    else:
        page.screenshot(path=path, full_page=True)


def test_it_opens_without_complaints_or_network(report: Opened, file: Path) -> None:
    assert report.complaints == []
    assert report.requests == [file.as_uri()]
    keep(report.page, "report-light")


def test_the_guard_against_the_network_can_fail(browser: Browser, tmp_path: Path) -> None:
    file = save(rich.diagnosis(), tmp_path / "report.html")
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("<main>", '<main><img src="https://example.invalid/x.png">'))
    assert any("Content Security Policy" in text for text in opened(browser, file).complaints)


def test_text_of_the_model_is_text(report: Opened) -> None:
    page = report.page
    expect(rows(page).get_by_role("rowheader", name=rich.EVIL)).to_be_visible()
    assert page.locator("main script").count() == 0
    assert report.complaints == []


def test_a_button_copies_the_patch_and_selects_it_where_the_clipboard_is_shut(
    report: Opened,
) -> None:
    page = report.page
    # What it holds is read off on the way: without a person in front, reading it is not allowed.
    page.evaluate(
        "() => { navigator.clipboard.writeText = async (text) => { window.kept = text; } }"
    )
    button = page.locator("[data-copies=patch]")
    button.click()
    expect(button).to_have_text("Copied")
    assert page.evaluate("kept") == rich.PATCH
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject('shut'); }")
    button.click()
    expect(button).to_have_text("Selected")
    assert page.evaluate("getSelection().toString()").strip() == rich.PATCH.strip()
    assert report.complaints == []


def test_the_tabs_turn_with_the_mouse(report: Opened) -> None:
    page = report.page
    for phase, count in (("forward", 6), ("update", 2), ("backward", 5)):
        page.get_by_role("tab", name=phase).click()
        expect(page.get_by_role("tab", name=phase)).to_have_attribute("aria-selected", "true")
        expect(rows(page).get_by_role("row")).to_have_count(count)
        expect(page.locator("#scale-panel")).to_be_visible(visible=phase == "backward")
        keep(page, f"float-line-{phase}", "#line")


def test_the_tabs_turn_with_the_keyboard(report: Opened) -> None:
    page = report.page
    page.get_by_role("tab", name="backward").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="update")).to_be_focused()
    expect(page.get_by_role("tab", name="update")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="forward")).to_be_focused()
    page.keyboard.press("End")
    expect(page.get_by_role("tab", name="update")).to_be_focused()


def test_the_slider_moves_the_gradients_and_tells_what_is_lost(report: Opened) -> None:
    page = report.page
    words, lost = page.locator("#scale-value"), page.locator("#scale-lost")
    expect(words).to_have_text("2^5, as traced")
    expect(lost).to_contain_text("20 % under water, 0 % over the deck")
    before = bars(page)
    page.locator("#scale").focus()
    page.keyboard.press("ArrowRight")
    expect(words).to_have_text("2^6")
    page.wait_for_timeout(200)
    after = bars(page)
    step = after[0] - before[0]
    assert step > 3
    assert after == pytest.approx([left + step for left in before], abs=0.6)
    page.locator("#scale").fill("8")
    expect(lost).to_contain_text("0.3 % under water")
    expect(page.locator("#scale-window")).to_contain_text("Window of loss scales for float16: ")
    page.locator("#scale").fill("40")
    expect(lost).to_contain_text("over the deck")
    expect(rows(page).get_by_role("row", name="head")).to_contain_text("100 % over")
    assert report.complaints == []


def test_the_slider_leaves_forward_rows_alone(report: Opened) -> None:
    page = report.page
    page.locator("#scale").fill("20")
    page.get_by_role("tab", name="forward").click()
    expect(rows(page).get_by_role("row", name="embedding")).to_contain_text("afloat")


def test_another_format_floods_other_rows(report: Opened) -> None:
    page = report.page
    row = rows(page).get_by_role("row", name="embedding")
    expect(row).to_contain_text("% lost")
    page.get_by_label("Read against").select_option("bfloat16")
    expect(row).to_contain_text("afloat")


def test_rows_of_another_dtype_are_set_apart(report: Opened) -> None:
    page = report.page
    page.get_by_role("tab", name="forward").click()
    apart = page.locator(".line-row:has(.unreal)")
    expect(apart).to_have_count(1)
    expect(apart).to_contain_text("inputs and loss")
    expect(page.locator("#line-note")).to_contain_text("Pale rows are not computed in float16")


def test_another_step_can_be_chosen(report: Opened) -> None:
    page = report.page
    page.get_by_label("Traced step").select_option("step 9 (last)")
    expect(page.locator("#scale-value")).to_have_text("2^0, none in force")


def test_a_layer_opens_to_its_operations_by_keyboard(report: Opened) -> None:
    page = report.page
    page.get_by_role("tab", name="forward").click()
    page.get_by_role("button", name="head").focus()
    page.keyboard.press("Enter")
    opened_row = page.get_by_role("button", name="head")
    expect(opened_row).to_have_attribute("aria-expanded", "true")
    expect(opened_row).to_be_focused()
    expect(page.locator(".line-row.operation")).to_have_count(2)
    page.keyboard.press("Enter")
    expect(page.locator(".line-row.operation")).to_have_count(0)


def test_changes_of_the_source_stand_at_their_lines(report: Opened) -> None:
    change = report.page.locator("#repair article.change")
    expect(change.locator(".where")).to_have_text("train.py:4")
    expect(change.locator("del")).to_have_text("-y = x * x")
    expect(change.locator("ins")).to_have_text([f"+x = cast(x)  # {rich.EVIL}", "+y = x * x"])
    assert report.complaints == []


def test_every_part_can_be_seen(report: Opened) -> None:
    page, diagnosis = report.page, rich.diagnosis()
    expect(page.get_by_role("heading", level=1)).to_have_text("The precision is at fault.")
    expect(page.get_by_text(diagnosis.explanation).first).to_be_visible()
    for finding in diagnosis.findings:
        expect(page.locator("#found").get_by_text(finding.summary)).to_be_visible()
    page.locator(".way summary").first.click()
    expect(page.locator(".way").first).to_contain_text("From here to the loss: 7 operations")
    expect(page.locator("#code").get_by_text("line_3 =")).to_be_visible()
    for number in (0, 1):
        expect(page.locator(f"figure[data-chart=trial-{number}] svg")).to_be_visible()
    expect(page.locator("#plan")).to_contain_text('"policy": "mixed_float16"')
    expect(page.locator("#dtypes")).to_contain_text("float16")
    expect(page.locator("#measured")).to_contain_text("3 x PyFunc")
    expect(page.locator("#measured")).to_contain_text("floatline diagnose train.py")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("phone", [False, True], ids=["desk", "phone"])
def test_everyone_can_read_it(browser: Browser, file: Path, dark: bool, phone: bool) -> None:
    size = PHONE if phone else {"width": 1280, "height": 900}
    report = opened(browser, file, dark=dark, **size)
    for details in report.page.locator("details").all():
        details.evaluate("(element) => element.open = true")
    found = Axe().run(report.page)
    assert found.violations_count == 0, found.generate_report()
    keep(report.page, f"report-{'phone' if phone else 'desk'}-{'dark' if dark else 'light'}")
    report.page.close()


def test_the_accessibility_check_can_fail(report: Opened) -> None:
    report.page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    found = Axe().run(report.page)
    assert [violation["id"] for violation in found.response["violations"]] == ["button-name"]


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_scrolls_sideways(browser: Browser, file: Path, width: int) -> None:
    page = opened(browser, file, width=width).page
    for phase in ("forward", "backward", "update"):
        page.get_by_role("tab", name=phase).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
